"""What a server that runs for long keeps: one generation, and of texts that are gone a bounded part."""

import gc
import os
import tracemalloc
from collections import Counter

import pytest

from ingest.build import build_index
from ingest.embedding.static import StaticEmbedder
from ingest.index import Index
from ingest.index.lease import Lease
from ingest.index.rows import Segment
from ingest.index.text import TextReader
from ingest.index.vector import VectorRows
from mcp_server.answering.aspects import text_roots
from mcp_server.egress import release
from mcp_server.results import SearchRequest
from mcp_server.service import Service
from tests.mcp_server.swap_run import LOCAL, setup_of, write_round

GENERATIONS = 24
WARM = 12  # more than the segments that one generation has
KEPT = (Index, Lease, Segment, TextReader, VectorRows)


def count_kept() -> Counter[str]:
    """Count what is open of any generation: objects and files."""
    gc.collect()
    found = Counter(type(item).__name__ for item in gc.get_objects() if isinstance(item, KEPT))
    found["files"] = len(os.listdir("/dev/fd"))
    return found


@pytest.mark.req("W4")
def test_a_generation_that_another_one_replaced_leaves_nothing_open(tmp_path):
    root, data = tmp_path / "code", tmp_path / "data"
    root.mkdir()
    setup, embedder = setup_of(root, data), StaticEmbedder()
    service = Service(setup)
    before, most = count_kept(), Counter[str]()
    for number in range(GENERATIONS):
        write_round(root, number)
        build_index(setup.settings.source, setup.settings.index, embedder, data, now="2026-11-21T00:00:00Z")
        found = service.search(SearchRequest("session round", limit=3), LOCAL)
        assert found.generation == number + 1
        if number >= WARM:
            most |= count_kept() - before
    service.close()
    assert most["Index"] == most["Lease"] == most["TextReader"] == most["VectorRows"] == 1
    assert most["Segment"] <= 9
    assert most["files"] <= 40


@pytest.mark.parametrize("read", [text_roots, lambda text: release(text, False, False)], ids=["roots", "released"])
def test_texts_that_are_asked_for_once_do_not_pile_up(read):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(10_000):
            edit = "open " * (number % 100) + "close " * (number // 100)  # other texts of the same words
            read(edit + "    return session.read(config, request)\n" * 50)
        assert tracemalloc.get_traced_memory()[0] - before < 10_000_000
    finally:
        tracemalloc.stop()
