"""The pickaxe file tells of every word the same commit as git's own pickaxe, and holds no word itself."""

import random
from pathlib import Path

import pytest

from ingest import gitio
from ingest.build import build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.gitio import HISTORY_COMMITS, find_occurrence_change, find_repository, list_commits, update_mirror
from ingest.pickaxe import KEPT, find_change, record_changes
from tests.ingest.sources.support import commit, git, make_repository

WORDS = ("apply_coupon", "redeem", "Ledger", "write_csv", "total", "_hidden", "naïve", "coupon", "coupons")


def edit(repository: Path, rng: random.Random) -> None:
    """Commit a few lines of random words in files that come, change, move and go."""
    for name in rng.sample(["a.py", "b.py", "sub/c.py", "d.txt"], 2):
        path = repository / name
        if path.exists() and rng.random() < 0.3:
            path.unlink()
            continue
        path.parent.mkdir(exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() and rng.random() < 0.7 else []
        lines.insert(rng.randint(0, len(lines)), " ".join(rng.choices(WORDS, k=3)) + rng.choice(["", " -- x", "++"]))
        path.write_text("\n".join(lines) + rng.choice(["\n", ""]))
    (repository / "tick").write_text(f"{rng.random()}")
    commit(repository)


def mirror_of(repository: Path, data: Path) -> tuple[Path, str]:
    mirror = update_mirror(find_repository(repository), data)
    assert mirror.commit
    return mirror.path, mirror.commit


@pytest.mark.req("R22")
def test_every_word_has_the_commit_that_git_finds_whatever_was_read_before(tmp_path: Path, monkeypatch):
    rng = random.Random(5)
    repository = make_repository(tmp_path / "repo", {"a.py": "apply_coupon = 1\n"})
    searched = []
    known: set[str] = set()

    def asks_git(mirror, commits, name):
        searched.append(len(commits))
        return find_occurrence_change(mirror, commits, name)

    monkeypatch.setattr(gitio, "find_occurrence_change", asks_git)
    for step in range(8):
        for _ in range(3):
            edit(repository, rng)
        if step == 3:
            git(repository, "switch", "-q", "-c", "side", "HEAD~4")
        if step == 6:
            git(repository, "switch", "-q", "main")
        mirror, head = mirror_of(repository, tmp_path / "data")
        commits = list_commits(mirror, head, HISTORY_COMMITS)
        told = [find_occurrence_change(mirror, commits, word) for word in (*WORDS, "absent_word")]
        for is_read in (False, True):
            if is_read:
                record_changes(mirror, head)
            searched.clear()
            assert [find_change(mirror, head, word) for word in (*WORDS, "absent_word")] == told
            assert set(searched) == (
                set() if is_read else {len(set(commits) - known)}
            )  # git is asked for the rest only
        known.update(commits)
        assert any(told) and not told[-1]


def test_a_word_that_was_taken_out_is_not_written_down(tmp_path: Path):
    repository = make_repository(tmp_path / "repo", {"a.py": "TOKEN = 'ghp_abcdefghijklmnopqrstuvwxyz0123456789'\n"})
    (repository / "a.py").write_text("TOKEN = read()\n")
    commit(repository)
    mirror, head = mirror_of(repository, tmp_path / "data")
    record_changes(mirror, head)
    assert find_change(mirror, head, "ghp_abcdefghijklmnopqrstuvwxyz0123456789") == head
    assert b"ghp_abc" not in (mirror / KEPT).read_bytes()


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 400])
def test_a_damaged_file_is_read_around_and_written_again(tmp_path: Path, damage: bytes):
    repository = make_repository(tmp_path / "repo", {"a.py": "apply_coupon = 1\n"})
    (repository / "a.py").write_text("redeem = 1\n")
    commit(repository)
    mirror, head = mirror_of(repository, tmp_path / "data")
    record_changes(mirror, head)
    (mirror / KEPT).write_bytes(damage)
    assert find_change(mirror, head, "apply_coupon") == head
    record_changes(mirror, head)
    (mirror / "objects").rename(mirror / "gone")  # git could tell nothing now
    assert find_change(mirror, head, "apply_coupon") == head


def test_two_that_read_the_same_commits_at_once_do_not_take_it_for_damage(tmp_path: Path, monkeypatch):
    repository = make_repository(tmp_path / "repo", {"a.py": "apply_coupon = 1\n"})
    mirror, head = mirror_of(repository, tmp_path / "data")
    plain = gitio.read_patches
    began = []

    def read_patches(*given):
        if not began:
            began.append("the other one")
            record_changes(mirror, head)
            (mirror / KEPT).rename(mirror / "kept")
            (mirror / KEPT).hardlink_to(mirror / "kept")  # so that no new file can have its number
        return plain(*given)

    monkeypatch.setattr(gitio, "read_patches", read_patches)
    record_changes(mirror, head)
    assert (mirror / KEPT).samefile(mirror / "kept")  # what the other one wrote was not thrown away
    assert find_change(mirror, head, "apply_coupon") == head


def test_long_lines_and_binary_files_tell_of_no_word(tmp_path: Path):
    repository = make_repository(tmp_path / "repo", {"a.py": "x = 1\n"})
    (repository / "min.js").write_text("word_one " * 5000)
    (repository / "b.bin").write_bytes(b"word_two\n\x00\x01" * 9)
    commit(repository)
    mirror, head = mirror_of(repository, tmp_path / "data")
    record_changes(mirror, head)
    assert find_change(mirror, head, "word_one") == find_change(mirror, head, "word_two") == ""


def test_an_index_whose_removals_cannot_be_read_is_published_and_says_so(tmp_path: Path):
    repository = make_repository(tmp_path / "repo", {"a.py": "def apply_coupon(): pass\n"})
    source = SourceConfig.model_validate({"name": "shop", "type": "git", "path": repository, "history": True})
    data = tmp_path / "data"
    mirror, _ = mirror_of(repository, data)
    (mirror / KEPT).mkdir()  # nothing can be written there
    report = build_index([source], IndexConfig(workers=1), None, data, now="2026-11-22T00:00:00Z")
    assert report.published and report.manifest.chunks
    assert "What its commits took away could not be read" in report.left_out["shop"]
    (mirror / KEPT).rmdir()
    (repository / "a.py").write_text("def redeem(): pass\n")  # not committed
    assert not build_index([source], IndexConfig(workers=1), None, data, now="2026-11-22T00:00:01Z").left_out
    assert (mirror / KEPT).is_file()
