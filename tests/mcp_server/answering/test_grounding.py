import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Span
from mcp_server.answering.grounding import check_claims, holds_number, holds_whole, list_ungrounded_claims

from .support import ChunkResolver, make_chunk, make_evidence

CACHE = make_chunk(
    "src/cache.py",
    '''
    def read_entry(key):
        """Return one entry of the cache."""
        return store.get(key, timeout_ms=30_000)

    def drop_entry(key):
        # the lock is held   while
        # the entry is removed
        store.remove(key)
    ''',
    start=10,
)
QUEUE = make_chunk("src/queue.py", "def push_job(job):\n    backlog.append(job)")
HIDDEN = make_chunk("src/other.py", "def compact_log():\n    pass")
EVIDENCE = make_evidence(CACHE, QUEUE)
RESOLVER = ChunkResolver(CACHE, QUEUE, HIDDEN, near=("read_entry",))


def verdict(text: str, *spans: Span, question: str = "", quote: str = "") -> str:
    return check_claims([ClaimDraft(text, spans, quote)], EVIDENCE, question, RESOLVER)[0].verdict


READ, DROP, PUSH = Span("E1", 10, 12), Span("E1", 14, 17), Span("E2", 1, 2)


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("`read_entry` in src/cache.py reads it", [READ], "supported"),  # L1
        ("`drop_entry` is next to where one entry of the cache is returned", [READ], "supported"),  # L2: same file
        ("`push_job` appends", [READ], "misattributed"),  # L3
        ("`compact_log` runs then", [READ], "unsupported_by_context"),  # L4
        ("`read_entry_v2` reads it", [READ], "fabricated"),  # L8
        ("src/core_cache.py reads it", [READ], "fabricated"),
        ('It notes "the lock is held while the entry is removed".', [DROP], "supported"),
        ('It notes "the lock is never held at all".', [DROP], "misquoted"),
        ("`read_entry` waits 30 s", [READ], "supported"),  # 30 s = 30_000 ms
        ("`read_entry` waits 45 s", [READ], "unverified"),
        ("It is quite fast.", [READ], "no_anchor"),
        ("src/cache.py:400 is where `read_entry` stands", [READ], "contradicted"),  # the file is shorter
    ],
)
def test_ledger_finds_the_worst_anchor(text: str, spans: list[Span], expected: str) -> None:
    assert verdict(text, *spans) == expected


@pytest.mark.req("R18")
def test_misattributed_claim_gets_the_right_citation() -> None:
    claim = check_claims([ClaimDraft("`push_job` appends", (READ,))], EVIDENCE, "", RESOLVER)[0]
    assert Span("E2", 1, 1) in claim.spans
    assert "repaired" in claim.reason


@pytest.mark.req("R18")
def test_fabricated_beats_every_other_verdict_and_is_struck_with_nearest_names() -> None:
    draft = ClaimDraft('`read_entry_v2` calls `compact_log`: "something that nobody wrote"', (READ,))
    claim = check_claims([draft], EVIDENCE, "", RESOLVER)[0]
    assert claim.verdict == "fabricated"
    assert claim.is_struck
    assert claim.nearest == ("read_entry",)


@pytest.mark.req("R18")
def test_claim_whose_lines_hold_hardly_anything_of_it_is_weak() -> None:
    far = "`read_entry` negotiates certificates, rotates credentials and informs operators about expired sessions"
    assert verdict(far, Span("E1", 12, 12)) == "weak"
    assert verdict("`read_entry` returns one entry of the cache from the store", READ) == "supported"


@pytest.mark.req("R18")
def test_quote_alone_does_not_bear_what_its_lines_do_not_speak_of() -> None:
    far = "Certificates are negotiated, credentials rotated and operators informed about expired sessions."
    assert verdict(far, DROP, quote="the lock is held while the entry is removed") == "no_anchor"
    assert verdict("The lock is held during removal.", DROP, quote="the lock is held while the entry") == "supported"


@pytest.mark.req("R18")
def test_term_of_the_question_that_exists_nowhere_is_exempt_not_fabricated() -> None:
    assert (
        verdict("`RedisCache` has nothing to do with `read_entry`", READ, question="where is RedisCache?")
        == "supported"
    )


@pytest.mark.req("R18")
def test_quote_of_a_draft_is_checked_even_if_the_text_does_not_show_it() -> None:
    assert verdict("It removes the entry.", DROP, quote="store.remove(key)") == "supported"
    assert verdict("It removes the entry.", DROP, quote="store.delete(key)") == "misquoted"


@pytest.mark.req("R9")
def test_ungrounded_lists_only_what_the_evidence_does_not_support() -> None:
    drafts = [ClaimDraft("`read_entry` reads", (READ,)), ClaimDraft("`no_such_thing` reads", (READ,))]
    listed = list_ungrounded_claims(check_claims(drafts, EVIDENCE, "", RESOLVER))
    assert [(u.kind, u.verdict) for u in listed] == [("claim", "fabricated")]


@pytest.mark.parametrize(
    ("text", "literal", "held"), [("t = 30_000", "30 s", True), ("t = 0.5", "500 ms", True), ("t = 3", "30 s", False)]
)
def test_numbers_agree_across_units_of_time(text: str, literal: str, held: bool) -> None:
    assert holds_number(text, literal) is held


@pytest.mark.req("F2")
@given(st.text(alphabet="aé_$.#B ", max_size=14), st.text(alphabet="aé_$.#B", min_size=1, max_size=4))
def test_a_name_is_in_a_text_where_a_pattern_with_borders_finds_it(text: str, name: str) -> None:
    assert holds_whole(text, name) == bool(re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text))
