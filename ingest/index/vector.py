"""The LanceDB side of a generation: writer, and an exact in-memory matrix for readers.

The only module that imports lancedb and pyarrow, inside the functions that need them: it takes half a second. A row is
(id, gen, source, path, language, vector). `gen` is the generation that wrote the row, so a reader that already holds
the parent's matrix fetches only rows that it does not know: the pair (id, gen) never changes meaning.
"""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.errors import DiskFull, VectorUnavailable
from ingest.index.matrix import TWO_PASS_ROWS, Matrix, VectorMemory
from ingest.index.scored import ScoredChunks

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "chunks"
BATCH_ROWS = 8192  # 8 MB of vectors at 256 dimensions: few fragments, small buffer
MAX_DATA_FILES = 40  # each small delta adds one and a scan opens every one; compacting 22k x 256 took 0.35 s...
ROWS_PER_LIMIT = 100_000  # ...so the limit grows with the rows: the more there are to rewrite, the rarer that is done
SPARE = 0.25  # room for appended rows, and tolerated dead ones, in a reader's memory
DEAD_RATIO = 0.25  # rewrite the table when more of its rows are deleted than this
NAMESPACE, REST_CLIENT = "lance_namespace", "lance_namespace_urllib3_client"
_LOADING = threading.Lock()

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn the exceptions of lancedb and pyarrow into ours."""
    try:
        yield
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        text = str(error)
        if any(sign in text for sign in ("os error 28", "os error 27", "os error 122", "No space left")):
            raise DiskFull(
                f"No space left for the vectors in {folder}. Nothing was published; free some space and retry."
            ) from error
        raise VectorUnavailable(f"The vector index in {folder} cannot be used: {text[:300]}.") from error


def preload_vectors() -> None:
    """Import the vector engine, so that who needs it next does not wait for it."""
    import pyarrow  # noqa: F401

    _load_engine()


def _load_engine() -> Any:  # noqa: ANN401  # a module without types
    """Import the vector engine without an HTTP client that is of no use here and takes half of the time."""
    with _LOADING:
        if NAMESPACE not in sys.modules:
            _import_namespace()
        import lancedb
    return lancedb


def _import_namespace() -> None:
    """Import what the engine needs of the client's package, its models: the package itself counts as imported.

    Where that does not do, nothing of it stays, and the engine imports all as it comes.
    """
    try:
        spec = find_spec(REST_CLIENT)
        if spec is not None:
            sys.modules[REST_CLIENT] = module_from_spec(spec)
            import_module(NAMESPACE)
    except ImportError:
        for name in [name for name in sys.modules if name.partition(".")[0] in (REST_CLIENT, NAMESPACE)]:
            del sys.modules[name]


def _schema(dimensions: int) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.int64()),
            ("gen", pa.int64()),
            ("source", pa.string()),
            ("path", pa.string()),
            ("language", pa.string()),
            ("vector", pa.list_(pa.float32(), dimensions)),
        ]
    )


def _open(folder: Path) -> Any:  # noqa: ANN401  # lancedb has no public type stubs for tables
    return _load_engine().connect(str(folder)).open_table(TABLE)


@dataclass(slots=True)
class _Buffer:
    ids: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    paths: list[str | None] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    vectors: bytearray = field(default_factory=bytearray)


class VectorWriter:
    """Applies one delta to a cloned directory, in batches of bounded size."""

    def __init__(self, folder: Path, *, generation: int, dimensions: int, create: bool) -> None:
        self._folder = folder
        self._generation = generation
        self._dimensions = dimensions
        self._buffer = _Buffer()
        with translated(folder):
            if create:
                folder.mkdir(parents=True, exist_ok=True)
                self._table = _load_engine().connect(str(folder)).create_table(TABLE, schema=_schema(dimensions))
            else:
                self._table = _open(folder)

    def add(self, chunk_id: int, source: str, path: str | None, language: str | None, vector: bytes) -> None:
        """Add one row. `vector`: float32 bytes of the generation's dimensions."""
        if len(vector) != 4 * self._dimensions:
            raise ValueError(f"A vector has {len(vector) // 4} dimensions; the generation has {self._dimensions}.")
        buffer = self._buffer
        buffer.ids.append(chunk_id)
        buffer.sources.append(source)
        buffer.paths.append(path)
        buffer.languages.append(language)
        buffer.vectors += vector
        if len(buffer.ids) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows."""
        import pyarrow as pa

        buffer, self._buffer = self._buffer, _Buffer()
        if not buffer.ids:
            return
        values = pa.array(np.frombuffer(bytes(buffer.vectors), dtype=np.float32))
        columns = [
            pa.array(buffer.ids, pa.int64()),
            pa.array([self._generation] * len(buffer.ids), pa.int64()),
            pa.array(buffer.sources, pa.string()),
            pa.array(buffer.paths, pa.string()),
            pa.array(buffer.languages, pa.string()),
            pa.FixedSizeListArray.from_arrays(values, self._dimensions),
        ]
        with translated(self._folder):
            self._table.add(pa.table(columns, schema=_schema(self._dimensions)))

    def delete_older(self, ids: Sequence[int]) -> None:
        """Delete rows that an older generation wrote."""
        self._delete(ids, f"gen < {self._generation}")

    def delete_own(self, ids: Sequence[int]) -> None:
        """Delete rows that this publication wrote."""
        self.flush()
        self._delete(ids, f"gen = {self._generation}")

    def _delete(self, ids: Sequence[int], condition: str) -> None:
        with translated(self._folder):
            for start in range(0, len(ids), 20_000):
                some = ",".join(map(str, ids[start : start + 20_000]))
                self._table.delete(f"id IN ({some}) AND {condition}")

    def delete_sources(self, sources: Sequence[str]) -> None:
        """Delete the rows of whole sources that an older generation wrote."""
        if not sources:
            return
        with translated(self._folder):
            self._table.delete(f"source IN ({', '.join(map(quote, sources))}) AND gen < {self._generation}")

    def tidy(self) -> None:
        """Compact when data files or deleted rows pile up. Safe: the directory is this publication's own clone."""
        with translated(self._folder):
            stats: Any = self._table.stats()  # typed as an object, is a dict
            live, lengths = stats["num_rows"], stats["fragment_stats"]["lengths"]
            dead = lengths["mean"] * stats["fragment_stats"]["num_fragments"] - live  # lengths count deleted rows too
            written = len(list((self._folder / f"{TABLE}.lance").glob("data/*")))
            if written > MAX_DATA_FILES * max(1, live // ROWS_PER_LIMIT) or dead > DEAD_RATIO * live + 1000:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # that readers of old versions fail: there are none
                    self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)

    def count(self, source: str | None = None) -> int:
        """Return the number of rows, of one source where given."""
        with translated(self._folder):
            return int(self._table.count_rows(f"source = {quote(source)}" if source is not None else None))

    def ids(self) -> list[int]:
        """Return every row's id."""
        with translated(self._folder):
            found = self._table.search().select(["id"]).limit(None).to_arrow()
            return [int(value) for value in found["id"].to_pylist()]

    def count_present(self, ids: Sequence[int]) -> int:
        """Return how many rows have one of the ids."""
        with translated(self._folder):
            return int(self._table.count_rows(f"id IN ({','.join(map(str, ids))})")) if ids else 0


def needed_files(names: Iterable[str]) -> set[str]:
    """Return the files that the newest version of a table needs: what a clone has to link.

    Lance keeps every older version (a manifest, a transaction and a deletion file each). A generation is one version,
    so a clone leaves the older ones behind. Manifest names count down; a deletion file is `fragment-version-random`.
    """
    needed: set[str] = set()
    versions: list[str] = []
    deletions: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder.endswith("/_versions") and file.endswith(".manifest"):
            versions.append(name)
        elif folder.endswith("/_deletions") and file.count("-") == 2:
            fragment, version, _ = file.split("-")
            deletions.setdefault((folder, fragment), []).append((int(version), name))
        elif not folder.endswith("/_transactions"):
            needed.add(name)
    newest = {max(files)[1] for files in deletions.values()}
    if any(len(Path(name).stem) != 20 for name in versions):  # an older naming scheme, which counts up: keep all
        return needed | newest | set(versions)
    return needed | newest | set(sorted(versions)[:1])


def quote(text: str) -> str:
    """Return a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def read_ids(folder: Path) -> list[tuple[int, str]]:
    """Return (chunk id, source) of every row."""
    with translated(folder):
        found = _open(folder).search().select(["id", "source"]).limit(None).to_arrow()
        return list(zip(found["id"].to_pylist(), found["source"].to_pylist(), strict=True))


def read_vectors(folder: Path, ids: Sequence[int]) -> dict[int, bytes]:
    """Return the float32 bytes of the vectors of those ids that have a row."""
    if not ids:
        return {}
    with translated(folder):
        table = _open(folder)
        where = f"id IN ({','.join(map(str, ids))})"
        found = table.search().where(where).select(["id", "vector"]).limit(None).to_arrow()
        matrix = np.concatenate(matrices(found["vector"]))
        return {int(chunk_id): matrix[row].tobytes() for row, chunk_id in enumerate(found["id"].to_pylist())}


def matrices(column: Any) -> list[Matrix]:  # noqa: ANN401
    """Return the pieces of a fixed-size-list column as float32 matrices, without a copy; at least one."""
    size = column.type.list_size
    flat = (chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks if len(chunk))
    pieces = [np.asarray(values, dtype=np.float32).reshape(-1, size) for values in flat]
    return pieces or [np.zeros((0, size), dtype=np.float32)]


@dataclass(frozen=True, slots=True)
class Codes:
    """A text column as numbers: `values[codes[row]]`."""

    values: tuple[str | None, ...]
    codes: np.ndarray[Any, np.dtype[np.int32]]

    def mask(self, wanted: Sequence[bool]) -> Mask:
        """Return the rows whose value is wanted, given one flag per distinct value."""
        flags: Mask = np.asarray(wanted, dtype=np.bool_)[self.codes]
        return flags


@dataclass(frozen=True, slots=True)
class VectorFilter:
    """What rows a vector search may return. `sources` None = all."""

    sources: tuple[str, ...] | None
    language: str = ""
    path_pattern: str = ""
    hidden: tuple[int, ...] = ()  # ids


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Every vector of one generation in memory. Immutable, thread-safe. `at`: row -> row of the shared store."""

    ids: np.ndarray[Any, np.dtype[np.int64]]
    generations: np.ndarray[Any, np.dtype[np.int64]]
    source: Codes
    path: Codes
    language: Codes
    store: VectorMemory
    at: np.ndarray[Any, np.dtype[np.int64]] | None  # ascending; None: the first rows of the store, in order

    def mask(self, where: VectorFilter) -> Mask | None:
        """Return the rows that pass, None when all do."""
        parts: list[Mask] = []
        if where.sources is not None:
            parts.append(self.source.mask([value in where.sources for value in self.source.values]))
        if where.language:
            parts.append(self.language.mask([value == where.language for value in self.language.values]))
        if where.path_pattern:
            pattern = re.compile(where.path_pattern, re.DOTALL)
            parts.append(
                self.path.mask([value is not None and bool(pattern.fullmatch(value)) for value in self.path.values])
            )
        if where.hidden:
            parts.append(~np.isin(self.ids, np.array(where.hidden, dtype=np.int64)))
        return np.logical_and.reduce(parts) if parts else None

    def search(self, vector: Matrix, where: VectorFilter, limit: int) -> ScoredChunks:
        """Return the nearest rows by dot product (cosine for unit vectors), ties by id."""
        mask = self.mask(where)
        places = self.at if mask is None else np.flatnonzero(mask) if self.at is None else self.at[mask]
        if limit <= 0 or not len(self.ids if places is None else places):
            return ScoredChunks()
        end = len(self.ids) if self.at is None else int(self.at.max()) + 1
        near, scores = self.store.search(vector, places, end, limit)
        best = np.arange(len(scores))
        if len(scores) > limit:
            border = np.partition(scores, len(scores) - limit)[len(scores) - limit]
            best = np.flatnonzero(scores >= border)  # all of the border's score: the cut is by id, not by position
        ids = self._ids_at(best if near is None else near[best])
        return ScoredChunks(ids, scores[best])[:limit]

    def _ids_at(self, places: Any) -> np.ndarray[Any, np.dtype[np.int64]]:  # noqa: ANN401
        """Return the ids of rows by their places in the store."""
        ids: np.ndarray[Any, np.dtype[np.int64]] = self.ids[
            places if self.at is None else np.searchsorted(self.at, places)
        ]
        return ids


@dataclass(frozen=True, slots=True)
class VectorDelta:
    """How a generation's rows follow from its parent's: `dead` ids went, rows of `generation` came."""

    generation: int
    dead: frozenset[int]
    rows: int


def load_rows(folder: Path, parent: VectorRows | None = None, delta: VectorDelta | None = None) -> VectorRows:
    """Read a generation's vectors; rows that the parent holds already stay where they are in memory.

    `delta`: where it is known, only the new rows are read.
    """
    with translated(folder):
        table = _open(folder)
        if parent is None or not len(parent.ids):
            return _rows(_stream(table), table.count_rows())
        if delta is not None:
            dead = np.fromiter(delta.dead, dtype=np.int64, count=len(delta.dead))
            kept = np.flatnonzero(~np.isin(parent.ids, dead))
            rows = _merge(table, parent, kept, f"gen = {delta.generation}")
            if len(rows.ids) == delta.rows:
                return rows
        keys = table.search().select(["id", "gen"]).limit(None).to_arrow()
        ids, generations = keys["id"].to_numpy(), keys["gen"].to_numpy()
        known = _positions(parent, ids, generations)
        fresh = ids[known < 0]
        if len(fresh) > len(ids) // 4:
            return _rows(_stream(table), len(ids))
        return _merge(
            table, parent, np.sort(known[known >= 0]), f"id IN ({','.join(map(str, fresh.tolist())) or 'NULL'})"
        )


def _positions(parent: VectorRows, ids: Any, generations: Any) -> np.ndarray[Any, np.dtype[np.int64]]:  # noqa: ANN401
    order = np.argsort(parent.ids)
    at = np.minimum(np.searchsorted(parent.ids, ids, sorter=order), len(order) - 1)
    rows = order[at]
    same = (parent.ids[rows] == ids) & (parent.generations[rows] == generations)
    return np.where(same, rows, -1)


def _merge(table: Any, parent: VectorRows, kept: Any, fresh: str) -> VectorRows:  # noqa: ANN401
    """Return the parent's kept rows followed by the rows of the table that match the condition `fresh`."""
    few = table.search().where(fresh).limit(None).to_arrow()
    added = _rows(few.to_reader(), few.num_rows)
    if not len(added.ids) and len(kept) == len(parent.ids):
        return parent
    store, at = _extend(parent, kept, added.store.read())
    pieces = [(parent, kept), (added, np.arange(len(added.ids)))]
    return VectorRows(
        ids=np.concatenate([rows.ids[some] for rows, some in pieces]),
        generations=np.concatenate([rows.generations[some] for rows, some in pieces]),
        source=_join_codes([(rows.source, some) for rows, some in pieces]),
        path=_join_codes([(rows.path, some) for rows, some in pieces]),
        language=_join_codes([(rows.language, some) for rows, some in pieces]),
        store=store,
        at=at,
    )


def _extend(parent: VectorRows, kept: Any, added: Matrix) -> tuple[VectorMemory, np.ndarray[Any, Any]]:  # noqa: ANN401
    """Return a store that holds the parent's kept rows and the added ones, and where each of them lies."""
    at = kept if parent.at is None else parent.at[kept]
    used, wanted = parent.store.used, len(kept) + len(added)
    # Not too many dead rows between.
    if used <= wanted * (1 + SPARE) and parent.store.append(added, used):
        return parent.store, np.concatenate([at, np.arange(used, used + len(added))])
    capacity = wanted + int(wanted * SPARE) + BATCH_ROWS // 8
    kept_rows = (parent.store.read(at[start : start + BATCH_ROWS]) for start in range(0, len(at), BATCH_ROWS))
    return VectorMemory(chain(kept_rows, [added]), (wanted, added.shape[1]), capacity), np.arange(wanted)


def _join_codes(pieces: Sequence[tuple[Codes, Any]]) -> Codes:
    numbers: dict[str | None, int] = {}
    columns = []
    for codes, at in pieces:
        mapped = np.asarray([numbers.setdefault(value, len(numbers)) for value in codes.values], dtype=np.int32)
        columns.append(mapped[codes.codes[at]])
    return Codes(tuple(numbers), np.concatenate(columns) if columns else np.zeros(0, dtype=np.int32))


def _stream(table: Any) -> pa.RecordBatchReader:  # noqa: ANN401
    reader: pa.RecordBatchReader = table.search().limit(None).to_batches(batch_size=BATCH_ROWS)
    return reader


def _rows(reader: pa.RecordBatchReader, count: int) -> VectorRows:
    """Return the rows of a table, `count` of them, of which one batch after the other is read, and none is kept.

    Were a column kept as it is read, its buffers would hold on to the heap around them: a gigabyte of a million rows.
    """
    import pyarrow as pa

    ids, generations = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    texts: dict[str, list[tuple[Codes, Any]]] = {name: [] for name in ("source", "path", "language")}

    def vectors() -> Iterator[Matrix]:
        at = 0
        for batch in reader:
            end = at + batch.num_rows
            ids[at:end], generations[at:end] = batch["id"].to_numpy(), batch["gen"].to_numpy()
            for name, pieces in texts.items():
                pieces.append((_codes(batch[name]), slice(None)))
            yield from matrices(pa.chunked_array([batch["vector"]]))
            at = end

    spare = int(count * SPARE) if count >= TWO_PASS_ROWS else 0  # what is not written takes no memory
    store = VectorMemory(vectors(), (count, reader.schema.field("vector").type.list_size), count + spare)
    codes = {name: _join_codes(pieces) for name, pieces in texts.items()}
    return VectorRows(ids, generations, codes["source"], codes["path"], codes["language"], store, at=None)


def _codes(column: pa.Array) -> Codes:
    import pyarrow.compute as pc

    coded: Any = pc.dictionary_encode(column, null_encoding="encode")
    return Codes(tuple(coded.dictionary.to_pylist()), coded.indices.to_numpy(zero_copy_only=False).astype(np.int32))


def search_table(folder: Path, vector: Matrix, where: VectorFilter, limit: int) -> ScoredChunks:
    """Search inside LanceDB with the filter applied before ranking: for more vectors than fit in memory."""
    with translated(folder):
        query = _open(folder).search(vector).distance_type("cosine").select(["id", "_distance"]).limit(limit)
        condition = _condition(where)
        if condition:
            query = query.where(condition, prefilter=True)
        found = query.to_arrow()
        return ScoredChunks(found["id"].to_numpy(), 1.0 - found["_distance"].to_numpy().astype(np.float64))


def _condition(where: VectorFilter) -> str:
    parts = []
    if where.sources is not None:
        parts.append(f"source IN ({', '.join(map(quote, where.sources))})")
    if where.language:
        parts.append(f"language = {quote(where.language)}")
    if where.path_pattern:
        parts.append(f"regexp_like(path, {quote('^(?s:' + where.path_pattern + ')$')})")
    if where.hidden:
        parts.append(f"id NOT IN ({', '.join(map(str, where.hidden))})")
    return " AND ".join(parts)
