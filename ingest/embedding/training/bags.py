"""Texts as bags of word pieces, flat in memory: a million pairs take about a gigabyte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Bags:
    """Bag n holds `pieces[ends[n - 1]:ends[n]]`, each `counts` times."""

    pieces: Array  # uint16
    counts: Array  # uint8
    ends: Array  # int64

    def __len__(self) -> int:
        return len(self.ends)

    def sizes(self) -> Array:
        """Return the number of different pieces of each bag."""
        return np.diff(self.ends, prepend=0)

    def pick(self, rows: Array) -> Bags:
        """Return some of the bags, in that order."""
        sizes = self.sizes()[rows]
        at = np.repeat(self.ends[rows] - np.cumsum(sizes), sizes) + np.arange(sizes.sum())
        return Bags(self.pieces[at], self.counts[at], np.cumsum(sizes))

    def take(self, rows: Array) -> tuple[Array, Array, Array]:
        """Return pieces, counts and the place in `rows` of each piece."""
        sizes = self.ends[rows] - np.where(rows > 0, self.ends[rows - 1], 0)
        places = np.repeat(np.arange(len(rows)), sizes)
        at = np.repeat(self.ends[rows] - np.cumsum(sizes), sizes) + np.arange(len(places))
        return self.pieces[at].astype(np.int64), self.counts[at].astype(np.float32), places


def make_bags(texts: Iterable[str], read_pieces: Callable[[str], Array]) -> Bags:
    """Return the bags of texts; a text without words is an empty bag."""
    pieces: list[Array] = []
    counts: list[Array] = []
    for text in texts:
        unique, times = np.unique(read_pieces(text), return_counts=True)
        pieces.append(unique.astype(np.uint16))
        counts.append(np.minimum(times, 255).astype(np.uint8))
    ends = np.cumsum([len(bag) for bag in pieces], dtype=np.int64)
    return Bags(np.concatenate(pieces), np.concatenate(counts), ends)


def join_bags(parts: Sequence[Bags]) -> Bags:
    """Return the bags of several parts as one."""
    shifts = np.cumsum([0, *(len(part.pieces) for part in parts[:-1])])
    ends = np.concatenate([part.ends + shift for part, shift in zip(parts, shifts, strict=True)])
    return Bags(np.concatenate([p.pieces for p in parts]), np.concatenate([p.counts for p in parts]), ends)
