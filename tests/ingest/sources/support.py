"""Real repositories on tmp_path, made with the plain git command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ingest.config import IndexConfig, SourceConfig
from ingest.model import Entry, KnownFile, Snapshot
from ingest.sources.opening import open_snapshots

PLAIN = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-03-04T05:06:07+02:00",
    "GIT_COMMITTER_DATE": "2026-03-04T05:06:07+02:00",
    "GIT_TERMINAL_PROMPT": "0",
}


def git(folder: Path, *arguments: str, check: bool = True, stdin: str = "", **environment: str) -> str:
    """Run plain git in a folder and return what it printed."""
    result = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=PLAIN | environment,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=30,
        errors="replace",
    )
    if check and result.returncode:
        raise AssertionError(f"git {arguments}: {result.stderr}")
    return result.stdout.strip()


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files below a folder."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path, message: str = "Change", files: Mapping[str, str | bytes] | None = None) -> str:
    """Write files, commit everything and return the commit id."""
    write(folder, files or {})
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def make_repository(folder: Path, files: Mapping[str, str | bytes] | None = None) -> Path:
    """Make a repository with one commit, or without any if there are no files."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    if files is not None:
        commit(folder, "First", files)
    return folder


def open_all(
    path: Path, data_dir: Path, known: Mapping[str, Mapping[str, KnownFile]] | None = None, **settings: object
) -> list[Snapshot]:
    """Open the snapshots of a source named 's'."""
    previous = settings.pop("previous", "")
    limits = IndexConfig(max_file_bytes=settings.pop("max_file_bytes", 1_000_000))
    config = SourceConfig.model_validate({"name": "s", "type": "git", "path": path} | settings)
    return open_snapshots(
        config,
        data_dir=data_dir,
        limits=limits,
        known=lambda name: (known or {}).get(name, {}),
        previous=lambda name: str(previous),
    )


def open_files(path: Path, data_dir: Path, **settings: object) -> Snapshot:
    """Open the first snapshot of a source."""
    return open_all(path, data_dir, **settings)[0]


def remember(snapshot: Snapshot) -> dict[str, KnownFile]:
    """Return what an index would know after indexing a snapshot."""
    return {e.path: KnownFile(e.content_hash, e.size, e.stamp, e.blob) for e in snapshot.entries}


def contents(snapshot: Snapshot) -> dict[str, bytes]:
    """Return path -> bytes of everything in a snapshot."""
    return {entry.path: snapshot.read(entry) for entry in snapshot.entries}


def reasons(snapshot: Snapshot) -> dict[str, str]:
    """Return path -> reason of everything that a snapshot leaves out."""
    return {skip.path: skip.reason for skip in snapshot.skipped}


def entry_of(snapshot: Snapshot, path: str) -> Entry:
    """Return one entry by path."""
    return next(entry for entry in snapshot.entries if entry.path == path)
