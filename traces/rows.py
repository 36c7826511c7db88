"""Rows of traces.db and the values that they stand for, both ways."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from traces.blobs import Json, canonical, compress, expand, hash_bytes, parse
from traces.draft import SPAN_COLUMNS, Sealed, SealedChunk, hash_row, list_rows
from traces.model import Failure, Span, Trace, TraceAcl, TraceChunk, TraceSummary
from traces.packing import open_content, pack, store_number

SUMMARY_COLUMNS = tuple(f.name for f in fields(TraceSummary))
JSON_COLUMNS = frozenset({"filters", "revisions", "degraded", "policy_flags", "cache", "sources"})
LIST_COLUMNS = frozenset({"degraded", "policy_flags", "sources"})
BOOL_COLUMNS = frozenset({"tokens_estimated", "cached", "abstained", "is_error"})
TRACE_COLUMNS = (*SUMMARY_COLUMNS, "content_hash", "acl", "hash")
CHUNK_COLUMNS = ("chunk_id", "source", "path", "key", "title", "symbol", "start_line", "end_line", "text_hash", "extra")

_CHUNKS_OF_TRACE = (
    f"SELECT hash, {', '.join(CHUNK_COLUMNS)}, stage, rank, score, kept, reason FROM trace_chunk "
    "JOIN chunk ON chunk.seq = trace_chunk.chunk WHERE trace = ? ORDER BY kept DESC, rank IS NULL, rank, chunk.seq"
)
_CHUNK_BY_ID = (
    f"SELECT NULL AS hash, {', '.join(CHUNK_COLUMNS)}, NULL AS stage, NULL AS rank, NULL AS score, 0 AS kept, "
    "NULL AS reason FROM chunk WHERE chunk_id = ? ORDER BY seq DESC LIMIT 1"
)


def insert_trace(connection: sqlite3.Connection, sealed: Sealed) -> None:
    """Write one trace, in the caller's transaction."""
    for kind, data in (("trace", sealed.content), ("config", sealed.config), ("environment", sealed.environment)):
        if data is not None:
            _insert_blob(connection, kind, hash_bytes(data), data)
    row = {name: to_column(sealed.row[name]) for name in TRACE_COLUMNS}
    insert = f"INSERT INTO trace({columns(row)}) VALUES ({marks(row)})"
    seq = connection.execute(insert, tuple(row.values())).lastrowid
    connection.executemany(
        f"INSERT INTO span(trace, {columns(SPAN_COLUMNS)}) VALUES (?, {marks(SPAN_COLUMNS)})",
        [(seq, *(span[name] for name in SPAN_COLUMNS)) for span in sealed.spans],
    )
    chunks = [(_chunk_seq(connection, chunk), place) for chunk, place in sealed.chunks]
    connection.executemany(
        "INSERT INTO trace_chunk VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(seq, c, p.stage, p.rank, p.score, p.kept, p.reason) for c, p in chunks if p.is_row],
    )
    connection.execute(
        "INSERT INTO trace_fts(rowid, query, answer) VALUES (?, ?, ?)", (seq, row["query"], to_column(sealed.answer))
    )


def _insert_blob(connection: sqlite3.Connection, kind: str, hash_: str, data: bytes) -> None:
    if connection.execute("SELECT 1 FROM blob WHERE hash = ?", (hash_,)).fetchone() is None:
        stored = pack(data, lambda value: store_number(connection, value)) if kind == "trace" else compress(data)
        connection.execute("INSERT INTO blob VALUES (?, ?, ?, ?)", (hash_, kind, len(data), stored))


def _chunk_seq(connection: sqlite3.Connection, sealed: SealedChunk) -> int:
    known = connection.execute("SELECT seq FROM chunk WHERE hash = ?", (sealed.hash,)).fetchone()
    if known is not None:
        return int(known[0])
    _insert_blob(connection, "chunk", sealed.row["text_hash"], sealed.text())
    row = {name: to_column(sealed.row[name]) for name in CHUNK_COLUMNS}
    row["extra"] = compress(str(sealed.row["extra"]).encode()) if sealed.row["extra"] else None
    added = connection.execute(
        f"INSERT INTO chunk(hash, {columns(row)}) VALUES (?, {marks(row)})", (sealed.hash, *row.values())
    )
    return int(added.lastrowid or 0)


def fetch(connection: sqlite3.Connection, sql: str, values: Sequence[object]) -> sqlite3.Row | None:
    """Return the first row of a query."""
    row: sqlite3.Row | None = connection.execute(sql, values).fetchone()
    return row


def select_traces(where: str) -> str:
    """Return the statement that reads traces, newest first, without its LIMIT."""
    return f"SELECT seq, {columns(TRACE_COLUMNS)}, {_THINNED} FROM trace WHERE {where or '1'} ORDER BY seq DESC"


_THINNED = "(SELECT at FROM thinned WHERE thinned.trace = trace.seq) AS thinned_at"


def read_trace(connection: sqlite3.Connection, row: sqlite3.Row) -> Trace:
    """Return the whole trace of a row of `select_traces`; blobs that are not there are named in `missing`."""
    content = read_blob(connection, row["content_hash"]) or {}
    slots = content.get("spans", {})
    spans = connection.execute(f"SELECT {columns(SPAN_COLUMNS)} FROM span WHERE trace = ? ORDER BY id", (row["seq"],))
    chunks = _read_chunks(connection, row["seq"], slots)
    return Trace(
        summary=read_summary(row),
        acl=read_acl(row),
        hash=row["hash"],
        content_hash=row["content_hash"],
        spans=tuple(_read_span(span, slots.get(str(span["id"]), {})) for span in spans),
        chunks=chunks,
        config=read_blob(connection, row["config_hash"]),
        environment=read_blob(connection, row["environment_hash"]),
        thinned_at=row["thinned_at"],
        missing=() if row["thinned_at"] else _missing_blobs(connection, row),
        replay=content.get("replay"),
        arguments=content.get("arguments"),
        answer=content.get("answer"),
        raw_output=content.get("raw_output"),
        ungrounded=tuple(content.get("ungrounded") or ()),
        failure=_read_failure(content.get("failure")),
    )


def _missing_blobs(connection: sqlite3.Connection, row: sqlite3.Row) -> tuple[str, ...]:
    wanted = {row[name] for name in ("content_hash", "config_hash", "environment_hash")}
    texts = connection.execute(
        "SELECT text_hash FROM trace_chunk JOIN chunk ON chunk.seq = trace_chunk.chunk WHERE trace = ?", (row["seq"],)
    )
    wanted |= {text[0] for text in texts}
    return tuple(sorted(h for h in wanted if h and not fetch(connection, "SELECT 1 FROM blob WHERE hash = ?", (h,))))


def _read_chunks(connection: sqlite3.Connection, seq: int, slots: Mapping[str, Any]) -> tuple[TraceChunk, ...]:
    rows = connection.execute(_CHUNKS_OF_TRACE, (seq,)).fetchall()
    found = [_read_chunk(connection, row) for row in rows]
    known = {chunk.id for chunk in found}
    listed = dict.fromkeys(key for span in slots.values() for key, _, _ in list_rows(span.get("output")))
    for key in listed:
        row = None if key in known else fetch(connection, _CHUNK_BY_ID, (key,))
        if row is not None:
            found.append(_read_chunk(connection, row))
    return tuple(found)


def _read_chunk(connection: sqlite3.Connection, row: sqlite3.Row) -> TraceChunk:
    values = {name: row[name] for name in row.keys() if name not in ("chunk_id", "kept", "extra")}
    text = read_blob(connection, row["text_hash"]) or ""
    extra = parse(expand(row["extra"])) if row["extra"] else {}
    return TraceChunk(id=row["chunk_id"], kept=bool(row["kept"]), text=text, extra=extra, **values)


def read_blob(connection: sqlite3.Connection, hash_: str | None) -> Json:
    """Return the JSON value of a blob; None when there is none."""
    row = None if hash_ is None else fetch(connection, "SELECT data FROM blob WHERE hash = ?", (hash_,))
    return None if row is None else parse(open_content(connection, row["data"]))


def read_summary(row: sqlite3.Row) -> TraceSummary:
    """Return the summary of a row."""
    return TraceSummary(**{name: _from_column(name, row[name]) for name in SUMMARY_COLUMNS})


def read_acl(row: sqlite3.Row) -> TraceAcl:
    """Return who may read a trace."""
    acl = json.loads(row["acl"])
    return TraceAcl(row["principal_hash"], tuple(acl["sources"]), tuple(tuple(groups) for groups in acl["groups"]))


def _read_span(row: sqlite3.Row, slots: Mapping[str, Any]) -> Span:
    return Span(
        **{name: row[name] for name in SPAN_COLUMNS},
        attrs=slots.get("attrs", {}),
        input=slots.get("input"),
        config=slots.get("config"),
        output=slots.get("output"),
        rest=slots.get("rest"),
        dropped=slots.get("dropped"),
        failure=_read_failure(slots.get("failure")),
    )


def _read_failure(value: Mapping[str, str] | None) -> Failure | None:
    return Failure(**value) if value else None


def to_column(value: object) -> object:
    """Return a value as SQLite holds it."""
    if isinstance(value, (dict, list, tuple)):
        value = canonical(value).decode("utf-8", "replace")
    # SQLite holds no lone surrogates (file names in another encoding)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _from_column(name: str, value: Json) -> Json:
    if name in JSON_COLUMNS:
        parsed = json.loads(value) if value else [] if name in LIST_COLUMNS else {}
        return tuple(parsed) if name in LIST_COLUMNS else parsed
    return bool(value) if name in BOOL_COLUMNS and value is not None else value


def columns(names: Iterable[str]) -> str:
    """Return column names for a statement."""
    return ", ".join(names)


def marks(names: Iterable[object]) -> str:
    """Return a parameter mark per name."""
    return ", ".join("?" for _ in names)


def row_hash(connection: sqlite3.Connection, seq: int) -> str:
    """Return the hash over a trace's row alone."""
    row = fetch(connection, f"SELECT {columns(TRACE_COLUMNS)} FROM trace WHERE seq = ?", (seq,))
    assert row is not None
    return hash_row(read_summary(row), read_acl(row), row["content_hash"])
