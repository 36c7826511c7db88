"""`codecairn bench grounding`: how much of what is made wrong the ledger catches, and how often it cries wolf.

Reference answers are checked as they are (false flags), then each sentence once per mutation operator. A text under
check has the files that it names as its evidence. A mutation counts as caught where the sentence then is in the list of
ungrounded statements, with a cause, and was not before.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.bench.corpora import VARIANTS, Corpus, bench_setup, default_cache, ensure_built, find_corpora
from golden.bench.mutations import IDENTIFIER, OPERATORS, Material, Mutation, mutate
from golden.bench.questions import Question, load_questions
from golden.corpus import code_fingerprint, open_service
from golden.machine import MachineFacts, read_machine
from ingest.chunking.facts import forget_facts
from mcp_server.access import local_principal, make_filters
from mcp_server.answering.check import make_drafts, make_ledger, named_documents, own_names
from mcp_server.answering.claims import ClaimDraft, find_anchors, find_claims
from mcp_server.answering.grounding import OPEN, STRUCK, CheckedClaim, Ledger
from mcp_server.answering.resolver import IndexResolver, Tree
from mcp_server.service import Service

FLAGGED = OPEN - {"no_anchor"}  # what a reader is told is wrong or not borne out
WRONG = STRUCK - {"misquoted"}
MIN_LETTERS = 6  # of an identifier that is put in another one's place
COMBINED = {"flipped boolean or number": ("flipped boolean", "changed number")}


@dataclass(frozen=True, slots=True)
class Miss:
    """One sentence that was judged wrongly: a mutation not noticed, or an untouched sentence flagged."""

    question: str
    kind: str
    text: str
    verdict: str
    reason: str


@dataclass(slots=True)
class Tally:
    """Counts of one repository."""

    repo: str
    answers: int = 0
    sentences: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    caught: Counter[str] = field(default_factory=Counter)
    ledger_ms: list[float] = field(default_factory=list)  # processor time of one answer, nothing parsed before
    misses: list[Miss] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the counts of another repository."""
        self.answers += other.answers
        self.sentences += other.sentences
        for mine, theirs in ((self.verdicts, other.verdicts), (self.tried, other.tried), (self.caught, other.caught)):
            mine.update(theirs)
        self.ledger_ms += other.ledger_ms

    def share(self, verdicts: frozenset[str] | set[str]) -> float:
        """Return the percentage of untouched sentences with one of some verdicts."""
        return 100 * sum(self.verdicts[v] for v in verdicts) / self.sentences if self.sentences else 0.0

    def recall(self, operator: str) -> tuple[int, float]:
        """Return how many mutations were tried and the percentage that was caught."""
        parts = COMBINED.get(operator, (operator,))
        tried, caught = sum(self.tried[p] for p in parts), sum(self.caught[p] for p in parts)
        return tried, 100 * caught / tried if tried else 0.0

    def percentile(self, share: float) -> float:
        """Return a percentile of the milliseconds per answer."""
        ordered = sorted(self.ledger_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "repo": self.repo,
            "answers": self.answers,
            "sentences": self.sentences,
            "verdicts": dict(sorted(self.verdicts.items())),
            "caught": {
                name: {"tried": self.recall(name)[0], "percent": round(self.recall(name)[1], 1)} for name in ROWS
            },
            "fabricated_or_contradicted_percent": round(self.share(WRONG), 2),
            "ungrounded_percent": round(self.share(FLAGGED), 2),
            "no_anchor_percent": round(self.share({"no_anchor"}), 1),
            "ledger_ms": {"p50": round(self.percentile(0.5), 1), "p95": round(self.percentile(0.95), 1)},
        }


ROWS = (*OPERATORS, *COMBINED)


@dataclass(frozen=True, slots=True)
class GroundingBench:
    """Result of `bench grounding`."""

    tallies: tuple[Tally, ...]
    machine: MachineFacts = field(default_factory=read_machine)

    @property
    def total(self) -> Tally:
        """Counts of all repositories."""
        total = Tally("all")
        for tally in self.tallies:
            total.add(tally)
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        rows = [tally.to_dict() for tally in (*self.tallies, self.total)]
        return {"machine": asdict(self.machine), "repositories": rows}

    def __str__(self) -> str:
        tallies = (*self.tallies, self.total)
        lines = [
            f"| | {' | '.join(tally.repo for tally in tallies)} |",
            f"|---|{'--:|' * len(tallies)}",
            f"| answers, sentences | {' | '.join(f'{t.answers}, {t.sentences}' for t in tallies)} |",
        ]
        for name in ROWS:
            cells = (f"{t.recall(name)[1]:.1f} % of {t.recall(name)[0]}" for t in tallies)
            lines.append(f"| caught: {name} | {' | '.join(cells)} |")
        for label, verdicts in (
            ("untouched: fabricated or contradicted", WRONG),
            ("untouched: ungrounded without `no_anchor`", FLAGGED),
            ("untouched: `no_anchor`", {"no_anchor"}),
        ):
            lines.append(f"| {label} | {' | '.join(f'{t.share(set(verdicts)):.2f} %' for t in tallies)} |")
        times = (f"{t.percentile(0.5):.1f} / {t.percentile(0.95):.1f}" for t in tallies)
        lines.append(f"| ledger, ms of processor time per answer, p50 / p95 | {' | '.join(times)} |")
        return "\n".join(lines)


def run_grounding(
    cases: Sequence[Path],
    corpora: Path,
    *,
    limit: int = 0,
    misses: Path | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> GroundingBench:
    """Check and mutate the reference answers (`meta.answer`) of cases. `misses`: write every wrong judgement as JSONL.

    Raises BenchError where no case has an answer, or a corpus is missing.
    """
    questions = [question for question in load_questions(cases, limit) if question.meta.get("answer")]
    if not questions:
        raise BenchError("None of the cases has a reference answer (`meta.answer`); there is nothing to check.")
    tallies = []
    for corpus in find_corpora(questions, corpora, VARIANTS["whole"]):
        setup = bench_setup(corpus.sources, cache or default_cache(), (code_fingerprint(),), "none")
        with open_service(setup) as service:
            seconds = ensure_built(setup, service)
            tallies.append(measure(corpus, service))
        say(f"{corpus.name}: {len(corpus.questions)} answers, indexed in {seconds:.1f} s")
    if misses is not None:
        rows = [{"repo": t.repo, **{key: getattr(m, key) for key in m.__slots__}} for t in tallies for m in t.misses]
        misses.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return GroundingBench(tuple(tallies))


def measure(corpus: Corpus, service: Service) -> Tally:
    """Return the counts of one corpus."""
    tally = Tally(corpus.questions[0].repo)
    with service.reading() as index:
        filters = make_filters(local_principal(service.setup.settings), service.infos(index))
        vocabulary = identifiers_of(corpus.path)
        tree = Tree([corpus.path])
        for question in corpus.questions:
            resolver = IndexResolver(index, filters, tree)
            check_answer(question, resolver, vocabulary, tally)
    return tally


def identifiers_of(root: Path) -> list[str]:
    """Return the identifiers of a repository's code that are long enough to be told apart."""
    texts = (file.read_text("utf-8", "replace") for file in sorted(root.rglob("*.py")) if ".git" not in file.parts)
    found = {name for text in texts for name in IDENTIFIER.findall(text)}
    return sorted(name for name in found if len(name) >= MIN_LETTERS and "_" in name.strip("_"))


def check_answer(question: Question, resolver: IndexResolver, vocabulary: Sequence[str], tally: Tally) -> None:
    """Check one reference answer as it is and with each of its sentences made wrong."""
    text = str(question.meta["answer"])
    documents = named_documents(text, resolver)
    forget_facts()
    find_anchors.cache_clear()
    started = time.process_time()
    ledger = make_ledger(documents, resolver, own_names(text))
    claims = find_claims(text)
    drafts = make_drafts(text, claims)
    checked = [ledger.check(draft) for draft in drafts]
    tally.ledger_ms.append((time.process_time() - started) * 1000)
    tally.answers += 1
    words = frozenset(name for block in ledger.evidence.values() for name in IDENTIFIER.findall(block.chunk.text))
    for number, (draft, plain) in enumerate(zip(drafts, checked, strict=True)):
        tally.sentences += 1
        tally.verdicts[plain.verdict] += 1
        if plain.verdict in FLAGGED:
            tally.misses.append(Miss(question.id, "untouched", draft.text, plain.verdict, plain.reason))
            continue
        for mutation, after in mutants(draft, ledger, Material(words, vocabulary), f"{question.id}/{number}"):
            is_caught = after.verdict in FLAGGED
            tally.tried[mutation.operator] += 1
            tally.caught[mutation.operator] += is_caught
            if not is_caught:
                shown = f"{mutation.old} -> {mutation.new}: {mutation.text}"
                tally.misses.append(Miss(question.id, mutation.operator, shown, after.verdict, after.reason))


def mutants(
    draft: ClaimDraft, ledger: Ledger, material: Material, seed: str
) -> Iterator[tuple[Mutation, CheckedClaim]]:
    """Yield each mutation of a sentence with what the ledger says of it."""
    for mutation in mutate(draft.text, material, seed):
        yield mutation, ledger.check(replace(draft, text=mutation.text))
