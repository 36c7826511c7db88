"""The Jira connector over real HTTP, up to the index: the cloud's page tokens and the numbered pages of a server."""

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.build import build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.errors import SourceError
from ingest.index import Index
from ingest.index.spool import read_sync_state
from ingest.model import Filters
from ingest.sources.connectors import http, jira
from tests.ingest.sources.connector_server import Answer, Request, TrackerServer, serving

SEEING = Filters(groups=frozenset({"local"}), sources=frozenset({"s"}))
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", "token-of-a-test")
    monkeypatch.setattr(http, "FIRST_WAIT", lambda state: 0.01)
    monkeypatch.setattr(jira, "PAGE", 15)


def issue(number: int, hours_ago: float = 0, comments: int = 0, **fields: object) -> dict:
    updated = NOW - timedelta(hours=hours_ago or 500 - number)
    said = [{"author": {"accountId": f"u{n % 2}"}, "body": f"Comment {n}"} for n in range(comments)]
    return {
        "key": f"SHOP-{number}",
        "fields": {
            "summary": f"Issue {number}",
            "description": "h2. What\nIt fails.",
            "status": {"name": "To Do", "statusCategory": {"key": "new"}},
            "reporter": {"accountId": "u0"},
            "updated": updated.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
            "comment": {"comments": said, "total": comments},
        }
        | fields,
    }


class JiraContent:
    """A project as Jira lists it. `is_cloud`: page tokens; else numbered pages. Lists bring the first two comments."""

    def __init__(self, issues: list[dict], *, is_cloud: bool) -> None:
        self.issues, self.is_cloud = issues, is_cloud
        self.now = NOW

    def __call__(self, request: Request, url: str) -> Answer:
        if request.path == "/rest/api/2/serverInfo":
            return Answer(200, {}, {"version": "10"})
        if match := re.fullmatch(r"/rest/api/2/issue/([A-Z]+-\d+)/comment", request.path):
            block = next(i for i in self.issues if i["key"] == match[1])["fields"]["comment"]
            start = int(request.query["startAt"])
            return Answer(200, {}, {"comments": block["comments"][start : start + 3], "total": block["total"]})
        if request.path != ("/rest/api/2/search/jql" if self.is_cloud else "/rest/api/2/search"):
            return Answer(404, {}, {"errorMessages": []})
        return self._search(request)

    def _search(self, request: Request) -> Answer:
        match = re.fullmatch(
            r'project = "SHOP"(?: AND updated >= "-(\d+)m")? ORDER BY updated ASC, key ASC', request.query["jql"]
        )
        assert match
        since = self.now - timedelta(minutes=int(match[1])) if match[1] else datetime.min.replace(tzinfo=UTC)
        found = [i for i in self.issues if datetime.fromisoformat(i["fields"]["updated"]) >= since]
        found.sort(key=lambda i: i["fields"]["updated"])
        size = int(request.query["maxResults"])
        start = int(request.query.get("nextPageToken" if self.is_cloud else "startAt", "0"))
        page = [self._shorten(i) for i in found[start : start + size]]
        body: dict = {"issues": page}
        if self.is_cloud:
            body |= {"nextPageToken": str(start + size)} if start + size < len(found) else {"isLast": True}
        else:
            body |= {"startAt": start, "total": len(found)}
        return Answer(200, {}, body)

    @staticmethod
    def _shorten(found: dict) -> dict:
        block = found["fields"]["comment"]
        return found | {"fields": found["fields"] | {"comment": block | {"comments": block["comments"][:2]}}}


def build(data: Path, server: TrackerServer, **settings: object):
    values = {"name": "s", "type": "jira", "url": server.url, "project": "SHOP", "token_env": "TEST_TOKEN"} | settings
    config = SourceConfig.model_validate(values)
    report = build_index([config], IndexConfig(workers=1), None, data, now="2026-05-01T00:00:00Z", allow_drop=True)
    return report.sources[0]


@pytest.mark.req("I20")
@pytest.mark.parametrize("is_cloud", [True, False], ids=["cloud", "server"])
def test_pages_of_issues_become_tickets_with_all_their_comments(is_cloud: bool, tmp_path: Path) -> None:
    content = JiraContent([issue(n, comments=7 if n == 3 else 0) for n in range(1, 41)], is_cloud=is_cloud)
    with serving(content) as server:
        assert build(tmp_path, server).new == 40
    with Index.open_current(tmp_path) as index:
        found = sorted(index.chunks(index.find_keys("SHOP-3", SEEING)), key=lambda chunk: chunk.start_line)
        assert index.manifest.sources[0].product == "SHOP"
    assert found[0].text.endswith("## What\nIt fails.")
    assert [(chunk.text, chunk.author_role) for chunk in found[1:]] == [
        (f"Comment {n}", "author" if n % 2 == 0 else "other") for n in range(7)
    ]


@pytest.mark.req("I3")
@pytest.mark.parametrize("is_cloud", [True, False], ids=["cloud", "server"])
def test_a_second_run_asks_for_minutes_so_that_no_time_zone_matters(is_cloud: bool, tmp_path: Path) -> None:
    content = JiraContent([issue(n) for n in range(1, 41)], is_cloud=is_cloud)
    with serving(content) as server:
        build(tmp_path, server)
        content.issues[4] = issue(5, hours_ago=1, summary="Changed")
        server.requests.clear()
        report = build(tmp_path, server)
        assert (report.changed, report.unchanged) == (1, 39)
        search = next(request for request in reversed(server.requests) if "jql" in request.query)
        minutes = int(re.search(r"-(\d+)m", search.query["jql"])[1])
    assert 460 * 60 <= minutes <= 460 * 60 + 240  # the issues are as old as this test session makes them


def test_a_tracker_whose_clock_is_hours_ahead_is_asked_by_its_own_time(tmp_path: Path) -> None:
    content = JiraContent([issue(n, hours_ago=-1) for n in range(1, 4)], is_cloud=True)
    content.now = NOW + timedelta(hours=6)
    with serving(content) as server:
        server.ahead_s = 6 * 3600
        assert build(tmp_path, server).new == 3
        content.issues[1] = issue(2, hours_ago=-3, summary="Changed")
        report = build(tmp_path, server)
        assert (report.changed, report.unchanged) == (1, 2)


def test_an_issue_that_changes_while_numbered_pages_are_read_makes_no_other_one_slip(tmp_path: Path) -> None:
    content = JiraContent([issue(n) for n in range(1, 41)], is_cloud=False)

    def change(number: int, request: Request) -> None:
        if number == 3:  # after the cloud's address and the first page
            content.issues[0] = issue(1, hours_ago=1)

    with serving(content) as server:
        server.plan = change
        assert build(tmp_path, server).new == 40


@pytest.mark.req("F20")
@pytest.mark.parametrize("is_cloud", [True, False], ids=["cloud", "server"])
def test_a_token_revoked_half_way_keeps_what_there_is(is_cloud: bool, tmp_path: Path) -> None:
    content = JiraContent([issue(n) for n in range(1, 41)], is_cloud=is_cloud)
    with serving(content) as server:
        server.plan = lambda number, request: Answer(401) if number > 2 else None
        first = build(tmp_path, server)
        assert 0 < first.new < 40
        state = read_sync_state(tmp_path, "s")
        assert state is not None
        assert (state.synced_at, bool(state.stale_since)) == ("", True)
        assert "refused the token (HTTP 401)" in state.reason
        server.plan = lambda number, request: None
        assert build(tmp_path, server).new == 40 - first.new
        content.issues.pop()
        assert build(tmp_path, server, full_days=0).deleted == 1


def test_the_cloud_is_asked_as_the_user_and_a_server_with_the_bare_token(tmp_path: Path) -> None:
    with serving(JiraContent([issue(1)], is_cloud=True)) as server:
        build(tmp_path / "a", server, user="ada@example.org")
        build(tmp_path / "b", server)
    basic = base64.b64encode(b"ada@example.org:token-of-a-test").decode()
    sent = [request.headers["authorization"] for request in server.requests]
    assert (sent[0], sent[-1]) == (f"Basic {basic}", "Bearer token-of-a-test")


def test_what_is_no_jira_is_said(tmp_path: Path) -> None:
    with (
        serving(lambda request, url: Answer(200, {}, {"hello": "world"})) as server,
        pytest.raises(SourceError, match="Is `url` the address of a Jira"),
    ):
        build(tmp_path, server)
