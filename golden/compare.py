"""Compare two stored runs case by case, with all else equal (P7), and whether the second may ship (E13, N9)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from golden.baseline import Baseline, CaseRow, Change, Dimensions, compare_rows
from golden.blame import STAGES
from golden.case import BUCKETS, GoldenError
from golden.metrics import mean

MAX_RECALL_LOSS = 0.02  # N9: recall@5 within two points
MIN_SAVING = 0.25  # N9: of the cost per query, where a model is asked
NAMES = tuple(Dimensions.model_fields)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs over the cases that both have."""

    differing: tuple[str, ...]  # names of the dimensions that are not equal
    changes: tuple[Change, ...]
    buckets: tuple[tuple[str, Change], ...]  # the pass rate of each
    better: tuple[str, ...]  # cases that pass now
    worse: tuple[str, ...]  # cases that passed before
    blame: tuple[tuple[str, int, int], ...]  # stage, before, after
    left_out: int  # cases that only one side has, or that ask something else

    def __str__(self) -> str:
        blamed = "  ".join(f"{stage} {one} -> {other}" for stage, one, other in self.blame) or "nobody"
        return "\n".join(
            (
                f"to blame: {blamed}",
                f"differs: {', '.join(self.differing) or 'nothing'}; {self.left_out} cases are not compared",
                *(str(change) for change in self.changes),
                *(f"{bucket}: {change}" for bucket, change in self.buckets),
                f"pass now: {', '.join(self.better) or 'none'}",
                f"passed before: {', '.join(self.worse) or 'none'}",
            )
        )


def compare_runs(before: Baseline, after: Baseline, dimension: str = "", *, allow_mixed: bool = False) -> Comparison:
    """Compare two runs. Raises GoldenError where more differs than one dimension, or than the named one."""
    if dimension and dimension not in NAMES:
        raise GoldenError(f"There is no dimension {dimension!r}. Dimensions: {', '.join(NAMES)}.")
    differing = tuple(n for n in NAMES if getattr(before.dimensions, n) != getattr(after.dimensions, n))
    mixed = [name for name in differing if name != dimension] if dimension else list(differing[1:])
    if mixed and not allow_mixed:
        wanted = f"only {dimension} should" if dimension else "one should"
        raise GoldenError(
            f"These runs differ in {', '.join(differing)}; {wanted}, so nothing could be said of the cause. "
            "Run both with all else equal, or pass --allow-mixed."
        )
    one, other = same_cases(before.cases, after.cases)
    return Comparison(
        differing=differing,
        changes=tuple(compare_rows(one, other)),
        buckets=tuple((bucket, change) for bucket in BUCKETS if (change := pass_change(bucket, one, other)).n),
        better=tuple(b.id for a, b in zip(one, other, strict=True) if b.passed and not a.passed),
        worse=tuple(b.id for a, b in zip(one, other, strict=True) if a.passed and not b.passed),
        blame=tuple(blame_changes(one, other)),
        left_out=len({row.id for row in (*before.cases, *after.cases)}) - len(one),
    )


def same_cases(before: Sequence[CaseRow], after: Sequence[CaseRow]) -> tuple[list[CaseRow], list[CaseRow]]:
    """Return the rows of the cases that both sides have and that ask the same, in one order."""
    new = {row.id: row for row in after}
    pairs = [(row, new[row.id]) for row in before if row.id in new and new[row.id].hash == row.hash]
    return [one for one, _ in pairs], [other for _, other in pairs]


def pass_change(bucket: str, before: Sequence[CaseRow], after: Sequence[CaseRow]) -> Change:
    """Return the change of one bucket's pass rate."""
    one, other = ([row for row in rows if row.bucket == bucket] for rows in (before, after))
    return compare_rows(one, other)[0]


def blame_changes(before: Sequence[CaseRow], after: Sequence[CaseRow]) -> Iterator[tuple[str, int, int]]:
    """Yield how often each stage is to blame on either side: it is looked at before any model (V7)."""
    for stage in STAGES:
        counts = [sum(row.blame == stage for row in rows) for rows in (before, after)]
        if any(counts):
            yield stage, counts[0], counts[1]


def ship_failures(best: Baseline, candidate: Baseline) -> Iterator[str]:
    """Yield a sentence for each ship condition that the candidate misses (N9); what is not known fails."""
    one, other = same_cases(best.cases, candidate.cases)
    if not one:
        yield "the two runs have no case in common"
        return
    loss = recall_of(one) - recall_of(other)
    if not loss <= MAX_RECALL_LOSS:
        yield f"recall@5 is {loss:.3f} lower than that of the best configuration, at most {MAX_RECALL_LOSS} are allowed"
    if candidate.dimensions.model == "extractive":
        return  # nothing is spent, and there is no judge to ask
    costs = [mean([cost for row in rows if (cost := row.cost_usd) is not None]) for rows in (one, other)]
    saving = 1 - costs[1] / costs[0] if costs[0] else math.nan
    if best.dimensions.model != "extractive" and not saving >= MIN_SAVING:
        known = "" if saving == saving else " (a price is unknown)"
        yield f"the cost per query is lower by {saving:.0%}{known}, at least {MIN_SAVING:.0%} are wanted"


def recall_of(rows: Sequence[CaseRow]) -> float:
    """Return the mean recall@5 of the cases that name files."""
    return mean([row.recall5 for row in rows if row.recall5 is not None])
