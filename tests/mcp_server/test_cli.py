"""The command line, as a user runs it."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from ingest.index.beacon import WorkerLock
from ingest.pickaxe import KEPT
from tests.ingest.waiting import wait_until

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
        return done.stdout if code in (0, 3) else done.stderr + done.stdout

    return run


def test_the_help_names_each_command_and_knows_a_typing_error(codecairn):
    from mcp_server.cli import COMMANDS

    shown = codecairn("-h")
    assert [name for name in COMMANDS if f"│ {name} " not in shown] == []
    assert codecairn("--version").startswith("codecairn ")
    assert "Did you mean 'search'" in codecairn("serch", code=2)
    assert "promote" in codecairn("trace", "-h")
    assert "OWNER__NAME-COMMIT" in codecairn("bench", "search", "-h")


def test_a_command_loads_no_other(codecairn):
    code = "import sys; from mcp_server.cli import Commands; Commands()['search']; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "mcp_server.cli.asking" in loaded
    assert {"mcp_server.cli.serving", "mcp_server.cli.bench", "mcp_server.cli.traces", "golden"} & set(loaded) == set()


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
        "hits", "total", "next_cursor", "generation", "index_age_s", "files_behind", "degraded", "not_found", "notes",
        "trace_id",
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


def test_rollback_says_where_a_worker_would_publish_again(codecairn, data_dir, repository):
    (repository / "shop" / "coupon.py").write_text("def redeem_coupon(): ...\n")
    codecairn("index")
    assert "worker" not in codecairn("rollback", "--to", "1")
    worker = WorkerLock(data_dir)
    assert worker.acquire()
    assert "To keep this generation, stop the worker (pid unknown)" in codecairn("rollback", "--to", "2")
    worker.release()


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


# A fault of ours, which no check foresaw.
BROKEN = """
import sys
import mcp_server.cli.looking as looking
def broken(*_, **__): raise LookupError("unforeseen")
looking.open_setup = broken
sys.argv = ["codecairn", "status"]
from mcp_server.cli import main
main()
"""


def test_a_fault_of_ours_is_said_to_be_one_with_its_stack():
    done = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, timeout=110, check=False)
    *stack, sentence = done.stderr.splitlines()
    assert done.returncode == 1 and "LookupError: unforeseen" in stack
    assert sentence.startswith("codecairn: That LookupError is a fault of CodeCairn") and done.stdout == ""


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


@pytest.mark.req("I8")
def test_the_audit_trail_can_be_shown_and_verified(codecairn, tmp_path):
    codecairn("index")
    record = json.loads(codecairn("audit", "show", "--json").splitlines()[0])
    assert (record["event"], record["detail"]["result"]) == ("build", "published")
    assert "added" in codecairn("audit", "show", "shop/session.py")
    head = json.loads(codecairn("audit", "verify", "--json"))["head"]
    (file,) = (tmp_path / "xdg").rglob("control.db")
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP TRIGGER audit_no_delete")
        db.execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
        db.commit()
    assert "was cut or replaced" in codecairn("audit", "verify", "--expect", head, code=1)


def change(data_dir, *statements):
    with closing(sqlite3.connect(data_dir / "control.db")) as db, db:
        for trigger in ("audit_no_update", "audit_no_delete"):
            db.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            db.execute(statement)


@pytest.mark.req("I8")
def test_the_audit_trail_shows_what_happened_beside_builds_and_by_whom(codecairn, data_dir, repository):
    named = '[[source]]\nname = "{}"\ntype = "git"\npath = "."\ngroups = {}\n'
    for name, groups in (("shop-repo", '["local", "team"]'), ("store", '["local"]')):
        (repository / "codecairn.toml").write_text(named.format(name, groups))
        codecairn("index")
    codecairn("rollback")
    lines = codecairn("audit", "show").splitlines()
    assert [line.split()[4] for line in lines] == [
        "rolled_back", "build", "source_removed", "source_removed", "build", "acl_changed", "acl_changed", "build"
    ]  # fmt: skip
    assert re.search(r"rolled_back from 3 to 2 by \S+@\S+ pid \d+$", lines[0])
    change(data_dir, "UPDATE audit SET detail = 'nothing' WHERE event = 'build'")
    assert codecairn("audit", "show").count("its record cannot be read: somebody changed it") == 3
    assert json.loads(codecairn("audit", "show", "--json").splitlines()[1])["detail"] == "nothing"
    assert "breaks the chain" in codecairn("audit", "verify", code=1)
    [warning] = json.loads(codecairn("backup", "b.tar", "--json"))["warnings"]
    assert "breaks the hash chain" in warning
    assert "serving generation 2" in codecairn("restore", "b.tar", "--data", "restored")


@pytest.mark.req("I8")
def test_an_audit_trail_that_was_emptied_does_not_hold(codecairn, data_dir):
    change(data_dir, "DELETE FROM audit")
    assert "generation 1 is published, and no row says so: rows were removed" in codecairn("audit", "verify", code=1)
    assert '"unrecorded_generation":1' in codecairn("audit", "verify", "--json", code=1)


@pytest.fixture
def data_dir(codecairn):
    """Return the data directory of an indexed repository."""
    codecairn("index")
    return Path(json.loads(codecairn("status", "--json"))["data_dir"])


@pytest.mark.req("V13")
def test_doctor_and_backup_tell_of_a_damaged_key(codecairn, data_dir, tmp_path):
    key = data_dir / "secret.key"
    key.unlink(missing_ok=True)
    assert "no problems found" in codecairn("doctor")  # it is made when it is needed
    for size in (0, 33):
        key.write_bytes(b"k" * size)
        sentence = f"{key} has {size} bytes and holds keys of 32. Restore it from a backup, or remove it"
        assert f"PROBLEM: {sentence}" in codecairn("doctor", code=1)
        assert sentence in codecairn("backup", str(tmp_path / "b.tar"), code=1)
    assert not (tmp_path / "b.tar").exists()


def test_index_tells_a_source_that_was_left_out_from_one_whose_removals_were_not_read(codecairn, data_dir, repository):
    (repository / "codecairn.toml").write_text(
        '[[source]]\nname = "shop-repo"\ntype = "git"\npath = "."\n'
        '[[source]]\nname = "away"\ntype = "git"\nurl = "https://127.0.0.1:1/x"\ntoken_env = "NO_SUCH_TOKEN"\n'
    )
    [kept] = data_dir.glob(f"mirrors/*/{KEPT}")
    kept.unlink()
    kept.mkdir()  # nothing can be written there
    lines = codecairn("index").splitlines()
    [away] = [line for line in lines if line.startswith("- away: ")]
    assert away.startswith("- away: left out as it was. ") and "NO_SUCH_TOKEN is not set" in away
    [_, shop] = [line for line in lines if line.startswith("- shop-repo: ")]
    assert shop.startswith("- shop-repo: What its commits took away could not be read (")
    assert "all else is indexed" in shop


@pytest.mark.parametrize("damage", ["control", "generations"])
def test_status_and_doctor_name_a_damaged_index_instead_of_an_empty_one(codecairn, data_dir, damage):
    if damage == "control":
        (data_dir / "control.db").write_bytes(b"garbage")
        what, remedy = "control.db cannot be used (file is not a database).", "Move the data directory away and run"
    else:
        shutil.rmtree(data_dir / "gens")
        what, remedy = "MANIFEST.json cannot be read (No such file or directory).", "Run"
    shown = codecairn("status", code=1)
    assert "state: index_unreadable\n" in shown
    assert f"{what} {remedy} `codecairn index`" in shown
    status = json.loads(codecairn("status", "--json", code=1))
    assert (status["state"], len(status["alarms"])) == ("index_unreadable", 1)
    problems = codecairn("doctor", code=1).partition("PROBLEM: ")[2]
    assert problems.startswith(str(data_dir))  # a sentence, and no representation of an object
    assert f"{what} {remedy} `codecairn index`" in problems


@pytest.mark.req("F18")
@pytest.mark.parametrize("pattern", ["tantivy/*.store", "lance/*.lance/data/*.lance"])
def test_what_doctor_finds_damaged_is_built_again_by_index(codecairn, data_dir, pattern):
    file = max((data_dir / "gens").glob(f"1/{pattern}"), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    problems = codecairn("doctor", "--deep", code=1)
    assert f"{file} does not match its hash in the manifest" in problems
    assert f"Generation 1 in {data_dir} is damaged and was taken out of use. Run `codecairn index`" in problems
    assert "published generation 2: " in codecairn("index")
    assert "no problems found" in codecairn("doctor", "--deep")


def test_doctor_says_what_to_do_about_a_broken_promise(codecairn, data_dir):
    with closing(sqlite3.connect(data_dir / "control.db")) as db, db:
        db.execute("UPDATE chunk SET shadowed = 1 WHERE rowid = 1")
    problem = codecairn("doctor", code=1).partition("PROBLEM: ")[2].splitlines()[0]
    assert problem.startswith(f"The index in {data_dir} is damaged: source 'shop-repo': chunk counts differ: ")
    assert problem.endswith("move that folder away and run it again.")


@pytest.mark.req("I4", "R11")
def test_of_many_hooks_at_once_one_waits_for_who_builds_and_the_rest_ends(codecairn, repository, tmp_path):
    """A rebase runs dozens: whoever waits has loaded no engine, and takes in what came too late for who builds."""
    codecairn("index")
    (data_dir,) = (tmp_path / "xdg" / "codecairn").iterdir()
    busy = WorkerLock(data_dir)
    assert busy.acquire()  # as who builds and has looked for events for the last time
    (repository / "shop" / "late.py").write_text("def arrives_late():\n    pass\n")
    command = [sys.executable, "-m", "mcp_server.cli", "hook", "run", "--root", str(repository)]
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "xdg")}
    hooks = [subprocess.Popen(command, env=env) for _ in range(4)]
    try:
        assert wait_until(lambda: sum(hook.poll() is None for hook in hooks) == 1)
        (waiting,) = (hook for hook in hooks if hook.poll() is None)
        assert "numpy" not in Path(f"/proc/{waiting.pid}/maps").read_text()
        assert "Not in the index: arrives_late" in codecairn("search", "arrives_late")
        busy.release()
        assert [hook.wait(60) for hook in hooks] == [0, 0, 0, 0]
        assert "shop/late.py" in codecairn("search", "arrives_late")
    finally:
        for hook in hooks:
            hook.kill()
            hook.wait()


def test_a_hook_that_git_ignores_is_told(codecairn, repository):
    hook = repository / ".git" / "hooks" / "post-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o644)
    assert f"Run `chmod +x {hook}`." in codecairn("hook", "install")


@pytest.mark.req("V13", "I4")
def test_backup_restore_and_a_commit_that_the_hook_sees(codecairn, repository, tmp_path, git):
    """The restored index serves at once; the hook, put in once and run by git, brings a commit in."""
    codecairn("index")
    codecairn("backup", str(tmp_path / "b.tar"))
    place = ("--data", str(tmp_path / "restored"))
    codecairn("restore", str(tmp_path / "b.tar"), *place)
    assert json.loads(codecairn("search", "SessionSigner", "--json", *place))["hits"][0]["path"] == "shop/session.py"
    codecairn("hook", "install", *place)
    (repository / "shop" / "late.py").write_text("def arrives_late():\n    pass\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "late")
    with closing(sqlite3.connect(tmp_path / "restored" / "control.db", timeout=30)) as db:
        for _ in range(1200):
            if db.execute("SELECT 1 FROM file WHERE path = 'shop/late.py'").fetchone():
                break
            time.sleep(0.05)
    assert "shop/late.py" in codecairn("search", "arrives_late", *place)
    assert not (repository / ".git" / "hooks" / "post-commit").read_text().startswith("# >>>")
