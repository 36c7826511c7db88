"""traces.db: where traces are written and read. Its own SQLite file, so that traces never wait for the index."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from traces.blobs import HASH_PREFIX, Json, canonical, compress, expand, hash_bytes, parse
from traces.draft import SPAN_COLUMNS, Draft, Sealed, SealedChunk, Sealer, list_rows
from traces.errors import TraceStoreError
from traces.model import (
    CONTENT_BLOCKED,
    CONTENT_WRITE_FAILED,
    ChunkKey,
    Failure,
    Span,
    Trace,
    TraceAcl,
    TraceChunk,
    TraceSummary,
)
from traces.schema import SCHEMA_VERSION, schema_statements
from traces.writer import MAX_FULL, MAX_ROWS, Writer

BUSY_TIMEOUT_S = 5.0
PAGE_BYTES = 16384  # the content of most traces is 2-5 kB; in pages of 4096 half of the space would stay empty
READ_FLUSH_S = 2.0  # an agent may ask for a trace before the writer has come to it
MAX_SCANNED = 10_000  # rows looked at for one list; the permitted ones among them are returned

SUMMARY_COLUMNS = tuple(f.name for f in fields(TraceSummary))
JSON_COLUMNS = frozenset({"filters", "revisions", "degraded", "policy_flags", "cache", "sources"})
LIST_COLUMNS = frozenset({"degraded", "policy_flags", "sources"})
BOOL_COLUMNS = frozenset({"tokens_estimated", "cached", "abstained", "is_error"})
HASH_COLUMNS = frozenset({"in_hash", "out_hash"})
TRACE_COLUMNS = (*SUMMARY_COLUMNS, "content_hash", "acl", "hash")
CHUNK_COLUMNS = ("chunk_id", "source", "path", "key", "title", "symbol", "start_line", "end_line", "text_hash")

Allowed = Callable[[TraceAcl], bool]


def write_stderr(line: str) -> None:
    """Write one line to stderr; stdout belongs to the MCP channel."""
    sys.stderr.write(line + "\n")


class TraceStore:
    """Traces on disk. Writing never raises: `healthy`, `failures` and one line through `on_error` tell about it."""

    def __init__(
        self,
        path: Path,
        *,
        on_error: Callable[[str], None] = write_stderr,
        max_full: int = MAX_FULL,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self.path = path
        self.healthy = True
        self.failures = 0  # traces, or their content, that could not be written
        self.blocked = 0  # traces whose content the redactor failed on
        self._on_error = on_error
        self._sealer = Sealer()
        self._connection: sqlite3.Connection | None = None  # the writer's
        self._writing = threading.Lock()
        self._writer = Writer(self._write, max_full=max_full, max_rows=max_rows)
        with self._writing:
            self._try_open()

    @property
    def dropped(self) -> tuple[int, int]:
        """Traces that lost their content, and traces lost altogether, because the queue was full."""
        return self._writer.dropped_content, self._writer.lost

    def put(self, draft: Draft) -> None:
        """Queue a finished trace. Never waits and never raises."""
        if not self._writer.put(draft):
            self._report("the queue of traces is full, or the store is closed")

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything queued is written or given up; False when that took too long."""
        return self._writer.flush(timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits and close the file. Further traces are lost and counted."""
        self._writer.close(timeout_s)
        with self._writing:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # Writing: the writer's thread only.

    def _write(self, drafts: Sequence[Draft]) -> None:
        with self._writing:
            try:
                self._write_batch([self._sealer.seal(draft) for draft in drafts])
            except Exception:  # one bad trace or a full disk: find out which, trace by trace
                for draft in drafts:
                    self._write_alone(draft)
            else:
                self.healthy = True

    def _write_alone(self, draft: Draft) -> None:
        try:
            self._write_batch([self._sealer.seal(draft)])
            self.healthy = True
            return
        except Exception as error:  # the thread must outlive every trace; the failure is counted and told
            self._report(f"{type(error).__name__}: {error}")
        try:  # content stops before rows do
            self._write_batch([self._sealer.seal(draft.without_content(CONTENT_WRITE_FAILED))])
        except Exception:  # told above
            return

    def _write_batch(self, batch: Sequence[Sealed]) -> None:
        if self._connection is None and not self._try_open():
            raise TraceStoreError(f"{self.path} is not open")
        assert self._connection is not None
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for sealed in batch:
                _insert_trace(self._connection, sealed)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._count_blocked(sum(sealed.row["content"] == CONTENT_BLOCKED for sealed in batch))

    def _count_blocked(self, count: int) -> None:
        if count and not self.blocked:
            self._on_error("The content of a trace was not written: redacting it failed. Its row and timings are kept.")
        self.blocked += count

    def _try_open(self) -> bool:
        try:
            self._connection = _open_for_writing(self.path)
        except (OSError, sqlite3.Error, TraceStoreError) as error:
            self._report(f"{type(error).__name__}: {error}")
            return False
        return True

    def _report(self, what: str) -> None:
        self.failures += 1
        was_healthy, self.healthy = self.healthy, False
        if was_healthy:  # one line per outage, not one per query
            self._on_error(f"Traces cannot be written to {self.path} ({what}). Queries go on; check space and access.")

    # Reading: any thread.

    def get(self, trace_id: str, allowed: Allowed) -> Trace | None:
        """Return a trace; None when it is unknown or not permitted. Raises TraceStoreError if nothing can be read."""
        with self._read() as connection:
            row = _fetch(connection, f"SELECT seq, {_columns(TRACE_COLUMNS)} FROM trace WHERE id = ?", (trace_id,))
            if row is None or not allowed(_read_acl(row)):
                return None
            return _read_trace(connection, row)

    def list_traces(
        self,
        allowed: Allowed,
        *,
        limit: int = 20,
        status: str = "",
        tool: str = "",
        kind: str = "",
        since: str = "",
        degraded: str = "",
    ) -> list[TraceSummary]:
        """Return the newest permitted traces. `since` is ISO 8601 UTC, `degraded` a code."""
        wanted = {"status = ?": status, "tool = ?": tool, "kind = ?": kind, "at >= ?": since}
        terms = [(term, value) for term, value in wanted.items() if value]
        if degraded:
            terms.append(("EXISTS(SELECT 1 FROM json_each(degraded) WHERE value = ?)", degraded))
        return self._select(" AND ".join(term for term, _ in terms), [value for _, value in terms], allowed, limit)

    def search(self, text: str, allowed: Allowed, *, limit: int = 20) -> list[TraceSummary]:
        """Return the newest permitted traces whose query or answer has every word of the text."""
        words = re.findall(r"\w+", text)
        if not words:
            return []
        match = " ".join(f'"{word}"' for word in words)
        return self._select("seq IN (SELECT rowid FROM trace_fts WHERE trace_fts MATCH ?)", [match], allowed, limit)

    def find_by_chunk(self, chunk_id: ChunkKey, allowed: Allowed, *, limit: int = 20) -> list[TraceSummary]:
        """Return the newest permitted traces that retrieved a chunk."""
        return self._select(_BY_CHUNK.format("chunk_id = ?"), [chunk_id], allowed, limit)

    def find_by_path(self, path: str, allowed: Allowed, *, source: str = "", limit: int = 20) -> list[TraceSummary]:
        """Return the newest permitted traces that retrieved a chunk of a file."""
        where = "path = ? AND source = ?" if source else "path = ?"
        return self._select(_BY_CHUNK.format(where), [path, source] if source else [path], allowed, limit)

    def _select(self, where: str, values: Sequence[object], allowed: Allowed, limit: int) -> list[TraceSummary]:
        found: list[TraceSummary] = []
        with self._read() as connection:
            for row in _scan(connection, where, values):
                if allowed(_read_acl(row)):
                    found.append(_read_summary(row))
                if len(found) >= limit:
                    break
        return found

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        self._writer.flush(READ_FLUSH_S)
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as db:
                db.row_factory = sqlite3.Row
                yield db
        except sqlite3.Error as error:
            raise TraceStoreError(
                f"Traces in {self.path} cannot be read ({error}). Check access; move a damaged file away to start anew."
            ) from error


_CHUNKS_OF_TRACE = (
    f"SELECT hash, {', '.join(CHUNK_COLUMNS)}, stage, rank, score, kept, reason FROM trace_chunk "
    "JOIN chunk ON chunk.seq = trace_chunk.chunk WHERE trace = ? ORDER BY kept DESC, rank IS NULL, rank, chunk.seq"
)
_CHUNK_BY_ID = (
    f"SELECT NULL AS hash, {', '.join(CHUNK_COLUMNS)}, NULL AS stage, NULL AS rank, NULL AS score, 0 AS kept, "
    "NULL AS reason FROM chunk WHERE chunk_id = ? ORDER BY seq DESC LIMIT 1"
)
_BY_CHUNK = "seq IN (SELECT trace FROM trace_chunk JOIN chunk ON chunk.seq = trace_chunk.chunk WHERE {})"


def _open_for_writing(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # questions are private; WAL files inherit the mode
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file only
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _prepare_schema(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare_schema(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, SCHEMA_VERSION):
        raise TraceStoreError(
            f"{path} has trace format {version}, this version knows {SCHEMA_VERSION}. Update, or move the file."
        )
    for statement in schema_statements() if version == 0 else ():
        connection.execute(statement)
    connection.execute("COMMIT")


def _insert_trace(connection: sqlite3.Connection, sealed: Sealed) -> None:
    for kind, data in (("trace", sealed.content), ("config", sealed.config)):
        if data is not None:
            _insert_blob(connection, kind, hash_bytes(data), data)
    row = {name: _to_column(sealed.row[name]) for name in TRACE_COLUMNS}
    insert = f"INSERT INTO trace({_columns(row)}) VALUES ({_marks(row)})"
    seq = connection.execute(insert, tuple(row.values())).lastrowid
    connection.executemany(
        f"INSERT INTO span(trace, {_columns(SPAN_COLUMNS)}) VALUES (?, {_marks(SPAN_COLUMNS)})",
        [(seq, *(_to_span_column(name, span[name]) for name in SPAN_COLUMNS)) for span in sealed.spans],
    )
    chunks = [(_chunk_seq(connection, chunk), place) for chunk, place in sealed.chunks]
    connection.executemany(
        "INSERT INTO trace_chunk VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(seq, c, p.stage, p.rank, p.score, p.kept, p.reason) for c, p in chunks if p.is_row],
    )
    connection.execute(
        "INSERT INTO trace_fts(rowid, query, answer) VALUES (?, ?, ?)", (seq, row["query"], _to_column(sealed.answer))
    )


def _insert_blob(connection: sqlite3.Connection, kind: str, hash_: str, data: bytes) -> None:
    if connection.execute("SELECT 1 FROM blob WHERE hash = ?", (hash_,)).fetchone() is None:
        connection.execute("INSERT INTO blob VALUES (?, ?, ?, ?)", (hash_, kind, len(data), compress(data)))


def _chunk_seq(connection: sqlite3.Connection, sealed: SealedChunk) -> int:
    known = connection.execute("SELECT seq FROM chunk WHERE hash = ?", (sealed.hash,)).fetchone()
    if known is not None:
        return int(known[0])
    _insert_blob(connection, "chunk", sealed.row["text_hash"], sealed.text())
    row = {name: _to_column(sealed.row[name]) for name in CHUNK_COLUMNS}
    added = connection.execute(
        f"INSERT INTO chunk(hash, {_columns(row)}) VALUES (?, {_marks(row)})", (sealed.hash, *row.values())
    )
    return int(added.lastrowid or 0)


def _fetch(connection: sqlite3.Connection, sql: str, values: Sequence[object]) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(sql, values).fetchone()
    return row


def _scan(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> Iterable[sqlite3.Row]:
    return connection.execute(
        f"SELECT {_columns(TRACE_COLUMNS)} FROM trace{' WHERE ' + where if where else ''} ORDER BY seq DESC LIMIT ?",
        (*values, MAX_SCANNED),
    )


def _read_trace(connection: sqlite3.Connection, row: sqlite3.Row) -> Trace:
    content = _read_blob(connection, row["content_hash"]) or {}
    slots = content.get("spans", {})
    spans = connection.execute(f"SELECT {_columns(SPAN_COLUMNS)} FROM span WHERE trace = ? ORDER BY id", (row["seq"],))
    return Trace(
        summary=_read_summary(row),
        acl=_read_acl(row),
        hash=row["hash"],
        content_hash=row["content_hash"],
        spans=tuple(_read_span(span, slots.get(str(span["id"]), {})) for span in spans),
        chunks=_read_chunks(connection, row["seq"], slots),
        config=_read_blob(connection, row["config_hash"]),
        arguments=content.get("arguments"),
        answer=content.get("answer"),
        raw_output=content.get("raw_output"),
        ungrounded=tuple(content.get("ungrounded") or ()),
        failure=_read_failure(content.get("failure")),
    )


def _read_chunks(connection: sqlite3.Connection, seq: int, slots: Mapping[str, Any]) -> tuple[TraceChunk, ...]:
    rows = connection.execute(_CHUNKS_OF_TRACE, (seq,)).fetchall()
    found = [_read_chunk(connection, row) for row in rows]
    known = {chunk.id for chunk in found}
    listed = dict.fromkeys(key for span in slots.values() for key, _, _ in list_rows(span.get("output")))
    for key in listed:
        row = None if key in known else _fetch(connection, _CHUNK_BY_ID, (key,))
        if row is not None:
            found.append(_read_chunk(connection, row))
    return tuple(found)


def _read_chunk(connection: sqlite3.Connection, row: sqlite3.Row) -> TraceChunk:
    values = {name: row[name] for name in row.keys() if name not in ("chunk_id", "text_hash", "kept")}
    text = _read_blob(connection, row["text_hash"]) or ""
    return TraceChunk(id=row["chunk_id"], kept=bool(row["kept"]), text=text, **values)


def _read_blob(connection: sqlite3.Connection, hash_: str | None) -> Json:
    row = None if hash_ is None else _fetch(connection, "SELECT data FROM blob WHERE hash = ?", (hash_,))
    return None if row is None else parse(expand(row["data"]))


def _read_summary(row: sqlite3.Row) -> TraceSummary:
    return TraceSummary(**{name: _from_column(name, row[name]) for name in SUMMARY_COLUMNS})


def _read_acl(row: sqlite3.Row) -> TraceAcl:
    acl = json.loads(row["acl"])
    return TraceAcl(row["principal_hash"], tuple(acl["sources"]), tuple(tuple(groups) for groups in acl["groups"]))


def _read_span(row: sqlite3.Row, slots: Mapping[str, Any]) -> Span:
    return Span(
        **{name: _from_span_column(name, row[name]) for name in SPAN_COLUMNS},
        attrs=slots.get("attrs", {}),
        input=slots.get("input"),
        config=slots.get("config"),
        output=slots.get("output"),
        dropped=slots.get("dropped"),
        failure=_read_failure(slots.get("failure")),
    )


def _read_failure(value: Mapping[str, str] | None) -> Failure | None:
    return Failure(**value) if value else None


def _to_column(value: object) -> object:
    if isinstance(value, (dict, list, tuple)):
        value = canonical(value).decode("utf-8", "replace")
    # SQLite holds no lone surrogates (file names in another encoding)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _from_column(name: str, value: Json) -> Json:
    if name in JSON_COLUMNS:
        parsed = json.loads(value) if value else [] if name in LIST_COLUMNS else {}
        return tuple(parsed) if name in LIST_COLUMNS else parsed
    return bool(value) if name in BOOL_COLUMNS and value is not None else value


def _to_span_column(name: str, value: Json) -> object:
    # as 16 bytes: a trace has some 20 of them
    return bytes.fromhex(value.removeprefix(HASH_PREFIX)) if name in HASH_COLUMNS and value else value


def _from_span_column(name: str, value: Json) -> Json:
    return HASH_PREFIX + value.hex() if name in HASH_COLUMNS and value else value


def _columns(names: Iterable[str]) -> str:
    return ", ".join(names)


def _marks(names: Iterable[object]) -> str:
    return ", ".join("?" for _ in names)
