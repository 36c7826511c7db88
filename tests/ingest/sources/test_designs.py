"""Design documents."""

from pathlib import Path

import pytest

from ingest.model import Document
from tests.ingest.sources.support import open_files, reasons, write


def read_design(tmp_path: Path, text: str, path: str = "doc.md") -> Document:
    write(tmp_path / "designs", {path: text})
    snapshot = open_files(tmp_path / "designs", tmp_path / "data", type="designs")
    entry = next(entry for entry in snapshot.entries if entry.path == path)
    (document,) = snapshot.documents(entry, snapshot.read(entry))
    return document


@pytest.mark.req("I20")
def test_a_decision_record(tmp_path: Path) -> None:
    text = (
        "# 7. Use one index\n\nDate: 2026-01-02\n\n## Status\n\nSuperseded by ADR-9\n\n"
        "## Context\n\nSee #12, `build.py` and ingest/index/text.py.\n"
    )
    design = read_design(tmp_path, text, "adr/0007-use-one-index.md")
    assert (design.title, design.state, design.key) == ("7. Use one index", "superseded", "ADR-7")
    assert design.created_at == "2026-01-02T00:00:00Z"
    assert design.links == ("superseded-by:ADR-9", "ADR-9", "#12", "build.py", "ingest/index/text.py")
    assert (design.path, design.role, design.source.kind) == ("adr/0007-use-one-index.md", "docs", "design")
    assert design.language == "markdown"


def test_front_matter_comes_first(tmp_path: Path) -> None:
    text = (
        '---\ntitle: "Tokens"\nstatus: Accepted\ndate: 2026-01-02\nupdated: 2026-02-03\n---\n# Other\n\nStatus: draft\n'
    )
    design = read_design(tmp_path, text)
    assert (design.title, design.state) == ("Tokens", "accepted")
    assert (design.created_at, design.updated_at) == ("2026-01-02T00:00:00Z", "2026-02-03T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("# T\n\nStatus: Proposed (2026)\n", "proposed"),
        ("# T\n\n* **Status:** Rejected\n", "rejected"),
        ("# T\n\n| Status | Draft |\n", "draft"),
        ("# T\n\n**Status**: `Accepted`\n", "accepted"),
        ("# T\n\nThe status bar is blue.\n", ""),
        ("# T\n\n" + "text " * 2000 + "\nStatus: far below\n", ""),
    ],
)
def test_states(text: str, state: str, tmp_path: Path) -> None:
    assert read_design(tmp_path, text).state == state


@pytest.mark.parametrize(
    ("path", "text", "title", "key"),
    [
        ("a.md", "Intro\n=====\n\ntext", "Intro", None),
        ("a.md", "no heading", "a.md", None),
        ("a.adoc", "= RFC 12: Tokens\n", "RFC 12: Tokens", "RFC-12"),
        ("keps/0020-x.md", "# X\n", "X", "KEP-20"),
        ("rfc-3.md", "## Three ##\n", "Three", "RFC-3"),
        ("decisions/0004-four.md", "# Four\n", "Four", "ADR-4"),
        ("notes/2026-01-02-day.md", "# Day\n", "Day", None),
    ],
)
def test_titles_and_keys(path: str, text: str, title: str, key: str | None, tmp_path: Path) -> None:
    design = read_design(tmp_path, text, path)
    assert (design.title, design.key) == (title, key)


def test_only_text_documents_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "designs", {"a.md": "# A\n", "b.png": b"\x89PNG", "c.py": "C = 1\n", "d.rst": "D\n=\n"})
    snapshot = open_files(tmp_path / "designs", tmp_path / "data", type="designs")
    assert [entry.path for entry in snapshot.entries] == ["a.md", "d.rst"]
    assert reasons(snapshot) == {"b.png": "binary"}
