"""Ticket exports."""

import json
from pathlib import Path

import pytest

from ingest.errors import SourceError
from ingest.model import Document
from ingest.sources import tickets
from tests.ingest.sources.support import open_files, remember, write

GH = {
    "number": 12,
    "title": "Token is refreshed twice",
    "body": "See `token.py` and src/auth/token.py, as in #3.\r\nADR-7 said so.",
    "state": "CLOSED",
    "stateReason": "NOT_PLANNED",
    "labels": [{"name": "bug"}, {"name": "auth"}],
    "author": {"login": "ada"},
    "comments": [{"author": {"login": "bob"}, "body": "Fixed by PROJ-7."}, {"body": ""}],
    "createdAt": "2026-01-02T03:04:05Z",
    "updatedAt": "2026-01-03T03:04:05+02:00",
}
REST = {
    "number": 13,
    "title": "Crash",
    "body": None,
    "state": "open",
    "labels": ["bug"],
    "user": {"login": "eve"},
    "comments": 4,
    "created_at": "2026-01-02T03:04:05Z",
    "updated_at": "not a time",
    "pull_request": {"merged_at": None},
}


def open_export(tmp_path: Path, text: str | bytes, name: str = "issues.json", **settings: object):
    write(tmp_path, {f"export/{name}": text})
    return open_files(tmp_path / "export" / name, tmp_path / "data", type="tickets", **settings)


def documents(snapshot) -> list[Document]:
    return [d for entry in snapshot.entries for d in snapshot.documents(entry, snapshot.read(entry))]


@pytest.mark.req("I20")
def test_an_issue_becomes_one_document(tmp_path: Path) -> None:
    (ticket,) = documents(open_export(tmp_path, json.dumps([GH])))
    assert (ticket.key, ticket.path, ticket.title) == ("#12", None, "Token is refreshed twice")
    assert ticket.state == "closed as not planned"
    assert (ticket.created_at, ticket.updated_at) == ("2026-01-02T03:04:05Z", "2026-01-03T01:04:05Z")
    assert ticket.links == ("#3", "ADR-7", "PROJ-7", "token.py", "src/auth/token.py")
    assert ticket.text == (
        "# Token is refreshed twice\n\nLabels: bug, auth\n\n"
        "See `token.py` and src/auth/token.py, as in #3.\nADR-7 said so.\n\n## Comment\n\nFixed by PROJ-7.\n"
    )
    assert "ada" not in repr(ticket)
    assert "bob" not in repr(ticket)


def test_the_rest_interface_gives_a_number_of_comments(tmp_path: Path) -> None:
    (ticket,) = documents(open_export(tmp_path, json.dumps([REST])))
    assert (ticket.key, ticket.state, ticket.updated_at) == ("#13", "open", "")
    assert ticket.text == "# Crash\n\nLabels: bug\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (json.dumps({"total_count": 2, "items": [GH, REST]}), "issues.json"),
        (f"{json.dumps(GH)}\n{json.dumps(REST)}\n", "issues.jsonl"),
        (f"{json.dumps([GH])}\n{json.dumps([REST])}", "pages.json"),
        ("\ufeff" + json.dumps([GH, REST]), "issues.json"),
        (json.dumps([GH, REST], indent=2), "issues.json"),
    ],
)
def test_all_forms_of_an_export(text: str, name: str, tmp_path: Path) -> None:
    assert [ticket.key for ticket in documents(open_export(tmp_path, text, name))] == ["#12", "#13"]


def test_merged_pull_requests_and_gitlab_issues(tmp_path: Path) -> None:
    merged = REST | {"state": "closed", "pull_request": {"merged_at": "2026-01-01T00:00:00Z"}}
    gitlab = {"iid": 5, "title": "T", "description": "D", "state": "opened", "notes": [{"body": "N"}]}
    found = documents(open_export(tmp_path, json.dumps([merged, gitlab])))
    assert [(ticket.key, ticket.state) for ticket in found] == [("#13", "merged"), ("#5", "open")]
    assert "D" in found[1].text
    assert "N" in found[1].text


def test_a_ticket_that_is_listed_twice_is_one_document(tmp_path: Path) -> None:
    (ticket,) = documents(open_export(tmp_path, json.dumps([REST, REST | {"title": "Newer"}])))
    assert ticket.title == "Newer"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps([GH, REST], indent=1)[:-40], r"issues\.json is no valid JSON \(line \d+: .*Export it again"),
        (f"{json.dumps(GH)}\n{json.dumps(REST)[:30]}", r"line 2: .*Export it again"),
        ("", "no valid JSON"),
        ("<html>", r"line 1: Expecting value"),
        ("[1, 2]", "Record 1 .* is no ticket"),
        ('{"a": 1}', "Record 1 .* is no ticket"),
        ('"text"', "holds str, no list"),
        ("[" * 100_000, "nested too deeply|no valid JSON"),
        (b"\xff\xfe\xff", "no text in a known encoding"),
    ],
)
def test_a_broken_export_is_a_sentence_and_does_not_replace_the_last_good_one(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        open_export(tmp_path, text)


def test_a_ticket_in_two_files_is_a_sentence(tmp_path: Path) -> None:
    write(tmp_path / "export", {"a.json": json.dumps([GH]), "b.json": json.dumps([GH])})
    with pytest.raises(SourceError, match=r"#12 .* is in both a\.json and b\.json"):
        open_files(tmp_path / "export", tmp_path / "data", type="tickets")


def test_a_folder_of_exports(tmp_path: Path) -> None:
    write(tmp_path / "export", {"a.json": json.dumps([GH]), "sub/b.json": json.dumps([REST]), "README.md": "no"})
    snapshot = open_files(tmp_path / "export", tmp_path / "data", type="tickets")
    assert [entry.path for entry in snapshot.entries] == ["a.json", "sub/b.json"]
    assert {ticket.key for ticket in documents(snapshot)} == {"#12", "#13"}


def test_a_large_export_is_no_oversized_file(tmp_path: Path) -> None:
    snapshot = open_export(tmp_path, json.dumps([GH | {"body": "x" * 2_000_000}]), max_file_bytes=1000)
    assert len(documents(snapshot)) == 1


def test_no_export_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    for path in (tmp_path / "export", tmp_path / "export" / "none.json"):
        with pytest.raises(SourceError, match="gh issue list"):
            open_files(path, tmp_path / "data", type="tickets")


def test_an_unchanged_export_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"s": remember(open_export(tmp_path, json.dumps([GH])))}
    monkeypatch.setattr(tickets, "load_records", None)
    assert len(open_export(tmp_path, json.dumps([GH]), known=known).entries) == 1


def test_a_linked_export_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, {"real.json": json.dumps([GH])})
    (tmp_path / "link.json").symlink_to("real.json")
    with pytest.raises(SourceError, match="No ticket export"):
        open_files(tmp_path / "link.json", tmp_path / "data", type="tickets")
