"""Embedders: text -> unit vectors. Which one a generation used is recorded in its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ingest.config import EmbeddingConfig
from ingest.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


class Embedder(Protocol):
    """Two implementations: static (shipped weights) and any OpenAI-compatible endpoint."""

    @property
    def id(self) -> str:
        """Name of model and weights; vectors of different ids are never compared."""
        ...

    @property
    def dimensions(self) -> int: ...

    @property
    def local(self) -> bool:
        """Tell whether it runs in process, so that workers can embed; a remote one is called by the builder, cached."""
        ...

    def passage(self, path: str, context: str, text: str) -> str:
        """Return what is embedded for a chunk."""
        ...

    def embed_passages(self, passages: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return float32 [n, dimensions], rows of L2 norm 1 (0 for text without words). Raises EmbeddingError."""
        ...

    def embed_query(self, text: str) -> np.ndarray[Any, Any]:
        """Return float32 [dimensions]. Raises EmbeddingError."""
        ...


def load_embedder(config: EmbeddingConfig, api_key: str | None) -> Embedder | None:
    """Return the configured embedder, or None for `kind = "none"`. Raises ConfigError."""
    if config.kind == "none":
        return None
    if config.kind == "static":
        from ingest.embedding.static import StaticEmbedder

        return StaticEmbedder()
    if not config.model or not config.base_url:
        raise ConfigError('embedding.kind = "openai" needs embedding.model and embedding.base_url.')
    from ingest.embedding.openai import OpenAIEmbedder

    return OpenAIEmbedder(config, api_key)
