"""The audit trail: every build with who, what and why, in the hash chain of control.db; read and checked from here."""

from __future__ import annotations

import getpass
import json
import os
import socket
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
    """Whether the chain holds. `head` is the hash of its last row: noted elsewhere, it shows a trail that was cut."""

    rows: int
    head: str
    broken_row: int | None
    has_expected: bool = True


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


def show(data_dir: Path, path: str = "", limit: int = 100, event: str = "") -> list[AuditRow]:
    """Return the newest rows, of one path or event where given. Raises IndexEmpty before the first build."""
    _require(data_dir)
    db = control.connect(data_dir)
    try:
        return control.read_audit(db, path, limit, event)
    finally:
        db.close()


def verify(data_dir: Path, expected: str = "") -> Verdict:
    """Recompute the hash chain, and look for a hash that it had before. Raises IndexEmpty before the first build."""
    _require(data_dir)
    db = control.connect(data_dir)
    try:
        rows, head = db.execute("SELECT count(*), coalesce(max(seq), 0) FROM audit").fetchone()
        last = db.execute("SELECT hash FROM audit WHERE seq = ?", (head,)).fetchone()
        held = not expected or db.execute("SELECT 1 FROM audit WHERE hash = ?", (expected,)).fetchone() is not None
        return Verdict(int(rows), str(last[0]) if last else "", control.broken_audit_row(db), held)
    finally:
        db.close()


def _require(data_dir: Path) -> None:
    if not control.is_created(data_dir):
        raise IndexEmpty(f"There is no audit trail in {data_dir} yet: nothing was indexed. Run `codecairn index`.")
