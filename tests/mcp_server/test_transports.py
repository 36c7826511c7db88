"""The real server over stdio and HTTP, with a real client."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from golden.machine import process_tree
from golden.stdio import StdioServer

COMMAND = [sys.executable, "-m", "mcp_server.cli", "serve"]


def arguments(setup):
    return ["--root", str(setup.root), "--data", str(setup.data_dir)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(holds):
    return any(holds() or time.sleep(0.05) for _ in range(1800))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_stdio(service, setup, mode):
    async def session():
        parameters = StdioServerParameters(
            command=COMMAND[0], args=[*COMMAND[1:], *arguments(setup)], env=dict(os.environ)
        )
        async with Client(parameters, mode=mode) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            hits = await client.call_tool("search_code", {"query": "SessionSigner"})
            return tools, hits.content[0].text

    tools, text = anyio.run(session)
    assert tools == ["search_code", "answer", "explain_trace"]
    assert text.startswith("shop/session.py:")


@pytest.mark.req("I2", "F8", "F14")
def test_first_start_indexes_in_the_background_and_says_so(setup):
    """Nothing is on stdout but the protocol; a question before the index exists gets the state, not an empty list."""

    async def session():
        parameters = StdioServerParameters(
            command=COMMAND[0], args=[*COMMAND[1:], *arguments(setup)], env=dict(os.environ)
        )
        async with Client(parameters) as client:
            first = await client.call_tool("search_code", {"query": "SessionSigner"})
            for _ in range(600):
                later = await client.call_tool("search_code", {"query": "SessionSigner"})
                if not later.is_error:
                    return first.content[0].text, later.content[0].text
                await anyio.sleep(0.1)
            return first.content[0].text, later.content[0].text

    first, later = anyio.run(session)
    assert "index_building" in first
    assert later.startswith("shop/session.py:")


# Noise from the moment when the server imports its protocol library, of every kind that reaches a terminal.
NOISE = """
import os, sys, threading, warnings
def chatter():
    print("printed by a library", flush=True)
    os.write(1, b"written by native code")
    warnings.warn("warned")
    import logging; logging.getLogger("library").error("logged")
    timer = threading.Timer(0.05, chatter)
    timer.daemon = True
    timer.start()
started = []
def on_import(event, arguments):
    if event == "import" and arguments[0] == "mcp" and not started:
        started.append(True)
        chatter()
sys.addaudithook(on_import)
"""


@pytest.mark.req("I2")
def test_stdout_carries_the_protocol_only(service, setup, tmp_path):
    """Whatever a library prints, logs or warns of while the server runs goes to stderr."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOISE)
    log = tmp_path / "stderr.txt"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    with StdioServer([*COMMAND, *arguments(setup)], env=env, log=log) as server:
        server.initialize()
        for _ in range(2000):
            text, is_error = server.call("search_code", {"query": "SessionSigner"})  # a line that is no JSON raises
            assert not is_error, text
            if b"written by native code" in log.read_bytes():
                break
            time.sleep(0.005)
        server.call("search_code", {"query": "SessionSigner"})
    told = log.read_text()
    assert all(words in told for words in ("printed by a library", "written by native code", "warned", "logged"))


@pytest.fixture
def http(service, setup):
    port = free_port()
    command = [*COMMAND, "--http", f"127.0.0.1:{port}", "--no-watch", *arguments(setup)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                    break
            except urllib.error.URLError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.communicate(timeout=20)


def fetch(url, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


@pytest.mark.req("R20", "R24")
def test_http_serves_mcp_and_the_same_hits_as_json(http, service):
    async def session(mode):
        async with Client(f"{http}/mcp", mode=mode) as client:
            result = await client.call_tool("search_code", {"query": "retry payment", "response_format": "json"})
            return json.loads(result.content[0].text)

    modern, legacy = anyio.run(session, "auto"), anyio.run(session, "legacy")
    status, text, headers = fetch(f"{http}/v1/search", {"query": "retry payment"})
    plain = json.loads(text)
    assert status == 200
    assert modern["hits"] == legacy["hits"] == plain["hits"]
    assert headers["content-security-policy"]
    done = subprocess.run(
        [sys.executable, "-m", "mcp_server.cli", "search", "retry payment", "--json", *arguments(service.setup)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["hits"] == plain["hits"]


@pytest.mark.req("S10")
@pytest.mark.parametrize(
    "route", ["/health", "/health/ready", "/mcp", "/v1/search", "/v1/query", "/v1/traces/x", "/nothing"]
)
def test_foreign_host_and_origin_are_refused_on_every_route(http, route):
    assert fetch(http + route, Host="evil.example")[0] == 421
    assert fetch(http + route, Origin="http://evil.example")[0] == 403


@pytest.mark.req("R24")
def test_http_errors_are_sentences(http):
    assert fetch(f"{http}/v1/search", {"query": ""})[0] == 400
    status, text, _ = fetch(f"{http}/v1/search", {"query": "x", "limt": 1})
    assert status == 400
    assert "Unknown field 'limt'" in text
    assert fetch(f"{http}/v1/query", {"question": "x" * 25_000})[0] == 400
    assert fetch(f"{http}/v1/traces/nothing")[0] == 404
    assert fetch(f"{http}/health/ready")[0] == 200


@pytest.mark.req("S13")
@pytest.mark.parametrize("address", ["0.0.0.0:8765", "192.0.2.7:80", "[::]:1", "example.org:80"])
def test_public_addresses_are_refused(setup, address):
    done = subprocess.run([*COMMAND, "--http", address, *arguments(setup)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "refuses to bind" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.req("I2")
def test_importing_the_server_loads_no_engine():
    code = (
        "import sys, mcp_server.server, mcp_server.cli; "
        "engines = 'tantivy lancedb pyarrow numpy tree_sitter git openai tokenizers'.split(); "
        "print([name for name in engines if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_answer_without_a_model_loads_no_client_for_one(service, setup):
    code = (
        "import sys; from mcp_server.cli import main\n"
        f"sys.argv = ['codecairn', 'answer', 'Where is SessionSigner?', *{arguments(setup)!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('openai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SessionSigner" in done.stdout and done.stdout.endswith("False\n")


# The background loads engines; beside that, importing the protocol library would take twice as long.
AT_START = """
import sys
import mcp_server.cli.serving as serving
def start(self, *options, work):
    print("loaded" if "mcp_server.server" in sys.modules else "still to load", file=sys.stderr)
    raise SystemExit(0)
serving.Background.start = start
from mcp_server.cli import main
main()
"""


def test_the_protocol_is_loaded_before_the_background_starts(service, setup):
    command = [sys.executable, "-c", AT_START, "serve", *arguments(setup)]
    ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)
    assert (ended.returncode, ended.stderr.strip()) == (0, "loaded")


@pytest.mark.req("I4")
def test_a_worker_loads_the_vector_engine_before_the_first_change_needs_it(setup):
    subprocess.run([*COMMAND[:-1], "index", *arguments(setup)], check=True, capture_output=True, timeout=120)
    with StdioServer([*COMMAND, *arguments(setup)]) as server:
        server.initialize()
        server.call("search_code", {"query": "SessionSigner"})

        def is_loaded():
            workers = process_tree(server.process.pid)[1:]
            return any("lancedb" in Path(f"/proc/{pid}/maps").read_text() for pid in workers)

        assert wait_for(is_loaded)


@pytest.mark.req("I1")
def test_ctrl_c_ends_a_server_that_waits_for_its_client_and_its_worker(setup):
    with StdioServer([*COMMAND, *arguments(setup)]) as server:
        server.initialize()
        assert wait_for(lambda: process_tree(server.process.pid)[1:])
        workers = process_tree(server.process.pid)[1:]
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        assert wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))


@pytest.mark.req("I1")
def test_while_a_first_build_is_about_to_begin_nobody_is_told_to_start_one(setup):
    """Asked all the time from the first moment on: the worker takes a second or two to begin."""
    with StdioServer([*COMMAND, *arguments(setup)]) as server:
        server.initialize()
        told = set()
        for _ in range(2000):
            text, is_error = server.call("search_code", {"query": "SessionSigner"})
            if not is_error:
                break
            told.add(re.search(r"index_\w+", text)[0])
            time.sleep(0.01)
    assert told == {"index_building"}


@pytest.mark.req("I1", "I4")
def test_a_killed_worker_is_started_again_and_takes_in_what_it_missed(service, setup):
    """The server goes on answering; a file written while no worker lived is found."""

    def found(name):
        text, is_error = server.call("search_code", {"query": name, "limit": 1, "response_format": "json"})
        assert not is_error, text
        return any(name in hit["text"] for hit in json.loads(text)["hits"])

    with StdioServer([*COMMAND, *arguments(setup)]) as server:
        server.initialize()
        assert wait_for(lambda: process_tree(server.process.pid)[1:])
        for pid in process_tree(server.process.pid)[1:]:
            os.kill(pid, signal.SIGKILL)
        (setup.root / "shop" / "late.py").write_text("def arrives_late():\n    pass\n")
        assert wait_for(lambda: found("arrives_late"))
        workers = process_tree(server.process.pid)[1:]
    assert wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
