"""Reports over past queries: what they cost, how long they took, how good they were. Read from counters and indexes."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

from traces.rollup import NANO, bucket_ms
from traces.schema import MEASURES
from traces.scores import CURRENT

PERCENTILES = (50, 90, 95, 99)
DAYS = 30
PROJECTED_FROM_DAYS = 7
MIN_JUDGED = 20  # answers or labels of a week below which a monitor says `no-data`
FAITHFULNESS_FLOOR = 0.85  # N8
HIT_RATE_DROP = 0.10  # N8: week over week, relative
BUDGET_WARNING = 0.8  # share of the day's budget from which on it is said
LIVE = "live"
SHOWN = 20  # single queries or terms in a table
MAX_CHARS = 80  # of a question in a table

State = Literal["ok", "warn", "alert", "no-data"]
Sums = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """The counters of one value of one dimension over the days of a report."""

    value: str
    sums: Sums

    def rate(self, part: str, whole: str = "n") -> float | None:
        """Return the share of one counter in another; None where there is nothing to share."""
        return self.sums[part] / self.sums[whole] if self.sums[whole] else None

    @property
    def usd(self) -> Decimal:
        """What the priced calls cost."""
        return Decimal(self.sums["nano_usd"]) / NANO


@dataclass(frozen=True, slots=True)
class Panel:
    """One table of a report: a title, column names and rows, with figures as numbers or null."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.title}: no data"
        shown = [self.columns, *(tuple(show(cell) for cell in row) for row in self.rows)]
        widths = [max(len(row[at]) for row in shown) for at in range(len(self.columns))]
        lines = [self.title]
        for row in shown:
            first, *rest = (
                cell.ljust(w) if at == 0 else cell.rjust(w)
                for at, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  " + "  ".join((first, *rest)).rstrip())
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Monitor:
    """A figure with a limit. `no-data` is a state of its own: it says that nobody would notice."""

    name: str
    state: State
    value: float | None
    limit: float | None
    text: str

    def __str__(self) -> str:
        return f"{self.state.upper():<8} {self.name}: {self.text}"


@dataclass(frozen=True, slots=True)
class Report:
    """Panels and monitors."""

    name: str
    since: str
    until: str
    panels: tuple[Panel, ...]
    monitors: tuple[Monitor, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        head = [f"{self.name}, {self.since} to {self.until}"]
        head += [f"{name}: {show(value)}" for name, value in self.figures.items()]
        parts = ["\n".join(head), "\n".join(map(str, self.monitors)), *map(str, self.panels)]
        return "\n\n".join(part for part in parts if part)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values: each panel a list of objects."""
        panels = {
            panel.title: [dict(zip(panel.columns, map(plain, row), strict=True)) for row in panel.rows]
            for panel in self.panels
        }
        figures = {name: plain(value) for name, value in self.figures.items()}
        monitors = [asdict(monitor) for monitor in self.monitors]
        head = {"report": self.name, "since": self.since, "until": self.until}
        return {**head, **figures, "monitors": monitors, "panels": panels}


# -- costs -------------------------------------------------------------------------------------------------------------


def report_costs(db: sqlite3.Connection, today: date, *, days: int = DAYS, daily_usd: float = 0.0) -> Report:
    """Return spend per day, kind of run, model, module, transform and bucket, and how often each cache hit."""
    since = _since(today, days)
    whole = _total(read_rows(db, since, "all"))
    per_day = read_days(db, since)
    week = [row.usd for row in per_day if row.value > _since(today, PROJECTED_FROM_DAYS)]
    figures = {
        "queries": whole.sums["n"],
        "usd": whole.usd,
        "usd per 1,000 queries": _per_query(whole, 1000),
        "usd of a month, from the last 7 days": sum(week, Decimal(0)) / PROJECTED_FROM_DAYS * 30,
        "share that calls a model": whole.rate("n_model_calls"),
        "calls without a price": whole.sums["n_unpriced"],
    }
    spend = ("", "queries", "usd", "usd per query", "unpriced", "tokens in", "tokens out", "tokens cached")
    panels = [Panel("daily spend", ("day", *spend[1:]), tuple(_spend(row) for row in per_day))]
    for title, dimension in (
        ("per model", "model"),
        ("per module (tool and source)", "module"),
        ("per tool", "tool"),
        ("per transform", "transform"),
        ("per route", "route"),
        ("per bucket", "bucket"),
    ):
        rows = sorted(read_rows(db, since, dimension), key=lambda row: (-row.usd, -row.sums["n"], row.value))
        panels.append(Panel(title, (dimension, *spend[1:]), tuple(map(_spend, rows))))
    panels.append(Panel("per kind of run", ("kind", *spend[1:]), tuple(_spend(row) for row in read_kinds(db, since))))
    caches = read_rows(db, since, "cache")
    hits = tuple((row.value, row.sums["n"], row.sums["n_hit"], row.rate("n_hit")) for row in caches)
    panels.append(Panel("caches", ("cache", "look-ups", "hits", "hit rate"), hits))
    panels.append(read_dearest(db, since))
    return Report("costs", since, today.isoformat(), tuple(panels), (watch_budget(per_day, today, daily_usd),), figures)


# As the index trace_by_cost has it.
_DEAREST = (
    "SELECT id, cost_usd, model, tool, transform, tokens_in, tokens_out, query FROM trace "
    "WHERE cost_usd IS NOT NULL AND kind = ? AND at > ? ORDER BY CAST(cost_usd AS REAL) DESC, seq DESC LIMIT ?"
)


def read_dearest(db: sqlite3.Connection, since: str) -> Panel:
    """Return the queries that cost most, each with its trace, model, tool and transform."""
    rows = [tuple(row) for row in db.execute(_DEAREST, (LIVE, f"{since}T~", SHOWN))]
    columns = ("trace", "usd", "model", "tool", "transform", "tokens in", "tokens out", "question")
    shown = tuple((trace, Decimal(usd), *rest[:-1], clip(rest[-1])) for trace, usd, *rest in rows if Decimal(usd))
    return Panel("dearest queries", columns, shown)


def watch_budget(per_day: Sequence[Row], today: date, daily_usd: float) -> Monitor:
    """Return whether today's spend is within the day's budget."""
    spent = sum((row.usd for row in per_day if row.value == today.isoformat()), Decimal(0))
    if not daily_usd:
        return Monitor("budget", "no-data", float(spent), None, f"{spent:.4f} USD today; budget.daily_usd is not set")
    share = float(spent) / daily_usd
    state: State = "alert" if share >= 1 else "warn" if share >= BUDGET_WARNING else "ok"
    return Monitor("budget", state, float(spent), daily_usd, f"{spent:.4f} of {daily_usd:.2f} USD today ({share:.0%})")


def _spend(row: Row) -> tuple[Any, ...]:
    counted = (row.sums[name] for name in ("n_unpriced", "tokens_in", "tokens_out", "tokens_cached"))
    return (row.value, row.sums["n"], row.usd, _per_query(row, 1), *counted)


def _per_query(row: Row, queries: int) -> Decimal | None:
    return row.usd * queries / row.sums["n"] if row.sums["n"] else None


# -- latency -----------------------------------------------------------------------------------------------------------


def report_latency(db: sqlite3.Connection, today: date, *, days: int = DAYS) -> Report:
    """Return percentiles of the whole, of each tool and bucket, of retrieval and model, and of each stage; errors."""
    since = _since(today, days)
    counts: dict[str, dict[int, int]] = defaultdict(dict)
    for stage, bucket, count in db.execute(_BUCKETS, (LIVE, since)):
        counts[stage][bucket] = count
    names = tuple(f"p{percent} ms" for percent in PERCENTILES)
    whole = sorted(stage for stage in counts if stage.partition(":")[0] == "total" or stage in ("retrieval", "model"))
    stages = sorted(set(counts) - set(whole), key=lambda stage: -percentile(counts[stage], 50))
    panels = [
        Panel(title, (what, "queries", *names), tuple(_percentiles(stage, counts[stage]) for stage in rows))
        for title, what, rows in (("whole queries", "what", whole), ("stages", "stage", stages))
    ]
    errors = [row for row in read_rows(db, since, "error") if row.value != "none"]
    panels.append(Panel("errors", ("error", "queries"), tuple((row.value, row.sums["n"]) for row in errors)))
    degraded = read_rows(db, since, "degraded")
    panels.append(Panel("degraded", ("code", "queries"), tuple((row.value, row.sums["n"]) for row in degraded)))
    total = _total(read_rows(db, since, "all"))
    figures = {
        "queries": total.sums["n"],
        "failed": total.rate("n_failed"),
        "degraded or refused": total.rate("n_handled"),
        "cancelled": total.rate("n_cancelled"),
    }
    return Report("latency", since, today.isoformat(), tuple(panels), (), figures)


_BUCKETS = "SELECT stage, bucket, sum(n) FROM latency WHERE kind = ? AND day > ? GROUP BY stage, bucket"


def percentile(counts: Mapping[int, int], percent: float) -> float:
    """Return a percentile of a histogram of durations, in milliseconds."""
    wanted = sum(counts.values()) * percent / 100
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return bucket_ms(bucket)
    return 0.0


def _percentiles(stage: str, counts: Mapping[int, int]) -> tuple[Any, ...]:
    return (stage, sum(counts.values()), *(round(percentile(counts, percent), 2) for percent in PERCENTILES))


# -- quality -----------------------------------------------------------------------------------------------------------


def report_quality(db: sqlite3.Connection, today: date, *, days: int = DAYS) -> Report:
    """Return abstentions, what was not supported or stale, and what people said, by everything that may explain it."""
    since = _since(today, days)
    columns = ("answers", "abstained", "ungrounded", "stale", "faithfulness")
    panels = [Panel("per day", ("day", *columns), tuple(_quality(row) for row in read_days(db, since)))]
    for dimension in ("prompt", "model", "generation", "deployment", "config", "bucket", "route"):
        rows = [row for row in read_rows(db, since, dimension) if row.sums["n_answers"]]
        panels.append(Panel(f"by {dimension}", (dimension, *columns), tuple(map(_quality, rows))))
    panels.append(Panel("signals", ("signal", "queries"), tuple(read_signals(db, since))))
    whole = _total(read_rows(db, since, "all"))
    figures = dict(zip(columns, _quality(whole)[1:], strict=True))
    return Report("quality", since, today.isoformat(), tuple(panels), tuple(watch_quality(db, today)), figures)


def watch_quality(db: sqlite3.Connection, today: date) -> Iterator[Monitor]:
    """Yield the alarms of drift: faithfulness, and the hit rate against the week before (N8)."""
    week = _total(read_rows(db, _since(today, 7), "all"))
    faithful = week.rate("n_supported", "n_claims")
    if faithful is None or week.sums["n_claims"] < MIN_JUDGED:
        said = f"{week.sums['n_claims']} claims in 7 days; {MIN_JUDGED} are needed"
        yield Monitor("faithfulness", "no-data", faithful, FAITHFULNESS_FLOOR, said)
    else:
        state: State = "ok" if faithful >= FAITHFULNESS_FLOOR else "alert"
        said = f"{faithful:.3f} of the claims of 7 days are supported (limit {FAITHFULNESS_FLOOR})"
        yield Monitor("faithfulness", state, faithful, FAITHFULNESS_FLOOR, said)
    yield watch_hits(db, today)


def watch_hits(db: sqlite3.Connection, today: date) -> Monitor:
    """Return whether the hit rate of judged runs fell by a tenth in a week, and what changed in between."""
    now, before = (_hit_rate(db, _since(today, days + 7), _since(today, days)) for days in (0, 7))
    if now is None or before is None or not before:
        said = f"fewer than {MIN_JUDGED} judgements named `hit` in one of the two weeks"
        return Monitor("hit rate", "no-data", now, None, said)
    limit = before * (1 - HIT_RATE_DROP)
    said = f"{now:.3f} this week, {before:.3f} the week before"
    if now >= limit:
        return Monitor("hit rate", "ok", now, limit, said)
    return Monitor(
        "hit rate", "alert", now, limit, f"{said}; changed meanwhile: {_changes(db, today) or 'nothing recorded'}"
    )


def _hit_rate(db: sqlite3.Connection, since: str, until: str) -> float | None:
    row = db.execute(
        "SELECT count(*), avg(value) FROM score WHERE name = 'hit' AND at > ? AND at <= ?", (since + "T~", until + "T~")
    ).fetchone()
    return float(row[1]) if row[0] >= MIN_JUDGED else None


def _changes(db: sqlite3.Connection, today: date) -> str:
    """Return what is in use this week that was not the week before."""
    said = []
    for dimension in ("prompt", "model", "deployment", "config", "generation"):
        new = {row.value for row in read_rows(db, _since(today, 7), dimension)}
        old = {row.value for row in read_rows(db, _since(today, 14), dimension, until=_since(today, 7))}
        said += [f"{dimension} {value}" for value in sorted(new - old)[-3:]]
    return ", ".join(said)


def _quality(row: Row) -> tuple[Any, ...]:
    parts = ("n_abstained", "n_with_ungrounded", "n_with_stale")
    rates = (row.rate(part, "n_answers") for part in parts)
    return (row.value, row.sums["n_answers"], *rates, row.rate("n_supported", "n_claims"))


def read_signals(db: sqlite3.Connection, since: str) -> Iterator[tuple[str, int]]:
    """Yield how many traces people rated, asked again for, or handed to a person."""
    counted = db.execute(
        "SELECT name || coalesce(' ' || CASE WHEN name = 'feedback' THEN label END, ''), count(DISTINCT trace) "
        f"FROM score WHERE at > ? AND name IN ('feedback', 'regenerate', 'escalated') AND {CURRENT} "
        "GROUP BY 1 ORDER BY 1",
        (since + "T~",),
    )
    yield from ((name, count) for name, count in counted)


# -- reading -----------------------------------------------------------------------------------------------------------

_SUMS = ", ".join(f"sum({name})" for name in MEASURES)


def read_rows(
    db: sqlite3.Connection, since: str, dimension: str, *, kind: str = LIVE, until: str = "9999"
) -> list[Row]:
    """Return the counters per value of a dimension, the most frequent first."""
    rows = db.execute(
        f"SELECT value, {_SUMS} FROM rollup WHERE day > ? AND day <= ? AND kind = ? AND dimension = ? "
        "GROUP BY value ORDER BY sum(n) DESC, value",
        (since, until, kind, dimension),
    )
    return [Row(row[0], dict(zip(MEASURES, row[1:], strict=True))) for row in rows]


def read_days(db: sqlite3.Connection, since: str) -> list[Row]:
    """Return the counters of live queries per day."""
    rows = db.execute(
        f"SELECT day, {_SUMS} FROM rollup WHERE day > ? AND kind = ? AND dimension = 'all' GROUP BY day ORDER BY day",
        (since, LIVE),
    )
    return [Row(row[0], dict(zip(MEASURES, row[1:], strict=True))) for row in rows]


def read_kinds(db: sqlite3.Connection, since: str) -> list[Row]:
    """Return the counters per kind of run: only live ones count in every other table."""
    rows = db.execute(
        f"SELECT kind, {_SUMS} FROM rollup WHERE day > ? AND dimension = 'all' GROUP BY kind ORDER BY kind", (since,)
    )
    return [Row(row[0], dict(zip(MEASURES, row[1:], strict=True))) for row in rows]


def _total(rows: Sequence[Row]) -> Row:
    return Row("all", {name: sum(row.sums[name] for row in rows) for name in MEASURES})


def _since(today: date, days: int) -> str:
    return (today - timedelta(days=days)).isoformat()


def show(value: object) -> str:
    """Return a cell for people: rates and money short, unknown as a dash."""
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return f"{value:.4f}"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def clip(text: str) -> str:
    """Return a text in one line of a table."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 3] + "..."


def plain(value: object) -> object:
    """Return a cell as a JSON value."""
    return float(value) if isinstance(value, Decimal) else value
