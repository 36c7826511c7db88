"""The static embedder: a text's vector is the sum of its word pieces' rows. No network, no torch.

The length of a row, learned in training, is the token's weight. Since a text is split into words before WordPiece runs,
the pieces of a word can be remembered, and most of a repository is made of a few thousand words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ingest.words import WordTable, word_runs

WEIGHTS = Path(__file__).parent / "weights"  # a real file: the rows are memory-mapped, so processes share them
WEIGHT_FILES = ("rows.npy", "scales.npy", "tokenizer.json")
NORMAL_FORM = 1  # count up when words, pieces or passages are made in another way: such vectors do not compare
STATIC_ID = "static-256/11e79e53cf14"  # static_id(), compared by a test: hashing 8 MB at each start costs 30 ms

PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
MAX_PIECES = 384  # beyond that a sum of words blurs
MAX_PART_CHARS = 32  # longer runs of letters are data
CACHED_WORD_CHARS = 64  # longer words hardly ever come back


def static_id(folder: Path = WEIGHTS) -> str:
    """Return the id of the weights in a folder: dimensions and 12 hex digits over files and normal form."""
    digest = hashlib.blake2b(str(NORMAL_FORM).encode(), digest_size=6)
    for name in WEIGHT_FILES:
        digest.update((folder / name).read_bytes())
    return f"static-{np.load(folder / 'rows.npy', mmap_mode='r').shape[1]}/{digest.hexdigest()}"


def join_passage(path: str, context: str, text: str) -> str:
    """Return path, enclosing definition and text, a line each: the passage of a chunk, at training too."""
    return f"{path}\n{context}\n{text}"


class Pieces(WordTable[bytes]):
    """Word -> ids of its pieces as uint16 bytes."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - the library's class has no types
        super().__init__()
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, path: Path) -> Pieces:
        """Return the pieces of a `tokenizer.json`."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer)

    @property
    def size(self) -> int:
        """Number of pieces in the vocabulary."""
        return int(self._tokenizer.get_vocab_size())

    def read(self, text: str) -> np.ndarray[Any, Any]:
        """Return the ids of a text's first pieces as uint16: the normal form, at training and at run time."""
        words = word_runs(text)[:MAX_PIECES]
        return np.frombuffer(b"".join(map(self.__getitem__, words)), dtype=np.uint16)[:MAX_PIECES]

    def __missing__(self, word: str) -> bytes:
        parts = [part.lower() for part in PART.findall(word) if len(part) <= MAX_PART_CHARS]
        # A part stands in the table as a word of its own, so that only new parts reach the tokenizer.
        pieces = self._encode(word) if parts == [word] else b"".join(map(self._look_up, parts))
        return self.remember(word, pieces) if len(word) <= CACHED_WORD_CHARS else pieces

    def _look_up(self, part: str) -> bytes:
        known = self.get(part)
        return self.remember(part, self._encode(part)) if known is None else known

    def _encode(self, part: str) -> bytes:
        known = self._tokenizer.token_to_id(part)  # 80 times cheaper than encoding what is one piece anyway
        ids = [known] if known is not None else self._tokenizer.encode(part, add_special_tokens=False).ids
        return np.array(ids, dtype=np.uint16).tobytes()


class StaticEmbedder:
    """The weights that ship with the package. Thread-safe."""

    dimensions = 256
    id = STATIC_ID
    local = True  # runs in process: workers embed what they chunk

    def __reduce__(self) -> tuple[type[StaticEmbedder], tuple[()]]:
        """Travel to a worker as a name; each process opens the weights itself."""
        return StaticEmbedder, ()

    def passage(self, path: str, context: str, text: str) -> str:
        """Return path, enclosing definition and text, a line each."""
        return join_passage(path, context, text)

    def embed_passages(self, passages: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return float32 [n, 256], rows of norm 1 (0 for text without words)."""
        sums = np.zeros((len(passages), self.dimensions), dtype=np.float32)
        for row, passage in zip(sums, passages, strict=True):
            self._sum_pieces(passage, row)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        vectors: np.ndarray[Any, Any] = sums / np.where(norms > 0, norms, 1.0)
        return vectors

    def embed_query(self, text: str) -> np.ndarray[Any, Any]:
        """Return float32 [256]."""
        vector: np.ndarray[Any, Any] = self.embed_passages([text])[0]
        return vector

    def pieces_of(self, words: Sequence[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the ids of the pieces of some words, one word after the other as uint16, and how many each has."""
        cut = [self._pieces[word] for word in words]
        return np.frombuffer(b"".join(cut), dtype=np.uint16), np.array([len(ids) // 2 for ids in cut], dtype=np.int64)

    def rows_of(self, pieces: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the rows of some pieces, float32 [n, 256], whose sum is a text's vector before it is set to norm 1."""
        rows: np.ndarray[Any, Any] = self._rows.take(pieces, axis=0) * self._scales.take(pieces)[:, None]
        return rows

    def _sum_pieces(self, text: str, out: np.ndarray[Any, Any]) -> None:
        ids = self._pieces.read(text)
        if len(ids):
            # einsum adds in one order, in one thread: the same bits in every process, which BLAS does not promise
            np.einsum("i,ij->j", self._scales.take(ids), self._rows.take(ids, axis=0), out=out)

    @cached_property
    def _rows(self) -> np.ndarray[Any, Any]:
        return np.asarray(np.load(WEIGHTS / "rows.npy", mmap_mode="r"))

    @cached_property
    def _scales(self) -> np.ndarray[Any, Any]:
        scales: np.ndarray[Any, Any] = np.load(WEIGHTS / "scales.npy")
        return scales

    @cached_property
    def _pieces(self) -> Pieces:
        return open_pieces()


@lru_cache(maxsize=1)  # a tenth of a second, and whoever opens the weights twice needs no second table of words
def open_pieces() -> Pieces:
    """Return the pieces of the weights that ship with the package."""
    return Pieces.open(WEIGHTS / "tokenizer.json")
