"""Build one index generation: the write path as an algorithm, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

from ingest.chunking import CHUNKER_VERSION
from ingest.config import IndexConfig, SourceConfig
from ingest.embedding import Embedder
from ingest.errors import SourceError
from ingest.executor import Executor, open_executor
from ingest.index import Index
from ingest.index.generation import Publication, begin_publication
from ingest.index.schema import Manifest
from ingest.index.spool import remove_spools
from ingest.index.tokens import TOKENS_VERSION
from ingest.model import Entry, FileJob, FileResult, KnownFile, Skip, Snapshot, hash_text
from ingest.redact import RULES_VERSION
from ingest.sources import open_snapshots, source_infos
from ingest.sources.changes import Changes
from ingest.untrusted import FLAGS_VERSION


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is; `total` is 0 while it is not known."""

    stage: str  # "reading" | "indexing" | "publishing"
    source: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Every path (absolute) that changed in any source since generation `since` was built, as a watcher saw it."""

    paths: frozenset[str]
    since: int


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What one source contributed to a build."""

    name: str
    new: int
    changed: int
    deleted: int
    unchanged: int
    failed: int
    skipped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did."""

    manifest: Manifest
    published: bool
    sources: tuple[SourceReport, ...]
    chunks_written: int
    embedded: int
    redactions: Mapping[str, int]
    duration_s: float


@dataclass(slots=True)
class _Tally:
    chunks: int = 0
    embedded: int = 0
    redactions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Delta:
    changed: tuple[Entry, ...]
    deleted: tuple[str, ...]
    touched: tuple[Entry, ...]  # same content, new stamp
    new: int
    unchanged: int


def build_index(
    sources: Sequence[SourceConfig],
    index: IndexConfig,
    embedder: Embedder | None,
    data_dir: Path,
    *,
    now: str,
    config_hash: str = "",
    trigger: str = "cli",
    progress: Callable[[Progress], None] = lambda _: None,
    allow_drop: bool = False,
    smoke: Sequence[Callable[[Index], str | None]] = (),
    seen: Seen | None = None,
) -> BuildReport:
    """Bring the index up to the sources as they are now and publish the difference as one generation.

    `seen`: only these paths are looked at, if the parent is the generation that they are counted from.
    Raises SourceError, WriterBusy, PublishRefused, DiskFull; then the current generation stays.
    """
    started = time.perf_counter()
    tally = _Tally()
    reports = []
    with begin_publication(
        data_dir,
        embedder.id if embedder else "",
        embedder.dimensions if embedder else 0,
        chunker=describe_chunker(sources, index),
        config_hash=config_hash,
        trigger=trigger,
        allow_drop=allow_drop,
        drop_guard=index.drop_guard,
        keep=index.keep_generations,
    ) as publication:
        drop_unconfigured(publication, sources)
        remove_spools(data_dir, (config.name for config in sources if config.is_live))
        with open_executor(index, embedder) as executor:
            for config in sources:
                snapshots = open_snapshots(
                    config,
                    data_dir=data_dir,
                    limits=index,
                    known=publication.known_files,
                    previous=lambda name: parent_revision(publication, name),
                    changes=lambda name: changes_of(publication, name, seen),
                )
                for snapshot in snapshots:
                    prepare = partial(prepare_files, publication, executor, embedder)
                    reports.append(stage_source(publication, snapshot, prepare, tally, progress))
        progress(Progress("publishing", "", 0, 0))
        parent = publication.parent
        manifest = publication.commit(now, smoke)
    published = parent is None or manifest.generation != parent.generation
    duration_s = time.perf_counter() - started
    return BuildReport(manifest, published, tuple(reports), tally.chunks, tally.embedded, tally.redactions, duration_s)


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
    if seen is None or parent is None or parent.generation != seen.since:
        return None
    return Changes(seen.paths, tuple(publication.known_skips(name)))


def prepare_files(
    publication: Publication, executor: Executor, embedder: Embedder | None, jobs: Iterable[FileJob]
) -> Iterator[FileResult]:
    """Prepare entries in the executor; a remote embedder is called here, for what its cache lacks."""
    results = executor.map(jobs)
    if embedder is None or embedder.local:
        yield from results
        return
    for batch in batched(results, REMOTE_FILES):
        yield from embed_remotely(publication, embedder, batch)


def embed_remotely(publication: Publication, embedder: Embedder, results: Sequence[FileResult]) -> list[FileResult]:
    """Return results with vectors; no passage is sent twice, whatever files and generations it occurs in."""
    passages = {
        item.chunk.id: embedder.passage(item.chunk.ref, item.chunk.context, item.chunk.text)
        for result in results
        for item in result.prepared
    }
    keys = {passage: hash_text(passage) for passage in passages.values()}
    known = publication.cached_embeddings(list(keys.values()))
    new = [passage for passage, key in keys.items() if key not in known]
    if new:
        fresh = {keys[p]: v.tobytes() for p, v in zip(new, embedder.embed_passages(new), strict=True)}
        publication.store_embeddings(fresh)
        known |= fresh
    return [
        replace(
            result,
            prepared=tuple(replace(item, vector=known[keys[passages[item.chunk.id]]]) for item in result.prepared),
        )
        for result in results
    ]


def batched(items: Iterable[FileResult], size: int) -> Iterator[list[FileResult]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def drop_unconfigured(publication: Publication, sources: Sequence[SourceConfig]) -> None:
    """Remove sources that the configuration no longer names."""
    configured = {info.name for config in sources for info in source_infos(config)}
    for state in publication.parent.sources if publication.parent else ():
        if state.name not in configured:
            publication.remove_source(state.name)


def stage_source(
    publication: Publication,
    snapshot: Snapshot,
    map_jobs: Callable[[Iterable[FileJob]], Iterator[FileResult]],
    tally: _Tally,
    progress: Callable[[Progress], None],
) -> SourceReport:
    """Stage one source's difference to the parent generation."""
    name = snapshot.info.name
    publication.begin_source(snapshot.info, snapshot.revision, snapshot.location)
    delta = compare(publication.known_files(name), snapshot.entries)
    for path in delta.deleted:
        publication.remove_file(name, path)
    for entry in delta.touched:
        publication.touch_file(name, entry)
    skips = list(snapshot.skipped)
    for done, result in enumerate(map_jobs(read_jobs(snapshot, delta.changed, skips)), 1):
        stage_result(publication, name, result, skips, tally)
        progress(Progress("indexing", name, done, len(delta.changed)))
    publication.record_skips(name, skips)
    publication.record_renames(name, snapshot.renames)
    counts: dict[str, int] = {}
    for skip in skips:
        counts[skip.reason] = counts.get(skip.reason, 0) + 1
    failed = sum(1 for skip in skips if skip.reason in ("unreadable", "parse_killed"))
    changed = len(delta.changed) - delta.new
    return SourceReport(name, delta.new, changed, len(delta.deleted), delta.unchanged, failed, counts)


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


def read_jobs(snapshot: Snapshot, entries: Sequence[Entry], skips: list[Skip]) -> Iterator[FileJob]:
    """Read entries one by one, as the executor asks for them; what cannot be read becomes a skip."""
    for entry in entries:
        try:
            data = snapshot.read(entry)
        except SourceError as error:
            skips.append(Skip(entry.path, "unreadable", str(error)))
            continue
        try:
            yield make_job(snapshot, entry, data)
        except SourceError as error:
            skips.append(Skip(entry.path, "unreadable", str(error)))


PARSED_BY_WORKERS = frozenset(("code", "design"))


def make_job(snapshot: Snapshot, entry: Entry, data: bytes) -> FileJob:
    """Return the job of one entry: files are parsed in the worker, other kinds by their source. Raises SourceError."""
    if snapshot.info.kind in PARSED_BY_WORKERS:
        return FileJob(snapshot.info, entry, data, None, snapshot.revision)
    return FileJob(snapshot.info, entry, b"", tuple(snapshot.documents(entry, data)), snapshot.revision)


REMOTE_FILES = 64  # files whose passages are sent to an embedding endpoint together
RETRIED = frozenset({"unreadable", "parse_killed"})  # never recorded as indexed, so the next build tries again


def stage_result(publication: Publication, source: str, result: FileResult, skips: list[Skip], tally: _Tally) -> None:
    """Stage one prepared file; a failed one leaves nothing behind, not even its older version."""
    if result.skip and result.skip.reason in RETRIED:
        skips.append(result.skip)
        publication.remove_file(source, result.entry.path)
        return
    publication.add_file(source, result.entry, list(result.prepared), skip=result.skip)
    tally.chunks += len(result.prepared)
    tally.embedded += sum(1 for item in result.prepared if item.vector is not None)
    for rule, count in result.redactions:
        tally.redactions[rule] = tally.redactions.get(rule, 0) + count
