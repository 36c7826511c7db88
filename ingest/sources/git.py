"""A git repository: the files of its HEAD commit, overlaid by the work tree, or of one ref."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType

from ingest import gitio
from ingest.config import IndexConfig, SourceConfig
from ingest.errors import SourceError
from ingest.gitio import Mirror, Remote, Repository, TreeEntry
from ingest.model import Entry, KnownFile, Skip, SourceInfo
from ingest.sources.changes import Changes, walk_changes
from ingest.sources.files import FileSnapshot, as_renames, find_moves, hash_entries
from ingest.sources.folder import read_unchanged
from ingest.sources.ignore import (
    MAX_RULE_FILE_BYTES,
    NOT_CONTENT,
    RULE_FILES,
    Scope,
    is_unsafe_name,
    root_scope,
    show_path,
)
from ingest.sources.order import by_importance
from ingest.sources.tokens import read_token
from ingest.sources.worktree import (
    FoundFile,
    Walk,
    find_file,
    hash_bytes,
    inspect_file,
    judge_content,
    read_rule_files,
    walk_folder,
)

READ_AHEAD_BYTES = 8_000_000
ANY_USER = "x-access-token"


def open_git(
    config: SourceConfig,
    info: SourceInfo,
    *,
    data_dir: Path,
    limits: IndexConfig,
    known: Mapping[str, KnownFile],
    previous: str = "",
    changes: Changes | None = None,
    may_ask: bool = True,
    anew: bool = False,
) -> tuple[FileSnapshot, Mirror]:
    """Return a repository's content now, and the mirror that it was read through.

    `previous` is the revision that `known` was taken at; it lets edited files be recognised after a move.
    `changes`: where they are known, only they are looked at in the work tree. Not `may_ask`: a remote one is read as it
    was fetched last. `anew`: make another mirror.
    Raises SourceError, GitError, MirrorDamaged.
    """
    if config.is_remote:
        snapshot, mirror = _open_remote(config, info, data_dir, limits, known, anew, may_ask=may_ask)
    else:
        snapshot, mirror = _open_local(config, info, data_dir, limits, known, anew, previous, changes)
    moves = find_moves(known, snapshot.entries) | _find_git_moves(mirror, previous, known, snapshot.entries)
    may_shrink = gitio.is_another_commit(previous, mirror) or (
        len(snapshot.entries) < len(known) and _has_tracked(mirror, known, snapshot.entries, limits.drop_guard)
    )
    return replace(snapshot, renames=as_renames(moves), may_shrink=may_shrink), mirror


def _has_tracked(mirror: Mirror, known: Mapping[str, KnownFile], entries: Sequence[Entry], drop_guard: float) -> bool:
    """Tell whether what git tracks is still there: what went was never committed then, as drafts that are stashed."""
    tree = _list_by_path(mirror.path, mirror.commit) if mirror.commit else {}
    tracked = {path for path in known if path in tree}
    lost = len(tracked.difference(entry.path for entry in entries))
    return bool(tracked) and lost <= drop_guard * len(tracked)


def _open_local(
    config: SourceConfig,
    info: SourceInfo,
    data_dir: Path,
    limits: IndexConfig,
    known: Mapping[str, KnownFile],
    anew: bool,
    previous: str,
    changes: Changes | None,
) -> tuple[FileSnapshot, Mirror]:
    """Return the content of a repository on this machine, and its mirror."""
    repository = gitio.find_repository(config.path)
    mirror = gitio.update_mirror(repository, data_dir, config.ref, anew=anew)
    if repository.work_tree is None or config.ref or not config.overlay:
        return _open_commit(config, info, mirror, limits, known), mirror
    same_commit = mirror.commit is not None and previous.partition("+")[0] == mirror.commit
    seen = changes if same_commit else None
    return _open_overlay(config, info, repository, mirror, data_dir, limits, known, seen), mirror


def _open_remote(
    config: SourceConfig,
    info: SourceInfo,
    data_dir: Path,
    limits: IndexConfig,
    known: Mapping[str, KnownFile],
    anew: bool,
    *,
    may_ask: bool,
) -> tuple[FileSnapshot, Mirror]:
    """Return the content of a remote repository, read from its mirror; not `may_ask`: as it was fetched last."""
    if not may_ask and not gitio.is_fetched(config.url, data_dir):
        raise SourceError(f"{config.url} has not been fetched yet.")
    remote = _remote(config)
    mirror = gitio.update_remote(remote, data_dir, config.ref, may_ask=may_ask, anew=anew)
    return replace(_open_commit(config, info, mirror, limits, known), location=str(mirror.path)), mirror


def fetch_remote(config: SourceConfig, data_dir: Path) -> None:
    """Bring the mirror of a remote repository up to it. Raises SourceError, GitError."""
    gitio.update_remote(_remote(config), data_dir, config.ref)


def _remote(config: SourceConfig) -> Remote:
    return Remote(config.url, _authorize(config), config.token_env)


def _authorize(config: SourceConfig) -> str:
    """Return the value of the Authorization header that carries the token, "" without one. Raises SourceError."""
    token = read_token(config)
    if not token:
        return ""
    login = f"{config.user or ANY_USER}:{token}"  # hosts take any name beside a token
    return f"Basic {base64.b64encode(login.encode()).decode('ascii')}"


def _find_git_moves(
    mirror: Mirror, previous: str, known: Mapping[str, KnownFile], entries: Sequence[Entry]
) -> dict[str, str]:
    old = previous.partition("+")[0]
    if not old or mirror.commit is None or old == mirror.commit:
        return {}
    present = {entry.path for entry in entries}
    moves = gitio.find_renames(mirror.path, old, mirror.commit)
    return {old: new for old, new in moves.items() if old in known and old not in present and new in present}


# Objects only -------------------------------------------------------------------------------------------------------


def _open_commit(
    config: SourceConfig, info: SourceInfo, mirror: Mirror, limits: IndexConfig, known: Mapping[str, KnownFile]
) -> FileSnapshot:
    """Return the files of the mirror's commit."""
    tree = gitio.list_tree(mirror.path, mirror.commit, sizes=True) if mirror.commit else []
    scopes = TreeScopes(root_scope(config.include, config.exclude), _read_rules_from(mirror.path, tree))
    skips: dict[str, Skip] = {}
    wanted: list[TreeEntry] = []
    for item in tree:
        skip = _judge_tree_entry(scopes, item, limits.max_file_bytes)
        if skip is None:
            wanted.append(item)
        else:
            skips.setdefault(skip.path, skip)
    entries = []
    for result in _take_stock(mirror.path, wanted, known):
        if isinstance(result, Skip):
            skips[result.path] = result
        else:
            entries.append(result)
    entries.sort(key=lambda entry: entry.path)
    changed = [e for e in entries if e.path not in known or known[e.path].content_hash != e.content_hash]
    return FileSnapshot(
        info=info,
        revision=mirror.commit or hash_entries(()),
        location=str(config.path),
        entries=tuple(entries),
        skipped=tuple(sorted(skips.values(), key=lambda skip: skip.path)),
        load=BlobReader(mirror.path, by_importance(changed)).read,
    )


def _judge_tree_entry(scopes: TreeScopes, item: TreeEntry, max_bytes: int) -> Skip | None:
    skip = scopes.judge(item.path)
    if skip:
        return skip
    if item.type == "submodule":
        return Skip(f"{item.path}/", "submodule")
    if item.type == "symlink":
        return Skip(item.path, "symlink")
    return Skip(item.path, "oversized", f"{item.size} bytes") if item.size > max_bytes else None


def _take_stock(mirror: Path, wanted: Sequence[TreeEntry], known: Mapping[str, KnownFile]) -> Iterator[Entry | Skip]:
    """Yield an entry or a skip per file, reading only blobs that are not known."""
    fresh: list[TreeEntry] = []
    for item in wanted:
        old = known.get(item.path)
        if old and old.content_hash and old.blob == item.blob:
            yield Entry(item.path, old.content_hash, old.size, blob=item.blob)
        else:
            fresh.append(item)
    for item, (blob, data) in zip(fresh, gitio.read_blobs(mirror, [item.blob for item in fresh]), strict=True):
        yield judge_content(item.path, data) or Entry(item.path, hash_bytes(data), len(data), blob=blob)


@dataclass(slots=True)
class BlobReader:
    """Reads blobs in batches: builds ask for entries in order, and a process per file would cost milliseconds."""

    mirror: Path
    expected: Sequence[Entry]  # what a build is going to ask for, in order
    ahead: dict[str, bytes] = field(default_factory=dict)

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of an entry's blob. Raises GitError if it is gone from the mirror."""
        if entry.blob not in self.ahead:
            self.ahead = dict(gitio.read_blobs(self.mirror, self._plan(entry)))
        return self.ahead[entry.blob]

    def _plan(self, entry: Entry) -> list[str]:
        start = next((index for index, item in enumerate(self.expected) if item.path == entry.path), None)
        blobs, size = {entry.blob: None}, entry.size
        for item in self.expected[start + 1 :] if start is not None else ():
            size += item.size
            if size > READ_AHEAD_BYTES:
                break
            blobs[item.blob] = None
        return list(blobs)


# Overlay ------------------------------------------------------------------------------------------------------------


def _open_overlay(
    config: SourceConfig,
    info: SourceInfo,
    repository: Repository,
    mirror: Mirror,
    data_dir: Path,
    limits: IndexConfig,
    known: Mapping[str, KnownFile],
    changes: Changes | None,
) -> FileSnapshot:
    """Return the files of a work tree: tracked ones that are still there, and untracked ones that are not ignored."""
    root = config.path
    tree = _list_by_path(mirror.path, mirror.commit) if mirror.commit else {}
    scope = root_scope(config.include, config.exclude, gitio.read_exclude_file(repository))
    walk = walk_changes(root, known, changes) or walk_folder(root, scope, is_tracked=tree.__contains__, avoid=data_dir)
    gone = _add_tracked(root, scope, tree, walk)
    entries: list[Entry] = []
    for found in walk.files:
        result = inspect_file(root, found, known.get(found.path), limits.max_file_bytes)
        if isinstance(result, Skip):
            walk.skips.append(result)
        else:
            entries.append(_compare(tree.get(found.path), *result, known.get(found.path)))
    entries.sort(key=lambda entry: entry.path)
    uncommitted = [entry for entry in entries if entry.uncommitted]
    skips = {skip.path: skip for skip in walk.skips}
    return FileSnapshot(
        info=info,
        revision=_name_revision(mirror.commit, uncommitted, gone),
        location=str(root),
        entries=tuple(entries),
        skipped=tuple(sorted(skips.values(), key=lambda skip: skip.path)),
        load=lambda entry: read_unchanged(root, entry),
    )


@lru_cache(maxsize=2)
def _list_by_path(mirror: Path, commit: str) -> Mapping[str, TreeEntry]:
    """Return the files of a commit by path. Kept: a watched work tree is opened again and again at one commit."""
    return MappingProxyType({item.path: item for item in gitio.list_tree(mirror, commit)})


def _add_tracked(root: Path, scope: Scope, tree: Mapping[str, TreeEntry], walk: Walk) -> list[str]:
    """Add tracked files below ignored folders, which the walk did not enter; return tracked paths that are gone."""
    seen = {found.path for found in walk.files} | {skip.path for skip in walk.skips}
    left_out = tuple(skip.path for skip in walk.skips if skip.path.endswith("/") and skip.reason != "ignored")
    scopes = TreeScopes(scope, partial(read_rule_files, root))
    gone = []
    for path, item in tree.items():
        if path in seen or path.startswith(left_out):
            continue
        skip = Skip(f"{path}/", "submodule") if item.type == "submodule" else scopes.judge(path)
        found = skip or find_file(root, path)
        if found is None:
            gone.append(path)
        elif isinstance(found, FoundFile):
            walk.files.append(found)
        else:
            walk.skips.append(found)
    return gone


def _compare(item: TreeEntry | None, entry: Entry, data: bytes, known: KnownFile | None) -> Entry:
    """Complete an entry by its blob id, and by whether it differs from the commit."""
    if data:
        blob = gitio.blob_id(data, "sha256" if item and len(item.blob) == 64 else "sha1")
        if item and blob != item.blob and b"\r\n" in data:  # checked out with core.autocrlf
            normal = gitio.blob_id(data.replace(b"\r\n", b"\n"), "sha256" if len(item.blob) == 64 else "sha1")
            blob = normal if normal == item.blob else blob
    else:
        blob = known.blob if known else ""
    is_uncommitted = item is None or item.blob != blob
    return Entry(entry.path, entry.content_hash, entry.size, entry.stamp, blob, is_uncommitted)


def _name_revision(commit: str | None, uncommitted: Sequence[Entry], gone: Sequence[str]) -> str:
    if commit and not uncommitted and not gone:
        return commit
    return f"{commit or ''}+{hash_entries(uncommitted, gone)}"


# Rules of a listed tree ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TreeScopes:
    """The scope of every folder of a list of tracked paths, found from the root down and kept."""

    root: Scope
    read_rules: Callable[[str], dict[str, str]]
    found: dict[str, Scope | Skip] = field(default_factory=dict)

    def judge(self, path: str) -> Skip | None:
        """Return why a tracked path is left out, or None; the skip of a folder stands for everything in it."""
        folder, _, name = path.rpartition("/")
        scope = self._enter(folder)
        return scope if isinstance(scope, Skip) else scope.judge_file(name, tracked=True)

    def _enter(self, folder: str) -> Scope | Skip:
        """Return the scope of a folder. Not recursive: a hostile tree is thousands of folders deep."""
        if "" not in self.found:
            self.found[""] = self.root.enter("", self.read_rules(""))
        ends = [match.start() for match in re.finditer("/|$", folder)] if folder else []
        for start, end in zip([-1, *ends], ends, strict=False):
            if folder[:end] not in self.found:
                above = self.found[folder[: max(start, 0)]]
                self.found[folder[:end]] = self._enter_child(above, folder[start + 1 : end])
        return self.found[folder]

    def _enter_child(self, above: Scope | Skip, name: str) -> Scope | Skip:
        if isinstance(above, Skip):
            return above
        if name in NOT_CONTENT:
            path = show_path(f"{above.folder}{name}/")
            return Skip(path, "bad_name") if is_unsafe_name(name) else Skip(path, "special", "version control data")
        return above.judge_folder(name, tracked=True) or above.enter(name, self.read_rules(f"{above.folder}{name}/"))


def _read_rules_from(mirror: Path, tree: Sequence[TreeEntry]) -> Callable[[str], dict[str, str]]:
    """Return a reader of rule files that takes them from a commit."""
    files = [
        item
        for item in tree
        if item.type == "file" and item.path.rpartition("/")[2] in RULE_FILES and item.size <= MAX_RULE_FILE_BYTES
    ]
    texts: dict[str, dict[str, str]] = {}
    for item, (_, data) in zip(files, gitio.read_blobs(mirror, [item.blob for item in files]), strict=True):
        folder, _, name = item.path.rpartition("/")
        texts.setdefault(f"{folder}/" if folder else "", {})[name] = data.decode("utf-8", "surrogateescape")
    return lambda folder: texts.get(folder, {})
