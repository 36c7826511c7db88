"""Any OpenAI-compatible embedding endpoint: batched, retried, checked. The only embedder that leaves the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI, OpenAIError

from ingest.config import EmbeddingConfig
from ingest.errors import EmbeddingError

RETRIES = 3  # N2; the client backs off with jitter and honours Retry-After


class OpenAIEmbedder:
    """Embeds with the configured model. The number of dimensions is asked of the endpoint once if it is not set."""

    local = False

    def __init__(self, config: EmbeddingConfig, api_key: str | None) -> None:
        self._config = config
        self._client = OpenAI(
            api_key=api_key or "none", base_url=config.base_url, timeout=config.timeout_s, max_retries=RETRIES
        )
        self._dimensions = config.dimensions

    @property
    def id(self) -> str:
        """Name of model and dimensions."""
        return f"openai:{self._config.model}/{self.dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of a vector. Raises EmbeddingError when it has to be asked for and the endpoint fails."""
        if not self._dimensions:
            self._dimensions = len(self._call(["dimensions"])[0])
        return self._dimensions

    def passage(self, path: str, context: str, text: str) -> str:
        """Return context and text, without the path: a renamed file costs no call."""
        return f"{context}\n{text}" if context else text

    def embed_passages(self, passages: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return float32 [n, dimensions], rows of norm 1. Raises EmbeddingError."""
        rows: list[Sequence[float]] = []
        for start in range(0, len(passages), self._config.batch):
            rows.extend(self._call(passages[start : start + self._config.batch]))
        vectors = np.asarray(rows, dtype=np.float32).reshape(len(passages), -1 if passages else self.dimensions)
        if passages and vectors.shape[1] != self.dimensions:
            raise EmbeddingError(
                f"{self._config.model} gave vectors of {vectors.shape[1]} dimensions, not {self.dimensions}. "
                "Correct embedding.dimensions, or run `codecairn index` after the model changed."
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(norms > 0, norms, 1.0)

    def embed_query(self, text: str) -> np.ndarray[Any, Any]:
        """Return float32 [dimensions]. Raises EmbeddingError."""
        vector: np.ndarray[Any, Any] = self.embed_passages([text])[0]
        return vector

    def _call(self, passages: Sequence[str]) -> list[Sequence[float]]:
        texts = [passage if passage.strip() else " " for passage in passages]
        try:
            answer = self._client.embeddings.create(model=self._config.model, input=texts, encoding_format="float")
        except APITimeoutError as error:
            raise EmbeddingError(
                f"The embedding endpoint {self._config.base_url} did not answer in {self._config.timeout_s:g} s."
            ) from error
        except APIConnectionError as error:
            raise EmbeddingError(
                f"The embedding endpoint {self._config.base_url} cannot be reached. Is it running?"
            ) from error
        except APIStatusError as error:
            raise EmbeddingError(
                f"The embedding endpoint {self._config.base_url} answered {error.status_code} "
                f"for model {self._config.model!r}."
            ) from error
        except OpenAIError as error:
            raise EmbeddingError(f"The embedding endpoint {self._config.base_url} failed: {error}.") from error
        if len(answer.data) != len(texts):
            raise EmbeddingError(f"The embedding endpoint gave {len(answer.data)} vectors for {len(texts)} texts.")
        return [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
