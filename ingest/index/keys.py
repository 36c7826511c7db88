"""Ticket keys and design ids: one form for each, however it is written."""

from __future__ import annotations

import re

DESIGN_FAMILIES = "ADR|RFC|KEP|PEP|DEP|RFD|TEP|MSC|EIP|ERC|BIP|NEP|XEP|AIP|KIP"  # of numbered designs
DESIGN_ID = re.compile(rf"(?<![\w-])({DESIGN_FAMILIES})[ -]?0*([1-9]\d{{0,5}})(?![\w-]|\.\d)")
WHOLE_ID = re.compile(rf"({DESIGN_FAMILIES}|DESIGN)[ -]?0*([1-9]\d{{0,5}})", re.IGNORECASE)
HINTS = tuple(DESIGN_FAMILIES.split("|"))  # literals first: far faster than the pattern where nothing matches


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
