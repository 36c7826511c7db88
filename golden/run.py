"""Ask every case of its corpus and judge what came back: search by rank, answers by what they cite and admit."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from golden.case import BUCKETS, Case
from golden.corpus import build, corpus_sources, make_setup, open_service, principal_of, search_pages
from golden.metrics import TOP, RankMetrics, mean, percentile, score_ranking, wilson
from ingest.access import Principal
from ingest.gitio import read_worktree_file
from mcp_server.results import AnswerRequest, AnswerResult, Citation, Hit
from mcp_server.service import Service

CLOSE = 5  # a target among the first five hits is found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the product did with one case."""

    case: Case
    files: tuple[str, ...]  # first ten distinct, as `source:path`, or as the case names them
    symbols: tuple[str, ...]  # of the first ten hits
    keys: tuple[str, ...]  # tickets and commits among the first ten hits
    cited: tuple[str, ...]  # `source:path:start-end` or key of each citation
    dangling: tuple[str, ...]  # citations whose lines are not in the tree now
    abstained: bool
    ungrounded: tuple[str, ...]
    search_ms: float
    answer_ms: float
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome judged: empty `problems` = the case passes."""

    outcome: Outcome
    ranking: RankMetrics | None  # None where the case names no file
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems

    @property
    def is_confidently_wrong(self) -> bool:
        """Tell whether it answered where it should not have, or pointed at what is not there (E14)."""
        outcome = self.outcome
        answered_anyway = outcome.case.expect.abstain is True and not outcome.abstained
        return answered_anyway or bool(outcome.dangling) or any("forbidden" in text for text in self.problems)


# -- asking ------------------------------------------------------------------------------------------------------------


def run_cases(cases: Sequence[Case], data: Path) -> list[Outcome]:
    """Build the corpora that the cases name (below `data`, used again where unchanged) and ask every case."""
    outcomes = []
    with ExitStack() as stack:
        for corpus in sorted({case.corpus for case in cases}):
            setup = make_setup(corpus_sources(corpus), data / corpus)
            service = stack.enter_context(open_service(setup))
            build(setup, service)
            principal = principal_of(setup)
            outcomes += [ask_case(service, case, principal) for case in cases if case.corpus == corpus]
    return sorted(outcomes, key=lambda outcome: outcome.case.id)


def ask_case(service: Service, case: Case, principal: Principal) -> Outcome:
    """Search and answer one case."""
    started = time.perf_counter()
    hits: list[Hit] = []
    for page in search_pages(service, case.query, principal, sources=case.sources, product=case.product):
        hits += page.hits
        if len({(hit.source, hit.path) for hit in hits if hit.path}) >= TOP:
            break
    search_ms = (time.perf_counter() - started) * 1000
    request = AnswerRequest(case.query, case.sources, case.product)
    answer = service.answer(request, principal, entry="eval", use_cache=False)
    return Outcome(
        case=case,
        files=tuple(rank_files(case, hits)),
        symbols=tuple(hit.symbol for hit in hits[:TOP] if hit.symbol),
        keys=tuple(hit.key for hit in hits[:TOP] if hit.key),
        cited=tuple(place(citation) for citation in answer.citations),
        dangling=tuple(find_dangling(service, answer.citations)),
        abstained=answer.abstained,
        ungrounded=tuple(list_ungrounded(answer)),
        search_ms=search_ms,
        answer_ms=answer.latency_ms,
        trace_id=answer.trace_id,
    )


def rank_files(case: Case, hits: Sequence[Hit]) -> list[str]:
    """Return the first ten distinct files as `source:path`; a wanted one is written as the case writes it."""
    wanted = {*case.expect.cites, *case.expect.not_cites}
    files = {(hit.source, hit.path) for hit in hits if hit.path}
    ordered = [pair for pair in dict.fromkeys((hit.source, hit.path) for hit in hits) if pair in files]
    return [path if path in wanted else f"{source}:{path}" for source, path in ordered[:TOP] if path]


def place(citation: Citation) -> str:
    """Return where a citation points."""
    if citation.path is None:
        return str(citation.key)
    return f"{citation.source}:{citation.path}:{citation.start_line}-{citation.end_line}"


def find_dangling(service: Service, citations: Sequence[Citation]) -> Iterator[str]:
    """Yield citations whose lines are not there; what the product itself marks as gone or changed is honest."""
    roots = {source.name: source.path for source in service.setup.settings.source}
    for citation in citations:
        root = roots.get(citation.source)
        if citation.path is None or root is None or citation.freshness not in ("fresh", "unchecked"):
            continue
        try:
            lines = read_worktree_file(root, citation.path, 10_000_000).count(b"\n") + 1
        except Exception as error:  # whatever it is, the pointer does not open
            yield f"{place(citation)} ({error})"
            continue
        if not 1 <= citation.start_line <= citation.end_line <= lines:
            yield place(citation)


def list_ungrounded(answer: AnswerResult) -> Iterator[str]:
    """Yield each ungrounded part and each name that exists nowhere, with its reason and nearest names."""
    for item in answer.ungrounded:
        yield f"{item.text} ({item.verdict}: {item.reason})" + nearest(item.nearest)
    for name in answer.not_found:
        yield f"not found: {name.name}" + nearest(name.nearest)


def nearest(names: Sequence[str]) -> str:
    """Return the nearest names for people."""
    return f"; nearest: {', '.join(names)}" if names else ""


# -- judging -----------------------------------------------------------------------------------------------------------


def judge(outcome: Outcome) -> Verdict:
    """Compare an outcome with what its case expects."""
    wanted = outcome.case.expect.cites
    ranking = score_ranking(wanted, outcome.files) if wanted else None
    return Verdict(outcome, ranking, tuple(find_problems(outcome, ranking)))


def find_problems(outcome: Outcome, ranking: RankMetrics | None) -> Iterator[str]:
    """Yield a sentence for everything that is not as expected."""
    expect = outcome.case.expect
    if expect.abstain is not None and expect.abstain != outcome.abstained:
        yield "abstained from an answerable question" if outcome.abstained else "answered what it should abstain from"
    if ranking is not None and not ranking.hit5:
        yield f"none of {', '.join(expect.cites)} among the first {CLOSE} files"
    for symbol in expect.symbols:
        if not any(is_symbol(symbol, found) for found in outcome.symbols):
            yield f"symbol {symbol} is not among the first {TOP} hits"
    for key in expect.tickets:
        if key not in outcome.keys:
            yield f"ticket {key} is not among the first {TOP} hits"
    for path in expect.not_cites:
        if any(is_in_file(path, cited) for cited in outcome.cited):
            yield f"cites the forbidden {path}"
    for text in expect.ungrounded_contains:
        if not any(text.lower() in item.lower() for item in outcome.ungrounded):
            yield f"does not say that {text!r} is ungrounded"
    for cited in outcome.dangling:
        yield f"cites lines that are not there: {cited}"


def is_symbol(wanted: str, found: str) -> bool:
    """Tell whether a found qualified name is the wanted one or ends in it."""
    return found == wanted or found.endswith(f".{wanted}")


def is_in_file(path: str, cited: str) -> bool:
    """Tell whether a citation points into a file, given with or without its source."""
    file = cited.rpartition(":")[0]
    return file == path or file.partition(":")[2] == path


@dataclass(frozen=True, slots=True)
class BucketStats:
    """Figures of one bucket; NaN where nothing could be measured."""

    bucket: str
    cases: int
    passed: int
    ndcg: float
    hit5: float
    mrr: float
    confident_wrong: int
    abstained_answerable: int

    @property
    def pass_rate(self) -> float:
        """Share of cases without a problem; NaN without cases."""
        return self.passed / self.cases if self.cases else float("nan")


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    verdicts: tuple[Verdict, ...]
    seconds: float

    def stats(self) -> list[BucketStats]:
        """Return the figures per bucket."""
        groups: Mapping[str, list[Verdict]] = group_by_bucket(self.verdicts)
        return [summarise(bucket, groups[bucket]) for bucket in BUCKETS]


def group_by_bucket(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    """Return the verdicts of each bucket; a bucket without cases is there, empty."""
    groups: dict[str, list[Verdict]] = defaultdict(list, {bucket: [] for bucket in BUCKETS})
    for verdict in verdicts:
        groups[verdict.outcome.case.bucket].append(verdict)
    return groups


def summarise(bucket: str, verdicts: Sequence[Verdict]) -> BucketStats:
    """Return the figures of one bucket."""
    rankings = [verdict.ranking for verdict in verdicts if verdict.ranking is not None]
    answerable = [verdict for verdict in verdicts if verdict.outcome.case.expect.abstain is False]
    return BucketStats(
        bucket=bucket,
        cases=len(verdicts),
        passed=sum(verdict.passed for verdict in verdicts),
        ndcg=mean(ranking.ndcg for ranking in rankings),
        hit5=mean(ranking.hit5 for ranking in rankings),
        mrr=mean(ranking.mrr for ranking in rankings),
        confident_wrong=sum(verdict.is_confidently_wrong for verdict in verdicts),
        abstained_answerable=sum(verdict.outcome.abstained for verdict in answerable),
    )


def run_golden(cases: Sequence[Case], data: Path) -> Report:
    """Run and judge all cases."""
    started = time.perf_counter()
    verdicts = tuple(judge(outcome) for outcome in run_cases(cases, data))
    return Report(verdicts, time.perf_counter() - started)


# -- writing for people ------------------------------------------------------------------------------------------------


def render_case(verdict: Verdict) -> str:
    """Return one case for a reader: question, rank of the target, files, what it admits. The same run after run."""
    outcome, case = verdict.outcome, verdict.outcome.case
    ranks = [f"{path} at {rank_of(path, outcome.files)}" for path in case.expect.cites]
    lines = [
        f"{case.id}  [{case.bucket}{''.join(f', {tag}' for tag in case.tags)}]  of {case.corpus}",
        f"? {case.query}",
        *([f"note: {case.note}"] if case.note else []),
        f"expected: {'; '.join(ranks) or ('to abstain' if case.expect.abstain else 'see symbols and tickets')}",
        "files:",
        *(f"  {number}. {path}" for number, path in enumerate(outcome.files, 1)),
        "cited: " + (", ".join(outcome.cited) or "nothing"),
        "abstained" if outcome.abstained else "answered",
        "ungrounded:",
        *(f"  - {text}" for text in outcome.ungrounded or ("none",)),
        "PASS" if verdict.passed else "\n".join(f"FAIL {problem}" for problem in verdict.problems),
    ]
    return "\n".join(lines) + "\n"


def rank_of(path: str, files: Sequence[str]) -> str:
    """Return a rank for people."""
    return str(files.index(path) + 1) if path in files else "none of ten"


def render_stats(report: Report) -> str:
    """Return the figures per bucket, the worst kind of error first."""
    stats = report.stats()
    total = len(report.verdicts)
    wrong = sum(row.confident_wrong for row in stats)
    low, high = wilson(wrong, total)
    head = f"{'':14}{'cases':>6}{'passed':>8}{'95 %':>14}{'ndcg@10':>9}{'hit@5':>7}{'mrr':>7}{'false abstain':>15}"
    lines = [f"confidently wrong: {wrong} of {total} (95 % {low:.2f}-{high:.2f})", "", head]
    for row in stats:
        low, high = wilson(row.passed, row.cases)
        lines.append(
            f"{row.bucket:14}{row.cases:6d}{row.passed:8d}{f'{low:.2f}-{high:.2f}':>14}"
            f"{row.ndcg:9.3f}{row.hit5:7.2f}{row.mrr:7.3f}{row.abstained_answerable:15d}"
        )
    return "\n".join(lines) + "\n"


def render_times(report: Report) -> str:
    """Return how long it took; apart from the figures, which repeat exactly."""
    search = [verdict.outcome.search_ms for verdict in report.verdicts]
    answer = [verdict.outcome.answer_ms for verdict in report.verdicts]
    half, most = percentile(answer, 0.5), percentile(answer, 0.95)
    return (
        f"{len(report.verdicts)} cases in {report.seconds:.1f} s, indexing included; "
        f"search p50 {percentile(search, 0.5):.0f} ms; answer p50 {half:.0f} ms, p95 {most:.0f} ms"
    )


def write_results(report: Report, folder: Path) -> None:
    """Write one readable text per case and `stats.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.txt"):
        old.unlink()
    for verdict in report.verdicts:
        (folder / f"{verdict.outcome.case.id}.txt").write_text(render_case(verdict), "utf-8")
    (folder / "stats.txt").write_text(render_stats(report), "utf-8")
