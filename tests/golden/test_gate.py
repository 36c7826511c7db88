"""The gate passes what is good, and is seen to refuse what is bad (A7)."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from golden.case import BUCKETS, Case, Expect
from golden.gate import REGRESSIONS, Floor, decide, find_failures
from golden.run import Outcome, Report, judge, render_case, render_stats

FLOORS = {bucket: Floor(cases=3, pass_rate=0.7, ndcg=0.5) for bucket in BUCKETS}


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
    )
    return replace(good, **changes)


def make_report(**changes: object) -> Report:
    """A report over three cases per bucket."""
    return Report(
        tuple(judge(make_outcome(bucket, number, **changes)) for bucket in BUCKETS for number in (1, 2, 3)), seconds=1.0
    )


def test_a_good_run_passes():
    gate = decide(make_report(), FLOORS)
    assert gate.failures == ()
    assert "gate: PASS" in str(gate)


@pytest.mark.req("A7", "E4")
@pytest.mark.parametrize("name", REGRESSIONS)
def test_each_seeded_regression_is_refused(name):
    broken = Report(tuple(judge(REGRESSIONS[name](v.outcome)) for v in make_report().verdicts), 1.0)
    assert find_failures(broken, FLOORS), f"{name} was let through"


@pytest.mark.req("A7")
def test_a_gate_whose_floors_see_nothing_refuses_to_pass():
    blind = {bucket: Floor(cases=0, pass_rate=0.0, ndcg=0.0) for bucket in BUCKETS}
    failures = decide(make_report(), blind).failures
    assert any("was let through" in failure for failure in failures)


@pytest.mark.req("E19", "A4")
def test_a_figure_that_is_not_a_number_fails():
    report = make_report()
    ranking = replace(report.verdicts[0].ranking, ndcg=math.nan)
    broken = replace(report, verdicts=(replace(report.verdicts[0], ranking=ranking), *report.verdicts[1:]))
    assert any("NDCG@10 nan" in failure for failure in find_failures(broken, FLOORS))


@pytest.mark.req("E19")
def test_an_empty_run_fails():
    assert len(find_failures(Report((), 0.0), FLOORS)) >= len(BUCKETS)


@pytest.mark.req("A1", "E14")
@pytest.mark.parametrize(
    "changes", [{"dangling": ("src:a.py:900-901",)}, {"abstained": False, "ungrounded": ("Vault",)}]
)
def test_confidently_wrong_answers_come_first_in_the_report_and_block(changes):
    report = make_report(**changes)
    assert render_stats(report).startswith("confidently wrong: ")
    assert any("confidently wrong" in failure for failure in find_failures(report, FLOORS))


@pytest.mark.req("E11")
def test_false_abstention_is_shown_beside_the_rate():
    report = make_report(abstained=True)
    assert "false abstain" in render_stats(report)
    assert report.stats()[0].abstained_answerable == 2


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
    suite = ElementTree.fromstring(decide(make_report(files=("<&>",)), FLOORS).to_junit())
    assert suite.get("tests") == "12"
    assert int(suite.get("failures", "0")) == len(suite.findall("testcase/failure")) == 8
