"""The files of a generation directory: hard-linked clones, the manifest of hashes, fsync, verification.

Both engines create and rename files and never rewrite one, so a clone may share inodes with its parent. JSON files
(state and hints) are copied all the same: it costs nothing and covers one that an engine might rewrite.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ingest.errors import DiskFull, IndexCorrupt
from ingest.index.failpoints import failpoint
from ingest.index.stored import digest

GENERATIONS = "gens"
FILE_MANIFEST = "MANIFEST.json"
DAMAGED_SUFFIX = ".damaged"  # of the manifest of a generation that was taken out of use
TEXT_FOLDER = "tantivy"
VECTOR_FOLDER = "lance"
ROWS_FOLDER = "rows"
MUTABLE_SUFFIX = ".json"  # meta.json and hint files are the only ones that an engine replaces under the same name
EAGER_BYTES = 65_536  # files up to this size are hashed at every open: they steer the engines
READ_SIZE = 1 << 20
SYNC_THREADS = 4
DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class FileManifest:
    """Every file of a generation with size and BLAKE2b-128, and the logical manifest as stored in control.db."""

    generation: int
    files: dict[str, tuple[int, str]]
    logical: dict[str, Any]


@contextmanager
def disk_errors(
    place: Path, what: str = "index", remedy: str = "Nothing was published; free some space and retry."
) -> Iterator[None]:
    """Turn a full disk into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRNOS:
            raise DiskFull(f"No space left for the {what} in {place} ({error.strerror}). {remedy}") from error
        raise


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder: not where it is missing, protected, or on a read-only disk."""
    return os.access(folder, os.W_OK)


def generation_folder(data_dir: Path, generation: int) -> Path:
    """Return where a generation lives."""
    return data_dir / GENERATIONS / str(generation)


def list_files(folder: Path) -> dict[str, os.stat_result]:
    """Return every file of a generation (relative POSIX path), without locks and the manifest."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            if name == FILE_MANIFEST or name.endswith(".lock"):
                continue
            path = os.path.join(root, name)
            found[os.path.relpath(path, folder)] = os.stat(path)
    return dict(sorted(found.items()))


def clone_folder(parent: Path, target: Path, names: Collection[str]) -> None:
    """Link some of a generation's files into a new directory."""
    target.mkdir(parents=True)
    for number, name in enumerate(sorted(names)):
        if number == 1:
            failpoint("mid_clone")
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        _link(parent / name, destination)
    failpoint("after_clone")


def _link(source: Path, target: Path) -> None:
    if source.suffix != MUTABLE_SUFFIX:
        try:
            os.link(source, target)
            return
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOSPC, errno.EDQUOT):
                raise
            # anything else: a file system without hard links
    shutil.copyfile(source, target)


def hash_file(path: Path) -> str:
    """Return the BLAKE2b-128 (hex) of a file."""
    state = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        while data := file.read(READ_SIZE):
            state.update(data)
    return state.hexdigest()


def hash_files(
    folder: Path, parent: Path | None, known: Mapping[str, tuple[int, str]]
) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """Return size and hash of every file, and the names of those that are new on disk.

    A file that shares its inode with the parent keeps the parent's hash and was forced to the disk with the parent.
    """
    found, fresh = {}, []
    for name, stat in list_files(folder).items():
        if parent is not None and name in known and known[name][0] == stat.st_size and _same_inode(parent / name, stat):
            found[name] = known[name]
        else:
            found[name] = (stat.st_size, hash_file(folder / name))
            fresh.append(name)
    return found, fresh


def _same_inode(path: Path, stat: os.stat_result) -> bool:
    try:
        other = os.stat(path)
    except OSError:
        return False
    return (other.st_ino, other.st_dev) == (stat.st_ino, stat.st_dev)


def write_file_manifest(folder: Path, manifest: FileManifest) -> str:
    """Write MANIFEST.json and return its hash."""
    data = {"generation": manifest.generation, "files": manifest.files, "logical": manifest.logical}
    raw = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    (folder / FILE_MANIFEST).write_bytes(raw)
    return digest(raw).hex()


def sync_file(path: Path) -> None:
    """Force a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path, names: Sequence[str]) -> None:
    """Force files of a generation and every directory up to the data directory to the disk.

    In several threads: the disk takes waiting requests together, one after the other costs a rotation or a flush each.
    """
    files = [folder / name for name in (*names, FILE_MANIFEST)]
    sync_file(files[0])
    failpoint("mid_fsync")
    folders = [*(Path(root) for root, _, _ in os.walk(folder)), folder.parent, folder.parent.parent]
    with ThreadPoolExecutor(SYNC_THREADS) as pool:
        for _ in pool.map(sync_file, (*files[1:], *folders)):
            pass  # raises what a thread raised


def read_file_manifest(folder: Path, expected_hash: str | None) -> FileManifest:
    """Return the manifest of a generation. Raises IndexCorrupt when it is missing or not the published one."""
    path = folder / FILE_MANIFEST
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise IndexCorrupt(f"{path} cannot be read ({error.strerror}). Run `codecairn index`.") from error
    if expected_hash is not None and digest(raw).hex() != expected_hash:
        raise IndexCorrupt(f"{path} is not the manifest that was published. Run `codecairn index`.")
    try:
        data = json.loads(raw)
        files = {name: (int(pair[0]), str(pair[1])) for name, pair in data["files"].items()}
        return FileManifest(int(data["generation"]), files, data["logical"])
    except (ValueError, KeyError, TypeError) as error:
        raise IndexCorrupt(f"{path} cannot be parsed ({error}). Run `codecairn index`.") from error


def take_out_of_use(folder: Path) -> None:
    """Let nobody read a generation any more: without its manifest it is not opened, and built on by none."""
    manifest = folder / FILE_MANIFEST
    if manifest.exists():
        manifest.rename(manifest.with_suffix(DAMAGED_SUFFIX))


def is_out_of_use(folder: Path) -> bool:
    """Tell whether a generation was found damaged before."""
    manifest = folder / FILE_MANIFEST
    return manifest.with_suffix(DAMAGED_SUFFIX).exists() and not manifest.exists()


def verify_files(folder: Path, manifest: FileManifest, mode: Literal["fast", "full"]) -> None:
    """Check a generation's files. Raises IndexCorrupt.

    `fast`: every size, and the hash of small files; `full`: every hash.
    """
    for name, (size, expected) in manifest.files.items():
        path = folder / name
        try:
            actual = os.stat(path).st_size
            damaged = actual != size or ((mode == "full" or size <= EAGER_BYTES) and hash_file(path) != expected)
        except OSError as error:
            raise IndexCorrupt(f"{path} cannot be read ({error.strerror}). Run `codecairn index`.") from error
        if damaged:
            raise IndexCorrupt(f"{path} does not match its hash in the manifest. Run `codecairn index`.")
