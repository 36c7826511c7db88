"""What retrieval hands on: ranked chunks, resolved entities, and how sure the text side was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ingest.index.rows import FileRow
from ingest.model import EVERYWHERE, Chunk
from mcp_server.results import MissingName

EntityKind = Literal["symbol", "path", "renamed", "ticket", "design"]


@dataclass(frozen=True, slots=True)
class RankedChunk:
    """A chunk in its final rank, with why it stands there."""

    chunk: Chunk
    score: float
    why: tuple[str, ...] = ()
    features: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entity:
    """Something named in the query that exists: `text` as written, and the chunks that define or are it."""

    text: str
    kind: EntityKind
    chunk_ids: tuple[int, ...] = ()
    places: tuple[str, ...] = ()  # "path:line" of the first definitions, or the paths: more than one is an ambiguity
    definitions: int = 0  # how many there are of a symbol


def use_present_names(text: str, entities: Iterable[Entity]) -> str:
    """Return a text with the files that were renamed under their present names."""
    present = {entity.text: entity.places[0] for entity in entities if entity.kind == "renamed"}
    longest_first = "|".join(map(re.escape, sorted(present, key=len, reverse=True)))
    return re.sub(longest_first, lambda match: present[match[0]], text) if present else text


def tell_renamed(entity: Entity) -> str:
    """Say what a file is called now."""
    return f"`{entity.text}` was renamed: it is {' or '.join(entity.places)} now."


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """One content word of the query: index token, its rarity, the word as written, and the form that was stemmed."""

    token: str
    idf: float
    df: int = 0
    word: str = ""
    form: str = ""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Everything that one retrieval found, best first, in one generation. `chunks`: the first of them, with text."""

    chunks: tuple[RankedChunk, ...]
    files: tuple[FileRow, ...] = ()  # of every ranked chunk
    entities: tuple[Entity, ...] = ()
    not_found: tuple[MissingName, ...] = ()
    route: str = "conceptual"  # symbol | path | ticket | design | conceptual | smalltalk
    terms: tuple[QueryTerm, ...] = ()
    top_text_norm: float = 0.0  # BM25 of the best chunk / the highest BM25 that the terms could reach, 0..1
    vector_top: float = 0.0  # cosine of the nearest chunk; 0 when there is no vector side
    generation: int = 0
    degraded: tuple[str, ...] = ()
    query: str = ""  # as normalised
    where: str = EVERYWHERE  # what was searched, for sentences
    emptied: tuple[str, ...] = ()  # which filter leaves nothing, in sentences
    notes: tuple[str, ...] = ()  # what whoever asked should know of the query: a name with many definitions, ...
