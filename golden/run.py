"""Ask every case of its corpus and note what came back: hits, answer, and what the stages of the answer recorded."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from golden.blame import Stages, present_names, read_stages, targets_of
from golden.case import Case, Expect, GoldenError
from golden.corpus import Corpus, build, make_setup, open_corpus, open_service, principal_of, search_pages
from golden.metrics import TOP
from ingest.access import Principal
from ingest.build import batched
from ingest.errors import IngestError, SourceError
from ingest.gitio import read_worktree_file
from ingest.index import Index
from mcp_server.access import make_filters
from mcp_server.config import Setup
from mcp_server.errors import ServerError
from mcp_server.results import AnswerRequest, AnswerResult, Citation, Hit, SearchResult
from mcp_server.service import Service
from traces.model import CONTENT_FULL

MAX_FILE_BYTES = 10_000_000
PAGE = 20  # hits: ten distinct files are mostly among them
PORTION = 32  # cases asked before their traces are waited for: a writer that is far behind would drop content
FLUSH_S = 120.0  # for the traces of a portion, also on a loaded machine


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the product did with one case."""

    case: Case
    files: tuple[str, ...]  # first ten distinct, as `source:path`, or as the case names them
    symbols: tuple[str, ...]  # definitions that start in the first ten hits, or that these belong to
    keys: tuple[str, ...]  # tickets and commits among the first ten hits
    cited: tuple[str, ...]  # `source:path:start-end` or key of each citation
    dangling: tuple[str, ...]  # citations whose lines are not in the tree now
    abstained: bool
    ungrounded: tuple[str, ...]
    search_ms: float
    answer_ms: float
    trace_id: str = ""
    answer: str = ""
    marked: tuple[str, ...] = ()  # citations that the answer itself marks as moved, changed or gone
    leaks: tuple[str, ...] = ()  # texts in any result that must not be there
    missing: tuple[str, ...] = ()  # what the case names and the index does not hold
    renamed: Mapping[str, str] = field(default_factory=dict)  # files that it wants -> what they are called now
    supported: int = 0  # claims that the ledger supports
    claims: int = 0
    stages: Stages = field(default_factory=Stages)
    generation: int = 0
    budget_tokens: int = 0  # of the context, as configured
    error: str = ""  # the call failed
    cost_usd: float | None = None  # None without a model or a price

    @property
    def expect(self) -> Expect:
        """What the case expects, by the names that its files have now."""
        return self.case.expect.with_names(self.renamed)

    @property
    def present_case(self) -> Case:
        """The case by the names that its files have now."""
        return self.case.model_copy(update={"expect": self.expect})


@dataclass(frozen=True, slots=True)
class Asked:
    """One corpus after its cases were asked, and what the results depend on."""

    corpus: str
    outcomes: tuple[Outcome, ...]
    content_hash: str  # of the index
    embedder: str
    config_hash: str
    settings: Mapping[str, Any]


# -- asking ------------------------------------------------------------------------------------------------------------


def ask_shipped(cases: Sequence[Case], data: Path, workers: int = 2) -> list[Asked]:
    """Build the shipped corpora that the cases name (below `data`, used again where unchanged) and ask every case.

    Each corpus has a process of its own; those with the most cases start first. Raises GoldenError.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.corpus, []).append(case)
    order = sorted(groups, key=lambda name: (-len(groups[name]), name))
    if len(order) < 2 or workers < 2:
        return [ask_corpus(groups[name], data, name) for name in order]
    context = multiprocessing.get_context("spawn")  # the index libraries have threads: a fork could hang
    with ProcessPoolExecutor(min(workers, len(order)), mp_context=context) as pool:
        return list(pool.map(partial(_ask_named, groups, data), order))


def _ask_named(groups: Mapping[str, Sequence[Case]], data: Path, name: str) -> Asked:
    return ask_corpus(groups[name], data, name)


def ask_corpus(cases: Sequence[Case], data: Path, name: str) -> Asked:
    """Build one shipped corpus and ask its cases. Raises GoldenError."""
    corpus = open_corpus(name, data)
    return ask_setup(make_setup(corpus.sources, data / name, corpus.settings), cases, corpus)


def ask_setup(setup: Setup, cases: Sequence[Case], corpus: Corpus) -> Asked:
    """Bring an index up to its sources and ask the cases of it."""
    with open_service(setup) as service:
        build(setup, service)
        corpus.after_build()
        return ask_cases(service, cases, corpus)


def ask_cases(service: Service, cases: Sequence[Case], corpus: Corpus) -> Asked:
    """Ask the cases of one open index."""
    outcomes = tuple(
        outcome for portion in batched(cases, PORTION) for outcome in ask_portion(service, portion, corpus)
    )
    with service.reading() as index:
        manifest = index.manifest
    return Asked(
        corpus=corpus.name,
        outcomes=outcomes,
        content_hash=manifest.content_hash,
        embedder=manifest.embedder,
        config_hash=service.setup.config_hash,
        settings=service.setup.snapshot(),
    )


def ask_portion(service: Service, cases: Sequence[Case], corpus: Corpus) -> Iterator[Outcome]:
    """Ask some cases, let their traces be written together, and yield what each did. Raises GoldenError."""
    answers = [ask(service, case, principal_for(service, case)) for case in cases]
    if not service.store.flush(FLUSH_S):
        raise GoldenError(
            f"The traces of {len(cases)} cases were not written within {FLUSH_S:.0f} s; is the disk full?"
        )
    for answer in answers:
        yield observe(service, answer, corpus.canaries)


def principal_for(service: Service, case: Case) -> Principal:
    """Return who asks: the local principal, or one with the groups of the case."""
    local = principal_of(service.setup)
    return Principal(local.id, frozenset(case.groups)) if case.groups else local


@dataclass(frozen=True, slots=True)
class Given:
    """What search and answer returned for one case, or why they did not."""

    case: Case
    principal: Principal
    pages: tuple[SearchResult, ...] = ()
    search_ms: float = 0.0
    answer: AnswerResult | None = None
    error: str = ""


def ask_case(service: Service, case: Case, principal: Principal, canaries: Sequence[str] = ()) -> Outcome:
    """Search and answer one case, and look at what came back."""
    return observe(service, ask(service, case, principal), canaries)


def ask(service: Service, case: Case, principal: Principal) -> Given:
    """Search and answer one case; a refusal is kept."""
    started = time.perf_counter()
    pages: list[SearchResult] = []
    try:
        for page in search_pages(
            service, case.query, principal, sources=case.sources, product=case.product, limit=PAGE
        ):
            pages.append(page)
            if len({(hit.source, hit.path) for found in pages for hit in found.hits if hit.path}) >= TOP:
                break
        search_ms = (time.perf_counter() - started) * 1000
        request = AnswerRequest(case.query, case.sources, case.product)
        answer = service.answer(request, principal, entry="eval", use_cache=False)
    except (IngestError, ServerError) as error:
        return Given(case, principal, error=str(error))
    return Given(case, principal, tuple(pages), search_ms, answer)


def observe(service: Service, given: Given, canaries: Sequence[str]) -> Outcome:
    """Return what the product did with one case, with what the trace of the answer says of it.

    An answer whose trace holds no content is an error: nothing could be said of its stages.
    """
    case, principal, answer = given.case, given.principal, given.answer
    if answer is None:
        return Outcome(case, (), (), (), (), (), False, (), 0.0, 0.0, error=given.error)
    hits = [hit for page in given.pages for hit in page.hits]
    with service.reading(principal) as index:
        filters = make_filters(principal, service.infos(index))
        renamed = present_names(index, case.expect.cites, filters)
        expect = case.expect.with_names(renamed)
        targets = targets_of(index, expect, filters)
        symbols = tuple(shown_symbols(index, hits[:TOP]))
        trace = service.get_trace(answer.trace_id, principal)
        stages = read_stages(trace, index, targets.chunk_ids)
    kept = trace.summary.content
    hidden = (*case.expect.hides, *(() if case.groups else canaries))  # other groups may see the restricted words
    forbidden = [text for text in hidden if text.lower() not in case.query.lower()]
    return Outcome(
        case=case,
        files=tuple(rank_files(expect, hits)),
        symbols=symbols,
        keys=tuple(hit.key for hit in hits[:TOP] if hit.key),
        cited=tuple(place(citation) for citation in answer.citations),
        dangling=tuple(find_dangling(service, answer.citations)),
        abstained=answer.abstained,
        ungrounded=tuple(list_ungrounded(answer)),
        search_ms=given.search_ms,
        answer_ms=answer.latency_ms,
        trace_id=answer.trace_id,
        answer=answer.answer,
        marked=tuple(place(c) for c in answer.citations if c.freshness in ("moved", "changed", "gone")),
        leaks=tuple(find_leaks([*given.pages, answer], forbidden)),
        missing=targets.missing,
        renamed=renamed,
        supported=sum(claim.verdict in ("supported", "misattributed") for claim in answer.claims),
        claims=len(answer.claims),
        stages=stages,
        generation=answer.generation,
        budget_tokens=service.setup.settings.answer.budget_tokens,
        cost_usd=float(trace.summary.cost_usd) if trace.summary.cost_usd is not None else None,
        error="" if kept == CONTENT_FULL else f"its trace holds no content ({kept}), so that no stage can be judged",
    )


def shown_symbols(index: Index, hits: Sequence[Hit]) -> Iterator[str]:
    """Yield the definitions that start in the chunks of some hits, and those that the chunks belong to."""
    for hit, chunk in zip(hits, index.chunks([hit.chunk_id for hit in hits]), strict=True):
        yield from (symbol.qualname for symbol in chunk.symbols)
        if hit.symbol:
            yield hit.symbol


def find_leaks(results: Iterable[SearchResult | AnswerResult], forbidden: Sequence[str]) -> Iterator[str]:
    """Yield each text that stands anywhere in what was returned: hits, answer, citations, nearest names, notes."""
    if not forbidden:
        return
    shown = json.dumps([asdict(result) for result in results], ensure_ascii=False, default=str).lower()
    for text in forbidden:
        if json.dumps(text, ensure_ascii=False)[1:-1].lower() in shown:
            yield text


def rank_files(expect: Expect, hits: Sequence[Hit]) -> list[str]:
    """Return the first ten distinct files as `source:path`; a wanted one is written as the case writes it."""
    return name_files(expect, [(hit.source, hit.path) for hit in hits if hit.path])


def name_files(expect: Expect, files: Iterable[tuple[str, str]]) -> list[str]:
    """Return the first ten distinct of some files, (source, path), as `source:path` or as the case writes them."""
    wanted = {*expect.cites, *expect.not_cites}
    ordered = list(dict.fromkeys(files))[:TOP]
    return [path if path in wanted else f"{source}:{path}" for source, path in ordered]


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
            lines = read_worktree_file(root, citation.path, MAX_FILE_BYTES).count(b"\n") + 1
        except (SourceError, OSError) as error:  # whatever it is, the pointer does not open
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
