import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ingest.errors import EmbeddingError, PublishRefused, WriterBusy
from ingest.index import Index, control, generation, generations, recent, status
from ingest.index.invariants import check_invariants
from ingest.index.packed import pack
from ingest.index.recent import read_recent
from ingest.index.rows import Segment
from ingest.model import Entry, Rename, Skip, SourceInfo
from tests.ingest.index.support import (
    EMBEDDER,
    NOW,
    SOURCE,
    HashEmbedder,
    make_chunks,
    make_entry,
    open_publication,
    prepare,
    prepare_text,
    publish,
    see,
)

A = "def login(user):\n    return token\n\ndef logout():\n    pass"
B = "class Cart:\n    items = stock\n\nprice of the invoice"
WEIGHTS = {"content": 1.0, "symbols": 2.0, "path": 0.5}


def found(index: Index, word: str, **filters: object) -> list[str | None]:
    hits = index.search_text([(word, 1.0)], see(**filters), 20, WEIGHTS)
    return [chunk.path for chunk in index.chunks([hit.chunk_id for hit in hits])]


@pytest.mark.req("W3")
def test_W3_publishing_again_after_an_interruption_gives_the_same_content_hash(tmp_path: Path) -> None:
    with open_publication(tmp_path / "one") as publication:
        publication.begin_source(SOURCE, "r1", "/src")
        publication.add_file("app", make_entry("a.py", A), prepare_text(SOURCE, "a.py", A))
    assert generations(tmp_path / "one") == []
    again = publish(tmp_path / "one", {"a.py": A, "b.py": B})
    straight = publish(tmp_path / "two", {"b.py": B, "a.py": A})
    assert again.content_hash == straight.content_hash
    assert again.generation == straight.generation == 1


@pytest.mark.req("W3", "I19")
def test_content_hash_forgets_the_way_and_tells_contents_apart(tmp_path: Path) -> None:
    publish(tmp_path / "long", {"a.py": B, "b.py": B, "c.py": A})
    publish(tmp_path / "long", {"a.py": A, "c.py": None})
    long = publish(tmp_path / "long", {"b.py": A}, revision="r2")
    short = publish(tmp_path / "short", {"a.py": A, "b.py": A})
    assert long.content_hash == short.content_hash
    other = publish(tmp_path / "short", {"b.py": A + " "})
    assert other.content_hash != short.content_hash


@pytest.mark.req("I3")
def test_unchanged_delta_publishes_nothing_but_keeps_new_stamps(tmp_path: Path) -> None:
    first = publish(tmp_path, {"a.py": A})
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r1", "/src")
        publication.touch_file("app", make_entry("a.py", A, stamp="new"))
        assert publication.commit(NOW) == first
    with open_publication(tmp_path) as publication:
        assert publication.known_files("app")["a.py"].stamp == "new"
    assert len(generations(tmp_path)) == 1


@pytest.mark.req("I21", "I6")
def test_replacing_a_file_is_one_step_and_nothing_of_the_old_version_stays(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A, "b.py": B})
    publish(tmp_path, {"a.py": "def logout():\n    pass\n\nfresh words"})
    with Index.open_current(tmp_path, EMBEDDER) as index:
        assert found(index, "login") == []
        assert found(index, "fresh") == ["a.py"]
        assert index.find_symbol("login", see()) == []
        assert len(index.search_vector("def login user token", see(), 10)) == index.manifest.chunks == 4
    assert check_invariants(tmp_path) == []


def test_file_added_twice_in_one_publication_counts_once(tmp_path: Path) -> None:
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r1", "/src")
        for text in (A, B, A):
            publication.add_file("app", make_entry("a.py", text), prepare_text(SOURCE, "a.py", text))
        publication.add_file("app", make_entry("b.py", B), prepare_text(SOURCE, "b.py", B))
        publication.remove_file("app", "b.py")
        manifest = publication.commit(NOW)
    assert (manifest.files, manifest.chunks) == (1, 2)
    assert check_invariants(tmp_path) == []
    assert manifest.content_hash == publish(tmp_path / "straight", {"a.py": A}).content_hash


@pytest.mark.req("W5")
def test_W5_deleted_file_and_removed_source_are_never_found_again(tmp_path: Path) -> None:
    other = SourceInfo("docs", "design", "shop", ("local",))
    publish(tmp_path, {"a.py": A, "b.py": B})
    publish(tmp_path, {"d.md": "token design"}, info=other)
    publish(tmp_path, {"a.py": None})
    with Index.open_current(tmp_path, EMBEDDER) as index:
        everywhere = see("app", "docs")
        assert found(index, "login") == []
        assert index.find_paths("a.py", everywhere) == []
        assert index.near_symbols("login", everywhere) == []
        assert {c.path for c in chunks_by_vector(index, everywhere)} == {"b.py", "d.md"}
    with open_publication(tmp_path) as publication:
        publication.remove_source("docs")
        publication.commit(NOW)
    with Index.open_current(tmp_path, EMBEDDER) as index:
        assert {c.path for c in chunks_by_vector(index, everywhere)} == {"b.py"}
        assert [s.name for s in index.manifest.sources] == ["app"]
    assert check_invariants(tmp_path) == []


def chunks_by_vector(index: Index, filters: object) -> list:
    return index.chunks([hit.chunk_id for hit in index.search_vector("token", filters, 100)])


@pytest.mark.req("W5", "S1")
def test_W5_narrowed_groups_take_effect_with_the_next_generation_and_rewrite_no_chunk(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A}, info=dataclasses.replace(SOURCE, groups=("local", "staff")))
    wide = Index.open_current(tmp_path, EMBEDDER)
    assert found(wide, "login") == ["a.py"]
    narrow = dataclasses.replace(SOURCE, groups=("staff",), product="bank")
    manifest = publish(tmp_path, {}, info=narrow)
    index = wide.refreshed(tmp_path)
    wide.close()
    assert index.generation == manifest.generation == 2
    assert found(index, "login") == []
    assert index.search_vector("login", see(), 10) == []
    assert index.find_symbol("login", see()) == index.find_paths("a.py", see()) == []
    assert index.chunk_count(see()) == 0
    staff = see(groups=("staff",), product="bank")
    chunk = index.chunks([index.search_text([("login", 1.0)], staff, 5, WEIGHTS)[0].chunk_id])[0]
    assert (chunk.groups, chunk.product) == (("staff",), "bank")
    index.close()
    assert check_invariants(tmp_path) == []


@pytest.mark.req("I3")
def test_chunk_without_a_vector_keeps_the_one_of_the_parent(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A})
    moved = "new first line\n\n" + A
    chunks = make_chunks(SOURCE, "a.py", moved)
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        known = publication.parent_vectors([chunk.id for chunk in chunks])
        assert set(known) == {chunk.id for chunk in chunks[1:]}
        prepared = [prepare(chunk, vector=chunk.id not in known) for chunk in chunks]
        publication.add_file("app", make_entry("a.py", moved), prepared)
        publication.commit(NOW)
    with Index.open_current(tmp_path, EMBEDDER) as index:
        best = index.search_embedding(EMBEDDER.embed_query(chunks[1].text), see(), 1)[0]
        assert best.chunk_id == chunks[1].id
        assert best.score == pytest.approx(1.0, abs=1e-5)
        assert index.chunks([chunks[1].id])[0].start_line == 3
    assert check_invariants(tmp_path) == []


def test_changed_vector_of_the_same_chunk_replaces_the_old_one(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A})
    chunks = make_chunks(SOURCE, "a.py", A)
    vector = np.eye(1, EMBEDDER.dimensions, dtype=np.float32)[0]
    prepared = [dataclasses.replace(prepare(chunk), vector=vector.tobytes()) for chunk in chunks]
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r1", "/src")
        publication.add_file("app", make_entry("a.py", A), prepared)
        publication.commit(NOW)
    with Index.open_current(tmp_path, EMBEDDER) as index:
        scores = [hit.score for hit in index.search_embedding(vector, see(), 10)]
        assert scores == pytest.approx([1.0, 1.0])
    assert check_invariants(tmp_path) == []


def test_new_chunk_without_any_vector_is_refused_by_name(tmp_path: Path) -> None:
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r1", "/src")
        with pytest.raises(EmbeddingError, match=r"a\.py:1 of source 'app' has no vector"):
            publication.add_file("app", make_entry("a.py", A), prepare_text(SOURCE, "a.py", A, vector=False))


def test_index_without_embedder_has_text_only(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A}, embedder=None)
    publish(tmp_path, {"b.py": B}, embedder=None)
    with Index.open_current(tmp_path) as index:
        assert found(index, "login") == ["a.py"]
    assert check_invariants(tmp_path) == []
    assert not list(tmp_path.glob("gens/*/lance"))


@pytest.mark.req("I12")
def test_other_embedder_starts_from_nothing(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A})
    other = HashEmbedder()
    other.id = "hash-16/2"
    with open_publication(tmp_path, embedder=other) as publication:
        assert publication.parent is None
        assert publication.known_files("app") == {}
    manifest = publish(tmp_path, {"a.py": A}, embedder=other)
    assert (manifest.generation, manifest.parent) == (2, None)
    assert check_invariants(tmp_path) == []


@pytest.mark.req("I12", "I19")
def test_vectors_can_be_added_to_an_index_without(tmp_path: Path) -> None:
    """The result is what one publication of both would have been."""
    publish(tmp_path / "late", {"a.py": A, "b.py": B}, embedder=None)
    with open_publication(tmp_path / "late") as publication:
        assert publication.lacks_vectors
        publication.add_vectors((one, EMBEDDER.embed_query(one.text).tobytes()) for one in publication.passages())
        late = publication.commit(NOW)
    assert late.content_hash == publish(tmp_path / "once", {"a.py": A, "b.py": B}).content_hash
    assert check_invariants(tmp_path / "late") == []
    publish(tmp_path / "late", {"a.py": None})
    assert check_invariants(tmp_path / "late") == []
    with Index.open_current(tmp_path / "late", EMBEDDER) as index:
        (hit,) = index.search_vector("price of the invoice", see(), 1)
        assert [chunk.path for chunk in index.chunks([hit.chunk_id])] == ["b.py"]


@pytest.mark.req("I10")
def test_a_publication_that_forgets_a_vector_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A, "b.py": B}, embedder=None)
    with open_publication(tmp_path) as publication:
        one, *_ = publication.passages()
        publication.add_vectors([(one, EMBEDDER.embed_query(one.text).tobytes())])
        with pytest.raises(PublishRefused, match="vector table has 1 rows"):
            publication.commit(NOW)
    assert check_invariants(tmp_path) == []


@pytest.mark.req("I10", "F8")
def test_source_that_shrinks_by_more_than_a_fifth_blocks_publication(tmp_path: Path) -> None:
    many = {f"m{i}.py": f"{A}\n\nunique {i}" for i in range(30)}
    first = publish(tmp_path, many)
    fewer = dict.fromkeys(sorted(many)[:7])
    with pytest.raises(PublishRefused, match=r"'app' would shrink from 90 to 69 chunks, more than 20%.*--allow-drop"):
        publish(tmp_path, fewer, allow_drop=False)
    with Index.open_current(tmp_path) as index:
        assert index.manifest == first
    assert publish(tmp_path, fewer, allow_drop=True).chunks == 69
    assert publish(tmp_path, dict.fromkeys(sorted(many)[7:9]), allow_drop=False).chunks == 63
    assert check_invariants(tmp_path) == []


@pytest.mark.req("I10")
def test_smoke_check_that_complains_blocks_publication(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A})

    def nothing_about_carts(index: Index) -> str | None:
        return "the cart is in" if found(index, "cart") else None

    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        publication.add_file("app", make_entry("b.py", B), prepare_text(SOURCE, "b.py", B))
        with pytest.raises(PublishRefused, match="the cart is in"):
            publication.commit(NOW, [nothing_about_carts])
    with Index.open_current(tmp_path) as index:
        assert index.generation == 1
    assert sorted(path.name for path in (tmp_path / "gens").iterdir()) == ["1"]


def test_engine_that_loses_a_chunk_is_noticed_before_publication(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A})
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        publication.add_file("app", make_entry("b.py", B), prepare_text(SOURCE, "b.py", B))
        publication._text.delete_file("app", "a.py")  # the fault: an engine forgets a file that nobody removed
        with pytest.raises(PublishRefused, match="text counts"):
            publication.commit(NOW)
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        publication.add_file("app", make_entry("b.py", B), prepare_text(SOURCE, "b.py", B))
        publication._vectors.flush()
        publication._vectors._table.delete("true")
        with pytest.raises(PublishRefused, match="vector table has 0 rows"):
            publication.commit(NOW)
    assert check_invariants(tmp_path) == []


def test_second_writer_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ingest.index.lease import WriterLock;"
        "WriterLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WriterBusy, match=rf"pid {holder.pid}\)"):
            open_publication(tmp_path)
        holder.stdin.close()
        holder.wait(timeout=10)
    assert publish(tmp_path, {"a.py": A}).generation == 1


@pytest.mark.req("I8", "I14")
def test_audit_names_document_version_and_trigger_and_cannot_be_rewritten(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A}, trigger="hook")
    publish(tmp_path, {"a.py": None})
    connection = control.connect(tmp_path)
    rows = control.read_audit(connection, "a.py")
    assert [(row.event, row.generation) for row in rows] == [("removed", 2), ("added", 1)]
    assert make_entry("a.py", A).content_hash in rows[1].detail and make_entry("a.py", A).blob in rows[1].detail
    assert any("trigger hook" in row.detail for row in control.read_audit(connection))
    with pytest.raises(Exception, match="append-only"):
        connection.execute("UPDATE audit SET detail = ''")
    assert control.broken_audit_row(connection) is None
    connection.execute("DROP TRIGGER audit_no_update")
    connection.execute("UPDATE audit SET detail = 'nothing happened' WHERE seq = 2")
    assert control.broken_audit_row(connection) == 2
    connection.close()
    assert [v.rule for v in check_invariants(tmp_path)] == ["audit"]


@pytest.mark.req("I13", "I16")
def test_renames_there_and_back_leave_one_row_for_each_path(tmp_path: Path) -> None:
    paths = ["a.py", "b.py", "a.py", "b.py", "a.py", "b.py", "c.py"]
    for old, new in zip([None, *paths], paths, strict=False):
        with open_publication(tmp_path) as publication:
            publication.begin_source(SOURCE, new, "/src")
            if old:
                publication.remove_file("app", old)
                publication.record_renames("app", [Rename(old, new)])
            publication.add_file("app", make_entry(new, A), prepare_text(SOURCE, new, A))
            publication.commit(NOW)
    connection = control.connect(tmp_path)
    assert control.read_renames(connection, len(paths)) == {("app", "a.py"): "c.py", ("app", "b.py"): "c.py"}
    assert control.read_renames(connection, len(paths) - 1) == {("app", "a.py"): "b.py"}
    assert connection.execute("SELECT count(*) FROM rename WHERE gen_to IS NULL").fetchone() == (2,)
    connection.close()


@pytest.mark.req("I13", "I16")
def test_skips_and_renames_are_kept_per_generation(tmp_path: Path) -> None:
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r1", "/src")
        publication.add_file("app", make_entry("a.py", A), prepare_text(SOURCE, "a.py", A))
        publication.add_file("app", make_entry("e.py", ""), [], skip=Skip("e.py", "empty"))
        publication.record_skips("app", [Skip("x.bin", "binary"), Skip("y.bin", "binary", "NUL")])
        manifest = publication.commit(NOW)
    assert manifest.sources[0].skipped == {"binary": 2, "empty": 1}
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        assert set(publication.known_files("app")) == {"a.py", "e.py"}
        publication.record_skips("app", [Skip("y.bin", "binary", "NUL")])
        publication.record_renames("app", [Rename("a.py", "b.py")])
        publication.remove_file("app", "a.py")
        publication.add_file("app", make_entry("b.py", A), prepare_text(SOURCE, "b.py", A))
        publication.remove_file("app", "e.py")
        manifest = publication.commit(NOW)
    assert manifest.sources[0].skipped == {"binary": 1}
    assert status(tmp_path).skips == {"app": {"binary": 1}}
    connection = control.connect(tmp_path)
    assert control.read_renames(connection, 2) == {("app", "a.py"): "b.py"}
    assert control.read_renames(connection, 1) == {}
    assert control.count_skips(connection, 1) == {"app": {"binary": 2, "empty": 1}}
    assert [row.path for row in control.list_skips(connection, 2)] == ["y.bin"]
    connection.close()
    assert check_invariants(tmp_path) == []


def test_same_document_in_two_entries_is_one_chunk_and_survives_the_loss_of_its_owner(tmp_path: Path) -> None:
    chunk = dataclasses.replace(make_chunks(SOURCE, "T", "the ticket text")[0], path=None, key="#12")
    entries = [Entry(name, name * 32, 3) for name in ("aa", "bb")]
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r1", "/src")
        for entry in entries:
            publication.add_file("app", entry, [prepare(chunk)])
        assert publication.commit(NOW).chunks == 1
    assert check_invariants(tmp_path) == []
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        publication.remove_file("app", "aa")
        publication.commit(NOW)
    with open_publication(tmp_path) as publication:
        assert publication.known_files("app")["bb"].content_hash == ""  # to be read again
        publication.begin_source(SOURCE, "r2", "/src")
        publication.add_file("app", entries[1], [prepare(chunk)])
        assert publication.commit(NOW).chunks == 1
    with Index.open_current(tmp_path, EMBEDDER) as index:
        assert index.find_keys("12", see()) == [chunk.id]
    assert check_invariants(tmp_path) == []


def test_chunk_of_another_source_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    other = dataclasses.replace(SOURCE, name="other")
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r1", "/src")
        with pytest.raises(ValueError, match="'other' was added to source 'app'"):
            publication.add_file("app", make_entry("a.py", A), prepare_text(other, "a.py", A))
        with pytest.raises(ValueError, match="begin_source"):
            publication.add_file("other", make_entry("a.py", A), [])


def test_vectors_of_a_paid_model_survive_an_aborted_build(tmp_path: Path) -> None:
    with open_publication(tmp_path) as publication:
        publication.store_embeddings({"k1": b"\x01" * 64})
    with open_publication(tmp_path) as publication:
        assert publication.cached_embeddings(["k1", "k2"]) == {"k1": b"\x01" * 64}
    with open_publication(tmp_path, embedder=None) as publication:
        assert publication.cached_embeddings(["k1"]) == {}


def test_many_small_deltas_keep_segments_and_fragments_bounded(tmp_path: Path) -> None:
    publish(tmp_path, {f"m{i}.py": f"{A}\n\nunique {i}" for i in range(20)})
    for step in range(60):
        manifest = publish(tmp_path, {f"m{step % 20}.py": f"{A}\n\nstep {step}"})
    folder = tmp_path / "gens" / str(manifest.generation)
    assert len(list(folder.glob("lance/*/data/*"))) <= 41
    assert len(list(folder.glob("lance/*/_versions/*.manifest"))) <= 4
    assert len(list(folder.glob("tantivy/*.store"))) <= 20
    assert check_invariants(tmp_path) == []
    with Index.open_current(tmp_path, EMBEDDER) as index:
        assert len(found(index, "login")) == 20


def segments_of(data_dir: Path, generation: int) -> dict[str, int]:
    """Return the segments of a text index, and how many documents each was written with."""
    meta = json.loads((data_dir / "gens" / str(generation) / "tantivy" / "meta.json").read_text())
    return {segment["segment_id"]: segment["max_doc"] for segment in meta["segments"]}


@pytest.mark.req("I3")
def test_a_change_of_one_file_never_waits_for_a_merge_with_the_large_segment(tmp_path: Path) -> None:
    first = publish(tmp_path, {f"m{i}.py": f"{A}\n\nunique {i}" for i in range(200)})
    (large,) = segments_of(tmp_path, first.generation)
    for step in range(30):
        manifest = publish(tmp_path, {f"m{step % 12}.py": f"{A}\n\nstep{step}", f"n{step}.py": None})
        assert large in segments_of(tmp_path, manifest.generation)
        assert len(segments_of(tmp_path, manifest.generation)) <= 7
    assert check_invariants(tmp_path) == []
    with Index.open_current(tmp_path, EMBEDDER) as index:
        assert [found(index, f"step{step}") for step in (17, 18, 29)] == [[], ["m6.py"], ["m5.py"]]
        assert index.manifest.chunks == first.chunks


@pytest.mark.req("I3")
def test_what_was_removed_does_not_come_back_when_recent_documents_are_written_again(tmp_path: Path) -> None:
    other = SourceInfo("lib", "code", "lib", ("local",))
    publish(tmp_path, {f"m{i}.py": f"{A}\n\nunique {i}" for i in range(200)})
    publish(tmp_path, {"m0.py": f"{A}\n\nlonely"})
    publish(tmp_path, {"c.py": f"{A}\n\nlonely"}, info=other)
    publish(tmp_path, {"m0.py": None})
    with open_publication(tmp_path) as publication:
        publication.remove_source("lib")
        publication.commit(NOW)
    for step in range(20):
        publish(tmp_path, {f"m{step + 1}.py": f"{A}\n\nstep{step}"})
    with Index.open_current(tmp_path, EMBEDDER) as index:
        assert list(index.search_text([("lonely", 1.0)], see("app", "lib"), 20, WEIGHTS)) == []
        assert len(found(index, "step18")) == 1
    assert check_invariants(tmp_path) == []


@pytest.mark.req("I3")
@pytest.mark.parametrize("damage", [None, "", '["no document"]', "{}\n[", "\xff"])
def test_recent_documents_are_the_same_read_from_the_file_and_kept_in_the_process(
    tmp_path: Path, damage: str | None
) -> None:
    publish(tmp_path, {f"m{i}.py": f"{A}\n\nunique {i}" for i in range(200)})
    for step in range(20):
        manifest = publish(tmp_path, {f"m{step % 12}.py": f"{A}\n\nstep{step}"})
        file = tmp_path / "gens" / str(manifest.generation) / "tantivy" / "recent.jsonl"
        kept = read_recent(file.parent)
        recent._KEPT.clear()  # as another process
        assert read_recent(file.parent) == kept
        assert len({record.file for record in kept.records.values()}) == min(step + 1, 12)
        if step == 9 and damage is not None:
            file.write_text(damage, "latin-1")
            break
    for step in range(20, 32):
        publish(tmp_path, {f"m{step % 12}.py": f"{A}\n\nstep{step}"})
    with Index.open_current(tmp_path, EMBEDDER) as index:
        assert [found(index, f"step{step}") for step in (8, 9, 19, 20, 31)] == [[], [], [], ["m8.py"], ["m7.py"]]
    assert check_invariants(tmp_path) == []


def test_very_many_deleted_documents_are_left_to_a_merge(tmp_path: Path) -> None:
    first = publish(tmp_path, {f"m{i}.py": f"{A}\n\nunique {i}" for i in range(200)})
    (large,) = segments_of(tmp_path, first.generation)
    publish(tmp_path, {f"m{i}.py": None for i in range(80)})
    for step in range(100, 110):
        manifest = publish(tmp_path, {f"m{step}.py": f"{A}\n\nstep{step}"})
    assert large not in segments_of(tmp_path, manifest.generation)


def test_what_no_generation_sees_is_deleted_without_looking_at_every_row(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A})
    connection = control.connect(tmp_path)
    try:
        for table in control.TEMPORAL:
            (plan,) = connection.execute(f"EXPLAIN QUERY PLAN DELETE FROM {table} WHERE gen_to <= 1").fetchall()
            assert plan[-1].startswith(f"SEARCH {table} USING ") and f"{table}_gone" in plan[-1]
    finally:
        connection.close()


def test_the_documents_of_a_large_segment_are_not_read_for_a_small_publication(tmp_path: Path, monkeypatch) -> None:
    publish(tmp_path, {f"{name}.py": f"{A}\n# {name}" for name in range(30)})
    read = []
    real = Segment._json
    monkeypatch.setattr(Segment, "_json", lambda self, name: read.append((self.rows, name)) or real(self, name))
    publish(tmp_path, {"b.py": B})
    assert not [rows for rows, name in read if name == "files" and rows >= 30]


def test_other_chunker_has_every_entry_read_again(tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": A})
    with open_publication(tmp_path, chunker="test-2") as publication:
        known = publication.known_files("app")["a.py"]
        assert (known.content_hash, known.stamp, known.blob) == ("", "", "")
        assert publication.parent is not None
    with open_publication(tmp_path) as publication:
        assert publication.known_files("app")["a.py"].content_hash == make_entry("a.py", A).content_hash


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that counts as too large to compare every id at each publication."""
    monkeypatch.setattr(generation, "FULL_CHECK_BELOW", 0)
    publish(tmp_path, {f"m{i}.py": f"{A}\n\nunique {i}" for i in range(20)})
    return tmp_path


@pytest.mark.req("I10")
def test_small_delta_on_a_large_index_is_published_without_comparing_every_id(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation.Publication, "_verify_all_ids", None)
    publish(large, {"m1.py": B, "m2.py": None})
    assert check_invariants(large) == []


@pytest.mark.req("I10")
@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("wrong text", "not in the text index"),
        ("wrong vector", "the vector table lacks a chunk"),
        ("removed text stays", "still in the text index"),
    ],
)
def test_faults_that_keep_every_count_right_are_noticed_by_ids(large: Path, fault: str, complaint: str) -> None:
    other = prepare_text(SOURCE, "x.py", A)
    with open_publication(large) as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        if fault == "removed text stays":
            publication.add_file("app", make_entry("m1.py", B), prepare_text(SOURCE, "m1.py", B))
            old = prepare_text(SOURCE, "m1.py", f"{A}\n\nunique 1")
            publication._text.delete_file("app", "m2.py")
            publication._text.add("m1.py", pack(old))
        else:
            publication.add_file("app", make_entry("x.py", A), other)
        if fault == "wrong text":
            publication._text.delete_file("app", "x.py")
            publication._text.add("x.py", pack(prepare_text(SOURCE, "y.py", A)))
        if fault == "wrong vector":
            publication._vectors.delete_own([other[0].chunk.id])
            publication._vectors.add(12345, "app", "x.py", "python", other[0].vector)
        with pytest.raises(PublishRefused, match=complaint):
            publication.commit(NOW)
    assert check_invariants(large) == []


def test_sample_notices_a_chunk_that_an_engine_lost_long_ago(large: Path) -> None:
    with open_publication(large) as publication:
        publication.begin_source(SOURCE, "r2", "/src")
        publication.add_file("app", make_entry("x.py", A), prepare_text(SOURCE, "x.py", A))
        for number in range(10):  # half of the index is exchanged for strangers
            publication._text.delete_file("app", f"m{number}.py")
            publication._text.add("x.py", pack(prepare_text(SOURCE, f"stranger{number}.py", f"{A}\n\nunique {number}")))
        with pytest.raises(PublishRefused, match="a sample is not in the text index"):
            publication.commit(NOW)
