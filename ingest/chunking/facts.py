"""Facts: what a piece of code says of itself, read from its syntax tree. Relations and literals are checked on them.

One query per grammar collects the nodes that carry a fact; each fact belongs to the innermost definition around it.
Node and field names are shared widely between grammars, so one table serves all; where a grammar has none of them,
there are no facts, and nothing is contradicted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from textwrap import dedent
from typing import Literal

from tree_sitter import Language as Grammar
from tree_sitter import Node, Query, QueryCursor

from ingest.chunking.definitions import Found, find_definitions
from ingest.chunking.layout import Layout
from ingest.chunking.macros import parse_code
from ingest.languages.kinds import CALLABLE_KINDS, TYPE_KINDS
from ingest.languages.loading import LoadedGrammar, load_grammar
from ingest.model import Chunk

How = Literal["parameter", "value", "keyword"]

NODES: Mapping[str, tuple[str, ...]] = {
    "call": (
        "call", "call_expression", "method_invocation", "invocation_expression", "function_call_expression",
        "member_call_expression", "scoped_call_expression", "object_creation_expression", "new_expression",
        "function_call", "command",
    ),
    "raise": ("raise_statement", "throw_statement", "throw_expression"),
    "base": (
        "class_heritage", "extends_clause", "implements_clause", "superclass", "super_interfaces", "base_list",
        "base_class_clause", "base_clause", "class_interface_clause", "delegation_specifier",
        "inheritance_specifier",
    ),
    "decorator": ("decorator", "annotation", "marker_annotation", "attribute_item", "attribute_list"),
    "import": (
        "import_statement", "import_from_statement", "future_import_statement", "import_declaration", "import_spec",
        "use_declaration", "using_directive", "preproc_include", "namespace_use_declaration",
    ),
    "return": ("return_statement", "return_expression"),
    "parameter": (
        "default_parameter", "typed_default_parameter", "optional_parameter", "required_parameter",
        "assignment_pattern", "optional_parameter_declaration", "simple_parameter", "parameter", "formal_parameter",
        "class_parameter",
    ),
    "value": (
        "assignment", "assignment_expression", "variable_declarator", "public_field_definition", "field_definition",
        "const_spec", "var_spec", "short_var_declaration", "const_item", "static_item", "let_declaration",
        "init_declarator", "property_declaration", "enum_assignment", "block_mapping_pair",
    ),
    "keyword": (
        "keyword_argument", "pair", "named_argument", "dictionary_element", "keyed_element", "field_initializer",
        "initializer_pair",
    ),
}  # fmt: skip
NAME_FIELDS = ("left", "name", "pattern", "property", "key", "declarator", "field", "designator")
VALUE_FIELDS = ("right", "value", "default_value")
CALLEE_FIELDS = ("function", "name", "method", "constructor", "type")
IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*")
LITERAL = re.compile(
    r"(?P<word>(?:[A-Z]\w*\.)?\b(?:true|false|none|null|nil)\b)|(?P<number>[-+]?(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?"
    r"(?:[eE][-+]?\d+)?))[a-zA-Z]{0,3}|(?P<quote>[brfuBRFU]{0,2}(\"\"\"|'''|\"|'|`)(?P<text>.*)\4)",
    re.IGNORECASE | re.DOTALL,
)
NOTHING = frozenset({"none", "null", "nil"})
OWN = frozenset({"self", "this", "cls", "super", "Self"})
FACTS_KEPT = 2048
SETTERS = frozenset(
    """set set_default setdefault set_setting add_setting define default option setting configure config""".split()
)
DEFAULT_ARGUMENTS = frozenset({"default", "default_value", "defaultValue"})
MAX_KEY_BYTES = 60
KEY = re.compile(r"[:\"'`](?:--?)?(?P<name>[A-Za-z_][\w-]*)[\"'`]?")
BASE_ARGUMENTS = "superclasses"  # the field of a Python class that holds its bases


@dataclass(frozen=True, slots=True)
class Value:
    """A name and what it is given: the default of a parameter, an assignment, an argument. Lines are 1-based."""

    name: str
    value: str  # normal form of a literal, "" where it is none
    source: str  # as it is written
    line: int
    how: How


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the last name of what is called, all of it as written, its 1-based line, and what it lies in."""

    name: str
    callee: str
    line: int
    inside: str  # qualified name of the innermost definition, "" at the top level


@dataclass(slots=True)
class Definition:
    """What the code of one definition does. Names are the last parts: `self.store.load()` calls `load`."""

    name: str
    qualname: str
    kind: str
    path: str
    start_line: int
    end_line: int
    is_whole: bool = True  # False: what is known of it is a part
    calls: set[str] = field(default_factory=set)
    raises: set[str] = field(default_factory=set)
    bases: tuple[str, ...] = ()
    decorators: set[str] = field(default_factory=set)
    returns: list[str] = field(default_factory=list)  # normal forms, "" for anything that is no literal
    parameters: tuple[str, ...] | None = None
    names: frozenset[str] = frozenset()
    methods: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of one piece of code."""

    definitions: tuple[Definition, ...] = ()
    values: tuple[Value, ...] = ()
    imports: frozenset[str] = frozenset()
    settings: tuple[Value, ...] = ()  # what calls give a name that they are passed: `set :port, 80`
    calls: tuple[Call, ...] = ()


def read_facts(chunk: Chunk) -> Facts:
    """Return what a chunk of code says; nothing for prose and for languages without a grammar."""
    if chunk.kind != "code" or not chunk.language:
        return Facts()
    owner = chunk.symbol if not any(symbol.qualname == chunk.symbol for symbol in chunk.symbols) else None
    return _read(chunk.text, chunk.language, chunk.path or "", chunk.start_line, owner, _names_of(chunk))


def _names_of(chunk: Chunk) -> tuple[tuple[str, int, str], ...]:
    return tuple((symbol.name, symbol.start_line, symbol.qualname) for symbol in chunk.symbols)


@lru_cache(maxsize=FACTS_KEPT)
def _read(
    text: str,
    language: str,
    path: str,
    start_line: int,
    owner: str | None,
    qualnames: tuple[tuple[str, int, str], ...],
) -> Facts:
    grammar = load_grammar(language)
    if isinstance(grammar, str):
        return Facts()
    data = dedent(text).encode("utf-8", "surrogatepass")
    try:
        root = parse_code(data, grammar).root_node
    except TimeoutError:
        return Facts()
    found = find_definitions(root, data, Layout(dedent(text)), grammar)
    reader = _Reader(data, path, start_line, found, owner, {(n, line): q for n, line, q in qualnames})
    query = _facts_query(grammar)
    for kind, nodes in QueryCursor(query).captures(root).items() if query else ():
        for node in sorted(nodes, key=_start):
            reader.read(kind, node)
    return reader.facts()


def forget_facts() -> None:
    """Drop what was parsed: the next look-up pays for it again."""
    _read.cache_clear()


def _start(node: Node) -> int:
    return node.start_byte


def _facts_query(grammar: LoadedGrammar) -> Query | None:
    return _query_of(grammar.language.name, grammar.parser.language) if grammar.parser.language else None


_QUERIES: dict[str, Query | None] = {}


def _query_of(name: str, language: Grammar) -> Query | None:
    """Return a query for those nodes of the table that this grammar has."""
    if name not in _QUERIES:
        patterns = [
            f"({node}) @{kind}"
            for kind, nodes in NODES.items()
            for node in nodes
            if language.id_for_node_kind(node, True) is not None
        ]
        _QUERIES[name] = Query(language, "\n".join(patterns)) if patterns else None
    return _QUERIES[name]


class _Reader:
    """Collects the facts of one tree."""

    def __init__(
        self,
        data: bytes,
        path: str,
        start_line: int,
        found: Sequence[Found],
        owner: str | None,
        qualnames: Mapping[tuple[str, int], str],
    ) -> None:
        self.data = data
        self.values: list[Value] = []
        self.settings: list[Value] = []
        self.calls: list[Call] = []
        self.imports: set[str] = set()
        self.start_line = start_line
        self.spans: list[tuple[int, int, Definition]] = []
        self.heads: list[tuple[int, Definition]] = []  # where the name stands
        for one in found:
            if one.kind not in CALLABLE_KINDS and one.kind not in TYPE_KINDS:
                continue
            name, line = one.symbol().name, start_line + one.first
            definition = Definition(
                name, qualnames.get((name, line), one.qualname), one.kind, path, line, start_line + one.last
            )
            definition.names = code_names(_decode(data[one.start_byte : one.end_byte]))
            _read_head(one, definition)
            self.spans.append((one.start_byte, one.end_byte, definition))
            self.heads.append((one.key.start_byte, definition))
        self.around = self._around(owner, path, len(data))

    def _around(self, owner: str | None, path: str, size: int) -> Definition:
        """Return the definition that the piece was cut from, or one for the top level."""
        last = self.start_line + self.data.count(b"\n")
        name = re.split(r"\.|::|#", owner)[-1] if owner else ""
        kind = "function" if owner else ""
        around = Definition(name, owner or "", kind, path, self.start_line, last, is_whole=False)
        around.names = code_names(_decode(self.data)) if owner else frozenset()
        return around

    def facts(self) -> Facts:
        """Return what was collected."""
        for start, end, definition in self.spans:
            if definition.kind in CALLABLE_KINDS:
                parent = self._owner(start, end, types=True)
                if parent is not None:
                    parent.methods += 1
        own = [definition for _, _, definition in self.spans]
        around = [self.around] if self.around.name else []
        return Facts(
            (*own, *around), tuple(self.values), frozenset(self.imports), tuple(self.settings), tuple(self.calls)
        )

    def read(self, kind: str, node: Node) -> None:
        """Add the fact of one node."""
        owner = self._owner(node.start_byte, node.end_byte) or self.around
        if kind == "call":
            self._read_setting(self._read_call(node, owner), node)
        elif kind == "raise":
            owner.raises.update(IDENTIFIER.findall(_raised(node)))
        elif kind == "base":
            owner.bases = (*owner.bases, *IDENTIFIER.findall(_text(node)))
        elif kind == "decorator":
            self._decorated(node).decorators.update(IDENTIFIER.findall(_text(node).partition("(")[0]))
        elif kind == "import":
            self.imports.update(IDENTIFIER.findall(_text(node)))
        elif kind == "return":
            owner.returns.append(_returned(node))
        else:
            self._read_value(kind, node)

    def _read_call(self, node: Node, owner: Definition) -> str:
        """Add a call, and return the name that is called, "" where it is no name."""
        callee = _callee(node)
        if callee is None:
            return ""
        written = _text(callee)
        words: list[str] = IDENTIFIER.findall(written)
        if not words:
            return ""
        owner.calls.add(words[-1])
        line = self.start_line + callee.end_point.row  # of a chain over several lines the last one names it
        self.calls.append(Call(words[-1], written, line, owner.qualname))
        return words[-1]

    def _read_value(self, kind: str, node: Node) -> None:
        name = next(filter(None, map(node.child_by_field_name, NAME_FIELDS)), None)
        value = next(filter(None, map(node.child_by_field_name, VALUE_FIELDS)), None)
        if name is None or value is None or value.end_byte - value.start_byte > 400:
            return
        words = IDENTIFIER.findall(_text(name))
        if not words:
            return
        how: How = "parameter" if kind == "parameter" else "keyword" if kind == "keyword" else "value"
        line = self.start_line + node.start_point.row
        source = _text(value)
        self.values.append(Value(words[-1], literal_of(_unwrapped(source)), source, line, how))

    def _read_setting(self, called: str, node: Node) -> None:
        """Add what a call gives a name: its second argument, or an argument that is called a default."""
        arguments = node.child_by_field_name("arguments")
        given = [child for child in arguments.named_children if child.type != "comment"] if arguments else []
        if len(given) < 2 or given[0].end_byte - given[0].start_byte >= MAX_KEY_BYTES:
            return
        key = KEY.fullmatch(_text(given[0]))
        if key is None:
            return
        named = (child for child in given[1:] if child.type in NODES["keyword"])
        value = next((v for child in named if (v := _default_argument(child)) is not None), None)
        if value is None and called in SETTERS and given[1].type not in NODES["keyword"]:
            value = given[1]
        if value is not None and value.end_byte - value.start_byte <= 400:
            source, line = _text(value), self.start_line + node.start_point.row
            name = key["name"].replace("-", "_")
            self.settings.append(Value(name, literal_of(_unwrapped(source)), source, line, "value"))

    def _owner(self, start: int, end: int, *, types: bool = False) -> Definition | None:
        """Return the innermost definition around some bytes; `types`: the innermost type that is not it itself."""
        best: tuple[int, Definition] | None = None
        for first, last, definition in self.spans:
            if first > start:
                break
            is_it = (first, last) == (start, end)
            if last >= end and not (types and (is_it or definition.kind not in TYPE_KINDS)):
                size = last - first
                if best is None or size <= best[0]:
                    best = (size, definition)
        return best[1] if best else None

    def _decorated(self, node: Node) -> Definition:
        """Return the definition whose name is the first after a decorator."""
        return next((definition for name, definition in self.heads if name >= node.end_byte), self.around)


UNSAID = re.compile(r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|/\*[\s\S]*?\*/|(?:^|\s)(?:#|//)[^\n]*')


def code_names(text: str) -> frozenset[str]:
    """Return the names in a piece of code, comments and doc strings left out."""
    return frozenset(IDENTIFIER.findall(UNSAID.sub(" ", text)))


def _read_head(one: Found, definition: Definition) -> None:
    """Read bases and parameters from a definition's own fields."""
    node = one.node.child_by_field_name("definition") or one.node  # below its decorators
    bases = node.child_by_field_name(BASE_ARGUMENTS)
    if bases is not None:
        plain = [child for child in bases.named_children if child.type != "keyword_argument"]
        definition.bases = tuple(name for child in plain for name in IDENTIFIER.findall(_text(child))[-1:])
    if definition.kind in CALLABLE_KINDS:
        parameters = node.child_by_field_name("parameters")
        if parameters is not None:
            names = (_parameter(child) for child in parameters.named_children)
            definition.parameters = tuple(name for name in names if name and name not in OWN)


def _parameter(node: Node) -> str:
    """Return the name of one parameter, "" for what is none (a star, a comment)."""
    if node.type in ("comment", "keyword_separator", "positional_separator"):
        return ""
    named = next(filter(None, map(node.child_by_field_name, ("name", "pattern", "declarator"))), None)
    words = IDENTIFIER.findall(_text(named if named is not None else node))
    return words[0] if words else ""


def _default_argument(node: Node) -> Node | None:
    """Return the value of a named argument that gives a default, None for another argument."""
    name = next(filter(None, map(node.child_by_field_name, NAME_FIELDS)), None)
    is_default = name is not None and _text(name).strip(":\"'") in DEFAULT_ARGUMENTS
    return next(filter(None, map(node.child_by_field_name, VALUE_FIELDS)), None) if is_default else None


def _callee(node: Node) -> Node | None:
    """Return what is called, None where it is too long to be a name."""
    callee = next(filter(None, map(node.child_by_field_name, CALLEE_FIELDS)), None)
    if callee is None:
        callee = _first(node)
    return callee if callee is not None and callee.end_byte - callee.start_byte < 200 else None


def _raised(node: Node) -> str:
    """Return what is raised without its arguments."""
    child = _first(node)
    return _text(child).partition("(")[0] if child is not None else ""


def _returned(node: Node) -> str:
    """Return the normal form of a returned literal; a bare return gives none."""
    child = _first(node)
    return literal_of(_text(child)) if child is not None else "none"


def _first(node: Node) -> Node | None:
    return node.named_child(0) if node.named_child_count else None


def _text(node: Node) -> str:
    return _decode(node.text or b"")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")


DEFAULT_ARGUMENT = re.compile(
    r"\bdefault\s*=\s*([^,()]+)|^(?:\w+\.)*(?:Field|field|Option|Argument)\(\s*([^,()=]+)[,)]"
)


def _unwrapped(source: str) -> str:
    """Return the default inside a field declaration: `Field(5, gt=0)`, `field(default=5)`."""
    match = DEFAULT_ARGUMENT.search(source)
    return (match[1] or match[2]).strip() if match else source


def literal_of(source: str) -> str:
    """Return the normal form of a literal: `1_000` -> 1000, `TRUE` -> true, `None` -> none; "" for anything else."""
    match = LITERAL.fullmatch(source.strip())
    if not match:
        return ""
    if match["word"]:
        word = match["word"].lower().rpartition(".")[2]
        return "none" if word in NOTHING else word
    if match["number"]:
        return number_of(match["number"])
    return f'"{match["text"]}"'


def number_of(text: str) -> str:
    """Return the normal form of a number."""
    plain = text.replace("_", "").replace(",", "").lower()
    try:
        value = float(int(plain, 0)) if plain.lstrip("+-")[:2] in ("0x", "0b", "0o") else float(plain)
    except ValueError:
        return ""
    return f"{value:.12g}"
