"""The one object that wires index, retrieval, answering, traces and access; every surface calls it."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import hmac
import json
import os
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import prompts
from ingest.access import Principal, visible_sources
from ingest.allocator import spare_loaded
from ingest.config import SourceConfig, product_of
from ingest.errors import ConfigError, DiskFull, IndexEmpty, IndexGone, IndexStateError, SourceError
from ingest.model import Chunk, Filters, SourceInfo
from ingest.redact import redact
from mcp_server.access import (
    Domain,
    domain_of,
    hidden_places,
    is_open,
    known_sources,
    list_domains,
    local_principal,
    make_filters,
    may_see,
    reaches,
    sees_everything,
    visible_settings,
)
from mcp_server.admission import Admission
from mcp_server.cache import Cache, CachedEmbedder
from mcp_server.config import Setup, TransformSetting, is_read_only
from mcp_server.egress import Outlet, release
from mcp_server.environment import code_commit, describe_environment
from mcp_server.errors import BadRequest, NotFound, NotReady, ServerError, Unavailable, Unreadable, mark_trace
from mcp_server.fallback import Cancellation
from mcp_server.keyring import KEY_BYTES, read_keys
from mcp_server.results import (
    AnswerEvent,
    AnswerRequest,
    AnswerResult,
    Hit,
    Listener,
    MissingName,
    SearchRequest,
    SearchResult,
    ignore,
)
from mcp_server.upkeep import Upkeep, describe_failed_build, failure_ratio, owner_of, read_upkeep
from traces.activity import Activity
from traces.errors import TraceError, TraceStoreError
from traces.export import DailyExport
from traces.incidents import Incident, IncidentLog
from traces.model import Caller, EntryPoint, Trace, TraceAcl, TraceKind, TraceSummary
from traces.recorder import Keeper, TraceRecorder, TraceRun
from traces.retention import Limits
from traces.store import Sink, TraceQuery, TraceStore, write_stderr

if TYPE_CHECKING:
    from ingest.embedding import Embedder
    from ingest.index import Index
    from mcp_server.answering.calibration import Calibration
    from mcp_server.answering.check import CheckReport
    from mcp_server.answering.freshness import FreshnessChecker
    from mcp_server.answering.resolver import IndexResolver
    from mcp_server.asking import Asking
    from mcp_server.retrieval.excerpts import Excerpt
    from mcp_server.retrieval.occurrences import Occurrence

UPKEEP_S = 1.0  # how long the state of the work is kept: reading it takes as long as a quick query
MAX_SNAPSHOTS = 256  # principals whose view of the settings is kept
STALE_DAYS = 7
STALE_MIN_ANSWERS = 20
MAX_QUERY_CHARS = 20_000
MAX_LIMIT = 50
VERSION = "0.1.0"
READ_AHEAD = 64  # chunks that are read before it is asked again whether to go on
READ_AHEAD_MAX = 150_000  # chunks; of a larger index what is kept is too small a part, and reading it maps all the text
UNKEPT = " No traces are kept while the data directory is read-only."
GROUNDED = ("supported", "weak", "misattributed")  # verdicts of claims that the evidence bears


Follower = Callable[["SearchRequest | AnswerRequest", Principal, str], None]


@dataclass(frozen=True, slots=True)
class Building:
    """A build that runs now; `total` is 0 while it is not known."""

    source: str = ""
    done: int = 0
    total: int = 0

    def describe(self, may_name: Callable[[str], bool]) -> str:
        """Return how far it is, for people; the source only where they may know of it."""
        of = f" of {self.source}" if may_name(self.source) else ""
        share = f" ({self.done * 100 // self.total} %{of})" if self.total else ""
        return f"The index is being built{share}"


@dataclass(frozen=True, slots=True)
class Status:
    """What `codecairn status` and `status://index` show."""

    state: Literal["ready", "index_empty", "index_building", "index_unreadable"]
    generation: int
    index_age_s: float
    chunks: int
    files: int
    embedder: str
    sources: tuple[Mapping[str, Any], ...]
    degraded: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    building: str = ""
    data_dir: str = ""
    files_behind: int | None = None
    watching: str = ""  # events | polling | off; "" = no worker lives
    failed_files: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class _Opened:
    """The generation that queries read now, and how many queries still read each one."""

    index: Index | None = None
    readers: Counter[Index] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, index: Index) -> None:
        """Count a query in; a generation that another one replaced is closed when nobody reads it."""
        replaced, self.index = self.index, index
        self.readers[index] += 1
        if replaced is not None:
            self._close_unread(replaced)

    def leave(self, index: Index) -> None:
        """Count a query out."""
        self.readers[index] -= 1
        self._close_unread(index)

    def _close_unread(self, index: Index) -> None:
        if not self.readers[index]:
            del self.readers[index]
            if index is not self.index:
                index.close()


@dataclass(frozen=True, slots=True)
class _Found:
    """One page of chunks or lines with score and reasons, and how many there are."""

    hits: Sequence[tuple[Chunk | Excerpt | Occurrence, float, tuple[str, ...]]]
    total: int
    not_found: tuple[MissingName, ...] = ()
    degraded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def drift_alarms(index: Index) -> tuple[str, ...]:
    """Return the alarm of thresholds that cannot be trusted, none where all is well."""
    from mcp_server.answering.calibration import describe_drift, load

    known = load(index.data_dir, index.manifest.embedder)
    alarm = describe_drift(known) if known is not None else ""
    return (alarm,) if alarm else ()


class Service:
    """Answers requests of any surface from the current generation."""

    def __init__(
        self,
        setup: Setup,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        log: bool = False,
        kind: TraceKind = "live",
    ) -> None:
        self.setup = setup
        self._kind = kind
        self._now = now
        self._log = log
        self._opened = {domain.name: _Opened() for domain in list_domains(setup)}
        self._embedder: Embedder | None = None
        self._embedder_loaded = False
        self._keys: tuple[bytes, ...] = ()
        self._stand_in = os.urandom(KEY_BYTES)  # for a key that cannot be stored
        self._building: Building | None = None
        self._build_error = ""
        self._alarms: dict[str, str] = {}  # of what runs beside the queries: what it is about -> what is wrong
        self._infos: tuple[Index, Sequence[SourceInfo]] | None = None  # of the index that was asked last
        self._snapshots: dict[Principal, Mapping[str, object]] = {}
        self._upkeep: tuple[float, object, Upkeep] = (0.0, None, Upkeep())
        self._listeners: list[Callable[[int], None]] = []
        self._followers: list[Follower] = []
        self._cache = Cache(setup.data_dir / "cache.db")
        self._asking: Asking | None = None
        self._asking_lock = threading.Lock()
        self.prompts = select_prompts(setup)
        self._activity = Activity()
        limits = setup.settings.server
        self.admission = Admission(limits.max_running, limits.max_waiting, limits.max_wait_s)
        self._reads_only = is_read_only(setup.data_dir)
        keeps_traces = setup.settings.trace.enabled and not self._reads_only
        self._store = open_store(setup, self._activity) if keeps_traces else None
        self._archive = open_archive(setup) if self._reads_only else None  # traces of before, to read
        self._counting: list[Callable[[TraceSummary, tuple[tuple[str, float], ...]], None]] = []
        self._recorder = self._make_recorder(self._store)
        self._incidents = IncidentLog(self._write_incident, now)

    def _make_recorder(self, keeper: Keeper | None) -> TraceRecorder:
        return TraceRecorder(
            keeper,
            env=self.setup.settings.environment,
            service_version=VERSION,
            code_commit=code_commit(),
            redact=redact_personal,
            redact_chunk=lambda text: redact(text).text,  # personal data in it was masked by its source's policy
            environment=describe_environment,
            clock=self._now,
            handled=(ServerError,),
            activity=self._activity,
        )

    def idle_s(self) -> float:
        """Return the seconds since the last query ended, 0 while one runs: for work that can wait."""
        return self._activity.idle_s()

    def recording_into(self, keeper: Keeper, now: datetime | None = None) -> Service:
        """Return the same service whose queries leave their traces with another keeper: for replays; not to close.

        `now`: the moment of the recorded query, from which the age of documents is counted again.
        """
        other = copy.copy(self)
        if now is not None:
            other._now = lambda: now
        other._recorder = self._make_recorder(keeper)
        other._log = False
        other._counting = []
        return other

    def retrieve_again(self, index: Index, request: SearchRequest | AnswerRequest, principal: Principal) -> None:
        """Run what finds chunks for a request, on any generation, and leave its trace. Raises what `search` raises."""
        text = request.query if isinstance(request, SearchRequest) else request.question
        tool = "search_code" if isinstance(request, SearchRequest) else "answer"
        with self._trace(tool, text, "cli", principal, None, vars_of(request)) as trace:
            filters = self.filters(index, principal, request)
            if isinstance(request, SearchRequest):
                self._find(index, request, filters, trace, False, self._read_cursor(request, index, principal))
            else:
                from mcp_server.asking import greet
                from mcp_server.retrieval.transforms import retrieve

                greet(text, index.generation, trace) or retrieve(index, text, filters, trace, False)

    def close(self) -> None:
        """Write what is queued, end connections and let go of the generation."""
        if self._asking is not None:
            self._asking.close()
        self._cache.close()
        self._incidents.close()
        if self._store is not None:
            self._store.close()
        for opened in self._opened.values():
            with opened.lock:
                if opened.index is not None:
                    opened.index.close()
                    opened.index = None

    # -- the index ---------------------------------------------------------------------------------------------------

    @property
    def embedder(self) -> Embedder | None:
        """The configured embedder, loaded once."""
        if not self._embedder_loaded:
            from ingest.embedding import load_embedder

            embedder = load_embedder(self.setup.settings.embedding, self.setup.api_key)
            if embedder is not None and not embedder.local:
                safe = redact_egress
                embedder = CachedEmbedder(embedder, self._cache, self._now, safe)
            self._embedder = embedder
            self._embedder_loaded = True
        return self._embedder

    def set_building(self, building: Building | None, error: str = "") -> None:
        """Say how far a background build is; None when it ended, with its error if it failed."""
        self._building = building
        self._build_error = error

    def set_alarm(self, about: str, sentence: str) -> None:
        """Show a sentence in the status of those who see everything until it is replaced; "" takes it away."""
        others = {name: text for name, text in self._alarms.items() if name != about}
        self._alarms = {**others, about: sentence} if sentence else others  # another thread may be reading the former

    @contextlib.contextmanager
    def reading(self, principal: Principal | None = None) -> Iterator[Index]:
        """Yield the current generation; its files stay until the last query on it ends. Raises NotReady.

        `principal`: who asks; default: who asks where nobody logs in.
        """
        asking = principal or local_principal(self.setup.settings)
        with self._reading(domain_of(self.setup, asking), asking) as index:
            yield index

    @contextlib.contextmanager
    def _reading(self, domain: Domain, asking: Principal) -> Iterator[Index]:
        opened = self._opened.get(domain.name)
        if opened is None:
            raise NotReady(
                "index_empty: no index is kept for these groups. Whoever runs the server adds them to "
                "access.audiences and runs `codecairn index`."
            )
        with opened.lock:
            index = self._current(opened.index, domain, asking)
            opened.enter(index)
        try:
            yield index
        finally:
            with opened.lock:
                opened.leave(index)

    def _current(self, opened: Index | None, domain: Domain, asking: Principal) -> Index:
        from ingest.index import Index

        try:
            if opened is not None:
                return self._refresh(opened)
            limit = self.setup.settings.index.exact_vectors_max
            return Index.open_current(domain.data_dir, self.embedder, exact_vectors_max=limit)
        except IndexEmpty as error:
            raise self._not_ready(asking) from error
        except IndexGone as error:
            raise NotReady(f"index_empty: {error}") from error
        except IndexStateError as error:
            if self._building is not None and opened is None:
                raise self._not_ready(asking) from error  # the first build is just creating its files
            raise Unreadable(f"The index cannot be opened: {error}") from error

    def _refresh(self, opened: Index) -> Index:
        """Return the current index; what else was opened of a data directory that was replaced is opened anew, too."""
        index = opened.refreshed()
        if not index.shares_place(opened):
            self._keys = ()
            self._cache.close()
            if self._store is not None:
                self._store.reopen()
        return index

    def generation(self) -> int:
        """Return the number of the generation that queries read now. Raises NotReady."""
        with self.reading() as index:
            return index.generation

    def on_published(self, listener: Callable[[int], None]) -> None:
        """Call a function with the number of each generation that is published from now on."""
        self._listeners.append(listener)

    def follow(self, follower: Follower) -> None:
        """Call a function with each live request from now on, who asked, and its trace, once it is answered."""
        self._followers.append(follower)

    def _tell_followers(
        self, request: SearchRequest | AnswerRequest, principal: Principal, trace_id: str, entry: EntryPoint
    ) -> None:
        if entry != "eval":
            for follower in self._followers:
                follower(request, principal, trace_id)

    def tell_published(self, generation: int) -> None:
        """Tell the listeners that another generation is served."""
        for listener in self._listeners:
            listener(generation)

    def warm(self) -> None:
        """Open the current generation and load its vectors, before somebody waits for them."""
        with self.reading() as index:
            if self.embedder is None or not self.embedder.local:
                return
            infos = self.infos(index)
            everything = Filters(frozenset(g for i in infos for g in i.groups), frozenset(i.name for i in infos))
            with contextlib.suppress(IndexStateError):  # whoever searches is told
                index.search_vector("warm", everything, 1)

    def group_vectors(self) -> bool:
        """Make the vectors of a very large index quick to search, in seconds, beside queries; tell if there was need.

        Raises NotReady.
        """
        with self.reading() as index:
            return index.group_vectors()

    def calibrate(
        self, *, force: bool = False, go_on: Callable[[], bool] = lambda: True
    ) -> list[tuple[str, Calibration | None]]:
        """Set the thresholds of abstention of every index that changed; return domain and thresholds, None: too small.

        `force`: also of indexes that did not change. `go_on`: asked before each question, so that it can be ended.
        """
        from ingest.index import Index
        from ingest.index.control import is_created
        from mcp_server.answering.calibration import calibrate, is_due, load, save

        # A remote embedder is paid per question: its index gets thresholds for text alone. Else the vectors in memory
        # serve: those of a large index take a gigabyte.
        is_paid = self.embedder is not None and not self.embedder.local
        asking = local_principal(self.setup.settings)
        found: list[tuple[str, Calibration | None]] = []
        for domain in list_domains(self.setup):
            if not is_created(domain.data_dir):
                continue
            opened = Index.open_current(domain.data_dir) if is_paid else self._reading(domain, asking)
            with opened as index:
                known = load(domain.data_dir, index.manifest.embedder)
                if force or is_due(known, index, self._now()):
                    infos = self.infos(index)
                    everything = Filters(
                        frozenset(g for i in infos for g in i.groups), frozenset(i.name for i in infos)
                    )
                    now = self._now().isoformat(timespec="seconds")
                    known = calibrate(index, everything, now, before=known, go_on=go_on)
                    if known is not None:
                        save(known, domain.data_dir)
                found.append((domain.name, known))
        return found

    def _not_ready(self, asking: Principal) -> NotReady:
        if self._building is not None:
            return NotReady(f"index_building: {self._describe_build(asking)}. Ask again in a few seconds.")
        if self._build_error:
            return NotReady(f"index_empty: the index could not be built: {self._describe_build(asking)}")
        reason = self._failed_build(asking)
        return NotReady(f"index_empty: {reason or 'nothing is indexed yet. Run `codecairn index` in the repository.'}")

    def _failed_build(self, asking: Principal) -> str:
        """Return why a build of another process failed, "" where none did; in full for those who see everything."""
        reason = describe_failed_build(domain_of(self.setup, asking).data_dir)
        if not reason or sees_everything(asking, self.setup.settings):
            return reason
        return "The last build failed. Whoever runs the server finds the reason with `codecairn audit show`."

    def _describe_build(self, asking: Principal) -> str:
        """Return how far a build is, or why the last one failed: errors name sources and paths."""
        settings = self.setup.settings
        if self._building is not None:
            return self._building.describe(lambda name: may_see(asking, settings, name))
        if self._build_error and not sees_everything(asking, settings):
            return "The last build failed. Whoever runs the server finds the reason on stderr."
        return self._build_error

    def infos(self, index: Index) -> Sequence[SourceInfo]:
        """Return the sources that are both configured and in the generation: anything else is denied."""
        known = self._infos
        if known is None or known[0] is not index:
            known = self._infos = (index, known_sources(self.setup.settings, index.manifest.sources))
        return known[1]

    def age_s(self, index: Index) -> float:
        """Return the seconds since the generation was built."""
        built = datetime.fromisoformat(index.manifest.created_at.replace("Z", "+00:00"))
        return max(0.0, (self._now() - built).total_seconds())

    # -- search ------------------------------------------------------------------------------------------------------

    def search(
        self,
        request: SearchRequest,
        principal: Principal,
        *,
        entry: EntryPoint = "cli",
        caller: Caller | None = None,
        strict: bool | None = None,
    ) -> SearchResult:
        """Return ranked hits, or every occurrence for `mode = "all"`.

        Raises BadRequest, NotReady, Overloaded, Unavailable.
        """
        with self._trace("search_code", request.query, entry, principal, caller, vars_of(request)) as trace:
            check_query(request.query, "query")
            request = replace(request, query=redact(request.query).text)  # the index holds no secret to be found
            if not 1 <= request.limit <= MAX_LIMIT:
                raise BadRequest(f"`limit` is {request.limit}; it must be between 1 and {MAX_LIMIT}.")
            is_strict = self.setup.settings.strict if strict is None else strict
            with self._admitted(trace), self.reading(principal) as index:
                result = self._search(index, request, principal, trace, is_strict)
                result = self._outlet(index, principal).search(result)
        self._tell_followers(request, principal, trace.id, entry)
        return result

    def _search(
        self, index: Index, request: SearchRequest, principal: Principal, trace: TraceRun, strict: bool
    ) -> SearchResult:
        filters = self.filters(index, principal, request)
        offset = self._read_cursor(request, index, principal)
        found = self._find(index, request, filters, trace, strict, offset)
        from mcp_server.answering.tape import Tape, record_page

        tape = Tape()
        checker = tape.listen("checker", self._checker(index, principal))
        with trace.span("freshness") as span:
            shown = make_page(found.hits, checker)
            record_page(tape, found.hits, shown, trace)
            if request.mode == "ranked":
                shown = self._with_links(index, shown, principal)
            span.record(output=[[hit.chunk_id, None, {"freshness": hit.freshness}] for hit in shown])
        self._incidents.note(found.degraded, ("embedding", "vectors") if request.mode == "ranked" else ())
        stale = self._stale_codes(index, principal, request)
        degraded = join(index.degraded, found.degraded, checker.degraded, stale, self._trace_codes())
        if strict and degraded:
            raise Unavailable(f"Degraded ({', '.join(degraded)}) and strict = true: no result is given.")
        trace.set(degraded=degraded, chunks_used=len(shown), filters=describe(filters))
        ends = range(offset + 1, offset + len(shown) + 1)
        cursors = tuple(self._make_cursor(request, index, principal, n) if n < found.total else None for n in ends)
        return SearchResult(
            hits=shown,
            total=found.total,
            next_cursor=cursors[-1] if cursors else None,
            generation=index.generation,
            index_age_s=round(self.age_s(index), 1),
            degraded=degraded,
            not_found=found.not_found,
            trace_id=trace.id,
            notes=found.notes,
            cursors=cursors,
            files_behind=self.upkeep(index, principal).files_behind,
        )

    def _with_links(self, index: Index, hits: Sequence[Hit], principal: Principal) -> tuple[Hit, ...]:
        """Return the hits with what is linked to them among everything that the caller may see, of any kind."""
        from mcp_server.retrieval.linked import linked_items

        visible = make_filters(principal, self.infos(index))
        chunks = index.chunks([hit.chunk_id for hit in hits])
        documents = {(chunk.source, chunk.ref, chunk.links): chunk for chunk in chunks}
        linked = {document: linked_items(index, chunk, visible) for document, chunk in documents.items()}
        of_hit = (linked[chunk.source, chunk.ref, chunk.links] for chunk in chunks)
        return tuple(replace(hit, linked=own) if own else hit for hit, own in zip(hits, of_hit, strict=True))

    def _find(
        self, index: Index, request: SearchRequest, filters: Filters, trace: TraceRun, strict: bool, offset: int
    ) -> _Found:
        if request.mode == "all":
            return self._find_all(index, request, filters, trace, offset)
        from mcp_server.answering.products import competing_products, product_note
        from mcp_server.retrieval.excerpts import find_excerpt
        from mcp_server.retrieval.query import parse_query
        from mcp_server.retrieval.transforms import retrieve

        retrieval = retrieve(index, request.query, filters, trace, strict, offset + request.limit, how_sure=False)
        ranked = retrieval.chunks[offset : offset + request.limit]
        query = parse_query(retrieval.query)
        hits = [(find_excerpt(query, item.chunk) or item.chunk, item.score, item.why) for item in ranked]
        apart = product_note(competing_products(request.query, retrieval.chunks))
        notes = (*retrieval.notes, *filter(None, [apart]))
        return _Found(hits, len(retrieval.files), retrieval.not_found, retrieval.degraded, notes)

    def _find_all(self, index: Index, request: SearchRequest, filters: Filters, trace: TraceRun, offset: int) -> _Found:
        """Return one page of the lines that hold the query as it is written, and how many there are."""
        from mcp_server.retrieval.narrowing import notes_on_filters
        from mcp_server.retrieval.occurrences import find_occurrences

        with trace.span("search.text") as span:
            found = find_occurrences(index, request.query, filters)
            page = found[offset : offset + request.limit]
            span.record(output=[[item.chunk.id, float(item.count)] for item in page], lines=len(found))
            trace.add_chunks([item.chunk for item in page])
        near = () if found else tuple(index.near_symbols(request.query, filters))
        missing = () if found else (MissingName(request.query, near, filters.where),)
        hits = [(item, 0.0, describe_occurrence(item)) for item in page]
        return _Found(hits, len(found), missing, notes=tuple(notes_on_filters(index, filters)))

    # -- answer ------------------------------------------------------------------------------------------------------

    def answer(
        self,
        request: AnswerRequest,
        principal: Principal,
        *,
        entry: EntryPoint = "cli",
        caller: Caller | None = None,
        strict: bool | None = None,
        use_cache: bool = True,
        transform: TransformSetting | None = None,
        listen: Listener = ignore,
        cancellation: Cancellation | None = None,
    ) -> AnswerResult:
        """Answer a question from the index, every pointer checked.

        Raises BadRequest, NotReady, Overloaded, Unavailable.
        `listen` hears of the evidence and of each claim that passed the ledger, before the answer is whole.
        Raises CancelledError once `cancellation` is set.
        """
        from mcp_server.asking import Question

        started = time.perf_counter()
        with self._trace("answer", request.question, entry, principal, caller, vars_of(request)) as trace:
            check_query(request.question, "question")
            request = replace(request, question=redact(request.question).text)
            cancellation = cancellation or Cancellation()
            with self._admitted(trace, cancellation.check), self.reading(principal) as index:
                filters = self.filters(index, principal, request)
                outlet = self._outlet(index, principal)
                question = Question(
                    request=request,
                    filters=filters,
                    index=index,
                    checker=self._checker(index, principal),
                    trace=trace,
                    age_s=round(self.age_s(index), 1),
                    started=started,
                    strict=self.setup.settings.strict if strict is None else strict,
                    use_cache=use_cache,
                    transform=transform,
                    listen=ignore if listen is ignore else lambda event: listen(outlet.event(event)),
                    cancellation=cancellation,
                    stale_codes=lambda: join(self._stale_codes(index, principal, request), self._trace_codes()),
                )
                result = outlet.answer(self.open_asking().answer(question))
                result = replace(result, files_behind=self.upkeep(index, principal).files_behind)
            self._incidents.note(result.degraded, components_used(result, use_cache))
            trace.set(
                degraded=result.degraded,
                answer=result.answer,
                abstained=result.abstained,
                n_claims=len(result.claims),
                n_supported=sum(claim.verdict in GROUNDED for claim in result.claims),
                n_stale=len(result.stale),
                ungrounded=[
                    {"kind": item.kind, "text": item.text, "verdict": item.verdict, "reason": item.reason}
                    for item in result.ungrounded
                ],
                filters=describe(filters),
            )
        self._tell_followers(request, principal, trace.id, entry)
        return result

    def stream_answer(
        self,
        request: AnswerRequest,
        principal: Principal,
        *,
        entry: EntryPoint = "web",
        caller: Caller | None = None,
        strict: bool | None = None,
        use_cache: bool = True,
        transform: TransformSetting | None = None,
    ) -> Iterator[AnswerEvent | AnswerResult]:
        """Yield the evidence, each claim that passed the ledger, and at last the whole answer, which replaces them.

        Closing the iterator stops the work. Raises what `answer` raises.
        """
        events: queue.SimpleQueue[AnswerEvent | None] = queue.SimpleQueue()
        cancellation = Cancellation()

        def work() -> AnswerResult:
            try:
                return self.answer(
                    request, principal, entry=entry, caller=caller, strict=strict, use_cache=use_cache,
                    transform=transform, listen=events.put, cancellation=cancellation,
                )  # fmt: skip
            finally:
                events.put(None)

        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="answer") as pool:
            future = pool.submit(work)
            try:
                while (event := events.get()) is not None:
                    yield event
                yield future.result()
            finally:
                cancellation.set()

    def open_asking(self) -> Asking:
        """Return what answers questions, made on first use: it loads the answering side, and the model's client."""
        with self._asking_lock:
            if self._asking is None:
                from mcp_server.asking import Asking

                self._asking = Asking(
                    self.setup,
                    self.prompts,
                    self._cache,
                    self.embedder,
                    self._secret(),
                    self._now,
                    write_stderr,
                )
            return self._asking

    def prepare(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Load and read what the first answers need, and leave all that to no garbage collector. Raises NotReady.

        `go_on`: as for `read_ahead`.
        """
        self.open_asking()
        self.read_ahead(go_on)
        spare_loaded()

    def read_ahead(self, go_on: Callable[[], bool] = lambda: True) -> int:
        """Read the names of a part of the index before the first answer waits for them; return how many chunks.

        In a small index that is all of them, of a very large one none. `go_on`: asked now and then, so that it can be
        ended. Raises NotReady.
        """
        from mcp_server.answering.vocabulary import KEPT_TEXTS, vocabulary

        def texts() -> Iterator[str]:
            ids = index.sample_ids(KEPT_TEXTS // 2)
            for start in range(0, len(ids), READ_AHEAD):
                if not go_on():
                    return
                yield from (chunk.text for chunk in index.chunks(ids[start : start + READ_AHEAD]))

        with self.reading() as index:
            return vocabulary().read_ahead(texts()) if index.manifest.chunks <= READ_AHEAD_MAX else 0

    # -- check -------------------------------------------------------------------------------------------------------

    def check(
        self, text: str, principal: Principal, *, excluded: frozenset[str] = frozenset(), entry: EntryPoint = "cli"
    ) -> CheckReport:
        """Return the verdict on each statement of anybody's text. Raises BadRequest, NotReady.

        `excluded`: paths of documents under check, which are no evidence for themselves.
        """
        from mcp_server.answering.check import check_text
        from mcp_server.answering.resolver import IndexResolver, Tree

        with self._trace("check", text, entry, principal, None, {}) as trace, self.reading(principal) as index:
            filters = make_filters(principal, self.infos(index))
            places = [state.location for state in index.manifest.sources if state.name in filters.sources]
            tree = Tree([Path(place) for place in places if place], hidden_places(principal, self.setup.settings))
            report = check_text(text, IndexResolver(index, filters, tree, excluded))
            trace.set(n_claims=len(report.claims), filters=describe(filters))
        return report

    # -- traces, status, documents -----------------------------------------------------------------------------------

    def explain(self, trace_id: str, stage: str, principal: Principal) -> str:
        """Return a trace for an agent or a person. Raises NotFound for an unknown or not permitted one."""
        from traces.report import render_trace

        budget = self.setup.settings.server.max_result_chars
        trace = self.get_trace(trace_id, principal)
        report = render_trace(replace(trace, scores=tuple(self.store.scores(trace.summary.id))), stage, budget)
        return release(report, False, False)

    def get_trace(self, trace_id: str, principal: Principal) -> Trace:
        """Return one trace. Raises NotFound."""
        trace = self.store.get(trace_id.strip(), self.may_read(principal))
        if trace is None:
            raise NotFound(
                f"There is no trace {trace_id.strip()[:64]!r}. A trace id stands in the last line of each result; "
                f"`codecairn trace list` shows the latest.{UNKEPT if self._reads_only else ''}"
            )
        return trace

    def list_traces(
        self, principal: Principal, limit: int = 20, query: TraceQuery = TraceQuery()
    ) -> list[TraceSummary]:
        """Return the latest traces that the principal may read and that the query describes; a file by any name."""
        if query.path:
            query = replace(query, former=self._other_names(query.path, principal))
        return self.store.find(query, self.may_read(principal), limit=limit)

    def _other_names(self, path: str, principal: Principal) -> tuple[str, ...]:
        """Return the other paths that a file is known to have had; none where nothing is indexed."""
        try:
            with self.reading(principal) as index:
                return index.names_of(path, make_filters(principal, self.infos(index)))[1:]
        except NotReady:
            return ()

    def now(self) -> datetime:
        """Return the time now, UTC."""
        return self._now()

    @property
    def recorder(self) -> TraceRecorder:
        """What begins traces."""
        return self._recorder

    @property
    def store(self) -> TraceStore:
        """The store of traces. Raises NotFound where traces are switched off."""
        store = self._store or self._archive
        if store is None:
            why = "the data directory is read-only" if self._reads_only else "trace.enabled = false"
            raise NotFound(f"No traces are kept here ({why}).")
        return store

    def pseudonym(self, principal: Principal) -> str:
        """Return the name that a principal has in traces from now on."""
        return hash_principal(principal, self._secret())

    def pseudonyms(self, principal: Principal) -> frozenset[str]:
        """Return every name that a principal has in traces: one for each key that was not dropped."""
        return frozenset(hash_principal(principal, key) for key in self._read_keys())

    def may_read(self, principal: Principal) -> Callable[[TraceAcl], bool]:
        """Return whether a trace may be read: one's own, and only while all of its evidence may still be seen."""
        asked = self.pseudonyms(principal)
        settings = self.setup.settings

        def allowed(acl: TraceAcl) -> bool:
            return (
                acl.principal_hash in asked
                and all(principal.groups.intersection(groups) for groups in acl.groups_required)
                and all(may_see(principal, settings, name) for name in acl.sources)
            )

        return allowed

    def _stale_codes(
        self, index: Index, principal: Principal, request: SearchRequest | AnswerRequest | None = None
    ) -> tuple[str, ...]:
        """Return a code for each source that could not be brought up to date, and for an index that is not whole.

        Of the sources that a request could read, whether or not anything was found there: what is missing cannot be.
        """
        reached = self._reached(principal, request)
        known = {state.name for state in index.manifest.sources}
        data_dir = domain_of(self.setup, principal).data_dir
        upkeep = self.upkeep(index, principal)
        return (
            *upkeep.degraded,
            *(f"source_missing:{source.name}" for source in reached if source.name not in known),
            *(
                f"source_stale:{source.name}"
                for source in reached
                if source.is_away and describe_sync(data_dir, source.name).get("stale_reason")
            ),
            *(
                f"ingest_stalled:{source.name}"
                for source in reached
                if source.name in known and source.name in upkeep.stalled
            ),
            *(() if index.manifest.complete else ("index_partial",)),
        )

    def _reached(self, principal: Principal, request: SearchRequest | AnswerRequest | None) -> list[SourceConfig]:
        """Return the configured sources that a principal may see and that a request could read."""
        settings = self.setup.settings
        wanted, product = (request.sources, request.product) if request is not None else ((), "")
        return [
            source
            for source in settings.source
            if reaches(source, wanted, product) and is_open(source, principal, settings)
        ]

    def upkeep(self, index: Index, principal: Principal) -> Upkeep:
        """Return how well a generation's index is kept up to date, as it was at most a second ago."""
        key = (index.generation, principal.id, principal.groups)
        at, known, kept = self._upkeep
        if known == key and time.monotonic() - at < UPKEEP_S:
            return kept
        settings = self.setup.settings
        found = read_upkeep(
            domain_of(self.setup, principal).data_dir,
            self.setup.data_dir,
            index.manifest,
            settings.upkeep,
            self._now(),
            may_name=lambda name: may_see(principal, settings, name),
            sees_all=sees_everything(principal, settings),
        )
        self._upkeep = (time.monotonic(), key, found)
        return found

    def status(self, principal: Principal) -> Status:
        """Return the state of the index, with what was skipped and why. Sources of other groups are left out."""
        building = self._describe_build(principal)
        try:
            with self.reading(principal) as index:
                return self._ready(index, principal, building)
        except Unreadable as error:
            state = Status("index_unreadable", 0, 0.0, 0, 0, "", (), alarms=(str(error),))
        except NotReady as error:
            state = Status("index_building" if self._building else "index_empty", 0, 0.0, 0, 0, "", ())
            building = building or str(error).partition(": ")[2]
        alarms = (*state.alarms, *self._background_alarms(principal))
        return replace(state, alarms=alarms, building=building, data_dir=str(self.setup.data_dir))

    def _ready(self, index: Index, principal: Principal, building: str) -> Status:
        from ingest.index import status

        data_dir = domain_of(self.setup, principal).data_dir
        upkeep = self.upkeep(index, principal)
        visible = {info.name for info in visible_sources(principal, self.infos(index))}
        states = [state for state in index.manifest.sources if state.name in visible]
        seeing = make_filters(principal, self.infos(index), today=self._today())
        expired = Counter(
            source
            for source, ref in index.expired(seeing)
            if index.document_ids(source, ref, replace(seeing, sources=frozenset([source])))  # some are gone since
        )
        sources = tuple(
            {
                "name": s.name,
                "kind": s.kind,
                "product": s.product,
                "revision": s.revision,
                "files": s.files,
                "chunks": index.chunk_count(replace(seeing, sources=frozenset([s.name]))),
                "skipped": dict(sorted(s.skipped.items())),
                "indexed_at": s.indexed_at,
                "parse_failure_ratio": round(failure_ratio(s.files, s.skipped), 4),
                **upkeep.sources.get(owner_of(s.name), {}),
                **describe_sync(data_dir, s.name),
                **({"expired": expired[s.name]} if s.name in expired else {}),
            }
            for s in states
        )
        known = {state.name for state in index.manifest.sources}
        sources += tuple(
            {**absent_source(source), **describe_sync(data_dir, source.name)}
            for source in self.setup.settings.source
            if source.name not in known and may_see(principal, self.setup.settings, source.name)
        )
        return Status(
            state="ready",
            generation=index.generation,
            index_age_s=round(self.age_s(index), 1),
            chunks=index.chunk_count(seeing),
            files=sum(state.files for state in states),
            embedder=index.manifest.embedder,
            sources=sources,
            degraded=join(index.degraded, self._stale_codes(index, principal), self._trace_codes()),
            alarms=(
                *status(data_dir).alarms,
                *upkeep.alarms,
                *drift_alarms(index),
                *self._background_alarms(principal),
                *self._stale_answers(principal),
                *(item.describe() for item in self._incidents.list_open()),
            ),
            files_behind=upkeep.files_behind,
            watching=upkeep.watching,
            failed_files=upkeep.failed_files,
            building=building,
            data_dir=str(self.setup.data_dir),
        )

    def _background_alarms(self, principal: Principal) -> tuple[str, ...]:
        """Return what is wrong beside the queries: errors name sources."""
        return tuple(self._alarms.values()) if sees_everything(principal, self.setup.settings) else ()

    def _stale_answers(self, principal: Principal) -> Iterator[str]:
        """Yield an alarm when too many answers cited what had changed since it was indexed."""
        settings = self.setup.settings
        if self._store is None or not sees_everything(principal, settings):
            return
        since = (self._now() - timedelta(days=STALE_DAYS)).date().isoformat()
        try:
            answers, stale = self._store.count_stale(since)
        except TraceStoreError as error:
            yield str(error)
            return
        if answers >= STALE_MIN_ANSWERS and stale / answers > settings.upkeep.stale_ratio:
            yield f"{stale} of the last {answers} answers cited something that had changed since it was indexed."

    def read_document(self, source: str, path: str, principal: Principal) -> str:
        """Return the indexed text of one document, lines numbered. Raises NotFound."""
        with self.reading(principal) as index:
            filters = make_filters(principal, self.infos(index))
            now = index.moved_to(source, path, filters) if source in filters.sources else None
            chunks = index.document_chunks(source, now or path, filters) if source in filters.sources else []
            if not chunks:
                raise NotFound(f"There is no document {path!r} in a source {source!r}.")
            outlet = self._outlet(index, principal)
            note = f"({path} was renamed: it is {now} now.)\n" if now else ""
            return note + "\n".join(
                f"{number}| {line}"
                for chunk in chunks
                for number, line in enumerate(outlet.document(source, chunk.text).split("\n"), chunk.start_line)
            )

    # -- shared ------------------------------------------------------------------------------------------------------

    def filters(self, index: Index, principal: Principal, request: SearchRequest | AnswerRequest) -> Filters:
        """Return the filters of a request. Raises BadRequest for an unknown source."""
        return make_filters(
            principal,
            self.infos(index),
            request.sources,
            product=request.product,
            language=request.language,
            path_glob=request.path_glob,
            today=self._today(),
        )

    def _outlet(self, index: Index, principal: Principal) -> Outlet:
        return Outlet(visible_sources(principal, self.infos(index)))

    def _today(self) -> str:
        return self._now().date().isoformat()

    def look_ups(
        self, index: Index, request: SearchRequest | AnswerRequest, principal: Principal
    ) -> tuple[IndexResolver, FreshnessChecker]:
        """Return what claims are checked with, under the filters of a request."""
        from mcp_server.answering.resolver import IndexResolver

        return IndexResolver(index, self.filters(index, principal, request)), self._checker(index, principal)

    def _checker(self, index: Index, principal: Principal) -> FreshnessChecker:
        from mcp_server.answering.freshness import FreshnessChecker

        states = {state.name: state for state in index.manifest.sources}
        return FreshnessChecker(states, hidden=hidden_places(principal, self.setup.settings))

    @contextlib.contextmanager
    def _trace(
        self,
        tool: str,
        text: str,
        entry: EntryPoint,
        principal: Principal,
        caller: Caller | None,
        arguments: Mapping[str, Any],
    ) -> Iterator[TraceRun]:
        """Record one call; whatever it raises carries the trace's id to the surface."""
        run: TraceRun | None = None
        try:
            with self._recorder.trace(
                tool=tool,
                query=text[:MAX_QUERY_CHARS],
                entry=entry,
                principal_hash=hash_principal(principal, self._secret()),
                caller=caller,
                config_snapshot=self._snapshot(principal),
                arguments=arguments,
                kind="eval" if entry == "eval" else self._kind,
            ) as trace:
                run = trace
                trace.set(policy_flags=[f"redacted:{rule}:{count}" for rule, count in redact_counts(text)])
                try:
                    yield trace
                except Exception as error:
                    if self._store is not None:
                        mark_trace(error, trace.id)
                    raise
        finally:
            if run is not None:
                self._count(run)
                self._write_log(run)

    @contextlib.contextmanager
    def _admitted(self, trace: TraceRun, go_on: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Run one query beside a bounded number of others. Raises Overloaded."""
        with self.admission.admitted(go_on) as waited_ms:
            trace.set(queue_wait_ms=waited_ms)
            yield

    def _snapshot(self, principal: Principal) -> Mapping[str, object]:
        """Return the settings as they may stand in a principal's traces."""
        if principal not in self._snapshots:
            if len(self._snapshots) >= MAX_SNAPSHOTS:
                self._snapshots.clear()
            self._snapshots[principal] = visible_settings(principal, self.setup.settings)
        return self._snapshots[principal]

    def _write_incident(self, incident: Incident) -> None:
        if self._store is None:
            return
        try:
            self._store.add_incident(incident)
        except TraceStoreError as error:
            write_stderr(f"An outage was not recorded ({incident.describe()}): {error}")

    def _trace_codes(self) -> tuple[str, ...]:
        if self._reads_only:
            return ("read_only",)
        return () if self._store is None or self._recorder.healthy else ("trace_unavailable",)

    def _count(self, trace: TraceRun) -> None:
        for listener in self._counting:
            listener(trace.summary, trace.stage_ms)

    def on_query(self, listener: Callable[[TraceSummary, tuple[tuple[str, float], ...]], None]) -> None:
        """Call a function with the row and the stages of each query that ends from now on."""
        self._counting.append(listener)

    def _write_log(self, trace: TraceRun) -> None:
        if self._log:
            from traces.log import log_record

            sys.stderr.write(json.dumps(log_record(trace), separators=(",", ":")) + "\n")

    def _secret(self) -> bytes:
        """Return the newest key of this data directory; it signs cursors and hides principals in traces."""
        return self._read_keys()[0]

    def _read_keys(self) -> tuple[bytes, ...]:
        if not self._keys:
            try:
                self._keys = read_keys(self.setup.data_dir, may_make=not self._reads_only)
            except DiskFull:  # every result says so; what is signed until there is space holds as long as this process
                return (self._stand_in,)
        return self._keys

    def _make_cursor(self, request: SearchRequest, index: Index, principal: Principal, offset: int) -> str:
        body = f"{index.generation}.{offset}"
        return base64.urlsafe_b64encode(f"{body}.{self._sign(body, request, principal)}".encode()).decode().rstrip("=")

    def _read_cursor(self, request: SearchRequest, index: Index, principal: Principal) -> int:
        if not request.cursor:
            return 0
        try:
            raw = base64.urlsafe_b64decode(request.cursor + "=" * (-len(request.cursor) % 4)).decode()
            generation, offset, signature = raw.split(".")
        except ValueError as error:
            raise BadRequest("This cursor is not one of ours. Ask again without `cursor`.") from error
        expected = self._sign(f"{generation}.{offset}", request, principal)
        if not hmac.compare_digest(signature.encode(), expected.encode()):  # as bytes: of text, it takes ASCII only
            raise BadRequest("This cursor belongs to another query. Ask again without `cursor`.")
        if int(generation) != index.generation:
            raise BadRequest(
                f"This cursor is of index generation {generation}; the index is now at {index.generation}. "
                "Ask again without `cursor`."
            )
        return int(offset)

    def _sign(self, body: str, request: SearchRequest, principal: Principal) -> str:
        asked = [request.query, request.sources, request.product, request.path_glob, request.mode, request.language]
        message = json.dumps([body, principal.id, sorted(principal.groups), asked]).encode()
        return hmac.new(self._secret(), message, hashlib.sha256).hexdigest()[:24]


def select_prompts(setup: Setup) -> Mapping[str, int]:
    """Return the version of each prompt. Raises ConfigError for one that does not exist, before anybody asks."""
    try:
        return prompts.select(setup.settings.environment, setup.settings.prompts)
    except prompts.PromptError as error:
        raise ConfigError(f"{error} See [prompts] in the configuration and prompts/labels.toml.") from error


def redact_egress(text: str) -> str:
    """Return a query as it may leave this machine."""
    return redact(text, personal=True).text


def make_page(
    found: Sequence[tuple[Chunk | Excerpt | Occurrence, float, tuple[str, ...]]], checker: FreshnessChecker
) -> tuple[Hit, ...]:
    """Return chunks and lines as hits, with their freshness."""
    from mcp_server.answering.answer import make_hit
    from mcp_server.retrieval.excerpts import Excerpt
    from mcp_server.retrieval.model import RankedChunk

    hits = []
    for item, score, why in found:
        if isinstance(item, Chunk):
            hits.append(make_hit(RankedChunk(item, score, why), checker))
            continue
        first, last = (item.start_line, item.end_line) if isinstance(item, Excerpt) else (item.line, item.line)
        hit = make_hit(RankedChunk(item.chunk, score, why), checker)
        hits.append(replace(hit, start_line=first, end_line=last, text=item.text, symbol=item.symbol))
    return tuple(hits)


def check_query(text: str, name: str) -> None:
    """Raise BadRequest unless a query has 1 to 20,000 characters."""
    if not text.strip():
        raise BadRequest(f"`{name}` is empty. Give a question, an identifier, a path or a ticket key.")
    if not any(c.isalnum() for c in text):
        raise BadRequest(f"`{name}` holds no letter or digit. Give a question, an identifier, a path or a ticket key.")
    if len(text) > MAX_QUERY_CHARS:
        raise BadRequest(
            f"`{name}` has {len(text):,} characters; at most {MAX_QUERY_CHARS:,} are taken. Send the part that matters."
        )


def components_used(result: AnswerResult, use_cache: bool) -> tuple[str, ...]:
    """Return the components that an answer shows to work, unless its codes say otherwise."""
    used = ["cache"] if use_cache else []
    if not result.cached:
        used += ["embedding", "vectors"]
        used += ["model"] if result.mode == "model" else []
    used += ["tree"] if result.citations else []
    return tuple(used)


def open_store(setup: Setup, activity: Activity) -> TraceStore:
    """Return the store of traces with its limits and with where each trace goes besides."""
    wanted = setup.settings.trace
    sinks: list[Sink] = []
    if wanted.jsonl:
        sinks.append(DailyExport(setup.data_dir / "traces", wanted.jsonl_days))
    if wanted.otlp_endpoint:
        from traces.otel import OtlpExport

        try:
            sinks.append(OtlpExport(wanted.otlp_endpoint, with_text=wanted.otlp_text))
        except TraceError as error:
            raise ConfigError(str(error)) from error
    limits = Limits(wanted.max_days, wanted.max_mb, wanted.min_free_mb)
    return TraceStore(setup.data_dir / "traces.db", limits=limits, sinks=sinks, activity=activity)


def open_archive(setup: Setup) -> TraceStore | None:
    """Return the traces of a data directory that cannot be written; None where there are none."""
    path = setup.data_dir / "traces.db"
    return TraceStore(path, may_write=False) if path.is_file() else None


def redact_personal(text: str) -> str:
    """Return what somebody typed, or an answer, without secrets and personal data."""
    return redact(text, personal=True).text


def redact_counts(text: str) -> list[tuple[str, int]]:
    """Return rule and count of what is masked in a question."""
    return list(redact(text[:MAX_QUERY_CHARS], personal=True).counts)


def hash_principal(principal: Principal, key: bytes) -> str:
    """Return a pseudonym of who asks."""
    return hmac.new(key, principal.id.encode(), hashlib.sha256).hexdigest()[:16]


def vars_of(request: SearchRequest | AnswerRequest) -> dict[str, Any]:
    """Return a request's fields as JSON values, without its text (the trace has that already)."""
    names = [name for name in request.__dataclass_fields__ if name not in ("query", "question")]
    return {name: getattr(request, name) for name in names}


def absent_source(source: SourceConfig) -> dict[str, Any]:
    """Return the state of a configured source that no generation holds yet."""
    empty = {"revision": "", "files": 0, "chunks": 0, "skipped": {}, "indexed_at": ""}
    return {"name": source.name, "kind": source.kind, "product": product_of(source), **empty}


def describe(filters: Filters) -> dict[str, Any]:
    """Return filters for the trace; groups only as a hash."""
    groups = hashlib.blake2b(",".join(sorted(filters.groups)).encode(), digest_size=8).hexdigest()
    narrowed = {"product": filters.product, "language": filters.language, "path_glob": filters.path_glob}
    given = {name: value for name, value in narrowed.items() if value}
    return {"sources": sorted(filters.sources), "acl_hash": groups, **given}


def describe_occurrence(item: Occurrence) -> tuple[str, ...]:
    """Return what is worth saying of one line beside its text."""
    defines = ("definition",) if item.is_definition else ()
    return (*defines, f"{item.count} times") if item.count > 1 else defines


def describe_sync(data_dir: Path, source: str) -> dict[str, str]:
    """Return how current a live source is, nothing for other sources."""
    from ingest.index.spool import read_sync_state

    try:
        state = read_sync_state(data_dir, source)
    except SourceError as error:
        return {"stale_reason": str(error)}
    if state is None:
        return {}
    return {"synced_at": state.synced_at, "stale_since": state.stale_since, "stale_reason": state.reason}


def join(*codes: tuple[str, ...]) -> tuple[str, ...]:
    """Return degraded codes without repeats, in order."""
    return tuple(dict.fromkeys(code for group in codes for code in group))
