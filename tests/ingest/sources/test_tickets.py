"""Ticket exports."""

import io
import json
import re
import tracemalloc
from pathlib import Path

import pytest

from ingest.build import build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.errors import SourceError
from ingest.index import Index
from ingest.model import Chunk, Document, Filters
from ingest.sources import tickets
from ingest.sources.tickets.records import stream_records
from tests.ingest.sources.support import open_files, reasons, remember, write

GH = {
    "number": 12,
    "title": "Token is refreshed twice",
    "body": "See `token.py` and src/auth/token.py, as in #3.\r\nADR-7 said so.",
    "state": "CLOSED",
    "stateReason": "NOT_PLANNED",
    "closedAt": "2026-01-02T04:00:00Z",
    "assignees": [{"login": "ada"}],
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

SEEING = Filters(groups=frozenset({"local"}), sources=frozenset({"s"}))


def open_export(tmp_path: Path, text: str | bytes, name: str = "issues.json", **settings: object):
    write(tmp_path, {f"export/{name}": text})
    return open_files(tmp_path / "export" / name, tmp_path / "data", type="tickets", **settings)


def documents(snapshot) -> list[Document]:
    return [d for entry in snapshot.entries for d in snapshot.documents(entry, snapshot.read(entry))]


@pytest.mark.req("I20", "I14")
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
    assert (ticket.closed_at, ticket.labels) == ("2026-01-02T04:00:00Z", ("bug", "auth"))
    assert re.fullmatch(r"person-[0-9a-f]{6}", ticket.assignee)
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


def test_of_a_ticket_that_is_listed_twice_the_newest_record_counts(tmp_path: Path) -> None:
    older = GH | {"updatedAt": "2020-01-01T00:00:00Z", "title": "Older"}
    snapshot = open_export(tmp_path, json.dumps([GH, older, REST, REST | {"title": "Later in the file"}]))
    assert {ticket.title for ticket in documents(snapshot)} == {"Token is refreshed twice", "Later in the file"}
    assert reasons(snapshot) == {"issues.json:2": "duplicate", "issues.json:3": "duplicate"}


def test_of_a_ticket_in_two_files_the_newest_record_counts(tmp_path: Path) -> None:
    newer = GH | {"updatedAt": "2027-01-01T00:00:00Z", "title": "Newer"}
    write(tmp_path / "export", {"a.json": json.dumps([newer]), "b.json": json.dumps([GH])})
    snapshot = open_files(tmp_path / "export", tmp_path / "data", type="tickets")
    assert [ticket.title for ticket in documents(snapshot)] == ["Newer"]
    assert reasons(snapshot) == {"b.json:1": "duplicate"}


def test_tickets_of_two_trackers_under_one_key_are_a_sentence(tmp_path: Path) -> None:
    mine, theirs = (GH | {"url": f"https://github.com/o/{name}/issues/12"} for name in ("mine", "theirs"))
    write(tmp_path / "export", {"a.json": json.dumps([mine]), "b.json": json.dumps([theirs])})
    with pytest.raises(SourceError, match=r"#12.*a\.json.*b\.json.*as two sources"):
        open_files(tmp_path / "export", tmp_path / "data", type="tickets")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line names no columns"),
        ("<html>", "first line names no columns"),
        ("[1, 2]", "int where a ticket was expected"),
        ('{"a": 1}', "has no number or key"),
        ('"text"', "first line names no columns"),
        ("[" * 100_000, "nested too deeply|ends in the middle"),
        ('[{"number": 1, "title": ' + "[" * 100_000, "nested too deeply|ends in the middle"),
        (b"\x00\x01\x02" * 100, "is no text"),
    ],
)
@pytest.mark.req("I20")
def test_what_is_no_export_is_a_sentence_that_says_what_was_expected(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=f"No ticket at .*({message}).*Expected: GitHub, GitLab, Jira or Linear"):
        open_export(tmp_path, text)


@pytest.mark.parametrize(
    "broken",
    [
        '{"number": 99, "title": "bad \\x escape", "body": "}]{["}',
        '{"number": 99 "title": "no comma", "labels": [{"name": "x"}]}',
        '{"number": 99, "title": nothing}',
        '{"title": "no number", "state": "open"}',
        '{"number": 99, "title": {"no": "text"}}',
        "17",
    ],
)
@pytest.mark.parametrize("layout", ["list", "lines", "page"])
def test_a_broken_record_costs_that_record(broken: str, layout: str, tmp_path: Path) -> None:
    records = [json.dumps(GH), broken, json.dumps(REST)]
    text = {
        "list": f"[{','.join(records)}]",
        "lines": "\n".join(records),
        "page": f'{{"items": [{",".join(records)}]}}',
    }
    snapshot = open_export(tmp_path, text[layout])
    assert {ticket.key for ticket in documents(snapshot)} == {"#12", "#13"}
    assert reasons(snapshot) == {"issues.json:2": "bad_record"}


def test_a_line_that_is_cut_costs_that_line(tmp_path: Path) -> None:
    snapshot = open_export(tmp_path, f'{json.dumps(GH)}\n{{"number": 99, "title": "cut he\n{json.dumps(REST)}\n')
    assert {ticket.key for ticket in documents(snapshot)} == {"#12", "#13"}
    assert reasons(snapshot) == {"issues.json:2": "bad_record"}


@pytest.mark.parametrize("layout", ["list", "lines", "page"])
def test_a_large_export_is_read_in_a_stream(layout: str) -> None:
    records = [json.dumps(GH | {"number": number, "body": "x" * 1000}) for number in range(1, 6001)]
    text = {
        "list": f"[{','.join(records)}]",
        "lines": "\n".join(records),
        "page": f'{{"items": [{",".join(records)}]}}',
    }
    stream = io.StringIO(text[layout])
    found = stream_records(stream)
    for _ in range(1000):
        next(found)
    assert stream.tell() < len(text[layout]) / 2
    assert sum(isinstance(record, dict) for record in found) == 5000


@pytest.mark.req("I20")
def test_memory_does_not_grow_with_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.sources.tickets.KEPT_BYTES", 100_000)
    size = 20_000_000
    with open(tmp_path / "issues.json", "w", encoding="utf-8") as out:
        out.write("[")
        for number in range(1, size // 10_000 + 1):
            out.write(json.dumps(GH | {"number": number, "body": "word " * 2000}) + ",\n")
        out.write(json.dumps(GH | {"number": 9999}) + "]")
    tracemalloc.start()
    try:
        snapshot = open_files(tmp_path / "issues.json", tmp_path / "data", type="tickets")
        read = sum(len(snapshot.read(entry)) for entry in snapshot.entries)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(snapshot.entries) == 2001 and read > size
    assert peak < size / 2.5  # blocks of a megabyte and some copies, however long the file is


@pytest.mark.parametrize("layout", ["list", "lines", "page", "csv"])
def test_a_cut_export_takes_nothing_away(layout: str, tmp_path: Path) -> None:
    records = [GH | {"number": number, "title": f"Ticket {number}", "body": "\n".join("abc")} for number in range(1, 6)]
    table = "Issue key,Summary,Description\n" + "".join(f'#{r["number"]},{r["title"]},"{r["body"]}"\n' for r in records)
    text = {
        "list": json.dumps(records),
        "lines": "\n".join(map(json.dumps, records)),
        "page": json.dumps({"items": records}),
        "csv": table,
    }[layout]
    known = remember(open_export(tmp_path, text))
    cut = open_export(tmp_path, text[: text.index("Ticket 4") + 14], known={"s": known})
    assert {entry.path for entry in cut.entries} == {"#1", "#2", "#3", "#4", "#5"}
    assert "truncated" in reasons(cut).values()
    first = open_files(tmp_path / "export" / "issues.json", tmp_path / "other", type="tickets")
    assert {"#1", "#2", "#3"} <= {entry.path for entry in first.entries} <= {"#1", "#2", "#3", "#4"}


@pytest.mark.parametrize("layout", ["list", "page"])
def test_an_export_that_is_cut_between_two_records_takes_nothing_away(layout: str, tmp_path: Path) -> None:
    records = [GH | {"number": number, "title": f"Ticket {number}"} for number in range(1, 6)]
    text = json.dumps(records if layout == "list" else {"items": records})
    known = remember(open_export(tmp_path, text))
    border = text.rindex(", {", 0, text.index("Ticket 4"))
    cut = open_export(tmp_path, text[:border], known={"s": known})
    assert {entry.path for entry in cut.entries} == {"#1", "#2", "#3", "#4", "#5"}
    assert list(reasons(cut).values()) == ["truncated"]


def test_mixed_encodings_in_one_file_are_read_each_as_it_is(tmp_path: Path) -> None:
    utf8, western = (json.dumps(GH | {"number": n, "title": "Größe – 5 €"}, ensure_ascii=False) for n in (1, 2))
    data = b"[" + utf8.encode() + b"," + western.encode("cp1252") + b"]"
    assert [ticket.title for ticket in documents(open_export(tmp_path, data))] == ["Größe – 5 €"] * 2


def test_utf_16_is_read(tmp_path: Path) -> None:
    (ticket,) = documents(
        open_export(tmp_path, json.dumps([GH | {"title": "Größe"}], ensure_ascii=False).encode("utf-16"))
    )
    assert ticket.title == "Größe"


def test_a_folder_of_exports(tmp_path: Path) -> None:
    write(
        tmp_path / "export",
        {"a.json": json.dumps([GH]), "sub/b.json": json.dumps([REST]), "README.md": "# Export of May\n"},
    )
    snapshot = open_files(tmp_path / "export", tmp_path / "data", type="tickets")
    assert [entry.path for entry in snapshot.entries] == ["#12", "#13"]
    assert reasons(snapshot) == {"README.md": "no_ticket"}
    assert {ticket.key for ticket in documents(snapshot)} == {"#12", "#13"}


def test_a_large_export_is_no_oversized_file(tmp_path: Path) -> None:
    snapshot = open_export(tmp_path, json.dumps([GH | {"body": "x" * 2_000_000}]), max_file_bytes=1000)
    assert len(documents(snapshot)) == 1


def test_no_export_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    for path in (tmp_path / "export", tmp_path / "export" / "none.json"):
        with pytest.raises(SourceError, match=r"(No ticket at|does not exist).*gh issue list"):
            open_files(path, tmp_path / "data", type="tickets")


def test_an_unchanged_export_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"s": remember(open_export(tmp_path, json.dumps([GH])))}
    monkeypatch.setattr(tickets, "scan_files", None)
    assert (
        len(open_files(tmp_path / "export" / "issues.json", tmp_path / "data", type="tickets", known=known).entries)
        == 1
    )


def test_a_linked_export_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, {"real.json": json.dumps([GH])})
    (tmp_path / "link.json").symlink_to("real.json")
    with pytest.raises(SourceError, match="No ticket at"):
        open_files(tmp_path / "link.json", tmp_path / "data", type="tickets")


# -- through the index -------------------------------------------------------------------------------------------------


def build(tmp_path: Path, path: Path, **settings: object):
    config = SourceConfig.model_validate({"name": "s", "type": "tickets", "path": path} | settings)
    report = build_index([config], IndexConfig(workers=1), None, tmp_path / "index", now="2026-05-01T00:00:00Z")
    return report.sources[0], Index.open_current(tmp_path / "index")


def chunks_of(index: Index, *keys: str) -> list[Chunk]:
    found = [chunk for key in keys or ("#12",) for chunk in index.chunks(index.find_keys(key, SEEING))]
    return sorted(found, key=lambda chunk: (chunk.key or "", chunk.start_line))


@pytest.mark.req("I14", "I20")
def test_a_comment_is_a_chunk_of_its_own_with_the_role_of_its_author(tmp_path: Path) -> None:
    said = [
        {
            "author": {"login": "ada"},
            "authorAssociation": "NONE",
            "body": "# Steps\nIt happens twice.",
            "createdAt": "2026-01-05T00:00:00Z",
        },
        {"author": {"login": "bob"}, "authorAssociation": "MEMBER", "body": "Fixed by PROJ-7."},
        {"author": {"login": "eve"}, "authorAssociation": "NONE", "body": "Fixed by PROJ-7."},
    ]
    write(tmp_path, {"issues.json": json.dumps([GH | {"comments": said}])})
    _, index = build(tmp_path, tmp_path / "issues.json", product="shop")
    body, *comments = chunks_of(index)
    assert (body.text.split("\n")[0], body.author_role, body.product) == (
        "# Token is refreshed twice",
        "author",
        "shop",
    )
    assert [(chunk.text, chunk.author_role) for chunk in comments] == [
        ("# Steps\nIt happens twice.", "author"),
        ("Fixed by PROJ-7.", "maintainer"),
        ("Fixed by PROJ-7.", "other"),
    ]
    assert comments[0].created_at == "2026-01-05T00:00:00Z"
    assert {chunk.key for chunk in comments} == {"#12"}
    assert (body.labels, body.closed_at, body.assignee) == (("bug", "auth"), "2026-01-02T04:00:00Z", body.assignee)
    assert body.assignee.startswith("person-")
    assert "ada" not in repr((body, comments))


@pytest.mark.req("I14")
def test_lines_of_a_comment_are_its_lines_in_the_whole_ticket(tmp_path: Path) -> None:
    said = [{"body": "one\r\ntwo\n\n" + "word " * 600}, {"body": "last"}]
    write(tmp_path, {"issues.json": json.dumps([GH | {"comments": said}])})
    _, index = build(tmp_path, tmp_path / "issues.json")
    (ticket,) = documents(open_files(tmp_path / "issues.json", tmp_path / "data", type="tickets"))
    lines = ticket.text.split("\n")
    for chunk in chunks_of(index):
        assert chunk.text in "\n".join(lines[chunk.start_line - 1 : chunk.end_line])


@pytest.mark.req("I3")
def test_only_tickets_that_changed_are_indexed_again(tmp_path: Path) -> None:
    many = [GH | {"number": number, "title": f"Ticket {number}"} for number in range(1, 41)]
    write(tmp_path, {"issues.json": json.dumps(many)})
    build(tmp_path, tmp_path / "issues.json")
    changed = [many[0] | {"title": "Changed"}, *many[2:], GH | {"number": 99, "reactions": 5}]
    write(tmp_path, {"issues.json": json.dumps(changed, indent=1)})
    report, index = build(tmp_path, tmp_path / "issues.json")
    assert (report.new, report.changed, report.deleted, report.unchanged) == (1, 1, 1, 38)
    write(tmp_path, {"issues.json": json.dumps([record | {"reactions": 6} for record in changed])})
    report, _ = build(tmp_path, tmp_path / "issues.json")
    assert report.unchanged == 40


def test_secrets_in_tickets_and_comments_are_masked(tmp_path: Path) -> None:
    secret = "AKIA" + "QWERTYUIOPASDFGH"
    leaky = GH | {"title": f"Key {secret}", "body": f"x {secret}", "comments": [{"body": f"try {secret}"}]}
    leaky |= {"labels": [{"name": f"needs {secret}"}], "files": [{"path": f"src/{secret}.py"}]}
    write(tmp_path, {"issues.json": json.dumps([leaky])})
    _, index = build(tmp_path, tmp_path / "issues.json")
    assert secret not in repr(chunks_of(index))
    assert all(chunk.redactions for chunk in chunks_of(index))


def test_tickets_that_link_each_other_in_a_circle_are_indexed(tmp_path: Path) -> None:
    circle = [
        {"number": n, "title": "T", "body": f"see #{n % 3 + 1}", "parent": {"number": (n + 1) % 3 + 1}}
        for n in (1, 2, 3)
    ]
    write(tmp_path, {"issues.json": json.dumps(circle)})
    _, index = build(tmp_path, tmp_path / "issues.json")
    assert {chunk.key: chunk.links for chunk in chunks_of(index, "#1", "#2", "#3")} == {
        "#1": ("#3", "#2"),
        "#2": ("#1", "#3"),
        "#3": ("#2", "#1"),
    }
