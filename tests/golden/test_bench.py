"""The benchmarks of indexing and serving on a small corpus: the real commands are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden.bench import BenchError
from golden.bench.indexing import run_index
from golden.bench.serving import run_serve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def corpora(tmp_path) -> Path:
    """One corpus with a root folder, as the case file names it."""
    root = tmp_path / "corpora" / f"acme__shop-{COMMIT[:12]}" / "src"
    root.mkdir(parents=True)
    (root / "invoice.py").write_text('"""Invoices."""\n\n\ndef total_of_invoice(lines):\n    return sum(lines)\n')
    (root / "stock.py").write_text('"""Stock."""\n\n\ndef count_stock(shelves):\n    return len(shelves)\n')
    (root / "mail.py").write_text('"""Mail."""\n\n\ndef send_mail(address, text):\n    return address, text\n')
    return tmp_path / "corpora"


def test_index_runs_the_real_command_and_leaves_the_folder_alone(corpora):
    root = next(corpora.iterdir()) / "src"
    (root / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    bench = run_index(root, changes=2, switch=3)
    assert (bench.files, bench.lines) == (3, 15)
    assert bench.skipped == {"binary": 1}
    assert bench.peak_mb > 10
    assert bench.index_mb > 0
    assert len(bench.change_ms) == 2
    assert bench.switch_files == 3
    assert bench.switch_ms > 0
    assert bench.text_s == bench.build_s  # so little is published in one go
    assert "lines/s" in str(bench)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


@pytest.mark.req("I4")
def test_a_branch_is_switched_by_git_in_a_copy_and_its_files_are_searchable(corpora, git):
    root = next(corpora.iterdir()) / "src"
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    (root / "mail.py").write_text("def send_mail(address):\n    return address\n")  # not committed: no obstacle
    bench = run_index(root, changes=0, switch=3)
    assert (bench.source_type, bench.switch_files) == ("git", 3)
    assert bench.switch_ms > 0
    assert "3 files changed by git switch, to searchable" in str(bench)
    assert git(root, "branch", "--list").split() == ["*", "main"]


def test_index_of_no_folder_is_refused(tmp_path):
    with pytest.raises(BenchError, match="no folder"):
        run_index(tmp_path / "nothing")


def test_serve_measures_the_handshake_and_round_trips(corpora):
    bench = run_serve(next(corpora.iterdir()) / "src", rounds=1)
    assert bench.queries == 10
    assert bench.chunks == 3
    assert bench.initialize_ms > bench.import_mcp_ms / 2
    assert 0 < bench.definition_chars
    assert "warm search_code over stdio" in str(bench)
