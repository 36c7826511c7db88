"""Citations: pointers C1..Cn that the server makes from the lines under each claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcp_server.answering.evidence import Evidence, Span

MERGE_GAP_LINES = 1  # neighbouring ranges of one document read as one


@dataclass(frozen=True, slots=True)
class Pointer:
    """Cited lines of one document, before their freshness is known."""

    id: str
    evidence: Evidence
    start_line: int
    end_line: int
    symbol: str | None
    text: str  # the cited lines as they were indexed


@dataclass(frozen=True, slots=True)
class Numbered:
    """All pointers of an answer, and which of them each claim rests on."""

    pointers: tuple[Pointer, ...]
    of_claim: tuple[tuple[str, ...], ...]


def number_citations(claims: Sequence[Sequence[Span]], evidence: Mapping[str, Evidence]) -> Numbered:
    """Return one pointer per overlapping group of lines, numbered in order of first use."""
    ranges: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for span in (span for spans in claims for span in spans):
        ranges.setdefault(document_of(evidence[span.evidence]), []).append((span.start_line, span.end_line))
    merged = {document: merge_ranges(lines) for document, lines in ranges.items()}
    ids: dict[tuple[str, str, int, int], str] = {}
    pointers: list[Pointer] = []
    of_claim: list[tuple[str, ...]] = []
    for spans in claims:
        own: dict[str, None] = {}
        for span in spans:
            block = evidence[span.evidence]
            start, end = next(r for r in merged[document_of(block)] if r[0] <= span.start_line <= r[1])
            key = (*document_of(block), start, end)
            if key not in ids:
                ids[key] = f"C{len(ids) + 1}"
                text = cited_text(document_of(block), start, end, evidence)
                pointers.append(Pointer(ids[key], block, start, end, symbol_at(block, span), text))
            own.setdefault(ids[key])
        of_claim.append(tuple(own))
    return Numbered(tuple(pointers), tuple(of_claim))


def document_of(block: Evidence) -> tuple[str, str]:
    """Return source and path or key."""
    return (block.chunk.source, block.chunk.ref)


def cited_text(document: tuple[str, str], start: int, end: int, evidence: Mapping[str, Evidence]) -> str:
    """Return the cited lines, put together from all blocks of the document that hold them."""
    lines: dict[int, str] = {}
    for block in evidence.values():
        if document_of(block) == document:
            lines.update(enumerate(block.lines, block.chunk.start_line))
    return "\n".join(lines[number] for number in range(start, end + 1) if number in lines)


def merge_ranges(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join overlapping and adjacent line ranges, in order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1] + MERGE_GAP_LINES:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def symbol_at(block: Evidence, span: Span) -> str | None:
    """Return the innermost definition around the cited lines, else the one whose comment they are."""
    chunk = block.chunk
    around = [s for s in chunk.symbols if s.start_line <= span.start_line <= s.end_line]
    if around:
        return max(around, key=lambda s: (s.start_line, -s.end_line, s.qualname)).qualname
    following = min(
        (s for s in chunk.symbols if s.start_line > span.end_line), key=lambda s: s.start_line, default=None
    )
    if following:
        between = block.lines[span.end_line - chunk.start_line + 1 : following.start_line - chunk.start_line]
        if all(line.strip() for line in between):
            return following.qualname
    # What starts in this block does not reach before its first line.
    return None if any(s.qualname == chunk.symbol for s in chunk.symbols) else chunk.symbol
