"""Settings of the write path: sources, index, embedding. Read once at the edge, passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ingest.access import LOCAL_GROUP


class Section(BaseModel):
    """Base of every configuration section: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(Section):
    """One `[[source]]` table."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    type: Literal["git", "folder", "tickets", "designs"]
    path: Path
    product: str = ""  # "" = the folder's name
    groups: tuple[str, ...] = (LOCAL_GROUP,)
    trust: Literal["high", "normal", "low"] = "normal"
    pii: Literal["", "off", "mask"] = ""  # personal data; "" = mask in tickets and commits, off in code and designs
    ref: str = ""  # git: index this ref from the object database instead of the work tree
    include: tuple[str, ...] = ()  # gitignore-style patterns; empty = everything
    exclude: tuple[str, ...] = ()
    history: bool = True  # git: commits are documents too
    overlay: bool = True  # git: uncommitted work counts


class IndexConfig(Section):
    """The `[index]` table."""

    max_file_bytes: int = Field(1_000_000, gt=0)
    chunk_chars: int = Field(1500, ge=200, le=20_000)
    workers: int = Field(0, ge=0)  # 0 = one per CPU
    drop_guard: float = Field(0.2, gt=0, le=1)  # N12: a larger drop in a source's chunks blocks publication
    keep_generations: int = Field(2, ge=1)
    exact_vectors_max: int = Field(200_000, ge=0)
    parse_timeout_s: float = Field(10.0, gt=0)
    worker_memory_mb: int = Field(1024, ge=256)


class EmbeddingConfig(Section):
    """The `[embedding]` table."""

    kind: Literal["static", "openai", "none"] = "static"
    model: str = ""
    base_url: str = ""
    api_key_env: str = "OPENAI_API_KEY"  # name of the variable, never the key
    dimensions: int = Field(0, ge=0)
    batch: int = Field(256, ge=1, le=2048)
    timeout_s: float = Field(30.0, gt=0)
