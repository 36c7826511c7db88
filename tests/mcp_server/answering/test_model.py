"""The prompt of a model's answer never exceeds its window; what its reply may and may not do."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prompts
from mcp_server.answering.aspects import split_question
from mcp_server.answering.evidence import build_evidence, render_evidence
from mcp_server.answering.generator import Material
from mcp_server.answering.model import Egress, ModelGenerator
from mcp_server.answering.model_output import (
    ClaimReader,
    Drafter,
    ModelClaim,
    NotReadable,
    read_output,
    read_whole_claims,
)
from mcp_server.config import LlmConfig
from mcp_server.fallback import Cancellation, Deadline
from mcp_server.model_calls import ModelCalls, serialise
from mcp_server.retrieval.context import SlotCaps, chunk_tokens, count_tokens, pack_context
from mcp_server.tokens import TokenEstimator, size_of
from tests.mcp_server.answering.support import NullTrace, make_chunk, make_evidence, rank

CODE = make_chunk("shop/session.py", "def sign(key):\n    return hmac(key)\n\nLIMIT = 5", start=10)


class Account:
    """Spending without a budget."""

    def admits(self):
        return True

    def add(self, usd: Decimal | None):
        pass


class Silent:
    """A model that is never asked."""

    def __init__(self, **config):
        self.config = LlmConfig(model="m", **config)


def make_generator(estimator=None, **config):
    calls = ModelCalls(
        Silent(**config),
        NullTrace(),
        Deadline(1),
        Cancellation(),
        Account(),
        estimator or TokenEstimator(),
        lambda: None,
        "dev",
    )
    egress = Egress(str, lambda block: block.render(), b"key")
    return ModelGenerator(calls, prompts.compose("answer", 1), egress, NullTrace()), calls


def material(question, *chunks):
    return Material(question, split_question(question), make_evidence(*chunks), {})


TEXTS = st.text(st.sampled_from("abc XYZ_09(){}\n\t\"'\\\u00e4\u4f60\U0001f40d"), min_size=1, max_size=3000)
KINDS = st.sampled_from(["code", "ticket", "design", "commit"])


@st.composite
def chunk_lists(draw):
    items = draw(st.lists(st.tuples(TEXTS, KINDS, st.integers(1, 10**6)), max_size=12))
    return [
        make_chunk(f"folder/file{n % 4}.py", f"x{n} = 1\n{text}", kind=kind, start=start)
        for n, (text, kind, start) in enumerate(items)
    ]


@pytest.mark.req("F10", "R2", "T13", "N14")
@settings(max_examples=60)
@given(chunk_lists(), st.integers(200, 4000), st.integers(0, 2000), st.integers(200, 2400))
def test_context_never_exceeds_budget_slot_or_file(chunks, budget, slot, per_file):
    caps = SlotCaps(slot, slot, slot, slot)
    context = pack_context(rank(*chunks), budget, caps, per_file)
    assert context.total_tokens <= budget
    assert all(tokens <= slot for tokens in context.tokens.values())
    by_file = {}
    for hit in context.kept:
        by_file[hit.chunk.ref] = by_file.get(hit.chunk.ref, 0) + chunk_tokens(hit.chunk)
    assert all(tokens <= per_file for tokens in by_file.values())
    assert count_tokens(render_evidence(build_evidence(context))) <= budget
    assert len(context.kept) + len(context.dropped) == len(chunks)
    assert len({hit.chunk.text_hash for hit in context.kept}) == len(context.kept)


@pytest.mark.req("F10")
@settings(max_examples=40)
@given(
    chunk_lists(),
    TEXTS.map(lambda text: text * 7),
    st.integers(8000, 20_000),
    st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 9000)), max_size=6),
)
def test_prompt_never_exceeds_the_window_whatever_was_counted_so_far(chunks, question, window, counted):
    estimator = TokenEstimator()
    for size, tokens in counted:
        estimator.observe(size, min(tokens, size))
    generator, calls = make_generator(estimator, window_tokens=window, max_output_tokens=1000)
    asked = material(f"q {question}", *chunks)
    prompt, dropped = generator.write_prompt(asked)
    sent = size_of(serialise(prompt.messages).decode())
    system = size_of(prompt.messages[0].content)
    if estimator.upper(2 * system) < window // 2:  # a vocabulary of one token a byte leaves no room for anything
        assert estimator.upper(sent) + 1000 <= window
    assert len(dropped) <= len(asked.evidence)
    assert {reason for _, reason in dropped} <= {"window"}


def test_what_has_no_room_in_the_window_is_dropped_from_the_end():
    chunks = [make_chunk(f"f{n}.py", f"x{n} = 1\n" + "y = 'abcdefgh'\n" * 300) for n in range(8)]
    generator, _ = make_generator(window_tokens=8000, max_output_tokens=1000)
    asked = material("what is x1", *chunks)
    prompt, dropped = generator.write_prompt(asked)
    assert "f0.py" in prompt.messages[1].content
    assert "f7.py" not in prompt.messages[1].content
    assert dropped
    assert [chunk_id for chunk_id, _ in dropped] == [block.chunk.id for block in asked.evidence[-len(dropped) :]]


@pytest.mark.req("T14", "T19")
def test_estimate_learns_from_what_was_counted():
    estimator = TokenEstimator()
    before = estimator.upper(10_000)
    for _ in range(200):
        estimator.observe(10_000, 2500)
    assert abs(estimator.estimate(10_000) - 2500) < 100
    assert 2500 <= estimator.upper(10_000) < before
    estimator.observe(0, 5)
    assert estimator.upper(estimator.bytes_within(777)) <= 777


# -- reading ----------------------------------------------------------------------------------------------------------


def test_claims_are_whole_one_by_one():
    text = '{"claims": [{"text": "A {b}", "ev": ["E1:10-11"]}, {"text": "C", "ev": []}], "not_covered": ["x"]}'
    reader = ClaimReader()
    told = [(at, claim.text) for at in range(len(text)) for claim in reader.feed(1, text[at])]
    assert [claim for _, claim in told] == ["A {b}", "C"]
    assert told[0][0] < text.index("C")
    assert [claim.text for claim in reader.feed(2, '{"claims": [{"text": "again", "ev": []}')] == ["again"]
    assert [claim.text for claim in read_whole_claims(text[:60]).claims] == ["A {b}"]


@given(st.text(max_size=400))
def test_any_text_is_read_or_refused(text):
    list(ClaimReader().feed(1, text))
    try:
        read_output(text)
    except NotReadable as error:
        assert str(error)


def draft(*claims, question="how is a key signed"):
    drafter = Drafter(make_evidence(CODE), split_question(question))
    return drafter, drafter.draft_all(claims)


@pytest.mark.parametrize(
    ("pointer", "lines"),
    [
        ("E1:10-11", (10, 11)),
        ("[E1]:10", (10, 10)),
        ("E1", (10, 13)),
        ("E1:L10-L11", (10, 11)),
        ("E1:9-11", None),
        ("E1:12-99", None),
        ("E1:11-10", None),
        ("E2:10", None),
        ("shop/session.py:10", None),
        ("", None),
    ],
)
def test_pointers_lead_into_their_block_or_nowhere(pointer, lines):
    drafter, drafts = draft(ModelClaim(text="`sign` uses `hmac`.", ev=[pointer]))
    assert [(s.start_line, s.end_line) for s in drafts[0].spans] == ([lines] if lines else [])
    assert drafter.problems.invalid_cites == ([] if lines else [pointer])


@pytest.mark.req("S8", "S5")
def test_links_images_tags_and_hidden_characters_do_not_pass():
    text = (
        "`sign` ![p](https://evil.invalid/a?x=1) see [docs](javascript:alert), <img src=x onerror=1> "
        "https://evil.invalid/b\u202e and (E1:10-11) [E1]."
    )
    drafter, drafts = draft(ModelClaim(text=text, ev=["E1"]))
    assert drafts[0].text == "`sign` p see docs, (link removed) and."
    assert drafter.problems.removed_links


def test_each_sentence_is_a_claim_once_and_there_are_not_too_many():
    many = [ModelClaim(text=f"Number {n} is `sign`. Number {n} is `sign`.", ev=["E1"]) for n in range(40)]
    drafter, drafts = draft(ModelClaim(text="x " * 400, ev=[]), *many)
    assert len(drafts) == 16
    assert drafts[0].text == "Number 0 is `sign`."
    assert drafter.problems.dropped_claims


def test_a_claim_belongs_to_the_part_of_the_question_that_it_answers():
    question = "how is a key signed and where is the limit set"
    _, drafts = draft(
        ModelClaim(text="`LIMIT` is the limit.", ev=["E1"]),
        ModelClaim(text="A key is signed with `hmac`.", ev=["E1"]),
        question=question,
    )
    assert [draft.aspect for draft in drafts] == [1, 0]
