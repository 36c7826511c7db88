"""Documents of different days that say different values of one thing."""

from dataclasses import replace

import pytest

from .support import make_chunk
from .test_answer import ask

OLD = replace(
    make_chunk(
        "TIK-3", "# Login ends too early\n\nAn idle session is closed after 20 minutes.", kind="ticket", source="t"
    ),
    created_at="2025-01-09T10:00:00Z",
    state="closed",
)
NEW = replace(
    make_chunk(
        "designs/7.md", "# Sessions\n\nAn idle session of a cashier is closed after thirty minutes.", kind="design"
    ),
    created_at="2025-05-02T00:00:00Z",
)
QUESTION = "When is an idle session closed?"


@pytest.mark.req("R22")
@pytest.mark.parametrize("order", [(OLD, NEW), (NEW, OLD)])
def test_two_values_for_one_thing_are_both_shown_with_their_days_and_the_newer_one_first(order) -> None:
    answer = ask(QUESTION, *order, vector_top=0.9)
    (line,) = [line for line in answer.answer.split("\n") if line.startswith("Two documents differ")]
    assert line.index("of 2025-05-02") < line.index("thirty minutes") < line.index("of 2025-01-09")
    assert line.index("of 2025-01-09") < line.index("20 minutes")
    assert {citation.path or citation.key for citation in answer.citations} == {"designs/7.md", "TIK-3"}
    assert not answer.ungrounded


@pytest.mark.req("R22")
@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("An idle session is closed after twenty minutes.", "2025-05-02"),  # the same value
        ("An idle session is closed after 30 minutes.", "2025-01-09"),  # the same day
        ("An idle session of 40 cashiers is never closed.", "2025-05-02"),  # another unit
        ("Letters to shops are printed after 30 minutes.", "2025-05-02"),  # another thing
    ],
)
def test_what_is_no_conflict_is_not_called_one(text, day) -> None:
    other = replace(make_chunk("designs/8.md", f"# Sessions\n\n{text}", kind="design"), created_at=f"{day}T00:00:00Z")
    assert "differ" not in ask(QUESTION, OLD, other, vector_top=0.9).answer


@pytest.mark.req("R22")
def test_a_design_that_was_replaced_names_its_successor_where_it_is_cited() -> None:
    old = replace(NEW, links=("superseded-by:ADR-9",))
    assert "designs/7.md (superseded by ADR-9)" in ask(QUESTION, old, vector_top=0.9).answer
