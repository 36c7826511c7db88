"""Past queries from the command line: found, judged, checked, handed on, forgotten."""

import json
import sqlite3
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from mcp_server.access import local_principal
from mcp_server.cli import main
from mcp_server.errors import BadRequest, NotFound
from mcp_server.keyring import read_keys
from mcp_server.records import Records
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex
from traces.store import TraceQuery

MAIL = "ada.lovelace@analytical-engines.org"


@pytest.fixture
def records(service):
    return Records(service, local_principal(service.setup.settings))


@pytest.fixture
def ask(service):
    principal = local_principal(service.setup.settings)

    def run(text, tool="search"):
        if tool == "search":
            return service.search(SearchRequest(text), principal).trace_id
        return service.answer(AnswerRequest(text), principal).trace_id

    return run


@pytest.fixture
def command(setup, capsys, monkeypatch):
    """Run `codecairn ...` over the fixture's data; return exit code, stdout and stderr."""

    def run(*arguments):
        place = ["--root", str(setup.root), "--data", str(setup.data_dir)]
        monkeypatch.setattr(sys, "argv", ["codecairn", *arguments, *place])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.req("T28")
def test_traces_are_found_by_words_path_and_property(command, ask, service):
    first, second = ask("how are session cookies signed"), ask("RETRY_LIMIT")
    service.store.flush()
    code, out, _ = command("trace", "search", "cookies")
    assert code == 0 and first in out and second not in out
    code, out, _ = command("trace", "search", "--path", "shop/retry.py", "--json")
    assert second in [row["id"] for row in json.loads(out)]
    assert command("trace", "search", "unheardofword")[0] == 3
    code, out, _ = command("trace", "list", "--tool", "answer", "--json")
    assert json.loads(out) == []
    assert command("trace", "search")[0] == 2


@pytest.mark.req("M14", "T18")
def test_what_was_asked_in_vain_is_listed_with_its_open_parts(command, ask, service):
    trace_id = ask("Which Kubernetes operator runs it?", "answer")
    service.store.flush()
    code, told, _ = command("report", "gaps", "--json")
    assert code == 0
    panels = json.loads(told)["panels"]
    assert panels["not answered"][0]["question"] == "Which Kubernetes operator runs it?"
    row = panels["not covered"][0]
    assert "kubernetes" in row["part of a question"]
    assert (row["questions"], row["trace"]) == (1, trace_id)
    assert "occurs nowhere" in row["why"]
    assert "not_covered" in command("trace", "show", trace_id)[1]


@pytest.mark.req("M4", "T28")
def test_thumb_and_note_are_kept_with_their_history_and_low_rated_traces_are_listed(command, ask, records, service):
    trace_id = ask("Where is the retry limit set?", "answer")
    service.store.flush()
    assert command("feedback", trace_id, "up")[1] == "feedback up 1.0\n"
    code, out, _ = command("feedback", trace_id, "down", "--note", f"ask {MAIL}", "--json")
    score = json.loads(out)
    assert (score["label"], score["value"]) == ("down", -1.0) and score["supersedes"] is not None
    assert MAIL not in score["note"] and score["note"].startswith("ask ")
    assert [one.label for one in records.scores(trace_id)] == ["up", "down"]
    code, out, _ = command("trace", "list", "--feedback", "down")
    assert trace_id in out and score["note"] in out
    shown = command("trace", "show", trace_id)[1]
    assert "judged by a human: feedback down -1 ask" in shown and "feedback up" not in shown
    assert command("feedback", trace_id, "escalate")[0] == 0
    assert [row.id for row in records.find(TraceQuery(scored="escalated"))] == [trace_id]
    assert command("feedback", trace_id, "sideways")[0] == 2


def test_judgement_needs_a_trace_and_a_name_of_its_own(records, ask):
    trace_id = ask("RETRY_LIMIT")
    with pytest.raises(NotFound, match="no trace"):
        records.rate("01AAAAAAAAAAAAAAAAAAAAAAAA", "up")
    with pytest.raises(BadRequest, match="cannot be called 'golden'"):
        records.annotate(trace_id, "golden")
    assert records.annotate(trace_id, "relevance", 0.5).value == 0.5


@pytest.mark.req("T33", "A6", "T18")
def test_personal_data_and_secrets_in_a_question_are_masked_before_hashing_and_flagged(service, ask):
    secret = "AK" + "IA" + "Q7CANARYDEADBEEF"
    for tool in ("search", "answer"):
        trace_id = ask(f"which handler mails {MAIL} the session key {secret}", tool)
        service.store.flush()
        found = service.list_traces(local_principal(service.setup.settings), 5, TraceQuery(flag="redacted:"))
        assert trace_id in [row.id for row in found]
    raw = b"".join(file.read_bytes() for file in service.setup.data_dir.glob("traces.db*"))
    assert MAIL.encode() not in raw and secret.encode() not in raw
    with sqlite3.connect(service.setup.data_dir / "traces.db") as connection:
        flags = json.loads(connection.execute("SELECT policy_flags FROM trace").fetchone()[0])
    connection.close()
    assert {flag.split(":")[0] for flag in flags} == {"redacted"} and len(flags) == 2


@pytest.mark.req("T35")
def test_every_entry_point_leaves_a_trace_that_verifies(command, ask, service):
    ask("how are session cookies signed")
    ask("Where is the retry limit set?", "answer")
    assert command("search", "RETRY_LIMIT", "--mode", "all")[0] == 0
    assert command("answer", "How many attempts are made?")[0] in (0, 3)
    service.store.flush()
    code, out, _ = command("trace", "verify", "--json")
    found = json.loads(out)
    assert (code, found["traces"], found["faults"]) == (0, 4, [])


@pytest.mark.req("T27")
def test_export_writes_a_file_per_day(command, ask, service, tmp_path):
    trace_id = ask("RETRY_LIMIT")
    service.store.flush()
    code, out, _ = command("trace", "export", "--out", str(tmp_path / "audit"), "--json")
    (day,) = json.loads(out)
    lines = (tmp_path / "audit" / f"{day}.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [trace_id]
    assert command("trace", "export", "--out", str(tmp_path / "x"), "--since", "2099")[0] != 0


@pytest.mark.req("T34", "S6")
def test_prune_and_forgetting_ones_own(command, ask, records, service):
    kept, gone = ask("RETRY_LIMIT"), ask("SessionSigner")
    records.rate(kept, "up")
    code, out, _ = command("trace", "prune", "--max-mb", "0", "--json")
    done = json.loads(out)
    assert code == 0 and done["thinned"] == 1 and done["deleted"] == 1
    with pytest.raises(NotFound):
        records.get(gone)
    assert records.get(kept).summary.id == kept
    assert command("trace", "prune", "--mine")[1] == "1 traces deleted\n"
    with pytest.raises(NotFound):
        records.get(kept)


@pytest.mark.req("S6")
def test_after_a_rotation_names_are_others_and_ones_own_traces_can_still_be_read_and_deleted(command, setup):
    principal = local_principal(setup.settings)

    def asked(service, text):
        found = service.search(SearchRequest(text, limit=1), principal)
        service.store.flush()
        return found, Records(service, principal).get(found.trace_id).acl.principal_hash

    with closing(Service(setup)) as service:
        reindex(service)
        old, name = asked(service, "session")
    assert old.next_cursor
    assert command("trace", "rotate-key")[1] == "a new key; 1 former ones are kept\n"
    assert stat.S_IMODE((setup.data_dir / "secret.key").stat().st_mode) == 0o600
    with closing(Service(setup)) as service:
        new, other = asked(service, "RETRY_LIMIT")
        assert other != name
        assert Records(service, principal).get(old.trace_id).summary.id == old.trace_id
        with pytest.raises(BadRequest, match="Ask again without `cursor`"):
            service.search(SearchRequest("session", limit=1, cursor=old.next_cursor), principal)
    assert command("trace", "prune", "--mine")[1] == "3 traces deleted\n"

    with closing(Service(setup)) as service:
        last, _ = asked(service, "session")
    assert json.loads(command("trace", "rotate-key", "--drop-former", "--json")[1]) == {"keys": 1}
    with closing(Service(setup)) as service, pytest.raises(NotFound):
        Records(service, principal).get(last.trace_id)
    (setup.data_dir / "secret.key").write_bytes(b"short")
    assert "holds keys of 32" in command("trace", "list")[2]


def test_processes_that_start_at_once_take_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: read_keys(tmp_path / "data"), range(8)))
    assert len(found) == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


@pytest.mark.req("T26", "T37", "T2")
def test_trace_names_configuration_environment_and_commit_by_hash(ask, records):
    trace = records.get(ask("RETRY_LIMIT"))
    assert trace.config["index"] and trace.summary.config_hash.startswith("b2:")
    assert trace.environment["packages"]["tantivy"] and trace.environment["python"]
    assert trace.summary.environment_hash.startswith("b2:")


@pytest.mark.req("T27")
def test_daily_lines_are_written_when_configured(repository, tmp_path, monkeypatch):
    from mcp_server.config import load_setup

    setup = load_setup(
        root=repository, config=None, data=tmp_path / "data", env={"HOME": "/x", "CODECAIRN_TRACE__JSONL": "true"}
    )
    service = Service(setup)
    reindex(service)
    trace_id = service.search(SearchRequest("RETRY_LIMIT"), local_principal(setup.settings)).trace_id
    service.close()
    (file,) = (setup.data_dir / "traces").iterdir()
    assert json.loads(file.read_text())["id"] == trace_id
