"""Outages: from the first query that a component failed to the first that it served again, with how many it failed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

# Degraded code -> what has failed. A day's spent budget or a reply that cannot be read is no outage.
COMPONENT_OF: Mapping[str, str] = {
    "llm_down": "model",
    "generation_timeout": "model",
    "embed_unavailable": "embedding",
    "vector_unavailable": "vectors",
    "cache_unavailable": "cache",
    "judge_unavailable": "judge",
    "git_unavailable": "tree",
}


@dataclass(frozen=True, slots=True)
class Incident:
    """One outage. `ended_at` is None while it lasts; `count`: the queries that felt it."""

    component: str
    degraded: str
    started_at: str  # ISO 8601, UTC
    ended_at: str | None
    count: int

    def describe(self) -> str:
        """Return the outage in a sentence."""
        end = f"until {self.ended_at}" if self.ended_at else "and lasts"
        queries = "query" if self.count == 1 else "queries"
        return f"{self.component}: {self.degraded} since {self.started_at} {end}, {self.count} {queries}"


class IncidentLog:
    """Follows the components from query to query. Thread-safe; an outage is written once, when it is over."""

    def __init__(self, write: Callable[[Incident], None], clock: Callable[[], datetime]) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Incident] = {}

    def note(self, degraded: Iterable[str], used: Collection[str]) -> None:
        """Note one query: the codes of its result, and the components that it used."""
        now = self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        failed = {COMPONENT_OF[code]: code for code in degraded if code in COMPONENT_OF}
        with self._lock:
            for component, code in failed.items():
                known = self._open.get(component) or Incident(component, code, now, None, 0)
                self._open[component] = replace(known, count=known.count + 1)
            over = [self._open.pop(name) for name in set(used) - failed.keys() if name in self._open]
        for incident in over:
            self._write(replace(incident, ended_at=now))

    def list_open(self) -> list[Incident]:
        """Return the outages that last, the oldest first."""
        with self._lock:
            return sorted(self._open.values(), key=lambda incident: (incident.started_at, incident.component))

    def close(self) -> None:
        """Write the outages whose end nobody will see."""
        with self._lock:
            left = list(self._open.values())
            self._open.clear()
        for incident in left:
            self._write(incident)


def insert_incident(connection: sqlite3.Connection, incident: Incident) -> None:
    """Add an outage."""
    connection.execute(
        "INSERT INTO incident(component, started_at, ended_at, degraded, count) VALUES (?, ?, ?, ?, ?)",
        (incident.component, incident.started_at, incident.ended_at, incident.degraded, incident.count),
    )


def read_incidents(connection: sqlite3.Connection, limit: int) -> list[Incident]:
    """Return the latest outages that are over, the newest first."""
    rows = connection.execute(
        "SELECT component, degraded, started_at, ended_at, count FROM incident ORDER BY id DESC LIMIT ?",
        (limit,),
    )
    return [Incident(*row) for row in rows.fetchall()]
