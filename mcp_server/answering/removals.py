"""Removals: which commit took a name out of the code, read from the mirrors of an index by pickaxe.

Commit messages rarely say what they remove. The newest commits are searched for one that changed how often the name
occurs; since it occurs nowhere now, the newest such commit took the last of it away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfuzz import fuzz

from ingest.errors import GitError, SourceError
from ingest.gitio import (
    HISTORY_COMMITS,
    find_occurrence_change,
    find_repository,
    list_commits,
    mirror_path,
    run_git,
)
from ingest.index.schema import SourceState

SEARCHED = 600  # commits of one repository, newest first: about half a second
NAMES = 3  # searched for one text: each costs as much
NAME = re.compile(r"[A-Za-z_$][\w$]{3,80}")
WORD = re.compile(r"[A-Za-z_$][\w$]*")
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

    def find(self, name: str) -> Removal | None:
        """Return the commit that took a name away; None beyond the newest commits or the first names of a text."""
        if not NAME.fullmatch(name) or self._left <= 0:
            return None
        self._left -= 1
        for state in self._sources:
            try:
                mirror = mirror_path(find_repository(Path(state.location)), self._data_dir)
                if mirror.is_dir() and (found := find_removal(mirror, state.revision, name)):
                    return found
            except (GitError, SourceError):
                continue  # a folder without a repository, or one that went away: freshness says so
        return None


def find_removal(mirror: Path, head: str, name: str) -> Removal | None:
    """Return the newest commit up to `head` that changed how often a name occurs. Raises GitError."""
    commits = list_commits(mirror, head, HISTORY_COMMITS)[:SEARCHED]
    found = find_occurrence_change(mirror, commits, name)
    return Removal(found, names_instead(mirror, found, name)) if found else None


def names_instead(mirror: Path, commit: str, name: str) -> tuple[str, ...]:
    """Return new names of a commit's lines that stand where the name stood, the most alike first. Raises GitError."""
    options = ("-r", "-p", "-U3", "--root", "--no-ext-diff", "--no-textconv", "--no-renames")
    shown = run_git("diff-tree", *options, commit, git_dir=mirror).decode("utf-8", "replace")
    lines = shown.split("\n")
    gone = [line[1:] for line in lines if line.startswith("-") and not line.startswith("---")]
    came = [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")]
    before = {word for line in gone for word in WORD.findall(line)}
    places = [line for line in gone if name in WORD.findall(line)]
    found: dict[str, float] = {}
    for line in came:
        near = max((fuzz.ratio(line, place) for place in places), default=0.0)
        for word in WORD.findall(line) if near >= LEAST_LIKE else ():
            if word not in before and len(word) > 3:
                found[word] = max(found.get(word, 0.0), near + fuzz.ratio(word, name))
    return tuple(sorted(found, key=lambda word: (-found[word], word)))
