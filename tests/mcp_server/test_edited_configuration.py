"""The configuration is edited while it is served: the server goes on with what it read, and says what to do."""

import json
import os
import signal
import sys

import pytest

from golden.stdio import StdioServer
from ingest.index.beacon import read_state
from tests.ingest.waiting import wait_until
from tests.mcp_server.conftest import make_repository

CONFIGURATION = '[[source]]\nname = "code"\ntype = "git"\npath = "shop"\n'


@pytest.mark.req("I1", "S9")
def test_an_edited_configuration_is_an_alarm_until_the_server_is_restarted_and_a_dead_worker_another(tmp_path):
    make_repository(tmp_path / "shop")
    file = tmp_path / "codecairn.toml"
    file.write_text(CONFIGURATION)
    data, log = tmp_path / "data", tmp_path / "stderr.txt"
    command = [sys.executable, "-m", "mcp_server.cli", "serve", "--root", str(tmp_path), "--data", str(data)]
    with StdioServer(command, log=log) as server:
        server.initialize()

        def alarms():
            (content,) = server.request("resources/read", {"uri": "status://index"})["contents"]
            return [line for line in content["text"].splitlines() if line.startswith("alarm: ")]

        def is_told(text):
            return any(text in alarm for alarm in alarms())

        assert wait_until(lambda: (state := read_state(data)) is not None and state.pid and not state.stage)
        assert alarms() == []
        file.write_text(CONFIGURATION + "strict = true\n")  # a key of the source, which has none of that name
        assert wait_until(lambda: is_told("restart the server to use it"))
        assert is_told("As it is it cannot be used") and is_told("strict")
        os.kill(read_state(data).pid, signal.SIGKILL)
        assert wait_until(lambda: is_told("The worker ended with status 1; its reason is on stderr."))
        file.write_text(f"strict = true\n{CONFIGURATION}")
        assert wait_until(lambda: is_told("restart the server to use it") and not is_told("cannot be used"))
        file.write_text(CONFIGURATION)
        assert wait_until(lambda: alarms() == [])
        assert json.loads(server.call("search_code", {"query": "SessionSigner", "response_format": "json"})[0])["hits"]
    told = log.read_text()
    assert told.count("restart the server to use it") == 2
    assert "Traceback" not in told
