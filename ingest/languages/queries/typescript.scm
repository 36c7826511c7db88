(class_declaration name: (type_identifier) @name) @class
(export_statement declaration: (class_declaration name: (type_identifier) @name)) @class
(function_declaration name: (identifier) @name) @function
(generator_function_declaration name: (identifier) @name) @function
(export_statement declaration: (function_declaration name: (identifier) @name)) @function
(export_statement declaration: (generator_function_declaration name: (identifier) @name)) @function
(class_body (method_definition name: [(property_identifier) (private_property_identifier)] @name) @method)

(lexical_declaration (variable_declarator name: (identifier) @name
  value: [(arrow_function) (function_expression) (generator_function)] @value)) @function
(variable_declaration (variable_declarator name: (identifier) @name
  value: [(arrow_function) (function_expression) (generator_function)] @value)) @function
(export_statement declaration: (lexical_declaration (variable_declarator name: (identifier) @name
  value: [(arrow_function) (function_expression) (generator_function)] @value))) @function
(variable_declarator name: (identifier) @name value: (class) @value) @class

(assignment_expression left: (member_expression) @target
  right: [(arrow_function) (function_expression) (generator_function)] @value) @function
(assignment_expression left: (member_expression) @target right: (class) @value) @class
(function_expression name: (identifier) @name) @function
(generator_function name: (identifier) @name) @function

(variable_declarator value: (object (pair key: (property_identifier) @name
  value: [(arrow_function) (function_expression)] @value) @method))
(variable_declarator value: (object (method_definition name: (property_identifier) @name) @method))
(assignment_expression right: (object (pair key: (property_identifier) @name
  value: [(arrow_function) (function_expression)] @value) @method))
(assignment_expression right: (object (method_definition name: (property_identifier) @name) @method))
(export_statement value: (object (pair key: (property_identifier) @name
  value: [(arrow_function) (function_expression)] @value) @method))
(export_statement value: (object (method_definition name: (property_identifier) @name) @method))
(return_statement (object (pair key: (property_identifier) @name
  value: [(arrow_function) (function_expression)] @value) @method))
(return_statement (object (method_definition name: (property_identifier) @name) @method))

((program (lexical_declaration (variable_declarator name: (identifier) @name value: (_)? @_init)) @variable)
  (#not-match? @_init "^require\\("))
((program (variable_declaration (variable_declarator name: (identifier) @name value: (_)? @_init)) @variable)
  (#not-match? @_init "^require\\("))
(program (export_statement declaration: (lexical_declaration (variable_declarator name: (identifier) @name))) @variable)
(program (expression_statement (assignment_expression left: (member_expression) @target) @variable))

(public_field_definition name: [(property_identifier) (private_property_identifier)] @name) @property
(abstract_class_declaration name: (type_identifier) @name) @class
(export_statement declaration: (abstract_class_declaration name: (type_identifier) @name)) @class
(interface_declaration name: (type_identifier) @name) @interface
(export_statement declaration: (interface_declaration name: (type_identifier) @name)) @interface
(type_alias_declaration name: (type_identifier) @name) @type
(export_statement declaration: (type_alias_declaration name: (type_identifier) @name)) @type
(enum_declaration name: (identifier) @name) @enum
(export_statement declaration: (enum_declaration name: (identifier) @name)) @enum
(enum_assignment name: (property_identifier) @name) @constant
(enum_body (property_identifier) @name @constant)
(function_signature name: (identifier) @name) @declaration
(export_statement declaration: (function_signature name: (identifier) @name)) @declaration
(abstract_method_signature name: (property_identifier) @name) @method
(class_body (method_signature name: (property_identifier) @name) @method)
(interface_body (method_signature name: (property_identifier) @name) @method)
(interface_body (property_signature name: (property_identifier) @name) @property)
(internal_module name: [(identifier) (nested_identifier)] @name) @namespace
(export_statement declaration: (internal_module name: [(identifier) (nested_identifier)] @name)) @namespace
(module name: (_) @name) @namespace
(ambient_declaration (lexical_declaration (variable_declarator name: (identifier) @name)) @variable)
(public_field_definition name: [(property_identifier) (private_property_identifier)] @name
  value: [(arrow_function) (function_expression)] @value) @method
(type_alias_declaration value: (object_type (property_signature name: (property_identifier) @name) @property))
