"""Git hooks that tell the index of commits and checkouts: a marked block in a hook file, put in and taken out.

No git command runs in the repository's own configuration: where its hooks lie is read from configuration files by name.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.errors import ConfigError
from ingest.gitio import Repository, find_repository, read_config_value, read_includes

HOOKS = ("post-commit", "post-checkout", "post-merge", "post-rewrite")
BARE_HOOKS = ("post-receive",)  # nobody commits in a bare repository: it is pushed to
INCLUDE_DEPTH = 10  # git's own limit
BEGIN = "# >>> codecairn"
END = "# <<< codecairn"
CALL = re.compile(r"(?:codecairn|mcp_server\.cli)\W+hook\W+run\b")  # also as a list of words
RUN = "codecairn hook run"
ADVICE = f"Call `{RUN}` from it yourself and install again: then it stays as it is."
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})


@dataclass(frozen=True, slots=True)
class HookChange:
    """What was done to one hook file: installed, updated, removed, unchanged or why not; `note` says what to do."""

    file: Path
    what: str
    note: str = ""


def find_hooks_folder(repository: Repository, home: Mapping[str, str]) -> Path:
    """Return where git looks for a repository's hooks. `home`: HOME and XDG_CONFIG_HOME.

    Raises ConfigError where core.hooksPath leads out of the repository: a hook there would run for other ones too.
    """
    for file in config_files(repository, home):
        _refuse_included(file, home)
        value = read_config_value(file, "core.hooksPath")
        if not value:
            continue
        base = repository.work_tree or repository.git_dir
        folder = Path(os.path.normpath(base / Path(value).expanduser()))
        inside = [place for place in (repository.work_tree, repository.common_dir) if place is not None]
        if not any(folder.is_relative_to(place) for place in inside):
            raise ConfigError(
                f"core.hooksPath in {file} is {value}, outside of the repository: a hook there would run for every "
                "repository. Call `codecairn hook run` from a hook of your own there, or use `codecairn worker`."
            )
        return folder
    return repository.common_dir / "hooks"


def _refuse_included(file: Path, home: Mapping[str, str], depth: int = 0) -> None:
    """Raise ConfigError where a file that is included sets core.hooksPath: order and conditions decide what counts."""
    for name in read_includes(file) if depth < INCLUDE_DEPTH else ():
        own = os.path.join(home.get("HOME", ""), name[2:]) if name.startswith("~/") else name
        included = Path(os.path.normpath(file.parent / own))
        if read_config_value(included, "core.hooksPath"):
            raise ConfigError(
                f"core.hooksPath is set in {included}, which {file} includes, and only git can tell whether that "
                "counts here. Set core.hooksPath with `git config` in the repository itself, or call "
                "`codecairn hook run` from a hook of your own."
            )
        _refuse_included(included, home, depth + 1)


def config_files(repository: Repository, home: Mapping[str, str]) -> list[Path]:
    """Return the configuration files that git reads, the strongest first."""
    user = home.get("HOME", "")
    config_home = home.get("XDG_CONFIG_HOME") or os.path.join(user, ".config")
    return [
        repository.git_dir / "config.worktree",
        repository.common_dir / "config",
        Path(user) / ".gitconfig",
        Path(config_home) / "git" / "config",
        Path("/etc/gitconfig"),
    ]


def make_block(path: Path, command: Sequence[str]) -> str:
    """Return the lines of a hook: the command in the background and behind git itself, which neither waits nor fails.

    They name the path: the work trees of one repository share its hooks.
    """
    begin, end = _marks(path)
    return f"{begin}nice {shlex.join(command)} </dev/null >/dev/null 2>&1 &\n{end}"


def _marks(path: Path) -> tuple[str, str]:
    return f"{BEGIN} {str(path)!r}\n", f"{END} {str(path)!r}\n"


def describe_place(path: Path, home: Mapping[str, str]) -> str:
    """Return what to know of hooks that lie among the files of a work tree, "" where they do not."""
    repository = find_repository(path)
    folder = find_hooks_folder(repository, home)
    is_apart = repository.work_tree is None or not folder.is_relative_to(repository.work_tree)
    if is_apart or folder.is_relative_to(repository.common_dir) or folder.is_relative_to(repository.git_dir):
        return ""
    return (
        f"core.hooksPath names {folder}, among the files that a team commits, and the lines name paths of this "
        "machine. Do not commit them; `codecairn hook uninstall` takes them out again."
    )


def install(path: Path, command: Sequence[str], home: Mapping[str, str]) -> list[HookChange]:
    """Put the block into each hook, before what is there already; one that calls us without it stays as it is.

    Raises ConfigError; then nothing was changed.
    """
    repository = find_repository(path)
    folder = find_hooks_folder(repository, home)
    block = make_block(path, command)
    names = HOOKS if repository.work_tree is not None else BARE_HOOKS
    left = [folder / name for name in names if _calls_itself(folder / name)]
    texts = {folder / name: _read(folder / name) for name in names if folder / name not in left}
    for file, text in texts.items():
        _refuse_foreign(file, text)
    folder.mkdir(parents=True, exist_ok=True)
    rests = {file: _without_block(text, path) for file, text in texts.items()}
    changes = [
        _write(file, text, _with_block(text, path, block), "installed" if rests[file] == text else "updated")
        for file, text in texts.items()
    ]
    return [_note_mode(one) for one in (*changes, *(HookChange(file, f"calls `{RUN}` itself") for file in left))]


def uninstall(path: Path, home: Mapping[str, str]) -> list[HookChange]:
    """Take the block out of each hook; a file that holds nothing else is removed."""
    folder = find_hooks_folder(find_repository(path), home)
    files = [folder / name for name in (*HOOKS, *BARE_HOOKS)]
    texts = {file: _read(file) for file in files if not file.is_symlink()}
    rests = {file: _without_block(text, path) for file, text in texts.items()}
    return [_write(file, text, rests[file], "removed") for file, text in texts.items() if rests[file] != text]


def _calls_itself(file: Path) -> bool:
    """Tell whether a hook that is not ours to change, a link or no shell script, calls `codecairn hook run`."""
    if not file.is_file():
        return False
    text = _decode(file)
    return bool(CALL.search(text)) and (file.is_symlink() or not _is_shell(text))


def _note_mode(change: HookChange) -> HookChange:
    """Return it with what to do where git ignores the hook."""
    if os.access(change.file, os.X_OK):
        return change
    command = f"chmod +x {shlex.quote(str(change.file))}"
    return replace(change, note=f"Git ignores {change.file}, which is not executable. Run `{command}`.")


def _read(file: Path) -> str:
    if file.is_symlink():
        raise ConfigError(f"{file} is a symbolic link, which is not followed. {ADVICE}")
    return _decode(file) if file.exists() else ""


def _decode(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "surrogateescape")


def _refuse_foreign(file: Path, text: str) -> None:
    """Raise ConfigError for a hook that is no shell script: lines of shell would break it."""
    if text and not _is_shell(text):
        first = text.partition("\n")[0]
        raise ConfigError(f"{file} is no shell script (it starts with {first[:60]!r}). {ADVICE}")


def _is_shell(text: str) -> bool:
    first = text.partition("\n")[0]
    names = {os.path.basename(word) for word in first.removeprefix("#!").split()}
    return first.startswith("#!") and bool(names & SHELLS)


def _with_block(text: str, path: Path, block: str) -> str:
    if block in text:
        return text
    first, _, rest = _without_block(text, path).partition("\n") if text else ("#!/bin/sh", "", "")
    return f"{first or '#!/bin/sh'}\n{block}{rest}"


def _without_block(text: str, path: Path) -> str:
    """Return a hook without the block of a path, marked as it is now or as earlier releases did."""
    rest = _cut(text, *_marks(path), "")
    return _cut(rest, f"{BEGIN}\n", f"{END}\n", f" --root {shlex.quote(str(path))} ")


def _cut(text: str, begin: str, end: str, holding: str) -> str:
    """Return a text without the first block between two marks that holds some words."""
    start = text.find(begin)
    while start >= 0 and (stop := text.find(end, start)) >= 0:
        if holding in text[start:stop]:
            return text[:start] + text[stop + len(end) :]
        start = text.find(begin, stop)
    return text


def _write(file: Path, old: str, new: str, what: str) -> HookChange:
    if new == old:
        return HookChange(file, "unchanged")
    if new.strip() in ("", "#!/bin/sh") and BEGIN not in new:
        file.unlink()
        return HookChange(file, what)
    mode = stat.S_IMODE(file.stat().st_mode) if old else 0o755
    partial = file.with_name(f"{file.name}.codecairn")
    partial.write_bytes(new.encode("utf-8", "surrogateescape"))
    partial.chmod(mode)
    partial.replace(file)
    return HookChange(file, what)
