"""Changes: which lines a commit put into a file, read from the mirror of its repository."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from ingest.errors import GitError, SourceError
from ingest.gitio import find_mirror, run_git
from ingest.index.schema import SourceState
from ingest.model import HISTORY_SUFFIX, Chunk
from mcp_server.retrieval.profiles import touched_paths

MAX_PATHS = 30  # a commit that touches more says little about each of them, and its text can be large
COMMIT_ID = re.compile(r"[0-9a-f]{7,64}")
HEADER = re.compile(rb'^\+\+\+ (?:"?b/)(.*?)"?\t?$')
TELLING = 4  # letters and digits of a line that can be told from others
MAX_LINES = 5_000  # that are kept of one commit: a generated file is not worth the memory
GAP = 3  # unchanged lines within one change
LONE = 16  # letters and digits that a line needs to be a change by itself: "'use strict';" stands in every file


class ChangeReader:
    """Knows the mirrors of an index. `degraded` names what could not be read."""

    def __init__(self, data_dir: Path, sources: Sequence[SourceState]) -> None:
        """Read changes of these sources."""
        self._data_dir = data_dir
        self._locations = {state.name: Path(state.location) for state in sources if state.location}
        self._unreadable = False

    @property
    def degraded(self) -> tuple[str, ...]:
        """`git_unavailable` once a mirror could not be read."""
        return ("git_unavailable",) if self._unreadable else ()

    def added(self, commit: Chunk, path: str) -> frozenset[str]:
        """Return the lines, without indentation, that a commit put into a file; none where that cannot be told."""
        location = self._locations.get(commit.source.removesuffix(HISTORY_SUFFIX))
        if (
            location is None
            or not COMMIT_ID.fullmatch(commit.key or "")
            or len(touched_paths(commit.links)) > MAX_PATHS
        ):
            return frozenset()
        try:
            mirror = find_mirror(location, self._data_dir)
            return read_added(mirror, commit.key or "").get(path, frozenset())
        except (GitError, SourceError):
            self._unreadable = True
            return frozenset()


@lru_cache(maxsize=512)  # a commit does not change
def read_added(mirror: Path, commit: str) -> Mapping[str, frozenset[str]]:
    """Return the telling lines that a commit added, by the path that it gave each file. Raises GitError."""
    shown = run_git(
        "diff-tree", "-r", "-p", "-U3", "-M", "--root", "--no-ext-diff", "--no-textconv", commit, git_dir=mirror
    )
    added: dict[str, set[str]] = {}
    path, kept = "", 0
    for line in shown.split(b"\n"):
        if line.startswith(b"diff --git "):
            path = ""
        elif not path and (header := HEADER.match(line)):
            path = header[1].decode("utf-8", "replace")
        elif path and line.startswith(b"+"):
            text = line[1:].decode("utf-8", "replace").strip()
            if kept < MAX_LINES and sum(c.isalnum() for c in text) >= TELLING:
                kept += 1
                added.setdefault(path, set()).add(text)
    return {name: frozenset(lines) for name, lines in added.items()}


def changed_ranges(chunk: Chunk, added: frozenset[str]) -> list[tuple[int, int]]:
    """Return the ranges of a chunk's lines that a commit put there and that are still there, those with most first."""
    ranges: list[tuple[int, int, int, int]] = []  # lines found, first, last, letters and digits of them
    for number, line in enumerate(chunk.text.split("\n"), chunk.start_line):
        if line.strip() not in added:
            continue
        said = sum(c.isalnum() for c in line)
        if ranges and number - ranges[-1][2] <= GAP:
            count, first, _, before = ranges[-1]
            ranges[-1] = (count + 1, first, number, before + said)
        else:
            ranges.append((1, number, number, said))
    telling = [found for found in ranges if found[3] >= LONE]
    return [(first, last) for _, first, last, _ in sorted(telling, key=lambda item: (-item[0], item[1]))]
