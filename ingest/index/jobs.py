"""The job table: what every source should be at, what it is at, and why it is not there yet.

A row is due while more events were counted (`wanted`) than were taken in (`indexed`). Events coalesce in the row by
themselves, and a killed worker loses nothing: `indexed` moves in the transaction that moves the pointer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.index import control

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 900.0
DEAD_ATTEMPTS = 6  # from then on a person has to look; it is still tried every LAST_RETRY_S
# Somebody waits for these, or what they failed for may be over: they do not sit out a delay.
ASKED = frozenset({"cli", "hook", "webhook", "start", "space", "place"})
COLUMNS = (
    "source, wanted_head, indexed_head, priority, attempts, reason, trigger, wanted, indexed,"
    " wanted_at, retry_at, done_at"
)


@dataclass(frozen=True, slots=True)
class Job:
    """One source's work. Times are ISO 8601 UTC or ""; `wanted - indexed` events wait."""

    source: str
    wanted_head: str
    indexed_head: str
    priority: int
    attempts: int
    reason: str  # of the last failure, "" after a success
    trigger: str
    wanted: int
    indexed: int
    wanted_at: str
    retry_at: str
    done_at: str

    @property
    def is_due(self) -> bool:
        """Tell whether events wait."""
        return self.wanted > self.indexed

    @property
    def is_dead(self) -> bool:
        """Tell whether it failed so often that somebody has to look."""
        return self.attempts >= DEAD_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Letter:
    """One entry that could not be prepared. `content_hash` is that of the attempts; other content is tried at once."""

    source: str
    path: str
    content_hash: str
    reason: str
    detail: str
    attempts: int
    first_at: str
    retry_at: str

    @property
    def is_dead(self) -> bool:
        """Tell whether it is left alone until its content changes."""
        return self.attempts >= DEAD_ATTEMPTS

    def waits(self, content_hash: str, now: str) -> bool:
        """Tell whether this content is not to be tried now."""
        return content_hash == self.content_hash and (self.is_dead or is_ahead(self.retry_at, now))


def connect_jobs(data_dir: Path) -> sqlite3.Connection:
    """Open control.db for events: without a flush per row, for a lost event is found again at the next start."""
    data_dir.mkdir(parents=True, exist_ok=True)
    connection = control.connect(data_dir, create=True)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def want(
    connection: sqlite3.Connection, source: str, trigger: str, now: str, *, head: str = "", priority: int = 0
) -> None:
    """Count an event of a source. A delay after failures stays unless somebody asks in person."""
    delay = "''" if trigger in ASKED else "retry_at"
    connection.execute(
        "INSERT INTO job(source, wanted_head, priority, trigger, wanted, wanted_at)"
        " VALUES (:source, :head, :priority, :trigger, 1, :now) ON CONFLICT(source) DO UPDATE SET"
        " wanted = wanted + 1, trigger = excluded.trigger,"
        " wanted_head = CASE excluded.wanted_head WHEN '' THEN wanted_head ELSE excluded.wanted_head END,"
        " priority = CASE WHEN wanted > indexed THEN max(priority, excluded.priority) ELSE excluded.priority END,"
        " wanted_at = CASE WHEN wanted > indexed THEN wanted_at ELSE excluded.wanted_at END,"
        f" retry_at = {delay}",
        {"source": source, "head": head, "priority": priority, "trigger": trigger, "now": now},
    )


def read_jobs(connection: sqlite3.Connection) -> list[Job]:
    """Return every row, the most urgent first, then the one that waits longest."""
    rows = connection.execute(f"SELECT {COLUMNS} FROM job ORDER BY priority DESC, wanted_at, source")
    return [Job(*row) for row in rows]


def due_jobs(connection: sqlite3.Connection, sources: Collection[str], now: str) -> list[Job]:
    """Return the rows of these sources that can be worked on now."""
    return [
        job for job in read_jobs(connection) if job.source in sources and job.is_due and not is_ahead(job.retry_at, now)
    ]


def is_ahead(moment: str, now: str) -> bool:
    """Tell whether a time is still to come. One further away than any delay is none: the clock was set back."""
    if not moment:
        return False
    ahead = (parse_time(moment) - parse_time(now)).total_seconds()
    return 0 < ahead <= LAST_RETRY_S


def taken(connection: sqlite3.Connection, sources: Collection[str]) -> dict[str, int]:
    """Return the events of each source so far: what a build that starts now takes in."""
    known = {job.source: job.wanted for job in read_jobs(connection)}
    return {source: known.get(source, 0) for source in sources}


def finish(connection: sqlite3.Connection, events: Mapping[str, int], heads: Mapping[str, str], now: str) -> None:
    """Record that a build took in these events; call it in the transaction that makes the build visible."""
    connection.executemany(
        "INSERT INTO job(source, wanted_head, indexed_head, wanted, indexed, done_at)"
        " VALUES (:source, :head, :head, :events, :events, :now) ON CONFLICT(source) DO UPDATE SET"
        " indexed = max(indexed, :events), indexed_head = :head, attempts = 0, reason = '', retry_at = '',"
        " done_at = :now, wanted_head = CASE wanted WHEN :events THEN :head ELSE wanted_head END",
        [
            {"source": source, "head": heads.get(source, ""), "events": count, "now": now}
            for source, count in events.items()
        ],
    )


def fail(connection: sqlite3.Connection, sources: Collection[str], reason: str, now: str) -> None:
    """Count a failed attempt and say when the next one is."""
    attempts = {job.source: job.attempts for job in read_jobs(connection)}
    connection.executemany(
        "UPDATE job SET attempts = attempts + 1, reason = ?, retry_at = ? WHERE source = ?",
        [(reason[:1000], later(now, retry_delay_s(attempts.get(source, 0) + 1)), source) for source in sources],
    )


def forget(connection: sqlite3.Connection, kept: Collection[str]) -> None:
    """Remove the rows of sources that are no longer configured."""
    marks = ",".join("?" * len(kept))
    for table in ("job", "letter"):
        connection.execute(f"DELETE FROM {table} WHERE source NOT IN ({marks})", [*kept])


def retry_delay_s(attempts: int) -> float:
    """Return the wait after so many failed attempts: it doubles from a second to a quarter of an hour."""
    return min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** (attempts - 1))


def read_letters(connection: sqlite3.Connection, source: str = "") -> list[Letter]:
    """Return the entries that could not be prepared, of one source where given, in path order."""
    rows = connection.execute(
        "SELECT source, path, content_hash, reason, detail, attempts, first_at, retry_at FROM letter"
        " WHERE ? IN ('', source) ORDER BY source, path",
        (source,),
    )
    return [Letter(*row) for row in rows]


def replace_letters(connection: sqlite3.Connection, source: str, letters: Sequence[Letter]) -> None:
    """Store what a source's entries failed with, and forget those that it lists no more."""
    connection.execute("DELETE FROM letter WHERE source = ?", (source,))
    connection.executemany(
        "INSERT INTO letter VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (one.source, one.path, one.content_hash, one.reason, one.detail, one.attempts, one.first_at, one.retry_at)
            for one in letters
        ],
    )


def next_letter(
    old: Letter | None, source: str, path: str, content_hash: str, reason: str, detail: str, now: str
) -> Letter:
    """Return the letter after another failed attempt at an entry."""
    same = old is not None and old.content_hash == content_hash
    attempts = old.attempts + 1 if old is not None and same else 1
    first_at = old.first_at if old is not None and same else now
    retry_at = later(now, max(60.0, retry_delay_s(attempts)))
    return Letter(source, path, content_hash, reason, detail, attempts, first_at, retry_at)


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that is to be done in one data directory, and what could not be done."""

    jobs: tuple[Job, ...] = ()
    letters: tuple[Letter, ...] = ()


def read_work(data_dir: Path) -> Work:
    """Return the jobs and the dead letters of a data directory; nothing before the first build."""
    if not control.is_created(data_dir):
        return Work()
    connection = control.connect(data_dir)
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'letter'").fetchone():
            return Work()  # built by an earlier release; the next build makes the tables
        with control.translated(data_dir / control.CONTROL):
            return Work(tuple(read_jobs(connection)), tuple(read_letters(connection)))
    finally:
        connection.close()


def later(now: str, seconds: float) -> str:
    """Return a time so many seconds after another."""
    return (parse_time(now) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Return a stored time."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
