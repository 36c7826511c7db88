"""The text normal form that chunks and queries share."""

import pytest

from ingest.index.tokens import index_tokens, split_identifier, stem, token_stream


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


def test_short_words_and_other_alphabets_are_not_stemmed():
    assert [stem(word) for word in ("bus", "os", "größen", "v2")] == ["bus", "os", "größen", "v2"]


def test_data_that_looks_like_a_word_is_left_out():
    assert token_stream("a" * 65 + " kept") == "kept"
