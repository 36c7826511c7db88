"""Content-addressed content: canonical JSON, its hash, compression, and redaction that comes before both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import orjson
import zstandard

from traces.errors import TraceStoreError

HASH_PREFIX = "b2:"
LEVEL = 12  # 10 % smaller than level 3 for half a millisecond in the background; higher levels gain nothing more
# Joins strings for a single pass of the redactor. Lines of their own, because some rules look for the end of one, with
# a character between that no rule reaches over; where one does, each string is redacted alone.
SEPARATOR = "\n\x00\n"
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')

MAX_KNOWN = 5_000  # strings, of at most ...
MAX_KNOWN_CHARS = 80

Redact = Callable[[str], str]
Json = Any  # null, bool, number, str, list or dict of these


def canonical(value: object) -> bytes:
    """Return canonical JSON: sorted keys, no spaces, floats exactly, not-a-number and infinities as null."""
    try:
        return orjson.dumps(value, _encode, _OPTIONS)
    except TypeError:  # a lone surrogate, an integer of more than 64 bits, or what JSON cannot hold at all
        return _dump_slowly(value).encode("utf-8", "surrogatepass")


def dump(value: object) -> str:
    """Return canonical JSON as text. Raises TypeError, ValueError or RecursionError for what JSON cannot hold."""
    return canonical(value).decode("utf-8", "surrogatepass")


def _dump_slowly(value: object) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError as error:
        if "Out of range float" not in str(error):
            raise
        return _ENCODER.encode(_without_nan(value))


def parse(data: bytes | str) -> Json:
    """Read canonical JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:  # a lone surrogate
        return json.loads(data if isinstance(data, str) else data.decode("utf-8", "surrogatepass"))


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


class Redactor:
    """Redacts the strings of JSON texts, keys included, and remembers short ones without anything to hide."""

    def __init__(self, redact: Redact) -> None:
        """Take what redacts one string."""
        self.redact = redact
        self._known: set[str] = set()

    def clean(self, texts: Sequence[str]) -> list[str]:
        """Return canonical JSON texts with their strings redacted, all of them in one pass."""
        literals = set().union(*map(STRING.findall, texts)) - self._known
        if not literals:
            return list(texts)
        strings = {literal: parse(literal) for literal in sorted(literals)}
        masked = dict(zip(strings, redact_strings(list(strings.values()), self.redact), strict=True))
        changed = {literal: text for literal, text in masked.items() if text != strings[literal]}
        self._remember(literals - changed.keys())
        if not changed:
            return list(texts)
        shown = {literal: dump(text) for literal, text in changed.items()}
        return [STRING.sub(lambda match: shown.get(match[0], match[0]), text) for text in texts]

    def _remember(self, literals: Iterable[str]) -> None:
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        self._known.update(literal for literal in literals if len(literal) <= MAX_KNOWN_CHARS)


def redact_strings(strings: Sequence[str], redact: Redact) -> list[str]:
    """Return each string redacted."""
    joined = SEPARATOR.join(strings)
    if joined.count(SEPARATOR) == len(strings) - 1:
        clean = redact(joined).split(SEPARATOR)
        if len(clean) == len(strings):
            return clean
    return [redact(text) for text in strings]


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
_OPTIONS = (
    orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
)
