"""Cut text that has no known structure: at blank lines and low indentation, in the end by characters."""

from __future__ import annotations

from ingest.chunking.layout import Layout, Piece

EARLIEST_BREAK = 3  # a piece is at least a third full before a good place to break is preferred to a full piece


def split_lines(layout: Layout, first: int, last: int, limit: int, owner: int = -1) -> list[Piece]:
    """Return pieces of at most `limit` characters that cover rows first..last."""
    pieces: list[Piece] = []
    row = first
    while row <= last:
        if len(layout.lines[row]) > limit:
            pieces.extend(_cut_row(layout, row, limit, owner))
            row += 1
            continue
        stop = _best_break(layout, row, _furthest(layout, row, last, limit), last)
        pieces.append(Piece(row, stop, owner))
        row = stop + 1
    return pieces


def _furthest(layout: Layout, first: int, last: int, limit: int) -> int:
    """Return the last row that still fits, by bisection."""
    low, high = first, last
    while low < high:
        middle = (low + high + 1) // 2
        if layout.size(first, middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _best_break(layout: Layout, first: int, furthest: int, last: int) -> int:
    """Return the row after which to break: before it comes blank space, after it the least indented line."""
    if furthest == last:
        return last
    candidates = range(first + (furthest - first) // EARLIEST_BREAK, furthest + 1)
    return max(candidates, key=lambda row: _break_quality(layout, row))


def _break_quality(layout: Layout, row: int) -> tuple[int, int, int]:
    if layout.is_blank(row + 1):
        return -1, 0, row
    indent = layout.indent(row + 1)
    return int(layout.is_blank(row)) + (indent == 0), -indent, row


def _cut_row(layout: Layout, row: int, limit: int, owner: int) -> list[Piece]:
    length = len(layout.lines[row])
    return [Piece(row, row, owner, start, min(start + limit, length)) for start in range(0, length, limit)]
