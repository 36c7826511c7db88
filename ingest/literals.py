"""Which of many literals a text can hold: one pass over the text instead of one search per literal.

Every three characters in a row set one of 65,536 marks; a literal whose marks are not all set is not there. The other
way round it may be wrong (one time in some thousands for a file), so whoever asks still searches for what is left.
The marks of the last text are kept: every document is asked about secrets and about orders to a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SHORT = 1500  # characters: below, searching for each literal is as quick
WEIGHTS = (961, 31, 1)  # of the three bytes of a mark; the rest of the product is cut off


class LiteralSet:
    """Literals (ASCII, lower case) that are looked for in many texts."""

    def __init__(self, literals: Iterable[str]) -> None:
        """Take the literals; those of fewer than three characters have no mark and always count as possible."""
        self._literals = sorted(dict.fromkeys(literals), key=len)
        self._unmarked = sum(len(literal) < 3 for literal in self._literals)

    def possible_in(self, lowered: str) -> frozenset[str]:
        """Return the literals that a lower-cased text may hold: all that it holds, and rarely one more.

        A line feed counts as a space.
        """
        if len(lowered) < SHORT:
            plain = lowered.replace("\n", " ")
            return frozenset(literal for literal in self._literals if literal in plain)
        import numpy as np  # here: a query's text is short, and a server answers before it needs this

        marks, starts = self._marks
        are_there = np.logical_and.reduceat(_seen_in(lowered)[marks], starts)
        marked = zip(self._literals[self._unmarked :], are_there, strict=True)
        return frozenset((*self._literals[: self._unmarked], *(literal for literal, is_there in marked if is_there)))

    @cached_property
    def _marks(self) -> tuple[np.ndarray[Any, Any], list[int]]:
        """The marks of all literals one after the other, and where those of each begin."""
        import numpy as np

        marks = [marks_of(literal.encode()) for literal in self._literals[self._unmarked :]]
        return np.concatenate(marks), [0, *accumulate(map(len, marks[:-1]))]


def find_all(text: str, literal: str) -> Iterator[int]:
    """Yield where a literal occurs: str.find is an order of magnitude quicker than a regex over the whole text."""
    at = text.find(literal)
    while at >= 0:
        yield at
        at = text.find(literal, at + 1)


@lru_cache(maxsize=1)
def _seen_in(lowered: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Say of each mark whether a text sets it."""
    import numpy as np

    seen = np.zeros(1 << 16, dtype=np.bool_)
    seen[marks_of(lowered.encode("utf-8", "surrogatepass").replace(b"\n", b" "))] = True
    return seen


def marks_of(data: bytes) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return the marks of some bytes, one for each three in a row."""
    import numpy as np

    codes = np.frombuffer(data, dtype=np.uint8).astype(np.uint16)
    first, second, third = WEIGHTS
    marks: np.ndarray[Any, np.dtype[np.uint16]] = codes[:-2] * first + codes[1:-1] * second + codes[2:] * third
    return marks
