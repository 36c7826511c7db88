"""Token streams: the one text normal form that chunks and queries share.

Tantivy's whitespace tokenizer indexes what this module emits. A plain word becomes its stem. Any other identifier
(`load_all`, `_load`) stays whole and lower-cased, followed by the stems of its parts (split at underscores, camel case
and digit borders): who asks for `parse_headers` finds that name first, who asks for "parsing a header" finds it too.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from zlib import crc32

from Stemmer import Stemmer

from ingest.words import WordTable, dotted_runs

TOKENS_VERSION = "4"  # part of the manifest: raise it when the same text gives other tokens
WORD = re.compile(r"[^\W\d]\w*|\d+(?:\.\d+)*")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
BORDER = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|_+|(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
MAX_TOKEN = 64  # longer "words" are data (hashes, base64), not names
KEPT_WORDS = 4096  # of each table that follows, 1 to 2 MB: most of what is asked for again is asked for soon
MIN_STEMMED = 4  # shorter words have no ending to lose: "bus", "os"
_STEMMER = Stemmer("english", 0)  # it would remember words too, and takes three times as long for a new one


@lru_cache(maxsize=KEPT_WORDS)
def split_identifier(word: str) -> tuple[str, ...]:
    """Return the lower-cased parts of one identifier: `getHTTPResponse_v2` -> get, http, response, v, 2.

    Text of scripts that are written without spaces gives its pairs of neighbouring characters.
    """
    return _split(word)


def _split(word: str) -> tuple[str, ...]:
    """Do it anew: a word of a repository is met here once."""
    return tuple(map(str.lower, PART.findall(word)) if word.isascii() else _split_foreign(word))


def _split_foreign(word: str) -> Iterator[str]:
    """Split a word with letters beyond ASCII: at borders of case, digits and underscores, not at accents."""
    for part in filter(None, BORDER.split(word)):
        at = 0
        for run in UNSPACED.finditer(part):
            if run.start() > at:
                yield part[at : run.start()].lower()
            text = run.group()
            yield from (text[i : i + 2] for i in range(max(1, len(text) - 1)))
            at = run.end()
        if at < len(part):
            yield part[at:].lower()


@lru_cache(maxsize=KEPT_WORDS)
def stem(word: str) -> str:
    """Return the Snowball (English) stem of one lower-case word; short words and other alphabets stay as they are."""
    if len(word) < MIN_STEMMED or not (word.isascii() and word.replace("'", "").isalpha()):
        return word
    return str(_STEMMER.stemWord(word))


def parts_within(word: str) -> tuple[str, ...]:
    """Return the parts of an identifier, none for a plain word: `_payment` -> payment, `Payment` -> nothing."""
    parts = split_identifier(word)
    return () if parts == (word.lower(),) else parts


def index_tokens(word: str) -> tuple[str, ...]:
    """Return the index tokens of one word: its stem, or the whole identifier and the stems of its parts."""
    if len(word) > MAX_TOKEN:
        return ()
    whole, parts = word.lower(), _split(word)
    return (stem(whole),) if parts == (whole,) else (whole, *map(stem, parts))


class Expansions(WordTable[tuple[str, tuple[int, ...]]]):
    """Run of word characters -> its index tokens, space separated, and their hashes."""

    def __missing__(self, run: str) -> tuple[str, tuple[int, ...]]:
        tokens = [token for word in WORD.findall(run) for token in index_tokens(word)]
        expansion = " ".join(tokens), tuple(map(token_hash, tokens))
        return self.remember(run, expansion) if len(run) <= MAX_TOKEN else expansion


_EXPANSIONS = Expansions()


def token_stream(text: str) -> str:
    """Return the space-separated index tokens of any text."""
    return " ".join([tokens for tokens, _ in _expand(text) if tokens])


def read_tokens(text: str) -> tuple[str, set[int]]:
    """Return the space-separated index tokens of any text, and the hashes of the distinct ones."""
    expansions = _expand(text)
    hashes: set[int] = set().union(*[held for _, held in expansions])
    return " ".join([tokens for tokens, _ in expansions if tokens]), hashes


def _expand(text: str) -> list[tuple[str, tuple[int, ...]]]:
    runs = dotted_runs(text)
    return [*map(_EXPANSIONS.__getitem__, WORD.findall(text) if runs is None else runs)]


@lru_cache(maxsize=512)
def whole_word(text: str, flags: int = 0) -> re.Pattern[str]:
    """Return a pattern for a text as it is written that neither begins nor ends within a word."""
    before = r"(?<!\w)" if text[:1].isalnum() or text[:1] == "_" else ""
    after = r"(?!\w)" if text[-1:].isalnum() or text[-1:] == "_" else ""
    return re.compile(f"{before}{re.escape(text)}{after}", flags)


def words(text: str) -> list[str]:
    """Return the identifiers and words of a text as written."""
    return [word for word in WORD.findall(text) if len(word) <= MAX_TOKEN]


@lru_cache(maxsize=KEPT_WORDS)
def name_words(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a file stem or identifier, with the whole name."""
    parts = [part for word in words(name.replace("-", "_")) for part in split_identifier(word)]
    return (*parts, name.lower())


@lru_cache(maxsize=16_384)
def path_words(path: str) -> tuple[str, ...]:
    """Return the words of a path's stem and its nearest directory."""
    pure = PurePosixPath(path)
    return (*name_words(pure.stem), *(name_words(pure.parent.name) if pure.parent.name else ()))


def token_hash(token: str) -> int:
    """Return the 32-bit hash under which a token is kept (CRC-32 of its UTF-8)."""
    return crc32(token.encode("utf-8", "surrogatepass"))


def pack_hashes(hashes: Iterable[int]) -> bytes:
    """Return the hashes of distinct tokens as they are stored: 32 bits each, ascending."""
    return array("I", sorted(hashes)).tobytes()
