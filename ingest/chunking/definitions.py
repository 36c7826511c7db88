"""Find the definitions of a parsed file: names, kinds, nesting, signatures, first doc sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from tree_sitter import Node

from ingest.chunking.braces import C_LIKE, read_braces
from ingest.chunking.docs import doc_sentence
from ingest.chunking.layout import Layout
from ingest.languages.kinds import CALLABLE_KINDS, TYPE_KINDS, VALUE_KINDS
from ingest.languages.loading import LoadedGrammar
from ingest.languages.table import Language
from ingest.model import Symbol

KEY_CAPTURES = ("name", "declarator", "target")
HELPER_CAPTURES = frozenset((*KEY_CAPTURES, "receiver", "value"))
PREFIX_CAPTURE = "_prefix."  # `@_prefix.var`: names of this pattern start with `var.` (`#set!` crashes the binding)
SCOPES = TYPE_KINDS | {"scope"}
STRENGTH = {"variable": 0, "property": 1, "constant": 2, "type": 3, "function": 4, "class": 4}  # of two matches
USUAL_STRENGTH = 5
BODIES = frozenset(("function_body", "class_body", "enum_class_body", "protocol_body", "do_block"))
CONSTANT = re.compile(r"_*[A-Z][A-Z0-9_]+")
MACRO_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
PLAIN_NAME = re.compile(r"[A-Za-z_]\w*")
PURE_VIRTUAL = re.compile(rb"=\s*0\s*;?$")
SIGNATURE_CHARS = 200
KEY_CHARS = 100  # a longer key is data
KEY_LIMIT = 200  # keys a file: what holds more is data, and its upper levels come first
CLAUSE_ROWS = 2  # the clauses of one definition stand at most a blank line apart
OPERATOR = re.compile(r"(?<!\w)operator(?!\w)")
ANGLES = re.compile(r"<[^<>]*>")
JS_PREFIX = re.compile(r"^(?:module\.exports|exports|this|self|window|globalThis)\.")
TRAILING_HASH = re.compile(r"(?:^|\s)#\s.*$", re.MULTILINE)


@dataclass(slots=True)
class Definition:
    """One named definition or naming scope. Rows are 0-based inclusive; `depth` counts enclosing definitions."""

    first: int
    last: int
    name: str
    kind: str
    qualname: str = ""
    depth: int = 0
    signature: str = ""
    doc: str = ""
    label: str = ""  # the last part of a key, which may hold dots itself
    spans: list[tuple[int, int]] = field(default_factory=list)  # bytes of its nodes, one for each clause

    def symbol(self) -> Symbol:
        """Return what is stored of it."""
        name = self.label or self.name.rpartition(".")[2] or self.name
        return Symbol(name, self.qualname, self.kind, self.first + 1, self.last + 1, self.signature, self.doc)


@dataclass(slots=True, kw_only=True)
class Found(Definition):
    """A definition with the nodes that it was read from."""

    start_byte: int
    end_byte: int
    key: Node
    body: Node | None
    node: Node


def find_definitions(root: Node, data: bytes, layout: Layout, grammar: LoadedGrammar) -> list[Found]:
    """Return the definitions of a file in source order, outer before inner."""
    found: dict[int, Found] = {}
    for _, captures in grammar.definitions.matches(root):
        definition = _read_match(captures, len(data))
        if definition is not None:
            key = definition.key.start_byte
            found[key] = _stronger(found[key], definition) if key in found else definition
    if root.has_error and grammar.language.name in C_LIKE:
        _end_where_braces_close(found.values(), data, layout)
    ordered = sorted(found.values(), key=lambda d: (d.start_byte, -d.end_byte, d.key.start_byte))
    nested = _limit_keys(_nest(ordered, grammar.language))
    for definition in nested:
        definition.signature = _signature(definition, data, layout, grammar.language)
        definition.doc = doc_sentence(definition, data, layout, grammar.language)
    return nested


def _end_where_braces_close(found: Iterable[Found], data: bytes, layout: Layout) -> None:
    """Let what the grammar could not read end at its own brace, and a value be its own line."""
    closings = read_braces(data).closings
    for definition in found:
        body, key = definition.body, definition.key
        if not definition.node.has_error:
            continue
        if body is None and definition.kind in VALUE_KINDS:
            definition.start_byte, definition.end_byte = key.start_byte, key.end_byte
            definition.first = definition.last = key.start_point.row
        elif body is not None and (end := closings.get(body.start_byte, definition.end_byte)) < definition.end_byte:
            last = definition.first + data.count(b"\n", definition.start_byte, end)
            # Where the branches of an `#if` differ in their braces, the way that a file is written says more.
            if layout.lines[last].startswith(" " * layout.indent(definition.first) + "}"):
                definition.end_byte, definition.last = end, last


class _Shape(NamedTuple):
    """What the names of a match's captures say: of which kind it is, and which capture its key."""

    kind: str
    key: str
    prefix: str


@lru_cache(maxsize=256)
def _shape(names: tuple[str, ...]) -> _Shape | None:
    key = next((name for name in KEY_CAPTURES if name in names), "")
    kind = next((name for name in names if name not in HELPER_CAPTURES and name[0] != "_"), "")
    prefix = next((name.removeprefix(PREFIX_CAPTURE) for name in names if name.startswith(PREFIX_CAPTURE)), "")
    return _Shape(kind, key, prefix) if key and kind else None


def _read_match(captures: dict[str, list[Node]], end_of_file: int) -> Found | None:
    shape = _shape(tuple(captures))
    if shape is None:
        return None
    kind, key = shape.kind, captures[shape.key][0]
    node = captures[kind][0]
    name = label = ""
    if "declarator" in captures:
        key, is_callable = _unwrap_declarator(key)
        kind = _declared_kind(kind, is_callable, node)
        name = _macro_arguments(node, key) or _clean_name(_text(key))
    elif "target" in captures:
        kind, name = _assigned(kind, _text(key), captures.get("value", [node])[0])
    elif kind == "key":
        name = ".".join(map(_key_text, captures["name"]))
        label = _key_text(captures["name"][-1]) if captures["name"][-1].type != "dotted_key" else ""
    else:
        name = ".".join([_clean_name(_text(part)) for part in captures["name"]])
    if shape.prefix:
        name = f"{shape.prefix}.{name}"
    if kind == "scope":
        name = _receiver(name) or name
    if "receiver" in captures:
        name = f"{_receiver(_text(captures['receiver'][0]))}.{name}"
    if name.strip(".") in ("", "_"):
        return None
    body = _body(captures["value"][0] if "value" in captures else node)
    end, end_byte = node.end_point, node.end_byte
    last = end.row - (end.column == 0 and end.row > node.start_point.row)
    if "_rest" in captures:  # a namespace for the rest of the file
        end_byte = end_of_file
    return Found(
        node.start_point.row, last, name, kind, label=label, spans=[(node.start_byte, node.end_byte)],
        start_byte=node.start_byte, end_byte=end_byte, key=key, body=body, node=node,
    )  # fmt: skip


def _body(node: Node) -> Node | None:
    body = node.child_by_field_name("body")
    if body is None:
        body = next((child for child in reversed(node.children) if child.type in BODIES), None)
    return body


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _unwrap_declarator(node: Node) -> tuple[Node, bool]:
    """Follow a C declarator down to the declared name; say whether a function is declared."""
    is_callable = False
    while node.type != "operator_cast":
        inner = node.child_by_field_name("declarator")
        if inner is None and node.type in ("reference_declarator", "parenthesized_declarator", "attributed_declarator"):
            inner = node.named_child(0)
        if inner is None:
            return node, is_callable
        if node.type == "function_declarator":
            is_callable = inner.type != "parenthesized_declarator"
        node = inner
    return node, True


def _declared_kind(kind: str, is_callable: bool, node: Node) -> str:
    """Return what a C declaration declares: a prototype or `extern` is no definition, a pure virtual method is."""
    if kind not in ("variable", "property"):
        return kind
    text = node.text or b""
    if is_callable:
        return "function" if kind == "property" and PURE_VIRTUAL.search(text) else "declaration"
    return "declaration" if kind == "variable" and text.startswith(b"extern") and b"=" not in text else kind


def _macro_arguments(node: Node, key: Node) -> str:
    """Return the name that a macro call defines: `TEST(Suite, Case) {}` -> Suite.Case."""
    if node.type != "function_definition" or node.child_by_field_name("type") is not None:
        return ""
    around = key.parent
    parameters = around.child_by_field_name("parameters") if around is not None else None
    if parameters is None or not MACRO_NAME.fullmatch(_text(key)):
        return ""
    names = [_text(parameter) for parameter in parameters.named_children]
    plain = names if len(names) == 2 else names[:1]
    return ".".join(plain) if plain and all(map(PLAIN_NAME.fullmatch, plain)) else ""


def _key_text(node: Node) -> str:
    """Return a key of configuration as it is written, without quotes."""
    text = _text(node).strip()
    bare = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`" else text
    return "" if len(bare) > KEY_CHARS or "\n" in bare else bare


def _clean_name(text: str) -> str:
    """Return a dotted name without template arguments, sigils and quotes."""
    if text.isidentifier() and len(text) < SIGNATURE_CHARS:
        return text
    if text.startswith("`") or not any(map(str.isalnum, text)):  # Kotlin names with spaces; operators
        return text.strip("`() ")
    if match := OPERATOR.search(text):
        scope = _clean_name(text[: match.start()])
        return (f"{scope}." if scope else "") + match[0] + _operator_symbol(text[match.end() :])
    while "<" in text:
        shorter = ANGLES.sub("", text)
        if shorter == text:
            break
        text = shorter
    text = "".join(text.split()) if len(text) < SIGNATURE_CHARS else ""
    bare = text.replace("::", ".").replace(":", ".").replace("\\", ".").strip('."`*&$()')
    return bare.strip("'") if bare.startswith("'") else bare  # a Haskell name may end in one


def _operator_symbol(text: str) -> str:
    """Return what a C++ operator is called: `==`, `()`, ` bool` for a conversion."""
    is_conversion = text.strip()[:1].isalpha()
    return " " + " ".join(text.partition("(")[0].split()) if is_conversion else "".join(text.split())


def _assigned(kind: str, text: str, value: Node) -> tuple[str, str]:
    """Return kind and name of what a JavaScript assignment defines; `Foo.prototype = {...}` names what is inside."""
    if text.endswith(".prototype") and value.type == "assignment_expression":
        return "scope", text.removesuffix(".prototype")
    return kind, _target_name(text, value)


def _target_name(text: str, value: Node) -> str:
    """Return the dotted name that a JavaScript assignment defines: `Foo.prototype.bar` -> Foo.bar."""
    if text == "module.exports":  # named by what is exported, if that has a name
        is_nameless = value.type in ("function_expression", "arrow_function", "class") and _has_no_name(value)
        return text if is_nameless else ""
    if len(text) > SIGNATURE_CHARS or any(char in text for char in "([\n"):
        return ""
    text = JS_PREFIX.sub("", JS_PREFIX.sub("", text))
    return "" if text.endswith(".prototype") else text.replace(".prototype.", ".").replace("?.", ".")


def _has_no_name(value: Node) -> bool:
    return value.child_by_field_name("name") is None


def _receiver(text: str) -> str:
    return ANGLES.sub("", ANGLES.sub("", text)).strip("*()? ").partition("[")[0].rpartition(".")[2].strip("*")


def _stronger(one: Found, other: Found) -> Found:
    """Join two matches of one name: the widest span, the more telling kind, the body where there is one."""
    strong, weak = (one, other) if _strength(one) >= _strength(other) else (other, one)
    wide = one if one.end_byte - one.start_byte >= other.end_byte - other.start_byte else other
    return replace(
        strong, start_byte=wide.start_byte, end_byte=wide.end_byte, first=wide.first, last=wide.last,
        node=wide.node, spans=wide.spans, body=strong.body or weak.body,
    )  # fmt: skip


def _strength(definition: Found) -> int:
    return STRENGTH.get(definition.kind, USUAL_STRENGTH)


def _nest(ordered: Sequence[Found], language: Language) -> list[Found]:
    """Give each definition its parent, depth, qualified name and final kind; join clauses, drop reassignments."""
    nested: list[Found] = []
    around: list[Found] = []
    seen: set[str] = set()
    for definition in ordered:
        before = None  # the sibling right before
        while around and not _encloses(around[-1], definition):
            before = around.pop()
        parent = around[-1] if around else None
        if parent and _repeats(parent, definition):
            continue
        if before and language.clauses and _continues(before, definition):
            _add_clause(before, definition)
            around.append(before)
            continue
        definition.depth = parent.depth + 1 if parent else 0
        scope = None if language.flat or definition.kind in language.unscoped else parent
        definition.qualname = f"{scope.qualname}.{definition.name}" if scope else definition.name
        definition.kind = _final_kind(definition, parent if language.flat else scope)
        around.append(definition)
        if definition.kind not in ("variable", "key") or definition.qualname not in seen:
            nested.append(definition)
        seen.add(definition.qualname)
    return nested


def _continues(before: Found, definition: Found) -> bool:
    """Say whether this is the next clause of the definition before it, or the equation after its type signature."""
    is_same = before.name == definition.name and before.kind in (definition.kind, "method")
    return is_same and 0 <= definition.first - before.last <= CLAUSE_ROWS


def _add_clause(definition: Found, clause: Found) -> None:
    definition.spans.append((clause.start_byte, clause.end_byte))
    definition.end_byte, definition.last = clause.end_byte, clause.last


def _limit_keys(nested: list[Found]) -> list[Found]:
    """Keep the outermost keys of a file that has too many."""
    keys = [number for number, definition in enumerate(nested) if definition.kind == "key"]
    if len(keys) <= KEY_LIMIT:
        return nested
    dropped = set(sorted(keys, key=lambda number: (nested[number].depth, number))[KEY_LIMIT:])
    return [definition for number, definition in enumerate(nested) if number not in dropped]


def _encloses(outer: Found, inner: Found) -> bool:
    same = outer.start_byte == inner.start_byte and outer.end_byte == inner.end_byte
    return inner.end_byte <= outer.end_byte and not same


def _repeats(parent: Found, definition: Found) -> bool:
    """Say whether this is the inner name of `x.use = function use() {}`."""
    both = parent.kind in CALLABLE_KINDS and definition.kind in CALLABLE_KINDS
    is_expression = definition.node.type in ("function_expression", "generator_function")
    return both and is_expression and definition.end_byte >= parent.end_byte - 2


def _final_kind(definition: Found, parent: Found | None) -> str:
    kind = definition.kind
    if kind == "function" and ((parent and parent.kind in SCOPES) or "." in definition.name):
        return "method"
    if kind == "method" and parent is None and "." not in definition.name:
        return "function"
    if kind in ("variable", "property") and CONSTANT.fullmatch(definition.name):
        return "constant"
    return "property" if kind == "variable" and parent and parent.kind in SCOPES else kind


def _signature(definition: Found, data: bytes, layout: Layout, language: Language) -> str:
    """Return the definition up to its body as one line."""
    name_row = definition.key.start_point.row
    row = name_row if language.docs == "docstring" else definition.first
    while row < name_row and layout.lines[row].lstrip().startswith(language.attributes or "\0"):
        row += 1
    if definition.kind == "type" and row < name_row and layout.lines[row].endswith("{"):  # a nameless type and its name
        return one_line(f"{layout.lines[row]} … {layout.lines[name_row]}")
    if definition.kind in VALUE_KINDS or definition.kind in ("type", "macro"):
        return one_line(layout.lines[name_row])
    start = definition.start_byte if row == definition.first else _row_start(definition, data, row)
    return one_line(_until_body(definition, data, start, language))


def _row_start(definition: Found, data: bytes, row: int) -> int:
    """Return the byte at which a row of the definition starts."""
    name = definition.key
    if row == name.start_point.row:
        return name.start_byte - name.start_point.column
    start = definition.start_byte
    for _ in range(row - definition.first):
        start = data.find(b"\n", start) + 1
    return start


def _until_body(definition: Found, data: bytes, start: int, language: Language) -> str:
    stop = min(definition.end_byte, start + 4 * SIGNATURE_CHARS)
    if definition.body is not None and start < definition.body.start_byte:
        text = data[start : min(definition.body.start_byte, stop)].decode("utf-8", "replace")
        return TRAILING_HASH.sub("", text) if "#" in language.comments else text
    if definition.node.type == "signature":  # Haskell's, which may run over several lines
        return (definition.node.text or b"")[: 4 * SIGNATURE_CHARS].decode("utf-8", "replace")
    text = data[start:stop].decode("utf-8", "replace")
    if language.clauses:
        return text.partition("\n")[0]
    if "{" in text:
        return text.partition("{")[0]
    return text if text.rstrip().endswith((";", ")")) or definition.kind == "scope" else text.partition("\n")[0]


def one_line(text: str) -> str:
    """Return a signature as one line without its opening brace, cut when long."""
    line = " ".join(text.split()).rstrip(" {;").removesuffix(" =")
    return line if len(line) <= SIGNATURE_CHARS else line[: SIGNATURE_CHARS - 1] + "…"
