"""The gate: floors, no regression against the stored baseline, and nothing that may never happen (E4, A7).

That it can fail is shown by `golden.planted`: ten faults, each of which it must refuse.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import prompts
from golden.baseline import Baseline, find_regressions, machine_name
from golden.case import GoldenError, Removed
from golden.judge import fresh_though_changed
from golden.metrics import percentile, wilson
from golden.results import render_stats, render_times, to_junit, write_results
from golden.stats import BucketStats, Report
from golden.suite import BucketFloor, Floors, OverallFloor, Run, Suite, run_suite

JUNIT = "junit.xml"


@dataclass(frozen=True, slots=True)
class Gate:
    """The decision over one run, with the reasons against it."""

    run: Run
    failures: tuple[str, ...]
    removed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether nothing speaks against the change."""
        return not self.failures

    def __str__(self) -> str:
        report = self.run.report
        failed = [f"FAIL {v.case.id}: {problem}" for v in report.verdicts for problem in v.problems]
        verdict = "gate: PASS" if self.passed else "\n".join(f"gate: BLOCK {failure}" for failure in self.failures)
        return "\n".join((render_stats(report, self.removed), *failed, render_times(report), *self.notes, verdict))


# -- deciding ----------------------------------------------------------------------------------------------------------


def decide(run: Run, floors: Floors, baseline: Baseline, removed: Sequence[Removed] = ()) -> Gate:
    """Return the decision over a run."""
    failures = (
        *find_breaches(run.report),
        *find_low_figures(run.report, floors),
        *find_prompt_changes(run, baseline),
        *find_regressions(baseline, run.report, removed),
    )
    return Gate(run, failures, len(removed), tuple(describe_times(run, baseline)))


def find_breaches(report: Report) -> Iterator[str]:
    """Yield a sentence for everything that may never happen, whatever the rates are."""
    for verdict in report.verdicts:
        outcome, name = verdict.outcome, verdict.case.id
        if outcome.error:
            yield f"{name}: the call failed: {outcome.error}"
        if outcome.leaks:
            yield f"{name}: a leak of {len(outcome.leaks)} texts that this principal may not see"
        if outcome.missing:
            yield f"{name}: stale, it names {outcome.missing[0]}, which is not there any more"
        if outcome.stages.repeats:
            yield f"{name}: {outcome.stages.repeats} texts stand in the context twice"
        if outcome.dangling:
            yield f"{name}: cites lines that are not there: {outcome.dangling[0]}"
        for cited in fresh_though_changed(outcome):
            yield f"{name}: cites as fresh what has changed: {cited}"
        tokens, budget = outcome.stages.context_tokens, outcome.budget_tokens
        if tokens > budget:
            yield f"{name}: the context has {tokens} tokens, its budget is {budget}"


def find_low_figures(report: Report, floors: Floors) -> Iterator[str]:
    """Yield a sentence per floor that does not hold. A figure that is not a number holds no floor."""
    for row in report.stats():
        yield from bucket_failures(row, floors.bucket.get(row.bucket))
    yield from overall_failures(report.overall(), floors.overall)


def bucket_failures(row: BucketStats, floor: BucketFloor | None) -> Iterator[str]:
    """Yield a sentence per floor that one bucket misses. Comparisons are written so that NaN fails."""
    if floor is None:
        return
    if not row.cases >= floor.cases:
        yield f"{row.bucket}: {row.cases} cases, floor {floor.cases}"
    if not row.pass_rate >= floor.pass_rate:
        low, high = wilson(row.passed, row.cases)
        span = f"95 % {low:.2f}-{high:.2f}"
        yield f"{row.bucket}: {row.passed} of {row.cases} pass ({span}), floor {floor.pass_rate:.0%}"
    if not row.right >= floor.right:
        yield f"{row.bucket}: {row.right:.3f} of the answers cite the right source, floor {floor.right}"
    if not row.ndcg >= floor.ndcg:
        yield f"{row.bucket}: NDCG@10 {row.ndcg:.3f}, floor {floor.ndcg}"


def overall_failures(row: BucketStats, floor: OverallFloor) -> Iterator[str]:
    """Yield a sentence per rate of the whole set that is out of bounds. Comparisons are written so that NaN fails."""
    if not row.wrong_rate <= floor.confident_wrong:
        yield f"confidently wrong in {row.confident_wrong} of {row.cases}; at most {floor.confident_wrong:.0%}"
    if not row.false_abstain <= floor.false_abstain:
        yield f"abstains from {row.false_abstain:.1%} of the answerable questions; at most {floor.false_abstain:.0%}"
    if not row.answered_anyway <= floor.answered_anyway:
        yield f"answers {row.answered_anyway:.1%} of what nothing answers; at most {floor.answered_anyway:.0%}"
    for name, least in (("right", floor.right), ("text_leg", floor.text_leg), ("vector_leg", floor.vector_leg)):
        if not getattr(row, name) >= least:
            yield f"{name}: {getattr(row, name):.3f}, floor {least}"


def find_prompt_changes(run: Run, baseline: Baseline) -> Iterator[str]:
    """Yield a sentence where a prompt is not the locked one, or another one than when the baseline was accepted."""
    yield from prompts.verify_lock()
    now = run.dimensions.prompts
    for name, text_hash in baseline.dimensions.prompts.items():
        if now.get(name) != text_hash:
            yield (
                f"another text of the prompt {name!r} is in use than in the baseline: compare the two with "
                "`codecairn golden compare`, then accept it with `codecairn golden update`"
            )


def describe_times(run: Run, baseline: Baseline) -> Iterator[str]:
    """Yield what can be said of times: nothing blocks by them, and other hardware is not compared with."""
    if baseline.machine != machine_name():
        yield f"times: not compared, the baseline is from other hardware ({baseline.machine or 'unknown'})"
    elif baseline.answer_p50_ms:
        now = percentile([verdict.outcome.answer_ms for verdict in run.report.verdicts], 0.5)
        yield f"times: answer p50 {now:.0f} ms, baseline {baseline.answer_p50_ms:.0f} ms"


# -- running -----------------------------------------------------------------------------------------------------------


def run_gate(suite: Suite | None = None, workers: int = 2) -> Gate:
    """Run a suite, write its results below its work folder, and decide. Raises GoldenError."""
    suite = suite or Suite()
    floors, baseline, removed = suite.floors(), suite.baseline(), suite.removed()
    run = run_suite(suite, workers=workers)
    write_results(run.report, suite.results, len(removed))
    (suite.work / JUNIT).write_text(to_junit(run.report), "utf-8")
    return decide(run, floors, baseline, removed)


def main() -> int:
    """Run the gate of the shipped suite; 0 when it passes."""
    try:
        gate = run_gate()
    except GoldenError as error:
        sys.stderr.write(f"golden: {error}\n")
        return 1
    sys.stdout.write(f"{gate}\n")
    return 0 if gate.passed else 1


if __name__ == "__main__":
    sys.exit(main())
