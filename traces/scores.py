"""Judgements of traces: thumbs, notes, signals, blame. Rows are added; a later word supersedes an earlier one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta

from ulid import ULID

from traces.draft import Row
from traces.model import Score, ScoreSource
from traces.rows import columns, fetch, marks

SCORE_COLUMNS = ("id", "trace", "name", "value", "label", "note", "source", "author", "at", "supersedes")
FEEDBACK, REGENERATE, ESCALATED, BLAME, GOLDEN = "feedback", "regenerate", "escalated", "blame", "golden"
REPEAT_WITHIN = timedelta(minutes=10)

# The latest word of each author on each subject.
CURRENT = "NOT EXISTS(SELECT 1 FROM score AS later WHERE later.supersedes = score.id)"


def make_score(
    trace: str,
    name: str,
    *,
    at: datetime,
    source: ScoreSource,
    value: float | None = None,
    label: str | None = None,
    note: str | None = None,
    author: str | None = None,
) -> Score:
    """Return a new judgement."""
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Score(str(ULID.from_datetime(at)), trace, name, value, label, note, source, author, stamp)


def insert_score(connection: sqlite3.Connection, score: Score) -> Score:
    """Add a judgement that supersedes the author's last one of this name; return it as it was written."""
    before = fetch(
        connection,
        f"SELECT id FROM score WHERE trace = ? AND name = ? AND author IS ? AND {CURRENT} ORDER BY at DESC LIMIT 1",
        (score.trace, score.name, score.author),
    )
    values = {name: getattr(score, name) for name in SCORE_COLUMNS} | {"supersedes": before["id"] if before else None}
    connection.execute(f"INSERT INTO score({columns(values)}) VALUES ({marks(values)})", tuple(values.values()))
    return Score(**values)


def read_scores(connection: sqlite3.Connection, trace: str) -> list[Score]:
    """Return every judgement of a trace, the oldest first, superseded ones included."""
    rows = connection.execute(
        f"SELECT {columns(SCORE_COLUMNS)} FROM score WHERE trace = ? ORDER BY at, id", (trace,)
    ).fetchall()
    return [Score(**{name: row[name] for name in SCORE_COLUMNS}) for row in rows]


def note_repeats(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Mark an answer that the same caller asked for again within minutes: whoever is content does not."""
    for row in rows:
        if row["tool"] != "answer" or row["kind"] != "live" or not row["query_hash"]:
            continue
        at = datetime.fromisoformat(row["at"].replace("Z", "+00:00"))
        since = (at - REPEAT_WITHIN).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        earlier = fetch(
            connection,
            "SELECT id FROM trace WHERE at >= ? AND at <= ? AND query_hash = ? AND principal_hash = ? "
            "AND tool = 'answer' AND kind = 'live' AND id < ? ORDER BY seq DESC LIMIT 1",
            (since, row["at"], row["query_hash"], row["principal_hash"], row["id"]),
        )
        if earlier is not None:
            score = make_score(earlier["id"], REGENERATE, at=at, source="rule", value=1.0, label=row["id"])
            insert_score(connection, score)
