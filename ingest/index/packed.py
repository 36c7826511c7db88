"""A chunk in the form in which a publication takes it: made where it was cut, so that the builder only hands it on.

A named tuple of texts and bytes crosses from one process to another in a third of the time of the values it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from ingest.index.names import clean, name_tails, normalise_key
from ingest.index.stored import digest, encode_chunk
from ingest.model import AGEING_KINDS, Chunk, FileRow, Packed, Prepared, Symbol

FIELD, RECORD = "\x1f", "\x1e"  # part the fields of a definition, and definitions or links, in a row
SEPARATORS = re.compile("[\x1e\x1f]")


def pack(prepared: Sequence[Prepared] | Sequence[Packed]) -> Sequence[Packed]:
    """Return the chunks of one entry in their packed form, as they are if they have it."""
    if prepared and isinstance(prepared[0], Packed):
        return cast("Sequence[Packed]", prepared)
    packed: list[Packed] = []
    file: FileRow | None = None
    for one in cast("Sequence[Prepared]", prepared):
        row = file_row(one.chunk)
        file = file if file == row else row  # the same object travels once
        packed.append(_pack(one, file))
    return tuple(packed)


def _pack(one: Prepared, file: FileRow) -> Packed:
    chunk = one.chunk
    stored = encode_chunk(chunk)
    return Packed(
        id=chunk.id,
        source=chunk.source,
        path=chunk.path,
        ref=chunk.ref,
        language=chunk.language,
        start_line=chunk.start_line,
        stored=stored,
        digest=digest(stored),
        texts=tuple(_texts(one, chunk)),
        file=file,
        terms=one.terms,
        symbols=_pack_symbols(chunk.symbols),
        links=_pack_links(chunk.links),
        vector=one.vector,
    )


def _texts(one: Prepared, chunk: Chunk) -> Iterator[tuple[str, str]]:
    for field, tokens in one.tokens.items():
        if tokens:
            yield field, clean(tokens)
    yield "source", clean(chunk.source)
    if chunk.language:
        yield "language", chunk.language
    if chunk.pii_class:
        yield "pii", chunk.pii_class
    if chunk.key:
        yield "key", normalise_key(chunk.key)
    for link in dict.fromkeys(map(normalise_key, chunk.links)):
        if link:
            yield "link", link
    names = dict.fromkeys(clean(tail) for s in chunk.symbols for tail in name_tails(s.name, s.qualname))
    for name in names:
        yield "name", name
    for name in dict.fromkeys(name.lower() for name in names):
        yield "name_lower", name
    if chunk.path:
        yield "full_path", clean(chunk.path)


def file_row(chunk: Chunk) -> FileRow:
    """Return the document of a chunk as the ranking sees it."""
    ages = chunk.kind in AGEING_KINDS
    return FileRow(
        source=chunk.source,
        path=chunk.path,
        key=chunk.key,
        title=chunk.title,
        language=chunk.language,
        role=chunk.role,
        state=chunk.state,
        created_at=chunk.created_at,
        changed_at=(chunk.updated_at or chunk.closed_at or chunk.created_at) if ages else "",
        expires_at=chunk.expires_at,
    )


def _pack_symbols(symbols: Iterable[Symbol]) -> bytes:
    """Return the definitions of a chunk as one row holds them."""
    records = (FIELD.join((_plain(s.name), _plain(s.qualname), s.kind, str(s.start_line))) for s in symbols)
    return RECORD.join(records).encode("utf-8", "surrogatepass")


def _pack_links(links: Iterable[str]) -> bytes:
    """Return the links of a chunk as one row holds them."""
    return RECORD.join(map(_plain, links)).encode("utf-8", "surrogatepass")


def _plain(text: str) -> str:
    return text if text.isprintable() else SEPARATORS.sub(" ", text)
