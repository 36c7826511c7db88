"""A tiny corpus language for storage tests: files of text, cut into chunks at blank lines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ingest.index import begin_publication
from ingest.index.generation import Publication
from ingest.index.schema import Manifest
from ingest.index.tokens import pack_hashes, token_hash, token_stream
from ingest.model import Chunk, Entry, Filters, Prepared, SourceInfo, Symbol, chunk_id, hash_text

NOW = "2026-11-20T12:00:00Z"
DIMENSIONS = 16
SOURCE = SourceInfo("app", "code", "shop", ("local",))


class HashEmbedder:
    """An Embedder whose vectors are sums of per-token random directions: deterministic, no weights."""

    id = "hash-16/1"
    dimensions = DIMENSIONS

    def passage(self, path: str, context: str, text: str) -> str:
        return text

    def embed_passages(self, passages: list[str]) -> np.ndarray:
        return (
            np.stack([self.embed_query(text) for text in passages])
            if passages
            else np.zeros((0, DIMENSIONS), np.float32)
        )

    def embed_query(self, text: str) -> np.ndarray:
        total = np.full(DIMENSIONS, 1e-3, dtype=np.float32)
        for token in token_stream(text).split():
            seed = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=4).digest(), "big")
            total += np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
        return total / np.linalg.norm(total)


EMBEDDER = HashEmbedder()


def make_entry(path: str, text: str, stamp: str = "") -> Entry:
    return Entry(
        path,
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        len(text),
        stamp,
        blob=hashlib.sha1(text.encode()).hexdigest(),
    )


def make_chunks(info: SourceInfo, path: str, text: str) -> list[Chunk]:
    """One chunk per paragraph; `def name` and `class Name` lines become symbols."""
    chunks, line, repeats = [], 1, {}
    content = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    for block in text.split("\n\n"):
        count = block.count("\n") + 1
        key = hash_text(block)
        repeats[key] = repeats.get(key, -1) + 1
        chunks.append(
            Chunk(
                id=chunk_id(info.name, path, key, repeats[key]),
                source=info.name,
                kind=info.kind,
                product=info.product,
                groups=info.groups,
                path=path,
                key=None,
                title=path,
                language="python" if path.endswith(".py") else None,
                role="test" if "test" in path else "source",
                start_line=line,
                end_line=line + count - 1,
                symbol=None,
                context="",
                text=block,
                text_hash=key,
                content_hash=content,
                symbols=tuple(_symbols(block, line)),
                links=tuple(word for word in block.split() if word.startswith("#")),
                trust=info.trust,
            )
        )
        line += count + 1
    return chunks


def _symbols(block: str, line: int) -> Iterable[Symbol]:
    for offset, text in enumerate(block.split("\n")):
        words = text.replace("(", " ").replace(":", " ").split()
        if len(words) >= 2 and words[0] in ("def", "class"):
            kind = "function" if words[0] == "def" else "class"
            yield Symbol(words[1].split(".")[-1], words[1], kind, line + offset, line + offset, text)


def prepare(chunk: Chunk, vector: bool = True) -> Prepared:
    tokens = {
        "content": token_stream(chunk.text),
        "path": token_stream(chunk.path or ""),
        "symbols": " ".join(token_stream(s.qualname) for s in chunk.symbols),
        "keys": token_stream(chunk.key or ""),
    }
    vectors = EMBEDDER.embed_query(chunk.text).tobytes() if vector else None
    return Prepared(chunk, tokens, vectors, pack_hashes(set(map(token_hash, " ".join(tokens.values()).split()))))


def prepare_text(info: SourceInfo, path: str, text: str, vector: bool = True) -> list[Prepared]:
    return [prepare(chunk, vector) for chunk in make_chunks(info, path, text)]


def open_publication(data_dir: Path, embedder: HashEmbedder | None = EMBEDDER, **kwargs: object) -> Publication:
    values = {"chunker": "test-1", "config_hash": "c", "trigger": "test", **kwargs}
    identity = (embedder.id, embedder.dimensions) if embedder else ("", 0)
    return begin_publication(data_dir, *identity, **values)


def publish(
    data_dir: Path,
    changes: Mapping[str, str | None],
    *,
    info: SourceInfo = SOURCE,
    revision: str = "r1",
    allow_drop: bool = True,
    **kwargs: object,
) -> Manifest:
    """Publish one delta: path -> new text, None = removed."""
    embedder = kwargs.get("embedder", EMBEDDER)
    with open_publication(data_dir, **kwargs) as publication:
        publication.allow_drop = allow_drop
        publication.begin_source(info, revision, "/src")
        for path, text in changes.items():
            if text is None:
                publication.remove_file(info.name, path)
            else:
                publication.add_file(
                    info.name, make_entry(path, text), prepare_text(info, path, text, embedder is not None)
                )
        return publication.commit(NOW)


def see(*sources: str, groups: Iterable[str] = ("local",), **kwargs: object) -> Filters:
    return Filters(groups=frozenset(groups), sources=frozenset(sources or ("app",)), **kwargs)
