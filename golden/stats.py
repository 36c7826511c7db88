"""Figures over judged cases: per bucket and over all; NaN where nothing could be measured, never zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from golden.blame import count_blame
from golden.case import BUCKETS
from golden.judge import Verdict, is_right, judge
from golden.metrics import mean, rounded
from golden.run import Asked

ALL = "all"


@dataclass(frozen=True, slots=True)
class BucketStats:
    """Figures of one bucket; rates are shares of 1, NaN where nothing could be measured."""

    bucket: str
    cases: int
    passed: int
    answered: int
    right: float  # of the answered cases with a known place: share that cites it (E10)
    precision: float  # share of the cited places that are right ones
    false_abstain: float  # of the answerable cases
    answered_anyway: float  # of those that nothing answers
    ndcg: float
    hit5: float
    recall5: float
    mrr: float
    faithfulness: float  # share of the claims that the ledger supports (E7)
    covered: float  # share of the answers that leave no part of the question open
    text_leg: float  # share of the right places among the first of the text side
    vector_leg: float
    confident_wrong: int  # answered from a wrong place or with a pointer to nothing, without a warning (E14)
    leaks: int
    stale: int  # cases that name what is not there any more

    @property
    def pass_rate(self) -> float:
        """Share of cases without a problem; NaN without cases."""
        return self.passed / self.cases if self.cases else math.nan

    @property
    def wrong_rate(self) -> float:
        """Share of cases that are confidently wrong; NaN without cases."""
        return self.confident_wrong / self.cases if self.cases else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values; NaN is null."""
        values = asdict(self)
        rates = {name: value for name, value in values.items() if isinstance(value, float)}
        return {**values, **rounded(rates), **rounded({"pass_rate": self.pass_rate})}


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    verdicts: tuple[Verdict, ...]
    seconds: float

    def stats(self) -> list[BucketStats]:
        """Return the figures per bucket; a bucket without cases is there, empty."""
        return [summarise(name, [v for v in self.verdicts if v.case.bucket == name]) for name in BUCKETS]

    def overall(self) -> BucketStats:
        """Return the figures over all cases."""
        return summarise(ALL, self.verdicts)

    def blame(self, bucket: str = "") -> dict[str, int]:
        """Return how often each stage is to blame for a case that fails."""
        return count_blame([v.blame for v in self.verdicts if not bucket or v.case.bucket == bucket])


def summarise(bucket: str, verdicts: Sequence[Verdict]) -> BucketStats:
    """Return the figures of some cases."""
    rankings = [v.ranking for v in verdicts if v.ranking is not None]
    answerable = [v for v in verdicts if v.is_answerable]
    absent = [v for v in verdicts if v.case.expect.abstain is True]
    answered = [v for v in answerable if not v.outcome.abstained]
    return BucketStats(
        bucket=bucket,
        cases=len(verdicts),
        passed=sum(v.passed for v in verdicts),
        answered=len(answered),
        right=mean(float(v.cites_right) for v in answered if v.cites_right is not None),
        precision=mean(cited_precision(v) for v in answered if v.outcome.cited and v.has_source),
        false_abstain=mean(float(v.outcome.abstained) for v in answerable),
        answered_anyway=mean(float(v.answered_anyway) for v in absent),
        ndcg=mean(ranking.ndcg for ranking in rankings),
        hit5=mean(ranking.hit5 for ranking in rankings),
        recall5=mean(recall_at_5(v) for v in verdicts if v.case.expect.cites),
        mrr=mean(ranking.mrr for ranking in rankings),
        faithfulness=mean(v.outcome.supported / v.outcome.claims for v in answered if v.outcome.claims),
        covered=mean(float(not v.outcome.ungrounded) for v in answered),
        text_leg=leg_rate(verdicts, "search.text"),
        vector_leg=leg_rate(verdicts, "search.vector"),
        confident_wrong=sum(v.is_confidently_wrong for v in verdicts),
        leaks=sum(bool(v.outcome.leaks) for v in verdicts),
        stale=sum(bool(v.outcome.missing) for v in verdicts),
    )


def leg_rate(verdicts: Sequence[Verdict], leg: str) -> float:
    """Return the share of cases whose right place one retriever has among its first."""
    return mean(float(v.leg_found[leg]) for v in verdicts if leg in v.leg_found)


def cited_precision(verdict: Verdict) -> float:
    """Return the share of the citations that point where the case says (E5)."""
    cited = verdict.outcome.cited
    return sum(is_right(verdict.outcome.expect, (item,)) for item in cited) / len(cited)


def recall_at_5(verdict: Verdict) -> float:
    """Return the share of the wanted files among the first five."""
    wanted = set(verdict.outcome.expect.cites)
    return len(wanted.intersection(verdict.outcome.files[:5])) / min(5, len(wanted))


def make_report(asked: Sequence[Asked], seconds: float) -> Report:
    """Return the judged cases of all corpora, by their ids."""
    outcomes = sorted((o for one in asked for o in one.outcomes), key=lambda outcome: outcome.case.id)
    return Report(tuple(judge(outcome) for outcome in outcomes), seconds)
