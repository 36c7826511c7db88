"""`codecairn bench traces` on a few hundred traces: every figure is there, none of them judged."""

import json
import sys

import pytest

from mcp_server.cli import main


@pytest.mark.req("M17")
def test_bench_traces_measures_size_reports_and_searches(tmp_path, monkeypatch, capsys):
    arguments = ["bench", "traces", "--count", "300", "--max-mb", "1", "--out", str(tmp_path), "--json"]
    monkeypatch.setattr(sys, "argv", ["codecairn", *arguments])
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
    figures = json.loads(capsys.readouterr().out)
    assert figures["traces"] == 300 and figures["megabytes"] <= 1.2
    assert 0 <= figures["whole"] <= 300  # what does not fit gives up its content, later than it is counted here
    assert set(figures["panels_ms"]) == {"costs", "latency", "quality", "gaps"}
    assert figures["bytes_per_row"] > 0 and figures["search_p95_ms"] > 0 and figures["overhead_p50_ms"] > 0
    assert (tmp_path / "traces.db").is_file()
