(module name: (_) @name) @module
(class name: (_) @name) @class
(method name: (_) @name) @method
(singleton_method name: (_) @name) @method
(program (assignment left: (constant) @name) @constant)
(body_statement (assignment left: (constant) @name) @constant)
((call method: (identifier) @_attr arguments: (argument_list (simple_symbol) @name)) @property
  (#any-of? @_attr "attr_accessor" "attr_reader" "attr_writer" "attr" "class_attribute" "cattr_accessor" "mattr_accessor" "delegate"
    "has_many" "has_one" "belongs_to"))
((call method: (identifier) @_define arguments: (argument_list . (simple_symbol) @name)) @method
  (#any-of? @_define "define_method" "alias_method"))
(alias name: (identifier) @name) @method
((assignment left: (constant) @name right: (call receiver: (constant) @_class method: (identifier) @_new)) @class
  (#any-of? @_class "Struct" "Class" "Data" "Module") (#any-of? @_new "new" "define"))
