"""Exhaustive search: every line that holds a name or phrase as it is written, with a true count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.index.tokens import index_tokens, whole_word, words
from ingest.model import Chunk, Filters, Symbol
from mcp_server.retrieval.query import bare_name

if TYPE_CHECKING:
    from ingest.index import Index

MAX_DEFINITIONS = 10_000


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One line that holds what was asked for; `symbol` is the innermost definition around it."""

    chunk: Chunk
    line: int
    text: str
    count: int
    symbol: str | None
    is_definition: bool


def find_occurrences(index: Index, query: str, filters: Filters) -> list[Occurrence]:
    """Return every visible line that holds the query as a whole word: definitions first, then by place.

    The case counts. A qualified name (`Engine.run`) also finds the definitions that it names. Empty when the query
    holds no word.
    """
    wanted = bare_name(query.strip())
    tokens = [token for word in words(wanted) for token in index_tokens(word)[:1]]
    if not tokens:
        return []
    defined = definition_lines(index, wanted, filters)
    pattern = whole_word(wanted)
    found: dict[tuple[str, str, int], Occurrence] = {}
    holding = index.containing(list(dict.fromkeys(tokens)), filters)
    for chunk in index.chunks(sorted({*holding, *(chunk_id for chunk_id, _ in defined)})):
        for item in lines_of(chunk, pattern, defined):
            found.setdefault((chunk.source, chunk.ref, item.line), item)
    return sorted(found.values(), key=lambda o: (not o.is_definition, o.chunk.source, o.chunk.ref, o.line))


def definition_lines(index: Index, name: str, filters: Filters) -> set[tuple[int, int]]:
    """Return (chunk id, first line) of each definition that has the name, in this case of letters."""
    hits = index.find_symbol(name, filters, MAX_DEFINITIONS, loose=False)
    return {(hit.chunk_id, hit.symbol.start_line) for hit in hits if hit.how in ("exact", "qualified")}


def lines_of(chunk: Chunk, pattern: re.Pattern[str], defined: set[tuple[int, int]]) -> Iterator[Occurrence]:
    """Yield the lines of a chunk that match or begin a definition that was asked for."""
    for number, text in enumerate(chunk.text.split("\n"), chunk.start_line):
        count = len(pattern.findall(text))
        is_definition = (chunk.id, number) in defined
        if count or is_definition:
            around = innermost(chunk, number)
            yield Occurrence(chunk, number, text, max(count, 1), around, is_definition)


def innermost(chunk: Chunk, line: int) -> str | None:
    """Return the qualified name of the smallest definition around a line."""
    around = [symbol for symbol in chunk.symbols if symbol.start_line <= line <= symbol.end_line]
    return min(around, key=length).qualname if around else chunk.symbol


def length(symbol: Symbol) -> tuple[int, str]:
    """Return what orders symbols from the innermost outwards."""
    return (symbol.end_line - symbol.start_line, symbol.qualname)
