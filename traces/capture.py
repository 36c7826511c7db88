"""A trace that is kept in memory: what a replay records itself into, to be compared with the one that is stored."""

from __future__ import annotations

from traces.blobs import parse
from traces.draft import SPAN_COLUMNS, Draft, Position, Sealer
from traces.model import Failure, Span, Trace, TraceChunk, TraceSummary


class Capture:
    """Takes the drafts of a recorder in place of a store; redacts and shortens them as the store does."""

    healthy = True

    def __init__(self, *, shorten: bool = True) -> None:
        self._shorten = shorten
        self.traces: list[Trace] = []

    def put(self, draft: Draft) -> None:
        """Keep a finished trace."""
        sealed = Sealer(shorten=self._shorten).seal(draft)
        content = parse(sealed.content) if sealed.content is not None else {}
        slots = content.get("spans", {})
        self.traces.append(
            Trace(
                summary=_summary(draft.summary, sealed.row),
                acl=draft.acl,
                hash=sealed.row["hash"],
                content_hash=sealed.row["content_hash"],
                spans=tuple(_span(row, slots.get(str(row["id"]), {})) for row in sealed.spans),
                chunks=tuple(_chunk(chunk.row, chunk.hash, place) for chunk, place in sealed.chunks),
                config=None if sealed.config is None else parse(sealed.config),
                environment=None if sealed.environment is None else parse(sealed.environment),
                arguments=content.get("arguments"),
                replay=content.get("replay"),
                answer=content.get("answer"),
                raw_output=content.get("raw_output"),
                ungrounded=tuple(content.get("ungrounded") or ()),
                failure=_failure(content.get("failure")),
            )
        )


def _summary(summary: TraceSummary, row: dict[str, object]) -> TraceSummary:
    from dataclasses import replace

    sealed = {name: row[name] for name in ("query", "config_hash", "environment_hash", "result_hash")}
    return replace(summary, **sealed)  # type: ignore[arg-type]


def _span(row: dict[str, object], slots: dict[str, object]) -> Span:
    failure = slots.pop("failure", None)
    return Span(**{name: row[name] for name in SPAN_COLUMNS}, **slots, failure=_failure(failure))  # type: ignore[arg-type]


def _chunk(row: dict[str, object], hash_: str, place: Position) -> TraceChunk:
    labels = ("source", "path", "key", "title", "symbol", "start_line", "end_line", "text_hash")
    return TraceChunk(
        id=row["chunk_id"],  # type: ignore[arg-type]
        hash=hash_,
        **{name: row[name] for name in labels},  # type: ignore[arg-type]
        stage=place.stage,
        rank=place.rank,
        score=place.score,
        kept=place.kept,
        reason=place.reason,
        text="",
    )


def _failure(value: object) -> Failure | None:
    return Failure(**value) if isinstance(value, dict) else None
