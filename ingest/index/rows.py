"""What ranking reads of every candidate, in columns: its file, the tokens it holds, the names it defines, its links.

A query ranks some 240 chunks and shows eight. Reading a stored chunk takes 40 us, so what the ranking of all of them
needs lies beside the text index: one memory-mapped segment per publication, immutable like everything of a generation.
The newest segment that holds an id counts. Rows of chunks that are gone stay until a segment is written anew; nobody
asks for them, since ids come from the engines, which the filters restrict.

Segment: a line of JSON with the counts, the arrays of `COLUMNS` one after the other, then `symbols` and `links` as
UTF-8 and `files` as JSON.
"""

from __future__ import annotations

import json
import mmap
import re
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from ingest.errors import IndexCorrupt
from ingest.model import Chunk, Prepared

MAX_SEGMENTS = 8  # a look-up asks each of them, 10 us
FLUSH_ROWS = 250_000  # that a writer holds: some 150 MB
SPARE_ROWS = 1000
DEAD_FACTOR = 2  # rewrite all when there are more than twice as many rows as live chunks
ALIGN = 8
COLUMNS = (("ids", "<i8"), ("file", "<i4"), ("tokens_at", "<i8"), ("symbols_at", "<i8"), ("links_at", "<i8"))
RAGGED = ("tokens", "symbols", "links")
FIELD, RECORD = "\x1f", "\x1e"
CONTROL = re.compile("[\x1e\x1f]")

Ints = np.ndarray[Any, np.dtype[np.int64]]
Hashes = np.ndarray[Any, np.dtype[np.uint32]]


class FileRow(NamedTuple):
    """One document as the ranking sees it. `key` is None for files, `path` for tickets and commits."""

    source: str
    path: str | None
    key: str | None
    title: str
    language: str | None
    role: str
    state: str
    created_at: str

    @property
    def ref(self) -> str:
        """Path or key."""
        return self.path or self.key or self.title


class Definition(NamedTuple):
    """A definition that starts in a chunk."""

    name: str
    qualname: str
    kind: str
    start_line: int


def file_row(chunk: Chunk) -> FileRow:
    """Return the document of a chunk."""
    return FileRow(
        chunk.source, chunk.path, chunk.key, chunk.title, chunk.language, chunk.role, chunk.state, chunk.created_at
    )


@lru_cache(maxsize=65_536)
def token_hash(token: str) -> int:
    """Return the 32-bit hash under which a token is kept (CRC-32 of its UTF-8)."""
    return crc32(token.encode("utf-8", "surrogatepass"))


def hash_tokens(streams: Iterable[str]) -> bytes:
    """Return the distinct tokens of some streams as 32-bit hashes, ascending."""
    hashes = {token_hash(token) for stream in streams for token in stream.split(" ") if token}
    return array("I", sorted(hashes)).tobytes()


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
        ids = np.frombuffer(self.ids, dtype=np.int64) if self.ids else np.zeros(0, dtype=np.int64)
        _, last = np.unique(ids[::-1], return_index=True)
        order = len(ids) - 1 - last
        ragged = {name: _take(self.data[name], self.ends[name], order) for name in RAGGED}
        columns = {
            "ids": ids[order].astype("<i8"),
            "file": np.array(self.file, dtype="<i4")[order] if self.file else np.zeros(0, "<i4"),
            "tokens_at": ragged["tokens"][1] // 4,
            "symbols_at": ragged["symbols"][1],
            "links_at": ragged["links"][1],
        }
        parts = [np.ascontiguousarray(columns[name], dtype=kind).tobytes() for name, kind in COLUMNS]
        parts += [ragged[name][0] for name in RAGGED]
        parts.append(json.dumps(list(self.files), ensure_ascii=True, separators=(",", ":")).encode())
        head = json.dumps({"rows": len(order), "sizes": [len(part) for part in parts]}).encode() + b"\n"
        with open(path, "wb") as file:
            file.write(head + b" " * (-len(head) % ALIGN))
            for part in parts:
                file.write(part)
                file.write(b"\0" * (-len(part) % ALIGN))


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

    def add(self, prepared: Prepared) -> None:
        """Add one chunk."""
        chunk = prepared.chunk
        records = (FIELD.join((_plain(s.name), _plain(s.qualname), s.kind, str(s.start_line))) for s in chunk.symbols)
        self._columns.add(
            chunk.id,
            file_row(chunk),
            prepared.terms,
            RECORD.join(records).encode("utf-8", "surrogatepass"),
            RECORD.join(map(_plain, chunk.links)).encode("utf-8", "surrogatepass"),
        )
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


def _plain(text: str) -> str:
    return CONTROL.sub(" ", text)


# -- reading -----------------------------------------------------------------------------------------------------------


def segment_files(folder: Path) -> list[Path]:
    """Return the segments of a generation, oldest first."""
    return sorted(folder.glob("*.bin"))


class Segment:
    """One segment, mapped into memory. Raises IndexCorrupt."""

    def __init__(self, path: Path) -> None:
        """Map a file."""
        self.path = path
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            end = self._map.find(b"\n") + 1
            head = json.loads(self._map[:end])
            at, places = end + -end % ALIGN, []
            for size in head["sizes"]:
                places.append((at, size))
                at += size + -size % ALIGN
            self.rows = int(head["rows"])
            columns = {
                name: np.frombuffer(self._map, dtype=kind, count=size // np.dtype(kind).itemsize, offset=start)
                for (name, kind), (start, size) in zip(COLUMNS, places, strict=False)
            }
            tokens, self._symbols, self._links, files = places[len(COLUMNS) :]
            self._files: list[FileRow] = [FileRow(*row) for row in json.loads(self._map[files[0] : sum(files)])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IndexCorrupt(f"{path} cannot be read ({error}). Run `codecairn index`.") from error
        self.ids: Ints = columns["ids"]
        self.file = columns["file"]
        self.tokens_at: Ints = columns["tokens_at"]
        self._symbols_at, self._links_at = columns["symbols_at"], columns["links_at"]
        self.tokens: Hashes = np.frombuffer(self._map, dtype="<u4", count=tokens[1] // 4, offset=tokens[0])

    def find(self, ids: Ints) -> Ints:
        """Return the row of each id, -1 where this segment does not hold it."""
        if not self.rows:
            return np.full(len(ids), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.ids, ids), self.rows - 1)
        return np.where(self.ids[at] == ids, at, -1)

    def file_of(self, row: int) -> FileRow:
        """Return the document of a row."""
        return self._files[int(self.file[row])]

    def definitions(self, row: int) -> list[Definition]:
        """Return the definitions of a row."""
        text = self._text(self._symbols, self._symbols_at, row)
        if not text:
            return []
        fields = [record.split(FIELD) for record in text.split(RECORD)]
        return [Definition(name, qualname, kind, int(line)) for name, qualname, kind, line in fields]

    def links(self, row: int) -> list[str]:
        """Return the links of a row."""
        text = self._text(self._links, self._links_at, row)
        return text.split(RECORD) if text else []

    def _text(self, place: tuple[int, int], starts: Ints, row: int) -> str:
        start, end = int(starts[row]), int(starts[row + 1])
        return self._map[place[0] + start : place[0] + end].decode("utf-8", "surrogatepass") if end > start else ""

    def copy_to(self, columns: _Columns, live: Collection[int] | None) -> None:
        """Append the rows, of some ids where given."""
        for row, chunk_id in enumerate(self.ids.tolist()):
            if live is None or chunk_id in live:
                tokens = self.tokens[self.tokens_at[row] : self.tokens_at[row + 1]].tobytes()
                symbols = self._text(self._symbols, self._symbols_at, row).encode("utf-8", "surrogatepass")
                links = self._text(self._links, self._links_at, row).encode("utf-8", "surrogatepass")
                columns.add(chunk_id, self.file_of(row), tokens, symbols, links)


class RowReader:
    """All rows of one generation. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Map the segments."""
        self._segments = [Segment(path) for path in reversed(segment_files(folder))]

    def rows(self, ids: Sequence[int]) -> Rows:
        """Return the rows of some chunks in this order. Raises KeyError for an id that no segment holds."""
        wanted = np.array(ids, dtype=np.int64)
        places: list[tuple[Segment, int] | None] = [None] * len(ids)
        left = np.arange(len(ids))
        for segment in self._segments:
            found = segment.find(wanted[left])
            for at, row in zip(left[found >= 0].tolist(), found[found >= 0].tolist(), strict=True):
                places[at] = (segment, row)
            left = left[found < 0]
            if not len(left):
                break
        if len(left):
            raise KeyError(f"No segment holds a row of chunk {ids[left[0]]}.")
        return Rows(tuple(ids), [place for place in places if place is not None])

    def holds(self, ids: Sequence[int]) -> bool:
        """Tell whether every id has a row."""
        left = np.array(ids, dtype=np.int64)
        for segment in self._segments:
            left = left[segment.find(left) < 0]
        return not len(left)


class Rows:
    """The rows of some chunks, in the order in which they were asked for."""

    def __init__(self, ids: tuple[int, ...], places: Sequence[tuple[Segment, int]]) -> None:
        """Take the place of each row."""
        self.ids = ids
        self.files = [segment.file_of(row) for segment, row in places]
        self._places = places

    def definitions(self, at: int) -> list[Definition]:
        """Return the definitions that start in the chunk at this place."""
        segment, row = self._places[at]
        return segment.definitions(row)

    def links(self, at: int) -> list[str]:
        """Return the links of the chunk at this place."""
        segment, row = self._places[at]
        return segment.links(row)

    def holding(self, tokens: Sequence[str]) -> list[int]:
        """Return which of the tokens (at most 62) each chunk holds, one bit each, the first token the lowest."""
        pieces = [segment.tokens[segment.tokens_at[row] : segment.tokens_at[row + 1]] for segment, row in self._places]
        if not pieces:
            return []
        owner = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        values = np.concatenate(pieces)
        bits = np.zeros(len(pieces), dtype=np.int64)
        for at, token in enumerate(tokens):
            bits[owner[values == token_hash(token)]] |= 1 << at
        return [int(value) for value in bits]
