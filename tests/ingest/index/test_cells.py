"""Cells: very many vectors are searched by their direction, and nearly all of the nearest are found."""

from __future__ import annotations

import numpy as np
import pytest

from ingest.index import matrix
from ingest.index.matrix import TWO_PASS_ROWS, Matrix, VectorMemory

DIMENSIONS = 128
TOPICS = 300
COUNT = TWO_PASS_ROWS


def units(values: Matrix) -> Matrix:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def about_topics(count: int, seed: int) -> Matrix:
    """Vectors around a few hundred directions, as chunks of code are."""
    topics = np.random.default_rng(0).standard_normal((TOPICS, DIMENSIONS))
    rng = np.random.default_rng(seed)
    return units(topics[rng.integers(TOPICS, size=count)] + 0.7 * rng.standard_normal((count, DIMENSIONS)))


@pytest.fixture(scope="module")
def rows() -> Matrix:
    return about_topics(COUNT, 1)


@pytest.fixture
def grouped(rows: Matrix, monkeypatch: pytest.MonkeyPatch) -> VectorMemory:
    monkeypatch.setattr(matrix, "CELL_ROWS", COUNT)
    monkeypatch.setattr(matrix, "SHORTLIST", 500)
    memory = VectorMemory([rows], rows.shape, capacity=COUNT + 2000)
    assert memory.group()
    return memory


def find(memory: VectorMemory, vector: Matrix, places: np.ndarray | None, end: int, wanted: int = 10) -> list[int]:
    near, scores = memory.search(vector, places, end, wanted)
    assert near is not None
    return [int(near[at]) for at in np.argsort(-scores)[:wanted]]


def recall(memory: VectorMemory, rows: Matrix, places: np.ndarray | None) -> float:
    shares = []
    for vector in about_topics(30, 2):
        known = np.arange(len(rows)) if places is None else places
        wanted = known[np.argsort(-(rows[known] @ vector))[:10]]
        shares.append(len(set(find(memory, vector, places, len(rows))) & set(wanted.tolist())) / 10)
    return float(np.mean(shares))


@pytest.mark.req("R20")
def test_nearly_all_of_the_nearest_are_found_among_all_and_among_given_rows(
    grouped: VectorMemory, rows: Matrix
) -> None:
    assert recall(grouped, rows, None) >= 0.95
    for share in (0.9, 0.6):
        places = np.flatnonzero(np.random.default_rng(3).random(len(rows)) < share)
        assert recall(grouped, rows, places) >= 0.95
        assert set(find(grouped, rows[0], places, len(rows), 50)) <= set(places.tolist())


def test_a_search_of_cells_looks_at_a_part_of_the_rows(grouped: VectorMemory, rows: Matrix) -> None:
    cells = grouped._cells
    assert cells is not None
    assert sorted(cells.rows.tolist()) == list(range(COUNT))
    seen = []
    for vector in about_topics(5, 4):
        near, _ = grouped.search(vector, None, COUNT, 10)
        seen.append(len(near))
    assert max(seen) <= 600  # the shortlist, and what has the score at its border


def test_rows_that_come_after_the_cells_are_found_by_those_who_look_so_far(grouped: VectorMemory, rows: Matrix) -> None:
    later = about_topics(900, 5)
    assert grouped.append(later, COUNT)
    assert find(grouped, later[7], None, COUNT + 900, 1) == [COUNT + 7]
    assert find(grouped, later[7], None, COUNT, 1) != [COUNT + 7]
    places = np.arange(5, COUNT + 900)
    assert find(grouped, later[7], places, COUNT + 900, 1) == [COUNT + 7]
    assert find(grouped, rows[11], places[: COUNT - 5000], COUNT + 900, 1) == [11]


def test_cells_are_made_once_and_anew_when_many_rows_came(grouped: VectorMemory) -> None:
    assert not grouped.group()
    assert grouped.append(about_topics(1500, 6), COUNT)
    assert grouped.group()
    assert not grouped.group()
    assert len(grouped._cells) == COUNT + 1500


def test_few_rows_need_no_cells(rows: Matrix) -> None:
    assert not VectorMemory([rows], rows.shape).group()
