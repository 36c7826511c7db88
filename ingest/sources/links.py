"""What a text names: ticket keys, design ids and paths."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ingest.index.keys import DESIGN_ID

TICKET_NUMBER = re.compile(r"(?<![\w/&#.])(?:#|\bGH-)([1-9]\d{0,8})\b")
TICKET_URL = re.compile(r"\b[\w.-]+/[\w.-]+/(?:-/)?(?:issues|pull|merge_requests)/([1-9]\d{0,8})\b")
LETTER_KEY = re.compile(r"(?<![\w-])([A-Z][A-Z0-9]{1,9}-\d{1,7})(?![\w-]|\.\d)")
# Upper-case word, dash, number that is no key: encodings, algorithms, standards, advisories.
NO_PROJECT = frozenset(
    """
    UTF UCS SHA MD AES RSA DES ISO IEC IEEE ANSI ASCII CP BASE HTTP HTTPS TLS SSL IPV UUID CVE CWE GHSA X86 ARM FP INT
    UINT FLOAT BLAKE2 SHA2 SHA3 ES EC PBKDF2 LZ MPEG H COVID WINDOWS KOI8 EUC GB BIG PY CP65001 GPL LGPL AGPL BSD MIT
    """.split()
)
PATH = re.compile(r"(?<![\w/:.@-])((?:[\w.@+-]+/)+[\w@+-][\w.@+-]*\.[A-Za-z]\w{0,9})(?::\d+(?:-\d+)?)?(?![\w/])")
BARE_FILE = re.compile(r"`([\w@+-][\w.@+-]*\.[A-Za-z]\w{0,9})(?::\d+(?:-\d+)?)?`")
URL = re.compile(r"https?://[^\s)>\]]+")
KEY_HINT = re.compile(r"-\d")  # a literal first: ten times as fast as LETTER_KEY where nothing matches
MAX_LINKS = 500


def find_ticket_keys(text: str) -> list[str]:
    """Return ticket keys and design ids in the order of their first mention: '#12', 'PROJ-7', 'ADR-3'."""
    found: list[tuple[int, str]] = []
    if "#" in text or "GH-" in text:
        found += [(match.start(), f"#{match[1]}") for match in TICKET_NUMBER.finditer(text)]
    if "/issues/" in text or "/pull/" in text or "/merge_requests/" in text:
        found += [(match.start(), f"#{match[1]}") for match in TICKET_URL.finditer(text)]
    if KEY_HINT.search(text):
        found += [(match.start(), _plain(match[1])) for match in LETTER_KEY.finditer(text) if _is_project(match[1])]
    return list(dict.fromkeys(key for _, key in sorted(found)))


def _plain(key: str) -> str:
    """Return a design's id without leading zeros."""
    return DESIGN_ID.sub(r"\1-\2", key)


def _is_project(key: str) -> bool:
    project = key.partition("-")[0]
    return project not in NO_PROJECT and project != "GH"


def find_paths(text: str) -> list[str]:
    """Return file paths in the order of their first mention: `a/b.py`, and bare file names in backticks."""
    plain = URL.sub(" ", text)
    found = [(match.start(), match[1]) for match in PATH.finditer(plain)]
    found += [(match.start(), match[1]) for match in BARE_FILE.finditer(plain)]
    return list(dict.fromkeys(path.removeprefix("./") for _, path in sorted(found)))


def join_links(*groups: Iterable[str], without: str | None = None) -> tuple[str, ...]:
    """Return the links of several groups once each, at most MAX_LINKS, without the document's own key."""
    links = dict.fromkeys(link for group in groups for link in group)
    if without:
        links.pop(without, None)
    return tuple(links)[:MAX_LINKS]
