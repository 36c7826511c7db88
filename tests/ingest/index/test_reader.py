import dataclasses
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import EmbedderMismatch, IndexCorrupt, IndexEmpty, VectorUnavailable
from ingest.index import Index
from ingest.index.globs import glob_pattern
from ingest.index.vector import VectorFilter, search_table
from ingest.model import SourceInfo
from tests.ingest.index.support import (
    EMBEDDER,
    NOW,
    SOURCE,
    HashEmbedder,
    make_chunks,
    make_entry,
    open_publication,
    prepare,
    publish,
    see,
)

CODE = {
    "src/auth/token.py": (
        "class TokenStore:\n    pass\n\ndef TokenStore.refresh(self):\n    return token\n\ndef load_user(id):\n    pass"
    ),
    "src/auth/session.py": "def refresh(session):\n    return token token\n\ndef LoadUser():\n    pass",
    "tests/test_token.py": "def test_refresh():\n    assert token\n\ndef load_users_twice():\n    pass",
    "README.md": "How the token is refreshed, see #12 and src/auth/token.py",
}
TICKETS = SourceInfo("jira", "ticket", "bank", ("staff",))
WEIGHTS = {"content": 1.0, "symbols": 2.0, "path": 0.5}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("reader")
    publish(data_dir, CODE)
    with open_publication(data_dir) as publication:
        publication.begin_source(TICKETS, "e1", "/export")
        for key, text in (
            ("#12", "token expires"),
            ("PROJ-7", "see #12 token"),
            ("4f9a12c0de" + "0" * 30, "commit token"),
        ):
            chunk = make_chunks(TICKETS, key, text)[0]
            publication.add_file(
                "jira", make_entry(key, text), [prepare(dataclasses.replace(chunk, path=None, key=key))]
            )
        publication.commit(NOW)
    return data_dir


@pytest.fixture
def index(data_dir: Path):
    with Index.open_current(data_dir, EMBEDDER) as index:
        yield index


STAFF = see("app", "jira", groups=("local", "staff"))


def paths(index: Index, ids: list[int]) -> list[str]:
    return [chunk.ref for chunk in index.chunks(ids)]


def test_text_scores_fall_and_ties_are_ordered_by_id(index: Index) -> None:
    hits = index.search_text([("token", 1.0), ("refresh", 0.5)], see(), 10, WEIGHTS)
    assert len(hits) >= 4
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.chunk_id))
    assert hits == index.search_text([("token", 1.0), ("refresh", 0.5)], see(), 10, WEIGHTS)


def test_field_weight_decides_which_field_counts(index: Index) -> None:
    by_path = index.search_text([("session", 1.0)], see(), 5, {"path": 1.0})
    assert set(paths(index, [hit.chunk_id for hit in by_path])) == {"src/auth/session.py"}
    assert index.search_text([("session", 1.0)], see(), 5, {"symbols": 1.0}) == []
    assert index.search_text([("token", 0.0)], see(), 5, WEIGHTS) == []
    assert index.search_text([], see(), 5, WEIGHTS) == index.search_text([("token", 1.0)], see(), 0, WEIGHTS) == []


@pytest.mark.req("S1", "S9")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (STAFF, {*CODE, "#12", "PROJ-7", "4f9a12c0de" + "0" * 30}),
        (see("app", "jira"), set(CODE)),
        (see("app", "jira", groups=("staff",)), {"#12", "PROJ-7", "4f9a12c0de" + "0" * 30}),
        (see("app", groups=()), set()),
        (see("nothing"), set()),
        (see("app", kinds=frozenset({"ticket"})), set()),
        (see("app", "jira", groups=("local", "staff"), product="bank"), {"#12", "PROJ-7", "4f9a12c0de" + "0" * 30}),
        (see(language="python"), {"src/auth/token.py", "src/auth/session.py", "tests/test_token.py"}),
        (see(path_glob="src/**"), {"src/auth/token.py", "src/auth/session.py"}),
        (see(path_glob="*.md"), {"README.md"}),
        (see("app", "jira", groups=("local", "staff"), path_glob="**"), set(CODE)),
    ],
)
def test_both_engines_apply_the_same_filters_before_ranking(index: Index, filters: object, expected: set[str]) -> None:
    text = index.search_text([("token", 1.0)], filters, 50, WEIGHTS)
    vector = index.search_vector("token", filters, 50)
    assert {chunk.ref for chunk in index.chunks([hit.chunk_id for hit in text])} == expected
    assert {chunk.ref for chunk in index.chunks([hit.chunk_id for hit in vector])} == expected
    assert len(index.search_text([("token", 1.0)], filters, 1, WEIGHTS)) == min(1, len(expected))
    assert index.chunk_count(filters) == len(vector)


GLOBS = [
    "src",
    "src/",
    "src/**",
    "src/*",
    "*.py",
    "**/*.py",
    "src/auth/token.py",
    "token.py",
    "t*/**",
    "s?c/**",
    "a+b(1)/[x].py",
    "nope",
]


@pytest.mark.parametrize("glob", GLOBS)
def test_lance_and_memory_and_text_agree_on_a_glob(tmp_path: Path, glob: str) -> None:
    names = ["src/auth/token.py", "src/token.py", "tests/token.py", "srcx/y.py", "a+b(1)/[x].py", "src/é 'q'.md"]
    publish(tmp_path, dict.fromkeys(names, "token"))
    with Index.open_current(tmp_path, EMBEDDER) as index:
        filters = see(path_glob=glob)
        text = {hit.chunk_id for hit in index.search_text([("token", 1.0)], filters, 50, WEIGHTS)}
        memory = {hit.chunk_id for hit in index.search_vector("token", filters, 50)}
        where = VectorFilter(None, path_pattern=glob_pattern(glob))
        table = {
            hit.chunk_id for hit in search_table(tmp_path / "gens/1/lance", EMBEDDER.embed_query("token"), where, 50)
        }
    assert text == memory == table


def test_glob_meanings() -> None:
    import re

    def matches(glob: str, path: str) -> bool:
        return re.fullmatch(glob_pattern(glob), path) is not None

    assert matches("*.py", "a/b/c.py") and matches("src", "src/a.py") and matches("src/", "lib/src/a.py")
    assert matches("src/*", "src/a.py") and matches("a/**/z.py", "a/z.py") and matches("a/**/z.py", "a/b/c/z.py")
    assert (
        not matches("*.py", "a/b/c.pyc") and not matches("src/*.py", "src/a/b.py") and not matches("src", "srcx/a.py")
    )


def test_vectors_above_the_limit_are_searched_inside_lance_with_the_same_result(data_dir: Path) -> None:
    with (
        Index.open_current(data_dir, EMBEDDER) as memory,
        Index.open_current(data_dir, EMBEDDER, exact_vectors_max=0) as table,
    ):
        for filters in (STAFF, see(), see(language="python"), see(path_glob="src/**")):
            one, other = memory.search_vector("load user", filters, 4), table.search_vector("load user", filters, 4)
            assert [hit.chunk_id for hit in one] == [hit.chunk_id for hit in other]
            assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other], abs=1e-5)


def test_vector_search_is_exact(index: Index) -> None:
    query = EMBEDDER.embed_query("load the user of a token")
    expected = []
    for chunk in index.chunks(index._text.all_ids()):
        expected.append((-float(EMBEDDER.embed_query(chunk.text) @ query), chunk.id))
    hits = index.search_embedding(query, STAFF, 5)
    assert [hit.chunk_id for hit in hits] == [chunk_id for _, chunk_id in sorted(expected)[:5]]


@pytest.mark.req("I12", "K2")
def test_query_of_another_embedder_is_refused_with_the_remedy(data_dir: Path) -> None:
    class Other(HashEmbedder):
        id = "other"

    with Index.open_current(data_dir, Other()) as index:
        with pytest.raises(
            EmbedderMismatch, match=r"built with embedder 'hash-16/1' but 'other' is configured.*codecairn index"
        ):
            index.search_vector("token", see(), 5)
        assert index.search_text([("token", 1.0)], see(), 5, WEIGHTS)
    with Index.open_current(data_dir) as index, pytest.raises(VectorUnavailable, match="No embedder"):
        index.search_vector("token", see(), 5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TokenStore", [("exact", "TokenStore"), ("part", "TokenStore.refresh")]),
        ("refresh", [("exact", "refresh"), ("exact", "TokenStore.refresh"), ("part", "test_refresh")]),
        ("TokenStore.refresh", [("qualified", "TokenStore.refresh")]),
        ("TokenStore::refresh", [("qualified", "TokenStore.refresh")]),
        ("TokenStore->refresh", [("qualified", "TokenStore.refresh")]),
        ("tokenstore#REFRESH", [("case", "TokenStore.refresh")]),
        ("loaduser", [("case", "LoadUser")]),
        ("load_us", [("prefix", "load_user"), ("prefix", "load_users_twice")]),
        ("token_refresh", [("part", "TokenStore.refresh")]),
        ("missing", []),
        ("", []),
        ("...", []),
    ],
)
def test_find_symbol(index: Index, name: str, expected: list[tuple[str, str]]) -> None:
    hits = index.find_symbol(name, see())
    assert [(hit.how, hit.symbol.qualname) for hit in hits] == expected
    assert index.find_symbol(name, see(groups=())) == []


def test_symbols_of_hidden_sources_are_neither_found_nor_suggested(data_dir: Path, tmp_path: Path) -> None:
    publish(tmp_path, {"a.py": "def refresh():\n    pass"})
    publish(tmp_path, {"s.py": "def refreshed():\n    pass"}, info=SourceInfo("secret", "code", "bank", ("staff",)))
    with Index.open_current(tmp_path, EMBEDDER) as index:
        everything = see("app", "secret")
        assert index.near_symbols("refreshd", everything) == ["refresh"]
        assert index.find_symbol("refreshed", everything) == []
        assert index.find_paths("s.py", everything) == []
        assert index.near_paths("s.pyx", everything) == [("app", "a.py")]
        assert index.near_symbols("refreshd", see("app", "secret", groups=("staff",))) == ["refreshed"]


def test_near_names_come_by_edit_distance_and_by_parts(index: Index) -> None:
    assert index.near_symbols("load_usr", see())[0] == "load_user"
    assert index.near_symbols("refreshToken", see())[0] == "refresh"
    assert index.near_symbols("zzzzzz", see()) == []
    assert index.near_paths("tokens.py", see())[0] == ("app", "src/auth/token.py")
    assert index.near_paths("auth/sesion.py", see(), limit=1) == [("app", "src/auth/session.py")]


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("src/auth/token.py", ["src/auth/token.py"]),
        ("auth/token.py", ["src/auth/token.py"]),
        ("./Token.py", ["src/auth/token.py"]),
        ("token", ["src/auth/token.py"]),
        ("test_token", ["tests/test_token.py"]),
        ("src\\auth\\session.py", ["src/auth/session.py"]),
        ("oken.py", []),
    ],
)
def test_find_paths(index: Index, fragment: str, expected: list[str]) -> None:
    assert [path for _, path in index.find_paths(fragment, see())] == expected


@pytest.mark.req("I20")
def test_keys_and_links_are_found_in_any_spelling(index: Index) -> None:
    assert paths(index, index.find_keys("#12", STAFF)) == paths(index, index.find_keys("12", STAFF)) == ["#12"]
    assert paths(index, index.find_keys("proj-7", STAFF)) == ["PROJ-7"]
    assert paths(index, index.find_keys("4F9A12C", STAFF)) == ["4f9a12c0de" + "0" * 30]
    assert index.find_keys("4f9a12", STAFF) == index.find_keys("4f9a12cf", STAFF) == index.find_keys("", STAFF) == []
    assert index.find_keys("12", see("app", "jira")) == []
    assert set(paths(index, index.linked_to("12", STAFF, 10))) == {"README.md", "PROJ-7"}
    assert paths(index, index.linked_to("#12", see(), 10)) == ["README.md"]


def test_the_first_chunk_of_a_file_is_remembered_for_each_who_may_see_it(index: Index) -> None:
    path = "src/auth/token.py"
    for _ in range(2):
        assert index.first_chunk("app", path, see("jira")) is None
        first = index.first_chunk("app", path, see())
        assert first == index.document_chunks("app", path, see())[0]
        assert index.first_chunk("app", path, see(groups=("guests",))) is None
        assert index.first_chunk("app", "no.py", see()) is None


def test_document_chunks_come_in_line_order(index: Index) -> None:
    chunks = index.document_chunks("app", "src/auth/token.py", see())
    assert [chunk.start_line for chunk in chunks] == [1, 4, 7]
    assert index.document_chunks("app", "src/auth/token.py", see("jira")) == []
    assert [chunk.key for chunk in index.document_chunks("jira", "#12", STAFF)] == ["#12"]


def test_chunks_survive_storage_whole(tmp_path: Path) -> None:
    [chunk] = make_chunks(SOURCE, "a.py", "def f(): # é \U0001f600 \udc80 #9")
    chunk = dataclasses.replace(
        chunk,
        symbol="f",
        context="class C:",
        state="open",
        created_at="2026-01-01",
        updated_at="2026-01-02",
        redactions=(("jwt", 2),),
    )
    with open_publication(tmp_path) as publication:
        publication.begin_source(SOURCE, "r", "/src")
        publication.add_file("app", make_entry("a.py", "x"), [prepare(chunk)])
        publication.commit(NOW)
    with Index.open_current(tmp_path) as index:
        assert index.chunks([chunk.id, chunk.id]) == [chunk, chunk]
        with pytest.raises(IndexCorrupt, match="holds no chunk 5. Run `codecairn doctor --deep`"):
            index.chunks([5])


def test_term_statistics_count_chunks(index: Index) -> None:
    assert index.term_stats(["token", "expir", "absent"]) == {"token": 8, "expir": 1, "absent": 0}
    assert index.term_stats(["token", "expir"], see("app", "jira")) == {"token": 5, "expir": 0}
    assert index.term_stats(["token"], see(groups=())) == {"token": 0}


def test_statistics_stay_sound_when_most_of_a_segment_is_deleted(tmp_path: Path) -> None:
    publish(tmp_path, {f"m{i}.py": f"common word {i}" for i in range(40)})
    for start in range(0, 38, 2):
        publish(tmp_path, {f"m{start}.py": None, f"m{start + 1}.py": None})
    with Index.open_current(tmp_path, EMBEDDER) as index:
        hits = index.search_text([("common", 1.0), ("word", 1.0)], see(), 10, WEIGHTS)
        assert len(hits) == 2 and all(hit.score > 0 for hit in hits)


def test_empty_data_directory_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IndexEmpty, match=r"Run `codecairn index`"):
        Index.open_current(tmp_path)
    with open_publication(tmp_path):
        pass
    with pytest.raises(IndexEmpty, match=r"Run `codecairn index`"):
        Index.open_current(tmp_path)
    publish(tmp_path, {"a.py": "x"})
    with pytest.raises(IndexEmpty, match=r"Generation 7 is not kept. Kept are: 1"):
        Index.open_generation(tmp_path, 7)


def test_refreshed_index_shares_vectors_and_equals_a_fresh_one(tmp_path: Path) -> None:
    rng = random.Random(5)
    words = [f"w{i}" for i in range(40)]
    publish(tmp_path, {f"m{i}.py": " ".join(rng.choices(words, k=9)) + f" id{i}" for i in range(60)})
    index = Index.open_current(tmp_path, EMBEDDER)
    index.load_vectors()
    for step in range(12):
        changes = {f"m{rng.randrange(70)}.py": " ".join(rng.choices(words, k=9)) + f" step{step}" for _ in range(4)}
        changes[f"m{rng.randrange(60)}.py"] = None
        publish(tmp_path, changes)
        old, index = index, index.refreshed(tmp_path)
        assert index is not old and index.refreshed(tmp_path) is index
        with Index.open_current(tmp_path, EMBEDDER) as fresh:
            for query in ("w1 w2 w3", "w7"):
                mine, theirs = index.search_vector(query, see(), 70), fresh.search_vector(query, see(), 70)
                assert len(mine) == index.manifest.chunks
                assert {hit.chunk_id for hit in mine} == {hit.chunk_id for hit in theirs}
                by_id = {hit.chunk_id: hit.score for hit in theirs}
                assert [hit.score for hit in mine] == pytest.approx([by_id[hit.chunk_id] for hit in mine], abs=1e-6)
        expected = old.manifest.chunks
        assert len(old.search_vector("w1", see(), 200)) == expected  # an older reader is not disturbed
        old.close()
    index.close()


@pytest.mark.req("W4", "I7")
def test_W4_readers_on_threads_see_exactly_one_generation_while_a_writer_publishes(tmp_path: Path) -> None:
    def texts(version: int) -> dict[str, str]:
        return {f"m{i}.py": f"stamp v{version} file{i}" for i in range(6)}

    publish(tmp_path, texts(1), revision="1")
    problems: list[str] = []
    seen: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        index = Index.open_current(tmp_path, EMBEDDER)
        while not stop.is_set():
            index = index.refreshed(tmp_path)
            revision = index.manifest.sources[0].revision
            text = index.search_text([("stamp", 1.0)], see(), 50, WEIGHTS)
            vector = index.search_vector("stamp", see(), 50)
            for hits in (text, vector):
                versions = {chunk.text.split()[1] for chunk in index.chunks([hit.chunk_id for hit in hits])}
                if versions != {f"v{revision}"} or len(hits) != 6:
                    problems.append(f"generation {index.generation}: {versions}, {len(hits)} hits")
            seen.add(index.generation)
        index.close()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, 22):
        publish(tmp_path, texts(version), revision=str(version))
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(seen) >= 5


@settings(max_examples=60)
@given(text=st.text(max_size=40))
def test_no_query_text_breaks_a_look_up(data_dir: Path, text: str) -> None:
    with Index.open_current(data_dir, EMBEDDER) as index:
        index.search_text([(text, 1.0)], STAFF, 5, WEIGHTS)
        index.search_text([("token", 1.0)], see(path_glob=text), 5, WEIGHTS)
        index.search_vector("token", see(path_glob=text), 5)
        for look_up in (index.find_symbol, index.near_symbols, index.find_paths, index.near_paths, index.find_keys):
            look_up(text, STAFF)
        index.linked_to(text, STAFF, 5)
        index.term_stats([text])


def test_masks_need_every_row_of_the_border_score() -> None:
    from ingest.index.matrix import VectorMemory
    from ingest.index.vector import Codes, VectorRows

    count = 40
    codes = Codes(("app",), np.zeros(count, dtype=np.int32))
    ids = np.arange(count, 0, -1, dtype=np.int64)
    rows = VectorRows(
        ids, ids, codes, codes, codes, VectorMemory([np.ones((count, 4), dtype=np.float32)], (count, 4)), None
    )
    hits = rows.search(np.ones(4, dtype=np.float32), VectorFilter(None), 3)
    assert [hit.chunk_id for hit in hits] == [1, 2, 3]
