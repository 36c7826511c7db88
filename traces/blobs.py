"""Content-addressed content: canonical JSON, its hash, compression, and redaction that comes before both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import zstandard

from traces.errors import TraceStoreError

HASH_PREFIX = "b2:"
LEVEL = 12  # 10 % smaller than level 3 for half a millisecond in the background; higher levels gain nothing more
# Joins the strings of one structure for a single pass of the redactor. Neither white space nor a word character,
# so that a rule does not reach over it; where one does, each string is redacted alone.
SEPARATOR = "\x00"

Redact = Callable[[str], str]
Json = Any  # null, bool, number, str, list or dict of these


def canonical(value: object) -> bytes:
    """Return canonical JSON: sorted keys, no spaces, floats exactly, not-a-number and infinities as null."""
    return dump(value).encode("utf-8", "surrogatepass")


def dump(value: object) -> str:
    """Return canonical JSON as text. Raises TypeError, ValueError or RecursionError for what JSON cannot hold."""
    try:
        return _ENCODER.encode(value)
    except ValueError as error:
        if "Out of range float" not in str(error):
            raise
        return _ENCODER.encode(_without_nan(value))


def parse(data: bytes) -> Json:
    """Read canonical JSON."""
    return json.loads(data.decode("utf-8", "surrogatepass"))


def hash_bytes(data: bytes) -> str:
    """Return BLAKE2b-128 with the prefix `b2:`."""
    return HASH_PREFIX + hashlib.blake2b(data, digest_size=16).hexdigest()


def hash_value(value: object) -> str:
    """Return the hash over the canonical JSON of a value."""
    return hash_bytes(canonical(value))


def compress(data: bytes) -> bytes:
    """Return zstd bytes."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=False).compress(data)


def expand(data: bytes) -> bytes:
    """Return what `compress` was given. Raises TraceStoreError for damaged bytes."""
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise TraceStoreError(f"stored content is damaged ({error}); `codecairn trace verify` names it") from error


def redact_value(value: Json, redact: Redact) -> Json:
    """Return a JSON value with every string in it, keys included, redacted."""
    strings: list[str] = []
    _collect(value, strings)
    if not strings:
        return value
    clean = _redact_strings(strings, redact)
    return value if clean == strings else _rebuild(value, iter(clean).__next__)


def _redact_strings(strings: list[str], redact: Redact) -> list[str]:
    joined = SEPARATOR.join(strings)
    if joined.count(SEPARATOR) == len(strings) - 1:
        clean = redact(joined).split(SEPARATOR)
        if len(clean) == len(strings):
            return clean
    return [redact(text) for text in strings]


def _collect(value: Json, strings: list[str]) -> None:
    if isinstance(value, str):
        strings.append(value)
    elif isinstance(value, list):
        for item in value:
            _collect(item, strings)
    elif isinstance(value, dict):
        for name, item in value.items():
            strings.append(name)
            _collect(item, strings)


def _rebuild(value: Json, take: Callable[[], str]) -> Json:
    if isinstance(value, str):
        return take()
    if isinstance(value, list):
        return [_rebuild(item, take) for item in value]
    if isinstance(value, dict):
        return {take(): _rebuild(item, take) for item in value.values()}
    return value


def _encode(value: Json) -> Json:
    """Turn what JSON does not know into what it does; numpy values by their own conversion."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return sorted(value, key=repr)
    for name in ("tolist", "item", "isoformat", "as_posix"):
        convert = getattr(value, name, None)
        if convert is not None:
            return convert()
    if hasattr(value, "__iter__"):
        return list(value)
    raise TypeError(f"a trace cannot hold a value of type {type(value).__name__}: record plain JSON values")


def _without_nan(value: Json) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if value is None or isinstance(value, (str, int)):
        return value
    return _without_nan(_encode(value))


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_encode)
