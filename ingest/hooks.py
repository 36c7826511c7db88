"""Git hooks that tell the index of commits and checkouts: a marked block in a hook file, put in and taken out.

No git command runs in the repository's own configuration: where its hooks lie is read from configuration files by name.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import ConfigError
from ingest.gitio import Repository, find_repository, read_config_value

HOOKS = ("post-commit", "post-checkout", "post-merge", "post-rewrite")
BEGIN = "# >>> codecairn"
END = "# <<< codecairn"
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})


@dataclass(frozen=True, slots=True)
class HookChange:
    """What was done to one hook file: installed, updated, removed or unchanged."""

    file: Path
    what: str


def find_hooks_folder(repository: Repository, home: Mapping[str, str]) -> Path:
    """Return where git looks for a repository's hooks. `home`: HOME and XDG_CONFIG_HOME.

    Raises ConfigError where core.hooksPath leads out of the repository: a hook there would run for other ones too.
    """
    for file in config_files(repository, home):
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


def make_block(command: Sequence[str]) -> str:
    """Return the lines of a hook: the command in the background, so that git neither waits nor fails."""
    return f"{BEGIN}\n{shlex.join(command)} </dev/null >/dev/null 2>&1 &\n{END}\n"


def install(path: Path, command: Sequence[str], home: Mapping[str, str]) -> list[HookChange]:
    """Put the block into each hook, before what is there already. Raises ConfigError; then nothing was changed."""
    folder = find_hooks_folder(find_repository(path), home)
    block = make_block(command)
    texts = {folder / name: _read(folder / name) for name in HOOKS}
    for file, text in texts.items():
        _refuse_foreign(file, text)
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(file, text, _with_block(text, block)) for file, text in texts.items()]


def uninstall(path: Path, home: Mapping[str, str]) -> list[HookChange]:
    """Take the block out of each hook; a file that holds nothing else is removed."""
    folder = find_hooks_folder(find_repository(path), home)
    texts = {folder / name: _read(folder / name) for name in HOOKS}
    return [_write(file, text, _without_block(text)) for file, text in texts.items() if BEGIN in text]


def _read(file: Path) -> str:
    if file.is_symlink() or not file.exists():
        if file.is_symlink():
            raise ConfigError(f"{file} is a symbolic link, which is not followed. Call `codecairn hook run` from it.")
        return ""
    return file.read_bytes().decode("utf-8", "surrogateescape")


def _refuse_foreign(file: Path, text: str) -> None:
    """Raise ConfigError for a hook that is no shell script: lines of shell would break it."""
    first = text.partition("\n")[0]
    words = first.removeprefix("#!").split()
    names = {os.path.basename(word) for word in words}
    if text and not (first.startswith("#!") and names & SHELLS):
        raise ConfigError(
            f"{file} is no shell script (it starts with {first[:60]!r}). Call `codecairn hook run` from it yourself."
        )


def _with_block(text: str, block: str) -> str:
    first, _, rest = _without_block(text).partition("\n") if text else ("#!/bin/sh", "", "")
    return f"{first or '#!/bin/sh'}\n{block}{rest}"


def _without_block(text: str) -> str:
    before, begin, more = text.partition(f"{BEGIN}\n")
    _, end, after = more.partition(f"{END}\n")
    return before + after if begin and end else text


def _write(file: Path, old: str, new: str) -> HookChange:
    if new == old:
        return HookChange(file, "unchanged")
    if new.strip() in ("", "#!/bin/sh") and BEGIN not in new:
        file.unlink()
        return HookChange(file, "removed")
    mode = stat.S_IMODE(file.stat().st_mode) if old else 0o755
    partial = file.with_name(f"{file.name}.codecairn")
    partial.write_bytes(new.encode("utf-8", "surrogateescape"))
    partial.chmod(mode)
    partial.replace(file)
    return HookChange(file, "removed" if BEGIN not in new else "updated" if BEGIN in old else "installed")
