"""From a question to its result: cache -> retrieve -> pack -> compose -> store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

import prompts
from ingest.errors import EmbeddingError, IndexCorrupt
from ingest.model import Filters
from ingest.redact import MASK, redact
from ingest.untrusted import clean_text, find_flags
from mcp_server.access import find_owner
from mcp_server.answering.answer import EXTRACTIVE, AnswerSettings, ComposedAnswer
from mcp_server.answering.calibration import Calibrations
from mcp_server.answering.changes import ChangeReader
from mcp_server.answering.evidence import Evidence
from mcp_server.answering.freshness import FreshnessChecker
from mcp_server.answering.generator import Generator
from mcp_server.answering.judge import judge_claims
from mcp_server.answering.model import Egress, ModelGenerator
from mcp_server.answering.resolver import IndexResolver
from mcp_server.answering.rewriting import ModelRewriter
from mcp_server.answering.slots import find_slots
from mcp_server.answering.tape import compose_recorded
from mcp_server.cache import (
    KEEP_S,
    NEAR_SIMILARITY,
    Cache,
    CachedEmbedder,
    CacheUnavailable,
    Cited,
    DaySpending,
    Entry,
    Key,
    SingleFlight,
    make_key,
)
from mcp_server.config import Setup, TransformSetting
from mcp_server.errors import Unavailable
from mcp_server.fallback import Cancellation, Deadline
from mcp_server.model_calls import ModelCalls
from mcp_server.results import AnswerRequest, AnswerResult, Listener, ignore
from mcp_server.retrieval.context import SlotCaps, add_linked, add_whole_definitions, keep_links, pack_context
from mcp_server.retrieval.model import Retrieval
from mcp_server.retrieval.query import SMALLTALK, normalise_query
from mcp_server.retrieval.transforms import retrieve
from mcp_server.tokens import TokenEstimator
from traces.recorder import TraceRun

if TYPE_CHECKING:
    from ingest.embedding import Embedder
    from ingest.index import Index
    from mcp_server.llm import OpenAILLM

PIPELINE_VERSION = "9"  # part of a cached answer's key: raise it when the same input gives another answer
CONTEXT_HITS = 20  # ranked chunks that the context is packed from
ANSWER_HITS = 60  # ranked chunks that are read to tell what else of their files belongs to an answer
# What a still valid cached answer is better than, however old it is within the hour.
OUTAGES = frozenset({"llm_down", "budget_exceeded", "embed_unavailable"})
RESULT = TypeAdapter(AnswerResult)


@dataclass(frozen=True, slots=True)
class Question:
    """One question with everything that its answer may depend on."""

    request: AnswerRequest
    filters: Filters
    index: Index
    checker: FreshnessChecker
    trace: TraceRun
    age_s: float
    started: float  # time.perf_counter()
    strict: bool = False
    use_cache: bool = True
    transform: TransformSetting | None = None  # None: as configured
    listen: Listener = ignore
    cancellation: Cancellation = Cancellation()
    stale_codes: Callable[[], tuple[str, ...]] = lambda: ()


class Asking:
    """Answers questions; holds the model's client, the caches and the prompts' versions."""

    def __init__(
        self,
        setup: Setup,
        versions: Mapping[str, int],
        cache: Cache,
        embedder: Embedder | None,
        key: bytes,
        now: Callable[[], datetime],
        warn: Callable[[str], None],
    ) -> None:
        self._setup = setup
        self._settings = setup.settings
        self._versions = versions
        self._composition = prompts.compose("answer", versions["answer"])
        self._judge = prompts.compose("ground_judge", versions["ground_judge"])
        self._cache = cache
        self._embedder = embedder
        self._key = key
        self._now = now
        self._flight = SingleFlight()
        self._calibrations = Calibrations()
        self._estimator = TokenEstimator()
        budget = self._settings.budget
        self._spending = DaySpending(cache, budget.daily_usd, budget.hard_stop, now, warn)
        self._llm: OpenAILLM | None = None
        if self._settings.llm.is_on:
            from mcp_server.llm import OpenAILLM

            self._llm = OpenAILLM(self._settings.llm, setup.llm_api_key)

    def close(self) -> None:
        """End the connections to the model."""
        if self._llm is not None:
            self._llm.close()

    def answer(self, question: Question) -> AnswerResult:
        """Return the answer to a question, from the cache where it still holds. Raises Unavailable under `strict`."""
        flag_question(question)
        question = replace(question, request=without_secrets(question.request))
        visit = _Visit(self._cache, self._make_key(question), question, self._vector_of, self._now().timestamp())
        cached = visit.look_up(self._settings.cache.ttl_s) if self._uses_cache(question) else None
        if cached is not None:
            result = self._give_again(question, cached, visit.codes)
        elif self._uses_cache(question):
            result, shared = self._flight.run(visit.flight_key, lambda: self._work_out(question, visit))
            result = self._share(question, result) if shared else result
        else:
            result = self._work_out(question, visit)
        question.trace.set(cache=visit.hits, cached=result.cached)
        if question.strict and result.degraded:
            raise Unavailable(
                f"Degraded ({', '.join(result.degraded)}) and strict = true: no answer is given. "
                "The service is not fully available; try again."
            )
        return result

    # -- working out -------------------------------------------------------------------------------------------------

    def _work_out(self, question: Question, visit: _Visit) -> AnswerResult:
        visit.note_vector(self._embedder)
        calls = self._open_calls(question)
        try:
            composed = self._compose(question, calls)
            if calls is not None and self._settings.llm.judge:
                composed = judge_claims(composed, calls, self._judge, redact_all)
        finally:
            if calls is not None:
                calls.close()
        visit.hits["provider"] = calls is not None and calls.account.cached > 0
        stale = question.stale_codes()
        degraded = join(question.index.degraded, composed.degraded, stale, visit.codes)
        if OUTAGES.intersection(degraded) and self._uses_cache(question):
            cached = visit.look_up(KEEP_S)
            if cached is not None:
                return self._give_again(question, cached, degraded)
        result = self._finish(question, composed, degraded, calls)
        # The list of what is open may repeat the question: one with a secret in it is not stored.
        if self._uses_cache(question) and is_worth_keeping(result) and not redact(question.request.question).counts:
            visit.store(result, composed)
            result = replace(result, degraded=join(result.degraded, visit.codes))
        return result

    def _compose(self, question: Question, calls: ModelCalls | None) -> ComposedAnswer:
        index, trace, filters = question.index, question.trace, question.filters
        retrieval = greet(question.request.question, index.generation, trace) or retrieve(
            index,
            question.request.question,
            filters,
            trace,
            question.strict,
            ANSWER_HITS,
            transform=question.transform or self._settings.answer.transform,
            rewriter=None if calls is None else ModelRewriter(calls, self._versions, redact_all),
        )
        question.cancellation.check()
        whole = add_whole_definitions(
            retrieval.chunks[:CONTEXT_HITS],
            retrieval.entities,
            lambda source, ref: index.document_chunks(source, ref, filters),
        )
        changes = ChangeReader(index.data_dir, index.manifest.sources)
        links = find_slots(index, retrieval, filters, changes)
        limits = self._settings.answer
        caps = SlotCaps(limits.code_tokens, limits.tickets_tokens, limits.designs_tokens, limits.history_tokens)
        packed = pack_context(add_linked(whole, links), limits.budget_tokens, caps, limits.file_tokens)
        context = keep_links(packed, links)
        retrieval = replace(retrieval, degraded=join(retrieval.degraded, changes.degraded))
        trace.add_chunks([*(ranked.chunk for ranked in context.kept)])
        flags = sorted({f"evidence:{flag}" for ranked in context.kept for flag in ranked.chunk.flags})
        # Without a model there is no prompt: its length is that of the context, counted at four characters a token.
        trace.set(
            prompt_chars=sum(len(ranked.chunk.text) for ranked in context.kept),
            tokens_estimated=True,
            chunks_used=len(context.kept),
            policy_flags=flags,
        )
        resolver = IndexResolver(index, filters)
        return compose_recorded(
            question.request.question,
            retrieval,
            context,
            resolver,
            question.checker,
            AnswerSettings(thresholds=self._calibrations.of(index.data_dir, index.manifest.embedder)),
            trace,
            self._generator(calls, trace),
            question.listen,
        )

    def _open_calls(self, question: Question) -> ModelCalls | None:
        if self._llm is None:
            return None
        return ModelCalls(
            self._llm,
            question.trace,
            Deadline(self._settings.answer.deadline_s),
            question.cancellation,
            self._spending,
            self._estimator,
            self._now,
            self._settings.environment,
        )

    def _generator(self, calls: ModelCalls | None, trace: TraceRun) -> Generator:
        if calls is None:
            return EXTRACTIVE
        egress = Egress(redact_all, self._redact_block, self._key)
        return ModelGenerator(calls, self._composition, egress, trace)

    @contextmanager
    def generator(self, trace: TraceRun, prompt_version: int | None = None, model: str = "") -> Iterator[Generator]:
        """Yield the configured generator, or one with another prompt or model, for a replay. Raises PromptError."""
        config = self._settings.llm.model_copy(update={"model": model}) if model else self._settings.llm
        if not config.is_on:
            yield EXTRACTIVE
            return
        from mcp_server.llm import OpenAILLM

        llm = OpenAILLM(config, self._setup.llm_api_key)
        budget = Deadline(self._settings.answer.deadline_s)
        label = self._settings.environment
        calls = ModelCalls(llm, trace, budget, Cancellation(), self._spending, self._estimator, self._now, label)
        composition = self._composition if prompt_version is None else prompts.compose("answer", prompt_version)
        try:
            yield ModelGenerator(calls, composition, Egress(redact_all, self._redact_block, self._key), trace)
        finally:
            calls.close()
            llm.close()

    def _redact_block(self, block: Evidence) -> str:
        """Return a block as it may leave this machine: no secrets; personal data by the policy of its source."""
        owner = find_owner(block.chunk.source, {source.name: source for source in self._settings.source})
        personal = owner is None or owner.marks_personal(block.chunk.kind)
        return redact(clean_text(block.render()), personal=personal).text

    def _finish(
        self, question: Question, composed: ComposedAnswer, degraded: tuple[str, ...], calls: ModelCalls | None
    ) -> AnswerResult:
        meta: dict[str, str] = {}
        if composed.mode == "model" and calls is not None:
            prompt = self._composition
            meta = {
                "prompt": prompt.prompt.ref,
                "prompt_sha256": prompt.sha256,
                "prompt_path": prompt.prompt.path,
                "label": self._settings.environment,
                "model": ",".join(calls.account.models),
            }
        return AnswerResult(
            answer=composed.answer,
            mode=composed.mode,
            claims=composed.claims,
            citations=composed.citations,
            ungrounded=composed.ungrounded,
            not_found=composed.not_found,
            stale=composed.stale,
            abstained=composed.abstained,
            cached=False,
            degraded=degraded,
            latency_ms=elapsed_ms(question),
            generation=question.index.generation,
            index_age_s=question.age_s,
            trace_id=question.trace.id,
            nearest=composed.nearest,
            meta=meta,
        )

    # -- caches ------------------------------------------------------------------------------------------------------

    def _uses_cache(self, question: Question) -> bool:
        return question.use_cache and self._settings.cache.enabled

    def _make_key(self, question: Question) -> Key:
        filters, llm = question.filters, self._settings.llm
        asked = [
            sorted(filters.groups),
            sorted(filters.sources),
            sorted(filters.followed),
            sorted(filters.kinds),
            [filters.product, filters.language, filters.path_glob],
            [[item.source, item.half_life_days, item.expires_days] for item in filters.ageing],
            sorted({day for day in question.index.expired(filters).values()}),
            self._composition.sha256 if llm.is_on else "",
            llm.model_dump(mode="json"),
            self._settings.answer.model_dump(mode="json"),
            question.index.manifest.embedder,
            question.strict,
            question.transform,
            [f"{name}@{version}" for name, version in sorted(self._versions.items())],
            PIPELINE_VERSION,
        ]
        return make_key(normalise_query(question.request.question), asked)

    def _vector_of(self, text: str) -> bytes | None:
        """Return the vector of a question, None without an embedder or where it fails."""
        import numpy as np

        if self._embedder is None or not self._settings.cache.semantic:
            return None
        try:
            return np.asarray(self._embedder.embed_query(text), dtype=np.float32).tobytes()
        except EmbeddingError:  # the search of the same question says so
            return None

    def _give_again(self, question: Question, entry: Entry, codes: tuple[str, ...]) -> AnswerResult:
        """Return a stored answer under this query's name, with what is degraded now."""
        result = RESULT.validate_json(entry.result)
        with question.trace.span("respond") as span:
            span.record(input={"cached_trace_id": result.trace_id}, output={"answer": result.answer})
        degraded = join(question.index.degraded, codes, question.checker.degraded, question.stale_codes())
        return replace(
            result,
            cached=True,
            cached_at=datetime.fromtimestamp(entry.created_at, UTC).isoformat(timespec="seconds"),
            cached_trace_id=result.trace_id,
            degraded=degraded,
            trace_id=question.trace.id,
            generation=question.index.generation,
            index_age_s=question.age_s,
            latency_ms=elapsed_ms(question),
        )

    def _share(self, question: Question, result: AnswerResult) -> AnswerResult:
        """Return what another caller, who asked the same at the same moment, has just worked out."""
        return replace(
            result,
            cached=True,
            cached_at=result.cached_at or self._now().astimezone(UTC).isoformat(timespec="seconds"),
            cached_trace_id=result.cached_trace_id or result.trace_id,
            trace_id=question.trace.id,
            latency_ms=elapsed_ms(question),
        )


class _Visit:
    """One question's dealings with the cache; `codes` says when it could not be used."""

    def __init__(
        self, cache: Cache, key: Key, question: Question, vector_of: Callable[[str], bytes | None], now: float
    ) -> None:
        self._cache = cache
        self._key = key
        self._question = question
        self._vector_of = vector_of
        self._now = now
        self.codes: tuple[str, ...] = ()
        self.hits: dict[str, bool | None] = {"answer": False, "semantic": False, "embedding": None, "provider": None}

    @property
    def flight_key(self) -> str:
        """What two questions share that may share one run: also the generation."""
        return f"{self._key.exact}:{self._question.index.generation}"

    def look_up(self, max_age_s: float) -> Entry | None:
        """Return a stored answer that still holds; one that does not is forgotten."""
        since = self._now - max_age_s
        try:
            entry = self._cache.find(self._key, since)
            if entry is not None and self._holds(entry):
                self.hits["answer"] = True
                return entry
            near = self._find_near(since)
            if near is not None:
                self.hits["semantic"] = True
                return near
            if entry is not None:
                self._cache.drop(self._key)
        except CacheUnavailable:
            self.codes = ("cache_unavailable",)
        return None

    def _find_near(self, since: float) -> Entry | None:
        import numpy as np

        entries = [entry for entry in self._cache.find_near(self._key, since) if entry.vector]
        raw = self._vector_of(normalise_query(self._question.request.question)) if entries else None
        if raw is None:
            return None
        asked = np.frombuffer(raw, dtype=np.float32)
        for entry in entries:
            vector = np.frombuffer(entry.vector or b"", dtype=np.float32)
            if vector.shape == asked.shape and cosine(asked, vector) >= NEAR_SIMILARITY and self._holds(entry):
                return entry
        return None

    def _holds(self, entry: Entry) -> bool:
        """Tell whether everything that an answer cites is as it was, in this generation and in the tree now."""
        index, checker = self._question.index, self._question.checker
        if not entry.cited:  # nothing to look at: such an answer is about what is not there
            return entry.generation == index.generation
        try:
            chunks = index.chunks([cited.chunk_id for cited in entry.cited])
        except IndexCorrupt:
            return False
        for cited, chunk in zip(entry.cited, chunks, strict=True):
            if chunk.content_hash != cited.content_hash:
                return False
            now = checker.check_lines(chunk, cited.start_line, cited.text, cited.symbol)
            if now.freshness not in ("fresh", "unchecked"):
                return False
        self._question.trace.add_chunks(chunks)  # who may read the trace must be allowed to see what is cited
        return True

    def note_vector(self, embedder: Embedder | None) -> None:
        """Note whether the query's vector is known, where it would have to be asked for."""
        if isinstance(embedder, CachedEmbedder):
            self.hits["embedding"] = embedder.knows(normalise_query(self._question.request.question))

    def store(self, result: AnswerResult, composed: ComposedAnswer) -> None:
        """Keep an answer with what it cites."""
        cited = tuple(
            Cited(p.evidence.chunk.id, p.evidence.chunk.content_hash, p.start_line, p.text, p.symbol)
            for p in composed.pointers
        )
        vector = self._vector_of(normalise_query(self._question.request.question))
        entry = Entry(RESULT.dump_json(result).decode(), cited, result.generation, self._now, vector)
        try:
            self._cache.put(self._key, entry)
        except CacheUnavailable:
            self.codes = ("cache_unavailable",)


def greet(question: str, generation: int, trace: TraceRun) -> Retrieval | None:
    """Return an empty retrieval for what is no question about the corpus: nothing is searched, no model is asked."""
    text = normalise_query(question)
    if not SMALLTALK.match(text):
        return None
    with trace.span("route") as span:
        span.record(output={"route": "smalltalk"})
    trace.set(query_norm=text, route="smalltalk", transform="none", generation=generation)
    return Retrieval((), route="smalltalk", generation=generation, query=text)


def flag_question(question: Question) -> None:
    """Note on the trace what is suspicious in a question: orders to a model, secrets, personal data."""
    text = question.request.question
    flags = {f"question:{flag}" for _, _, flag in find_flags(text, clean_text(text))}
    masked = {f"redacted:{rule}:{count}" for rule, count in redact(text, personal=True).counts}
    question.trace.set(policy_flags=sorted(flags | masked))


def without_secrets(request: AnswerRequest) -> AnswerRequest:
    """Return the request without the secrets that somebody pasted: the index holds none, so they name nothing in it."""
    asked = without_fences(request.question)
    masked = redact(asked).text
    plain = " ".join(MASK.sub(" ", masked).split()) if MASK.search(masked) else asked
    return replace(request, question=plain) if any(c.isalnum() for c in plain) else request


FENCES = re.compile(r"^\s*(?:<([A-Za-z][\w-]*)>)?(?P<question>.*?)\s*</([A-Za-z][\w-]*)>\s*$", re.DOTALL)


def without_fences(question: str) -> str:
    """Return a question without the tags that a prompt put around it: `<question>...</question>`, or a closing one."""
    match = FENCES.match(question)
    if match is None or match[1] not in (None, match[3]) or f"<{match[3]}" in match["question"]:
        return question
    return match["question"].strip() or question


def redact_all(text: str) -> str:
    """Return a text of the asker's as it may leave this machine: no secrets, no personal data, nothing invisible."""
    return redact(clean_text(text), personal=True).text


def is_worth_keeping(result: AnswerResult) -> bool:
    """Tell whether an answer may be given again: whole, undegraded, all it cites as it was indexed."""
    return result.mode != "capabilities" and not result.degraded and not result.stale


def elapsed_ms(question: Question) -> float:
    """Return the milliseconds since the question came."""
    return round((time.perf_counter() - question.started) * 1000, 1)


def cosine(a: Any, b: Any) -> float:  # noqa: ANN401 - numpy vectors
    """Return the cosine of two vectors, 0 where one is null."""
    import numpy as np

    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0


def join(*codes: tuple[str, ...]) -> tuple[str, ...]:
    """Return degraded codes without repeats, in order."""
    return tuple(dict.fromkeys(code for group in codes for code in group))
