"""`codecairn bench scale`: which folders are taken, that the real commands run, that a second run only asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from golden.bench import BenchError
from golden.bench.scaling import (
    Built,
    Repository,
    RivalStep,
    ScaleBench,
    ScaleStep,
    choose,
    find_repositories,
    run_scale,
)
from golden.machine import read_machine
from mcp_server.cli import app


@pytest.fixture
def folder(tmp_path) -> Path:
    for number, name in enumerate(("small", "middle", "large"), 1):
        (tmp_path / "code" / name / ".git").mkdir(parents=True)
        (tmp_path / "code" / name / ".git" / "hidden.py").write_text("x = 1\n" * 1000)
        for file in range(number):
            lines = "".join(f"def {name}_{file}_{line}():\n    return {line}\n\n\n" for line in range(number * 40))
            (tmp_path / "code" / name / f"m{file}.py").write_text(lines)
    return tmp_path / "code"


@pytest.fixture
def cases(tmp_path) -> Path:
    file = tmp_path / "cases.jsonl"
    rows = [
        {"id": str(n), "repo": "a/b", "commit": "c" * 40, "bucket": "x", "query": f"small {n}", "gold": []}
        for n in range(6)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def sizes(chosen: list[Repository]) -> list[int]:
    return [repository.size for repository in chosen]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (5, [10]),
        (49, [10, 40]),
        (100, [10, 40, 60]),  # half of it in small ones, then the one that fits, not 45 and 60
        (1100, [10, 40, 45, 60, 1000]),
        (5000, [10, 40, 45, 60, 1000]),
    ],
)
def test_repositories_are_taken_until_they_hold_the_bytes(wanted, expected):
    repositories = [Repository(Path(str(size)), size) for size in (10, 40, 45, 60, 1000)]
    assert sizes(choose(repositories, wanted)) == expected


def test_only_code_counts_smallest_first(folder):
    found = find_repositories(folder)
    assert [repository.path.name for repository in found] == ["small", "middle", "large"]
    assert found[0].size == (folder / "small" / "m0.py").stat().st_size


def test_a_folder_without_code_is_refused(tmp_path):
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(BenchError, match="no folder with code"):
        find_repositories(tmp_path / "empty")
    with pytest.raises(BenchError, match="is no folder"):
        find_repositories(tmp_path / "nothing")


def test_each_size_is_built_by_the_real_command_and_a_second_run_only_asks(folder, cases, tmp_path):
    bench = run_scale(folder, [cases], targets=(10_000, 1), queries=6, cache=tmp_path / "cache")
    one, all_of_it = bench.steps
    assert (one.target, one.built.repositories, one.built.files) == (1, 1, 1)
    assert (all_of_it.built.repositories, all_of_it.built.files) == (3, 6)
    assert all_of_it.built.chunks > one.built.chunks > 0
    assert (one.queries, min(one.p50_ms, one.cpu_p50_ms, one.stdio_p50_ms, one.serving_mb, one.built.peak_mb) > 0) == (
        4,
        True,
    )
    say: list[str] = []
    again = run_scale(folder, [cases], targets=(1,), queries=6, cache=tmp_path / "cache", say=say.append)
    assert again.steps[0].built == one.built  # its seconds too: nothing was built
    (folder / "small" / "more.py").write_text("y = 2\n" * 50)
    assert run_scale(folder, [cases], targets=(1,), queries=6, cache=tmp_path / "cache").steps[0].built != one.built


def test_too_few_queries_are_refused(folder, cases, tmp_path):
    with pytest.raises(BenchError, match="2 different queries are too few"):
        run_scale(folder, [cases], queries=2, cache=tmp_path / "cache")


def test_the_command_prints_json(folder, cases, tmp_path):
    options = ["--cases", str(cases), "--chunks", "1", "--queries", "3", "--cache", str(tmp_path / "cache"), "--json"]
    rivals = ["--rival", "bm25", "--rival", f"ghost={tmp_path / 'nowhere'}"]
    done = CliRunner().invoke(app, ["bench", "scale", str(folder), *options, *rivals])
    assert done.exit_code == 0, done.output
    (step,) = json.loads(done.stdout)["steps"]
    assert step["built"]["chunks"] > 0
    plain, ghost = step["rivals"]
    assert plain["p50_ms"] > 0 and not plain["failure"]
    assert "cannot be started" in ghost["failure"]


def test_a_rival_stands_beside_our_times():
    built = Built(1, 2, 300, 1.0, 50.0, 2.0)
    rivals = (RivalStep("other", 0.5, 2.0, 4.0), RivalStep("ghost", failure="it ended"))
    step = ScaleStep(10, built, 3.0, 6.0, 2.0, 4.0, 8.0, 90.0, 7, rivals)
    shown = str(ScaleBench((step,), read_machine()))
    assert "300 chunks, other: index 0.5 s, p50 2.0 ms, p95 4.0 ms; ours / theirs at p50: 1.50" in shown
    assert "300 chunks, ghost: not measured: it ended" in shown
