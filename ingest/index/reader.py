"""Index: one opened generation, immutable; reads are thread-safe."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rapidfuzz import fuzz, process

from ingest.errors import (
    EmbedderMismatch,
    IndexCorrupt,
    IndexEmpty,
    IndexGone,
    IndexStateError,
    VectorUnavailable,
)
from ingest.index import control, files
from ingest.index.globs import glob_pattern
from ingest.index.lease import Lease, take_lease
from ingest.index.names import clean, normalise_key, qualified
from ingest.index.rows import Definition, FileRow, RowReader, Rows
from ingest.index.schema import FORMAT_VERSION, SAID_FIELDS, Manifest, SourceState, SymbolHit
from ingest.index.scored import ScoredChunks
from ingest.index.stored import REMEDY, decode_chunk, manifest_from_dict
from ingest.index.text import TextFilter, TextReader
from ingest.index.tokens import index_tokens, split_identifier, stem, token_stream, whole_word, words
from ingest.languages.kinds import TYPE_KINDS
from ingest.model import Chunk, Filters

if TYPE_CHECKING:
    import numpy as np

    from ingest.embedding import Embedder
    from ingest.index.vector import VectorRows

NAME_CACHE = 50_000  # definitions kept by name, per generation: a query asks for the same ones two or three times
FIRST_CACHE = 8_192  # files of which the first chunk is known, per generation
WHERE_CACHE = 256  # filters
CHUNK_CACHE = 8192  # decoded chunks per generation, about 20 MB
SYMBOL_SCAN = 2_000  # chunks whose symbols are looked at for one exact name
NEAR_SCAN = 400  # and for names that are spelt nearly so
PREFIX_SCAN = 200  # and for a beginning or sub-words of one: these match many
LOOKUP_LIMIT = 10_000
WORD_SCAN = 2_000  # chunks with a word's stem that are searched for the word itself
NEAR_DISTANCE = 2
SLIP = 0.85  # similarity (0..1) from which a name counts as misspelt
OPEN_ATTEMPTS = 5
EXACT_VECTORS_MAX = 1_500_000  # about 450 bytes each in memory
How = Literal["exact", "qualified", "case", "prefix", "part"]
HOW_ORDER: dict[How, int] = {"exact": 0, "qualified": 1, "case": 2, "prefix": 3, "part": 4}
ROLE_ORDER = {"source": 0, "compat": 1, "config": 1, "example": 2, "docs": 2, "test": 3, "generated": 4, "vendored": 4}


@dataclass(slots=True)
class _Pointer:
    """A look at the pointer that costs microseconds while nothing changed (PRAGMA data_version)."""

    connection: sqlite3.Connection
    lock: threading.Lock
    place: tuple[int, int] | None  # of the file that is open: a connection outlives its removal
    version: int = -1
    value: tuple[int, str] | None = None

    def read(self) -> tuple[int, str] | None:
        with self.lock:
            version = int(self.connection.execute("PRAGMA data_version").fetchone()[0])
            if version != self.version:
                self.value = control.read_pointer(self.connection)
                self.version = version
            return self.value

    def generations(self) -> list[control.GenerationRow]:
        with self.lock:
            return control.read_generations(self.connection)

    def __del__(self) -> None:
        self.connection.close()


def _open_pointer(data_dir: Path) -> _Pointer:
    if not (data_dir / control.CONTROL).exists():
        raise IndexEmpty(f"Nothing was indexed in {data_dir} yet. Run `codecairn index`.")
    place = control.find_place(data_dir)  # before it is opened: one that comes in between is noticed at the next look
    return _Pointer(control.connect(data_dir), threading.Lock(), place)


class Index:
    """One opened generation."""

    def __init__(
        self,
        data_dir: Path,
        manifest: Manifest,
        embedder: Embedder | None,
        degraded: tuple[str, ...],
        lease: Lease | None,
        pointer: _Pointer | None,
        exact_vectors_max: int,
    ) -> None:
        self.manifest = manifest
        self.generation = manifest.generation
        self.degraded = degraded
        self._data_dir = data_dir
        self._folder = files.generation_folder(data_dir, manifest.generation)
        self._pointed = manifest.generation  # what the pointer named when this was opened; differs after a fallback
        self._embedder = embedder
        self._lease = lease
        self._pointer = pointer
        self._exact_vectors_max = exact_vectors_max
        self._sources: Mapping[str, SourceState] = {state.name: state for state in manifest.sources}
        self._text = TextReader(self._folder / files.TEXT_FOLDER)
        self._ranking = RowReader(self._folder / files.ROWS_FOLDER)
        self._cache: OrderedDict[int, Chunk] = OrderedDict()
        self._cache_lock = threading.Lock()
        self._named: OrderedDict[tuple[str, TextFilter], tuple[SymbolHit, ...]] = OrderedDict()
        self._named_hits = 0  # definitions in it, and one for each name
        self._firsts: dict[tuple[str, str, Filters], int | None] = {}  # of a file, the id of its first chunk
        self._wheres: dict[Filters, TextFilter | None] = {}
        self._vector_lock = threading.Lock()
        self._rows: VectorRows | None = None
        self._expired: tuple[object, Mapping[tuple[str, str], str]] | None = None  # as it was asked for last
        self._renamed: Mapping[tuple[str, str], str] | None = None  # read at the first path that is not there
        self._dead: list[int] | None = None  # ids whose vector row of the parent is gone; None = not listed

    # -- opening ---------------------------------------------------------------------------------------------------

    @classmethod
    def open_current(
        cls,
        data_dir: Path,
        embedder: Embedder | None = None,
        *,
        verify: Literal["fast", "full"] = "fast",
        exact_vectors_max: int = EXACT_VECTORS_MAX,
    ) -> Index:
        """Open the pointed generation, or the newest intact older one (`degraded` then says so).

        Raises IndexEmpty when nothing was published, IndexCorrupt when no generation is intact.
        """
        pointer = _open_pointer(data_dir)
        try:
            return cls._open_pointed(data_dir, embedder, verify, exact_vectors_max, pointer)
        except BaseException:
            pointer.connection.close()
            raise

    @classmethod
    def _open_pointed(
        cls,
        data_dir: Path,
        embedder: Embedder | None,
        verify: Literal["fast", "full"],
        exact_vectors_max: int,
        pointer: _Pointer,
    ) -> Index:
        failure: IndexStateError | None = None
        for attempt in range(OPEN_ATTEMPTS):
            with control.translated(data_dir / control.CONTROL):
                pointed = pointer.read()
                rows = pointer.generations()
            if pointed is None:
                raise IndexEmpty(f"Nothing was indexed in {data_dir} yet. Run `codecairn index`.")
            candidates = [row for row in rows if row.id <= pointed[0]]
            for row in candidates:
                degraded = () if row.id == pointed[0] else ("rolled_back_generation",)
                try:
                    expected = pointed[1] if row.id == pointed[0] else row.files_hash
                    index = cls._open(
                        data_dir, row.id, expected, embedder, verify, degraded, exact_vectors_max, pointer
                    )
                    index._pointed = pointed[0]
                    return index
                except IndexCorrupt as error:
                    failure = failure or error
            if pointer.read() == pointed:
                break
            time.sleep(0.01 * attempt)  # the pointer moved on while we looked: a collector took what we read
        reason = failure or f"{control.CONTROL} lists none that can be read. Run `codecairn index`."
        raise IndexCorrupt(f"No generation in {data_dir} is intact. {reason}")

    @classmethod
    def _open(
        cls,
        data_dir: Path,
        generation: int,
        files_hash: str | None,
        embedder: Embedder | None,
        verify: Literal["fast", "full"],
        degraded: tuple[str, ...],
        exact_vectors_max: int,
        pointer: _Pointer | None,
    ) -> Index:
        lease = take_lease(data_dir, generation)
        try:
            folder = files.generation_folder(data_dir, generation)
            manifest = files.read_file_manifest(folder, files_hash)
            files.verify_files(folder, manifest, verify)
            logical = manifest_from_dict(manifest.logical["manifest"])
            if logical.format_version != FORMAT_VERSION:
                raise IndexCorrupt(
                    f"Generation {generation} has format {logical.format_version}, this program reads "
                    f"{FORMAT_VERSION}. Run `codecairn index`."
                )
            index = cls(data_dir, logical, embedder, degraded, lease, pointer, exact_vectors_max)
            index._dead = manifest.logical.get("dead")
            return index
        except BaseException:
            if lease is not None:
                lease.release()
            raise

    @classmethod
    def open_generation(cls, data_dir: Path, n: int, embedder: Embedder | None = None) -> Index:
        """Open one retained generation. Raises IndexEmpty when it is not kept."""
        pointer = _open_pointer(data_dir)
        try:
            rows = {row.id: row for row in pointer.generations()}
            if n not in rows:
                raise IndexEmpty(
                    f"Generation {n} is not kept. Kept are: {', '.join(map(str, sorted(rows))) or 'none'}."
                )
            return cls._open(data_dir, n, rows[n].files_hash, embedder, "fast", (), EXACT_VECTORS_MAX, None)
        finally:
            pointer.connection.close()

    @classmethod
    def open_folder(cls, data_dir: Path, manifest: Manifest) -> Index:
        """Open a generation that is built but not published yet: for smoke checks of the writer."""
        return cls(data_dir, manifest, None, (), None, None, EXACT_VECTORS_MAX)

    def refreshed(self, data_dir: Path | None = None) -> Index:
        """Return this index while the pointer stands still, else the new current one.

        Vectors already in memory are shared. The old index stays usable for queries in flight; close it after them.
        Raises IndexGone when its data directory was taken away; one that was put in its place is opened.
        """
        pointer = self._pointer
        if pointer is None:
            return self
        place = control.find_place(self._data_dir)
        if place is None:
            raise IndexGone(
                f"The index in {self._data_dir} was removed or moved while it was served. "
                "Put it back, such as with `codecairn restore`, or run `codecairn index`."
            )
        if place != pointer.place:
            return self.open_current(self._data_dir, self._embedder, exact_vectors_max=self._exact_vectors_max)
        with control.translated(self._data_dir / control.CONTROL):
            pointed = pointer.read()
        if pointed is None or pointed[0] == self._pointed:
            return self
        index = self._open_pointed(self._data_dir, self._embedder, "fast", self._exact_vectors_max, pointer)
        if self._rows is not None and index.manifest.embedder == self.manifest.embedder:
            index._adopt(self.generation, self._rows)
        return index

    def _adopt(self, generation: int, rows: VectorRows) -> None:
        """Take over the vectors of an older (or rolled-back) generation."""
        from ingest.index.vector import VectorDelta, load_rows

        delta = None
        if generation == self.manifest.parent and self._dead is not None:
            delta = VectorDelta(self.generation, frozenset(self._dead), self.manifest.chunks)
        try:
            self._rows = load_rows(self._folder / files.VECTOR_FOLDER, rows, delta)
        except VectorUnavailable:
            self._rows = None  # the next vector search says so

    def shares_place(self, other: Index) -> bool:
        """Tell whether another generation is of the same files on disk, and not of others under the same path."""
        return self._pointer is other._pointer

    def close(self) -> None:
        """Release the lease. Queries in flight on other threads still finish."""
        if self._lease is not None:
            self._lease.release()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- filters ---------------------------------------------------------------------------------------------------

    def _visible(self, filters: Filters) -> tuple[str, ...]:
        """Return the sources that the filters allow, decided by this generation's own ACL table."""
        return tuple(
            state.name
            for state in self.manifest.sources
            if state.name in filters.sources
            and filters.groups.intersection(state.groups)
            and state.kind in filters.kinds
            and (not filters.product or state.product == filters.product)
        )

    def _where(self, filters: Filters) -> TextFilter | None:
        """Return what both engines apply before ranking; None when nothing is visible."""
        known = self._wheres
        if filters not in known:  # a query asks thirty times, with a few different filters
            if len(known) >= WHERE_CACHE:
                known = self._wheres = {}
            known[filters] = self._make_where(filters)
        return known[filters]

    def _make_where(self, filters: Filters) -> TextFilter | None:
        names = self._visible(filters)
        if not names:
            return None
        every = len(names) == len(self.manifest.sources)
        shielded = tuple(sorted(filters.shielded.intersection(names)))
        return TextFilter(None if every else names, filters.language, _pattern(filters.path_glob), shielded)

    def _hidden(self, where: TextFilter) -> tuple[int, ...]:
        """Return the chunks with personal data that a filter shields: vectors do not know their class."""
        if not where.shielded:
            return ()
        return tuple(self._text.ids_by_term("pii", "personal", TextFilter(where.shielded), self.manifest.chunks))

    # -- text ------------------------------------------------------------------------------------------------------

    def search_text(
        self, terms: Sequence[tuple[str, float]], filters: Filters, limit: int, weights: Mapping[str, float]
    ) -> ScoredChunks:
        """Return the best chunks for index tokens with query weights; `weights`: text field -> boost."""
        where = self._where(filters)
        return ScoredChunks() if where is None else self._text.search(terms, where, limit, weights)

    def term_stats(self, terms: Iterable[str], filters: Filters | None = None) -> dict[str, int]:
        """Return in how many chunks' text each token occurs.

        Without `filters` over all sources, for ranking only: an answer that shows or depends on whether a word exists
        must pass them.
        """
        if filters is None:
            return {term: sum(self._text.document_frequency(f, term) for f in SAID_FIELDS) for term in terms}
        where = self._where(filters)
        return {term: 0 if where is None else self._text.count_term(SAID_FIELDS, term, where) for term in terms}

    def chunk_count(self, filters: Filters) -> int:
        """Return how many chunks the filters allow."""
        where = self._where(filters)
        if where is None:
            return 0
        if not where.language and not where.path_pattern and not where.shielded:
            return sum(self._sources[name].chunks for name in self._visible(filters))
        return self._text.count(where)

    # -- vectors ---------------------------------------------------------------------------------------------------

    def embed_query(self, text: str) -> np.ndarray[Any, Any]:
        """Embed a query with the generation's embedder. Raises EmbedderMismatch or VectorUnavailable."""
        if not self.manifest.embedder:
            raise VectorUnavailable(
                f"Generation {self.generation} was built without vectors. Set index.embedder and run `codecairn index`."
            )
        if self._embedder is None:
            raise VectorUnavailable(
                f"No embedder is loaded; generation {self.generation} needs {self.manifest.embedder!r}."
            )
        if self._embedder.id != self.manifest.embedder:
            raise EmbedderMismatch(
                f"Index generation {self.generation} was built with embedder {self.manifest.embedder!r} but "
                f"{self._embedder.id!r} is configured. Run `codecairn index` or set index.embedder to "
                f"{self.manifest.embedder!r}."
            )
        return self._embedder.embed_query(text)

    def likeness(self, one: str, other: str) -> float | None:
        """Return the cosine of two texts, None where the index has no vectors or their model is not in the process."""
        if not self.manifest.embedder or self._embedder is None or not self._embedder.local:
            return None
        return float(self.embed_query(one) @ self.embed_query(other))

    def search_vector(self, text: str, filters: Filters, limit: int) -> ScoredChunks:
        """Return the chunks whose vectors are nearest to the text (cosine)."""
        return self.search_embedding(self.embed_query(text), filters, limit)

    def search_embedding(self, vector: np.ndarray[Any, Any], filters: Filters, limit: int) -> ScoredChunks:
        """Return the chunks nearest to an embedding. Raises VectorUnavailable."""
        from ingest.index.vector import VectorFilter, search_table

        if not self.manifest.embedder:
            raise VectorUnavailable(f"Generation {self.generation} was built without vectors.")
        where = self._where(filters)
        if where is None:
            return ScoredChunks()
        condition = VectorFilter(where.sources, where.language, where.path_pattern, self._hidden(where))
        if self.manifest.chunks > self._exact_vectors_max:
            return search_table(self._folder / files.VECTOR_FOLDER, vector, condition, limit)
        return self._vector_rows().search(vector, condition, limit)

    def _vector_rows(self) -> VectorRows:
        if self._rows is None:
            from ingest.index.vector import load_rows

            with self._vector_lock:
                if self._rows is None:
                    self._rows = load_rows(self._folder / files.VECTOR_FOLDER)
        return self._rows

    def load_vectors(self) -> None:
        """Read the vectors into memory now instead of at the first vector search. Raises VectorUnavailable."""
        if self.manifest.embedder and self.manifest.chunks <= self._exact_vectors_max:
            self._vector_rows()

    def group_vectors(self) -> bool:
        """Group very many vectors in memory by direction, beside searches, which then look at a tenth of them.

        Tell whether there was need for it.
        """
        return self._rows is not None and self._rows.store.group()

    # -- symbols ---------------------------------------------------------------------------------------------------

    def find_symbol(self, name: str, filters: Filters, limit: int = 20, *, loose: bool = True) -> list[SymbolHit]:
        """Return definitions that answer to a name, plain or qualified (`A.b`, `A::b`, `A->b`), best first.

        `loose`: where no definition has the name, also those that begin with it or hold all its parts.
        """
        where, wanted = self._where(filters), clean(qualified(name))
        if where is None or not wanted or limit <= 0:
            return []
        same = self._same_named(wanted, where)
        if not loose or len(same) >= limit:
            return list(same[:limit])
        found = {(hit.chunk_id, hit.symbol.qualname, hit.symbol.start_line): hit for hit in same}
        for ids in self._like_named(wanted, where):
            for hit in self._symbol_hits(ids, partial(match_symbol, wanted=wanted)):
                found.setdefault((hit.chunk_id, hit.symbol.qualname, hit.symbol.start_line), hit)
            if len(found) >= limit:
                break
        return sorted(found.values(), key=_symbol_order)[:limit]

    def _same_named(self, wanted: str, where: TextFilter) -> tuple[SymbolHit, ...]:
        """Return the definitions that have the name, at least but for case, best first."""
        key = (wanted, where)
        with self._cache_lock:
            known = self._named.get(key)
        if known is None:
            lower = wanted.lower()
            ids = self._text.ids_by_term("name_lower", lower, where, SYMBOL_SCAN)
            if len(ids) == SYMBOL_SCAN:  # there may be more, and those that are spelt alike count most
                ids = list(dict.fromkeys((*self._text.ids_by_term("name", wanted, where, SYMBOL_SCAN), *ids)))
            hits = self._symbol_hits(ids, partial(match_name, wanted=wanted, last=lower.rpartition(".")[2]))
            once = {(hit.chunk_id, hit.symbol.qualname, hit.symbol.start_line): hit for hit in hits}
            known = tuple(sorted(once.values(), key=_symbol_order))
            self._keep_named(key, known)
        return known

    def _keep_named(self, key: tuple[str, TextFilter], hits: tuple[SymbolHit, ...]) -> None:
        """Remember what a name stands for; what was asked for first is forgotten first."""
        with self._cache_lock:
            if key not in self._named:
                self._named[key] = hits
                self._named_hits += 1 + len(hits)
            while self._named_hits > NAME_CACHE:
                _, oldest = self._named.popitem(last=False)
                self._named_hits -= 1 + len(oldest)

    def _like_named(self, wanted: str, where: TextFilter) -> Iterator[list[int]]:
        lower = wanted.lower()
        if len(lower) >= 3:
            yield self._text.ids_by_prefix("name_lower", lower, where, PREFIX_SCAN)
            yield self._text.ids_by_tokens("symbols", [stem(part) for part in name_parts(wanted)], where, PREFIX_SCAN)

    def _symbol_hits(self, ids: Sequence[int], match: Callable[[Definition], How | None]) -> Iterator[SymbolHit]:
        if not ids:  # most names are no symbols
            return
        rows = self.rows(ids)
        for at, chunk_id in enumerate(ids):
            for symbol in rows.definitions(at):
                how = match(symbol)
                if how is not None:
                    yield SymbolHit(chunk_id, symbol, rows.files[at], how)

    def near_symbols(self, name: str, filters: Filters, limit: int = 3) -> list[str]:
        """Return the nearest existing symbol names: by edit distance, then by shared parts."""
        where, wanted = self._where(filters), clean(qualified(name))
        if where is None or not wanted or limit <= 0:
            return []
        last = wanted.split(".")[-1]
        ids = self._text.ids_by_fuzzy("name_lower", last.lower(), NEAR_DISTANCE, where, NEAR_SCAN)
        names = self._names_in(ids)
        parts = [part for part in split_identifier(last) if len(part) > 2]
        ids = [
            i
            for part in parts
            for i in self._text.ids_by_tokens("symbols", [stem(part)], where, NEAR_SCAN // len(parts))
        ]
        names |= self._names_in(ids)
        return _nearest(last, names, limit)

    def slip_of(self, name: str, filters: Filters) -> str | None:
        """Return the existing name that a missing one is most likely a slip of: a few letters, not other words."""
        near = self.near_symbols(name, filters, 1)
        wanted = qualified(name).rsplit(".", 1)[-1].lower()
        return near[0] if near and _similarity(wanted, near[0].lower()) >= SLIP else None

    def _names_in(self, ids: Iterable[int]) -> set[str]:
        return self.rows(list(dict.fromkeys(ids))).names()

    # -- paths, keys, links ----------------------------------------------------------------------------------------

    def find_paths(self, fragment: str, filters: Filters, limit: int = 20) -> list[tuple[str, str]]:
        """Return (source, path) of files that the fragment names: whole path, its end, or the file's stem."""
        where = self._where(filters)
        tail = clean(fragment.strip().replace("\\", "/").removeprefix("./").strip("/").lower())
        if where is None or not tail:
            return []
        found = self._paths_of(self._text.ids_by_term("path_tail", tail, where, LOOKUP_LIMIT))
        return sorted(found, key=lambda pair: (_path_rank(pair[1].lower(), tail), len(pair[1]), pair[1], pair[0]))[
            :limit
        ]

    def _paths_of(self, ids: Sequence[int]) -> set[tuple[str, str]]:
        return {(file.source, file.path) for file in self.rows(ids).files if file.path}

    def near_paths(self, fragment: str, filters: Filters, limit: int = 3) -> list[tuple[str, str]]:
        """Return (source, path) of the files whose name or path is nearest to the fragment."""
        where = self._where(filters)
        tail = clean(fragment.strip().strip("/").lower())
        if where is None or not tail:
            return []
        name = tail.split("/")[-1]
        ids = self._text.ids_by_fuzzy("path_tail", name, NEAR_DISTANCE, where, NEAR_SCAN)
        parts = [token for token in dict.fromkeys(token_stream(name).split()) if len(token) > 2]
        for part in parts:
            ids += self._text.ids_by_tokens("path", [part], where, NEAR_SCAN // len(parts))
        found = self._paths_of(list(dict.fromkeys(ids)))
        order = sorted(found, key=lambda pair: (-_similarity(tail, pair[1].lower()), len(pair[1]), pair[1], pair[0]))
        return order[:limit]

    # -- renames ---------------------------------------------------------------------------------------------------

    @property
    def renames(self) -> Mapping[tuple[str, str], str]:
        """Return (source, old path) -> present path of every file that moved while it was indexed."""
        if self._renamed is None:
            with (
                control.translated(self._data_dir / control.CONTROL),
                closing(control.connect(self._data_dir)) as connection,
            ):
                self._renamed = control.read_renames(connection, self.generation)
        return self._renamed

    def moved_to(self, source: str, path: str, filters: Filters) -> str | None:
        """Return what a file that is not there any more is called now, None where that is not known or not visible."""
        new = self.renames.get((source, path)) if not self.document_ids(source, path, filters) else None
        return new if new and self.document_ids(source, new, filters) else None

    def find_moved(self, fragment: str, filters: Filters, limit: int = 20) -> list[tuple[str, str, str]]:
        """Return (source, old path, present path) of renamed files whose old path is or ends with the fragment."""
        tail = fragment.strip().replace("\\", "/").removeprefix("./").strip("/").lower()
        named = sorted(place for place in self.renames if tail and f"/{place[1].lower()}".endswith(f"/{tail}"))
        found = ((source, old, self.moved_to(source, old, filters)) for source, old in named)
        return [(source, old, new) for source, old, new in found if new][:limit]

    def names_of(self, path: str, filters: Filters) -> tuple[str, ...]:
        """Return every path that the visible files of a path are known to have had, this one first."""
        now = {(source, self.moved_to(source, path, filters) or path) for source in self._visible(filters)}
        names = (name for (source, old), new in self.renames.items() if (source, new) in now for name in (new, old))
        return tuple(dict.fromkeys((path, *names)))

    def find_keys(self, key: str, filters: Filters) -> list[int]:
        """Return chunk ids of documents with a ticket key ('#12', 'proj-7') or commit id (at least 7 digits)."""
        where, wanted = self._where(filters), normalise_key(key)
        if where is None or not wanted:
            return []
        found = self._text.ids_by_term("key", wanted, where, LOOKUP_LIMIT)
        if not found and len(wanted) >= 7 and all(c in "0123456789abcdef" for c in wanted):
            found = self._text.ids_by_prefix("key", wanted, where, LOOKUP_LIMIT)
        return found

    def linked_to(self, key_or_path: str, filters: Filters, limit: int) -> list[int]:
        """Return chunk ids of documents whose links name the key or path."""
        where, wanted = self._where(filters), normalise_key(key_or_path)
        return [] if where is None or not wanted else self._text.ids_by_term("link", wanted, where, limit)

    def link_frequency(self, path: str) -> int:
        """Return how many chunks link a path, over all sources: for ranking only."""
        return self._text.document_frequency("link", normalise_key(path))

    def expired(self, filters: Filters) -> Mapping[tuple[str, str], str]:
        """Return the day on which each visible document (source, path or key) that no longer holds expired."""
        sources = {item.source: item.expires_days for item in filters.ageing if item.source in filters.sources}
        asked = (filters.today, tuple(sorted(sources.items())))
        known = self._expired
        if known is None or known[0] != asked:
            known = self._expired = (asked, dict(self._find_expired(filters.today, sources)))
        return known[1]

    def _find_expired(self, today: str, sources: Mapping[str, float]) -> Iterator[tuple[tuple[str, str], str]]:
        for file in self._ranking.dated() if today and sources else ():
            day = expiry_day(file, sources[file.source]) if file.source in sources else ""
            if day and day <= today:
                yield (file.source, file.ref), day

    # -- chunks ----------------------------------------------------------------------------------------------------

    @property
    def data_dir(self) -> Path:
        """Where the index lies, and what belongs to it."""
        return self._data_dir

    def sample_ids(self, count: int) -> list[int]:
        """Return up to `count` chunk ids, spread over the index (ids are hashes), the same for the same generation."""
        query = f"SELECT id FROM chunk WHERE shadowed = 0 AND {control.LIVE} ORDER BY id LIMIT :n"
        with control.translated(self._data_dir / control.CONTROL), closing(control.connect(self._data_dir)) as db:
            return [int(row[0]) for row in db.execute(query, {"g": self.generation, "n": count})]

    def rows(self, ids: Sequence[int]) -> Rows:
        """Return what ranking reads of chunks, in the order of the ids. Raises IndexCorrupt."""
        return self._ranking.rows(ids)

    def kind_of(self, source: str) -> str:
        """Return the kind of a source of this generation."""
        return self._sources[source].kind

    def product_of(self, source: str) -> str:
        """Return the product of a source of this generation."""
        return self._sources[source].product

    def chunks(self, ids: Sequence[int]) -> list[Chunk]:
        """Return chunks in the order of the ids. Raises IndexCorrupt for an id that the generation does not hold."""
        with self._cache_lock:
            found = {i: self._cache[i] for i in ids if i in self._cache}
        missing = [i for i in dict.fromkeys(ids) if i not in found]
        if missing:
            read = self._read_chunks(missing)
            self._remember(read)
            found.update(read)
        return [found[i] for i in ids]

    def _read_chunks(self, ids: Sequence[int]) -> dict[int, Chunk]:
        stored = self._text.stored(ids)
        absent = [i for i in ids if i not in stored]
        if absent:
            raise IndexCorrupt(f"Generation {self.generation} holds no chunk {absent[0]}. {REMEDY}")
        return {i: decode_chunk(stored[i], self._sources) for i in ids}

    def _remember(self, chunks: Mapping[int, Chunk]) -> None:
        with self._cache_lock:
            self._cache.update(chunks)
            while len(self._cache) > CHUNK_CACHE:
                self._cache.popitem(last=False)

    def every_chunk(self, filters: Filters) -> Iterator[Chunk]:
        """Yield every visible chunk, by id."""
        visible = set(self._visible(filters))
        for _, stored in sorted(self._text.every()):
            chunk = decode_chunk(stored, self._sources)
            if chunk.source in visible and not (chunk.pii_class and chunk.source in filters.shielded):
                yield chunk

    def first_chunk(self, source: str, path: str, filters: Filters) -> Chunk | None:
        """Return the first chunk of a visible file, None when there is no such file.

        Kept, because the same files are voted for by query after query, and all chunks of a file have to be read.
        """
        key = (source, path, filters)
        with self._cache_lock:
            is_known, known = key in self._firsts, self._firsts.get(key)
        if is_known:
            return None if known is None else self.chunks([known])[0]
        chunk = next(iter(self.document_chunks(source, path, filters)), None)
        with self._cache_lock:
            if len(self._firsts) >= FIRST_CACHE:
                self._firsts.clear()
            self._firsts[key] = None if chunk is None else chunk.id
        return chunk

    def containing(self, tokens: Sequence[str], filters: Filters, limit: int | None = None) -> list[int]:
        """Return the ids of every visible chunk whose text holds all index tokens, ascending, or the first of them."""
        where = self._where(filters)
        if where is None or not tokens:
            return []
        return self._text.ids_holding(SAID_FIELDS, tokens, where, limit or self.manifest.chunks)

    def holds_word(self, word: str, filters: Filters) -> bool:
        """Tell whether a visible chunk's text holds a word as it is written, but for case."""
        tokens = index_tokens(word)
        pattern = whole_word(word, re.IGNORECASE)
        ids = self.containing(tokens[:1], filters, WORD_SCAN)
        return any(pattern.search(chunk.text) for i in ids for chunk in self.chunks([i]))

    def document_chunks(self, source: str, ref: str, filters: Filters) -> list[Chunk]:
        """Return every visible chunk of one document (path or key) in line order."""
        ids = self.document_ids(source, ref, filters)
        return sorted(self.chunks(ids), key=lambda chunk: (chunk.start_line, chunk.end_line, chunk.id))

    def document_ids(self, source: str, ref: str, filters: Filters) -> list[int]:
        """Return the ids of every visible chunk of one document (path or key), in no order of its lines."""
        where = self._where(replace(filters, sources=filters.sources & {source}))
        if where is None:
            return []
        ids = self._text.ids_by_term("full_path", clean(ref), where, LOOKUP_LIMIT)
        return ids or self._text.ids_by_term("key", normalise_key(ref), where, LOOKUP_LIMIT)


@lru_cache(maxsize=256)
def _pattern(glob: str) -> str:
    return glob_pattern(glob)


def expiry_day(file: FileRow, expires_days: float) -> str:
    """Return the ISO 8601 day from which a document no longer holds, by itself or by its source; "" = never."""
    days = [file.expires_at[:10]] if file.expires_at else []
    if expires_days and file.changed_at:
        try:
            days.append((date.fromisoformat(file.changed_at[:10]) + timedelta(days=expires_days)).isoformat())
        except (ValueError, OverflowError):
            pass  # it says no time that there is, or one at the end of all times
    return min(days, default="")


def _symbol_order(hit: SymbolHit) -> tuple[object, ...]:
    return (
        HOW_ORDER[hit.how],
        ROLE_ORDER.get(hit.file.role, 5),
        0 if hit.symbol.kind in TYPE_KINDS else 1,
        len(hit.symbol.qualname),
        hit.source,
        hit.path or "",
        hit.symbol.start_line,
        hit.symbol.qualname,
        hit.chunk_id,
    )


def match_name(symbol: Definition, wanted: str, last: str) -> How | None:
    """Return how a symbol has a dotted name, None when it does not. `last`: the name's last part in small letters."""
    low_name = symbol.name.lower()
    if low_name != last and last not in symbol.qualname.lower():
        return None
    if symbol.name == wanted:
        return "exact"
    qualname = qualified(symbol.qualname)
    if qualname == wanted or qualname.endswith("." + wanted):
        return "qualified" if "." in wanted else "exact"
    lower, low_qual = wanted.lower(), qualname.lower()
    return "case" if low_name == lower or low_qual == lower or low_qual.endswith("." + lower) else None


def match_symbol(symbol: Definition, wanted: str) -> How | None:
    """Return how a symbol answers to a dotted name, None when it does not."""
    lower = wanted.lower()
    same = match_name(symbol, wanted, lower.rpartition(".")[2])
    if same is not None:
        return same
    if symbol.name.lower().startswith(lower):
        return "prefix"
    parts = set(name_parts(wanted))
    return "part" if parts and parts <= {*name_parts(symbol.name), *name_parts(qualified(symbol.qualname))} else None


def name_parts(name: str) -> list[str]:
    """Return the sub-words of a dotted name: `TokenStore.load_all` -> token, store, load, all."""
    return [part for word in words(name) for part in split_identifier(word)]


def _nearest(wanted: str, names: Iterable[str], limit: int) -> list[str]:
    best = process.extract(
        wanted.lower(), sorted(names), scorer=fuzz.ratio, processor=str.lower, limit=limit, score_cutoff=50
    )
    return [name for name, _, _ in best]


def _similarity(one: str, other: str) -> float:
    return float(fuzz.ratio(one, other)) / 100


def _path_rank(path: str, tail: str) -> int:
    if path == tail:
        return 0
    return 1 if path.endswith("/" + tail) else 2
