"""New checks on old traces: what was recorded is judged again, and no model is asked (E22)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from golden.blame import Stages, read_rows
from golden.case import Case
from golden.judge import span_problem
from ingest.access import Principal
from mcp_server.service import Service
from traces.model import Trace
from traces.store import TraceQuery

MOST = 100_000


@dataclass(frozen=True, slots=True)
class Rescored:
    """One old answer to the question of a case, judged by what the case expects today."""

    trace: str
    at: str
    case: Case
    stages: Stages
    problems: tuple[str, ...]

    def __str__(self) -> str:
        ranks = ", ".join(f"{name} #{rank}" for name, rank in self.stages.ranks.items() if rank) or "in no stage"
        verdict = "; ".join(self.problems) or "as expected"
        return f"{self.at[:19]}  {self.trace}  {self.case.id}: {verdict} (right place: {ranks})"


def rescore(service: Service, principal: Principal, cases: Sequence[Case], since: str = "") -> Iterator[Rescored]:
    """Yield every stored answer whose question a case asks, the newest first."""
    asked = {" ".join(case.query.split()).lower(): case for case in cases}
    for row in service.list_traces(principal, MOST, TraceQuery(tool="answer", since=since)):
        case = asked.get(" ".join(row.query.split()).lower())
        if case is not None:
            trace = service.get_trace(row.id, principal)
            stages = read_rows(trace, wanted_in(trace, case))
            yield Rescored(row.id, row.at, case, stages, tuple(find_problems(trace, case, stages)))


def wanted_in(trace: Trace, case: Case) -> frozenset[int]:
    """Return the recorded chunks that the case wants."""
    expect = case.expect
    return frozenset(
        int(chunk.id)
        for chunk in trace.chunks
        if {chunk.path, f"{chunk.source}:{chunk.path}"}.intersection(expect.cites) or chunk.key in expect.tickets
    )


def find_problems(trace: Trace, case: Case, stages: Stages) -> Iterator[str]:
    """Yield what is wrong with a recorded answer, as far as a record can tell."""
    expect, answer = case.expect, (trace.answer or "").lower()
    abstained = trace.summary.abstained
    if expect.abstain is not None and abstained is not None and expect.abstain != abstained:
        yield "abstained from an answerable question" if abstained else "answered what it should abstain from"
    if (expect.cites or expect.tickets) and not stages.ranks.get("context"):
        yield "the right place was not in the context"
    yield from (f"the answer does not show {text!r}" for text in expect.shows if text.lower() not in answer)
    yield from (f"leak: shows {text[:12]!r}..." for text in expect.hides if text.lower() in answer)
    if expect.max_latency_ms is not None and trace.summary.duration_ms > expect.max_latency_ms:
        yield f"took {trace.summary.duration_ms:.0f} ms"
    if expect.max_tokens is not None and stages.context_tokens > expect.max_tokens:
        yield f"the context had {stages.context_tokens} tokens"
    for wanted in expect.spans:
        if problem := span_problem(wanted, stages.outputs.get(wanted.name)):
            yield f"stage {wanted.name} {problem}"
