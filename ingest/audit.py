"""The audit trail: every build with who, what and why, in the hash chain of control.db; read and checked from here."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.errors import IndexEmpty
from ingest.index import control
from ingest.index.control import AuditEntry, AuditRow


@dataclass(frozen=True, slots=True)
class SourceChange:
    """What one source contributed to a build. `skipped`: reason -> files."""

    name: str
    revision: str
    new: int
    changed: int
    deleted: int
    unchanged: int
    failed: int
    skipped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """One build as the audit trail keeps it; the files themselves have rows of their own."""

    trigger: str
    actor: str
    result: str  # published | partial | unchanged | failed
    reason: str  # why it failed
    sources: Sequence[SourceChange]
    left_out: Mapping[str, str]  # source -> why it could not be read; it stays as it was
    redactions: Mapping[str, int]
    duration_s: float

    def to_json(self) -> str:
        """Return the record as the detail of an audit row."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the chain holds. `head` is the hash of its last row: noted elsewhere, it shows a trail that was cut.

    `unrecorded`: a generation that is published while no row says so, None where there is none.
    """

    rows: int
    head: str
    broken_row: int | None
    has_expected: bool = True
    unrecorded: int | None = None

    @property
    def holds(self) -> bool:
        """Tell whether nothing was changed or removed, as far as the trail itself shows."""
        return self.broken_row is None and self.unrecorded is None


def describe_actor() -> str:
    """Return who runs this process: user, machine, process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a password entry
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


def record_failure(data_dir: Path, record: BuildRecord, now: str) -> None:
    """Append a build that published nothing. Raises DiskFull, IndexCorrupt, WriterBusy when it cannot be written."""
    with control.translated(data_dir / control.CONTROL):
        db = control.connect(data_dir, create=True)
        try:
            db.execute("BEGIN IMMEDIATE")
            control.append_audit(db, now, None, [AuditEntry("build", detail=record.to_json())])
            db.execute("COMMIT")
        finally:
            db.close()


def show(data_dir: Path, path: str = "", limit: int = 100) -> list[AuditRow]:
    """Return the newest rows of one document, or those of no single one: builds, roll backs, sources that went.

    Raises IndexEmpty before the first build.
    """
    _require(data_dir)
    db = control.connect(data_dir)
    try:
        return control.read_audit(db, path, limit) if path else _read_events(db, limit)
    finally:
        db.close()


def _read_events(db: sqlite3.Connection, limit: int) -> list[AuditRow]:
    rows = db.execute(
        "SELECT seq, at, generation, event, source, path, detail FROM audit"
        " WHERE path = '' AND event <> 'published' ORDER BY seq DESC LIMIT ?",  # the row of its build says that too
        (limit,),
    )
    return [AuditRow(*row) for row in rows]


def verify(data_dir: Path, expected: str = "") -> Verdict:
    """Recompute the hash chain, and look for a hash that it had before. Raises IndexEmpty before the first build."""
    _require(data_dir)
    db = control.connect(data_dir)
    try:
        rows, head = db.execute("SELECT count(*), coalesce(max(seq), 0) FROM audit").fetchone()
        last = db.execute("SELECT hash FROM audit WHERE seq = ?", (head,)).fetchone()
        held = not expected or db.execute("SELECT 1 FROM audit WHERE hash = ?", (expected,)).fetchone() is not None
        broken = control.broken_audit_row(db)
        return Verdict(int(rows), str(last[0]) if last else "", broken, held, _find_unrecorded(db))
    finally:
        db.close()


def _find_unrecorded(db: sqlite3.Connection) -> int | None:
    """Return the oldest kept generation of which no row says that it was published."""
    recorded = "SELECT generation FROM audit WHERE event = 'published'"
    found = db.execute(f"SELECT min(id) FROM generation WHERE state = 'published' AND id NOT IN ({recorded})")
    number = found.fetchone()[0]
    return None if number is None else int(number)


def _require(data_dir: Path) -> None:
    if not control.is_created(data_dir):
        raise IndexEmpty(f"There is no audit trail in {data_dir} yet: nothing was indexed. Run `codecairn index`.")
