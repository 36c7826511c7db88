"""Definitions that were cut into several chunks, put together again: only the whole tells what one does not do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ingest.model import Chunk, Symbol

Document = Callable[[str, str, int, int], Sequence[Chunk]]  # as Resolver.document

WHOLE_FILE = 1_000_000_000  # lines: every chunk of a file
MAX_LINES = 2000  # of a definition that is put together; what is longer is read in pieces
MAX_BLANK = 2  # blank lines between pieces, which no chunk has; a wider gap is a piece that the caller may not see


def last_part(qualname: str) -> str:
    """Return the last part of a qualified name."""
    return re.split(r"\.|::|#", qualname)[-1]


def split_definitions(chunk: Chunk, name: str) -> list[Symbol]:
    """Return the definitions of a name that begin in a chunk and go on after it."""
    return [symbol for symbol in chunk.symbols if symbol.name == name and symbol.end_line > chunk.end_line]


def is_later_piece(chunk: Chunk, name: str) -> bool:
    """Tell whether a chunk lies in a definition of a name that begins before it."""
    own = {symbol.qualname for symbol in chunk.symbols}
    return chunk.symbol is not None and chunk.symbol not in own and last_part(chunk.symbol) == name


def pieces_of(chunk: Chunk, symbol: Symbol, document: Document) -> list[Chunk]:
    """Return the chunks of the file of `chunk` in which a definition lies, in order."""
    if symbol.end_line <= chunk.end_line:
        return [chunk]
    every = document(chunk.source, chunk.ref, symbol.start_line, WHOLE_FILE)
    return [piece for piece in every if piece.start_line <= symbol.end_line and piece.end_line >= symbol.start_line]


def join_pieces(pieces: Sequence[Chunk], symbol: Symbol) -> Chunk | None:
    """Return one chunk with all lines of a definition, None where its pieces leave out some of them."""
    lines: list[str] = []
    symbols: list[Symbol] = []
    at = symbol.start_line
    for piece in pieces:
        own = piece.text.split("\n")
        skipped = piece.start_line - at
        is_cut = len(own) != piece.end_line - piece.start_line + 1  # within a line
        if is_cut or (skipped < 0 and lines) or skipped > (MAX_BLANK if lines else 0):
            return None
        lines += [*[""] * skipped, *own[max(0, -skipped) :]]
        symbols += (s for s in piece.symbols if s.start_line >= symbol.start_line and s.end_line <= symbol.end_line)
        at = piece.end_line + 1
    size = symbol.end_line - symbol.start_line + 1
    if len(lines) < size or size > MAX_LINES:
        return None
    return replace(
        pieces[0],
        start_line=symbol.start_line,
        end_line=symbol.end_line,
        text="\n".join(lines[:size]),
        symbol=symbol.qualname,
        symbols=tuple(symbols),
    )


def whole_definitions(chunk: Chunk, name: str, document: Document) -> list[Chunk]:
    """Return a chunk for each definition of a name that this one has a part of, those of which all lines are known."""
    begun = [(chunk, symbol) for symbol in split_definitions(chunk, name)]
    if is_later_piece(chunk, name):
        begun += (
            (other, symbol)
            for other in document(chunk.source, chunk.ref, chunk.start_line, WHOLE_FILE)
            for symbol in split_definitions(other, name)
            if symbol.qualname == chunk.symbol and symbol.start_line < chunk.start_line <= symbol.end_line
        )
    joined = (join_pieces(pieces_of(first, symbol, document), symbol) for first, symbol in begun)
    return [one for one in joined if one is not None]
