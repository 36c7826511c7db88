"""The stored form of a chunk and of a manifest: compact JSON in, frozen values out.

A chunk is stored without kind, product, groups and trust: those belong to its source and are read from the
generation's manifest, so that a changed ACL never leaves an old one behind in a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from ingest.errors import IndexCorrupt
from ingest.index.schema import Manifest, SourceState
from ingest.model import FILES_HEADING, Chunk, Symbol

HASH_BYTES = 16
MODULUS = 1 << 128
MORE = ("closed_at", "expires_at", "labels", "assignee", "author_role", "flags", "pii_class")  # where not empty
REMEDY = "Run `codecairn doctor --deep`, then `codecairn index`."  # where only hashes tell what is damaged
to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def encode_chunk(chunk: Chunk) -> bytes:
    """Return the stored form of a chunk (JSON, UTF-8; lone surrogates survive)."""
    row = [
        chunk.id,
        chunk.source,
        chunk.path,
        chunk.key,
        chunk.title,
        chunk.language,
        chunk.role,
        chunk.start_line,
        chunk.end_line,
        chunk.symbol,
        chunk.context,
        chunk.text,
        chunk.text_hash,
        chunk.content_hash,
        [(s.name, s.qualname, s.kind, s.start_line, s.end_line, s.signature, s.doc) for s in chunk.symbols],
        chunk.state,
        chunk.created_at,
        chunk.updated_at,
        chunk.links,
        chunk.redactions,
    ]
    if more := _more(chunk):
        row.append(more)
    return to_json(row).encode("utf-8", "surrogatepass")


def _more(chunk: Chunk) -> dict[str, Any]:
    """Return the fields that few chunks have, by name."""
    return {name: value for name in MORE if (value := getattr(chunk, name))}


class StoredPassage(NamedTuple):
    """What is embedded of a stored chunk: of a commit its message, for its paths are a field of their own."""

    chunk_id: int
    source: str
    path: str | None
    language: str | None
    ref: str
    context: str
    text: str
    pii_class: str = ""


def decode_passage(data: bytes, kinds: Mapping[str, str]) -> StoredPassage:
    """Return the passage of a stored row without decoding the rest of it. `kinds`: source -> kind."""
    try:
        return _decode_passage(data, kinds)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> IndexCorrupt:
    return IndexCorrupt(f"A stored chunk of the index cannot be read ({error!r}). {REMEDY}")


def _decode_passage(data: bytes, kinds: Mapping[str, str]) -> StoredPassage:
    row = json.loads(data.decode("utf-8", "surrogatepass"))
    text = row[11].partition(FILES_HEADING)[0] if kinds[row[1]] == "commit" else row[11]
    pii = row[20].get("pii_class", "") if len(row) > 20 else ""
    return StoredPassage(row[0], row[1], row[2], row[5], row[2] or row[3] or row[4], row[10], text, pii)


def decode_chunk(data: bytes, sources: Mapping[str, SourceState]) -> Chunk:
    """Return the chunk of a stored row, with its source's kind, product, groups and trust. Raises IndexCorrupt."""
    try:
        return _decode_chunk(data, sources)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _damaged(error) from error


def _decode_chunk(data: bytes, sources: Mapping[str, SourceState]) -> Chunk:
    row = json.loads(data.decode("utf-8", "surrogatepass"))
    source = sources[row[1]]
    more = row[20] if len(row) > 20 else {}
    return Chunk(
        id=row[0],
        source=row[1],
        kind=source.kind,  # type: ignore[arg-type]  # written from a SourceInfo
        product=source.product,
        groups=source.groups,
        path=row[2],
        key=row[3],
        title=row[4],
        language=row[5],
        role=row[6],
        start_line=row[7],
        end_line=row[8],
        symbol=row[9],
        context=row[10],
        text=row[11],
        text_hash=row[12],
        content_hash=row[13],
        symbols=tuple(Symbol(*symbol) for symbol in row[14]),
        state=row[15],
        created_at=row[16],
        updated_at=row[17],
        links=tuple(row[18]),
        trust=source.trust,  # type: ignore[arg-type]
        redactions=tuple((rule, count) for rule, count in row[19]),
        closed_at=more.get("closed_at", ""),
        expires_at=more.get("expires_at", ""),
        labels=tuple(more.get("labels", ())),
        assignee=more.get("assignee", ""),
        author_role=more.get("author_role", ""),
        flags=tuple(more.get("flags", ())),
        pii_class=more.get("pii_class", ""),
    )


def digest(data: bytes) -> bytes:
    """Return the BLAKE2b-128 of some bytes."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def as_number(value: bytes) -> int:
    """Return a digest as a number, to be added to a sum that does not depend on order."""
    return int.from_bytes(value, "big")


def file_digest(source: str, path: str, content_hash: str, skip_reason: str) -> bytes:
    """Return the digest of one file row."""
    return digest("\x00".join((source, path, content_hash, skip_reason)).encode("utf-8", "surrogatepass"))


def hash_content(embedder: str, chunker: str, sources: list[SourceState], sums: Mapping[str, tuple[int, int]]) -> str:
    """Return the logical content hash: what is indexed, for whom, by which chunker and embedder.

    It sums row digests per source, so it depends on no order, no parent and no revision (I19).
    """
    rows = [
        [s.name, s.kind, s.product, sorted(s.groups), s.trust, f"{sums[s.name][0]:032x}", f"{sums[s.name][1]:032x}"]
        for s in sorted(sources, key=lambda state: state.name)
    ]
    return digest(json.dumps([embedder, chunker, rows]).encode()).hex()


def manifest_to_dict(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as JSON-ready values."""
    return asdict(manifest)


def manifest_from_dict(data: Mapping[str, Any]) -> Manifest:
    """Return the manifest of JSON values. Raises IndexCorrupt when a field is missing."""
    try:
        sources = tuple(SourceState(**{**source, "groups": tuple(source["groups"])}) for source in data["sources"])
        return Manifest(**{**data, "sources": sources})
    except (TypeError, KeyError) as error:
        raise IndexCorrupt(f"A manifest of the index cannot be read ({error}). Run `codecairn index`.") from error
