"""Removals: which commit took a name out of the code, read from the mirrors of an index by pickaxe.

Commit messages rarely say what they remove. The newest commits are searched for one that changed how often the name
occurs; where it occurs in no file that is indexed, and that commit has less of it than before, it took the last away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rapidfuzz import fuzz

from ingest.errors import GitError, SourceError
from ingest.gitio import find_mirror, run_git
from ingest.index.schema import SourceState
from ingest.pickaxe import NAME, find_change

NAMES = 3  # searched for one text: half a second each where commits were not read yet
WORD = re.compile(r"[A-Za-z_$][\w$]*")
FileChange = tuple[str, bool, list[str], list[str]]  # path, whether it was deleted, lines that went and that came
LEAST_LIKE = 60  # of 100: between an old name and what may have replaced it


@dataclass(frozen=True, slots=True)
class Removal:
    """A commit that took a name away, and the names that its added lines have in the place of it, likeliest first."""

    commit: str
    instead: tuple[str, ...]


class RemovalReader:
    """Knows the mirrors of some sources. A mirror that cannot be read tells of no removal."""

    def __init__(self, data_dir: Path, sources: Sequence[SourceState]) -> None:
        """Search these sources."""
        self._data_dir = data_dir
        self._sources = tuple(state for state in sources if state.location and state.revision)
        self._left = NAMES

    def find(self, name: str, is_indexed: Callable[[str], bool]) -> Removal | None:
        """Return the commit that took a name away; None beyond the newest commits or the first names of a text.

        `is_indexed`: tells whether the index has a path. What is not indexed may hold the name still.
        """
        if not NAME.fullmatch(name) or self._left <= 0:
            return None
        self._left -= 1
        for state in self._sources:
            # A folder without a repository, or one that went away: freshness says so.
            with suppress(GitError, SourceError):
                mirror = self._mirror_of(state)
                if mirror.is_dir() and (found := find_removal(mirror, state.revision, name, is_indexed)):
                    return found
        return None

    def brings(self, source: str, commit: str, name: str) -> bool:
        """Tell whether a commit left more of a name than there was, whatever its message says of removing."""
        for state in self._sources:
            if state.name == source:
                with suppress(GitError, SourceError):
                    changes = read_change(self._mirror_of(state), commit)
                    gone = [line for _, _, removed, _ in changes for line in removed]
                    came = [line for _, _, _, added in changes for line in added]
                    return count(name, came) > count(name, gone)
        return False

    def _mirror_of(self, state: SourceState) -> Path:
        return find_mirror(Path(state.location), self._data_dir)


def find_removal(mirror: Path, head: str, name: str, is_indexed: Callable[[str], bool]) -> Removal | None:
    """Return the newest commit that changed how often a name occurs, if it took it away. Raises GitError."""
    commit = find_change(mirror, head, name)
    if not commit:
        return None
    gone: list[str] = []
    came: list[str] = []
    for path, is_deleted, removed, added in read_change(mirror, commit):
        came += added
        if is_deleted or is_indexed(path):
            gone += removed
    if count(name, gone) <= count(name, came):
        return None
    return Removal(commit, names_instead(name, gone, came))


@lru_cache(maxsize=64)  # one answer asks twice
def read_change(mirror: Path, commit: str) -> tuple[FileChange, ...]:
    """Return what a commit did to its files. Raises GitError."""
    options = ("-r", "-p", "-U3", "--root", "--no-ext-diff", "--no-textconv", "--no-renames")
    shown = run_git("diff-tree", *options, commit, git_dir=mirror).decode("utf-8", "replace")
    return tuple(read_files(shown.split("\n")))


def read_files(lines: Sequence[str]) -> Iterator[FileChange]:
    """Yield of each file in a diff its path, whether it was deleted, and the lines that went and that came."""
    path, is_deleted, in_head = "", False, True
    removed: list[str] = []
    added: list[str] = []
    for line in (*lines, "diff --git"):
        if line.startswith("diff --git"):
            if path:
                yield path, is_deleted, removed, added
            path, is_deleted, in_head, removed, added = "", False, True, [], []
        elif line.startswith("@@"):
            in_head = False
        elif in_head and line.startswith("--- a/"):
            path = line[6:]
        elif in_head and line.startswith("+++ "):
            is_deleted = line == "+++ /dev/null"
            path = path or line[6:]
        elif not in_head and line.startswith("-"):
            removed.append(line[1:])
        elif not in_head and line.startswith("+"):
            added.append(line[1:])


def count(name: str, lines: Sequence[str]) -> int:
    """Return how often lines hold a name as a whole word."""
    return sum(WORD.findall(line).count(name) for line in lines)


def names_instead(name: str, gone: Sequence[str], came: Sequence[str]) -> tuple[str, ...]:
    """Return new names of the lines that came where the name stood, the most alike first."""
    before = {word for line in gone for word in WORD.findall(line)}
    places = [line for line in gone if name in WORD.findall(line)]
    found: dict[str, float] = {}
    for line in came:
        near = max((fuzz.ratio(line, place) for place in places), default=0.0)
        for word in WORD.findall(line) if near >= LEAST_LIKE else ():
            if word not in before and len(word) > 3:
                found[word] = max(found.get(word, 0.0), near + fuzz.ratio(word, name))
    return tuple(sorted(found, key=lambda word: (-found[word], word)))
