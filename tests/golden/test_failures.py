"""The register of known failures: each entry has a cause of the enumeration and a case that watches over it."""

import pytest

from golden.case import GoldenError, load_cases
from golden.failures import Failure, find_unwatched, load_failures


@pytest.mark.req("D12")
def test_every_known_failure_has_a_case_of_the_golden_set():
    assert list(find_unwatched(load_failures(), [case.id for case in load_cases()])) == []


@pytest.mark.req("D12")
def test_an_entry_without_a_case_is_named():
    entry = Failure(symptom="A thing is not found.", cause="truncated", case="no-such-case")
    (found,) = find_unwatched([entry], ["another"])
    assert "'no-such-case' is no golden case" in found


@pytest.mark.req("D12", "D4")
@pytest.mark.parametrize(
    "line",
    [
        '{"symptom": "A thing is not found.", "cause": "bad luck", "fix": "", "case": "a"}',
        '{"symptom": "A thing is not found.", "cause": "truncated", "fix": ""}',
        "no json",
    ],
)
def test_an_entry_with_an_unknown_cause_or_without_a_case_is_refused_with_its_line(tmp_path, line):
    register = tmp_path / "failures.jsonl"
    register.write_text('{"symptom": "A thing is lost.", "cause": "truncated", "case": "a"}\n' + line + "\n")
    with pytest.raises(GoldenError, match=r"failures.jsonl:2"):
        load_failures(register)
