"""What is forgotten, and in which order: content before rows, old before new, and never what somebody still needs.

Failed traces, traces that a person judged, and traces behind a golden case stay. A trace that is *thinned* keeps its
row (who, what, when, how long, how it ended) and gives up its stages, chunks and texts.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from traces.blobs import parse
from traces.packing import open_content
from traces.rows import row_hash

_Rows = Sequence[tuple[int, str, str, str | None]]  # seq, id, query, hash of the content
_Act = Callable[[sqlite3.Connection, _Rows], None]

MB = 1_000_000
BATCH = 500  # traces per transaction: a reader or another writer never waits long

PROTECTED = (
    "status = 'failed' OR EXISTS(SELECT 1 FROM score WHERE score.trace = trace.id "
    "AND (score.source = 'human' OR score.name IN ('golden', 'blame')))"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept. `max_mb` counts pages in use; below `min_free_mb` of free disk only rows are written."""

    max_days: int = 400
    max_mb: int = 1000
    min_free_mb: int = 500


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one pass took away, and the bytes in use before and after."""

    deleted: int
    thinned: int
    bytes_before: int
    bytes_after: int


def is_disk_low(path: Path, limits: Limits) -> bool:
    """Tell whether the disk that holds a file is nearly full."""
    return shutil.disk_usage(path.parent).free < limits.min_free_mb * MB


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes of the pages in use."""
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
    return int((pages - free) * size)


_SIZES = ("page_count", "freelist_count", "page_size")


def prune(connection: sqlite3.Connection, limits: Limits, now: datetime, *, at_most: int | None = None) -> Pruned:
    """Delete what is too old; thin, then delete the oldest until the size fits. `at_most`: traces touched."""
    before = used_bytes(connection)
    left = at_most if at_most is not None else 1 << 60
    oldest = (now - timedelta(days=limits.max_days)).isoformat(timespec="seconds")[:19]
    deleted = _repeat(connection, f"at < ? AND NOT ({PROTECTED})", (oldest,), _delete, left)
    thinned = 0
    for act, where in ((_thin, _HAS_CONTENT), (_delete, "1")):
        while used_bytes(connection) > limits.max_mb * MB and deleted + thinned < left:
            count = _repeat(connection, f"{where} AND NOT ({PROTECTED})", (), act, min(BATCH, left - deleted - thinned))
            if not count:
                break
            deleted, thinned = deleted + count * (act is _delete), thinned + count * (act is _thin)
    if deleted or thinned:
        _drop_orphans(connection)
    return Pruned(deleted, thinned, before, used_bytes(connection))


# Thinning goes from old to new, so that what comes after the last thinned one still has everything.
_HAS_CONTENT = "seq > (SELECT coalesce(max(trace), 0) FROM thinned)"


def forget(connection: sqlite3.Connection, principal_hash: str) -> int:
    """Delete every trace of one principal, protected or not; return how many there were."""
    count = _repeat(connection, "principal_hash = ?", (principal_hash,), _delete, 1 << 60)
    if count:
        _drop_orphans(connection)
    return count


def compact(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system and let the other connections see a small write-ahead log."""
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _repeat(connection: sqlite3.Connection, where: str, values: Sequence[object], act: _Act, at_most: int) -> int:
    """Apply `act` to the oldest traces that match, in transactions of BATCH, at most so many."""
    done = 0
    while done < at_most:
        rows = connection.execute(
            f"SELECT seq, id, query, content_hash FROM trace WHERE {where} ORDER BY seq LIMIT ?",
            (*values, min(BATCH, at_most - done)),
        ).fetchall()
        if not rows:
            break
        with _opened(connection):
            act(connection, rows)
        done += len(rows)
    return done


@contextmanager
def _opened(connection: sqlite3.Connection) -> Iterator[None]:
    """Let rows be deleted within one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("UPDATE retention SET open = 1")
        yield
        connection.execute("UPDATE retention SET open = 0")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _thin(connection: sqlite3.Connection, rows: _Rows) -> None:
    for seq, _, query, content_hash in rows:
        _forget_words(connection, seq, query, content_hash)
        connection.execute("INSERT INTO trace_fts(rowid, query, answer) VALUES (?, ?, '')", (seq, query))
        connection.execute(_THINNED, (seq, row_hash(connection, seq)))
        _drop_details(connection, seq)
    _drop_content(connection, {content_hash for *_, content_hash in rows if content_hash})


_THINNED = "INSERT INTO thinned VALUES (?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), ?)"


def _delete(connection: sqlite3.Connection, rows: _Rows) -> None:
    for seq, trace_id, query, content_hash in rows:
        _forget_words(connection, seq, query, content_hash)
        _drop_details(connection, seq)
        connection.execute("DELETE FROM score WHERE trace = ?", (trace_id,))
        connection.execute("DELETE FROM thinned WHERE trace = ?", (seq,))
        connection.execute("DELETE FROM trace WHERE seq = ?", (seq,))
    _drop_content(connection, {content_hash for *_, content_hash in rows if content_hash})


def _drop_details(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("DELETE FROM span WHERE trace = ?", (seq,))
    connection.execute("DELETE FROM trace_chunk WHERE trace = ?", (seq,))


def _forget_words(connection: sqlite3.Connection, seq: int, query: str, content_hash: str | None) -> None:
    # A full-text table without content of its own forgets a row only when told what it had indexed.
    is_thin = connection.execute("SELECT 1 FROM thinned WHERE trace = ?", (seq,)).fetchone() is not None
    answer = "" if is_thin else _indexed_answer(connection, content_hash)
    connection.execute(
        "INSERT INTO trace_fts(trace_fts, rowid, query, answer) VALUES ('delete', ?, ?, ?)", (seq, query, answer)
    )


def _indexed_answer(connection: sqlite3.Connection, content_hash: str | None) -> str:
    row = connection.execute("SELECT data FROM blob WHERE hash = ?", (content_hash,)).fetchone()
    answer = parse(open_content(connection, row[0])).get("answer", "") if row is not None else ""
    return answer.encode("utf-8", "replace").decode() if isinstance(answer, str) else ""


def _drop_content(connection: sqlite3.Connection, hashes: set[str]) -> None:
    """Delete the content that no other trace with details has."""
    for content_hash in hashes:
        connection.execute(
            "DELETE FROM blob WHERE hash = ? AND NOT EXISTS("
            "SELECT 1 FROM trace WHERE content_hash = ? AND seq NOT IN (SELECT trace FROM thinned))",
            (content_hash, content_hash),
        )


def _drop_orphans(connection: sqlite3.Connection) -> None:
    with _opened(connection):
        connection.execute("DELETE FROM chunk WHERE seq NOT IN (SELECT chunk FROM trace_chunk)")
        connection.execute("DELETE FROM blob WHERE kind = 'chunk' AND hash NOT IN (SELECT text_hash FROM chunk)")
        for kind in ("config", "environment"):
            column = f"{kind}_hash"
            connection.execute(
                f"DELETE FROM blob WHERE kind = '{kind}' "
                f"AND hash NOT IN (SELECT {column} FROM trace WHERE {column} IS NOT NULL)"
            )
