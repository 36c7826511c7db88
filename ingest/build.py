"""Build one index generation: the write path as an algorithm, top to bottom."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ingest.allocator import collecting_seldom
from ingest.audit import BuildRecord, SourceChange, describe_actor, record_failure
from ingest.chunking import CHUNKER_VERSION
from ingest.config import IndexConfig, SourceConfig
from ingest.embedding import Embedder
from ingest.errors import Changing, GitError, IndexCorrupt, IngestError, SourceError, VectorUnavailable, WriterBusy
from ingest.executor import Executor, open_executor
from ingest.gitio import find_mirror
from ingest.index import Index
from ingest.index.generation import Publication, begin_publication, quarantine
from ingest.index.jobs import Letter, next_letter
from ingest.index.schema import Manifest
from ingest.index.spool import remove_spools
from ingest.index.tokens import TOKENS_VERSION
from ingest.index.vector import preload_vectors
from ingest.model import HISTORY_SUFFIX, Entry, FileJob, FileResult, KnownFile, Skip, Snapshot, hash_text
from ingest.pickaxe import record_changes
from ingest.prepare import own_words
from ingest.redact import RULES_VERSION, redact
from ingest.sources.changes import Changes
from ingest.sources.opening import open_snapshots, source_infos
from ingest.sources.order import by_importance
from ingest.untrusted import FLAGS_VERSION

TEXT_FIRST_BYTES = 6_000_000  # of a first build: below, everything takes about two seconds, and one publication is less
FIRST_PART_S = 20.0  # after that a first build publishes what it has...
NEXT_PART_S = 60.0  # ...and then once in a while: what a kill loses, and a publication costs about a second by then,
PART_SHARE = 0.15  # but so soon at first that a kill loses no more than this share of what was done...
PART_COST = 0.05  # ...unless publishing would take more than this share of the time: on a slow disk or a busy machine
EMBED_BATCH = 512  # passages
INLINE_PASSAGES = 2000  # fewer are embedded in this process: starting workers takes as long
REMOTE_FILES = 64  # files whose passages are sent to an embedding endpoint together
RETRIED = frozenset({"unreadable", "parse_killed"})  # never recorded as indexed, so that they are tried again


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is; `total` is 0 while it is not known."""

    stage: str  # "reading" | "indexing" | "embedding" | "publishing" | "removals"
    source: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Seen:
    """By source: every path (absolute) that changed since generation `since` was built, as a watcher saw it."""

    paths: Mapping[str, frozenset[str]]
    since: int


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did. `left_out`: sources that could not be read and stay as they were, with the reason."""

    manifest: Manifest
    published: bool
    sources: tuple[SourceChange, ...]
    chunks_written: int
    embedded: int
    redactions: Mapping[str, int]
    duration_s: float
    left_out: Mapping[str, str] = field(default_factory=dict)
    text_after_s: float | None = None  # when text and symbols were searchable, if before the vectors


@dataclass(slots=True)
class _Tally:
    chunks: int = 0
    embedded: int = 0
    redactions: dict[str, int] = field(default_factory=dict)
    sources: list[SourceChange] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Delta:
    changed: tuple[Entry, ...]
    deleted: tuple[str, ...]
    touched: tuple[Entry, ...]  # same content, new stamp
    new: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Request:
    """What a build is asked for."""

    sources: Sequence[SourceConfig]
    index: IndexConfig
    embedder: Embedder | None
    data_dir: Path
    now: str
    config_hash: str = ""
    trigger: str = "cli"
    progress: Callable[[Progress], None] = lambda _: None
    allow_drop: bool = False
    smoke: Sequence[Callable[[Index], str | None]] = ()  # each returns a complaint about a new generation, or None
    seen: Seen | None = None  # only these paths are looked at, if the parent is the generation they are counted from
    only: Collection[str] | None = None  # the sources to bring up to date; the others stay as the parent holds them
    may_ask: bool = True  # sources elsewhere what is new; else they are read as they were fetched last
    skip_failing: bool = False  # a source that cannot be read stays as it was, instead of ending the build
    rehash: bool = False  # trust no time stamp: read every file again and compare contents
    retry_failed: bool = False  # try entries again that are waiting or given up

    @property
    def chunker(self) -> str:
        """What chunks depend on besides their documents."""
        return describe_chunker(self.sources, self.index)


def build_index(
    sources: Sequence[SourceConfig],
    index: IndexConfig,
    embedder: Embedder | None,
    data_dir: Path,
    *,
    now: str,
    **options: Any,  # noqa: ANN401 - the other fields of Request
) -> BuildReport:
    """Bring the index up to the sources as they are now and publish the difference as one generation.

    A large first build publishes in parts: text and symbols as they come, then the vectors. Every build, a failed one
    too, is a row of the audit trail. One that meets damage takes what is damaged out of use and begins again, once.
    Raises SourceError, WriterBusy, PublishRefused, DiskFull; then the last generation stays.
    """
    request = Request(sources, index, embedder, data_dir, now, **options)
    try:
        return run_build(request)
    except (IndexCorrupt, VectorUnavailable):
        if not quarantine(data_dir):
            raise
        return run_build(request)  # on an intact generation, or anew


def run_build(request: Request) -> BuildReport:
    """Build once; a failure is a row of the audit trail. Raises as `build_index`, and for damage IndexStateError."""
    build = _Build(request)
    try:
        with collecting_seldom(), open_executor(request.index, request.embedder) as executor:
            return build.run(executor)
    except WriterBusy:
        raise  # somebody else builds
    except Exception as error:
        build.record_failure(error)
        raise


class _Build:
    """One build: the publication that takes what is staged now, and what all of them did."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._started = time.perf_counter()
        self._tally = _Tally()
        self._publication: Publication | None = None
        self._events: dict[str, int] = {}
        self._parts_until = 0.0  # when the next part of a first build is published; 0 = not in parts
        self._deferred = False

    def run(self, executor: Executor) -> BuildReport:
        """Open, stage, publish; add the vectors that were put off."""
        request = self._request
        publication = self._begin()
        parent = publication.parent
        if parent is None:
            executor.start()
        try:
            due = self._choose_sources(publication)
            self._events = publication.take([config.name for config in due])
            drop_unconfigured(publication, request.sources)
            remove_spools(request.data_dir, (config.name for config in request.sources if config.is_live))
            opened = self._open(publication, due)
            publication.events = dict(self._events)
            publication.guard_unheld(configured_names(request.sources), {s.info.name: s for s, _ in opened})
            self._plan(publication, opened)
            for snapshot, delta in opened:
                self._stage(executor, snapshot, delta)
            manifest = self._commit(complete=not self._deferred)
            text_after_s = time.perf_counter() - self._started if self._deferred else None
            if self._deferred:
                manifest = self._add_vectors(executor)
        finally:
            if self._publication is not None:
                self._publication.close()
        self._read_changes(manifest)
        tally = self._tally
        return BuildReport(
            manifest=manifest,
            published=parent is None or manifest.generation != parent.generation,
            sources=tuple(tally.sources),
            chunks_written=tally.chunks,
            embedded=tally.embedded,
            redactions=tally.redactions,
            duration_s=time.perf_counter() - self._started,
            left_out=tally.left_out,
            text_after_s=text_after_s,
        )

    def record_failure(self, error: Exception) -> None:
        """Append the failed build to the audit trail; if that fails too, the error says so."""
        reason = str(error) if isinstance(error, IngestError) else f"{type(error).__name__}: {error}"
        try:
            record_failure(self._request.data_dir, self._describe("failed", reason), self._request.now)
        except (IngestError, OSError) as problem:
            error.add_note(f"The audit trail could not be written either: {problem}")

    # -- what there is to do ---------------------------------------------------------------------------------------

    def _begin(self) -> Publication:
        request = self._request
        self._publication = begin_publication(
            request.data_dir,
            request.embedder.id if request.embedder else "",
            request.embedder.dimensions if request.embedder else 0,
            chunker=request.chunker,
            config_hash=request.config_hash,
            trigger=request.trigger,
            allow_drop=request.allow_drop,
            drop_guard=request.index.drop_guard,
            keep=request.index.keep_generations,
        )
        return self._publication

    def _choose_sources(self, publication: Publication) -> list[SourceConfig]:
        """Return the sources to open: those that were asked for, or all where everything may have changed."""
        request, parent = self._request, publication.parent
        same = parent is not None and (parent.chunker, parent.config_hash) == (request.chunker, request.config_hash)
        if request.only is None or not same or not publication.continues:
            return list(request.sources)
        return [config for config in request.sources if config.name in request.only]

    def _open(self, publication: Publication, due: Sequence[SourceConfig]) -> list[tuple[Snapshot, _Delta]]:
        """Return each snapshot with its difference to the parent.

        A tracker that does not answer keeps nobody from indexing the rest. Raises SourceError if there is no rest.
        """
        request = self._request
        opened = []
        failed: SourceError | None = None
        for config in due:
            request.progress(Progress("reading", config.name, 0, 0))
            try:
                snapshots = open_snapshots(
                    config,
                    data_dir=request.data_dir,
                    limits=request.index,
                    known=partial(self._known, publication),
                    previous=lambda name: parent_revision(publication, name),
                    changes=lambda name: changes_of(publication, name, request.seen),
                    may_ask=request.may_ask,
                )
            except SourceError as error:
                if not request.skip_failing and not config.is_away:
                    raise
                failed = failed or error
                self._tally.left_out[config.name] = str(error)
                self._events.pop(config.name, None)
                continue
            opened += [(s, compare_snapshot(publication.known_files(s.info.name), s)) for s in snapshots]
        if failed is not None and not opened and not request.skip_failing:
            raise failed
        return opened

    def _known(self, publication: Publication, name: str) -> Mapping[str, KnownFile]:
        known = publication.known_files(name)
        if not self._request.rehash:
            return known
        return {path: KnownFile("", file.size, "", "") for path, file in known.items()}

    def _plan(self, publication: Publication, opened: Sequence[tuple[Snapshot, _Delta]]) -> None:
        """Put vectors off, and publish in parts, where somebody would wait long for the first result."""
        parent = publication.parent
        size = sum(entry.size for _, delta in opened for entry in delta.changed)
        is_first = (parent is None or not parent.complete) and not publication.serves_complete
        if is_first:
            self._parts_until = time.monotonic() + FIRST_PART_S
        if self._request.embedder is not None and (
            publication.lacks_vectors or (is_first and parent is None and size > TEXT_FIRST_BYTES)
        ):
            self._deferred = True
            publication.defer_vectors()

    # -- staging ---------------------------------------------------------------------------------------------------

    def _stage(self, executor: Executor, snapshot: Snapshot, delta: _Delta) -> None:
        """Stage one source's difference to the parent generation."""
        assert self._publication is not None
        name = snapshot.info.name
        self._publication.begin_source(snapshot.info, snapshot.revision, snapshot.location)
        if snapshot.may_shrink:
            self._publication.let_shrink(name)
        for path in delta.deleted:
            self._publication.remove_file(name, path)
        for entry in delta.touched:
            self._publication.touch_file(name, entry)
        failures = _Failures(name, self._request.now, self._publication.letters(name), self._request.retry_failed)
        skips = list(snapshot.skipped)
        wanted = failures.left_over(delta.changed, skips)
        jobs = read_jobs(snapshot, wanted, failures)
        for done, result in enumerate(self._prepare(executor, jobs), 1):
            stage_result(self._publication, name, result, failures, self._tally)
            self._request.progress(Progress("indexing", name, done, len(wanted)))
            if self._parts_until and time.monotonic() >= self._parts_until:
                self._publish_part(snapshot)
        self._publication.record_letters(name, failures.letters())
        self._publication.record_skips(name, [*skips, *failures.skips])
        self._publication.record_renames(name, snapshot.renames)
        self._tally.sources.append(describe_change(snapshot, delta, [*skips, *failures.skips]))

    def _publish_part(self, snapshot: Snapshot) -> None:
        """Publish what is staged so far, so that it can be searched, and a kill loses no more than what follows."""
        started = time.perf_counter()
        self._commit(complete=False)
        publication = self._begin()
        publication.events = dict(self._events)
        if self._deferred:
            publication.defer_vectors()
        publication.begin_source(snapshot.info, snapshot.revision, snapshot.location)
        now = time.perf_counter()
        self._parts_until = time.monotonic() + next_part_s(now - self._started, now - started)

    def _prepare(self, executor: Executor, jobs: Iterable[FileJob]) -> Iterator[FileResult]:
        """Prepare entries in the executor; a remote embedder is called here, for what its cache lacks."""
        embedder = self._request.embedder
        if embedder is None or embedder.local or self._deferred:
            yield from executor.map(jobs, embed=not self._deferred, packed=True)
            return
        for batch in batched(executor.map(jobs), REMOTE_FILES):
            assert self._publication is not None
            yield from embed_remotely(self._publication, embedder, batch)

    # -- publishing ------------------------------------------------------------------------------------------------

    def _commit(self, *, complete: bool) -> Manifest:
        """Publish what is staged and end the publication."""
        assert self._publication is not None
        self._request.progress(Progress("publishing", "", 0, 0))
        smoke = self._request.smoke if complete else ()
        manifest = self._publication.commit(
            self._request.now, smoke, complete=complete, describe=lambda result: self._describe(result).to_json()
        )
        self._publication.close()
        return manifest

    def _read_changes(self, manifest: Manifest) -> None:
        """Read what commits took away, after everything else can be searched."""
        for state in manifest.sources:
            if state.kind != "commit" or not state.revision:
                continue
            name = state.name.removesuffix(HISTORY_SUFFIX)
            self._request.progress(Progress("removals", name, 0, 0))
            try:
                record_changes(find_mirror(Path(state.location), self._request.data_dir), state.revision)
            except (GitError, SourceError, OSError, sqlite3.Error) as error:
                reason = f"What its commits took away could not be read ({error}); all else is indexed. Index it again."
                self._tally.left_out.setdefault(name, reason)

    def _describe(self, result: str, reason: str = "") -> BuildRecord:
        return BuildRecord(
            trigger=self._request.trigger,
            actor=describe_actor(),
            result=result,
            reason=reason,
            sources=tuple(self._tally.sources),
            left_out=self._tally.left_out,
            redactions=self._tally.redactions,
            duration_s=round(time.perf_counter() - self._started, 3),
        )

    def _add_vectors(self, executor: Executor) -> Manifest:
        """Publish the parent again, with the vectors of all of its chunks."""
        publication = self._begin()
        publication.events = dict(self._events)
        embedder = self._request.embedder
        assert embedder is not None and publication.parent is not None
        total = publication.parent.chunks
        in_workers = embedder.local and total > INLINE_PASSAGES
        steps = embed_stored(publication, executor) if in_workers else embed_here(publication, embedder)
        for done in steps:
            self._tally.embedded += done
            self._request.progress(Progress("embedding", "", self._tally.embedded, total))
        return self._commit(complete=True)


def next_part_s(elapsed_s: float, published_s: float) -> float:
    """Return the seconds until the next part of a first build, of which the last one took `published_s`."""
    return max(min(NEXT_PART_S, max(FIRST_PART_S, PART_SHARE * elapsed_s)), published_s / PART_COST)


def embed_stored(publication: Publication, executor: Executor) -> Iterator[int]:
    """Embed stored chunks in the workers; yields how many each step did."""
    threading.Thread(target=preload_vectors, daemon=True).start()  # a second, while the workers are at work already
    for vectors in executor.embed(batched(publication.stored_chunks(), EMBED_BATCH), publication.kinds):
        publication.add_vectors(vectors)
        yield len(vectors)


def embed_here(publication: Publication, embedder: Embedder) -> Iterator[int]:
    """Embed stored chunks in this process, what an endpoint was paid for before from its cache; yields as above."""
    for batch in batched(publication.passages(), EMBED_BATCH):
        texts = (embedder.passage(one.ref, one.context, one.text) for one in batch)
        passages = [without_persons(text, one.pii_class) for text, one in zip(texts, batch, strict=True)]
        vectors = embed_cached(publication, embedder, passages)
        publication.add_vectors((one, vectors[passage]) for one, passage in zip(batch, passages, strict=True))
        yield len(batch)


@dataclass(slots=True)
class _Failures:
    """Entries of one source that could not be prepared: who waits, who is tried, what came of it."""

    source: str
    now: str
    old: Mapping[str, Letter]
    retry: bool
    skips: list[Skip] = field(default_factory=list)
    kept: list[Letter] = field(default_factory=list)

    def left_over(self, entries: Sequence[Entry], skips: list[Skip]) -> list[Entry]:
        """Return the entries to try now, the most important ones first; the others stay failed as they were."""
        wanted = []
        for entry in entries:
            letter = self.old.get(entry.path)
            if letter is None or self.retry or not letter.waits(entry.content_hash, self.now):
                wanted.append(entry)
            else:
                skips.append(Skip(letter.path, letter.reason, letter.detail))
                self.kept.append(letter)
        return by_importance(wanted)

    def add(self, entry: Entry, skip: Skip) -> None:
        """Note a failed attempt."""
        self.skips.append(skip)
        old = self.old.get(entry.path)
        self.kept.append(
            next_letter(old, self.source, entry.path, entry.content_hash, skip.reason, skip.detail, self.now)
        )

    def letters(self) -> list[Letter]:
        """Return what is to be tried again."""
        return self.kept


def describe_chunker(sources: Sequence[SourceConfig], index: IndexConfig) -> str:
    """Return what chunks depend on besides their documents; every file is read again when it changes."""
    policies = "".join(f"/{config.name}:{config.pii}" for config in sources if config.pii)
    cleaned = f"redact-{RULES_VERSION}/flags-{FLAGS_VERSION}{policies}"
    return f"{CHUNKER_VERSION}/tokens-{TOKENS_VERSION}/{cleaned}/{index.chunk_chars}"


def parent_revision(publication: Publication, name: str) -> str:
    """Return the revision at which the parent generation holds a source, or ""."""
    states = publication.parent.sources if publication.parent else ()
    return next((state.revision for state in states if state.name == name), "")


def changes_of(publication: Publication, name: str, seen: Seen | None) -> Changes | None:
    """Return what changed in a source since the parent generation, None where that is not known."""
    parent = publication.parent
    if seen is None or parent is None or parent.generation != seen.since or name not in seen.paths:
        return None
    return Changes(seen.paths[name], tuple(publication.known_skips(name)))


def embed_remotely(publication: Publication, embedder: Embedder, results: Sequence[FileResult]) -> list[FileResult]:
    """Return results with vectors; no passage is sent twice, whatever files and generations it occurs in."""
    passages = {
        item.chunk.id: without_persons(
            embedder.passage(item.chunk.ref, item.chunk.context, own_words(item.chunk)), item.chunk.pii_class
        )
        for result in results
        for item in result.prepared
    }
    known = embed_cached(publication, embedder, list(passages.values()))
    return [
        replace(
            result,
            prepared=tuple(replace(item, vector=known[passages[item.chunk.id]]) for item in result.prepared),
        )
        for result in results
    ]


def without_persons(passage: str, pii_class: str) -> str:
    """Return what is embedded of a chunk elsewhere: a source may keep personal data, but it stays here."""
    return redact(passage, personal=True).text if pii_class else passage


def embed_cached(publication: Publication, embedder: Embedder, passages: Sequence[str]) -> dict[str, bytes]:
    """Return the vector of each passage; new ones of a remote embedder are stored at once."""
    keys = {passage: hash_text(passage) for passage in passages}
    known = {} if embedder.local else publication.cached_embeddings(list(keys.values()))
    new = [passage for passage, key in keys.items() if key not in known]
    if new:
        sent = new if embedder.local else [redact(passage).text for passage in new]  # once more: it leaves this machine
        fresh = {keys[p]: v.tobytes() for p, v in zip(new, embedder.embed_passages(sent), strict=True)}
        if not embedder.local:
            publication.store_embeddings(fresh)
        known |= fresh
    return {passage: known[key] for passage, key in keys.items()}


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def configured_names(sources: Sequence[SourceConfig]) -> set[str]:
    """Return the names of what the configuration asks for, commits of a repository by their own."""
    return {info.name for config in sources for info in source_infos(config)}


def drop_unconfigured(publication: Publication, sources: Sequence[SourceConfig]) -> None:
    """Remove sources that the configuration no longer names."""
    configured = configured_names(sources)
    for state in publication.parent.sources if publication.parent else ():
        if state.name not in configured:
            publication.remove_source(state.name)


def describe_change(snapshot: Snapshot, delta: _Delta, skips: Sequence[Skip]) -> SourceChange:
    """Return what a source contributed."""
    counts: dict[str, int] = {}
    for skip in skips:
        counts[skip.reason] = counts.get(skip.reason, 0) + 1
    return SourceChange(
        name=snapshot.info.name,
        revision=snapshot.revision,
        new=delta.new,
        changed=len(delta.changed) - delta.new,
        deleted=len(delta.deleted),
        unchanged=delta.unchanged,
        failed=sum(1 for skip in skips if skip.reason in RETRIED),
        skipped=counts,
    )


def compare_snapshot(known: Mapping[str, KnownFile], snapshot: Snapshot) -> _Delta:
    """Return what changed between the parent's files and a snapshot.

    A file that is there and cannot be read now is not deleted: what is known of it stays, unless that is cut anew.
    """
    delta = compare(known, snapshot.entries)
    closed = tuple(skip.path for skip in snapshot.skipped if skip.reason == "unreadable")
    if not closed or snapshot.info.kind not in PARSED_BY_WORKERS:
        return delta
    gone = tuple(path for path in delta.deleted if not (known[path].content_hash and _is_below(path, closed)))
    return replace(delta, deleted=gone)


def _is_below(path: str, places: Collection[str]) -> bool:
    """Say whether a path is one of some files, or lies in one of some folders ("a/"; "./" is the whole source)."""
    return any(place in (path, "./") or (place.endswith("/") and path.startswith(place)) for place in places)


def compare(known: Mapping[str, KnownFile], entries: Sequence[Entry]) -> _Delta:
    """Return what changed between the parent's files and the snapshot's entries."""
    changed = tuple(e for e in entries if e.path not in known or known[e.path].content_hash != e.content_hash)
    same = [e for e in entries if e.path in known and known[e.path].content_hash == e.content_hash]
    present = {entry.path for entry in entries}
    return _Delta(
        changed=changed,
        deleted=tuple(sorted(path for path in known if path not in present)),
        touched=tuple(e for e in same if (e.stamp, e.blob) != (known[e.path].stamp, known[e.path].blob)),
        new=sum(1 for entry in changed if entry.path not in known),
        unchanged=len(same),
    )


def read_jobs(snapshot: Snapshot, entries: Sequence[Entry], failures: _Failures) -> Iterator[FileJob]:
    """Read entries one by one, as the executor asks for them; what cannot be read has failed."""
    for entry in entries:
        try:
            yield make_job(snapshot, entry, snapshot.read(entry))
        except Changing as error:  # an event follows it, or it is met at the next look: no failure to be tried again
            failures.skips.append(Skip(entry.path, "changing", str(error)))
        except SourceError as error:
            failures.add(entry, Skip(entry.path, "unreadable", str(error)))


PARSED_BY_WORKERS = frozenset(("code", "design"))


def make_job(snapshot: Snapshot, entry: Entry, data: bytes) -> FileJob:
    """Return the job of one entry: files are parsed in the worker, other kinds by their source. Raises SourceError."""
    if snapshot.info.kind in PARSED_BY_WORKERS:
        return FileJob(snapshot.info, entry, data, None, snapshot.revision)
    return FileJob(snapshot.info, entry, b"", tuple(snapshot.documents(entry, data)), snapshot.revision)


def stage_result(publication: Publication, source: str, result: FileResult, failures: _Failures, tally: _Tally) -> None:
    """Stage one prepared file; a failed one leaves nothing behind, not even its older version."""
    if result.skip and result.skip.reason in RETRIED:
        failures.add(result.entry, result.skip)
        publication.remove_file(source, result.entry.path)
        return
    chunks = result.packed or result.prepared
    publication.add_file(source, result.entry, chunks, skip=result.skip)
    tally.chunks += len(chunks)
    tally.embedded += sum(1 for item in chunks if item.vector is not None)
    for rule, count in result.redactions:
        tally.redactions[rule] = tally.redactions.get(rule, 0) + count
