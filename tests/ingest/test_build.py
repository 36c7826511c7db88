"""Builds through the public door: sources in, searchable generation out."""

import json
import shutil

import numpy as np
import pytest

from ingest.build import build_index, next_part_s
from ingest.config import IndexConfig, SourceConfig
from ingest.embedding.static import StaticEmbedder
from ingest.errors import IndexEmpty, PublishRefused, SourceError
from ingest.index import Index, generations, roll_back
from ingest.index.invariants import check_invariants
from ingest.model import Entry, Filters
from ingest.sources.order import by_importance

NOW = "2026-11-21T00:00:00Z"


class CountingEmbedder:
    """A remote embedder that counts what it is asked for."""

    id, dimensions, local = "counting/2", 2, False

    def __init__(self):
        self.seen = []

    def passage(self, path, context, text):
        return f"{context}\n{text}"

    def embed_passages(self, passages):
        self.seen.extend(passages)
        return np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (len(passages), 1))

    def embed_query(self, text):
        return np.array([0.6, 0.8], dtype=np.float32)


def build(data, *sources, embedder=None, **options):
    return build_index(sources, IndexConfig(workers=1), embedder, data, now=NOW, **options)


def folder(root, name="code", **more):
    return SourceConfig(name=name, type="folder", path=root, **more)


def seeing(*sources, groups=("local",), **more):
    return Filters(groups=frozenset(groups), sources=frozenset(sources), **more)


def symbols(data, name, filters):
    with Index.open_current(data) as index:
        return [(hit.source, hit.path) for hit in index.find_symbol(name, filters) if hit.how == "exact"]


@pytest.mark.req("I3", "I17", "C9")
def test_only_what_changed_is_embedded(tmp_path, code):
    embedder = CountingEmbedder()
    first = build(tmp_path / "data", folder(code), embedder=embedder)
    assert (first.sources[0].new, len(embedder.seen)) == (6, 6)
    embedder.seen.clear()
    assert build(tmp_path / "data", folder(code), embedder=embedder).published is False
    assert embedder.seen == []
    (code / "module_3.py").write_text("def function_three():\n    return 3\n")
    (code / "module_0.py").unlink()
    (code / "module_1.py").rename(code / "renamed.py")
    report = build(tmp_path / "data", folder(code), embedder=embedder, allow_drop=True).sources[0]
    assert (report.new, report.changed, report.deleted, report.unchanged) == (1, 1, 2, 3)
    assert len(embedder.seen) == 1  # the renamed file has its vectors already


@pytest.mark.req("I19")
def test_incremental_equals_full(tmp_path, code):
    build(tmp_path / "a", folder(code), embedder=StaticEmbedder())
    (code / "module_2.py").write_text("def changed():\n    return 2\n")
    (code / "module_5.py").rename(code / "moved.py")
    (code / "module_4.py").unlink()
    step = build(tmp_path / "a", folder(code), embedder=StaticEmbedder(), allow_drop=True).manifest
    full = build(tmp_path / "b", folder(code), embedder=StaticEmbedder()).manifest
    assert step.content_hash == full.content_hash
    assert step.generation == 2


@pytest.mark.req("I13", "I19")
def test_a_tree_has_the_same_chunk_ids_by_whatever_way_it_was_reached(tmp_path, code, git):
    """Were ids carried along with a rename, they would tell of the way: a first build of the same tree makes others."""
    git(code, "init", "-q", "-b", "main")
    commit_all(code, git, "first")
    source = SourceConfig(name="code", type="git", path=code, history=False)
    first = build(tmp_path / "data", source)
    ids = chunk_ids(tmp_path / "data")
    git(code, "switch", "-q", "-c", "moved")
    git(code, "mv", "module_1.py", "renamed.py")
    commit_all(code, git, "rename")
    moved = build(tmp_path / "data", source, allow_drop=True)
    cold = build(tmp_path / "moved", source)
    assert moved.manifest.content_hash == cold.manifest.content_hash
    assert chunk_ids(tmp_path / "data") == chunk_ids(tmp_path / "moved")
    (code / "module_1.py").write_text("def another():\n    return 1\n")
    commit_all(code, git, "a new file in its place")
    build(tmp_path / "data", source)
    git(code, "switch", "-q", "main")
    back = build(tmp_path / "data", source, allow_drop=True)
    build(tmp_path / "cold", source)
    assert chunk_ids(tmp_path / "data") == ids == chunk_ids(tmp_path / "cold")
    assert back.manifest.content_hash == first.manifest.content_hash


def commit_all(root, git, message):
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


def chunk_ids(data):
    with Index.open_current(data) as index:
        found = index.chunks(index.containing(["def"], seeing("code")))
        return {chunk.path: chunk.id for chunk in found}


@pytest.mark.req("I6", "I21")
def test_deleted_file_is_gone_from_both_lists(tmp_path, code):
    data = tmp_path / "data"
    build(data, folder(code), embedder=StaticEmbedder())
    (code / "module_2.py").unlink()
    build(data, folder(code), embedder=StaticEmbedder(), allow_drop=True)
    with Index.open_current(data, StaticEmbedder()) as index:
        everything = seeing("code")
        text = index.search_text([("function_2", 1.0)], everything, 50, {"content": 1.0})
        vector = index.search_vector("function_2 return 2", everything, 50)
        paths = {chunk.path for chunk in index.chunks([item.chunk_id for item in (*text, *vector)])}
        assert "module_2.py" not in paths
        assert "function_2" not in index.near_symbols("function_2", everything)


@pytest.mark.req("I10", "N12")
def test_sudden_loss_blocks_publication(tmp_path, code):
    data = tmp_path / "data"
    for number in range(6, 60):
        (code / f"module_{number}.py").write_text(f"def function_{number}():\n    return {number}\n")
    build(data, folder(code))
    for number in range(40):
        (code / f"module_{number}.py").unlink()
    with pytest.raises(PublishRefused, match="code"):
        build(data, folder(code))
    assert symbols(data, "function_5", seeing("code"))
    build(data, folder(code), allow_drop=True)
    assert not symbols(data, "function_5", seeing("code"))


@pytest.mark.req("R13", "S9")
def test_sources_products_and_groups_are_filters(tmp_path, code):
    other = tmp_path / "other"
    other.mkdir()
    (other / "twin.py").write_text("def function_1():\n    return 'other'\n")
    data = tmp_path / "data"
    build(data, folder(code, product="one"), folder(other, "other", product="two", groups=("secret",)))
    both = ("code", "other")
    assert symbols(data, "function_1", seeing(*both)) == [("code", "module_1.py")]
    assert symbols(data, "function_1", seeing(*both, groups=("secret",))) == [("other", "twin.py")]
    everyone = ("local", "secret")
    assert len(symbols(data, "function_1", seeing(*both, groups=everyone))) == 2
    assert symbols(data, "function_1", seeing(*both, groups=everyone, product="two")) == [("other", "twin.py")]
    assert symbols(data, "function_1", seeing(*both, groups=everyone, path_glob="mod*.py")) == [("code", "module_1.py")]
    assert symbols(data, "function_1", seeing()) == []
    assert symbols(data, "function_1", seeing(*both, groups=())) == []


def test_source_that_is_no_longer_configured_disappears(tmp_path, code):
    data = tmp_path / "data"
    build(data, folder(code), folder(code, "again"))
    assert len(symbols(data, "function_1", seeing("code", "again"))) == 2
    build(data, folder(code), allow_drop=True)
    assert symbols(data, "function_1", seeing("code", "again")) == [("code", "module_1.py")]


@pytest.mark.req("I14", "A6")
def test_secrets_are_masked_before_they_are_stored(tmp_path, code):
    token = "gh" + "p_" + "A1b2C3d4E5" * 4
    (code / "config.py").write_text(f"TOKEN = '{token[:40]}'\nLINE_AFTER = 1\n")
    data = tmp_path / "data"
    report = build(data, folder(code), embedder=StaticEmbedder())
    assert report.redactions == {"github_token": 1}
    stored = b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file())
    assert token[:40].encode() not in stored
    with Index.open_current(data) as index:
        (chunk,) = index.document_chunks("code", "config.py", seeing("code"))
        assert chunk.redactions == (("github_token", 1),)
        assert chunk.text.split("\n")[1] == "LINE_AFTER = 1"


def test_tickets_designs_and_code_share_one_index(tmp_path, code):
    tickets = tmp_path / "tickets.json"
    tickets.write_text(
        json.dumps(
            [{"number": 12, "title": "Totals are wrong", "body": "see function_1", "state": "closed", "labels": []}]
        )
    )
    designs = tmp_path / "designs"
    designs.mkdir()
    (designs / "adr-1.md").write_text("# ADR-1 Totals\n\nStatus: accepted\n\nTotals are computed by function_1.\n")
    data = tmp_path / "data"
    build(
        data,
        folder(code),
        SourceConfig(name="tickets", type="tickets", path=tickets),
        SourceConfig(name="designs", type="designs", path=designs),
    )
    with Index.open_current(data) as index:
        filters = seeing("code", "tickets", "designs")
        (ticket,) = index.chunks(index.find_keys("#12", filters))
        assert (ticket.kind, ticket.path, ticket.key, ticket.state) == ("ticket", None, "#12", "closed")
        found = index.search_text([("total", 1.0)], filters, 10, {"content": 1.0, "message": 1.0, "heading": 1.0})
        assert {chunk.kind for chunk in index.chunks([item.chunk_id for item in found])} == {"ticket", "design"}


def test_source_that_is_gone_keeps_the_index(tmp_path, code):
    data = tmp_path / "data"
    build(data, folder(code))
    code.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="does not exist"):
        build(data, folder(code))
    assert symbols(data, "function_1", seeing("code"))


@pytest.mark.req("I12")
def test_other_embedder_rebuilds_the_vectors(tmp_path, code):
    data = tmp_path / "data"
    build(data, folder(code), embedder=CountingEmbedder())
    report = build(data, folder(code), embedder=StaticEmbedder())
    assert report.manifest.embedder == StaticEmbedder().id
    with Index.open_current(data, StaticEmbedder()) as index:
        assert len(index.search_vector("function", seeing("code"), 50)) == 6


@pytest.mark.req("I12", "W8")
def test_what_another_embedder_built_can_be_rolled_back_to(tmp_path, code):
    data = tmp_path / "data"
    build(data, folder(code), embedder=CountingEmbedder())
    (code / "later.py").write_text("def later():\n    return 1\n")
    build(data, folder(code), embedder=StaticEmbedder())
    assert (roll_back(data).generation, symbols(data, "later", seeing("code"))) == (1, [])
    assert check_invariants(data) == []
    with Index.open_current(data, CountingEmbedder()) as index:
        assert len(index.search_vector("function", seeing("code"), 50)) == 6
    assert build(data, folder(code), embedder=StaticEmbedder()).manifest.generation == 3
    assert symbols(data, "later", seeing("code")) == [("code", "later.py")]
    assert [row.id for row in generations(data)] == [3, 1]
    assert check_invariants(data) == []


@pytest.mark.req("I10", "I12")
@pytest.mark.parametrize("damaged", [False, True])
def test_a_source_that_is_away_is_not_lost_where_everything_is_read_anew(tmp_path, code, damaged):
    """Without a parent nothing of it can be taken over: its folder is gone, or empty as that of an unmounted disk."""
    data, other = tmp_path / "data", tmp_path / "other"
    other.mkdir()
    for number in range(60):
        (other / f"other_{number}.py").write_text(f"def other_{number}():\n    return {number}\n")
    sources = (folder(code), folder(other, "other"))
    build(data, *sources, embedder=CountingEmbedder())
    if damaged:
        (data / "gens" / "1" / "tantivy" / "meta.json").unlink()
    embedder = CountingEmbedder() if damaged else StaticEmbedder()
    other.rename(tmp_path / "away")
    with pytest.raises(PublishRefused, match="'other' cannot be read now. Generation 1 stays.*--allow-drop"):
        build(data, *sources, embedder=embedder, skip_failing=True)
    other.mkdir()
    with pytest.raises(PublishRefused, match="'other' would shrink from 60 to 0 files, more than 20%. Generation 1"):
        build(data, *sources, embedder=embedder)
    other.rmdir()
    report = build(data, *sources, embedder=embedder, skip_failing=True, allow_drop=True)
    assert (report.manifest.files, set(report.left_out)) == (6, {"other"})
    (tmp_path / "away").rename(other)
    assert build(data, *sources, embedder=embedder).manifest.files == 66


@pytest.mark.req("I10")
def test_what_an_event_says_is_not_all_where_the_parent_is_an_older_generation(tmp_path, code):
    data, other = tmp_path / "data", tmp_path / "other"
    other.mkdir()
    sources = (folder(code), folder(other, "other"))
    build(data, *sources)
    (other / "new.py").write_text("def new():\n    return 1\n")
    build(data, *sources)
    (data / "gens" / "2" / "tantivy" / "meta.json").unlink()
    assert build(data, *sources, only={"code"}).manifest.parent == 1
    assert symbols(data, "new", seeing("other")) == [("other", "new.py")]


def flip_byte(file, at):
    """Damage a file and keep its size, in a copy: generations share files."""
    data = bytearray(file.read_bytes())
    data[at] ^= 0xFF
    file.unlink()
    file.write_bytes(data)


@pytest.mark.req("F18", "W6")
@pytest.mark.parametrize(
    ("pattern", "at", "edited"),
    [
        ("tantivy/*.term", -1, False),
        ("tantivy/*.term", -1, True),
        ("tantivy/*.fast", 20, True),  # an id that is no id
        ("tantivy/*.fast", 5, True),  # found by the checks of what is to be published
        ("rows/*.bin", 2, False),
        ("lance/*/_versions/*.manifest", -12, True),  # opened where there is something to write
    ],
)
def test_damage_that_keeps_the_size_of_a_file_is_mended_by_the_next_build(
    tmp_path, code, monkeypatch, pattern, at, edited
):
    monkeypatch.setattr("ingest.index.files.EAGER_BYTES", 0)  # as if they were large
    data = tmp_path / "data"
    build(data, folder(code), embedder=StaticEmbedder())
    for file in list((data / "gens" / "1").glob(pattern)):
        flip_byte(file, at)
    if edited:
        (code / "module_1.py").write_text("def changed():\n    return 1\n")
    report = build(data, folder(code), embedder=StaticEmbedder())
    assert (report.published, report.manifest.parent, report.chunks_written) == (True, None, 6)
    assert check_invariants(data) == []


@pytest.mark.req("I15")
def test_other_chunking_reads_everything_again(tmp_path, code):
    data = tmp_path / "data"
    first = build(data, folder(code)).manifest
    report = build_index([folder(code)], IndexConfig(workers=1, chunk_chars=400), None, data, now=NOW)
    assert report.published
    assert report.manifest.chunker != first.chunker
    assert report.manifest.chunker.endswith("/400")
    assert report.chunks_written == 6


@pytest.mark.req("I15", "A6")
def test_a_source_that_was_left_out_while_chunking_changed_is_read_again_when_it_is_back(tmp_path, code):
    other = tmp_path / "other"
    shutil.copytree(code, other)
    data, sources = tmp_path / "data", (folder(code), folder(other, "other"))
    build(data, *sources)
    other.rename(tmp_path / "away")
    shorter = IndexConfig(workers=1, chunk_chars=400)
    report = build_index(sources, shorter, None, data, now=NOW, skip_failing=True)
    assert (report.chunks_written, set(report.left_out)) == (6, {"other"})
    (tmp_path / "away").rename(other)
    assert build_index(sources, shorter, None, data, now=NOW).chunks_written == 6
    assert not build_index(sources, shorter, None, data, now=NOW).published
    assert check_invariants(data) == []


@pytest.mark.req("I15", "I19")
def test_parts_that_were_cut_by_another_chunker_are_read_again_however_often_a_build_is_killed(
    tmp_path, code, piecemeal
):
    data, long = tmp_path / "data", "".join(f"def g{i}():\n    return {i}\n\n\n" for i in range(60))
    (code / "module_4.py").write_text(long)
    (code / "module_5.py").write_text(long)

    def die(progress):
        if (progress.stage, progress.done) == ("indexing", 6):
            raise Killed

    def die_early(progress):
        if (progress.stage, progress.done) == ("indexing", 2):
            raise Killed

    shorter = IndexConfig(workers=1, chunk_chars=400)
    with pytest.raises(Killed):
        build(data, folder(code), progress=die)
    with pytest.raises(Killed):
        build_index([folder(code)], shorter, None, data, now=NOW, progress=die_early)
    manifest = build_index([folder(code)], shorter, None, data, now=NOW).manifest
    fresh = build_index([folder(code)], shorter, None, tmp_path / "fresh", now=NOW).manifest
    assert manifest.content_hash == fresh.content_hash


@pytest.mark.req("A6")
def test_other_redaction_rules_read_everything_again(tmp_path, code, monkeypatch):
    data = tmp_path / "data"
    build(data, folder(code))
    monkeypatch.setattr("ingest.build.RULES_VERSION", "next")
    report = build(data, folder(code))
    assert report.published
    assert report.chunks_written == 6


@pytest.fixture
def hasty(monkeypatch):
    """Every first build counts as large."""
    monkeypatch.setattr("ingest.build.TEXT_FIRST_BYTES", 0)


@pytest.fixture
def piecemeal(monkeypatch):
    """A first build publishes a part after every file."""
    monkeypatch.setattr("ingest.build.FIRST_PART_S", 0)
    monkeypatch.setattr("ingest.build.NEXT_PART_S", 0)
    monkeypatch.setattr("ingest.build.PART_COST", float("inf"))


class Killed(BaseException):
    """What no build catches."""


@pytest.mark.req("I9", "W1")
def test_a_complete_generation_serves_until_that_of_another_embedder_is_complete(tmp_path, code, hasty, piecemeal):
    data = tmp_path / "data"
    build(data, folder(code), embedder=CountingEmbedder())

    def die(progress):
        if (progress.stage, progress.done) == ("indexing", 4):
            raise Killed

    with pytest.raises(Killed):
        build(data, folder(code), embedder=StaticEmbedder(), progress=die)
    served = []

    def look(progress):
        with Index.open_current(data) as index:
            served.append((index.manifest.embedder, index.manifest.complete, index.manifest.files, index.degraded))

    build(data, folder(code), embedder=StaticEmbedder(), progress=look)
    assert set(served) == {(CountingEmbedder.id, True, 6, ())}
    look(None)
    assert served[-1] == (StaticEmbedder().id, True, 6, ())
    assert check_invariants(data) == []


@pytest.mark.req("I9", "I19")
@pytest.mark.parametrize("embedder", [StaticEmbedder(), CountingEmbedder()])
def test_text_of_a_large_first_build_is_searchable_before_its_vectors(tmp_path, code, hasty, embedder):
    data, seen = tmp_path / "data", []

    def look(progress):
        if progress.stage == "embedding" and not seen:
            with Index.open_current(data) as index:
                seen.append((index.manifest.embedder, index.manifest.complete))
                assert index.find_symbol("function_3", seeing("code"))

    report = build(data, folder(code), embedder=embedder, progress=look)
    assert seen == [("", False)]
    assert (report.manifest.generation, report.manifest.complete, report.embedded) == (2, True, 6)
    assert report.text_after_s < report.duration_s
    assert check_invariants(data) == []
    with Index.open_current(data, embedder) as index:
        assert len(index.search_vector("function", seeing("code"), 50)) == 6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.build.TEXT_FIRST_BYTES", 10**9)
        once = build(tmp_path / "once", folder(code), embedder=embedder).manifest
    assert once.content_hash == report.manifest.content_hash


@pytest.mark.req("I9", "C9")
def test_a_first_build_that_is_killed_goes_on_where_it_was(tmp_path, code, hasty, piecemeal, monkeypatch):
    """Nothing is prepared or embedded twice, and what was published before the kill is searchable."""
    data, prepared, embedder = tmp_path / "data", [], CountingEmbedder()

    def die_at(stage, done):
        def show(progress):
            if progress.stage == "indexing":
                prepared.append(progress.done)
            if (progress.stage, progress.done) == (stage, done):
                raise Killed

        return show

    with pytest.raises(Killed):
        build(data, folder(code), embedder=embedder, progress=die_at("indexing", 4))
    assert len(symbols(data, "function_0", seeing("code"))) == 1
    assert check_invariants(data) == []
    monkeypatch.setattr("ingest.build.EMBED_BATCH", 2)
    with pytest.raises(Killed):
        build(data, folder(code), embedder=embedder, progress=die_at("embedding", 4))
    assert len(prepared) == 4 + 3  # the fourth was not published yet
    report = build(data, folder(code), embedder=embedder, progress=die_at("", 0))
    assert len(prepared) == 7
    assert len(embedder.seen) == 6
    assert report.manifest.complete
    assert check_invariants(data) == []
    with pytest.raises(IndexEmpty, match="Nothing before generation"):
        roll_back(data, now=NOW)  # a part of a first build is nothing to go back to


@pytest.mark.req("C9")
def test_parts_of_a_first_build_come_ever_later_and_cost_little():
    assert [next_part_s(elapsed, 0.5) for elapsed in (20, 200, 1000)] == [20, 30, 60]
    assert next_part_s(20, 4) == next_part_s(1000, 4) == 80  # a twentieth of the time at most


@pytest.mark.req("I2")
def test_the_most_important_files_come_first():
    entries = [Entry(path, "", 0) for path in ("tests/test_a.py", "deep/er/b.py", "module_0.py")]
    entries.append(Entry("tests/test_z.py", "", 0, uncommitted=True))
    assert [entry.path for entry in by_importance(entries)] == [
        "tests/test_z.py",
        "module_0.py",
        "deep/er/b.py",
        "tests/test_a.py",
    ]
