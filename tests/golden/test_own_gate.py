"""A team's own gate on the command line: mine, accept, decide, compare, report, and cases made of failures."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from functools import partial

import pytest
from typer.testing import CliRunner

from golden.case import BUCKETS, GoldenError, load_cases
from golden.corpus import ROOT
from golden.gate import run_gate
from golden.organisation import build_organisation
from golden.run import principal_for
from golden.ship import ROWS, Shown, better_ways, inspect_traces, is_versioned, run_rows, run_ship, writes
from golden.suite import open_again
from golden.worth import WHOLE, measure_worth
from mcp_server.cli import app
from mcp_server.cli.golden import open_suite
from traces.model import Span

CONFIG = """
[[source]]
name = "tollgate"
type = "git"
path = "tollgate"
product = "tollgate"

[[source]]
name = "tickets"
type = "tickets"
path = "tollgate-tickets.json"
product = "tollgate"

[[source]]
name = "designs"
type = "designs"
path = "tollgate-designs"
product = "tollgate"
"""


class Team:
    """A repository with tickets and designs, its configuration, and the command line over it."""

    def __init__(self, folder):
        self.folder = folder
        build_organisation(folder)
        (folder / "codecairn.toml").write_text(CONFIG, "utf-8")
        self.cases = folder / "golden"
        self.work = folder / "work"

    def run(self, *arguments: object, code: int = 0, cases: bool = True) -> str:
        """Run `codecairn golden ...` and return what it prints."""
        own = ["--cases", self.cases] if cases else []
        work = ["--work", self.work] if arguments[0] in ("run", "update", "gate", "report") else []
        return self.call("golden", *arguments, *own, *work, code=code)

    def call(self, *arguments: object, code: int = 0) -> str:
        """Run `codecairn ...` with the team's configuration."""
        places = ["--config", self.folder / "codecairn.toml", "--root", self.folder, "--data", self.folder / "data"]
        result = CliRunner().invoke(app, [str(a) for a in (*arguments, *places)])
        assert result.exit_code == code, result.output + result.stderr
        return result.stdout if code in (0, 3) else f"{result.output}{result.stderr}{result.exception}"


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A team whose index is built, with mined cases that it has accepted."""
    team = Team(tmp_path_factory.mktemp("team"))
    team.call("index", "--json")
    team.mined = team.run("mine", "--per-bucket", 5)
    team.accepted = team.run("update")
    return team


@pytest.mark.req("E1")
def test_cases_of_every_bucket_are_mined_and_some_have_no_answer(team):
    cases = load_cases(team.cases)
    assert {case.bucket for case in cases} == set(BUCKETS)
    assert {case.origin for case in cases} == {"mined"}
    assert any(case.expect.abstain for case in cases)
    assert any("TG-" in key for case in cases for key in case.expect.tickets)
    assert f"{len(cases)} cases in" in team.mined
    again = (team.cases / "mined.jsonl").read_text("utf-8")
    team.run("mine", "--per-bucket", 5)
    assert (team.cases / "mined.jsonl").read_text("utf-8") == again


@pytest.mark.req("E4", "E5", "E10", "E20")
def test_what_was_accepted_passes_and_leaves_readable_results(team):
    assert "confidently wrong" in team.accepted.splitlines()[0]
    text = team.run("gate")
    assert "gate: PASS" in text
    assert "to blame" in text
    assert "<testsuite" in (team.work / "junit.xml").read_text("utf-8")
    assert len(list((team.work / "results").glob("*.txt"))) == len(load_cases(team.cases)) + 1


@pytest.mark.req("E18")
def test_a_case_that_vanished_and_a_new_one_are_refused_until_they_are_explained(team):
    file = team.cases / "mined.jsonl"
    before = file.read_text("utf-8")
    *rest, last = before.splitlines()
    try:
        file.write_text("".join(f"{line}\n" for line in rest), "utf-8")
        gone = json.loads(last)["id"]
        assert f"gone without a reason, {gone} first" in team.run("gate", code=1)
        removed = team.cases / "removed.jsonl"
        removed.write_text(json.dumps({"id": gone, "reason": "its subject was given up"}) + "\n", "utf-8")
        assert "1 removed for a reason" in team.run("gate")
        removed.unlink()
    finally:
        file.write_text(before, "utf-8")


@pytest.mark.req("P7", "V7", "E13")
def test_two_runs_are_compared_only_where_one_thing_differs(team):
    one, other = team.folder / "one.jsonl", team.folder / "other.jsonl"
    assert {"stats", "blame", "seconds"} <= set(json.loads(team.run("run", "--save", one, "--json")))
    head, *rows = one.read_text("utf-8").splitlines()
    values = json.loads(head)
    values["dimensions"] |= {"model": "other", "retrieval": "other"}
    worse = [json.dumps(json.loads(row) | {"passed": False, "recall5": 0.0, "blame": "ranking"}) for row in rows]
    other.write_text("\n".join([json.dumps(values), *worse]) + "\n", "utf-8")

    def compare(*options: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["golden", "compare", str(one), str(other), *options])
        assert result.exit_code == code, result.output
        return result.output + result.stderr

    assert "differ in retrieval, model" in compare(code=1)
    assert "only model should" in compare("--dimension", "model", code=1)
    assert "no dimension 'weather'" in compare("--dimension", "weather", code=1)
    text = compare("--allow-mixed")
    assert text.startswith("to blame: ")
    assert "ranking 0 -> " in text
    assert re.search(r"passed: [01]\.\d+ before, 0\.000 now", text)
    assert "ship: BLOCK recall@5" in compare("--allow-mixed", "--ship", code=1)
    assert "ship: PASS" in CliRunner().invoke(app, ["golden", "compare", str(one), str(one), "--ship"]).output


@pytest.mark.req("V4", "V5", "E6", "E7", "E8")
def test_a_scoreboard_is_verified_by_its_hash_and_a_changed_one_is_not(team):
    out = team.folder / "reports"
    line = team.run("report", "--out", out)
    board = json.loads((out / "scoreboard.json").read_text("utf-8"))
    assert board["hash"] in line
    assert {"prompts", "retrieval", "model", "embedder", "index", "commit"} <= board["inputs"].keys()
    figures = board["stats"]["all"]
    assert all(figures[name] is not None for name in ("hit5", "mrr", "recall5", "ndcg", "faithfulness", "covered"))
    assert board["stats"]["cross-ticket"]["ndcg"] is not None
    assert sorted(row["id"] for row in board["results"]) == sorted(case.id for case in load_cases(team.cases))
    markdown = (out / "final-scoreboard.md").read_text("utf-8")
    assert markdown.splitlines()[2].startswith("Confidently wrong: ")
    assert markdown.index("to blame") < markdown.index("model")
    assert "<svg" in (out / "recall.svg").read_text("utf-8")
    assert "verified" in team.run("verify", board["hash"][:12], "--out", out)
    assert "another scoreboard" in team.run("verify", "0000", "--out", out, code=1)
    board["stats"]["all"]["right"] = 1.5
    (out / "scoreboard.json").write_text(json.dumps(board), "utf-8")
    assert "changed after it was made" in team.run("verify", "--out", out, code=1)
    assert "golden report" in team.run("verify", "--out", out / "none", code=1)


@pytest.fixture(scope="module")
def shipping(team):
    """The team's gate and what each way to search is worth over its cases."""
    suite = open_suite(team.cases, team.work, team.folder, team.folder / "codecairn.toml", team.folder / "data")
    gate = run_gate(suite)
    return suite, gate, measure_worth(suite, [verdict.outcome.present_case for verdict in gate.run.report.verdicts])


MARK = "req"  # written apart, so that who reads the tests of this repository finds only its own marks


def write_tests(folder, rows, failing=()):
    """Write one test for each row, with the hooks of this repository's own tests; return the folder."""
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "conftest.py")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = req(*ids): rows\n")
    tests = [
        f"@pytest.mark.{MARK}({row!r})\ndef test_{number}():\n    assert {row not in failing}\n"
        for number, row in enumerate(rows)
    ]
    (folder / "test_rows.py").write_text("import pytest\n\n" + "\n".join(tests))
    return folder


@pytest.mark.req("V4", "V4.1", "V4.5", "V4.7", "V4.9", "E13")
def test_the_ship_gate_names_what_is_not_there_and_passes_only_when_all_nine_checks_hold(team, shipping, tmp_path):
    suite, gate, worth = shipping
    rows = [row for ids in ROWS.values() for row in ids]
    later = {"M7", "S4", "V3", "V10"}
    some = write_tests(tmp_path / "some", [row for row in rows if row not in later], failing=("F12",))
    decision = run_ship(gate, suite, worth, ["no BM25"], tmp_path, tests=partial(run_rows, tests=some, workers=1))
    checks = {check.id: check for check in decision.checks}
    assert list(checks) == list(ROWS)
    assert not decision.passed
    assert checks["V4.2"].failures == ("not there: no test shows M7",)
    assert checks["V4.7"].failures == ("not there: no test shows S4",)
    assert checks["V4.8"].failures == ("not there: no test shows V3, V10",)
    assert [f.split(":")[0] for f in checks["V4.4"].failures] == ["F12"]
    assert checks["V4.5"].failures == ("it is not shown that the gate refuses 'no BM25'",)
    assert [name for name, check in checks.items() if check.holds] == ["V4.1", "V4.3", "V4.6", "V4.9"]
    assert "ship: BLOCK, 4 of 9 hold" in str(decision)

    board = json.loads((tmp_path / "scoreboard.json").read_text("utf-8"))
    assert [check["holds"] for check in board["ship"]] == [checks[name].holds for name in list(ROWS)[:-1]]
    assert "FAIL not there: no test shows M7" in (tmp_path / "final-scoreboard.md").read_text("utf-8")
    assert "verified" in team.run("verify", decision.hash[:12], "--out", tmp_path)

    everything = next(row for row in worth if row.name == WHOLE)
    better = replace(everything, name="another", recall5=everything.recall5 + 0.03, loss=-0.03, low=-0.04, high=-0.01)
    assert list(better_ways([*worth, better])) == [
        f"recall@5 another is {better.recall5:.3f}, of what would ship {everything.recall5:.3f}"
    ]

    whole = write_tests(tmp_path / "whole", rows)
    assert run_ship(gate, suite, worth, [], tmp_path, tests=partial(run_rows, tests=whole, workers=1)).passed


def plant(check, gate, worth, shown, let_through):
    """Return what the ship gate is asked with, with one fault that this check has to see."""
    first, *rest = gate.run.report.verdicts
    everything = next(row for row in worth if row.name == WHOLE)
    faults = {
        "V4.1": {"trace_id": "01M7ZZZZZZZZZZZZZZZZZZZZZZ"},
        "V4.7": {"leaks": ("a secret",)},
    }
    if check in faults:
        verdict = replace(first, outcome=replace(first.outcome, **faults[check]))
        report = replace(gate.run.report, verdicts=(verdict, *rest))
        gate = replace(gate, run=replace(gate.run, report=report))
    if check == "V4.5":
        let_through = ["no BM25"]
    if check == "V4.6":
        worth = [*worth, replace(everything, name="another", recall5=everything.recall5 + 0.03, low=-0.04, high=-0.01)]
    if check == "V4.9":
        worth = [*worth, replace(everything, name="text alone", kind="list")]
    rows = {"V4.2": ("M8", Shown(failed=("it",))), "V4.3": ("P13", Shown()), "V4.4": ("F9", Shown(skipped=1))}
    rows["V4.8"] = ("V10", Shown(passed=1, failed=("it",)))
    if check in rows:
        shown = {**shown, rows[check][0]: rows[check][1]}
    return gate, worth, shown, let_through


@pytest.fixture(scope="module")
def inspected(shipping):
    suite, gate, _ = shipping
    return inspect_traces(gate, suite)


@pytest.mark.req("V4")
@pytest.mark.parametrize("check", ["", *ROWS])
def test_each_check_of_the_ship_gate_sees_its_own_fault_and_no_other(shipping, inspected, tmp_path, monkeypatch, check):
    suite, gate, worth = shipping
    if check != "V4.1":  # the others say nothing of the traces, and looking at them takes seconds
        monkeypatch.setattr("golden.ship.inspect_traces", lambda *given: inspected)
    shown = {row: Shown(passed=1) for ids in ROWS.values() for row in ids}
    gate, worth, shown, let_through = plant(check, gate, worth, shown, [])
    decision = run_ship(gate, suite, worth, let_through, tmp_path, tests=lambda _: shown)
    assert [one.id for one in decision.checks if not one.holds] == ([check] if check else [])
    assert decision.passed == (not check)


def test_the_ship_gate_needs_the_tests_of_a_clone(tmp_path):
    with pytest.raises(GoldenError, match="Run it in a clone"):
        run_rows(["F1"], tmp_path / "none")
    (tmp_path / "bare").mkdir()
    with pytest.raises(GoldenError, match="could not be run"):  # without the hooks there is no --rows
        run_rows(["F1"], tmp_path / "bare", workers=1)


@pytest.mark.req("V4.1", "T35", "D1")
def test_the_ship_gate_replays_every_trace_of_the_run_and_misses_the_one_that_is_gone(shipping):
    suite, gate, _ = shipping
    recorded = inspect_traces(gate, suite)
    assert recorded.faults == ()
    assert recorded.traces == len(gate.run.report.verdicts)
    assert recorded.replays == 2 * recorded.traces
    first, *rest = gate.run.report.verdicts
    lost = replace(first, outcome=replace(first.outcome, trace_id="01M7ZZZZZZZZZZZZZZZZZZZZZZ"))
    other = replace(gate, run=replace(gate.run, report=replace(gate.run.report, verdicts=(lost, *rest))))
    assert [fault.split(":")[0] for fault in inspect_traces(other, suite).faults] == [first.case.id]


@pytest.mark.req("V4.3")
def test_a_generation_without_its_prompt_is_seen(shipping):
    suite, gate, _ = shipping
    verdict = gate.run.report.verdicts[0]
    for service, _ in open_again(suite, [verdict.case]):
        trace = service.get_trace(verdict.outcome.trace_id, principal_for(service, verdict.case))
    assert not writes(trace)
    assert not is_versioned(trace)
    generated = replace(trace, spans=(*trace.spans, Span(99, None, "model", 0.0, 1.0, output={"text": "x"})))
    assert writes(generated)
    assert not is_versioned(generated)
    summary = replace(trace.summary, prompt_id="answer", prompt_version="v1", prompt_sha256="0" * 64)
    assert is_versioned(replace(generated, summary=summary))


@pytest.mark.req("E15", "V5")
def test_the_scoreboard_says_what_each_list_stage_transform_and_feature_is_worth(team, shipping):
    suite, _, worth = shipping
    names = {row.name: row for row in worth}
    assert {"text alone", "vector alone", "history alone", "lists joined", WHOLE, "with multi"} <= names.keys()
    assert names[WHOLE].ndcg > names["vector alone"].ndcg
    assert names[WHOLE].loss == 0
    off = [row for row in worth if row.kind == "without"]
    assert "without retriever text" in {row.name for row in off}
    assert [row.loss for row in off] == sorted((row.loss for row in off), reverse=True)
    text = team.run("report", "--out", team.folder / "ablated", "--ablate")
    assert "hash" in text
    board = json.loads((team.folder / "ablated" / "scoreboard.json").read_text("utf-8"))
    assert [row["name"] for row in board["ablations"]] == [row.name for row in worth]
    assert "what each part is worth" in (team.folder / "ablated" / "final-scoreboard.md").read_text("utf-8")


@pytest.mark.req("D5", "E17", "E22")
def test_a_failure_becomes_a_case_people_judge_answers_and_old_answers_are_judged_again(team):
    answer = json.loads(team.call("answer", "when are shops paid out", "--json"))
    trace = answer["trace_id"]
    promote = ("promote", trace, "--bucket", "conceptual", "--cites", "tollgate:tollgate/payout/schedule.py")
    line = team.run(*promote, "--note", "was asked in the channel", "--id", "payout-days")
    assert "payout-days in" in line
    case = next(case for case in load_cases(team.cases) if case.id == "payout-days")
    assert (case.origin, case.trace, case.query) == ("promoted", trace, "when are shops paid out")
    assert "already" in team.run(*promote, "--id", "payout-days", code=1)
    assert "no case" in team.run("promote", trace, "--bucket", "conceptual", code=1).lower()
    assert "no trace" in team.run("promote", "01M7ZZZZZZZZZZZZZZZZZZZZZZ", *promote[2:], code=1)

    old = team.run("rescore")
    assert trace in old
    assert "payout-days: as expected" in old
    assert "right place: " in old

    form = team.folder / "form.md"
    team.run("review", "--out", form, cases=False)
    text = form.read_text("utf-8")
    assert f"## trace {trace}" in text
    form.write_text(text.replace("verdict:\nnote:", "verdict: right\nnote: it is", 1), "utf-8")
    assert "1 verdicts stored" in team.run("review", "--read", form, "--author", "ada", cases=False)
    form.write_text(text.replace("verdict:\n", "verdict: splendid\n", 1), "utf-8")
    assert "'splendid' is no verdict" in team.run("review", "--read", form, "--author", "ada", cases=False, code=1)
    assert "--author" in team.run("review", "--read", form, cases=False, code=1)
    (team.cases / "promoted.jsonl").unlink()


def test_a_case_of_another_corpus_is_refused_with_the_name_of_its_own(team, tmp_path):
    row = {"id": "foreign", "bucket": "conceptual", "corpus": "codecairn", "query": "x", "expect": {"cites": ["a.py"]}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    own = ["golden", "run", "--cases", tmp_path, "--work", tmp_path]
    assert "of the corpus 'codecairn'" in team.call(*own, code=1)
