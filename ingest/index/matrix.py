"""Vectors in memory, shared by generations, and the search for the nearest of them.

Many vectors are searched in two passes. The first compares their projections on the axes along which the vectors of
this index differ most (principal components: a rotation keeps products); the second compares the best of these in
full. 71,143 chunks of code, 150 wanted, a shortlist of about 1,800: of the exact first ten 99.7 % are found, of all 150
99.0 %. docs/decisions.md has other numbers of axes and what else was tried. Of very many rows the first pass looks at
the nearest cells only, once `group` has made them.

The rows themselves are then integers of 16 bits, which are as exact as halves and turn into float32 at once: numpy
takes 1.5 microseconds for a row of 256 halves. Very many are integers of 8 bits, each row in a unit of its own: of the
exact first ten of 168,000 chunks 99.4 % are found by these alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np

from ingest.index.cells import Cells, group_rows

TWO_PASS_ROWS = 20_000  # fewer fit the processor's cache, and comparing all of them in full is quicker
AXES = 80
SHORTLIST = 1500  # and about a fifth more: where to cut is told from a sample
SHORTLIST_FACTOR = 5  # of the rows that are wanted, where that is more
SAMPLE_ROWS = 20_000  # of which the axes are computed
BORDER_ROWS = 4096  # at least, in that sample
BORDER_SHARE = 1.15  # of the rows that are wanted: seldom fewer come through
FULL_SCALE = 32_767  # of a row's integers; no component of a unit vector is larger than 1
BYTE_SCALE = 127
CELL_ROWS = 150_000  # from so many rows on a pass over all projections takes longer than the rest of a search
PROJECTED = 50_000  # rows at a time
STALE_CELLS = 0.05  # rows behind those in cells, all of which are compared in full, before cells are made anew

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Codes = np.ndarray[Any, np.dtype[np.int16]] | np.ndarray[Any, np.dtype[np.int8]]
Places = np.ndarray[Any, np.dtype[np.int64]]


class VectorMemory:
    """Rows are only ever appended, and only behind what older readers look at."""

    def __init__(self, pieces: Iterable[Matrix], shape: tuple[int, int], capacity: int = 0) -> None:
        """Take float32 unit vectors, (rows, dimensions) in all; `capacity`: rows that there shall be room for.

        Pieces are taken one at a time: of a million rows all of them would be a gigabyte beside what is kept.
        """
        self.used, dimensions = shape
        self.lock = threading.Lock()
        self._axes: Matrix | None = None  # (dimensions, AXES)
        self._leading: Matrix | None = None  # (rows, AXES): the first pass reads these, until there are cells
        self._cells: Cells | None = None
        rows = max(self.used, capacity)
        in_two = rows >= TWO_PASS_ROWS and self.used >= TWO_PASS_ROWS // 2 and dimensions > AXES
        in_bytes = in_two and self.used >= CELL_ROWS
        kind = np.int8 if in_bytes else np.int16 if in_two else np.float32
        self._rows: Matrix | Codes = np.empty((rows, dimensions), dtype=kind)
        self._units: Matrix | None = np.empty(rows, dtype=np.float32) if in_bytes else None  # of each row's integers
        at, step, sample = 0, max(1, self.used // SAMPLE_ROWS), []
        for piece in pieces:
            self._write(at, piece)
            sample += [piece[-at % step :: step].copy()] if in_two else []
            at += len(piece)
        if in_two:
            self._axes = principal_axes(np.concatenate(sample))
            self._leading = np.empty((rows, AXES), dtype=np.float32)
            for start in range(0, self.used, PROJECTED):
                end = min(start + PROJECTED, self.used)
                self._leading[start:end] = self.read(slice(start, end)) @ self._axes

    def _write(self, at: int, rows: Matrix) -> None:
        end = at + len(rows)
        if self._units is not None:
            units = np.abs(rows).max(axis=1, initial=np.finfo(np.float32).tiny) / BYTE_SCALE
            self._rows[at:end], self._units[at:end] = np.rint(rows / units[:, None]), units
        else:
            self._rows[at:end] = np.rint(rows * FULL_SCALE) if self._rows.dtype == np.int16 else rows
        if self._leading is not None and self._axes is not None:
            self._leading[at:end] = rows @ self._axes

    def read(self, places: Any = slice(None)) -> Matrix:  # noqa: ANN401 - any index of rows
        """Return the vectors at some places, all by default."""
        plain: Matrix = self._rows[: self.used][places].astype(np.float32, copy=False)
        if self._units is not None:
            units: Matrix = self._units[: self.used][places]
            return plain * units[:, None]
        return plain if self._rows.dtype == np.float32 else plain * np.float32(1 / FULL_SCALE)

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
            count = max(SHORTLIST, SHORTLIST_FACTOR * wanted)
            leading, cells = self._leading, self._cells  # in this order: cells are there before the other goes
            if cells is not None:
                places = self._search_cells(cells, vector @ self._axes, places, end, count)
            elif leading is not None:
                places = shortlist(leading, vector @ self._axes, places, end, count)
        if places is None:
            return None, self.read(slice(end)) @ vector
        if self._axes is None and len(places) * 3 > end:  # gathering many rows costs more than multiplying all
            return places, (self._rows[:end] @ vector)[places]
        scale = 1.0 if self._axes is None or self._units is not None else 1 / FULL_SCALE
        products = self._rows[places].astype(np.float32, copy=False) @ (vector * np.float32(scale))
        return places, products if self._units is None else products * self._units[places]

    @staticmethod
    def _search_cells(cells: Cells, vector: Matrix, places: Places | None, end: int, count: int) -> Places:
        """Return the best rows of the nearest cells, and all that came after the cells were made."""
        allowed = None
        if places is not None or end < len(cells):
            allowed = np.zeros(max(end, len(cells)), dtype=np.bool_)
            allowed[slice(end) if places is None else places] = True
            allowed = allowed[: len(cells)]
        later = np.arange(len(cells), end) if places is None else places[np.searchsorted(places, len(cells)) :]
        return np.concatenate((cells.near(vector, allowed, count), later))

    def group(self) -> bool:
        """Group very many rows by direction, in seconds, beside searches; tell whether there was need for it."""
        done, used = 0 if self._cells is None else len(self._cells), self.used
        if self._axes is None or used < CELL_ROWS or used - done <= STALE_CELLS * done:
            return False
        leading = self._leading[:used] if self._leading is not None else self._project(used)
        cells = group_rows(leading)
        with self.lock:
            self._cells, self._leading = cells, None
        return True

    def _project(self, end: int) -> Matrix:
        assert self._axes is not None
        blocks = (slice(start, min(start + PROJECTED, end)) for start in range(0, end, PROJECTED))
        return np.concatenate([self.read(block) @ self._axes for block in blocks])


def shortlist(leading: Matrix, vector: Matrix, places: Places | None, end: int, count: int) -> Places | None:
    """Return the places of the rows before `end`, or given ones, whose projections are nearest; None: all."""
    if places is None or len(places) * 3 > end:
        near = leading[:end] @ vector
        near = near if places is None else near[places]
    else:
        near = leading[places] @ vector
    if len(near) <= count:
        return places
    best: Places = np.flatnonzero(near >= find_border(near, count))
    return best if places is None else places[best]


def find_border(near: Matrix, count: int) -> float:
    """Return a value that about `count` of many values reach, told from every n-th: a tenth of the work.

    Where fewer reach it, because equal ones lie side by side, it is the exact one.
    """
    sample = near[:: max(1, len(near) // BORDER_ROWS)]
    rank = min(len(sample), int(len(sample) * count * BORDER_SHARE / len(near)) + 1)
    border = float(np.partition(sample, len(sample) - rank)[len(sample) - rank])
    if np.count_nonzero(near >= border) < count:
        border = float(np.partition(near, len(near) - count)[len(near) - count])
    return border


def principal_axes(sample: Matrix) -> Matrix:
    """Return the axes (dimensions, AXES) along which a sample of the rows varies most, the widest first."""
    _, axes = np.linalg.eigh(np.cov(sample, rowvar=False))  # ascending
    return np.ascontiguousarray(axes[:, ::-1][:, :AXES], dtype=np.float32)
