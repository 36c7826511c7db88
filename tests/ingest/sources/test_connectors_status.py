"""What a user sees of a live source: the command line, with the tracker on this machine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ingest.index.spool import spool_path
from mcp_server.cli import app
from tests.ingest.sources.connector_server import Answer, GitHubContent, serving


def issue(number: int) -> dict:
    return {"number": number, "title": f"Basket {number}", "body": "", "updated_at": f"2026-01-{number:02}T00:00:00Z"}


@pytest.mark.req("F20")
def test_status_and_search_say_since_when_a_live_source_is_stale(tmp_path: Path) -> None:
    def codecairn(*arguments: str, token: str = "t") -> str:
        command = [sys.executable, "-m", "mcp_server.cli", *arguments]
        command += ["--config", str(tmp_path / "codecairn.toml"), "--data", str(tmp_path / "data")]
        env = {**os.environ, "TEST_TOKEN": token, "COLUMNS": "300"}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with serving(GitHubContent([issue(n) for n in range(1, 5)])) as server:
        (tmp_path / "codecairn.toml").write_text(
            '[[source]]\nname = "live"\ntype = "github"\nrepo = "o/r"\ntoken_env = "TEST_TOKEN"\n'
            f'url = "{server.url}"\n'
        )
        codecairn("index")
        (fresh,) = json.loads(codecairn("status", "--json"))["sources"]
        assert fresh["synced_at"]
        assert (fresh["stale_since"], fresh["stale_reason"]) == ("", "")
        assert "complete as of" in codecairn("status")
        assert json.loads(codecairn("search", "Basket", "--json"))["degraded"] == []

        server.plan = lambda number, request: Answer(401)
        codecairn("index")
        (stale,) = json.loads(codecairn("status", "--json"))["sources"]
        assert stale["stale_since"] == stale["synced_at"] == fresh["synced_at"]
        assert f"stale since {fresh['synced_at']}: 127.0.0.1 refused the token (HTTP 401)" in codecairn("status")
        found = json.loads(codecairn("search", "Basket", "--json"))
        assert (found["degraded"], len(found["hits"])) == (["source_stale:live"], 4)

        (tmp_path / "codecairn.toml").write_text(f'[[source]]\nname = "x"\ntype = "folder"\npath = "{tmp_path}/sub"\n')
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "a.py").write_text("x = 1\n")
        codecairn("index", "--allow-drop")
    assert not spool_path(tmp_path / "data", "live").exists()


@pytest.mark.req("F20")
def test_a_tracker_that_never_answered_does_not_keep_the_rest_from_being_indexed(tmp_path: Path) -> None:
    tables = '[[source]]\nname = "live"\ntype = "github"\nrepo = "o/r"\ntoken_env = "NO_SUCH_TOKEN"\n'
    code = f'[[source]]\nname = "code"\ntype = "folder"\npath = "{tmp_path}/sub"\n'
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text("def basket():\n    return 1\n")
    place = ["--config", str(tmp_path / "codecairn.toml"), "--data", str(tmp_path / "data")]

    def run(*arguments: str):
        (tmp_path / "codecairn.toml").write_text(tables + (code if "alone" not in arguments else ""))
        return CliRunner().invoke(app, [a for a in arguments if a != "alone"] + place)

    refused = run("index", "alone")
    assert refused.exit_code == 1
    assert "NO_SUCH_TOKEN is not set" in str(refused.exception)  # main() makes a sentence of it
    done = run("index", "--json")
    assert done.exit_code == 0, done.stderr
    assert "NO_SUCH_TOKEN is not set" in json.loads(done.stdout)["left_out"]["live"]
    assert len(json.loads(run("search", "basket", "--json").stdout)["hits"]) == 1
    status = run("status").stdout
    assert "- live (ticket, product sub): 0 files, 0 chunks, never indexed" in status
    assert "NO_SUCH_TOKEN is not set" in status
    assert re.search(r"- code \(code, product sub\).*, as of 20", status)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('type = "github"', "needs repo = 'owner/name'"),
        ('type = "jira"\nproject = "X"', "needs url = 'https://...' and project = 'KEY'"),
        ('type = "jira"\nurl = "https://jira.example.org"\nproject = "X\\" OR 1"', "project = 'KEY'"),
        ('type = "tickets"', "needs path"),
    ],
)
def test_a_source_that_does_not_say_where_its_content_is_is_a_sentence(
    table: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "codecairn.toml").write_text(f'[[source]]\nname = "live"\n{table}\n')
    command = [sys.executable, "-m", "mcp_server.cli", "index", "--config", str(tmp_path / "codecairn.toml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.req("S11")
@pytest.mark.parametrize("command", ["index", "doctor"])
@pytest.mark.parametrize(
    "table",
    [
        'type = "github"\nrepo = "o/r"\nurl = "http://me:{secret}@127.0.0.1:{port}"',
        'type = "github"\nrepo = "o/r"\nurl = "http://me:{secret}/x@127.0.0.1:{port}"',
        'type = "jira"\nproject = "X"\nurl = "http://127.0.0.1:{port}/?key={secret}"',
        'type = "designs"\npath = "designs"\nurl = "https://127.0.0.1:{port}/#{secret}"',
        'type = "git"\nurl = "http://{secret}@127.0.0.1:{port}/r.git"',
        'type = "git"\nurl = "ssh://git:{secret}@127.0.0.1:{port}/r.git"',
        'type = "git"\nurl = "http://127.0.0.1:{port}/r.git?private_token={secret}"',
    ],
    ids=["password", "password with a slash", "query", "fragment", "git", "git by ssh", "git with a query"],
)
def test_an_address_that_holds_a_secret_is_refused_and_neither_shown_nor_stored(
    table: str, command: str, tmp_path: Path
) -> None:
    secret = "hunter" + "22"
    place = ["--config", str(tmp_path / "codecairn.toml"), "--data", str(tmp_path / "data")]
    (tmp_path / "designs").mkdir()
    with serving(GitHubContent([issue(1)])) as server:
        port = server.server_address[1]
        (tmp_path / "codecairn.toml").write_text(
            f'[[source]]\nname = "live"\n{table.format(secret=secret, port=port)}\n'
        )
        done = CliRunner().invoke(app, [command, *place])
    assert done.exit_code != 0
    assert "holds a user name, a password, a query or a fragment. Remove it" in str(done.exception)
    assert secret not in done.output + str(done.exception)
    assert server.requests == []
    stored = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not any(secret.encode() in path.read_bytes() for path in stored)
