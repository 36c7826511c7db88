"""Compare what came back with what a case expects: problems in sentences, and the stage to blame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from golden.blame import Stage, blame_miss
from golden.case import Case, Expect, SpanExpect
from golden.metrics import TOP, RankMetrics, score_ranking
from golden.run import Outcome

CLOSE = 5  # a target among the first five hits is found
LEG_DEPTH = 20  # of each retriever's list: the right place should be among these


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome judged: empty `problems` = the case passes."""

    outcome: Outcome
    ranking: RankMetrics | None  # None where the case names no file
    problems: tuple[str, ...]
    blame: Stage = ""

    @property
    def passed(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems

    @property
    def case(self) -> Case:
        """The case."""
        return self.outcome.case

    @property
    def is_answerable(self) -> bool:
        """Tell whether an answer is expected."""
        return self.case.expect.abstain is False

    @property
    def has_source(self) -> bool:
        """Tell whether the case says which places may be cited."""
        return bool(self.case.expect.cites or self.case.expect.tickets)

    @property
    def cites_right(self) -> bool | None:
        """Tell whether an answered question cites a right place; None where it cannot be told."""
        if self.outcome.abstained or not self.has_source:
            return None
        return is_right(self.outcome.expect, self.outcome.cited)

    @property
    def answered_anyway(self) -> bool:
        """Tell whether it answered what nothing answers."""
        return self.case.expect.abstain is True and not self.outcome.abstained

    @property
    def is_confidently_wrong(self) -> bool:
        """Tell whether it answered, without a warning, from a wrong place, or points at what is not there (E14)."""
        outcome = self.outcome
        misleads = bool(outcome.dangling or outcome.leaks or list(fresh_though_changed(outcome)))
        unwarned = outcome.stages.zone != "warn"
        return misleads or (unwarned and (self.answered_anyway or self.cites_right is False))

    @property
    def leg_found(self) -> dict[str, bool]:
        """Whether the text and the vector side have a right place among their first; only where one is named."""
        if not (self.has_source and self.is_answerable) or self.outcome.missing:
            return {}
        ranks = self.outcome.stages.ranks
        legs = ("search.text", "search.vector")
        return {leg: 0 < ranks[leg] <= LEG_DEPTH for leg in legs if leg in ranks}


def judge(outcome: Outcome) -> Verdict:
    """Compare an outcome with what its case expects."""
    wanted = outcome.expect.cites
    ranking = score_ranking(wanted, outcome.files) if wanted else None
    problems = tuple(find_problems(outcome, ranking))
    return Verdict(outcome, ranking, problems, find_blame(outcome) if problems else "")


def find_problems(outcome: Outcome, ranking: RankMetrics | None) -> Iterator[str]:
    """Yield a sentence for everything that is not as expected."""
    if outcome.error:
        yield f"the call failed: {outcome.error}"
        return
    for name in outcome.missing:
        yield f"stale case: {name} is not in the index any more; correct the case, or remove it with a reason"
    expect = outcome.expect
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
    yield from find_answer_problems(outcome)
    yield from find_stage_problems(outcome)


def find_answer_problems(outcome: Outcome) -> Iterator[str]:
    """Yield what is wrong with the answer itself."""
    expect = outcome.expect
    if not outcome.abstained and (expect.cites or expect.tickets) and not is_right(outcome.expect, outcome.cited):
        yield f"cites none of {', '.join((*expect.cites, *expect.tickets))}"
    for path in expect.not_cites:
        if any(is_in_file(path, cited) for cited in outcome.cited):
            yield f"cites the forbidden {path}"
    for text in expect.ungrounded_contains:
        if not any(text.lower() in item.lower() for item in outcome.ungrounded):
            yield f"does not say that {text!r} is ungrounded"
    for text in expect.shows:
        if text.lower() not in outcome.answer.lower():
            yield f"the answer does not show {text!r}"
    for cited in outcome.dangling:
        yield f"cites lines that are not there: {cited}"
    for cited in fresh_though_changed(outcome):
        yield f"cites as fresh what has changed: {cited}"
    for text in outcome.leaks:
        yield f"leak: shows {text[:12]!r}..."


def find_stage_problems(outcome: Outcome) -> Iterator[str]:
    """Yield what is wrong with the stages behind the answer: their size, time and order."""
    expect, stages = outcome.expect, outcome.stages
    if expect.max_latency_ms is not None and not outcome.answer_ms <= expect.max_latency_ms:
        yield f"the answer took {outcome.answer_ms:.0f} ms, at most {expect.max_latency_ms:.0f} are allowed"
    if expect.max_tokens is not None and stages.context_tokens > expect.max_tokens:
        yield f"the context has {stages.context_tokens} tokens, at most {expect.max_tokens} are allowed"
    if stages.repeats:
        yield f"{stages.repeats} texts of the context stand in it twice"
    for wanted in expect.spans:
        if problem := span_problem(wanted, stages.outputs.get(wanted.name)):
            yield f"stage {wanted.name} {problem}"


def span_problem(wanted: SpanExpect, count: int | None) -> str:
    """Return what is wrong with a stage, "" if nothing is; `count`: entries in its output, None if it did not run."""
    if wanted.absent:
        return "ran" if count is not None else ""
    if count is None:
        return "did not run"
    if count < wanted.min_out or (wanted.max_out is not None and count > wanted.max_out):
        return f"put out {count} entries, not {wanted.min_out} to {wanted.max_out or 'any number'}"
    return ""


def find_blame(outcome: Outcome) -> Stage:
    """Return the stage to blame for what is wrong; "" where it is the case's own fault."""
    if outcome.missing:
        return ""
    if outcome.leaks:
        return "access"
    if outcome.dangling or list(fresh_though_changed(outcome)):
        return "freshness"
    if outcome.expect.abstain is True:
        return "abstention" if not outcome.abstained else "answer"
    if outcome.stages.repeats:
        return "context"
    return blame_miss(outcome.stages)


def fresh_though_changed(outcome: Outcome) -> Iterator[str]:
    """Yield citations of files that changed since they were indexed and are not marked."""
    for path in outcome.expect.stale:
        for cited in outcome.cited:
            if is_in_file(path, cited) and cited not in outcome.marked:
                yield cited


def is_right(expect: Expect, cited: tuple[str, ...]) -> bool:
    """Tell whether one of the citations points where it should."""
    files = any(is_in_file(path, item) for path in expect.cites for item in cited)
    return files or bool(set(expect.tickets).intersection(cited))


def is_symbol(wanted: str, found: str) -> bool:
    """Tell whether a found qualified name is the wanted one or ends in it."""
    return found == wanted or found.endswith(f".{wanted}")


def is_in_file(path: str, cited: str) -> bool:
    """Tell whether a citation points into a file, given with or without its source, or is a key."""
    file = cited.rpartition(":")[0]
    return path in (cited, file, file.partition(":")[2])
