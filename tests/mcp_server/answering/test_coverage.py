import pytest

from mcp_server.answering.aspects import split_question
from mcp_server.answering.coverage import list_uncovered, list_unspoken
from mcp_server.results import MissingName, Ungrounded

from .support import ChunkResolver, make_chunk, make_evidence

CACHE = make_chunk(
    "src/cache.py",
    'def invalidate(key):\n    """Drop an entry of the cache when a user logs out."""\n    store.pop(key)',
)
FILLER = [make_chunk(f"src/f{n}.py", f"def helper_{n}(value):\n    return value + {n}") for n in range(600)]
RARE = make_chunk("src/rare.py", "def sync_ldap(directory):\n    pass")
RESOLVER = ChunkResolver(CACHE, RARE, *FILLER)


def uncovered(question: str, not_found: tuple[MissingName, ...] = ()) -> list[str]:
    return [part.text for part in list_uncovered(question, make_evidence(CACHE), not_found, RESOLVER)]


@pytest.mark.req("R9")
def test_topic_that_the_repository_does_not_have_is_listed_with_its_noun() -> None:
    assert uncovered("How is the Redis cache invalidated?") == ["Redis cache"]


@pytest.mark.req("R9")
def test_neighbouring_topics_are_listed_as_one() -> None:
    assert uncovered("Does the cache use exponential backoff?") == ["exponential backoff"]


@pytest.mark.req("R9")
@pytest.mark.parametrize(
    "question",
    [
        "How does the cache work and how is invalidation handled?",
        "Where are cached entries being dropped when users log out?",
        "What is responsible for correctly removing stuff, and why?",
        "Which function is called to clear things up after somebody signs off?",
        "Could you please explain how invalidating an entry happens internally?",
        "what's the purpose of invalidate()",
    ],
)
def test_ordinary_words_and_other_wordings_are_not_reported(question: str) -> None:
    assert uncovered(question) == []


@pytest.mark.req("R9")
def test_rare_topic_that_exists_elsewhere_is_reported_as_not_in_the_evidence() -> None:
    parts = list_uncovered("How does the cache use LDAP?", make_evidence(CACHE), (), RESOLVER)
    assert [(p.text, p.verdict) for p in parts] == [("LDAP", "not_covered")]
    assert "occurs in the index" in parts[0].reason


@pytest.mark.req("R9")
def test_missing_name_keeps_its_nearest_names_and_is_listed_once() -> None:
    parts = list_uncovered(
        "Where is RedisCache configured?", make_evidence(CACHE), (MissingName("RedisCache", ("cache",)),), RESOLVER
    )
    assert [(p.text, p.verdict, p.nearest) for p in parts] == [("RedisCache", "not_found", ("cache",))]


@pytest.mark.req("R17")
def test_question_is_split_into_aspects_with_their_intents() -> None:
    aspects = split_question("Where is Console.print implemented and how does it handle markup? Why was #12 closed?")
    assert [aspect.intent for aspect in aspects] == ["where", "how", "ticket"]
    assert aspects[1].carried_names == ("Console.print",)


def test_conjunction_of_nouns_is_not_an_aspect_border() -> None:
    assert len(split_question("How do caching and retries interact?")) == 1


def test_a_name_of_the_question_of_which_no_statement_speaks_is_listed() -> None:
    question = "Does `apply_tax` of src/tax.py read TAX_RATE or LedgerBook.rates?"
    said = ["`apply_tax` is defined in src/tax.py:3.", "return ledgerbook * other"]
    assert [part.text for part in list_unspoken(question, said, ())] == ["TAX_RATE", "LedgerBook.rates"]
    known = [Ungrounded("question", "TAX_RATE", "not_found", "It exists nowhere.")]
    assert [part.text for part in list_unspoken(question, [*said, "rates = 3"], known)] == []
