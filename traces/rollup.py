"""Counters per day: what the reports read, kept up to date with each batch of traces.

A row of `rollup` is one value of one dimension on one day (tool = answer, model = x); the dimension `all` has one row
a day. A row of `latency` counts durations by bucket: bucket b holds those from GROWTH^b up to GROWTH^(b+1)
milliseconds, so that a percentile read from it is at most 2.5 % off.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from traces.draft import Row, Sealed
from traces.schema import MEASURES

GROWTH = 1.05
SHORTEST_MS = 0.001
NANO = Decimal(10**9)
TOTAL, RETRIEVAL = "total", "retrieval"
RETRIEVAL_STAGES = ("normalise", "route", "entities", "transform", "embed", "fusion", "rerank", "diversify")

Counts = Mapping[tuple[str, ...], Mapping[str, int]]


def bucket_of(duration_ms: float) -> int:
    """Return the histogram bucket of a duration."""
    return math.floor(math.log(max(duration_ms, SHORTEST_MS)) / math.log(GROWTH))


def bucket_ms(bucket: int) -> float:
    """Return the duration that stands for a bucket: the geometric middle of it."""
    return float(GROWTH ** (bucket + 0.5))


def add_counts(connection: sqlite3.Connection, batch: Iterable[Sealed]) -> None:
    """Add a batch of traces to the counters, in the caller's transaction."""
    totals: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    times: Counter[tuple[str, str, str, int]] = Counter()
    for sealed in batch:
        row = sealed.row
        day, kind = str(row["at"])[:10], str(row["kind"])
        for dimension, value, measured in count_trace(row):
            totals[day, kind, dimension, value].update(measured)
        for stage, duration_ms in stage_times(row, sealed.spans):
            times[day, kind, stage, bucket_of(duration_ms)] += 1
    connection.executemany(_ADD_TOTALS, [(*key, *(sums[name] for name in MEASURES)) for key, sums in totals.items()])
    connection.executemany(_ADD_TIMES, [(*key, count) for key, count in times.items()])


def count_trace(row: Row) -> Iterator[tuple[str, str, dict[str, int]]]:
    """Yield dimension, value and figures of one trace for each row of `rollup` that it counts in."""
    measured = {name: value for name, value in measure(row).items() if value}
    for dimension, value in list_dimensions(row):
        yield dimension, value, measured
    for cache, hit in (row["cache"] or {}).items():
        if hit is not None:
            yield "cache", str(cache), {"n": 1, "n_hit": int(bool(hit))}
    for code in row["degraded"] or ():
        yield "degraded", str(code), measured


def list_dimensions(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the dimensions of a trace with their values; one that is unset is `none`."""
    prompt = f"{row['prompt_id']}@{row['prompt_version']}" if row["prompt_id"] else None
    values = {
        "all": "",
        "tool": row["tool"],
        "entry": row["entry"],
        "client": row["client"],
        "env": row["env"],
        "model": row["model"],
        "prompt": prompt,
        "generation": row["generation"],
        "deployment": f"{row['service_version']}+{row['code_commit'][:10]}"
        if row["code_commit"]
        else row["service_version"],
        "config": row["config_hash"],
        "transform": row["transform"],
        "route": row["route"],
        "bucket": row["bucket"],
        "error": row["error_type"],
    }
    for dimension, value in values.items():
        yield dimension, "none" if value is None else str(value)
    for source in row["sources"] or ():
        yield "module", f"{row['tool']} {source}"


def measure(row: Row) -> dict[str, int]:
    """Return the figures of one trace. A model call without a price is counted, not taken for free."""
    cost = row["cost_usd"]
    called = row["model"] is not None
    answered = row["abstained"] is not None
    return {
        "n": 1,
        "n_handled": row["status"] == "handled",
        "n_failed": row["status"] == "failed",
        "n_cancelled": row["status"] == "cancelled",
        "n_tool_errors": bool(row["is_error"]),
        "n_hit": bool(row["cached"]),
        "n_model_calls": called,
        "n_unpriced": called and cost is None,
        "nano_usd": 0 if cost is None else int(Decimal(str(cost)) * NANO),
        "tokens_in": row["tokens_in"] or 0,
        "tokens_out": row["tokens_out"] or 0,
        "tokens_cached": row["tokens_cached"] or 0,
        "tokens_estimated": called and bool(row["tokens_estimated"]),
        "n_answers": answered,
        "n_abstained": bool(row["abstained"]),
        "n_with_ungrounded": answered and bool(row["n_ungrounded"]),
        "n_with_stale": answered and bool(row["n_stale"]),
        "n_claims": row["n_claims"] or 0,
        "n_supported": row["n_supported"] or 0,
        "ms": round(row["duration_ms"]),
    }


def stage_times(row: Row, spans: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield stage and milliseconds of one trace: the whole, the whole per tool, retrieval, and each span."""
    yield TOTAL, row["duration_ms"]
    yield f"{TOTAL}:{row['tool']}", row["duration_ms"]
    if row["bucket"]:
        yield f"{TOTAL}:{row['bucket']}", row["duration_ms"]
    ends = []
    for span in spans:
        yield span["name"], span["duration_ms"]
        if span["name"].startswith("search.") or span["name"] in RETRIEVAL_STAGES:
            ends.append((span["start_ms"], span["start_ms"] + span["duration_ms"]))
    if ends:
        yield RETRIEVAL, max(end for _, end in ends) - min(start for start, _ in ends)


_ADD_TOTALS = (
    f"INSERT INTO rollup VALUES ({', '.join('?' * (4 + len(MEASURES)))}) ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in MEASURES)
)
_ADD_TIMES = "INSERT INTO latency VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
