"""In which order files are read: what somebody is at work on or will most likely ask about comes first."""

from __future__ import annotations

from collections.abc import Iterable

from ingest.languages import path_role
from ingest.model import Entry

ROLE_RANK = {"source": 0, "config": 1, "docs": 1, "compat": 1, "example": 2, "test": 2, "generated": 3, "vendored": 3}


def by_importance(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries sorted: uncommitted work, then source before tests before generated, then near the root.

    Equals stay as they were: files by path, commits from the newest on, hundreds of which are read at once.
    """
    return sorted(
        entries,
        key=lambda entry: (not entry.uncommitted, ROLE_RANK[path_role(entry.path)], entry.path.count("/")),
    )
