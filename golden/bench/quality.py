"""`codecairn bench search`: questions with known files, asked of their corpora and scored."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from golden.bench import BenchError
from golden.corpus import build, code_fingerprint, fingerprint, make_setup, open_service, principal_of, search_pages
from golden.machine import MachineFacts, read_machine
from golden.metrics import NAMES, TOP, RankMetrics, first_distinct, mean_metrics, percentile, score_ranking
from ingest.config import SourceConfig
from mcp_server.config import Setup, source_name
from mcp_server.results import SearchRequest
from mcp_server.service import Service


class Gold(BaseModel):
    """One right place; no lines = the file as a whole."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    path: str
    start: int | None = None
    end: int | None = None


class Question(BaseModel):
    """One line of a case file: a query about one commit of one repository."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: str
    repo: str
    commit: str
    root: str = ""
    bucket: str
    query: str
    gold: tuple[Gold, ...]
    meta: dict[str, Any] = {}

    @property
    def folder(self) -> str:
        """Name of the corpus below the folder of corpora."""
        return f"{self.repo.replace('/', '__')}-{self.commit[:12]}"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with what was found: the first ten distinct files, relative to the repository."""

    question: Question
    paths: tuple[str, ...]
    abstained: bool
    duration_ms: float  # of one warm `search_code` of eight hits, in process

    @property
    def metrics(self) -> RankMetrics | None:
        """The metrics of an answerable question."""
        wanted = [gold.path for gold in self.question.gold]
        return score_ranking(wanted, self.paths) if wanted else None


@dataclass(frozen=True, slots=True)
class Group:
    """Mean metrics of one group of answerable questions."""

    by: str
    name: str
    n: int
    metrics: RankMetrics


@dataclass(frozen=True, slots=True)
class SearchBench:
    """Result of `bench search`."""

    asked: tuple[Asked, ...]
    groups: tuple[Group, ...]
    p50_ms: float
    p95_ms: float
    index_s: float  # for the corpora that were not indexed yet
    embedder: str
    whole_repo: bool
    machine: MachineFacts

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "groups": [{"by": g.by, "name": g.name, "n": g.n, **rounded(asdict(g.metrics))} for g in self.groups],
            "unanswerable": sum(1 for a in self.asked if not a.question.gold),
            "abstained_when_unanswerable": sum(1 for a in self.asked if not a.question.gold and not a.paths),
            "latency_ms": {"p50": round(self.p50_ms, 2), "p95": round(self.p95_ms, 2)},
            "index_s": round(self.index_s, 1),
            "embedder": self.embedder,
            "whole_repo": self.whole_repo,
            "machine": asdict(self.machine),
        }

    def predictions(self) -> Iterator[str]:
        """Yield one JSON line per question: id and the first ten distinct files."""
        for asked in self.asked:
            yield json.dumps({"id": asked.question.id, "paths": list(asked.paths)})

    def __str__(self) -> str:
        lines = [" " * 24 + f"{'n':>6}" + "".join(f"{name:>9}" for name in ("ndcg@10", *NAMES[1:]))]
        for by in dict.fromkeys(group.by for group in self.groups):
            lines += ["", f"by {by}"] if by != "all" else []
            lines += [group_line(group) for group in self.groups if group.by == by]
        lines += ["", f"search_code in process: p50 {self.p50_ms:.1f} ms, p95 {self.p95_ms:.1f} ms"]
        lines += [f"embedder: {self.embedder or 'none'}; indexing this time: {self.index_s:.1f} s", str(self.machine)]
        return "\n".join(lines)


def group_line(group: Group) -> str:
    """Return one row of the table."""
    return f"{group.name:24.24}{group.n:6d}" + "".join(f"{getattr(group.metrics, name):9.3f}" for name in NAMES)


def rounded(values: Mapping[str, float], digits: int = 4) -> dict[str, float | None]:
    """Return values rounded; NaN is null, never zero."""
    return {name: None if math.isnan(value) else round(value, digits) for name, value in values.items()}


def run_search(
    cases: Sequence[Path],
    corpora: Path,
    *,
    whole_repo: bool = False,
    cache: Path | None = None,
    embedder: Literal["static", "none"] = "static",
    say: Callable[[str], None] = lambda _: None,
) -> SearchBench:
    """Ask every question of its corpus and score the files found.

    `corpora` holds one folder `<owner>__<name>-<first 12 of commit>` per corpus. `whole_repo` indexes the whole git
    repository with its history in place of the question's root as a plain folder. Indexes are kept in `cache` and used
    again while corpus, settings and the code of the write path are the same. Raises BenchError.
    """
    questions = [question for file in cases for question in load_questions(file)]
    by_corpus: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in questions:
        by_corpus[question.folder, "" if whole_repo else question.root].append(question)
    started_code = code_fingerprint()
    base = cache or default_cache()
    asked: list[Asked] = []
    index_s, embedder_id = 0.0, ""
    for number, ((folder, root), group) in enumerate(sorted(by_corpus.items()), 1):
        source = corpus_source(corpora, folder, root, whole_repo)
        setup = bench_setup(source, base, (started_code, embedder), embedder)
        with open_service(setup) as service:
            seconds = ensure_built(setup, service)
            index_s += seconds
            say(f"[{number}/{len(by_corpus)}] {folder}/{root}: {len(group)} questions, indexed in {seconds:.1f} s")
            embedder_id = service.embedder.id if service.embedder else ""
            asked += [ask(service, setup, question, root) for question in group]
    order = {question.id: place for place, question in enumerate(questions)}
    asked.sort(key=lambda item: order[item.question.id])
    times = [item.duration_ms for item in asked]
    return SearchBench(
        asked=tuple(asked),
        groups=tuple(group_metrics(asked)),
        p50_ms=percentile(times, 0.5),
        p95_ms=percentile(times, 0.95),
        index_s=index_s,
        embedder=embedder_id,
        whole_repo=whole_repo,
        machine=read_machine(),
    )


def load_questions(file: Path) -> list[Question]:
    """Read a case file. Raises BenchError with the line."""
    questions = []
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise BenchError(f"The case file {file} cannot be read ({error.strerror}).") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                questions.append(Question.model_validate_json(line))
            except ValidationError as error:
                raise BenchError(f"{file}:{number} is no case: {error.errors()[0]['msg']}.") from error
    return questions


def corpus_source(corpora: Path, folder: str, root: str, whole_repo: bool) -> SourceConfig:
    """Return a corpus as a source. Raises BenchError when it is not there."""
    path = corpora / folder / root
    if not path.is_dir():
        raise BenchError(f"There is no corpus {path}. Lay it there, or give the right folder with --corpora.")
    return SourceConfig(name=source_name(folder), type="git" if whole_repo else "folder", path=path)


def default_cache() -> Path:
    """Return where indexes of benchmarks are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "codecairn" / "bench"


def bench_setup(
    source: SourceConfig, cache: Path, made_by: tuple[str, ...], embedder: Literal["static", "none"] = "static"
) -> Setup:
    """Return the defaults for one source, with a data directory named after everything that the index depends on."""
    setup = make_setup((source,), cache)
    settings = setup.settings.model_copy(
        update={"embedding": setup.settings.embedding.model_copy(update={"kind": embedder})}
    )
    key = fingerprint([*made_by, source.model_dump_json(), settings.index.model_dump_json()])
    return make_setup((source,), cache / f"{source.name[:40]}-{key}", settings)


def ensure_built(setup: Setup, service: Service) -> float:
    """Build an index unless a finished one is there; return the seconds that it took."""
    done = setup.data_dir / "bench.done"
    if done.exists():
        return 0.0
    shutil.rmtree(setup.data_dir, ignore_errors=True)
    started = time.perf_counter()
    build(setup, service)
    seconds = time.perf_counter() - started
    done.write_text(f"{seconds:.3f}\n", "utf-8")
    return seconds


def ask(service: Service, setup: Setup, question: Question, root: str) -> Asked:
    """Ask one question: once timed as an agent would, once for the first ten distinct files."""
    principal = principal_of(setup)
    service.search(SearchRequest(question.query), principal, entry="eval")  # warm, as in a running server
    started = time.perf_counter()
    service.search(SearchRequest(question.query), principal, entry="eval")
    duration_ms = (time.perf_counter() - started) * 1000
    prefix = f"{root.rstrip('/')}/" if root else ""
    paths: list[str] = []
    for page in search_pages(service, question.query, principal, sources=("code",)):
        paths = first_distinct([*paths, *(f"{prefix}{hit.path}" for hit in page.hits if hit.path)])
        if len(paths) == TOP:
            break
    return Asked(question, tuple(paths), not paths, duration_ms)


def group_metrics(asked: Sequence[Asked]) -> Iterator[Group]:
    """Yield the means of all answerable questions and per bucket, repository and category."""
    keys: dict[str, Callable[[Question], str]] = {
        "all": lambda q: "ALL",
        "bucket": lambda q: q.bucket,
        "repo": lambda q: q.repo,
        "category": lambda q: str(q.meta.get("category", "")),
    }
    scored = [(item.question, metrics) for item in asked if (metrics := item.metrics)]
    for by, key in keys.items():
        groups: dict[str, list[RankMetrics]] = defaultdict(list)
        for question, metrics in scored:
            groups[key(question)].append(metrics)
        for name in sorted(filter(None, groups)):
            yield Group(by, name, len(groups[name]), mean_metrics(groups[name]))
