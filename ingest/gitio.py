"""Git, hardened: the only module that starts git or imports GitPython.

A repository is untrusted. Git runs in a bare mirror that this module made, under a fixed environment; the one
command that touches the source repository is the mirror's fetch from it. Whatever else is needed of a work tree
(HEAD, refs, files) is read as bytes, following no symbolic link.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import ipaddress
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from ingest.errors import GitError, MirrorDamaged, SourceError

FIXED_ENVIRONMENT: Mapping[str, str] = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_CONFIG_COUNT": "6",
    "GIT_CONFIG_KEY_0": "core.fsmonitor",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_CONFIG_KEY_1": "core.hooksPath",
    "GIT_CONFIG_VALUE_1": os.devnull,
    "GIT_CONFIG_KEY_2": "safe.bareRepository",
    "GIT_CONFIG_VALUE_2": "explicit",
    "GIT_CONFIG_KEY_3": "gc.autoDetach",  # the mirror's own housekeeping ends with the fetch that caused it
    "GIT_CONFIG_VALUE_3": "false",
    "GIT_CONFIG_KEY_4": "maintenance.autoDetach",
    "GIT_CONFIG_VALUE_4": "false",
    "GIT_CONFIG_KEY_5": "diff.renameLimit",
    "GIT_CONFIG_VALUE_5": "2000",
}

# Every option that this module may pass; a positional argument never starts with a dash.
RENAME_LIMIT = 200  # files that come and go in one commit; beyond it only unchanged files count as renamed
ALLOWED_OPTIONS: Mapping[str, frozenset[str]] = {
    "init": frozenset({"--bare", "--quiet", "--template=", "--object-format=sha1", "--object-format=sha256"}),
    "fetch": frozenset(
        {
            "--quiet",
            "--prune",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--update-shallow",
            "--unshallow",
            "--upload-pack=git-upload-pack",
        }
    ),
    "fsck": frozenset({"--connectivity-only", "--no-dangling"}),
    "ls-remote": frozenset({"--quiet", "--upload-pack=git-upload-pack"}),
    "config": frozenset({"--file", "--no-includes", "--default", "--get", "--null", "--list"}),
    "rev-parse": frozenset({"--verify", "--quiet", "--end-of-options"}),
    "ls-tree": frozenset({"-r", "-z", "-l", "--full-tree"}),
    "cat-file": frozenset({"--batch"}),
    "rev-list": frozenset({"--no-merges"}),
    "diff-tree": frozenset(
        {
            "--stdin",
            "-r",
            "-z",
            "--root",
            "--always",
            "--name-status",
            "-M",
            "-p",
            "-U0",
            "-U3",
            "--no-renames",
            "--diff-filter=AM",
            f"-l{RENAME_LIMIT}",
            "--no-ext-diff",
            "--no-textconv",
            "--pickaxe-regex",
        }
    ),
}
ALLOWED_PREFIXES = ("--max-count=", "--format=%", r"-S\b")

FETCH_TIMEOUT_S = 3600.0  # a first mirror of a very large repository
STALLED_S = 60  # a remote that sends nothing for so long has failed
READ_TIMEOUT_S = 300.0
TRANSPORTS = ("fetch", "ls-remote")  # what fails in these is not the mirror alone
LEASH = """\
exec 3<&0 </dev/null
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
"$@" 3<&-
status=$?
exec 2>/dev/null
kill -KILL $!
wait
exit $status
"""  # git in a group that is killed when the pipe to its input closes: when we end, however we do
NOT_FOUND = 127  # status of a shell that does not find a program
FATAL = 128  # status of git where it cannot read what it is to read; 1: what was asked for is not there
NO_GIT = 'git was not found. Install git 2.39 or later, or set type = "folder".'
MAX_OUTPUT_BYTES = 512 * 1024 * 1024
MAX_POINTER_BYTES = 4096  # HEAD, a loose ref, `gitdir:`
MAX_PACKED_REFS_BYTES = 256 * 1024 * 1024
SYMREF_DEPTH = 5  # git's own limit
HEAD_REF = "refs/codecairn/head"
MIRRORS = "mirrors"
FRAGMENTS = f"{'?' * 16}.*"  # mirrors that are being made, or were when their process was killed

UPLOAD_PACK = "--upload-pack=git-upload-pack"
REMOTE_REFS = ("refs/heads/*", "refs/tags/*")  # not the refs of pull requests, which anybody can write
LISTED = "codecairn-refs"  # what a remote had when it was fetched last
HANDED_OVER: Mapping[str, tuple[str, ...]] = {  # what a transport needs of the operator's environment
    "https": ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"),
    "http": (),
    "ssh": ("SSH_AUTH_SOCK",),
}
OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
REF_NAME = re.compile(r"(?!.*(?:\.\.|@\{|//))[A-Za-z0-9_][A-Za-z0-9_./+@#%=-]{0,250}")

Algorithm = Literal["sha1", "sha256"]
FileType = Literal["file", "symlink", "submodule"]


class FileGone(SourceError):
    """The file, or a folder on the way to it, does not exist."""


class TooLarge(SourceError):
    """A file has more bytes than are read."""


class FolderFound(SourceError):
    """A folder stands where a file was to be read."""


class NotPermitted(SourceError):
    """There is something that this user may not read."""


class NotFollowed(SourceError):
    """A symbolic link, or a file in place of a folder, stands on the way to a file."""


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a repository's parts lie. `work_tree` is None for a bare one."""

    work_tree: Path | None
    git_dir: Path  # HEAD of this work tree
    common_dir: Path  # objects and refs; differs from git_dir in a linked work tree


@dataclass(frozen=True, slots=True)
class Head:
    """What is checked out: the ref that HEAD names (None when detached) and its commit (None when unborn)."""

    ref: str | None
    commit: str | None


@dataclass(frozen=True, slots=True)
class Mirror:
    """Our own bare copy, and the commit that was asked for (None: the repository has no commit yet)."""

    path: Path
    commit: str | None


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository on another machine. `authorization`: value of that HTTP header, "" = none.

    `token_env`: the variable that its token is from.
    """

    url: str
    authorization: str = field(default="", repr=False)
    token_env: str = ""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a commit. `path` keeps undecodable bytes as surrogates; `size` is 0 unless asked for."""

    path: str
    blob: str
    type: FileType
    size: int


# Files of a work tree -----------------------------------------------------------------------------------------------


def read_worktree_file(root: Path, relpath: str, max_bytes: int) -> bytes:
    """Return the bytes of a regular file below `root`, following no symbolic link below it.

    Raises FileGone where there is none and SourceError for everything that is no readable regular file within the cap.
    """
    fd = open_worktree_file(root, relpath)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise FolderFound(f"{relpath!r} below {root} is a folder and no regular file, so it is not read.")
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{relpath!r} below {root} is no regular file, so it is not read.")
        return _read_capped(fd, status.st_size, max_bytes, f"{relpath!r} below {root}")
    finally:
        os.close(fd)


def open_worktree_file(root: Path, relpath: str) -> int:
    """Return a descriptor of `relpath`, opened folder by folder with O_NOFOLLOW. Raises as read_worktree_file."""
    parts = relpath.split("/")
    if "\x00" in relpath or any(part in ("", ".", "..") for part in parts):
        raise SourceError(f"{relpath!r} is no path below {root}: give a relative path without '.' and '..'.")
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for part in parts[:-1]:
            fd = _descend(fd, part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        return _descend(fd, parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _explain_open_error(error, root, relpath) from None


def _descend(parent: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    finally:
        os.close(parent)


def _explain_open_error(error: OSError, root: Path, relpath: str) -> SourceError:
    where = f"{relpath!r} below {root}"
    if error.errno == errno.ENOENT:
        return FileGone(f"{where} does not exist.")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return NotFollowed(f"{where} leads through a symbolic link or a file, which is not followed.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return _may_not_be_read(where)
    return SourceError(f"{where} cannot be opened: {error.strerror}.")


def _read_capped(fd: int, size: int, max_bytes: int, where: str) -> bytes:
    if size > max_bytes:
        raise TooLarge(f"{where} has {size} bytes, more than the {max_bytes} that are read.")
    parts: list[bytes] = []
    left = max_bytes + 1  # one more than allowed: a file that grows while it is read is noticed
    try:
        while left and (part := os.read(fd, min(left, max(size + 1, 65_536)))):
            parts.append(part)
            left -= len(part)
    except OSError as error:
        raise SourceError(f"{where} cannot be read: {error.strerror}.") from None
    if not left:
        raise TooLarge(f"{where} has more than the {max_bytes} bytes that are read.")
    return parts[0] if len(parts) == 1 else b"".join(parts)


# Repositories, HEAD and refs, read as text --------------------------------------------------------------------------


def find_repository(path: Path) -> Repository:
    """Return where the repository of a work tree's top folder, or a bare repository, keeps its parts.

    Raises SourceError if there is none, or if its `.git` leads somewhere that does not lead back.
    """
    check_folder(path)
    dot_git = path / ".git"
    try:
        mode = os.lstat(dot_git).st_mode
    except FileNotFoundError:
        return _find_bare(path)
    except OSError as error:
        raise SourceError(f"{dot_git} cannot be read: {error.strerror}.") from None
    if stat.S_ISLNK(mode):
        raise SourceError(
            f"{dot_git} is a symbolic link, which is not followed, because it could lend another repository's "
            'content to this source. Set `path` to the work tree that it belongs to, or type = "folder".'
        )
    git_dir = dot_git if stat.S_ISDIR(mode) else _follow_gitdir_file(path)
    return Repository(path, git_dir, _find_common_dir(git_dir))


def check_folder(path: Path) -> None:
    """Raise SourceError unless a path is a folder."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return
    except PermissionError:
        raise SourceError(
            f"The source folder {path} may not be looked at: give the user that runs this command permission to enter "
            "the folders that lead to it."
        ) from None
    except OSError:  # told below
        pass
    raise SourceError(f"The source folder {path} does not exist or is no folder. Correct `path` of this source.")


def _find_bare(path: Path) -> Repository:
    if (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir():
        return Repository(None, path, path)
    above = next((parent for parent in path.resolve().parents if os.path.exists(parent / ".git")), None)
    hint = f" {above} is one: set `path` to it" if above else " Set `path` to a clone"
    raise SourceError(f'No git repository at {path}.{hint}, or set type = "folder" to index the files without git.')


def _follow_gitdir_file(work_tree: Path) -> Path:
    """Return the folder that a `.git` file names, if that folder names this work tree back."""
    dot_git = work_tree / ".git"
    text = _read_pointer(work_tree, ".git")
    if not text or not text.startswith("gitdir: "):
        raise SourceError(f"{dot_git} is no repository: it does not start with 'gitdir: '.")
    git_dir = Path(os.path.normpath(work_tree / text.removeprefix("gitdir: ").strip()))
    if _read_pointer(git_dir, "HEAD") is None:
        raise SourceError(f"{dot_git} names {git_dir}, which holds no repository. Run `git worktree repair`.")
    if not _names_back(git_dir, work_tree):
        raise SourceError(
            f"{dot_git} names {git_dir}, but that repository does not name {work_tree} as its work tree, so "
            "it is not read. Run `git worktree repair` there, or "
            f"`git config core.worktree {work_tree}` for a separate git folder."
        )
    return git_dir


def _names_back(git_dir: Path, work_tree: Path) -> bool:
    backlink = _read_pointer(git_dir, "gitdir")  # linked work trees
    if backlink is not None:
        return _same_place(git_dir / backlink.strip(), work_tree / ".git")
    config = _read_unlinked(git_dir, "config", MAX_PACKED_REFS_BYTES)  # submodules and separate git folders
    named = re.findall(r'^[ \t]*worktree[ \t]*=[ \t]*"?([^"\n]+?)"?[ \t]*$', config, re.MULTILINE | re.IGNORECASE)
    return any(_same_place(git_dir / value, work_tree) for value in named)


def _same_place(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _find_common_dir(git_dir: Path) -> Path:
    text = _read_pointer(git_dir, "commondir")
    if text is None:
        return git_dir
    common = Path(os.path.normpath(git_dir / text.strip()))
    if git_dir.parent.name != "worktrees" or not _same_place(git_dir.parent.parent, common):
        raise SourceError(
            f"{git_dir / 'commondir'} names {common}, which this is no linked work tree of, so it is not read. "
            "Remove that file, or add the work tree again with `git worktree add`."
        )
    return common


def read_head(path: Path) -> Head:
    """Return what is checked out in a work tree (or is the default of a bare repository), without starting git.

    Raises SourceError if there is no repository.
    """
    return _read_head(find_repository(path))


def head_commit(path: Path) -> str | None:
    """Return the commit that is checked out, or None where there is no repository or no commit yet."""
    try:
        return read_head(path).commit
    except SourceError:
        return None


def _read_head(repository: Repository) -> Head:
    file = repository.git_dir / "HEAD"
    text = _read_pointer(repository.git_dir, "HEAD")
    if text is None:
        raise SourceError(f"{file} is missing, so that {repository.git_dir} is no repository. Clone it again.")
    text = text.strip()
    if OBJECT_ID.fullmatch(text):
        return Head(None, text)
    if not text.startswith("ref: "):
        raise SourceError(f"{file} holds {text[:80]!r}, which is neither a ref nor a commit id. Check a branch out.")
    ref = text.removeprefix("ref: ").strip()
    return Head(ref, _read_ref(repository, ref))


def _read_ref(repository: Repository, ref: str) -> str | None:
    """Return the commit of a ref, None where there is no such ref: a branch without a commit yet.

    Raises SourceError for everything else, so that what cannot be read is not taken for what is gone.
    """
    for _ in range(SYMREF_DEPTH):
        if not _is_safe_ref(ref):
            raise SourceError(f"{repository.git_dir} is at {ref[:80]!r}, which is no ref. Check a branch out.")
        text = _read_loose_ref(repository, ref)
        if text is None:
            return _read_packed_ref(repository.common_dir, ref)
        if not text.startswith("ref: "):
            return _as_commit(repository, ref, text.strip())
        ref = text.removeprefix("ref: ").strip()
    raise SourceError(f"{ref!r} in {repository.git_dir} leads through too many refs. Check a branch out.")


def _read_loose_ref(repository: Repository, ref: str) -> str | None:
    for folder in dict.fromkeys((repository.git_dir, repository.common_dir)):
        with contextlib.suppress(FolderFound):  # refs/heads/a, where refs/heads/a/b is a branch or was one
            text = _read_pointer(folder, ref)
            if text is not None:
                return text
    return None


def _as_commit(repository: Repository, ref: str, text: str) -> str:
    if OBJECT_ID.fullmatch(text):
        return text
    raise SourceError(
        f"{ref} in {repository.common_dir} holds {text[:80]!r}, which is no commit id. Set the branch to a commit "
        f"again: `git reflog {ref.removeprefix('refs/heads/')}` lists those that it was at."
    )


def _is_safe_ref(ref: str) -> bool:
    return ref.startswith("refs/") and "\x00" not in ref and ".." not in ref and "//" not in ref and ref[-1] != "/"


def _read_packed_ref(common_dir: Path, ref: str) -> str | None:
    text = _read_text(common_dir, "packed-refs", MAX_PACKED_REFS_BYTES)
    if text is None:
        return None
    match = re.search(rf"^([0-9a-f]{{40,64}}) {re.escape(ref)}$", text, re.MULTILINE)
    return match[1] if match else None


def _read_pointer(folder: Path, name: str) -> str | None:
    return _read_text(folder, name, MAX_POINTER_BYTES)


def _read_text(folder: Path, name: str, max_bytes: int) -> str | None:
    """Return a small file of a git folder as text, or None where there is none.

    Raises SourceError for one that is there and cannot be read: what it says would otherwise count as gone.
    """
    try:
        return read_worktree_file(folder, name, max_bytes).decode("utf-8", "surrogateescape")
    except FileGone:
        return None


def _read_unlinked(folder: Path, name: str, max_bytes: int) -> str:
    """Return a file that people replace by a symbolic link, which is not followed: "" then, and where there is none."""
    try:
        return _read_text(folder, name, max_bytes) or ""
    except NotFollowed:
        return ""


def read_config_value(file: Path, key: str) -> str:
    """Return a value of one git configuration file, "" where there is none. No include is followed.

    Git reads the file as data; nothing in it takes effect. Raises GitError for a broken one.
    """
    if not file.is_file():
        return ""
    try:
        output = run_git("config", "--file", str(file), "--no-includes", "--default", "", "--get", key)
    except GitError as error:
        raise GitError(f"{file} cannot be read as a git configuration: {error}") from None
    return output.decode("utf-8", "surrogateescape").rstrip("\n")


def read_includes(file: Path) -> list[str]:
    """Return what a git configuration file includes, with or without a condition, as it is written there.

    Raises GitError for a broken one.
    """
    if not file.is_file():
        return []
    try:
        output = run_git("config", "--file", str(file), "--no-includes", "--null", "--list")
    except GitError as error:
        raise GitError(f"{file} cannot be read as a git configuration: {error}") from None
    settings = (one.partition("\n") for one in output.decode("utf-8", "surrogateescape").split("\0"))
    return [value for key, _, value in settings if key.startswith(("include.", "includeif.")) and key.endswith(".path")]


def read_exclude_file(repository: Repository) -> str:
    """Return the text of `.git/info/exclude`, or ""."""
    return _read_unlinked(repository.common_dir, "info/exclude", 1_000_000)


# Mirrors ------------------------------------------------------------------------------------------------------------


def mirror_path(repository: Repository, data_dir: Path) -> Path:
    """Return where the mirror of a repository (of one work tree) lies; a mirror is its own."""
    if repository.git_dir.parent == data_dir.absolute() / MIRRORS:
        return repository.git_dir
    name = hashlib.sha256(os.fsencode(os.path.realpath(repository.git_dir))).hexdigest()[:16]
    return data_dir.absolute() / MIRRORS / name


def find_mirror(location: Path, data_dir: Path) -> Path:
    """Return where the mirror of the repository at a location lies. Raises SourceError if there is no repository."""
    return mirror_path(find_repository(location), data_dir)


def update_mirror(repository: Repository, data_dir: Path, ref: str = "", *, anew: bool = False) -> Mirror:
    """Bring the mirror up to the repository; its commit is that of `ref`, or of HEAD.

    Starts no git process when HEAD is already there. `anew`: make another mirror. Raises GitError.
    """
    path = mirror_path(repository, data_dir)
    if ref:
        _fetch(repository, path, None, anew)
        return Mirror(path, resolve(path, ref))
    head = _read_head(repository)
    if head.commit is None and not _uses_reftable(repository):
        _refuse_borrowed_objects(repository.common_dir)  # what is linked is not read, and looks like no commit
        return Mirror(path, None)
    if anew or head.commit is None or _mirrored_head(path) != head.commit:
        _fetch(repository, path, head.commit or "HEAD", anew)
    return Mirror(path, head.commit or resolve(path, HEAD_REF))


def _mirrored_head(mirror: Path) -> str | None:
    """Return the commit that a mirror was brought up to, None where there is none or it is damaged: it is fetched."""
    try:
        return _read_ref(Repository(None, mirror, mirror), HEAD_REF)
    except SourceError:
        return None


def _uses_reftable(repository: Repository) -> bool:
    return (repository.common_dir / "reftable").is_dir()


def _fetch(repository: Repository, path: Path, wanted: str | None, anew: bool) -> None:
    _refuse_borrowed_objects(repository.common_dir)
    _refuse_unreadable(repository.common_dir)
    algorithm = _read_algorithm(repository.common_dir)
    try:
        _renew(path, algorithm, lambda mirror: _fetch_into(repository, mirror, wanted), anew)
    except GitError as error:
        if not _is_partial(repository.common_dir):
            raise
        raise GitError(
            f"{repository.common_dir} is a partial clone (`git clone --filter`): it lacks objects, and they are not "
            "fetched from its remote, for that would run what its configuration names. Make it whole with `git config "
            '--unset remote.origin.partialclonefilter && git fetch --refetch`, or set type = "folder" to index its '
            f"files without git. ({error})"
        ) from None


def _is_partial(common_dir: Path) -> bool:
    """Say whether a repository has packs whose missing objects its remote has promised."""
    return any(entry.name.endswith(".promisor") for entry in _scan(common_dir / "objects" / "pack"))


def _renew(path: Path, algorithm: Algorithm, fetch_into: Callable[[Path], None], anew: bool) -> None:
    """Fetch into a mirror; where that fails and it is at fault (or at once) into a fresh one, which takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _keep_fragments(path.parent):
        if path.is_dir() and not anew:
            try:
                return fetch_into(path)
            except GitError as error:
                if _is_sound(path, algorithm, str(error)):
                    raise
        _make_mirror(path, algorithm, fetch_into)


@contextlib.contextmanager
def _keep_fragments(mirrors: Path) -> Iterator[None]:
    """Hold a lock that keeps fragments from being removed; first remove those of killed processes, if nobody has it."""
    descriptor = os.open(mirrors, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # held, or a disk that locks no folders for one alone
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for fragment in mirrors.glob(FRAGMENTS):
                shutil.rmtree(fragment, ignore_errors=True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _is_sound(mirror: Path, algorithm: Algorithm, failure: str) -> bool:
    """Say whether a fetch that failed leaves a mirror without a fault: then the source or the line has one.

    A mirror's own: locks that a killed git left, refs or objects that are broken or of another kind.
    """
    if f"(stored in {_one_line(str(mirror))}/" in failure:  # how git names an object whose bytes are corrupt
        return False
    if any(mirror.rglob("*.lock")) or _read_algorithm(mirror) != algorithm:
        return False
    try:
        run_git("fsck", "--connectivity-only", "--no-dangling", git_dir=mirror, timeout_s=FETCH_TIMEOUT_S)
    except GitError:
        return False
    return True


def _make_mirror(path: Path, algorithm: Algorithm, fetch_into: Callable[[Path], None]) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=path.parent))
    try:
        run_git("init", "--bare", "--quiet", "--template=", f"--object-format={algorithm}", str(fresh))
        fetch_into(fresh)
        shutil.rmtree(path, ignore_errors=True)
        fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _read_algorithm(common_dir: Path) -> Algorithm:
    config = _read_unlinked(common_dir, "config", MAX_PACKED_REFS_BYTES)
    return "sha256" if re.search(r"^\s*objectformat\s*=\s*sha256", config, re.MULTILINE | re.IGNORECASE) else "sha1"


def _fetch_into(repository: Repository, mirror: Path, wanted: str | None) -> None:
    """Fetch all refs, and `wanted` under a ref of our own, which a prune of the others would otherwise delete."""
    refspecs = ["+refs/*:refs/*", f"^{HEAD_REF}"]
    if wanted:
        refspecs.append(f"+{wanted}:{HEAD_REF}")
    options = ["--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]
    options += [UPLOAD_PACK]
    is_shallow = (repository.common_dir / "shallow").exists()
    if not is_shallow and (mirror / "shallow").exists():
        options.append("--unshallow")
    elif is_shallow:
        options.append("--update-shallow")
    with _operator_trust() as trust:
        run_git(
            "fetch",
            *options,
            str(repository.git_dir.absolute()),
            *refspecs,
            git_dir=mirror,
            environment={"GIT_ALLOW_PROTOCOL": "file", "GIT_CONFIG_GLOBAL": trust},
            timeout_s=FETCH_TIMEOUT_S,
        )


def check_remote(url: str) -> str:
    """Return the transport of a remote repository's address. Raises SourceError for one that is not safe to use."""
    parts = urllib.parse.urlsplit(url)
    login = (parts.netloc or url.partition("/")[0]).rpartition("@")[0]
    if ":" in login or (login and parts.netloc and parts.scheme != "ssh") or set("?#") & set(url):
        raise SourceError(
            "The `url` of a git source holds a user name, a password, or what follows `?` or `#`. Remove it, and name "
            "the environment variable that holds the token in `token_env`."
        )
    if scp := re.fullmatch(r"([\w.-]+@[A-Za-z0-9][\w.-]*):/?([!-~]+)", url):
        raise SourceError(f"{url!r} is no address with a transport. Set `url` to ssh://{scp[1]}/{scp[2]}.")
    if not re.fullmatch(r"[!-~]+", url) or not re.match("[A-Za-z0-9:]", parts.hostname or ""):
        raise SourceError("The `url` of a git source is no address. Set it to https://HOST/PATH or ssh://HOST/PATH.")
    if parts.scheme not in HANDED_OVER or (parts.scheme == "http" and not _is_loopback(parts.hostname or "")):
        raise SourceError(
            f"The address {url!r} begins with {parts.scheme}://, which can be read and altered on its way or is no "
            "transport. Use https:// or ssh://; for a repository on this machine set `path`."
        )
    return parts.scheme


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def remote_mirror_path(url: str, data_dir: Path) -> Path:
    """Return where the mirror of a remote repository lies."""
    return data_dir.absolute() / MIRRORS / hashlib.sha256(url.encode()).hexdigest()[:16]


def is_fetched(url: str, data_dir: Path) -> bool:
    """Tell whether there is a mirror of a remote repository."""
    return (remote_mirror_path(url, data_dir) / LISTED).is_file()


def update_remote(remote: Remote, data_dir: Path, ref: str = "", *, may_ask: bool = True, anew: bool = False) -> Mirror:
    """Bring the mirror of a remote repository up to it; its commit is that of `ref`, or of the remote's HEAD.

    The remote is asked for its refs, and fetched from only if they changed; not `may_ask`: not even that, unless there
    is no mirror yet. `anew`: make another mirror. HEAD of the mirror names the commit.
    Raises SourceError for an unsafe address, GitError.
    """
    check_remote(remote.url)
    path = remote_mirror_path(remote.url, data_dir)
    if anew or may_ask or not is_fetched(remote.url, data_dir):
        listed = _run_remote("ls-remote", "--quiet", UPLOAD_PACK, remote.url, "HEAD", *REMOTE_REFS, remote=remote)
        before = _read_text(path, LISTED, MAX_PACKED_REFS_BYTES)
        if before and not listed:
            raise GitError(
                f"{remote.url} answers that it has no branch and no tag, but it had when it was fetched last, so what "
                "was read of it stays. Check `url` and `token_env`; if it was emptied on purpose, remove this source."
            )
        if anew or before != listed.decode("utf-8", "surrogateescape"):
            head = _head_of(listed)
            algorithm: Algorithm = "sha256" if len(head) == 64 else "sha1"
            _renew(path, algorithm, lambda mirror: _fetch_remote(remote, mirror, head), anew)
            _write_whole(path / LISTED, listed)
    listed = (path / LISTED).read_bytes()
    if listed and not ref and not _head_of(listed):
        raise GitError(f"HEAD of {remote.url} names no branch that exists. Set `ref` of this source to one.")
    commit = resolve(path, ref or HEAD_REF) if listed else None
    if commit is not None:
        _write_whole(path / "HEAD", f"{commit}\n".encode())
    return Mirror(path, commit)


def _head_of(listed: bytes) -> str:
    """Return the commit of HEAD in what `ls-remote` printed, "" where HEAD names none."""
    match = re.search(rb"^([0-9a-f]{40,64})\tHEAD$", listed, re.MULTILINE)
    return match[1].decode("ascii") if match else ""


def _write_whole(file: Path, data: bytes) -> None:
    partial = file.with_name(f"{file.name}.partial")
    partial.write_bytes(data)
    partial.replace(file)


def _fetch_remote(remote: Remote, mirror: Path, head: str) -> None:
    options = ["--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", UPLOAD_PACK]
    refspecs = [f"+{refs}:{refs}" for refs in REMOTE_REFS] + ([f"+HEAD:{HEAD_REF}"] if head else [])
    _run_remote("fetch", *options, remote.url, *refspecs, remote=remote, git_dir=mirror)


def _run_remote(subcommand: str, *arguments: str, remote: Remote, git_dir: Path | None = None) -> bytes:
    """Run git against a remote: its transport alone, no redirects, no questions, no credentials but the given ones."""
    transport = check_remote(remote.url)
    settings = {
        "http.followRedirects": "false",  # a token would go along
        "http.lowSpeedLimit": "1",
        "http.lowSpeedTime": str(STALLED_S),
        "transfer.bundleURI": "false",
        "fetch.recurseSubmodules": "false",
    }
    if remote.authorization:
        settings["http.extraHeader"] = f"Authorization: {remote.authorization}"
    environment = {name: os.environ[name] for name in HANDED_OVER[transport] if name in os.environ}
    environment |= {
        "GIT_ALLOW_PROTOCOL": transport,
        "GIT_SSH_COMMAND": f"ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout={STALLED_S}",
        **_add_settings(settings),
    }
    timeout_s = FETCH_TIMEOUT_S if subcommand == "fetch" else READ_TIMEOUT_S
    try:
        return run_git(subcommand, *arguments, git_dir=git_dir, environment=environment, timeout_s=timeout_s)
    except GitError as error:
        raise GitError(f"The repository {remote.url} was not read{_explain(str(error), remote)}") from None


def _explain(failure: str, remote: Remote) -> str:
    """Return the rest of the sentence that says why a remote was not read, and what to do."""
    if re.search(r"could not read (Username|Password)|returned error: 40[13]\b", failure):
        if remote.authorization:
            return f": it refused the token of {remote.token_env}. Put one there that is valid and may read it."
        return ": it wants a token, and no token is configured. Name the variable that holds one in `token_env`."
    if moved := re.search(r"returned error: (30[12378])\b", failure):
        return f": it has moved (HTTP {moved[1]}), and no redirect is followed. Correct `url` to where it is now."
    return f" ({failure}). Check `url` and `token_env`."


def _add_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that add settings of git to the fixed ones: no list of processes shows a token in them."""
    first = int(FIXED_ENVIRONMENT["GIT_CONFIG_COUNT"])
    added = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings.items(), first):
        added |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return added


@contextlib.contextmanager
def _operator_trust() -> Iterator[str]:
    """Yield a global configuration that lets upload-pack serve a repository of another owner.

    The operator named the source, and upload-pack runs neither hooks nor filters; without this, a container's
    root could not index a folder that is mounted into it.
    """
    with tempfile.NamedTemporaryFile("w", prefix="codecairn-", suffix=".gitconfig") as file:
        file.write("[safe]\n\tdirectory = *\n")
        file.flush()
        yield file.name


def _refuse_borrowed_objects(common_dir: Path) -> None:
    """Raise SourceError if the object store leads out of the repository: it could lend another one's content."""
    objects = common_dir / "objects"
    try:
        borrowed = [path for path in (objects, common_dir / "refs") if path.is_symlink()]
        borrowed += [Path(entry) for entry in os.scandir(objects) if entry.is_symlink()]
        borrowed += [Path(entry) for entry in _scan(objects / "pack") if entry.is_symlink()]
        borrowed += [path for path in (objects / "info" / "alternates",) if path.exists() or path.is_symlink()]
    except PermissionError as error:
        raise _may_not_be_read(error.filename) from None
    except OSError as error:
        raise SourceError(f"{objects} cannot be read: {error.strerror}.") from None
    if borrowed:
        raise SourceError(
            f"The repository {common_dir} takes objects from elsewhere ({borrowed[0]}), which is not followed. Run "
            "`git repack -a -d` in it and remove that file or link, clone it again without --shared and --reference, "
            'or set type = "folder".'
        )


def _refuse_unreadable(common_dir: Path) -> None:
    """Raise SourceError if a ref or an object may not be read: git passes over such refs as if they were gone."""

    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError):
            raise _may_not_be_read(error.filename)

    for part in ("refs", "objects"):
        for folder, folders, files in os.walk(common_dir / part, onerror=refuse):
            places = [os.path.join(folder, name) for name in [*folders, *files]]
            denied = next((place for place in places if not _may_read(place)), None)
            if denied is not None and os.path.exists(denied):  # not a lock or a pack that went meanwhile
                raise _may_not_be_read(denied)


def _may_read(place: str) -> bool:
    return os.access(place, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _may_not_be_read(place: str) -> NotPermitted:
    return NotPermitted(f"{place} may not be read: give the user that runs this command permission to read it.")


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except FileNotFoundError:
        return []


def is_another_commit(previous: str, mirror: Mirror) -> bool:
    """Say whether a mirror's commit is another one than that of a source's earlier revision."""
    return mirror.commit is not None and previous.partition("+")[0] != mirror.commit


def is_shallow(mirror: Path) -> bool:
    """Say whether the commits of a mirror begin where somebody cut them off."""
    return (mirror / "shallow").exists()


def resolve(mirror: Path, ref: str) -> str:
    """Return the commit id of a branch, tag or commit in a mirror. Raises GitError naming the ref, MirrorDamaged."""
    if not REF_NAME.fullmatch(ref):
        raise GitError(f"{ref!r} is no branch, tag or commit id. Correct `ref` of this source.")
    try:
        output = run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", git_dir=mirror)
    except MirrorDamaged:
        raise
    except GitError:
        raise GitError(f"The repository has no branch, tag or commit {ref!r}. Correct `ref` of this source.") from None
    return output.decode("ascii").strip()


def has_commit(mirror: Path, commit: str) -> bool:
    """Say whether a mirror holds a commit."""
    try:
        return bool(run_git("rev-parse", "--verify", "--quiet", f"{_object(commit)}^{{commit}}", git_dir=mirror))
    except GitError:
        return False


# Objects ------------------------------------------------------------------------------------------------------------


def list_tree(mirror: Path, commit: str, *, sizes: bool = False) -> list[TreeEntry]:
    """Return all files of a commit in git's order. Raises GitError."""
    options = ["-r", "-z", "--full-tree", *(["-l"] if sizes else [])]
    output = run_git("ls-tree", *options, _object(commit), git_dir=mirror)
    return [_parse_tree_entry(record) for record in output.split(b"\x00") if record]


TREE_TYPES: Mapping[bytes, FileType] = {b"120000": "symlink", b"160000": "submodule"}


def _parse_tree_entry(record: bytes) -> TreeEntry:
    head, _, path = record.partition(b"\t")
    mode, _, blob, *size = head.split()
    length = int(size[0]) if size and size[0].isdigit() else 0
    return TreeEntry(
        path.decode("utf-8", "surrogateescape"), blob.decode("ascii"), TREE_TYPES.get(mode, "file"), length
    )


def read_blobs(mirror: Path, blobs: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (id, bytes) of objects in the given order, from one process. Raises GitError for a missing one."""
    if not blobs:
        return
    requests = "".join(f"{_object(blob)}\n" for blob in blobs).encode("ascii")
    with _git_process(["cat-file", "--batch"], mirror, requests, {}, READ_TIMEOUT_S) as output:
        for blob in blobs:
            fields = output.readline().split()
            if len(fields) != 3:
                raise _damaged(mirror, f"The object {blob} is missing.")
            data = output.read(int(fields[2]))
            output.read(1)
            yield blob, data


def blob_id(data: bytes, algorithm: Algorithm = "sha1") -> str:
    """Return the id that git gives these bytes as a blob."""
    digest = hashlib.new(algorithm, b"blob %d\x00" % len(data), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def _object(value: str) -> str:
    if not OBJECT_ID.fullmatch(value):
        raise GitError(f"{value[:80]!r} is no object id.")
    return value


# History ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit without its author.

    `authored_at` is in seconds since 1970, `paths` are those that it touched (of a renamed file both),
    `renames` pairs of old and new path.
    """

    id: str
    authored_at: int
    subject: str
    body: str
    paths: tuple[str, ...]
    renames: tuple[tuple[str, str], ...] = ()


COMMIT_FORMAT = "--format=%x00%x00%H%x00%at%x00%s%x00%b"
COMMIT_BATCH = 500
PICKAXE_BATCH = 100
HISTORY_COMMITS = 20_000  # that are looked at, newest first; older ones say little about where things are now


def list_commits(mirror: Path, head: str, limit: int) -> list[str]:
    """Return the ids of the commits that lead to `head`, newest first, without merges. Raises GitError.

    The answer for the last head is kept beside the objects: walking 12,000 commits takes 0.17 s.
    """
    kept = mirror / "codecairn-commits"
    first_line = f"{_object(head)} {limit:d}"
    with contextlib.suppress(OSError):
        request, *commits = kept.read_text("ascii").split("\n")
        if request == first_line:
            return commits
    output = run_git("rev-list", "--no-merges", f"--max-count={limit:d}", head, git_dir=mirror).decode("ascii")
    partial = kept.with_suffix(".partial")
    partial.write_text(f"{first_line}\n{output}".rstrip("\n"), "ascii")
    partial.replace(kept)
    return output.split()


def read_commits(mirror: Path, commits: Sequence[str]) -> Iterator[Commit]:
    """Yield commits in the given order, a few hundred per process. Raises GitError.

    Not GitPython: its iter_commits and one diff per commit took 60 s where this takes 0.6 s (12,000 commits).
    """
    options = ["--stdin", "-r", "-z", "--root", "--always", "--name-status", "-M", f"-l{RENAME_LIMIT}", COMMIT_FORMAT]
    options += ["--no-ext-diff", "--no-textconv"]
    for start in range(0, len(commits), COMMIT_BATCH):
        requests = "".join(f"{_object(commit)}\n" for commit in commits[start : start + COMMIT_BATCH])
        output = run_git("diff-tree", *options, git_dir=mirror, stdin=requests.encode("ascii"))
        yield from _parse_commits(output.split(b"\x00"))


def read_patches(mirror: Path, commits: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines of the differences that some commits made, without context. Raises GitError.

    Each commit begins with a line of a NUL byte and its id. 600 commits take a quarter of a second.
    """
    options = ["--stdin", "-r", "-p", "-U0", "--root", "--no-renames", "--no-ext-diff", "--no-textconv"]
    requests = "".join(f"{_object(commit)}\n" for commit in commits).encode("ascii")
    with _git_process(["diff-tree", *options, "--format=%x00%H"], mirror, requests, {}, READ_TIMEOUT_S) as output:
        yield from output


def find_occurrence_change(mirror: Path, commits: Sequence[str], name: str) -> str:
    """Return the first of some commits that changed how often a whole word occurs, "" if none did. Raises GitError.

    `name` has to be an identifier. 600 commits take about half a second.
    """
    options = ["--stdin", "-r", "--root", "--no-renames", "--no-ext-diff", "--no-textconv", "--format=%H"]
    pattern = rf"-S\b{re.escape(name)}\b"
    for start in range(0, len(commits), PICKAXE_BATCH):
        requests = "".join(f"{_object(commit)}\n" for commit in commits[start : start + PICKAXE_BATCH])
        output = run_git(
            "diff-tree", *options, "--pickaxe-regex", pattern, git_dir=mirror, stdin=requests.encode("ascii")
        )
        if output.strip():
            return output.split(None, 1)[0].decode("ascii")
    return ""


def _parse_commits(fields: Sequence[bytes]) -> Iterator[Commit]:
    """Parse by position: two empty fields, four of the commit (which may be empty), then changes (which are not).

    A change is a status and a path, of a rename or copy two paths.
    """
    at = 0
    while at + 6 <= len(fields):
        commit, authored_at, subject, body = (field.decode("utf-8", "replace") for field in fields[at + 2 : at + 6])
        at += 6
        paths: list[str] = []
        renames: list[tuple[str, str]] = []
        while at < len(fields) and fields[at]:
            status = fields[at].removeprefix(b"\n")[:1]
            names = [field.decode("utf-8", "surrogateescape") for field in fields[at + 1 : at + 2 + (status in b"RC")]]
            at += 1 + len(names)
            paths.extend(names)
            if status == b"R":
                renames.append((names[0], names[1]))
        yield Commit(commit, int(authored_at or 0), subject, body.strip("\n"), tuple(paths), tuple(renames))


def find_renames(mirror: Path, old: str, new: str) -> dict[str, str]:
    """Return old path -> new path for files that moved between two commits, edited ones included.

    Empty if one of them is not in the mirror. Raises GitError. Cache it per pair of commits.
    """
    if not has_commit(mirror, old) or not has_commit(mirror, new):
        return {}
    import git  # 0.1 s, and only needed after a commit

    repo = git.Repo(mirror)
    try:
        repo.git.update_environment(**FIXED_ENVIRONMENT, **_location_of(mirror))
        moves = repo.commit(old).diff(repo.commit(new), M=True, no_ext_diff=True, no_textconv=True)
        return {move.a_path: move.b_path for move in moves if move.renamed_file and move.a_path and move.b_path}
    except (git.exc.GitError, git.exc.ODBError, OSError) as error:
        raise GitError(f"The renames from {old} to {new} cannot be read: {_one_line(str(error))}") from None
    finally:
        repo.close()


def _location_of(mirror: Path) -> dict[str, str]:
    """Return what keeps GitPython in the mirror although it inherits the variables of a calling git hook."""
    return {
        "GIT_DIR": str(mirror),
        "GIT_OBJECT_DIRECTORY": str(mirror / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_CONFIG_PARAMETERS": "",
    }


# Processes ----------------------------------------------------------------------------------------------------------


def run_git(
    subcommand: str,
    *arguments: str,
    git_dir: Path | None = None,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    timeout_s: float = READ_TIMEOUT_S,
) -> bytes:
    """Run one allow-listed git command and return what it printed. Raises GitError."""
    check_arguments(subcommand, arguments)
    with _git_process([subcommand, *arguments], git_dir, stdin, environment or {}, timeout_s) as output:
        data = output.read(MAX_OUTPUT_BYTES + 1)
        if len(data) > MAX_OUTPUT_BYTES:
            raise GitError(f"git {subcommand} printed more than {MAX_OUTPUT_BYTES} bytes and was stopped.")
        return data


def check_arguments(subcommand: str, arguments: Iterable[str]) -> None:
    """Raise GitError unless the subcommand and every option are on the allow-list."""
    allowed = ALLOWED_OPTIONS.get(subcommand)
    if allowed is None:
        raise GitError(f"git {subcommand} is not on the allow-list of ingest/gitio.py.")
    for argument in arguments:
        if argument.startswith("-") and argument not in allowed and not argument.startswith(ALLOWED_PREFIXES):
            raise GitError(f"git {subcommand} {argument} is not on the allow-list of ingest/gitio.py.")


@contextlib.contextmanager
def _git_process(
    command: Sequence[str], git_dir: Path | None, stdin: bytes, environment: Mapping[str, str], timeout_s: float
) -> Iterator[IO[bytes]]:
    """Start git with its input in a file, yield its output, and raise GitError unless it ends well and in time."""
    location = [f"--git-dir={git_dir}"] if git_dir else []
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as requests:
        requests.write(stdin)
        requests.seek(0)
        is_transport = command[0] in TRANSPORTS
        try:
            process = subprocess.Popen(
                [*(("sh", "-c", LEASH, "sh") if is_transport else ()), "git", *location, *command],
                stdin=subprocess.PIPE if is_transport else requests,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=git_dir or os.sep,
                env={"PATH": os.environ.get("PATH", os.defpath), **FIXED_ENVIRONMENT, **environment},
                start_new_session=True,  # a timeout ends upload-pack with its parent
            )
        except FileNotFoundError:
            raise GitError(NO_GIT) from None
        yield from _supervise(process, command[0], errors, timeout_s, None if is_transport else git_dir)


def _supervise(
    process: subprocess.Popen[bytes], name: str, errors: IO[bytes], timeout_s: float, read: Path | None
) -> Iterator[IO[bytes]]:
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(timeout_s, stop)
    timer.start()
    assert process.stdout is not None
    try:
        yield process.stdout
        process.stdout.close()
        code = process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.stdout.close()
        process.wait()
        if process.stdin:
            process.stdin.close()
    if expired.is_set():
        raise GitError(f"git {name} took longer than {timeout_s:.0f} s and was stopped.")
    if code == NOT_FOUND:
        raise GitError(NO_GIT)
    if code:
        errors.seek(0)
        message = errors.read(2000).decode("utf-8", "replace").strip()
        failure = f"git {name} failed with status {code}: {_one_line(message)}"
        raise _damaged(read, failure) if read and code == FATAL else GitError(failure)


def _damaged(mirror: Path, cause: str) -> MirrorDamaged:
    return MirrorDamaged(
        f"The copy of the repository in {mirror} cannot be read. Remove that folder and run `codecairn index`, which "
        f"makes it again. ({cause})"
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split()) or "no message"
