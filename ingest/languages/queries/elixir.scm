((call target: (identifier) @_def (arguments . (alias) @name)) @module (#eq? @_def "defmodule"))
((call target: (identifier) @_def (arguments . (alias) @name)) @interface (#eq? @_def "defprotocol"))
((call target: (identifier) @_def (arguments (alias) @_protocol (keywords (pair value: (alias) @name)))) @scope
  (#eq? @_def "defimpl"))
((call target: (identifier) @_def (arguments . [
    (identifier) @name
    (call target: (identifier) @name)
    (binary_operator left: (call target: (identifier) @name) operator: "when")
    (binary_operator left: (identifier) @name operator: "when")
  ])) @function
  (#any-of? @_def "def" "defp" "defdelegate" "defn" "defnp"))
((call target: (identifier) @_def (arguments . [
    (identifier) @name
    (call target: (identifier) @name)
    (binary_operator left: (call target: (identifier) @name) operator: "when")
  ])) @macro
  (#any-of? @_def "defmacro" "defmacrop" "defguard" "defguardp"))
((unary_operator operand: (call target: (identifier) @_kind (arguments . (binary_operator left: [
    (identifier) @name
    (call target: (identifier) @name)
  ])))) @type
  (#any-of? @_kind "type" "typep" "opaque"))
((unary_operator operand: (call target: (identifier) @_kind (arguments . [
    (binary_operator left: (call target: (identifier) @name))
    (binary_operator left: (binary_operator left: (call target: (identifier) @name)))
  ]))) @method
  (#any-of? @_kind "callback" "macrocallback"))
((do_block (unary_operator operator: "@" operand: (call target: (identifier) @name (arguments . (_)))) @constant)
  (#not-match? @name "^(module|type)?doc$|^spec$|^type$|^typep$|^opaque$|callbacks?$|^impl$|^behaviour$|^derive$|^dialyzer$|^deprecated$|^since$|tag$|^enforce_keys$|^compile$|^external_resource$|_compile$|^on_load$|^fallback_to_any$"))
