"""Where knowledge is missing (M14): questions that were not answered, and what no answer had anything about."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from traces.reports import DAYS, LIVE, SHOWN, Panel, Report, clip
from traces.rows import read_blob

READ = 50  # latest queries with open parts whose content is read for their terms

_ABSTAINED = (
    "SELECT count(*), max(at), max(seq) FROM trace WHERE abstained = 1 AND kind = ? AND at > ? "
    "GROUP BY query_hash ORDER BY count(*) DESC, max(at) DESC LIMIT ?"
)
_BEFORE = ("kind", "text", "verdict")
_OPEN = (
    "SELECT id, query_hash, content_hash FROM trace WHERE kind = ? AND at > ? AND (abstained = 1 OR n_ungrounded > 0) "
    "AND content_hash IS NOT NULL ORDER BY at DESC LIMIT ?"
)


@dataclass(slots=True)
class Term:
    """Something that questions asked for and answers had nothing about."""

    questions: set[str] = field(default_factory=set)  # their hashes
    reason: str = ""
    trace: str = ""  # the latest


def report_gaps(db: sqlite3.Connection, today: date, *, days: int = DAYS) -> Report:
    """Return what was asked and not answered, how often, and the parts of questions that nothing covers."""
    since = (today - timedelta(days=days)).isoformat() + "T~"
    panels = (
        Panel("not answered", ("question", "times", "last", "trace"), tuple(read_abstained(db, since))),
        Panel("not covered", ("part of a question", "questions", "why", "trace"), tuple(read_terms(db, since))),
    )
    return Report("gaps", since[:10], today.isoformat(), panels)


def read_abstained(db: sqlite3.Connection, since: str) -> Iterator[tuple[Any, ...]]:
    """Yield each question that was not answered, the most frequent first: text, times, last, latest trace."""
    for times, last, seq in db.execute(_ABSTAINED, (LIVE, since, SHOWN)).fetchall():
        query, trace_id = db.execute("SELECT query, id FROM trace WHERE seq = ?", (seq,)).fetchone()
        yield clip(query), times, last[:10], trace_id


def read_terms(db: sqlite3.Connection, since: str) -> Iterator[tuple[Any, ...]]:
    """Yield the open parts of the latest questions, grouped: text, questions that have it, why, latest trace."""
    terms: dict[str, Term] = {}
    for trace_id, query_hash, content_hash in db.execute(_OPEN, (LIVE, since, READ)).fetchall():
        for item in open_parts(read_blob(db, content_hash)):
            term = terms.setdefault(str(item["text"]).lower(), Term(reason=str(item.get("reason", "")), trace=trace_id))
            term.questions.add(query_hash)
    ranked = sorted(terms.items(), key=lambda pair: (-len(pair[1].questions), pair[0]))
    for text, term in ranked[:SHOWN]:
        yield clip(text), len(term.questions), clip(term.reason), term.trace


def open_parts(content: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - what a blob holds
    """Yield the parts of the question itself among what an answer names as ungrounded."""
    for recorded in (content or {}).get("ungrounded") or ():
        # Until November 2026 answers recorded (kind, text, verdict).
        item = recorded if isinstance(recorded, Mapping) else dict(zip(_BEFORE, recorded, strict=False))
        if item.get("kind") == "question":
            yield item
