"""The watcher: a change of files or of what is checked out is searchable without being asked for."""

import shutil
import threading

import pytest

from ingest.config import SourceConfig
from ingest.watch import Watcher


class Builds:
    """Counts rebuilds and lets a test wait for the next one."""

    def __init__(self):
        self.triggers, self.paths, self.changed = [], [], threading.Condition()

    def __call__(self, trigger, paths):
        with self.changed:
            self.triggers.append(trigger)
            self.paths.append(paths)
            self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            return self.changed.wait_for(lambda: len(self.triggers) >= count, timeout=20)

    def wait_for(self, path):
        """Wait until a build is told of a path."""
        with self.changed:
            return self.changed.wait_for(lambda: any(str(path) in paths for paths in self.paths if paths), timeout=20)

    def wait_for_all(self):
        """Wait until a build is told to look at everything."""
        with self.changed:
            return self.changed.wait_for(lambda: None in self.paths, timeout=20)


@pytest.fixture
def repository(tmp_path, git):
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.py").write_text("a = 1\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


@pytest.fixture
def watched(repository):
    builds = Builds()
    watcher = Watcher([SourceConfig(name="repo", type="git", path=repository)], builds, debounce_ms=50, first=True)
    watcher.start()
    assert builds.wait(1)
    yield builds
    watcher.stop()


@pytest.mark.req("I4")
def test_change_during_the_first_build_is_not_lost(repository):
    builds = Builds()

    def rebuild(trigger, paths):
        if trigger == "start":
            (repository / "late.py").write_text("late = 1\n")
        builds(trigger, paths)

    watcher = Watcher([SourceConfig(name="repo", type="git", path=repository)], rebuild, debounce_ms=50, first=True)
    watcher.start()
    assert builds.wait(2)
    assert builds.triggers[:2] == ["start", "watch"]
    watcher.stop()


@pytest.mark.req("I4")
def test_written_file_starts_a_build(watched, repository):
    before = len(watched.triggers)
    (repository / "b.py").write_text("b = 2\n")
    assert watched.wait(before + 1)
    assert watched.triggers[0] == "start"
    assert set(watched.triggers[1:]) == {"watch"}


@pytest.mark.req("I4")
def test_commit_and_branch_switch_start_a_build(watched, repository, git):
    before = len(watched.triggers)
    git(repository, "checkout", "-q", "-b", "other")
    assert watched.wait(before + 1)


def test_ignored_folders_start_none(watched, repository):
    before = len(watched.triggers)
    (repository / "node_modules").mkdir()
    (repository / "node_modules" / "x.js").write_text("1")
    (repository / ".git" / "index.lock").write_text("")
    (repository / "c.py").write_text("c = 3\n")
    assert watched.wait(before + 1)
    assert len(watched.triggers) <= before + 2


def test_data_directory_inside_the_source_starts_no_build(repository):
    builds, data = Builds(), repository / "data"
    data.mkdir()

    def rebuild(trigger, paths):
        (data / "control.db").write_text(trigger)  # as a build does
        builds(trigger, paths)

    source = SourceConfig(name="repo", type="git", path=repository)
    watcher = Watcher([source], rebuild, debounce_ms=50, first=True, avoid=data)
    watcher.start()
    assert builds.wait(1)
    (repository / "b.py").write_text("b = 2\n")
    assert builds.wait(2)
    watcher.stop()
    assert builds.triggers == ["start", "watch"]


@pytest.fixture
def watching():
    """Start a watcher of some sources and wait for its first build."""
    watchers = []

    def start(*sources, **options):
        builds = Builds()
        watchers.append(Watcher(sources, builds, debounce_ms=50, first=True, **options))
        watchers[-1].start()
        assert builds.wait(1)
        return builds

    yield start
    for watcher in watchers:
        watcher.stop()


def folder(path):
    return SourceConfig(name=path.name, type="folder", path=path)


def is_told(builds, file):
    """Write a file; tell whether a build gets to know."""
    file.write_text("x = 1\n")
    return builds.wait_for(file)


@pytest.mark.req("I4")
def test_a_folder_that_is_deleted_and_made_anew_at_once_is_watched_though_it_has_the_same_inode(tmp_path, watching):
    root = tmp_path / "code"
    (root / "inner").mkdir(parents=True)
    builds = watching(folder(root))
    before = root.stat().st_ino
    for _ in range(50):  # most file systems give the number that has just become free
        shutil.rmtree(root)
        root.mkdir()
        if root.stat().st_ino == before:
            break
    assert builds.wait_for_all()
    assert is_told(builds, root / "later.py")


@pytest.mark.req("I4")
def test_of_several_sources_one_that_comes_later_or_comes_back_is_watched(tmp_path, watching):
    there, late = tmp_path / "there", tmp_path / "late"
    there.mkdir()
    builds = watching(folder(there), folder(late))
    late.mkdir()
    assert builds.wait_for_all()
    assert is_told(builds, late / "a.py")
    builds.paths.clear()
    late.rename(tmp_path / "away")
    assert builds.wait_for_all()
    assert is_told(builds, there / "b.py")
    builds.paths.clear()
    (tmp_path / "away").rename(late)
    assert builds.wait_for_all()
    assert is_told(builds, late / "c.py")


@pytest.mark.parametrize("above", ["venv", ".venv/lib", "node_modules/pkg", "__pycache__"])
def test_what_the_folders_above_a_source_are_called_does_not_matter(tmp_path, watching, above):
    root = tmp_path / above / "project"
    root.mkdir(parents=True)
    builds = watching(folder(root))
    assert is_told(builds, root / "a.py")


def test_a_folder_beside_the_data_directory_whose_name_begins_as_its_does_is_watched(tmp_path, watching):
    root = tmp_path / "code"
    (root / "data").mkdir(parents=True)
    builds = watching(folder(root), avoid=root / "data")
    assert is_told(builds, root / "data_model.py")


@pytest.mark.parametrize("name", ["poetry.lock", "sprite.swf", "a.swift"])
def test_a_file_that_is_indexed_is_watched_though_its_name_looks_like_that_of_a_lock(tmp_path, watching, name):
    builds = watching(folder(tmp_path))
    assert is_told(builds, tmp_path / name)


@pytest.mark.req("I4")
def test_a_commit_in_a_linked_work_tree_starts_a_build(repository, git, watching):
    linked = repository.with_name("linked")
    git(repository, "worktree", "add", "-q", "-b", "feature", str(linked))
    builds = watching(SourceConfig(name="linked", type="git", path=linked))
    git(linked, "commit", "-q", "--allow-empty", "-m", "second")
    assert builds.wait_for(repository / ".git" / "refs" / "heads" / "feature")
    git(linked, "checkout", "-q", "--detach")
    assert builds.wait_for(repository / ".git" / "worktrees" / "linked" / "HEAD")


@pytest.mark.req("I4")
def test_a_commit_in_a_submodule_starts_a_build(repository, git, watching):
    above = repository.with_name("above")
    above.mkdir()
    git(above, "init", "-q", "-b", "main")
    git(above, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "part")
    builds = watching(SourceConfig(name="part", type="git", path=above / "part"))
    git(above / "part", "commit", "-q", "--allow-empty", "-m", "second")
    assert builds.wait_for(above / ".git" / "modules" / "part" / "refs" / "heads" / "main")


@pytest.mark.req("I4")
def test_a_ref_that_a_source_follows_is_watched_whatever_kind_it_is(repository, git, watching):
    git(repository, "tag", "release")
    followed = watching(SourceConfig(name="tagged", type="git", path=repository, ref="release"))
    checked_out = watching(SourceConfig(name="repo", type="git", path=repository))
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(repository, "tag", "-f", "release")
    assert followed.wait_for(repository / ".git" / "refs" / "tags" / "release")
    assert is_told(checked_out, repository / "later.py")
    assert not any(".git/refs/tags" in path for paths in checked_out.paths for path in paths)


@pytest.mark.req("I4")
def test_a_push_to_a_bare_repository_starts_a_build_and_its_objects_start_none(tmp_path, repository, git, watching):
    bare = tmp_path / "bare"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    builds = watching(SourceConfig(name="bare", type="git", path=bare))
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(repository, "push", "-q", str(bare), "main")
    assert builds.wait_for(bare / "refs" / "heads" / "main")
    assert not any("/objects/" in path for paths in builds.paths for path in paths)


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        ("Too many open files (os error 24)", "max_user_instances"),
        ("OS file watch limit reached. (os error 28)", "max_user_watches"),
    ],
)
def test_the_limit_that_was_reached_is_the_one_to_raise(repository, watching, monkeypatch, error, limit):
    from ingest import watch

    real = watch.watch

    def limited(*args, force_polling, **more):
        if not force_polling:
            raise OSError(error)
        return real(*args, force_polling=True, **{**more, "poll_delay_ms": 50})

    monkeypatch.setattr(watch, "watch", limited)
    builds = Builds()
    watcher = Watcher([folder(repository)], builds, debounce_ms=50, first=True)
    watcher.start()
    assert builds.wait(1)
    assert f"Raise fs.inotify.{limit}." in watcher.problem
    watcher.stop()


@pytest.mark.req("I4")
def test_the_only_source_that_goes_is_told_once_and_again_when_it_is_back(tmp_path, watching):
    root = tmp_path / "code"
    root.mkdir()
    builds = watching(folder(root))
    root.rename(tmp_path / "away")
    assert builds.wait(2)
    (tmp_path / "away").rename(root)
    assert builds.wait(3)
    assert builds.triggers == ["start", "place", "place"]
    assert is_told(builds, root / "later.py")


@pytest.mark.req("I4")
def test_a_source_that_was_never_there_is_looked_at_as_soon_as_it_comes(tmp_path, watching):
    builds = watching(folder(tmp_path / "code"))
    (tmp_path / "code").mkdir()
    assert builds.wait(2)
    assert builds.triggers == ["start", "place"]
