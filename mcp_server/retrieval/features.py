"""What a chunk or file shows of a query: words in names and paths, words in the text, platform. Pure, no weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from ingest.index.rows import Definition, FileRow
from ingest.index.tokens import split_identifier, stem, words
from ingest.model import Chunk
from mcp_server.retrieval.candidates import Candidate
from mcp_server.retrieval.query import ParsedQuery

MIN_PREFIX = 4  # shared letters from which two words count as related: dependency ~ dependencies
MAX_WORDS = 4  # named as the reason of a hit
MAX_NEEDLES = 16  # a long ticket's rarest words; looking for more costs time and changes nothing
FILE_DEPTH = 3  # how many of a file's nearest chunks speak for it

# A folder or file part that names one platform. A tree that serves several holds the same names once for each.
PLATFORMS = frozenset(
    """win win32 win64 windows darwin macos osx mac apple aix os390 ibmi sunos solaris cygwin mingw msvc haiku qnx zos
    android ios freebsd openbsd netbsd bsd wasm wasi emscripten amiga os400 vms""".split()
)

FileKey = tuple[str, str]


class Row(NamedTuple):
    """A candidate as the ranking sees it, without its text."""

    id: int
    file: FileRow
    kind: str  # of its source
    definitions: Sequence[Definition] = ()
    found: int = 0  # the words of the query that it holds, one bit each, see Coverage

    @property
    def key(self) -> FileKey:
        """What counts as one file."""
        return file_key(self.file)


def file_key(document: FileRow | Chunk) -> FileKey:
    """Return what counts as one file: source and path, or ticket key."""
    return (document.source, document.ref)


# -- names -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=65_536)
def name_words(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a file stem or identifier, with the whole name."""
    parts = [part for word in words(name.replace("-", "_")) for part in split_identifier(word)]
    return (*parts, name.lower())


@lru_cache(maxsize=16_384)
def path_words(path: str) -> tuple[str, ...]:
    """Return the words of a path's stem and its nearest directory."""
    pure = PurePosixPath(path)
    return (*name_words(pure.stem), *(name_words(pure.parent.name) if pure.parent.name else ()))


@lru_cache(maxsize=16_384)
def path_platforms(path: str) -> frozenset[str]:
    """Return the platforms that a path's folders and stem name."""
    parts = {word for folder in path.split("/") for word in name_words(folder.partition(".")[0])}
    return PLATFORMS & parts


class Matcher:
    """The content words of one query with their weights, and which of them each word of a name is related to.

    Two words are related when they share their stem, or when the shorter, of at least four letters, begins the longer
    one and that has letters only (`bench` is no ending away from `bench_marker_0`). Sets of words are bit masks.
    """

    def __init__(self, keywords: Mapping[str, float]) -> None:
        self._weights = [weight for _, weight in sorted(keywords.items())]
        self._total = sum(self._weights)
        self._by_stem: dict[str, int] = {}
        self._by_beginning: dict[str, int] = {}
        self._whole: list[tuple[str, int]] = []
        for at, word in enumerate(sorted(keywords)):
            add_bit(self._by_stem, stem(word), at)
            if len(word) >= MIN_PREFIX:
                self._whole.append((word, 1 << at))
            for end in range(MIN_PREFIX, len(word)) if word.isalpha() else ():
                add_bit(self._by_beginning, word[:end], at)
        self._beginnings = tuple(word for word, _ in self._whole)
        self._masks: dict[str, int] = {}
        self._shares: dict[int, float] = {0: 0.0}
        self._names: dict[str, float] = {}

    def share(self, names: Iterable[str]) -> float:
        """Return the share (by weight) of the keywords that are related to one of the names."""
        mask = 0
        for name in names:
            found = self._masks.get(name)
            mask |= self._related(name) if found is None else found
        share = self._shares.get(mask)
        if share is None:
            share = self._shares[mask] = share_of(mask, self._weights, self._total)
        return share

    def name_share(self, name: str) -> float:
        """Return the share of the keywords that are related to the words of one identifier."""
        share = self._names.get(name)
        if share is None:
            share = self._names[name] = self.share(name_words(name))
        return share

    def _related(self, name: str) -> int:
        mask = self._by_stem.get(stem(name), 0) | self._by_beginning.get(name, 0)
        if name.startswith(self._beginnings) and name.isalpha():
            for word, bit in self._whole:
                if name.startswith(word):
                    mask |= bit
        self._masks[name] = mask
        return mask


def add_bit(masks: dict[str, int], key: str, at: int) -> None:
    """Set one bit of a key's mask."""
    masks[key] = masks.get(key, 0) | 1 << at


def share_of(mask: int, weights: Sequence[float], total: float) -> float:
    """Return the weight of the set bits over the total."""
    return sum(weight for at, weight in enumerate(weights) if mask >> at & 1) / total if total else 0.0


# -- text --------------------------------------------------------------------------------------------------------------


class Coverage:
    """How much of a query, by rarity, stands in a chunk: its rarest index tokens, looked for among the chunk's."""

    def __init__(self, query: ParsedQuery, idf: Mapping[str, float]) -> None:
        weighed = sorted(((t.weight * idf.get(t.token, 0.0), t.token) for t in query.terms), reverse=True)[:MAX_NEEDLES]
        self.tokens = [token for _, token in weighed]
        self._weights = [weight for weight, _ in weighed]
        forms = {term.token: term.form for term in query.terms}
        self._forms = [forms[token] for token in self.tokens]
        self._total = sum(self._weights)
        self._shares: dict[int, float] = {}

    def share(self, found: int) -> float:
        """Return the share of the query that the found tokens stand for, 0..1."""
        share = self._shares.get(found)
        if share is None:
            share = self._shares[found] = share_of(found, self._weights, self._total)
        return share

    def words(self, found: int) -> list[str]:
        """Return the words of the query that the found tokens stand for, the rarest first, at most four."""
        return [form for at, form in enumerate(self._forms) if found >> at & 1][:MAX_WORDS]


# -- files -------------------------------------------------------------------------------------------------------------


def coherence(scores: Iterable[tuple[FileKey, float]]) -> dict[FileKey, float]:
    """Return each file's sum of fused scores, scaled to a best of 1."""
    sums: dict[FileKey, float] = {}
    for key, score in scores:
        sums[key] = sums.get(key, 0.0) + score
    best = max(sums.values(), default=0.0) or 1.0
    return {key: value / best for key, value in sums.items()}


def vector_depth(nearest: Sequence[Candidate], files: Mapping[int, FileKey]) -> dict[FileKey, float]:
    """Return how near each file's three nearest chunks are: mean cosine, the last candidate being 0, the first 1."""
    if not nearest:
        return {}
    low, high = nearest[-1].score, nearest[0].score
    near: dict[FileKey, list[float]] = {}
    for candidate in nearest:
        near.setdefault(files[candidate.chunk_id], []).append(candidate.score - low)
    return {key: sum(values[:FILE_DEPTH]) / (FILE_DEPTH * (high - low or 1.0)) for key, values in near.items()}
