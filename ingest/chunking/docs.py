"""The first sentence of what is written about a definition: comment above, docstring, attribute or description."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tree_sitter import Node

from ingest.chunking.layout import Layout
from ingest.languages.table import Language

if TYPE_CHECKING:
    from ingest.chunking.definitions import Found

DOC_CHARS = 240
DOC_LINES = 250
BLOCK_COMMENTS = {"/*": "*/", "{-": "-}", "<!--": "-->", "--[[": "]]"}
SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)")
DOC_MARKS = re.compile(
    r"^\s*(?:/\*+!?|\*+/|\*+|//+[!/]?|#+!?|--\[\[|--+>?(?:\s?[|^])?|\{-\s?[|^]?|-\}|<!--+|;+|%+|!)?\s?"
    r"|\s*(?:\*+/|-\}|--+>|\]\])\s*$"
)
DOC_TAG = re.compile(
    r"@\w|:(?:param|return)|\\(?:param|return)|(?:Args|Returns|Parameters):?$|-+ ?(?:Parameter|Returns)"
)
RULE_LINE = re.compile(r"[-=~*_#/\s]+$")
HTML_TAG = re.compile(r"</?[A-Za-z][^<>]*>|\{@\w+ ([^}]*)\}")
STRING_START = re.compile(r"\s*(?:[rRuUbB]{0,2}|~[sS])(\"\"\"|'''|\"|')")
DESCRIPTION = re.compile(rb'^\s*description\s*=\s*"((?:[^"\\\n]|\\.)*)"', re.MULTILINE)
DOC_ATTRIBUTE = re.compile(r"@(?:doc|typedoc)\b")


def doc_sentence(definition: Found, data: bytes, layout: Layout, language: Language) -> str:
    """Return the first sentence that is written about a definition, "" where there is none."""
    if language.docs == "docstring":
        return first_sentence(_docstring(definition.body, data))
    lines = comment_above(definition.first, layout, language)
    if language.docs == "attribute":
        lines = _attribute(definition.node, data) or lines
    elif language.docs == "description" and not lines:
        match = DESCRIPTION.search(data, definition.start_byte, definition.end_byte)
        lines = [match[1].decode("utf-8", "replace")] if match else []
    return first_sentence(lines)


def _docstring(body: Node | None, data: bytes) -> list[str]:
    return _string(data, body.start_byte) if body is not None else []


def _string(data: bytes, start: int) -> list[str]:
    text = data[start : start + 2 * DOC_CHARS].decode("utf-8", "ignore")
    match = STRING_START.match(text)
    return text[match.end() :].partition(match[1])[0].split("\n") if match else []


def _attribute(node: Node, data: bytes) -> list[str]:
    """Return the lines of Elixir's `@doc` before a definition, or of the `@moduledoc` that a module starts with."""
    body = node.child_by_field_name("body") or (node.children[-1] if node.children else None)
    if body is not None and body.type == "do_block" and body.named_children:
        first = body.named_children[0]
        if (first.text or b"").startswith(b"@moduledoc"):
            return _string(data, first.start_byte + len(b"@moduledoc"))
    above = node.prev_named_sibling
    while above is not None and above.type in ("unary_operator", "comment"):
        text = (above.text or b"")[:16].decode("utf-8", "ignore")
        match = DOC_ATTRIBUTE.match(text)
        if match:
            return _string(data, above.start_byte + match.end())
        above = above.prev_named_sibling
    return []


def comment_above(first: int, layout: Layout, language: Language) -> list[str]:
    """Return the comment lines right above a row without their marks; a block comment may stand one blank line off."""
    blocks = {opener: closer for opener, closer in BLOCK_COMMENTS.items() if opener in language.comments}
    closers = tuple(blocks.values())
    row = first - 1
    if closers and row > 0 and layout.is_blank(row) and layout.lines[row - 1].rstrip().endswith(closers):
        row -= 1
    lines: list[str] = []
    opener = ""  # of the block that is being read, bottom up
    for line in (layout.lines[at].strip() for at in range(row, max(-1, row - DOC_LINES), -1)):
        starts_comment = line.startswith(language.comments)
        if not opener and closers and line.endswith(closers):
            opener = next(start for start, stop in blocks.items() if line.endswith(stop))
        in_block, opener = bool(opener), "" if opener and opener in line else opener
        if line and language.attributes and line.startswith(language.attributes):
            continue
        if not (starts_comment or (in_block and opener)):
            break
        lines.append(line)
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
