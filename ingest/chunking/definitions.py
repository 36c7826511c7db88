"""Find the definitions of a parsed file: names, kinds, nesting, signatures, first doc sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tree_sitter import Node

from ingest.chunking.layout import Layout
from ingest.languages.loading import LoadedGrammar
from ingest.languages.table import Language
from ingest.model import Symbol

KEY_CAPTURES = ("name", "declarator", "target")
HELPER_CAPTURES = frozenset((*KEY_CAPTURES, "receiver", "value"))
WEAK_KINDS = {"variable": 0, "property": 0, "type": 1}  # when two patterns match one name, the stronger kind stays
TYPE_KINDS = frozenset(("class", "struct", "interface", "enum", "trait", "scope", "type"))
CALLABLE_KINDS = frozenset(("function", "method"))
VALUE_KINDS = frozenset(("variable", "property", "constant"))
CONSTANT = re.compile(r"_*[A-Z][A-Z0-9_]+")
SIGNATURE_CHARS = 200
DOC_CHARS = 240
DOC_LINES = 250
ANGLES = re.compile(r"<[^<>]*>")
JS_PREFIX = re.compile(r"^(?:module\.exports|exports|this|self|window|globalThis)\.")
SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)")
DOC_MARKS = re.compile(r"^\s*(?:/\*+!?|\*+/|\*+|//+[!/]?|#+!?|--+|;+|%+|!)?\s?|\s*\*+/\s*$")
DOC_TAG = re.compile(r"@\w|:(?:param|return)|\\(?:param|return)|(?:Args|Returns|Parameters):?$")
RULE_LINE = re.compile(r"[-=~*_#/\s]+$")
TRAILING_HASH = re.compile(r"(?:^|\s)#\s.*$", re.MULTILINE)
HTML_TAG = re.compile(r"</?[A-Za-z][^<>]*>|\{@\w+ ([^}]*)\}")
STRING_START = re.compile(r"\s*[rRuUbB]{0,2}(\"\"\"|'''|\"|')")


@dataclass(slots=True)
class Definition:
    """One named definition or naming scope. Rows are 0-based inclusive; `depth` counts enclosing definitions."""

    start_byte: int
    end_byte: int
    first: int
    last: int
    name: str
    kind: str
    key: Node
    body: Node | None
    node: Node
    qualname: str = ""
    depth: int = 0
    parent: int = -1
    signature: str = ""
    doc: str = ""

    def symbol(self) -> Symbol:
        """Return what is stored of it."""
        name = self.name.rpartition(".")[2] or self.name
        return Symbol(name, self.qualname, self.kind, self.first + 1, self.last + 1, self.signature, self.doc)


def find_definitions(root: Node, data: bytes, layout: Layout, grammar: LoadedGrammar) -> list[Definition]:
    """Return the definitions of a file in source order, outer before inner."""
    found: dict[int, Definition] = {}
    for _, captures in grammar.definitions.matches(root):
        definition = _read_match(captures)
        if definition is not None:
            key = definition.key.start_byte
            found[key] = _stronger(found[key], definition) if key in found else definition
    ordered = sorted(found.values(), key=lambda d: (d.start_byte, -d.end_byte, d.key.start_byte))
    nested = _nest(ordered)
    for definition in nested:
        definition.signature = _signature(definition, data, layout, grammar.language)
        definition.doc = _doc_sentence(definition, data, layout, grammar.language)
    return nested


def _read_match(captures: dict[str, list[Node]]) -> Definition | None:
    key = next((captures[name][0] for name in KEY_CAPTURES if name in captures), None)
    kind = next((name for name in captures if name not in HELPER_CAPTURES and name[0] != "_"), "")
    if key is None or not kind:
        return None
    node = captures[kind][0]
    name = ""
    if "declarator" in captures:
        key, is_callable = _unwrap_declarator(key)
        kind = _declared_kind(kind, is_callable)
        name = _clean_name(_text(key))
    elif "target" in captures:
        name = _target_name(_text(key), captures.get("value", [node])[0])
    else:
        name = _clean_name(_text(key))
    if kind == "scope":
        name = name.rpartition(".")[2]
    if "receiver" in captures:
        name = f"{_receiver(_text(captures['receiver'][0]))}.{name}"
    if name in ("", "_"):
        return None
    value = captures["value"][0] if "value" in captures else node
    end = node.end_point
    last = end.row - (end.column == 0 and end.row > node.start_point.row)
    body = value.child_by_field_name("body")
    return Definition(node.start_byte, node.end_byte, node.start_point.row, last, name, kind, key, body, node)


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


def _declared_kind(kind: str, is_callable: bool) -> str:
    return "function" if is_callable and kind in ("variable", "property") else kind


def _clean_name(text: str) -> str:
    """Return a dotted name without template arguments, sigils and quotes."""
    head, operator, tail = text.partition("operator")
    if operator and not (tail[:1].isalnum() or tail[:1] == "_"):
        scope = _clean_name(head)
        return (f"{scope}." if scope else "") + operator + _operator_symbol(tail)
    while "<" in text:
        shorter = ANGLES.sub("", text)
        if shorter == text:
            break
        text = shorter
    text = "".join(text.split()) if len(text) < SIGNATURE_CHARS else ""
    return text.replace("::", ".").replace("\\", ".").strip(".:'\"*&$")


def _operator_symbol(text: str) -> str:
    """Return what a C++ operator is called: `==`, `()`, ` bool` for a conversion."""
    is_conversion = text.strip()[:1].isalpha()
    return " " + " ".join(text.partition("(")[0].split()) if is_conversion else "".join(text.split())


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
    return text.strip("*() ").partition("[")[0].rpartition(".")[2].strip("*")


def _stronger(one: Definition, other: Definition) -> Definition:
    """Join two matches of one name: the widest span, the more telling kind, the body where there is one."""
    strong, weak = (one, other) if WEAK_KINDS.get(one.kind, 2) >= WEAK_KINDS.get(other.kind, 2) else (other, one)
    wide = one if one.end_byte - one.start_byte >= other.end_byte - other.start_byte else other
    return replace(
        strong, start_byte=wide.start_byte, end_byte=wide.end_byte, first=wide.first, last=wide.last,
        node=wide.node, body=strong.body or weak.body,
    )  # fmt: skip


def _nest(ordered: list[Definition]) -> list[Definition]:
    """Give each definition its parent, depth, qualified name and final kind."""
    nested: list[Definition] = []
    stack: list[int] = []
    for definition in ordered:
        while stack and not _encloses(nested[stack[-1]], definition):
            stack.pop()
        parent = nested[stack[-1]] if stack else None
        if parent and _repeats(parent, definition):
            continue
        definition.parent = stack[-1] if stack else -1
        definition.depth = parent.depth + 1 if parent else 0
        definition.qualname = f"{parent.qualname}.{definition.name}" if parent else definition.name
        definition.kind = _final_kind(definition, parent)
        stack.append(len(nested))
        nested.append(definition)
    return nested


def _encloses(outer: Definition, inner: Definition) -> bool:
    same = outer.start_byte == inner.start_byte and outer.end_byte == inner.end_byte
    return inner.end_byte <= outer.end_byte and not same


def _repeats(parent: Definition, definition: Definition) -> bool:
    """Say whether this is the inner name of `x.use = function use() {}`."""
    both = parent.kind in CALLABLE_KINDS and definition.kind in CALLABLE_KINDS
    is_expression = definition.node.type in ("function_expression", "generator_function")
    return both and is_expression and definition.end_byte >= parent.end_byte - 2


def _final_kind(definition: Definition, parent: Definition | None) -> str:
    kind = definition.kind
    if kind == "function" and ((parent and parent.kind in TYPE_KINDS) or "." in definition.name):
        return "method"
    if kind == "method" and parent is None and "." not in definition.name:
        return "function"
    if kind in ("variable", "property") and CONSTANT.fullmatch(definition.name):
        return "constant"
    return "property" if kind == "variable" and parent and parent.kind in TYPE_KINDS else kind


def _signature(definition: Definition, data: bytes, layout: Layout, language: Language) -> str:
    """Return the definition up to its body as one line."""
    name_row = definition.key.start_point.row
    row = name_row if language.docstrings else definition.first
    while row < name_row and layout.lines[row].lstrip().startswith(language.attributes or "\0"):
        row += 1
    if definition.kind in VALUE_KINDS or definition.kind in ("type", "macro"):
        return _one_line(layout.lines[name_row])
    start = definition.start_byte if row == definition.first else _row_start(definition, data, row)
    return _one_line(_until_body(definition, data, start, language.comments))


def _row_start(definition: Definition, data: bytes, row: int) -> int:
    """Return the byte at which a row of the definition starts."""
    name = definition.key
    if row == name.start_point.row:
        return name.start_byte - name.start_point.column
    start = definition.start_byte
    for _ in range(row - definition.first):
        start = data.find(b"\n", start) + 1
    return start


def _until_body(definition: Definition, data: bytes, start: int, comments: tuple[str, ...]) -> str:
    stop = min(definition.end_byte, start + 4 * SIGNATURE_CHARS)
    if definition.body is not None and start < definition.body.start_byte:
        text = data[start : min(definition.body.start_byte, stop)].decode("utf-8", "replace")
        return TRAILING_HASH.sub("", text) if "#" in comments else text
    text = data[start:stop].decode("utf-8", "replace")
    if "{" in text:
        return text.partition("{")[0]
    return text if text.rstrip().endswith((";", ")")) or definition.kind == "scope" else text.partition("\n")[0]


def _one_line(text: str) -> str:
    line = " ".join(text.split()).rstrip(" {;")
    return line if len(line) <= SIGNATURE_CHARS else line[: SIGNATURE_CHARS - 1] + "…"


def _doc_sentence(definition: Definition, data: bytes, layout: Layout, language: Language) -> str:
    """Return the first sentence of the docstring or of the comment above, "" where there is none."""
    if language.docstrings:
        return first_sentence(_docstring(definition, data))
    return first_sentence(_comment_above(definition.first, layout, language))


def _docstring(definition: Definition, data: bytes) -> list[str]:
    if definition.body is None:
        return []
    start = definition.body.start_byte
    text = data[start : start + 2 * DOC_CHARS].decode("utf-8", "ignore")
    match = STRING_START.match(text)
    return text[match.end() :].partition(match[1])[0].split("\n") if match else []


def _comment_above(first: int, layout: Layout, language: Language) -> list[str]:
    """Return the comment lines right above a row without their marks; a block comment may stand one blank line off."""
    row = first - 1
    if row > 0 and layout.is_blank(row) and layout.lines[row - 1].rstrip().endswith("*/"):
        row -= 1
    lines: list[str] = []
    in_block = False
    for line in (layout.lines[at].strip() for at in range(row, max(-1, row - DOC_LINES), -1)):
        starts_comment = line.startswith(language.comments)
        in_block = (in_block or line.endswith("*/")) and "/*" not in line
        if starts_comment or in_block:
            lines.append(line)
        elif not (line and language.attributes and line.startswith(language.attributes)):
            break
    return [DOC_MARKS.sub("", line) for line in reversed(lines)]


def first_sentence(lines: list[str]) -> str:
    """Return the first sentence of a doc text given as lines without comment marks."""
    words: list[str] = []
    for line in lines:
        line = HTML_TAG.sub(lambda match: match[1] or "", line).strip()
        if DOC_TAG.match(line) or (words and not line):
            break
        if not RULE_LINE.match(line or "-"):
            words.append(line)
    text = " ".join(words)[: 2 * DOC_CHARS]
    match = SENTENCE.match(text)
    return (match[1] if match else text)[:DOC_CHARS]
