"""Questions between designs and code: mined from commits, asked of one index with both."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from golden.bench import BenchError
from golden.bench.designs import NAMED
from golden.bench.quality import Plan, run_search
from golden.bench.rivals import parse_rival
from mcp_server.cli import app
from tests.golden.test_bench_search import git

LABELS = Path(__file__).parents[2] / "golden" / "bench" / "labels" / "ethereum.jsonl"
RETRIES = """---
rfc: 7
title: Payment retries
---
# RFC 7: Payment retries

A payment provider that does not answer is asked again, with a growing pause, five times at most.
See [RFC 9](0009-x.md).
"""
STOCK = """---
rfc: 8
title: Stock counters
---

Shelves are counted by sensors, and the counters of all shelves are added up every night by one job.
"""


def commit(folder: Path, message: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", message)


@pytest.fixture
def clones(tmp_path) -> Path:
    """A code repository whose commits name the designs of another one."""
    (tmp_path / "clones" / "acme").mkdir(parents=True)
    for name in ("shop", "rfcs"):
        git(tmp_path / "clones" / "acme", "init", "-q", name)
    commit(tmp_path / "clones/acme/rfcs", "x", {"text/0007-retries.md": RETRIES, "text/0008-stock.md": STOCK})
    shop = tmp_path / "clones/acme/shop"
    loop = "def call_provider(call):\n    for pause in growing_pauses(5):  # RFC 7, see enable0007\n        call()\n"
    test = "def test_it():\n    pass\n"
    commit(shop, "RFC 7: ask the payment provider again", {"pay/calls.py": loop, "tests/test_calls.py": test})
    commit(shop, "Unrelated", {"pay/money.py": "def add(one, other):\n    return one + other\n"})
    return tmp_path / "clones"


def mine(clones: Path, out: Path) -> list[dict]:
    arguments = ["--code", "acme/shop", "--designs", "acme/rfcs", "--root", "text", "--out", str(out)]
    result = CliRunner().invoke(app, ["bench", "mine-designs", str(clones), *arguments])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.fixture
def corpora(clones, tmp_path) -> Path:
    """The same repositories as corpora, each named after its commit."""
    folder = tmp_path / "corpora"
    folder.mkdir()
    for name in ("shop", "rfcs"):
        clone = clones / "acme" / name
        git(clone, "clone", "-q", str(clone), str(folder / f"acme__{name}-{git(clone, 'rev-parse', 'HEAD')[:12]}"))
    return folder


@pytest.mark.req("I20", "R16")
def test_one_index_of_code_and_designs_is_asked_for_either_and_rivals_get_the_right_folder(clones, corpora, tmp_path):
    cases = tmp_path / "cases.jsonl"
    mine(clones, cases)
    plan = Plan(rivals=(parse_rival("bm25"),))
    (run,) = run_search([cases], corpora, plan, cache=tmp_path / "cache").runs
    by_bucket = {asked.question.bucket: asked.paths for asked in run.asked}
    assert by_bucket["design-to-code"][0] == "pay/calls.py"
    assert by_bucket["code-to-design"][0] == "text/0007-retries.md"
    (bm25,) = run.rivals
    assert not bm25.failure
    assert sorted(paths[0] for paths in bm25.answers.values()) == ["pay/calls.py", "text/0007-retries.md"]
    assert len(list((tmp_path / "cache").iterdir())) == 1  # one index for both


def test_designs_that_are_not_laid_are_named(clones, corpora, tmp_path):
    cases = tmp_path / "cases.jsonl"
    mine(clones, cases)
    (laid,) = corpora.glob("acme__rfcs-*")
    laid.rename(tmp_path / "elsewhere")
    with pytest.raises(BenchError, match=r"no corpus .*acme__rfcs-"):
        run_search([cases], corpora, Plan(), cache=tmp_path / "cache")


@pytest.mark.req("E12")
def test_questions_are_mined_in_both_directions_without_ids(clones, tmp_path):
    by_bucket = {question["bucket"]: question for question in mine(clones, tmp_path / "cases.jsonl")}
    to_code, to_design = by_bucket["design-to-code"], by_bucket["code-to-design"]
    assert [gold["path"] for gold in to_code["gold"]] == ["pay/calls.py"]  # no test, nothing that names no design
    assert [gold["path"] for gold in to_design["gold"]] == ["text/0007-retries.md"]
    assert (to_code["repo"], to_code["designs"]["repo"], to_design["asks"]) == ("acme/shop", "acme/rfcs", "designs")
    assert "growing pause" in to_code["query"]
    assert "payment provider again" in to_design["query"] and "growing_pauses" in to_design["query"]
    for question in by_bucket.values():
        assert not NAMED.search(question["query"])


def test_a_clone_that_is_not_there_is_a_sentence(tmp_path):
    arguments = ["--code", "a/b", "--designs", "a/c", "--out", str(tmp_path / "x")]
    result = CliRunner().invoke(app, ["bench", "mine-designs", str(tmp_path), *arguments])
    assert result.exit_code == 1
    assert "No clone of a/b" in result.stderr


def test_the_shipped_labels_hold_no_id_no_address_and_enough_questions():
    questions = [json.loads(line) for line in LABELS.read_text("utf-8").splitlines()]
    assert len({q["meta"]["design"] for q in questions if "design" in q["meta"]}) >= 60
    assert len(questions) >= 150
    for question in questions:
        assert not NAMED.search(question["query"])
        assert not re.search(r"\w@\w+\.\w|https?://", question["query"])
