"""The nouns of a trace, as frozen values.

Shapes that the report and later replay and blame understand; everything else is shown as plain JSON:

- a list stage (`search.*`, `fusion`, `rerank`, `diversify`, `context`, `respond`) has
  output  = rows `[chunk_id, score]` or `[chunk_id, score, details]` in rank order, score null where there is none,
  dropped = rows `[chunk_id, reason]` or `[chunk_id, reason, details]`;
- details: search.text `{"terms": [...]}`, fusion `{"text": contribution, "vector": contribution, ...}`,
  rerank `{feature: value}`, context `{"evidence": "E1", "slot": "code", "tokens": 120}`;
- fusion config has `{"weights": {"text": 1.0, ...}}`;
- a retriever's list is kept to `KEPT_CANDIDATES` rows; `Span.rest` says how many there were;
- ledger (or claims) output = claims `{"text", "verdict", "reason", "citations"}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict

TraceKind = Literal["live", "shadow", "replay", "eval"]
Status = Literal["success", "handled", "failed", "cancelled"]
EntryPoint = Literal["mcp-stdio", "mcp-http", "cli", "web", "eval"]
ChunkKey = int | str

KINDS: tuple[TraceKind, ...] = ("live", "shadow", "replay", "eval")
STATUSES: tuple[Status, ...] = ("success", "handled", "failed", "cancelled")
SPAN_NAMES: tuple[str, ...] = (
    "normalise",
    "route",
    "entities",
    "transform",
    "embed",
    "search.text",
    "search.vector",
    "search.symbol",
    "search.history",
    "search.frames",
    "search.references",
    "search.users",
    "search.link",
    "fusion",
    "rerank",
    "diversify",
    "context",
    "prompt",
    "model",
    "tool",
    "coverage",
    "claims",
    "ledger",
    "freshness",
    "respond",
)
RETRIEVERS: tuple[str, ...] = (
    "search.text",
    "search.vector",
    "search.symbol",
    "search.history",
    "search.frames",
    "search.references",
    "search.users",
    "search.link",
)
LIST_STAGES: tuple[str, ...] = (*RETRIEVERS, "fusion", "rerank", "diversify", "context", "respond")

# Why a trace has less than everything.
CONTENT_FULL = "full"
CONTENT_QUEUE_FULL = "dropped:queue_full"
CONTENT_WRITE_FAILED = "dropped:write_failed"
CONTENT_BLOCKED = "blocked:redaction"
CONTENT_DISK_GUARD = "dropped:disk_guard"

# Rows of one retriever's list that a trace holds; of a longer list it keeps the length and a hash over all rows. Of 150
# candidates the fusion takes sixty; no later stage sees the rest.
KEPT_CANDIDATES = 60


class ChunkLike(Protocol):
    """What a trace needs of a retrieved chunk. Must be immutable: it is read later, in the writer's thread."""

    @property
    def id(self) -> ChunkKey: ...
    @property
    def source(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def path(self) -> str | None: ...
    @property
    def key(self) -> str | None: ...
    @property
    def title(self) -> str: ...
    @property
    def symbol(self) -> str | None: ...
    @property
    def start_line(self) -> int: ...
    @property
    def end_line(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def text_hash(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """A ChunkLike for callers that hold no index chunk."""

    id: ChunkKey
    source: str
    text: str
    text_hash: str
    groups: tuple[str, ...] = ()
    path: str | None = None
    key: str | None = None
    title: str = ""
    symbol: str | None = None
    start_line: int = 0
    end_line: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called, as far as the protocol says it. `traceparent` is W3C; an invalid one is ignored."""

    client: str = ""
    client_version: str = ""
    session_id: str = ""
    request_id: str = ""
    traceparent: str = ""


class TraceFields(TypedDict, total=False):
    """What `trace.set` takes. Unknown figures stay unset (null), never 0."""

    query_norm: str
    natural_language: str
    route: str
    bucket: str
    transform: str
    filters: Mapping[str, object]  # sources, product, path_glob, acl hash ...
    generation: int
    revisions: Mapping[str, str]  # source -> commit
    degraded: Sequence[str]  # added to the codes already set
    policy_flags: Sequence[str]
    queue_wait_ms: float
    model: str
    prompt_id: str
    prompt_version: str
    prompt_sha256: str
    prompt_chars: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_cache_written: int
    tokens_estimated: bool
    cost_usd: str  # decimal
    price_version: str
    cache: Mapping[str, object]  # answer, semantic, embedding, provider -> hit
    cached: bool
    chunks_retrieved: int
    chunks_used: int
    n_claims: int
    n_supported: int
    n_stale: int
    abstained: bool
    is_error: bool
    answer: str  # final text
    raw_output: str  # model text before post-processing
    result: str  # what the tool returned; only its hash is kept
    ungrounded: Sequence[object]
    replay: Mapping[str, object]  # what a replay needs besides the stages; see mcp_server.replay
    replay_of: str


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """One row per query. `content` says whether the details are there (see the CONTENT constants)."""

    id: str  # ULID
    w3c_trace_id: str
    at: str  # ISO 8601 UTC
    kind: str
    env: str
    service_version: str
    code_commit: str
    tool: str
    entry: str
    query: str
    query_hash: str
    query_chars: int
    principal_hash: str
    status: str
    duration_ms: float
    query_norm: str | None = None  # null where it is the query itself
    natural_language: str | None = None
    route: str | None = None
    bucket: str | None = None
    transform: str | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    generation: int | None = None
    revisions: Mapping[str, str] = field(default_factory=dict)
    config_hash: str | None = None
    client: str | None = None
    client_version: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    degraded: tuple[str, ...] = ()
    policy_flags: tuple[str, ...] = ()
    error_type: str | None = None
    queue_wait_ms: float | None = None
    overhead_ms: float | None = None  # spent by the recorder in the caller's thread
    model: str | None = None
    prompt_id: str | None = None
    prompt_version: str | None = None
    prompt_sha256: str | None = None
    prompt_chars: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    tokens_cache_written: int | None = None
    tokens_estimated: bool | None = None
    cost_usd: str | None = None
    price_version: str | None = None
    cache: Mapping[str, Any] = field(default_factory=dict)
    cached: bool | None = None
    chunks_retrieved: int | None = None
    chunks_used: int | None = None
    sources: tuple[str, ...] = ()
    answer_chars: int | None = None
    n_claims: int | None = None
    n_supported: int | None = None
    n_ungrounded: int | None = None
    n_stale: int | None = None
    abstained: bool | None = None
    is_error: bool | None = None
    result_hash: str | None = None
    environment_hash: str | None = None
    replay_of: str | None = None
    content: str = CONTENT_FULL


@dataclass(frozen=True, slots=True)
class TraceAcl:
    """What somebody must be allowed to see to read a trace: every source, and a group of each of `groups_required`."""

    principal_hash: str
    sources: tuple[str, ...] = ()
    groups_required: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A recorded exception, redacted."""

    type: str
    message: str
    stack: str


@dataclass(frozen=True, slots=True)
class Span:
    """One timed stage. `start_ms` counts from the start of the trace; a slot that was not recorded is null."""

    id: int
    parent: int | None
    name: str
    start_ms: float
    duration_ms: float
    n_in: int | None = None
    n_out: int | None = None
    error_type: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    input: Any = None
    config: Any = None
    output: Any = None
    rest: Any = None  # of a longer list of candidates: {"rows": how many there were, "hash": over all of them}
    dropped: Any = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class TraceChunk:
    """A chunk of a trace: the furthest stage that it reached, its rank there (from 1) and whether it survived.

    `hash` is null for one that no list after the retrievers had: it is known by its id, in the lines it had last.
    """

    id: ChunkKey
    hash: str | None
    source: str
    path: str | None
    key: str | None
    title: str
    symbol: str | None
    start_line: int
    end_line: int
    stage: str | None
    rank: int | None
    score: float | None
    kept: bool
    reason: str | None
    text: str
    text_hash: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)  # the other fields of an index chunk: a replay reads them

    @property
    def label(self) -> str:
        """`path:start-end` for a file, key and title for a ticket or commit."""
        if self.path:
            return f"{self.path}:{self.start_line}-{self.end_line}"
        return f"{self.key} {self.title}".strip() if self.key else self.title


ScoreSource = Literal["human", "rule", "llm"]


@dataclass(frozen=True, slots=True)
class Score:
    """A judgement of a trace; a later one with the same name says which it supersedes."""

    id: str
    trace: str
    name: str  # feedback, regenerate, escalated, blame, golden, or a word of whoever annotates
    value: float | None
    label: str | None
    note: str | None
    source: str
    author: str | None  # a pseudonym
    at: str
    supersedes: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The whole record of one query."""

    summary: TraceSummary
    acl: TraceAcl
    hash: str
    content_hash: str | None = None
    spans: tuple[Span, ...] = ()
    chunks: tuple[TraceChunk, ...] = ()
    config: Any = None
    environment: Any = None
    arguments: Any = None
    replay: Any = None
    missing: tuple[str, ...] = ()  # hashes of blobs that should be there and are not
    scores: tuple[Score, ...] = ()  # what was said of it, where a reader asked for that
    thinned_at: str | None = None  # when retention took the content away
    answer: str | None = None
    raw_output: str | None = None
    ungrounded: tuple[Any, ...] = ()
    failure: Failure | None = None

    @property
    def stage_ms(self) -> tuple[tuple[str, float], ...]:
        """Name and duration of each span, in start order."""
        return tuple((span.name, span.duration_ms) for span in self.spans)
