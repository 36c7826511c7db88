"""What each tracker's export becomes."""

import io
import json
from pathlib import Path

import pytest

from ingest.model import Document
from ingest.sources.tickets import records
from ingest.sources.tickets.fields import place_of
from tests.ingest.sources.support import open_files, reasons, write

JIRA = {
    "key": "SHOP-7",
    "self": "https://jira.example.org/rest/api/2/issue/10007",
    "fields": {
        "summary": "Basket loses its items",
        "description": "h2. Steps\n# open the basket\n# wait\n{code:java}\n# not a heading\nint a;\n{code}\n"
        "See {{basket.py}}.",
        "status": {"name": "Fertig", "statusCategory": {"key": "done"}},
        "resolution": {"name": "Won't Do"},
        "labels": ["basket"],
        "components": [{"name": "frontend"}],
        "assignee": {"accountId": "5b1", "displayName": "Ada Lovelace"},
        "reporter": {"accountId": "77c", "displayName": "Bob"},
        "created": "2026-01-02T03:04:05.000+0100",
        "updated": "2026-02-02T03:04:05.000+0000",
        "resolutiondate": "2026-02-01T00:00:00.000+0000",
        "issuelinks": [{"outwardIssue": {"key": "SHOP-9"}}, {"inwardIssue": {"key": "PAY-1"}}],
        "parent": {"key": "SHOP-1"},
        "comment": {
            "comments": [
                {"author": {"accountId": "77c"}, "body": "Still there.", "created": "2026-01-03T00:00:00.000+0000"},
                {"author": {"accountId": "5b1"}, "body": "Not here."},
            ],
            "total": 2,
        },
    },
}
JIRA_CSV = (
    "Summary,Issue key,Issue id,Status,Resolution,Labels,Labels,Assignee Id,Reporter,Reporter Id,Created,Updated,"
    "Resolved,Description,Outward issue link (Blocks),Comment,Comment\n"
    '"Basket, again",SHOP-8,10008,Done,Duplicate,basket,"slow",5b1,Bob,77c,02/Jan/26 3:04 AM,2026-02-02 03:04,,'
    '"h3. What\nIt is ""slow"".",SHOP-7,"03/Jan/26 1:00 PM;77c;Same; really.","no time; just text"\n'
    "Second,SHOP-10,10010,In Progress,,,,,,,2026-01-05 10:00,,,,,,\n"
)
LINEAR_CSV = (
    '"ID","Team","Title","Description","Status","Priority","Creator","Assignee","Labels","Created","Updated","Completed",'
    '"Canceled","Parent issue"\n'
    '"ENG-3","Engine","Slow start","It **waits**.","Done","High","ada@example.org","bob@example.org","perf, startup",'
    '"2026-01-02T03:04:05.000Z","Fri Jan 02 2026 05:00:00 GMT+0100 (CET)","2026-01-04T00:00:00.000Z","","ENG-1"\n'
)


def open_export(tmp_path: Path, name: str, text: str) -> list[Document]:
    write(tmp_path, {f"export/{name}": text})
    return documents(open_files(tmp_path / "export" / name, tmp_path / "data", type="tickets"))


def documents(snapshot) -> list[Document]:
    return [d for entry in snapshot.entries for d in snapshot.documents(entry, snapshot.read(entry))]


def roles(ticket: Document) -> list[str]:
    return [part.author_role for part in ticket.parts]


@pytest.mark.req("I20", "I14")
@pytest.mark.parametrize("form", ["page", "list"])
def test_a_jira_issue_as_json(form: str, tmp_path: Path) -> None:
    export = {"total": 1, "startAt": 0, "issues": [JIRA], "names": {"x": "y"}} if form == "page" else [JIRA]
    (ticket,) = open_export(tmp_path, "jira.json", json.dumps(export))
    assert (ticket.key, ticket.title, ticket.state) == ("SHOP-7", "Basket loses its items", "closed as not planned")
    assert ticket.text == (
        "# Basket loses its items\n\nLabels: basket, frontend\n\n"
        "## Steps\n1. open the basket\n1. wait\n\n```java\n# not a heading\nint a;\n```\n\nSee `basket.py`.\n\n"
        "## Comment by the author 2026-01-03\n\nStill there.\n\n## Comment\n\nNot here.\n"
    )
    assert ticket.labels == ("basket", "frontend")
    assert (ticket.created_at, ticket.updated_at) == ("2026-01-02T02:04:05Z", "2026-02-02T03:04:05Z")
    assert ticket.closed_at == "2026-02-01T00:00:00Z"
    assert ticket.links == ("SHOP-1", "SHOP-9", "PAY-1", "basket.py")
    assert roles(ticket) == ["author", "author", "other"]
    assert "Ada" not in repr(ticket)
    assert "77c" not in repr((ticket.text, ticket.assignee, ticket.links, ticket.parts))


@pytest.mark.req("I20")
def test_rich_text_of_jira_becomes_markdown(tmp_path: Path) -> None:
    def node(kind, *content, **attrs):
        return {"type": kind, "content": list(content), "attrs": attrs}

    def said(text, *marks):
        return {"type": "text", "text": text, "marks": [{"type": mark} for mark in marks]}

    body = node(
        "doc",
        node("heading", said("Steps"), level=2),
        node(
            "paragraph",
            said("Call "),
            said("pay()", "code"),
            said(" as "),
            {"type": "mention", "attrs": {"text": "@Ada"}},
        ),
        node(
            "bulletList",
            node("listItem", node("paragraph", said("one"))),
            node("listItem", node("paragraph", said("two"))),
        ),
        node("codeBlock", said("x = 1"), language="python"),
    )
    issue = {
        "key": "SHOP-7",
        "fields": {"summary": "Rich", "description": body, "comment": {"comments": [{"body": body}]}},
    }
    (ticket,) = open_export(tmp_path, "jira.json", json.dumps([issue]))
    rich = "## Steps\n\nCall `pay()` as \n\n- one\n- two\n```python\nx = 1\n```"
    assert ticket.text == f"# Rich\n\n{rich}\n\n## Comment\n\n{rich}\n"


@pytest.mark.req("I20")
def test_jira_as_a_table_with_columns_that_repeat(tmp_path: Path) -> None:
    first, second = open_export(tmp_path, "jira.csv", JIRA_CSV)
    assert (first.key, first.title, first.state) == ("SHOP-8", "Basket, again", "closed as duplicate")
    assert first.labels == ("basket", "slow")
    assert (first.created_at, first.updated_at) == ("2026-01-02T03:04:00Z", "2026-02-02T03:04:00Z")
    assert first.links == ("SHOP-7",)
    assert first.text.endswith(
        '### What\nIt is "slow".\n\n## Comment by the author 2026-01-03\n\nSame; really.\n\n'
        "## Comment\n\nno time; just text\n"
    )
    assert (second.key, second.state, second.closed_at) == ("SHOP-10", "in progress", "")


@pytest.mark.req("I20")
def test_the_same_person_has_the_same_name_in_one_source_and_another_one_elsewhere(tmp_path: Path) -> None:
    issues = [
        {"number": n, "title": "T", "assignee": {"login": who}} for n, who in ((1, "ada"), (2, "Ada"), (3, "bob"))
    ]
    write(tmp_path, {"issues.json": json.dumps(issues)})
    one, two, three = (
        ticket.assignee for ticket in documents(open_files(tmp_path / "issues.json", tmp_path / "d", type="tickets"))
    )
    assert one == two != three
    other = documents(open_files(tmp_path / "issues.json", tmp_path / "d", type="tickets", name="other"))
    assert other[0].assignee != one


@pytest.mark.req("I20")
def test_linear_as_a_table(tmp_path: Path) -> None:
    (ticket,) = open_export(tmp_path, "linear.csv", LINEAR_CSV)
    assert (ticket.key, ticket.title, ticket.state) == ("ENG-3", "Slow start", "closed")
    assert (ticket.created_at, ticket.updated_at, ticket.closed_at) == (
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:00:00Z",
        "2026-01-04T00:00:00Z",
    )
    assert (ticket.labels, ticket.links) == (("perf", "startup"), ("ENG-1",))
    assert "bob@" not in repr(ticket)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_with_another_delimiter(delimiter: str, tmp_path: Path) -> None:
    rows = [["Title", "Issue ID", "State", "URL"], ["Crash", "4", "Open", "https://gitlab.example.org/a/b/-/issues/4"]]
    (ticket,) = open_export(tmp_path, "issues.csv", "\ufeff" + "\r\n".join(map(delimiter.join, rows)) + "\r\n")
    assert (ticket.key, ticket.title, ticket.state) == ("#4", "Crash", "open")


def test_a_broken_row_costs_that_row(tmp_path: Path) -> None:
    rows = 'Issue key,Summary\nSHOP-1,one\nSHOP-2,"two"x\n,nobody\nSHOP-3,three\n'
    write(tmp_path, {"jira.csv": rows})
    snapshot = open_files(tmp_path / "jira.csv", tmp_path / "data", type="tickets")
    assert [ticket.key for ticket in documents(snapshot)] == ["SHOP-1", "SHOP-3"]
    assert reasons(snapshot) == {"jira.csv:2": "bad_record", "jira.csv:3": "bad_record"}


@pytest.mark.req("I20")
def test_gitlab_notes_are_comments_and_those_of_the_tracker_itself_are_not(tmp_path: Path) -> None:
    notes = [
        {"body": "changed the description", "system": True},
        {"body": "Seen it.", "author": {"username": "eve"}},
        {"body": "Me too.", "author": {"username": "ada"}},
    ]
    issue = {
        "iid": 5,
        "title": "T",
        "description": "D",
        "state": "opened",
        "author": {"username": "ada"},
        "notes": notes,
    }
    (ticket,) = open_export(tmp_path, "gitlab.json", json.dumps([issue]))
    assert ticket.text == "# T\n\nD\n\n## Comment\n\nSeen it.\n\n## Comment by the author\n\nMe too.\n"
    assert roles(ticket) == ["author", "other", "author"]


@pytest.mark.req("I20")
def test_a_pull_request_links_its_files_its_tickets_and_its_commit(tmp_path: Path) -> None:
    pull = {
        "number": 8, "title": "Fix it", "body": "", "state": "MERGED", "mergedAt": "2026-01-01T00:00:00Z",
        "closingIssuesReferences": [{"number": 3}], "files": [{"path": "src/a.py"}],
        "mergeCommit": {"oid": "0123456789abcdef0123"}, "authorAssociation": "OWNER",
        "reviews": [{"author": {"login": "eve"}, "authorAssociation": "MEMBER", "body": "Looks right."}],
    }  # fmt: skip
    (ticket,) = open_export(tmp_path, "pulls.json", json.dumps([pull]))
    assert (ticket.state, ticket.closed_at) == ("merged", "2026-01-01T00:00:00Z")
    assert ticket.links == ("#3", "src/a.py", "0123456789ab")
    assert roles(ticket) == ["maintainer", "maintainer"]


THREAD = {"path": "shop/a.py", "line": 7, "comments": {"nodes": [{"body": "In a thread", "author": {"login": "eve"}}]}}
REVIEWED = {
    "number": 31, "title": "Totals once", "body": "B", "author": {"login": "ada"},
    "reviews": [{"body": "Nearly", "comments": {"nodes": [{"body": "In a review", "path": "shop/b.py", "line": 9}]}}],
    "reviewThreads": {"nodes": [THREAD]},
    "review_comments": [{"body": "By REST", "path": "c.py", "original_line": 4, "line": None}],
    "notes": [{"body": "By GitLab", "position": {"new_path": "lib/d.rb", "new_line": 5}}],
}  # fmt: skip
LONE = {
    "id": 88, "pull_request_url": "https://api.github.com/repos/o/r/pulls/31", "path": "shop/e.py", "line": 2,
    "body": "By itself", "user": {"login": "eve"}, "updated_at": "2026-01-02T00:00:00Z",
}  # fmt: skip


@pytest.mark.req("I20")
def test_review_comments_in_exports_link_to_the_lines_of_code(tmp_path: Path) -> None:
    pull, lone = open_export(tmp_path, "pulls.json", json.dumps([REVIEWED, LONE]))
    places = [part.context.partition(" on ")[2] for part in pull.parts[1:]]
    assert sorted(places) == ["", "`c.py:4`", "`lib/d.rb:5`", "`shop/a.py:7`", "`shop/b.py:9`"]
    assert set(pull.links) == {"c.py", "lib/d.rb", "shop/a.py", "shop/b.py"}
    assert (lone.key, lone.title) == ("#31/comment-88", "Comment on shop/e.py:2 in #31")
    assert set(lone.links) == {"#31", "shop/e.py"} and "By itself" in lone.text


@pytest.mark.parametrize("path", ["a`b.py", "a\nb.py", 7, None, ""])
def test_a_strange_path_of_a_review_comment_is_no_place(path: object) -> None:
    assert place_of({"path": path, "line": 3}) == ""


def test_a_page_of_the_graphql_interface(tmp_path: Path) -> None:
    nodes = [
        {"labels": {"nodes": [{"name": "bug"}]}, "number": 3, "title": "T", "comments": {"nodes": [{"body": "C"}]}}
    ]
    page = {"data": {"repository": {"issues": {"pageInfo": {"hasNextPage": False}, "nodes": nodes}}}}
    (ticket,) = open_export(tmp_path, "page.json", json.dumps(page))
    assert (ticket.key, ticket.labels, roles(ticket)) == ("#3", ("bug",), ["author", "other"])
    (again,) = open_export(tmp_path, "lines.json", "\n".join(json.dumps(node) for node in nodes))
    assert (again.key, again.labels) == ("#3", ("bug",))


@pytest.mark.req("I20")
def test_a_folder_of_markdown_and_yaml_tickets(tmp_path: Path) -> None:
    write(
        tmp_path / "tickets",
        {
            "login.md": "---\nkey: WEB-4\ntitle: Login fails\nstatus: open\nlabels: [auth, bug]\nassignee: ada\n"
            "created: 2026-01-02\nupdated: 2026-01-03 10:00:00\n---\nSee src/login.py.\n",
            "0012-slow.md": "# It is slow\n\nVery.\n",
            "many.yaml": "- id: 7\n  title: Seven\n  state: closed\n  comments:\n    - body: Done.\n    - plain\n"
            "- id: 8\n  title: Eight\n---\nkey: WEB-5\nsummary: Five\n",
            "note.yml": "title: By its name\n",
            "README.md": "# Our tickets\n",
            "broken.md": "---\ntitle: [unclosed\n---\n",
            "loop.yaml": "&a\n- *a\n",
        },
    )
    snapshot = open_files(tmp_path / "tickets", tmp_path / "data", type="tickets")
    found = {ticket.key: ticket for ticket in documents(snapshot)}
    assert set(found) == {"WEB-4", "#12", "#7", "#8", "WEB-5", "note"}
    login = found["WEB-4"]
    assert (login.title, login.state, login.labels, login.text.endswith("See src/login.py.\n")) == (
        "Login fails",
        "open",
        ("auth", "bug"),
        True,
    )
    assert (login.created_at, login.updated_at) == ("2026-01-02T00:00:00Z", "2026-01-03T10:00:00Z")
    assert found["#12"].text == "# It is slow\n\nVery.\n"
    assert found["#7"].text.endswith("## Comment\n\nDone.\n\n## Comment\n\nplain\n")
    assert reasons(snapshot) == {"README.md": "no_ticket", "broken.md": "no_ticket", "loop.yaml": "no_ticket"}


@pytest.mark.req("I20")
def test_a_folder_of_changelog_fragments(tmp_path: Path) -> None:
    write(
        tmp_path / "newsfragments",
        {
            "123.bugfix.rst": "Fixed :func:`pay` for e.g. ``Empty`` baskets. It raised ``ValueError``\nbefore (#99).\n",
            "123.bugfix.1.rst": "Another one",
            "45.feature": "- Added a thing",
            "+abc.doc.md": "Explain it.",
            "io.fits/77.newthing.rst": "Nested",
            "SHOP-5.misc": "Tidy up.",
            "certifi.vendor.rst": "Upgrade certifi to 2026.1.1",
            "template.rst": "{{ nothing }}",
            "login.test.js": "describe()",
            "README.md": "How to write one",
            ".gitignore": "!.gitignore",
            "empty.bugfix": "",
        },
    )
    snapshot = open_files(tmp_path / "newsfragments", tmp_path / "data", type="tickets")
    found = {entry.path: next(iter(snapshot.documents(entry, snapshot.read(entry)))) for entry in snapshot.entries}
    assert {path: ticket.key for path, ticket in found.items()} == {
        "123.bugfix.rst": "#123",
        "123.bugfix.1.rst": "#123",
        "45.feature": "#45",
        "+abc.doc.md": None,
        "io.fits/77.newthing.rst": "#77",
        "SHOP-5.misc": "SHOP-5",
        "certifi.vendor.rst": None,
    }
    fixed = found["123.bugfix.rst"]
    assert (fixed.title, fixed.labels, fixed.links) == ("Fixed pay for e.g. Empty baskets.", ("bugfix",), ("#99",))
    assert "It raised ``ValueError``\nbefore" in fixed.text
    assert found["45.feature"].title == "Added a thing"


@pytest.mark.parametrize("block", [1, 3, 7, 50, 400])
@pytest.mark.parametrize("layout", ["list", "indented", "lines", "pages", "page", "deep"])
def test_where_a_block_of_the_file_ends_does_not_matter(
    layout: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BLOCK_CHARS", block)
    monkeypatch.setattr(records, "HEAD_CHARS", 200)
    tickets = [
        {"comments": {"nodes": [{"body": "c"}]}, "number": 1, "title": 'x\n{"y', "body": "z" * 300, "labels": []},
        {"number": 2, "title": '"q\\', "estimate": -1.5, "labels": [{"name": "}"}]},
        {"number": 3, "title": "ü€ [{", "closed": None, "labels": []},
    ]
    text = {
        "list": json.dumps(tickets),
        "indented": json.dumps(tickets, indent=1),
        "lines": "\n".join(map(json.dumps, tickets)),
        "pages": "\n".join(json.dumps([ticket]) for ticket in tickets),
        "page": json.dumps({"total": 300, "names": {"key": [1]}, "items": tickets, "more": 12}),
        "deep": json.dumps({"data": {"repository": {"issues": {"pageInfo": {"end": 1}, "nodes": tickets}}}}),
    }
    assert list(records.stream_records(io.StringIO(text[layout]))) == tickets
