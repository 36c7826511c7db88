(variable_declaration (identifier) @name (struct_declaration)) @struct
(variable_declaration (identifier) @name (union_declaration)) @struct
(variable_declaration (identifier) @name (opaque_declaration)) @struct
(variable_declaration (identifier) @name (enum_declaration)) @enum
(variable_declaration (identifier) @name (error_set_declaration)) @enum
(struct_declaration (container_field name: (identifier) @name) @property)
(union_declaration (container_field name: (identifier) @name) @property)
(enum_declaration (container_field name: (identifier) @name) @constant)
(error_set_declaration (identifier) @name @constant)
(function_declaration name: (identifier) @name body: (_)) @function
((function_declaration name: (identifier) @name type: (builtin_type) @_type body: (_)) @struct (#eq? @_type "type"))
(function_declaration name: (identifier) @name !body) @declaration
((source_file (variable_declaration "const" (identifier) @name) @constant)
  (#not-match? @constant "@import\\(|^(?:pub )?const (\\w+) = (?:\\w+\\.)*\\1;|= @This\\(\\)"))
(source_file (variable_declaration "var" (identifier) @name) @variable)
((struct_declaration (variable_declaration "const" (identifier) @name) @constant)
  (#not-match? @constant "@import\\(|^(?:pub )?const (\\w+) = (?:\\w+\\.)*\\1;|= @This\\(\\)"))
(struct_declaration (variable_declaration "var" (identifier) @name) @variable)
((union_declaration (variable_declaration "const" (identifier) @name) @constant)
  (#not-match? @constant "@import\\(|^(?:pub )?const (\\w+) = (?:\\w+\\.)*\\1;|= @This\\(\\)"))
(union_declaration (variable_declaration "var" (identifier) @name) @variable)
((enum_declaration (variable_declaration "const" (identifier) @name) @constant)
  (#not-match? @constant "@import\\(|^(?:pub )?const (\\w+) = (?:\\w+\\.)*\\1;|= @This\\(\\)"))
(enum_declaration (variable_declaration "var" (identifier) @name) @variable)
((opaque_declaration (variable_declaration "const" (identifier) @name) @constant)
  (#not-match? @constant "@import\\(|^(?:pub )?const (\\w+) = (?:\\w+\\.)*\\1;|= @This\\(\\)"))
(opaque_declaration (variable_declaration "var" (identifier) @name) @variable)
