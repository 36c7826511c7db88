"""Token streams: the one text normal form that chunks and queries share.

Tantivy's whitespace tokenizer indexes what this module emits: every identifier whole and lower-cased,
followed by its parts (split at underscores, camel case and digit borders).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

WORD = re.compile(r"[^\W\d]\w*|\d+(?:\.\d+)*")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
MAX_TOKEN = 64  # longer "words" are data (hashes, base64), not names


@lru_cache(maxsize=65_536)
def split_identifier(word: str) -> tuple[str, ...]:
    """Return the lower-cased parts of one identifier: `getHTTPResponse_v2` -> get, http, response, v, 2."""
    return tuple(part.lower() for part in PART.findall(word))


@lru_cache(maxsize=65_536)
def _expand(word: str) -> str:
    if len(word) > MAX_TOKEN:
        return ""
    whole = word.lower()
    parts = split_identifier(word)
    if len(parts) <= 1:
        return whole
    return " ".join((whole, *parts))


def token_stream(text: str) -> str:
    """Return the space-separated index tokens of any text."""
    return " ".join(filter(None, map(_expand, WORD.findall(text))))


def words(text: str) -> list[str]:
    """Return the identifiers and words of a text as written."""
    return [word for word in WORD.findall(text) if len(word) <= MAX_TOKEN]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Return the Snowball (English) stem of one lower-case word."""
    return str(_stemmer().stemWord(word))


@lru_cache(maxsize=1)
def _stemmer() -> Any:  # noqa: ANN401 - the library has no types
    import snowballstemmer  # 30 ms: only queries need it

    return snowballstemmer.stemmer("english")
