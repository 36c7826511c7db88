"""The one structured line per query (JSON, stderr). Ids, figures and hashes; no question text (S12)."""

from __future__ import annotations

from typing import Any, Protocol

from traces.model import TraceSummary


class Finished(Protocol):
    """A finished trace, just recorded or read from the store."""

    @property
    def summary(self) -> TraceSummary: ...
    @property
    def stage_ms(self) -> tuple[tuple[str, float], ...]: ...


def log_record(trace: Finished) -> dict[str, Any]:
    """Return the log line of a query as a dict."""
    row = trace.summary
    return {
        "event": "query",
        "at": row.at,
        "trace_id": row.id,
        "w3c_trace_id": row.w3c_trace_id,
        "request_id": row.request_id,
        "session_id": row.session_id,
        "env": row.env,
        "kind": row.kind,
        "entry": row.entry,
        "tool": row.tool,
        "status": row.status,
        "error": row.error_type,
        "degraded": list(row.degraded),
        "duration_ms": row.duration_ms,
        "stage_ms": _sum_stages(trace.stage_ms),
        "generation": row.generation,
        "chunks_retrieved": row.chunks_retrieved,
        "chunks_used": row.chunks_used,
        "sources": list(row.sources),
        "cached": row.cached,
        "cache": dict(row.cache),
        "n_ungrounded": row.n_ungrounded,
        "n_stale": row.n_stale,
        "abstained": row.abstained,
        "query_chars": row.query_chars,
        "query_hash": row.query_hash,
    }


def _sum_stages(stages: tuple[tuple[str, float], ...]) -> dict[str, float]:
    total: dict[str, float] = {}
    for name, duration_ms in stages:
        total[name] = round(total.get(name, 0.0) + duration_ms, 3)
    return total
