"""The data directory of a running server is taken away, put back or replaced."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from golden.stdio import StdioServer
from ingest.backup import create_backup, restore_backup
from ingest.errors import IngestError
from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.errors import NotReady
from mcp_server.results import SearchRequest
from mcp_server.service import Service
from tests.ingest.waiting import wait_until
from tests.mcp_server.conftest import make_repository, reindex

CLI = [sys.executable, "-m", "mcp_server.cli"]
NOW = "2026-11-21T00:00:00Z"


def search(server, query):
    text, failed = server.call("search_code", {"query": query, "response_format": "json"})
    return text if failed else json.loads(text)


def is_removed(folder):
    """Remove a folder into which a worker may be writing: it has to be tried again then, as by hand."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def finds(server, name):
    found = search(server, name)
    return isinstance(found, dict) and any(name in hit["text"] for hit in found["hits"])


@pytest.mark.req("F8", "V13")
def test_a_server_says_that_its_data_is_gone_and_serves_and_renews_what_is_restored(setup, tmp_path):
    log = tmp_path / "stderr.txt"
    place = ["--root", str(setup.root), "--data", str(setup.data_dir)]
    with StdioServer([*CLI, "serve", *place], log=log) as server:
        server.initialize()
        assert wait_until(lambda: finds(server, "SessionSigner"))
        subprocess.run([*CLI, "backup", str(tmp_path / "b.tar"), *place], check=True, capture_output=True)
        assert wait_until(lambda: is_removed(setup.data_dir))
        assert "was removed or moved while it was served. Put it back" in search(server, "SessionSigner")
        assert wait_until(lambda: "so the worker ends" in log.read_text())
        restored = subprocess.run([*CLI, "restore", str(tmp_path / "b.tar"), *place], capture_output=True, text=True)
        assert restored.returncode == 0, restored.stderr
        assert finds(server, "SessionSigner")
        (setup.root / "shop" / "refund.py").write_text("def refund_payment():\n    return 1\n")
        assert wait_until(lambda: finds(server, "refund_payment"))
    told = log.read_text()
    assert "Traceback" not in told and "fault of CodeCairn" not in told


@pytest.mark.req("V13")
def test_nothing_is_restored_where_a_worker_runs_and_its_pid_is_named(setup, tmp_path):
    place = ["--root", str(setup.root), "--data", str(setup.data_dir)]
    with StdioServer([*CLI, "serve", *place]) as server:
        server.initialize()
        assert wait_until(lambda: finds(server, "SessionSigner"))
        create_backup(setup.data_dir, tmp_path / "b.tar", NOW)
        with pytest.raises(IngestError, match=r"A worker \(pid \d+\) keeps .* up to date. Stop it") as told:
            restore_backup(tmp_path / "b.tar", setup.data_dir)
        pid = int(re.search(r"pid (\d+)", str(told.value))[1])
        assert b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.req("F8")
def test_another_index_under_the_same_path_is_served_and_records_go_there(service, setup, tmp_path):
    me = local_principal(setup.settings)
    assert service.search(SearchRequest("SessionSigner"), me).hits
    other_root = make_repository(tmp_path / "other", {"mail.py": "def send_mail():\n    return 1\n"})
    other = Service(load_setup(root=other_root, config=None, data=tmp_path / "new", env=dict(os.environ)))
    reindex(other)
    other.close()
    setup.data_dir.rename(tmp_path / "old")
    with pytest.raises(NotReady, match="was removed or moved"):
        service.search(SearchRequest("SessionSigner"), me)
    assert "was removed or moved" in service.status(me).building
    (tmp_path / "new").rename(setup.data_dir)
    found = service.search(SearchRequest("send_mail"), me)
    with service.reading() as index:
        assert [state.name for state in index.manifest.sources] == ["other", "other.history"]
    assert found.generation == 1
    again = service.search(SearchRequest("send_mail"), me)
    assert service.get_trace(again.trace_id, me).summary.id == again.trace_id
