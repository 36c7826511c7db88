(function_definition declarator: (_) @declarator) @function
(struct_specifier name: (type_identifier) @name body: (_)) @struct
(union_specifier name: (type_identifier) @name body: (_)) @struct
(enum_specifier name: (type_identifier) @name body: (_)) @enum
(enumerator name: (identifier) @name) @constant
(type_definition declarator: (_) @declarator) @type
(preproc_function_def name: (identifier) @name) @macro
(preproc_def name: (identifier) @name value: (_)) @macro
(field_declaration declarator: (_) @declarator) @property

(translation_unit (declaration declarator: (_) @declarator) @variable)
(preproc_ifdef (declaration declarator: (_) @declarator) @variable)
(preproc_if (declaration declarator: (_) @declarator) @variable)
(preproc_else (declaration declarator: (_) @declarator) @variable)
(linkage_specification (declaration_list (declaration declarator: (_) @declarator) @variable))

(template_declaration (function_definition declarator: (_) @declarator)) @function
(class_specifier name: (_) @name body: (_)) @class
(template_declaration (class_specifier name: (_) @name body: (_))) @class
(struct_specifier name: [(template_type) (qualified_identifier)] @name body: (_)) @struct
(template_declaration (struct_specifier name: (_) @name body: (_))) @struct
(namespace_definition name: (_) @name) @namespace
(alias_declaration name: (type_identifier) @name) @type
(concept_definition name: (identifier) @name) @type
(field_declaration_list (declaration declarator: (_) @declarator) @property)
(namespace_definition (declaration_list (declaration declarator: (_) @declarator) @variable))
