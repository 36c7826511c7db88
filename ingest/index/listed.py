"""Lists that are kept as JSON in a mapped file and read where they lie: of a large index nearly all is never asked for.

A million chunks have two million words of names and 180,000 documents. As Python objects they take 350 MB; here they
take the place of their first letters, and what was decoded last.
"""

from __future__ import annotations

import json
import mmap
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import numpy as np

BLOCK = 64  # words that are decoded together, in some 4 us
BLOCKS = 1024  # and kept, of each list: 4 MB
RECORDS = 8192  # that are kept, of each list: 7 MB
QUOTE, BACKSLASH, BRACKET = b'"\\['

Record = TypeVar("Record")
Starts = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Words:
    """A sorted JSON list of strings."""

    def __init__(self, data: mmap.mmap | bytes, first: int, size: int) -> None:
        """Take the part of some data that holds the list, without spaces between. Raises ValueError."""
        starts = first + string_starts(np.frombuffer(data, dtype=np.uint8, count=size, offset=first))
        self._count = len(starts) - 1
        at = np.append(np.arange(0, self._count, BLOCK), self._count)
        heads = zip(starts[at[:-1]].tolist(), starts[at[:-1] + 1].tolist(), strict=True)
        self._heads: list[str] = [json.loads(data[start : end - 1]) for start, end in heads]
        self._block = lru_cache(BLOCKS)(partial(_read_block, data, starts[at]))

    def __len__(self) -> int:
        return self._count

    def place(self, word: str) -> int:
        """Return the place of the first word that is not less than this one, as `bisect_left` does."""
        block = bisect_right(self._heads, word) - 1
        return block * BLOCK + bisect_left(self._block(block), word) if block >= 0 else 0

    def index(self, word: str) -> int | None:
        """Return the place of a word, None where it is not in the list."""
        block = bisect_right(self._heads, word) - 1
        if block < 0:
            return None
        words = self._block(block)
        place = bisect_left(words, word)
        return block * BLOCK + place if place < len(words) and words[place] == word else None


class Records(Generic[Record]):
    """A JSON list of flat lists, each made into a record when it is asked for."""

    def __init__(self, data: mmap.mmap, first: int, size: int, make: Callable[[Iterable[Any]], Record]) -> None:
        """Take the part of some data that holds the list, without spaces between. Raises ValueError."""
        starts = first + row_starts(np.frombuffer(data, dtype=np.uint8, count=size, offset=first))
        self._record = lru_cache(RECORDS)(partial(_read_record, make, data, starts))

    def __getitem__(self, place: int) -> Record:
        return self._record(place)


def _read_block(data: mmap.mmap | bytes, starts: Starts, block: int) -> list[str]:
    words: list[str] = json.loads(b"[" + data[starts[block] : starts[block + 1] - 1] + b"]")
    return words


def _read_record(make: Callable[[Iterable[Any]], Record], data: mmap.mmap, starts: Starts, place: int) -> Record:
    return make(json.loads(data[starts[place] : starts[place + 1] - 1]))


def string_starts(part: Bytes) -> Starts:
    """Return where each string of a JSON list of strings begins, one more: the end of the list."""
    quotes = find_quotes(part)
    return np.append(quotes[::2], len(part))


def row_starts(part: Bytes) -> Starts:
    """Return where each list of a JSON list of flat lists begins, one more: the end of the outer list."""
    brackets = np.flatnonzero(part == BRACKET)
    outside = np.searchsorted(find_quotes(part), brackets) % 2 == 0
    return np.append(brackets[outside][1:], len(part))


def find_quotes(part: Bytes) -> Starts:
    """Return the places of the quotation marks that begin or end a string. Raises ValueError where one has no end."""
    quotes = np.flatnonzero(part == QUOTE)
    doubtful = np.flatnonzero(part[quotes - 1] == BACKSLASH)  # the first byte is a bracket
    within = [at for at in doubtful.tolist() if _count_backslashes(part, int(quotes[at])) % 2]
    found: Starts = np.delete(quotes, within)
    if len(found) % 2:
        raise ValueError("a string has no end")
    return found


def _count_backslashes(part: Bytes, end: int) -> int:
    start = end
    while part[start - 1] == BACKSLASH:
        start -= 1
    return end - start
