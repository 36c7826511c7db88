"""Queries of many threads while another process publishes: no error, and never two generations in one result."""

import pytest

from tests.mcp_server.swap_run import run


@pytest.mark.req("I7", "R11", "W4", "X5")
def test_no_query_fails_or_mixes_generations_while_the_index_is_swapped(tmp_path):
    _, swapped = run(tmp_path / "code", tmp_path / "data", swaps=5, warm_s=0.0, idle_s=0.1)
    assert swapped.errors == []
    assert swapped.mixed == []
    assert max(swapped.generations) == 6
    assert len(swapped.generations) > 1
