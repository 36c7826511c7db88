"""PDF: the text of its pages, each named `page 3`. The one place that knows pypdf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING

from ingest.sources.designs.draft import Draft, UnreadableDesign, lay_out

if TYPE_CHECKING:
    from pypdf import PdfReader

MAX_PAGES = 2_000
HYPHEN = re.compile(r"(?<=[a-z])[-\u00ad\u2010]\n(?=[a-z])")  # a word that was parted at the end of a line
NO_TITLE = re.compile(r"untitled|microsoft word|powerpoint|\.(?:docx?|pptx?|tex|dvi|indd|odt)$", re.IGNORECASE)


def read_pdf(data: bytes) -> Draft:
    """Return the text of a PDF. Raises UnreadableDesign: encrypted, no_text (scanned) or malformed."""
    try:
        return _read(data)
    except (UnreadableDesign, MemoryError):
        raise
    except Exception as error:  # pypdf raises whatever a broken file makes it stumble over, far beyond its own errors
        raise UnreadableDesign("malformed", f"{type(error).__name__}: {error}"[:200]) from error


def _read(data: bytes) -> Draft:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(BytesIO(data))
    try:
        opened = not reader.is_encrypted or bool(reader.decrypt(""))  # many only forbid printing: no password to read
    except DependencyError:
        opened = False
    if not opened:
        raise UnreadableDesign("encrypted")
    text, parts = lay_out(_pages(reader))
    if not parts:
        raise UnreadableDesign("no_text", f"{len(reader.pages)} pages")
    created, updated = _dates(reader)
    return Draft(text, _title(reader), "text", parts, created, updated)


def _pages(reader: PdfReader) -> Iterator[tuple[str, str]]:
    for number, page in enumerate(reader.pages[:MAX_PAGES], 1):
        text = page.extract_text()
        yield f"page {number}", HYPHEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _title(reader: PdfReader) -> str:
    title = (reader.metadata.title or "").strip() if reader.metadata else ""
    return "" if NO_TITLE.search(title) else title


def _dates(reader: PdfReader) -> tuple[str, str]:
    if not reader.metadata:
        return "", ""
    try:
        return _format(reader.metadata.creation_date), _format(reader.metadata.modification_date)
    except (ValueError, OverflowError):
        return "", ""


def _format(moment: datetime | None) -> str:
    if moment is None:
        return ""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
