"""`codecairn bench search`: questions with known files, asked of their corpora, of rivals too, and scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from golden.bench import BenchError
from golden.bench.ablation import Ablated, ablations, sort_by_worth
from golden.bench.blame import Bad, blame
from golden.bench.comparison import Difference, compare, score_all
from golden.bench.corpora import (
    VARIANTS,
    Corpus,
    EmbedderKind,
    Variant,
    bench_setup,
    default_cache,
    ensure_built,
    find_corpora,
)
from golden.bench.economy import PAGE_HITS, Reading, read_files, read_hits, summarise
from golden.bench.probing import opened, probe
from golden.bench.questions import Question, group_ids, load_questions
from golden.bench.report import Asked, Group, RivalReport, SearchBench, VariantRun
from golden.bench.rivals import Rival, RivalAnswer, RivalRun, RivalSpec, start_rivals
from golden.corpus import code_fingerprint, open_service, principal_of, search_pages
from golden.machine import read_machine
from golden.metrics import TOP, RankMetrics, first_distinct, mean_metrics, percentile
from ingest.access import Principal
from mcp_server.config import Setup
from mcp_server.results import SearchRequest
from mcp_server.service import MAX_LIMIT, Service

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run of `bench search` does beyond asking."""

    variants: tuple[str, ...] = ("root",)
    rivals: tuple[RivalSpec, ...] = ()
    embedder: EmbedderKind = "static"
    limit: int = 0  # questions; 0 = all
    ablate: bool = False
    worst: int = 0  # questions to explain


@dataclass(slots=True)
class Collected:
    """What one variant gathers, corpus by corpus."""

    asked: list[Asked] = field(default_factory=list)
    readings: dict[str, Reading] = field(default_factory=dict)
    file_readings: dict[str, dict[str, Reading]] = field(default_factory=dict)  # rival -> question -> reading
    ablated: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)  # what is off -> question -> paths
    corpora: dict[str, Corpus] = field(default_factory=dict)  # question -> corpus
    index_s: float = 0.0
    embedder: str = ""


def run_search(
    cases: Sequence[Path],
    corpora: Path,
    plan: Plan | None = None,
    *,
    cache: Path | None = None,
    say: Say = lambda _: None,
) -> SearchBench:
    """Ask every question of its corpus, and of rivals, and score the files found.

    `corpora` holds one folder `<owner>__<name>-<first 12 of commit>` per corpus. Indexes are kept in `cache` and used
    again while corpus, settings and the code of the write path are the same. Raises BenchError.
    """
    plan = plan or Plan()
    unknown = [name for name in plan.variants if name not in VARIANTS]
    if unknown:
        raise BenchError(f"There is no variant {unknown[0]!r}. Variants: {', '.join(VARIANTS)}.")
    questions = load_questions(cases, plan.limit)
    base = cache or default_cache()
    runs = [run_variant(questions, corpora, VARIANTS[name], plan, base, say) for name in dict.fromkeys(plan.variants)]
    return SearchBench(tuple(runs), read_machine(), compare_variants(questions, runs))


def compare_variants(questions: Sequence[Question], runs: Sequence[VariantRun]) -> dict[str, tuple[Difference, ...]]:
    """Return the paired differences of each later variant to the first one."""
    first, *later = runs
    base = {asked.question.id: asked.paths for asked in first.asked}
    return {
        f"{run.variant} - {first.variant}": tuple(
            compare(questions, {asked.question.id: asked.paths for asked in run.asked}, base)
        )
        for run in later
    }


def run_variant(
    questions: Sequence[Question], corpora: Path, variant: Variant, plan: Plan, cache: Path, say: Say
) -> VariantRun:
    """Ask all questions in one variant: first CodeCairn, then each rival, corpus by corpus."""
    made_by = (code_fingerprint(),)
    places = list(find_corpora(questions, corpora, variant, cache))
    collected = Collected()
    with ExitStack() as stack:
        rivals = start_rivals(plan.rivals)
        for rival, _ in rivals:
            if rival is not None:
                stack.enter_context(rival)
        for rival, run in rivals:
            name_rival(rival, run)
        for number, corpus in enumerate(places, 1):
            setup = bench_setup(corpus.sources, cache, made_by, plan.embedder)
            seconds = ask_corpus(collected, corpus, setup, plan)
            step = f"{variant.name} [{number}/{len(places)}] {corpus.name}"
            say(f"{step}: {len(corpus.questions)} questions, indexed in {seconds:.1f} s")
            for rival, run in rivals:
                ask_rival(rival, run, corpus, collected)
        worst = explain_worst(questions, collected, cache, made_by, plan)
    return make_run(variant, questions, collected, [run for _, run in rivals], worst)


def ask_corpus(collected: Collected, corpus: Corpus, setup: Setup, plan: Plan) -> float:
    """Ask one corpus its questions; return the seconds that its index took."""
    with open_service(setup) as service:
        seconds = ensure_built(setup, service)
        collected.index_s += seconds
        collected.embedder = service.embedder.id if service.embedder else ""
        principal = principal_of(setup)
        for question in corpus.questions:
            collected.corpora[question.id] = corpus
            answer, reading = ask(service, principal, question, corpus)
            collected.asked.append(answer)
            collected.readings[question.id] = reading
        if plan.ablate:
            ask_ablated(collected, corpus, service)
    return seconds


def ask_ablated(collected: Collected, corpus: Corpus, service: Service) -> None:
    """Ask the questions again with each retriever and feature off."""
    with opened(service) as index:
        for question in corpus.questions:
            for name, weights in ablations():
                paths = probe(service, index, question.query, weights, corpus.asks).paths(corpus.prefix)
                collected.ablated.setdefault(name, {})[question.id] = tuple(paths[:TOP])


def ask(service: Service, principal: Principal, question: Question, corpus: Corpus) -> tuple[Asked, Reading]:
    """Ask one question: once for what an agent would read, once timed, once for the first ten distinct files."""
    prefix = corpus.prefix
    kinds = (corpus.asks,) if question.designs else ()  # an agent that wants the one kind of two says so
    request = SearchRequest(question.query, sources=kinds)
    page = service.search(replace(request, limit=PAGE_HITS), principal, entry="eval")  # warms up, too
    shown = service.search(replace(request, limit=MAX_LIMIT), principal, entry="eval")
    started = time.perf_counter()
    service.search(request, principal, entry="eval")
    duration_ms = (time.perf_counter() - started) * 1000
    paths: list[str] = []
    for more in search_pages(service, question.query, principal, sources=(corpus.asks,)):
        paths = first_distinct([*paths, *(f"{prefix}{hit.path}" for hit in more.hits if hit.path)])
        if len(paths) == TOP:
            break
    return Asked(question, tuple(paths), duration_ms), read_hits(page, shown, question.query, prefix)


def name_rival(rival: Rival | None, run: RivalRun) -> None:
    """Let a rival say what it is; one that cannot is out, with its reason."""
    if rival is not None:
        try:
            run.label = rival.start()
        except BenchError as error:
            run.failure = str(error)


def ask_rival(rival: Rival | None, run: RivalRun, corpus: Corpus, collected: Collected) -> None:
    """Let a rival index a corpus and ask it the questions; after its first failure it is asked no more."""
    if rival is None or run.failure:
        return
    prefix = f"{corpus.root}/" if corpus.root else ""  # a rival always gets the folder itself
    try:
        run.index_s += rival.index(corpus.path, corpus.asks)
        for question in corpus.questions:
            answer = rival.ask(question.query)
            paths = first_distinct(answer.paths)
            run.answers[question.id] = RivalAnswer(tuple(f"{prefix}{path}" for path in paths), answer.duration_ms)
            if run.spec.reads_files:
                reading = read_files(corpus.path, paths, prefix)
                collected.file_readings.setdefault(run.spec.name, {})[question.id] = reading
    except BenchError as error:
        run.failure = str(error)


def explain_worst(
    questions: Sequence[Question], collected: Collected, cache: Path, made_by: Sequence[str], plan: Plan
) -> list[Bad]:
    """Return the questions with the lowest NDCG, and which stage lost their files."""
    paths = {asked.question.id: asked.paths for asked in collected.asked}
    scores = score_all(questions, paths)
    worst = sorted(scores, key=lambda name: (scores[name].ndcg, name))[: plan.worst]
    by_id = {question.id: question for question in questions}
    found: list[Bad] = []
    for name in worst:
        corpus, question = collected.corpora[name], by_id[name]
        setup = bench_setup(corpus.sources, cache, made_by, plan.embedder)
        with open_service(setup) as service, opened(service) as index:
            result = probe(service, index, question.query, kind=corpus.asks)
            blamed = blame(result, question, corpus.prefix, setup.settings.answer.budget_tokens)
        found.append(Bad(question, scores[name].ndcg, tuple(paths[name][:3]), tuple(blamed)))
    return found


def make_run(
    variant: Variant,
    questions: Sequence[Question],
    collected: Collected,
    rivals: Sequence[RivalRun],
    worst: Sequence[Bad],
) -> VariantRun:
    """Score what was collected."""
    order = {question.id: place for place, question in enumerate(questions)}
    asked = sorted(collected.asked, key=lambda item: order[item.question.id])
    paths = {item.question.id: item.paths for item in asked}
    times = [item.duration_ms for item in asked]
    off = [Ablated(name, tuple(compare(questions, paths, other))) for name, other in collected.ablated.items()]
    economies = [summarise("five concise hits at a time", questions, collected.readings)]
    economies += [summarise(f"{n} + whole files", questions, read) for n, read in collected.file_readings.items()]
    return VariantRun(
        variant=variant.name,
        asked=tuple(asked),
        groups=tuple(group_metrics(questions, score_all(questions, paths))),
        rivals=tuple(score_rival(questions, paths, run) for run in rivals),
        economies=tuple(economies),
        ablated=tuple(sort_by_worth(off)),
        worst=tuple(worst),
        p50_ms=percentile(times, 0.5),
        p95_ms=percentile(times, 0.95),
        index_s=collected.index_s,
        embedder=collected.embedder,
    )


def score_rival(questions: Sequence[Question], ours: dict[str, tuple[str, ...]], run: RivalRun) -> RivalReport:
    """Score a rival on the questions, and take the paired differences; one that failed has neither."""
    if run.failure:
        return RivalReport(run.spec.name, run.label, failure=run.failure)
    theirs = {name: answer.paths for name, answer in run.answers.items()}
    times = [answer.duration_ms for answer in run.answers.values()]
    return RivalReport(
        name=run.spec.name,
        label=run.label,
        groups=tuple(group_metrics(questions, score_all(questions, theirs))),
        differences=tuple(compare(questions, ours, theirs)),
        answers=theirs,
        p50_ms=percentile(times, 0.5),
        p95_ms=percentile(times, 0.95),
        index_s=run.index_s,
    )


def group_metrics(questions: Sequence[Question], scores: dict[str, RankMetrics]) -> Iterator[Group]:
    """Yield the means of all answerable questions and of each group."""
    for (by, name), ids in group_ids(questions).items():
        yield Group(by, name, len(ids), mean_metrics([scores[i] for i in ids]))
