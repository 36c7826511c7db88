"""Calibration: an index sets its own thresholds of abstention, from questions that it makes of itself.

Split-conformal: sentences of docs and doc comments and subjects of commits are asked as questions whose answer is
known to be there. The chunk that a sentence stands in is left out of what is measured, so that a question is judged by
what the rest of the index says, as a person's question in other words would be. The threshold of a bucket is the
floor(alpha x (n + 1))-th smallest score; a bucket of fewer than 50 questions takes that of all.

The scores are kept. When they are taken again and lie elsewhere (Kolmogorov-Smirnov distance), that is an alarm:
ranking, embedder or content is not what it was. Where most of the new questions would not have been answered before,
the new scores are not believed and the former thresholds stay.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from math import floor, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ingest.index.schema import SAID_FIELDS
from ingest.index.tokens import token_stream
from mcp_server.answering.abstain import (
    FEATURES,
    WEIGHTS,
    WEIGHTS_TEXT,
    Bucket,
    DefaultThresholds,
    Thresholds,
    bucket_of,
    measure,
)
from mcp_server.answering.claims import split_sentences
from mcp_server.retrieval.context import Context, pack_context
from mcp_server.retrieval.pipeline import search
from traces.model import TraceFields

if TYPE_CHECKING:
    from ingest.index import Index
    from ingest.model import Chunk, Filters
    from mcp_server.retrieval.model import Retrieval

FILE = "calibration.json"
ALPHA = 0.10  # of the questions that the index answers, the share that may be lost
ALPHA_WARN = 0.20
MIN_BUCKET = 50
QUESTIONS = 240
CHANGED_SHARE = 0.05  # of the chunks, from which on the thresholds are set anew
SKETCHED = 1024  # ids by which that share is told: off by less than 0.7 points
REST_S = 3600.0  # and not again before, unless so many changed: who goes to and fro between branches changes many often
MUCH_CHANGED_SHARE = 0.20
CONTEXT_HITS = 20
CONTEXT_TOKENS = 10_000
MIN_WORDS, MAX_CHARS = 5, 240
PROSE = (".md", ".markdown", ".rst", ".txt", ".adoc")
MARKUP = re.compile(r"[{}|=<>]{2}|::$|^[\W_]|https?://")
POOLED = "all"
DRIFT = 0.15  # Kolmogorov-Smirnov distance from which on scores have drifted
COLLAPSED = 0.5  # of an index's own questions below the former threshold: a tenth is expected


class Untraced:
    """A trace that keeps nothing: what an index asks itself is nobody's query."""

    @contextmanager
    def span(self, name: str) -> Iterator[Untraced]:
        """Open a span."""
        yield self

    def record(self, **slots: object) -> None:
        """Keep nothing of a span."""

    def set(self, **values: Unpack[TraceFields]) -> None:
        """Keep no facts."""

    def add_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Keep no texts."""


@dataclass(frozen=True, slots=True)
class SelfQuestion:
    """A sentence of the index, asked as a question, and the chunk that it stands in."""

    text: str
    chunk_id: int


@dataclass(frozen=True, slots=True)
class Scored:
    """What one question scored, with and without vectors (None: the index has none)."""

    bucket: Bucket
    score: float | None
    score_text: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds of one index, and which generation they were set for."""

    generation: int
    sketch: tuple[int, ...]  # its smallest chunk ids, ascending
    embedder: str
    model: str
    made_at: str
    questions: int
    vectors: Mapping[str, Thresholds]  # bucket or "all" -> thresholds
    text: Mapping[str, Thresholds]
    scores: tuple[float, ...]  # of all questions, ascending; with vectors where the index has them
    drift: float = 0.0  # from the scores before, 0..1
    is_collapsed: bool = False  # thresholds and scores are those before

    def of(self, bucket: Bucket, has_vectors: bool) -> Thresholds:
        """Return the thresholds of one kind of question; those of all where the kind has too few questions."""
        own = self.vectors if has_vectors else self.text
        return own.get(bucket) or own.get(POOLED) or DefaultThresholds().of(bucket, has_vectors)


def model_id() -> str:
    """Return what scores depend on: thresholds of other weights are not used."""
    return json.dumps([FEATURES, WEIGHTS, WEIGHTS_TEXT])


# ---- the questions of an index


def make_questions(chunks: Sequence[Chunk]) -> Iterator[SelfQuestion]:
    """Yield one question per chunk that has a sentence to ask: doc comments, prose, subjects of commits and tickets."""
    seen: set[str] = set()
    for chunk in chunks:
        for text in candidates(chunk):
            plain = " ".join(text.split())[:MAX_CHARS]
            if len(plain.split()) >= MIN_WORDS and not MARKUP.search(plain) and plain.lower() not in seen:
                seen.add(plain.lower())
                yield SelfQuestion(plain, chunk.id)
                break


def candidates(chunk: Chunk) -> list[str]:
    """Return the sentences of a chunk that say what it is about."""
    if chunk.kind in ("commit", "ticket"):
        return [chunk.title]
    if chunk.role not in ("source", "compat", "config", "docs"):
        return []
    if chunk.kind == "code" and not (chunk.path or "").lower().endswith(PROSE):
        return [symbol.doc for symbol in chunk.symbols if symbol.doc]
    paragraphs = [part for part in re.split(r"\n\s*\n", chunk.text) if re.match(r"[A-Z]", part.strip())]
    return [sentence for part in paragraphs for sentence in split_sentences(" ".join(part.split()))[:1]]


def read_questions(index: Index, count: int) -> list[SelfQuestion]:
    """Return questions of chunks spread over the whole index, always the same for the same index."""
    found: list[SelfQuestion] = []
    ids = index.sample_ids(count * 20)
    for at in range(0, len(ids), 200):
        found += make_questions(index.chunks(ids[at : at + 200]))
        if len(found) >= count:
            break
    return found[:count]


# ---- their scores


def score_question(index: Index, question: SelfQuestion, filters: Filters) -> Scored | None:
    """Return what a question scores when its own chunk is not there; None if it names what the index does not have."""
    full, context = find_without_own(index, question, filters)
    if full.not_found:
        return None
    return Scored(
        bucket_of(full),
        measure(question.text, full, context)["score"] if full.vector_top > 0 else None,
        measure(question.text, replace(full, vector_top=0.0), context)["score"],
    )


def find_without_own(index: Index, question: SelfQuestion, filters: Filters) -> tuple[Retrieval, Context]:
    """Return what is found for a question when its own chunk is not there."""
    found = leave_out(index, search(index, question.text, filters, Untraced()), question.chunk_id, filters)
    return found, pack_context(found.chunks[:CONTEXT_HITS], CONTEXT_TOKENS)


def leave_out(index: Index, found: Retrieval, chunk_id: int, filters: Filters) -> Retrieval:
    """Return what retrieval would have found without one chunk."""
    own = set(token_stream(index.chunks([chunk_id])[0].text).split())
    terms = tuple(replace(t, df=t.df - 1) if t.df and t.token in own else t for t in found.terms)
    whole = [term for term in terms if term.form == term.word.lower()]
    attainable = 2.2 * sum(term.idf for term in whole)
    fields = dict.fromkeys(SAID_FIELDS, 1.0)
    texts = [
        s.score
        for s in index.search_text([(t.token, 1.0) for t in whole], filters, 2, fields)
        if s.chunk_id != chunk_id
    ]
    vectors: list[float] = []
    if found.vector_top > 0:
        vectors = [s.score for s in index.search_vector(found.query, filters, 2) if s.chunk_id != chunk_id]
    return replace(
        found,
        chunks=tuple(hit for hit in found.chunks if hit.chunk.id != chunk_id),
        terms=terms,
        top_text_norm=min(1.0, texts[0] / attainable) if texts and attainable > 0 else 0.0,
        vector_top=vectors[0] if vectors else 0.0,
    )


# ---- thresholds


def calibrate(
    index: Index,
    filters: Filters,
    now: str,
    *,
    count: int = QUESTIONS,
    before: Calibration | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Calibration | None:
    """Ask an index its own questions and set its thresholds; None when there are too few, or it is told to stop.

    `before`: the thresholds until now, which stay where the new scores cannot be believed.
    """
    scored: list[Scored] = []
    for question in read_questions(index, count):
        if not go_on():
            return None
        if (one := score_question(index, question, filters)) is not None:
            scored.append(one)
    if len(scored) < MIN_BUCKET:
        return None
    made = Calibration(
        generation=index.generation,
        sketch=tuple(index.sample_ids(SKETCHED)),
        embedder=index.manifest.embedder,
        model=model_id(),
        made_at=now,
        questions=len(scored),
        vectors=thresholds_of([(item.bucket, item.score) for item in scored if item.score is not None]),
        text=thresholds_of([(item.bucket, item.score_text) for item in scored]),
        scores=tuple(sorted(round(one.score_text if one.score is None else one.score, 2) for one in scored)),
    )
    return compare_with(before, made) if before is not None else made


def compare_with(before: Calibration, made: Calibration) -> Calibration:
    """Return new thresholds with how far the scores drifted; those before where the new ones collapse."""
    drift = round(ks_distance(before.scores, made.scores), 3)
    limit = before.of("code", has_vectors=bool(before.vectors)).abstain
    if sum(score < limit for score in made.scores) > COLLAPSED * len(made.scores):
        return replace(
            made, vectors=before.vectors, text=before.text, scores=before.scores, drift=drift, is_collapsed=True
        )
    return replace(made, drift=drift)


def ks_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the Kolmogorov-Smirnov distance of two ascending samples: the largest gap of their shares."""
    if not one or not other:
        return 0.0
    values = sorted({*one, *other})
    return max(abs(bisect_right(one, value) / len(one) - bisect_right(other, value) / len(other)) for value in values)


def describe_drift(known: Calibration) -> str:
    """Return the alarm of thresholds whose scores drifted or collapsed, "" where nothing is wrong."""
    if known.is_collapsed:
        return (
            f"Abstention: at {known.made_at} most of the index's own questions scored below its threshold (distance "
            f"{known.drift:.2f}); the former thresholds stay. See what changed with `codecairn audit`, then run "
            "`codecairn calibrate`."
        )
    if known.drift > DRIFT:
        return (
            f"Abstention: the scores of the index's own questions drifted by {known.drift:.2f} (limit {DRIFT}) until "
            f"{known.made_at}; the thresholds were set anew. Run `codecairn golden gate` to see whether answers suffer."
        )
    return ""


def thresholds_of(scores: Sequence[tuple[str, float]]) -> dict[str, Thresholds]:
    """Return the thresholds of all scores, and of each bucket that has enough of them."""
    groups = {POOLED: [score for _, score in scores]}
    for bucket, score in scores:
        groups.setdefault(bucket, []).append(score)
    return {
        name: Thresholds(conformal(own, ALPHA), conformal(own, ALPHA_WARN))
        for name, own in groups.items()
        if len(own) >= MIN_BUCKET
    }


def conformal(scores: Sequence[float], alpha: float) -> float:
    """Return the floor(alpha x (n + 1))-th smallest score: a new one of the same kind is below it with chance alpha."""
    rank = floor(alpha * (len(scores) + 1))
    return sorted(scores)[rank - 1] if rank > 0 else -inf


# ---- kept beside the index


def save(calibration: Calibration, data_dir: Path) -> None:
    """Write the thresholds of an index; a reader sees the old ones or the new ones."""
    target = data_dir / FILE
    part = target.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(asdict(calibration), indent=1), "utf-8")
    part.replace(target)


def load(data_dir: Path, embedder: str) -> Calibration | None:
    """Return the thresholds of an index, None where there are none for these weights and this embedder."""
    try:
        raw: dict[str, Any] = json.loads((data_dir / FILE).read_text("utf-8"))
        for side in ("vectors", "text"):
            raw[side] = {name: Thresholds(**values) for name, values in raw[side].items()}
        raw["scores"], raw["sketch"] = tuple(raw["scores"]), tuple(raw["sketch"])
        found = Calibration(**raw)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):  # of another version: set anew in the background
        return None
    return found if found.model == model_id() and found.embedder == embedder else None


def is_due(known: Calibration | None, index: Index, now: datetime) -> bool:
    """Tell whether thresholds are missing, or were set before 5 % of the chunks came or went, within an hour 20 %."""
    if known is None:
        return True
    has_rested = not 0 <= (now - datetime.fromisoformat(known.made_at)).total_seconds() < REST_S
    share = CHANGED_SHARE if has_rested else MUCH_CHANGED_SHARE
    return changed_share(known.sketch, index.sample_ids(SKETCHED)) > share


def changed_share(before: Sequence[int], now: Sequence[int]) -> float:
    """Return which share of the chunks of two generations only one of them has, 0..1, from their smallest ids.

    Ids are hashes, so the smallest of both together are a fair sample of them (Broder, On the resemblance and
    containment of documents, 1997); of fewer than SKETCHED the share is exact. What came and went in between does
    not count.
    """
    smallest = sorted({*before, *now})[:SKETCHED]
    both = {*before} & {*now}
    return sum(chunk_id not in both for chunk_id in smallest) / max(1, len(smallest))


class Calibrations:
    """The thresholds of indexes by their folder, read again when the file is another."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, Calibration | None]] = {}

    def of(self, data_dir: Path, embedder: str) -> Calibration | None:
        """Return the thresholds of an index, None where it has none of its own."""
        try:
            stamp = (data_dir / FILE).stat().st_mtime_ns
        except FileNotFoundError:
            return None
        known = self._known.get(data_dir)
        if known is None or known[0] != stamp:
            known = self._known[data_dir] = (stamp, load(data_dir, embedder))
        return known[1]
