"""Abstention: whether what was found is enough to answer from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ingest.index.tokens import split_identifier
from mcp_server.answering.aspects import content_words, root, text_roots
from mcp_server.results import MissingName, Ungrounded
from mcp_server.retrieval.context import GONE, Context
from mcp_server.retrieval.model import QueryTerm, Retrieval
from mcp_server.retrieval.query import STOP_WORDS, parse_query

Zone = Literal["answer", "warn", "abstain"]
Bucket = Literal["code", "docs", "history", "tickets"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores below which a question is not answered, or answered with a warning."""

    abstain: float
    warn: float


class ThresholdsOf(Protocol):
    """Where the thresholds of an index come from."""

    def of(self, bucket: Bucket, has_vectors: bool) -> Thresholds:
        """Return the thresholds of one kind of question."""
        ...


# Logistic weights: log-odds that the index answers a question. Fitted by `codecairn bench abstain` in November 2026 on
# 371 questions about twelve snapshots of ten repositories against 586 that they do not answer; the figures in
# docs/benchmarks.md are held out by repository.
FEATURES = ("bias", "top1n", "bigram", "vector_top", "coverage", "absent", "absent_root", "is_missing", "length")
WEIGHTS = (-7.64, 0.04, 1.79, 8.86, 2.05, 1.81, -2.88, -5.45, 3.98)
WEIGHTS_TEXT = (-5.64, 3.45, 3.63, 0.0, 2.52, 0.78, -2.56, -4.74, 5.33)
# Before an index has its own (calibration.py). The lower quartile of those indexes' own thresholds is -0.6; small ones
# score lower: of 240 golden cases over one, -1.3 leaves two more unanswered than -1.5, and at -1.8 one is answered from
# another product.
DEFAULT = Thresholds(abstain=-1.5, warn=0.4)
DEFAULT_TEXT = Thresholds(abstain=-0.5, warn=0.4)
RARE_IDF = 6.0  # of a word that the retrieval has no figure for
BIGRAM_CHUNKS = 5
MAX_LENGTH = 1.2
LEAST_PRODUCT = 3  # letters of a product's name
# Where § stands a product is named.
PRODUCT_PLACES = (
    r"^\s*§\s*[?.]?\s*$",
    r"\bhow\s+§\s+\w+s\b",
    r"\b(?:does|do|did|can|could)\s+§\s+\w+",
    r"\b(?:in|within|inside|of|by|with|the|a|an|this|how|does)\s+§(?:['’]s)?\s+(?:\w+\s+)?(?:librar(?:y|ies)|frameworks?"
    r"|code\s?base|packages?|projects?|repositor(?:y|ies)|repo|applications?|apps?|tool(?:kit)?|SDK|CLI|API|engine|runtime"
    r"|server|client)\b",
    r"(?<![\w.])§['’]s\s+\w",
    r"(?<![\w.])§(?:::|\.\w+\()",
)
# The same with any word: where none of these matches, no word has to be tried.
ANY_PRODUCT = tuple(re.compile(pattern.replace("§", r"\S+"), re.I) for pattern in PRODUCT_PLACES)


@dataclass(frozen=True, slots=True)
class Decision:
    """Answer, answer with a warning, or abstain; why; and the figures behind it."""

    zone: Zone
    reason: str
    features: Mapping[str, float]


class DefaultThresholds:
    """The thresholds of an index that has none of its own yet."""

    def of(self, bucket: Bucket, has_vectors: bool) -> Thresholds:
        """Return the same for every kind of question."""
        return DEFAULT if has_vectors else DEFAULT_TEXT


def decide(question: str, retrieval: Retrieval, context: Context, thresholds: ThresholdsOf | None = None) -> Decision:
    """Decide from names first, then from how much of the wording was found, by the thresholds of the index."""
    features = measure(question, retrieval, context)
    if settled := settle(retrieval, context) or settle_phrase(retrieval, features):
        return Decision(*settled, features)
    limits = (thresholds or DefaultThresholds()).of(bucket_of(retrieval), retrieval.vector_top > 0)
    zone = soften(zone_of(features["score"], limits), retrieval)
    return Decision(zone, ZONE_REASONS[zone], {**features, "abstain_below": limits.abstain, "warn_below": limits.warn})


def settle(retrieval: Retrieval, context: Context) -> tuple[Zone, str] | None:
    """Return the zone and its reason where names decide; None where the wording has to."""
    if not context.kept:
        return "abstain", "Nothing was found."
    if other := other_product(retrieval):
        return (
            "abstain",
            f"'{other}' occurs nowhere in {retrieval.where}; the question seems to be about another product.",
        )
    if retrieval.not_found and not retrieval.entities:
        names = ", ".join(f"'{name.name}'" for name in retrieval.not_found)
        return "abstain", f"{names} exists nowhere in {retrieval.not_found[0].where}."
    if any(link.relation in GONE for link in context.links):
        return "answer", "History says what became of what the question names."
    if retrieval.entities and retrieval.route != "conceptual":
        return "answer", "The question names something that exists."
    return None


def settle_phrase(retrieval: Retrieval, features: Mapping[str, float]) -> tuple[Zone, str] | None:
    """Return the zone of a word or phrase that asks nothing: who types `surcharge` wants the place that holds it."""
    if parse_query(retrieval.query).is_question or retrieval.not_found:
        return None
    if features["coverage"] < 1.0:
        return None
    return "answer", "Every word of it stands in one place."


def other_product(retrieval: Retrieval) -> str:
    """Return a word that stands where a product's name does and that occurs nowhere, "" where there is none.

    "How does X sign", "the X library", "X's cookies", "X::Base": the rest of such a question is often found, elsewhere.
    A word in the path of something found is a subject of this product, even where no text says it.
    """
    own = {
        part
        for hit in retrieval.chunks
        for name in (hit.chunk.product, hit.chunk.source, hit.chunk.path or "")
        for part in words_in(name)
    }
    places = [place for place, any_ in zip(PRODUCT_PLACES, ANY_PRODUCT, strict=True) if any_.search(retrieval.query)]
    for term in retrieval.terms if places else ():
        word = term.word.lower()
        if term.df or term.form != word or len(word) < LEAST_PRODUCT or word.endswith("ly") or word in own:
            continue
        name = re.escape(word)
        if any(re.search(pattern.replace("§", name), retrieval.query, re.I) for pattern in places):
            return term.word
    return ""


def words_in(name: str) -> frozenset[str]:
    """Return the parts of a name in lower case."""
    return frozenset(part.lower() for part in re.findall(r"[A-Za-z0-9]+", name))


def soften(zone: Zone, retrieval: Retrieval) -> Zone:
    """Return the zone: a name that exists is something to tell of, unless another one that is asked for does not."""
    return "warn" if zone == "abstain" and retrieval.entities and not retrieval.not_found else zone


ZONE_REASONS: dict[Zone, str] = {
    "answer": "The wording of the question was found.",
    "warn": "Little of the wording of the question was found.",
    "abstain": "What was found has hardly anything of the question in it.",
}


def zone_of(score: float, limits: Thresholds) -> Zone:
    """Return the zone of a score."""
    return "abstain" if score < limits.abstain else "warn" if score < limits.warn else "answer"


def bucket_of(retrieval: Retrieval) -> Bucket:
    """Return what a question is about: thresholds differ between them."""
    query = parse_query(retrieval.query)
    if query.tickets or query.designs:
        return "tickets"
    return "history" if query.wants_history else "docs" if query.wants_docs else "code"


def measure(question: str, retrieval: Retrieval, context: Context) -> dict[str, float]:
    """Return the features of the decision and their score."""
    texts = [f"{hit.chunk.ref} {hit.chunk.title}\n{hit.chunk.text}" for hit in context.kept]
    absent = absent_share(retrieval.terms)
    features = {
        "top1n": retrieval.top_text_norm,
        "bigram": bigram_rate(question, texts[:BIGRAM_CHUNKS]),
        "vector_top": retrieval.vector_top,
        "coverage": coverage_of_best(question, texts, retrieval.terms),
        "absent": absent,
        "absent_root": math.sqrt(absent),
        "is_missing": float(bool(retrieval.not_found)),
        "length": min(math.log1p(len(content_words(question))) / 3, MAX_LENGTH),
    }
    weights = WEIGHTS if retrieval.vector_top > 0 else WEIGHTS_TEXT
    score = sum(weight * value for weight, value in zip(weights, (1.0, *features.values()), strict=True))
    return {**features, "score": score}


def absent_share(terms: Sequence[QueryTerm]) -> float:
    """Return the idf share of the question's words that occur in no chunk; 0..1."""
    whole = [term for term in terms if term.form == term.word.lower()]
    total = sum(term.idf for term in whole)
    return sum(term.idf for term in whole if term.df == 0) / total if total else 0.0


def coverage_of_best(question: str, texts: Sequence[str], terms: Sequence[QueryTerm]) -> float:
    """Return the idf share of the question's words that the best single text holds in any inflection; 0..1."""
    rarity: dict[str, float] = {}
    for term in terms:
        rarity[root(term.form)] = max(rarity.get(root(term.form), 0.0), term.idf)
    weights = {r: rarity.get(r, RARE_IDF) for r in map(root, content_words(question))}
    total = sum(weights.values())
    best = max((sum(w for r, w in weights.items() if r in text_roots(text)) for text in texts), default=0.0)
    return best / total if total else 0.0


def bigram_rate(question: str, texts: Sequence[str]) -> float:
    """Return the share of the question's adjacent content-word pairs that stand so in one text, best text; 0..1."""
    wanted = pairs(question)
    if not wanted:
        return 0.0
    return max((len(wanted & pairs(text)) / len(wanted) for text in texts), default=0.0)


def pairs(text: str) -> frozenset[tuple[str, str]]:
    """Return the ordered pairs of neighbouring content-word roots, identifiers split into their parts."""
    roots = [
        root(part)
        for word in re.findall(r"\w+", text)
        for part in (split_identifier(word) or (word.lower(),))
        if part not in STOP_WORDS
    ]
    return frozenset(zip(roots, roots[1:], strict=False))


def abstain_text(
    not_found: Sequence[MissingName], uncovered: Sequence[Ungrounded], refs: Sequence[str], where: str
) -> str:
    """Say that there is no answer, what was not covered, and what came nearest. The same for hidden and absent."""
    lines = [f"I do not have that in {where}."]
    gone = {part.text: part.reason for part in uncovered if part.verdict == "stale"}
    for name in not_found:
        if name.name in gone:
            lines.append(gone[name.name])
            continue
        near = f" Nearest names: {', '.join(name.nearest)}." if name.nearest else ""
        lines.append(f"No `{name.name}` exists there.{near}")
    named = {name.name for name in not_found}
    open_parts = [part.text for part in uncovered if part.text not in named]
    if open_parts:
        lines.append(f"Not covered: {', '.join(open_parts)}.")
    if refs:
        lines.append(f"Nearest misses: {', '.join(refs)}.")
    return "\n".join(lines)
