"""What people do with past queries: find, judge, compare, hand on, forget; under the access rules of one service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Literal

from ingest.access import Principal
from mcp_server.access import sees_everything
from mcp_server.errors import BadRequest, NotFound
from mcp_server.service import Service, redact_personal
from traces.errors import TraceStoreError
from traces.export import export_days
from traces.gaps import report_gaps
from traces.model import Score, Trace, TraceSummary
from traces.reports import DAYS, Report, report_costs, report_latency, report_quality
from traces.retention import Limits, Pruned
from traces.scores import ESCALATED, FEEDBACK, make_score
from traces.store import TraceQuery
from traces.verify import Verification

Thumb = Literal["up", "down"]
ReportName = Literal["costs", "latency", "quality", "gaps"]

REPORTS: Mapping[str, Callable[..., Report]] = {
    "latency": report_latency,
    "quality": report_quality,
    "gaps": report_gaps,
}
MAX_NOTE_CHARS = 2000
MAX_EXPORTED = 10_000  # traces in one export; a longer one is made by days
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
OWN_NAMES = frozenset({"feedback", "regenerate", "escalated", "blame", "golden"})


@dataclass(frozen=True, slots=True)
class Rated:
    """A trace with what was last said of it."""

    trace: TraceSummary
    score: Score


class Records:
    """The records of past queries, as one principal may see them."""

    def __init__(self, service: Service, principal: Principal) -> None:
        self._service = service
        self._principal = principal

    def get(self, trace_id: str) -> Trace:
        """Return one trace. Raises NotFound."""
        return self._service.get_trace(trace_id, self._principal)

    def find(self, query: TraceQuery, limit: int = 20) -> list[TraceSummary]:
        """Return the newest traces that a query describes."""
        return self._service.list_traces(self._principal, limit, query)

    # -- judging -----------------------------------------------------------------------------------------------------

    def rate(self, trace_id: str, thumb: Thumb, note: str = "") -> Score:
        """Say whether an answer helped; a later word replaces the earlier one, which stays in the history."""
        return self._judge(trace_id, FEEDBACK, 1.0 if thumb == "up" else -1.0, thumb, note)

    def escalate(self, trace_id: str, note: str = "") -> Score:
        """Say that the question went on to a person because it was not answered."""
        return self._judge(trace_id, ESCALATED, 1.0, None, note)

    def annotate(
        self, trace_id: str, name: str, value: float | None = None, label: str | None = None, note: str = ""
    ) -> Score:
        """Attach a judgement of any name. Raises BadRequest for a name that signals of our own have."""
        if not NAME.fullmatch(name) or name in OWN_NAMES:
            raise BadRequest(
                f"A judgement cannot be called {name[:40]!r}. Use lower-case letters, digits, - and _, and none of "
                f"{', '.join(sorted(OWN_NAMES))}."
            )
        return self._judge(trace_id, name, value, label, note)

    def _judge(self, trace_id: str, name: str, value: float | None, label: str | None, note: str) -> Score:
        if len(note) > MAX_NOTE_CHARS:
            raise BadRequest(f"The note has {len(note):,} characters; at most {MAX_NOTE_CHARS:,} are taken.")
        trace = self.get(trace_id)
        score = make_score(
            trace.summary.id,
            name,
            at=self._service.now(),
            source="human",
            value=value,
            label=redact_personal(label) if label else label,
            note=redact_personal(note) or None,
            author=self._service.pseudonym(self._principal),
        )
        return self._service.store.add_score(score)

    def scores(self, trace_id: str) -> list[Score]:
        """Return every judgement of a trace, the oldest first, replaced ones included."""
        return self._service.store.scores(self.get(trace_id).summary.id)

    def low_rated(self, limit: int = 20) -> list[Rated]:
        """Return the traces that were rated down, the newest first, each with the note."""
        rated = []
        for row in self.find(TraceQuery(feedback="down"), limit):
            last = [score for score in self._service.store.scores(row.id) if score.name == FEEDBACK][-1]
            rated.append(Rated(row, last))
        return rated

    # -- reports -------------------------------------------------------------------------------------------------------

    def report(self, name: ReportName, days: int = DAYS) -> Report:
        """Return a report over the counters of all queries. Raises BadRequest for who may not see all of them."""
        self._require_all()
        today = self._service.now().astimezone(UTC).date()
        with self._service.store.reading() as connection:
            if name == "costs":
                budget = self._service.setup.settings.budget.daily_usd
                return report_costs(connection, today, days=days, daily_usd=budget)
            return REPORTS[name](connection, today, days=days)

    # -- the whole store: for whoever may see all of it ----------------------------------------------------------------

    def verify(self) -> Verification:
        """Compute every hash anew."""
        self._require_all()
        return self._service.store.verify()

    def limits(self, max_days: int | None = None, max_mb: int | None = None) -> Limits:
        """Return the configured limits, or others in their place."""
        wanted = self._service.setup.settings.trace
        return Limits(
            wanted.max_days if max_days is None else max_days,
            wanted.max_mb if max_mb is None else max_mb,
            wanted.min_free_mb,
        )

    def prune(self, limits: Limits) -> Pruned:
        """Forget what is over the limits, now."""
        self._require_all()
        return self._service.store.prune(limits)

    def forget_mine(self) -> int:
        """Delete every trace of the principal; return how many there were."""
        return sum(self._service.store.forget(name) for name in sorted(self._service.pseudonyms(self._principal)))

    def export(self, folder: Path, query: TraceQuery) -> dict[str, int]:
        """Write the traces that a query describes as JSON lines, a file per day; return how many went into each."""
        rows = self.find(query, MAX_EXPORTED)
        if not rows:
            raise NotFound("No trace fits; `codecairn trace list` shows the latest.")
        try:
            return export_days(self._read([row.id for row in reversed(rows)]), folder)
        except OSError as error:
            raise TraceStoreError(
                f"{folder} cannot be written ({error.strerror}). Choose another with --out."
            ) from error

    def _read(self, ids: Sequence[str]) -> Iterator[Trace]:
        yield from self._service.store.read_many(ids)

    def _require_all(self) -> None:
        if not sees_everything(self._principal, self._service.setup.settings):
            raise BadRequest("This looks at every trace, and sources are hidden from you. Ask whoever runs the server.")
