"""Git hooks: put in beside what is there, taken out without a trace, run by real commits."""

import os
import stat
import sys

import pytest

from ingest.errors import ConfigError
from ingest.hooks import BEGIN, END, HOOKS, describe_place, install, uninstall
from tests.ingest.waiting import wait_until

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
def test_work_trees_of_one_repository_keep_their_own_lines(repository, git, tmp_path):
    """Their hooks are the same files."""
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "first")
    git(repository, "worktree", "add", "-q", str(tmp_path / "second"))
    assert {change.what for change in install(repository, ["first"], os.environ)} == {"installed"}
    alone = hooks_of(repository)
    assert {change.what for change in install(tmp_path / "second", ["second"], os.environ)} == {"installed"}
    assert {change.what for change in install(repository, ["first"], os.environ)} == {"unchanged"}
    assert [hooks_of(repository)["post-commit"].count(f"\nnice {name} <") for name in ("first", "second")] == [1, 1]
    assert {change.what for change in uninstall(tmp_path / "second", os.environ)} == {"removed"}
    assert hooks_of(repository) == alone
    assert uninstall(tmp_path / "second", os.environ) == []


@pytest.mark.req("I4")
def test_lines_that_an_earlier_release_put_in_are_replaced_where_they_are_of_the_same_root(repository, tmp_path):
    hook = repository / ".git" / "hooks" / "post-commit"
    hook.parent.mkdir(exist_ok=True)
    own, other = (f"{BEGIN}\npython hook run --root {root} --data x &\n{END}\n" for root in (repository, tmp_path))
    for first, second in ((own, other), (other, own)):
        hook.write_text(f"#!/bin/sh\n{first}{second}")
        install(repository, COMMAND, os.environ)
        assert own not in hook.read_text()
        assert hook.read_text().endswith(other)


@pytest.mark.req("I4")
def test_a_bare_repository_tells_of_what_is_pushed_to_it(repository, git, tmp_path):
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "first")
    git(tmp_path, "init", "-q", "--bare", "shared.git")
    script = f"open({str(tmp_path / 'told')!r}, 'a').write('x')"
    changes = install(tmp_path / "shared.git", [sys.executable, "-c", script], os.environ)
    assert [change.file.name for change in changes] == ["post-receive"]
    git(repository, "push", "-q", str(tmp_path / "shared.git"), "main")
    assert wait_until((tmp_path / "told").exists)
    assert [change.what for change in uninstall(tmp_path / "shared.git", os.environ)] == ["removed"]


@pytest.mark.req("I4")
def test_a_hook_in_another_language_is_left_alone(repository):
    hook = repository / ".git" / "hooks" / "post-merge"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/usr/bin/env python3\nprint(1)\n")
    with pytest.raises(ConfigError, match="no shell script.*codecairn hook run"):
        install(repository, COMMAND, os.environ)
    assert hooks_of(repository) == {"post-merge": "#!/usr/bin/env python3\nprint(1)\n"}


@pytest.mark.req("I4")
def test_a_hook_that_calls_us_itself_is_left_alone_and_the_others_are_installed(repository, tmp_path):
    """As install advises where it may not put its lines in."""
    folder = repository / ".git" / "hooks"
    folder.mkdir(exist_ok=True)
    python = "#!/usr/bin/env python3\nimport subprocess\nsubprocess.Popen(['codecairn', 'hook', 'run'])\n"
    shell = "#!/bin/sh\ncodecairn hook run >/dev/null 2>&1 &\n"
    (folder / "post-merge").write_text(python)
    (tmp_path / "shared").write_text("#!/bin/sh\n")
    (folder / "post-rewrite").symlink_to(tmp_path / "shared")
    with pytest.raises(ConfigError, match="symbolic link.*Call `codecairn hook run` from it yourself"):
        install(repository, COMMAND, os.environ)
    (tmp_path / "shared").write_text(shell)
    for file in (folder / "post-merge", tmp_path / "shared"):
        file.chmod(0o755)
    changes = {change.file.name: (change.what, change.note) for change in install(repository, COMMAND, os.environ)}
    assert changes == {name: ("installed", "") for name in ("post-commit", "post-checkout")} | {
        name: ("calls `codecairn hook run` itself", "") for name in ("post-merge", "post-rewrite")
    }
    assert (hooks_of(repository)["post-merge"], (tmp_path / "shared").read_text()) == (python, shell)
    assert {change.file.name for change in uninstall(repository, os.environ)} == {"post-commit", "post-checkout"}
    assert hooks_of(repository) == {"post-merge": python, "post-rewrite": shell}


@pytest.mark.req("I4")
def test_a_hook_that_git_ignores_keeps_its_mode_and_is_told(repository):
    hook = repository / ".git" / "hooks" / "post-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho theirs\n")
    hook.chmod(0o640)
    for what in ("installed", "unchanged"):
        first, *others = install(repository, COMMAND, os.environ)
        assert (first.what, stat.S_IMODE(hook.stat().st_mode)) == (what, 0o640)
        assert first.note == f"Git ignores {hook}, which is not executable. Run `chmod +x {hook}`."
        assert {change.note for change in others} == {""}
    hook.chmod(0o750)
    assert {change.note for change in install(repository, COMMAND, os.environ)} == {""}


@pytest.mark.req("I4", "S11")
def test_core_hooks_path_is_respected_and_nothing_of_the_configuration_runs(repository, git, tmp_path):
    git(repository, "config", "core.hooksPath", ".husky")
    git(repository, "config", "core.fsmonitor", f"touch {tmp_path}/ran")
    git(repository, "config", "alias.config", f"!touch {tmp_path}/ran")
    install(repository, COMMAND, os.environ)
    assert BEGIN in (repository / ".husky" / "post-commit").read_text()
    assert hooks_of(repository) == {}
    assert not (tmp_path / "ran").exists()
    assert "among the files that a team commits" in describe_place(repository, os.environ)
    git(repository, "config", "--unset", "core.hooksPath")
    assert describe_place(repository, os.environ) == ""


@pytest.mark.req("I4")
def test_a_hooks_path_for_every_repository_is_refused(repository, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f"[core]\n\thooksPath = {tmp_path}/shared\n")
    with pytest.raises(ConfigError, match="outside of the repository"):
        install(repository, COMMAND, {"HOME": str(home)})
    assert not (tmp_path / "shared").exists()


@pytest.mark.req("I4")
@pytest.mark.parametrize("condition", ["include", 'includeIf "gitdir:/"'])
def test_a_hooks_path_in_a_file_that_is_included_is_refused(repository, git, tmp_path, condition):
    """Git would look there, and never run what lies in .git/hooks."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "more.inc").write_text(f"[core]\n\thooksPath = {tmp_path}/shared\n")
    (home / "one.inc").write_text("[include]\n\tpath = more.inc\n")
    (home / ".gitconfig").write_text(f"[{condition}]\n\tpath = ~/one.inc\n")
    with pytest.raises(ConfigError, match=r"core.hooksPath is set in .*more.inc, which .*one.inc includes.*git config"):
        install(repository, COMMAND, {"HOME": str(home)})
    assert hooks_of(repository) == {}
    git(repository, "config", "core.hooksPath", ".git/hooks")
    install(repository, COMMAND, {"HOME": str(home)})
    assert sorted(hooks_of(repository)) == sorted(HOOKS)
