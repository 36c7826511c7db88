"""What is forgotten, what never is, and that the rest is still what was written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.traces.conftest import Desk, make_chunk, record_one, see_all
from traces import retention
from traces.blobs import compress
from traces.export import DailyExport, export_days
from traces.model import CONTENT_DISK_GUARD, Trace
from traces.retention import Limits
from traces.schema import SCHEMA_VERSION
from traces.scores import make_score
from traces.store import TraceQuery, TraceStore
from traces.verify import Fault

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def read(desk: Desk, trace_id: str) -> Trace | None:
    return desk.store.get(trace_id, see_all)


def record_failure(desk: Desk, query: str) -> str:
    with (
        pytest.raises(RuntimeError),
        desk.recorder.trace(tool="search_code", query=query, entry="cli") as trace,
        trace.span("fusion") as span,
    ):
        span.record(output=[[1, 1.0]], chunks=[make_chunk(1)])
        raise RuntimeError("boom")
    return trace.id


def changes(desk: Desk) -> list[Fault]:
    """What is wrong besides the stages that these short records never had."""
    return [fault for fault in desk.store.verify().faults if "not complete" not in fault.what]


def judge(desk: Desk, trace_id: str, name: str, **more: object) -> None:
    desk.store.add_score(make_score(trace_id, name, at=NOON, source="human", **more))  # type: ignore[arg-type]


@pytest.mark.req("T34")
def test_old_traces_go_but_failures_judged_and_golden_ones_stay(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(clock=lambda: NOON + timedelta(days=3))
    plain, failed = record_one(desk, "plain words"), record_failure(desk, "broken")
    rated, golden = record_one(desk, "rated"), record_one(desk, "golden")
    judge(desk, rated, "feedback", value=-1.0, label="down")
    judge(desk, golden, "golden", label="case-1")
    assert desk.store.prune(Limits(max_days=1)).deleted == 1
    assert read(desk, plain) is None
    assert desk.store.find(TraceQuery(text="plain"), see_all) == []
    assert [read(desk, one) is not None for one in (failed, rated, golden)] == [True, True, True]
    assert changes(desk) == []


@pytest.mark.req("T34", "A6")
def test_rows_go_last_and_only_when_nothing_else_helps(desk: Desk) -> None:
    ids = [record_one(desk, f"question number {n}") for n in range(30)]
    kept = record_failure(desk, "broken")
    assert (desk.store.verify().traces, changes(desk)) == (31, [])
    pruned = desk.store.prune(Limits(max_mb=0, max_days=10_000))
    assert pruned.bytes_after < pruned.bytes_before
    assert pruned.thinned == 30 and pruned.deleted == 30  # nothing fits into no bytes: rows go last
    assert read(desk, ids[0]) is None and read(desk, kept) is not None


@pytest.mark.req("T34")
def test_thinned_trace_says_when_and_keeps_its_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = record_one(desk, "first question"), record_one(desk, "second question", count=7)
    desk.store.flush()
    sizes = iter([100, 2_000_000, *[0] * 10])
    monkeypatch.setattr(retention, "used_bytes", lambda connection: next(sizes))
    monkeypatch.setattr(retention, "BATCH", 1)
    assert desk.store.prune(Limits(max_mb=1, max_days=10_000)).thinned == 1
    thin, whole = read(desk, first), read(desk, second)
    assert thin is not None and whole is not None
    assert thin.thinned_at is not None and (thin.spans, thin.chunks, thin.missing) == ((), (), ())
    assert thin.summary.query == "first question" and thin.summary.chunks_retrieved == 5
    assert whole.thinned_at is None and len(whole.chunks) == 7
    assert [row.id for row in desk.store.find(TraceQuery(text="question"), see_all)] == [second, first]
    assert [row.id for row in desk.store.find(TraceQuery(path="src/module_1.py"), see_all)] == [second]
    found = desk.store.verify()
    assert (found.traces, found.thinned, changes(desk)) == (2, 1, [])
    with closing(sqlite3.connect(desk.store.path)) as connection, connection:
        connection.execute("DROP TRIGGER trace_keep")
        connection.execute("UPDATE trace SET query = 'another' WHERE id = ?", (first,))
    assert [fault.where for fault in changes(desk)] == [first]


@pytest.mark.req("T34")
def test_writer_prunes_by_itself_when_the_store_grows(make_desk: Callable[..., Desk], path: Path) -> None:
    store = TraceStore(path, limits=Limits(max_mb=0, max_days=10_000))
    desk = make_desk()
    desk.recorder._store = store
    for number in range(450):
        record_one(desk, f"question {number}", count=1)
        if number % 50 == 0:
            store.flush()
    store.flush()
    left = len(store.find(TraceQuery(), see_all, limit=1000))
    store.close()
    assert left < 450


@pytest.mark.req("T34")
def test_full_disk_is_seen_coming_and_rows_go_on(path: Path, make_desk: Callable[..., Desk]) -> None:
    errors: list[str] = []
    store = TraceStore(path, on_error=errors.append, limits=Limits(min_free_mb=10**9))
    desk = make_desk()
    desk.recorder._store = store
    trace_id = record_one(desk)
    kept = store.get(trace_id, see_all)
    store.close()
    assert kept is not None and kept.summary.content == CONTENT_DISK_GUARD
    assert (kept.chunks, [span.name for span in kept.spans][:1]) == ((), ["normalise"])
    assert len(errors) == 1 and "rows only" in errors[0]


@pytest.mark.req("T35", "T34")
def test_verify_names_a_changed_blob_a_missing_blob_and_a_missing_stage(desk: Desk, path: Path) -> None:
    trace_id = record_one(desk)
    faults = desk.store.verify().faults
    assert [(fault.where, "freshness is missing" in fault.what) for fault in faults] == [(trace_id, True)]
    with closing(sqlite3.connect(path)) as connection, connection:
        for trigger in ("blob_keep", "blob_hold"):
            connection.execute(f"DROP TRIGGER {trigger}")
        changed, gone = (row[0] for row in connection.execute("SELECT hash FROM blob WHERE kind = 'chunk' LIMIT 2"))
        connection.execute("UPDATE blob SET data = ? WHERE hash = ?", (compress(b'"other"'), changed))
        connection.execute("DELETE FROM blob WHERE hash = ?", (gone,))
    said = [str(fault) for fault in desk.store.verify().faults]
    assert any(changed in line and "was changed" in line for line in said)
    assert any(gone in line and "missing" in line and trace_id in line for line in said)
    kept = read(desk, trace_id)
    assert kept is not None and kept.missing == (gone,)


@pytest.mark.req("S6")
def test_one_principals_traces_can_be_deleted(desk: Desk) -> None:
    mine = record_one(desk)
    with desk.recorder.trace(tool="t", query="theirs", entry="cli", principal_hash="p2") as trace:
        pass
    assert desk.store.forget("p1") == 1
    assert read(desk, mine) is None and read(desk, trace.id) is not None


@pytest.mark.req("T27")
def test_export_is_one_line_per_trace_in_one_file_per_day(desk: Desk, tmp_path: Path) -> None:
    ids = [record_one(desk, "line\nbreak"), record_one(desk)]
    desk.store.flush()
    traces = list(desk.store.read_many(ids))
    other = replace(traces[0], summary=replace(traces[0].summary, at="2026-11-22T00:00:00.000Z"))
    for _ in range(2):  # again: the same files, not longer ones
        assert export_days([*traces, other], tmp_path / "out") == {"2026-11-21": 2, "2026-11-22": 1}
    lines = (tmp_path / "out" / "2026-11-21.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids
    assert json.loads(lines[0])["query"] == "line\nbreak" and json.loads(lines[0])["spans"][0]["name"] == "normalise"


@pytest.mark.req("T27")
def test_daily_files_are_written_as_traces_come_and_old_ones_are_removed(
    path: Path, tmp_path: Path, make_desk: Callable[..., Desk]
) -> None:
    folder = tmp_path / "daily"
    folder.mkdir()
    for day in (NOON - timedelta(days=31), NOON - timedelta(days=29)):
        (folder / f"{day.date()}.jsonl").write_text("{}\n")
    store = TraceStore(path, sinks=[DailyExport(folder, 30)])
    desk = make_desk()
    desk.recorder._store = store
    trace_id = record_one(desk)
    store.close()
    assert sorted(file.name for file in folder.iterdir()) == ["2026-10-23.jsonl", "2026-11-21.jsonl"]
    assert json.loads((folder / "2026-11-21.jsonl").read_text())["id"] == trace_id
    assert (folder / "2026-11-21.jsonl").stat().st_mode & 0o077 == 0


def test_sink_that_fails_is_told_once_and_the_traces_stay(path: Path, make_desk: Callable[..., Desk]) -> None:
    class Broken:
        def write(self, traces: object) -> None:
            raise OSError("endpoint is down")

    errors: list[str] = []
    store = TraceStore(path, on_error=errors.append, sinks=[Broken()])
    desk = make_desk()
    desk.recorder._store = store
    trace_id = record_one(desk)
    store.flush()
    record_one(desk)
    store.flush()
    assert store.get(trace_id, see_all) is not None and store.healthy
    assert store.sink_failures == 2 and len(errors) == 1 and "endpoint is down" in errors[0]
    store.close()


@pytest.mark.req("M4")
def test_same_question_again_within_minutes_is_a_signal(desk: Desk) -> None:
    def ask(query: str, minute: int, principal: str = "p1") -> str:
        desk.recorder._clock = lambda: NOON + timedelta(minutes=minute)
        with desk.recorder.trace(tool="answer", query=query, entry="cli", principal_hash=principal) as trace:
            pass
        desk.store.flush()
        return trace.id

    first, other, theirs = ask("why", 0), ask("how", 1), ask("why", 2, "p2")
    again, late = ask("why", 5), ask("how", 30)
    marked = {row.id for row in desk.store.find(TraceQuery(scored="regenerate"), see_all)}
    assert marked == {first}
    assert [score.label for score in desk.store.scores(first)] == [again]
    assert {other, theirs, late}.isdisjoint(marked)


@pytest.mark.req("T28", "M4")
def test_feedback_keeps_its_history_and_the_last_word_counts(desk: Desk) -> None:
    trace_id = record_one(desk)
    for label, value in (("down", -1.0), ("up", 1.0)):
        judge(desk, trace_id, "feedback", label=label, value=value, author="p1")
    first, second = desk.store.scores(trace_id)
    assert (first.supersedes, second.supersedes) == (None, first.id)
    assert desk.store.find(TraceQuery(feedback="down"), see_all) == []
    assert [row.id for row in desk.store.find(TraceQuery(feedback="up"), see_all)] == [trace_id]


def test_file_of_an_older_version_is_kept_beside_a_new_one(path: Path, make_desk: Callable[..., Desk]) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE trace(id)")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    desk = make_desk()
    trace_id = record_one(desk)
    assert read(desk, trace_id) is not None
    assert path.with_name(f"traces.v{SCHEMA_VERSION - 1}.db").is_file() and "is kept as" in desk.errors[0]


def test_counters_know_the_day_after_its_traces_are_gone(desk: Desk) -> None:
    for number in range(3):
        record_one(desk, f"q {number}")
    desk.store.prune(Limits(max_mb=0, max_days=10_000))
    with closing(sqlite3.connect(desk.store.path)) as connection:
        rows = connection.execute("SELECT value, n FROM rollup WHERE dimension = 'tool'").fetchall()
        stages = dict(connection.execute("SELECT stage, sum(n) FROM latency GROUP BY stage").fetchall())
    assert rows == [("search_code", 3)]
    assert stages["fusion"] == stages["total"] == stages["retrieval"] == 3
