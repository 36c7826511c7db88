"""Results for people: one readable text per case and `stats.txt`, the same run after run; JUnit XML for CI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from golden.blame import STAGES
from golden.judge import Verdict
from golden.metrics import percentile, wilson
from golden.stats import BucketStats, Report

COLUMNS = (
    ("right", "right"),
    ("ndcg@10", "ndcg"),
    ("hit@5", "hit5"),
    ("recall@5", "recall5"),
    ("mrr", "mrr"),
    ("faithful", "faithfulness"),
    ("covered", "covered"),
    ("false abst.", "false_abstain"),
    ("answ. anyway", "answered_anyway"),
)


def render_case(verdict: Verdict) -> str:
    """Return one case for a reader: question, rank of the target, files, what it admits. The same run after run."""
    outcome, case = verdict.outcome, verdict.case
    ranks = [f"{path} at {rank_of(path, outcome.files)}" for path in outcome.expect.cites]
    wanted = [*ranks, *(f"ticket {key}" for key in case.expect.tickets), *(f"says {t!r}" for t in case.expect.shows)]
    lines = [
        f"{case.id}  [{', '.join((case.bucket, *case.tags))}]  of {case.corpus}, {case.origin}",
        f"? {case.query}",
        *([f"note: {case.note}"] if case.note else []),
        *([f"reference: {case.expect.answer}"] if case.expect.answer else []),
        f"expected: {'; '.join(wanted) or ('to abstain' if case.expect.abstain else 'see symbols')}",
        *(f"renamed: {old} is {new} now; correct the case" for old, new in sorted(outcome.renamed.items())),
        "files:",
        *(f"  {number}. {path}" for number, path in enumerate(outcome.files, 1)),
        "cited: " + (", ".join(mark(cited, outcome.marked) for cited in outcome.cited) or "nothing"),
        "abstained" if outcome.abstained else "answered" + (", with a warning" * (outcome.stages.zone == "warn")),
        "ungrounded:",
        *(f"  - {text}" for text in outcome.ungrounded or ("none",)),
        "right place in: " + (render_ranks(verdict) or "no stage"),
        "PASS" if verdict.passed else "\n".join(f"FAIL {problem}" for problem in verdict.problems),
        *([f"to blame: {verdict.blame}"] if verdict.blame else []),
    ]
    return "\n".join(lines) + "\n"


def mark(cited: str, marked: Sequence[str]) -> str:
    """Return a citation, with a word where the answer says that it is not fresh."""
    return f"{cited} (marked as stale)" if cited in marked else cited


def render_ranks(verdict: Verdict) -> str:
    """Return the rank of the right place in each stage that has it."""
    return ", ".join(f"{name} #{rank}" for name, rank in sorted(verdict.outcome.stages.ranks.items()) if rank)


def rank_of(path: str, files: Sequence[str]) -> str:
    """Return a rank for people."""
    return str(files.index(path) + 1) if path in files else "none of ten"


def render_stats(report: Report, removed: int = 0) -> str:
    """Return the figures: the worst kind of error first, then who is to blame, then each bucket."""
    overall = report.overall()
    low, high = wilson(overall.confident_wrong, overall.cases)
    mined = sum(v.case.origin == "mined" for v in report.verdicts)
    return (
        "\n".join(
            (
                f"confidently wrong: {overall.confident_wrong} of {overall.cases} (95 % {low:.2f}-{high:.2f})",
                f"cases: {overall.cases}, {mined} of them mined; {removed} removed for a reason, {overall.stale} stale",
                f"leaks: {overall.leaks}",
                "",
                *render_blame(report),
                "",
                f"{'':14}{'cases':>6}{'passed':>8}{'95 %':>12}" + "".join(f"{title:>13}" for title, _ in COLUMNS),
                *(render_bucket(row) for row in (*report.stats(), overall)),
            )
        )
        + "\n"
    )


def render_bucket(row: BucketStats) -> str:
    """Return one line of figures."""
    low, high = wilson(row.passed, row.cases)
    figures = "".join(f"{getattr(row, name):13.3f}" for _, name in COLUMNS)
    return f"{row.bucket:14}{row.cases:6d}{row.passed:8d}{f'{low:.2f}-{high:.2f}':>12}{figures}"


def render_blame(report: Report) -> list[str]:
    """Return how often each stage is to blame, per bucket: retrieval is looked at before any model (A3, V7)."""
    rows = [("to blame", report.blame()), *((row.bucket, report.blame(row.bucket)) for row in report.stats())]
    return [
        f"{name:14}" + ("  ".join(f"{stage} {counts[stage]}" for stage in STAGES if stage in counts) or "nobody")
        for name, counts in rows
    ]


def render_times(report: Report) -> str:
    """Return how long it took; apart from the figures, which repeat exactly."""
    search = [verdict.outcome.search_ms for verdict in report.verdicts]
    answer = [verdict.outcome.answer_ms for verdict in report.verdicts]
    half, most = percentile(answer, 0.5), percentile(answer, 0.95)
    return (
        f"{len(report.verdicts)} cases in {report.seconds:.1f} s, indexing included; "
        f"search p50 {percentile(search, 0.5):.0f} ms; answer p50 {half:.0f} ms, p95 {most:.0f} ms"
    )


def write_results(report: Report, folder: Path, removed: int = 0) -> None:
    """Write one readable text per case and `stats.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.txt"):
        old.unlink()
    for verdict in report.verdicts:
        (folder / f"{verdict.case.id}.txt").write_text(render_case(verdict), "utf-8")
    (folder / "stats.txt").write_text(render_stats(report, removed), "utf-8")


def to_junit(report: Report) -> str:
    """Return the cases as JUnit XML."""
    rows = "".join(junit_case(verdict) for verdict in report.verdicts)
    failed = sum(not verdict.passed for verdict in report.verdicts)
    return f'<testsuite name="golden" tests="{len(report.verdicts)}" failures="{failed}">{rows}</testsuite>\n'


def junit_case(verdict: Verdict) -> str:
    """Return one case as XML."""
    seconds = (verdict.outcome.search_ms + verdict.outcome.answer_ms) / 1000
    names = f"classname={quoteattr(verdict.case.bucket)} name={quoteattr(verdict.case.id)}"
    head = f"<testcase {names} time={quoteattr(f'{seconds:.3f}')}"
    if verdict.passed:
        return f"{head}/>"
    return f"{head}><failure>{escape('; '.join(verdict.problems))}</failure></testcase>"
