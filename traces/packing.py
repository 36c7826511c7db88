"""The content of a trace as bytes: chunk ids by their number in the store, then zstd with a dictionary.

A trace names some hundred chunks, most of them several times, by ids of 19 digits that no compressor makes shorter.
Each id is kept once for all traces (table `number`), and stands in the content as a mark and three letters. Canonical
JSON holds no control characters, so that marks cannot be mistaken for text. What a trace says besides is much the same
in all of them: the dictionary holds it. It was made from traces over the shipped golden corpus
(`python -m golden.dictionary`) and must never change; another one gets another first byte.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files

import zstandard

from traces.blobs import LEVEL, expand
from traces.errors import TraceStoreError

PACKED = b"\x01"  # first byte; zstd frames begin with another one
DICTIONARY = "trace-1.dict"
DICTIONARY_BYTES = 16_384
LARGEST = 2**63 - 1  # that SQLite holds
DECIMAL = re.compile(rb"(?<![\d.])[1-9]\d{15,18}(?!\d)")
HEX = re.compile(rb"(?<=chunk )[1-9a-f][0-9a-f]{12,15}(?![0-9a-f])")  # keys of look-ups
LETTERS = bytes(byte for byte in range(0x23, 0x7F) if byte != 0x5C)
WIDTH, WIDE = 3, 5  # letters of a number; those beyond 750,000 take five
MARKS = {(False, WIDTH): b"\x02", (True, WIDTH): b"\x03", (False, WIDE): b"\x04", (True, WIDE): b"\x05"}
MARKED = re.compile(rb"([\x02\x03])([#-~]{3})|([\x04\x05])([#-~]{5})", re.S)

Number = Callable[[int], int]  # id -> its number in the store
IdOf = Callable[[int], int]


def pack(data: bytes, number: Number) -> bytes:
    """Return canonical JSON as it is stored. `number` gives an id its number, a new one where it has none."""
    return PACKED + _compressor().compress(shorten(data, number))


def shorten(data: bytes, number: Number) -> bytes:
    """Return canonical JSON with a mark in the place of each id."""

    def mark(match: re.Match[bytes], base: int) -> bytes:
        value = int(match[0], base)
        if value > LARGEST:
            return match[0]
        n = number(value)
        width = WIDTH if n < len(LETTERS) ** WIDTH else WIDE
        return MARKS[base == 16, width] + _letters(n, width)

    return HEX.sub(lambda match: mark(match, 16), DECIMAL.sub(lambda match: mark(match, 10), data))


def unpack(stored: bytes, id_of: IdOf) -> bytes:
    """Return what was packed, or compressed without ids and dictionary. Raises TraceStoreError for damaged bytes."""
    if not stored.startswith(PACKED):
        return expand(stored)
    try:
        short = zstandard.ZstdDecompressor(dict_data=load_dictionary()).decompress(stored[len(PACKED) :])
    except zstandard.ZstdError as error:
        raise TraceStoreError(f"stored content is damaged ({error}); `codecairn trace verify` names it") from error

    def write(match: re.Match[bytes]) -> bytes:
        value = id_of(_number(match[2] or match[4]))
        return f"{value:x}".encode() if (match[1] or match[3]) in (b"\x03", b"\x05") else b"%d" % value

    return MARKED.sub(write, short)


def train(contents: Sequence[bytes]) -> bytes:
    """Return a dictionary for shortened contents."""
    return zstandard.train_dictionary(DICTIONARY_BYTES, list(contents)).as_bytes()


def store_number(connection: sqlite3.Connection, value: int) -> int:
    """Return the number of an id in a store, in the caller's transaction."""
    row = connection.execute("SELECT seq FROM number WHERE id = ?", (value,)).fetchone()
    if row is None:
        return int(connection.execute("INSERT INTO number(id) VALUES (?)", (value,)).lastrowid or 0)
    return int(row[0])


def stored_id(connection: sqlite3.Connection, number: int) -> int:
    """Return the id of a number. Raises TraceStoreError where the store has none."""
    row = connection.execute("SELECT id FROM number WHERE seq = ?", (number,)).fetchone()
    if row is None:
        raise TraceStoreError(f"stored content names chunk number {number}, which the store does not know")
    return int(row[0])


def open_content(connection: sqlite3.Connection, stored: bytes) -> bytes:
    """Return the bytes of a blob as they were hashed. Raises TraceStoreError for damaged ones."""
    return unpack(stored, lambda number: stored_id(connection, number))


def _letters(n: int, width: int) -> bytes:
    found = bytearray()
    for _ in range(width):
        n, digit = divmod(n, len(LETTERS))
        found.append(LETTERS[digit])
    return bytes(found)


def _number(letters: bytes) -> int:
    return sum(LETTERS.index(letter) * len(LETTERS) ** place for place, letter in enumerate(letters))


@lru_cache(maxsize=1)
def load_dictionary() -> zstandard.ZstdCompressionDict:
    """Return the dictionary that packed content is read with."""
    return zstandard.ZstdCompressionDict(files("traces").joinpath(DICTIONARY).read_bytes())


_OWN = threading.local()


def _compressor() -> zstandard.ZstdCompressor:
    # One per thread: it serves one at a time, and a process that holds two stores has two writers.
    if not hasattr(_OWN, "compressor"):
        _OWN.compressor = zstandard.ZstdCompressor(level=LEVEL, dict_data=load_dictionary(), write_checksum=False)
    compressor: zstandard.ZstdCompressor = _OWN.compressor
    return compressor
