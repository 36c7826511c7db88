"""The search algorithm, top to bottom. Stages are pure functions on values; only this module knows the trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from ingest.errors import EmbeddingError, VectorUnavailable
from ingest.index.schema import SAID_FIELDS
from ingest.model import Chunk, Filters
from mcp_server.errors import Unavailable
from mcp_server.results import MissingName
from mcp_server.retrieval.ageing import age_factors, leave_out, make_room, notes_on_expired
from mcp_server.retrieval.candidates import (
    RankedList,
    retrieve_symbol,
    retrieve_text,
    retrieve_vector,
)
from mcp_server.retrieval.entities import resolve_entities
from mcp_server.retrieval.features import Coverage, FileKey, Floats, Matcher, file_key
from mcp_server.retrieval.frames import notes_on_places, retrieve_frames
from mcp_server.retrieval.fusion import Fused, fuse
from mcp_server.retrieval.history import retrieve_history
from mcp_server.retrieval.links import retrieve_links
from mcp_server.retrieval.model import Entity, QueryTerm, RankedChunk, Retrieval, tell_renamed, use_present_names
from mcp_server.retrieval.narrowing import notes_on_filters
from mcp_server.retrieval.query import MAX_TERMS, ParsedQuery, normalise_query, parse_query
from mcp_server.retrieval.references import kinds_behind, retrieve_references
from mcp_server.retrieval.rerank import (
    Candidates,
    Ranked,
    Ranking,
    Signals,
    is_one_of,
    keep_order,
    name_hashes,
    rerank,
    uses_name,
)
from mcp_server.retrieval.users import retrieve_users
from mcp_server.retrieval.weights import DEFAULT_WEIGHTS, RankWeights
from traces.model import TraceFields

if TYPE_CHECKING:
    from ingest.index import Index


class Trace(Protocol):
    """What the pipeline needs of a trace."""

    def span(self, name: str) -> Any:  # noqa: ANN401 - a context manager whose value has record(...)
        """Open a span."""
        ...

    def set(self, **values: Unpack[TraceFields]) -> None:
        """Set facts of the query."""
        ...

    def add_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Name the chunks that the recorded lists speak of."""
        ...


BESIDE = ("vector", "history", "references")  # run in threads of their own: multiplying vectors needs no interpreter
USE_DEPTH = 40  # fused candidates that are searched for uses of a name
TRACED = 20  # entries of the fused and the ranked list that a trace keeps with their texts
_POOL = ThreadPoolExecutor(max_workers=4, thread_name_prefix="retrieve")
AMBIGUOUS = 3  # definitions of one name, from which on the answer says how many there are
FEATURE_WORDS = {
    "frame": "in the stack trace",
    "definition": "defines it",
    "joined_name": "defines what these words name",
    "use": "uses it",
    "path": "file name",
    "history": "similar commits",
    "references": "linked to the code asked about",
}
# What ranking can fail with: it computes, and reads nothing from disk.
RERANK_FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def may_pass(error: BaseException) -> bool:
    """Tell whether a vector side that cannot be read now may be readable in a moment (K1).

    One that the index never had has no cause to wait for.
    """
    return isinstance(error, VectorUnavailable) and error.__cause__ is not None


PATIENT = Retrying(
    retry=retry_if_exception(may_pass),
    stop=stop_after_attempt(4),
    wait=wait_exponential(multiplier=0.01, max=0.1),
    reraise=True,
)
RETRIEVERS: dict[str, Callable[[Index, ParsedQuery, Filters, RankWeights], RankedList]] = {
    "text": retrieve_text,
    "vector": retrieve_vector,
    "symbol": retrieve_symbol,
    "link": retrieve_links,
    "history": retrieve_history,
    "frames": retrieve_frames,
    "references": retrieve_references,
    "users": retrieve_users,
}


def search(
    index: Index,
    text: str,
    filters: Filters,
    trace: Trace,
    *,
    weights: RankWeights = DEFAULT_WEIGHTS,
    strict: bool = False,
    wanted: int = 0,
    how_sure: bool = True,
) -> Retrieval:
    """Search one generation; the first `wanted` chunks, at least 20, are read with their texts, and say why.

    `how_sure`: whether `top_text_norm` is asked for, which takes a search of its own.

    Raises Unavailable under `strict` when a retriever fails.
    """
    with trace.span("normalise") as span:
        normalised = normalise_query(text)
        span.record(input={"chars": len(text)}, output={"query_norm": normalised})
    with trace.span("route") as span:
        query = parse_query(normalised)
        span.record(output={"route": query.route, "identifiers": query.identifiers, "paths": query.paths})
        trace.set(query_norm=normalised, route=query.route, transform="none", generation=index.generation)
    expired = index.expired(filters)
    weights = make_room(adapt(weights, query), expired)
    ahead = start_ahead(index, query, filters, weights, trace)
    with trace.span("entities") as span:
        entities, missing = resolve_entities(index, query, filters)
        resolved = [[entity.text, entity.kind, list(entity.places)] for entity in entities]
        span.record(output={"entities": resolved, "missing": [name.name for name in missing]})
    with trace.span("transform") as span:
        asked, query = query, correct_names(index, query, filters, entities, missing)
        written = len(query.terms)
        query, counts, idf = weigh_query(index, query, filters)
        kept = [[term.token, round(term.weight * idf[term.token], 3)] for term in query.terms]
        span.record(input={"terms": written}, output={"transform": "none", "terms": kept, "frames": len(query.frames)})
    lists, degraded = retrieve_all(index, query, filters, weights, trace, strict, ahead)
    lists, left_out = leave_out(index, lists, expired)
    with trace.span("fusion") as span:
        fused = fuse(lists, list_weights(query, weights), weights.rrf_k, weights.candidates)
        matcher, coverage = Matcher(keyword_weights(query, idf)), Coverage(query, idf)
        candidates = read_candidates(index, query, fused, matcher, coverage)
        span.record(
            config={"weights": list_weights(query, weights), "rrf_k": weights.rrf_k},
            dropped=[[i, f"expired {expired[file_key(file)]}"] for i, file in left_out.items()],
            output=[
                [i, score, dict(fused.contributions(at))]
                for at, (i, score) in enumerate(zip(fused.ids[:TRACED].tolist(), fused.scores.tolist(), strict=False))
            ],
        )
    with trace.span("rerank") as span:
        ages = age_factors(candidates.files, filters, weights)
        signals = read_signals(index, query, lists, fused, candidates, ages)
        ranking, skipped = rank(query, matcher, coverage, candidates, signals, weights, strict)
        degraded = (*degraded, *skipped)
        ranked = ranking.first(max(wanted, TRACED))
        chunks = index.chunks([item.id for item in ranked])
        span.record(output=[[item.id, item.score, dict(item.features)] for item in ranked[:TRACED]])
        trace.add_chunks(chunks[:TRACED])
    with trace.span("diversify") as span:
        span.record(config={"saturation": weights.saturation}, output=[[r.id, r.score] for r in ranked[:TRACED]])
        trace.set(chunks_retrieved=len(fused), degraded=degraded)
    reasons = partial(
        explain,
        coverage=coverage,
        found={n: found.by_id() for n, found in lists.items()},
        expired=expired,
        asks_for_lines=bool(query.places),
    )
    emptied = tuple(notes_on_filters(index, filters))
    return Retrieval(
        query=query.text,
        route=query.route,
        chunks=tuple(
            RankedChunk(chunk, r.score, reasons(r) if rank <= wanted else (), dict(r.features))
            for rank, (chunk, r) in enumerate(zip(chunks, ranked, strict=True), 1)
        ),
        files=tuple(ranking.files()),
        entities=entities,
        not_found=missing,
        terms=tuple(
            QueryTerm(t.token, idf.get(t.token, 0.0), counts.get(t.token, 0), t.word, t.form) for t in query.terms
        ),
        top_text_norm=normalised_top(index, query, filters, idf) if how_sure else 0.0,
        vector_top=float(lists["vector"].scores.max(initial=0.0)) if "vector" in lists else 0.0,
        generation=index.generation,
        degraded=degraded,
        where=filters.where,
        emptied=emptied,
        notes=(
            *notes_on(asked, query, written, entities, lists),
            *notes_on_places(index, query, filters),
            *emptied,
            *notes_on_expired(left_out.values(), (item.file for item in ranked), expired),
        ),
    )


def rank(
    query: ParsedQuery,
    matcher: Matcher,
    coverage: Coverage,
    candidates: Candidates,
    signals: Signals,
    weights: RankWeights,
    strict: bool,
) -> tuple[Ranking, tuple[str, ...]]:
    """Return the candidates in final order; where ranking fails, in that of the fusion, which is said."""
    try:
        return rerank(query, matcher, coverage, candidates, signals, weights), ()
    except RERANK_FAULTS as error:
        if strict:
            raise Unavailable(f"Ranking failed ({type(error).__name__}: {error}) and strict = true.") from error
        return keep_order(candidates), ("rerank_skipped",)


def adapt(weights: RankWeights, query: ParsedQuery) -> RankWeights:
    """Return the weights for this kind of query."""
    if query.users_of:
        weights = weights.for_users()
    if query.is_report:
        return weights.for_report()
    return weights.for_question() if query.is_question else weights


def weigh_query(
    index: Index, query: ParsedQuery, filters: Filters
) -> tuple[ParsedQuery, dict[str, int], dict[str, float]]:
    """Return the query with its rarest words only, how many chunks hold each of their tokens, and their idf."""
    known = knowable(index, filters)
    counts = index.term_stats([term.token for term in query.terms], known)
    idf = term_weights(index.chunk_count(known) if known else index.manifest.chunks, counts)
    if len(query.terms) > MAX_TERMS:
        # What occurs nowhere can find nothing; what is left is sorted by how much it tells, then as it was written.
        rarest = sorted((t for t in query.terms if counts[t.token]), key=lambda t: -t.weight * idf[t.token])[:MAX_TERMS]
        kept = set(rarest)
        query = replace(query, terms=tuple(term for term in query.terms if term in kept))
    return query, counts, idf


def knowable(index: Index, filters: Filters) -> Filters | None:
    """Return filters for all that the caller's groups may see; None where that is the whole generation."""
    states = index.manifest.sources
    if all(filters.groups.intersection(state.groups) for state in states) and not filters.shielded:
        return None
    return Filters(filters.groups, frozenset(state.name for state in states), shielded=filters.shielded)


def read_candidates(index: Index, query: ParsedQuery, fused: Fused, matcher: Matcher, coverage: Coverage) -> Candidates:
    """Return what ranking reads of each fused chunk."""
    rows = index.rows(fused.ids.tolist())
    files, file = rows.documents
    name_of, name_bits, hashes = rows.name_bits(matcher.relate)
    asked = name_of[is_one_of(hashes, name_hashes(query))]
    return Candidates(
        fused=fused,
        file=file,
        files=files,
        kinds=[index.kind_of(row.source) for row in files],
        path_bits=rows.path_bits(matcher.relate),
        found=rows.holding(coverage.tokens),
        name_of=name_of,
        name_bits=name_bits,
        defining={at: rows.definitions(at) for at in dict.fromkeys(asked.tolist())},
    )


def read_signals(
    index: Index,
    query: ParsedQuery,
    lists: Mapping[str, RankedList],
    fused: Fused,
    candidates: Candidates,
    ages: Floats,
) -> Signals:
    """Return what rerank needs besides the candidates."""

    def by_file(retriever: str) -> dict[FileKey, float]:
        """Return the score of each file; of several chunks of one that of the best."""
        if retriever not in lists:
            return {}
        voters = lists[retriever]
        files = candidates.file[fused.places(voters.ids)].tolist()
        scored = zip(reversed(files), reversed(voters.scores.tolist()), strict=True)
        return {file_key(candidates.files[place]): score for place, score in scored}

    return Signals(
        nearest=lists.get("vector"),
        votes=by_file("history"),
        frames={c.chunk_id: c.score for c in lists.get("frames", ())},
        callers={c.chunk_id: c.score for c in lists.get("users", ())},
        references=by_file("references"),
        using=find_users(index, query, fused),
        ages=ages,
    )


def find_users(index: Index, query: ParsedQuery, fused: Fused) -> frozenset[int]:
    """Return which of the best candidates hold the one name that is asked for; this takes their texts."""
    if query.route != "symbol":
        return frozenset()
    return frozenset(c.id for c in index.chunks(fused.ids[:USE_DEPTH].tolist()) if uses_name(query, c.text))


def correct_names(
    index: Index, query: ParsedQuery, filters: Filters, entities: Sequence[Entity], missing: Sequence[MissingName]
) -> ParsedQuery:
    """Return the query with files under their present names, and with the nearest name for a lone slip."""
    present = use_present_names(query.text, entities)
    if present != query.text:
        return parse_query(present)
    if query.route != "symbol" or not missing:
        return query
    near = index.slip_of(missing[0].name, filters)
    return parse_query(near) if near else query


def notes_on(
    asked: ParsedQuery,
    query: ParsedQuery,
    written: int,
    entities: Sequence[Entity],
    lists: Mapping[str, RankedList],
) -> Iterator[str]:
    """Yield what whoever asked should know of the query."""
    renamed = [entity for entity in entities if entity.kind == "renamed"]
    yield from map(tell_renamed, renamed)
    if asked.text != query.text and not renamed:
        yield f"Nothing is called `{asked.text}`; these hits are for `{query.text}`, the nearest name."
    for entity in entities:
        if entity.kind == "symbol" and entity.definitions > AMBIGUOUS:
            yield (
                f"`{entity.text}` has {entity.definitions} definitions. Name its class or file, narrow `path_glob`, or "
                'list them with mode="all".'
            )
    if query.is_bare:
        yield "The query has common words only, so the order says little: name what you look for."
    if written > len(query.terms):
        yield f"The query is long: its {len(query.terms)} rarest words of {written} were looked for."
    if query.frames:
        places = len(lists.get("frames", ()))
        yield f"Stack trace: {len(query.frames)} frames, {places} of them in indexed files, the innermost first."


def start_ahead(
    index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights, trace: Trace
) -> dict[str, Future[RankedList]]:
    """Start what needs the query's text alone, while its names are looked up; a lone name may yet be corrected."""
    early = () if query.route == "symbol" else ("vector",)
    return {name: _POOL.submit(run_retriever, name, index, query, filters, weights, trace) for name in early}


def run_retriever(
    name: str, index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights, trace: Trace
) -> RankedList:
    """Return what one retriever finds, recorded."""
    with trace.span(f"search.{name}") as span:
        try:
            found = RETRIEVERS[name](index, query, filters, weights)
        except VectorUnavailable as error:
            if not may_pass(error):
                raise
            found = PATIENT(RETRIEVERS[name], index, query, filters, weights)
        span.record(output=found.rows())
        return found


def retrieve_all(
    index: Index,
    query: ParsedQuery,
    filters: Filters,
    weights: RankWeights,
    trace: Trace,
    strict: bool,
    ahead: Mapping[str, Future[RankedList]],
) -> tuple[dict[str, RankedList], tuple[str, ...]]:
    """Run the retrievers side by side; a vector side that cannot be read leaves the others, named in `degraded`.

    `ahead`: those that run already.
    """
    run = partial(run_retriever, index=index, query=query, filters=filters, weights=weights, trace=trace)
    needed = [name for name in RETRIEVERS if is_needed(name, query, filters)]
    beside = [name for name in needed if name in BESIDE and name not in ahead]
    pending = {**ahead, **{name: _POOL.submit(run, name) for name in beside}}
    lists: dict[str, RankedList] = {}
    degraded: list[str] = []
    for name in sorted(needed, key=pending.__contains__):  # our own first: the others run meanwhile
        try:
            lists[name] = pending[name].result() if name in pending else run(name)
        except (VectorUnavailable, EmbeddingError) as error:
            if strict:
                raise Unavailable(f"{error} (strict = true forbids answering from text search only.)") from error
            degraded.append("embed_unavailable" if isinstance(error, EmbeddingError) else "vector_unavailable")
    return lists, tuple(degraded)


def is_needed(retriever: str, query: ParsedQuery, filters: Filters) -> bool:
    """Tell whether a retriever can have anything to say."""
    if retriever == "link":
        return bool(query.tickets or query.designs)
    if retriever == "history":
        return bool(filters.history or filters.followed) and query.route == "conceptual" and not query.frames
    if retriever == "frames":
        return bool(query.frames or query.places)
    if retriever == "users":
        return bool(query.users_of)
    if retriever == "references":
        return query.route == "conceptual" and (filters.followed > filters.sources or bool(kinds_behind(query)))
    return True


def list_weights(query: ParsedQuery, weights: RankWeights) -> dict[str, float]:
    """Return each retriever's weight for this kind of query."""
    vector = weights.vector_symbol if query.route in ("symbol", "path", "ticket", "design") else weights.vector
    text = weights.text_key if query.route in ("ticket", "design") else weights.text
    return {
        "text": text,
        "vector": vector,
        "symbol": weights.symbol,
        "link": weights.link,
    }


def term_weights(total: int, counts: Mapping[str, int]) -> dict[str, float]:
    """Return the BM25 idf of each query term."""
    return {t: math.log(1 + (total - n + 0.5) / (n + 0.5)) for t, n in counts.items()}


def keyword_weights(query: ParsedQuery, idf: Mapping[str, float]) -> dict[str, float]:
    """Return the content words of the query, weighted by how rare they are."""
    weights: dict[str, float] = {}
    for term in query.terms:
        word = term.word.lower()
        if term.is_whole and len(word) > 1:
            weights[word] = term.weight * max(idf.get(term.token, 0.0), 0.5)
    return weights


def normalised_top(index: Index, query: ParsedQuery, filters: Filters, idf: Mapping[str, float]) -> float:
    """Return the best BM25 score over its attainable maximum, (k1 + 1) x sum of idf (k1 = 1.2)."""
    whole = [term for term in query.terms if term.is_whole]
    attainable = 2.2 * sum(idf.get(term.token, 0.0) for term in whole)
    best = index.search_text([(term.token, 1.0) for term in whole], filters, 1, dict.fromkeys(SAID_FIELDS, 1.0))
    return min(1.0, best[0].score / attainable) if best and attainable > 0 else 0.0


def explain(
    ranked: Ranked,
    coverage: Coverage,
    found: Mapping[str, Mapping[int, tuple[int, float]]],
    expired: Mapping[FileKey, str],
    asks_for_lines: bool,
) -> tuple[str, ...]:
    """Return why a chunk ranks where it does, in the words of a person, the shortest and strongest first.

    `found`: rank and score of each chunk by retriever.
    """
    features, chunk_id = dict(ranked.features), ranked.id
    reasons = [f"expired {expired[key]}"] if (key := file_key(ranked.file)) in expired else []
    if chunk_id in found.get("users", {}):
        reasons.append("calls it" if found["users"][chunk_id][1] == 1.0 else "uses it")
    words_for = {**FEATURE_WORDS, "frame": "the line asked for"} if asks_for_lines else FEATURE_WORDS
    reasons += [text for name, text in words_for.items() if features.get(name, 0.0) > 0]
    shares = sorted(ranked.contributions, key=lambda item: (-item[1], item[0]))
    reasons += [f"{name} #{found[name][chunk_id][0]}" for name, share in shares if share > 0]
    words = coverage.words(ranked.found)
    if words:
        reasons.append(f"words: {', '.join(words)}")
    nearest = found.get("vector", {}).get(chunk_id)
    if nearest is not None:
        reasons.append(f"similarity {nearest[1]:.2f}")
    return tuple(reasons)
