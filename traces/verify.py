"""Whether a trace is what was written: its hashes are computed anew, its blobs opened, its stages counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from traces.blobs import hash_bytes
from traces.draft import hash_row, rehash
from traces.errors import TraceStoreError
from traces.model import CONTENT_FULL, Trace
from traces.packing import open_content

# Stages without which a query that ended well has not been recorded. `mode = "all"` has the text search alone.
NEEDED = {"search_code": ("freshness",), "answer": ("route", "respond")}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, with a trace or a blob."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What `trace verify` looked at and found."""

    traces: int
    thinned: int
    blobs: int
    faults: tuple[Fault, ...]


def find_blob_faults(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Open every blob and compute its hash anew."""
    for row in connection.execute("SELECT hash, kind, data FROM blob"):
        try:
            changed = hash_bytes(open_content(connection, row["data"])) != row["hash"]
        except TraceStoreError as error:
            yield Fault(f"blob {row['hash']} ({row['kind']})", str(error))
            continue
        if changed:
            yield Fault(f"blob {row['hash']} ({row['kind']})", "its content does not fit its hash: it was changed")


def find_faults(trace: Trace, row_hash_when_thinned: str | None = None) -> Iterator[Fault]:
    """Yield what is wrong with one trace; a thinned one is compared by what is left of it."""
    if trace.thinned_at is not None:
        if hash_row(trace.summary, trace.acl, trace.content_hash) != row_hash_when_thinned:
            yield Fault(trace.summary.id, "the row was changed after it was thinned")
        return
    if rehash(trace) != trace.hash:
        yield Fault(trace.summary.id, "row, stages or chunks were changed: the hash does not fit")
    for missing in trace.missing:
        yield Fault(trace.summary.id, f"blob {missing} is missing")
    yield from _missing_stages(trace)


def _missing_stages(trace: Trace) -> Iterator[Fault]:
    row = trace.summary
    is_smalltalk = row.route == "smalltalk"
    if row.error_type is not None or row.content != CONTENT_FULL or row.kind == "replay" or is_smalltalk:
        return
    names = {span.name for span in trace.spans}
    if row.cached:
        return
    for name in NEEDED.get(row.tool, ()):
        if name not in names:
            yield Fault(row.id, f"stage {name} is missing: the record is not complete")
