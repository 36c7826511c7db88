"""Fusion on plain lists."""

import pytest

from mcp_server.retrieval.candidates import rank_candidates
from mcp_server.retrieval.fusion import fuse


def ranked(retriever, *ids):
    return rank_candidates(retriever, [(chunk_id, 1.0 / place, "") for place, chunk_id in enumerate(ids, 1)])


@pytest.mark.req("T10")
def test_contributions_sum_to_the_score():
    fused = fuse({"text": ranked("text", 1, 2), "vector": ranked("vector", 2, 3)}, {"text": 1.0, "vector": 0.5}, 60, 9)
    for at, score in enumerate(fused.scores):
        assert score == pytest.approx(sum(share for _, share in fused.contributions(at)))
    assert dict(fused.contributions(1)).keys() == {"text"}
    assert fused.ids[0] == 2
    assert fused.scores[0] == 1.0


@pytest.mark.req("R3")
def test_weight_zero_leaves_a_list_without_influence():
    fused = fuse({"text": ranked("text", 1, 2), "vector": ranked("vector", 3)}, {"text": 1.0, "vector": 0.0}, 60, 9)
    assert fused.ids.tolist() == [1, 2, 3]
    assert fused.scores[-1] == 0.0


def test_candidates_behind_the_last_rank_stay_without_a_share():
    fused = fuse({"text": ranked("text", 1, 2, 3)}, {"text": 1.0}, 60, 2)
    assert fused.ids.tolist() == [1, 2, 3]
    assert (fused.scores > 0).tolist() == [True, True, False]


def test_order_is_total_on_ties():
    lists = {"text": ranked("text", 9), "vector": ranked("vector", 4)}
    assert fuse(lists, {"text": 1.0, "vector": 1.0}, 60, 9).ids.tolist() == [4, 9]


def test_nothing_found_is_an_empty_list():
    assert len(fuse({"text": ranked("text")}, {"text": 1.0}, 60, 9)) == 0
    assert len(fuse({}, {"text": 1.0}, 60, 9)) == 0
