"""The text normal form that chunks and queries share."""

import re
from random import Random

import pytest

from ingest.index.tokens import WORD, Expansions, index_tokens, split_identifier, stem, token_stream
from ingest.words import FEW, WordTable, keep_few_words, word_runs


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("getHTTPResponse_v2", ("get", "http", "response", "v", "2")),
        ("Größe", ("größe",)),
        ("maxGrößeWert_neu2", ("max", "größe", "wert", "neu", "2")),
        ("検索エンジン", ("検索", "索エ", "エン", "ンジ", "ジン")),
        ("поиск", ("поиск",)),
        ("load検索", ("load", "検索")),
    ],
)
def test_identifiers_are_split_at_case_digits_and_underscores_in_any_script(word, parts):
    assert split_identifier(word) == parts


@pytest.mark.req("R8")
def test_inflections_share_a_token_and_identifiers_stay_whole():
    assert index_tokens("handles") == index_tokens("handling") == index_tokens("Handled")
    assert index_tokens("parse_headers") == ("parse_headers", stem("parse"), stem("headers"))
    assert index_tokens("parse_header")[0] != index_tokens("parse_headers")[0]


def test_a_name_with_an_underscore_at_its_end_is_found_by_its_word_too():
    assert index_tokens("_payment") == ("_payment", stem("payment"))
    assert index_tokens("retries_")[1:] == index_tokens("retry")
    assert index_tokens("Payment") == index_tokens("payments") == (stem("payment"),)


def test_short_words_and_other_alphabets_are_not_stemmed():
    assert [stem(word) for word in ("bus", "os", "größen", "v2")] == ["bus", "os", "größen", "v2"]


def test_data_that_looks_like_a_word_is_left_out():
    assert token_stream("a" * 65 + " kept") == "kept"


@pytest.mark.req("R8")
def test_words_cut_by_table_are_those_of_the_patterns():
    random = Random(7)
    signs = 'aAbZ_09.. .-(\n\t\x1f"é検'
    texts = ["".join(random.choices(signs, k=random.randrange(60))) for _ in range(3000)]
    texts += ["x.5 1.5.2 2x v1.2a a.b.c .5 5. 1..2 __all__", ""]
    for text in texts:
        assert word_runs(text) == re.findall(r"\w+", text)
        expected = [token for word in WORD.findall(text) for token in index_tokens(word)]
        assert token_stream(text).split() == expected, text


def test_a_process_that_only_asks_remembers_few_words(monkeypatch):
    monkeypatch.setattr(WordTable, "most", WordTable.most)  # restored after this test
    keep_few_words()
    table = Expansions()
    for number in range(2 * FEW):
        assert table[f"name{number}"] == Expansions()[f"name{number}"]
    assert len(table) <= FEW
