"""Ticket keys and design ids: one form for each, however it is written."""

from __future__ import annotations

import re

DESIGN_FAMILIES = "ADR|RFC|KEP|PEP|DEP|RFD|TEP|MSC|EIP|ERC|BIP|NEP|XEP|AIP|KIP"  # of numbered designs
DESIGN_ID = re.compile(rf"(?<![\w-])({DESIGN_FAMILIES})[ -]?0*([1-9]\d{{0,5}})(?![\w-]|\.\d)")
WHOLE_ID = re.compile(rf"({DESIGN_FAMILIES}|DESIGN)[ -]?0*([1-9]\d{{0,5}})", re.IGNORECASE)
HINTS = tuple(DESIGN_FAMILIES.split("|"))  # literals first: far faster than the pattern where nothing matches
# The literal first, what may not stand before it afterwards: a pattern that begins with a literal is found quickly.
TICKET_NUMBERS = (
    re.compile(r"#(?<![\w/&#.]#)([1-9]\d{0,8})\b"),
    re.compile(r"GH-(?<![\w/&#.]GH-)([1-9]\d{0,8})\b"),
)
TICKET_URL = re.compile(r"\b[\w.-]+/[\w.-]+/(?:-/)?(?:issues|pull|merge_requests)/([1-9]\d{0,8})\b")
LETTER_KEY = re.compile(r"(?<![\w-])([A-Z][A-Z0-9]{1,9}-\d{1,7})(?![\w-]|\.\d)")
# Upper-case word, dash, number that is no key: encodings, algorithms, standards, advisories.
NO_PROJECT = frozenset(
    """
    UTF UCS SHA MD AES RSA DES ISO IEC IEEE ANSI ASCII CP BASE HTTP HTTPS TLS SSL IPV UUID CVE CWE GHSA X86 ARM FP INT
    UINT FLOAT BLAKE2 SHA2 SHA3 ES EC PBKDF2 LZ MPEG H COVID WINDOWS KOI8 EUC GB BIG PY CP65001 GPL LGPL AGPL BSD MIT
    """.split()
)
KEY_HINT = re.compile(r"-\d")  # a literal first: ten times as fast as LETTER_KEY where nothing matches


def find_ticket_keys(text: str) -> list[str]:
    """Return ticket keys and design ids in the order of their first mention: '#12', 'PROJ-7', 'ADR-3'."""
    found: list[tuple[int, str]] = []
    if "#" in text or "GH-" in text:
        found += [(match.start(), f"#{match[1]}") for number in TICKET_NUMBERS for match in number.finditer(text)]
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


def find_design_keys(text: str) -> list[str]:
    """Return ids of numbered designs in the order of their first mention, as one form: 'ADR-7' for ADR 0007."""
    if not any(hint in text for hint in HINTS):
        return []
    return list(dict.fromkeys(f"{match[1]}-{match[2]}" for match in DESIGN_ID.finditer(text)))


def key_form(key: str) -> str:
    """Return the form in which keys and links are compared: '#12' -> 12, 'MSC3860' and 'msc 3860' -> msc-3860."""
    plain = key.strip().lstrip("#")
    design = WHOLE_ID.fullmatch(plain)
    return f"{design[1]}-{design[2]}".lower() if design else plain.lower()


def key_token(key: str) -> str:
    """Return the token that a key has in the text field of keys: as it is written, a design id in its one form."""
    return key_form(key) if WHOLE_ID.fullmatch(key) else key.lower()
