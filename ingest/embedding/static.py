"""The static embedder: a text's vector is the sum of its words' vectors. No network, no torch.

A word's vector is the sum of the rows of its WordPiece tokens; the length of a row, learned in training, is the
token's weight. Since the text is split into words before WordPiece runs, word vectors can be cached, and most of a
repository is made of a few thousand words.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np

WEIGHT_FILES = ("rows.npy", "scales.npy", "tokenizer.json")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
MAX_WORDS = 320  # about 384 tokens: beyond that a sum of words blurs
MAX_WORD_CHARS = 32  # longer runs of letters are data
CACHED_WORDS = 40_000  # x 256 x 2 bytes = 20 MB


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Return 12 hex digits over the weight files."""
    digest = hashlib.blake2b(digest_size=6)
    for name in WEIGHT_FILES:
        digest.update((files("ingest.embedding") / "weights" / name).read_bytes())
    return digest.hexdigest()


class StaticEmbedder:
    """The weights that ship with the package."""

    dimensions = 256
    local = True  # runs in process: workers embed what they chunk

    def __init__(self) -> None:
        self._lock = threading.Lock()  # queries and builds share one embedder
        self._slots: dict[str, int] = {}  # word -> row of the table of word vectors
        self._table = np.zeros((1024, self.dimensions), dtype=np.float32)

    def __reduce__(self) -> tuple[type[StaticEmbedder], tuple[()]]:
        """Travel to a worker as a name; each process reads the weights itself."""
        return StaticEmbedder, ()

    @cached_property
    def id(self) -> str:
        """Name and fingerprint of the weights."""
        return f"static-{self.dimensions}/{fingerprint()}"

    @cached_property
    def _rows(self) -> np.ndarray[Any, Any]:
        with as_file(files("ingest.embedding") / "weights" / "rows.npy") as path:
            rows: np.ndarray[Any, Any] = np.load(path, mmap_mode="r")
        return rows

    @cached_property
    def _scales(self) -> np.ndarray[Any, Any]:
        with as_file(files("ingest.embedding") / "weights" / "scales.npy") as path:
            scales: np.ndarray[Any, Any] = np.load(path)
        return scales

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401 - the library's class has no types
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str((files("ingest.embedding") / "weights" / "tokenizer.json").read_text("utf-8"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def passage(self, path: str, context: str, text: str) -> str:
        """Return path, enclosing definition and text, a line each."""
        return f"{path}\n{context}\n{text}"

    def embed_passages(self, passages: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return float32 [n, 256], rows of norm 1 (0 for text without words)."""
        word_lists = [self._words(passage) for passage in passages]
        with self._lock:
            return self._embed(word_lists)

    def _embed(self, word_lists: Sequence[Sequence[str]]) -> np.ndarray[Any, Any]:
        slots = self._learn(word_lists)
        sums = np.zeros((len(word_lists), self.dimensions), dtype=np.float32)
        for row, word_list in enumerate(word_lists):
            if word_list:
                sums[row] = self._table[[slots[word] for word in word_list]].sum(axis=0)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return sums / np.where(norms > 0, norms, 1.0)

    def embed_query(self, text: str) -> np.ndarray[Any, Any]:
        """Return float32 [256]."""
        vector: np.ndarray[Any, Any] = self.embed_passages([text])[0]
        return vector

    def _words(self, text: str) -> list[str]:
        found = WORD.findall(text)[:MAX_WORDS]
        return [word.lower() for word in found if len(word) <= MAX_WORD_CHARS]

    def _learn(self, word_lists: Sequence[Sequence[str]]) -> dict[str, int]:
        """Add the vectors of new words to the table; start over when it is full."""
        if len(self._slots) > CACHED_WORDS:
            self._slots = {}
        slots = self._slots
        new = list(dict.fromkeys(word for words in word_lists for word in words if word not in slots))
        if not new:
            return slots
        first = len(slots)
        if first + len(new) > len(self._table):
            grown = np.zeros((2 * (first + len(new)), self.dimensions), dtype=np.float32)
            grown[:first] = self._table[:first]
            self._table = grown
        for place, encoding in enumerate(self._tokenizer.encode_batch(new, add_special_tokens=False), first):
            ids = encoding.ids
            self._table[place] = (self._rows[ids].astype(np.float32) * self._scales[ids, None]).sum(axis=0)
        slots.update(zip(new, range(first, first + len(new)), strict=True))
        return slots
