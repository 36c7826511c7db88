"""Query understanding on plain strings."""

import pytest

from mcp_server.retrieval.query import find_identifiers, normalise_query, parse_query


@pytest.mark.req("T4")
@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("RouterGroup", "symbol"),
        ("Console.print", "symbol"),
        ("uv_loop_init", "symbol"),
        ("render()", "symbol"),
        ("std::vec::Vec", "symbol"),
        ("src/flask/app.py", "path"),
        ("app.py", "path"),
        ("what does #123 touch", "ticket"),
        ("PROJ-77", "ticket"),
        ("ADR-7", "design"),
        ("how are redirects followed", "conceptual"),
        ("read/write lock", "conceptual"),
        ("hello", "smalltalk"),
        ("What can you do?", "smalltalk"),
    ],
)
def test_route(text, route):
    assert parse_query(normalise_query(text)).route == route


def test_stop_words_carry_no_weight_and_scaffolding_little():
    weights = {term.token: term.weight for term in parse_query("how does the session cookie work").terms}
    assert set(weights) == {"session", "cooki", "work"}
    assert weights["work"] < weights["cooki"] == 1.0


def test_identifiers_are_searched_whole_and_in_parts():
    weights = {term.token: term.weight for term in parse_query("where is getHTTPResponse called").terms}
    assert weights["gethttpresponse"] > weights["http"] > 0
    weights = {term.token: term.weight for term in parse_query("where is _payment called").terms}
    assert weights["_payment"] > weights["payment"] > 0


@pytest.mark.parametrize("text", ["the and of", "???", "ист", "検索 インデックス", "a.*b[c](d)"])
def test_odd_queries_parse(text):
    query = parse_query(normalise_query(text))
    assert query.text == normalise_query(text)


def test_only_stop_words_fall_back_to_the_words_themselves():
    assert [term.token for term in parse_query("what is this").terms] == ["what", "is", "this"]


@pytest.mark.req("T4")
def test_control_and_bidi_characters_are_removed():
    assert normalise_query("find\u202e\x00 \x1b[31mme\u200b") == "find [31mme"


def test_intent_to_find_tests():
    assert parse_query("tests for url parsing").wants_tests
    assert not parse_query("how does the test client work").wants_tests


def test_double_backticks_quote_what_lies_in_them_and_not_between_them():
    assert find_identifiers("set ``no_proxy``, and ``NO_PROXY`` too") == ("no_proxy", "NO_PROXY")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("what happens when next is called with an error", False),
        ("how can the timeout be changed", False),
        ("who calls open__store", False),
        ("when was the timeout added", True),
        ("who wrote the parser", True),
        ("what changed in the parser", True),
        ("why is the timeout so short", True),
    ],
)
def test_commits_come_first_only_where_they_are_asked_for(text, wanted):
    assert parse_query(text).wants_history is wanted


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("who calls open__store?", ("open__store", True)),
        ("tell me who calls `ring`", ("ring", True)),
        ("which parts of the code use Session.send", ("Session.send", False)),
        ("What other functions are calling parse_query", ("parse_query", True)),
        ("show all callers of the function parse_query()", ("parse_query", True)),
        ("where is the RetryPolicy class used?", ("RetryPolicy", False)),
        ("find references to RETRY_LIMIT", ("RETRY_LIMIT", False)),
        ("what functions call ring?", ("ring", True)),
        ("what happens when I call uv_close on a stream", ("", False)),
        ("How are calls to uv_close queued?", ("", False)),
        ("explain how code that uses open_store works", ("", False)),
        ("what uses the cache", ("", False)),
        ("what does parse_query call", ("", False)),
        ("who calls it", ("", False)),
        ("where are sessions used", ("", False)),
    ],
)
def test_whose_callers_are_asked_for(text, asked):
    query = parse_query(text)
    assert (query.users_of, query.only_calls) == asked
