"""The benchmarks on small corpora: their figures are those of the files found, and the real commands are run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from golden.bench import BenchError
from golden.bench.indexing import run_index
from golden.bench.quality import run_search
from golden.bench.serving import run_serve
from golden.metrics import score_ranking

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


def write_cases(file: Path, *rows: dict[str, object]) -> Path:
    base = {"repo": "acme/shop", "commit": COMMIT, "root": "src", "meta": {"category": "symbol"}}
    file.write_text("".join(json.dumps({**base, **row}) + "\n" for row in rows))
    return file


def gold(path: str) -> list[dict[str, object]]:
    return [{"path": path, "start": None, "end": None}]


@pytest.fixture
def cases(tmp_path) -> Path:
    return write_cases(
        tmp_path / "cases.jsonl",
        {"id": "a", "bucket": "exact-symbol", "query": "total_of_invoice", "gold": gold("src/invoice.py")},
        {"id": "b", "bucket": "conceptual", "query": "how is mail sent to an address", "gold": gold("src/mail.py")},
        {"id": "c", "bucket": "conceptual", "query": "count what is on the shelves", "gold": gold("src/none.py")},
    )


def test_search_scores_the_files_found_with_their_root_in_front(corpora, cases, tmp_path):
    bench = run_search([cases], corpora, cache=tmp_path / "cache")
    found = {asked.question.id: asked.paths for asked in bench.asked}
    assert found["a"][0] == "src/invoice.py"
    assert found["b"][0] == "src/mail.py"
    scores = {group.name: group.metrics for group in bench.groups}
    assert scores["exact-symbol"] == score_ranking(["src/invoice.py"], found["a"])
    assert scores["ALL"].hit1 == pytest.approx(2 / 3)
    predictions = [json.loads(line) for line in bench.predictions()]
    assert predictions == [{"id": key, "paths": list(found[key])} for key in "abc"]
    assert bench.to_dict()["machine"]["cores"] >= 1


def test_a_second_run_uses_the_index_again_and_gives_the_same_figures(corpora, cases, tmp_path):
    first = run_search([cases], corpora, cache=tmp_path / "cache")
    again = run_search([cases], corpora, cache=tmp_path / "cache")
    assert (first.index_s > 0, again.index_s) == (True, 0.0)
    assert list(first.predictions()) == list(again.predictions())
    assert first.groups == again.groups


def test_a_question_without_gold_counts_as_unanswerable_and_in_no_ranking(corpora, tmp_path):
    cases = write_cases(tmp_path / "c.jsonl", {"id": "n", "bucket": "unanswerable", "query": "kafka", "gold": []})
    bench = run_search([cases], corpora, cache=tmp_path / "cache")
    assert bench.groups == ()
    assert bench.to_dict()["unanswerable"] == 1


def test_a_corpus_that_is_not_there_is_named(cases, tmp_path):
    with pytest.raises(BenchError, match=r"no corpus .*acme__shop-0123456789ab/src"):
        run_search([cases], tmp_path / "nowhere", cache=tmp_path / "cache")


def test_a_broken_case_file_is_named_with_its_line(corpora, tmp_path):
    (tmp_path / "c.jsonl").write_text('\n{"id": 1}\n')
    with pytest.raises(BenchError, match=r"c\.jsonl:2"):
        run_search([tmp_path / "c.jsonl"], corpora, cache=tmp_path / "cache")


def test_index_runs_the_real_command_and_leaves_the_folder_alone(corpora):
    root = next(corpora.iterdir()) / "src"
    (root / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    bench = run_index(root, changes=2)
    assert (bench.files, bench.lines) == (3, 15)
    assert bench.skipped == {"binary": 1}
    assert bench.peak_mb > 10
    assert bench.index_mb > 0
    assert len(bench.change_ms) == 2
    assert "lines/s" in str(bench)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


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
