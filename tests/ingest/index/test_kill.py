"""X1: kill -9 anywhere in a publication. `KILLS` in the environment raises the number of random kills."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.index.failpoints import FAILPOINTS, arm, disarm, failpoint
from ingest.index.generation import collect_garbage, generations
from ingest.index.invariants import check_invariants
from tests.ingest.index.kill_child import corpus, publish_next
from tests.ingest.index.kill_run import Figures, Zygote, kill_at_failpoints, kill_at_random
from tests.ingest.index.support import SOURCE, make_entry, prepare_text, publish

KILLS = int(os.environ.get("KILLS", "25"))
MIN_PUBLISHED_PER_KILL = 0.6


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.req("W1", "W2", "W3", "W6")
def test_W1_W2_W3_W6_each_failpoint_kills_once_and_leaves_a_complete_generation(zygote: Zygote, tmp_path: Path) -> None:
    assert len(FAILPOINTS) >= 12
    figures = Figures()
    kill_at_failpoints(zygote, tmp_path, FAILPOINTS, figures)
    assert figures.problems == []
    assert (figures.kills, figures.lost, figures.stuck) == (len(FAILPOINTS), 0, 0)
    assert figures.published >= len(FAILPOINTS)
    assert figures.slowest_recovery_s < 2


@pytest.mark.slow
@pytest.mark.timeout(60 + 4 * KILLS)
@pytest.mark.req("W1", "W2", "W6")
def test_W1_W2_W6_random_kills_lose_no_acknowledgement_and_stop_no_progress(zygote: Zygote, tmp_path: Path) -> None:
    figures = Figures()
    kill_at_random(zygote, tmp_path, KILLS, figures, random.Random(7))
    assert figures.problems == []
    assert (figures.kills, figures.lost, figures.stuck) == (KILLS, 0, 0)
    assert figures.published >= MIN_PUBLISHED_PER_KILL * KILLS


@pytest.mark.slow
@pytest.mark.req("W7")
def test_W7_garbage_of_many_kills_is_bounded(zygote: Zygote, tmp_path: Path) -> None:
    figures = Figures()
    for name in ("after_add", "after_vector_write", "after_text_commit", "after_fsync", "in_sql", "mid_garbage"):
        kill_at_failpoints(zygote, tmp_path, (name,), figures)
    collect_garbage(tmp_path, keep=2)
    kept = [row.id for row in generations(tmp_path)]
    assert len(kept) == 3
    live = disk_bytes([tmp_path / "gens" / str(kept[0])])
    assert disk_bytes([tmp_path / "gens"]) <= (1 + 2) * live * 1.1
    assert sorted(int(path.name) for path in (tmp_path / "gens").iterdir()) == sorted(kept)


def disk_bytes(folders: list[Path]) -> int:
    """Bytes on disk, an inode that is linked twice counted once."""
    inodes = {stat.st_ino: stat.st_size for folder in folders for path in folder.rglob("*") if (stat := path.stat())}
    return sum(inodes.values())


@pytest.mark.req("W6")
def test_W6_writers_that_die_at_the_same_place_for_ever_do_not_block_the_next_one(
    zygote: Zygote, tmp_path: Path
) -> None:
    publish_next(tmp_path)
    for _ in range(6):  # the .del class: a deterministic re-run reaches the same opstamp again and again
        zygote.start(tmp_path, "after_text_commit")
        assert zygote.wait() == -9
    assert publish_next(tmp_path).generation == 2
    assert check_invariants(tmp_path) == []


@pytest.mark.req("W1")
def test_inspection_notices_a_wrong_generation(tmp_path: Path) -> None:
    """The harness itself must be able to fail."""
    from tests.ingest.index.kill_run import inspect

    publish(tmp_path, {"pkg/m0.py": "def wrong():\n    return corpus"})
    figures = Figures()
    inspect(tmp_path, figures)
    assert figures.problems == ["generation 1 does not hold exactly its corpus"]
    (tmp_path / "acknowledged").write_text("1\n2\n")
    figures = Figures()
    inspect(tmp_path, figures)
    assert figures.lost == 1


def test_corpora_of_the_victim_change_and_shrink() -> None:
    sizes = [len(corpus(generation)) for generation in range(12)]
    assert len(set(sizes)) > 1
    assert all(corpus(generation) != corpus(generation + 1) for generation in range(12))


@pytest.mark.req("W1")
@pytest.mark.parametrize("name", [name for name in FAILPOINTS if name not in ("after_sql", "mid_garbage")])
def test_failure_without_death_leaves_the_current_generation(tmp_path: Path, name: str) -> None:
    """The same places fail with EIO and ENOSPC instead of a kill: the writer survives and must clean up."""
    from ingest.errors import DiskFull
    from ingest.index import Index
    from tests.ingest.index.support import open_publication

    first = publish(tmp_path, {"a.py": "def one():\n    pass"})

    def attempt() -> None:
        with open_publication(tmp_path) as publication:
            publication.begin_source(SOURCE, "r2", "/src")
            text = "def two():\n    pass"
            publication.add_file("app", make_entry("a.py", text), prepare_text(SOURCE, "a.py", text))
            publication.commit("2026-11-20T12:00:00Z")

    for action, expected in (("eio", OSError), ("enospc", DiskFull)):
        arm(name, action)
        try:
            with pytest.raises(expected, match="No space left" if action == "enospc" else "Input/output"):
                attempt()
        finally:
            disarm()
        with Index.open_current(tmp_path, verify="full") as index:
            assert index.manifest == first
        assert check_invariants(tmp_path) == []
    attempt()
    assert check_invariants(tmp_path) == []


def test_unknown_failpoint_is_refused_and_unarmed_ones_do_nothing() -> None:
    with pytest.raises(ValueError, match="No failpoint is called 'nowhere'"):
        arm("nowhere")
    failpoint("after_clone")
