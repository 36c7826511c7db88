"""The disk of the data directory is full: it is said everywhere, and work goes on by itself later."""

import json
import os
import subprocess
import sys

import pytest

from golden.stdio import StdioServer
from ingest.backup import create_backup
from ingest.errors import DiskFull
from ingest.index.beacon import read_state
from tests.ingest.waiting import wait_until

CLI = [sys.executable, "-m", "mcp_server.cli"]
NOW = "2026-11-21T00:00:00Z"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MB: of root's, for only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Take all the space of a disk; return the file that does."""
    with open(folder / "ballast", "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return folder / "ballast"


def search(server, query):
    text, failed = server.call("search_code", {"query": query, "response_format": "json"})
    assert not failed, text
    return json.loads(text)


def finds(server, name):
    return any(name in hit["text"] for hit in search(server, name)["hits"])


@pytest.mark.req("F11", "F14")
def test_a_worker_outlives_a_full_disk_and_goes_on_once_there_is_space(setup, small_disk, tmp_path):
    data = small_disk / "data"
    place = ["--root", str(setup.root), "--data", str(data)]
    assert subprocess.run([*CLI, "index", *place], capture_output=True).returncode == 0
    log = tmp_path / "stderr.txt"
    with StdioServer([*CLI, "serve", *place], log=log) as server:
        server.initialize()
        assert wait_until(lambda: (state := read_state(data)) is not None and state.pid and not state.stage)
        pid = read_state(data).pid
        ballast = fill(small_disk)
        (setup.root / "shop" / "refund.py").write_text("def refund_payment():\n    return 1\n")
        assert wait_until(lambda: "is full, so changes are not indexed" in log.read_text())
        assert wait_until(lambda: "disk_full" in search(server, "SessionSigner")["degraded"])
        assert finds(server, "SessionSigner")
        status = subprocess.run([*CLI, "status", *place], capture_output=True, text=True).stdout
        assert "alarm: The disk of" in status and "degraded: disk_full" in status
        assert read_state(data).pid == pid
        ballast.unlink()
        assert wait_until(lambda: finds(server, "refund_payment"))
        assert wait_until(lambda: "disk_full" not in search(server, "refund_payment")["degraded"])
        assert read_state(data).pid == pid
    told = log.read_text()
    assert told.count("is full, so changes are not indexed") == 1
    assert "Traceback" not in told and "fault of CodeCairn" not in told


@pytest.mark.req("F14", "V13")
def test_a_backup_to_a_full_disk_says_so_and_suspects_no_damage(service, setup, small_disk):
    fill(small_disk)
    with pytest.raises(DiskFull, match=rf"No space left for the backup in {small_disk}.*free some space, or name"):
        create_backup(setup.data_dir, small_disk / "b.tar", NOW)
    assert os.listdir(small_disk) == ["ballast"]
