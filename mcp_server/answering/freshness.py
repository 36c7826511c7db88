"""Freshness: what has become of cited lines in the tree as it is now. The only part of answering that reads files.

`fresh` the lines stand where they stood, `moved` they stand elsewhere in the file, `changed` the file no longer has
them, `gone` file or definition is no longer there, `unchecked` the tree could not be read. Never `fresh` on doubt.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingest.cleaning import clean_lines
from ingest.errors import GitError, SourceError
from ingest.exports import exports_revision
from ingest.gitio import FileGone, head_commit, read_worktree_file
from ingest.index.schema import SourceState
from ingest.model import Chunk
from ingest.redact import redact
from mcp_server.results import Freshness

MAX_FILE_BYTES = 4_000_000
MAX_WALKED = 20_000  # directory entries looked at for a renamed file, once per call and source
MAX_COMPARED = 200  # files read for a renamed file
MIN_TELLING_CHARS = 40  # shorter passages occur in many files: no sign of a rename
SKIPPED_FOLDERS = frozenset(
    {".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".mypy_cache"}
)
PROSE_SUFFIXES = (".md", ".markdown", ".rst", ".txt", ".adoc")
COMMENT = re.compile(r"^\s*(?:#(?!define)|//|\*\s|/\*|--\s)")
DEFINING = (
    r"(?:def|class|function|func|fn|struct|enum|trait|interface|type|impl|module|namespace|const|let|var|static|public"
    r"|private|protected|async|export|void|int|#define|\*)"
)


@dataclass(frozen=True, slots=True)
class Checked:
    """Freshness of some lines, and where they are now if that is elsewhere."""

    freshness: Freshness
    moved_to: str | None = None


@dataclass(frozen=True, slots=True)
class FileNow:
    """A file as it is now; `lines` are redacted as at indexing. `state` says why there are none."""

    state: str  # read | gone | unreadable
    content_hash: str = ""
    lines: tuple[str, ...] = ()


class FreshnessChecker:
    """Compares indexed lines with the tree. Make one per call: what it has read, it does not read again."""

    def __init__(
        self,
        sources: Mapping[str, SourceState],
        *,
        hidden: Sequence[Path] = (),
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        """Check chunks of these sources, by name. `hidden`: places that whoever asks may not hear of."""
        self._sources = sources
        self._hidden = [os.path.realpath(place) for place in hidden]
        self._max_file_bytes = max_file_bytes
        self._bytes: dict[tuple[str, str], bytes | str] = {}
        self._files: dict[tuple[str, str], FileNow] = {}
        self._walked: dict[str, tuple[str, ...]] = {}
        self._kinds: dict[str, str] = {}
        self._unreadable = False

    @property
    def degraded(self) -> tuple[str, ...]:
        """`git_unavailable` once a tree could not be read."""
        return ("git_unavailable",) if self._unreadable else ()

    def revision(self, source: str) -> str:
        """Return the revision that a source was indexed at."""
        state = self._sources.get(source)
        return state.revision if state else ""

    def check_chunk(self, chunk: Chunk) -> Checked:
        """Return the freshness of a whole chunk."""
        return self.check_lines(chunk, chunk.start_line, chunk.text, chunk.symbol)

    def check_lines(self, chunk: Chunk, start_line: int, text: str, symbol: str | None) -> Checked:
        """Return the freshness of some lines of a chunk's document: `text` as indexed, from `start_line`."""
        if chunk.kind == "commit":
            return Checked("fresh")  # a commit is what its id says; it does not change
        state = self._sources.get(chunk.source)
        if state is None:
            return Checked("unchecked")
        root = Path(state.location)
        if chunk.path is None:
            return Checked("fresh" if state.revision and state.revision == exports_revision(root) else "unchecked")
        if chunk.source not in self._kinds:
            self._kinds[chunk.source] = tree_kind(root)
        tree = self._kinds[chunk.source]
        if tree == "none":
            return self._cannot_read()
        if tree == "bare":
            return self._check_revision(root, state)
        return self._check_file(state, root, chunk, start_line, text, symbol)

    def _check_file(
        self, state: SourceState, root: Path, chunk: Chunk, start_line: int, text: str, symbol: str | None
    ) -> Checked:
        path = chunk.path or ""
        data = self._read_bytes(state.name, root, path)
        if data == UNREADABLE:
            return self._cannot_read()
        if isinstance(data, str):
            return Checked("gone", self._find_renamed(state.name, root, chunk, text))
        if hash_bytes(data) == chunk.content_hash:
            return Checked("fresh")
        return compare_lines(self._read_file(state.name, root, path), path, start_line, text, symbol)

    def _cannot_read(self) -> Checked:
        self._unreadable = True
        return Checked("unchecked")

    def _check_revision(self, root: Path, state: SourceState) -> Checked:
        try:
            now = head_commit(root)
        except (GitError, OSError):
            return self._cannot_read()
        return Checked("fresh" if now and state.revision.startswith(now) else "unchecked")

    def _read_bytes(self, source: str, root: Path, path: str) -> bytes | str:
        key = (source, path)
        if key not in self._bytes:
            self._bytes[key] = read_now(root, path, self._max_file_bytes)
        return self._bytes[key]

    def _read_file(self, source: str, root: Path, path: str) -> FileNow:
        key = (source, path)
        if key not in self._files:
            data = self._read_bytes(source, root, path)
            self._files[key] = FileNow(data) if isinstance(data, str) else as_indexed(data)
        return self._files[key]

    def _find_renamed(self, source: str, root: Path, chunk: Chunk, text: str) -> str | None:
        """Return the one path that now has the whole content, else the one that has the cited lines."""
        if source not in self._walked:
            self._walked[source] = tuple(name for name in walk_files(root) if not self._is_hidden(root, name))
        path = chunk.path or ""
        wanted = [line.rstrip() for line in text.split("\n")]
        telling = len("".join(wanted).strip()) >= MIN_TELLING_CHARS
        holding: list[str] = []
        for other in rank_renames(path, self._walked[source])[:MAX_COMPARED]:
            data = self._read_bytes(source, root, other)
            if isinstance(data, str):
                continue
            if hash_bytes(data) == chunk.content_hash:
                return other
            lines = self._read_file(source, root, other).lines if telling and has_line(data, wanted) else ()
            if lines and find_window(lines, wanted, chunk.start_line) is not None:
                holding.append(other)
        return holding[0] if len(holding) == 1 else None

    def _is_hidden(self, root: Path, name: str) -> bool:
        place = Path(os.path.realpath(root), name)
        return any(place.is_relative_to(hidden) for hidden in self._hidden)


UNREADABLE = "unreadable"
GONE = "gone"


def read_now(root: Path, path: str, max_bytes: int) -> bytes | str:
    """Return a file's bytes, or why there are none: `gone` or `unreadable`."""
    try:
        return read_worktree_file(root, path, max_bytes)
    except FileGone:
        return GONE
    except (SourceError, OSError):
        return UNREADABLE


def hash_bytes(data: bytes) -> str:
    """Return the hash under which a document's content is indexed."""
    return hashlib.sha256(data).hexdigest()


def as_indexed(data: bytes) -> FileNow:
    """Return a file's lines as the index would hold them: decoded and redacted."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = redact(clean_lines(text)).text.split("\n")
    return FileNow("read", hash_bytes(data), tuple(line.rstrip() for line in lines))


def compare_lines(now: FileNow, path: str, start_line: int, text: str, symbol: str | None) -> Checked:
    """Return the freshness of some lines of a changed file."""
    wanted = [line.rstrip() for line in text.split("\n")]
    start = find_window(now.lines, wanted, start_line)
    if start == start_line:
        return Checked("fresh")
    if start is not None:
        return Checked("moved", f"{path}:{start}-{start + len(wanted) - 1}")
    if symbol and not is_defined(symbol, path, now.lines):
        return Checked("gone")
    return Checked("changed")


def find_window(lines: Sequence[str], wanted: Sequence[str], near_line: int) -> int | None:
    """Return the 1-based line at which the wanted lines stand, the occurrence nearest to a line; None if nowhere."""
    if not wanted or not any(wanted):
        return None
    size, anchor = len(wanted), next(at for at, line in enumerate(wanted) if line)
    target = list(wanted)
    starts = [
        at - anchor
        for at, line in enumerate(lines)
        if line == wanted[anchor] and at >= anchor and list(lines[at - anchor : at - anchor + size]) == target
    ]
    return min((start + 1 for start in starts), key=lambda line: (abs(line - near_line), line), default=None)


def is_defined(symbol: str, path: str, lines: Sequence[str]) -> bool:
    """Tell whether a file still defines a name, as far as its words show."""
    name = re.escape(re.split(r"\.|::|#", symbol)[-1].strip())
    if path.lower().endswith(PROSE_SUFFIXES):
        return any(re.search(rf"^\W*{name}\W*$", line) for line in lines)
    pattern = re.compile(rf"{DEFINING}[^=;]*(?<![\w$]){name}(?![\w$])|^\s*{name}\s*(?:[:=(]|\w*\s*=)")
    return any(pattern.search(line) for line in lines if not COMMENT.match(line))


def tree_kind(root: Path) -> Literal["none", "bare", "files"]:
    """Return whether a location is a bare repository, a tree of files, or not there."""
    if not root.is_dir():
        return "none"
    bare = (root / "HEAD").is_file() and (root / "objects").is_dir() and not (root / ".git").exists()
    return "bare" if bare else "files"


def walk_files(root: Path) -> Iterator[str]:
    """Yield paths of files below a root, without following links, up to a limit."""
    pending, seen = [""], 0
    while pending and seen < MAX_WALKED:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            seen += 1
            relative = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.extend([relative] if entry.name not in SKIPPED_FOLDERS else [])
            elif entry.is_file(follow_symlinks=False):
                yield relative


def rank_renames(path: str, paths: Sequence[str]) -> list[str]:
    """Return files of the same suffix, the likeliest new place of a path first: same name, then same folder."""
    folder, _, name = path.rpartition("/")
    suffix = os.path.splitext(name)[1]

    def distance(other: str) -> tuple[bool, bool, str]:
        other_folder, _, other_name = other.rpartition("/")
        return (other_name != name, other_folder != folder, other)

    return sorted((other for other in paths if other != path and os.path.splitext(other)[1] == suffix), key=distance)


def has_line(data: bytes, wanted: Sequence[str]) -> bool:
    """Tell cheaply whether a file can hold the wanted lines: its bytes have the longest of them."""
    longest = max(wanted, key=len).strip()
    return longest.encode("utf-8", "replace") in data
