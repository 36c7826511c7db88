"""The stored baseline: what each case showed when it was last accepted, and what was different since (E4, E19).

A run is compared case by case. What is significantly worse by a paired bootstrap blocks; so does a figure that is not a
number, and a case of the baseline that is gone without a reason.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golden.case import REMOVED, GoldenError, Removed
from golden.judge import Verdict
from golden.machine import read_machine
from golden.metrics import bootstrap, mean, percentile, rounded
from golden.stats import Report, recall_at_5

MIN_DROP = 0.01  # of a mean: what is less is noise of the ranking, however sure it is
FORMAT = 1


class Dimensions(BaseModel):
    """What a result depends on; a comparison names the one that differs (P7)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    prompts: Mapping[str, str] = Field(default_factory=dict)  # prompt in use -> hash of its text
    retrieval: str = ""  # hash over the weights and settings of the search
    model: str = ""
    embedder: str = ""
    index: str = ""  # hash over the indexed content
    commit: str = ""


class CaseRow(BaseModel):
    """What one case showed. None: it could not be measured for this case."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    hash: str
    bucket: str
    passed: bool
    ndcg: float | None = None
    right: bool | None = None
    abstained: bool
    text_leg: bool | None = None
    vector_leg: bool | None = None
    tokens: int = 0
    blame: str = ""
    recall5: float | None = None
    cost_usd: float | None = None  # of the answer; None without a model or a price


class Baseline(BaseModel):
    """A stored run."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = FORMAT
    made_at: str
    machine: str = ""  # times are compared on the same machine only
    answer_p50_ms: float | None = None
    dimensions: Dimensions
    cases: tuple[CaseRow, ...]

    @property
    def by_id(self) -> dict[str, CaseRow]:
        """The rows by their case."""
        return {row.id: row for row in self.cases}

    def only(self, ids: Collection[str]) -> Baseline:
        """Return the baseline of some of the cases."""
        return self.model_copy(update={"cases": tuple(row for row in self.cases if row.id in ids)})


METRICS: Mapping[str, Callable[[CaseRow], float | None]] = {
    "passed": lambda row: float(row.passed),
    "ndcg": lambda row: row.ndcg,
    "right": lambda row: None if row.right is None else float(row.right),
    "text_leg": lambda row: None if row.text_leg is None else float(row.text_leg),
    "vector_leg": lambda row: None if row.vector_leg is None else float(row.vector_leg),
}


def to_row(verdict: Verdict) -> CaseRow:
    """Return what a case showed, for storing."""
    legs = verdict.leg_found
    return CaseRow(
        id=verdict.case.id,
        hash=verdict.case.hash,
        bucket=verdict.case.bucket,
        passed=verdict.passed,
        ndcg=round(verdict.ranking.ndcg, 4) if verdict.ranking else None,
        right=verdict.cites_right,
        abstained=verdict.outcome.abstained,
        text_leg=legs.get("search.text"),
        vector_leg=legs.get("search.vector"),
        tokens=verdict.outcome.stages.context_tokens,
        blame=verdict.blame,
        recall5=round(recall_at_5(verdict), 4) if verdict.case.expect.cites else None,
        cost_usd=verdict.outcome.cost_usd,
    )


def make_baseline(report: Report, dimensions: Dimensions, made_at: str) -> Baseline:
    """Return a run as a baseline."""
    times = [verdict.outcome.answer_ms for verdict in report.verdicts]
    return Baseline(
        made_at=made_at,
        machine=machine_name(),
        answer_p50_ms=rounded({"p50": percentile(times, 0.5)}, 1)["p50"],
        dimensions=dimensions,
        cases=tuple(to_row(verdict) for verdict in report.verdicts),
    )


def machine_name() -> str:
    """Return what times depend on: processor, cores, Python."""
    facts = read_machine()
    return f"{facts.cpu}, {facts.cores} cores, Python {facts.python}"


def write_baseline(baseline: Baseline, file: Path) -> None:
    """Store a baseline: a head, then one line per case, so that a review reads what changed."""
    head = baseline.model_dump(mode="json", exclude={"cases"})
    rows = [json.dumps(row.model_dump(mode="json", exclude_defaults=True)) for row in baseline.cases]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(head) + "\n" + "".join(f"{row}\n" for row in rows), "utf-8")


def read_baseline(file: Path) -> Baseline:
    """Read a stored baseline. Raises GoldenError."""
    try:
        head, *rows = file.read_text("utf-8").splitlines()
        return Baseline.model_validate({**json.loads(head), "cases": [json.loads(row) for row in rows]})
    except FileNotFoundError as error:
        raise GoldenError(f"There is no baseline {file}. `codecairn golden update` writes one.") from error
    except (ValueError, ValidationError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise GoldenError(
            f"The baseline {file} cannot be read ({reason}). Write it anew with golden update."
        ) from error


@dataclass(frozen=True, slots=True)
class Change:
    """One metric over the cases that both sides have."""

    metric: str
    n: int
    before: float
    after: float
    low: float  # of the 95 % interval of after - before
    high: float

    @property
    def is_worse(self) -> bool:
        """Tell whether it fell for sure, or cannot be told. Written so that NaN counts as worse."""
        return not (self.high >= 0 or self.before - self.after < MIN_DROP)

    def __str__(self) -> str:
        span = f"95 % {self.low:+.3f} to {self.high:+.3f}"
        return f"{self.metric}: {self.before:.3f} before, {self.after:.3f} now over {self.n} cases ({span})"


def compare_rows(before: Sequence[CaseRow], after: Sequence[CaseRow]) -> list[Change]:
    """Return the paired change of each metric over the cases that both have and that both could be measured on."""
    new = {row.id: row for row in after}
    pairs = [(row, new[row.id]) for row in before if row.id in new]
    return [change_of(name, value, pairs) for name, value in METRICS.items()]


def change_of(name: str, value: Callable[[CaseRow], float | None], pairs: Sequence[tuple[CaseRow, CaseRow]]) -> Change:
    """Return the change of one metric. A value that is there on one side only makes it NaN, unless it is `right`."""
    known: list[tuple[float, float]] = []
    for old, new in pairs:
        one, other = value(old), value(new)
        if one is None and other is None:
            continue
        if name == "right" and (one is None or other is None):
            continue  # it abstains now, or it did: the pass rate tells that
        known.append((math.nan if one is None else one, math.nan if other is None else other))
    low, high = bootstrap([after - before for before, after in known])
    return Change(name, len(known), mean(b for b, _ in known), mean(a for _, a in known), low, high)


def find_regressions(baseline: Baseline, report: Report, removed: Sequence[Removed] = ()) -> Iterator[str]:
    """Yield a sentence for everything that is worse than the baseline or missing."""
    rows = [to_row(verdict) for verdict in report.verdicts]
    present = {row.id: row for row in rows}
    known = baseline.by_id
    gone = sorted(known.keys() - present.keys() - {row.id for row in removed})
    if gone:
        yield f"{len(gone)} cases of the baseline are gone without a reason, {gone[0]} first: name them in {REMOVED}"
    added = sorted(present.keys() - known.keys())
    if added:
        yield f"{len(added)} cases are not in the baseline, {added[0]} first: run `codecairn golden update`"
    edited = sorted(i for i in known.keys() & present.keys() if known[i].hash != present[i].hash)
    if edited:
        yield f"{len(edited)} cases ask something else than in the baseline, {edited[0]} first: run golden update"
    changes = compare_rows(baseline.cases, rows)
    yield from (f"worse than the baseline: {change}" for change in changes if change.is_worse and change.n)
    yield from (f"no case can be compared by {change.metric}" for change in changes if not change.n)


def dimensions_hash(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a short hash of a JSON value."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
