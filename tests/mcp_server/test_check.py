"""`codecairn check`: the ledger over anybody's text, against a real repository with history."""

import json
import os
import subprocess

import pytest
from typer.testing import CliRunner

from ingest.build import build_index
from mcp_server.access import local_principal
from mcp_server.answering.check import MAX_TEXT_CHARS
from mcp_server.cli import app
from mcp_server.config import load_setup
from mcp_server.errors import BadRequest
from mcp_server.service import Service

from .conftest import make_repository, write_files


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A repository whose second commit renames a file and takes a function away."""
    root = make_repository(tmp_path_factory.mktemp("check") / "shop-repo")
    write_files(root, {"shop/legacy.py": "def charge_twice(order_id):\n    return order_id\n\n\nOLD_RATE = 3\n" * 3})
    commit(root, "Charge orders twice")
    git(root, "mv", "shop/legacy.py", "shop/charging.py")
    (root / "shop/charging.py").write_text("def charge_once(order_id):\n    return order_id\n\n\nOLD_RATE = 3\n" * 3)
    commit(root, "Rename charge_twice to charge_once")
    retry = root / "shop/retry.py"
    retry.write_text(retry.read_text() + "\n\ndef cool_down(seconds):\n    return seconds * 2\n")
    commit(root, "Cool down between attempts")
    retry.write_text(retry.read_text().replace("def cool_down(seconds)", "def pause_between(seconds)"))
    commit(root, "Say what it does")
    return root


@pytest.fixture(scope="module")
def checked(shop, tmp_path_factory):
    """Check a text against the shop; returns (verdict, reason, nearest) of its statements."""
    data = tmp_path_factory.mktemp("data")
    setup = load_setup(root=shop, config=None, data=data, env={**os.environ, "CODECAIRN_EMBEDDING__KIND": "none"})
    service = Service(setup)
    build_index(setup.settings.source, setup.settings.index, service.embedder, data, now="2026-11-21T00:00:00Z")

    def run(text, **options):
        return service.check(text, local_principal(setup.settings), **options).claims

    yield run
    service.close()


def git(root, *arguments):
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


def commit(root, message):
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


def command(shop, tmp_path, *arguments, stdin=""):
    env = {"CODECAIRN_EMBEDDING__KIND": "none"}
    places = ["--root", str(shop), "--data", str(tmp_path / "data")]
    return CliRunner().invoke(app, ["check", *places, *arguments], input=stdin, env=env)


TRUE = "In `shop/retry.py`, `retry_payment` calls `wait_before_retry`; `RETRY_LIMIT` defaults to 5."
FALSE = """\
# Retries

`retry_payment` in `shop/retry.py` calls `wait_before_retry`.
`wait_before_retry` calls `retry_payment`.

- `RETRY_LIMIT` defaults to 7.
- See `shop/retries.py`.
"""


@pytest.mark.req("R18")
def test_exit_code_and_lines_tell_ci_what_is_wrong(shop, tmp_path):
    done = command(shop, tmp_path, "-", stdin=FALSE)
    assert done.exit_code == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("stdin:4: contradicted: It is the other way round")
    assert lines[2].startswith("stdin:6: contradicted: 'RETRY_LIMIT' is 5 (shop/retry.py:3), not 7")
    assert lines[4].startswith(
        "stdin:7: fabricated: 'shop/retries.py' exists nowhere in the index. Nearest: shop/retry.py"
    )

    done = command(shop, tmp_path, "--no-index", "--json", "-", stdin=FALSE)
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["counts"] == {"fabricated": 1, "contradicted": 2, "supported": 1}
    for claim in report["claims"]:
        assert set(claim) == {"text", "start_char", "end_char", "start_line", "verdict", "reason", "nearest"}
        assert FALSE[claim["start_char"] : claim["end_char"]] == claim["text"]

    (tmp_path / "marked.md").write_text(FALSE, "utf-8-sig")
    text = (tmp_path / "marked.md").read_text("utf-8")  # as whoever cuts the claims out of it reads it
    assert text == "\ufeff" + FALSE
    done = command(shop, tmp_path, "--no-index", "--json", str(tmp_path / "marked.md"))
    for claim in json.loads(done.stdout)["claims"]:
        assert text[claim["start_char"] : claim["end_char"]] == claim["text"]

    (tmp_path / "clean.md").write_text(TRUE)
    assert command(shop, tmp_path, "--no-index", str(tmp_path / "clean.md")).exit_code == 0


@pytest.mark.req("R18")
def test_what_cannot_be_checked_has_its_own_exit_code_and_sentence(shop, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"\x00\x01\xff")
    for arguments, expected in (
        (["--no-index", "-"], "Run `codecairn index`"),
        ([str(tmp_path / "data.bin")], "not UTF-8 text"),
        (["nowhere.md"], "cannot be read"),
        (["--min-verdict", "bad", "-"], "--min-verdict is 'bad'"),
    ):
        done = command(shop, tmp_path / "fresh", *arguments)
        assert (done.exit_code, expected in done.stderr) == (2, True), done.stderr


@pytest.mark.req("R18", "D9")
def test_removed_name_is_stale_with_its_commit_and_successor(checked):
    (claim,) = checked("`charge_twice` is called for each order.")
    assert claim.verdict == "stale"
    assert "Rename charge_twice to charge_once" in claim.reason
    assert claim.nearest == ("charge_once",)


@pytest.mark.req("R18", "D9")
def test_removed_name_is_found_by_pickaxe_where_no_message_tells_of_it(checked):
    (claim,) = checked("`cool_down` waits between two attempts.")
    assert claim.verdict == "stale"
    assert "removed in commit" in claim.reason
    assert "Say what it does" in claim.reason
    assert claim.nearest == ("pause_between",)
    (claim,) = checked("`cool_down_twice` waits between two attempts.")
    assert claim.verdict == "fabricated"


@pytest.mark.req("R18")
def test_a_name_that_only_files_outside_of_the_index_have_is_not_called_removed(tmp_path):
    root = make_repository(tmp_path / "repo")
    for number, text in enumerate(("Where is melt_guard?\n", "Where?\n")):  # added, then changed: never code
        write_files(root, {"questions.txt": text, "kept.txt": f"melt_guard {number}\n"})
        commit(root, f"Questions {number}")
    config = tmp_path / "codecairn.toml"
    config.write_text(f'[[source]]\nname = "r"\ntype = "git"\npath = "{root}"\nexclude = ["*.txt"]\n')
    env = {**os.environ, "CODECAIRN_EMBEDDING__KIND": "none"}
    setup = load_setup(root=root, config=config, data=tmp_path / "data", env=env)
    service = Service(setup)
    build_index(setup.settings.source, setup.settings.index, None, setup.data_dir, now="2026-11-21T00:00:00Z")
    (claim,) = service.check("`melt_guard` keeps it cool.", local_principal(setup.settings)).claims
    service.close()
    assert claim.verdict == "fabricated"


@pytest.mark.req("R18", "D9")
def test_renamed_file_is_stale_with_its_new_path(checked):
    (claim,) = checked("See `shop/legacy.py`.")
    assert claim.verdict == "stale"
    assert claim.nearest == ("shop/charging.py",)


@pytest.mark.req("R18")
def test_changelog_may_name_what_is_gone(checked):
    (claim,) = checked("`charge_twice` was renamed to `charge_once` in `shop/charging.py`.")
    assert claim.verdict == "supported"


@pytest.mark.req("R18")
def test_false_premise_is_contradicted(checked):
    (claim,) = checked("`wait_before_retry` calls `retry_payment` for each attempt.")
    assert claim.verdict == "contradicted"


@pytest.mark.req("R18")
def test_document_is_no_evidence_for_itself(checked):
    text = "The `session_vault` keeps them, see `SessionSigner`."
    assert [claim.verdict for claim in checked(text)] == ["fabricated"]
    text = "Session cookies are signed, see `SessionSigner`."
    assert [claim.verdict for claim in checked(text, excluded=frozenset({"README.md"}))] != ["fabricated"]


@pytest.mark.req("R18")
def test_names_that_the_text_defines_itself_are_exempt(checked):
    text = (
        "```python\ndef my_sign_helper(x):\n    return x\n```\n`my_sign_helper` wraps it.\n\n`other_helper_x` does not."
    )
    assert [claim.verdict for claim in checked(text)] == ["no_anchor", "fabricated"]


@pytest.mark.req("R18")
def test_windows_line_ends_keep_lines_and_characters(checked):
    text = "# Title\r\n\r\nFirst is `SessionSigner`.\r\n- `no_such_name` here\r\n"
    claims = checked(text)
    assert [(claim.start_line, text[claim.start_char : claim.end_char]) for claim in claims] == [
        (3, "First is `SessionSigner`."),
        (4, "`no_such_name` here"),
    ]


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    "text", ["", "   \n\n", "```python\nx = no_such_call()\n```\n", "# Only a heading\n", "Why so?\n"]
)
def test_texts_without_statements_are_clean(checked, text):
    assert checked(text) == ()


@pytest.mark.req("R18")
def test_other_languages_are_checked_by_their_anchors(checked):
    german = checked(
        "Die Klasse `SessionSigner` aus `shop/session.py` unterschreibt Kekse. `KeksBacker` gibt es nicht."
    )
    assert [claim.verdict for claim in german] == ["supported", "fabricated"]
    (japanese,) = checked("`shop/session.py` の `SessionSigner` はセッションに署名します。")
    assert japanese.verdict == "supported"


@pytest.mark.req("R18")
def test_what_is_between_the_marks_is_not_checked(checked):
    text = "<!-- codecairn: off -->\n`no_such_name` there.\n<!-- codecairn: on -->\n\n`no_such_name` here.\n"
    assert [(claim.start_line, claim.verdict) for claim in checked(text)] == [(5, "fabricated")]


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    "text",
    [
        "word " * 200_000,  # one sentence
        "`" * 1_000_000,
        "`a_b` calls `c_d`. " * 50_000,
        "(" * 500_000 + ")" * 500_000,
        "shop/session.py:3 " * 50_000,
        "line 3, " * 120_000,
        "§0§ " * 250_000,
    ],
    ids=["words", "ticks", "calls", "brackets", "paths", "lines", "marks"],
)
def test_a_megabyte_is_checked_whole(checked, text):
    assert all(0 <= claim.start_char < claim.end_char <= len(text) for claim in checked(text[:1_000_000]))


def test_text_beyond_the_limit_is_refused(checked):
    with pytest.raises(BadRequest, match="Split it"):
        checked("a" * (MAX_TEXT_CHARS + 1))
