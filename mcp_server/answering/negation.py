"""Absence: what a claim says is not there. Presence cannot prove it, so it is searched for where it is said to be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mcp_server.answering.claims import Anchor
from mcp_server.answering.relations import FILLER, MARK, bare, mask

GONE = re.compile(
    r"(?P<b>§\d+§)(?:\s+(?:class|function|method|module|file|option|setting|flag|symbol))*\s+(?:does\s+not|doesn[’']t|no\s+longer)\s+exists?"
    r"|(?:there\s+(?:is|are|was)\s+(?:no|not\s+any)(?:\s+(?:such|longer))?|no\s+such)\s+(?:thing\s+as\s+)?(?:an?\s+)?(?:\w+\s+){0,2}?(?P<c>§\d+§)",
    re.I,
)
LACKS = re.compile(
    rf"(?P<a>§\d+§){FILLER}(?:(?:does|do|did|can|will)\s*(?:n[o’']t|not)|doesn[’']t|never|no\s+longer)\s+(?:\w+ly\s+|ever\s+)?"
    rf"(?P<verb>calls?|invokes?|uses?|imports?|mentions?|contains?|defines?|references?|raises?|touch(?:es)?)\s+"
    rf"(?:the\s+|an?\s+|any\s+)?(?P<b>§\d+§)",
    re.I,
)
CONDITION = re.compile(r"\b(?:if|when|whenever|where|whether|unless|in case|assuming|once|that)\b[^.;,]{0,20}$", re.I)
NEGATED = re.compile(
    r"\b(?:not|never|no|n[’']t|without|unless|except|neither|nor|cannot|instead of|rather than)\b|n[’']t\b", re.I
)


@dataclass(frozen=True, slots=True)
class Absence:
    """A name that a claim says is absent, where it was searched for, and how often it was found there."""

    name: str
    scope: str  # a path, a definition, or "everywhere"
    verb: Literal["call", "use", "exist"]
    files: tuple[str, ...] = ()
    hits: int = 0


def find_absences(text: str, anchors: Sequence[Anchor]) -> list[Absence]:
    """Return what a claim says is absent."""
    named = [anchor for anchor in anchors if anchor.end > anchor.start and anchor.kind in ("symbol", "path", "flag")]
    if not named or not NEGATED.search(text):
        return []
    masked = mask(text, named)
    names = {f"§{number}§": bare(anchor.text) for number, anchor in enumerate(named)}
    found = [
        Absence(
            names[match["b"]],
            names[match["a"]],
            "call" if match["verb"].lower()[:4] in ("call", "invo", "rais") else "use",
        )
        for match in LACKS.finditer(masked)
    ]
    for match in GONE.finditer(masked):
        if CONDITION.search(masked[max(0, match.start() - 25) : match.start()]):
            continue
        found.append(Absence(names[match["b"] or match["c"]], scope_of(masked[match.end() :], names), "exist"))
    return list(dict.fromkeys(found))


def scope_of(rest: str, names: dict[str, str]) -> str:
    """Return where something is said to be absent: `... in src/app.py`, else everywhere."""
    match = re.match(r"\s*(?:in|inside|within|from)\s+(?:the\s+)?(§\d+§)", rest, re.I)
    return names[match[1]] if match and MARK.fullmatch(match[1]) else "everywhere"


def is_negated(text: str) -> bool:
    """Tell whether a claim denies something."""
    return bool(NEGATED.search(text))
