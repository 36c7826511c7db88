"""Any OpenAI-compatible embedding endpoint: batched, retried, checked. The only embedder that leaves the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI, OpenAIError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from ingest.breaker import Breaker
from ingest.config import EmbeddingConfig
from ingest.endpoint import RETRIES, advise, is_passing_status, wait_as_asked
from ingest.errors import EmbeddingError

PASSAGE_PATIENCE_S = 180.0  # a build waits out a rate limit
QUERY_PATIENCE_S = 5.0  # a query falls back to text search instead
MAX_INPUT_CHARS = 16_000  # models take 8,192 tokens, and code has at least two characters to a token
BACKOFF = wait_random_exponential(multiplier=0.5, max=20)


class OpenAIEmbedder:
    """Embeds with the configured model. The number of dimensions is asked of the endpoint once if it is not set."""

    local = False

    def __init__(
        self,
        config: EmbeddingConfig,
        api_key: str | None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        breaker: Breaker | None = None,
    ) -> None:
        self._config = config
        self._breaker = breaker or Breaker()  # of queries: a build is patient
        self._sleep = sleep
        self._client = OpenAI(
            api_key=api_key or "none", base_url=config.base_url, timeout=config.timeout_s, max_retries=0
        )
        # The client takes these from the environment; they are no business of another endpoint.
        self._client.organization = self._client.project = None
        self._dimensions = config.dimensions

    @property
    def id(self) -> str:
        """Name of model and dimensions. Raises EmbeddingError like `dimensions`."""
        return f"openai:{self._config.model}/{self.dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of a vector. Raises EmbeddingError when it has to be asked for and the endpoint fails."""
        if not self._dimensions:
            self._dimensions = int(self._call(["dimensions"], QUERY_PATIENCE_S).shape[1])
        return self._dimensions

    def passage(self, path: str, context: str, text: str) -> str:
        """Return context and text, without the path: a renamed file costs no call."""
        return f"{context}\n{text}" if context else text

    def embed_passages(self, passages: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return float32 [n, dimensions], rows of norm 1. Raises EmbeddingError."""
        return self._embed(passages, PASSAGE_PATIENCE_S)

    def embed_query(self, text: str) -> np.ndarray[Any, Any]:
        """Return float32 [dimensions]; gives up after seconds, not minutes. Raises EmbeddingError."""
        if not self._breaker.admits():
            raise EmbeddingError(f"{self._where} failed repeatedly; it is tried again in {self._breaker.wait_s:.0f} s.")
        try:
            vector: np.ndarray[Any, Any] = self._embed([text], QUERY_PATIENCE_S)[0]
        except EmbeddingError:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return vector

    def _embed(self, texts: Sequence[str], patience_s: float) -> np.ndarray[Any, Any]:
        size = self._config.batch
        parts = [self._call(texts[start : start + size], patience_s) for start in range(0, len(texts), size)]
        vectors = np.concatenate(parts) if parts else np.zeros((0, self.dimensions), dtype=np.float32)
        if vectors.shape[1] != self.dimensions:
            raise EmbeddingError(
                f"{self._config.model} gave vectors of {vectors.shape[1]} dimensions, not {self.dimensions}. "
                "Correct embedding.dimensions, or run `codecairn index` after the model changed."
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: np.ndarray[Any, Any] = vectors / np.where(norms > 0, norms, 1.0)
        return unit

    def _call(self, texts: Sequence[str], patience_s: float) -> np.ndarray[Any, Any]:
        """Return the vectors of one batch as they come, after retries within `patience_s`."""
        inputs = [text[:MAX_INPUT_CHARS] if text.strip() else "-" for text in texts]  # empty inputs are refused
        timeout_s = min(self._config.timeout_s, patience_s)
        retrying = Retrying(
            retry=retry_if_exception(_is_passing),
            stop=stop_after_attempt(1 + RETRIES) | stop_before_delay(patience_s),
            wait=wait_as_asked(BACKOFF),
            sleep=self._sleep,
            reraise=True,
        )
        create = self._client.embeddings.create
        try:
            answer = retrying(
                create, model=self._config.model, input=inputs, encoding_format="float", timeout=timeout_s
            )
        except OpenAIError as error:
            raise EmbeddingError(self._explain(error, timeout_s)) from error
        except ValueError as error:  # the client lets a body that is no JSON through
            raise EmbeddingError(self._not_vectors) from error
        return self._read(answer, len(inputs))

    def _read(self, answer: Any, expected: int) -> np.ndarray[Any, Any]:  # noqa: ANN401 - whatever the endpoint sent
        try:
            rows = [item.embedding for item in sorted(answer.data, key=lambda item: int(item.index))]
            vectors = np.asarray(rows, dtype=np.float32)
        except (AttributeError, TypeError, ValueError) as error:
            raise EmbeddingError(self._not_vectors) from error
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise EmbeddingError(self._not_vectors)
        if len(vectors) != expected:
            raise EmbeddingError(f"{self._where} gave {len(vectors)} vectors for {expected} texts.")
        return vectors

    @property
    def _where(self) -> str:
        return f"The embedding endpoint {self._config.base_url}"

    @property
    def _not_vectors(self) -> str:
        return f"{self._where} answered something else than a list of vectors."

    def _explain(self, error: OpenAIError, timeout_s: float) -> str:
        if isinstance(error, APITimeoutError):
            return f"{self._where} did not answer in {timeout_s:g} s."
        if isinstance(error, APIConnectionError):
            return f"{self._where} cannot be reached. Is it running?"
        if isinstance(error, APIStatusError):
            advice = advise(error.status_code, error.response.headers, "embedding")
            return f"{self._where} answered {error.status_code} for model {self._config.model!r}.{advice}"
        return f"{self._where} failed: {type(error).__name__}."


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, APIStatusError):
        return is_passing_status(error.status_code)
    return isinstance(error, APIConnectionError)  # timeouts too
