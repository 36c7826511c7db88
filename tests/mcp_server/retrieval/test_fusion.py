"""Fusion on plain lists."""

import pytest

from mcp_server.retrieval.candidates import rank_candidates
from mcp_server.retrieval.fusion import fuse


def ranked(retriever, *ids):
    return rank_candidates(retriever, [(chunk_id, 1.0 / place, "") for place, chunk_id in enumerate(ids, 1)])


@pytest.mark.req("T10")
def test_contributions_sum_to_the_score():
    fused = fuse({"text": ranked("text", 1, 2), "vector": ranked("vector", 2, 3)}, {"text": 1.0, "vector": 0.5}, 60, 9)
    for item in fused:
        assert item.score == pytest.approx(sum(share for _, share in item.contributions))
    assert fused[0].chunk_id == 2
    assert fused[0].score == 1.0


@pytest.mark.req("R3")
def test_weight_zero_leaves_a_list_without_influence():
    fused = fuse({"text": ranked("text", 1, 2), "vector": ranked("vector", 3)}, {"text": 1.0, "vector": 0.0}, 60, 9)
    assert [item.chunk_id for item in fused] == [1, 2, 3]
    assert fused[-1].score == 0.0


def test_candidates_behind_the_last_rank_stay_without_a_share():
    fused = fuse({"text": ranked("text", 1, 2, 3)}, {"text": 1.0}, 60, 2)
    assert [(item.chunk_id, item.score > 0) for item in fused] == [(1, True), (2, True), (3, False)]


def test_order_is_total_on_ties():
    lists = {"text": ranked("text", 9), "vector": ranked("vector", 4)}
    assert [item.chunk_id for item in fuse(lists, {"text": 1.0, "vector": 1.0}, 60, 9)] == [4, 9]


def test_nothing_found_is_an_empty_list():
    assert fuse({"text": []}, {"text": 1.0}, 60, 9) == []
