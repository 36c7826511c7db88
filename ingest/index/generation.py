"""Publication of immutable generations, rollback, recovery, garbage collection.

Publish: writer lock -> recover leftovers -> hard-linked clone -> delta to both engines -> verify -> manifest of hashes
-> fsync -> ONE SQLite transaction moves the pointer -> acknowledge -> collect garbage. A process killed anywhere leaves
either the old pointer and a directory that nothing points at, or the new pointer and everything that it needs.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from ingest.errors import EmbeddingError, IndexCorrupt, IndexEmpty, PublishRefused
from ingest.index import control, files, jobs
from ingest.index.control import AuditEntry, GenerationRow, IndexStatus
from ingest.index.failpoints import failpoint
from ingest.index.jobs import Letter
from ingest.index.lease import WriterLock, leased_generations
from ingest.index.packed import pack
from ingest.index.rows import RowReader, RowWriter
from ingest.index.schema import FORMAT_VERSION, Manifest, SourceState
from ingest.index.stored import (
    MODULUS,
    StoredPassage,
    as_number,
    decode_passage,
    file_digest,
    hash_content,
    manifest_to_dict,
)
from ingest.index.text import EVERYTHING, TextFilter, TextReader, TextWriter
from ingest.model import Entry, KnownFile, Packed, Prepared, Rename, Skip, Snapshot, SourceInfo

if TYPE_CHECKING:
    from types import TracebackType

    from ingest.index.reader import Index
    from ingest.index.vector import VectorWriter

DROP_GUARD_FLOOR = 50  # chunks: below, one deleted file is a fifth of the source and no alarm
FULL_CHECK_BELOW = 4_000  # chunks: comparing every id costs less than 20 ms
SAMPLES = 20
DEAD_LISTED = 5_000  # ids in a manifest: above, a reader compares all rows, which is as quick
TRASH = ".trash"


@dataclass(slots=True)
class _Source:
    """One source while its delta is applied."""

    info: SourceInfo
    revision: str
    location: str
    chunk_sum: int = 0
    file_sum: int = 0
    files: int = 0
    chunks: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # files that were never entries
    file_skips: Counter[str] = field(default_factory=Counter)  # entries that were read and not indexed
    new_skips: set[tuple[str, str, str]] | None = None


class _Row(NamedTuple):
    """A chunk as control.db holds it. `shadowed`: another entry owns the same id, this copy is in neither engine."""

    id: int
    digest: bytes
    vector_hash: bytes
    shadowed: bool


@dataclass(frozen=True, slots=True)
class _OldFile:
    row: int
    content_hash: str
    skip_reason: str
    chunks: dict[int, _Row]

    @property
    def live(self) -> dict[int, _Row]:
        return {row.id: row for row in self.chunks.values() if not row.shadowed}


@dataclass(frozen=True, slots=True)
class _NewFile:
    entry: Entry
    skip: Skip | None
    rows: list[_Row]

    @property
    def live(self) -> list[_Row]:
        return [row for row in self.rows if not row.shadowed]


@dataclass(slots=True)
class _Delta:
    """What the publication has staged so far, beyond the engines' own buffers."""

    files: dict[tuple[str, str], _NewFile] = field(default_factory=dict)
    gone: dict[tuple[str, str], int] = field(default_factory=dict)  # (source, path) -> file row of the parent
    dropped_sources: set[str] = field(default_factory=set)
    owners: dict[int, tuple[str, str]] = field(default_factory=dict)  # id of a staged chunk -> its entry
    dead_rows: set[int] = field(default_factory=set)  # ids whose vector row of an older generation goes
    removed_ids: set[int] = field(default_factory=set)
    stamps: dict[tuple[str, str], Entry] = field(default_factory=dict)
    renames: list[tuple[str, str, str]] = field(default_factory=list)
    letters: dict[str, Sequence[Letter]] = field(default_factory=dict)
    vector_hashes: list[tuple[bytes, int]] = field(default_factory=list)  # of chunks that had no vector before
    audit: list[AuditEntry] = field(default_factory=list)
    changed: bool = False


@dataclass(frozen=True, slots=True)
class _Options:
    chunker: str
    config_hash: str
    trigger: str
    allow_drop: bool
    drop_guard: float
    keep: int


def begin_publication(
    data_dir: Path,
    embedder_id: str,
    dimensions: int,
    *,
    chunker: str,
    config_hash: str,
    trigger: str,
    allow_drop: bool = False,
    drop_guard: float = 0.2,
    keep: int = 2,
) -> Publication:
    """Take the writer lock and start a delta on the newest intact generation. Raises WriterBusy."""
    with files.disk_errors(data_dir):
        lock = WriterLock(data_dir)
        try:
            options = _Options(chunker, config_hash, trigger, allow_drop, drop_guard, keep)
            return Publication(data_dir, lock, embedder_id, dimensions, options)
        except BaseException:
            lock.release()
            raise


class Publication:
    """One delta on its way to becoming a generation. Leaving the context without `commit` changes nothing."""

    def __init__(self, data_dir: Path, lock: WriterLock, embedder_id: str, dimensions: int, options: _Options) -> None:
        self.allow_drop = options.allow_drop
        self._data_dir = data_dir
        self._lock: WriterLock | None = lock
        self._embedder, self._dimensions = embedder_id, dimensions if embedder_id else 0
        self._options = options
        self._db = control.connect(data_dir, create=True, is_writer=True)
        try:
            with control.translated(data_dir / control.CONTROL):
                self._recovered = recover_locked(data_dir, self._db)
                failpoint("recovered")
                self._newest = 0  # number of what is pointed at, or of the newest one where the pointer is damaged
                self._pointed: GenerationRow | None = None
                self._served: GenerationRow | None = None  # the newest intact one, whatever its embedder
                self._base = self._find_parent()
                self._number = max(control.next_generation(self._db), _highest_folder(data_dir) + 1, self._newest + 1)
        except BaseException:
            self._db.close()
            raise
        self._sources = self._parent_sources()
        self._delta = _Delta()
        self._known: dict[str, dict[str, KnownFile]] = {}
        self._folder = files.generation_folder(data_dir, self._number)
        self._text: TextWriter | None = None
        self._vectors: VectorWriter | None = None
        self._rows: RowWriter | None = None
        self._fresh: list[str] = []  # files that are new on disk
        self._complete = True
        self._may_shrink: set[str] = set()  # sources
        self.events: dict[str, int] = {}  # source -> events that this publication takes in

    # -- what the parent knows -------------------------------------------------------------------------------------

    @property
    def parent(self) -> Manifest | None:
        """Manifest of the generation that the delta applies to; None = everything is new."""
        return self._base.manifest if self._base else None

    def _find_parent(self) -> GenerationRow | None:
        """Return the pointed generation, or the newest intact older one with the same embedder and format.

        Where the pointer is damaged: the newest intact one of all.
        """
        rows = control.read_generations(self._db)
        try:
            pointed = control.read_pointer(self._db)
            self._newest = pointed[0] if pointed else 0
        except IndexCorrupt:
            pointed, self._newest = None, max((row.id for row in rows), default=0)
        for row in rows:
            if pointed and row.id == pointed[0]:
                self._pointed = row
            if row.id > self._newest or row.manifest.format_version != FORMAT_VERSION:
                continue
            try:
                folder = _verify_folder(self._data_dir, row, "fast")
                TextReader(folder / files.TEXT_FOLDER)  # half a millisecond for both, as a reader opens them
                RowReader(folder / files.ROWS_FOLDER)
            except IndexCorrupt:
                continue
            self._served = self._served or row
            if self._usable(row):
                return row
        return None

    def _usable(self, row: GenerationRow) -> bool:
        """Vectors of two models never mix: such a parent is no parent.

        One without vectors that serves now is: they can be added to it.
        """
        vectors = (row.manifest.embedder, row.manifest.dimensions)
        return vectors == (self._embedder, self._dimensions) or (vectors == ("", 0) and row is self._served)

    @property
    def serves_complete(self) -> bool:
        """Tell whether readers have a complete generation now; nothing less than a complete one takes its place."""
        return self._served is not None and self._served.manifest.complete

    @property
    def continues(self) -> bool:
        """Tell whether the parent is what is pointed at, so that it holds all that was indexed."""
        return self._base is not None and self._base is self._pointed

    def guard_unheld(self, configured: Collection[str], opened: Mapping[str, Snapshot]) -> None:
        """Refuse to lose what the pointed generation holds and the parent does not: a source that is away, or shrank.

        Called before all of it is read and embedded again. Files are counted, for another chunker cuts other chunks.
        """
        pointed = self._pointed
        if self.allow_drop or pointed is None:
            return
        for before in pointed.manifest.sources:
            if before.name in self._sources or before.name not in configured:
                continue
            complaint = self._find_loss(before, opened.get(before.name))
            if complaint:
                raise PublishRefused(
                    f"Source {before.name!r} {complaint}. Generation {pointed.id} stays: it holds {before.files} "
                    "files of it and cannot be built on, because it has another embedder or format, or is damaged. "
                    "Bring the source back or take it out of the configuration, and run `codecairn index`; "
                    "`codecairn index --allow-drop` goes on with what can be read."
                )

    def _find_loss(self, before: SourceState, snapshot: Snapshot | None) -> str:
        """Return what would be lost of a source that is to be read anew, "" for nothing."""
        if snapshot is None:
            return "cannot be read now"
        another_commit = (
            snapshot.may_shrink and snapshot.revision.partition("+")[0] != before.revision.partition("+")[0]
        )
        files = len(snapshot.entries)
        kept = before.files * (1 - self._options.drop_guard)
        if another_commit or before.chunks < DROP_GUARD_FLOOR or files >= kept:
            return ""
        return f"would shrink from {before.files} to {files} files, more than {self._options.drop_guard:.0%}"

    @property
    def lacks_vectors(self) -> bool:
        """Tell whether the parent has no vectors yet where this publication could have some."""
        return self._dimensions > 0 and self._base is not None and not self._base.manifest.embedder

    def defer_vectors(self) -> None:
        """Publish text and symbols only; the next publication adds the vectors. Call it before anything is staged."""
        self._embedder, self._dimensions = "", 0

    # -- work and its failures -------------------------------------------------------------------------------------

    def take(self, sources: Collection[str]) -> dict[str, int]:
        """Return the events of these sources so far. Those in `events` count as done once this is committed."""
        return jobs.taken(self._db, sources)

    def letters(self, source: str) -> dict[str, Letter]:
        """Return the entries of a source that could not be prepared before, by path."""
        return {letter.path: letter for letter in jobs.read_letters(self._db, source)}

    def record_letters(self, source: str, letters: Sequence[Letter]) -> None:
        """Replace the list of a source's entries that could not be prepared."""
        self._delta.letters[source] = letters

    def _parent_sources(self) -> dict[str, _Source]:
        if self._base is None:
            return {}
        file_skips = control.count_file_skips(self._db, self._base.id)
        return {
            s.name: _Source(
                info=SourceInfo(s.name, s.kind, s.product, s.groups, s.trust),  # type: ignore[arg-type]
                revision=s.revision,
                location=s.location,
                chunk_sum=self._base.sums[s.name][0],
                file_sum=self._base.sums[s.name][1],
                files=s.files,
                chunks=s.chunks,
                skipped=Counter(s.skipped) - file_skips[s.name],
                file_skips=file_skips[s.name],
            )
            for s in self._base.manifest.sources
        }

    def known_files(self, source: str) -> dict[str, KnownFile]:
        """Return what the parent generation knows of a source, by entry path.

        An entry that must be read again, for example because another chunker cut it, has an empty hash and stamp.
        """
        if self._base is None:
            return {}
        if source not in self._known:
            self._known[source] = self._read_known(source, self._base)
        return self._known[source]

    def _read_known(self, source: str, base: GenerationRow) -> dict[str, KnownFile]:
        known = control.known_files(self._db, source, base.id)
        if base.manifest.chunker == self._options.chunker:
            return known
        return {path: KnownFile("", file.size, "", "") for path, file in known.items()}

    def known_skips(self, source: str) -> list[Skip]:
        """Return the files that the parent generation left out of a source, in path order."""
        if self._base is None:
            return []
        return [Skip(*row) for row in sorted(control.read_skips(self._db, source, self._base.id))]

    def parent_vectors(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Return the parent's vectors (float32 bytes) of those ids that it holds."""
        if self._base is None or not self._dimensions:
            return {}
        from ingest.index.vector import read_vectors

        return read_vectors(files.generation_folder(self._data_dir, self._base.id) / files.VECTOR_FOLDER, ids)

    def cached_embeddings(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return stored vectors of this publication's embedder by key (text hash)."""
        return control.cached_embeddings(self._db, self._embedder, keys)

    def store_embeddings(self, vectors: dict[str, bytes]) -> None:
        """Keep vectors of this publication's embedder at once: an interrupted build does not pay twice."""
        with control.translated(self._data_dir / control.CONTROL):
            control.store_embeddings(self._db, self._embedder, vectors)

    # -- the delta -------------------------------------------------------------------------------------------------

    def begin_source(self, info: SourceInfo, revision: str, location: str) -> None:
        """Register a source, or take over its new product, groups, kind, trust, revision and location."""
        known = self._sources.get(info.name)
        if known is None:
            self._sources[info.name] = _Source(info, revision, location)
            self._delta.changed = True
        elif (known.info, known.revision, known.location) != (info, revision, location):
            if known.info != info:
                self._audit("acl_changed", info.name, detail=f"groups {list(info.groups)}, product {info.product!r}")
            known.info, known.revision, known.location = info, revision, location
            self._delta.changed = True

    def let_shrink(self, name: str) -> None:
        """Exempt a source from the drop guard: what it lacks is known to be gone."""
        self._may_shrink.add(name)

    def remove_source(self, name: str) -> None:
        """Remove a source with everything that came from it."""
        if name not in self._sources:
            return
        with files.disk_errors(self._data_dir):
            self._open_writers()
        for path in [path for source, path in self._delta.files if source == name]:
            self._undo_staged(name, path)
        del self._sources[name]
        assert self._text is not None
        self._text.delete_source(name)
        self._delta.dropped_sources.add(name)
        self._audit("source_removed", name)

    def remove_file(self, source: str, path: str) -> None:
        """Remove an entry and every chunk that came from it."""
        self._require(source)
        old = self._old_file(source, path)
        if old is None and (source, path) not in self._delta.files:
            return
        with files.disk_errors(self._data_dir):
            self._open_writers()
            self._drop_entry(source, path, old, keep=frozenset())
        self._audit("removed", source, path)

    def add_file(
        self, source: str, entry: Entry, prepared: Sequence[Prepared] | Sequence[Packed], *, skip: Skip | None = None
    ) -> None:
        """Add an entry's chunks, replacing an older version of it in the same step.

        `skip`: the entry was read but is not (wholly) indexed; the reason stays with it until its content changes.
        A chunk without a vector keeps the parent's vector of the same id. Raises EmbeddingError when there is none.
        """
        self._require(source)
        with files.disk_errors(self._data_dir), control.translated(self._data_dir / control.CONTROL):
            self._add_file(source, entry, pack(prepared), skip)

    def _add_file(self, source: str, entry: Entry, packed: Sequence[Packed], skip: Skip | None) -> None:
        self._open_writers()
        old = self._old_file(source, entry.path)
        staged = self._stage_rows(source, entry, packed, old)
        self._drop_entry(source, entry.path, old, frozenset(staged))
        new = _NewFile(entry, skip, [row for row, _ in staged.values()])
        self._write_chunks(entry.path, staged.values(), old)
        self._delta.files[source, entry.path] = new
        self._delta.owners.update((row.id, (source, entry.path)) for row in new.live)
        self._count(source, entry.path, entry.content_hash, skip.reason if skip else "", new.live, 1)
        detail = f"sha256 {entry.content_hash} blob {entry.blob or '-'} chunks {len(new.live)}"
        self._audit("changed" if old else "added", source, entry.path, f"{detail} {skip.reason}" if skip else detail)
        failpoint("after_add")

    def _count(self, source: str, path: str, content_hash: str, reason: str, rows: Collection[_Row], sign: int) -> None:
        """Add an entry to its source's counts and sums, or take it out."""
        state = self._sources.get(source)
        if state is None:
            return
        state.files += sign
        state.chunks += sign * len(rows)
        state.chunk_sum = (state.chunk_sum + sign * sum(as_number(row.digest) for row in rows)) % MODULUS
        state.file_sum = (state.file_sum + sign * as_number(file_digest(source, path, content_hash, reason))) % MODULUS
        if reason:
            state.file_skips[reason] += sign

    def touch_file(self, source: str, entry: Entry) -> None:
        """Record a new stamp of an entry whose content is the same."""
        self._require(source)
        self._delta.stamps[source, entry.path] = entry

    def record_skips(self, source: str, skips: Sequence[Skip]) -> None:
        """Replace the list of a source's skipped files."""
        state = self._require(source)
        rows = {(skip.path, skip.reason, skip.detail) for skip in skips}
        known = control.read_skips(self._db, source, self._base.id) if self._base else set()
        state.new_skips = rows
        state.skipped = Counter(reason for _, reason, _ in rows)
        if rows != known:
            self._delta.changed = True
            for path, reason, detail in sorted(rows - known):
                self._audit("skipped", source, path, f"{reason} {detail}".strip())

    def record_renames(self, source: str, renames: Sequence[Rename]) -> None:
        """Remember that files moved, so that a question with the old path finds the new one."""
        self._require(source)
        self._delta.renames += [(source, rename.old_path, rename.new_path) for rename in renames]
        if renames:
            self._delta.changed = True

    def _require(self, source: str) -> _Source:
        state = self._sources.get(source)
        if state is None:
            raise ValueError(f"Source {source!r} is not part of this publication: call begin_source first.")
        return state

    def _audit(self, event: str, source: str = "", path: str = "", detail: str = "") -> None:
        self._delta.audit.append(AuditEntry(event, source, path, detail))

    def _old_file(self, source: str, path: str) -> _OldFile | None:
        """Return the parent's version of an entry unless this publication removed it already."""
        if self._base is None or source in self._delta.dropped_sources or (source, path) in self._delta.gone:
            return None
        values = {"s": source, "p": path, "g": self._base.id}
        row = self._db.execute(
            f"SELECT id, content_hash, skip_reason FROM file WHERE source = :s AND path = :p AND {control.LIVE}", values
        ).fetchone()
        if row is None:
            return None
        chunks = self._db.execute(
            f"SELECT id, digest, vector_hash, shadowed FROM chunk WHERE file = :f AND {control.LIVE}",
            {"f": row[0], "g": self._base.id},
        )
        return _OldFile(row[0], row[1], row[2], {c[0]: _Row(c[0], c[1], c[2], bool(c[3])) for c in chunks})

    def _stage_rows(
        self, source: str, entry: Entry, packed: Sequence[Packed], old: _OldFile | None
    ) -> dict[int, tuple[_Row, Packed]]:
        """Return an entry's chunks, equal ids once, with their control rows."""
        rows: dict[int, tuple[_Row, Packed]] = {}
        taken = self._taken_ids([one.id for one in packed], source, entry.path)
        for one in packed:
            if one.source != source:
                raise ValueError(f"A chunk of source {one.source!r} was added to source {source!r}.")
            if one.id not in rows:
                rows[one.id] = (_Row(one.id, one.digest, self._vector_hash(one, old), one.id in taken), one)
        return rows

    def _vector_hash(self, one: Packed, old: _OldFile | None) -> bytes:
        if not self._dimensions:
            return b""
        if one.vector is not None:
            return hash_vector(one.vector, one.language)
        if old is not None and one.id in old.chunks:
            return old.chunks[one.id].vector_hash
        found = self._parent_vector_hash(one.id)
        if found is None:
            raise EmbeddingError(
                f"Chunk {one.ref}:{one.start_line} of source {one.source!r} has no vector and the "
                "parent generation has none for it. Embed it before adding it."
            )
        return found

    def _parent_vector_hash(self, chunk_id: int) -> bytes | None:
        if self._base is None:
            return None
        row = self._db.execute(
            f"SELECT vector_hash FROM chunk WHERE id = :i AND {control.LIVE}", {"i": chunk_id, "g": self._base.id}
        ).fetchone()
        return bytes(row[0]) if row else None

    def _taken_ids(self, ids: Sequence[int], source: str, path: str) -> set[int]:
        """Return ids that another entry owns: the same ticket exported twice is one chunk, the first entry keeps it."""
        taken = {i for i in ids if self._delta.owners.get(i, (source, path)) != (source, path)}
        if self._base is None or source in self._delta.dropped_sources:
            return taken
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            marks = ",".join(map(str, some))
            rows = self._db.execute(
                f"SELECT c.id, f.source, f.path FROM chunk c JOIN file f ON f.id = c.file WHERE c.id IN ({marks})"
                " AND c.shadowed = 0 AND c.gen_from <= :g AND (c.gen_to IS NULL OR c.gen_to > :g)",
                {"g": self._base.id},
            )
            taken |= {
                row[0] for row in rows if (row[1], row[2]) != (source, path) and not self._replaced(row[1], row[2])
            }
        return taken

    def _replaced(self, source: str, path: str) -> bool:
        return (source, path) in self._delta.gone or source in self._delta.dropped_sources

    def _open_writers(self) -> None:
        """Clone the parent at the first change: an unchanged delta costs nothing."""
        self._delta.changed = True
        if self._text is not None:
            return
        self._clone()
        self._text = TextWriter(self._folder / files.TEXT_FOLDER, create=self._base is None)
        self._rows = RowWriter(self._folder / files.ROWS_FOLDER)
        if self._dimensions:
            from ingest.index.vector import VectorWriter

            self._vectors = VectorWriter(
                self._folder / files.VECTOR_FOLDER,
                generation=self._number,
                dimensions=self._dimensions,
                create=self._base is None or self.lacks_vectors,
            )

    def _clone(self) -> None:
        if self._base is None:
            self._folder.mkdir(parents=True)
            failpoint("after_clone")
        else:
            from ingest.index.vector import needed_files

            parent = files.generation_folder(self._data_dir, self._base.id)
            files.clone_folder(parent, self._folder, needed_files(files.list_files(parent)))

    def _drop_entry(self, source: str, path: str, old: _OldFile | None, keep: frozenset[int]) -> None:
        """Take an entry's chunks out of both engines; vector rows of the ids in `keep` stay for reuse."""
        assert self._text is not None
        if (source, path) in self._delta.files:
            self._undo_staged(source, path)
        if old is None:
            return
        self._text.delete_file(source, path)
        failpoint("after_delete")
        self._delta.gone[source, path] = old.row
        self._count(source, path, old.content_hash, old.skip_reason, old.live.values(), -1)
        self._delta.dead_rows |= old.live.keys() - keep
        self._delta.removed_ids |= old.live.keys()

    def _undo_staged(self, source: str, path: str) -> None:
        """Take back what this publication added for the entry."""
        assert self._text is not None
        new = self._delta.files.pop((source, path))
        self._text.delete_file(source, path)
        ids = [row.id for row in new.live]
        for chunk_id in ids:
            del self._delta.owners[chunk_id]
        if self._vectors is not None:
            self._vectors.delete_own(ids)
            self._delta.dead_rows.update(ids)
        self._delta.removed_ids.update(ids)
        reason = new.skip.reason if new.skip else ""
        self._count(source, path, new.entry.content_hash, reason, new.live, -1)

    def _write_chunks(self, path: str, staged: Iterable[tuple[_Row, Packed]], old: _OldFile | None) -> None:
        assert self._text is not None and self._rows is not None
        live = [(row, one) for row, one in staged if not row.shadowed]
        self._text.add(path, (one for _, one in live))
        for row, one in live:
            self._rows.add(one)
            self._delta.removed_ids.discard(row.id)
            self._write_vector(one, row, old)

    def _write_vector(self, one: Packed, row: _Row, old: _OldFile | None) -> None:
        if self._vectors is None:
            return
        known = old.live.get(row.id) if old is not None else None
        if known is not None and known.vector_hash == row.vector_hash and row.id not in self._delta.dead_rows:
            return
        vector = one.vector if one.vector is not None else self.parent_vectors([row.id]).get(row.id)
        if vector is None:
            raise EmbeddingError(
                f"The parent generation has no vector for chunk {one.ref}:{one.start_line}. Embed it again."
            )
        if known is not None:
            self._delta.dead_rows.add(row.id)
        self._vectors.add(row.id, one.source, one.path, one.language, vector)

    @property
    def kinds(self) -> dict[str, str]:
        """Return the kind of each source of the parent."""
        assert self._base is not None
        return {state.name: state.kind for state in self._base.manifest.sources}

    def stored_chunks(self) -> Iterator[bytes]:
        """Yield every chunk of a parent that lacks vectors, as it is stored."""
        assert self._base is not None and self.lacks_vectors
        folder = files.generation_folder(self._data_dir, self._base.id)
        return (data for _, data in TextReader(folder / files.TEXT_FOLDER).every())

    def passages(self) -> Iterator[StoredPassage]:
        """Yield what is embedded of every chunk of a parent that lacks vectors."""
        kinds = self.kinds
        return (decode_passage(data, kinds) for data in self.stored_chunks())

    def add_vectors(self, vectors: Iterable[tuple[StoredPassage, bytes]]) -> None:
        """Give chunks of a parent that lacks vectors their vectors (float32 bytes)."""
        with files.disk_errors(self._data_dir):
            self._open_writers()
            assert self._vectors is not None
            for passage, vector in vectors:
                self._vectors.add(passage.chunk_id, passage.source, passage.path, passage.language, vector)
                self._delta.vector_hashes.append((hash_vector(vector, passage.language), passage.chunk_id))

    # -- publishing ------------------------------------------------------------------------------------------------

    def commit(
        self,
        now: str,
        smoke: Sequence[Callable[[Index], str | None]] = (),
        *,
        complete: bool = True,
        describe: Callable[[str], str] | None = None,
    ) -> Manifest:
        """Verify and publish; return the new manifest, or the parent's when nothing changed.

        `complete`: False for a part of a first build that goes on. `describe`: result -> what the audit trail says of
        the build. Raises PublishRefused (drop guard, counts, ids, samples, smoke) or DiskFull; the current generation
        then stays.
        """
        self._complete = complete
        with files.disk_errors(self._data_dir), control.translated(self._data_dir / control.CONTROL):
            if not self._delta.changed and self._base is not None and self._is_current():
                self._close_unchanged(now, describe)
                return self._base.manifest
            if describe is not None:
                self._audit("build", detail=describe("published" if complete else "partial"))
            self._guard_drop()
            self._open_writers()
            self._write_engines()
            manifest = self._manifest(now)
            try:
                self._verify(manifest)
            except PublishRefused:
                self._check_parent()
                raise
            failpoint("after_verify")
            files_hash = self._write_file_manifest(manifest)
            self._smoke(smoke, manifest)
            failpoint("after_manifest")
            files.sync_folder(self._folder, self._fresh)
            failpoint("after_fsync")
            self._move_pointer(manifest, files_hash, now)
            failpoint("after_sql")
        collect_locked(self._data_dir, self._db, self._options.keep)
        return manifest

    def _is_current(self) -> bool:
        base = self._base
        same_build = base is not None and (base.manifest.chunker, base.manifest.config_hash) == (
            self._options.chunker,
            self._options.config_hash,
        )
        same_state = base is not None and (base.manifest.complete or not self._complete)
        return same_build and same_state and self.continues

    def _close_unchanged(self, now: str, describe: Callable[[str], str] | None) -> None:
        """Record stamps, finished work and the build itself; the parent stays."""
        entries = [AuditEntry("build", detail=describe("unchanged"))] if describe is not None else []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._update_stamps()
            self._finish_work(now, {})
            control.append_audit(self._db, now, self._base.id if self._base else None, [*self._recovered, *entries])
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _finish_work(self, now: str, heads: dict[str, str]) -> None:
        """Store what could not be prepared, and that the events of the sources were taken in."""
        for source, letters in self._delta.letters.items():
            jobs.replace_letters(self._db, source, letters)
        if self._complete:
            known = {name: source.revision for name, source in self._sources.items()}
            jobs.finish(self._db, self.events, known | heads, now)

    def _update_stamps(self) -> None:
        rows = [
            (e.size, e.stamp, e.blob, e.uncommitted, source, path) for (source, path), e in self._delta.stamps.items()
        ]
        self._db.executemany(
            "UPDATE file SET size = ?, stamp = ?, blob = ?, uncommitted = ?, again = 0"
            " WHERE source = ? AND path = ? AND gen_to IS NULL",
            rows,
        )

    def _guard_drop(self) -> None:
        if self.allow_drop or self._base is None:
            return
        for before in self._base.manifest.sources:
            after = self._sources.get(before.name)
            if after is None or before.name in self._may_shrink or before.chunks < DROP_GUARD_FLOOR:
                continue
            if after.chunks < before.chunks * (1 - self._options.drop_guard):
                raise PublishRefused(
                    f"Source {before.name!r} would shrink from {before.chunks} to {after.chunks} chunks, more than "
                    f"{self._options.drop_guard:.0%}. Generation {self._base.id} stays. If that is right, "
                    "run `codecairn index --allow-drop`.",
                    source=before.name,
                )

    def _write_engines(self) -> None:
        assert self._text is not None and self._rows is not None
        if self._vectors is not None:
            failpoint("before_vector_write")
            self._vectors.flush()
            failpoint("after_vector_write")
            self._vectors.delete_older(sorted(self._delta.dead_rows))
            self._vectors.delete_sources(sorted(self._delta.dropped_sources))
            failpoint("after_vector_delete")
            self._vectors.tidy()
        failpoint("before_text_commit")
        live = sum(source.chunks for source in self._sources.values())
        with ThreadPoolExecutor(1) as beside:  # the engine holds no lock of the interpreter while it writes
            text = beside.submit(self._text.commit)
            self._rows.commit(live, lambda: self._written_ids(text))
            text.result()
        failpoint("after_text_commit")

    def _written_ids(self, text: Future[None]) -> list[int]:
        """Return the ids in the text index once it is written."""
        text.result()
        return TextReader(self._folder / files.TEXT_FOLDER).all_ids()

    def _manifest(self, now: str) -> Manifest:
        before = {s.name: s for s in self._base.manifest.sources} if self._base else {}
        sources = [self._source_state(name, now, before.get(name)) for name in sorted(self._sources)]
        return Manifest(
            generation=self._number,
            parent=self._base.id if self._base else None,
            format_version=FORMAT_VERSION,
            embedder=self._embedder,
            dimensions=self._dimensions,
            chunker=self._options.chunker,
            created_at=now,
            config_hash=self._options.config_hash,
            content_hash=hash_content(self._embedder, self._options.chunker, sources, self._sums()),
            chunks=sum(s.chunks for s in sources),
            files=sum(s.files for s in sources),
            sources=tuple(sources),
            complete=self._complete,
        )

    def _source_state(self, name: str, now: str, before: SourceState | None) -> SourceState:
        source = self._sources[name]
        info = source.info
        state = SourceState(
            name=name,
            kind=info.kind,
            product=info.product,
            groups=tuple(info.groups),
            trust=info.trust,
            revision=source.revision,
            location=source.location,
            files=source.files,
            chunks=source.chunks,
            skipped=dict(sorted((source.skipped + source.file_skips).items())),
            indexed_at=now,
        )
        unchanged = before is not None and replace(state, indexed_at=before.indexed_at) == before
        return before if unchanged and before is not None and not self._touched(name) else state

    def _touched(self, source: str) -> bool:
        return any(key[0] == source for key in self._delta.files) or any(key[0] == source for key in self._delta.gone)

    def _sums(self) -> dict[str, tuple[int, int]]:
        return {name: (source.chunk_sum, source.file_sum) for name, source in self._sources.items()}

    def _verify(self, manifest: Manifest) -> None:
        """Check counts per source in both engines, the delta's ids, samples of the rest, every id when cheap."""
        reader = TextReader(self._folder / files.TEXT_FOLDER)
        expected = {s.name: s.chunks for s in manifest.sources if s.chunks}
        text = {s.name: reader.count(TextFilter(sources=(s.name,))) for s in manifest.sources}
        _refuse_unless({k: v for k, v in text.items() if v} == expected, f"text counts are {text}, expected {expected}")
        _refuse_unless(reader.count(EVERYTHING) == manifest.chunks, "the text index holds chunks of unknown sources")
        if self._vectors is not None:
            self._verify_vector_counts(manifest, self._vectors)
        self._verify_ids(reader, manifest)

    def _check_parent(self) -> None:
        """Raise IndexCorrupt if it is the parent's files that are damaged."""
        if self._base is not None:
            _verify_folder(self._data_dir, self._base, "full")

    def _verify_vector_counts(self, manifest: Manifest, vectors: VectorWriter) -> None:
        """Count all rows, and those of each touched source if there are several: one follows from the total."""
        total = vectors.count()
        _refuse_unless(total == manifest.chunks, f"the vector table has {total} rows, expected {manifest.chunks}")
        touched = [state for state in manifest.sources if self._touched(state.name)]
        for state in touched if len(touched) > 1 or self._delta.dropped_sources else ():
            rows = vectors.count(state.name)
            _refuse_unless(rows == state.chunks, f"source {state.name!r} has {rows} vectors, expected {state.chunks}")

    def _verify_ids(self, reader: TextReader, manifest: Manifest) -> None:
        delta = len(self._delta.owners) + len(self._delta.removed_ids)
        if manifest.chunks <= FULL_CHECK_BELOW or delta * 4 > manifest.chunks or self._delta.vector_hashes:
            self._verify_all_ids(reader)
            return
        removed = sorted(self._delta.removed_ids)
        present = sorted({*self._delta.owners, *self._sample()} - self._delta.removed_ids)
        _refuse_unless(
            all(reader.holds(i) for i in present), "a chunk of the delta or a sample is not in the text index"
        )
        _refuse_unless(not any(reader.holds(i) for i in removed), "a removed chunk is still in the text index")
        _refuse_unless(self._row_reader().holds(present), "a chunk of the delta or a sample has no row")
        if self._vectors is not None:
            count = self._vectors.count_present([*present, *removed])
            _refuse_unless(count == len(present), "the vector table lacks a chunk of the delta or holds a removed one")

    def _row_reader(self) -> RowReader:
        return RowReader(self._folder / files.ROWS_FOLDER)

    def _sample(self) -> list[int]:
        """Return ids of some of the parent's chunks that this delta leaves alone."""
        if self._base is None:
            return []
        last = int(self._db.execute("SELECT max(rowid) FROM chunk").fetchone()[0] or 1)
        chosen = random.Random(self._number).choices(range(1, last + 1), k=3 * SAMPLES)
        ids = control.sample_chunks(self._db, self._base.id, chosen)
        gone = self._delta.dropped_sources
        return ids[:SAMPLES] if not gone else []

    def _verify_all_ids(self, reader: TextReader) -> None:
        text = reader.all_ids()
        _refuse_unless(len(text) == len(set(text)), "the text index holds a chunk twice")
        _refuse_unless(self._delta.owners.keys() <= set(text), "an added chunk is not in the text index")
        _refuse_unless(self._delta.removed_ids.isdisjoint(text), "a removed chunk is still in the text index")
        _refuse_unless(self._row_reader().holds(text), "a chunk of the text index has no row")
        if self._vectors is not None:
            _refuse_unless(sorted(self._vectors.ids()) == sorted(text), "text index and vectors hold different chunks")

    def _write_file_manifest(self, manifest: Manifest) -> str:
        parent, known = None, {}
        if self._base is not None:
            parent = files.generation_folder(self._data_dir, self._base.id)
            known = files.read_file_manifest(parent, self._base.files_hash).files
        hashes, self._fresh = files.hash_files(self._folder, parent, known)
        logical = {
            "manifest": manifest_to_dict(manifest),
            "sums": {name: [f"{pair[0]:x}", f"{pair[1]:x}"] for name, pair in self._sums().items()},
            "dead": self._dead_ids(),
        }
        return files.write_file_manifest(self._folder, files.FileManifest(self._number, hashes, logical))

    def _dead_ids(self) -> list[int] | None:
        """Return the ids whose vector row of the parent is gone, for readers that hold the parent; None = too many."""
        if self._delta.dropped_sources or len(self._delta.dead_rows) > DEAD_LISTED:
            return None
        return sorted(self._delta.dead_rows)

    def _smoke(self, smoke: Sequence[Callable[[Index], str | None]], manifest: Manifest) -> None:
        if not smoke:
            return
        from ingest.index.reader import Index

        index = Index.open_folder(self._data_dir, manifest)
        try:
            for check in smoke:
                complaint = check(index)
                if complaint:
                    raise PublishRefused(
                        f"The new generation does not answer a smoke question: {complaint}. It is not published. "
                        "Correct that question in [[index.smoke]], or what it should find, and run `codecairn index`."
                    )
        finally:
            index.close()

    def _move_pointer(self, manifest: Manifest, files_hash: str, now: str) -> None:
        """The one transaction: rows, generation, pointer, audit."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            older = self._base or self._served
            control.abandon_after(self._db, older.id if older else 0)
            if self._base is None:
                control.end_all(self._db, self._number)
            self._write_rows()
            failpoint("in_sql")
            control.write_generation(self._db, manifest, self._sums(), files_hash, self._options.trigger)
            control.write_pointer(self._db, self._number, files_hash)
            self._finish_work(now, {state.name: state.revision for state in manifest.sources})
            self._audit("published", detail=f"content {manifest.content_hash} trigger {self._options.trigger}")
            control.append_audit(self._db, now, self._number, [*self._recovered, *self._delta.audit])
            failpoint("in_sql_after_pointer")
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _write_rows(self) -> None:
        number, db = self._number, self._db
        for source in sorted(self._delta.dropped_sources):
            db.execute(
                "UPDATE chunk SET gen_to = ? WHERE gen_to IS NULL"
                " AND file IN (SELECT id FROM file WHERE source = ? AND gen_to IS NULL)",
                (number, source),
            )
            for table in ("file", "skip", "rename"):
                db.execute(f"UPDATE {table} SET gen_to = ? WHERE gen_to IS NULL AND source = ?", (number, source))
        gone = [(number, row) for row in self._delta.gone.values()]
        db.executemany("UPDATE chunk SET gen_to = ? WHERE gen_to IS NULL AND file = ?", gone)
        db.executemany("UPDATE file SET gen_to = ? WHERE gen_to IS NULL AND id = ?", gone)
        self._update_stamps()
        db.executemany(
            "UPDATE chunk SET vector_hash = ? WHERE id = ? AND shadowed = 0 AND gen_to IS NULL",
            self._delta.vector_hashes,
        )
        self._forget_shadowed()
        if self._base is not None and self._base.manifest.chunker != self._options.chunker:
            db.execute("UPDATE file SET again = 1 WHERE gen_to IS NULL")  # what was left out, or comes in a later part
        self._insert_files()
        self._write_skips()
        control.write_renames(db, number, self._delta.renames)

    def _forget_shadowed(self) -> None:
        """Mark the entries whose shadowed chunk lost its owner: the next run reads them again."""
        lost = sorted(self._delta.removed_ids - self._delta.owners.keys())
        for start in range(0, len(lost), 500):
            marks = ",".join(map(str, lost[start : start + 500]))
            self._db.execute(
                f"UPDATE file SET again = 1 WHERE gen_to IS NULL AND id IN"
                f" (SELECT file FROM chunk WHERE shadowed = 1 AND gen_to IS NULL AND id IN ({marks}))"
            )

    def _insert_files(self) -> None:
        number = self._number
        first = int(self._db.execute("SELECT coalesce(max(id), 0) FROM file").fetchone()[0]) + 1
        file_rows, chunk_rows = [], []
        for row, ((source, path), new) in enumerate(self._delta.files.items(), first):
            entry, skip = new.entry, new.skip or Skip("", "")
            stamp = (entry.content_hash, entry.size, entry.stamp, entry.blob, entry.uncommitted)
            file_rows.append((row, source, path, *stamp, skip.reason, skip.detail, number))
            chunk_rows += [(i, row, value, vector, shadowed, number) for i, value, vector, shadowed in new.rows]
        self._db.executemany(
            "INSERT INTO file(id, source, path, content_hash, size, stamp, blob, uncommitted, skip_reason, skip_detail,"
            " gen_from) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            file_rows,
        )
        self._db.executemany(
            "INSERT INTO chunk(id, file, digest, vector_hash, shadowed, gen_from) VALUES (?, ?, ?, ?, ?, ?)", chunk_rows
        )

    def _write_skips(self) -> None:
        number = self._number
        for name, source in self._sources.items():
            if source.new_skips is None:
                continue
            known = control.read_skips(self._db, name, number)
            self._db.executemany(
                "UPDATE skip SET gen_to = ?"
                " WHERE gen_to IS NULL AND source = ? AND path = ? AND reason = ? AND detail = ?",
                [(number, name, *row) for row in sorted(known - source.new_skips)],
            )
            self._db.executemany(
                "INSERT INTO skip(source, path, reason, detail, gen_from) VALUES (?, ?, ?, ?, ?)",
                [(name, *row, number) for row in sorted(source.new_skips - known)],
            )

    # -- leaving ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the publication; what was not committed is deleted."""
        if self._lock is None:
            return
        self._text = self._vectors = self._rows = None
        try:
            published = self._db.execute("SELECT 1 FROM generation WHERE id = ?", (self._number,)).fetchone()
            if published is None and self._folder.exists():
                shutil.rmtree(self._folder, ignore_errors=True)
        finally:
            self._db.close()
            self._lock.release()
            self._lock = None


def hash_vector(vector: bytes, language: str | None) -> bytes:
    """Return what tells whether a chunk's vector row has to be written again."""
    return blake2b(vector, digest_size=8, person=(language or "").encode()[:16]).digest()


def _refuse_unless(holds: bool, complaint: str) -> None:
    if not holds:
        raise PublishRefused(
            f"The new generation failed validation: {complaint}. The current one stays. Run `codecairn doctor --deep`."
        )


def _highest_folder(data_dir: Path) -> int:
    folder = data_dir / files.GENERATIONS
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def recover_locked(data_dir: Path, db: sqlite3.Connection) -> list[AuditEntry]:
    """Delete directories that no published generation owns and no reader leases. Needs the writer lock."""
    states = dict(db.execute("SELECT id, state FROM generation"))
    folder = data_dir / files.GENERATIONS
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        number = int(path.name) if path.name.isdigit() else None
        if number is not None and states.get(number) != "published":
            _discard(data_dir, number)
        elif number is None:
            shutil.rmtree(path, ignore_errors=True)
        if number not in states and not path.exists():
            found.append(AuditEntry("recovered", detail=f"deleted unpublished directory {path.name}"))
    return found


def recover(data_dir: Path) -> int:
    """Delete the leftovers of killed writers; return how many there were. Raises WriterBusy."""
    if not control.is_created(data_dir):
        return 0
    lock = WriterLock(data_dir)
    try:
        db = control.connect(data_dir)
        try:
            return len(recover_locked(data_dir, db))
        finally:
            db.close()
    finally:
        lock.release()


def collect_locked(data_dir: Path, db: sqlite3.Connection, keep: int) -> list[int]:
    """Retire generations older than the `keep` previous ones; delete their directories once no reader leases them.

    Needs the writer lock. A retired generation is never a parent or a fallback again: its control rows are gone.
    """
    pointed = control.read_pointer(db)
    if pointed is None:
        return []
    numbers = control.published_numbers(db)
    previous = [number for number in numbers if number < pointed[0]][:keep]
    retained = {pointed[0], *previous} | {number for number in numbers if number > pointed[0]}
    retired = [number for number in numbers if number not in retained]
    if retired:
        control.retire(db, retired, min(retained))
    failpoint("mid_garbage")
    recover_locked(data_dir, db)
    return retired


def _discard(data_dir: Path, generation: int) -> None:
    """Delete one directory unless leased.

    The rename comes before the second look at the leases: a reader that takes its lease after that finds no directory
    and starts again.
    """
    folder = files.generation_folder(data_dir, generation)
    if not folder.exists() or generation in leased_generations(data_dir):
        return
    trash = folder.with_name(f"{TRASH}-{generation}")
    folder.rename(trash)
    if generation in leased_generations(data_dir):
        trash.rename(folder)
        return
    shutil.rmtree(trash, ignore_errors=True)  # a file that cannot be deleted now is swept by the next recovery


def collect_garbage(data_dir: Path, keep: int = 2) -> list[int]:
    """Delete old generations without a reader; return their numbers. Raises WriterBusy."""
    lock = WriterLock(data_dir)
    try:
        db = control.connect(data_dir)
        try:
            recover_locked(data_dir, db)
            return collect_locked(data_dir, db, keep)
        finally:
            db.close()
    finally:
        lock.release()


def roll_back(data_dir: Path, to: int | None = None, *, now: str = "", actor: str = "") -> Manifest:
    """Point at an older (or a rolled-back newer) retained generation after checking all of its files."""
    with _writing(data_dir) as db:
        left, row = _find_earlier(data_dir, db, to)
        detail = f"from {left} to {row.id}" + (f" by {actor}" if actor else "")
        with control.translated(data_dir / control.CONTROL):
            db.execute("BEGIN IMMEDIATE")
            control.write_pointer(db, row.id, row.files_hash)
            control.append_audit(db, now, row.id, [AuditEntry("rolled_back", detail=detail)])
            db.execute("COMMIT")
        return row.manifest


def check_rollback(data_dir: Path) -> None:
    """Raise what `roll_back` would raise, and change nothing."""
    with _writing(data_dir) as db:
        _find_earlier(data_dir, db, None)


@contextmanager
def _writing(data_dir: Path) -> Iterator[sqlite3.Connection]:
    lock = WriterLock(data_dir)
    try:
        with closing(control.connect(data_dir)) as db:
            yield db
    finally:
        lock.release()


def _find_earlier(data_dir: Path, db: sqlite3.Connection, to: int | None) -> tuple[int, GenerationRow]:
    """Return the pointed generation and the one to point at: `to`, or the newest complete one before it that is intact.

    Raises IndexEmpty where there is none, IndexCorrupt where all are damaged.
    """
    pointed = control.read_pointer(db)
    if pointed is None:
        raise IndexEmpty("There is no generation to roll back to: nothing was published yet. Run `codecairn index`.")
    rows = {row.id: row for row in control.read_generations(db)}
    if to is not None and to not in rows:
        kept = ", ".join(map(str, sorted(rows)))
        raise IndexEmpty(f"Generation {to} is not kept. Kept are: {kept}.")
    older = [row for number, row in rows.items() if number < pointed[0] and row.manifest.complete]
    failure: IndexCorrupt | None = None
    for row in [rows[to]] if to is not None else older:
        try:
            _verify_folder(data_dir, row, "full")
            return pointed[0], row
        except IndexCorrupt as error:
            failure = failure or error
    raise failure or IndexEmpty(
        f"Nothing before generation {pointed[0]} is kept, so there is nothing to roll back to. Put the sources "
        "back to what they were and run `codecairn index`, or restore a backup (`codecairn restore`)."
    )


def quarantine(data_dir: Path) -> list[int]:
    """Take generations out of use whose files are not as they were published; return their numbers.

    Readers then fall back to an intact one, and the next build starts from it. Raises WriterBusy.
    """
    lock = WriterLock(data_dir)
    try:
        db = control.connect(data_dir)
        try:
            rows = control.read_generations(db)
        finally:
            db.close()
        return [row.id for row in rows if not _is_intact(data_dir, row)]
    finally:
        lock.release()


def _verify_folder(data_dir: Path, row: GenerationRow, mode: Literal["fast", "full"]) -> Path:
    """Return the folder of a generation whose files are as they were published. Raises IndexCorrupt."""
    folder = files.generation_folder(data_dir, row.id)
    files.verify_files(folder, files.read_file_manifest(folder, row.files_hash), mode)
    return folder


def _is_intact(data_dir: Path, row: GenerationRow) -> bool:
    try:
        _verify_folder(data_dir, row, "full")
    except IndexCorrupt:
        files.take_out_of_use(files.generation_folder(data_dir, row.id))
        return False
    return True


def generations(data_dir: Path) -> list[GenerationRow]:
    """Return the generations that are kept, newest first."""
    if not control.is_created(data_dir):
        return []
    db = control.connect(data_dir)
    try:
        return control.read_generations(db)
    finally:
        db.close()


def status(data_dir: Path) -> IndexStatus:
    """Return what is indexed, what was skipped and what is wrong, without opening an engine."""
    if not control.is_created(data_dir):
        return IndexStatus(current=None, generations=())
    db = control.connect(data_dir)
    try:
        rows = control.read_generations(db)
        pointed = control.read_pointer(db)
        current = next((row for row in rows if pointed and row.id == pointed[0]), None)
        if pointed is not None and current is None:
            lost = f"{control.CONTROL} does not say what generation {pointed[0]} holds. Run `codecairn index`."
            return IndexStatus(current=None, generations=tuple(rows), alarms=(lost,))
        if current is None:
            return IndexStatus(current=None, generations=tuple(rows))
        return IndexStatus(
            current=current.manifest,
            generations=tuple(rows),
            skips=control.count_skips(db, current.id),
            last_build=max(row.created_at for row in rows),
            alarms=tuple(_alarms(data_dir, rows, current)),
        )
    finally:
        db.close()


def _alarms(data_dir: Path, rows: Sequence[GenerationRow], current: GenerationRow) -> Iterator[str]:
    if current.manifest.chunks == 0:
        yield f"Generation {current.id} is empty."
    if not current.manifest.complete:
        yield f"Generation {current.id} is part of a first build that goes on, or was cut off: run `codecairn index`."
    if any(row.id > current.id for row in rows):
        yield f"Generation {current.id} is older than the newest published one: it was rolled back."
    try:
        _verify_folder(data_dir, current, "fast")
    except IndexCorrupt as error:
        yield str(error)
