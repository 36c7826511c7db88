"""The snapshot of a source that consists of files: a folder, or a git repository."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingest.errors import SourceError
from ingest.languages import detect_language, path_role
from ingest.model import Document, Entry, KnownFile, Rename, Skip, SourceInfo
from ingest.sources.decode import decode_text
from ingest.sources.worktree import SNIFF_BYTES


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """Files of one source at one revision. `load` returns an entry's bytes as they were counted."""

    info: SourceInfo
    revision: str
    location: str
    entries: tuple[Entry, ...]
    skipped: tuple[Skip, ...]
    load: Callable[[Entry], bytes]
    renames: tuple[Rename, ...] = ()
    may_shrink: bool = False

    def read(self, entry: Entry) -> bytes:
        """Bytes of one entry. Raises SourceError if it changed or vanished since the snapshot."""
        return self.load(entry)

    def documents(self, entry: Entry, data: bytes) -> Iterator[Document]:
        """Return the one document of a file."""
        return parse_file(self.info, self.revision, entry, data)


def parse_file(info: SourceInfo, revision: str, entry: Entry, data: bytes) -> Iterator[Document]:
    """Yield the one document of a file. Raises SourceError if it is no text."""
    text, _ = decode_text(data)
    if text is None:
        raise SourceError(f"No encoding fits {entry.path} of source {info.name}. Convert the file to UTF-8.")
    yield Document(
        source=info,
        path=entry.path,
        key=None,
        title=entry.path,
        text=text,
        content_hash=entry.content_hash,
        language=detect_language(entry.path, data[:SNIFF_BYTES]),
        role=path_role(entry.path),
        revision=revision if entry.uncommitted else revision.partition("+")[0],
    )


def hash_entries(entries: Iterable[Entry], gone: Iterable[str] = ()) -> str:
    """Return a short hash over paths and contents, and over the paths that are gone."""
    digest = hashlib.blake2b(digest_size=8)
    for entry in entries:
        digest.update(f"{entry.path}\x00{entry.content_hash}\x00".encode())
    for path in gone:
        digest.update(f"{path}\x00gone\x00".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def find_moves(known: Mapping[str, KnownFile], entries: Sequence[Entry]) -> dict[str, str]:
    """Return old path -> new path for files that vanished while one new file has the very same content."""
    present = {entry.path for entry in entries}
    vanished: dict[str, list[str]] = {}
    for path in sorted(known.keys() - present):
        vanished.setdefault(known[path].content_hash, []).append(path)
    appeared: dict[str, list[str]] = {}
    for entry in entries if vanished else ():
        if entry.path not in known and entry.content_hash in vanished:
            appeared.setdefault(entry.content_hash, []).append(entry.path)
    return {
        paths[0]: appeared[content][0]
        for content, paths in vanished.items()
        if len(paths) == 1 and len(appeared.get(content, ())) == 1
    }


def as_renames(moves: Mapping[str, str]) -> tuple[Rename, ...]:
    """Return moves as values, in the order of the old path."""
    return tuple(Rename(old, new) for old, new in sorted(moves.items()))
