(class_declaration name: (identifier) @name) @class
(class_declaration "interface" name: (identifier) @name) @interface
(class_declaration (modifiers (class_modifier "annotation")) name: (identifier) @name) @interface
(class_declaration (modifiers (class_modifier "enum")) name: (identifier) @name) @enum
(object_declaration name: (identifier) @name) @class
(companion_object name: (identifier) @name) @class
(enum_entry (identifier) @name) @constant
(type_alias type: (identifier) @name) @type
(secondary_constructor "constructor" @name) @method
(class_parameter ["val" "var"] (identifier) @name) @property

(function_declaration name: (identifier) @name) @function
(function_declaration [(user_type) (nullable_type)] @receiver . name: (identifier) @name) @method

(source_file (property_declaration (variable_declaration (identifier) @name)) @variable)
(source_file (property_declaration [(user_type) (nullable_type)] @receiver
  . (variable_declaration (identifier) @name)) @property)
(class_body (property_declaration (variable_declaration (identifier) @name)) @property)
