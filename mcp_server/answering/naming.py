"""Which names of some files an answer to a question would probably give: a logistic model over names.

What a name is by itself (`Shape`), where it stands in its file (`Held`) and how it compares with the other names that
could be given instead. Nothing here reads an index; the same question over the same chunks gives the same figures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.index.tokens import split_identifier
from ingest.languages.kinds import CALLABLE_KINDS, TYPE_KINDS
from ingest.model import Chunk
from mcp_server.answering.aspects import root
from mcp_server.answering.name_weights import NAME_WEIGHTS
from mcp_server.answering.passages import PLAIN_VALUES
from mcp_server.retrieval.model import RankedChunk

if TYPE_CHECKING:
    import numpy as np

    from ingest.embedding.static import StaticEmbedder

    Array = np.ndarray[Any, Any]

TOKEN = re.compile(r"(\n)|(\.)?\b([A-Za-z_]\w+)(?=([ \t]*[(.=:\[])?)")
ERRORS = ("Error", "Warning", "Exception")
NO_NAMES = frozenset(
    """def return self class if else elif for while in not is and or None True False import from as with try except
    raise lambda yield pass cls assert del global print str int the of to it this be func fn let const var public
    private static void new null true false async await function export default type struct impl use mod package end
    do""".split()
)
UNRANKED = 60  # the rank of a chunk that is not in the ranking
NEAREST = 5  # names of a file whose likeness to the question says how near the file is
KEPT_TEXTS = 8192
KEPT_NAMES = 65_536
KEPT_VECTORS = 32_768  # half a kilobyte each


class Line(NamedTuple):  # thousands are made for one question: a tuple is made faster than a dataclass
    """One line of a file: its length, the chunk that it stands in, and its names with whether they stand in code."""

    length: int
    chunk: Chunk
    names: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class FileText:
    """The lines of one document that are looked at, by number, and how good a place it is."""

    source: str
    ref: str
    role: str
    lines: Mapping[int, Line]
    scores: Mapping[int, float]  # chunk id -> score, relative to the best of all
    best: float
    total: float

    @property
    def chunks(self) -> list[Chunk]:
        """The chunks that the lines stand in, in order."""
        return list({line.chunk.id: line.chunk for line in self.lines.values()}.values())


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as names are compared with it. `weights`: word root -> idf."""

    text: str
    weights: Mapping[str, float]


def name_probabilities(
    asked: Asked, ranked: Sequence[RankedChunk], files: Sequence[FileText], weights: Sequence[float] = NAME_WEIGHTS
) -> list[dict[str, float]]:
    """Return per file the probability of each of its names that an answer gives it."""
    import numpy as np  # here: what answers without reading on needs no arrays

    names, rows = name_features(asked, ranked, files)
    if not len(rows):
        return [{} for _ in files]
    chances = iter((1 / (1 + np.exp(-(rows @ np.asarray(weights))))).tolist())
    return [dict(zip(own, chances, strict=False)) for own in names]


# ---- names of a text


@lru_cache(maxsize=KEPT_TEXTS)
def names_by_line(text: str) -> tuple[tuple[int, tuple[tuple[str, bool], ...]], ...]:
    """Return length and names of each line of a text, and whether they stand there as code does.

    Without keywords and repeats. Kept, because the same chunks are looked at again and again.
    """
    found: list[dict[str, bool]] = [{}]
    for newline, dot, name, after in TOKEN.findall(text):
        if newline:
            found.append({})
        elif name not in NO_NAMES:
            found[-1][name] = found[-1].get(name, False) or bool(dot or after)
    lengths = (len(line) + 1 for line in text.split("\n"))
    return tuple((length, tuple(names.items())) for length, names in zip(lengths, found, strict=True))


@lru_cache(maxsize=KEPT_TEXTS)
def names_of(text: str) -> Mapping[str, tuple[bool, int, int]]:
    """Return the names of a text: whether each stands in code, on how many lines, and on which first (from 0)."""
    found: dict[str, tuple[bool, int, int]] = {}
    for number, (_, names) in enumerate(names_by_line(text)):
        for name, in_code in names:
            before = found.get(name)
            found[name] = (before[0] or in_code, before[1] + 1, before[2]) if before else (in_code, 1, number)
    return found


@lru_cache(maxsize=KEPT_TEXTS)
def name_roots(text: str) -> frozenset[str]:
    """Return the roots under which the names of a text can match."""
    return frozenset(chain.from_iterable(shape_of(name).roots for name in names_of(text)))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a name tells by itself: the roots under which it can match, those of its parts, and its own features."""

    roots: frozenset[str]
    parts: tuple[str, ...]
    features: tuple[float, ...]


@lru_cache(maxsize=KEPT_NAMES)
def shape_of(name: str) -> Shape:
    """Return what a name tells by itself."""
    parts = tuple(root(part) for part in split_identifier(name)) or (root(name),)
    is_shaped = len(parts) > 1
    features = (
        is_shaped, name.startswith("_"), len(parts) / 4, name.islower() and not is_shaped, name.endswith(ERRORS),
        name.startswith("test_"), name.startswith("__"), name.isupper(), name[0].isupper() and not name.isupper(),
        len(name) / 10,
    )  # fmt: skip
    return Shape(frozenset((*parts, root(name))), parts, tuple(map(float, features)))


@lru_cache(maxsize=1)
def embedder() -> StaticEmbedder:
    """Return the model that ships with the package, whatever the index was built with: names need no other."""
    from ingest.embedding.static import StaticEmbedder

    return StaticEmbedder()


_VECTORS: dict[str, Array] = {}


def vectors_of(names: Sequence[str]) -> Array:
    """Return one vector per name; those of a code base come again and again, so they are kept."""
    import numpy as np

    known = {name: _VECTORS.get(name) for name in names}
    new = [name for name, vector in known.items() if vector is None]
    if new:
        made = embedder().embed_passages(new).astype(np.float16)
        known.update(zip(new, made, strict=True))
        if len(_VECTORS) + len(new) > KEPT_VECTORS:
            _VECTORS.clear()
        _VECTORS.update(zip(new, (row.copy() for row in made), strict=True))
    found: Array = np.stack([vector for vector in known.values() if vector is not None]).astype(np.float32)
    return found


# ---- names of files


@dataclass(slots=True)
class Held:
    """Where a name stands in one file: best score, rank and coverage of a chunk that holds it, lines, first line."""

    score: float = 0.0
    rank: int = UNRANKED
    coverage: float = 0.0
    lines: int = 0
    in_code: bool = False
    first: int = 0


def name_features(
    asked: Asked, ranked: Sequence[RankedChunk], files: Sequence[FileText]
) -> tuple[list[list[str]], Array]:
    """Return per file its names, and one row of NAME_FEATURES for each, file by file."""
    import numpy as np

    ranks = {hit.chunk.id: at for at, hit in enumerate(ranked)}
    frequency = Counter(name for hit in ranked for name in names_of(hit.chunk.text))
    matches = Matches(asked.weights)
    names: list[list[str]] = []
    places: list[tuple[float, ...]] = []
    own: list[tuple[float, ...]] = []
    of_file: list[tuple[float, ...]] = []
    for rank, file in enumerate(files):
        chunks = file.chunks
        held = hold_names(file, chunks, ranks, matches)
        kinds = {symbol.name: symbol.kind for chunk in reversed(chunks) for symbol in reversed(chunk.symbols)}
        signed = {name for c in chunks for symbol in c.symbols for name in names_of(symbol.signature)}
        names.append(list(held))
        own.extend(shape_of(name).features for name in held)
        for name, at in held.items():
            kind = kinds.get(name, "")
            places.append(
                (
                    *matches.of(name), at.score, at.rank, at.coverage, at.lines, at.in_code, at.first / 1000,
                    frequency[name], bool(kind), kind in TYPE_KINDS, kind in CALLABLE_KINDS, kind in PLAIN_VALUES,
                    name in signed,
                )
            )  # fmt: skip
        first = files[0].total or 1.0
        spread = (rank / 6, file.best, file.total / first, file.role == "docs", file.role == "test")
        of_file += [(*spread, len(file.lines) / 1000)] * len(held)
    if not places:
        return names, np.zeros((0, len(NAME_WEIGHTS)))
    likeness = like_question(asked.text, names)
    parts = parts_of(likeness, names)
    near = np.repeat([np.sort(part)[-NEAREST:].mean() for part in parts], list(map(len, parts)))
    columns = (table(places), table(own), table(of_file))
    return names, join_columns(*columns, likeness, near, "test" in asked.text.lower())


class Matches:
    """How names match the words of a question; each name is looked at once."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """`weights`: word root -> idf."""
        self._weights = weights
        self._asked = frozenset(weights)  # as a set: a dictionary would be walked through for every name
        self._total = sum(weights.values()) or 1.0
        self._known: dict[str, tuple[float, float]] = {}

    def of(self, name: str) -> tuple[float, float]:
        """Return the idf of the question's words in a name's parts / 8, at most 2, and the share of such parts."""
        if name not in self._known:
            shape = shape_of(name)
            match = sum(self._weights.get(r, 0.0) for r in sorted(shape.roots)) if self._meets(shape) else 0.0
            share = sum(part in self._weights for part in shape.parts) / len(shape.parts) if match else 0.0
            self._known[name] = (min(match / 8, 2.0), share)
        return self._known[name]

    def coverage(self, text: str) -> float:
        """Return the idf share of the question that the names of a text hold together; 0..1."""
        held = name_roots(text)
        return sum(weight for word, weight in self._weights.items() if word in held) / self._total

    def _meets(self, shape: Shape) -> bool:
        return not shape.roots.isdisjoint(self._asked)


def hold_names(file: FileText, chunks: Sequence[Chunk], ranks: Mapping[int, int], matches: Matches) -> dict[str, Held]:
    """Return the names of a file and where each stands."""
    found: dict[str, Held] = {}
    for chunk in sorted(chunks, key=lambda chunk: ranks.get(chunk.id, UNRANKED)):  # the first with a name is its best
        score, rank = file.scores.get(chunk.id, 0.0), ranks.get(chunk.id, UNRANKED)
        coverage, start = matches.coverage(chunk.text), chunk.start_line
        for name, (in_code, lines, first) in names_of(chunk.text).items():
            held = found.get(name)
            if held is None:
                found[name] = Held(score, rank, coverage, lines, in_code, start + first)
                continue
            if coverage > held.coverage:
                held.coverage = coverage
            held.lines += lines
            held.in_code = held.in_code or in_code
            if start + first < held.first:
                held.first = start + first
    return found


def like_question(text: str, names: Sequence[Sequence[str]]) -> Array:
    """Return the cosine of each name with the question, file by file."""
    unique = {name: at for at, name in enumerate(dict.fromkeys(name for own in names for name in own))}
    known = vectors_of(list(unique)) @ embedder().embed_query(text)
    found: Array = known[[unique[name] for own in names for name in own]]
    return found


def table(rows: Sequence[Sequence[float]]) -> Array:
    """Return the columns of some rows of equal length; numpy takes twice the time over a list of tuples."""
    import numpy as np

    flat = np.fromiter(chain.from_iterable(rows), dtype=float, count=len(rows) * len(rows[0]))
    found: Array = flat.reshape(len(rows), -1).T
    return found


def parts_of(values: Array, names: Sequence[Sequence[str]]) -> list[Array]:
    """Return the values of each file, in one array per file that has names."""
    import numpy as np

    ends = np.cumsum([len(own) for own in names])[:-1]
    return [part for part in np.split(values, ends) if len(part)]


def join_columns(places: Array, own: Array, of_file: Array, likeness: Array, near: Array, about_tests: bool) -> Array:
    """Return the rows of all names in the order of NAME_FEATURES; some features compare a name with all others."""
    import numpy as np

    match, share, score, rank, coverage, lines, in_code, first, frequency, defined, *kinds, signed = places
    shaped, private, size, lower, error, test_name, dunder, upper, camel, length = own
    file_rank, file_best, file_share, is_docs, is_test, file_lines = of_file
    near_top, often, count = 1 / (1 + rank), np.log1p(frequency), np.log1p(lines)
    order = np.empty(len(likeness))
    order[np.argsort(-likeness, kind="stable")] = np.arange(len(likeness))

    def relative(values: Array) -> Array:
        found: Array = values / (values.max() + 1e-6)
        return found

    return np.column_stack(
        (
            np.ones(len(match)), match, share, score, score**2, file_rank, file_best, file_share, is_docs, often,
            defined, shaped, private, size, lower * (1 - defined), file_lines, in_code, error,
            likeness, coverage, near_top, count, *kinds, signed, is_test, test_name, dunder, upper, camel, length,
            np.full(len(match), float(about_tests)), first,
            *map(relative, (match, likeness, coverage, count, often)),
            likeness * defined, match * defined, likeness * score, is_test * about_tests, test_name * about_tests,
            rank == 0, rank <= 2, score * file_rank, match * near_top, likeness * file_rank, np.log1p(order) / 10,
            score * coverage, near, shaped * near_top, defined * near_top, defined * file_rank, private * defined,
            kinds[2] * near_top, error * in_code,
        )
    )  # fmt: skip
