"""Macros that hide definitions from a grammar.

Rust items inside a macro call (`cfg_rt! { fn spawn() {} }`) are a token tree to the grammar, code to its readers. An
attribute of C or C++ that a macro names (`void API_INLINE pool::push()`) is taken for a type or a scope, and one that
stands for the fields of a struct hides the struct's end, so that what follows it is taken for more of its fields.
"""

from __future__ import annotations

import re

from tree_sitter import Node, Tree

from ingest.chunking.braces import C_LIKE, read_braces
from ingest.languages.loading import LoadedGrammar

CALL_LINE = re.compile(rb"^[ \t]*(?:\w+::)*\w+!\s*\{", re.MULTILINE)
ITEM_LINE = re.compile(
    rb"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?(?:(?:async|unsafe|const|default)[ \t]+)*"
    rb"(?:fn|struct|enum|impl|mod|trait|union)\b",
    re.MULTILINE,
)
NESTED = 3  # macro calls inside macro calls
NOT_NEWLINE = re.compile(rb"[^\n]")
# Lines of the preprocessor; a name in capitals before another: `API_INLINE` in `void API_INLINE pool::push()`.
ATTRIBUTE = re.compile(
    rb"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*"
    rb"|(?<![\w.>:])[A-Z][A-Z0-9]*_[A-Z0-9_]*(?=[ \t]+[A-Za-z_~])(?![ \t]+\w+\s*[;=,)\[])",  # not `MY_TYPE name;`
    re.MULTILINE,
)
CONTINUED = re.compile(rb"^[ \t]*#[ \t]*define\b(?:[^\n]*\\\r?\n)+[^\n]*", re.MULTILINE)
LONE_LINE = re.compile(rb"^[ \t]*[A-Z][A-Z0-9]*_[A-Z0-9_]*(?=[ \t]*(?:\\?\r?$|\Z))", re.MULTILINE)
CPLUSPLUS = re.compile(
    rb"^([ \t]*#[ \t]*(?:ifdef[ \t]+|if[ \t]+defined[ \t]*\(?[ \t]*)__cplusplus\b[^\n]*\n)"
    rb"((?:(?![ \t]*#)[^\n]*\n)+)(?=[ \t]*#[ \t]*(?:el|endif))",
    re.MULTILINE,
)


def parse_code(data: bytes, grammar: LoadedGrammar) -> Tree:
    """Return the tree of some code, of what macros hide too."""
    if grammar.language.name == "rust":
        return parse_unwrapped(data, grammar)
    return parse_bare(data, grammar) if grammar.language.name in C_LIKE else grammar.parse(data)


def parse_bare(data: bytes, grammar: LoadedGrammar) -> Tree:
    """Return the tree of C or C++ code, without what macros hide from the grammar where that leaves fewer errors."""
    tree = grammar.parse(data)
    errors = count_errors(tree.root_node)
    for blank in (blank_attributes, blank_continued, blank_lone_macros, blank_cplusplus):
        if not errors:
            break
        if blank is blank_cplusplus and grammar.language.name != "c":
            continue
        bare = blank(data)
        if bare == data:
            continue
        better = grammar.parse(bare)
        left = count_errors(better.root_node)
        if left < errors and not (gives_up(better.root_node) and not gives_up(tree.root_node)):
            tree, data, errors = better, bare, left
    return tree


def blank_attributes(data: bytes) -> bytes:
    """Return code with blanks for attributes that macros name."""
    return ATTRIBUTE.sub(lambda match: match[0] if b"#" in match[0] else _blank(match), data)


def blank_continued(data: bytes) -> bytes:
    """Return code with blanks for lone macros in a `#define` of several lines.

    To the grammar a comment in there ends it: what follows is read as declarations, with such a name before the next.
    """
    return CONTINUED.sub(lambda match: LONE_LINE.sub(_blank, match[0]) if b"/*" in match[0] else match[0], data)


def _blank(match: re.Match[bytes]) -> bytes:
    return NOT_NEWLINE.sub(b" ", match[0])


def blank_lone_macros(data: bytes) -> bytes:
    """Return code with blanks for macros that stand for whole members, enumerators or declarations."""
    pieces: list[bytes] = []
    done = 0
    for start, end in read_braces(data).macros:
        pieces += (data[done:start], NOT_NEWLINE.sub(b" ", data[start:end]))
        done = end
    return b"".join((*pieces, data[done:]))


def blank_cplusplus(data: bytes) -> bytes:
    """Return C code with blanks for what only a compiler of C++ reads: `extern "C" {` and its brace above all."""
    return CPLUSPLUS.sub(lambda match: match[1] + NOT_NEWLINE.sub(b" ", match[2]), data)


def count_errors(root: Node) -> int:
    """Return how many nodes of a tree are errors or missing."""
    count, left = 0, [root]
    while left:
        node = left.pop()
        if node.has_error:
            count += node.is_error or node.is_missing
            left.extend(node.children)
    return count


def gives_up(root: Node) -> bool:
    """Say whether one error covers more than half of a tree."""
    broken = max((child.end_byte - child.start_byte for child in root.children if child.is_error), default=0)
    return root.is_error or broken * 2 > root.end_byte


def parse_unwrapped(data: bytes, grammar: LoadedGrammar) -> Tree:
    """Return the tree of Rust code in which macro calls that wrap items are blanked out around their content."""
    tree = grammar.parse(data)
    for _ in range(NESTED):
        if not CALL_LINE.search(data):
            break
        unwrapped = _unwrap(tree.root_node, data)
        if unwrapped == data:
            break
        better = grammar.parse(unwrapped)
        if better.root_node.has_error and not tree.root_node.has_error:
            break  # the content was no Rust after all
        tree, data = better, unwrapped
    return tree


def _unwrap(root: Node, data: bytes) -> bytes:
    pieces: list[bytes] = []
    done = 0
    for call in _macro_calls(root):
        tokens = call.children[-1]
        inside = data[tokens.start_byte + 1 : tokens.end_byte - 1]
        if ITEM_LINE.search(inside):
            opening = data[call.start_byte : tokens.start_byte + 1]
            pieces += (data[done : call.start_byte], NOT_NEWLINE.sub(b" ", opening), inside, b" ")
            done = tokens.end_byte
    return b"".join((*pieces, data[done:]))


def _macro_calls(node: Node) -> list[Node]:
    """Return brace-delimited macro calls at item level, in source order."""
    calls: list[Node] = []
    for child in node.named_children:
        item = child.named_child(0) if child.type == "expression_statement" else child
        if item is not None and item.type == "macro_invocation" and (item.text or b"").endswith(b"}"):
            calls.append(item)
        elif child.type in ("mod_item", "impl_item", "trait_item", "declaration_list"):
            calls.extend(_macro_calls(child))
    return calls
