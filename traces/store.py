"""traces.db: where traces are written and read. Its own SQLite file, so that traces never wait for the index."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from traces import retention, scores, verify
from traces.activity import Activity
from traces.draft import Draft, Sealed, Sealer
from traces.errors import TraceStoreError
from traces.incidents import Incident, insert_incident, read_incidents
from traces.model import (
    CONTENT_BLOCKED,
    CONTENT_DISK_GUARD,
    CONTENT_WRITE_FAILED,
    ChunkKey,
    Score,
    Trace,
    TraceAcl,
    TraceSummary,
)
from traces.retention import Limits, Pruned
from traces.rollup import add_counts
from traces.rows import fetch, insert_trace, read_acl, read_summary, read_trace, select_traces
from traces.schema import SCHEMA_VERSION, schema_statements
from traces.writer import MAX_FULL, MAX_ROWS, Writer

BUSY_TIMEOUT_S = 5.0
PAGE_BYTES = 4096
READ_FLUSH_S = 2.0  # an agent may ask for a trace before the writer has come to it
MAX_SCANNED = 10_000  # rows looked at for one list; the permitted ones among them are returned
PRUNE_EVERY = 200  # traces written between two looks at age and size
PRUNE_STEP = 500  # traces that one such look may thin or delete, so that the writer is soon back at its work

_BY_CHUNK = "seq IN (SELECT trace FROM trace_chunk JOIN chunk ON chunk.seq = trace_chunk.chunk WHERE {})"

Allowed = Callable[[TraceAcl], bool]


def write_stderr(line: str) -> None:
    """Write one line to stderr; stdout belongs to the MCP channel."""
    sys.stderr.write(line + "\n")


class Sink(Protocol):
    """Takes each written trace further: a file of JSON lines, an OpenTelemetry endpoint."""

    def write(self, traces: Sequence[Trace]) -> None:
        """Take traces; whatever it raises is told and counted, and the traces stay in the store."""
        ...


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """What traces to find; every part that is set must hold. `since` and `until` are ISO 8601 UTC."""

    text: str = ""  # every word in the query or the answer
    status: str = ""
    tool: str = ""
    kind: str = ""
    since: str = ""
    until: str = ""
    degraded: str = ""  # a code
    flag: str = ""  # a policy flag, or what it starts with
    prompt: str = ""  # id or id@v3
    model: str = ""
    generation: int | None = None
    path: str = ""  # of a chunk that was retrieved
    source: str = ""  # of that chunk
    former: tuple[str, ...] = ()  # other paths that its file has had: they count as `path`
    chunk: ChunkKey | None = None
    feedback: str = ""  # up or down
    scored: str = ""  # has a judgement of this name: escalated, regenerate, golden, ...

    def terms(self) -> Iterator[tuple[str, tuple[object, ...]]]:
        """Yield conditions of the statement with their values. Raises TraceStoreError for words without a letter."""
        plain = {"status = ?": self.status, "tool = ?": self.tool, "kind = ?": self.kind, "model = ?": self.model}
        for term, value in (plain | {"at >= ?": self.since, "at < ?": self.until}).items():
            if value:
                yield term, (value,)
        if self.generation is not None:
            yield "generation = ?", (self.generation,)
        if self.text:
            # The newest first, and not more than are looked at: a frequent word is in half of the traces.
            yield f"seq IN ({_MATCHING})", (match_words(self.text),)
        if self.degraded:
            yield "EXISTS(SELECT 1 FROM json_each(degraded) WHERE value = ?)", (self.degraded,)
        if self.flag:
            yield (
                "EXISTS(SELECT 1 FROM json_each(policy_flags) WHERE substr(value, 1, ?) = ?)",
                (len(self.flag), self.flag),
            )
        if self.prompt:
            name, _, version = self.prompt.partition("@")
            yield "prompt_id = ?", (name,)
            if version:
                yield "prompt_version = ?", (version,)
        yield from self._chunk_terms()
        if self.feedback:
            yield _SCORED.format(f"score.name = 'feedback' AND score.label = ? AND {scores.CURRENT}"), (self.feedback,)
        if self.scored:
            yield _SCORED.format("score.name = ?"), (self.scored,)

    def _chunk_terms(self) -> Iterator[tuple[str, tuple[object, ...]]]:
        names = (self.path, *self.former) if self.path else ()
        wanted: dict[str, tuple[object, ...]] = {
            f"path IN ({', '.join('?' * len(names))})": names,
            "source = ?": (self.source,) if self.source else (),
            "chunk_id = ?": () if self.chunk is None else (self.chunk,),
        }
        given = {term: values for term, values in wanted.items() if values}
        if given:
            yield _BY_CHUNK.format(" AND ".join(given)), tuple(value for values in given.values() for value in values)


_MATCHING = f"SELECT rowid FROM trace_fts WHERE trace_fts MATCH ? ORDER BY rowid DESC LIMIT {MAX_SCANNED}"
_SCORED = "id IN (SELECT trace FROM score WHERE {})"


def match_words(text: str) -> str:
    """Return a full-text expression that wants every word of a text, whatever signs it has."""
    words = re.findall(r"\w+", text)
    return " ".join(f'"{word}"' for word in words) or '""'


class TraceStore:
    """Traces on disk. Writing never raises: `healthy`, `failures` and one line through `on_error` tell about it."""

    def __init__(
        self,
        path: Path,
        *,
        on_error: Callable[[str], None] = write_stderr,
        max_full: int = MAX_FULL,
        max_rows: int = MAX_ROWS,
        limits: Limits | None = None,
        sinks: Sequence[Sink] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        activity: Activity | None = None,
        may_write: bool = True,
    ) -> None:
        """Open or make the file, or where it may not be written leave it as it is.

        `activity`: of the queries that writing keeps out of the way of.
        """
        self.path = path
        self.healthy = True
        self.failures = 0  # traces, or their content, that could not be written
        self.blocked = 0  # traces whose content the redactor failed on
        self.sink_failures = 0  # batches that could not be exported
        self.guarded = 0  # traces whose content was left out because the disk is nearly full
        self._on_error = on_error
        self._limits = limits or Limits()
        self._sinks = sinks
        self._clock = clock
        self._since_prune = PRUNE_EVERY  # so that the first batch of a process looks
        self._sealer = Sealer()
        self._connection: sqlite3.Connection | None = None  # the writer's
        self._writing = threading.Lock()
        self._writer = Writer(self._write, activity or Activity(), max_full=max_full, max_rows=max_rows)
        self._may_write = may_write
        if may_write:
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
        self.reopen()

    def reopen(self) -> None:
        """Let go of the file: the next trace goes to the one that lies under the path then."""
        with self._writing:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # Writing: the writer's thread only.

    def _write(self, drafts: Sequence[Draft]) -> None:
        with self._writing:
            try:
                kept = self._guard_disk(drafts)
                self._write_batch([self._sealer.seal(draft) for draft in kept])
            except Exception:  # one bad trace or a full disk: find out which, trace by trace
                for draft in drafts:
                    self._write_alone(draft)
            else:
                self.healthy = True
                self._retain(len(drafts))
        self._pass_on(drafts)

    def _guard_disk(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        if not retention.is_disk_low(self.path, self._limits):
            return drafts
        if not self.guarded:
            self._on_error(
                f"Less than {self._limits.min_free_mb} MB are free at {self.path.parent}: traces keep their rows only."
            )
        self.guarded += len(drafts)
        return [draft.without_content(CONTENT_DISK_GUARD) for draft in drafts]

    def _retain(self, written: int) -> None:
        """Forget what is over the limits, a step at a time."""
        self._since_prune += written
        if self._since_prune < PRUNE_EVERY or self._connection is None:
            return
        self._since_prune = 0
        try:
            retention.prune(self._connection, self._limits, self._clock(), at_most=PRUNE_STEP)
        except sqlite3.Error as error:  # the traces are written; the next look tries again
            self._on_error(f"Old traces in {self.path} could not be removed ({error}); it is tried again later.")

    def _pass_on(self, drafts: Sequence[Draft]) -> None:
        if not self._sinks:
            return
        try:
            traces = list(self.read_many([draft.summary.id for draft in drafts]))
            for sink in self._sinks:
                sink.write(traces)
        except Exception as error:  # a sink is somebody else's endpoint or disk; the traces themselves are safe
            self.sink_failures += 1
            if self.sink_failures == 1:
                self._on_error(
                    f"Traces could not be passed on ({type(error).__name__}: {error}). They are in {self.path}."
                )

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
                insert_trace(self._connection, sealed)
            add_counts(self._connection, batch)
            scores.note_repeats(self._connection, [sealed.row for sealed in batch])
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
            if said := set_aside_older(self.path):
                self._on_error(said)
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
        found = self._get(trace_id, allowed)
        if found is None and self._writer.is_behind:
            self.flush()
            found = self._get(trace_id, allowed)
        return found

    def _get(self, trace_id: str, allowed: Allowed) -> Trace | None:
        with self.reading() as connection:
            row = fetch(connection, f"{select_traces('id = ?')} LIMIT 1", (trace_id,))
            if row is None or not allowed(read_acl(row)):
                return None
            return read_trace(connection, row)

    def find(self, query: TraceQuery, allowed: Allowed, *, limit: int = 20) -> list[TraceSummary]:
        """Return the newest permitted traces that a query describes, of the newest 10,000 that do."""
        terms = list(query.terms())
        where = " AND ".join(term for term, _ in terms)
        values = [value for _, given in terms for value in given]
        found: list[TraceSummary] = []
        with self.reading() as connection:
            for row in connection.execute(f"{select_traces(where)} LIMIT {MAX_SCANNED}", values):
                if allowed(read_acl(row)):
                    found.append(read_summary(row))
                if len(found) >= limit:
                    break
        return found

    def read_many(self, ids: Sequence[str]) -> Iterator[Trace]:
        """Yield whole traces, for exports and audits: whoever calls this may see everything."""
        with self._open_reader() as connection:
            for trace_id in ids:
                row = fetch(connection, f"{select_traces('id = ?')} LIMIT 1", (trace_id,))
                if row is not None:
                    yield read_trace(connection, row)

    def scores(self, trace_id: str) -> list[Score]:
        """Return every judgement of a trace, the oldest first."""
        with self.reading() as connection:
            return scores.read_scores(connection, trace_id)

    def add_score(self, score: Score) -> Score:
        """Write a judgement. Raises TraceStoreError when it cannot be written."""
        self.flush()
        with self._writer_connection() as connection:
            return scores.insert_score(connection, score)

    def add_incident(self, incident: Incident) -> None:
        """Write an outage. Raises TraceStoreError when it cannot be written."""
        self.flush()
        with self._writer_connection() as connection:
            insert_incident(connection, incident)

    def incidents(self, limit: int = 50) -> list[Incident]:
        """Return the latest outages that are over, the newest first."""
        with self.reading() as connection:
            return read_incidents(connection, limit)

    def prune(self, limits: Limits) -> Pruned:
        """Forget what is over the limits and shrink the file. Raises TraceStoreError."""
        self.flush()
        with self._writer_connection() as connection:
            pruned = retention.prune(connection, limits, self._clock())
            retention.compact(connection)
            return pruned

    def forget(self, principal_hash: str) -> int:
        """Delete all traces of one principal. Raises TraceStoreError."""
        self.flush()
        with self._writer_connection() as connection:
            count = retention.forget(connection, principal_hash)
            retention.compact(connection)
            return count

    @contextmanager
    def _writer_connection(self) -> Iterator[sqlite3.Connection]:
        if not self._may_write:
            raise TraceStoreError(
                f"{self.path.parent} is read-only: nothing is recorded in it. Make it writable first."
            )
        with self._writing:
            if self._connection is None and not self._try_open():
                raise TraceStoreError(f"{self.path} cannot be opened for writing; check space and access.")
            assert self._connection is not None
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise TraceStoreError(f"{self.path} cannot be written ({error}). Check space and access.") from error

    def verify(self) -> verify.Verification:
        """Compute the hashes of every trace and blob anew. Raises TraceStoreError if nothing can be read."""
        with self.reading() as connection:
            faults = list(verify.find_blob_faults(connection))
            ids = [row[0] for row in connection.execute("SELECT id FROM trace ORDER BY seq")]
            thinned = dict(connection.execute("SELECT id, row_hash FROM thinned JOIN trace ON seq = trace").fetchall())
            blobs = connection.execute("SELECT count(*) FROM blob").fetchone()[0]
            for trace_id in ids:
                row = fetch(connection, f"{select_traces('id = ?')} LIMIT 1", (trace_id,))
                if row is None:  # pruned meanwhile
                    continue
                try:
                    faults += verify.find_faults(read_trace(connection, row), thinned.get(trace_id))
                except TraceStoreError as error:
                    faults.append(verify.Fault(trace_id, str(error)))
        return verify.Verification(len(ids), len(thinned), blobs, tuple(faults))

    def count_stale(self, since: str) -> tuple[int, int]:
        """Return how many answers there were since a day, and how many cited something that had changed.

        Raises TraceStoreError.
        """
        with self.reading() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(n_answers), 0), coalesce(sum(n_with_stale), 0) FROM rollup"
                " WHERE dimension = 'all' AND kind = 'live' AND day >= ?",
                (since,),
            ).fetchone()
        return int(row[0]), int(row[1])

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees everything written so far. Raises TraceStoreError."""
        self._writer.flush(READ_FLUSH_S)
        with self._open_reader() as connection:
            yield connection

    def _is_settled(self) -> bool:
        """Tell whether the file is whole by itself and stays so: else SQLite puts files beside it."""
        log = self.path.with_name(f"{self.path.name}-wal")
        return not self._may_write and not (log.exists() and log.stat().st_size)

    @contextmanager
    def _open_reader(self) -> Iterator[sqlite3.Connection]:
        uri = f"{self.path.absolute().as_uri()}?mode=ro{'&immutable=1' if self._is_settled() else ''}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as db:
                db.row_factory = sqlite3.Row
                check_version(db, self.path)
                yield db
        except sqlite3.Error as error:
            raise TraceStoreError(
                f"Traces in {self.path} cannot be read ({error}). Check access; move a damaged file away to start anew."
            ) from error


def _open_for_writing(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # questions are private; WAL files inherit the mode
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file only
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # likewise
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
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        for statement in schema_statements():
            connection.execute(statement)
    else:
        check_version(connection, path)
    connection.execute("COMMIT")


def set_aside_older(path: Path) -> str:
    """Move a file of an older format out of the way and say so; "" where there is none."""
    if not path.is_file() or path.stat().st_size == 0:
        return ""
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if not 0 < version < SCHEMA_VERSION:
            return ""
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = path.with_name(f"{path.stem}.v{version}{path.suffix}")
    path.rename(kept)
    return f"{path} was of an older format; it is kept as {kept.name}, and a new file is begun."


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise TraceStoreError for a file of another format."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise TraceStoreError(
            f"{path} has trace format {version}, this version knows {SCHEMA_VERSION}. "
            "Update CodeCairn, or move the file."
        )
