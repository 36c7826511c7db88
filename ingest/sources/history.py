"""The commits of a git source: each one a document with its message and the paths that it touched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest import gitio
from ingest.gitio import Commit, Mirror
from ingest.index.keys import find_design_keys, find_ticket_keys
from ingest.model import (
    COMMIT_KEY_CHARS,
    FILES_HEADING,
    RENAME_LINK,
    Document,
    Entry,
    KnownFile,
    Rename,
    Skip,
    SourceInfo,
)
from ingest.sources.ignore import is_unsafe_path, show_path
from ingest.sources.links import join_links
from ingest.sources.tickets.texts import fragment_of
from ingest.sources.worktree import hash_bytes

MAX_BODY_CHARS = 20_000
MAX_PATHS = 300  # a commit that touches more (a reformat, an import) says nothing about each of them
READ_AHEAD = 500
PEOPLE = re.compile(
    r"^(?:signed-off-by|co-authored-by|reviewed-by|acked-by|tested-by|reported-by|suggested-by|cc):.*\n?",
    re.IGNORECASE | re.MULTILINE,
)
FRAGMENT_FOLDER = re.compile(
    r"(?:^|/)(?:news|newsfragments|changelog|changes|changelog\.d|changes\.d|\.changes)$", re.I
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class HistorySnapshot:
    """The commits that lead to one commit, newest first. An entry's path is the commit id.

    A commit id already is a hash of everything in it, so an entry's content hash is the hash of the id, and a known
    commit costs nothing.
    """

    info: SourceInfo
    revision: str
    location: str
    entries: tuple[Entry, ...]
    mirror: Path
    expected: Sequence[str] = ()  # commits that a build is going to ask for, in order
    skipped: tuple[Skip, ...] = ()
    renames: tuple[Rename, ...] = ()
    may_shrink: bool = False
    ahead: dict[str, bytes] = field(default_factory=dict)

    def read(self, entry: Entry) -> bytes:
        """Return a commit as JSON. Raises GitError if the mirror cannot be read."""
        if entry.path not in self.ahead:
            self.ahead = {commit.id: pack_commit(commit) for commit in self._read_on(entry.path)}
        return self.ahead[entry.path]

    def _read_on(self, commit: str) -> Iterator[Commit]:
        start = self.expected.index(commit) if commit in self.expected else None
        batch = [commit] if start is None else self.expected[start : start + READ_AHEAD]
        return gitio.read_commits(self.mirror, batch)

    def documents(self, entry: Entry, data: bytes) -> Iterator[Document]:
        """Return the one document of a commit."""
        return parse_commit(self.info, self.revision, entry, data)


def open_history(
    info: SourceInfo, mirror: Mirror, location: Path, known: Mapping[str, KnownFile], previous: str = ""
) -> HistorySnapshot:
    """Return the history that leads to the mirror's commit. `previous` is the one that `known` led to.

    Raises GitError.
    """
    commits = gitio.list_commits(mirror.path, mirror.commit, gitio.HISTORY_COMMITS) if mirror.commit else []
    return HistorySnapshot(
        info=info,
        revision=mirror.commit or "",
        location=str(location),
        entries=tuple(_entry_of(commit, known.get(commit)) for commit in commits),
        mirror=mirror.path,
        expected=[commit for commit in commits if commit not in known or not known[commit].content_hash],
        may_shrink=gitio.is_another_commit(previous, mirror) or gitio.is_shallow(mirror.path),
    )


def _entry_of(commit: str, known: KnownFile | None) -> Entry:
    content_hash = known.content_hash if known else ""  # "" = to be read again
    return Entry(commit, content_hash or hash_bytes(commit.encode()), 0, blob=commit)


def pack_commit(commit: Commit) -> bytes:
    """Return a commit as the bytes that parse_commit reads."""
    record = {
        "id": commit.id,
        "authored_at": commit.authored_at,
        "subject": commit.subject,
        "body": commit.body,
        "paths": [_safe(path) for path in commit.paths],
        "renames": [[_safe(old), _safe(new)] for old, new in commit.renames],
    }
    return json.dumps(record, ensure_ascii=False).encode()


def _safe(path: str) -> str:
    return show_path(path) if is_unsafe_path(path) else path


def parse_commit(info: SourceInfo, revision: str, entry: Entry, data: bytes) -> Iterator[Document]:
    """Yield the one document of a commit."""
    commit = json.loads(data)
    message = PEOPLE.sub("", f"{commit['subject']}\n\n{commit['body'][:MAX_BODY_CHARS]}").strip()
    paths = commit["paths"][:MAX_PATHS]
    more = len(commit["paths"]) - len(paths)
    files = FILES_HEADING + "\n".join([*paths, *([f"and {more} more"] if more else [])]) if paths else ""
    fragments = list(dict.fromkeys(filter(None, map(fragment_key, paths))))
    renames = commit["renames"][:MAX_PATHS]
    moved = "\n".join(["\n\nRenamed:", *(f"{old} -> {new}" for old, new in renames)]) if renames else ""
    yield Document(
        source=info,
        path=None,
        key=commit["id"][:COMMIT_KEY_CHARS],
        title=commit["subject"],
        text=f"{message}{files}{moved}\n",
        content_hash=entry.content_hash,
        role="docs",
        revision=commit["id"],
        created_at=format_time(commit["authored_at"]),
        links=join_links(
            find_ticket_keys(message),
            find_design_keys(message),
            fragments if len(fragments) == 1 else (),  # several: a release, which removes them
            paths,
            (f"{RENAME_LINK}{old}" for old, _ in renames),
        ),
    )


def fragment_key(path: str) -> str:
    """Return the ticket of a changelog fragment by its path: '#12' of `news/12.bugfix.rst`, "" for any other file."""
    folder, _, name = path.rpartition("/")
    match = fragment_of(name) if FRAGMENT_FOLDER.search(folder) else None
    return f"#{int(match['issue'])}" if match and match["issue"].isdecimal() else ""


def format_time(seconds: int) -> str:
    """Return seconds since 1970 as ISO 8601 UTC, or "" for a time that no calendar holds."""
    try:
        return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        return ""
