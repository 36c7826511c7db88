"""The part of a chunk that was asked for: small neighbouring definitions share a chunk, and one of them is meant."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.model import Chunk, Symbol
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.rerank import is_lone_name, match_symbol, wanted_names


@dataclass(frozen=True, slots=True)
class Passage:
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


def find_passage(query: ParsedQuery, chunk: Chunk) -> Passage | None:
    """Return the definition of the one name that is asked for, with the comment above it.

    None where the query asks for more than a name, or the chunk defines nothing of that name.
    """
    if not is_lone_name(query):
        return None
    wanted = wanted_names(query)
    best = max(chunk.symbols, key=lambda symbol: match_symbol(wanted, symbol), default=None)
    if best is None or not match_symbol(wanted, best):
        return None
    meant = [symbol for symbol in chunk.symbols if symbol.qualname == best.qualname]  # overloads stand together
    start = max(min(symbol.start_line for symbol in meant), chunk.start_line)
    end = min(max(symbol.end_line for symbol in meant), chunk.end_line)
    return Passage(chunk, comment_above(chunk, start), end, best.qualname)


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
