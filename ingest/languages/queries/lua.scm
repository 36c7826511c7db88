(function_declaration name: (identifier) @name) @function
(function_declaration name: [(dot_index_expression) (method_index_expression)] @name) @method
(assignment_statement (variable_list name: [(identifier) (dot_index_expression)] @name)
  (expression_list value: (function_definition) @value)) @function
(variable_declaration (assignment_statement (variable_list name: (identifier) @name)
  (expression_list value: (function_definition) @value))) @function
(table_constructor (field name: (identifier) @name value: (function_definition) @value) @method)

((chunk (variable_declaration (assignment_statement (variable_list name: (identifier) @name)
  (expression_list value: (_) @_value))) @variable)
  (#not-match? @_value "^\\(?require\\b"))
(chunk (assignment_statement (variable_list name: (identifier) @name)) @variable)
(chunk (assignment_statement (variable_list name: (dot_index_expression) @name)) @property)
