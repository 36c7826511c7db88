"""Clean documents before anything else sees them: line feeds, no invisible characters, no secrets, marked orders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ingest.model import Chunk, Document, PiiClass
from ingest.personal import find_personal
from ingest.redact import count_masks, is_personal, redact
from ingest.untrusted import clean_text, find_flags


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A document that may be stored, what was masked in its text, and what its rows (0-based) are marked with."""

    document: Document
    redactions: tuple[tuple[str, int], ...] = ()
    flags: tuple[tuple[int, int, str], ...] = ()


def clean_document(document: Document) -> Cleaned:
    """Return a document whose text, title and links hold no secret, as its source's policy says, and no hidden text."""
    text = clean_lines(document.text)
    source = document.source
    flags = tuple(find_flags(document.text, text)) if source.trust != "high" else ()
    masked = redact(text, personal=source.masks_personal)
    title = document.title
    if title != document.path:
        title = redact(clean_text(title), personal=source.masks_personal).text
    links, labels = _clean_links(document.links), _clean_links(document.labels)
    safe = replace(document, text=masked.text, title=title, links=links, labels=labels)
    # What a tracker sent was masked before it was spooled.
    counts = masked.counts or (count_masks(masked.text) if source.kind == "ticket" else ())
    return Cleaned(safe, counts, flags)


def clean_lines(text: str) -> str:
    """Return a text without invisible characters whose lines end in line feeds only."""
    return clean_text(text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text)


def _clean_links(links: tuple[str, ...]) -> tuple[str, ...]:
    joined = "\n".join(links)
    if clean_text(joined) == joined and not redact(joined).counts:
        return links
    return tuple(redact(clean_text(link)).text for link in links)


def mark_chunks(chunks: Iterable[Chunk], cleaned: Cleaned) -> Iterator[Chunk]:
    """Give each chunk the counts of its own masks and the flags of its lines."""
    marked: dict[int, set[str]] = {}
    for start, end, flag in cleaned.flags:
        for row in (start, end):
            marked.setdefault(row, set()).add(flag)
    marks, title = cleaned.document.source.marks_personal, cleaned.document.title
    titled = classify(title, count_masks(title)) if marks else ""  # every chunk shows the title
    for chunk in chunks:
        counts = count_masks(chunk.text) if cleaned.redactions else ()
        rows = range(chunk.start_line - 1, chunk.end_line) if marked else ()
        flags = {flag for row in rows for flag in marked.get(row, ())}
        pii = titled or (classify(chunk.text, counts) if marks else "")
        if counts or flags or pii:
            chunk = replace(chunk, redactions=counts, flags=tuple(sorted(flags)), pii_class=pii)
        yield chunk


def classify(text: str, masks: Iterable[tuple[str, int]]) -> PiiClass:
    """Return whether personal data stands in a text, or stood there by its masks."""
    if any(is_personal(rule) for rule, _ in masks):
        return "personal"
    return "personal" if next(find_personal(text), None) else ""
