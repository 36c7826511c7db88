"""How prose is divided among chunks."""

import pytest

from ingest.chunking import chunk_document
from ingest.chunking.layout import Layout
from ingest.chunking.text import find_headings
from ingest.model import Chunk, Document, Kind, SourceInfo

PARAGRAPH = "Some words that say a little more than nothing at all. " * 4 + "\n\n"


def headings(style: str, text: str) -> list[tuple[int, int, str]]:
    return [(heading.row + 1, heading.level, heading.title) for heading in find_headings(Layout(text), style)]


def chunk(text: str, language: str | None = "markdown", kind: Kind = "design", limit: int = 400) -> list[Chunk]:
    source = SourceInfo("docs", kind, "shop", ("local",))
    return chunk_document(Document(source, "a.md", None, "A", text, "0", language), chunk_chars=limit)


def test_markdown_headings_in_both_styles():
    text = "# One #\n\n## [Two](x.md) `code`\n\nThree\n=====\n\nFour\n----\n#not one\n####### seven\n"
    assert headings("markdown", text) == [(1, 1, "One"), (3, 2, "Two code"), (5, 1, "Three"), (8, 2, "Four")]


@pytest.mark.parametrize(
    "text",
    [
        "```sh\n# comment\n```\n",
        "~~~~\n```\n# comment\n~~~\n# still\n~~~~\n",
        "---\ntitle: x\n# comment\n---\n",
        "- item\n----\n",
        "| a | b |\n--------\n",
        "text\n\n---\n",
        "    # indented code\n",
    ],
)
def test_markdown_that_only_looks_like_a_heading(text):
    assert headings("markdown", text) == []


def test_restructuredtext_levels_follow_the_order_of_styles():
    text = "=====\nTitle\n=====\n\nPart\n====\n\nSub\n---\n\ntext\n\nOther\n=====\n\n::\n\n    not\n    ---\n"
    assert headings("rst", text) == [(1, 1, "Title"), (5, 2, "Part"), (8, 3, "Sub"), (13, 2, "Other")]


def test_restructuredtext_tables_and_transitions_are_no_headings():
    assert headings("rst", "==== ====\na    b\n==== ====\n1    2\n==== ====\n\n----\n\ntext\n") == []


def test_asciidoc_headings_outside_of_blocks():
    assert headings("asciidoc", "= Doc\n\n== Part\n\n----\n== code\n----\n") == [(1, 1, "Doc"), (3, 2, "Part")]


def test_sections_carry_their_heading_path():
    text = f"# Guide\n\n{PARAGRAPH}## Install\n\n{PARAGRAPH}### From source\n\n{PARAGRAPH}## Use\n\n{PARAGRAPH}"
    assert [(one.start_line, one.context) for one in chunk(text)] == [
        (1, "Guide"),
        (5, "Guide > Install"),
        (9, "Guide > Install > From source"),
        (13, "Guide > Use"),
    ]


def test_a_long_section_is_split_at_paragraphs_under_one_path():
    chunks = chunk("# Long\n\n" + PARAGRAPH * 5)
    assert len(chunks) == 5
    assert {one.context for one in chunks} == {"Long"}


def test_short_sections_share_a_chunk():
    (only,) = chunk("# A\n\nshort\n\n## B\n\nalso short\n\n## C\n\nshort too\n")
    assert only.context == "A"
    assert only.symbol is None


def test_a_ticket_has_its_body_and_long_comments_in_chunks_of_their_own():
    text = f"# Crash on start\n\n{PARAGRAPH}## Comment\n\n{PARAGRAPH}## Comment\n\n{PARAGRAPH}"
    body, *comments = chunk(text, kind="ticket")
    assert body.context == "Crash on start"
    assert [one.context for one in comments] == ["Crash on start > Comment"] * 2


def test_a_commit_is_one_chunk():
    (only,) = chunk("Fix the parser\n\n" + PARAGRAPH * 5, language=None, kind="commit")
    assert (only.start_line, only.end_line) == (1, 11)


def test_config_is_cut_at_blank_lines_and_outer_keys():
    block = "".join(f"  key_{n}: some value\n" for n in range(12))
    chunks = chunk(f"first:\n{block}second:\n{block}\nthird:\n{block}", language="yaml")
    assert [one.text.partition("\n")[0] for one in chunks] == ["first:", "second:", "third:"]
