"""Records one query as it runs: a trace with its spans. Recording never fails the query."""

from __future__ import annotations

import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from datetime import UTC, datetime
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Protocol, Unpack

from ulid import ULID

from traces.activity import Activity
from traces.blobs import Json, Redact, dump, hash_value, parse
from traces.draft import Draft, SpanDraft
from traces.model import (
    CONTENT_BLOCKED,
    CONTENT_FULL,
    SPAN_NAMES,
    Caller,
    ChunkKey,
    ChunkLike,
    EntryPoint,
    Status,
    TraceAcl,
    TraceFields,
    TraceKind,
    TraceSummary,
)
from traces.store import write_stderr

TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
VISIBLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
MAX_SLOT_CHARS = 1_000_000  # one recorded value; beyond, its size is recorded instead
TEXT_FIELDS = ("answer", "raw_output", "ungrounded", "replay")  # kept as content, not as columns
ADDED_FIELDS = ("degraded", "policy_flags")
MAPPING_FIELDS = ("filters", "revisions", "cache")


_open_span: ContextVar[SpanRun | None] = ContextVar("open_span", default=None)


def utc_now() -> datetime:
    """Return the time now, UTC."""
    return datetime.now(UTC)


class SpanRun:
    """A stage while it runs. A context manager: measures itself, records an exception and lets it pass."""

    __slots__ = ("_began", "_slots", "_token", "_trace", "draft_id", "duration_ms", "error_type", "n_in", "n_out",
                 "name", "parent", "start_ms")  # fmt: skip

    def __init__(self, trace: TraceRun, name: str, draft_id: int, parent: int | None) -> None:
        self._trace = trace
        self._slots: dict[str, str] = {}
        self.name = name
        self.draft_id = draft_id
        self.parent = parent
        self.n_in: int | None = None
        self.n_out: int | None = None
        self.error_type: str | None = None
        self.duration_ms: float | None = None
        self._began = time.perf_counter()
        self.start_ms = trace.elapsed_ms(self._began)

    def record(
        self,
        *,
        input: object = None,
        config: object = None,
        output: object = None,
        dropped: object = None,
        chunks: Iterable[ChunkLike] = (),
        **attrs: object,
    ) -> None:
        """Keep what went in, how the stage was set, what came out and fell out; a second call adds or replaces.

        Values are turned into JSON at once, so changing them later changes nothing here. Shapes: see traces.model.
        `chunks` names those that the lists speak of, as `TraceRun.add_chunks` does.
        """
        began = time.perf_counter()
        for name, value in (("input", input), ("config", config), ("output", output), ("dropped", dropped)):
            if value is not None:
                self._slots[name] = self._trace.freeze(value, f"{self.name}.{name}")
        self.n_in = _count(input, self.n_in)
        self.n_out = _count(output, self.n_out)
        if attrs:
            self._slots["attrs"] = self._trace.freeze(parse(self._slots.get("attrs", "{}")) | attrs, self.name)
        self._trace.add_overhead(began)
        if chunks:
            self._trace.add_chunks(chunks)

    def __enter__(self) -> SpanRun:
        self._token = _open_span.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.duration_ms = (time.perf_counter() - self._began) * 1000
        _open_span.reset(self._token)
        if error is not None:
            self.error_type = type(error).__name__
            self._slots["failure"] = self._trace.freeze(describe_failure(error), self.name)

    def belongs_to(self, trace: TraceRun) -> bool:
        """Tell whether this span is one of the trace's."""
        return self._trace is trace

    def to_draft(self, now_ms: float) -> SpanDraft:
        """Return the span as it is now; one that still runs is marked `unfinished`."""
        unfinished = self.duration_ms is None
        return SpanDraft(
            id=self.draft_id,
            parent=self.parent,
            name=self.name,
            start_ms=round(self.start_ms, 3),
            duration_ms=round(now_ms - self.start_ms if self.duration_ms is None else self.duration_ms, 3),
            n_in=self.n_in,
            n_out=self.n_out,
            error_type="unfinished" if unfinished else self.error_type,
            slots=dict(self._slots),
        )


class TraceRun:
    """A query while it runs. Thread-safe: retrievers open and fill spans in parallel."""

    def __init__(self, recorder: TraceRecorder, head: TraceSummary, config: object, arguments: object) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._began = time.perf_counter()
        self._overhead_s = 0.0
        self._head = head
        self._values: dict[str, Any] = {}
        self._content: dict[str, str] = {}
        self._spans: list[SpanRun] = []
        self._chunks: dict[ChunkKey, ChunkLike] = {}
        self._result: str | None = None
        self._config = None if config is None else self.freeze(config, "config")
        self._summary: TraceSummary | None = None
        self.id = head.id
        self.w3c_trace_id = head.w3c_trace_id
        if arguments is not None:
            self._content["arguments"] = self.freeze(arguments, "arguments")

    @property
    def degraded(self) -> tuple[str, ...]:
        """Codes set so far, in order."""
        return tuple(self._values.get("degraded", ()))

    @property
    def summary(self) -> TraceSummary:
        """The finished row. Raises RuntimeError while the query still runs."""
        if self._summary is None:
            raise RuntimeError("The trace is not finished: read its summary after the with block.")
        return self._summary

    @property
    def stage_ms(self) -> tuple[tuple[str, float], ...]:
        """Name and duration of each finished span, in start order."""
        return tuple((s.name, round(s.duration_ms, 3)) for s in self._spans if s.duration_ms is not None)

    def span(self, name: str, *, parent: SpanRun | None = None) -> SpanRun:
        """Open a stage of `SPAN_NAMES`. In another thread than its parent's, pass `parent`. Raises ValueError."""
        if name not in SPAN_NAMES:
            near = get_close_matches(name, SPAN_NAMES, 1)
            raise ValueError(f"No span is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else "."))
        above = parent or _open_span.get()
        with self._lock:
            parent_id = above.draft_id if above is not None and above.belongs_to(self) else None
            span = SpanRun(self, name, len(self._spans) + 1, parent_id)
            self._spans.append(span)
        return span

    def set(self, **values: Unpack[TraceFields]) -> None:
        """Set figures and facts of the query; `degraded` and `policy_flags` add to what is there."""
        began = time.perf_counter()
        given: dict[str, Any] = dict(values)
        unknown = given.keys() - TraceFields.__annotations__.keys()
        if unknown:
            raise TypeError(f"A trace has no field {sorted(unknown)}; see traces.model.TraceFields.")
        with self._lock:
            for name, value in given.items():
                self._set(name, value)
        self.add_overhead(began)

    def _set(self, name: str, value: Json) -> None:
        if name == "result":
            self._result = value
        elif name in TEXT_FIELDS:
            self._content[name] = self.freeze(value, name)
            self._values |= _sizes(name, value)
        elif name in ADDED_FIELDS:
            self._values[name] = tuple(dict.fromkeys((*self._values.get(name, ()), *value)))
        elif name in MAPPING_FIELDS:
            self._values[name] = parse(self.freeze(value, name))
        else:
            self._values[name] = float(value) if name == "queue_wait_ms" else value

    def add_chunks(self, chunks: Iterable[ChunkLike]) -> None:
        """Name the chunks that the recorded lists speak of. The trace then requires access to every one of them."""
        began = time.perf_counter()
        with self._lock:
            for chunk in chunks:
                self._chunks.setdefault(chunk.id, chunk)
        self.add_overhead(began)

    def freeze(self, value: object, what: str) -> str:
        """Return a value as JSON text; what cannot be held becomes a note that says so."""
        try:
            text = dump(value)
        except (TypeError, ValueError, RecursionError) as error:
            self._recorder.report(f"Trace {self._head.id}: {what} is not recorded ({error}).")
            return dump({"not_recorded": type(error).__name__})
        return text if len(text) <= MAX_SLOT_CHARS else dump({"not_recorded": "too large", "chars": len(text)})

    def elapsed_ms(self, now: float) -> float:
        """Return the milliseconds from the start of the trace to `now` (perf_counter)."""
        return (now - self._began) * 1000

    def add_overhead(self, began: float) -> None:
        """Count the time since `began` as the recorder's own."""
        self._overhead_s += time.perf_counter() - began

    def finish(self, error: BaseException | None) -> None:
        """Complete the row and queue it."""
        now = time.perf_counter()
        with self._lock:
            now_ms = self.elapsed_ms(now)
            spans = tuple(span.to_draft(now_ms) for span in self._spans)
            chunks = tuple(self._chunks.values())
            if error is not None:
                self._content["failure"] = self.freeze(describe_failure(error), "failure")
            content, values = dict(self._content), dict(self._values)
        acl = collect_acl(self._head.principal_hash, chunks)
        values["status"] = self._recorder.status_of(error, self.degraded)
        values["error_type"] = None if error is None else type(error).__name__
        values["sources"] = acl.sources
        values.setdefault("is_error", error is not None)
        values["duration_ms"] = round(now_ms, 3)
        values["overhead_ms"] = round((self._overhead_s + time.perf_counter() - now) * 1000, 3)
        self._summary = _complete(self._head, values)
        self._recorder.keep(
            Draft(
                self._summary,
                acl,
                spans,
                self._recorder.redact,
                chunks,
                self._config,
                self._recorder.environment,
                self._recorder.redact_chunk,
                content,
                self._result,
            )
        )


class Keeper(Protocol):
    """What takes finished traces: a store, or a capture in memory."""

    @property
    def healthy(self) -> bool:
        """Whether traces are being kept, as far as it is known."""
        ...

    def put(self, draft: Draft) -> None:
        """Take a finished trace, without waiting."""
        ...


class TraceRecorder:
    """Starts traces and hands them to a store; without a store they have an id and are not kept."""

    def __init__(
        self,
        store: Keeper | None,
        *,
        env: str,
        service_version: str,
        code_commit: str,
        redact: Redact,
        clock: Callable[[], datetime] = utc_now,
        handled: tuple[type[BaseException], ...] = (),
        on_error: Callable[[str], None] = write_stderr,
        redact_chunk: Redact | None = None,
        environment: Callable[[], Mapping[str, object]] | None = None,
        activity: Activity | None = None,
    ) -> None:
        """Record into a store. `activity` counts the queries that run."""
        self._activity = activity or Activity()
        self.redact = redact
        self.redact_chunk = redact_chunk
        self.environment = environment  # asked for in the writer's thread: reading it takes a while
        self.failures = 0
        self._store = store
        self._env = env
        self._service_version = service_version
        self._code_commit = code_commit
        self._clock = clock
        self._handled = handled  # exceptions that are an answer to the caller, not a fault of ours
        self._on_error = on_error

    @property
    def healthy(self) -> bool:
        """Whether traces are being kept, as far as it is known; else `trace_unavailable` belongs in the answer."""
        return self._store is not None and self._store.healthy

    @contextmanager
    def trace(
        self,
        *,
        tool: str,
        query: str,
        entry: EntryPoint,
        principal_hash: str = "",
        caller: Caller | None = None,
        config_snapshot: Mapping[str, object] | None = None,
        arguments: Mapping[str, object] | None = None,
        kind: TraceKind = "live",
    ) -> Iterator[TraceRun]:
        """Record one query: completes, or records the exception and lets it pass."""
        with self._activity.query():
            head = self._begin(tool, query, entry, principal_hash, caller or Caller(), kind)
            run = TraceRun(self, head, config_snapshot, arguments)
            try:
                yield run
            except BaseException as error:
                run.finish(error)
                raise
            run.finish(None)

    def _begin(self, tool: str, query: str, entry: str, principal_hash: str, caller: Caller, kind: str) -> TraceSummary:
        now = self._clock().astimezone(UTC)
        trace_id = ULID.from_datetime(now)
        parent = TRACEPARENT.fullmatch(caller.traceparent)
        shown, hash_, content = self._redact_query(query)
        return TraceSummary(
            id=str(trace_id),
            w3c_trace_id=parent[1] if parent else trace_id.hex,
            at=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            kind=kind,
            env=self._env,
            service_version=self._service_version,
            code_commit=self._code_commit,
            tool=tool,
            entry=entry,
            query=shown,
            query_hash=hash_,
            query_chars=len(query),
            principal_hash=principal_hash,
            status="success",
            duration_ms=0.0,
            client=_visible(caller.client),
            client_version=_visible(caller.client_version),
            session_id=_visible(caller.session_id),
            request_id=_visible(caller.request_id),
            traceparent=caller.traceparent if parent else None,
            content=content,
        )

    def _redact_query(self, query: str) -> tuple[str, str, str]:
        try:
            shown = self.redact(query).encode("utf-8", "replace").decode()
        except Exception as error:  # the redactor is given from outside; its failure blocks the text, not the query
            self.report(f"A query was not recorded: the redactor failed ({type(error).__name__}).")
            return "", "", CONTENT_BLOCKED
        return shown, hash_value(shown), CONTENT_FULL

    def status_of(self, error: BaseException | None, degraded: tuple[str, ...]) -> Status:
        """Return how a query ended."""
        if error is None:
            return "handled" if degraded else "success"
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)) or _is_cancellation(error):
            return "cancelled"
        return "handled" if isinstance(error, self._handled) else "failed"

    def keep(self, draft: Draft) -> None:
        """Queue a finished trace; whatever goes wrong is counted and told, never raised."""
        if self._store is None:
            return
        try:
            blocked = draft.summary.content != CONTENT_FULL
            self._store.put(draft.without_content(draft.summary.content) if blocked else draft)
        except Exception as error:  # the last line between a broken recorder and somebody's answer
            self.report(f"Trace {draft.summary.id} is lost ({type(error).__name__}: {error}).")

    def report(self, line: str) -> None:
        """Count a failure of recording and say it in one line."""
        self.failures += 1
        self._on_error(line)


def collect_acl(principal_hash: str, chunks: Iterable[ChunkLike]) -> TraceAcl:
    """Return what somebody must be allowed to see to read a trace with these chunks."""
    pairs = {(chunk.source, chunk.groups) for chunk in chunks}
    groups = sorted({tuple(sorted(groups)) for _, groups in pairs})
    return TraceAcl(principal_hash, tuple(sorted({source for source, _ in pairs})), tuple(groups))


def describe_failure(error: BaseException) -> dict[str, str]:
    """Return type, message and stack of an exception."""
    stack = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-20))
    return {"type": type(error).__name__, "message": str(error), "stack": stack}


def _complete(head: TraceSummary, values: Mapping[str, Any]) -> TraceSummary:
    merged = {f.name: values.get(f.name, getattr(head, f.name)) for f in fields(TraceSummary)}
    return TraceSummary(**merged)


def _sizes(name: str, value: Json) -> dict[str, int]:
    if name == "answer":
        return {"answer_chars": len(value)}
    return {"n_ungrounded": len(value)} if name == "ungrounded" else {}


def _count(value: object, before: int | None) -> int | None:
    return len(value) if isinstance(value, Sized) and not isinstance(value, (str, bytes)) else before


def _visible(text: str) -> str | None:
    return text if VISIBLE_ID.fullmatch(text) else None


def _is_cancellation(error: BaseException) -> bool:
    # by name: asyncio's and concurrent.futures' are different classes, and neither is imported for this
    return any(cls.__name__ == "CancelledError" for cls in type(error).__mro__)
