"""Counters and histograms of this process for Prometheus. Labels hold codes and names of ours, never a question."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from traces.model import TraceSummary
from traces.store import TraceStore

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Seconds: stages take fractions of a millisecond, an answer by a model some seconds.
STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Those that the MCP and GenAI conventions of OpenTelemetry give for `mcp.server.operation.duration`.
QUERY_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
MAX_MODELS = 50  # names of models come from endpoints: beyond these they are counted as `other`


class Metrics:
    """What one process has done since it started."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._models: set[str] = set()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"codecairn_{name}", text, labels, registry=self._registry)

        self._queries = counter(
            "queries", "Queries by tool, entry point, kind and how they ended.", "tool", "entry", "kind", "status"
        )
        self._degraded = counter("degraded", "Results given in a degraded mode, by code.", "code")
        self._errors = counter("errors", "Queries that raised, by type of the error.", "type")
        self._answers = counter("answers", "Answers, by whether they abstained.", "abstained")
        self._open = counter("answers_with", "Answers with something ungrounded or stale.", "what")
        self._claims = counter("claims", "Claims of answers, by whether the evidence bears them.", "supported")
        self._cache = counter("cache_lookups", "Look-ups in a cache, by outcome.", "cache", "outcome")
        self._tokens = counter("model_tokens", "Tokens of model calls.", "model", "direction")
        self._cost = counter("model_cost_usd", "US dollars of model calls whose price is known.", "model")
        self._unpriced = counter("model_unpriced", "Queries with model calls whose price is not known.", "model")
        self._lost = Gauge(
            "codecairn_traces_lost", "Traces lost, or kept without content.", ["why"], registry=self._registry
        )
        self._generation = Gauge(
            "codecairn_index_generation", "Index generation of the last query.", registry=self._registry
        )
        self._inside = Gauge(
            "codecairn_queries_inside", "Queries that run now, or wait in line.", ["state"], registry=self._registry
        )
        self._duration = Histogram(
            "codecairn_query_seconds", "Duration of queries.", ["tool"], buckets=QUERY_BUCKETS, registry=self._registry
        )
        self._stages = Histogram(
            "codecairn_stage_seconds", "Duration of stages.", ["stage"], buckets=STAGE_BUCKETS, registry=self._registry
        )

    def count(self, row: TraceSummary, stages: tuple[tuple[str, float], ...]) -> None:
        """Count a finished query; only live ones count as such."""
        self._queries.labels(row.tool, row.entry, row.kind, row.status).inc()
        if row.kind != "live":
            return
        self._duration.labels(row.tool).observe(row.duration_ms / 1000)
        for stage, duration_ms in stages:
            self._stages.labels(stage).observe(duration_ms / 1000)
        for code in row.degraded:
            self._degraded.labels(code.partition(":")[0]).inc()  # `source_stale:<name>` would name a source
        if row.error_type is not None:
            self._errors.labels(row.error_type).inc()
        if row.generation is not None:
            self._generation.set(row.generation)
        for cache, hit in row.cache.items():
            if hit is not None:
                self._cache.labels(cache, "hit" if hit else "miss").inc()
        self._count_answer(row)
        self._count_model(row)

    def _count_answer(self, row: TraceSummary) -> None:
        if row.abstained is None:
            return
        self._answers.labels(str(row.abstained).lower()).inc()
        for what, count in (("ungrounded", row.n_ungrounded), ("stale", row.n_stale)):
            if count:
                self._open.labels(what).inc()
        supported = row.n_supported or 0
        self._claims.labels("true").inc(supported)
        self._claims.labels("false").inc(max(0, (row.n_claims or 0) - supported))

    def _count_model(self, row: TraceSummary) -> None:
        if row.model is None:
            return
        if row.model in self._models or len(self._models) < MAX_MODELS:
            self._models.add(row.model)
        name = row.model if row.model in self._models else "other"
        for direction, tokens in (("in", row.tokens_in), ("out", row.tokens_out), ("cached", row.tokens_cached)):
            self._tokens.labels(name, direction).inc(tokens or 0)
        if row.cost_usd is None:
            self._unpriced.labels(name).inc()
        else:
            self._cost.labels(name).inc(float(row.cost_usd))

    def render(self, store: TraceStore | None, running: int, waiting: int) -> bytes:
        """Return everything in the text form of Prometheus. `running`, `waiting`: queries inside now."""
        self._inside.labels("running").set(running)
        self._inside.labels("waiting").set(waiting)
        if store is not None:
            dropped, lost = store.dropped
            figures = {
                "write_failed": store.failures, "queue_full": dropped, "lost": lost, "redaction": store.blocked,
                "disk_guard": store.guarded, "export_failed": store.sink_failures,
            }  # fmt: skip
            for why, count in figures.items():
                self._lost.labels(why).set(count)
        return generate_latest(self._registry)
