"""Any OpenAI-compatible chat endpoint: streamed, bounded in time and size, retried, within the time of its caller."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from ingest.breaker import Breaker
from ingest.endpoint import RETRIES, advise, is_passing_status, wait_as_asked
from mcp_server.chat import LLMDown, LLMTimeout, Message, OnText, Reply
from mcp_server.config import LlmConfig
from mcp_server.fallback import Cancellation, Deadline
from traces.prices import Tokens

CONNECT_S = 5.0  # a machine that does not answer a connection is down, however long a generation may take
UNKNOWN_PARAMETER_STATUS = (400, 415, 422)
BACKOFF = wait_random_exponential(multiplier=0.25, max=8)
CHARS_PER_TOKEN_MAX = 8  # a text longer than this many characters a token is more than was asked for
EVENT_BYTES = 1_000_000  # of one line of the stream; a text comes in many
STREAM_FACTOR = 400  # bytes of stream for one token: the JSON around each
# What an endpoint may refuse to know. Left out one refusal at a time, and for good: it is the same endpoint next time.
OPTIONAL = ("response_format", "stream_options", "seed", "top_p", "temperature", "max_tokens")


class _PassingFailure(Exception):
    """The stream broke off or carried an error: the same call can succeed."""


class OpenAILLM:
    """A client with an event loop of its own, so that a call can be cancelled wherever it stands."""

    def __init__(
        self,
        config: LlmConfig,
        api_key: str | None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        breaker: Breaker | None = None,
    ) -> None:
        self.config = config
        self._sleep = sleep
        self._breaker = breaker or Breaker()
        self._left_out: set[str] = set()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        timeout = httpx2.Timeout(config.timeout_s, connect=min(CONNECT_S, config.timeout_s))
        self._client = AsyncOpenAI(
            api_key=api_key or "none", base_url=config.base_url or None, timeout=timeout, max_retries=0
        )
        # The client takes these from the environment; they are no business of another endpoint.
        self._client.organization = self._client.project = None

    def close(self) -> None:
        """End the connections and the loop."""
        with self._lock:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._client.close(), loop).result(CONNECT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def complete(
        self,
        messages: Sequence[Message],
        *,
        deadline: Deadline,
        cancellation: Cancellation,
        schema: Mapping[str, Any] | None = None,
        on_text: OnText | None = None,
    ) -> Reply:
        """Return the model's text. Raises LLMError and CancelledError."""
        cancellation.check()
        if not self._breaker.admits():
            raise LLMDown(f"{self._where} failed repeatedly; it is tried again in {self._breaker.wait_s:.0f} s.")
        pieces: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
        tell = (lambda number, text: pieces.put((number, text))) if on_text else None
        work = self._complete(messages, schema, deadline, tell)
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            with cancellation.stopping(future.cancel):
                if on_text:
                    future.add_done_callback(lambda done: pieces.put(None))
                    while (piece := pieces.get()) is not None:
                        on_text(*piece)
                reply = self._result(future)
        except BaseException:
            future.cancel()  # whoever listens failed, or has gone: nothing may go on and cost
            raise
        self._breaker.succeeded()
        return reply

    def _result(self, future: Future[Reply]) -> Reply:
        try:
            return future.result()
        except TimeoutError as error:
            self._breaker.failed()
            raise LLMTimeout(f"{self._where} gave no whole answer in time.") from error
        except (OpenAIError, httpx2.HTTPError, _PassingFailure) as error:
            if _is_read_timeout(error):
                self._breaker.failed()
                raise LLMTimeout(f"{self._where} gave no whole answer in time.") from error
            if _is_passing(error):
                self._breaker.failed()
            raise LLMDown(self._explain(error)) from error

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
                self._thread.start()
            return self._loop

    # -- in the loop -------------------------------------------------------------------------------------------------

    async def _complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        deadline: Deadline,
        on_text: OnText | None,
    ) -> Reply:
        """Return the answer of the first call that succeeds, all within the deadline."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_passing),
            stop=stop_after_attempt(1 + RETRIES) | stop_before_delay(deadline.remaining_s),
            wait=wait_as_asked(BACKOFF),
            sleep=self._sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                limit_s = min(self.config.timeout_s, deadline.remaining_s)
                async with asyncio.timeout(limit_s):
                    number = attempt.retry_state.attempt_number
                    reply = await self._generate(messages, schema, partial(on_text, number) if on_text else None)
        return replace(reply, attempts=number)

    async def _generate(
        self, messages: Sequence[Message], schema: Mapping[str, Any] | None, tell: Callable[[str], None] | None
    ) -> Reply:
        """Return one generation, without the parameters that the endpoint does not know."""
        for _ in OPTIONAL:
            parameters = self._parameters(messages, schema)
            try:
                return await self._stream(parameters, tell)
            except APIStatusError as error:
                if error.status_code not in UNKNOWN_PARAMETER_STATUS or not self._leave_out(error, parameters):
                    raise
        return await self._stream(self._parameters(messages, schema), tell)

    def _parameters(self, messages: Sequence[Message], schema: Mapping[str, Any] | None) -> dict[str, Any]:
        config = self.config
        parameters: dict[str, Any] = {
            "model": config.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "stream_options": {"include_usage": True},
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": config.seed,
            "max_tokens": config.max_output_tokens,
        }
        if schema is not None:
            described = {"name": "reply", "schema": schema, "strict": True}
            parameters["response_format"] = {"type": "json_schema", "json_schema": described}
        known = {name: value for name, value in parameters.items() if name not in self._left_out}
        if "max_tokens" in self._left_out:
            known["max_completion_tokens"] = config.max_output_tokens
        return known

    def _leave_out(self, error: APIStatusError, parameters: Mapping[str, Any]) -> bool:
        """Note what the endpoint refused; tell whether there is anything left to try without."""
        said = f"{getattr(error, 'param', '') or ''} {error.message}".lower()
        sent = [name for name in OPTIONAL if name in parameters]
        named = [name for name in sent if name in said or name.replace("_", " ") in said]
        if "json_schema" in said and "response_format" in sent:
            named.append("response_format")
        self._left_out.update(named or sent[:2])  # one that does not say which is likeliest to mean the newest two
        return bool(sent)

    async def _stream(self, parameters: Mapping[str, Any], tell: Callable[[str], None] | None) -> Reply:
        """Return one call's answer, told piece by piece."""
        began = time.perf_counter()
        reply = _Growing(self.config.max_output_tokens * CHARS_PER_TOKEN_MAX)
        create = self._client.chat.completions.with_streaming_response.create
        async with create(**parameters, stream=True) as response:
            reply.request_id = response.headers.get("x-request-id", "")
            limit = EVENT_BYTES + STREAM_FACTOR * self.config.max_output_tokens
            async for event in _read_events(response.iter_bytes(), limit):
                piece = reply.take(event)
                if piece and reply.first_text_ms is None:
                    reply.first_text_ms = (time.perf_counter() - began) * 1000
                if piece and tell:
                    tell(piece)
                if reply.is_full:
                    break
        return reply.finish("response_format" in parameters)

    @property
    def _where(self) -> str:
        return f"The model endpoint {self.config.base_url or self._client.base_url}"

    def _explain(self, error: Exception) -> str:
        if isinstance(error, APIStatusError):
            advice = advise(error.status_code, error.response.headers, "llm")
            return f"{self._where} answered {error.status_code} for model {self.config.model!r}.{advice}"
        if isinstance(error, (APIConnectionError, httpx2.TransportError)):
            return f"{self._where} cannot be reached, or broke off. Is it running?"
        return f"{self._where} failed: {error or type(error).__name__}."


class _Growing:
    """An answer while it arrives."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._parts: list[str] = []
        self._chars = 0
        self._model = self._finish_reason = ""
        self._tokens: Tokens | None = None
        self.request_id = ""
        self.first_text_ms: float | None = None

    @property
    def is_full(self) -> bool:
        """Tell whether more came than was asked for."""
        return self._chars >= self._max_chars

    def take(self, event: Mapping[str, Any]) -> str:
        """Add one event; return its text. Raises _PassingFailure for an error that came in the stream."""
        if error := event.get("error"):
            raise _PassingFailure(f"it sent an error: {str(error)[:200]}")
        self._model = _text(event.get("model")) or self._model
        self.request_id = self.request_id or _text(event.get("id"))
        self._tokens = _read_tokens(event.get("usage")) or self._tokens
        choices = event.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else {}
        if not isinstance(first, dict):
            return ""
        self._finish_reason = _text(first.get("finish_reason")) or self._finish_reason
        part = first.get("delta") or first.get("message") or {}
        piece = _text(part.get("content")) if isinstance(part, dict) else ""
        piece = piece[: self._max_chars - self._chars]
        self._parts.append(piece)
        self._chars += len(piece)
        return piece

    def finish(self, is_constrained: bool) -> Reply:
        """Return the answer. Raises _PassingFailure when it broke off without a word of why."""
        if not self._finish_reason and not self.is_full:
            raise _PassingFailure("its answer broke off")
        return Reply(
            text="".join(self._parts),
            model=self._model,
            finish_reason=self._finish_reason or "too_long",
            request_id=self.request_id,
            tokens=self._tokens,
            is_whole=self._finish_reason != "length" and not self.is_full,
            is_constrained=is_constrained,
            first_text_ms=self.first_text_ms,
        )


async def _read_events(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the JSON objects of a stream of server-sent events, or the one of a body that is no stream.

    Raises _PassingFailure for something else, and past `limit` bytes. The client's own reader has no limit.
    """
    rest, size, is_stream = b"", 0, False
    async for piece in pieces:
        size += len(piece)
        if size > limit:
            raise _PassingFailure(f"it sent more than {limit:,} bytes")
        *lines, rest = (rest + piece).split(b"\n")
        if not is_stream and not any(line.startswith((b"data:", b"event:", b":")) for line in lines):
            rest = b"\n".join((*lines, rest))
            continue
        is_stream = True
        for line in lines:
            if (event := _read_line(line)) is not None:
                yield event
    if is_stream and (event := _read_line(rest)) is not None:
        yield event
    elif not is_stream:
        yield _read_object(rest)


def _read_line(line: bytes) -> Mapping[str, Any] | None:
    data = line.removeprefix(b"data:").strip()
    return _read_object(data) if line.startswith(b"data:") and data != b"[DONE]" else None


def _read_object(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _PassingFailure("it sent something else than a chat completion") from error
    if not isinstance(value, dict):
        raise _PassingFailure("it sent something else than a chat completion")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_tokens(usage: object) -> Tokens | None:
    """Return what the endpoint counted, None where it did not or where the figures make no sense."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens"), cached or 0]
    valid = [count for count in counts if isinstance(count, int) and count >= 0]
    return Tokens(*valid) if len(valid) == len(counts) else None


def _is_passing(error: BaseException) -> bool:
    """Tell whether the same call can succeed; one that ran out of time is not made again."""
    if isinstance(error, APIStatusError):
        return is_passing_status(error.status_code)
    if _is_read_timeout(error):
        return False
    return isinstance(error, (APIConnectionError, httpx2.TransportError, _PassingFailure))


def _is_read_timeout(error: BaseException | None) -> bool:
    causes = (error, getattr(error, "__cause__", None))
    return any(isinstance(cause, (httpx2.ReadTimeout, httpx2.WriteTimeout)) for cause in causes)
