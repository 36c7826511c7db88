"""The nouns of the write path, as frozen values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

Kind = Literal["code", "ticket", "design", "commit"]
Role = Literal["source", "test", "example", "docs", "config", "compat", "generated", "vendored"]
Trust = Literal["high", "normal", "low"]
PiiClass = Literal["", "personal"]  # personal: data of a person stands in the chunk, or stood where a mask is now
AuthorRole = Literal["", "author", "maintainer", "other"]  # who wrote it, seen from the ticket; "" = not said

KINDS: tuple[Kind, ...] = ("code", "ticket", "design", "commit")
AGEING_KINDS = frozenset(("ticket", "design"))  # code is as true as its last commit, and a commit stays one
COMMIT_KEY_CHARS = 12  # of a commit id, as the key of its chunk
HISTORY_SUFFIX = ".history"  # the source of a git source's commits: its name and this
FILES_HEADING = "\n\nFiles:\n"  # ends the message in the text of a commit
RENAME_LINK = "renamed:"  # before a file's old path among a commit's links: what it is called now is in the text
SUPERSEDED_BY = "superseded-by:"  # before the id or path of a design's successor among its links
SUPERSEDES = "supersedes:"  # before the id or path of a design that it replaces
MARKS = (RENAME_LINK, SUPERSEDED_BY, SUPERSEDES)


def is_marked(link: str) -> bool:
    """Tell whether a link says how it is meant, beside what it names."""
    return link.startswith(MARKS)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """One configured origin: who it belongs to and who may see it."""

    name: str
    kind: Kind
    product: str
    groups: tuple[str, ...]
    trust: Trust = "normal"
    masks_personal: bool = field(default=False, compare=False)  # no part of what the index holds, like the rest
    marks_personal: bool = field(default=False, compare=False)  # personal data stays, and its chunks are marked
    personal_groups: tuple[str, ...] = field(
        default=(), compare=False
    )  # who may see such chunks; () = all who may see it
    half_life_days: float = field(default=0.0, compare=False)  # 0 = never older
    expires_days: float = field(default=0.0, compare=False)  # after its last change; 0 = never


@dataclass(frozen=True, slots=True)
class Entry:
    """One readable document of a snapshot, not read yet. `path` is unique within its source.

    `content_hash` is the SHA-256 (hex) of the bytes that `Snapshot.read` returns. `stamp` lets a source
    skip re-hashing an unchanged file (opaque, stored with the file row). `blob` is the git object id, if there is one.
    """

    path: str
    content_hash: str
    size: int
    stamp: str = ""
    blob: str = ""
    uncommitted: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that is not indexed, with a reason code of `SKIP_REASONS` and a detail for people."""

    path: str
    reason: str
    detail: str = ""


SKIP_REASONS: dict[str, str] = {
    "ignored": "matched by .gitignore",
    "codecairnignore": "matched by .codecairnignore or an exclude pattern",
    "generated": "marked or recognised as generated",
    "vendored": "third-party code kept in the tree",
    "binary": "not text",
    "oversized": "larger than index.max_file_bytes",
    "long_lines": "minified or data: extremely long lines",
    "unreadable": "no permission or read error",
    "changing": "changed or vanished while it was indexed; the next build takes it up",
    "symlink": "symbolic link (never followed)",
    "special": "no regular file (device, socket, FIFO)",
    "submodule": "git submodule (configure it as a source of its own)",
    "lfs_pointer": "Git LFS pointer, content not in the repository",
    "bad_name": "file name that cannot be shown safely",
    "encoding": "no encoding fits the bytes",
    "parse_killed": "the parser exceeded its memory or time limit",
    "empty": "no content",
    "encrypted": "needs a password to be read",
    "no_text": "nothing but pictures, as in a scan",
    "malformed": "broken: not what its name says",
    "unsupported": "no design format that is read",
    "bad_record": "a record of a ticket export that cannot be read",
    "duplicate": "an older record of a ticket that occurs twice",
    "truncated": "an export that ends in the middle; what was indexed of it before stays",
    "no_ticket": "neither a ticket nor a changelog fragment",
}


@dataclass(frozen=True, slots=True)
class Rename:
    """A file that moved between the previous and this snapshot."""

    old_path: str
    new_path: str


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the parent generation knows of a file; lets a source skip hashing."""

    content_hash: str
    size: int
    stamp: str
    blob: str


class Snapshot(Protocol):
    """One source at one revision. `read` may be called from the building process only."""

    @property
    def info(self) -> SourceInfo: ...
    @property
    def revision(self) -> str:
        """Commit id, export timestamp or a hash over the entries: changes when the content changes."""
        ...

    @property
    def location(self) -> str:
        """Where the files lie now: work tree, folder, mirror or export."""
        ...

    @property
    def may_shrink(self) -> bool:
        """Tell whether what is missing is known to be gone, however much it is: git read another commit completely."""
        ...

    @property
    def renames(self) -> Sequence[Rename]: ...
    @property
    def entries(self) -> Sequence[Entry]: ...
    @property
    def skipped(self) -> Sequence[Skip]: ...
    def read(self, entry: Entry) -> bytes:
        """Bytes of one entry. Raises SourceError if it changed or vanished since the snapshot."""
        ...

    def documents(self, entry: Entry, data: bytes) -> Iterable[Document]:
        """Parse one entry into documents: one for a code or design file, one per ticket or commit."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of a document (1-based inclusive) that are cut on their own: the body of a ticket, one comment."""

    start_line: int
    end_line: int
    context: str = ""  # stands for the enclosing heading
    author_role: AuthorRole = ""
    created_at: str = ""  # "" = the document's


@dataclass(frozen=True, slots=True)
class Document:
    """One file, ticket, design doc or commit at a revision."""

    source: SourceInfo
    path: str | None  # repo-relative POSIX; null for tickets and commits
    key: str | None  # '#123', 'PROJ-7', a commit id
    title: str
    text: str
    content_hash: str
    language: str | None = None
    role: Role = "source"
    revision: str = ""
    state: str = ""  # ticket: open|closed, design: accepted|superseded...
    created_at: str = ""  # ISO 8601 UTC or ""
    updated_at: str = ""
    links: tuple[str, ...] = ()  # ticket keys, design ids, paths named by the document; a commit: touched paths
    fallback: str = ""  # reason code when it could only be chunked by lines
    closed_at: str = ""
    expires_at: str = ""  # when the document itself says that it no longer holds
    labels: tuple[str, ...] = ()
    assignee: str = ""  # a pseudonym
    parts: tuple[Part, ...] = ()  # in order, without overlap; lines outside of them are shown but not indexed

    @property
    def ref(self) -> str:
        """Path or key: what a person calls this document within its source."""
        return self.path or self.key or self.title


@dataclass(frozen=True, slots=True)
class Symbol:
    """Named definition with kind and line span. Lines are 1-based inclusive."""

    name: str
    qualname: str  # dotted: Class.method
    kind: str  # function method class interface struct enum trait type constant variable module macro namespace ...
    start_line: int
    end_line: int
    signature: str = ""
    doc: str = ""  # first sentence of the doc comment


@dataclass(frozen=True, slots=True)
class Chunk:
    """Smallest indexed unit."""

    id: int  # 63 bit, see chunk_id
    source: str
    kind: Kind
    product: str
    groups: tuple[str, ...]
    path: str | None
    key: str | None
    title: str
    language: str | None
    role: Role
    start_line: int
    end_line: int
    symbol: str | None  # qualified name of the definition that the chunk belongs to
    context: str  # enclosing signature(s) or heading path, "" at top level
    text: str
    text_hash: str
    content_hash: str  # of the whole document
    symbols: tuple[Symbol, ...] = ()  # definitions that start in this chunk
    state: str = ""
    created_at: str = ""
    updated_at: str = ""
    links: tuple[str, ...] = ()
    trust: Trust = "normal"
    redactions: tuple[tuple[str, int], ...] = ()  # (rule id, count)
    closed_at: str = ""
    expires_at: str = ""
    labels: tuple[str, ...] = ()
    assignee: str = ""  # a pseudonym
    author_role: AuthorRole = ""  # of a ticket's body or comment
    flags: tuple[str, ...] = ()  # orders to a model and hidden text that were found in its lines
    pii_class: PiiClass = ""

    @property
    def ref(self) -> str:
        """Path or key."""
        return self.path or self.key or self.title


def chunk_id(source: str, ref: str, text_hash: str, repeat: int) -> int:
    """63-bit id: the same text in the same document keeps its id when it moves within the document.

    `repeat` counts equal texts within one document, from 0.
    """
    raw = "\x00".join((source, ref, text_hash, str(repeat))).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big") >> 1


def hash_text(text: str) -> str:
    """BLAKE2b-128 (hex) of a chunk's text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Ageing:
    """How the documents of a source grow old, in days; 0 = never."""

    source: str
    half_life_days: float
    expires_days: float


EVERYWHERE = "the index"


@dataclass(frozen=True, slots=True)
class Filters:
    """What a query may see and wants to see. Empty `groups` or `sources` see nothing (default deny)."""

    groups: frozenset[str]
    sources: frozenset[str]
    kinds: frozenset[str] = frozenset(KINDS)
    product: str = ""
    language: str = ""
    path_glob: str = ""
    history: frozenset[str] = frozenset()  # visible sources of commits whose files may be voted for, asked for or not
    followed: frozenset[str] = frozenset()  # visible sources that links are followed through, asked for or not
    today: str = ""  # ISO 8601 day from which age and expiry are counted; "" = nothing grows old
    shielded: frozenset[str] = frozenset()  # sources of which chunks of the class "personal" are not seen
    ageing: tuple[Ageing, ...] = ()  # of visible sources of tickets and designs

    @property
    def where(self) -> str:
        """What is searched, for a sentence on what is not there: all that is visible, or what was asked for of it."""
        asked = {"product": self.product, "language": self.language, "path_glob": self.path_glob}
        parts = [f"{name} {value!r}" for name, value in asked.items() if value]
        if not self.followed <= self.sources:
            parts.insert(0, "chosen sources")
        return f"what was searched ({', '.join(parts)})" if parts else EVERYWHERE


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chunk ready to be written: token streams per text field and its vector (float32, norm 1) where embedded."""

    chunk: Chunk
    tokens: dict[str, str] = field(default_factory=dict)  # field -> space separated tokens
    vector: bytes | None = None
    terms: bytes = b""  # the distinct tokens of text and path, see ingest.index.tokens.pack_hashes


class FileRow(NamedTuple):
    """One document as the ranking sees it. `key` is None for files, `path` for tickets and commits."""

    source: str
    path: str | None
    key: str | None
    title: str
    language: str | None
    role: str
    state: str
    created_at: str
    changed_at: str = ""  # of tickets and designs: when they were last changed, as far as they say
    expires_at: str = ""

    @property
    def ref(self) -> str:
        """Path or key."""
        return self.path or self.key or self.title


class Packed(NamedTuple):
    """A chunk as a publication takes it: texts and bytes, which cross between processes quickly.

    `texts` are (field, text) of the text index, but for what depends on the other chunks of its file.
    """

    id: int
    source: str
    path: str | None
    ref: str
    language: str | None
    start_line: int
    stored: bytes
    digest: bytes  # of `stored`
    texts: tuple[tuple[str, str], ...]
    file: FileRow
    terms: bytes
    symbols: bytes
    links: bytes
    vector: bytes | None = None


@dataclass(frozen=True, slots=True)
class FileJob:
    """One entry to prepare in a worker: `documents` where the source parsed it (tickets, commits), else `data`."""

    info: SourceInfo
    entry: Entry
    data: bytes = b""
    documents: tuple[Document, ...] | None = None
    revision: str = ""

    @property
    def size(self) -> int:
        """Bytes or characters to work on."""
        return len(self.data) + sum(len(document.text) for document in self.documents or ())

    @property
    def is_risky(self) -> bool:
        """Tell whether reading it may take any time and memory, however small it is."""
        return self.entry.path.lower().endswith(".pdf")


@dataclass(frozen=True, slots=True)
class FileResult:
    """A prepared entry, or why it is left out. `fallback` is the reason code when it could only be cut by lines.

    What comes from a worker is packed.
    """

    entry: Entry
    prepared: tuple[Prepared, ...] = ()
    skip: Skip | None = None
    redactions: tuple[tuple[str, int], ...] = ()
    fallback: str = ""
    packed: tuple[Packed, ...] = ()
