"""What happens to repositories, disks and machines that nobody planned for: the index follows, or says why not."""

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ingest import build as build_module
from ingest import gitio, worker
from ingest.build import Seen, build_index
from ingest.config import IndexConfig, SourceConfig, UpkeepConfig
from ingest.errors import DiskFull, GitError, MirrorDamaged, PublishRefused, SourceError
from ingest.index import Index, control, jobs, status
from ingest.index.failpoints import arm, disarm
from ingest.index.invariants import check_invariants
from ingest.model import Filters
from ingest.sources.git import _list_by_path
from ingest.watch import Watcher
from ingest.worker import _Schedule

NOW = "2026-11-21T00:00:00Z"
SEEING = Filters(groups=frozenset({"local"}), sources=frozenset({"repo", "repo.history"}))


@pytest.fixture
def repository(tmp_path, git):
    return make_repository(tmp_path / "repo", git, "alpha", "beta")


def make_repository(root, git, *names):
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    for name in names:
        (root / f"{name}.py").write_text(f"def {name}():\n    return 1\n")
    commit(root, git, "first")
    return root


def commit(root, git, message):
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


def build(tmp_path, root, now=NOW, **options):
    source = SourceConfig(name="repo", type="git", path=root, history=False)
    options = {"allow_drop": True, **options}
    report = build_index([source], IndexConfig(workers=1), None, tmp_path / "data", now=now, **options)
    assert check_invariants(tmp_path / "data") == []
    return report


def paths(tmp_path, name):
    with Index.open_current(tmp_path / "data") as index:
        return [hit.path for hit in index.find_symbol(name, SEEING, loose=False)]


@pytest.mark.req("I1")
def test_a_clock_that_goes_backwards_stops_nothing(tmp_path, repository):
    build(tmp_path, repository, "2030-01-01T00:00:00Z")
    (repository / "gamma.py").write_text("def gamma():\n    return 1\n")
    report = build(tmp_path, repository, "2020-01-01T00:00:00Z")
    assert report.manifest.generation == 2
    assert paths(tmp_path, "gamma") == ["gamma.py"]
    assert status(tmp_path / "data").current.generation == 2


@pytest.mark.req("I3", "I21")
def test_a_file_becomes_a_folder_and_a_file_again(tmp_path, repository):
    build(tmp_path, repository)
    (repository / "alpha.py").unlink()
    (repository / "alpha.py").mkdir()
    (repository / "alpha.py" / "inner.py").write_text("def inner():\n    return 1\n")
    build(tmp_path, repository)
    assert (paths(tmp_path, "alpha"), paths(tmp_path, "inner")) == ([], ["alpha.py/inner.py"])
    shutil.rmtree(repository / "alpha.py")
    (repository / "alpha.py").write_text("def alpha():\n    return 2\n")
    build(tmp_path, repository)
    assert (paths(tmp_path, "alpha"), paths(tmp_path, "inner")) == (["alpha.py"], [])


@pytest.mark.req("I13")
def test_a_rename_of_case_only_is_followed(tmp_path, repository, git):
    build(tmp_path, repository)
    git(repository, "mv", "alpha.py", "Alpha.py")
    commit(repository, git, "rename")
    build(tmp_path, repository)
    assert paths(tmp_path, "alpha") == ["Alpha.py"]
    with control.connect(tmp_path / "data") as db:
        assert control.read_renames(db, 2) == {("repo", "alpha.py"): "Alpha.py"}


@pytest.mark.req("I3")
def test_a_submodule_that_is_added_is_counted_and_the_rest_goes_on(tmp_path, repository, git):
    build(tmp_path, repository)
    other = make_repository(tmp_path / "other", git, "elsewhere")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "lib/other")
    (repository / "gamma.py").write_text("def gamma():\n    return 1\n")
    commit(repository, git, "submodule")
    report = build(tmp_path, repository)
    assert report.sources[0].skipped["submodule"] == 1
    assert (paths(tmp_path, "gamma"), paths(tmp_path, "elsewhere")) == (["gamma.py"], [])


def make_grown(root, git, size=60):
    """A repository whose branch `old` has one file and one commit, `main` many more of both."""
    make_repository(root, git, "alpha")
    git(root, "branch", "old")
    for number in range(size):
        (root / f"grown_{number}.py").write_text(f"def grown_{number}():\n    return {number}\n")
        commit(root, git, f"grow {number}")
    return root


def build_guarded(tmp_path, root, seen=None, **more):
    source = SourceConfig(**{"name": "repo", "type": "git", "path": root, **more})
    report = build_index([source], IndexConfig(workers=1), None, tmp_path / "data", now=NOW, seen=seen)
    assert check_invariants(tmp_path / "data") == []
    return {state.name: state.chunks for state in report.manifest.sources}


@pytest.mark.req("I10", "I6")
@pytest.mark.parametrize("reads", [{}, {"overlay": False}])
def test_an_older_branch_is_served_however_much_smaller_it_is(tmp_path, git, reads):
    """Git read another commit completely: what it lacks is gone, and nothing has failed half-way."""
    root = make_grown(tmp_path / "repo", git)
    assert build_guarded(tmp_path, root, **reads) == {"repo": 61, "repo.history": 61}
    git(root, "checkout", "-q", "old")
    (root / "alpha.py").write_text("def edited():\n    return 1\n")
    assert build_guarded(tmp_path, root, **reads) == {"repo": 1, "repo.history": 1}
    assert paths(tmp_path, "edited") == (["alpha.py"] if not reads else [])


@pytest.mark.req("I10")
def test_far_fewer_files_at_the_same_commit_are_still_refused(tmp_path, git):
    root = make_grown(tmp_path / "repo", git)
    build_guarded(tmp_path, root)
    for number in range(50):
        (root / f"grown_{number}.py").unlink()
    with pytest.raises(PublishRefused, match=r"'repo' would shrink from 61 to 11 chunks"):
        build_guarded(tmp_path, root)
    commit(root, git, "shrink")  # now git says that they are to be gone
    assert build_guarded(tmp_path, root) == {"repo": 11, "repo.history": 62}


@pytest.mark.req("I10")
def test_drafts_that_are_stashed_hold_up_no_edit(tmp_path, git):
    root = make_grown(tmp_path / "repo", git)
    for number in range(40):
        (root / f"draft_{number}.py").write_text(f"def draft_{number}():\n    return 1\n")
    assert build_guarded(tmp_path, root)["repo"] == 101
    git(root, "stash", "-q", "-u")
    (root / "alpha.py").write_text("def edited():\n    return 1\n")
    assert build_guarded(tmp_path, root)["repo"] == 61
    assert paths(tmp_path, "edited") == ["alpha.py"]


@pytest.mark.req("I10", "I6")
@pytest.mark.parametrize("mirror_is_new", [True, False])
def test_a_shallow_clone_in_place_of_a_whole_one_holds_up_no_edit(tmp_path, git, mirror_is_new):
    root = make_grown(tmp_path / "repo", git)
    build_guarded(tmp_path, root)
    root.rename(tmp_path / "whole")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{tmp_path}/whole", str(root))
    (root / "alpha.py").write_text("def edited():\n    return 1\n")
    if mirror_is_new:
        shutil.rmtree(tmp_path / "data" / gitio.MIRRORS)
    assert build_guarded(tmp_path, root) == {"repo": 61, "repo.history": 1 if mirror_is_new else 61}
    assert paths(tmp_path, "edited") == ["alpha.py"]
    commit(root, git, "on top")
    assert build_guarded(tmp_path, root)["repo"] == 61


@pytest.mark.req("I10")
def test_a_branch_without_a_commit_yet_keeps_the_commits_that_were_read_and_takes_edits_in(tmp_path, git):
    root = make_grown(tmp_path / "repo", git)
    build_guarded(tmp_path, root)
    git(root, "checkout", "-q", "--orphan", "fresh")
    (root / "alpha.py").write_text("def edited():\n    return 1\n")
    assert build_guarded(tmp_path, root) == {"repo": 61, "repo.history": 61}
    assert paths(tmp_path, "edited") == ["alpha.py"]
    commit(root, git, "begin again")
    assert build_guarded(tmp_path, root) == {"repo": 61, "repo.history": 1}


@pytest.fixture
def unprivileged():
    """A folder of a user whose permissions count: root may read everything."""
    folder = Path(tempfile.mkdtemp(prefix="codecairn-"))
    effective = os.geteuid()

    def become():
        if not effective:
            importlib.import_module("git")  # loaded late, and this user may not read where it lies
            for place in (folder, *folder.rglob("*")):
                os.lchown(place, 65534, -1)
            os.seteuid(65534)
        return folder

    yield folder, become
    os.seteuid(effective)
    subprocess.run(["chmod", "-R", "u+rwx", str(folder)], check=True)
    shutil.rmtree(folder)


GIT_PARTS = [
    *(".git", ".git/HEAD", ".git/refs", ".git/refs/heads", ".git/refs/heads/main", ".git/packed-refs"),
    *(".git/objects/pack", ".git/info/exclude"),
]


@pytest.mark.req("I10")
@pytest.mark.parametrize("part", GIT_PARTS)
def test_a_part_of_git_that_may_not_be_read_is_named_and_nothing_is_lost(unprivileged, git, part):
    """It is no empty repository: the files and the commits that were read stay."""
    folder, become = unprivileged
    root = make_repository(folder / "repo", git, "alpha", "beta")
    if part in (".git/packed-refs", ".git/objects/pack"):
        git(root, "gc", "-q")
    before = build_guarded(folder, root)
    (root / "alpha.py").write_text("def edited():\n    return 1\n")
    if part == ".git/objects/pack":
        commit(root, git, "later")
    become()
    (root / part).chmod(0)
    with pytest.raises(SourceError, match=r"repo/\.git.* may not be read: give the user that runs this command"):
        build_guarded(folder, root)
    (root / part).chmod(0o700)
    with Index.open_current(folder / "data") as index:
        assert index.generation == 1
    assert build_guarded(folder, root)["repo"] == before["repo"]
    assert paths(folder, "edited") == ["alpha.py"]


@pytest.mark.req("I10")
@pytest.mark.parametrize("left_out", ["blob:none", "tree:0"])
def test_a_partial_clone_is_told_what_makes_it_whole_and_that_does(tmp_path, repository, git, left_out):
    """Its first file was edited upstream: the clone lacks what it was before."""
    (repository / "alpha.py").write_text("def alpha():\n    return 2\n")
    commit(repository, git, "edit")
    git(repository, "config", "uploadpack.allowFilter", "true")
    root = tmp_path / "partial"
    git(tmp_path, "clone", "-q", f"--filter={left_out}", f"file://{repository}", str(root))
    with pytest.raises(GitError, match=r"is a partial clone.*lacks objects.*type = \"folder\"") as caught:
        build_guarded(tmp_path, root)
    assert build_guarded(tmp_path / "plain", root, type="folder") == {"repo": 2}
    remedy = re.search(r"whole with `([^`]+)`", str(caught.value))[1]
    subprocess.run(remedy, shell=True, cwd=root, check=True, capture_output=True)
    assert build_guarded(tmp_path, root) == {"repo": 2, "repo.history": 2}
    (repository / "gamma.py").write_text("def gamma():\n    return 1\n")
    commit(repository, git, "later")
    git(root, "pull", "-q")
    assert build_guarded(tmp_path, root) == {"repo": 3, "repo.history": 3}


@pytest.mark.req("I10")
@pytest.mark.parametrize("text", ["", "nonsense"])
def test_a_branch_that_a_crash_cut_is_no_branch_without_a_commit(tmp_path, repository, text):
    build(tmp_path, repository)
    (repository / ".git" / "refs" / "heads" / "main").write_text(text)
    with pytest.raises(SourceError, match=r"refs/heads/main in .* is no commit id.*`git reflog main`"):
        build(tmp_path, repository)


@pytest.mark.req("I10", "I16")
@pytest.mark.parametrize("kind", ["git", "folder"])
def test_files_that_vanish_or_change_during_a_build_have_not_failed(tmp_path, git, monkeypatch, kind):
    root = make_repository(tmp_path / "repo", git, "alpha")
    source = SourceConfig(name="repo", type=kind, path=root, history=False)
    for name in ("vanished", "changed", "stayed"):
        (root / f"{name}.py").write_text(f"def {name}():\n    return 1\n")

    real = build_module.read_jobs

    def interfere(*args):
        (root / "vanished.py").unlink(missing_ok=True)
        (root / "changed.py").write_text("def grown():\n    return 1 + 2 + 3\n")
        yield from real(*args)

    def build():
        report = build_index([source], IndexConfig(workers=1), None, tmp_path / "data", now=NOW)
        with closing(control.connect(tmp_path / "data")) as db:
            return {row.path: row.reason for row in control.list_skips(db, report.manifest.generation, "repo")}

    monkeypatch.setattr(build_module, "read_jobs", interfere)
    assert build() == {"vanished.py": "changing", "changed.py": "changing"}
    assert jobs.read_work(tmp_path / "data").letters == ()
    assert build() == {}
    assert [paths(tmp_path, name) for name in ("vanished", "changed", "grown", "stayed")] == [
        [],
        [],
        ["changed.py"],
        ["stayed.py"],
    ]


@pytest.mark.req("I10", "I16")
@pytest.mark.parametrize("kind", ["git", "folder"])
def test_a_file_that_may_not_be_read_now_is_not_deleted(unprivileged, git, kind):
    folder, become = unprivileged
    root = make_repository(folder / "repo", git, "alpha", "beta")
    (root / "sub").mkdir()
    (root / "sub" / "gamma.py").write_text("def gamma():\n    return 1\n")
    commit(root, git, "more")
    options = {"type": kind, "history": False}
    build_guarded(folder, root, **options)
    become()
    (root / "alpha.py").chmod(0)
    (root / "sub").chmod(0)
    (root / "beta.py").write_text("def edited():\n    return 1\n")
    assert build_guarded(folder, root, **options) == {"repo": 3}
    assert [paths(folder, name) for name in ("alpha", "gamma", "edited", "beta")] == [
        ["alpha.py"],
        ["sub/gamma.py"],
        ["beta.py"],
        [],
    ]
    with closing(control.connect(folder / "data")) as db:
        rows = control.list_skips(db, 2, "repo", "unreadable")
    assert [row.path for row in rows] == ["alpha.py", "sub/"]
    assert all("ermission" in row.detail for row in rows)
    (root / "alpha.py").chmod(0o600)
    seen = Seen({"repo": frozenset({str(root / "alpha.py")})}, 2)
    assert build_guarded(folder, root, seen, **options) == {"repo": 3}
    with closing(control.connect(folder / "data")) as db:
        assert [row.path for row in control.list_skips(db, 3, "repo", "unreadable")] == ["sub/"]
    (root / "sub").chmod(0o700)
    (root / "alpha.py").write_text("def changed():\n    return 1\n")
    (root / "sub" / "gamma.py").unlink()
    build_guarded(folder, root, **options)
    assert [paths(folder, name) for name in ("alpha", "gamma", "changed")] == [[], [], ["alpha.py"]]


@pytest.mark.req("I10")
@pytest.mark.parametrize("kind", ["git", "folder"])
def test_while_a_rule_file_may_not_be_read_nothing_that_it_may_leave_out_comes_in(unprivileged, git, kind):
    folder, become = unprivileged
    root = make_repository(folder / "repo", git, "alpha")
    (root / "sub").mkdir()
    (root / "sub" / ".gitignore").write_text("private.py\n")
    (root / "sub" / "public.py").write_text("def public():\n    return 1\n")
    (root / "sub" / "private.py").write_text("def private():\n    return 1\n")
    commit(root, git, "more")
    options = {"type": kind, "history": False}
    build_guarded(folder, root, **options)
    become()
    (root / "sub" / ".gitignore").chmod(0)
    (root / "alpha.py").write_text("def edited():\n    return 1\n")
    build_guarded(folder, root, **options)
    assert [paths(folder, name) for name in ("edited", "public", "private")] == [["alpha.py"], ["sub/public.py"], []]
    with closing(control.connect(folder / "data")) as db:
        (skip,) = control.list_skips(db, 2, "repo", "unreadable")
    assert skip.path == "sub/"
    assert ".gitignore" in skip.detail
    assert "may not be read" in skip.detail


@pytest.mark.req("I10")
def test_a_source_in_a_folder_that_may_not_be_entered_is_not_taken_for_a_missing_one(unprivileged, git):
    folder, become = unprivileged
    root = make_repository(folder / "repo", git, "alpha")
    build_guarded(folder, root)
    become()
    root.parent.chmod(0o200)
    with pytest.raises(SourceError, match="may not be looked at: give the user"):
        gitio.find_repository(root)


def generation_folders(tmp_path):
    return sorted(path.name for path in (tmp_path / "data" / "gens").iterdir())


@pytest.mark.req("W7")
@pytest.mark.parametrize("place", ["after_clone", "after_text_commit", "after_fsync"])
def test_a_build_that_fails_leaves_no_half_written_generation(tmp_path, repository, place):
    build(tmp_path, repository)
    (repository / "gamma.py").write_text("def gamma():\n    return 1\n")
    arm(place, "enospc")
    try:
        with pytest.raises(DiskFull):
            build(tmp_path, repository)
    finally:
        disarm()
    assert generation_folders(tmp_path) == ["1"]
    build(tmp_path, repository)
    assert paths(tmp_path, "gamma") == ["gamma.py"]


KILLED_BUILD = """
import sys
from pathlib import Path
from ingest.build import build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.index.failpoints import arm

arm("after_text_commit")
source = SourceConfig(name="repo", type="git", path=Path(sys.argv[1]), history=False)
build_index([source], IndexConfig(workers=1), None, Path(sys.argv[2]), now=sys.argv[3])
"""


@pytest.mark.req("W7")
@pytest.mark.parametrize("changed", [True, False])
def test_what_a_killed_build_left_is_collected_by_the_next_one_even_if_it_has_nothing_to_do(
    tmp_path, repository, changed
):
    build(tmp_path, repository)
    (repository / "gamma.py").write_text("def gamma():\n    return 1\n")
    arguments = [sys.executable, "-c", KILLED_BUILD, str(repository), str(tmp_path / "data"), NOW]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert generation_folders(tmp_path) == ["1", "2"]
    if not changed:
        (repository / "gamma.py").unlink()
    assert build(tmp_path, repository).published is changed
    assert generation_folders(tmp_path) == (["1", "2"] if changed else ["1"])  # a number that was not published is free


@pytest.mark.req("I6")
def test_a_forced_push_takes_back_what_it_removed(tmp_path, repository, git):
    (repository / "secret_plan.py").write_text("def secret_plan():\n    return 1\n")
    commit(repository, git, "too early")
    build(tmp_path, repository)
    assert paths(tmp_path, "secret_plan") == ["secret_plan.py"]
    git(repository, "reset", "-q", "--hard", "HEAD~1")
    [mirror] = (tmp_path / "data" / gitio.MIRRORS).iterdir()
    before = mirror.stat().st_ino
    build(tmp_path, repository)
    assert paths(tmp_path, "secret_plan") == []
    assert mirror.stat().st_ino == before  # fetched into, not copied anew


@pytest.mark.req("I4", "I6")
def test_another_repository_under_the_same_path_replaces_the_first(tmp_path, repository, git):
    build(tmp_path, repository)
    shutil.rmtree(repository)
    make_repository(repository, git, "gamma")
    build(tmp_path, repository)
    assert (paths(tmp_path, "alpha"), paths(tmp_path, "gamma")) == ([], ["gamma.py"])


@pytest.mark.req("I1")
@pytest.mark.parametrize("reads", [{}, {"history": True}, {"overlay": False}, {"ref": "main"}])
@pytest.mark.parametrize("damage", ["truncate", "remove", "head"])
def test_a_damaged_mirror_is_made_anew(tmp_path, repository, git, damage, reads):
    source = SourceConfig(**{"name": "repo", "type": "git", "path": repository, "history": False, **reads})
    sources = ([source], IndexConfig(workers=1), None, tmp_path / "data")
    build_index(*sources, now=NOW)
    (mirror,) = (tmp_path / "data" / "mirrors").iterdir()
    if damage == "head":
        (mirror / "HEAD").write_text("nonsense")
    for file in [*mirror.glob("objects/??/*"), *mirror.glob("objects/pack/*")] if damage != "head" else ():
        file.chmod(0o644)
        file.unlink() if damage == "remove" else file.write_bytes(file.read_bytes()[:10])
    for number in range(2):  # with the commit that the mirror had, and with a new one
        (repository / f"gamma_{number}.py").write_text(f"def gamma_{number}():\n    return 1\n")
        if number:
            commit(repository, git, "more")
        _list_by_path.cache_clear()  # another process
        assert build_index(*sources, now=NOW).left_out == {}
        is_read = number or reads.keys() <= {"history"}
        assert paths(tmp_path, f"gamma_{number}") == ([f"gamma_{number}.py"] if is_read else [])
        assert check_invariants(tmp_path / "data") == []
        assert gitio.list_tree(mirror, gitio.resolve(mirror, "main"))


def test_a_mirror_that_cannot_be_made_anew_stays_and_is_named(tmp_path, repository):
    build(tmp_path, repository)
    (mirror,) = (tmp_path / "data" / "mirrors").iterdir()
    (mirror / "HEAD").write_text("nonsense")
    _list_by_path.cache_clear()
    for file in (repository / ".git" / "objects").glob("??/*"):
        file.unlink()
    with pytest.raises(GitError, match="git fetch failed"):
        build(tmp_path, repository)
    assert [path.name for path in mirror.parent.iterdir()] == [mirror.name]
    with pytest.raises(MirrorDamaged, match=rf"in {mirror} cannot be read. Remove that folder and run"):
        gitio.list_tree(mirror, "0" * 40)


class Reported:
    """What a watcher reported."""

    def __init__(self):
        self.calls, self.changed = [], threading.Condition()

    def __call__(self, trigger, seen):
        with self.changed:
            self.calls.append((trigger, seen))
            self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            return self.changed.wait_for(lambda: any(map(condition, self.calls)), timeout=60)


@pytest.fixture
def watching(repository):
    seen = Reported()
    watchers = []

    def start():
        source = SourceConfig(name="repo", type="git", path=repository)
        watchers.append(Watcher([source], seen, debounce_ms=20, first=True))
        watchers[0].start()
        assert seen.wait(lambda call: call[0] == "start")
        return watchers[0]

    yield seen, start
    for watcher in watchers:
        watcher.stop()


@pytest.mark.req("I4")
def test_a_clone_under_the_same_path_is_noticed_and_watched(repository, git, watching):
    seen, start = watching
    start()
    repository.rename(repository.with_name("old"))
    make_repository(repository, git, "gamma")
    assert seen.wait(lambda call: call == ("place", None))
    seen.calls.clear()
    (repository / "later.py").write_text("later = 1\n")
    assert seen.wait(lambda call: call[1] is not None and any(path.endswith("later.py") for path in call[1]))


@pytest.mark.req("I4")
def test_where_the_system_cannot_watch_so_many_files_they_are_polled_and_it_says_so(repository, watching, monkeypatch):
    from ingest import watch

    real = watch.watch

    def limited(*args, force_polling, **more):
        if not force_polling:
            raise OSError("OS file watch limit reached.")
        return real(*args, force_polling=True, **{**more, "poll_delay_ms": 50})

    monkeypatch.setattr(watch, "watch", limited)
    seen, start = watching
    watcher = start()
    assert watcher.mode == "polling"
    assert "watch limit reached" in watcher.problem
    assert "max_user_watches" in watcher.problem
    (repository / "later.py").write_text("later = 1\n")
    assert seen.wait(lambda call: call[1] is not None and any(path.endswith("later.py") for path in call[1]))


@pytest.mark.req("I4")
def test_after_the_machine_slept_everything_is_looked_at(monkeypatch):
    asleep = [100.0]
    monkeypatch.setattr(worker, "awake_for", lambda: asleep[0])
    schedule = _Schedule(UpkeepConfig(), polls_all=False)
    assert not schedule.has_slept()
    asleep[0] += 3600
    assert schedule.has_slept()
    assert not schedule.has_slept()


@pytest.mark.req("I4")
def test_a_storm_of_events_is_one_build(repository, watching):
    seen, start = watching
    start()
    seen.calls.clear()
    for number in range(3000):
        (repository / f"storm_{number}.py").write_text("x = 1\n")
    assert seen.wait(lambda call: call[1] is not None and any("storm_2999" in path for path in call[1]))
    assert len(seen.calls) < 12
    assert os.path.exists(repository / "storm_0.py")
