"""Backup and restore: what comes back is what was there, and nothing damaged ever does."""

import sqlite3
import tarfile
from contextlib import closing

import pytest

from ingest.backup import LISTING, create_backup, restore_backup
from ingest.build import build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.embedding.static import StaticEmbedder
from ingest.errors import IndexCorrupt, IndexEmpty, IngestError
from ingest.index import Index, generations
from ingest.index.invariants import check_invariants
from ingest.model import Filters

NOW = "2026-11-21T00:00:00Z"
SEEING = Filters(groups=frozenset({"local"}), sources=frozenset({"code"}))


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "code"
    root.mkdir()
    (root / "a.py").write_text("def alpha():\n    return 1\n")
    return SourceConfig(name="code", type="folder", path=root)


def build(data, source):
    return build_index([source], IndexConfig(workers=1), StaticEmbedder(), data, now=NOW).manifest


@pytest.fixture
def data(tmp_path, source):
    folder = tmp_path / "data"
    for number in range(3):
        (source.path / "b.py").write_text(f"def beta_{number}():\n    return 1\n")
        build(folder, source)
    (folder / "secret.key").write_bytes(b"k" * 32)
    with sqlite3.connect(folder / "traces.db") as db:
        db.execute("CREATE TABLE trace(id)")
        db.execute("INSERT INTO trace VALUES ('one')")
    return folder


@pytest.mark.req("V13")
def test_a_restored_index_answers_builds_on_and_keeps_traces_and_key(tmp_path, data, source):
    report = create_backup(data, tmp_path / "b.tar", NOW)
    assert report.generations == {".": 3}
    fresh = tmp_path / "elsewhere" / "data"
    restore_backup(tmp_path / "b.tar", fresh)
    assert check_invariants(fresh) == []
    assert [row.id for row in generations(fresh)] == [3]
    with Index.open_current(fresh, StaticEmbedder()) as index:
        assert index.find_symbol("beta_2", SEEING)
        assert len(index.search_vector("alpha", SEEING, 5)) == 2
    assert (fresh / "secret.key").read_bytes() == b"k" * 32
    with sqlite3.connect(fresh / "traces.db") as db:
        assert db.execute("SELECT id FROM trace").fetchall() == [("one",)]
    (source.path / "c.py").write_text("def gamma():\n    return 1\n")
    assert build(fresh, source).parent == 3
    assert check_invariants(fresh) == []
    assert [row.id for row in generations(data)] == [3, 2, 1]  # the original is as it was


@pytest.mark.req("V13")
def test_a_backup_of_a_rolled_back_index_holds_what_is_served(tmp_path, data, source):
    from ingest.index import roll_back

    roll_back(data, now=NOW)
    create_backup(data, tmp_path / "b.tar", NOW)
    fresh = tmp_path / "fresh"
    restore_backup(tmp_path / "b.tar", fresh)
    with Index.open_current(fresh) as index:
        assert index.find_symbol("beta_1", SEEING, loose=False)
        assert not index.find_symbol("beta_2", SEEING, loose=False)
    assert build(fresh, source).generation > 3  # numbers are never used twice


@pytest.mark.req("V13")
def test_nothing_is_restored_over_an_index(tmp_path, data):
    create_backup(data, tmp_path / "b.tar", NOW)
    with pytest.raises(IngestError, match="is not empty"):
        restore_backup(tmp_path / "b.tar", data)


@pytest.mark.req("V13")
def test_a_damaged_backup_is_refused_and_leaves_nothing_behind(tmp_path, data):
    file = tmp_path / "b.tar"
    create_backup(data, file, NOW)
    with tarfile.open(file) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith(".store") or "/lance/" in m.name and m.size)
    raw = bytearray(file.read_bytes())
    raw[member.offset_data + member.size // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(IndexCorrupt, match="not as it was written"):
        restore_backup(file, tmp_path / "fresh")
    file.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(IngestError):
        restore_backup(file, tmp_path / "fresh")
    assert not list(tmp_path.glob("fresh*"))


@pytest.mark.req("V13")
def test_a_damaged_index_is_not_backed_up(tmp_path, data):
    file = max((data / "gens" / "3").rglob("*.store"), key=lambda path: path.stat().st_size)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.unlink()
    file.write_bytes(raw)
    with pytest.raises(IndexCorrupt):
        create_backup(data, tmp_path / "b.tar", NOW)
    assert not list(tmp_path.glob("b.tar*"))
    with pytest.raises(IndexEmpty):
        create_backup(tmp_path / "nothing", tmp_path / "b.tar", NOW)


@pytest.mark.req("V13")
def test_a_backup_that_cannot_be_written_is_refused_with_a_sentence_and_leaves_nothing(tmp_path, data, monkeypatch):
    (tmp_path / "file").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    before = sorted(tmp_path.rglob("*"))
    for target in (tmp_path / "file" / "b.tar", tmp_path / "file" / "deep" / "b.tar", tmp_path / ("n" * 300)):
        with pytest.raises(IngestError, match=r"was not written \(.*\)\. Name a file in a folder"):
            create_backup(data, target, NOW)
    monkeypatch.setattr("ingest.backup.tarfile.open", lambda *_: pytest.fail("a folder is refused before any work"))
    with pytest.raises(IngestError, match="is a folder, and a backup is one file"):
        create_backup(data, folder, NOW)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.req("V13")
def test_a_backup_that_cannot_be_put_in_place_is_refused_with_a_sentence(tmp_path, data):
    create_backup(data, tmp_path / "b.tar", NOW)
    (tmp_path / "file").touch()
    for file, place in (("b.tar", "file"), ("b.tar", "file/x"), ("b.tar", "file/x/y"), ("data", "fresh")):
        with pytest.raises(IngestError, match=r"was not restored to .* \(.*\)\. The file has to be readable"):
            restore_backup(tmp_path / file, tmp_path / place)
    assert not list(tmp_path.glob("fresh*"))
    with pytest.raises(IngestError, match="does not exist"):
        restore_backup(tmp_path / "none.tar", tmp_path / "fresh")


def change(data, *statements):
    with closing(sqlite3.connect(data / "control.db")) as db, db:
        for statement in statements:
            db.execute(statement)


@pytest.mark.req("V13", "I8")
def test_a_broken_audit_trail_is_said_by_backup_and_restore_and_stops_neither(tmp_path, data):
    change(data, "DROP TRIGGER audit_no_update", "UPDATE audit SET at = 'yesterday' WHERE seq = 2")
    found = "row 2 of the audit trail breaks the hash chain"
    [warning] = create_backup(data, tmp_path / "b.tar", NOW).warnings
    assert str(data) in warning and found in warning
    [warning] = restore_backup(tmp_path / "b.tar", tmp_path / "fresh").warnings
    assert found in warning
    assert generations(tmp_path / "fresh")


@pytest.mark.req("V13")
def test_a_backup_that_would_not_be_restored_is_not_written(tmp_path, data):
    change(data, "DELETE FROM chunk WHERE rowid = (SELECT max(rowid) FROM chunk)")
    with pytest.raises(IndexCorrupt, match=r"is damaged: source 'code': chunk counts differ: .*move that folder away"):
        create_backup(data, tmp_path / "b.tar", NOW)
    assert not list(tmp_path.glob("b.tar*"))


@pytest.mark.req("V13")
@pytest.mark.parametrize(
    "listing",
    ["[]", '"x"', "{}", '{"format": 1, "generations": {}}', '{"format": 1, "generations": 3, "files": {}}',
     '{"format": 1, "generations": {"elsewhere": 3}, "files": {}}',
     '{"format": 1, "generations": {}, "files": {"a": 1}}'],
)  # fmt: skip
def test_a_backup_with_another_listing_is_refused_with_a_sentence(tmp_path, listing):
    (tmp_path / LISTING).write_text(listing)
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.add(tmp_path / LISTING, LISTING)
    with pytest.raises(IndexCorrupt, match=r"The (listing in the )?backup .* Use another backup"):
        restore_backup(tmp_path / "b.tar", tmp_path / "fresh")
    assert not list(tmp_path.glob("fresh*"))
