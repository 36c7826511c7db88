"""Rerank on hand-made chunks."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from ingest.index.listed import Words
from ingest.index.packed import pack
from ingest.index.rows import RowReader, RowWriter, Vocabulary
from ingest.index.tokens import stem
from ingest.model import Chunk, Symbol
from ingest.prepare import prepare_chunk
from mcp_server.retrieval.candidates import rank_candidates
from mcp_server.retrieval.features import Coverage, Matcher
from mcp_server.retrieval.fusion import Fused
from mcp_server.retrieval.pipeline import read_candidates
from mcp_server.retrieval.query import parse_query
from mcp_server.retrieval.rerank import Signals, rerank, uses_name
from mcp_server.retrieval.weights import RankWeights


def chunk(number, path, *symbols, role="source"):
    return Chunk(
        id=number, source="s", kind="code", product="p", groups=("local",), path=path, key=None, title=path,
        language="python", role=role, start_line=1, end_line=9, symbol=symbols[0] if symbols else None, context="",
        text="", text_hash=str(number), content_hash=path,
        symbols=tuple(Symbol(name.rsplit(".", 1)[-1], name, "function", 1, 9) for name in symbols),
    )  # fmt: skip


def order(text, *chunks, weights=None, rare=(), **signals):
    """Rank chunks in the order given, as the pipeline does, from rows that were written and read again."""
    fused = Fused(np.array([item.id for item in chunks]), 1.0 - np.arange(len(chunks)) / 100, {})
    query = parse_query(text)
    coverage = Coverage(query, {term.token: 1.0 for term in query.terms})
    matcher = Matcher({word: 6.0 if word in rare else 1.0 for word in query.keywords})
    with TemporaryDirectory() as folder:
        candidates = read_candidates(StoredRows(Path(folder), chunks), query, fused, matcher, coverage)
    if query.route == "symbol":
        signals["using"] = frozenset(item.id for item in chunks if uses_name(query, item.text))
    ranking = rerank(query, matcher, coverage, candidates, Signals(**signals), weights or RankWeights())
    ranked = ranking.first(len(chunks))
    return [item.id for item in ranked], ranked


class StoredRows:
    """As much of an index as ranking reads."""

    def __init__(self, folder, chunks):
        writer = RowWriter(folder)
        for item in chunks:
            writer.add(*pack([prepare_chunk(item)]))
        writer.commit(len(chunks), list)
        self.rows = RowReader(folder).rows

    def kind_of(self, source):
        return "code"


def test_definition_of_the_named_symbol_comes_first():
    ids, _ = order("parse_url", chunk(1, "a.py", "other"), chunk(2, "b.py", "parse_url"))
    assert ids == [2, 1]


@pytest.mark.parametrize("name", ["JsonArray", "json_array"])
def test_words_that_name_something_together_find_its_definition(name):
    plain, named = chunk(1, "a.py", "JsonArrayElement"), chunk(2, "b.py", name)
    ids, ranked = order("JSON array operations and element access", plain, named)
    assert ids == [2, 1]
    assert dict(ranked[0].features)["joined_name"] > 0
    assert "joined_name" not in dict(ranked[1].features)


def test_file_name_that_matches_the_words_comes_first():
    ids, _ = order("cookie session handling", chunk(1, "a.py"), chunk(2, "sessions.py"))
    assert ids == [2, 1]


def test_tests_rank_below_source_unless_asked_for():
    one, two = chunk(1, "tests/test_url.py", role="test"), chunk(2, "lib/net.py")
    assert order("url parsing", one, two)[0] == [2, 1]
    assert order("tests for url parsing", two, one)[0] == [1, 2]


def test_an_example_that_a_rare_word_names_is_the_file_that_is_meant():
    source, example = chunk(1, "lib/coroutines.py"), chunk(2, "demos/chatdemo.py", role="example")
    assert order("rewrite chatdemo with coroutines", source, example, rare=["chatdemo"])[0] == [2, 1]
    assert order("rewrite chatdemo with coroutines", source, example, rare=["rewrite"])[0] == [1, 2]


def test_definition_in_a_test_file_beats_words_in_source():
    helper, other = chunk(1, "tests/helpers.py", "make_session", role="test"), chunk(2, "session/make.py")
    assert order("make_session", other, helper)[0] == [1, 2]


def test_second_chunk_of_a_file_gives_way_to_another_file():
    ids, _ = order("x", chunk(1, "a.py"), chunk(2, "a.py"), chunk(3, "b.py"))
    assert ids == [1, 3, 2]


@pytest.mark.req("T11")
def test_score_can_be_recomputed_from_the_features():
    _, ranked = order("parse_url", chunk(1, "a.py"), chunk(2, "url.py", "parse_url"), chunk(3, "url.py"))
    for item in ranked:
        features = dict(item.features)
        factor, saturation = features.pop("role_factor"), features.pop("saturation", 1)
        defined = features.pop("definition", 0) + features.pop("use", 0)
        assert item.score == pytest.approx(((item.fused + sum(features.values())) * factor + defined) * saturation)


@pytest.mark.req("R8")
def test_a_file_whose_chunks_cover_the_query_together_comes_first():
    half, other = replace(chunk(1, "a.py"), text="retry once"), replace(chunk(3, "b.py"), text="backoff")
    rest = replace(chunk(2, "b.py"), text="retry later")
    assert order("retry backoff", half, rest, other)[0][0] in (2, 3)
    flat = RankWeights(coverage=0, file_coverage=0, coherence=0)
    assert order("retry backoff", half, rest, other, weights=flat)[0][0] == 1


def test_a_file_with_several_near_chunks_comes_first():
    nearest = rank_candidates("vector", [(2, 0.9, ""), (3, 0.8, ""), (1, 0.5, "")])
    assert order("x", chunk(1, "a.py"), chunk(2, "b.py"), chunk(3, "b.py"), nearest=nearest)[0][0] == 2


@pytest.mark.req("R7")
def test_votes_of_older_commits_lift_a_file():
    assert order("x", chunk(1, "a.py"), chunk(2, "b.py"), votes={("s", "b.py"): 1.0})[0] == [2, 1]


def test_a_file_for_one_platform_gives_way_unless_that_is_asked_for():
    windows, unix = chunk(1, "src/win/core.c"), chunk(2, "src/unix/core.c")
    assert order("event loop", windows, unix)[0] == [2, 1]
    assert order("event loop on windows or win", windows, unix)[0] == [1, 2]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("dependency", "dependencies", True),
        ("auth", "authentication", True),
        ("bench", "bench_marker_0", False),
        ("con", "connection", False),
        ("cookie", "session", False),
    ],
)
def test_words_are_related_by_their_beginning(one, other, expected):
    assert relates(one, other) is relates(other, one) is expected


def relates(keyword, word):
    words, stems = (json.dumps([text]).encode() for text in (word, stem(word)))
    vocabulary = Vocabulary(
        Words(words, 0, len(words)),
        Words(stems, 0, len(stems)),
        np.zeros(1, np.int32),
        np.array([word.isalpha()], np.uint8),
    )
    return bool(Matcher({keyword: 1.0}).relate(vocabulary)[0])


def test_use_of_an_undefined_name_beats_its_parts():
    other = chunk(1, "marker/bench.py", "bench")
    user = replace(chunk(2, "config/ci.yml", role="config"), text="run: bench_marker_7\n")
    near = replace(chunk(3, "b.py"), text="bench_marker_77 = 1\n")
    assert order("bench_marker_7", other, near, user)[0][0] == 2
