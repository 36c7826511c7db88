"""Check a text: the ledger over anybody's words. Its evidence is every file that the text names itself.

Another assistant's answer, a README, a design document: each statement gets a verdict with its reason and its place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.chunking.facts import IDENTIFIER
from ingest.model import Chunk
from mcp_server.answering.claims import (
    PATH_LIKE,
    URL,
    ClaimDraft,
    TextClaim,
    find_anchors,
    find_claims,
    quoted_code,
)
from mcp_server.answering.evidence import Evidence
from mcp_server.answering.grounding import WORST_FIRST, CheckedClaim, Ledger
from mcp_server.answering.resolver import Resolver
from mcp_server.errors import BadRequest
from mcp_server.results import Verdict
from mcp_server.retrieval.query import PATH, SHAPED

MAX_TEXT_CHARS = 2_000_000
MAX_FILES = 200  # that one text may name
ABOUT = 3  # lines with names before a statement: what "it" may be
NAMED = re.compile(r"`([^`\n(]{0,80}[A-Za-z_$][^`\n(]{0,80})(?:\([^`\n]*)?`|([A-Za-z_$][\w$.]*)\(\)")
READ_NAMESAKES = 16  # that are read to choose among
MAX_NAMESAKES = 4  # files of one name, such as `__init__.py`, that a bare name may mean
OWN = re.compile(
    r"^[ \t]*(?:(?:async\s+)?def|class|func|fn|function|interface|struct|type|enum|trait|module)\s+([A-Za-z_$][\w$]*)"
    r"|^[ \t]*(?:const|let|var|val|export)?[ \t]*([A-Za-z_$][\w$]*)[ \t]*(?::[^=\n]{1,60})?(?::=|=)(?!=)"
    r"|\bas\s+([A-Za-z_$][\w$]*)",
    re.MULTILINE,
)


class Library(Resolver, Protocol):
    """A resolver that also hands out whole documents."""

    def documents(self, path: str, limit: int) -> Sequence[Sequence[Chunk]]:
        """Return the chunks of the files that a path names, the likeliest file first."""
        ...


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text after the check; characters count from 0 (end exclusive), lines from 1."""

    text: str
    start_char: int
    end_char: int
    start_line: int
    verdict: Verdict
    reason: str
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found in a text, statements in its order; `files` are those that it names and that are there."""

    claims: tuple[Statement, ...]
    files: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """Number of statements by verdict, the worst first."""
        found = Counter(claim.verdict for claim in self.claims)
        return {verdict: found[verdict] for verdict in WORST_FIRST if found[verdict]}

    def findings(self, mildest: Verdict) -> tuple[Statement, ...]:
        """Return the statements whose verdict is at least as bad as one."""
        bad = frozenset(WORST_FIRST[: WORST_FIRST.index(mildest) + 1])
        return tuple(claim for claim in self.claims if claim.verdict in bad)


def decode_text(data: bytes) -> str:
    """Return bytes as text, without a byte order mark. Raises BadRequest for what is no UTF-8 text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"This is not UTF-8 text (byte {error.start}).") from error
    if "\x00" in text:
        raise BadRequest("This is not text: it holds NUL characters.")
    return text


def check_text(text: str, library: Library) -> CheckReport:
    """Return the verdict on each statement of a text. Raises BadRequest for one that is too long."""
    if len(text) > MAX_TEXT_CHARS:
        raise BadRequest(f"The text has {len(text):,} characters; at most {MAX_TEXT_CHARS:,} are checked. Split it.")
    documents = named_documents(text, library)
    ledger = make_ledger(documents, library, own_names(text))
    claims = find_claims(text)
    drafts = make_drafts(text, claims)
    checked = {draft: ledger.check(draft) for draft in dict.fromkeys(drafts)}
    statements = tuple(make_statement(claim, checked[draft]) for claim, draft in zip(claims, drafts, strict=True))
    return CheckReport(statements, tuple(documents))


def make_ledger(documents: Mapping[str, Sequence[Chunk]], library: Resolver, own: frozenset[str]) -> Ledger:
    """Return the ledger of a text: everything in the files that it names counts as cited."""
    chunks = [chunk for document in documents.values() for chunk in document]
    evidence = [Evidence(f"E{number}", chunk, 1.0) for number, chunk in enumerate(chunks, 1)]
    return Ledger(evidence, "", library, own, cites_all=True)


def named_documents(text: str, library: Library) -> dict[str, Sequence[Chunk]]:
    """Return the files that a text names, by path, in the order of the text."""
    plain = URL.sub(" ", text)
    names = dict.fromkeys(match[0] for match in PATH.finditer(plain) if PATH_LIKE.search(match[0]))
    words = frozenset(word for word in IDENTIFIER.findall(plain) if SHAPED.search(word))
    documents: dict[str, Sequence[Chunk]] = {}
    for name in list(names)[:MAX_FILES]:
        found = library.documents(name, READ_NAMESAKES)
        if len(found) > MAX_NAMESAKES:  # of ten `base.py` the text means those that hold what it speaks of
            found = sorted(found, key=lambda chunks: -len(words.intersection(words_of(chunks))))[:MAX_NAMESAKES]
        for chunks in found:
            documents.setdefault(chunks[0].ref, chunks)
    return documents


def words_of(chunks: Sequence[Chunk]) -> frozenset[str]:
    """Return the identifiers of a document."""
    return frozenset(word for chunk in chunks for word in IDENTIFIER.findall(chunk.text))


def own_names(text: str) -> frozenset[str]:
    """Return the names that the code of a text defines."""
    return frozenset(name for match in OWN.finditer(quoted_code(text)) for name in match.groups() if name)


def places_of(claims: Sequence[TextClaim]) -> list[str]:
    """Return for each claim the path that "line 12" means in it: its only path, else the last one before it."""
    places: list[str] = []
    last = ""
    for claim in claims:
        named = list(
            dict.fromkeys(a.text for a in find_anchors(claim.text) if a.kind == "path" and PATH_LIKE.search(a.text))
        )
        places.append(named[0] if len(named) == 1 else "" if named else last)
        last = named[-1] if named else last
    return places


def make_drafts(text: str, claims: Sequence[TextClaim]) -> list[ClaimDraft]:
    """Return the claims of a text, each with what the lines before it named: headings and list heads too."""
    lines = text.split("\n")
    drafts: list[ClaimDraft] = []
    before: list[list[str]] = []  # names of each line so far that has any
    read = 0
    for claim, place in zip(claims, places_of(claims), strict=True):
        for line in lines[read : max(read, claim.line - 1)]:
            if names := [
                found[-1] for span in NAMED.findall(line) if (found := IDENTIFIER.findall(span[0] or span[1]))
            ]:
                before.append(names)
        read = max(read, claim.line - 1)
        about = tuple(dict.fromkeys(name for names in reversed(before[-ABOUT:]) for name in names))
        drafts.append(ClaimDraft(claim.text, place=place, about=about))
    return drafts


def make_statement(claim: TextClaim, checked: CheckedClaim) -> Statement:
    """Return one statement for a report."""
    return Statement(claim.text, claim.start, claim.end, claim.line, checked.verdict, checked.reason, checked.nearest)
