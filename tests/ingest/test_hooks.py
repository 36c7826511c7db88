"""Git hooks: put in beside what is there, taken out without a trace, run by real commits."""

import os
import stat
import sys

import pytest

from ingest.errors import ConfigError
from ingest.hooks import BEGIN, HOOKS, install, uninstall

COMMAND = [sys.executable, "-c", "print('a path with spaces')"]


@pytest.fixture
def repository(tmp_path, git):
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.py").write_text("a = 1\n")
    git(root, "init", "-q", "-b", "main")
    return root


def hooks_of(root):
    return {path.name: path.read_text() for path in (root / ".git" / "hooks").iterdir() if path.suffix != ".sample"}


@pytest.mark.req("I4")
def test_hooks_are_installed_once_and_removed_without_a_trace(repository):
    assert {change.what for change in install(repository, COMMAND, os.environ)} == {"installed"}
    first = hooks_of(repository)
    assert sorted(first) == sorted(HOOKS)
    assert {change.what for change in install(repository, COMMAND, os.environ)} == {"unchanged"}
    assert hooks_of(repository) == first
    assert {change.what for change in install(repository, ["other"], os.environ)} == {"updated"}
    assert hooks_of(repository)["post-commit"].count(BEGIN) == 1
    assert {change.what for change in uninstall(repository, os.environ)} == {"removed"}
    assert hooks_of(repository) == {}
    assert uninstall(repository, os.environ) == []


@pytest.mark.req("I4")
def test_a_hook_that_was_there_still_runs_and_comes_back_as_it_was(repository, git, tmp_path):
    """Even one that ends early: ours comes before it, in the background."""
    hook = repository / ".git" / "hooks" / "post-commit"
    hook.parent.mkdir(exist_ok=True)
    text = f"#!/bin/sh\necho theirs >> {tmp_path}/theirs\nexit 0\n"
    hook.write_text(text)
    hook.chmod(0o750)
    script = f"open({str(tmp_path / 'ours')!r}, 'a').write('x')"
    install(repository, [sys.executable, "-c", script], os.environ)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "first")
    for _ in range(600):
        if (tmp_path / "ours").exists():
            break
        import time

        time.sleep(0.05)
    assert (tmp_path / "ours").exists()
    assert (tmp_path / "theirs").read_text() == "theirs\n"
    uninstall(repository, os.environ)
    assert hook.read_text() == text
    assert stat.S_IMODE(hook.stat().st_mode) == 0o750


@pytest.mark.req("I4")
def test_a_hook_in_another_language_is_left_alone(repository):
    hook = repository / ".git" / "hooks" / "post-merge"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/usr/bin/env python3\nprint(1)\n")
    with pytest.raises(ConfigError, match="no shell script.*codecairn hook run"):
        install(repository, COMMAND, os.environ)
    assert hooks_of(repository) == {"post-merge": "#!/usr/bin/env python3\nprint(1)\n"}


@pytest.mark.req("I4", "S11")
def test_core_hooks_path_is_respected_and_nothing_of_the_configuration_runs(repository, git, tmp_path):
    git(repository, "config", "core.hooksPath", ".husky")
    git(repository, "config", "core.fsmonitor", f"touch {tmp_path}/ran")
    git(repository, "config", "alias.config", f"!touch {tmp_path}/ran")
    install(repository, COMMAND, os.environ)
    assert BEGIN in (repository / ".husky" / "post-commit").read_text()
    assert hooks_of(repository) == {}
    assert not (tmp_path / "ran").exists()


@pytest.mark.req("I4")
def test_a_hooks_path_for_every_repository_is_refused(repository, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f"[core]\n\thooksPath = {tmp_path}/shared\n")
    with pytest.raises(ConfigError, match="outside of the repository"):
        install(repository, COMMAND, {"HOME": str(home)})
    assert not (tmp_path / "shared").exists()
