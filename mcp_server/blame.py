"""Which stage lost what somebody expected, and how: the first one, in the order in which they run, that lacks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ingest.access import Principal
from mcp_server.access import make_filters
from mcp_server.errors import BadRequest
from mcp_server.replay import Replayer, read_chunks, request_of
from mcp_server.service import Service
from traces.capture import Capture
from traces.draft import list_rows
from traces.model import RETRIEVERS, ChunkKey, Trace
from traces.scores import BLAME, make_score

if TYPE_CHECKING:
    from ingest.index import Index
    from ingest.model import Filters
    from mcp_server.answering.answer import ComposedAnswer

Stage = Literal["none", "retrieval", "ranking", "context", "prompt", "model", "post-processing"]
Cause = Literal[
    "none",
    "no_relevant_document",
    "wrong_index_or_filter",
    "embedding_drift",
    "index_stale",
    "lost_in_fusion_or_rerank",
    "truncated",
    "lost_in_formatting",
    "conflicting_or_outdated_context",
    "encourages_guessing",
    "conflicting_instructions",
    "missing_refusal_or_cite_rule",
    "sampling_too_free",
    "model_differs_between_environments",
    "tool_configuration",
    "parse_failure",
    "citation_matching",
    "presentation_stripped_content",
]
STAGES: tuple[Stage, ...] = get_args(Stage)
CAUSES: tuple[Cause, ...] = get_args(Cause)
NO_VECTORS = frozenset({"vector_unavailable", "embed_unavailable"})
PAGE = 8  # hits that count as found where a trace does not say how many were asked for


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the result should have had: one of the files, symbols or tickets; every one of the texts."""

    paths: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    tickets: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """What search should find: all but the texts."""
        return (*self.paths, *self.symbols, *self.tickets)

    def check(self) -> None:
        """Raise BadRequest for an expectation of nothing."""
        if not (self.named or self.contains):
            raise BadRequest("Say what was expected: a path, a symbol, a ticket or a text of the answer.")


@dataclass(frozen=True, slots=True)
class Blame:
    """The stage to blame, how it went wrong, and where what was expected stood in each list (0 = not in it)."""

    stage: Stage
    cause: Cause
    reason: str
    ranks: Mapping[str, int]

    def __str__(self) -> str:
        stood = ", ".join(f"{name} {f'#{rank}' if rank else '-'}" for name, rank in self.ranks.items())
        head = "nothing is missing" if self.stage == "none" else f"{self.stage} ({self.cause})"
        return f"BLAME  {head}: {self.reason}" + (f"\n  rank in each list: {stood}" if stood else "")


class Blamer:
    """Finds the stage to blame, over one service, as one principal."""

    def __init__(self, service: Service, principal: Principal) -> None:
        self._service = service
        self._principal = principal
        self._replayer = Replayer(service, principal)

    def blame(self, trace_id: str, expected: Expectation) -> Blame:
        """Return the stage to blame, and keep the judgement with the trace. Raises NotFound, BadRequest."""
        expected.check()
        trace = self._service.get_trace(trace_id, self._principal)
        found = self._judge(trace, expected)
        score = make_score(
            trace.summary.id, BLAME, at=self._service.now(), source="rule", label=found.stage, note=found.cause
        )
        self._service.store.add_score(score)
        return found

    def probe(self, trace_id: str, expected: Expectation) -> Mapping[str, int]:
        """Return where what was expected stands in each list of the search, run again now; 0: not in it.

        Raises NotFound, and BadRequest where nothing of it is in the index under the filters of the query.
        """
        if not expected.named:
            raise BadRequest("Say what each list should hold: a path, a symbol or a ticket.")
        trace = self._service.get_trace(trace_id, self._principal)
        with self._replayer.any_generation(trace) as index:
            wanted = find_chunks(index, expected, self._service.filters(index, self._principal, request_of(trace)))
            if not wanted:
                named = ", ".join(expected.named)
                raise BadRequest(f"{named} is not in the index under this query's filters; `trace blame` says why.")
            return {name: best_rank(rows, wanted) for name, rows in self._probe(trace, index).items()}

    def _judge(self, trace: Trace, expected: Expectation) -> Blame:
        with self._replayer.any_generation(trace) as index:
            request = request_of(trace)
            everything = make_filters(self._principal, self._service.infos(index))
            asked = self._service.filters(index, self._principal, request)
            wanted = find_chunks(index, expected, asked)
            if wanted or not expected.named:
                lists = self._probe(trace, index)
                ranks = {name: best_rank(rows, wanted) for name, rows in lists.items()}
            else:
                return self._blame_index(trace, index, expected, everything)
        if wanted and (lost := blame_lists(trace, ranks, wanted)):
            return lost
        return self._blame_answer(trace, expected, wanted, ranks)

    def _probe(self, trace: Trace, index: Index) -> dict[str, list[ChunkKey]]:
        """Return every list of the search in full: from a new run on the same generation."""
        again = Capture(shorten=False)
        self._service.recording_into(again).retrieve_again(index, request_of(trace), self._principal)
        return {
            span.name: [key for key, *_ in list_rows(span.output)]
            for span in again.traces[0].spans
            if is_list(span.name)
        }

    def _blame_index(self, trace: Trace, index: Index, expected: Expectation, everything: Filters) -> Blame:
        named = ", ".join(expected.named)
        if find_chunks(index, expected, everything):
            return Blame("retrieval", "wrong_index_or_filter", f"{named} is indexed, but the filters leave it out", {})
        if index.generation == trace.summary.generation:
            with self._service.reading(self._principal) as now:
                if now.generation != index.generation and find_chunks(now, expected, everything):
                    why = f"{named} was indexed only after generation {index.generation}"
                    return Blame("retrieval", "index_stale", why, {})
        return Blame("retrieval", "no_relevant_document", f"{named} is not in the index", {})

    def _blame_answer(
        self, trace: Trace, expected: Expectation, wanted: frozenset[ChunkKey], ranks: Mapping[str, int]
    ) -> Blame:
        if trace.summary.tool != "answer":
            return Blame("none", "none", "what was expected is on the page of hits", ranks)
        composed = self._compose(trace)
        chunks = {chunk.id: chunk for chunk in trace.chunks}
        places = {(c.source, c.path or c.key) for key in wanted if (c := chunks.get(key)) is not None}
        is_cited = not wanted or any((c.source, c.path or c.key) in places for c in composed.citations)
        missing = [text for text in expected.contains if text.lower() not in (trace.answer or "").lower()]
        if is_cited and not missing:
            return Blame("none", "none", "what was expected is cited and said", ranks)
        return blame_writing(trace, composed, missing, ranks)

    def _compose(self, trace: Trace) -> ComposedAnswer:
        from mcp_server.answering.tape import TapeGap, compose_again

        for mode, why in self._replayer.obstacles(trace):
            if mode == "verify":
                raise BadRequest(f"The answer of this trace cannot be looked into: {why}.")
        try:
            with self._replayer.recorded(trace, Capture()) as run:
                return compose_again(trace.summary.query, trace.replay, read_chunks(trace), run)
        except TapeGap as gap:
            raise BadRequest(f"The answer of this trace cannot be looked into: {gap}.") from gap


def find_chunks(index: Index, expected: Expectation, filters: Filters) -> frozenset[ChunkKey]:
    """Return the chunks that are what was expected."""
    found: set[ChunkKey] = set()
    for path in expected.paths:
        for source in sorted(filters.sources):
            now = index.moved_to(source, path, filters) or path
            found.update(chunk.id for chunk in index.document_chunks(source, now, filters))
    for symbol in expected.symbols:
        found.update(hit.chunk_id for hit in index.find_symbol(symbol, filters, loose=False))
    for key in expected.tickets:
        found.update(index.find_keys(key, filters))
    return frozenset(found)


def is_list(stage: str) -> bool:
    """Tell whether a stage's ranks are worth showing."""
    return stage in RETRIEVERS or stage in ("fusion", "rerank", "diversify")


def best_rank(rows: Sequence[ChunkKey], wanted: Iterable[ChunkKey]) -> int:
    """Return the first rank of any wanted chunk, 0 where there is none."""
    kept = frozenset(wanted)
    return next((rank for rank, key in enumerate(rows, 1) if key in kept), 0)


def blame_lists(trace: Trace, ranks: Mapping[str, int], wanted: frozenset[ChunkKey]) -> Blame | None:
    """Return the blame where a wanted chunk did not reach the page or the context; None where it did."""
    if not any(rank for name, rank in ranks.items() if name in RETRIEVERS):
        if NO_VECTORS.intersection(trace.summary.degraded):
            return Blame(
                "retrieval", "embedding_drift", "it was searched without vectors, and words did not find it", ranks
            )
        return Blame("retrieval", "no_relevant_document", "it is indexed, but no list of candidates has it", ranks)
    shown = {key for span in trace.spans if span.name in ("freshness", "context") for key, *_ in list_rows(span.output)}
    if shown.intersection(wanted):
        return None
    for span in trace.spans:
        reasons = {key: reason for key, reason, _ in list_rows(span.dropped) if key in wanted}
        if span.name == "context" and reasons:
            return Blame(
                "context", "truncated", f"it was left out of the context: {next(iter(reasons.values()))}", ranks
            )
    order = [name for name in ("fusion", "rerank", "diversify") if not ranks.get(name)]
    step = (
        f"it is not among the first of {order[0]}"
        if order
        else f"it ranked #{ranks.get('diversify') or ranks.get('rerank')}"
    )
    return Blame("ranking", "lost_in_fusion_or_rerank", f"{step}, below what was shown", ranks)


def blame_writing(trace: Trace, composed: ComposedAnswer, missing: Sequence[str], ranks: Mapping[str, int]) -> Blame:
    """Return the blame for an answer that had the evidence and did not use it."""
    if "parse_failed" in trace.summary.degraded:
        return Blame("post-processing", "parse_failure", "the model's reply could not be read", ranks)
    if composed.abstained:
        return Blame(
            "post-processing", "presentation_stripped_content", "it was in the context; the answer abstained", ranks
        )
    struck = [c for c in composed.claims if c.verdict in ("fabricated", "contradicted")]
    written = f"{trace.raw_output or ''} {' '.join(claim.text for claim in composed.claims)}".lower()
    if missing and all(text.lower() in written for text in missing):
        if any(text.lower() in claim.text.lower() for text in missing for claim in struck):
            return Blame("post-processing", "citation_matching", "it was written, and the ledger struck it", ranks)
        return Blame(
            "post-processing", "presentation_stripped_content", "it was written, and the final text lacks it", ranks
        )
    if trace.summary.model is None:
        return Blame(
            "model", "tool_configuration", "it was in the context; the extractive generator chose other lines", ranks
        )
    if sampled(trace):
        return Blame(
            "model", "sampling_too_free", "it was in the context; the model, with a temperature, left it out", ranks
        )
    reason = "it was in the context, and the model left it out: replay with another prompt, then with another model"
    return Blame("prompt", "missing_refusal_or_cite_rule", reason, ranks)


def sampled(trace: Trace) -> bool:
    """Tell whether the model was asked with a temperature above 0."""
    configs: list[Any] = [span.config for span in trace.spans if span.name == "model" and isinstance(span.config, dict)]
    return any((config.get("temperature") or 0) > 0 for config in configs)
