"""What is said to a model and what comes back, whatever client carries it: most servers have none, and load none.

LLMError               `code` is the degraded code of the answer
├── LLMDown            refused, unreachable, or failing after its retries (llm_down)
└── LLMTimeout         no whole answer in time; the call was cancelled (generation_timeout)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mcp_server.config import LlmConfig
from mcp_server.fallback import Cancellation, Deadline
from traces.prices import Tokens


class LLMError(Exception):
    """The model gave no answer; the message says why."""

    code = "llm_down"


class LLMDown(LLMError):
    """The endpoint refuses, cannot be reached, or fails."""


class LLMTimeout(LLMError):
    """There was no whole answer in time."""

    code = "generation_timeout"


@dataclass(frozen=True, slots=True)
class Message:
    """One part of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `tokens` is None where the endpoint did not count; a text that was cut is not whole."""

    text: str
    model: str = ""
    finish_reason: str = ""
    request_id: str = ""
    tokens: Tokens | None = None
    is_whole: bool = True
    is_constrained: bool = False  # the endpoint was held to the schema
    attempts: int = 1
    first_text_ms: float | None = None


OnText = Callable[[int, str], None]  # number of the attempt, piece: a new attempt begins anew


class LLM(Protocol):
    """Completes prompts."""

    @property
    def config(self) -> LlmConfig:
        """Model and parameters."""
        ...

    def complete(
        self,
        messages: Sequence[Message],
        *,
        deadline: Deadline,
        cancellation: Cancellation,
        schema: Mapping[str, Any] | None = None,
        on_text: OnText | None = None,
    ) -> Reply:
        """Return the model's text. Raises LLMError, and CancelledError once the caller has gone.

        `on_text` is given each piece as it comes, in the caller's thread.
        """
        ...
