"""The model calls of one query: within one deadline and one budget, each recorded, all on one account."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, Unpack
from urllib.parse import urlsplit

from ingest.redact import redact
from mcp_server.chat import LLM, LLMError, Message, OnText, Reply
from mcp_server.config import LlmConfig
from mcp_server.fallback import Cancellation, Deadline
from mcp_server.tokens import TokenEstimator, size_of
from prompts import Composition
from traces.model import TraceFields
from traces.prices import ModelPrice, Tokens, price_call


class Trace(Protocol):
    """What calls need of a trace."""

    def span(self, name: str) -> Any:  # noqa: ANN401 - a context manager whose value has record(...)
        """Open a span."""
        ...

    def set(self, **values: Unpack[TraceFields]) -> None:
        """Set facts of the query."""
        ...


class BudgetExceeded(LLMError):
    """The day's budget is spent, and the configuration says that this stops model calls."""

    code = "budget_exceeded"


class Spending(Protocol):
    """The day's account over all queries."""

    def admits(self) -> bool:
        """Tell whether another call may be paid for."""
        ...

    def add(self, usd: Decimal | None) -> None:
        """Book a call; None is one whose price nobody knows."""
        ...


@dataclass(slots=True)
class Account:
    """What the calls of one query came to. A sum with an unknown part is unknown."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    is_estimated: bool = False
    usd: Decimal | None = Decimal(0)
    price_version: str = ""
    models: list[str] = field(default_factory=list)

    def book(self, tokens: Tokens, is_estimated: bool, usd: Decimal | None, version: str, model: str) -> None:
        """Add one call."""
        self.calls += 1
        self.input += tokens.input
        self.output += tokens.output
        self.cached += tokens.cached
        self.is_estimated |= is_estimated
        self.usd = None if usd is None or self.usd is None else self.usd + usd
        self.price_version = version or self.price_version
        if model not in self.models:
            self.models.append(model)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent: messages, the composition that they were made from, and the values of its variables."""

    messages: tuple[Message, ...]
    composition: Composition
    variables: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """Hash of the messages as they are handed to the client: canonical JSON, UTF-8."""
        return hash_messages(self.messages)

    @property
    def chars(self) -> int:
        """Characters of all messages."""
        return sum(len(message.content) for message in self.messages)

    def redacted(self) -> Prompt:
        """Return the prompt without secrets, should whoever made it have forgotten to redact a part."""
        return replace(self, messages=tuple(replace(m, content=redact(m.content).text) for m in self.messages))

    def followed_by(self, *more: Message) -> Prompt:
        """Return the prompt with more messages at its end."""
        return Prompt((*self.messages, *more), self.composition, self.variables)


def hash_messages(messages: Sequence[Message]) -> str:
    """Return the SHA-256 over the canonical JSON of messages."""
    return hashlib.sha256(serialise(messages)).hexdigest()


def serialise(messages: Sequence[Message]) -> bytes:
    """Return messages as canonical JSON."""
    values = [{"content": message.content, "role": message.role} for message in messages]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


class ModelCalls:
    """Asks the model on behalf of one query."""

    def __init__(
        self,
        llm: LLM,
        trace: Trace,
        deadline: Deadline,
        cancellation: Cancellation,
        spending: Spending,
        estimator: TokenEstimator,
        now: Callable[[], datetime],
        label: str,
    ) -> None:
        self.account = Account()
        self.estimator = estimator
        self._llm = llm
        self._trace = trace
        self._deadline = deadline
        self._cancellation = cancellation
        self._spending = spending
        self._now = now
        self._label = label

    @property
    def config(self) -> LlmConfig:
        """Model and parameters."""
        return self._llm.config

    def record_prompt(self, prompt: Prompt, purpose: str, dropped: Sequence[object] = ()) -> None:
        """Record what will be sent, so that it can be rendered again from the trace."""
        composition, tokens = prompt.composition, self.estimator.estimate(size_of(serialise(prompt.messages).decode()))
        with self._trace.span("prompt") as span:
            span.record(
                input=dict(prompt.variables),
                config={
                    "purpose": purpose,
                    "prompt": composition.prompt.ref,
                    "parts": [part.ref for part in composition.parts.values()],
                    "composition_sha256": composition.sha256,
                    "path": composition.prompt.path,
                    "label": self._label,
                },
                output={"sha256": prompt.sha256, "chars": prompt.chars, "tokens": tokens, "estimated": True},
                dropped=list(dropped),
            )

    def ask(
        self,
        purpose: str,
        prompt: Prompt,
        *,
        schema: Mapping[str, Any] | None = None,
        on_text: OnText | None = None,
        dropped: Sequence[object] = (),
    ) -> Reply:
        """Return the model's reply. Raises LLMError, CancelledError."""
        self._cancellation.check()
        prompt = prompt.redacted()
        self.record_prompt(prompt, purpose, dropped)
        if not self._spending.admits():
            raise BudgetExceeded("The day's budget for model calls is spent (budget.daily_usd).")
        with self._trace.span("model") as span:
            span.record(config={"purpose": purpose, **describe_parameters(self.config)})
            reply = self._llm.complete(
                prompt.messages,
                deadline=self._deadline,
                cancellation=self._cancellation,
                schema=schema,
                on_text=on_text,
            )
            span.record(output={"text": reply.text}, **self._book(prompt, reply))
        return reply

    def _book(self, prompt: Prompt, reply: Reply) -> dict[str, object]:
        """Put a call on the account; return its figures for the trace."""
        sent = size_of(serialise(prompt.messages).decode("utf-8", "replace"))
        tokens = reply.tokens
        if tokens is None:
            used = Tokens(self.estimator.estimate(sent), self.estimator.estimate(size_of(reply.text)))
        else:
            used = tokens
            self.estimator.observe(sent, tokens.input)
        model = reply.model or self.config.model
        own = {p.model: ModelPrice(p.input_usd, p.output_usd, p.cached_usd) for p in self.config.price}
        cost = price_call(self.config.model, self.config.base_url or OPENAI_URL, used, self._now(), own)
        usd = cost.usd if cost else None
        self._spending.add(usd)
        self.account.book(used, tokens is None, usd, cost.version if cost else "", model)
        return {
            "response_model": model,
            "finish_reason": reply.finish_reason,
            "request_id": reply.request_id,
            "tokens_in": used.input,
            "tokens_out": used.output,
            "tokens_cached": used.cached,
            "tokens_estimated": tokens is None,
            "cost_usd": None if usd is None else str(usd),
            "attempts": reply.attempts,
            "constrained": reply.is_constrained,
            "first_text_ms": reply.first_text_ms,
        }

    def close(self) -> None:
        """Put the account on the trace; an unknown price stays null."""
        account = self.account
        if not account.calls:
            return
        self._trace.set(
            model=",".join(account.models),
            tokens_in=account.input,
            tokens_out=account.output,
            tokens_cached=account.cached,
            tokens_estimated=account.is_estimated,
        )
        if account.usd is not None:
            self._trace.set(cost_usd=str(account.usd), price_version=account.price_version)


OPENAI_URL = "https://api.openai.com/v1"


def describe_parameters(config: LlmConfig) -> dict[str, object]:
    """Return model, parameters and host for the trace; never the key."""
    return {
        "model": config.model,
        "host": urlsplit(config.base_url or OPENAI_URL).hostname,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "seed": config.seed,
        "max_tokens": config.max_output_tokens,
    }
