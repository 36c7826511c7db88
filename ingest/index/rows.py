"""What ranking reads of every candidate, in columns: its file, the tokens it holds, the names it defines, its links.

A query ranks some 240 chunks and shows eight. Reading a stored chunk takes 40 us, so what the ranking of all of them
needs lies beside the text index: one memory-mapped segment per publication, immutable like everything of a generation.
The newest segment that holds an id counts. Rows of chunks that are gone stay until a segment is written anew; nobody
asks for them, since ids come from the engines, which the filters restrict.

Segment: a line of JSON with the sizes, then the parts of `PARTS` one after the other: arrays, `symbols` and `links` as
UTF-8, the rest as JSON. Names of definitions and paths are lists of words, and a word is its place in the segment's
sorted vocabulary: whether a query is about a word is decided once a query and word, not once a name.
"""

from __future__ import annotations

import json
import mmap
import os
import weakref
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from ingest.errors import IndexCorrupt
from ingest.index.listed import Records, Words
from ingest.index.packed import FIELD, RECORD
from ingest.index.stored import REMEDY
from ingest.index.tokens import name_words, path_words, stem, token_hash
from ingest.model import FileRow as FileRow
from ingest.model import Packed

MAX_SEGMENTS = 8  # a look-up asks each of them, 10 us
FLUSH_ROWS = 250_000  # that a writer holds: some 150 MB
SPARE_ROWS = 1000
DEAD_FACTOR = 2  # rewrite all when there are more than twice as many rows as live chunks
ALIGN = 8
PARTS = (
    ("ids", "<i8"),
    ("file", "<i4"),  # of each row, its place in `files`
    ("tokens_at", "<i8"),  # where the tokens of each row begin, one more: the end
    ("tokens", "<u4"),
    ("symbols_at", "<i8"),
    ("symbols", ""),
    ("links_at", "<i8"),
    ("links", ""),
    ("names_at", "<i8"),
    ("names", "<i4"),  # of each row, places of its names among the segment's names
    ("name_words_at", "<i8"),
    ("name_words", "<i4"),
    ("name_hash", "<u4"),  # of the lower-cased name
    ("path_words_at", "<i8"),
    ("path_words", "<i4"),
    ("stem_of", "<i4"),  # of each word, its place in `stems`
    ("alpha", "<u1"),  # whether a word has letters only
    ("files", "json"),
    ("words", "json"),
    ("stems", "json"),
)
RAGGED = ("tokens", "symbols", "links")
READ_BYTES = 64_000_000  # of a larger segment the tokens and symbols of a row are read, not mapped: a touch maps 64 kB

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bits = Ints
Places = np.ndarray[Any, np.dtype[np.int32]]
Hashes = np.ndarray[Any, np.dtype[np.uint32]]


class Definition(NamedTuple):
    """A definition that starts in a chunk."""

    name: str
    qualname: str
    kind: str
    start_line: int


# -- writing -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Columns:
    """A segment in the making."""

    ids: array[int] = field(default_factory=lambda: array("q"))
    file: array[int] = field(default_factory=lambda: array("i"))
    ends: dict[str, array[int]] = field(default_factory=lambda: {k: array("q", (0,)) for k in RAGGED})
    data: dict[str, bytearray] = field(default_factory=lambda: {name: bytearray() for name in RAGGED})
    files: dict[FileRow, int] = field(default_factory=dict)

    def add(self, chunk_id: int, file: FileRow, tokens: bytes, symbols: bytes, links: bytes) -> None:
        self.ids.append(chunk_id)
        self.file.append(self.files.setdefault(file, len(self.files)))
        for name, value in (("tokens", tokens), ("symbols", symbols), ("links", links)):
            self.data[name] += value
            self.ends[name].append(len(self.data[name]))

    def copy_to(self, other: _Columns) -> None:
        """Append these rows to others."""
        files = list(self.files)
        for at, chunk_id in enumerate(self.ids):
            pieces = [bytes(self.data[k][self.ends[k][at] : self.ends[k][at + 1]]) for k in RAGGED]
            other.add(chunk_id, files[self.file[at]], *pieces)

    def write(self, path: Path) -> None:
        """Write the rows in the order of their ids; of an id that was added twice the last one."""
        ids = np.array(self.ids, dtype=np.int64)
        _, last = np.unique(ids[::-1], return_index=True)
        order = len(ids) - 1 - last
        ragged = {name: _take(self.data[name], self.ends[name], order) for name in RAGGED}
        values: dict[str, Any] = {
            "ids": ids[order],
            "file": np.array(self.file, dtype=np.int32)[order],
            "files": list(self.files),
            **{name: data for name, (data, _) in ragged.items()},
            **{f"{name}_at": starts for name, (_, starts) in ragged.items()},
        }
        values["tokens_at"] = values["tokens_at"] // 4
        values.update(_name_columns(_defined_names(ragged["symbols"]), [path_words(f.path or "") for f in self.files]))
        parts = [_to_bytes(values[name], kind) for name, kind in PARTS]
        head = json.dumps({"rows": len(order), "sizes": [len(part) for part in parts]}).encode() + b"\n"
        with open(path, "wb") as file:
            file.write(head + b" " * (-len(head) % ALIGN))
            for part in parts:
                file.write(part)
                file.write(b"\0" * (-len(part) % ALIGN))


def _to_bytes(value: Any, kind: str) -> bytes:  # noqa: ANN401
    if kind == "json":
        return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
    return value if isinstance(value, bytes) else np.ascontiguousarray(value, dtype=kind).tobytes()


def _defined_names(symbols: tuple[bytes, Ints]) -> list[list[str]]:
    """Return the names that each row defines."""
    data, starts = symbols[0].decode("utf-8", "surrogatepass"), symbols[1].tolist()
    if len(data) != len(symbols[0]):  # not ASCII: places count bytes
        rows = (symbols[0][start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(starts))
    else:
        rows = (data[start:end] for start, end in pairwise(starts))
    return [[record.partition(FIELD)[0] for record in row.split(RECORD)] if row else [] for row in rows]


def _name_columns(named: Sequence[Sequence[str]], paths: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the columns of names, of the words of paths, and of the vocabulary of both."""
    names = {name: place for place, name in enumerate(sorted({name for row in named for name in row}))}
    words_of = [name_words(name) for name in names]
    words = {word: place for place, word in enumerate(sorted({w for some in (*words_of, *paths) for w in some}))}
    stems = {word: place for place, word in enumerate(sorted({stem(word) for word in words}))}
    names_at, name_places = _ragged([[names[name] for name in row] for row in named])
    words_at, word_places = _ragged([[words[word] for word in some] for some in words_of])
    path_at, path_places = _ragged([[words[word] for word in some] for some in paths])
    return {
        "names_at": names_at,
        "names": name_places,
        "name_words_at": words_at,
        "name_words": word_places,
        "name_hash": [token_hash(name.lower()) for name in names],
        "path_words_at": path_at,
        "path_words": path_places,
        "stem_of": [stems[stem(word)] for word in words],
        "alpha": [word.isalpha() for word in words],
        "words": list(words),
        "stems": list(stems),
    }


def _ragged(rows: Sequence[Sequence[int]]) -> tuple[Ints, list[int]]:
    """Return where each row begins (one more: the end), and all values."""
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return starts, [value for row in rows for value in row]


def _take(data: bytearray, ends: Sequence[int], order: Ints) -> tuple[bytes, Ints]:
    """Return some pieces of joined bytes in another order, and where each begins (one more: the end)."""
    view = memoryview(data)
    pieces = [view[ends[at] : ends[at + 1]] for at in order.tolist()]
    starts = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    return b"".join(pieces), starts


class RowWriter:
    """Writes one publication's segment beside those of the parent, and joins them when they become many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns = _Columns()

    def add(self, packed: Packed) -> None:
        """Add one chunk."""
        self._columns.add(packed.id, packed.file, packed.terms, packed.symbols, packed.links)
        if len(self._columns.ids) >= FLUSH_ROWS:
            self._flush()

    def commit(self, live: int, list_live: Callable[[], Iterable[int]]) -> None:
        """Write what is left. `live`: how many chunks there are; `list_live()`: their ids, needed only to tidy up."""
        self._folder.mkdir(parents=True, exist_ok=True)
        segments = [Segment(path) for path in segment_files(self._folder)]
        number = self._next_number(segments)
        stale = sum(segment.rows for segment in segments) + len(self._columns.ids) > DEAD_FACTOR * live + SPARE_ROWS
        if stale:
            self._take_over(segments, frozenset(list_live()))
        elif len(segments) >= MAX_SEGMENTS:
            self._take_over(self._newest(segments), None)
        if self._columns.ids or not segments:
            self._columns.write(self._folder / f"{number:08d}.bin")

    def _flush(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = self._next_number([Segment(path) for path in segment_files(self._folder)])
        self._columns.write(self._folder / f"{number:08d}.bin")
        self._columns = _Columns()

    @staticmethod
    def _next_number(segments: Sequence[Segment]) -> int:
        return int(segments[-1].path.stem) + 1 if segments else 1

    def _newest(self, segments: Sequence[Segment]) -> Sequence[Segment]:
        """Return the newest segments, at least two, up to one that is larger than twice all newer ones together."""
        rows = len(self._columns.ids)
        for taken, segment in enumerate(reversed(segments)):
            if taken >= 2 and segment.rows > 2 * rows:
                return segments[len(segments) - taken :]
            rows += segment.rows
        return segments

    def _take_over(self, segments: Sequence[Segment], live: Collection[int] | None) -> None:
        """Put the rows of segments, of live chunks where given, before the own ones, and delete these segments."""
        newest, self._columns = self._columns, _Columns()
        for segment in segments:
            segment.copy_to(self._columns, live)
            segment.path.unlink()
        newest.copy_to(self._columns)


# -- reading -----------------------------------------------------------------------------------------------------------


def segment_files(folder: Path) -> list[Path]:
    """Return the segments of a generation, oldest first."""
    return sorted(folder.glob("*.bin"))


@dataclass(frozen=True)
class Vocabulary:
    """The words of a segment's names, sorted; `stem_of` and `alpha` by word."""

    words: Words
    stems: Words
    stem_of: Places
    alpha: np.ndarray[Any, np.dtype[np.uint8]]

    def with_stem(self, place: int) -> Places:
        """Return the places of the words that have a stem."""
        order, starts = self._by_stem
        return order[starts[place] : starts[place + 1]]

    @cached_property
    def _by_stem(self) -> tuple[Places, Places]:
        """Places of the words in the order of their stems, and where those of each stem begin."""
        order: Places = np.argsort(self.stem_of, kind="stable").astype(np.int32)
        return order, np.searchsorted(self.stem_of[order], np.arange(len(self.stems) + 1)).astype(np.int32)


class Segment:
    """One segment, mapped into memory. Raises IndexCorrupt."""

    def __init__(self, path: Path) -> None:
        """Map a file."""
        self.path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._file)
            self._map = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
            end = self._map.find(b"\n") + 1
            head = json.loads(self._map[:end])
            self.rows = int(head["rows"])
            self._places, at = {}, end + -end % ALIGN
            for (name, _), size in zip(PARTS, head["sizes"], strict=True):
                self._places[name] = (at, size)
                at += size + -size % ALIGN
            self._columns = {name: self._column(name, kind) for name, kind in PARTS if kind not in ("", "json")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from error

    def _column(self, name: str, kind: str) -> Any:  # noqa: ANN401
        start, size = self._places[name]
        return np.frombuffer(self._map, dtype=kind, count=size // np.dtype(kind).itemsize, offset=start)

    def _json(self, name: str) -> Any:  # noqa: ANN401
        start, size = self._places[name]
        return json.loads(self._map[start : start + size])

    @cached_property
    def _files(self) -> Records[FileRow]:
        """Every document. Found when first asked for: of a large segment it takes longer than a small publication."""
        with self._readable():
            return Records(self._map, *self._places["files"], FileRow._make)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of all names."""
        with self._readable():
            words, stems = (Words(self._map, *self._places[name]) for name in ("words", "stems"))
        return Vocabulary(words, stems, self._columns["stem_of"], self._columns["alpha"])

    @cached_property
    def dated(self) -> list[FileRow]:
        """The documents that can grow old."""
        return [file for file in self._documents() if file.changed_at or file.expires_at]

    def _documents(self) -> list[FileRow]:
        """Return every document, decoded at once."""
        with self._readable():
            return [FileRow._make(row) for row in self._json("files")]

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what JSON says of a damaged file into our exception."""
        try:
            yield
        except (ValueError, TypeError, IndexError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> IndexCorrupt:
        return IndexCorrupt(f"{self.path} cannot be read ({error}). {REMEDY}")

    def find(self, ids: Ints) -> Ints:
        """Return the row of each id, -1 where this segment does not hold it."""
        if not self.rows:
            return np.full(len(ids), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._columns["ids"], ids), self.rows - 1)
        return np.where(self._columns["ids"][at] == ids, at, -1)

    def file_places(self, rows: Ints) -> Places:
        """Return the place of each row's document among the segment's."""
        places: Places = self._columns["file"][rows]
        return places

    def file(self, place: int) -> FileRow:
        """Return a document of the segment."""
        try:
            return self._files[place]
        except (ValueError, TypeError, IndexError) as error:
            raise self._unreadable(error) from error

    def take(self, name: str, at: Any) -> tuple[Any, Ints]:  # noqa: ANN401
        """Return the values of a ragged column at some places, joined, and how many each place has."""
        starts = self._columns[f"{name}_at"]
        begin, lengths = starts[at], starts[at + 1] - starts[at]
        if name == "tokens" and len(self._map) > READ_BYTES:
            return self._read_values(name, begin, lengths), lengths
        ends = np.cumsum(lengths)
        try:
            picked = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begin - ends + lengths, lengths)
            return self._columns[name][picked], lengths
        except (ValueError, IndexError, MemoryError) as error:  # lengths below 0 or beyond all that there is
            raise self._unreadable(error) from error

    def _read_values(self, name: str, begin: Ints, lengths: Ints) -> Any:  # noqa: ANN401
        first, size = self._places[name][0], self._columns[name].itemsize
        pieces = zip((first + begin * size).tolist(), (lengths * size).tolist(), strict=True)
        joined = b"".join([os.pread(self._file, length, start) for start, length in pieces])
        return np.frombuffer(joined, dtype=self._columns[name].dtype)

    def name_bits(self, rows: Ints, related: Bits) -> tuple[Ints, Bits, Hashes]:
        """Return, for every name of the rows: its row's place, the bits of its words, and its hash."""
        names, counts = self.take("names", rows)
        words, lengths = self.take("name_words", names)
        return (
            np.repeat(np.arange(len(rows)), counts),
            join_bits(related[words], lengths),
            self._columns["name_hash"][names],
        )

    def path_bits(self, files: Places, related: Bits) -> Bits:
        """Return the bits of the words of some documents' paths."""
        words, lengths = self.take("path_words", files)
        return join_bits(related[words], lengths)

    def definitions(self, row: int) -> list[Definition]:
        """Return the definitions of a row."""
        text = self._text("symbols", row)
        if not text:
            return []
        fields = [record.split(FIELD) for record in text.split(RECORD)]
        try:
            return [Definition(name, qualname, kind, int(line)) for name, qualname, kind, line in fields]
        except ValueError as error:
            raise self._unreadable(error) from error

    def names(self, row: int) -> list[str]:
        """Return the names that a row defines."""
        text = self._text("symbols", row)
        return [record.partition(FIELD)[0] for record in text.split(RECORD)] if text else []

    def links(self, row: int) -> list[str]:
        """Return the links of a row."""
        text = self._text("links", row)
        return text.split(RECORD) if text else []

    def _text(self, name: str, row: int) -> str:
        try:
            return self._bytes(name, row).decode("utf-8", "surrogatepass")
        except ValueError as error:
            raise self._unreadable(error) from error

    def _bytes(self, name: str, row: int) -> bytes:
        starts, first = self._columns[f"{name}_at"], self._places[name][0]
        start, end = first + int(starts[row]), first + int(starts[row + 1])
        return self._map[start:end] if len(self._map) <= READ_BYTES else os.pread(self._file, end - start, start)

    def copy_to(self, columns: _Columns, live: Collection[int] | None) -> None:
        """Append the rows, of some ids where given. Raises IndexCorrupt."""
        with self._readable():
            self._copy_to(columns, live)

    def _copy_to(self, columns: _Columns, live: Collection[int] | None) -> None:
        starts, tokens, files = self._columns["tokens_at"].tolist(), self._columns["tokens"], self._documents()
        for row, chunk_id in enumerate(self._columns["ids"].tolist()):
            if live is None or chunk_id in live:
                held = tokens[starts[row] : starts[row + 1]].tobytes()
                file = files[int(self._columns["file"][row])]
                columns.add(chunk_id, file, held, self._bytes("symbols", row), self._bytes("links", row))


def join_bits(bits: Bits, lengths: Ints) -> Bits:
    """Return the bits of each group of neighbours together; an empty group has none."""
    joined: Bits = np.zeros(len(lengths), dtype=np.int64)
    filled = np.flatnonzero(lengths)
    if len(filled):
        starts = (np.cumsum(lengths) - lengths)[filled]
        joined[filled] = np.bitwise_or.reduceat(bits, starts)
    return joined


# Generations share segments by hard links; a segment that is mapped keeps its inode, so that names it for good.
_MAPPED: WeakValueDictionary[tuple[int, int], Segment] = WeakValueDictionary()


def open_segment(path: Path) -> Segment:
    """Return a segment, that of another open generation where it is the same file. Raises IndexCorrupt."""
    try:
        stat = path.stat()
    except OSError as error:
        raise IndexCorrupt(f"{path} cannot be read ({error}). Run `codecairn index`.") from error
    segment = _MAPPED.get((stat.st_dev, stat.st_ino))
    if segment is None:
        segment = _MAPPED[stat.st_dev, stat.st_ino] = Segment(path)
    return segment


class RowReader:
    """All rows of one generation. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Map the segments, newest first."""
        self._segments = [open_segment(path) for path in reversed(segment_files(folder))]

    def rows(self, ids: Sequence[int]) -> Rows:
        """Return the rows of some chunks in this order. Raises IndexCorrupt for an id that no segment holds."""
        wanted = np.array(ids, dtype=np.int64)
        parts: list[Part] = []
        left = np.arange(len(ids))
        for segment in self._segments:
            found = segment.find(wanted[left])
            held = found >= 0
            if held.any():
                parts.append(Part(segment, left[held], found[held]))
                left = left[~held]
            if not len(left):
                break
        if len(left):
            raise IndexCorrupt(f"No segment holds a row of chunk {ids[left[0]]}. {REMEDY}")
        return Rows(tuple(ids), parts)

    def dated(self) -> Iterator[FileRow]:
        """Yield the documents that can grow old, each as it was last; some may be gone since."""
        seen: set[tuple[str, str]] = set()
        for segment in self._segments:
            own = {(file.source, file.ref): file for file in segment.dated}
            yield from (file for place, file in own.items() if place not in seen)
            seen.update(own)

    def holds(self, ids: Sequence[int]) -> bool:
        """Tell whether every id has a row."""
        left = np.array(ids, dtype=np.int64)
        for segment in self._segments:
            left = left[segment.find(left) < 0]
        return not len(left)


class Part(NamedTuple):
    """Rows of one segment, and their places among the chunks that were asked for."""

    segment: Segment
    places: Ints
    rows: Ints


class Rows:
    """The rows of some chunks, in the order in which they were asked for."""

    def __init__(self, ids: tuple[int, ...], parts: Sequence[Part]) -> None:
        """Take where each row lies."""
        self.ids = ids
        self._parts = parts

    @cached_property
    def files(self) -> list[FileRow]:
        """The document of each row."""
        documents, at = self.documents
        return [documents[place] for place in at.tolist()]

    @cached_property
    def documents(self) -> tuple[list[FileRow], Ints]:
        """The distinct documents (source and path or key), and the place of each row's among them."""
        places: dict[tuple[str, str], int] = {}
        documents: list[FileRow] = []
        at = np.zeros(len(self.ids), dtype=np.int64)
        for segment, own, rows in self._parts:
            distinct, inverse = np.unique(segment.file_places(rows), return_inverse=True)
            numbers = []
            for place in distinct.tolist():
                file = segment.file(place)
                number = places.setdefault((file.source, file.ref), len(documents))
                if number == len(documents):
                    documents.append(file)
                numbers.append(number)
            at[own] = np.array(numbers, dtype=np.int64)[inverse]
        return documents, at

    def definitions(self, at: int) -> list[Definition]:
        """Return the definitions that start in the chunk at this place."""
        segment, row = self._where[at]
        return segment.definitions(row)

    def names(self) -> set[str]:
        """Return the names that the chunks define."""
        return {name for segment, _, rows in self._parts for row in rows.tolist() for name in segment.names(row)}

    def links(self, at: int) -> list[str]:
        """Return the links of the chunk at this place."""
        segment, row = self._where[at]
        return segment.links(row)

    @cached_property
    def _where(self) -> dict[int, tuple[Segment, int]]:
        return {
            place: (segment, row)
            for segment, places, rows in self._parts
            for place, row in zip(places.tolist(), rows.tolist(), strict=True)
        }

    def holding(self, tokens: Sequence[str]) -> Bits:
        """Return which of the tokens (at most 62) each chunk holds, one bit each, the first token the lowest."""
        bits: Bits = np.zeros(len(self.ids), dtype=np.int64)
        hashes = [token_hash(token) for token in tokens]
        for segment, places, rows in self._parts:
            values, lengths = segment.take("tokens", rows)
            owner = np.repeat(places, lengths)
            for at, value in enumerate(hashes):
                bits[owner[values == value]] |= 1 << at
        return bits

    def name_bits(self, relate: Callable[[Vocabulary], Bits]) -> tuple[Ints, Bits, Hashes]:
        """Return, for every name that the chunks define: its chunk's place, the bits of its words, and its hash.

        `relate` gives the bits of each word of a vocabulary.
        """
        found = [
            (places[owner], bits, hashes)
            for segment, places, rows in self._parts
            for owner, bits, hashes in [segment.name_bits(rows, relate(segment.vocabulary))]
        ]
        found = found or [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint32))]  # no chunk at all
        owners, bits, hashes = ([part[column] for part in found] for column in range(3))
        return np.concatenate(owners), np.concatenate(bits), np.concatenate(hashes)

    def path_bits(self, relate: Callable[[Vocabulary], Bits]) -> Bits:
        """Return the bits of the words of each document's path, in the order of `documents`."""
        documents, at = self.documents
        result: Bits = np.zeros(len(documents), dtype=np.int64)
        for segment, places, rows in self._parts:
            distinct, first = np.unique(segment.file_places(rows), return_index=True)
            result[at[places[first]]] = segment.path_bits(distinct, relate(segment.vocabulary))
        return result
