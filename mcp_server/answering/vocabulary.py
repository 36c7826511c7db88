"""The names that code and prose are made of, numbered: what each tells by itself, and where the words of a text stand.

A code base says the same names again and again, so what is known of a name is kept, in arrays that features are made of
without looking at each name anew.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ingest.index.tokens import split_identifier
from mcp_server.answering.aspects import root

if TYPE_CHECKING:
    import numpy as np

    from ingest.embedding.static import StaticEmbedder

    Array = np.ndarray[Any, Any]

# Names joined by dots, with what tells that they stand in code: a dot before, a bracket or a sign of assignment after.
TOKEN = re.compile(r"\.?\b[A-Za-z_]\w+(?:[ \t]*\.[A-Za-z_]\w+)*(?:[ \t]*[(.=:\[])?|\n")
NAME = re.compile(r"[A-Za-z_]\w+")
ERRORS = ("Error", "Warning", "Exception")
NO_NAMES = frozenset(
    """def return self class if else elif for while in not is and or None True False import from as with try except
    raise lambda yield pass cls assert del global print str int the of to it this be func fn let const var public
    private static void new null true false async await function export default type struct impl use mod package end
    do""".split()
)
SHAPE_FEATURES = 10
KEPT_NAMES = 65_536
KEPT_TEXTS = 32_768
KEPT_TOKENS = 131_072


@dataclass(frozen=True, slots=True)
class TextNames:
    """The names of one text by their numbers: those of each line, and all of them in order. Arrays of int32.

    `lengths` [lines]: of each line, with its end. `held` [2, names of lines]: line (from 0) and number.
    `table` [4, names]: number, whether it stands in code, on how many lines, and on which first (from 0).
    """

    lengths: Array
    held: Array
    table: Array


@dataclass(frozen=True, slots=True)
class Match:
    """How the names of a vocabulary match some roots: by number, and per root."""

    total: Array  # weights of the roots that the name has
    share: Array  # of its parts, those that are such roots
    names: tuple[Array, ...]  # per root, the numbers of the names that have it


class Vocabulary:
    """Names by number, as far as they were seen. Thread-safe: what is known only grows."""

    def __init__(self) -> None:
        """Start without a name."""
        import numpy as np  # here: what answers without reading on needs no arrays

        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._tokens = Tokens(self.number_of)
        self._texts: dict[str, TextNames] = {}
        self._with_root: defaultdict[str, list[int]] = defaultdict(list)
        self._with_part: defaultdict[str, list[int]] = defaultdict(list)
        self._parts: list[int] = []  # of each name, how many
        self._shapes: Array = np.zeros((0, SHAPE_FEATURES))
        self._pieces: Array = np.zeros(0, dtype=np.uint16)  # of one name after the other
        self._ends: Array = np.zeros(0, dtype=np.int64)  # where those of each name end
        self._norms: Array = np.zeros(0, dtype=np.float32)
        self._lock = threading.RLock()

    @property
    def is_full(self) -> bool:
        """Tell whether it should be left for a new one."""
        return len(self.names) > KEPT_NAMES

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, text: str) -> TextNames:
        """Return the names of a text, without keywords. Kept, because the same chunks are looked at again and again."""
        known = self._texts.get(text)
        if known is None:
            with self._lock:
                if len(self._texts) >= KEPT_TEXTS:
                    self._texts.clear()
                known = self._texts[text] = self._read(text)
        return known

    def _read(self, text: str) -> TextNames:
        import numpy as np

        found: dict[int, list[int]] = {}
        held: list[int] = []  # line and number by turns
        line: set[int] = set()
        tokens, at = self._tokens, 0
        for token in TOKEN.findall(text):
            if token == "\n":
                line, at = set(), at + 1
                continue
            numbers, in_code = tokens[token]
            for number in numbers:
                entry = found.get(number)
                if entry is None:
                    found[number] = [number, in_code, 1, at]
                else:
                    if in_code:
                        entry[1] = True
                    if number in line:
                        continue
                    entry[2] += 1
                line.add(number)
                held += at, number
        table = np.array(list(found.values()), dtype=np.int32).reshape(-1, 4).T
        lengths = np.array([len(one) + 1 for one in text.split("\n")], dtype=np.int32)
        return TextNames(lengths, np.array(held, dtype=np.int32).reshape(-1, 2).T, table)

    def read_ahead(self, texts: Iterable[str]) -> int:
        """Read texts before somebody waits for them, up to half of what is kept; return how many were."""
        count = 0
        for text in texts:
            if len(self._texts) >= KEPT_TEXTS // 2 or len(self.names) >= KEPT_NAMES // 2:
                break
            self.read(text)
            count += 1
        self._weigh(embedder())
        self._shape()
        return count

    def number_of(self, name: str) -> int:
        """Return the number of a name, a new one for one that was never seen."""
        number = self._numbers.get(name)
        if number is None:
            with self._lock:
                number = self._numbers.get(name)
                return self._add(name) if number is None else number
        return number

    def find(self, name: str) -> int | None:
        """Return the number of a name, None for one that was never seen."""
        return self._numbers.get(name)

    def _add(self, name: str) -> int:
        number, whole = len(self.names), root(name)
        parts = [root(part) for part in split_identifier(name)] or [whole]
        for part in parts:
            self._with_part[part].append(number)
        for one in {*parts, whole}:
            self._with_root[one].append(number)
        self._parts.append(len(parts))
        self.names.append(name)
        self._numbers[name] = number  # last: who finds the number finds the rest
        return number

    # -- what names tell -----------------------------------------------------------------------------------------------

    def shapes(self, numbers: Array) -> Array:
        """Return what each name tells by itself, one row of SHAPE_FEATURES each."""
        self._shape()
        found: Array = self._shapes[numbers]
        return found

    def _shape(self) -> None:
        """Note what the names tell that came since the last time."""
        import numpy as np

        with self._lock:
            first = len(self._shapes)
            new = list(map(shape_of, self.names[first:], self._parts[first:]))
            if new:
                self._shapes = np.concatenate([self._shapes, np.array(new, dtype=float)])

    def match(self, weights: Mapping[str, float]) -> Match:
        """Compare all names with some roots. `weights`: root -> idf."""
        import numpy as np

        with self._lock:
            total, share = np.zeros(len(self.names)), np.zeros(len(self.names))
            names = {one: np.array(self._with_root.get(one, []), dtype=np.int64) for one in weights}
            for one in sorted(weights):
                total[names[one]] += weights[one]
            alike = Counter(number for one in weights for number in self._with_part.get(one, ()))
            share[list(alike)] = [count / self._parts[number] for number, count in alike.items()]
            return Match(total, share, tuple(names.values()))

    def likeness(self, numbers: Array, text: str) -> Array:
        """Return the cosine of each name with a text, float32.

        A vector is a sum of rows, one per word piece, so that each piece is compared once and no vector is kept.
        """
        import numpy as np

        model = embedder()
        self._weigh(model)
        ends, norms = self._ends, self._norms
        first = np.where(numbers > 0, ends[numbers - 1], 0)
        counts = ends[numbers] - first
        owner = np.repeat(np.arange(len(numbers)), counts)
        own = self._pieces[np.arange(len(owner)) + np.repeat(first - np.cumsum(counts) + counts, counts)]
        used, which = np.unique(own, return_inverse=True)
        near = model.rows_of(used) @ model.embed_query(text)
        sums = np.bincount(owner, weights=near[which], minlength=len(numbers))
        found: Array = (sums / norms[numbers]).astype(np.float32)
        return found

    def _weigh(self, model: StaticEmbedder) -> None:
        """Cut the names that came since the last time into pieces, and note the length of their sums."""
        import numpy as np

        with self._lock:
            new = self.names[len(self._norms) :]
            if not new:
                return
            pieces, counts = model.pieces_of(new)
            sums = np.zeros((len(new), model.dimensions), dtype=np.float32)
            filled = counts > 0
            starts = (np.cumsum(counts) - counts)[filled]
            sums[filled] = np.add.reduceat(model.rows_of(pieces), starts) if len(starts) else 0
            lengths = np.linalg.norm(sums, axis=1)
            lengths[lengths == 0] = np.inf  # no words, so like nothing
            self._ends = np.concatenate([self._ends, len(self._pieces) + np.cumsum(counts)])
            self._pieces = np.concatenate([self._pieces, pieces])
            self._norms = np.concatenate([self._norms, lengths])  # last: how many are weighed


class Tokens(dict[str, tuple[tuple[int, ...], bool]]):
    """Token -> the numbers of its names without keywords, and whether they stand in code. When full it starts over."""

    def __init__(self, number_of: Callable[[str], int]) -> None:
        """Take what numbers a name."""
        super().__init__()
        self._number_of = number_of

    def __missing__(self, token: str) -> tuple[tuple[int, ...], bool]:
        names = NAME.findall(token)
        in_code = len(names) > 1 or len(token) > len(names[0])
        if len(self) >= KEPT_TOKENS:
            self.clear()
        entry = self[token] = (tuple([self._number_of(name) for name in names if name not in NO_NAMES]), in_code)
        return entry


def shape_of(name: str, parts: int) -> tuple[float, ...]:
    """Return the features of a name by itself, in the order of naming.py."""
    is_shaped, is_upper = parts > 1, name.isupper()
    return (
        is_shaped, name.startswith("_"), parts / 4, name.islower() and not is_shaped, name.endswith(ERRORS),
        name.startswith("test_"), name.startswith("__"), is_upper, name[0].isupper() and not is_upper, len(name) / 10,
    )  # fmt: skip


@lru_cache(maxsize=1)
def embedder() -> StaticEmbedder:
    """Return the model that ships with the package, whatever the index was built with: names need no other."""
    from ingest.embedding.static import StaticEmbedder

    return StaticEmbedder()


_CURRENT: list[Vocabulary] = []


def vocabulary() -> Vocabulary:
    """Return the vocabulary in use; a full one is left to those who still read in it."""
    if not _CURRENT or _CURRENT[0].is_full:
        _CURRENT[:] = [Vocabulary()]
    return _CURRENT[0]
