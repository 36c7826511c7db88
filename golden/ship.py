"""The ship gate (V4): nine checks, each over what was really run now. What is not there yet fails and is named.

A check has two kinds of evidence: the tests of its rows of the requirements catalogue, run here, and what the golden
run left (traces, figures, scoreboard). A row that no test shows counts against its check, whatever else holds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from golden.case import GoldenError
from golden.compare import MAX_RECALL_LOSS, ship_failures
from golden.corpus import ROOT
from golden.gate import Gate
from golden.run import principal_for
from golden.scoreboard import verify_scoreboard, write_scoreboard
from golden.suite import Suite, open_again
from golden.worth import WHOLE, Worth, weak_lists
from mcp_server.errors import NotFound, ServerError
from mcp_server.replay import Mode, Replayer
from traces.model import Trace
from traces.verify import find_faults

TESTS = ROOT / "tests"
TEST_MINUTES = 60
REPLAYED: tuple[Mode, ...] = ("verify", "re-retrieve")


def series(letter: str, first: int, last: int) -> tuple[str, ...]:
    """Return the ids of some rows in a line."""
    return tuple(f"{letter}{number}" for number in range(first, last + 1))


ROWS: Mapping[str, tuple[str, ...]] = {  # as in the catalogue's table of the ship gate
    "V4.1": (*series("T", 1, 38), "D1"),
    "V4.2": ("M6", "M6.1", "M6.2", "M6.3", "M6.4", "M6.5", "M7", "M8"),
    "V4.3": ("P3", "P13"),
    "V4.4": series("F", 1, 24),
    "V4.5": ("E4", "E14"),
    "V4.6": ("E13",),
    "V4.7": series("S", 1, 14),
    "V4.8": ("V3", "V10"),
    "V4.9": ("V5",),
}
TITLES: Mapping[str, str] = {
    "V4.1": "every query writes a complete trace and can be replayed",
    "V4.2": "cost page with all five dimensions and budget alert",
    "V4.3": "prompt version on every generation",
    "V4.4": "every failure row has a passing fault-injection test",
    "V4.5": "golden set passes the floors, ten planted regressions are refused",
    "V4.6": "recall and cost within bounds of the best configuration",
    "V4.7": "access, redaction and injection: no leak",
    "V4.8": "deployed behind a proxy, go-live checklist green",
    "V4.9": "scoreboard written and verified by hash",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the ship gate: what speaks for it, and what against it."""

    id: str
    failures: tuple[str, ...]
    evidence: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Tell whether nothing speaks against it."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        return {**asdict(self), "title": TITLES[self.id], "holds": self.holds}

    def __str__(self) -> str:
        lines = [f"{self.id} {'holds' if self.holds else 'FAILS'}  {TITLES[self.id]}"]
        lines += [f"      {text}" for text in self.evidence]
        lines += [f"      FAIL {text}" for text in self.failures]
        return "\n".join(lines)


# -- the tests of some rows --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """What the tests of one row said."""

    passed: int = 0
    skipped: int = 0
    failed: tuple[str, ...] = ()


def run_rows(rows: Sequence[str], tests: Path = TESTS, workers: int = 2) -> dict[str, Shown]:
    """Run the tests of some rows of the catalogue; what each row shows. Raises GoldenError where they cannot be run."""
    if not tests.exists():
        raise GoldenError(f"There are no tests at {tests}: the ship gate runs them. Run it in a clone of CodeCairn.")
    with tempfile.TemporaryDirectory(prefix="codecairn-ship-") as scratch:
        report = Path(scratch) / "junit.xml"
        options = ["-q", "-p", "no:cacheprovider", "--rows", " ".join(rows), f"--junitxml={report}"]
        spread = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []
        command = [sys.executable, "-m", "pytest", str(tests), *options, *spread]
        done = subprocess.run(
            command, cwd=tests.parent, capture_output=True, text=True, timeout=TEST_MINUTES * 60, check=False
        )
        if not report.is_file():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise GoldenError(f"The tests of the ship gate could not be run: {' '.join(last) or 'no output'}.")
        return read_rows(report.read_text("utf-8"), rows)


def read_rows(junit: str, rows: Sequence[str]) -> dict[str, Shown]:
    """Return what a JUnit report shows for each row; a skipped test shows nothing."""
    shown = dict.fromkeys(rows, Shown())
    for test in ET.fromstring(junit).iter("testcase"):
        name = f"{test.get('classname', '')}::{test.get('name', '')}"
        ids = [p.get("value", "") for p in test.iter("property") if p.get("name") == "rows"]
        bad = any(test.find(outcome) is not None for outcome in ("failure", "error"))
        idle = test.find("skipped") is not None
        for row in {row for text in ids for row in text.split()} & shown.keys():
            one = shown[row]
            shown[row] = Shown(
                one.passed + (not bad and not idle), one.skipped + idle, (*one.failed, *([name] if bad else []))
            )
    return shown


def row_failures(rows: Sequence[str], shown: Mapping[str, Shown]) -> Iterator[str]:
    """Yield what the tests of a check's rows say against it."""
    missing = [row for row in rows if not shown[row].passed and not shown[row].failed]
    if missing:
        yield f"not there: no test shows {', '.join(missing)}"
    for row in rows:
        for name in shown[row].failed:
            yield f"{row}: {name} fails"


# -- what the run left -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the traces of a run say."""

    traces: int = 0
    replays: int = 0
    generations: int = 0  # calls of a model that wrote something
    faults: tuple[str, ...] = ()  # missing, incomplete, or not the same again
    unversioned: tuple[str, ...] = ()  # a generation without prompt id, version and hash


def inspect_traces(gate: Gate, suite: Suite) -> Recorded:
    """Check and replay the trace of every answer of a run."""
    ids = {verdict.case.id: verdict.outcome.trace_id for verdict in gate.run.report.verdicts}
    total, faults, unversioned, replays, generations = 0, list[str](), list[str](), 0, 0
    for service, cases in open_again(suite, [verdict.case for verdict in gate.run.report.verdicts]):
        for case in cases:
            principal = principal_for(service, case)
            try:
                trace = service.get_trace(ids[case.id], principal)
            except NotFound as error:
                faults.append(f"{case.id}: {error}")
                continue
            total += 1
            faults += [str(fault) for fault in find_faults(trace)]
            if writes(trace):
                generations += 1
                unversioned += [] if is_versioned(trace) else [f"{case.id}: the generation names no prompt version"]
            differing, done = replay_all(Replayer(service, principal), trace)
            replays += done
            faults += differing
    return Recorded(total, replays, generations, tuple(faults), tuple(unversioned))


def replay_all(replayer: Replayer, trace: Trace) -> tuple[list[str], int]:
    """Replay one trace in the modes that ask no model; return what differs or cannot be done, and how many ran."""
    found, done = list[str](), 0
    for mode in REPLAYED:
        try:
            replay = replayer.replay(trace.summary.id, mode)
        except ServerError as error:
            found.append(f"{trace.summary.id}: {error}")
            continue
        done += 1
        if not replay.is_same:
            found.append(f"{trace.summary.id}: {mode} differs at {replay.diff.first or 'the result'}")
    return found, done


def writes(trace: Trace) -> bool:
    """Tell whether a model wrote something for this trace."""
    return any(span.name == "model" and span.output for span in trace.spans)


def is_versioned(trace: Trace) -> bool:
    """Tell whether a trace says which prompt was sent."""
    row = trace.summary
    return bool(row.prompt_id and row.prompt_version and row.prompt_sha256)


# -- the gate ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShipGate:
    """All nine checks."""

    checks: tuple[Check, ...]
    hash: str  # of the scoreboard

    @property
    def passed(self) -> bool:
        """Tell whether all hold."""
        return all(check.holds for check in self.checks)

    def __str__(self) -> str:
        held = sum(check.holds for check in self.checks)
        verdict = "ship: PASS" if self.passed else f"ship: BLOCK, {held} of {len(self.checks)} hold"
        return "\n".join((*map(str, self.checks), f"scoreboard {self.hash}", verdict))


def run_ship(
    gate: Gate,
    suite: Suite,
    worth: Sequence[Worth],
    let_through: Sequence[str],
    out: Path,
    *,
    tests: Callable[[Sequence[str]], Mapping[str, Shown]] = run_rows,
) -> ShipGate:
    """Decide over a run that the gate judged; write the scoreboard with the checks. Raises GoldenError.

    `let_through`: planted faults of which it is not shown that the gate refuses them.
    """
    shown = tests(tuple(row for rows in ROWS.values() for row in rows))
    recorded = inspect_traces(gate, suite)
    own = {
        "V4.1": (list(recorded.faults), f"{recorded.traces} traces are whole, {recorded.replays} replays"),
        "V4.3": (list(recorded.unversioned), f"{recorded.generations} generations in the run"),
        "V4.5": (
            [*gate.failures, *(f"it is not shown that the gate refuses {name!r}" for name in let_through)],
            f"{gate.run.report.overall().passed} of {gate.run.report.overall().cases} cases pass",
        ),
        "V4.6": ([*ship_failures(suite.baseline(), gate.run.to_baseline()), *better_ways(worth)], best_way(worth)),
        "V4.7": (
            [f"{v.case.id}: a leak" for v in gate.run.report.verdicts if v.outcome.leaks],
            f"{gate.run.report.overall().leaks} leaks in the run",
        ),
    }
    checks = [make_check(name, shown, *own.get(name, ([], ""))) for name in ROWS if name != "V4.9"]
    board = write_scoreboard(gate, suite, out, worth, [check.to_dict() for check in checks], [*map(str, checks)])
    problems = [*verify_scoreboard(board, suite), *weak_lists(worth)]
    checks.append(make_check("V4.9", shown, problems, f"hash {board['hash'][:12]} verified"))
    return ShipGate(tuple(checks), board["hash"])


def make_check(name: str, shown: Mapping[str, Shown], failures: Sequence[str], evidence: str) -> Check:
    """Return one check over its rows and what the run says."""
    rows = ROWS[name]
    tests = f"{sum(shown[row].passed for row in rows)} passing tests show {describe_rows(rows)}"
    against = (*row_failures(rows, shown), *failures)
    return Check(name, against, tuple(text for text in (evidence if not failures else "", tests) if text))


def describe_rows(rows: Sequence[str]) -> str:
    """Return row ids in short."""
    return rows[0] if len(rows) == 1 else f"rows {rows[0]} to {rows[-1]}"


def better_ways(worth: Sequence[Worth]) -> Iterator[str]:
    """Yield a sentence for each way to search that finds more than what would ship (N9), and not by chance."""
    whole = next((row for row in worth if row.name == WHOLE), None)
    for row in worth:
        if whole and row.high < 0 and not row.recall5 - whole.recall5 <= MAX_RECALL_LOSS:
            yield f"recall@5 {row.name} is {row.recall5:.3f}, of what would ship {whole.recall5:.3f}"


def best_way(worth: Sequence[Worth]) -> str:
    """Return which way to search finds most."""
    best = max(worth, key=lambda row: row.recall5, default=None)
    return f"best recall@5 of {len(worth)} ways to search: {best.recall5:.3f} ({best.name})" if best else ""
