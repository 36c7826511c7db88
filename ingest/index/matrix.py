"""Vectors in memory, shared by generations, and the search for the nearest of them.

Many vectors are searched in two passes. The first compares their projections on the axes along which the vectors of
this index differ most (principal components: a rotation keeps products); the second compares the best of these in
full. 71,143 chunks of code, 150 wanted, a shortlist of 2,000: of the exact first ten 99.8 % are found, of all 150
99.2 %, in less than half of the time. docs/decisions.md has other numbers of axes and what else was tried.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

TWO_PASS_ROWS = 20_000  # fewer fit the processor's cache, and comparing all of them in full is quicker
AXES = 80
SHORTLIST = 2000
SHORTLIST_FACTOR = 5  # of the rows that are wanted, where that is more
SAMPLE_ROWS = 20_000  # of which the axes are computed

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Halves = np.ndarray[Any, np.dtype[np.float16]]
Places = np.ndarray[Any, np.dtype[np.int64]]


class VectorMemory:
    """Rows are only ever appended, and only behind what older readers look at."""

    def __init__(self, pieces: Sequence[Matrix], capacity: int = 0) -> None:
        """Take float32 unit vectors, row by row; `capacity`: rows in all that there shall be room for."""
        self.used = sum(map(len, pieces))
        self.lock = threading.Lock()
        self._axes: Matrix | None = None  # (dimensions, AXES)
        self._leading: Matrix | None = None  # (rows, AXES): the first pass reads these
        rows = max(self.used, capacity)
        if rows >= TWO_PASS_ROWS and self.used >= TWO_PASS_ROWS // 2 and pieces[0].shape[1] > AXES:
            self._axes = principal_axes(pieces)
            self._leading = np.empty((rows, AXES), dtype=np.float32)
            self._rows: Matrix | Halves = np.empty((rows, pieces[0].shape[1]), dtype=np.float16)
        elif len(pieces) == 1 and rows == self.used:
            self._rows = pieces[0]
            return
        else:
            self._rows = np.empty((rows, pieces[0].shape[1]), dtype=np.float32)
        at = 0
        for piece in pieces:
            self._write(at, piece)
            at += len(piece)

    def _write(self, at: int, rows: Matrix) -> None:
        self._rows[at : at + len(rows)] = rows
        if self._leading is not None and self._axes is not None:
            self._leading[at : at + len(rows)] = rows @ self._axes

    def read(self, places: Any = slice(None)) -> Matrix:  # noqa: ANN401 - any index of rows
        """Return the vectors at some places, all by default."""
        rows: Matrix = self._rows[: self.used][places].astype(np.float32, copy=False)
        return rows

    def append(self, rows: Matrix, expected: int) -> bool:
        """Put rows behind row `expected`; False when there is no room, or another reader took that place."""
        with self.lock:
            if self.used != expected or expected + len(rows) > len(self._rows):
                return False
            self._write(expected, rows)
            self.used += len(rows)
            return True

    def search(self, vector: Matrix, places: Places | None, end: int, wanted: int) -> tuple[Places | None, Matrix]:
        """Return places and their dot products: of all rows before `end` or all given places, or of the best of them.

        None stands for every place before `end`, in order.
        """
        if self._axes is not None and (end if places is None else len(places)) > TWO_PASS_ROWS // 2:
            places = self._shortlist(vector @ self._axes, places, end, max(SHORTLIST, SHORTLIST_FACTOR * wanted))
        if places is None:
            return None, self._rows[:end].astype(np.float32, copy=False) @ vector
        if self._axes is None and len(places) * 3 > end:  # gathering many rows costs more than multiplying all
            return places, (self._rows[:end] @ vector)[places]
        return places, self.read(places) @ vector

    def _shortlist(self, vector: Matrix, places: Places | None, end: int, count: int) -> Places | None:
        assert self._leading is not None
        if places is None or len(places) * 3 > end:
            near = self._leading[:end] @ vector
            near = near if places is None else near[places]
        else:
            near = self._leading[places] @ vector
        if len(near) <= count:
            return places
        border = np.partition(near, len(near) - count)[len(near) - count]
        best: Places = np.flatnonzero(near >= border)
        return best if places is None else places[best]


def principal_axes(pieces: Sequence[Matrix]) -> Matrix:
    """Return the axes (dimensions, AXES) along which a sample of the rows varies most, the widest first."""
    step = max(1, sum(map(len, pieces)) // SAMPLE_ROWS)
    sample = np.concatenate([piece[::step] for piece in pieces])
    _, axes = np.linalg.eigh(np.cov(sample, rowvar=False))  # ascending
    return np.ascontiguousarray(axes[:, ::-1][:, :AXES], dtype=np.float32)
