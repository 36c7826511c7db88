"""Which names of some files an answer to a question would probably give: a logistic model over names.

What a name is by itself (`vocabulary.py`), where it stands in its file and how it compares with the other names that
could be given instead. Nothing here reads an index; the same question over the same chunks gives the same figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.languages.kinds import CALLABLE_KINDS, TYPE_KINDS
from ingest.model import Chunk
from mcp_server.answering.name_weights import NAME_WEIGHTS
from mcp_server.answering.passages import PLAIN_VALUES
from mcp_server.answering.vocabulary import NAME, Match, TextNames, Vocabulary
from mcp_server.retrieval.model import RankedChunk

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

UNRANKED = 60  # the rank of a chunk that is not in the ranking
KINDS = (TYPE_KINDS, CALLABLE_KINDS, PLAIN_VALUES)
NEAREST = 5  # names of a file whose likeness to the question says how near the file is


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The lines of one document that are looked at, in order. Arrays of integers.

    `numbers`, `lengths`, `owners` [lines]: the number of each line, its characters with its end, and which of the
    chunks it stands in. `held` [2, names of lines]: position of the line, and number of the name; line by line.
    """

    chunks: Sequence[Chunk]  # that the lines stand in, in order
    numbers: Array
    lengths: Array
    owners: Array
    held: Array

    def rows(self, start_line: int, end_line: int) -> slice | None:
        """Return the positions of some lines, 1-based inclusive, if all of them are there."""
        first, end = self.numbers.searchsorted((start_line, end_line + 1)).tolist()
        return slice(first, end) if end - first == end_line - start_line + 1 else None


@dataclass(frozen=True, slots=True)
class FileText:
    """What of one document is looked at, and how good a place it is."""

    source: str
    ref: str
    role: str
    lines: Lines
    scores: Mapping[int, float]  # chunk id -> score, relative to the best of all
    best: float
    total: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as names are compared with it. `weights`: word root -> idf."""

    text: str
    weights: Mapping[str, float]


def name_probabilities(
    asked: Asked,
    ranked: Sequence[RankedChunk],
    files: Sequence[FileText],
    known: Vocabulary,
    weights: Sequence[float] = NAME_WEIGHTS,
) -> list[tuple[Array, Array]]:
    """Return per file the numbers of its names, and the probability of each that an answer gives it."""
    if not files:  # tickets alone
        return []
    import numpy as np  # here: what answers without reading on needs no arrays

    names, rows = name_features(asked, ranked, files, known)
    chances = 1 / (1 + np.exp(-(rows @ np.asarray(weights))))
    return list(zip(names, np.split(chances, ends_of(names)), strict=True))


@dataclass(frozen=True, slots=True)
class Held:
    """Where each name of the files stands: a row per name and file, file by file, in the order of the text.

    Score and rank are those of the best chunk that holds it, the coverage is the best of any.
    """

    file: Array
    number: Array
    score: Array
    rank: Array
    coverage: Array
    in_code: Array
    lines: Array
    first: Array


def name_features(
    asked: Asked, ranked: Sequence[RankedChunk], files: Sequence[FileText], known: Vocabulary
) -> tuple[list[Array], Array]:
    """Return per file the numbers of its names, and one row of NAME_FEATURES for each, file by file."""
    import numpy as np

    ranks = {hit.chunk.id: at for at, hit in enumerate(ranked)}
    of_ranked = [known.read(hit.chunk.text).table[0] for hit in ranked]
    chunks = [sorted(file.lines.chunks, key=lambda chunk: ranks.get(chunk.id, UNRANKED)) for file in files]
    texts = [[known.read(chunk.text) for chunk in own] for own in chunks]
    if not any(text.table.size for own in texts for text in own):
        return [np.zeros(0, dtype=np.int64) for _ in files], np.zeros((0, len(NAME_WEIGHTS)))
    match = known.match(asked.weights)
    coverages = coverages_of([text for own in texts for text in own], match, list(asked.weights.values()))
    held = hold_names(files, chunks, texts, ranks, iter(coverages))
    frequency = np.bincount(np.concatenate(of_ranked), minlength=len(match.total))[held.number]
    total = match.total[held.number]
    share = np.where(total > 0, match.share[held.number], 0.0)
    places = (
        np.minimum(total / 8, 2.0), share, held.score, held.rank, held.coverage, held.lines, held.in_code,
        held.first / 1000, frequency, *definitions_of(files, held, known),
    )  # fmt: skip
    top = files[0].total or 1.0
    of_file = np.array(
        [
            (at / 6, f.best, f.total / top, f.role == "docs", f.role == "test", len(f.lines.numbers) / 1000)
            for at, f in enumerate(files)
        ]
    )[held.file].T
    unique, which = np.unique(held.number, return_inverse=True)
    likeness = known.likeness(unique, asked.text)[which]
    names = np.split(held.number, np.cumsum(np.bincount(held.file, minlength=len(files)))[:-1])
    parts = [part for part in np.split(likeness, ends_of(names)) if len(part)]
    near = np.repeat([np.sort(part)[-NEAREST:].mean() for part in parts], list(map(len, parts)))
    shapes = known.shapes(held.number).T
    return names, join_columns(places, shapes, of_file, likeness, near, "test" in asked.text.lower())


def coverages_of(texts: Sequence[TextNames], match: Match, weights: Sequence[float]) -> list[float]:
    """Return the share of the roots, by weight, that the names of each text hold together; 0..1."""
    import numpy as np

    filled = [text.table[0] for text in texts if text.table.size]
    joined = np.concatenate(filled)
    starts = np.cumsum([0, *map(len, filled[:-1])])
    totals = np.zeros(len(filled))
    for own, weight in zip(match.names, weights, strict=True):
        has_root = np.zeros(len(match.total), dtype=bool)
        has_root[own] = True
        totals += weight * np.logical_or.reduceat(has_root[joined], starts)
    found = iter((totals / (sum(weights) or 1.0)).tolist())
    return [next(found) if text.table.size else 0.0 for text in texts]


def hold_names(
    files: Sequence[FileText],
    chunks: Sequence[Sequence[Chunk]],
    texts: Sequence[Sequence[TextNames]],
    ranks: Mapping[int, int],
    coverages: Iterator[float],
) -> Held:
    """Return where the names of some files stand.

    `chunks`: of each file, best first; `texts`: what they hold; `coverages`: of each chunk.
    """
    import numpy as np

    of_chunk = np.array(
        [
            (at, file.scores.get(c.id, 0.0), ranks.get(c.id, UNRANKED), c.start_line, next(coverages))
            for at, (file, own) in enumerate(zip(files, chunks, strict=True))
            for c in own
        ]
    )
    counts = [text.table.shape[1] for own in texts for text in own]
    file, score, rank, start, coverage = np.repeat(of_chunk, counts, axis=0).T
    number, in_code, lines, first = np.concatenate([text.table for own in texts for text in own], axis=1)
    # A name of a file is a group of rows; the first of a group is that of the best chunk that holds the name.
    key = file.astype(np.int64) * (int(number.max()) + 1) + number
    _, at, group = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(at)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    group, at = place[group], at[order]
    best_coverage, least = np.zeros(len(at)), np.full(len(at), np.inf)
    np.maximum.at(best_coverage, group, coverage)
    np.minimum.at(least, group, start + first)
    in_code = np.bincount(group, weights=in_code) > 0
    lines = np.bincount(group, weights=lines)
    return Held(file[at].astype(np.int64), number[at], score[at], rank[at], best_coverage, in_code, lines, least)


def definitions_of(files: Sequence[FileText], held: Held, known: Vocabulary) -> Array:
    """Return of each name whether its file defines it, as a type, as a callable, as a value, and signs with it."""
    import numpy as np

    found = np.zeros((len(held.number), 5))
    place = np.empty(len(known.names), dtype=np.int64)
    for at, file in enumerate(files):
        own = np.flatnonzero(held.file == at)
        place[:] = -1
        place[held.number[own]] = own
        symbols = [symbol for chunk in file.lines.chunks for symbol in chunk.symbols]
        for symbol in reversed(symbols):  # the first of a name counts
            if (number := known.find(symbol.name)) is not None and (row := place[number]) >= 0:
                found[row, :4] = True, *(symbol.kind in kinds for kinds in KINDS)
        signed = set(NAME.findall(" ".join([symbol.signature for symbol in symbols])))
        rows = place[[number for name in signed if (number := known.find(name)) is not None]]
        found[rows[rows >= 0], 4] = True
    return found.T


def ends_of(names: Sequence[Array]) -> Array:
    """Return where the names of each file but the last end."""
    import numpy as np

    ends: Array = np.cumsum(list(map(len, names)))[:-1]
    return ends


def join_columns(
    places: Sequence[Array], own: Array, of_file: Array, likeness: Array, near: Array, about_tests: bool
) -> Array:
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
