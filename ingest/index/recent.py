"""What the newest segments of the text index hold, so that their documents can be written again together.

The engine merges segments of less than some 16,800 documents as soon as there are eight of them, the one large segment
of a usual repository among them, so that every seventh change of one file waited for most of a second. It takes no
other policy. So the documents of the newest segments are kept beside them as they were given to the engine, and are
written again into one segment before there are eight: a segment without documents goes, and the large one stays.
"""

from __future__ import annotations

import json
import os
from dataclasses import astuple, dataclass, field
from pathlib import Path

RECENT_FILE = "recent.jsonl"
ENGINE_FILE = "meta.json"  # the engine's own list of its segments
MAX_RECENT = 300  # documents; writing them again takes some 40 ms. With more, all of them stay where they are
MAX_SEGMENTS = 7  # the engine merges at eight
MAX_DEAD = 0.2  # share of deleted documents from which on a merge is worth its time


@dataclass(frozen=True, slots=True)
class Record:
    """One document of the text index, as it is given to the engine."""

    id: int
    source: str
    file: str  # see names.file_term
    texts: tuple[tuple[str, str], ...]
    tails: tuple[str, ...]  # of its path; only the first chunk of a document has them
    stored: bytes


@dataclass(slots=True)
class Recent:
    """The documents of the newest segments; none where they became too many or stand in an older version's index."""

    records: dict[int, Record] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)  # as they are written, of those that were written before
    is_full: bool = False

    def add(self, record: Record) -> None:
        """Take a document that was added."""
        if not self.is_full:
            self.records[record.id] = record
            self.lines.pop(record.id, None)
        if len(self.records) > MAX_RECENT:
            self.records, self.is_full = {}, True

    def delete_file(self, file: str) -> None:
        """Forget the documents of one entry."""
        self.records = {key: record for key, record in self.records.items() if record.file != file}

    def delete_source(self, source: str) -> None:
        """Forget the documents of one source."""
        self.records = {key: record for key, record in self.records.items() if record.source != source}

    def write(self, folder: Path) -> None:
        """Write what is known beside the segments. The file there before belongs to other generations too."""
        self.lines = {key: self.lines.get(key) or _to_line(record) for key, record in self.records.items()}
        new = folder / f"{RECENT_FILE}.new"
        new.write_text("\n".join(self.lines.values()), "ascii")
        os.replace(new, folder / RECENT_FILE)
        _KEPT[_identity(folder / RECENT_FILE)] = self
        while len(_KEPT) > KEPT_FILES:
            del _KEPT[next(iter(_KEPT))]


KEPT_FILES = 4  # of the indexes that one process writes
# What this process wrote last, by the file that holds it: reading 300 documents takes up to a tenth of a small change.
# The clone that the next delta is applied to has the very same file, by a hard link.
_KEPT: dict[tuple[int, ...], Recent] = {}


def _identity(file: Path) -> tuple[int, ...]:
    stat = file.stat()
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def read_recent(folder: Path) -> Recent:
    """Return what stands beside the segments. What is damaged is not known: those documents stay where they are."""
    try:
        kept = _KEPT.get(_identity(folder / RECENT_FILE))
        if kept is not None:
            return Recent(dict(kept.records), dict(kept.lines))
        lines = (folder / RECENT_FILE).read_text("ascii").splitlines()
        records = [_read_record(*json.loads(line)) for line in lines]
    except (FileNotFoundError, ValueError, TypeError):
        return Recent()
    return Recent({one.id: one for one in records}, {one.id: line for one, line in zip(records, lines, strict=True)})


def _to_line(record: Record) -> str:
    return json.dumps([*astuple(record)[:-1], record.stored.decode("latin-1")])


def _read_record(key: int, source: str, file: str, texts: list[list[str]], tails: list[str], stored: str) -> Record:
    pairs = tuple((name, text) for name, text in texts)
    return Record(key, source, file, pairs, tuple(tails), stored.encode("latin-1"))


def is_scattered(folder: Path) -> bool:
    """Tell whether one more segment would be one too many; not where a merge has much to clear away."""
    segments = json.loads((folder / ENGINE_FILE).read_text("utf-8"))["segments"]
    held = sum(segment["max_doc"] for segment in segments)
    dead = sum((segment["deletes"] or {}).get("num_deleted_docs", 0) for segment in segments)
    return len(segments) >= MAX_SEGMENTS and dead <= MAX_DEAD * held
