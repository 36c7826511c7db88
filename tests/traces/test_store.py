"""traces.db: append-only, deduplicated, redacted, permission-checked, and no danger to a query."""

from __future__ import annotations

import gc
import random
import sqlite3
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.traces.conftest import CANARY, Desk, make_chunk, read_bytes, record_one, record_search, see_all
from traces.activity import Activity
from traces.blobs import hash_value
from traces.draft import rehash
from traces.errors import TraceStoreError
from traces.model import CONTENT_QUEUE_FULL, CONTENT_WRITE_FAILED, TraceAcl
from traces.recorder import TraceRecorder
from traces.schema import APPEND_ONLY, SCHEMA_VERSION
from traces.store import TraceQuery, TraceStore


@contextmanager
def open_file(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def count(path: Path, table: str, where: str = "1") -> int:
    with open_file(path) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])


@pytest.mark.req("T31")
@pytest.mark.parametrize("table", [t for t in APPEND_ONLY if t not in ("score", "incident")])
def test_rows_refuse_update_delete_and_replacement(desk: Desk, path: Path, table: str) -> None:
    record_one(desk)
    desk.store.flush()
    with open_file(path) as connection:
        if table == "number":  # the ids of this trace are short
            connection.execute("INSERT INTO number(id) VALUES (4688479652797462366)")
        column = connection.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE pk = 0").fetchone()[0]
        before = connection.execute(f"SELECT * FROM {table}").fetchall()
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
        try:
            connection.execute(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
        except sqlite3.IntegrityError as error:
            assert "append-only" in str(error)
        assert connection.execute(f"SELECT * FROM {table}").fetchall() == before != []


@pytest.mark.req("T31")
def test_scores_are_added_never_changed(desk: Desk, path: Path) -> None:
    trace_id = record_one(desk)
    desk.store.flush()
    insert = "INSERT OR REPLACE INTO score VALUES (?, ?, NULL, 'blame', ?, 'ranking', NULL, 'rule', NULL, '2026', ?)"
    with open_file(path) as connection:
        connection.execute(insert, ("s1", trace_id, 1.0, None))
        connection.execute(insert, ("s2", trace_id, 0.0, "s1"))
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(insert, ("s1", trace_id, 0.5, None))
        assert connection.execute("SELECT id, value FROM score ORDER BY id").fetchall() == [("s1", 1.0), ("s2", 0.0)]


@pytest.mark.req("T31")
def test_retention_may_delete(desk: Desk, path: Path) -> None:
    record_one(desk)
    desk.store.flush()
    with open_file(path) as connection:
        connection.execute("UPDATE retention SET open = 1")
        connection.execute("DELETE FROM trace_chunk")
        connection.execute("UPDATE retention SET open = 0")
    assert count(path, "trace_chunk") == 0


@pytest.mark.req("A6", "K13")
def test_planted_secret_is_nowhere_in_the_files(make_desk: Callable[..., Desk], path: Path) -> None:
    def plant(desk: Desk) -> None:
        with (
            pytest.raises(LookupError),
            desk.recorder.trace(
                tool="answer", query=f"q {CANARY}", entry="cli",
                config_snapshot={"k": CANARY}, arguments={CANARY: [CANARY]},
            ) as trace,
        ):  # fmt: skip
            with trace.span("context") as span:
                span.record(input=CANARY, config={"a": CANARY}, output=[[1, None, {"t": CANARY}]], note=CANARY)
                span.record(dropped=[[2, CANARY]])
            trace.add_chunks([make_chunk(1, f"key = '{CANARY}'"), make_chunk(2)])
            trace.set(query_norm=CANARY, filters={"path_glob": CANARY}, answer=CANARY, raw_output=CANARY)
            trace.set(result=CANARY, ungrounded=[{"text": CANARY}])
            raise LookupError(CANARY)

    desk = make_desk()
    plant(desk)
    desk.store.flush()
    assert CANARY.encode() not in read_bytes(path)
    with open_file(path) as connection:
        hashes = {row[0] for row in connection.execute("SELECT hash FROM blob")}
    assert hash_value(f"key = '{CANARY}'") not in hashes  # hashed after redaction, so the secret cannot be guessed
    assert hash_value("key = '" + "*" * len(CANARY) + "'") in hashes
    trace = desk.store.find(TraceQuery(), see_all)[0]
    whole = desk.store.get(trace.id, see_all)
    assert CANARY not in str(whole) and "*" * len(CANARY) in str(whole)


def test_the_secret_would_be_seen_without_redaction(make_desk: Callable[..., Desk], path: Path) -> None:
    desk = make_desk(redactor=str)
    record_one(desk, f"q {CANARY}")
    desk.store.flush()
    assert CANARY.encode() in read_bytes(path)


@pytest.mark.req("T12")
def test_chunk_of_a_thousand_traces_is_stored_once(desk: Desk, path: Path) -> None:
    for number in range(1000):
        record_one(desk, f"question {number}", count=3)
        if number % 200 == 0:
            desk.store.flush()
    desk.store.flush()
    assert (count(path, "trace"), count(path, "trace_chunk"), count(path, "chunk")) == (1000, 3000, 3)
    assert count(path, "blob", "kind = 'chunk'") == 3
    assert count(path, "blob", "kind = 'config'") == 1


def test_what_is_remembered_of_chunks_does_not_grow_with_the_edits_of_a_day(desk: Desk) -> None:
    def remembered(first: int, last: int) -> int:
        """Trace other chunks; return the bytes that are held then."""
        for start in range(first, last, 100):
            with desk.recorder.trace(tool="search_code", query="work", entry="cli", principal_hash="p1") as trace:
                record_search(trace, [make_chunk(n) for n in range(start, start + 100)])
            assert desk.store.flush()  # what waits to be written is another matter
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = remembered(0, 4_000)
        assert remembered(4_000, 12_000) - early < 3_000_000
    finally:
        tracemalloc.stop()


def test_same_text_at_other_lines_shares_its_text(desk: Desk, path: Path) -> None:
    for number in (1, 2):
        with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace:
            trace.add_chunks([make_chunk(number, "same text")])
    desk.store.flush()
    assert (count(path, "chunk"), count(path, "blob", "kind = 'chunk'")) == (2, 1)


@pytest.mark.req("T30", "F19", "F14")
def test_read_only_folder_does_not_fail_the_query(tmp_path: Path) -> None:
    errors: list[str] = []
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    store = TraceStore(blocked / "traces.db", on_error=errors.append)
    desk = _recorder_over(store, errors)
    assert not desk.recorder.healthy  # known before the query: `trace_unavailable`
    assert len(record_one(desk)) == 26
    record_one(desk)
    store.close()
    assert store.failures >= 2
    assert len(errors) == 1 and "Queries go on" in errors[0]


@pytest.mark.req("T30", "F19")
def test_full_disk_keeps_the_row_and_drops_the_content(desk: Desk, path: Path) -> None:
    record_one(desk)
    desk.store.flush()
    limit = desk.store._connection.execute("PRAGMA page_count").fetchone()[0] + 4  # room for rows, not for content
    desk.store._connection.execute(f"PRAGMA max_page_count = {limit}")
    noise = random.Random(1)
    with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace:
        trace.add_chunks([make_chunk(9, "".join(chr(noise.randrange(33, 0x3000)) for _ in range(60_000)))])
    kept = desk.store.get(trace.id, see_all)
    assert kept is not None
    assert (kept.summary.content, kept.chunks) == (CONTENT_WRITE_FAILED, ())
    assert not desk.recorder.healthy
    assert len(desk.errors) == 1 and "full" in desk.errors[0]


@pytest.mark.req("T30")
def test_store_recovers_when_the_disk_does(desk: Desk, path: Path) -> None:
    record_one(desk)
    desk.store.flush()
    pages = desk.store._connection.execute("PRAGMA page_count").fetchone()[0]
    desk.store._connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(40):
        record_one(desk, "filler " * 200)
    desk.store.flush()
    assert not desk.store.healthy
    desk.store._connection.execute("PRAGMA max_page_count = 1000000")
    trace_id = record_one(desk)
    assert desk.store.get(trace_id, see_all) is not None
    assert desk.recorder.healthy
    assert len(desk.errors) == 1  # one line for the outage


@pytest.mark.req("T30", "F19")
def test_locked_file_costs_traces_but_no_query_and_is_told_once(desk: Desk, path: Path) -> None:
    record_one(desk)
    desk.store.flush()
    desk.store._connection.execute("PRAGMA busy_timeout = 20")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        lost = [record_one(desk) for _ in range(2)]
        desk.store.flush()
        assert not desk.recorder.healthy
        other.execute("ROLLBACK")
    kept = record_one(desk)
    assert desk.store.get(kept, see_all) is not None and desk.recorder.healthy
    assert [desk.store.get(one, see_all) for one in lost] == [None, None]
    assert len(desk.errors) == 1 and "locked" in desk.errors[0]


def test_a_trace_that_waits_to_be_written_is_found(path: Path) -> None:
    activity = Activity()
    store = TraceStore(path, activity=activity)
    recorder = TraceRecorder(store, env="dev", service_version="0", code_commit="", redact=str, activity=activity)
    with activity.query():  # as long as it runs, nothing is written
        with recorder.trace(tool="search_code", query="q", entry="cli") as trace:
            pass
        assert store.get(trace.id, see_all) is not None
    store.close()


def test_full_queue_drops_content_then_traces_and_counts_both(make_desk: Callable[..., Desk], path: Path) -> None:
    desk = make_desk(max_full=2, max_rows=4)
    record_one(desk)
    desk.store.flush()
    with desk.store._writing:  # the writer stands still with whatever it has taken; the queue fills up
        ids = [record_one(desk, f"q {n}") for n in range(30)]
    desk.store.flush()
    content = [row.content for row in reversed(desk.store.find(TraceQuery(), see_all, limit=100))]
    dropped, lost = desk.store.dropped
    assert (content.count(CONTENT_QUEUE_FULL), len(ids) + 1 - len(content)) == (dropped, lost)
    assert dropped >= 2 and lost >= 20
    assert content[:2] == ["full", "full"]


def test_closed_store_loses_traces_without_an_error(desk: Desk) -> None:
    desk.store.close()
    record_one(desk)
    assert desk.store.dropped == (0, 1)
    assert len(desk.errors) == 1


def test_one_broken_trace_does_not_take_its_batch_along(desk: Desk, path: Path) -> None:
    with desk.store._writing:
        first = record_one(desk, "first")
        with desk.recorder.trace(tool="t", query="broken", entry="cli") as trace:
            trace.set(generation=2**70)
        last = record_one(desk, "last")
    desk.store.flush()
    assert desk.store.get(first, see_all) is not None
    assert desk.store.get(last, see_all) is not None
    assert desk.store.get(trace.id, see_all) is None
    assert desk.store.failures == 1 and "traces.db" in desk.errors[0]


@pytest.mark.req("S7", "S1")
def test_unknown_and_not_permitted_are_the_same(desk: Desk) -> None:
    with desk.recorder.trace(tool="search_code", query="q", entry="cli", principal_hash="p1") as trace:
        trace.add_chunks([make_chunk(1, groups=("b", "a")), make_chunk(2, groups=("c",), source="secret")])
    seen: list[TraceAcl] = []

    def refuse(acl: TraceAcl) -> bool:
        seen.append(acl)
        return False

    assert desk.store.get(trace.id, refuse) is None
    assert desk.store.get("01AAAAAAAAAAAAAAAAAAAAAAAA", see_all) is None
    assert seen == [TraceAcl("p1", ("app", "secret"), (("a", "b"), ("c",)))]
    assert desk.store.find(TraceQuery(), refuse) == []
    assert desk.store.find(TraceQuery(text="q"), refuse) == []
    assert desk.store.find(TraceQuery(chunk=1), refuse) == []


def test_limit_counts_permitted_traces_only(desk: Desk) -> None:
    for number in range(6):
        with desk.recorder.trace(tool="t", query="q", entry="cli", principal_hash=f"p{number % 2}"):
            pass
    found = desk.store.find(TraceQuery(), lambda acl: acl.principal_hash == "p0", limit=2)
    assert [row.principal_hash for row in found] == ["p0", "p0"]


@pytest.mark.req("T28", "T38")
def test_traces_are_found_newest_first_by_what_they_are(desk: Desk) -> None:
    first = record_one(desk, "how does the parser work")
    second = record_one(desk, "where is refresh_token", count=9)
    with (
        pytest.raises(ValueError, match="x"),
        desk.recorder.trace(tool="answer", query="why", entry="eval", kind="eval") as trace,
    ):
        trace.set(degraded=["llm_down"], answer="Because of the parser.")
        raise ValueError("x")
    store = desk.store
    assert [row.id for row in store.find(TraceQuery(), see_all)] == [trace.id, second, first]
    assert [row.id for row in store.find(TraceQuery(status="failed"), see_all)] == [trace.id]
    assert [row.id for row in store.find(TraceQuery(kind="live", tool="search_code"), see_all, limit=1)] == [second]
    assert [row.id for row in store.find(TraceQuery(degraded="llm_down"), see_all)] == [trace.id]
    assert store.find(TraceQuery(since="2027"), see_all) == []
    assert [row.id for row in store.find(TraceQuery(text="parser"), see_all)] == [trace.id, first]
    assert [row.id for row in store.find(TraceQuery(text="refresh_token"), see_all)] == [second]
    assert [row.id for row in store.find(TraceQuery(text='"parser OR work NEAR('), see_all)] == []
    assert store.find(TraceQuery(text="..."), see_all) == []
    assert [row.id for row in store.find(TraceQuery(chunk=9), see_all)] == [second]
    assert [row.id for row in store.find(TraceQuery(chunk=5), see_all)] == [second, first]
    assert [row.id for row in store.find(TraceQuery(path="src/module_9.py", source="app"), see_all)] == [second]
    assert store.find(TraceQuery(path="src/module_9.py", source="other"), see_all) == []


def test_hash_covers_row_spans_chunks_and_content(desk: Desk, path: Path) -> None:
    with desk.recorder.trace(tool="answer", query="q \ud800 ü", entry="cli", config_snapshot={"a": 1}) as trace:
        record_search(trace, [make_chunk(n) for n in range(1, 8)])
        trace.set(queue_wait_ms=3, cached=False, cache={"answer": False}, filters={"product": "x"}, answer="done")
    kept = desk.store.get(trace.id, see_all)
    assert kept is not None and kept.hash.startswith("b2:")
    assert rehash(kept) == kept.hash
    desk.store.close()
    with open_file(path) as connection:
        connection.execute("DROP TRIGGER trace_chunk_keep")
        connection.execute("UPDATE trace_chunk SET kept = 1 WHERE kept = 0")
    changed = TraceStore(path)
    again = changed.get(trace.id, see_all)
    changed.close()
    assert again is not None and rehash(again) != again.hash


def test_two_stores_of_one_file_both_write(desk: Desk, path: Path) -> None:
    other = TraceStore(path, on_error=desk.errors.append)
    other_desk = _recorder_over(other, desk.errors)
    threads = [threading.Thread(target=lambda d=d: [record_one(d) for _ in range(20)]) for d in (desk, other_desk)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    desk.store.flush()
    assert (count(path, "trace"), count(path, "chunk"), desk.errors) == (40, 5, [])


def test_files_are_private(desk: Desk, path: Path) -> None:
    record_one(desk)
    desk.store.flush()
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}


def test_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with open_file(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    errors: list[str] = []
    store = TraceStore(path, on_error=errors.append)
    assert not store.healthy and "Update" in errors[0]
    with pytest.raises(TraceStoreError, match="Update CodeCairn"):
        store.get("x", see_all)
    store.close()


def test_damaged_file_is_told_to_readers_and_does_not_stop_queries(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    errors: list[str] = []
    store = TraceStore(path, on_error=errors.append)
    desk = _recorder_over(store, errors)
    record_one(desk)
    with pytest.raises(TraceStoreError, match="move a damaged file away"):
        store.find(TraceQuery(), see_all)
    store.close()
    assert path.read_bytes().startswith(b"this is no database")


def _recorder_over(store: TraceStore, errors: list[str]) -> Desk:
    from tests.traces.conftest import redact
    from traces.recorder import TraceRecorder

    recorder = TraceRecorder(
        store, env="dev", service_version="0", code_commit="", redact=redact, on_error=errors.append
    )
    return Desk(store, recorder, errors)
