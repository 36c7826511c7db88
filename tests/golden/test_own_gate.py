"""A team's own gate on the command line: mine, accept, decide, compare, report, and cases made of failures."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from golden.case import BUCKETS, load_cases
from golden.organisation import build_organisation
from mcp_server.cli import app

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


@pytest.mark.req("P7", "V7")
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


@pytest.mark.req("V4", "V5")
def test_a_scoreboard_is_verified_by_its_hash_and_a_changed_one_is_not(team):
    out = team.folder / "reports"
    line = team.run("report", "--out", out)
    board = json.loads((out / "scoreboard.json").read_text("utf-8"))
    assert board["hash"] in line
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
