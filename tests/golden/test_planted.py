"""Ten faults are planted into the running product and the gate refuses each; without one it passes ten times."""

from __future__ import annotations

import pytest

from golden.baseline import write_baseline
from golden.case import GoldenError
from golden.planted import FAULTS, Fault, core_cases, judge_core, planted, prepare_ground, try_fault
from golden.results import render_case
from golden.suite import Suite
from mcp_server.cli.golden import try_faults

SUITE = Suite()
CORE = core_cases(SUITE)
REASONS = {
    "bad chunker": "worse than the baseline: passed",
    "no BM25": "text_leg",
    "swapped prompt": "another text of the prompt 'answer'",
    "stale index": "stale, it names",
    "access control off": "a leak of",
    "no dedupe": "stand in the context twice",
    "wrong embedder": "vector_leg",
    "no freshness check": "cites as fresh what has changed",
    "abstention off": "of what nothing answers",
    "budget ignored": "its budget is",
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """The organisation and its index, shared by all faults that are not faults of the build."""
    return prepare_ground(tmp_path_factory.mktemp("ground"))


def test_there_are_ten_faults_and_24_cases():
    assert len(FAULTS) == 10
    assert len(CORE) == 24


@pytest.mark.req("E4", "E20")
def test_without_a_fault_the_gate_passes_ten_times_with_the_same_words(ground):
    gates = [judge_core(ground, CORE, SUITE) for _ in range(10)]
    assert [gate.failures for gate in gates] == [()] * 10
    assert len({"".join(render_case(v) for v in gate.run.report.verdicts) for gate in gates}) == 1


@pytest.mark.req("A7", "E4", "V4")
@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_refused_for_its_own_reason(name, ground, tmp_path):
    failures = try_fault(FAULTS[name], CORE, ground, tmp_path / "ground", SUITE).failures
    assert any(REASONS[name] in failure for failure in failures), failures


@pytest.mark.req("A7")
def test_a_fault_that_never_fires_proves_nothing():
    idle = Fault("idle", asking=lambda fired: [])
    with pytest.raises(GoldenError, match="never fired"), planted(idle.asking):
        pass


@pytest.mark.req("A7")
def test_faults_show_nothing_where_the_gate_blocks_without_one(tmp_path, capsys):
    other = CORE[0].model_copy(update={"query": "something else"})
    (tmp_path / "cases.jsonl").write_text(f"{other.to_line()}\n", "utf-8")
    write_baseline(SUITE.baseline(), tmp_path / "baseline.jsonl")
    with pytest.raises(SystemExit):
        try_faults(Suite(tmp_path, tmp_path / "work"))
    assert "Without any fault the gate blocks already" in capsys.readouterr().err
