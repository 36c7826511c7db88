"""Ticket sources: exports of trackers, folders of ticket files, changelog fragments. One entry per ticket.

An export is read twice, each time in a stream: once to see which tickets there are and which of them changed, and once
to index those that did.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.exports import exports_revision
from ingest.gitio import open_worktree_file
from ingest.model import Document, Entry, KnownFile, Rename, Skip, SourceInfo
from ingest.sources.files import hash_entries
from ingest.sources.ignore import root_scope
from ingest.sources.tickets.fields import parse_record
from ingest.sources.tickets.records import STRAY, Fault, stream_records
from ingest.sources.tickets.tables import stream_rows
from ingest.sources.tickets.texts import TEXT_SUFFIXES, fragment_of, parse_fragment, parse_text
from ingest.sources.tickets.ticket import TICKET_VERSION, Ticket, pack_ticket, ticket_document, unpack_ticket
from ingest.sources.worktree import FoundFile, find_file, hash_bytes, walk_folder

EXPORT_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
MAX_TEXT_BYTES = 1_000_000  # of a ticket that is a file of its own
KEPT_BYTES = 32 << 20  # changed tickets that are kept from the first reading, so that few need the second
SNIFF_BYTES = 8_192
SCANS = "tickets"  # folder of the data directory with what the last reading found
WHAT_IS_READ = (
    "Expected: GitHub, GitLab, Jira or Linear tickets as JSON (a list, one object per line, or a page of results), a "
    "CSV export of Jira, Linear or GitLab, a folder of Markdown or YAML tickets, or of changelog fragments "
    "(`123.bugfix.rst`). For GitHub: `gh issue list --state all --limit 10000 --json number,title,body,state,"
    "stateReason,labels,assignees,author,comments,createdAt,updatedAt,closedAt,url > issues.json`."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ticket stands: the record of a file, counted from 0."""

    file: str
    number: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What a reading of all files found."""

    entries: tuple[Entry, ...]
    places: Mapping[str, Place]
    skips: tuple[Skip, ...]
    kept: dict[str, bytes]


@dataclass(slots=True)
class TicketSnapshot:
    """The tickets of one source. An entry's path is the ticket's key; a changelog fragment's is its file."""

    info: SourceInfo
    revision: str
    location: str
    entries: tuple[Entry, ...]
    skipped: tuple[Skip, ...]
    root: Path
    places: Mapping[str, Place]
    kept: dict[str, bytes] = field(default_factory=dict)
    renames: tuple[Rename, ...] = ()
    may_shrink: bool = False
    _reading: tuple[str, int, Iterator[Ticket | Fault]] | None = None

    def read(self, entry: Entry) -> bytes:
        """Return a packed ticket. Raises SourceError if the file changed since the snapshot. Quickest in order."""
        data = self.kept.pop(entry.path, None) or pack_ticket(self._find(entry.path))
        if hash_bytes(data) != entry.content_hash:
            raise SourceError(f"Ticket {entry.path} changed while it was being indexed; the next run takes it up.")
        return data

    def _find(self, path: str) -> Ticket:
        place = self.places.get(path)
        if place is None:
            raise SourceError(f"Ticket {path} is no longer in {self.location}.")
        if self._reading is None or self._reading[0] != place.file or self._reading[1] > place.number:
            self._reading = (place.file, 0, read_tickets(self.root, place.file, self.info.name))
        file, at, tickets = self._reading
        for number, found in enumerate(tickets, at):
            if number == place.number:
                self._reading = (file, number + 1, tickets)
                if isinstance(found, Ticket):
                    return found
                break
        self._reading = None
        raise SourceError(f"{place.file} changed while it was being indexed; the next run takes it up.")

    def documents(self, entry: Entry, data: bytes) -> Iterator[Document]:
        """Yield the one document of a ticket."""
        yield ticket_document(self.info, self.revision, entry, unpack_ticket(data))


def open_tickets(
    config: SourceConfig, info: SourceInfo, *, data_dir: Path, known: Mapping[str, KnownFile]
) -> TicketSnapshot:
    """Return the tickets of a source. Raises SourceError if there is none, so that the last good ones stay."""
    root = config.path if config.path.is_dir() else config.path.parent
    revision = exports_revision(config.path)
    memory = data_dir / SCANS / f"{info.name}.json"
    stamp = [TICKET_VERSION, revision, str(config.path), list(config.include), list(config.exclude)]
    scan = recall_scan(memory, stamp, known) if revision else None
    if scan is None:
        files, skips = find_files(config, data_dir)
        scan = scan_files(root, files, skips, info.name, known)
        if not scan.entries:
            reason = next((f" {skip.path}: {skip.detail}." for skip in scan.skips if skip.detail), "")
            raise SourceError(f"No ticket at {config.path}.{reason} {WHAT_IS_READ}")
        remember_scan(memory, stamp, scan)
    return TicketSnapshot(
        info=info,
        revision=revision or hash_entries(scan.entries),
        location=str(config.path),
        entries=scan.entries,
        skipped=scan.skips,
        root=root,
        places=scan.places,
        kept=scan.kept,
    )


# -- which files -------------------------------------------------------------------------------------------------------


def find_files(config: SourceConfig, data_dir: Path) -> tuple[list[str], list[Skip]]:
    """Return the one file that the source names, or those of its folder that may hold tickets."""
    if config.path.is_dir():
        walk = walk_folder(config.path, root_scope(config.include, config.exclude), avoid=data_dir)
        files = sorted(found.path for found in walk.files if may_hold_tickets(found.path))
        return files, [skip for skip in walk.skips if skip.path.endswith("/") or may_hold_tickets(skip.path)]
    found = find_file(config.path.parent, config.path.name)
    if found is None:
        raise SourceError(f"The ticket export {config.path} does not exist. Correct `path`. {WHAT_IS_READ}")
    return ([found.path], []) if isinstance(found, FoundFile) else ([], [found])


def may_hold_tickets(path: str) -> bool:
    """Say whether a file of a folder is looked at."""
    name = path.rpartition("/")[2]
    return name.lower().endswith((*EXPORT_SUFFIXES, *TEXT_SUFFIXES)) or fragment_of(name) is not None


# -- reading -----------------------------------------------------------------------------------------------------------


def read_tickets(root: Path, path: str, source: str) -> Iterator[Ticket | Fault]:
    """Yield the tickets of one file, a Fault in the place of each that cannot be read. Raises SourceError."""
    name = path.rpartition("/")[2]
    parse = parse_fragment if fragment_of(name) else parse_text if name.lower().endswith(TEXT_SUFFIXES) else None
    with open_text(root, path) as stream:
        if parse is None:
            yield from _read_export(stream, source)
            return
        text = stream.read(MAX_TEXT_BYTES + 1)
        if len(text) > MAX_TEXT_BYTES:
            yield Fault("bad_record", f"longer than {MAX_TEXT_BYTES} characters")
        else:
            yield from parse(name, text, source)


def _read_export(stream: TextIO, source: str) -> Iterator[Ticket | Fault]:
    """Tell JSON from a table by how it begins."""
    head = stream.read(SNIFF_BYTES)
    stream.seek(0)
    if head.lstrip("\ufeff \t\r\n")[:1] not in ("[", "{"):
        yield from stream_rows(stream, source)
        return
    for record in stream_records(stream):
        yield record if isinstance(record, Fault) else _parse(record, source)


def _parse(record: dict[str, object], source: str) -> Ticket | Fault:
    try:
        return parse_record(record, source) or Fault("bad_record", "no ticket: it has no number or key, or no title")
    except (TypeError, ValueError, RecursionError) as error:  # strange values in a place where others have text
        return Fault("bad_record", f"a value of a type that no tracker has there ({type(error).__name__})")


def open_text(root: Path, path: str) -> TextIO:
    """Return a file as a text stream: UTF-16 where it says so, else UTF-8 with stray bytes of Windows-1252."""
    file = open(open_worktree_file(root, path), "rb")
    head = file.read(SNIFF_BYTES)
    file.seek(0)
    is_utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\x00" in head and not is_utf16:
        file.close()
        raise SourceError(f"{path} is no text. {WHAT_IS_READ}")
    if is_utf16:
        return io.TextIOWrapper(file, "utf-16", errors="replace", newline="")
    return io.TextIOWrapper(file, "utf-8-sig", errors=STRAY, newline="")


# -- which tickets -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Candidate:
    place: Place
    entry: Entry
    updated_at: str
    url: str


def scan_files(
    root: Path, files: Sequence[str], skips: Iterable[Skip], source: str, known: Mapping[str, KnownFile]
) -> Scan:
    """Read every file once. Of several records of one ticket the newest counts; what a cut file lacks stays."""
    found: dict[str, _Candidate] = {}
    left_out = list(skips)
    kept: dict[str, bytes] = {}
    room = KEPT_BYTES
    for file in files:
        faults: list[Skip] = []
        count = 0
        for number, ticket in enumerate(_safely(root, file, source)):
            if isinstance(ticket, Fault):
                faults.append(Skip(f"{file}:{number + 1}", ticket.reason, ticket.detail))
                continue
            count += 1
            data = pack_ticket(ticket)
            path = file if fragment_of(file.rpartition("/")[2]) else ticket.key
            entry = Entry(path, hash_bytes(data), len(data))
            new = _Candidate(Place(file, number), entry, ticket.updated_at, ticket.url)
            old = found.get(path)
            if old is not None:
                left_out.append(_refuse_double(source, new, old))
                if new.updated_at < old.updated_at:
                    continue
            found[path] = new
            before = known.get(path)
            if room > 0 and (before is None or before.content_hash != entry.content_hash):
                kept[path] = data
                room -= len(data)
            else:
                kept.pop(path, None)
        left_out += faults if count or not faults else [_describe_foreign(file, faults)]
    entries = [candidate.entry for candidate in found.values()]
    if any(skip.reason == "truncated" for skip in left_out):
        entries += [
            Entry(path, file.content_hash, file.size, file.stamp, file.blob)
            for path, file in known.items()
            if path not in found and file.content_hash
        ]
    places = {path: candidate.place for path, candidate in found.items()}
    return Scan(tuple(entries), places, tuple(sorted(left_out, key=lambda skip: (skip.path, skip.reason))), kept)


def _safely(root: Path, file: str, source: str) -> Iterator[Ticket | Fault]:
    """Yield what a file holds; that it cannot be read at all is one fault more."""
    try:
        yield from read_tickets(root, file, source)
    except (SourceError, OSError, UnicodeError) as error:
        yield Fault("bad_record", str(error))


def _refuse_double(source: str, new: _Candidate, old: _Candidate) -> Skip:
    """Return the skip of the older of two records. Raises SourceError where they are tickets of two trackers."""
    older = old if new.updated_at >= old.updated_at else new
    if new.url and old.url and _tracker(new.url) != _tracker(old.url):
        raise SourceError(
            f"Two tickets of source {source} are called {new.entry.path}: {old.url} ({old.place.file}) and {new.url} "
            f"({new.place.file}). Configure the exports of two trackers as two sources."
        )
    return Skip(f"{older.place.file}:{older.place.number + 1}", "duplicate", f"{new.entry.path} occurs again, newer")


def _tracker(url: str) -> str:
    """Return what the addresses of all tickets of one tracker begin with; pulls and issues share their numbers."""
    return url.rstrip("/").rpartition("/")[0].removesuffix("/pull").removesuffix("/issues").removesuffix("/pulls")


def _describe_foreign(file: str, faults: Sequence[Skip]) -> Skip:
    """Return one skip for a file without any ticket, instead of one for each of its records."""
    cut = next((fault for fault in faults if fault.reason == "truncated"), None)
    return replace(cut, path=file) if cut else Skip(file, "no_ticket", faults[0].detail)


# -- between two runs --------------------------------------------------------------------------------------------------


def recall_scan(memory: Path, stamp: Sequence[object], known: Mapping[str, KnownFile]) -> Scan | None:
    """Return the last scan, if nothing moved since and the index holds what it found; else None."""
    try:
        record = json.loads(memory.read_bytes())
        paths, was = record["paths"], record["stamp"]
        skips = tuple(Skip(*skip) for skip in record["skips"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none yet, or it is damaged: the files are read
    if was != list(stamp) or len(paths) != len(known) or not all(path in known for path in paths):
        return None
    entries = tuple(Entry(path, known[path].content_hash, known[path].size) for path in paths)
    return Scan(entries, {}, skips, {}) if hash_entries(entries) == record["entries"] else None


def remember_scan(memory: Path, stamp: Sequence[object], scan: Scan) -> None:
    """Write what a scan found, whole or not at all. It holds keys and reasons, no content."""
    record = {
        "stamp": list(stamp),
        "entries": hash_entries(scan.entries),
        "paths": [entry.path for entry in scan.entries],
        "skips": [(skip.path, skip.reason, skip.detail) for skip in scan.skips],
    }
    memory.parent.mkdir(parents=True, exist_ok=True)
    draft = memory.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(record), "utf-8")
    draft.replace(memory)
