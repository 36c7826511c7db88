"""X15: an index that another version of CodeCairn built is used, or built again without a person's doing."""

import sqlite3
import sys
from contextlib import closing

import pytest

from golden.stdio import StdioServer
from ingest.backup import create_backup, restore_backup
from ingest.errors import IndexCorrupt, IndexEmpty, WriterBusy
from ingest.index import Index, control, status
from ingest.index.invariants import check_invariants
from ingest.index.jobs import connect_jobs
from ingest.index.lease import WriterLock, take_lease
from tests.ingest.test_build import build as build_sources
from tests.ingest.test_build import folder
from tests.ingest.waiting import wait_until

NOW = "2026-11-22T12:00:00Z"


def build(code, data):
    return build_sources(data, folder(code))


def alter(data, *statements):
    """Change control.db as another version would have written it."""
    with closing(sqlite3.connect(data / control.CONTROL)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def make_former(data):
    """Give control.db an older format, with a table and columns that this program does not have."""
    alter(
        data,
        "UPDATE meta SET value = '0' WHERE key = 'version'",
        "ALTER TABLE chunk DROP COLUMN shadowed",
        "CREATE TABLE former(x)",
        "INSERT INTO embedding VALUES ('model', 'key', x'00')",
    )


def rows_of_audit(data):
    with closing(sqlite3.connect(data / control.CONTROL)) as db:
        return db.execute("SELECT * FROM audit").fetchall()


def rows(data, query):
    with closing(control.connect(data)) as db:
        return db.execute(query).fetchall()


@pytest.mark.req("X15")
def test_an_index_of_an_older_control_format_is_built_again_and_its_records_stay(tmp_path, code):
    data = tmp_path / "data"
    first = build(code, data).manifest
    trail = rows_of_audit(data)
    make_former(data)
    with pytest.raises(IndexCorrupt, match=r"older CodeCairn \(format 0, now 1\)\. Run `codecairn index`"):
        Index.open_current(data)
    report = build(code, data)
    assert report.published
    assert report.manifest.content_hash == first.content_hash
    assert report.chunks_written == 6
    kept = rows_of_audit(data)
    assert kept[: len(trail)] == trail
    assert "from format 0 of control.db to 1" in str(kept[len(trail)])
    assert rows(data, "SELECT model, key FROM embedding") == [("model", "key")]
    assert rows(data, "SELECT name FROM sqlite_master WHERE name = 'former'") == []
    assert [path.name for path in (data / "gens").iterdir()] == [str(report.manifest.generation)]
    assert check_invariants(data) == []
    assert not build(code, data).published


@pytest.mark.req("X15")
def test_a_kill_between_an_older_format_and_the_new_tables_is_gone_on_from(tmp_path, code):
    data = tmp_path / "data"
    build(code, data)
    make_former(data)
    with closing(sqlite3.connect(data / control.CONTROL, isolation_level=None)) as db:
        control._drop_former(db, data, False)
    with pytest.raises(IndexEmpty, match="Nothing was indexed"):
        Index.open_current(data)
    assert build(code, data).published
    assert check_invariants(data) == []


def dump(data):
    with closing(sqlite3.connect(data / control.CONTROL)) as db:
        return list(db.iterdump())


@pytest.mark.req("X15")
@pytest.mark.parametrize("version", ["99", "next"])
def test_an_index_of_a_newer_format_is_left_as_it_is(tmp_path, code, version):
    data = tmp_path / "data"
    build(code, data)
    alter(
        data,
        f"UPDATE meta SET value = '{version}' WHERE key = 'version'",
        "ALTER TABLE file RENAME COLUMN skip_reason TO why",
        "DROP TABLE letter",
        "DROP TABLE job",
        "CREATE TABLE job(source, head)",
        "INSERT INTO job VALUES ('code', 'abc')",
    )
    before = dump(data)
    uses = (
        lambda: Index.open_current(data),
        lambda: build(code, data),
        lambda: status(data),
        lambda: connect_jobs(data),
        lambda: create_backup(data, tmp_path / "backup.tar", now=NOW),
    )
    for use in uses:
        with pytest.raises(IndexCorrupt, match=rf"newer CodeCairn \(format {version}.*Update CodeCairn"):
            use()
    assert dump(data) == before


@pytest.mark.req("X15")
def test_numbers_of_generations_go_on_after_an_older_format(tmp_path, code):
    """Cached answers, traces and cursors name a generation by its number."""
    data = tmp_path / "data"
    build(code, data)
    (code / "more.py").write_text("def more():\n    return 1\n")
    assert build(code, data).manifest.generation == 2
    make_former(data)
    assert build(code, data).manifest.generation == 3


@pytest.mark.req("X15")
def test_an_older_format_is_left_alone_while_an_older_program_writes_it(tmp_path, code):
    data = tmp_path / "data"
    build(code, data)
    make_former(data)
    before = dump(data)
    lock = WriterLock(data)
    with pytest.raises(WriterBusy, match="is writing the index"):
        connect_jobs(data)
    assert dump(data) == before
    lock.release()
    connect_jobs(data).close()
    assert build(code, data).published


@pytest.mark.req("X15")
def test_what_an_older_reader_still_reads_stays_until_it_ends(tmp_path, code):
    data = tmp_path / "data"
    build(code, data)
    make_former(data)
    lease = take_lease(data, 1)
    assert build(code, data).manifest.generation == 2
    assert sorted(path.name for path in (data / "gens").iterdir()) == ["1", "2"]
    lease.release()
    (code / "more.py").write_text("def more():\n    return 1\n")
    build(code, data)
    assert sorted(path.name for path in (data / "gens").iterdir()) == ["2", "3"]


@pytest.mark.req("X15")
def test_a_backup_of_an_older_program_is_restored_and_built_again(tmp_path, code, monkeypatch):
    data, restored = tmp_path / "data", tmp_path / "restored"
    build(code, data)
    alter(data, "UPDATE meta SET value = '0' WHERE key = 'version'")
    with pytest.raises(IndexCorrupt, match=r"older CodeCairn.*Run `codecairn index`"):
        create_backup(data, tmp_path / "backup.tar", now=NOW)
    with monkeypatch.context() as older:
        older.setattr(control, "CONTROL_VERSION", 0)
        create_backup(data, tmp_path / "backup.tar", now=NOW)
    restore_backup(tmp_path / "backup.tar", restored)
    trail = rows_of_audit(restored)
    assert build(code, restored).published
    assert rows_of_audit(restored)[: len(trail)] == trail


@pytest.mark.req("X15")
def test_generations_of_another_format_are_replaced_by_the_next_build(tmp_path, code, monkeypatch):
    data = tmp_path / "data"
    first = build(code, data).manifest
    for module in ("generation", "reader"):
        monkeypatch.setattr(f"ingest.index.{module}.FORMAT_VERSION", first.format_version + 1)
    with pytest.raises(IndexCorrupt, match="Run `codecairn index`"):
        Index.open_current(data)
    report = build(code, data)
    assert report.published
    assert report.manifest.parent is None
    assert report.manifest.content_hash == first.content_hash
    with Index.open_current(data) as index:
        assert index.generation == report.manifest.generation


@pytest.mark.req("X15")
def test_a_server_builds_an_index_of_an_older_format_again_by_itself(tmp_path, code):
    data = tmp_path / "data"
    build(code, data)
    make_former(data)

    def found():
        reply = server.request("tools/call", {"name": "search_code", "arguments": {"query": "function_3"}})
        return "module_3.py" in str(reply["content"])

    command = [sys.executable, "-m", "mcp_server.cli", "serve", "--root", str(code), "--data", str(data)]
    with StdioServer(command) as server:
        server.initialize()
        assert wait_until(found)
