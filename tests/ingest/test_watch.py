"""The watcher: a change of files or of what is checked out is searchable without being asked for."""

import threading

import pytest

from ingest.config import SourceConfig
from ingest.watch import Watcher


class Builds:
    """Counts rebuilds and lets a test wait for the next one."""

    def __init__(self):
        self.triggers, self.changed = [], threading.Condition()

    def __call__(self, trigger, paths):
        with self.changed:
            self.triggers.append(trigger)
            self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            return self.changed.wait_for(lambda: len(self.triggers) >= count, timeout=20)


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
