"""`codecairn bench abstain`: is a question answered that the corpus answers, and left alone that it does not?

Everything is held out twice: the weights that score the questions of a repository are fitted on the others, and the
thresholds of an index are set by one half of the questions that it makes of itself, the other half is asked.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from golden.bench.corpora import VARIANTS, bench_setup, default_cache, ensure_built, find_corpora
from golden.bench.fitting import fit_logistic
from golden.bench.probing import opened
from golden.bench.questions import Question, load_questions
from golden.corpus import code_fingerprint, open_service, principal_of
from golden.machine import MachineFacts, read_machine
from ingest.index import Index
from ingest.model import Filters
from mcp_server.access import make_filters
from mcp_server.answering.abstain import (
    FEATURES,
    WEIGHTS,
    WEIGHTS_TEXT,
    Bucket,
    Zone,
    bucket_of,
    measure,
    settle,
    soften,
    zone_of,
)
from mcp_server.answering.aspects import named_in, variants
from mcp_server.answering.calibration import (
    CONTEXT_HITS,
    CONTEXT_TOKENS,
    POOLED,
    Untraced,
    find_without_own,
    read_questions,
    thresholds_of,
)
from mcp_server.answering.resolver import IndexResolver
from mcp_server.retrieval.context import Context, pack_context
from mcp_server.retrieval.model import Retrieval
from mcp_server.retrieval.pipeline import search
from mcp_server.retrieval.query import PATH

Say = Callable[[str], None]
Kind = Literal["own", "self", "fitted", "unanswerable", "foreign", "near name", "near product"]
ANSWERABLE = ("own", "self")
NEGATIVE: tuple[Kind, ...] = ("unanswerable", "foreign", "near name", "near product")
SELF_QUESTIONS = 240  # per corpus; half of them set the thresholds
FOREIGN_QUESTIONS = 25
# Parts that make a name or a product another one; those that occur in a corpus are not used there.
PARTS = ("kafka", "terraform", "bluetooth", "shader", "playlist", "invoice", "thermostat", "payroll", "cassandra")
PRODUCTS = ("django", "tornado", "rails", "laravel", "kubernetes", "tensorflow", "angular", "electron")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what the decision about it rests on."""

    repo: str
    corpus: str
    kind: Kind
    query: str
    bucket: Bucket
    features: tuple[float, ...]
    settled: Zone | None
    is_softened: bool  # a name in it exists, so that it is not left unanswered


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of one kind of question."""

    kind: str
    questions: int
    abstained: float
    warned: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"kind": self.kind, "n": self.questions, "abstained": self.abstained, "warned": self.warned}


@dataclass(slots=True)
class Side:
    """Everything with vectors, or with text alone."""

    name: str
    asked: list[Asked] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)  # held out by repository
    zones: list[Zone] = field(default_factory=list)
    weights: tuple[float, ...] = ()  # fitted on everything

    def rates(self) -> list[Rates]:
        """Return the rates per kind; first those of all answerable questions."""
        kinds: list[tuple[str, tuple[str, ...]]] = [("answerable", ANSWERABLE)]
        kinds += [(kind, (kind,)) for kind in (*ANSWERABLE, *NEGATIVE)]
        return [
            rate(name, [z for a, z in zip(self.asked, self.zones, strict=True) if a.kind in of]) for name, of in kinds
        ]

    def auroc(self, negative: Kind = "unanswerable") -> float:
        """Return the chance that an own question scores above one of a negative kind of the same repositories."""
        repos = {a.repo for a in self.asked if a.kind == negative}
        pairs = list(zip(self.asked, self.scores, strict=True))
        return auroc(
            [s for a, s in pairs if a.kind == "own" and a.repo in repos], [s for a, s in pairs if a.kind == negative]
        )


@dataclass(frozen=True, slots=True)
class AbstainBench:
    """Both sides."""

    sides: tuple[Side, ...]
    machine: MachineFacts

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "machine": str(self.machine),
            "sides": [
                {
                    "name": side.name,
                    "auroc": {kind: side.auroc(kind) for kind in NEGATIVE},
                    "rates": [row.to_dict() for row in side.rates()],
                    "weights": dict(zip(FEATURES, side.weights, strict=True)),
                }
                for side in self.sides
            ],
        }

    def __str__(self) -> str:
        lines = ["Abstention: weights held out by repository, thresholds by question", str(self.machine)]
        for side in self.sides:
            areas = ", ".join(f"{kind} {side.auroc(kind):.3f}" for kind in NEGATIVE)
            lines += ["", f"{side.name}: AUROC of own questions against {areas}"]
            lines.append(f"{'':14}{'n':>6}{'abstained':>11}{'warned':>9}")
            lines += [f"{r.kind:14}{r.questions:6}{r.abstained:11.1%}{r.warned:9.1%}" for r in side.rates()]
            lines.append("weights " + json.dumps(dict(zip(FEATURES, side.weights, strict=True))))
        return "\n".join(lines)


def run_abstain(
    cases: Sequence[Path],
    corpora: Path,
    *,
    limit: int = 0,
    cache: Path | None = None,
    say: Say = lambda _: None,
) -> AbstainBench:
    """Ask every question of its corpus, and questions of others, altered ones and an index's own. Raises BenchError."""
    questions = load_questions(cases, limit)
    sides = (Side("with vectors"), Side("text only"))
    for root in ("", "root"):
        group = [q for q in questions if bool(q.root) == bool(root)]
        for corpus in find_corpora(group, corpora, VARIANTS["root" if root else "whole"]):
            setup = bench_setup(corpus.sources, cache or default_cache(), (code_fingerprint(),))
            with open_service(setup) as service:
                ensure_built(setup, service)
            with open_service(setup) as service, opened(service) as index, Index.open_current(setup.data_dir) as plain:
                filters = make_filters(principal_of(setup), service.infos(index))
                texts = list(make_texts(corpus.questions, questions, IndexResolver(index, filters)))
                for side, place in zip(sides, (index, plain), strict=True):
                    repo = corpus.questions[0].repo
                    side.asked += [ask(place, filters, repo, corpus.name, kind, text) for kind, text in texts]
                    side.asked += ask_itself(place, filters, repo, corpus.name)
            say(f"{corpus.name}: {len(texts)} questions and its own")
    for side in sides:
        judge(side)
    return AbstainBench(sides, read_machine())


# ---- questions


def make_texts(
    own: Sequence[Question], every: Sequence[Question], resolver: IndexResolver
) -> Iterator[tuple[Kind, str]]:
    """Yield the questions of a corpus: its own, those it cannot answer, other corpora's, altered ones."""
    chance = random.Random(own[0].folder)
    for question in own:
        yield ("own" if question.gold else "unanswerable"), question.query
        if question.gold and (altered := alter_name(question.query, resolver, chance)):
            yield "near name", altered
        if question.gold and (altered := alter_product(question, resolver, chance)):
            yield "near product", altered
    others = [q for q in every if q.repo != own[0].repo and q.gold]
    chance.shuffle(others)
    foreign = (q.query for q in others if not any(resolver.has_name(name) for name in named_in(q.query)))
    for _, query in zip(range(FOREIGN_QUESTIONS), foreign, strict=False):
        yield "foreign", query


def alter_name(query: str, resolver: IndexResolver, chance: random.Random) -> str | None:
    """Return the question with the first name that exists turned into one that does not."""
    name = next((n for n in named_in(query) if not PATH.fullmatch(n) and resolver.has_name(n)), None)
    parts = absent(PARTS, resolver)
    if name is None or not parts:
        return None
    part = chance.choice(parts)
    return query.replace(name, f"{name}_{part}" if "_" in name or name.islower() else f"{name}{part.title()}")


def alter_product(question: Question, resolver: IndexResolver, chance: random.Random) -> str | None:
    """Return the question with the name of its product turned into that of another one."""
    pattern = re.compile(rf"\b{re.escape(question.repo.split('/')[1])}\b", re.I)
    products = absent(PRODUCTS, resolver)
    if not products or not pattern.search(question.query):
        return None
    return pattern.sub(chance.choice(products), question.query)


def absent(words: Sequence[str], resolver: IndexResolver) -> list[str]:
    """Return the words that a corpus does not hold."""
    return [word for word in words if not resolver.occurring(variants(word))]


# ---- asking


def ask(index: Index, filters: Filters, repo: str, corpus: str, kind: Kind, query: str) -> Asked:
    """Ask one question."""
    found = search(index, query, filters, Untraced())
    return read(repo, corpus, kind, query, found, pack_context(found.chunks[:CONTEXT_HITS], CONTEXT_TOKENS))


def ask_itself(index: Index, filters: Filters, repo: str, corpus: str) -> list[Asked]:
    """Ask an index its own questions: every other one is for setting thresholds."""
    asked = []
    for number, question in enumerate(read_questions(index, SELF_QUESTIONS)):
        found, context = find_without_own(index, question, filters)
        if not found.not_found:  # what names something that is not there is not known to be answerable
            asked.append(read(repo, corpus, "self" if number % 2 else "fitted", question.text, found, context))
    return asked


def read(repo: str, corpus: str, kind: Kind, query: str, found: Retrieval, context: Context) -> Asked:
    """Return a question with what its decision rests on."""
    features = measure(query, found, context)
    settled = settle(found, context)
    return Asked(
        repo=repo,
        corpus=corpus,
        kind=kind,
        query=query,
        bucket=bucket_of(found),
        features=(1.0, *(features[name] for name in FEATURES[1:])),
        settled=settled[0] if settled else None,
        is_softened=soften("abstain", found) == "warn",
    )


# ---- judging


def judge(side: Side) -> None:
    """Score all questions by weights of the other repositories, and decide by the thresholds of their index."""
    side.weights = fit(side.asked)
    repos = sorted({a.repo for a in side.asked})
    weights = {
        repo: fit([a for a in side.asked if a.repo != repo]) if len(repos) > 1 else shipped(side) for repo in repos
    }
    side.scores = [sum(w * x for w, x in zip(weights[a.repo], a.features, strict=True)) for a in side.asked]
    limits = {}
    for corpus in {a.corpus for a in side.asked}:
        pairs = zip(side.asked, side.scores, strict=True)
        limits[corpus] = thresholds_of([(a.bucket, s) for a, s in pairs if a.corpus == corpus and a.kind == "fitted"])
    for asked, score in zip(side.asked, side.scores, strict=True):
        own = limits[asked.corpus]
        of = own.get(asked.bucket) or own.get(POOLED)
        zone = zone_of(score, of) if of else "answer"
        softened: Zone = "warn" if zone == "abstain" and asked.is_softened else zone
        side.zones.append(asked.settled or softened)


def shipped(side: Side) -> tuple[float, ...]:
    """Return the weights that ship with the program."""
    return WEIGHTS if side.name == "with vectors" else WEIGHTS_TEXT


def fit(asked: Sequence[Asked]) -> tuple[float, ...]:
    """Return weights fitted on questions with an answer against those without."""
    used = [a for a in asked if a.kind == "own" or a.kind in NEGATIVE]
    return fit_logistic([a.features for a in used], [float(a.kind == "own") for a in used])


def rate(kind: str, zones: Sequence[Zone]) -> Rates:
    """Return how many questions were not answered, and how many with a warning."""
    n = len(zones) or 1
    return Rates(kind, len(zones), zones.count("abstain") / n, zones.count("warn") / n)


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the chance that a positive is above a negative; 0.5 where one side is empty."""
    pairs = len(positive) * len(negative)
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    return wins / pairs if pairs else 0.5
