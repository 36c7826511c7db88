"""A folder of files, taken as it is on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ingest.config import IndexConfig, SourceConfig
from ingest.errors import Changing
from ingest.gitio import FileGone, FolderFound, TooLarge, check_folder, read_worktree_file
from ingest.model import Entry, KnownFile, Skip, SourceInfo
from ingest.sources.changes import Changes, walk_changes
from ingest.sources.files import FileSnapshot, as_renames, find_moves, hash_entries
from ingest.sources.ignore import root_scope
from ingest.sources.worktree import hash_bytes, inspect_file, judge_content, walk_folder


def open_folder(
    config: SourceConfig,
    info: SourceInfo,
    *,
    data_dir: Path,
    limits: IndexConfig,
    known: Mapping[str, KnownFile],
    suffixes: tuple[str, ...] = ("",),
    changes: Changes | None = None,
    judge: Callable[[str, bytes], Skip | None] = judge_content,
    max_bytes: Callable[[str], int] | None = None,
    readable: frozenset[str] = frozenset(),
) -> FileSnapshot:
    """Return a folder as it is now, or its files with certain suffixes. Raises SourceError if it is gone.

    `changes`: where they are known, only they are looked at. `max_bytes` gives another limit than the configured one;
    `readable` names extensions of binary files that are taken.
    """
    root = config.path
    check_folder(root)
    walk = walk_changes(root, known, changes) or walk_folder(
        root, replace(root_scope(config.include, config.exclude), readable=readable), avoid=data_dir
    )
    entries: list[Entry] = []
    for found in (found for found in walk.files if f"/{found.path.lower()}".endswith(suffixes)):
        limit = max_bytes(found.path) if max_bytes else limits.max_file_bytes
        result = inspect_file(root, found, known.get(found.path), limit, judge)
        if isinstance(result, Skip):
            walk.skips.append(result)
        else:
            entries.append(result[0])
    entries.sort(key=lambda entry: entry.path)
    return FileSnapshot(
        info=info,
        revision=hash_entries(entries),
        location=str(root),
        entries=tuple(entries),
        skipped=tuple(sorted(walk.skips, key=lambda skip: (skip.path, skip.reason))),
        load=lambda entry: read_unchanged(root, entry),
        renames=as_renames(find_moves(known, entries)),
    )


def read_unchanged(root: Path, entry: Entry) -> bytes:
    """Return a file's bytes. Raises Changing if they are no longer those of the entry, SourceError."""
    try:
        data = read_worktree_file(root, entry.path, entry.size)
    except (FileGone, FolderFound, TooLarge) as error:
        raise Changing(str(error)) from None
    if hash_bytes(data) != entry.content_hash:
        raise Changing(f"{entry.path} changed while it was being indexed; the next run takes it up.")
    return data
