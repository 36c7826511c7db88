"""The gate passes what is good, and is seen to refuse what is bad (A7)."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from golden.baseline import Dimensions, read_baseline, write_baseline
from golden.blame import Stages
from golden.case import BUCKETS, Case, Expect, GoldenError, Removed
from golden.gate import decide
from golden.judge import judge
from golden.results import render_case, render_stats, to_junit
from golden.run import Outcome
from golden.stats import Report
from golden.suite import BucketFloor, Floors, OverallFloor, Run, read_floors, write_floors

FLOORS = Floors(bucket={bucket: BucketFloor(cases=3, pass_rate=0.7, right=0.5, ndcg=0.5) for bucket in BUCKETS})
PROMPTS = {"answer": "one"}
RANKS = {"search.text": 1, "search.vector": 2, "fusion": 1, "rerank": 1, "context": 1}


def make_outcome(bucket: str, number: int, **changes: object) -> Outcome:
    """An outcome as a good product gives it; the third of a bucket asks what nothing answers."""
    absent = number == 3
    expect = Expect(abstain=True, ungrounded_contains=("vault",)) if absent else Expect(cites=(f"{number}.py",))
    case = Case(
        id=f"{bucket}-{number}",
        bucket=bucket,
        tags=("unanswerable",) if absent else (),
        corpus="codecairn",
        query="?",
        expect=expect,
    )
    others = tuple(f"other{place}.md" for place in range(9))
    good = Outcome(
        case=case,
        files=others if absent else (f"{number}.py", *others),
        symbols=(),
        keys=(),
        cited=() if absent else (f"src:{number}.py:1-2",),
        dangling=(),
        abstained=absent,
        ungrounded=("Vault (not_found)",) if absent else (),
        search_ms=1.0,
        answer_ms=2.0,
        answer="" if absent else "It is there.",
        stages=Stages() if absent else Stages(RANKS, {"search.text": 5}, 100),
        budget_tokens=500,
        supported=0 if absent else 2,
        claims=0 if absent else 2,
    )
    return replace(good, **changes)


def make_report(**changes: object) -> Report:
    """A report over three cases per bucket."""
    return Report(
        tuple(judge(make_outcome(bucket, number, **changes)) for bucket in BUCKETS for number in (1, 2, 3)), seconds=1.0
    )


def make_run(report: Report | None = None, **changes: object) -> Run:
    """A run over a report."""
    return Run(report or make_report(**changes), Dimensions(prompts=PROMPTS), made_at="2026-01-01T00:00:00Z")


BASELINE = make_run().to_baseline()


def failures_of(run: Run, **more: object) -> str:
    """Everything that speaks against a run."""
    return "\n".join(decide(run, FLOORS, BASELINE, **more).failures)


def without(report: Report, case_id: str) -> Report:
    """A report without one of its cases."""
    return replace(report, verdicts=tuple(v for v in report.verdicts if v.case.id != case_id))


@pytest.mark.req("E4")
def test_a_good_run_passes():
    gate = decide(make_run(), FLOORS, BASELINE)
    assert gate.failures == ()
    assert "gate: PASS" in str(gate)


@pytest.mark.req("E4", "A7")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"files": ("x.py",)}, "NDCG@10"),
        ({"cited": ("src:x.py:1-2",)}, "cite the right source"),
        ({"abstained": True}, "abstains from"),
        ({"abstained": False}, "of what nothing answers"),
        ({"leaks": ("hidden",)}, "a leak of 1 texts"),
        ({"missing": ("a.py",)}, "stale, it names a.py"),
        ({"dangling": ("src:a.py:900-901",)}, "lines that are not there"),
        ({"stages": Stages(RANKS, {}, 900)}, "its budget is 500"),
        ({"stages": Stages(RANKS, {}, 100, repeats=2)}, "stand in the context twice"),
        ({"stages": Stages({**RANKS, "search.text": 0})}, "worse than the baseline: text_leg"),
        ({"stages": Stages({**RANKS, "search.vector": 90})}, "worse than the baseline: vector_leg"),
        ({"error": "no index"}, "the call failed"),
    ],
)
def test_each_kind_of_fault_blocks_with_its_reason(changes, reason):
    assert reason in failures_of(make_run(**changes))


@pytest.mark.req("E19", "A4")
def test_a_figure_that_is_not_a_number_fails():
    report = make_report()
    ranking = replace(report.verdicts[0].ranking, ndcg=math.nan)
    broken = replace(report, verdicts=(replace(report.verdicts[0], ranking=ranking), *report.verdicts[1:]))
    reasons = failures_of(make_run(broken))
    assert "NDCG@10 nan" in reasons
    assert "worse than the baseline: ndcg" in reasons


@pytest.mark.req("E19")
def test_an_empty_run_and_a_missing_figure_fail():
    assert len(failures_of(make_run(Report((), 0.0))).splitlines()) >= len(BUCKETS)
    gone = {**RANKS}
    del gone["search.vector"]
    assert "vector_leg" in failures_of(make_run(stages=Stages(gone)))


@pytest.mark.req("E4")
def test_a_case_may_go_with_a_reason_only_and_a_new_or_edited_one_wants_a_baseline():
    report = make_report()
    lost = without(report, "conceptual-1")
    assert "1 cases of the baseline are gone without a reason" in failures_of(make_run(lost))
    removed = (Removed(id="conceptual-1", reason="its subject is gone for good"),)
    assert "without a reason" not in failures_of(make_run(lost), removed=removed)
    assert "1 removed for a reason" in render_stats(report, 1)
    first, *rest = report.verdicts
    edited = judge(replace(first.outcome, case=first.case.model_copy(update={"query": "other"})))
    assert "ask something else" in failures_of(make_run(replace(report, verdicts=(edited, *rest))))
    before = make_run(lost).to_baseline()
    assert "1 cases are not in the baseline, conceptual-1" in "\n".join(decide(make_run(), FLOORS, before).failures)


@pytest.mark.req("P7")
def test_another_prompt_than_the_accepted_one_blocks():
    run = replace(make_run(), dimensions=Dimensions(prompts={"answer": "two"}))
    assert "another text of the prompt 'answer'" in failures_of(run)


def test_times_of_other_hardware_are_not_compared():
    other = BASELINE.model_copy(update={"machine": "a fast one"})
    gate = decide(make_run(), FLOORS, other)
    assert gate.passed
    assert "other hardware (a fast one)" in str(gate)


def test_a_baseline_survives_being_stored_and_a_broken_one_says_what_to_do(tmp_path):
    write_baseline(BASELINE, tmp_path / "baseline.jsonl")
    assert read_baseline(tmp_path / "baseline.jsonl") == BASELINE
    (tmp_path / "baseline.jsonl").write_text("no JSON", "utf-8")
    with pytest.raises(GoldenError, match="golden update"):
        read_baseline(tmp_path / "baseline.jsonl")
    with pytest.raises(GoldenError, match="`codecairn golden update` writes one"):
        read_baseline(tmp_path / "none.jsonl")


def test_floors_are_written_below_what_a_run_shows(tmp_path):
    write_floors(make_report(), tmp_path / "floors.toml")
    floors = read_floors(tmp_path / "floors.toml")
    assert floors.bucket["conceptual"] == BucketFloor(cases=1, pass_rate=0.33, right=0.33, ndcg=0.33)
    assert floors.overall == OverallFloor(confident_wrong=0.17, false_abstain=0.17, answered_anyway=0.2)
    (tmp_path / "floors.toml").write_text("[bucket.other]\ncases = 1\n", "utf-8")
    with pytest.raises(GoldenError, match="no bucket 'other'"):
        read_floors(tmp_path / "floors.toml")


@pytest.mark.req("A1", "E14")
@pytest.mark.parametrize(
    "changes", [{"dangling": ("src:a.py:900-901",)}, {"abstained": False, "ungrounded": ("Vault",)}]
)
def test_confidently_wrong_answers_come_first_in_the_report_and_block(changes):
    report = make_report(**changes)
    assert render_stats(report).startswith("confidently wrong: ")
    assert "confidently wrong" in failures_of(make_run(report))


@pytest.mark.req("E11")
def test_false_abstention_is_shown_beside_the_rate():
    report = make_report(abstained=True)
    assert "false abst." in render_stats(report)
    assert "answ. anyway" in render_stats(report)
    assert report.stats()[0].false_abstain == 1.0


def test_the_text_of_a_case_says_rank_and_verdict_and_repeats():
    verdict = judge(make_outcome("conceptual", 2))
    text = render_case(verdict)
    assert "2.py at 1" in text
    assert text.endswith("PASS\n")
    assert text == render_case(judge(replace(verdict.outcome, search_ms=99.0, answer_ms=99.0, trace_id="other")))


def test_a_failing_case_names_every_problem():
    verdict = judge(make_outcome("conceptual", 1, files=("x.py",), dangling=("src:1.py:9-9",)))
    assert "FAIL none of 1.py among the first 5 files" in render_case(verdict)
    assert "FAIL cites lines that are not there: src:1.py:9-9" in render_case(verdict)


@pytest.mark.req("E20")
def test_the_result_is_written_as_junit_xml():
    suite = ElementTree.fromstring(to_junit(make_report(files=("<&>",))))
    assert suite.get("tests") == "12"
    assert int(suite.get("failures", "0")) == len(suite.findall("testcase/failure")) == 8
