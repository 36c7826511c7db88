"""A source of which nothing is indexed is named in every result that could have read it."""

import json
import os
import re
import subprocess
import sys

import pytest

from ingest.access import Principal
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import make_repository, reindex

STAFF = Principal("staff", frozenset({"local"}))
BOARD = Principal("board", frozenset({"local", "board"}))


@pytest.fixture
def service(tmp_path):
    """Code that is indexed; tickets, and minutes that only the board may see, which both cannot be read."""
    make_repository(tmp_path / "shop")
    tables = [
        {"name": "code", "type": "git", "path": "shop", "product": "shop"},
        {"name": "bugs", "type": "tickets", "path": "gone.json", "product": "shop"},
        {"name": "minutes", "type": "designs", "path": "minutes", "product": "board", "groups": ["board"]},
    ]
    text = "".join(
        "[[source]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()) for table in tables
    )
    (tmp_path / "codecairn.toml").write_text(text)
    setup = load_setup(root=tmp_path, config=None, data=tmp_path / "data", env=dict(os.environ))
    service = Service(setup)
    reindex(service, skip_failing=True)  # as the worker does
    yield service
    service.close()


@pytest.mark.req("F11", "S9")
def test_a_source_that_was_never_indexed_is_named_where_nothing_is_found(service):
    found = service.search(SearchRequest("unheardof"), STAFF)
    assert found.degraded == ("source_missing:bugs",)
    answer = service.answer(AnswerRequest("Why was the unheardof provider dropped?"), STAFF)
    assert answer.abstained and "source_missing:bugs" in answer.degraded
    assert "source_missing:bugs" in service.status(STAFF).degraded


@pytest.mark.req("F11", "S9")
def test_a_missing_source_is_named_to_those_only_who_may_see_it(service):
    seen = service.search(SearchRequest("SessionSigner"), BOARD).degraded
    assert seen == ("source_missing:bugs", "source_missing:minutes")
    for result in (service.search(SearchRequest("SessionSigner"), STAFF), service.status(STAFF)):
        assert "minutes" not in str(result)


@pytest.mark.req("F11")
@pytest.mark.parametrize(
    ("narrowed", "codes"),
    [
        ({"sources": ("tickets",)}, ("source_missing:bugs",)),
        ({"sources": ("code",)}, ()),
        ({"sources": ("history",)}, ()),
        ({"product": "shop"}, ("source_missing:bugs",)),
    ],
)
def test_a_missing_source_that_the_filters_leave_out_is_not_named(service, narrowed, codes):
    assert service.search(SearchRequest("SessionSigner", **narrowed), BOARD).degraded == codes


@pytest.mark.req("S9")
def test_a_timer_learns_which_source_could_not_be_indexed_and_so_does_the_status_at_once(service):
    place = ["--root", str(service.setup.root), "--data", str(service.setup.data_dir)]

    def run(*command):
        return subprocess.run(
            [sys.executable, "-m", "mcp_server.cli", *command, *place], capture_output=True, text=True
        )

    done = run("worker", "--once")
    assert done.returncode == 1
    assert re.search(r"codecairn: Source bugs waits .*gone\.json", done.stderr)
    assert "Source code" not in done.stderr
    assert re.search(r"alarm: Source bugs waits .*gone\.json", run("status").stdout)
    (service.setup.root / "minutes").mkdir()
    (service.setup.root / "gone.json").write_text('[{"number": 1, "title": "Late", "body": "x", "state": "OPEN"}]')
    assert run("worker", "--once").returncode == 0
    (service.setup.root / "gone.json").unlink()
    assert run("worker", "--once").returncode == 1
    assert re.search(r"- bugs .*\n.*not brought up to date: .*gone\.json", run("status").stdout)
