"""control.db: the control plane. SQLite in WAL mode, synchronous=FULL; its one commit publishes a generation.

Rows of `file`, `chunk`, `skip` and `rename` are temporal: a row is true in generation g when
`gen_from <= g and (gen_to is null or gen_to > g)`. Publishing n closes what it replaces (`gen_to = n`) and adds rows
with `gen_from = n`, so every retained generation can still be asked what it holds. Rolling back moves the pointer and
nothing else. Only when the next publication starts from an older parent are the rows of the abandoned generations
undone, inside the same transaction that moves the pointer.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.errors import DiskFull, IndexCorrupt, IndexEmpty, IngestError, WriterBusy
from ingest.index.files import is_writable
from ingest.index.lease import WriterLock
from ingest.index.schema import Manifest
from ingest.index.stored import manifest_from_dict, manifest_to_dict
from ingest.model import KnownFile

CONTROL = "control.db"
CONTROL_VERSION = 1
RECORDS = frozenset(("audit", "embedding"))  # what no source holds: the audit trail, and embeddings that were paid for
LIVE = "gen_from <= :g AND (gen_to IS NULL OR gen_to > :g)"
TEMPORAL = ("file", "chunk", "skip", "rename")
ALL_SKIPS = (
    f"SELECT source, path, reason, detail FROM skip WHERE {LIVE} UNION "
    f"SELECT source, path, skip_reason, skip_detail FROM file WHERE skip_reason <> '' AND {LIVE}"
)

TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- state: published, abandoned (rolled back, then forked) or collected
CREATE TABLE IF NOT EXISTS generation(
    id INTEGER PRIMARY KEY, parent INTEGER, state TEXT NOT NULL, manifest TEXT NOT NULL, files_hash TEXT NOT NULL,
    content_hash TEXT NOT NULL, created_at TEXT NOT NULL, trigger TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pointer(
    k INTEGER PRIMARY KEY CHECK (k = 1), gen INTEGER NOT NULL, files_hash TEXT NOT NULL, checksum TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS file(
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, path TEXT NOT NULL, content_hash TEXT NOT NULL, size INTEGER NOT NULL,
    stamp TEXT NOT NULL, blob TEXT NOT NULL, uncommitted INTEGER NOT NULL,
    skip_reason TEXT NOT NULL, skip_detail TEXT NOT NULL, again INTEGER NOT NULL DEFAULT 0,
    gen_from INTEGER NOT NULL, gen_to INTEGER);
CREATE INDEX IF NOT EXISTS file_path ON file(source, path);
CREATE INDEX IF NOT EXISTS file_skip ON file(skip_reason) WHERE skip_reason <> '';
CREATE TABLE IF NOT EXISTS chunk(
    id INTEGER NOT NULL, file INTEGER NOT NULL, digest BLOB NOT NULL, vector_hash BLOB NOT NULL,
    shadowed INTEGER NOT NULL, gen_from INTEGER NOT NULL, gen_to INTEGER);
CREATE INDEX IF NOT EXISTS chunk_file ON chunk(file);
CREATE INDEX IF NOT EXISTS chunk_id ON chunk(id);
CREATE TABLE IF NOT EXISTS skip(
    source TEXT NOT NULL, path TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
    gen_from INTEGER NOT NULL, gen_to INTEGER);
CREATE INDEX IF NOT EXISTS skip_source ON skip(source);
CREATE TABLE IF NOT EXISTS rename(
    source TEXT NOT NULL, old_path TEXT NOT NULL, new_path TEXT NOT NULL, gen_from INTEGER NOT NULL, gen_to INTEGER);
CREATE INDEX IF NOT EXISTS rename_old ON rename(source, old_path);
-- what no kept generation sees is deleted after each publication: only these rows are looked at
CREATE INDEX IF NOT EXISTS file_gone ON file(gen_to) WHERE gen_to IS NOT NULL;
CREATE INDEX IF NOT EXISTS chunk_gone ON chunk(gen_to) WHERE gen_to IS NOT NULL;
CREATE INDEX IF NOT EXISTS skip_gone ON skip(gen_to) WHERE gen_to IS NOT NULL;
CREATE INDEX IF NOT EXISTS rename_gone ON rename(gen_to) WHERE gen_to IS NOT NULL;
-- one row per source; `wanted` counts its events, `indexed` is the count that was taken in: due while they differ
CREATE TABLE IF NOT EXISTS job(
    source TEXT PRIMARY KEY, wanted_head TEXT NOT NULL DEFAULT '', indexed_head TEXT NOT NULL DEFAULT '',
    priority INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
    trigger TEXT NOT NULL DEFAULT '', wanted INTEGER NOT NULL DEFAULT 0, indexed INTEGER NOT NULL DEFAULT 0,
    wanted_at TEXT NOT NULL DEFAULT '', retry_at TEXT NOT NULL DEFAULT '',
    done_at TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
-- entries that could not be prepared: tried again later, given up after some attempts until their content changes
CREATE TABLE IF NOT EXISTS letter(
    source TEXT NOT NULL, path TEXT NOT NULL, content_hash TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
    attempts INTEGER NOT NULL, first_at TEXT NOT NULL, retry_at TEXT NOT NULL,
    PRIMARY KEY(source, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS embedding(
    model TEXT NOT NULL, key TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY(model, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit(
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, generation INTEGER, event TEXT NOT NULL, source TEXT NOT NULL,
    path TEXT NOT NULL, detail TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS audit_path ON audit(path);
CREATE TRIGGER IF NOT EXISTS audit_no_update BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_no_delete BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
"""
VERSION_ROW = f"INSERT OR IGNORE INTO meta VALUES ('version', '{CONTROL_VERSION}');"


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """One published generation as control.db knows it."""

    id: int
    parent: int | None
    files_hash: str
    content_hash: str
    created_at: str
    trigger: str
    manifest: Manifest
    sums: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the append-only audit trail."""

    seq: int
    at: str
    generation: int | None
    event: str
    source: str
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class SkipRow:
    """One file that is not indexed, and why."""

    source: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What happened to a document, source or generation; to be appended."""

    event: str
    source: str = ""
    path: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What `codecairn status` shows. `skips`: per source, reason -> files."""

    current: Manifest | None
    generations: tuple[GenerationRow, ...]
    skips: dict[str, dict[str, int]] = field(default_factory=dict)
    last_build: str = ""
    alarms: tuple[str, ...] = ()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's exceptions into ours."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            raise DiskFull(
                f"{path} cannot be written ({text}). Nothing was published; free some space and retry."
            ) from error
        if "locked" in text:
            raise WriterBusy(f"{path} is locked by another process ({text}). Try again.") from error
        raise IndexCorrupt(
            f"{path} cannot be used ({text}). Move the data directory away and run `codecairn index` to build it again."
        ) from error


def connect(data_dir: Path, *, create: bool = False, is_writer: bool = False) -> sqlite3.Connection:
    """Open control.db; creates the tables when `create`, also in place of those of an older format.

    `is_writer`: the caller holds the writer lock. Raises IndexCorrupt when the file is damaged or of another format,
    IndexEmpty where another process has not made its tables yet, WriterBusy where an older format is being written.
    """
    path = data_dir / CONTROL
    with translated(path):
        connection = sqlite3.connect(
            _address(path, create=create), uri=True, timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            version = _read_version(connection)
            if create and _is_former(version):
                _drop_former(connection, data_dir, is_writer)
                version = None
            _check_version(version, path, create)  # before anything is changed in a newer one
            if create:
                connection.execute("PRAGMA journal_mode = WAL")
                _drop_early_jobs(connection)
                connection.executescript(f"BEGIN IMMEDIATE; {TABLES} {VERSION_ROW} COMMIT;")  # all at once for readers
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    return connection


def _check_version(version: str | None, path: Path, create: bool) -> None:
    """Raise IndexCorrupt for another format, IndexEmpty where the tables are still to be made by another process."""
    if version == str(CONTROL_VERSION) or (create and version is None):
        return
    if version is None:
        raise IndexEmpty(f"Nothing was indexed in {path.parent} yet. Run `codecairn index`.")
    if not _is_former(version):
        raise IndexCorrupt(
            f"{path} is of a newer CodeCairn (format {version}, this one reads {CONTROL_VERSION}). "
            "Update CodeCairn, or name another data directory (`--data`)."
        )
    remedy = "Run `codecairn index`: it reads the sources again; a server does so by itself once no older one runs."
    if not is_writable(path.parent):
        remedy = "It is built again where its data directory can be written."
    raise IndexCorrupt(f"{path} is of an older CodeCairn (format {version}, now {CONTROL_VERSION}). {remedy}")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that is there, on a read-only disk too, whatever its format."""
    return sqlite3.connect(_address(path, create=False), uri=True, timeout=30)


def find_place(data_dir: Path) -> tuple[int, int] | None:
    """Return what tells this control.db from another one under the same path, None where there is none."""
    try:
        status = os.stat(data_dir / CONTROL)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def is_former(data_dir: Path) -> bool:
    """Tell whether an older program wrote the control.db, which the next build replaces."""
    path = data_dir / CONTROL
    with translated(path), closing(open_to_read(path)) as connection:
        return _is_former(_read_version(connection))


def _read_version(connection: sqlite3.Connection) -> str | None:
    """Return the format of a control.db; None before its tables are made."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        return None
    row = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    return str(row[0]) if row else None


def _is_former(version: str | None) -> bool:
    return version is not None and version.isdecimal() and int(version) < CONTROL_VERSION


def _drop_former(connection: sqlite3.Connection, data_dir: Path, is_writer: bool) -> None:
    """Make room where an older program wrote: what can be read from the sources again goes, records stay.

    The tables of RECORDS have one form in all formats. A kill after it leaves a file without a format, in which the
    next writer makes the tables. Raises WriterBusy where the older program is writing.
    """
    lock = None if is_writer else WriterLock(data_dir)
    try:
        connection.execute("BEGIN IMMEDIATE")
        version = _read_version(connection)
        if _is_former(version):  # still: two writers may come at once
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for name in {row[0] for row in tables if not row[0].startswith("sqlite_")} - RECORDS:
                connection.execute(f'DROP TABLE "{name}"')
            detail = f"from format {version} of {CONTROL} to {CONTROL_VERSION}: all sources are read again"
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            append_audit(connection, now, None, [AuditEntry("upgraded", detail=detail)])
        connection.execute("COMMIT")
    finally:
        if lock is not None:
            lock.release()


def _address(path: Path, *, create: bool) -> str:
    """Return the file as SQLite opens it: on a read-only disk without the files that it else puts beside it."""
    address = path.absolute().as_uri()
    if create or is_writable(path.parent):
        return address
    log = path.with_name(f"{path.name}-wal")
    is_whole = not log.exists() or log.stat().st_size == 0
    return f"{address}?mode=ro{'&immutable=1' if is_whole else ''}"


def is_created(data_dir: Path) -> bool:
    """Tell whether there is a control.db with tables. Raises IndexCorrupt when it is none."""
    path = data_dir / CONTROL
    if not path.exists():
        return False
    with translated(path), closing(open_to_read(path)) as connection:
        return _has_tables(connection)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def connect_copy(path: Path, original: Path) -> sqlite3.Connection:
    """Open a copy of control.db that nobody else knows of. Raises as `connect` does, and names the original."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _check_version(_read_version(connection), original, create=False)
    except IngestError:
        connection.close()
        raise
    return connection


def _drop_early_jobs(connection: sqlite3.Connection) -> None:
    """Remove the job table of the first releases, in which nothing was ever written."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(job)")}
    if columns and "wanted" not in columns:
        connection.execute("DROP TABLE job")


def pointer_checksum(generation: int, files_hash: str) -> str:
    """Return the checksum that guards the pointer row itself."""
    return hashlib.blake2b(f"{generation}\x00{files_hash}".encode(), digest_size=16).hexdigest()


def read_pointer(connection: sqlite3.Connection) -> tuple[int, str] | None:
    """Return (generation, hash of its file manifest), None before the first publication."""
    row = connection.execute("SELECT gen, files_hash, checksum FROM pointer WHERE k = 1").fetchone()
    if row is None:
        return None
    if pointer_checksum(row[0], row[1]) != row[2]:
        raise IndexCorrupt(f"The pointer row of {CONTROL} is damaged (generation {row[0]}). Run `codecairn index`.")
    return int(row[0]), str(row[1])


def write_pointer(connection: sqlite3.Connection, generation: int, files_hash: str) -> None:
    """Point at a generation."""
    connection.execute(
        "INSERT OR REPLACE INTO pointer VALUES (1, ?, ?, ?)",
        (generation, files_hash, pointer_checksum(generation, files_hash)),
    )


def read_generations(connection: sqlite3.Connection) -> list[GenerationRow]:
    """Return the published generations, newest first, without those whose row cannot be read: they are lost."""
    columns = "id, parent, files_hash, content_hash, created_at, trigger, manifest"
    rows = connection.execute(f"SELECT {columns} FROM generation WHERE state = 'published' ORDER BY id DESC")
    return [found for row in rows if (found := _generation(row)) is not None]


def published_numbers(connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of the published generations, newest first, also of those whose row cannot be read."""
    rows = connection.execute("SELECT id FROM generation WHERE state = 'published' ORDER BY id DESC")
    return [int(row[0]) for row in rows]


def _generation(row: Sequence[Any]) -> GenerationRow | None:
    try:
        data = json.loads(row[6])
        sums = {name: (int(pair[0], 16), int(pair[1], 16)) for name, pair in data["sums"].items()}
        manifest = manifest_from_dict(data["manifest"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, IndexCorrupt):
        return None
    return GenerationRow(row[0], row[1], row[2], row[3], row[4], row[5], manifest, sums)


def write_generation(
    connection: sqlite3.Connection, manifest: Manifest, sums: dict[str, tuple[int, int]], files_hash: str, trigger: str
) -> None:
    """Insert a published generation."""
    data = {
        "manifest": manifest_to_dict(manifest),
        "sums": {name: [f"{pair[0]:x}", f"{pair[1]:x}"] for name, pair in sums.items()},
    }
    connection.execute(
        "INSERT INTO generation(id, parent, state, manifest, files_hash, content_hash, created_at, trigger)"
        " VALUES (?, ?, 'published', ?, ?, ?, ?, ?)",
        (
            manifest.generation,
            manifest.parent,
            json.dumps(data, sort_keys=True),
            files_hash,
            manifest.content_hash,
            manifest.created_at,
            trigger,
        ),
    )


def next_generation(connection: sqlite3.Connection) -> int:
    """Return the number of the next generation: above every one ever published, also in an older format."""
    highest = connection.execute("SELECT max(id) FROM generation").fetchone()[0]
    if highest is None:
        highest = connection.execute("SELECT max(generation) FROM audit").fetchone()[0]
    return int(highest or 0) + 1


def abandon_after(connection: sqlite3.Connection, parent: int) -> None:
    """Undo the rows of generations above the parent; call inside the publishing transaction."""
    for table in TEMPORAL:
        connection.execute(f"DELETE FROM {table} WHERE gen_from > ?", (parent,))
        connection.execute(f"UPDATE {table} SET gen_to = NULL WHERE gen_to > ?", (parent,))
    connection.execute("UPDATE generation SET state = 'abandoned' WHERE id > ? AND state = 'published'", (parent,))


def end_all(connection: sqlite3.Connection, generation: int) -> None:
    """Let a generation begin without rows, older ones keep theirs; call inside the publishing transaction."""
    for table in TEMPORAL:
        connection.execute(f"UPDATE {table} SET gen_to = ? WHERE gen_to IS NULL", (generation,))


def retire(connection: sqlite3.Connection, retired: Sequence[int], oldest: int) -> None:
    """Mark generations as collected and delete the rows that only they could see."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "UPDATE generation SET state = 'collected', manifest = '' WHERE id = ?", [(number,) for number in retired]
    )
    drop_dead_rows(connection, oldest)
    connection.execute("COMMIT")


def sample_chunks(connection: sqlite3.Connection, generation: int, rowids: Iterable[int]) -> list[int]:
    """Return the ids of those chunk rows that are live and in the engines."""
    found = []
    for rowid in rowids:
        row = connection.execute(
            f"SELECT id FROM chunk WHERE rowid = :r AND shadowed = 0 AND {LIVE}", {"r": rowid, "g": generation}
        ).fetchone()
        found += [int(row[0])] if row else []
    return found


def drop_dead_rows(connection: sqlite3.Connection, oldest: int) -> None:
    """Delete rows that no generation from `oldest` on can see."""
    for table in TEMPORAL:
        connection.execute(f"DELETE FROM {table} WHERE gen_to <= ?", (oldest,))


def known_files(connection: sqlite3.Connection, source: str, generation: int) -> dict[str, KnownFile]:
    """Return what a generation knows of a source's files, by entry path; no hash and stamp = to be read again."""
    rows = connection.execute(
        "SELECT path, CASE again WHEN 0 THEN content_hash ELSE '' END, size,"
        f" CASE again WHEN 0 THEN stamp ELSE '' END, blob FROM file WHERE source = :s AND {LIVE}",
        {"s": source, "g": generation},
    )
    return {path: KnownFile(content_hash, size, stamp, blob) for path, content_hash, size, stamp, blob in rows}


def read_skips(connection: sqlite3.Connection, source: str, generation: int) -> set[tuple[str, str, str]]:
    """Return (path, reason, detail) of every skipped file of a source."""
    rows = connection.execute(
        f"SELECT path, reason, detail FROM skip WHERE source = :s AND {LIVE}", {"s": source, "g": generation}
    )
    return set(rows)


def write_renames(connection: sqlite3.Connection, generation: int, renames: Iterable[tuple[str, str, str]]) -> None:
    """Add renames (source, old path, new path); an older one from the same path, or of what is there again, ends.

    So that switching between two branches for years leaves one row for each path that ever was.
    """
    for source, old, new in renames:
        connection.execute(
            "UPDATE rename SET gen_to = ? WHERE gen_to IS NULL AND source = ? AND old_path IN (?, ?)",
            (generation, source, old, new),
        )
        connection.execute(
            "INSERT INTO rename(source, old_path, new_path, gen_from) VALUES (?, ?, ?, ?)",
            (source, old, new, generation),
        )


def read_renames(connection: sqlite3.Connection, generation: int) -> dict[tuple[str, str], str]:
    """Return (source, old path) -> newest path, chains followed."""
    rows = connection.execute(
        f"SELECT source, old_path, new_path FROM rename WHERE {LIVE} ORDER BY gen_from, rowid", {"g": generation}
    )
    steps = {(source, old): new for source, old, new in rows}
    return {key: _follow(steps, key[0], new) for key, new in steps.items()}


def _follow(steps: dict[tuple[str, str], str], source: str, path: str) -> str:
    seen = {path}
    while (source, path) in steps and steps[source, path] not in seen:
        path = steps[source, path]
        seen.add(path)
    return path


def append_audit(
    connection: sqlite3.Connection, at: str, generation: int | None, entries: Iterable[AuditEntry]
) -> None:
    """Append entries to the hash chain; call inside a transaction of the writer."""
    row = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = (int(row[0]), str(row[1])) if row else (0, "")
    rows = []
    for entry in entries:
        seq += 1
        values = (seq, at, generation, entry.event, entry.source, entry.path, entry.detail)
        current = chain_hash(previous, values)
        rows.append((*values, previous, current))
        previous = current
    connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def chain_hash(previous: str, values: Sequence[object]) -> str:
    """Return the hash that links an audit row to the one before it."""
    return hashlib.blake2b((previous + json.dumps(values)).encode(), digest_size=16).hexdigest()


def broken_audit_row(connection: sqlite3.Connection) -> int | None:
    """Return the number of the first audit row that breaks the chain, None when it holds."""
    previous, expected = "", 1
    for row in connection.execute(
        "SELECT seq, at, generation, event, source, path, detail, previous, hash FROM audit ORDER BY seq"
    ):
        if row[0] != expected or row[7] != previous or row[8] != chain_hash(previous, row[:7]):
            return int(row[0])
        previous, expected = str(row[8]), expected + 1
    return None


def write_check(connection: sqlite3.Connection, name: str, at: str, found: Mapping[str, object]) -> None:
    """Remember when a check ran last, and what it found."""
    value = json.dumps({"at": at, "found": dict(found)}, sort_keys=True)
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"check:{name}", value))


def read_check(connection: sqlite3.Connection, name: str) -> tuple[str, dict[str, Any]] | None:
    """Return when a check ran last and what it found, None before the first time."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (f"check:{name}",)).fetchone()
    if row is None:
        return None
    data = json.loads(row[0])
    return str(data["at"]), dict(data["found"])


def read_audit(connection: sqlite3.Connection, path: str = "", limit: int = 100, event: str = "") -> list[AuditRow]:
    """Return the newest audit rows, of one path or event where given."""
    rows = connection.execute(
        "SELECT seq, at, generation, event, source, path, detail FROM audit"
        " WHERE :path IN ('', path) AND :event IN ('', event) ORDER BY seq DESC LIMIT :limit",
        {"path": path, "event": event, "limit": limit},
    )
    return [AuditRow(*row) for row in rows]


def count_skips(connection: sqlite3.Connection, generation: int) -> dict[str, dict[str, int]]:
    """Return per source how many files were skipped for which reason."""
    found: dict[str, dict[str, int]] = {}
    for source, reason, count in connection.execute(
        f"SELECT source, reason, count(*) FROM ({ALL_SKIPS}) GROUP BY source, reason ORDER BY source, reason",
        {"g": generation},
    ):
        found.setdefault(source, {})[reason] = count
    return found


def count_file_skips(connection: sqlite3.Connection, generation: int) -> defaultdict[str, Counter[str]]:
    """Return per source how many entries were read and not indexed, by reason."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for source, reason, count in connection.execute(
        f"SELECT source, skip_reason, count(*) FROM file WHERE skip_reason <> '' AND {LIVE} GROUP BY 1, 2",
        {"g": generation},
    ):
        found[source][reason] = count
    return found


def list_skips(connection: sqlite3.Connection, generation: int, source: str = "", reason: str = "") -> list[SkipRow]:
    """Return skipped files, of one source or reason where given, in path order."""
    rows = connection.execute(
        f"SELECT source, path, reason, detail FROM ({ALL_SKIPS})"
        " WHERE (:s = '' OR source = :s) AND (:r = '' OR reason = :r) ORDER BY source, path, reason",
        {"g": generation, "s": source, "r": reason},
    )
    return [SkipRow(*row) for row in rows]


def cached_embeddings(connection: sqlite3.Connection, model: str, keys: Sequence[str]) -> dict[str, bytes]:
    """Return the stored vectors of those keys (text hashes) that were embedded by the model before."""
    found: dict[str, bytes] = {}
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        marks = ",".join("?" * len(some))
        found.update(
            connection.execute(
                f"SELECT key, vector FROM embedding WHERE model = ? AND key IN ({marks})", [model, *some]
            )
        )
    return found


def store_embeddings(connection: sqlite3.Connection, model: str, vectors: dict[str, bytes]) -> None:
    """Keep vectors of a paid model, so that an interrupted build or a rename never pays twice."""
    connection.executemany(
        "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?)", [(model, key, v) for key, v in vectors.items()]
    )
