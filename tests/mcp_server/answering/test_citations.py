"""A citation names the definition that its lines belong to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.model import Symbol
from mcp_server.answering.citations import symbol_at
from mcp_server.answering.evidence import Evidence, Span

from .support import make_chunk, make_evidence

TWO = """
def first():
    return 1

# Second is about
# something else.
def second():
    return 2

LIMIT = 3
"""


@pytest.fixture
def block() -> Evidence:
    symbols = (Symbol("first", "first", "function", 11, 12), Symbol("second", "second", "function", 16, 17))
    return make_evidence(replace(make_chunk("src/two.py", TWO, start=11), symbols=symbols))[0]


@pytest.mark.parametrize(
    ("line", "symbol"),
    [(11, "first"), (12, "first"), (14, "second"), (15, "second"), (16, "second"), (19, None)],
)
def test_citation_names_the_definition_around_its_lines_or_below_their_comment(
    block: Evidence, line: int, symbol: str | None
) -> None:
    assert symbol_at(block, Span(block.id, line, line)) == symbol


def test_lines_of_a_definition_that_began_earlier_bear_its_name() -> None:
    rest = make_evidence(make_chunk("src/long.py", "    value = 1\n    return value", start=40, symbol="Long.method"))[
        0
    ]
    assert symbol_at(rest, Span(rest.id, 41, 41)) == "Long.method"
