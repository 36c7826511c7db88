"""What the shadow did beside the live answers: pairs of traces, compared (E9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from golden.metrics import mean, percentile
from ingest.access import Principal
from mcp_server.service import Service
from mcp_server.shadow import CLIENT
from traces.model import Score, Trace
from traces.store import TraceQuery

MOST = 10_000  # latest pairs
MIN_PAIRS = 20  # fewer say nothing
MAX_FAILED = 0.01
MAX_MORE_ABSTAINED = 0.05
MAX_SLOWER = 1.5


@dataclass(frozen=True, slots=True)
class Pair:
    """A live query and the same one in the shadow."""

    live: Trace
    shadow: Trace
    reviews: tuple[Score, ...]  # what people said of the shadow's answer

    @property
    def overlap(self) -> float:
        """Share of the evidence that both used: 0 to 1."""
        one, other = evidence_of(self.live), evidence_of(self.shadow)
        return len(one & other) / len(one | other) if one | other else 1.0


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """Figures over all pairs; NaN where there is none."""

    pairs: int
    failed: float  # share of the shadow's queries
    same_answer: float
    overlap: float
    abstained_live: float
    abstained_shadow: float
    ungrounded_live: float  # mean number of open points
    ungrounded_shadow: float
    slower: float  # ratio of the medians
    reviewed: int  # by people
    review: float  # mean of their verdicts, 0 to 1

    def __str__(self) -> str:
        return "\n".join(
            (
                f"{self.pairs} pairs, {self.failed:.1%} of the shadow's queries failed",
                f"same answer {self.same_answer:.1%}, evidence in common {self.overlap:.1%}",
                f"abstained: live {self.abstained_live:.1%}, shadow {self.abstained_shadow:.1%}",
                f"open points per answer: live {self.ungrounded_live:.2f}, shadow {self.ungrounded_shadow:.2f}",
                f"time: {self.slower:.2f} times the live median",
                f"people: {self.reviewed} reviewed, mean {self.review:.2f}",
            )
        )

    def failures(self) -> Iterator[str]:
        """Yield why the shadow must not be promoted. Written so that NaN fails."""
        if not self.pairs >= MIN_PAIRS:
            yield f"shadow: only {self.pairs} queries ran in the shadow, at least {MIN_PAIRS} are wanted"
        if not self.failed <= MAX_FAILED:
            yield f"shadow: {self.failed:.1%} of its queries failed"
        if not self.abstained_shadow - self.abstained_live <= MAX_MORE_ABSTAINED:
            yield f"shadow: it abstains from {self.abstained_shadow:.1%}, live it is {self.abstained_live:.1%}"
        if not self.slower <= MAX_SLOWER:
            yield f"shadow: it takes {self.slower:.1f} times as long as the live answers"


def evidence_of(trace: Trace) -> set[tuple[str, str]]:
    """Return the documents that a query's context or page held."""
    shown = {row[0] for span in trace.spans if span.name in ("context", "freshness") for row in rows(span.output)}
    return {(chunk.source, chunk.path or chunk.key or chunk.title) for chunk in trace.chunks if chunk.id in shown}


def rows(output: object) -> Sequence[Sequence[object]]:
    """Return a list stage's rows, none for another output."""
    return output if isinstance(output, list | tuple) else ()


def read_pairs(service: Service, principal: Principal) -> list[Pair]:
    """Return the latest shadow queries with their live ones, as far as the principal may read both."""
    found = service.list_traces(principal, MOST, TraceQuery(kind="shadow"))
    pairs = []
    for row in found:
        if row.client != CLIENT or not row.request_id:
            continue
        live = service.store.get(row.request_id, service.may_read(principal))
        if live is not None:
            scores = tuple(score for score in service.store.scores(row.id) if score.source == "human")
            pairs.append(Pair(live, service.get_trace(row.id, principal), scores))
    return pairs


def compare_shadow(pairs: Sequence[Pair]) -> ShadowReport:
    """Return the figures over some pairs."""
    done = [pair for pair in pairs if pair.shadow.summary.status == "success"]
    times = [(pair.live.summary.duration_ms, pair.shadow.summary.duration_ms) for pair in done]
    median = percentile([live for live, _ in times], 0.5)
    verdicts = [score.value for pair in pairs for score in pair.reviews if score.value is not None]
    return ShadowReport(
        pairs=len(pairs),
        failed=mean(float(pair.shadow.summary.status != "success") for pair in pairs),
        same_answer=mean(float(pair.live.answer == pair.shadow.answer) for pair in done),
        overlap=mean(pair.overlap for pair in done),
        abstained_live=mean(float(bool(pair.live.summary.abstained)) for pair in done),
        abstained_shadow=mean(float(bool(pair.shadow.summary.abstained)) for pair in done),
        ungrounded_live=mean(pair.live.summary.n_ungrounded or 0 for pair in done),
        ungrounded_shadow=mean(pair.shadow.summary.n_ungrounded or 0 for pair in done),
        slower=percentile([shadow for _, shadow in times], 0.5) / median if times else float("nan"),
        reviewed=sum(bool(pair.reviews) for pair in pairs),
        review=mean(verdicts),
    )
