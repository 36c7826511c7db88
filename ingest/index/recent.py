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

RECENT_FILE = "recent.json"
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
    is_full: bool = False

    def add(self, record: Record) -> None:
        """Take a document that was added."""
        if not self.is_full:
            self.records[record.id] = record
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
        new = folder / f"{RECENT_FILE}.new"
        rows = [[*astuple(record)[:-1], record.stored.decode("latin-1")] for record in self.records.values()]
        new.write_text(json.dumps(rows), "ascii")
        os.replace(new, folder / RECENT_FILE)


def read_recent(folder: Path) -> Recent:
    """Return what stands beside the segments."""
    try:
        rows = json.loads((folder / RECENT_FILE).read_text("ascii"))
    except FileNotFoundError:
        return Recent()
    return Recent({row[0]: _read_record(*row) for row in rows})


def _read_record(key: int, source: str, file: str, texts: list[list[str]], tails: list[str], stored: str) -> Record:
    pairs = tuple((name, text) for name, text in texts)
    return Record(key, source, file, pairs, tuple(tails), stored.encode("latin-1"))


def is_scattered(folder: Path) -> bool:
    """Tell whether one more segment would be one too many; not where a merge has much to clear away."""
    segments = json.loads((folder / ENGINE_FILE).read_text("utf-8"))["segments"]
    held = sum(segment["max_doc"] for segment in segments)
    dead = sum((segment["deletes"] or {}).get("num_deleted_docs", 0) for segment in segments)
    return len(segments) >= MAX_SEGMENTS and dead <= MAX_DEAD * held
