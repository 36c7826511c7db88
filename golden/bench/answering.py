"""`codecairn bench answers`: do the cited lines hold what a reference answer names? Beside plain BM25, in the same run.

Figure of one question: of the identifiers that its reference answer puts in backticks and that occur in its gold files,
the share that also occurs in the lines that our answer cites (its first 10 citations, cut at 2,000 tokens).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.bench.corpora import VARIANTS, Corpus, bench_setup, default_cache, ensure_built, find_corpora
from golden.bench.questions import Question, load_questions
from golden.bench.rival_bm25 import LINES, Windows
from golden.corpus import code_fingerprint, open_service, principal_of
from golden.machine import MachineFacts, read_machine
from golden.metrics import percentile
from ingest.access import Principal
from mcp_server.results import AnswerRequest, AnswerResult
from mcp_server.retrieval.context import CHARS_PER_TOKEN
from mcp_server.retrieval.query import PATH
from mcp_server.service import Service

Say = Callable[[str], None]
MAX_CITATIONS = 10
MAX_TOKENS = 2000
BM25_WINDOWS = 5
BACKTICKED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?:(?:\.|::)[A-Za-z_]\w*)*(?:\(\))?")
NO_IDENTIFIERS = frozenset({"True", "False", "None", "true", "false", "null", "self", "cls"})


@dataclass(frozen=True, slots=True)
class Answered:
    """One question: what was to be found, what our citations and the rival's windows hold of it."""

    id: str
    repo: str
    wanted: tuple[str, ...]
    cited: tuple[str, ...]
    windows: tuple[str, ...]  # what BM25's windows hold
    windows_cut: tuple[str, ...]  # ... cut at the same number of tokens
    abstained: bool
    tokens: int  # of the cited lines
    citations: int
    first_ms: float  # the whole question, retrieval included, in a process that has prepared itself as a server does
    again_ms: float  # the same after all questions were asked once; no cache of answers

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Share:
    """Found of wanted, pooled over questions."""

    name: str
    questions: int
    wanted: int
    cited: float
    windows: float
    windows_cut: float
    abstained: int

    @property
    def target(self) -> float:
        """Half of the distance from BM25 to 1."""
        return (1 + self.windows) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "target": self.target}


@dataclass(frozen=True, slots=True)
class AnswersBench:
    """All questions, pooled and per repository."""

    answered: tuple[Answered, ...]
    machine: MachineFacts

    def shares(self) -> list[Share]:
        """Return the shares of all questions, then per repository."""
        groups = [("ALL", self.answered)]
        for repo in sorted({item.repo for item in self.answered}):
            groups.append((repo, tuple(item for item in self.answered if item.repo == repo)))
        return [pool(name, items) for name, items in groups]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "machine": str(self.machine),
            "shares": [share.to_dict() for share in self.shares()],
            "first_ms": {"p50": self.first_ms(0.5), "p95": self.first_ms(0.95)},
            "again_ms": {"p50": self.again_ms(0.5), "p95": self.again_ms(0.95)},
            "answered": [item.to_dict() for item in self.answered],
        }

    def first_ms(self, share: float) -> float:
        """Return a percentile of what an answer takes that is asked for the first time."""
        return percentile([item.first_ms for item in self.answered], share)

    def again_ms(self, share: float) -> float:
        """Return a percentile of what an answer takes whose files were looked at before."""
        return percentile([item.again_ms for item in self.answered], share)

    def __str__(self) -> str:
        head = f"{'':24}{'n':>5}{'names':>7}{'cited':>8}{'BM25':>8}{'target':>8}{'BM25 cut':>10}{'abstained':>11}"
        rows = [
            f"{s.name[:23]:24}{s.questions:5}{s.wanted:7}{s.cited:8.3f}{s.windows:8.3f}{s.target:8.3f}"
            f"{s.windows_cut:10.3f}{s.abstained:11}"
            for s in self.shares()
        ]
        tokens = [float(item.tokens) for item in self.answered]
        pointers = [float(item.citations) for item in self.answered]
        return "\n".join(
            (
                f"Names of the reference answer inside the cited lines (at most {MAX_CITATIONS} citations, {MAX_TOKENS}"
                f" tokens) and inside BM25's first {BM25_WINDOWS} windows",
                str(self.machine),
                head,
                *rows,
                f"cited tokens p50 {percentile(tokens, 0.5):.0f}, citations p50 {percentile(pointers, 0.5):.0f}; "
                f"an answer takes p50 {self.first_ms(0.5):.0f} ms, p95 {self.first_ms(0.95):.0f} ms; "
                f"asked again {self.again_ms(0.5):.0f} and {self.again_ms(0.95):.0f} ms",
            )
        )


def run_answers(
    cases: Sequence[Path],
    corpora: Path,
    *,
    limit: int = 0,
    variant: str = "whole",
    cache: Path | None = None,
    say: Say = lambda _: None,
) -> AnswersBench:
    """Answer every question that has a reference answer, without a model. Raises BenchError."""
    if variant not in VARIANTS:
        raise BenchError(f"There is no variant {variant!r}. Variants: {', '.join(VARIANTS)}.")
    questions = [question for question in load_questions(cases, limit) if question.meta.get("answer")]
    answered: list[Answered] = []
    for corpus in find_corpora(questions, corpora, VARIANTS[variant]):
        setup = bench_setup(corpus.sources, cache or default_cache(), (code_fingerprint(),))
        floor = Windows(corpus.path)
        with open_service(setup) as service:
            ensure_built(setup, service)
            service.calibrate()
        say(f"{corpus.name}: {len(corpus.questions)} questions")
        with open_service(setup) as service:
            service.warm()
            service.prepare()  # as a server does before the first question comes
            ask = partial(timed_answer, service, principal_of(setup))
            first = [ask(question.query) for question in corpus.questions]
            again = [ask(question.query)[1] for question in corpus.questions]
        for question, (result, first_ms), again_ms in zip(corpus.questions, first, again, strict=True):
            windows = top_windows(floor, corpus.path, question.query)
            answered.append(score(question, corpus, result, windows, first_ms, again_ms))
    return AnswersBench(tuple(answered), read_machine())


def timed_answer(service: Service, principal: Principal, query: str) -> tuple[AnswerResult, float]:
    """Return an answer and the milliseconds that it took on the clock."""
    started = time.perf_counter()
    result = service.answer(AnswerRequest(query), principal, entry="eval", use_cache=False)
    return result, (time.perf_counter() - started) * 1000


def score(
    question: Question, corpus: Corpus, result: AnswerResult, floor: Sequence[str], first_ms: float, again_ms: float
) -> Answered:
    """Return what the citations and the windows hold of the names of the reference answer."""
    gold = "\n".join(read_lines(corpus.path, path) for path in question.wanted)
    wanted = tuple(name for name in names_of(str(question.meta["answer"])) if holds(gold, name))
    cited = [
        read_lines(corpus.path, citation.path, citation.start_line, citation.end_line)
        for citation in result.citations[:MAX_CITATIONS]
        if citation.path
    ]
    shown = "\n".join(cut(cited, MAX_TOKENS))
    return Answered(
        id=question.id,
        repo=question.repo,
        wanted=wanted,
        cited=tuple(name for name in wanted if holds(shown, name)),
        windows=tuple(name for name in wanted if holds("\n".join(floor), name)),
        windows_cut=tuple(name for name in wanted if holds("\n".join(cut(floor, MAX_TOKENS)), name)),
        abstained=result.abstained,
        tokens=sum(map(len, cited)) // CHARS_PER_TOKEN,
        citations=len(result.citations),
        first_ms=first_ms,
        again_ms=again_ms,
    )


def top_windows(floor: Windows, root: Path, query: str) -> list[str]:
    """Return the texts of BM25's first windows."""
    best = ((floor.paths[at], floor.starts[at]) for at in floor.rank(query)[:BM25_WINDOWS])
    return [read_lines(root, path, start, start + LINES - 1) for path, start in best]


def names_of(answer: str) -> tuple[str, ...]:
    """Return the last parts of the identifiers that a text puts in backticks, without repeats; no paths."""
    found: dict[str, None] = {}
    for span in BACKTICKED.findall(answer):
        text = span.strip()
        if IDENTIFIER.fullmatch(text) and not PATH.fullmatch(text):
            name = re.split(r"\.|::", text.removesuffix("()"))[-1]
            if name not in NO_IDENTIFIERS:
                found.setdefault(name)
    return tuple(found)


def holds(text: str, name: str) -> bool:
    """Tell whether a text holds a name as a whole word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def cut(texts: Sequence[str], tokens: int) -> list[str]:
    """Return the leading texts up to a number of tokens, the last one cut."""
    left, kept = tokens * CHARS_PER_TOKEN, []
    for text in texts:
        kept.append(text[:left])
        left -= len(kept[-1])
    return kept


@lru_cache(maxsize=256)
def read_file(file: Path) -> tuple[str, ...]:
    """Return the lines of a file; none for one that is not there."""
    return tuple(file.read_text("utf-8", "replace").splitlines()) if file.is_file() else ()


def read_lines(root: Path, path: str, start: int = 1, end: int | None = None) -> str:
    """Return some lines of a file, 1-based inclusive; default: all."""
    return "\n".join(read_file(root / path)[start - 1 : end])


def pool(name: str, items: Sequence[Answered]) -> Share:
    """Return the shares of some questions, all names pooled."""
    wanted = sum(len(item.wanted) for item in items) or 1
    return Share(
        name=name,
        questions=len(items),
        wanted=sum(len(item.wanted) for item in items),
        cited=sum(len(item.cited) for item in items) / wanted,
        windows=sum(len(item.windows) for item in items) / wanted,
        windows_cut=sum(len(item.windows_cut) for item in items) / wanted,
        abstained=sum(item.abstained for item in items),
    )
