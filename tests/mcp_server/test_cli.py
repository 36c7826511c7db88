"""The command line, as a user runs it."""

import json
import os
import subprocess
import sys

import pytest

HIT_KEYS = {
    "path", "key", "title", "start_line", "end_line", "symbol", "kind", "text", "score", "why", "source", "product",
    "revision", "freshness", "linked", "flags",
}  # fmt: skip


@pytest.fixture
def codecairn(repository, tmp_path):
    """Run the command in the repository."""

    def run(*arguments, cwd=repository, code=0):
        command = [sys.executable, "-m", "mcp_server.cli", *arguments]
        env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "xdg"), "COLUMNS": "200"}
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=110)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in (0, 3) else done.stderr

    return run


@pytest.mark.req("I17", "R24")
def test_from_nothing_to_an_answer(codecairn):
    assert "Run `codecairn index`" in codecairn("search", "SessionSigner", code=1)
    report = json.loads(codecairn("index", "--json"))
    assert report["published"] is True
    assert {s["name"]: s["new"] for s in report["sources"]} == {"shop-repo": 4, "shop-repo.history": 1}
    again = json.loads(codecairn("index", "--json"))
    assert again["published"] is False
    assert again["chunks_written"] == 0

    found = json.loads(codecairn("search", "SessionSigner", "--json"))
    assert set(found) == {
        "hits", "total", "next_cursor", "generation", "index_age_s", "degraded", "not_found", "notes", "trace_id",
    }  # fmt: skip
    assert set(found["hits"][0]) == HIT_KEYS
    assert found["hits"][0]["path"] == "shop/session.py"
    assert found["hits"][0]["freshness"] == "fresh"
    assert codecairn("search", "SessionSigner").startswith("shop/session.py:")

    answer = json.loads(codecairn("answer", "What does `retry_payment` do?", "--json"))
    assert answer["citations"][0]["path"] == "shop/retry.py"
    assert answer["ungrounded"] == []
    assert answer["mode"] == "extractive"

    traces = codecairn("trace", "list").splitlines()
    assert len(traces) == 4  # the refused search left one too
    assert "rerank" in codecairn("trace", "show", found["trace_id"])
    assert json.loads(codecairn("status", "--json"))["state"] == "ready"
    assert "no problems found" in codecairn("doctor", "--deep")


@pytest.mark.req("I7")
def test_rollback_serves_the_generation_before(codecairn, repository):
    codecairn("index")
    (repository / "shop" / "coupon.py").write_text("def redeem_coupon(): ...\n")
    codecairn("index")
    assert "coupon.py" in codecairn("search", "redeem_coupon")
    assert "serving generation 1" in codecairn("rollback")
    assert "Not in the index: redeem_coupon" in codecairn("search", "redeem_coupon")
    codecairn("index")
    assert "coupon.py" in codecairn("search", "redeem_coupon")


def test_abstaining_and_finding_nothing_have_their_own_exit_code(codecairn):
    codecairn("index")
    assert "I do not have that in the index" in codecairn("answer", "What does `frobnicate_quux` do?", code=3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("search", ""), "is empty"),
        (("search", "x", "--mode", "fast"), "ranked or all"),
        (("search", "x", "--root", "/nowhere/at/all"), "is no folder"),
        (("search", "x", "--config", "/nowhere.toml"), "codecairn init"),
        (("trace", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), "There is no trace"),
        (("rollback",), ""),
        (("prompts", "show", "nothing"), "There is no prompt"),
    ],
)
def test_bad_input_is_one_sentence(codecairn, arguments, expected):
    code = 2 if "--mode" in arguments else 1
    text = codecairn(*arguments, code=code)
    assert text.startswith("codecairn: ")
    assert expected in text


def test_init_writes_a_file_that_loads_and_never_overwrites(codecairn, repository):
    codecairn("init")
    codecairn("index")
    assert "exists already" in codecairn("init", code=1)


def test_every_command_explains_itself(codecairn):
    for command in ("index", "init", "search", "answer", "status", "doctor", "rollback", "serve", "trace", "prompts"):
        assert len(codecairn(command, "--help")) > 200


@pytest.mark.parametrize("state", ["empty", "unborn", "detached", "plain folder"])
def test_repositories_in_odd_states(codecairn, tmp_path, git, repository, state):
    folder = tmp_path / "odd"
    if state == "detached":
        folder = repository
        git(folder, "checkout", "-q", "--detach")
    else:
        folder.mkdir()
        if state in ("unborn", "empty"):
            git(folder, "init", "-q")
        if state != "empty":
            (folder / "a.py").write_text("def only_here(): ...\n")
    if state == "empty":
        text = codecairn("index", "--json", cwd=folder, code=0)
        assert json.loads(text)["files"] == 0
        return
    codecairn("index", cwd=folder)
    name = "SessionSigner" if state == "detached" else "only_here"
    assert ":1 " in codecairn("search", name, cwd=folder) or state == "detached"
