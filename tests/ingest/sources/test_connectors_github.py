"""The GitHub connector over real HTTP, up to the index."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from ingest.build import build_index
from ingest.config import IndexConfig, SourceConfig
from ingest.errors import SourceError
from ingest.index import Index
from ingest.index.spool import read_sync_state, spool_path
from ingest.model import Filters
from ingest.sources.connectors import http
from tests.ingest.sources.connector_server import Answer, GitHubContent, TrackerServer, serving

SEEING = Filters(groups=frozenset({"local"}), sources=frozenset({"s"}))
TOKEN = "token-of-a-test"


def issue(number: int, updated: str = "", **more: object) -> dict:
    moment = updated or f"2026-01-{number:02}T00:00:00Z"
    return {
        "number": number, "title": f"Issue {number}", "body": f"Body {number}", "state": "open", "labels": [],
        "user": {"login": "ada"}, "author_association": "NONE", "comments": 1, "created_at": "2025-12-01T00:00:00Z",
        "updated_at": moment, "html_url": f"https://github.com/o/r/issues/{number}",
    } | more  # fmt: skip


def comment(number: int, body: str, login: str = "eve", updated: str = "2026-01-05T00:00:00Z", **more: object) -> dict:
    url = f"https://api.github.com/repos/o/r/issues/{number}"
    return {
        "id": abs(hash((number, body))) % 10**9, "issue_url": url, "body": body, "user": {"login": login},
        "author_association": "NONE", "created_at": updated, "updated_at": updated,
    } | more  # fmt: skip


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    monkeypatch.setattr(http, "FIRST_WAIT", lambda state: 0.01)


def build(data: Path, server: TrackerServer, **settings: object):
    values = {"name": "s", "type": "github", "url": server.url, "repo": "o/r", "token_env": "TEST_TOKEN"} | settings
    config = SourceConfig.model_validate(values)
    report = build_index([config], IndexConfig(workers=1), None, data, now="2026-05-01T00:00:00Z", allow_drop=True)
    return report.sources[0]


def titles(data: Path, *keys: str) -> list[str]:
    with Index.open_current(data) as index:
        found = [chunk for key in keys for chunk in index.chunks(index.find_keys(key, SEEING))]
    return [chunk.title for chunk in found]


def state(data: Path):
    found = read_sync_state(data, "s")
    assert found is not None
    return found


@pytest.mark.req("I20")
def test_pages_of_issues_and_comments_become_tickets(tmp_path: Path) -> None:
    issues = [issue(n, assignee={"login": "ada"}) for n in range(1, 9)]
    comments = [
        comment(2, "By somebody"),
        comment(2, "By its author", "ada"),
        comment(2, "By a maintainer", author_association="OWNER"),
    ]
    with serving(GitHubContent(issues, comments)) as server:
        report = build(tmp_path, server)
    assert report.new == 8
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    with Index.open_current(tmp_path) as index:
        found = sorted(index.chunks(index.find_keys("#2", SEEING)), key=lambda chunk: chunk.start_line)
        (source,) = index.manifest.sources
    said = {chunk.text: chunk.author_role for chunk in found[1:]}
    assert said == {"By somebody": "other", "By its author": "author", "By a maintainer": "maintainer"}
    assert (source.product, source.location) == ("r", f"{server.url}/repos/o/r")
    assert (state(tmp_path).stale_since, state(tmp_path).reason) == ("", "")
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in everything
    assert b"eve" not in spool_path(tmp_path, "s").read_bytes()


REVIEWS = [
    {
        "id": 5, "pull_request_url": "https://api.github.com/repos/o/r/pulls/2", "path": "shop/totals.py",
        "start_line": 10, "line": 12, "body": "Why twice?", "user": {"login": "eve"}, "author_association": "OWNER",
        "created_at": "2026-01-06T00:00:00Z", "updated_at": "2026-01-06T00:00:00Z",
    },
    {
        "id": 6, "pull_request_url": "https://api.github.com/repos/o/r/pulls/2", "path": "setup.py", "line": None,
        "original_line": 3, "body": "Outdated by now.", "user": {"login": "ada"}, "author_association": "NONE",
        "created_at": "2026-01-07T00:00:00Z", "updated_at": "2026-01-07T00:00:00Z",
    },
]  # fmt: skip


@pytest.mark.req("I20")
def test_review_comments_name_the_lines_that_they_are_about_and_link_the_ticket_to_the_code(tmp_path: Path) -> None:
    # The two lists number their comments each for itself: the same id stands for two comments.
    with serving(GitHubContent([issue(1), issue(2)], [comment(2, "Plain", id=5)], reviews=REVIEWS)) as server:
        build(tmp_path, server)
        with Index.open_current(tmp_path) as index:
            found = sorted(index.chunks(index.find_keys("#2", SEEING)), key=lambda chunk: chunk.start_line)
            naming = index.chunks(index.linked_to("shop/totals.py", SEEING, 10))
        assert [(c.text, c.context, c.author_role) for c in found[1:]] == [
            ("Plain", "Comment 2026-01-05", "other"),
            ("Why twice?", "Comment by a maintainer on `shop/totals.py:10-12` 2026-01-06", "maintainer"),
            ("Outdated by now.", "Comment by the author on `setup.py:3` 2026-01-07", "author"),
        ]
        assert {chunk.key for chunk in naming} == {"#2"} and {"shop/totals.py", "setup.py"} <= set(found[0].links)
        REVIEWS_LATER = [REVIEWS[0] | {"body": "Why three times?", "updated_at": "2026-02-01T00:00:00Z"}, REVIEWS[1]]
        server.content.reviews[:] = REVIEWS_LATER
        report = build(tmp_path, server)
    assert (report.changed, report.unchanged) == (1, 1)


@pytest.mark.req("I3")
def test_a_second_run_asks_only_for_what_changed_and_a_third_gets_304(tmp_path: Path) -> None:
    content = GitHubContent([issue(n) for n in range(1, 9)], [comment(1, "C")])
    with serving(content) as server:
        build(tmp_path, server)
        content.issues[4] = issue(5, "2026-02-01T00:00:00Z", title="Changed")
        server.requests.clear()
        report = build(tmp_path, server)
        assert (report.new, report.changed, report.unchanged) == (0, 1, 7)
        assert server.requests[0].query["since"] == "2026-01-07T23:55:00Z"
        build(tmp_path, server)
        server.requests.clear()
        answers = []
        server.plan = lambda number, request: answers.append(request.headers.get("if-none-match"))
        assert build(tmp_path, server).unchanged == 8
    assert len(answers) == len(server.requests) == 3
    assert all(answers)
    assert titles(tmp_path, "#5") == ["Changed"]


def test_a_ticket_that_changes_while_the_list_is_read_makes_no_other_one_slip(tmp_path: Path) -> None:
    content = GitHubContent([issue(n) for n in range(1, 10)])

    def change(number: int, request) -> None:
        if number == 2:  # the first page is out; with numbered pages the fourth ticket would move on to it
            content.issues[0] = issue(1, "2026-03-01T00:00:00Z")

    with serving(content) as server:
        server.plan = change
        assert build(tmp_path, server).new == 9


def test_many_tickets_of_one_moment_are_read_over_the_links_of_the_tracker(tmp_path: Path) -> None:
    with serving(GitHubContent([issue(n, "2026-01-01T00:00:00Z") for n in range(1, 12)])) as server:
        assert build(tmp_path, server).new == 11


def test_clock_that_is_ahead_does_not_carry_the_cursor_away(tmp_path: Path) -> None:
    content = GitHubContent([issue(1), issue(2, "2099-01-01T00:00:00Z"), issue(3), issue(4), issue(5)])
    with serving(content) as server:
        assert build(tmp_path, server).new == 5
        soon = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        content.issues.append(issue(6, soon))
        assert build(tmp_path, server).new == 1


def test_a_tracker_whose_clock_was_a_day_ahead_loses_no_ticket(tmp_path: Path) -> None:
    def at(moment: datetime) -> str:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    tomorrow = datetime.now(UTC) + timedelta(days=1)
    content = GitHubContent([issue(1), issue(2, at(tomorrow - timedelta(minutes=1)))])
    with serving(content) as server:
        server.ahead_s = 86_400
        assert build(tmp_path, server).new == 2
        server.ahead_s = 0
        content.issues[1] = issue(2, at(datetime.now(UTC)), title="Changed")
        content.issues.append(issue(3, at(datetime.now(UTC))))
        report = build(tmp_path, server)
        assert (report.new, report.changed) == (1, 1)
        with contextlib.closing(sqlite3.connect(spool_path(tmp_path, "s"))) as db, db:  # as an earlier release left it
            db.execute("UPDATE meta SET value = ? WHERE key = 'issues.cursor'", (at(tomorrow),))
        content.issues.append(issue(4, at(datetime.now(UTC))))
        assert build(tmp_path, server).new == 1


def test_a_tracker_whose_clock_is_behind_is_asked_from_its_own_time_on(tmp_path: Path) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = GitHubContent([issue(1), issue(2, yesterday)])
    with serving(content) as server:
        server.ahead_s = -86_400
        assert build(tmp_path, server).new == 2
        content.issues.append(issue(3, yesterday))
        assert build(tmp_path, server).new == 1


@pytest.mark.req("F20")
@pytest.mark.parametrize(
    "fault",
    [
        Answer(500),
        Answer(502),
        Answer(200, body=[{"x": "y" * 500}], cut=True),
        Answer(429, {"Retry-After": "0"}, {"message": "slow down"}),
        Answer(403, {"Retry-After": "0"}, {"message": "You have exceeded a secondary rate limit"}),
        Answer(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, {}),
    ],
    ids=["500", "502", "cut", "429", "secondary limit", "limit that is over"],
)
def test_a_fault_that_passes_is_waited_out(fault: Answer, tmp_path: Path) -> None:
    with serving(GitHubContent([issue(n) for n in range(1, 9)])) as server:
        server.plan = lambda number, request: fault if number in (2, 3) else None
        assert build(tmp_path, server).new == 8
    assert state(tmp_path).reason == ""


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waits, which take no time."""
    waits: list[float] = []
    monkeypatch.setattr(http.Client.__init__, "__kwdefaults__", {"sleep": waits.append})
    return waits


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def test_it_waits_as_long_as_it_is_told(tmp_path: Path, waited: list[float]) -> None:
    answers = {1: lambda: Answer(429, {"Retry-After": "3"}, {}), 2: lambda: Answer(503, {"Retry-After": in_seconds(5)})}
    with serving(GitHubContent([issue(1)])) as server:
        server.plan = lambda number, request: answers[number]() if number in answers else None
        assert build(tmp_path, server).new == 1
    assert waited[0] == 3
    assert 1 < waited[1] <= 5


@pytest.mark.req("F20")
def test_all_waits_of_a_run_are_bounded(tmp_path: Path, waited: list[float]) -> None:
    """A build fetches, and edits on this machine wait for it."""
    with serving(GitHubContent([issue(n) for n in range(1, 29)])) as server:
        server.plan = lambda number, request: Answer(429, {"Retry-After": "4"}, {}) if number % 2 == 0 else None
        first = build(tmp_path, server)
        assert 0 < first.new < 28
        assert waited == [4, 4, 4]
        assert "limits requests (HTTP 429). The next run goes on from here." in state(tmp_path).reason
        server.plan = lambda number, request: None
        assert first.new + build(tmp_path, server).new == 28


@pytest.mark.req("F20")
def test_a_host_that_does_not_answer_is_not_waited_for_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(http, "LONGEST_WAITS_S", 0.5)
    with serving(GitHubContent([issue(1)])) as server:
        server.plan = lambda number, request: time.sleep(1)
        with pytest.raises(SourceError, match="cannot be reached"):
            build(tmp_path, server)
        assert len(server.requests) == 2


@pytest.mark.req("F20")
def test_what_lasts_ends_the_run_and_the_next_one_goes_on_from_there(tmp_path: Path) -> None:
    with serving(GitHubContent([issue(n) for n in range(1, 9)])) as server:
        server.plan = lambda number, request: Answer(500) if number > 2 else None
        first = build(tmp_path, server)
        assert 3 <= first.new < 8
        assert "failed (HTTP 500)" in state(tmp_path).reason
        server.plan = lambda number, request: None
        server.requests.clear()
        assert first.new + build(tmp_path, server).new == 8
        assert server.requests[0].query["since"] >= "2026-01-02"
    assert (state(tmp_path).reason, state(tmp_path).stale_since) == ("", "")


@pytest.mark.req("F20")
def test_a_token_revoked_half_way_keeps_what_there_is_and_says_since_when_it_is_stale(tmp_path: Path) -> None:
    content = GitHubContent([issue(n) for n in range(1, 9)])
    with serving(content) as server:
        build(tmp_path, server)
        synced_at = state(tmp_path).synced_at
        content.issues += [issue(n) for n in range(9, 18)]
        server.requests.clear()
        server.plan = lambda number, request: Answer(401, body={"message": "Bad credentials"}) if number > 2 else None
        report = build(tmp_path, server)
        assert len(server.requests) == 3  # a refused token is not tried again
        assert (report.deleted, report.unchanged) == (0, 8)
        assert 1 <= report.new < 9
        stale = state(tmp_path)
        assert (stale.synced_at, stale.stale_since) == (synced_at, synced_at)
        assert "refused the token (HTTP 401). Check TEST_TOKEN" in stale.reason
        server.plan = lambda number, request: None
        assert report.new + build(tmp_path, server).new == 9
    assert state(tmp_path).stale_since == ""


@pytest.mark.req("F20")
def test_the_budget_is_not_spent_to_the_end_and_no_request_is_sent_before_it_is_renewed(tmp_path: Path) -> None:
    reset = datetime.now(UTC) + timedelta(hours=1)
    content = GitHubContent([issue(n) for n in range(1, 9)])

    def spend(request, url: str) -> Answer:
        answer = content(request, url)
        left = 62 - 2 * len(server.requests)
        limits = {"Limit": "600", "Remaining": str(left), "Reset": str(int(reset.timestamp()))}
        return Answer(answer.status, answer.headers | {f"X-RateLimit-{k}": v for k, v in limits.items()}, answer.body)

    with serving(spend) as server:
        first = build(tmp_path, server)
        assert 0 < first.new < 8
        assert len(server.requests) == 1
        assert state(tmp_path).resume_at == reset.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert build(tmp_path, server).unchanged == first.new
        assert len(server.requests) == 1


@pytest.mark.req("F20")
@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (lambda: Answer(403, {"Retry-After": "3600"}, {}), 3600),
        (lambda: Answer(429, {"Retry-After": "6"}, {}), 6),
        (lambda: Answer(503, {"Retry-After": in_seconds(60)}, {}), 60),
        (lambda: Answer(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 60)}, {}), 60),
    ],
    ids=["an hour", "seconds", "a date", "a budget"],
)
def test_a_long_wait_is_left_to_the_next_run(
    answer: Callable[[], Answer], seconds: int, tmp_path: Path, waited: list[float]
) -> None:
    with serving(GitHubContent([issue(n) for n in range(1, 9)])) as server:
        server.plan = lambda number, request: answer() if number == 2 else None
        began = datetime.now(UTC)
        assert 0 < build(tmp_path, server).new < 8
        ended = datetime.now(UTC)
    assert waited == []
    assert len(server.requests) == 2
    resume_at = datetime.strptime(state(tmp_path).resume_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert began - timedelta(seconds=2) <= resume_at - timedelta(seconds=seconds) <= ended  # whole seconds


def test_what_is_no_longer_listed_goes_with_the_next_full_listing(tmp_path: Path) -> None:
    content = GitHubContent([issue(n) for n in range(1, 9)], [comment(2, "Stays"), comment(2, "Goes")])
    with serving(content) as server:
        build(tmp_path, server)
        content.issues = [found for found in content.issues if found["number"] not in (3, 4)]
        content.comments.pop()
        assert build(tmp_path, server).deleted == 0
        report = build(tmp_path, server, full_days=0)
        assert (report.deleted, report.changed) == (2, 1)
        report = build(tmp_path, server, full_days=0)
    assert (report.deleted, report.unchanged) == (0, 6)


def test_a_full_listing_that_is_cut_takes_nothing_away(tmp_path: Path) -> None:
    content = GitHubContent([issue(n) for n in range(1, 9)])
    with serving(content) as server:
        build(tmp_path, server)
        server.requests.clear()
        server.plan = lambda number, request: Answer(401) if number > 1 else None
        assert build(tmp_path, server, full_days=0).unchanged == 8


def test_a_broken_record_costs_that_record(tmp_path: Path) -> None:
    with serving(GitHubContent([issue(1), issue(2, title=None, body=None), issue(3)])) as server:
        report = build(tmp_path, server)
    assert (report.new, report.skipped) == (2, {"bad_record": 1})


def test_secrets_are_masked_before_they_reach_the_disk(tmp_path: Path) -> None:
    secret = "AKIA" + "QWERTYUIOPASDFGH"
    with serving(GitHubContent([issue(1, body=f"x {secret}")], [comment(1, f"use {secret}")])) as server:
        build(tmp_path, server)
    assert secret.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_token_follows_no_redirect_to_another_host(tmp_path: Path) -> None:
    with serving(GitHubContent([issue(1)])) as other, serving(GitHubContent([issue(2)])) as server:
        server.plan = lambda number, request: Answer(301, {"Location": f"{other.url}{request.path}"}, {})
        with pytest.raises(SourceError, match="moved to"):
            build(tmp_path, server)
    assert other.requests == []


def test_a_redirect_of_the_same_host_is_followed(tmp_path: Path) -> None:
    with serving(GitHubContent([issue(1)])) as server:

        def moved(number: int, request) -> Answer | None:
            query = "&".join(f"{name}={value}" for name, value in request.query.items())
            target = request.path.replace("/repos/o/r", "/repositories/7")
            return Answer(301, {"Location": f"{target}?{query}"}, {}) if "/repos/" in request.path else None

        server.plan = moved
        assert build(tmp_path, server).new == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_env": "NOT_SET"}, "NOT_SET is not set"),
        ({"url": "http://tracker.example.org"}, "must begin with https://"),
    ],
)
def test_what_is_missing_to_begin_is_a_sentence(settings: dict, message: str, tmp_path: Path) -> None:
    with serving(GitHubContent([issue(1)])) as server, pytest.raises(SourceError, match=message):
        build(tmp_path, server, **settings)
    assert server.requests == []


@pytest.mark.req("F20")
def test_a_tracker_that_is_gone_leaves_what_was_indexed(tmp_path: Path) -> None:
    with serving(GitHubContent([issue(1)])) as server:
        build(tmp_path, server)
    report = build(tmp_path, server)
    assert report.unchanged == 1
    assert "cannot be reached" in state(tmp_path).reason


def test_another_repository_under_the_same_name_starts_anew(tmp_path: Path) -> None:
    with serving(GitHubContent([issue(1), issue(2)])) as server:
        build(tmp_path, server)
        report = build(tmp_path, server, repo="o/other")
        assert "since" not in server.requests[-1].query or report.unchanged == 2
        assert any(
            request.path == "/repos/o/other/issues" and "since" not in request.query for request in server.requests
        )


@pytest.mark.req("I21", "F20")
def test_a_run_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    held = Answer(200, body=[])
    with serving(GitHubContent([issue(n) for n in range(1, 29)])) as server:

        def hold(number: int, request) -> Answer | None:
            if number < 4:
                return None
            time.sleep(60)
            return held

        server.plan = hold
        script = (
            "import sys; from pathlib import Path; from ingest.build import build_index;"
            "from ingest.config import IndexConfig, SourceConfig;"
            "build_index([SourceConfig(name='s', type='github', url=sys.argv[1], repo='o/r', token_env='TEST_TOKEN')],"
            "IndexConfig(workers=1), None, Path(sys.argv[2]), now='2026-05-01T00:00:00Z')"
        )
        child = subprocess.Popen([sys.executable, "-c", script, server.url, str(tmp_path)], env=dict(os.environ))
        with contextlib.suppress(ProcessLookupError):
            server.wait_for(4)
            child.send_signal(signal.SIGKILL)
        child.wait(30)
        server.plan = lambda number, request: None
        server.requests.clear()
        assert build(tmp_path, server).new == 28
        assert server.requests[0].query["since"] >= "2026-01-06"
    assert set(titles(tmp_path, "#1", "#28")) == {"Issue 1", "Issue 28"}
