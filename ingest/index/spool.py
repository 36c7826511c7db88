"""What a live connector has fetched so far, in one SQLite file per source: tickets, comments and how far it got.

Every page is one transaction with the cursor that it leads to, so a killed run goes on where it stopped. What is stored
has been redacted and has pseudonyms instead of names; tokens are never stored.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import SourceError
from ingest.index.control import translated

FOLDER = "connectors"
TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ticket(
    key TEXT PRIMARY KEY, data BLOB NOT NULL, updated_at TEXT NOT NULL, sweep INTEGER NOT NULL,
    hash TEXT NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS comment(
    ticket TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, sweep INTEGER NOT NULL,
    PRIMARY KEY(ticket, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fault(path TEXT PRIMARY KEY, detail TEXT NOT NULL, sweep INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class SyncState:
    """How current a connector's tickets are. Times are ISO 8601 UTC, "" = never.

    `synced_at`: when everything that the tracker had was fetched. `stale_since`: since when runs have failed to get
    there, and `reason` why. `resume_at`: no request is sent before (rate limit).
    """

    synced_at: str = ""
    stale_since: str = ""
    reason: str = ""
    resume_at: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A stored ticket with its comments, each in packed form."""

    key: str
    data: bytes
    comments: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What one request brought: packed tickets by key with their time of change, comments by ticket and id, faults."""

    tickets: Mapping[str, tuple[bytes, str]]
    comments: Mapping[tuple[str, str], bytes]
    faults: Mapping[str, str]


def spool_path(data_dir: Path, source: str) -> Path:
    """Return where a source's spool lies."""
    return data_dir / FOLDER / f"{source}.db"


class Spool:
    """One source's spool. Only the holder of the writer lock writes. `digest` hashes a whole ticket."""

    def __init__(self, data_dir: Path, source: str, origin: str, digest: Callable[[Row], tuple[str, int]]) -> None:
        """Open or create it. What came from another origin (address, repository) is dropped."""
        self.path = spool_path(data_dir, source)
        self._digest = digest
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.executescript(TABLES)
            if self._meta(db).get("origin", origin) != origin:
                for table in ("meta", "ticket", "comment", "fault"):
                    db.execute(f"DELETE FROM {table}")
            self._set(db, {"origin": origin})

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in one transaction."""
        with translated(self.path), closing(sqlite3.connect(self.path, timeout=30)) as db:
            db.execute("PRAGMA synchronous = FULL")
            with db:
                yield db

    @staticmethod
    def _meta(db: sqlite3.Connection) -> dict[str, str]:
        return dict(db.execute("SELECT key, value FROM meta").fetchall())

    @staticmethod
    def _set(db: sqlite3.Connection, values: Mapping[str, str]) -> None:
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def meta(self) -> dict[str, str]:
        """Return cursors, entity tags and state."""
        with self._open() as db:
            return self._meta(db)

    def set_meta(self, values: Mapping[str, str]) -> None:
        """Store some of them, all or none."""
        with self._open() as db:
            self._set(db, values)

    def store(self, page: Page, sweep: int, values: Mapping[str, str]) -> None:
        """Store a page and the cursor that it leads to, all or none."""
        with self._open() as db:
            db.executemany(
                "INSERT INTO ticket VALUES (?, ?, ?, ?, '', 0) ON CONFLICT(key) DO UPDATE SET "
                "data = excluded.data, updated_at = excluded.updated_at, sweep = excluded.sweep "
                "WHERE excluded.updated_at >= ticket.updated_at",
                [(key, data, updated_at, sweep) for key, (data, updated_at) in page.tickets.items()],
            )
            db.executemany("UPDATE ticket SET sweep = ? WHERE key = ?", [(sweep, key) for key in page.tickets])
            db.executemany(
                "INSERT OR REPLACE INTO comment VALUES (?, ?, ?, ?)",
                [(ticket, number, data, sweep) for (ticket, number), data in page.comments.items()],
            )
            db.executemany("INSERT OR REPLACE INTO fault VALUES (?, ?, ?)", [(*f, sweep) for f in page.faults.items()])
            self._rehash(db, {*page.tickets, *(ticket for ticket, _ in page.comments)})
            self._set(db, values)

    def sweep_out(self, sweep: int, values: Mapping[str, str]) -> None:
        """Remove what a complete listing no longer had."""
        with self._open() as db:
            touched = {row[0] for row in db.execute("SELECT ticket FROM comment WHERE sweep < ?", (sweep,))}
            for table in ("ticket", "comment", "fault"):
                db.execute(f"DELETE FROM {table} WHERE sweep < ?", (sweep,))
            self._rehash(db, touched)
            self._set(db, values)

    def _rehash(self, db: sqlite3.Connection, keys: Iterable[str]) -> None:
        for row in self._read(db, sorted(keys)):
            db.execute("UPDATE ticket SET hash = ?, size = ? WHERE key = ?", (*self._digest(row), row.key))

    @staticmethod
    def _read(db: sqlite3.Connection, keys: Sequence[str]) -> Iterator[Row]:
        for key in keys:
            found = db.execute("SELECT data FROM ticket WHERE key = ?", (key,)).fetchone()
            if found:
                said = db.execute(
                    "SELECT data FROM comment WHERE ticket = ? ORDER BY length(id), id", (key,)
                ).fetchall()
                yield Row(key, found[0], tuple(data for (data,) in said))

    def read(self, keys: Sequence[str]) -> list[Row]:
        """Return those tickets that are there."""
        with self._open() as db:
            return list(self._read(db, keys))

    def hashes(self) -> list[tuple[str, str, int]]:
        """Return key, hash and size of every ticket, in key order."""
        with self._open() as db:
            return db.execute("SELECT key, hash, size FROM ticket ORDER BY key").fetchall()

    def faults(self) -> list[tuple[str, str]]:
        """Return the records that could not be read, with the reason."""
        with self._open() as db:
            return db.execute("SELECT path, detail FROM fault ORDER BY path").fetchall()


def read_sync_state(data_dir: Path, source: str) -> SyncState | None:
    """Return how current a connector's tickets are, None for a source without one. Raises SourceError if damaged."""
    path = spool_path(data_dir, source)
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            return sync_state(dict(db.execute("SELECT key, value FROM meta").fetchall()))
    except sqlite3.Error as error:
        raise SourceError(
            f"{path} cannot be read ({error}). Remove it; the next `codecairn index` makes it anew."
        ) from error


def sync_state(meta: Mapping[str, str]) -> SyncState:
    """Return the state that the values of a spool stand for."""
    return SyncState(*(meta.get(name, "") for name in ("synced_at", "stale_since", "reason", "resume_at")))


def remove_spools(data_dir: Path, keep: Iterable[str]) -> None:
    """Remove the spools of sources that are no longer configured."""
    kept = {spool_path(data_dir, source).name for source in keep}
    for path in (data_dir / FOLDER).glob("*.db"):
        if path.name not in kept:
            path.unlink()
