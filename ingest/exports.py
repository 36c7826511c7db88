"""What lies at the place of a ticket source, as one value: its revision, and whether it is still the same."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ingest.errors import SourceError
from ingest.gitio import open_worktree_file

MAX_FILES = 20_000  # a larger folder has no revision: its tickets are read again each time and never called fresh
BLOCK_BYTES = 1 << 20
PASSED_OVER = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox"})


def exports_revision(location: Path) -> str:
    """Return a hash over names and contents of every file at a location (a file or a folder); "" on any doubt.

    A file is read again only when its stamp changes.
    """
    try:
        files = list(_walk(location, "")) if location.is_dir() else [location.name]
        root = location if location.is_dir() else location.parent
        if not files or len(files) > MAX_FILES:
            return ""
        digest = hashlib.blake2b(digest_size=8)
        for path in files:
            status = os.stat(root / path, follow_symlinks=False)
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            digest.update(f"{path}\x00{_hash_file(str(root), path, stamp)}\x00".encode("utf-8", "surrogateescape"))
    except (OSError, SourceError):
        return ""
    return digest.hexdigest()


def _walk(root: Path, folder: str) -> Iterator[str]:
    for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
        path = f"{folder}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in PASSED_OVER:
                yield from _walk(root, f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            yield path


@lru_cache(maxsize=2 * MAX_FILES)
def _hash_file(root: str, path: str, stamp: tuple[int, ...]) -> str:
    """Return the hash of one file. The stamp is the cache's key."""
    fd = open_worktree_file(Path(root), path)
    digest = hashlib.sha256()
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SourceError(f"{path!r} below {root} is no regular file, so it is not read.")
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
