(header module: (module) @name) @module
(declarations (signature name: [(variable) (prefix_id)] @name) @function)
(declarations (signature names: (binding_list name: (variable) @name)) @function)
(function name: [(variable) (prefix_id)] @name) @function
(function (infix operator: [(operator) (infix_id (variable))] @name)) @function
(declarations (bind name: (variable) @name) @function)
(instance_declarations (bind name: (variable) @name) @function)
(class_declarations (signature name: [(variable) (prefix_id)] @name) @method)
(class name: (name) @name) @trait
(instance patterns: (type_patterns . (name) @name)) @scope
(instance patterns: (type_patterns . (parens (apply constructor: (name) @name)))) @scope
(data_type name: (name) @name) @type
(newtype name: (name) @name) @type
(type_synonym name: (name) @name) @type
(type_family name: (name) @name) @type
(data_family name: (name) @name) @type
(record name: (constructor) @name) @constant
(prefix name: (constructor) @name) @constant
(data_constructor constructor: (prefix name: (constructor) @name)) @constant
(data_constructor constructor: (record name: (constructor) @name)) @constant
(gadt_constructor name: (constructor) @name) @constant
(field (field_name) @name) @property
(pattern_synonym (equation synonym: (apply function: (constructor) @name))) @constant
(foreign_import (signature name: (variable) @name)) @declaration
