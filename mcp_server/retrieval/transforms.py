"""Transforms: a question searched in more than its own words. By rule without a model, else by the model's words.

`multi` adds other wordings, `decompose` the questions that it consists of, `hyde` code that could be the answer. The
lists are joined by reciprocal rank, the question's own list counting most; what it names and misses stays its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Unpack

from ingest.errors import EmbedderMismatch
from ingest.index.tokens import split_identifier
from ingest.model import Chunk, Filters
from mcp_server.config import TransformSetting
from mcp_server.errors import BadRequest
from mcp_server.retrieval import pipeline
from mcp_server.retrieval.model import RankedChunk, Retrieval
from mcp_server.retrieval.pipeline import Trace
from mcp_server.retrieval.query import SCAFFOLD_WORDS, STOP_WORDS, find_identifiers
from traces.model import TraceFields

if TYPE_CHECKING:
    from ingest.index import Index

Transform = Literal["none", "multi", "decompose", "hyde"]


MAX_QUERIES = 4  # besides the question itself
MAX_QUERY_CHARS = 600
RRF_K = 60
SHARE = {"multi": 0.5, "decompose": 0.8, "hyde": 0.4}  # of a list's weight, the question's own being 1
PARTS = re.compile(r"\?\s+|;\s+|,?\s+and\s+(?=(?:how|what|where|which|why|when|who|does|is|are)\b)", re.IGNORECASE)
# Two words for one thing, as people and code write them.
GLOSSARY = (
    ("auth", "authentication"), ("config", "configuration"), ("db", "database"), ("env", "environment"),
    ("repo", "repository"), ("dir", "directory"), ("param", "parameter"), ("arg", "argument"), ("attr", "attribute"),
    ("init", "initialise"), ("msg", "message"), ("req", "request"), ("resp", "response"), ("err", "error"),
    ("conn", "connection"), ("ctx", "context"), ("doc", "documentation"), ("impl", "implementation"),
    ("temp", "temporary"), ("max", "maximum"), ("min", "minimum"), ("prev", "previous"), ("delete", "remove"),
    ("create", "make"), ("fetch", "get"), ("async", "asynchronous"), ("dep", "dependency"), ("spec", "specification"),
)  # fmt: skip
OTHER_WORD = {one: other for pair in GLOSSARY for one, other in (pair, pair[::-1])}


class RewriteFailed(Exception):
    """The model gave no other words."""


class Rewriter(Protocol):
    """Puts a question into other words with a model."""

    def rewrite(self, kind: Transform, question: str) -> Sequence[str]:
        """Return queries. Raises RewriteFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is searched besides the question itself, and who wrote it."""

    kind: Transform
    queries: tuple[str, ...] = ()
    by: Literal["rule", "model"] = "rule"
    degraded: tuple[str, ...] = ()


def retrieve(
    index: Index,
    text: str,
    filters: Filters,
    trace: Trace,
    strict: bool,
    wanted: int = 0,
    *,
    how_sure: bool = True,
    transform: TransformSetting = "none",
    rewriter: Rewriter | None = None,
) -> Retrieval:
    """Return what is found, `wanted` chunks of it in full. Raises BadRequest for an index of another embedder."""
    try:
        own = pipeline.search(index, text, filters, trace, strict=strict, wanted=wanted, how_sure=how_sure)
        kind = choose(transform, own)
        if kind == "none":
            return own
        with trace.span("transform") as span:
            plan = plan_queries(kind, own.query or text, rewriter)
            span.record(input={"question": text}, output={"transform": kind, "by": plan.by, "queries": plan.queries})
            quiet = _Quiet(trace)
            others = [pipeline.search(index, q, filters, quiet, strict=strict, wanted=wanted) for q in plan.queries]
        joined = join(own, others, SHARE[kind])
        degraded = tuple(dict.fromkeys((*own.degraded, *plan.degraded)))
        trace.set(transform=kind if plan.queries else "none", degraded=degraded)
        return replace(own, chunks=joined, degraded=degraded)
    except EmbedderMismatch as error:
        raise BadRequest(str(error)) from error


def choose(setting: TransformSetting, found: Retrieval) -> Transform:
    """Return the transform for a question. `auto` takes one only where it was measured to help: so far nowhere.

    NDCG@10 of files by rule, none / decompose / multi / hyde: 19 questions of two parts about requests 0.796 / 0.741 /
    0.692 / 0.779; 48 single ones about flask 0.799 / 0.799 / 0.781 / 0.776 (docs/decisions.md).
    """
    return "none" if found.route == "smalltalk" or setting == "auto" else setting


def plan_queries(kind: Transform, question: str, rewriter: Rewriter | None) -> Plan:
    """Return what else to search for; where the model fails, the question alone, which is said."""
    if rewriter is None:
        return Plan(kind, tuple(clean(RULES[kind](question), question)))
    try:
        return Plan(kind, tuple(clean(rewriter.rewrite(kind, question), question)), "model")
    except RewriteFailed:
        return Plan(kind, (), "model", ("transform_skipped",))


def clean(queries: Iterable[str], question: str) -> list[str]:
    """Return the queries that say something, each once, none of them the question itself."""
    plain = (" ".join(query.split())[:MAX_QUERY_CHARS] for query in queries)
    kept = dict.fromkeys(query for query in plain if any(c.isalnum() for c in query) and query != question)
    return list(kept)[:MAX_QUERIES]


def split_parts(question: str) -> list[str]:
    """Return the questions that one text consists of."""
    parts = [part.strip(" ,.?") for part in PARTS.split(question)]
    return [part for part in parts if len(part.split()) >= 2]


def decompose(question: str) -> list[str]:
    """Return the parts of a question, or one question for each of several names in it."""
    parts = split_parts(question)
    if len(parts) > 1:
        return parts
    names = find_identifiers(question)
    rest = " ".join(word for word in question.split() if word.strip("`?.,()") not in names)
    return [f"{name} {rest}" for name in names] if len(names) > 1 else []


def vary(question: str) -> list[str]:
    """Return the question with names written another way, and with the other word for each known abbreviation."""
    variants = []
    for name in find_identifiers(question):
        parts = split_identifier(name)
        if len(parts) > 1:
            camel = parts[0] + "".join(part.capitalize() for part in parts[1:])
            variants += [question.replace(name, other) for other in ("_".join(parts), camel, " ".join(parts))]
    words = question.split()
    swapped = [OTHER_WORD.get(word.strip("?,.").lower(), word) for word in words]
    return [" ".join(swapped), *variants]


def imagine(question: str) -> list[str]:
    """Return a definition as somebody who answered the question might have written it."""
    words = [word.lower() for word in re.findall(r"[A-Za-z_]\w+", question)]
    telling = [word for word in words if word not in STOP_WORDS and word not in SCAFFOLD_WORDS][:5]
    return [f'def {"_".join(telling)}(self):\n    """{question.strip(" ?")}."""'] if telling else []


RULES: Mapping[Transform, Callable[[str], list[str]]] = {"multi": vary, "decompose": decompose, "hyde": imagine}


def join(own: Retrieval, others: Sequence[Retrieval], share: float) -> tuple[RankedChunk, ...]:
    """Return the chunks of all lists by reciprocal rank, scaled to the score of the question's own best chunk."""
    scores: dict[int, float] = {}
    chunks: dict[int, RankedChunk] = {}
    for weight, found in ((1.0, own), *((share, other) for other in others)):
        for rank, hit in enumerate(found.chunks, 1):
            chunks.setdefault(hit.chunk.id, hit)
            scores[hit.chunk.id] = scores.get(hit.chunk.id, 0.0) + weight / (RRF_K + rank)
    if not scores:
        return ()
    best = max(scores.values())
    top = max((hit.score for found in (own, *others) for hit in found.chunks[:1]), default=1.0)
    order = sorted(scores, key=lambda chunk_id: (-scores[chunk_id], chunk_id))
    return tuple(replace(chunks[chunk_id], score=top * scores[chunk_id] / best) for chunk_id in order)


class _Quiet:
    """A trace for further searches of one question: their stages are kept, the facts stay those of the question."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def span(self, name: str) -> Any:  # noqa: ANN401 - as Trace.span
        """Open a span."""
        return self._trace.span(name)

    def set(self, **values: Unpack[TraceFields]) -> None:
        """Keep what is degraded."""
        if "degraded" in values:
            self._trace.set(degraded=values["degraded"])

    def add_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Name chunks."""
        self._trace.add_chunks(chunks)
