(function_definition name: (word) @name) @function
(program (variable_assignment name: (variable_name) @name) @variable)
(program (declaration_command (variable_assignment name: (variable_name) @name)) @variable)
((program (declaration_command _ @_how (variable_assignment name: (variable_name) @name)) @constant)
  (#any-of? @_how "readonly" "-r" "-gr" "-rx" "-xr"))
