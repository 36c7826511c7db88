"""From what the recorder collected to rows: redact, then hash. Runs in the writer's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

from traces.blobs import Json, Redact, Redactor, canonical, dump, hash_bytes, hash_value, parse, redact_strings
from traces.model import (
    CONTENT_BLOCKED,
    CONTENT_FULL,
    KEPT_CANDIDATES,
    LIST_STAGES,
    RETRIEVERS,
    ChunkKey,
    ChunkLike,
    ChunkRef,
    Trace,
    TraceAcl,
    TraceSummary,
)

# Columns that hold what a person or a client wrote. The rest is ids, codes and figures.
FREE_TEXT = (
    "query",
    "query_norm",
    "filters",
    "revisions",
    "client",
    "client_version",
    "session_id",
    "request_id",
    "traceparent",
)
SPAN_COLUMNS = (
    "id",
    "parent",
    "name",
    "start_ms",
    "duration_ms",
    "n_in",
    "n_out",
    "error_type",
)
STAGE_ORDER = {name: order for order, name in enumerate(LIST_STAGES)}
MAX_SINGLE = 3.4e38  # the largest number of 32 bits
LABELS = ("source", "path", "key", "title", "symbol")
MAX_KNOWN_CHUNKS = 2_000  # hash, labels and key, some 2 kB each; every edit and query of a new index brings others

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SpanDraft:
    """A span as recorded: each slot is JSON text already, so that later changes of the value cannot reach it."""

    id: int
    parent: int | None
    name: str
    start_ms: float
    duration_ms: float
    n_in: int | None
    n_out: int | None
    error_type: str | None
    slots: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A finished query on its way to the store, not redacted yet except for the query itself."""

    summary: TraceSummary
    acl: TraceAcl
    spans: tuple[SpanDraft, ...]
    redact: Redact
    chunks: tuple[ChunkLike, ...] = ()
    config: str | None = None
    environment: Callable[[], Mapping[str, object]] | None = None
    redact_chunk: Redact | None = None  # of indexed text, which ingestion has redacted already; default: `redact`
    content: Mapping[str, str] = field(default_factory=dict)  # arguments, answer, ... as JSON text
    result: str | None = None

    def without_content(self, why: str) -> Draft:
        """Return the same trace as a row with its spans' timings only."""
        return replace(
            self,
            summary=replace(self.summary, content=why),
            spans=tuple(replace(span, slots={}) for span in self.spans),
            chunks=(),
            config=None,
            environment=None,
            content={},
            result=None,
        )


class Position(NamedTuple):
    """Where a chunk got to."""

    stage: str | None = None
    rank: int | None = None
    score: float | None = None
    kept: bool = False
    reason: str | None = None

    @property
    def is_row(self) -> bool:
        """Whether the trace has a row for the chunk. A mere candidate is in the retriever's list, by its id."""
        return self.stage not in RETRIEVERS


@dataclass(frozen=True, slots=True)
class SealedChunk:
    """A chunk without its text, under the hash of what it says it is."""

    hash: str
    row: Row
    chunk: ChunkLike
    redact: Redact

    def text(self) -> bytes:
        """Return the redacted text as canonical JSON, the bytes behind `text_hash`."""
        return canonical(self.redact(self.chunk.text))


@dataclass(frozen=True, slots=True)
class Sealed:
    """A redacted and hashed trace, ready to be written."""

    row: Row
    spans: tuple[Row, ...]
    chunks: tuple[tuple[SealedChunk, Position], ...] = ()
    content: bytes | None = None
    config: bytes | None = None
    environment: bytes | None = None
    answer: str = ""


class Sealer:
    """Turns drafts into rows; remembers what it has redacted, because the same names and chunks return all the time."""

    def __init__(self, *, shorten: bool = True) -> None:
        """Keep whole lists of candidates with `shorten` off: for a look at one query, not for a store."""
        self._shorten = shorten
        self._known: dict[tuple[object, ...], tuple[str, Row]] = {}
        self._redactor: Redactor | None = None

    def seal(self, draft: Draft) -> Sealed:
        """Redact and hash a draft. A redactor that fails blocks the content, not the row."""
        try:
            return self._seal(draft)
        except Exception:  # the redactor is given from outside; whatever it raises, nothing unredacted may be written
            bare = draft.without_content(CONTENT_BLOCKED)
            blank: Row = {name: _blank(getattr(bare.summary, name)) for name in FREE_TEXT} | {"query": ""}
            return self._seal(replace(bare, summary=replace(bare.summary, **blank), redact=str, redact_chunk=str))

    def _seal(self, draft: Draft) -> Sealed:
        row, spans, head, config, result = self._redact_parts(draft)
        environment = None if draft.environment is None else canonical(draft.environment())
        places = find_positions([(span.name, slots) for span, slots in zip(draft.spans, spans, strict=True)])
        sealed = self._seal_chunks(draft.chunks, draft.redact_chunk or draft.redact)
        chunks = tuple((chunk, places.get(chunk.chunk.id, Position())) for chunk in sealed)
        pack = _pack(draft, spans, head)
        span_rows = tuple(_span_row(span) for span in draft.spans)
        row["config_hash"] = None if config is None else hash_bytes(config)
        row["environment_hash"] = None if environment is None else hash_bytes(environment)
        row["result_hash"] = None if result is None else hash_value(result)
        row["content_hash"] = None if pack is None else hash_bytes(pack)
        row["acl"] = _acl_row(draft.acl)
        row["hash"] = hash_trace(row, span_rows, [(sealed.hash, place) for sealed, place in chunks])
        answer = head.get("answer", "")
        return Sealed(row, span_rows, chunks, pack, config, environment, answer if isinstance(answer, str) else "")

    def _redact_parts(self, draft: Draft) -> tuple[Row, list[Row], Row, bytes | None, str | None]:
        """Return row, slots of each span, other content, configuration and result, redacted in one pass."""
        row = _summary_row(draft.summary)
        texts = [dump({name: row[name] for name in FREE_TEXT}), *draft.content.values()]
        slots = [(number, name) for number, span in enumerate(draft.spans) for name in span.slots]
        texts += [draft.spans[number].slots[name] for number, name in slots]
        texts += [text for text in (draft.config, None if draft.result is None else dump(draft.result)) if text]
        clean = iter(self._redactor_for(draft.redact).clean(texts))
        row.update(parse(next(clean)))
        if row["query_norm"] == row["query"]:
            row["query_norm"] = None  # most are
        head = {name: parse(next(clean)) for name in draft.content}
        spans: list[Row] = [{} for _ in draft.spans]
        for number, name in slots:
            spans[number][name] = parse(next(clean))
        if self._shorten:
            spans = [
                compact_slots(span.name, own) if span.name in LIST_STAGES else own
                for span, own in zip(draft.spans, spans, strict=True)
            ]
        config = None if draft.config is None else canonical(parse(next(clean)))
        return row, spans, head, config, None if draft.result is None else parse(next(clean))

    def _redactor_for(self, redact: Redact) -> Redactor:
        if self._redactor is None or self._redactor.redact != redact:
            self._redactor = Redactor(redact)
        return self._redactor

    def _seal_chunks(self, chunks: Iterable[ChunkLike], redact: Redact) -> list[SealedChunk]:
        keyed = [(_chunk_key(chunk, redact), chunk) for chunk in chunks]
        new = {key: chunk for key, chunk in keyed if key not in self._known}
        if len(self._known) + len(new) > MAX_KNOWN_CHUNKS:
            self._known.clear()
            new = dict(keyed)
        for key, row in zip(new, redact_chunks(list(new.values()), redact), strict=True):
            self._known[key] = (hash_value(row), row)
        return [SealedChunk(*self._known[key], chunk, redact) for key, chunk in keyed]


def _chunk_key(chunk: ChunkLike, redact: Redact) -> tuple[object, ...]:
    labels = (chunk.source, chunk.path, chunk.key, chunk.title, chunk.symbol, getattr(chunk, "content_hash", ""))
    return (chunk.id, chunk.start_line, chunk.end_line, chunk.text_hash, labels, redact)


def redact_chunks(chunks: Sequence[ChunkLike], redact: Redact) -> list[Row]:
    """Return what chunks say they are, redacted in one pass, each with the hash of its redacted text."""
    labels = [dump({name: getattr(chunk, name) for name in LABELS}) for chunk in chunks]
    extras = [dump(describe_extra(chunk)) for chunk in chunks]
    shown = [parse(text) for text in Redactor(redact).clean([*labels, *extras])]
    texts = redact_strings([chunk.text for chunk in chunks], redact)
    return [
        {
            **shown[at],
            "chunk_id": chunk.id,
            "start_line": chunk.start_line,
            "end_line": chunk.end_line,
            "text_hash": hash_value(text),
            "extra": canonical(extra).decode("utf-8", "replace") if (extra := shown[len(chunks) + at]) else None,
        }
        for at, (chunk, text) in enumerate(zip(chunks, texts, strict=True))
    ]


def describe_extra(chunk: ChunkLike) -> Row:
    """Return what an index chunk has besides what every trace names of a chunk; nothing for a plain reference."""
    known = {*ChunkRef.__dataclass_fields__}
    names: list[str] = [f.name for f in fields(chunk)] if is_dataclass(chunk) else []
    return {name: getattr(chunk, name) for name in names if name not in known}


def rehash(trace: Trace) -> str:
    """Return the hash that a trace as read should have; another one means that its rows were changed."""
    row = _head_row(trace.summary, trace.acl, trace.content_hash)
    spans = [{name: getattr(span, name) for name in SPAN_COLUMNS} for span in trace.spans]
    places = [(c.hash, Position(c.stage, c.rank, c.score, c.kept, c.reason)) for c in trace.chunks if c.hash]
    return hash_trace(row, spans, places)


def hash_row(summary: TraceSummary, acl: TraceAcl, content_hash: str | None) -> str:
    """Return the hash over the row of a trace alone: all that is left of a thinned one."""
    return hash_value(
        {name: value for name, value in _head_row(summary, acl, content_hash).items() if value is not None}
    )


def _head_row(summary: TraceSummary, acl: TraceAcl, content_hash: str | None) -> Row:
    return _summary_row(summary) | {"content_hash": content_hash, "acl": _acl_row(acl)}


def hash_trace(row: Mapping[str, Any], spans: Iterable[Row], chunks: Iterable[tuple[str, Position]]) -> str:
    """Return the hash over a trace's row, spans and chunks, and through their hashes over all of its content."""
    head = {name: value for name, value in row.items() if name != "hash" and value is not None}
    places = {hash_: [p.stage, p.rank, p.score, p.kept, p.reason] for hash_, p in chunks if p.is_row}
    return hash_value([head, list(spans), places])


def find_positions(spans: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[ChunkKey, Position]:
    """Return for each chunk the furthest stage that it reached, its rank there, and why it fell out.

    A chunk is kept when the last list stage of the trace still has it.
    """
    found: dict[ChunkKey, tuple[str, int, Json]] = {}
    fell: dict[ChunkKey, tuple[str, str]] = {}
    last = ""
    stages = [pair for pair in spans if pair[0] in LIST_STAGES]
    for name, slots in sorted(stages, key=lambda pair: STAGE_ORDER[pair[0]]):
        last = name if isinstance(slots.get("output"), list) else last
        for rank, (key, score, _) in enumerate(list_rows(slots.get("output")), start=1):
            found[key] = (name, rank, score)
            fell.pop(key, None)  # a later stage has it again
        fell |= {key: (name, f"{name}: {reason}") for key, reason, _ in list_rows(slots.get("dropped"))}
    return {key: _position(found.get(key), fell.get(key), last) for key in found | fell}


def _position(place: tuple[str, int, Json] | None, fell: tuple[str, str] | None, last: str) -> Position:
    stage, rank, score = place or (fell[0] if fell else None, None, None)
    reason = fell[1] if fell else None
    is_kept = reason is None and _reached(stage, last)
    return Position(stage, rank, float(score) if isinstance(score, (int, float)) else None, is_kept, reason)


def list_rows(rows: object) -> Iterator[tuple[ChunkKey, Any, Mapping[str, Any]]]:
    """Yield (chunk id, score or reason, details) of a list stage's rows; skip what has another shape."""
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, list) or not row or isinstance(row[0], bool) or not isinstance(row[0], (int, str)):
            continue
        details = row[2] if len(row) > 2 and isinstance(row[2], dict) else {}
        yield row[0], row[1] if len(row) > 1 else None, details


def _reached(stage: str | None, last: str) -> bool:
    return stage is not None and bool(last) and STAGE_ORDER[stage] >= STAGE_ORDER[last]


def compact_slots(stage: str, slots: Row) -> Row:
    """Return a list stage's slots with few candidates and short details; the scores stay exact."""
    rows = slots.get("output")
    if not isinstance(rows, list):
        return slots
    if stage in RETRIEVERS and len(rows) > KEPT_CANDIDATES:
        slots = {**slots, "rest": {"rows": len(rows), "hash": hash_value(rows)}}
        rows = rows[:KEPT_CANDIDATES]
    return {**slots, "output": shorten_rows(rows)}


def shorten_rows(rows: Sequence[Json]) -> list[Json]:
    """Return rows with their scores in as few digits as tell them from their neighbours, and details in four."""
    scored = [row for row in rows if isinstance(row, list) and len(row) > 1]
    scores = iter(shortest([row[1] for row in scored]))
    return [
        [row[0], next(scores), *map(_shorten_details, row[2:])] if isinstance(row, list) and len(row) > 1 else row
        for row in rows
    ]


def _shorten_details(part: Json) -> Json:
    if not isinstance(part, dict):
        return part
    return {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in part.items()}


def shortest(scores: Sequence[Json]) -> list[Json]:
    """Return scores in as few digits as tell them from their neighbours: the engines' have 32 bits, written in 64."""
    import numpy as np  # here: the first trace is sealed long after the server has said hello

    wide = np.array([v if isinstance(v, float) and abs(v) < MAX_SINGLE else 0.5 for v in scores])
    single = wide.astype(np.float32)
    short = parse(dump(single))
    return [
        brief if fits and isinstance(v, float) and abs(v) < MAX_SINGLE else v
        for v, fits, brief in zip(scores, (single == wide).tolist(), short, strict=True)
    ]


def _summary_row(summary: TraceSummary) -> Row:
    values = {f.name: getattr(summary, f.name) for f in fields(summary)}
    return {name: None if value in ((), {}) else value for name, value in values.items()}


def _acl_row(acl: TraceAcl) -> Row:
    return {"sources": acl.sources, "groups": acl.groups_required}


def _blank(value: object) -> object:
    return {} if isinstance(value, Mapping) else None


def _span_row(span: SpanDraft) -> Row:
    return {name: getattr(span, name, None) for name in SPAN_COLUMNS}


def _pack(draft: Draft, spans: list[Row], head: Row) -> bytes | None:
    if draft.summary.content != CONTENT_FULL:
        return None
    # One blob for all spans: the stages repeat the same chunk ids, which compress to almost nothing side by side.
    return canonical(head | {"spans": {str(span.id): slots for span, slots in zip(draft.spans, spans, strict=True)}})
