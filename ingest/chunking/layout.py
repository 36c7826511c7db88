"""A text as lines with running sizes, and the pieces that it is cut into. Rows are 0-based inclusive here."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from ingest.model import Symbol


class Piece(NamedTuple):
    """Whole rows, or with `stop` a part of one overlong row. `owner` is the split definition around it or -1."""

    first: int
    last: int
    owner: int = -1
    start: int = 0
    stop: int | None = None


class Layout:
    """The lines of one text; `size` answers in constant time."""

    __slots__ = ("_ends", "lines")

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self._ends = [0, *accumulate(map(len, self.lines))]

    @property
    def last(self) -> int:
        """Number of the last row."""
        return len(self.lines) - 1

    def size(self, first: int, last: int) -> int:
        """Return the characters of rows first..last, line breaks included."""
        return self._ends[last + 1] - self._ends[first] + last - first

    def row_at(self, position: int) -> int:
        """Return the row that holds a character of the text."""
        return bisect_right(range(len(self.lines)), position, key=lambda row: self._ends[row] + row) - 1

    def text(self, piece: Piece) -> str:
        """Return what a piece holds."""
        if piece.stop is not None:
            return self.lines[piece.first][piece.start : piece.stop]
        if piece.first == piece.last:
            return self.lines[piece.first]
        return "\n".join(self.lines[piece.first : piece.last + 1])

    def is_blank(self, row: int) -> bool:
        """Say whether a row holds only white space."""
        line = self.lines[row]
        return not line or line.isspace()

    def indent(self, row: int) -> int:
        """Return the leading white space of a row, in characters."""
        line = self.lines[row]
        return len(line) - len(line.lstrip())

    def trim(self, piece: Piece) -> Piece | None:
        """Return the piece without blank rows at its ends, None when nothing is left."""
        first, last = piece.first, piece.last
        if piece.stop is not None:
            return piece
        while first <= last and self.is_blank(first):
            first += 1
        while last > first and self.is_blank(last):
            last -= 1
        if first > last:
            return None
        return piece if (first, last) == (piece.first, piece.last) else Piece(first, last, piece.owner)


@dataclass(frozen=True, slots=True)
class Cut:
    """One piece with what is known of it."""

    piece: Piece
    context: str = ""
    symbol: str | None = None
    symbols: tuple[Symbol, ...] = ()
