"""Abstention: whether what was found is enough to answer from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ingest.index.tokens import split_identifier
from mcp_server.answering.aspects import content_words, root, text_roots
from mcp_server.results import MissingName, Ungrounded
from mcp_server.retrieval.context import Context
from mcp_server.retrieval.model import QueryTerm, Retrieval
from mcp_server.retrieval.query import STOP_WORDS

# Fitted by hand on six repositories of the development queries (94 conceptual questions about their own code, 92 about
# repositories of another domain; all in-sample): AUROC 0.97 with vectors, 0.96 without. At these thresholds 2 % of the
# own questions abstain and 82 % (60 %) of the foreign ones do; another 8 % of the own are answered with a warning.
# Thresholds belong to an index; until they are calibrated at index build these serve.
TOP_WEIGHT = 2.0
BIGRAM_WEIGHT = 1.0
VECTOR_WEIGHT = 2.0
COVERAGE_WEIGHT = 0.5
ABSTAIN_BELOW = 1.5
WARN_BELOW = 1.8
ABSTAIN_BELOW_TEXT = 0.7  # without the vector side the score has two terms less to gain
WARN_BELOW_TEXT = 1.0
RARE_IDF = 6.0  # of a word that the retrieval has no figure for
BIGRAM_CHUNKS = 5
ABSTAIN_TEXT = "I do not have that in the index."

Zone = Literal["answer", "warn", "abstain"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Answer, answer with a warning, or abstain; why; and the figures behind it."""

    zone: Zone
    reason: str
    features: Mapping[str, float]


def decide(question: str, retrieval: Retrieval, context: Context) -> Decision:
    """Decide from names first, then from how much of the wording was found."""
    features = measure(question, retrieval, context)
    if not context.kept:
        return Decision("abstain", "Nothing was found.", features)
    if retrieval.not_found and not retrieval.entities:
        names = ", ".join(f"'{name.name}'" for name in retrieval.not_found)
        return Decision("abstain", f"{names} exists nowhere in the index.", features)
    if retrieval.entities and retrieval.route != "conceptual":
        return Decision("answer", "The question names something that exists.", features)
    zone = zone_of(features["score"], has_vectors=retrieval.vector_top > 0)
    if zone == "abstain" and retrieval.entities:
        zone = "warn"
    return Decision(zone, ZONE_REASONS[zone], features)


ZONE_REASONS: dict[Zone, str] = {
    "answer": "The wording of the question was found.",
    "warn": "Little of the wording of the question was found.",
    "abstain": "What was found has hardly anything of the question in it.",
}


def zone_of(score: float, has_vectors: bool) -> Zone:
    """Return the zone of a score."""
    abstain, warn = (ABSTAIN_BELOW, WARN_BELOW) if has_vectors else (ABSTAIN_BELOW_TEXT, WARN_BELOW_TEXT)
    return "abstain" if score < abstain else "warn" if score < warn else "answer"


def measure(question: str, retrieval: Retrieval, context: Context) -> dict[str, float]:
    """Return the features of the decision."""
    chunks = [hit.chunk for hit in context.kept]
    texts = [f"{chunk.ref} {chunk.title}\n{chunk.text}" for chunk in chunks]
    features = {
        "top1n": retrieval.top_text_norm,
        "bigram": bigram_rate(question, texts[:BIGRAM_CHUNKS]),
        "vector_top": retrieval.vector_top,
        "coverage": coverage_of_best(question, texts, retrieval.terms),
    }
    weights = (TOP_WEIGHT, BIGRAM_WEIGHT, VECTOR_WEIGHT, COVERAGE_WEIGHT)
    score = sum(weight * value for weight, value in zip(weights, features.values(), strict=True))
    return {**features, "score": score}


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


def abstain_text(not_found: Sequence[MissingName], uncovered: Sequence[Ungrounded], refs: Sequence[str]) -> str:
    """Say that there is no answer, what was not covered, and what came nearest. The same for hidden and absent."""
    lines = [ABSTAIN_TEXT]
    for name in not_found:
        near = f" Nearest names: {', '.join(name.nearest)}." if name.nearest else ""
        lines.append(f"No `{name.name}` exists there.{near}")
    named = {name.name for name in not_found}
    open_parts = [part.text for part in uncovered if part.text not in named]
    if open_parts:
        lines.append(f"Not covered: {', '.join(open_parts)}.")
    if refs:
        lines.append(f"Nearest misses: {', '.join(refs)}.")
    return "\n".join(lines)
