"""Grounding: the claim ledger. Every path, name, key, number and quote of a claim is looked up; the worst one decides.

Order of look-up: L1 the cited lines, L2 the same file, L3 other evidence (the citation is repaired), L4 the repository
within the caller's filters, L7 what is exempt (terms of the question, placeholders), L8 nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mcp_server.answering.claims import Anchor, ClaimDraft, find_anchors
from mcp_server.answering.evidence import Evidence, Span, collapse
from mcp_server.answering.resolver import Resolver
from mcp_server.results import Ungrounded, Verdict

Place = Literal[
    "ok", "ok_near", "misattributed", "unsupported_by_context", "exempt", "fabricated", "misquoted", "unverified"
]

WORST_FIRST: tuple[Verdict, ...] = (
    "fabricated",
    "contradicted",
    "misquoted",
    "stale",
    "unsupported_by_context",
    "unverified",
    "no_anchor",
    "weak",
    "misattributed",
    "supported",
)
STRUCK: frozenset[Verdict] = frozenset({"fabricated", "contradicted", "misquoted"})
OPEN: frozenset[Verdict] = STRUCK | {"unsupported_by_context", "unverified", "no_anchor"}
TO_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
TIME_UNIT = re.compile(r"^(ms|milli|s|min|h|d)", re.I)
NUMBER = re.compile(r"(?<![\w.])\d[\d_,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class AnchorResult:
    """One anchor and where it was found."""

    anchor: Anchor
    place: Place
    found_in: Span | None = None
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim after the ledger; `spans` with repaired citations."""

    draft: ClaimDraft
    verdict: Verdict
    reason: str
    spans: tuple[Span, ...]
    anchors: tuple[AnchorResult, ...]

    @property
    def is_struck(self) -> bool:
        """Tell whether the claim may not stand in the answer's text."""
        return self.verdict in STRUCK

    @property
    def nearest(self) -> tuple[str, ...]:
        """Nearest existing names of what was found nowhere."""
        return tuple(dict.fromkeys(name for result in self.anchors for name in result.nearest))


class Ledger:
    """The evidence of one answer, ready for looking up anchors."""

    def __init__(self, evidence: Sequence[Evidence], question: str, resolver: Resolver) -> None:
        """Prepare the look-up texts once for all claims."""
        self.evidence = {block.id: block for block in evidence}
        self.question = question.lower()
        self.resolver = resolver
        self._whole = {block.id: searchable(block) for block in evidence}

    def check(self, draft: ClaimDraft) -> CheckedClaim:
        """Resolve every anchor of one claim and decide its verdict."""
        spans = tuple(span for span in draft.spans if span.evidence in self.evidence)
        results = [self.resolve(anchor, spans) for anchor in find_anchors(draft.text)]
        if draft.quote and not any(r.anchor.text == draft.quote for r in results):
            results.append(self.resolve(Anchor("quote", draft.quote), spans))
        verdict, reason = decide_verdict(results)
        repaired = tuple(dict.fromkeys(r.found_in for r in results if r.place == "misattributed" and r.found_in))
        return CheckedClaim(draft, verdict, reason, tuple(dict.fromkeys((*spans, *repaired))), tuple(results))

    def resolve(self, anchor: Anchor, spans: Sequence[Span]) -> AnchorResult:
        """Find one anchor; the first place in the order of the ledger wins."""
        if anchor.exempt:
            return AnchorResult(anchor, "exempt")
        for span in spans:
            if self.is_in_lines(anchor, span):
                return AnchorResult(anchor, "ok", span)
        cited = {(self.evidence[s.evidence].chunk.source, self.evidence[s.evidence].chunk.ref) for s in spans}
        elsewhere: Span | None = None
        for block in self.evidence.values():
            where = self.find_in_block(anchor, block)
            if where and (block.chunk.source, block.chunk.ref) in cited:
                return AnchorResult(anchor, "ok_near", where)
            elsewhere = elsewhere or where
        if elsewhere:
            return AnchorResult(anchor, "misattributed", elsewhere)
        return self.resolve_outside(anchor)

    def resolve_outside(self, anchor: Anchor) -> AnchorResult:
        """Find an anchor that no evidence holds: in the repository, in the question, or nowhere."""
        if anchor.kind == "quote":
            return AnchorResult(anchor, "misquoted")
        if anchor.kind == "number":
            return AnchorResult(anchor, "exempt" if digits(anchor.text) in self.question else "unverified")
        if self.exists(anchor):
            return AnchorResult(anchor, "unsupported_by_context")
        if anchor.text.lower() in self.question:
            return AnchorResult(anchor, "exempt")
        near = self.resolver.near_paths if anchor.kind == "path" else self.resolver.near_names
        return AnchorResult(anchor, "fabricated", nearest=() if anchor.kind == "ticket" else near(anchor.text))

    def exists(self, anchor: Anchor) -> bool:
        """Tell whether the repository has it."""
        if anchor.kind == "path":
            return self.resolver.has_path(anchor.text)
        if anchor.kind == "ticket":
            return self.resolver.has_key(anchor.text)
        return self.resolver.has_name(anchor.text)

    def is_in_lines(self, anchor: Anchor, span: Span) -> bool:
        """Tell whether the cited lines, or what names them, hold an anchor."""
        block = self.evidence[span.evidence]
        text = block.slice(span.start_line, span.end_line)
        if anchor.kind == "quote":
            return holds_quote(text, anchor.text) or holds_quote(naming(block), anchor.text)
        if anchor.kind == "path":
            return names_path(block, anchor) or (not is_path_of(block, anchor) and contains_name(text, anchor.text))
        if anchor.kind == "number":
            return holds_number(text, anchor.text)
        return contains_name(f"{text}\n{naming(block)}", anchor.text)

    def find_in_block(self, anchor: Anchor, block: Evidence) -> Span | None:
        """Return the lines of a block that hold an anchor."""
        if anchor.kind == "quote":
            return (
                next((where for part in quote_parts(anchor.text)[:1] if (where := block.locate(part))), None)
                if (holds_quote(block.chunk.text, anchor.text))
                else None
            )
        if anchor.kind == "path" and is_path_of(block, anchor):
            if not names_path(block, anchor):
                return None
            return block.span(*(anchor.lines or (block.chunk.start_line, block.chunk.start_line)))
        test = holds_number if anchor.kind == "number" else contains_name
        if anchor.kind != "number" and not contains_name(self._whole[block.id], anchor.text):
            return None
        for number, line in enumerate(block.lines, block.chunk.start_line):
            if test(line, anchor.text):
                return block.span(number, number)
        if anchor.kind != "number":  # named by the header of the block only
            return block.span(block.chunk.start_line, block.chunk.start_line)
        return None


def check_claims(
    drafts: Sequence[ClaimDraft], evidence: Sequence[Evidence], question: str, resolver: Resolver
) -> tuple[CheckedClaim, ...]:
    """Pass all claims through the ledger."""
    ledger = Ledger(evidence, question, resolver)
    return tuple(ledger.check(draft) for draft in drafts)


def list_ungrounded_claims(claims: Sequence[CheckedClaim]) -> tuple[Ungrounded, ...]:
    """Return the claims that the evidence does not support."""
    return tuple(
        Ungrounded("claim", claim.draft.text, claim.verdict, claim.reason, claim.nearest)
        for claim in claims
        if claim.verdict in OPEN
    )


def decide_verdict(results: Sequence[AnchorResult]) -> tuple[Verdict, str]:
    """Return the worst verdict of the anchors that count, and why."""
    counted = [result for result in results if result.place != "exempt"]
    if not counted:
        return "no_anchor", "Nothing in it can be looked up: no path, name, key, number or quote."
    verdicts = [(verdict_of(result.place), result) for result in counted]
    verdict, worst = min(verdicts, key=lambda pair: WORST_FIRST.index(pair[0]))
    return verdict, REASONS[worst.place].format(text=worst.anchor.text)


def verdict_of(place: Place) -> Verdict:
    """Return the verdict that one anchor's place means for its claim."""
    return "supported" if place in ("ok", "ok_near", "exempt") else place  # type: ignore[return-value]


REASONS: dict[Place, str] = {
    "ok": "Found in the cited lines.",
    "ok_near": "Found in the cited lines or the same file.",
    "misattributed": "'{text}' stands in other evidence; the citation was repaired.",
    "unsupported_by_context": "'{text}' exists in the index, but not in the evidence of this answer.",
    "fabricated": "'{text}' exists nowhere in the index.",
    "misquoted": "'{text}' is not in the evidence word for word.",
    "unverified": "'{text}' is not in the cited lines.",
    "exempt": "",
}


def naming(block: Evidence) -> str:
    """Return what names a block: path, key, title, symbols and their context."""
    chunk = block.chunk
    symbols = " ".join(f"{symbol.qualname} {symbol.name}" for symbol in chunk.symbols)
    return "\n".join(
        filter(None, (chunk.ref, chunk.title, chunk.symbol, chunk.context, symbols, " ".join(chunk.links)))
    )


def searchable(block: Evidence) -> str:
    """Return everything of a block in which names may stand."""
    return f"{block.chunk.text}\n{naming(block)}"


def contains_name(text: str, name: str) -> bool:
    """Tell whether a text holds a name as a whole word; a qualified name also by its last part."""
    if re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text, re.IGNORECASE if name.startswith("#") else 0):
        return True
    parts = [part for part in re.split(r"\.|::|->|#", name) if part]
    if len(parts) < 2:
        return False
    # `self.rows` and `Table.rows`: every part has to be there, not necessarily written together.
    return all(re.search(rf"(?<![\w$]){re.escape(part)}(?![\w$])", text) for part in parts)


def names_path(block: Evidence, anchor: Anchor) -> bool:
    """Tell whether a block is of this path, and holds the line numbers given with it."""
    if not is_path_of(block, anchor):
        return False
    return anchor.lines is None or (block.chunk.start_line <= anchor.lines[0] and anchor.lines[1] <= block.end_line)


def is_path_of(block: Evidence, anchor: Anchor) -> bool:
    """Tell whether a path names the block's document."""
    path = block.chunk.path or ""
    return path == anchor.text or path.endswith("/" + anchor.text)


def quote_parts(quote: str) -> list[str]:
    """Return the parts of a quote between ellipses."""
    return [part.strip() for part in re.split(r"…|\.\.\.$|\[\.\.\.\]", quote) if part.strip()]


def holds_quote(text: str, quote: str) -> bool:
    """Tell whether a text holds a quote word for word after collapsing white space, its parts in order."""
    plain, at = collapse(text), 0
    for part in quote_parts(quote):
        found = plain.find(collapse(part), at)
        if found < 0:
            return False
        at = found + 1
    return True


def digits(text: str) -> str:
    """Return the number of a literal without separators."""
    found = NUMBER.search(text)
    return found[0].replace("_", "").replace(",", "") if found else ""


def holds_number(text: str, literal: str) -> bool:
    """Tell whether a text holds a number, as written or in another unit of time: 30 s = 30_000 ms."""
    present = {float(m.replace("_", "").replace(",", "")) for m in NUMBER.findall(text) if m.strip("_,")}
    value = float(digits(literal) or "nan")
    if value in present:
        return True
    unit = TIME_UNIT.match(literal.split()[-1])
    if not unit:
        return False
    in_ms = value * TO_MS["ms" if unit[1].lower() in ("ms", "milli") else unit[1][0].lower()]
    return any(in_ms / factor in present for factor in TO_MS.values())
