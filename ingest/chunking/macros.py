"""Rust items inside macro calls: `cfg_rt! { fn spawn() {} }` is a token tree to the grammar, code to its readers."""

from __future__ import annotations

import re

from tree_sitter import Node, Tree

from ingest.languages.loading import LoadedGrammar

CALL_LINE = re.compile(rb"^[ \t]*(?:\w+::)*\w+!\s*\{", re.MULTILINE)
ITEM_LINE = re.compile(
    rb"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?(?:(?:async|unsafe|const|default)[ \t]+)*"
    rb"(?:fn|struct|enum|impl|mod|trait|union)\b",
    re.MULTILINE,
)
NESTED = 3  # macro calls inside macro calls
NOT_NEWLINE = re.compile(rb"[^\n]")


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
