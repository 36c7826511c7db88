"""The line that is quoted for a definition stands where the pointer leads."""

import pytest

from ingest.model import Symbol
from mcp_server.answering.passages import signature_lines, units

from .support import make_chunk, make_evidence

ENUM = "typedef enum {\n  RED,\n  GREEN\n} color;\n\nstatic int\nmix(color one,\n    color other) {\n  return 0;\n}\n"


@pytest.mark.parametrize(
    ("name", "start", "end", "wanted"),
    [("color", 1, 4, [1]), ("mix", 6, 10, [7, 8]), ("later", 6, 40, [6]), ("absent", 6, 10, [])],
)
def test_a_definition_is_quoted_from_the_line_that_begins_it(
    name: str, start: int, end: int, wanted: list[int]
) -> None:
    (block,) = make_evidence(make_chunk("color.h", ENUM))
    symbol = Symbol(name=name, kind="type", qualname=name, start_line=start, end_line=end, signature="", doc="")
    assert list(signature_lines(block, symbol)) == wanted


def test_marks_of_comments_are_no_part_of_what_they_say() -> None:
    text = "LIMIT = 3\n#: The greatest number of redirects that are\n#: followed before an error is raised: thirty.\n"
    (block,) = make_evidence(make_chunk("limits.py", text))
    assert [said for said, _, prose in units(block) if prose] == [
        "The greatest number of redirects that are followed before an error is raised: thirty."
    ]
