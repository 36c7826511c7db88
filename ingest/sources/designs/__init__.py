"""Design documents: prose, pages, notebooks, diagrams and mock-ups, with title, state and what they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ingest.config import IndexConfig, SourceConfig
from ingest.errors import SourceError
from ingest.index.keys import find_design_keys, find_ticket_keys
from ingest.languages import detect_language
from ingest.model import Document, Entry, KnownFile, Skip, SourceInfo
from ingest.sources.decode import decode_text
from ingest.sources.designs import diagrams
from ingest.sources.designs.draft import Draft, UnreadableDesign
from ingest.sources.designs.figma import read_figma
from ingest.sources.designs.html import read_html
from ingest.sources.designs.notebook import read_notebook
from ingest.sources.designs.pdf import read_pdf
from ingest.sources.designs.records import read_record
from ingest.sources.files import FileSnapshot
from ingest.sources.folder import open_folder
from ingest.sources.links import find_paths, join_links
from ingest.sources.worktree import LFS_HEADER, SNIFF_BYTES, judge_content

PROSE_SUFFIXES = (".md", ".markdown", ".mdx", ".rst", ".adoc", ".asciidoc", ".txt")
KEP_FIELDS = "kep.yaml"  # beside each Kubernetes enhancement proposal: its title, status and successors
READERS: Mapping[str, Callable[[str], Draft]] = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), read_html),
    ".ipynb": read_notebook,
    **diagrams.READERS,
    ".json": read_figma,
}
DESIGN_SUFFIXES = (*PROSE_SUFFIXES, *READERS, ".pdf", f"/{KEP_FIELDS}")
CONTAINERS = (".pdf", ".json", ".ipynb", ".drawio", ".dio", ".drawio.xml", ".excalidraw")  # more bytes than text
MAX_CONTAINER_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class DesignSnapshot(FileSnapshot):
    """Design documents of one source, one per file."""

    def documents(self, entry: Entry, data: bytes) -> Iterator[Document]:
        """Return the one document of a file. Raises SourceError if it gives no text."""
        document = read_design(self.info, self.revision, entry, data)
        if isinstance(document, Skip):
            raise SourceError(f"{entry.path} of source {self.info.name} gives no text ({document.reason}).")
        yield document


def open_designs(
    config: SourceConfig, info: SourceInfo, *, data_dir: Path, limits: IndexConfig, known: Mapping[str, KnownFile]
) -> DesignSnapshot:
    """Return the design documents of a folder. Raises SourceError if it is gone."""
    files = open_folder(
        config,
        info,
        data_dir=data_dir,
        limits=limits,
        known=known,
        suffixes=DESIGN_SUFFIXES,
        readable=frozenset(["pdf"]),
        judge=judge_design,
        max_bytes=lambda path: MAX_CONTAINER_BYTES if is_container(path) else limits.max_file_bytes,
    )
    return DesignSnapshot(
        files.info, files.revision, files.location, files.entries, files.skipped, files.load, files.renames
    )


def is_container(path: str) -> bool:
    """Tell whether a file holds far more bytes than text, so that limits for text files do not fit it."""
    return path.lower().endswith(CONTAINERS)


def judge_design(path: str, data: bytes) -> Skip | None:
    """Return why a design file is left out for what it holds, or None."""
    if not is_container(path):
        return judge_content(path, data)
    if not data:
        return Skip(path, "empty")
    return Skip(path, "lfs_pointer") if data.startswith(LFS_HEADER) else None


def read_design(info: SourceInfo, revision: str, entry: Entry, data: bytes) -> Document | Skip:
    """Return the document of one design file, or why it has none."""
    try:
        draft = read_draft(entry.path, data)
    except UnreadableDesign as fault:
        return Skip(entry.path, fault.reason, fault.detail)
    if not draft.text.strip():
        return Skip(entry.path, "empty")
    record = read_record(entry.path, draft.text)
    named = [*find_ticket_keys(draft.text), *find_design_keys(draft.text)]
    return Document(
        source=info,
        path=entry.path,
        key=record.key,
        title=draft.title or record.title or entry.path,
        text=draft.text,
        content_hash=entry.content_hash,
        language=draft.language,
        role="docs",
        revision=revision,
        state=record.state,
        created_at=record.created_at or draft.created_at,
        updated_at=record.updated_at or draft.updated_at,
        expires_at=record.expires_at,
        links=join_links(record.links, named, find_paths(draft.text), without=record.key),
        parts=draft.parts,
    )


def read_draft(path: str, data: bytes) -> Draft:
    """Return the text of a design file as its format is read. Raises UnreadableDesign."""
    name = f"/{path.lower()}"
    if name.endswith(".pdf"):
        return read_pdf(data)
    text, _ = decode_text(data)
    if text is None:
        raise UnreadableDesign("encoding")
    for suffix, read in READERS.items():
        if name.endswith(suffix):
            return read(text)
    if name.endswith(f"/{KEP_FIELDS}"):
        return Draft(text, language="yaml")
    return Draft(text, language=detect_language(path, data[:SNIFF_BYTES]))
