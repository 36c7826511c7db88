"""The part of a chunk that was asked for: small neighbouring definitions share a chunk, and one of them is meant."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.model import Chunk, Symbol
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.rerank import is_lone_name, match_symbol, wanted_names
from mcp_server.retrieval.users import first_use

PLACE_LINES = 5  # shown of a chunk from a line on that is asked for
USE_LINES = 2  # shown before and after a line that calls something


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of a chunk, and the definition that they hold."""

    chunk: Chunk
    start_line: int
    end_line: int
    symbol: str

    @property
    def text(self) -> str:
        """Return the lines."""
        first = self.chunk.start_line
        return "\n".join(self.chunk.text.split("\n")[self.start_line - first : self.end_line - first + 1])


def find_excerpt(query: ParsedQuery, chunk: Chunk) -> Excerpt | None:
    """Return the definition of the one name that is asked for, with the comment above it.

    Who asks for a line gets what starts there, who asks for callers what lies around the first call. None where the
    query asks for more than a name, or the chunk defines nothing of that name.
    """
    if place := at_place(query, chunk):
        return place
    if query.users_of and (use := around_use(query, chunk)):
        return use
    if not is_lone_name(query) and not query.users_of:
        return None
    wanted = wanted_names(query)
    best = max(chunk.symbols, key=lambda symbol: match_symbol(wanted, symbol), default=None)
    if best is None or not match_symbol(wanted, best):
        return None
    meant = [symbol for symbol in chunk.symbols if symbol.qualname == best.qualname]  # overloads stand together
    start = max(min(symbol.start_line for symbol in meant), chunk.start_line)
    end = min(max(symbol.end_line for symbol in meant), chunk.end_line)
    return Excerpt(chunk, comment_above(chunk, start), end, best.qualname)


def at_place(query: ParsedQuery, chunk: Chunk) -> Excerpt | None:
    """Return the lines of a chunk from the line on that is asked for."""
    for place in query.places:
        if place.is_in(chunk.path or "") and chunk.start_line <= place.last and place.line <= chunk.end_line:
            first = max(place.line, chunk.start_line)
            last = min(max(place.last, first + PLACE_LINES - 1), chunk.end_line)
            inside = [s.qualname for s in chunk.symbols if s.start_line <= first <= s.end_line]
            return Excerpt(chunk, first, last, inside[-1] if inside else chunk.symbol or "")
    return None


def around_use(query: ParsedQuery, chunk: Chunk) -> Excerpt | None:
    """Return some lines around the first use of the name whose users are asked for, within their definition."""
    use = first_use(chunk, query)
    if use is None:
        return None
    around = [s for s in chunk.symbols if s.qualname == use.inside and s.start_line <= use.line <= s.end_line]
    first = max(chunk.start_line, use.line - USE_LINES, *(symbol.start_line for symbol in around))
    last = min(chunk.end_line, use.line + USE_LINES, *(symbol.end_line for symbol in around))
    return Excerpt(chunk, first, last, use.inside or chunk.symbol or "")


def comment_above(chunk: Chunk, line: int) -> int:
    """Return the first of the lines that stand right above a definition and belong to no other one."""
    lines = chunk.text.split("\n")
    taken = max((bound(symbol, line) for symbol in chunk.symbols), default=0)
    while line - 1 > max(taken, chunk.start_line - 1) and lines[line - 1 - chunk.start_line].strip():
        line -= 1
    return line


def bound(symbol: Symbol, line: int) -> int:
    """Return the last line above `line` that a definition takes: its end, or of one that goes on its beginning."""
    if symbol.start_line >= line:
        return 0
    return symbol.end_line if symbol.end_line < line else symbol.start_line
