"""`codecairn bench names`: fit the weights of names (what an answer reads on) on questions with a reference answer.

A row is a name of the lines that are looked at for a question; it counts where the reference answer gives it and its
file is one of those that the answer rests on. Judged held out: fitted on all repositories but one, asked of that one.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golden.bench import BenchError
from golden.bench.answering import holds, names_of, read_lines
from golden.bench.corpora import VARIANTS, Corpus, bench_setup, default_cache, ensure_built, find_corpora
from golden.bench.fitting import fit_logistic
from golden.bench.probing import Stages, opened
from golden.bench.questions import load_questions
from golden.corpus import code_fingerprint, open_service, principal_of
from golden.machine import MachineFacts, read_machine
from mcp_server.access import make_filters
from mcp_server.answering.answer import asked_of
from mcp_server.answering.name_weights import NAME_FEATURES
from mcp_server.answering.naming import name_features
from mcp_server.answering.reading import MIN_WORDS, open_files
from mcp_server.answering.resolver import IndexResolver
from mcp_server.answering.tape import KEPT_CHUNKS
from mcp_server.answering.vocabulary import vocabulary
from mcp_server.results import AnswerRequest
from mcp_server.retrieval.pipeline import search
from mcp_server.service import Service

Say = Callable[[str], None]
Array = np.ndarray[Any, Any]
RIDGE = 100.0
SHARE = 0.4  # of the names that no answer gives that are fitted on: most say the same
SEED = 0
WEIGHT = re.compile(r'^(    "(?P<name>\w+)": )[-+.\de]+,', re.MULTILINE)
PROVENANCE = re.compile(r"Provenance: .*?(?=\n\"\"\")", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NameRows:
    """The names that are looked at for one question: features, and whether the reference answer gives them."""

    repo: str
    rows: Array
    given: Array


@dataclass(frozen=True, slots=True)
class NamesBench:
    """The weights that fit all questions, and how well those of the other repositories tell names apart."""

    questions: int
    names: int
    given: int
    weights: Mapping[str, float]
    auroc: Mapping[str, float]  # per repository, fitted on the others
    machine: MachineFacts

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "machine": str(self.machine),
            "questions": self.questions,
            "names": self.names,
            "given": self.given,
            "auroc": dict(self.auroc),
            "weights": dict(self.weights),
        }

    def provenance(self, day: str) -> str:
        """Return the sentence that the file of weights keeps. `day`: ISO 8601."""
        repos = ", ".join(sorted(repo.rpartition("/")[2] for repo in self.auroc))
        said = (
            f"Provenance: `codecairn bench names` (logistic regression, ridge {RIDGE:g}) on {day} over the names of the"
            f" lines that are looked at for {self.questions} questions about {repos}; a name counts where the reference"
            f" answer gives it and its file is one of those that the answer rests on ({self.given:,} of {self.names:,}"
            " names). Fitted on all repositories but one and asked of that one, the figures are those of"
            ' docs/decisions.md, "What to read on".'
        )
        return textwrap.fill(said, 119, break_on_hyphens=False)

    def __str__(self) -> str:
        told = ", ".join(f"{repo} {value:.3f}" for repo, value in self.auroc.items())
        lines = [f"    {name:24}{value:8.3f}" for name, value in self.weights.items()]
        head = f"Weights of names: {self.questions} questions, {self.given} of {self.names} names given"
        return "\n".join((head, str(self.machine), f"AUROC held out by repository: {told}", *lines))


def run_names(
    cases: Sequence[Path],
    corpora: Path,
    *,
    limit: int = 0,
    cache: Path | None = None,
    say: Say = lambda _: None,
) -> NamesBench:
    """Fit the weights of names on every question that is answered and read on. Raises BenchError."""
    questions = [question for question in load_questions(cases, limit) if question.meta.get("answer")]
    found: list[NameRows] = []
    for corpus in find_corpora(questions, corpora, VARIANTS["whole"]):
        setup = bench_setup(corpus.sources, cache or default_cache(), (code_fingerprint(),))
        with open_service(setup) as service:
            ensure_built(setup, service)
            service.calibrate()
        with open_service(setup) as service:
            found += read_names(service, corpus)
        say(f"{corpus.name}: {len(corpus.questions)} questions")
    if not any(one.given.any() for one in found):
        raise BenchError("No name of a reference answer is among those looked at: nothing can be fitted.")
    repos = sorted({one.repo for one in found})
    held_out = {}
    for repo in repos if len(repos) > 1 else ():
        weights = fit([one for one in found if one.repo != repo])
        own = [one for one in found if one.repo == repo]
        held_out[repo] = auroc(np.concatenate([o.rows for o in own]) @ weights, np.concatenate([o.given for o in own]))
    rounded = (round(float(value), 3) for value in fit(found))
    return NamesBench(
        questions=len(found),
        names=sum(len(one.given) for one in found),
        given=sum(int(one.given.sum()) for one in found),
        weights=dict(zip(NAME_FEATURES, rounded, strict=True)),
        auroc=held_out,
        machine=read_machine(),
    )


def read_names(service: Service, corpus: Corpus) -> Iterator[NameRows]:
    """Yield the names that are looked at for each question of a corpus that is answered and long enough."""
    principal = principal_of(service.setup)
    with opened(service) as index:
        filters = make_filters(principal, service.infos(index))
        resolver = IndexResolver(index, filters)
        for question in corpus.questions:
            request = AnswerRequest(question.query)
            is_long = len(question.query.split()) >= MIN_WORDS
            if not is_long or service.answer(request, principal, entry="eval", use_cache=False).abstained:
                continue
            retrieval = search(index, question.query, filters, Stages(), wanted=KEPT_CHUNKS)
            ranked, known = retrieval.chunks[:KEPT_CHUNKS], vocabulary()
            files = open_files(ranked, resolver.document, known)
            names, rows = name_features(asked_of(question.query, retrieval), ranked, files, known)
            gold = "\n".join(read_lines(corpus.path, path) for path in question.wanted)
            wanted = {name for name in names_of(str(question.meta["answer"])) if holds(gold, name)}
            given = [
                file.ref in question.wanted and known.names[number] in wanted
                for file, own in zip(files, names, strict=True)
                for number in own.tolist()
            ]
            yield NameRows(question.repo, rows, np.array(given, dtype=bool))


def fit(found: Sequence[NameRows]) -> Array:
    """Return weights fitted on all names that are given and a share of the others, the first of them set right."""
    rows, given = np.concatenate([one.rows for one in found]), np.concatenate([one.given for one in found])
    kept = given | (np.random.default_rng(SEED).random(len(given)) < SHARE)
    weights = np.array(fit_logistic(rows[kept], given[kept], RIDGE))
    weights[0] += np.log(SHARE)  # the rest of those that are not given was left out
    return weights


def auroc(scores: Array, given: Array) -> float:
    """Return the chance that a name that is given scores above one that is not; 0.5 where one side is empty."""
    ones, zeros = int(given.sum()), int((~given).sum())
    if not ones or not zeros:
        return 0.5
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return float((ranks[given].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def write_weights(file: Path, fitted: NamesBench, day: str) -> None:
    """Put weights and their provenance into the file that ships, whose comments stay. Raises BenchError."""
    text = file.read_text("utf-8")
    known = {match["name"] for match in WEIGHT.finditer(text)}
    if known != set(fitted.weights) or not PROVENANCE.search(text):
        raise BenchError(f"{file} is no file of name weights with the {len(fitted.weights)} features of today.")
    text = WEIGHT.sub(lambda match: f"{match[1]}{fitted.weights[match['name']]},", text)
    file.write_text(PROVENANCE.sub(lambda _: fitted.provenance(day), text, count=1), "utf-8")
