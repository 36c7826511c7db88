"""An index on a read-only disk is served as it is: an image of a container, a snapshot, somebody else's mount."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from golden.machine import process_tree
from golden.stdio import StdioServer
from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.errors import NotFound
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import make_repository, reindex


@contextmanager
def protected(folder):
    """Make a folder read-only for the user of the tests: root needs a mount for that."""
    if os.geteuid():
        subprocess.run(["chmod", "-R", "a-w", str(folder)], check=True)
        undo = ["chmod", "-R", "u+w", str(folder)]
    else:
        for options in (["--bind", str(folder), str(folder)], ["-o", "remount,ro,bind", str(folder)]):
            if subprocess.run(["mount", *options], capture_output=True).returncode:
                pytest.skip("root may not mount here")
        undo = ["umount", "-l", str(folder)]
    try:
        yield
    finally:
        subprocess.run(undo, check=True)


def content(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A repository, and its index in a data directory that cannot be written."""
    root = make_repository(tmp_path_factory.mktemp("shop") / "shop-repo")
    data = tmp_path_factory.mktemp("shipped") / "data"
    service = Service(load_setup(root=root, config=None, data=data, env=dict(os.environ)))
    reindex(service)
    service.close()
    with protected(data):
        before = content(data)
        yield root, data
        assert content(data) == before


@pytest.fixture(scope="module")
def service(shipped):
    root, data = shipped
    service = Service(load_setup(root=root, config=None, data=data, env=dict(os.environ)))
    yield service
    service.close()


@pytest.mark.req("F14")
def test_a_read_only_index_is_searched_and_says_what_is_missing(service):
    me = local_principal(service.setup.settings)
    first = service.search(SearchRequest("SessionSigner", limit=1), me)
    assert first.hits[0].path == "shop/session.py"
    assert "read_only" in first.degraded
    assert service.search(SearchRequest("SessionSigner", limit=1, cursor=first.next_cursor), me).hits
    assert any("is read-only" in alarm for alarm in service.status(me).alarms)
    with pytest.raises(NotFound, match="the data directory is read-only"):
        service.get_trace(first.trace_id, me)


@pytest.mark.req("F14")
def test_a_question_to_a_read_only_index_is_answered_with_citations(service):
    answer = service.answer(AnswerRequest("How are session cookies signed?"), local_principal(service.setup.settings))
    assert answer.citations
    assert {citation.freshness for citation in answer.citations} == {"fresh"}
    assert "read_only" in answer.degraded


@pytest.mark.req("F14")
def test_the_server_serves_a_read_only_index_and_starts_no_worker(shipped):
    root, data = shipped
    options = ["--root", str(root), "--data", str(data)]
    with StdioServer([sys.executable, "-m", "mcp_server.cli", "serve", *options]) as server:
        server.initialize()
        text, failed = server.call("search_code", {"query": "retry_payment", "response_format": "json"})
        found = json.loads(text)
        assert not failed and found["hits"][0]["path"] == "shop/retry.py"
        assert "read_only" in found["degraded"]
        until = time.monotonic() + 2.0  # a worker comes a third of a second after the start, and takes one to fail
        while time.monotonic() < until:
            assert process_tree(server.process.pid) == [server.process.pid]
            time.sleep(0.05)


@pytest.mark.req("F14")
def test_a_read_only_index_is_not_built_and_the_reason_is_a_sentence(shipped):
    root, data = shipped
    command = [sys.executable, "-m", "mcp_server.cli", "index", "--root", str(root), "--data", str(data)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode != 0
    assert "cannot be written" in run.stderr and "Traceback" not in run.stderr


def run(*arguments, **options):
    command = [sys.executable, "-m", "mcp_server.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A repository and its data directory with an audit trail and traces, which cannot be written any more."""
    root = make_repository(tmp_path_factory.mktemp("kept") / "shop-repo")
    data = tmp_path_factory.mktemp("kept-data") / "data"
    place = ["--root", root, "--data", data]
    assert run("index", *place).returncode == 0
    assert run("search", "SessionSigner", *place).returncode == 0
    with protected(data):
        yield place


@pytest.mark.req("F14", "S9")
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["audit", "show"], "published"),
        (["audit", "verify"], "chain intact"),
        (["trace", "list"], "SessionSigner"),
        (["trace", "search", "SessionSigner"], "SessionSigner"),
        (["trace", "verify"], "1 trace"),
        (["report", "latency"], "search_code"),
        (["check", "-"], "shop/session.py"),
    ],
)
def test_what_only_reads_works_on_a_read_only_data_directory(kept, command, shown):
    done = run(*command, *kept, input="See `shop/session.py` and `shop/gone.py`.")
    assert shown in done.stdout, done.stderr
    assert "cannot be written" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.req("F14", "V13")
def test_a_read_only_data_directory_is_backed_up_whole(kept, tmp_path):
    done = run("backup", tmp_path / "b.tar", *kept)
    assert done.returncode == 0, done.stderr
    place = [*kept[:2], "--data", tmp_path / "fresh"]
    assert run("restore", tmp_path / "b.tar", *place).returncode == 0
    assert "SessionSigner" in run("trace", "list", *place).stdout


@pytest.mark.req("F14", "F19")
def test_what_would_be_recorded_in_a_read_only_data_directory_is_refused_with_a_sentence(kept):
    (trace,) = json.loads(run("trace", "list", "--json", *kept).stdout)
    done = run("feedback", trace["id"], "up", *kept)
    assert done.returncode != 0
    assert "is read-only: nothing is recorded in it" in done.stderr and "Traceback" not in done.stderr
