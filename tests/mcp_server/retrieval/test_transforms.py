"""Transforms: other words for a question, joined with its own list."""

import pytest

from mcp_server.retrieval.model import RankedChunk, Retrieval
from mcp_server.retrieval.transforms import clean, decompose, imagine, join, plan_queries, split_parts, vary
from tests.mcp_server.answering.support import make_chunk


@pytest.mark.req("R14")
@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("How are sessions signed? Where is the salt set?", ["How are sessions signed", "Where is the salt set"]),
        ("how is it retried and what happens then", ["how is it retried", "what happens then"]),
        ("how do salt and pepper work", ["how do salt and pepper work"]),
    ],
)
def test_a_question_is_taken_apart_where_it_asks_again(question, parts):
    assert split_parts(question) == parts


@pytest.mark.req("R14")
def test_several_names_are_several_questions():
    assert decompose("How do `sign_payload` and retry_payment differ?") == [
        "sign_payload How do and differ?",
        "retry_payment How do and differ?",
    ]
    assert decompose("How does `sign_payload` work?") == []


@pytest.mark.req("R14", "R15")
def test_names_and_abbreviations_are_written_another_way():
    variants = vary("where is retryPayment config read")
    assert variants[0] == "where is retryPayment configuration read"
    assert "where is retry_payment config read" in variants
    assert "where is retry payment config read" in variants


@pytest.mark.req("R14")
def test_hyde_by_rule_looks_like_code():
    assert imagine("How are session cookies signed?") == [
        'def session_cookies_signed(self):\n    """How are session cookies signed."""'
    ]
    assert imagine("???") == []


@pytest.mark.req("R14", "T6")
def test_queries_say_something_and_are_few():
    queries = clean(["a", "  a ", "", "---", "q", "x" * 5000, *map(str, range(9))], "q")
    assert queries[:2] == ["a", "x" * 600]
    assert len(queries) == 4


def found(*names, score=1.0):
    chunks = (make_chunk(f"{name}.py", f"{name} = 1") for name in names)
    return Retrieval(tuple(RankedChunk(chunk, score / (at + 1)) for at, chunk in enumerate(chunks)), query="q")


@pytest.mark.req("R14")
def test_the_own_list_counts_most_and_what_all_lists_have_comes_first():
    own, other, third = found("a", "b", "c"), found("c", "d"), found("c", "e")
    joined = join(own, [other, third], 0.8)
    paths = [hit.chunk.path for hit in joined]
    assert paths[:3] == ["c.py", "a.py", "b.py"]
    assert sorted(paths[3:]) == ["d.py", "e.py"]
    assert joined[0].score == 1.0
    assert [hit.chunk.path for hit in join(own, [], 0.8)] == ["a.py", "b.py", "c.py"]
    assert join(found(), [found()], 0.8) == ()


def test_plan_without_a_model_is_by_rule():
    assert plan_queries("decompose", "how is a signed? what is b then", None).by == "rule"
