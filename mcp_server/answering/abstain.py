"""Abstention: whether what was found is enough to answer from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ingest.index.tokens import split_identifier
from mcp_server.answering.aspects import root
from mcp_server.results import MissingName, Ungrounded
from mcp_server.retrieval.context import Context
from mcp_server.retrieval.model import Retrieval
from mcp_server.retrieval.query import STOP_WORDS

# Initial figures, by hand: score = 2 x top1n + bigram separated answerable from foreign questions best (AUROC 0.90 over
# 144 + 1,296 questions about flask, requests and pytest). Thresholds belong to an index; until they are calibrated at
# index build these two serve.
TOP_WEIGHT = 2.0
BIGRAM_WEIGHT = 1.0
ABSTAIN_BELOW = 0.35
WARN_BELOW = 0.60
VECTOR_SURE = 0.60  # cosine of the nearest chunk above which wording alone does not decide
TEXT_ONLY_MARGIN = 0.10  # stricter without the vector side
BIGRAM_CHUNKS = 5
ABSTAIN_TEXT = "I do not have that in the index."

Zone = Literal["answer", "warn", "abstain"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Answer, answer with a warning, or abstain; why; and the figures behind it."""

    zone: Zone
    reason: str
    features: Mapping[str, float]


def decide(question: str, retrieval: Retrieval, context: Context, covered: float = 1.0) -> Decision:
    """Decide from names first, then from how much of the wording was found. `covered`: share of the topics, 0..1."""
    features = measure(question, retrieval, context, covered)
    if not context.kept:
        return Decision("abstain", "Nothing was found.", features)
    if retrieval.not_found and not retrieval.entities:
        names = ", ".join(f"'{name.name}'" for name in retrieval.not_found)
        return Decision("abstain", f"{names} exists nowhere in the index.", features)
    if retrieval.entities and retrieval.route != "conceptual":
        return Decision("answer", "The question names something that exists.", features)
    margin = TEXT_ONLY_MARGIN if "vector_unavailable" in retrieval.degraded else 0.0
    zone = zone_of(features, margin)
    if zone == "abstain" and retrieval.entities:
        zone = "warn"
    return Decision(zone, ZONE_REASONS[zone], features)


ZONE_REASONS: dict[Zone, str] = {
    "answer": "The wording of the question was found.",
    "warn": "Little of the wording of the question was found.",
    "abstain": "What was found has hardly anything of the question in it.",
}


def zone_of(features: Mapping[str, float], margin: float = 0.0) -> Zone:
    """Return the zone of a score; a near enough vector lifts abstention to a warning."""
    score = features["score"] - margin
    if score >= WARN_BELOW:
        return "answer"
    if score >= ABSTAIN_BELOW:
        return "warn"
    return "warn" if features["vector_top"] >= VECTOR_SURE else "abstain"


def measure(question: str, retrieval: Retrieval, context: Context, covered: float = 1.0) -> dict[str, float]:
    """Return the features of the decision."""
    texts = [f"{hit.chunk.ref} {hit.chunk.title}\n{hit.chunk.text}" for hit in context.kept[:BIGRAM_CHUNKS]]
    bigram = bigram_rate(question, texts)
    return {
        "top1n": retrieval.top_text_norm,
        "bigram": bigram,
        "vector_top": retrieval.vector_top,
        "entities": float(len(retrieval.entities)),
        "not_found": float(len(retrieval.not_found)),
        "covered": covered,
        # a question whose topics are half absent is half as likely to be answerable, however well the rest matches
        "score": covered * (TOP_WEIGHT * retrieval.top_text_norm + BIGRAM_WEIGHT * bigram),
    }


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
