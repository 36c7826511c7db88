"""What one generation holds: fields, versions, manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ingest.index.rows import Definition, FileRow


FORMAT_VERSION = 4
TEXT_FIELDS: tuple[str, ...] = (
    "content",  # code and designs
    "message",  # commits and tickets: short texts, whose lengths and words would distort the statistics of the code
    "path",
    "touched",  # paths that a commit touched or a ticket names
    "symbols",
    "heading",
    "keys",
)
SAID_FIELDS = ("content", "message")  # together: what every chunk says  # token streams, each with its own weight


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source within a generation."""

    name: str
    kind: str
    product: str
    groups: tuple[str, ...]
    trust: str
    revision: str
    location: str  # where its files lie now (work tree, folder, mirror or export)
    files: int
    chunks: int
    skipped: dict[str, int] = field(default_factory=dict)
    indexed_at: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation was built from. `content_hash` is independent of build order and parents (I19)."""

    generation: int
    parent: int | None
    format_version: int
    embedder: str  # "static-256/<hash>" or "openai:<model>/<dim>"; "" = no vectors
    dimensions: int
    chunker: str
    created_at: str
    config_hash: str
    content_hash: str
    chunks: int
    files: int
    sources: tuple[SourceState, ...]
    complete: bool = True  # False: a part of a first build that goes on


@dataclass(frozen=True, slots=True)
class SymbolHit:
    """One definition that answers to a name, and how the name matched it."""

    chunk_id: int
    symbol: Definition
    file: FileRow
    how: Literal["exact", "qualified", "case", "prefix", "part"]

    @property
    def source(self) -> str:
        """Name of its source."""
        return self.file.source

    @property
    def path(self) -> str | None:
        """Path of its file."""
        return self.file.path


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise of the store: which rule (W1..W9, or a name) and what was found."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return self.detail
