"""Ranking metrics, against figures worked out by hand and against a second way of counting them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.metrics import first_distinct, mean, mean_metrics, percentile, score_ranking, wilson

PATHS = st.lists(st.sampled_from([f"{name}.py" for name in "abcdefghijklmnop"]), max_size=14)


def test_the_only_target_in_front_scores_one_everywhere():
    metrics = score_ranking(["a.py"], ["a.py", "b.py"])
    assert (metrics.ndcg, metrics.hit1, metrics.hit5, metrics.hit10, metrics.mrr, metrics.recall) == (1, 1, 1, 1, 1, 1)


def test_two_targets_on_ranks_two_and_four():
    metrics = score_ranking(["a.py", "b.py"], ["x.py", "a.py", "y.py", "b.py"])
    ideal = 1 / math.log2(2) + 1 / math.log2(3)
    assert metrics.ndcg == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert (metrics.hit1, metrics.hit5, metrics.mrr, metrics.recall) == (0, 1, 0.5, 1)


def test_more_targets_than_places_have_an_ideal_of_ten():
    wanted = [f"{number}.py" for number in range(15)]
    assert score_ranking(wanted, wanted[:10]).ndcg == pytest.approx(1)
    assert score_ranking(wanted, wanted[:10]).recall == pytest.approx(10 / 15)


def test_what_stands_behind_the_tenth_place_does_not_count():
    ranked = [f"{number}.py" for number in range(10)]
    assert score_ranking(["late.py"], [*ranked, "late.py"]).hit10 == 0


def test_a_query_without_targets_is_no_ranking():
    with pytest.raises(ValueError, match="abstention"):
        score_ranking([], ["a.py"])


@given(PATHS.filter(bool), PATHS)
def test_the_figures_equal_a_second_way_of_counting_them(wanted, ranked):
    """Rank by rank instead of target by target, as public scorers of such data do it."""
    targets, top = set(wanted), ranked[:10]
    first_places = {path: place for place, path in reversed(list(enumerate(top, 1)))}
    gains = [1.0 if path in targets and first_places[path] == place else 0.0 for place, path in enumerate(top, 1)]
    dcg = sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(10, len(targets)) + 1))
    metrics = score_ranking(wanted, ranked)
    assert metrics.ndcg == pytest.approx(dcg / ideal)
    assert metrics.hit5 == float(any(gains[:5]))
    assert metrics.mrr == (1 / (gains.index(1.0) + 1) if any(gains) else 0)
    assert metrics.recall == sum(gains) / len(targets)


def test_first_distinct_keeps_the_best_place_of_each_file():
    assert first_distinct(["a", "b", "a", "c"], 2) == ["a", "b"]


@pytest.mark.req("A4")
def test_the_mean_of_nothing_is_not_zero():
    assert math.isnan(mean([]))
    assert math.isnan(mean_metrics([]).ndcg)
    assert math.isnan(percentile([], 0.5))


def test_percentiles_are_values_that_occurred():
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.95) == 4.0


@pytest.mark.req("E19")
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"), [(9, 10, 0.596, 0.982), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0)]
)
def test_wilson_interval(successes, trials, low, high):
    assert wilson(successes, trials) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


@pytest.mark.req("E19")
def test_wilson_of_no_trial_is_not_a_number():
    assert all(math.isnan(bound) for bound in wilson(0, 0))
