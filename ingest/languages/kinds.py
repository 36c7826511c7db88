"""The kinds of symbols: one small vocabulary for all languages, used by chunking, symbol search and ranking.

A capture of a definitions query that is not a helper is one of these kinds (or `scope`, which names what is inside it
and is stored nowhere: a Rust `impl`, a Swift `extension`). What a language calls otherwise is mapped: a Scala or Kotlin
`object` and a Java or C# `record` are classes, a C `union` and an SQL table are structs, a Swift or Elixir protocol is
an interface.
"""

from __future__ import annotations

KINDS: dict[str, str] = {
    "class": "a class, record, object or actor",
    "interface": "an interface, protocol or annotation type",
    "struct": "a struct, union or SQL table or view",
    "enum": "an enumeration; its members are constants",
    "trait": "a trait or type class",
    "type": "an alias or another named type",
    "function": "a function outside of a type",
    "method": "a function of a type or object, constructors and what an interface asks for included",
    "macro": "a macro",
    "declaration": "a function or variable announced without a body: a prototype, `extern`, an overload signature",
    "module": "a module that one place defines",
    "namespace": "a namespace or schema that many files add to",
    "variable": "a value of a file or namespace",
    "property": "a field, attribute, property or column",
    "constant": "a value that is not reassigned: by keyword or by its upper-case name; a member of an enumeration",
    "key": "a named entry of configuration or markup: key, section, resource, selector, id",
}
TYPE_KINDS = frozenset(("class", "interface", "struct", "enum", "trait", "type"))
CALLABLE_KINDS = frozenset(("function", "method"))
VALUE_KINDS = frozenset(("variable", "property", "constant", "key"))
NAMESPACE_KINDS = frozenset(("namespace", "module"))
