(class_definition name: (identifier) @name) @class
(object_definition name: (identifier) @name) @class
(package_object name: (identifier) @name) @module
(trait_definition name: (identifier) @name) @trait
(enum_definition name: (identifier) @name) @enum
(simple_enum_case name: (identifier) @name) @constant
(full_enum_case name: (identifier) @name) @constant
(type_definition name: (type_identifier) @name) @type
(function_definition name: [(identifier) (operator_identifier)] @name) @function
(function_declaration name: [(identifier) (operator_identifier)] @name) @function
(given_definition name: (identifier) @name) @variable
(extension_definition parameters: (parameters (parameter type: (_) @name))) @scope

(compilation_unit (val_definition pattern: (identifier) @name) @variable)
(compilation_unit (var_definition pattern: (identifier) @name) @variable)
(template_body (val_definition pattern: (identifier) @name) @property)
(template_body (var_definition pattern: (identifier) @name) @property)
(template_body (val_definition pattern: (identifiers (identifier) @name)) @property)
(template_body (var_definition pattern: (identifiers (identifier) @name)) @property)
(val_declaration name: (identifier) @name) @property
(var_declaration name: (identifier) @name) @property
(class_definition class_parameters: (class_parameters (class_parameter ["val" "var"] name: (identifier) @name) @property))
