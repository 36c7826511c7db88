"""Design documents: a folder of Markdown and other text, with title, state and what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.config import IndexConfig, SourceConfig
from ingest.model import Document, Entry, KnownFile, SourceInfo
from ingest.sources.files import FileSnapshot, parse_file
from ingest.sources.folder import open_folder
from ingest.sources.links import find_paths, find_ticket_keys, join_links

DESIGN_SUFFIXES = (".md", ".markdown", ".mdx", ".rst", ".adoc", ".asciidoc", ".txt")
FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
FIELD = re.compile(r"^[ \t]*(\w[\w -]{0,30}?)[ \t]*:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
HEADING = re.compile(
    r"^(?:#{1,6}|={1,6})[ \t]+(\S[^\n]*?)[ \t]*#*$|^(\S[^\n]*)\n(?:={3,}|-{3,}|~{3,})[ \t]*$", re.MULTILINE
)
STATUS_LINE = re.compile(r"^[ \t>*_|-]*\**status\**[ \t]*[:|][ \t*_|]*([^\n|]+)", re.IGNORECASE | re.MULTILINE)
STATUS_SECTION = re.compile(r"^#{1,6}[ \t]*status[ \t]*#*\n\s*([^\n#][^\n]*)", re.IGNORECASE | re.MULTILINE)
NUMBERED = re.compile(r"(?:^|[/_. -])(adr|rfc|kep|dep|pep|rfd|tep|design)[-_ ]?0*([1-9]\d{0,5})(?!\d)", re.IGNORECASE)
DECISION_FOLDER = re.compile(
    r"(?:^|/)(adrs?|decisions|rfcs?|keps?|proposals)/(?:.*/)?0*([1-9]\d{0,5})[-_ ][^/]*$", re.IGNORECASE
)
FAMILY = {"decisions": "ADR", "adrs": "ADR", "rfcs": "RFC", "keps": "KEP", "proposals": "PROPOSAL"}
STATE_WORD = re.compile(r"[A-Za-z][A-Za-z-]*")
MAX_HEAD_CHARS = 4_000  # a state further down is about something else


@dataclass(frozen=True, slots=True)
class DesignSnapshot(FileSnapshot):
    """Design documents of one source, one per file."""

    def documents(self, entry: Entry, data: bytes) -> Iterator[Document]:
        """Return the one document of a file."""
        return parse_design(self.info, self.revision, entry, data)


def open_designs(
    config: SourceConfig, info: SourceInfo, *, data_dir: Path, limits: IndexConfig, known: Mapping[str, KnownFile]
) -> DesignSnapshot:
    """Return the design documents of a folder. Raises SourceError if it is gone."""
    files = open_folder(config, info, data_dir=data_dir, limits=limits, known=known, suffixes=DESIGN_SUFFIXES)
    return DesignSnapshot(
        files.info, files.revision, files.location, files.entries, files.skipped, files.load, files.renames
    )


def parse_design(info: SourceInfo, revision: str, entry: Entry, data: bytes) -> Iterator[Document]:
    """Yield the document of one design file. Raises SourceError if it is no text."""
    for document in parse_file(info, revision, entry, data):
        front, body = split_front_matter(document.text)
        key = find_design_key(entry.path, front, body)
        yield replace(
            document,
            title=find_title(front, body) or entry.path,
            key=key,
            role="docs",
            state=find_state(front, body),
            created_at=_date(front.get("date", front.get("created", ""))),
            updated_at=_date(front.get("updated", front.get("last-updated", ""))),
            links=join_links(find_ticket_keys(document.text), find_paths(document.text), without=key),
        )


def split_front_matter(text: str) -> tuple[dict[str, str], str]:
    """Return the flat fields of a YAML front matter (names in lower case), and the text after it."""
    text = text.replace("\r\n", "\n")
    match = FRONT_MATTER.match(text)
    if not match:
        return {}, text
    fields = {name.lower(): value.strip("\"' ") for name, value in FIELD.findall(match[1])}
    return fields, text[match.end() :]


def find_title(front: Mapping[str, str], body: str) -> str:
    """Return the title of the front matter, or the first heading, or ""."""
    match = HEADING.search(body)
    return front.get("title", "") or ((match[1] or match[2]).strip() if match else "")


def find_state(front: Mapping[str, str], body: str) -> str:
    """Return accepted, proposed, superseded...: the first word of the status, in lower case, or ""."""
    head = body[:MAX_HEAD_CHARS]
    match = STATUS_LINE.search(head) or STATUS_SECTION.search(head)
    status = front.get("status", front.get("state", "")) or (match[1] if match else "")
    word = STATE_WORD.search(status)
    return word[0].lower() if word else ""


def find_design_key(path: str, front: Mapping[str, str], body: str) -> str | None:
    """Return the id that people call a design by ('ADR-7'), from its path or title, or None."""
    for text in (path, find_title(front, body)):
        match = NUMBERED.search(text) or DECISION_FOLDER.search(text)
        if match:
            family = match[1].lower()
            return f"{FAMILY.get(family, family.upper())}-{match[2]}"
    return None


def _date(value: str) -> str:
    match = re.match(r"(\d{4})-(\d{2})-(\d{2})", value)
    return f"{match[0]}T00:00:00Z" if match else ""
