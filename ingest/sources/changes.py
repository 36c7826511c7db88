"""Take stock of a folder of which only a few files changed, without a walk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ingest.model import KnownFile, Skip
from ingest.sources.ignore import RULE_FILES
from ingest.sources.worktree import FoundFile, Walk, find_file

MAX_CHANGES = 20  # a storm of events may have lost some, and a walk is as quick then


@dataclass(frozen=True, slots=True)
class Changes:
    """Every path (absolute) below a source that changed since its parent generation, and what that one left out."""

    paths: frozenset[str]
    skips: tuple[Skip, ...]


def walk_changes(root: Path, known: Mapping[str, KnownFile], changes: Changes | None) -> Walk | None:
    """Return what a walk would find. None = walk: a file came or went, a rule may have changed, or too much did.

    Files that did not change keep the stamp that the parent knows.
    """
    if changes is None or len(changes.paths) > MAX_CHANGES:
        return None
    files = {path: FoundFile(path, file.size, file.stamp, 0) for path, file in known.items() if file.content_hash}
    if len(files) < len(known):  # some are to be read again
        return None
    prefix = os.path.join(os.path.abspath(root), "")
    looked_at = set()
    for absolute in changes.paths:
        if not absolute.startswith(prefix):
            continue
        path = absolute[len(prefix) :]
        found = find_file(root, path)
        if found is None and path not in files and not any(name.startswith(f"{path}/") for name in files):
            continue  # came and went, as what an editor writes beside the file
        if path not in files or not isinstance(found, FoundFile) or _steers(path):
            return None
        files[path] = found
        looked_at.add(path)
    return Walk(list(files.values()), [skip for skip in changes.skips if skip.path not in looked_at])


def _steers(path: str) -> bool:
    """Say whether a file's content decides about other files."""
    return path.rpartition("/")[2] in RULE_FILES
