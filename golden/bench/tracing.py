"""`codecairn bench traces`: what 100,000 traces take on disk, and how long reports and searches over them take.

Queries as long and wide as real ones, each with other words, chunks, durations and costs, go through the recorder and
the writer of the product. The older ones are recorded without their lists: retention would take those away.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from golden.machine import MachineFacts, read_machine
from traces.gaps import report_gaps
from traces.model import ChunkRef, TraceAcl
from traces.recorder import TraceRecorder, TraceRun
from traces.reports import Report, report_costs, report_latency, report_quality
from traces.retention import MB, Limits, used_bytes
from traces.store import TraceQuery, TraceStore

PANEL_MS, SEARCH_MS, SIZE_MB = 300.0, 100.0, 150  # targets
DAYS = 30
CHUNKS = 20_000  # distinct chunks that the traces speak of
CANDIDATES, RANKED, SHOWN = 150, 20, 8
WORDS = 4000  # distinct words of the questions
BATCH = 200  # traces between two waits for the writer, so that its queue never drops content
SEARCHES = 200
WHOLE = 10_000  # the latest traces, recorded with all of their lists


@dataclass(frozen=True, slots=True)
class TraceFigures:
    """What was measured. Times in milliseconds of the processor; sizes of the file as it is after retention."""

    machine: MachineFacts
    traces: int
    max_mb: int
    megabytes: float
    whole: int  # traces that still have their content
    bytes_per_whole_trace: float
    bytes_per_row: float
    overhead_p50_ms: float
    overhead_p95_ms: float
    panels_ms: dict[str, float]
    search_p50_ms: float
    search_p95_ms: float
    path_search_p95_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        reports = [f"  report {name:<7} {ms:8.1f} ms  (target {PANEL_MS:.0f})" for name, ms in self.panels_ms.items()]
        return "\n".join(
            (
                f"{self.machine}\n\n{self.traces:,} traces over {DAYS} days, trace.max_mb = {self.max_mb}",
                f"  database       {self.megabytes:8.1f} MB  (target {SIZE_MB}); {self.whole:,} traces still whole",
                f"  a row          {self.bytes_per_row:8.0f} B, with its share of the full-text index",
                f"  its content    {self.bytes_per_whole_trace:8.0f} B median; texts of chunks are shared",
                f"  overhead       {self.overhead_p50_ms:8.2f} ms p50, {self.overhead_p95_ms:.2f} ms p95",
                *reports,
                f"  search         {self.search_p50_ms:8.1f} ms p50, {self.search_p95_ms:.1f} ms p95 ({SEARCH_MS:.0f})",
                f"  search by path {self.path_search_p95_ms:8.1f} ms p95",
            )
        )


def run_traces(
    count: int, *, max_mb: int = SIZE_MB, folder: Path | None = None, say: Callable[[str], None]
) -> TraceFigures:
    """Write so many traces and measure. `folder`: where the file is made and left; default: a temporary one."""
    with tempfile.TemporaryDirectory() as scratch:
        path = (folder or Path(scratch)) / "traces.db"
        limits = Limits(max_days=10 * DAYS, max_mb=max_mb, min_free_mb=0)
        store = TraceStore(path, limits=limits)
        try:
            overheads = list(write_traces(store, count, say))
            store.prune(limits)
            return measure(store, count, max_mb, overheads, say)
        finally:
            store.close()


def write_traces(store: TraceStore, count: int, say: Callable[[str], None]) -> Iterator[float]:
    """Record traces, spread over the days; yield the processor's milliseconds in the query's thread, of whole ones.

    Making up the noise is part of them: an upper bound of what recording costs.
    """
    noise = random.Random(1)
    vocabulary = [make_word(noise) for _ in range(WORDS)]
    now = datetime.now(UTC)
    clock = [now]
    recorder = TraceRecorder(store, env="prod", service_version="0", code_commit="", redact=str, clock=lambda: clock[0])
    for number in range(count):
        clock[0] = now - timedelta(days=DAYS) * (1 - number / count)
        is_whole = number >= count - WHOLE
        started = time.thread_time()
        record_one(recorder, noise, vocabulary, number, is_whole)
        if is_whole:
            yield (time.thread_time() - started) * 1000
        if number % BATCH == BATCH - 1:
            store.flush(600)
        if number % 10_000 == 9_999:
            say(f"{number + 1:,} traces written")
    store.flush(600)


def make_word(noise: random.Random) -> str:
    """Return a made-up word."""
    return "".join(noise.choice("abcdefghiklmnoprstuvw") for _ in range(noise.randint(3, 10)))


def record_one(
    recorder: TraceRecorder, noise: random.Random, vocabulary: Sequence[str], number: int, is_whole: bool
) -> None:
    """Record one search or answer."""
    ranks = noise.sample(range(CHUNKS), CANDIDATES)
    words = [vocabulary[min(int(noise.paretovariate(0.7)) - 1, WORDS - 1)] for _ in range(10)]
    tool = "answer" if number % 2 else "search_code"
    with recorder.trace(
        tool=tool,
        query=" ".join(words),
        entry="mcp-stdio",
        principal_hash=f"principal{number % 40:08d}",
        config_snapshot={"answer": {"budget_tokens": 6000}, "revision": number // 5000},
        arguments={"limit": SHOWN, "number": number},
    ) as trace:
        if is_whole:
            record_stages(trace, noise, ranks)
        trace.set(generation=1, route="conceptual", transform="none", chunks_retrieved=CANDIDATES, chunks_used=SHOWN)
        if tool == "answer":
            record_answer(trace, noise, words, ranks, number)


def record_stages(trace: TraceRun, noise: random.Random, ids: Sequence[int]) -> None:
    """Record the stages of a search."""
    for name in ("normalise", "route", "entities", "transform"):
        with trace.span(name) as span:
            span.record(output={"route": "conceptual"})
    for name in ("search.text", "search.vector", "search.symbol", "search.history"):
        with trace.span(name) as span:
            span.record(output=[[chunk_key(one), noise.random()] for one in ids])
    top = ids[:RANKED]
    with trace.span("fusion") as span:
        rows = [[chunk_key(one), noise.random(), {"text": noise.random(), "vector": noise.random()}] for one in top]
        span.record(config={"weights": {"text": 1.0, "vector": 0.7}}, output=rows)
    with trace.span("rerank") as span:
        features = ("coverage", "coherence", "definition", "role_factor", "vector_depth")
        span.record(output=[[chunk_key(one), noise.random(), {n: noise.random() for n in features}] for one in top])
    with trace.span("diversify") as span:
        span.record(output=[[chunk_key(one), noise.random()] for one in top])
    with trace.span("freshness") as span:
        span.record(output=[[chunk_key(one), None, {"freshness": "fresh"}] for one in top[:SHOWN]])
    trace.add_chunks([make_chunk(one) for one in top])


def record_answer(trace: TraceRun, noise: random.Random, words: Sequence[str], ids: Sequence[int], number: int) -> None:
    """Record the stages of an answer."""
    text = " ".join([*words] * 6)
    for name in ("context", "coverage", "claims", "ledger", "respond"):
        with trace.span(name) as span:
            span.record(output={"text": text})
    calls = {"resolver.has_name": {word: True for word in words}}
    abstained = noise.random() < 0.1
    trace.set(
        answer=text,
        abstained=abstained,
        n_claims=5,
        n_supported=5 if noise.random() < 0.8 else 4,
        n_stale=0,
        ungrounded=[describe_part(word) for word in words[:2]] if abstained else [],
        replay={"context": [[chunk_key(one), noise.random()] for one in ids[:RANKED]], "calls": calls},
        cache={"answer": noise.random() < 0.2, "semantic": False},
    )
    if number % 4 == 1:
        trace.set(
            model=noise.choice(("m-large", "m-small")), tokens_in=3000, tokens_out=200, cost_usd=f"{noise.random():.6f}"
        )


def describe_part(word: str) -> dict[str, str]:
    """Return an open part of a question, as answers record it."""
    reason = f"'{word}' occurs nowhere in the index."
    return {"kind": "question", "text": word, "verdict": "not_covered", "reason": reason}


def chunk_key(number: int) -> int:
    """Return an id as long as a real one."""
    return (number * 0x9E3779B97F4A7C15) & (2**63 - 1)


def make_chunk(number: int) -> ChunkRef:
    """Return a chunk of a made-up file."""
    text = f"def function_{number}(argument):\n    return argument + {number}\n"
    path = f"src/package_{number % 97}/module_{number % 1009}.py"
    return ChunkRef(
        chunk_key(number),
        "app",
        text,
        f"{number:032x}",
        ("local",),
        path,
        None,
        "",
        None,
        number % 500,
        number % 500 + 9,
    )


def measure(
    store: TraceStore, count: int, max_mb: int, overheads: Sequence[float], say: Callable[[str], None]
) -> TraceFigures:
    """Measure size, reports and searches of a filled store."""
    say("measuring")
    with store.reading() as db:
        size = used_bytes(db)
        thinned = db.execute("SELECT count(*) FROM thinned").fetchone()[0]
        newest = db.execute(_CONTENT_BYTES, (WHOLE // 2,)).fetchall()
        rows = db.execute(_ROW_BYTES).fetchone()[0]
    kept = sorted(overheads[len(overheads) // 10 :])
    searches = [time_ms(partial(store.find, TraceQuery(text=text), see_all)) for text in search_texts()]
    files = [f"src/package_{number % 97}/module_{number}.py" for number in range(0, 1000, 10)]
    paths = [time_ms(partial(store.find, TraceQuery(path=file), see_all)) for file in files]
    return TraceFigures(
        machine=read_machine(),
        traces=count,
        max_mb=max_mb,
        megabytes=round(size / MB, 1),
        whole=count - thinned,
        bytes_per_whole_trace=round(statistics.median([size for (size,) in newest] or [0])),
        bytes_per_row=round(rows / count),
        overhead_p50_ms=round(statistics.median(kept), 3),
        overhead_p95_ms=round(kept[int(len(kept) * 0.95)], 3),
        panels_ms=time_reports(store),
        search_p50_ms=round(statistics.median(searches), 2),
        search_p95_ms=round(sorted(searches)[int(len(searches) * 0.95)], 2),
        path_search_p95_ms=round(sorted(paths)[int(len(paths) * 0.95)], 2),
    )


_CONTENT_BYTES = (
    "SELECT length(data) FROM blob JOIN trace ON trace.content_hash = blob.hash ORDER BY trace.seq DESC LIMIT ?"
)
_ROW_BYTES = (
    "SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'trace_fts%' "
    "OR name IN ('trace', 'trace_at', 'trace_by_content', 'sqlite_autoindex_trace_1', 'thinned')"
)


def time_reports(store: TraceStore) -> dict[str, float]:
    """Return the milliseconds of each whole report: all of its panels together."""
    today: date = datetime.now(UTC).date()
    builders: dict[str, Callable[..., Report]] = {
        "costs": report_costs, "latency": report_latency, "quality": report_quality, "gaps": report_gaps,
    }  # fmt: skip
    found = {}
    for name, build in builders.items():
        with store.reading() as db:
            found[name] = round(statistics.median(time_ms(partial(build, db, today)) for _ in range(5)), 1)
    return found


def search_texts() -> list[str]:
    """Return what is searched for: one to three words, from frequent to rare."""
    noise = random.Random(1)
    vocabulary = [make_word(noise) for _ in range(WORDS)]
    picks = random.Random(2)
    return [
        " ".join(vocabulary[min(int(picks.paretovariate(0.7)) - 1, WORDS - 1)] for _ in range(picks.randint(1, 3)))
        for _ in range(SEARCHES)
    ]


def time_ms(call: Callable[[], object]) -> float:
    """Return the processor's milliseconds that a call takes: other work on the machine does not count."""
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1000


def see_all(acl: TraceAcl) -> bool:
    """Allow everything."""
    return True
