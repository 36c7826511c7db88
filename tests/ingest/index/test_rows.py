"""Rows for the ranking: one segment per publication, joined when they become many, newest first."""

import gc
import os

import pytest

from ingest.errors import IndexCorrupt
from ingest.index import Index
from ingest.index import rows as rows_module
from ingest.index.files import ROWS_FOLDER, generation_folder
from ingest.index.rows import MAX_SEGMENTS, RowReader, segment_files
from tests.ingest.index.support import EMBEDDER, publish, see


def rows_folder(tmp_path, generation):
    return generation_folder(tmp_path, generation) / ROWS_FOLDER


def ids_of(index, path):
    return [chunk.id for chunk in index.document_chunks("app", path, see())]


@pytest.mark.parametrize("is_read", [False, True])
def test_a_row_says_what_ranking_needs_of_a_chunk_in_a_small_and_in_a_large_segment(tmp_path, monkeypatch, is_read):
    if is_read:
        monkeypatch.setattr(rows_module, "READ_BYTES", 0)
    publish(tmp_path, {"lib/net.py": "def open_socket(host):\n    retry #12\n\nclass Pool:\n    size = 4"})
    with Index.open_current(tmp_path, EMBEDDER) as index:
        rows = index.rows(ids_of(index, "lib/net.py"))
    assert [file.path for file in rows.files] == ["lib/net.py"] * 2
    assert [[d.qualname for d in rows.definitions(at)] for at in (0, 1)] == [["open_socket"], ["Pool"]]
    assert rows.links(0) == ["#12"] and rows.links(1) == []
    assert rows.holding(["retri", "size", "pool", "nowhere"]).tolist() == [0b001, 0b110]


def test_a_segment_that_nobody_holds_any_more_leaves_no_file_open(tmp_path):
    folder = rows_folder(tmp_path, publish(tmp_path, {"a.py": "x = 1"}).generation)
    reader = RowReader(folder)
    (held,) = segment_files(folder)
    assert str(held) in open_files()
    del reader
    gc.collect()
    assert str(held) not in open_files()


def open_files():
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return [os.readlink(link) for link in links if os.path.lexists(link)]


def test_rows_of_many_publications_are_those_of_the_newest(tmp_path):
    """Segments are joined on the way, dead rows go, and the row of a chunk that came back is the last one written."""
    for step in range(3 * MAX_SEGMENTS):
        changes = {f"f{step}.py": f"def made_{step}(): pass", "hot.py": f"stays the same\n\nround {step}"}
        generation = publish(tmp_path, changes).generation
    folder = rows_folder(tmp_path, generation)
    assert len(segment_files(folder)) <= MAX_SEGMENTS
    with Index.open_current(tmp_path, EMBEDDER) as index:
        for step in range(3 * MAX_SEGMENTS):
            (row,) = (index.rows(ids_of(index, f"f{step}.py")),)
            assert [d.name for d in row.definitions(0)] == [f"made_{step}"]
        hot = index.rows(ids_of(index, "hot.py"))
        assert hot.holding(["same", str(3 * MAX_SEGMENTS - 1)]).tolist() == [1, 2]


def test_an_unknown_chunk_has_no_row(tmp_path):
    generation = publish(tmp_path, {"a.py": "x = 1"}).generation
    reader = RowReader(rows_folder(tmp_path, generation))
    assert not reader.holds([1, 2])
    with pytest.raises(IndexCorrupt, match="chunk 1"):
        reader.rows([1])


@pytest.mark.req("F13")
def test_a_damaged_segment_is_named(tmp_path):
    generation = publish(tmp_path, {"a.py": "x = 1"}).generation
    (file,) = segment_files(rows_folder(tmp_path, generation))
    file.write_bytes(b"{}\n")
    with pytest.raises(IndexCorrupt, match=file.name):
        RowReader(file.parent)
