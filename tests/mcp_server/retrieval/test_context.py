import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model import KINDS
from mcp_server.answering.evidence import build_evidence, render_evidence
from mcp_server.retrieval.context import SLOTS, SlotCaps, add_whole_definitions, count_tokens, pack_context
from mcp_server.retrieval.model import Entity, RankedChunk
from tests.mcp_server.answering.support import make_chunk, rank

CHUNKS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(["a.py", "b.py", "c.md"]), st.text(min_size=1, max_size=900)),
    max_size=12,
)


@pytest.mark.req("N14")
@given(chunks=CHUNKS, budget=st.integers(0, 900), cap=st.integers(0, 500), file_tokens=st.integers(0, 500))
def test_context_never_exceeds_any_cap(chunks: list, budget: int, cap: int, file_tokens: int) -> None:
    hits = rank(*(make_chunk(ref, text, kind=kind) for kind, ref, text in chunks))
    context = pack_context(hits, budget, SlotCaps(cap, cap, cap, cap), file_tokens)
    assert context.total_tokens <= budget
    assert all(context.tokens[slot] <= cap for slot in SLOTS)
    assert count_tokens(render_evidence(build_evidence(context))) <= budget + 1
    assert len(context.kept) + len(context.dropped) == len(hits)
    for ref in {hit.chunk.ref for hit in context.kept}:
        own = tuple(hit for hit in context.kept if hit.chunk.ref == ref)
        assert pack_context(own, file_tokens).dropped == ()


@pytest.mark.req("N14")
def test_every_dropped_chunk_has_its_reason() -> None:
    long = "x = 1\n" * 40
    same = make_chunk("a.py", "def a():\n    pass")
    copy = make_chunk("b.py", "def a():\n    pass")
    file = make_chunk("a.py", long)
    ticket = make_chunk("#1", long + "t", kind="ticket")
    other = make_chunk("d.py", long + "d")
    caps = SlotCaps(code=10_000, tickets=20)
    context = pack_context(rank(same, copy, file, ticket, other), 200, caps, file_tokens=200)
    assert [(d.ref, d.reason) for d in context.dropped] == [
        ("b.py", "duplicate"),
        ("a.py", "file_cap"),
        ("#1", "slot_cap"),
        ("d.py", "budget"),
    ]


def test_smaller_hit_further_down_still_fits() -> None:
    big, small = make_chunk("a.py", "x" * 3000), make_chunk("b.py", "y = 2")
    assert [hit.chunk.ref for hit in pack_context(rank(big, small), 100).kept] == ["b.py"]


def test_rest_of_a_named_definition_follows_its_first_chunk() -> None:
    first = make_chunk("a.py", "def run():\n    one()\n    two()\n    three()", start=1)
    inner = make_chunk("a.py", "    two()", start=3)
    beyond = make_chunk("a.py", "def other():\n    pass", start=9)
    unrelated = make_chunk("z.py", "z = 1")
    entity = Entity("run", "symbol", (first.id,))
    hits = add_whole_definitions(rank(first, unrelated), [entity], lambda source, path: [first, inner, beyond])
    assert [hit.chunk.id for hit in hits] == [first.id, inner.id, unrelated.id]


def test_hits_without_named_entities_stay_as_they_are() -> None:
    hits: tuple[RankedChunk, ...] = rank(make_chunk("a.py", "a = 1"))
    assert add_whole_definitions(hits, [], lambda source, path: []) == list(hits)
