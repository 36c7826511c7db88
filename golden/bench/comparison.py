"""Paired differences: the same questions asked of two sides, with a 95 % bootstrap interval of the mean difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from golden.bench.questions import Question, group_ids
from golden.metrics import RankMetrics, bootstrap, mean, score_ranking

COMPARED = ("ndcg", "hit1", "hit10", "recall")


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of one metric on our side minus theirs over one group."""

    by: str
    name: str
    metric: str
    n: int
    ours: float
    theirs: float
    low: float  # of the 95 % interval of ours - theirs
    high: float

    @property
    def mean(self) -> float:
        """The mean difference."""
        return self.ours - self.theirs

    @property
    def is_clear(self) -> bool:
        """Tell whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def score_all(questions: Sequence[Question], paths: Mapping[str, Sequence[str]]) -> dict[str, RankMetrics]:
    """Return the metrics of each answerable question; one without an answer has found nothing."""
    return {q.id: score_ranking(q.wanted, paths.get(q.id, ())) for q in questions if q.wanted}


def compare(
    questions: Sequence[Question],
    ours: Mapping[str, Sequence[str]],
    theirs: Mapping[str, Sequence[str]],
    metrics: Sequence[str] = COMPARED,
) -> list[Difference]:
    """Return the differences per group; the groups beyond ALL have the first metric only."""
    one, other = score_all(questions, ours), score_all(questions, theirs)
    return [
        difference(by, name, metric, [(one[i], other[i]) for i in ids])
        for (by, name), ids in group_ids(questions).items()
        for metric in (metrics if by == "all" else metrics[:1])
    ]


def difference(by: str, name: str, metric: str, pairs: Sequence[tuple[RankMetrics, RankMetrics]]) -> Difference:
    """Return one paired difference."""
    values = [(float(getattr(a, metric)), float(getattr(b, metric))) for a, b in pairs]
    low, high = bootstrap([a - b for a, b in values])
    return Difference(by, name, metric, len(values), mean(a for a, _ in values), mean(b for _, b in values), low, high)
