"""What a chunk or file shows of a query: words in names and paths, words in the text, platform. Pure, no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ingest.index.rows import Bits, FileRow, Vocabulary
from ingest.index.tokens import name_words, stem
from ingest.model import Chunk
from mcp_server.retrieval.query import ParsedQuery

MIN_PREFIX = 4  # shared letters from which two words count as related: dependency ~ dependencies
MAX_WORDS = 4  # named as the reason of a hit
MAX_NEEDLES = 16  # a long ticket's rarest words; looking for more costs time and changes nothing
MAX_BITS = 62
LAST = "\U0010ffff"  # sorts behind every letter

# A folder or file part that names one platform. A tree that serves several holds the same names once for each.
PLATFORMS = frozenset(
    """win win32 win64 windows darwin macos osx mac apple aix os390 ibmi sunos solaris cygwin mingw msvc haiku qnx zos
    android ios freebsd openbsd netbsd bsd wasm wasi emscripten amiga os400 vms""".split()
)

FileKey = tuple[str, str]
Floats = np.ndarray[Any, np.dtype[np.float64]]


def file_key(document: FileRow | Chunk) -> FileKey:
    """Return what counts as one file: source and path, or ticket key."""
    return (document.source, document.ref)


# -- names -------------------------------------------------------------------------------------------------------------


def path_platforms(path: str) -> frozenset[str]:
    """Return the platforms that a path's folders and stem name."""
    parts = {word for folder in path.split("/") for word in name_words(folder.partition(".")[0])}
    return PLATFORMS & parts


RARE = 4.6  # weight of a word that stands in fewer than one of a hundred chunks: ln 100


class Matcher:
    """The content words of one query with their weights, and which of them each word of a name is related to.

    Two words are related when they share their stem, or when the shorter, of at least four letters, begins the longer
    one and that has letters only (`bench` is no ending away from `bench_marker_0`). Sets of words are bit masks.
    """

    def __init__(self, keywords: Mapping[str, float]) -> None:
        """Take the words; of more than 62 the weightiest."""
        heaviest = sorted(keywords, key=lambda word: (-keywords[word], word))[:MAX_BITS]
        self._words = sorted(heaviest)
        self._weights = [keywords[word] for word in self._words]
        self._known: dict[int, Bits] = {}
        self.rare = frozenset(word for word, weight in keywords.items() if weight >= RARE)

    def relate(self, vocabulary: Vocabulary) -> Bits:
        """Return the bits of the keywords that each word of a vocabulary is related to."""
        bits = self._known.get(id(vocabulary))
        if bits is None:
            bits = self._known[id(vocabulary)] = self._relate(vocabulary)
        return bits

    def _relate(self, vocabulary: Vocabulary) -> Bits:
        bits: Bits = np.zeros(len(vocabulary.words), dtype=np.int64)
        for at, word in enumerate(self._words):
            place = vocabulary.stems.index(stem(word))
            if place is not None:
                bits[vocabulary.with_stem(place)] |= 1 << at
            if len(word) >= MIN_PREFIX:
                start, end = vocabulary.words.place(word), vocabulary.words.place(word + LAST)
                bits[start:end][vocabulary.alpha[start:end] > 0] |= 1 << at
            for length in range(MIN_PREFIX, len(word)) if word.isalpha() else ():
                place = vocabulary.words.index(word[:length])
                if place is not None:
                    bits[place] |= 1 << at
        return bits

    def shares(self, bits: Bits) -> Floats:
        """Return the share (by weight) of the keywords that each mask stands for, 0..1."""
        return shares_of(bits, self._weights)


def shares_of(bits: Bits, weights: Sequence[float]) -> Floats:
    """Return the weight of the set bits of each mask over the total; summed from the lowest bit on."""
    shares: Floats = np.zeros(len(bits))
    for start in range(0, len(weights), 8):
        sums = np.zeros(1)  # of every mask of eight bits
        for weight in weights[start : start + 8]:
            sums = np.concatenate((sums, sums + weight))
        shares += sums[(bits >> start) & (len(sums) - 1)]
    total = sum(weights)
    return shares / total if total else shares


# -- text --------------------------------------------------------------------------------------------------------------


class Coverage:
    """How much of a query, by rarity, stands in a chunk: its rarest index tokens, looked for among the chunk's."""

    def __init__(self, query: ParsedQuery, idf: Mapping[str, float]) -> None:
        weighed = sorted(((t.weight * idf.get(t.token, 0.0), t.token) for t in query.terms), reverse=True)[:MAX_NEEDLES]
        self.tokens = [token for _, token in weighed]
        self._weights = [weight for weight, _ in weighed]
        forms = {term.token: term.form for term in query.terms}
        self._forms = [forms[token] for token in self.tokens]

    def shares(self, found: Bits) -> Floats:
        """Return the share of the query that the found tokens of each chunk stand for, 0..1."""
        return shares_of(found, self._weights)

    def words(self, found: int) -> list[str]:
        """Return the words of the query that the found tokens stand for, the rarest first, at most four."""
        return [form for at, form in enumerate(self._forms) if found >> at & 1][:MAX_WORDS]
