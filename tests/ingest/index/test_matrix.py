"""Many vectors are searched in two passes; what is found is what the exact search finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ingest.index import matrix
from ingest.index.matrix import Matrix, VectorMemory

DIMENSIONS = 256


def units(count: int, seed: int) -> Matrix:
    """Vectors that vary more along some axes than along others, as embeddings do."""
    spread = np.linspace(3.0, 0.1, DIMENSIONS)
    values = np.random.default_rng(seed).standard_normal((count, DIMENSIONS)) * spread
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def nearest(memory: VectorMemory, vector: Matrix, places: Any, end: int, wanted: int) -> list[int]:
    near, scores = memory.search(vector, places, end, wanted)
    best = np.argsort(-scores)[:wanted]
    return [int(place) for place in (best if near is None else near[best])]


def exact(rows: Matrix, vector: Matrix, wanted: int) -> list[int]:
    return [int(place) for place in np.argsort(-(rows @ vector))[:wanted]]


@pytest.fixture(scope="module")
def rows() -> Matrix:
    return units(matrix.TWO_PASS_ROWS, 1)


@pytest.fixture(scope="module")
def memory(rows: Matrix) -> VectorMemory:
    return VectorMemory([rows[:7000], rows[7000:]], rows.shape)


def test_two_passes_find_what_one_finds(rows: Matrix, memory: VectorMemory) -> None:
    for vector in units(20, 2):
        found, wanted = nearest(memory, vector, None, len(rows), 10), exact(rows, vector, 10)
        assert len(set(found) & set(wanted)) >= 9
        assert found[0] == wanted[0]


def test_two_passes_compare_few_rows_in_full(rows: Matrix, memory: VectorMemory) -> None:
    places, scores = memory.search(units(1, 3)[0], None, len(rows), 10)
    assert places is not None
    assert matrix.SHORTLIST <= len(places) == len(scores) < 1.6 * matrix.SHORTLIST


def test_enough_rows_are_compared_in_full_where_the_sample_misleads() -> None:
    near = np.zeros(50_000, dtype=np.float32)
    near[:: len(near) // matrix.BORDER_ROWS] = 1.0  # all that is looked at, and of the rest nothing
    assert np.count_nonzero(near >= matrix.find_border(near, 20_000)) >= 20_000


def test_rows_in_memory_are_as_exact_as_the_query_needs(rows: Matrix, memory: VectorMemory) -> None:
    assert np.abs(memory.read() - rows).max() < 2e-5
    places, scores = memory.search(rows[7], None, len(rows), 10)
    assert places is not None
    assert np.abs(scores - rows[places] @ rows[7]).max() < 1e-3


@pytest.mark.req("R20")
def test_very_many_rows_take_a_byte_a_number_and_nearly_all_of_the_nearest_are_found(
    rows: Matrix, memory: VectorMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "CELL_ROWS", len(rows))
    small = VectorMemory([rows[:7000], rows[7000:]], rows.shape, capacity=len(rows) + 5)
    assert small._rows.itemsize == 1 and memory._rows.itemsize == 2
    assert np.abs(small.read() - rows).max() <= np.abs(rows).max() / 127
    found = [set(nearest(small, vector, None, len(rows), 10)) for vector in units(20, 2)]
    wanted = [set(exact(rows, vector, 10)) for vector in units(20, 2)]
    assert sum(len(one & other) for one, other in zip(found, wanted, strict=True)) >= 0.95 * 200
    places, scores = small.search(rows[7], None, len(rows), 10)
    assert places is not None
    assert np.abs(scores - rows[places] @ rows[7]).max() < 0.005
    assert small.append(np.zeros((1, DIMENSIONS), dtype=np.float32), len(rows))
    assert not small.read([len(rows)]).any()


@pytest.mark.parametrize("share", [0.9, 0.2, 0.01])
def test_only_given_places_are_found(rows: Matrix, memory: VectorMemory, share: float) -> None:
    places = np.flatnonzero(np.random.default_rng(4).random(len(rows)) < share)
    vector = units(1, 5)[0]
    found = nearest(memory, vector, places, len(rows), 10)
    wanted = [int(places[at]) for at in exact(rows[places], vector, 10)]
    assert len(set(found) & set(wanted)) >= 9
    assert set(found) <= set(places.tolist())


def test_appended_rows_are_found_by_those_who_look_so_far(rows: Matrix) -> None:
    memory = VectorMemory([rows[:-1]], rows[:-1].shape, capacity=len(rows))
    assert memory.append(rows[-1:], len(rows) - 1)
    assert nearest(memory, rows[-1], None, len(rows), 1) == [len(rows) - 1]
    assert nearest(memory, rows[-1], None, len(rows) - 1, 1) != [len(rows) - 1]
    assert not memory.append(rows[:1], len(rows))  # full
    assert not memory.append(rows[:1], 5)  # another reader's place
