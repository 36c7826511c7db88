"""Cut SQL by statement and find what it creates, without a grammar: dialects differ in all but their CREATE."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ingest.chunking.code import describe_pieces, merge_pieces
from ingest.chunking.definitions import Definition, one_line
from ingest.chunking.docs import comment_above, first_sentence
from ingest.chunking.layout import Cut, Layout, Piece
from ingest.chunking.lines import split_lines
from ingest.languages.table import LANGUAGES

NAME = r"(?:\"[^\"\n]+\"|`[^`\n]+`|\[[^\]\n]+\]|[\w$@#]+)"
QUALIFIED = rf"{NAME}(?:\s*\.\s*{NAME})*"
CREATE = re.compile(
    r"CREATE\s+(?:OR\s+(?:REPLACE|ALTER)\s+)?"
    r"(?:(?:TEMP|TEMPORARY|GLOBAL|LOCAL|UNLOGGED|UNIQUE|CLUSTERED|NONCLUSTERED|COLUMNSTORE|MATERIALIZED|RECURSIVE|"
    r"EXTERNAL|FOREIGN|VIRTUAL|FULLTEXT|SPATIAL|BITMAP|CONSTRAINT|EVENT|PUBLIC|EDITIONABLE|NONEDITIONABLE|"
    r"DEFINER\s*=\s*\S+|ALGORITHM\s*=\s*\w+|SQL\s+SECURITY\s+\w+)\s+)*"
    r"(?P<what>TABLE|VIEW|FUNCTION|PROCEDURE|PROC|AGGREGATE|TYPE|DOMAIN|SCHEMA|PACKAGE|INDEX|TRIGGER|SEQUENCE|POLICY|"
    r"RULE|EXTENSION|ROLE|USER|DATABASE|SYNONYM|PUBLICATION|SERVER)\s+"
    rf"(?:BODY\s+)?(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{QUALIFIED})(?P<enum>\s+AS\s+ENUM\b)?",
    re.IGNORECASE,
)
ADD_COLUMN = re.compile(
    rf"ALTER\s+(?P<what>TABLE)\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<table>{QUALIFIED})\s+"
    rf"ADD\s+COLUMN\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})",
    re.IGNORECASE,
)
# `'\'` is a whole string in standard SQL, as after LIKE ... ESCAPE; elsewhere a backslash may hide a quote (MySQL).
QUOTED = (
    r"--[^\n]*|/\*.*?(?:\*/|\Z)|'\\'(?![\w'])|'(?:[^'\\]|''|\\.)*'|\"[^\"]*\"|`[^`]*`|"
    r"\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)"
)
TOKEN = re.compile(
    rf"{QUOTED}|(?P<end>;)|^[ \t]*(?P<batch>GO|/|DELIMITER[ \t][^\n]*)[ \t]*$|"
    r"\b(?P<block>BEGIN(?:\s+(?:TRAN|WORK)\w*)?|CASE|END(?:\s+(?:IF|LOOP|WHILE|REPEAT|FOR|CASE))?)\b|"
    r"\b(?P<head>CREATE|ALTER)\s",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
ITEM = re.compile(rf"{QUOTED}|(?P<sign>[(),])", re.DOTALL)
COLUMN = re.compile(rf"(?:\s|--[^\n]*|/\*.*?\*/)*(?P<name>{NAME})\s", re.DOTALL)
NO_COLUMN = frozenset("constraint primary foreign unique check key index exclude like period fulltext spatial".split())
KINDS = {
    "table": "struct", "view": "struct", "function": "function", "procedure": "function", "proc": "function",
    "aggregate": "function", "type": "type", "domain": "type", "schema": "namespace", "package": "module",
}  # fmt: skip
BODIED = frozenset(("function", "procedure", "proc", "trigger", "package"))
DEPTH = {"begin": 1, "case": 1, "end": -1, "end case": -1}


class Statement(NamedTuple):
    """Characters start..end of a statement that creates something, and the match that says what."""

    start: int
    end: int
    head: re.Match[str]


def cut_sql(text: str, layout: Layout, limit: int) -> list[Cut]:
    """Return the pieces of an SQL file, cut where statements start."""
    definitions: list[Definition] = []
    pieces: list[Piece] = []
    done = 0  # rows that lie in a piece
    for statement in find_statements(text):
        first, last = layout.row_at(statement.start), layout.row_at(statement.end - 1)
        owner = len(definitions)
        definitions.extend(_define(statement, text, layout))
        if first < done:
            continue  # a further statement on the row
        while first > done and layout.lines[first - 1].lstrip().startswith("--"):
            first -= 1
        pieces.extend(split_lines(layout, done, first - 1, limit))
        fits = layout.size(first, last) <= limit
        pieces.extend([Piece(first, last)] if fits else split_lines(layout, first, last, limit, owner))
        done = last + 1
    pieces.extend(split_lines(layout, done, layout.last, limit))
    return describe_pieces(merge_pieces(pieces, layout, limit, definitions), definitions)


def find_statements(text: str) -> Iterator[Statement]:
    """Yield the statements that create something: to their `;`, that of a body included, or the end of the batch."""
    head: re.Match[str] | None = None
    depth = 0
    for token in TOKEN.finditer(text):
        kind, start = token.lastgroup, token.start()
        if kind == "head" and (head is None or depth <= 0 or text[start - 1 : start] in ("", "\n")):
            found = CREATE.match(text, start) or ADD_COLUMN.match(text, start)
            if found and head:
                yield Statement(head.start(), start, head)
            head, depth = (found, 0) if found else (head, depth)
        elif head and kind == "block" and head["what"].lower() in BODIED:
            depth += DEPTH.get(" ".join(token["block"].lower().split()), 0)
        elif head and (kind == "batch" or (kind == "end" and depth <= 0)):
            yield Statement(head.start(), start if kind == "batch" else token.end(), head)
            head = None
    if head:
        yield Statement(head.start(), len(text), head)


def _define(statement: Statement, text: str, layout: Layout) -> Iterator[Definition]:
    """Yield what a statement creates, for a table its columns too."""
    head, what = statement.head, statement.head["what"].lower()
    first = layout.row_at(statement.start)
    code = text[statement.start : statement.end].rstrip()
    last = layout.row_at(statement.start + len(code) - 1)
    signature = one_line(code.partition("\n")[0].partition("(")[0] if what == "table" else code.partition("\n")[0])
    doc = first_sentence(comment_above(first, layout, LANGUAGES["sql"]))
    name = _plain_name(head["name"])
    if "table" in head.groupdict():
        qualname = f"{_plain_name(head['table'])}.{name}"
        yield Definition(first, last, name, "property", qualname, signature=signature, doc=doc)
        return
    kind = "enum" if head["enum"] else KINDS.get(what, "key")
    yield Definition(first, last, name, kind, name, signature=signature, doc=doc)
    if what != "table":
        return
    for column, at in _columns(text, head.end(), statement.end):
        row = layout.row_at(at)
        line = one_line(layout.lines[row]).rstrip(",")
        yield Definition(row, row, column, "property", f"{name}.{column}", depth=1, signature=line)


def _columns(text: str, start: int, end: int) -> Iterator[tuple[str, int]]:
    """Yield names and positions of the columns in the parentheses right after a table's name."""
    depth = 0
    for token in ITEM.finditer(text, start, end):
        sign = token["sign"]
        if not sign:
            continue
        if not depth and text[start : token.start()].strip():
            return  # CREATE TABLE x AS SELECT ...
        opens = sign == "(" and depth == 0
        depth += {"(": 1, ")": -1, ",": 0}[sign]
        if depth == 0:
            return
        if opens or (sign == "," and depth == 1):
            column = COLUMN.match(text, token.end(), end)
            if column and column["name"].lower() not in NO_COLUMN:
                yield _plain_name(column["name"]), column.start("name")


def _plain_name(name: str) -> str:
    return ".".join(part.strip().strip('"`[]') for part in re.findall(NAME, name))
