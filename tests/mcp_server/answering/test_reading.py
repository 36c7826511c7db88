"""What to read on: the lines of the best files that hold the names of an answer, never more than a budget."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.answering.naming import Asked
from mcp_server.answering.reading import (
    LINE_PRICE,
    MAX_CITATIONS,
    MAX_TOKENS,
    RANGE_LINES,
    Budget,
    Run,
    find_reading,
    find_run,
    remaining,
    state_reading,
)
from mcp_server.retrieval.context import CHARS_PER_TOKEN

from .support import ChunkResolver, make_chunk, make_evidence, rank

QUESTION = Asked("How are payments retried at the gateway?", {"retri": 6.0, "payment": 5.0, "gateway": 6.0})


def service_file(count: int, start: int = 1, ref: str = "src/payment.py"):
    """Return one chunk per function, each with names of its own."""
    chunks, line = [], start
    for number in range(count):
        text = f"def retry_payment_{number}(gateway_{number}):\n    gateway_{number}.charge_{number}(LIMIT_{number})\n"
        text += f"    return audit_{number}.store(ledger_{number})\n"
        chunks.append(make_chunk(ref, text, start=line))
        line += text.count("\n") + 3
    return chunks


def read(chunks, budget=None):
    resolver = ChunkResolver(*chunks)
    return find_reading(QUESTION, rank(*chunks), resolver.document, budget or Budget())


@pytest.mark.req("F1")
def test_reading_names_lines_of_the_best_file_and_the_ledger_finds_them_there():
    chunks = [*service_file(3), make_chunk("docs/about.md", "# About\n\nNothing of interest.", role="docs")]
    found = read(chunks)
    drafts, blocks = state_reading(found, make_evidence(*chunks[:1]), 2)
    assert [draft.text.split(":")[0] for draft in drafts] == ["Read on in src/payment.py"]
    assert "`retry_payment_0`" in drafts[0].text
    assert {block.chunk.id for block in blocks} >= {chunk.id for chunk in chunks[:2]}
    assert all(span.evidence in {block.id for block in blocks} for span in drafts[0].spans)


def test_tickets_alone_are_nothing_to_read_on():
    assert read([make_chunk("#7", "Payments are retried at the gateway.", kind="ticket")]) == []


@pytest.mark.req("F1")
def test_what_is_cited_already_is_not_cited_again():
    chunks = service_file(2)
    cited = [("app", "src/payment.py", 1, chunks[1].end_line, "\n".join(c.text for c in chunks))]
    assert read(chunks, remaining(cited)) == []


@pytest.mark.req("F10")
@settings(max_examples=25)
@given(
    files=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    ranges=st.integers(0, MAX_CITATIONS),
    tokens=st.integers(0, MAX_TOKENS),
)
def test_ranges_and_characters_stay_within_the_budget(files, ranges, tokens):
    chunks = [chunk for n, count in enumerate(files) for chunk in service_file(count, ref=f"src/payment_{n}.py")]
    found = read(chunks, Budget(ranges, tokens * CHARS_PER_TOKEN))
    lines = [
        length
        for r in found
        for n, length in zip(r.file.lines.numbers.tolist(), r.file.lines.lengths.tolist(), strict=True)
        if r.start_line <= n <= r.end_line
    ]
    assert len(found) <= ranges
    assert sum(lines) <= tokens * CHARS_PER_TOKEN


def scan(lines, known, covered):
    """Return what `find_run` does, looking at every line. `lines`: number -> (characters, {name: worth})."""
    best = (0.0, 0, 0)
    gain, start, before = 0.0, 0, -1
    seen: dict[int, int] = {}
    for number, (length, names) in lines.items():
        if number in covered:
            gain, before = 0.0, -1
            continue
        if gain <= 0 or number != before + 1 or number - start >= RANGE_LINES:
            gain, start = 0.0, number
        before = number
        gain -= LINE_PRICE * length
        for name, price in names.items():
            if name not in known:
                gain += price if seen.get(name, -1) < start else 0
                seen[name] = number
        if gain > best[0]:
            best = (gain, start, number)
    return best


@pytest.mark.req("F10")
def test_the_best_run_is_that_of_a_scan_of_every_line():
    rng = random.Random(3)
    for _ in range(400):
        by_number, number, filled = {}, 0, rng.random()
        for _ in range(rng.randint(1, 150)):
            number += 1 if rng.random() < 0.97 else rng.randint(2, 70)
            names = {name: rng.choice([0.01, 0.03, 0.2]) for name in rng.sample(range(40), rng.randint(1, 3))}
            by_number[number] = (rng.choice([1, 40, 900]), names if rng.random() < filled else {})
        known, covered = set(rng.sample(range(40), 4)), set(rng.sample(list(by_number), min(3, len(by_number))))
        worth = [(at, *item) for at, (_, names) in enumerate(by_number.values()) for item in names.items()]
        upto = [0, *accumulate(length for length, _ in by_number.values())]
        gain, *place = find_run(Run(None, worth, list(by_number), upto), known, covered)
        wanted_gain, *wanted = scan(by_number, known, covered)
        assert gain == pytest.approx(wanted_gain)
        assert place == wanted
