"""Backup and restore of a data directory: one tar file, checked when it is written and before it is put in place.

In it: the pointed generation of every index, consistent copies of the databases, the signing key. Not in it: mirrors
and older generations, which the next build makes again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ingest.errors import DiskFull, IndexCorrupt, IndexEmpty, IngestError
from ingest.index import control, files
from ingest.index.beacon import read_state
from ingest.index.files import disk_errors, sync_file
from ingest.index.invariants import AUDIT, check_copy, check_invariants
from ingest.index.lease import take_lease
from ingest.index.schema import Violation

FORMAT = 1
LISTING = "codecairn-backup.json"
LEFT_OUT = frozenset({"mirrors", "leases", files.GENERATIONS})
KEY = "secret.key"
DATABASE = ".db"
FULL = "Nothing was written there; free some space, or name a file on another disk."


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds. `generations`: folder of an index within the data directory ("." for the main one).

    `warnings`: what is wrong with it, and no reason to refuse it.
    """

    file: Path
    generations: dict[str, int]
    files: int
    bytes: int
    warnings: tuple[str, ...] = ()


class Listing(BaseModel):
    """The file in a backup that says what else is in it."""

    format: int
    generations: dict[str, int]
    files: dict[str, tuple[int, str]]  # name -> size, hash


def create_backup(data_dir: Path, target: Path, now: str) -> BackupReport:
    """Write a backup; a running server and worker may go on.

    Raises IngestError, for damage IndexCorrupt, where there is nothing IndexEmpty, for a full disk DiskFull.
    """
    with _file_errors(f"The backup {target} was not written", "Name a file in a folder that you may write to."):
        return _create_backup(data_dir, target, now)


@contextmanager
def _file_errors(what: str, remedy: str) -> Iterator[None]:
    """Turn files that cannot be read or written into a sentence; those of which the disk is full already are one."""
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename
        cause = f"{place}: {error.strerror}" if place else error.strerror or str(error)
        raise IngestError(f"{what} ({cause}). {remedy}") from error


def _create_backup(data_dir: Path, target: Path, now: str) -> BackupReport:
    if target.is_dir():
        raise IngestError(f"{target} is a folder, and a backup is one file. Name it, such as {target / 'backup.tar'}.")
    if not control.is_created(data_dir):
        raise IndexEmpty(f"There is nothing to back up in {data_dir}: nothing was indexed. Run `codecairn index`.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    with disk_errors(target.parent, "backup", FULL), ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="codecairn-", dir=target.parent)))
        stack.callback(partial.unlink, missing_ok=True)
        generations: dict[str, int] = {}
        listing: dict[str, list[object]] = {}
        warnings: list[str] = []
        with tarfile.open(partial, "w") as archive:
            for name, source in _members(data_dir, scratch, generations, warnings, stack):
                listing[name] = [source.stat().st_size, files.hash_file(source)]
                archive.add(source, name, recursive=False)
            about = {"format": FORMAT, "created_at": now, "generations": generations, "files": listing}
            _add_bytes(archive, LISTING, json.dumps(about, sort_keys=True).encode())
        sync_file(partial)
        partial.replace(target)
        sync_file(target.parent)
    return BackupReport(target, generations, len(listing), target.stat().st_size, tuple(warnings))


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _members(
    data_dir: Path, scratch: Path, generations: dict[str, int], warnings: list[str], stack: ExitStack
) -> Iterator[tuple[str, Path]]:
    """Yield (name in the backup, file to read): databases as consistent copies, generations under a lease."""
    for folder, folders, names in os.walk(data_dir):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        place = Path(folder)
        inside = place.relative_to(data_dir).as_posix()
        for name in sorted(names):
            if name == control.CONTROL:
                yield from _index_members(place, inside, scratch, generations, warnings, stack)
            elif name.endswith(DATABASE):
                yield _join(inside, name), _copy_database(place / name, scratch)
            elif name == KEY:
                yield _join(inside, name), place / name


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _index_members(
    place: Path, inside: str, scratch: Path, generations: dict[str, int], warnings: list[str], stack: ExitStack
) -> Iterator[tuple[str, Path]]:
    copy = _copy_database(place / control.CONTROL, scratch)
    with closing(control.connect_copy(copy, place / control.CONTROL)) as db:
        pointed = control.read_pointer(db)
        if pointed is not None:
            lease = take_lease(place, pointed[0])
            if lease is not None:
                stack.callback(lease.release)
            _keep_only(db, pointed[0])
        remedy = "If `codecairn index` does not mend it, move that folder away and run it again."
        warnings += _judge(check_copy(place, db), f"The index in {place}", remedy)
    if pointed is not None:
        generations[inside] = pointed[0]
        folder = files.generation_folder(place, pointed[0])
        manifest = files.read_file_manifest(folder, pointed[1])
        for name in (*manifest.files, files.FILE_MANIFEST):
            yield _join(inside, f"{files.GENERATIONS}/{pointed[0]}/{name}"), folder / name
    yield _join(inside, control.CONTROL), copy


def _judge(violations: Sequence[Violation], what: str, remedy: str) -> list[str]:
    """Return what is wrong with the audit trail only. Raises IndexCorrupt for what is wrong with the index."""
    for violation in violations:
        if violation.rule != AUDIT:
            raise IndexCorrupt(f"{what} is damaged: {str(violation).rstrip('.')}. {remedy}")
    return [f"{what}: {violation}, so somebody changed what it says. The rest is whole." for violation in violations]


def _keep_only(db: sqlite3.Connection, pointed: int) -> None:
    """Make a copy of control.db say that no other generation is kept: their folders are not in the backup."""
    others = [row.id for row in control.read_generations(db) if row.id != pointed]
    db.execute("BEGIN IMMEDIATE")
    control.abandon_after(db, pointed)
    db.execute("COMMIT")
    control.retire(db, [number for number in others if number < pointed], pointed)


def _copy_database(file: Path, scratch: Path) -> Path:
    """Return a copy that holds one moment of a database that others may be writing to."""
    copy = scratch / hashlib.sha256(os.fsencode(file)).hexdigest()[:16]
    try:
        with closing(control.open_to_read(file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:  # the file is well, and its copy has no room
            raise DiskFull(f"No space left for the backup in {scratch.parent} ({error}). {FULL}") from error
        raise IndexCorrupt(f"{file} cannot be copied ({error}). Run `codecairn doctor --deep`.") from error
    return copy


def restore_backup(file: Path, data_dir: Path) -> BackupReport:
    """Put a backup in place of an empty or missing data directory, after checking everything in it.

    Raises IngestError for a data directory in use, a damaged backup, one of another format, or files out of reach.
    """
    remedy = "The file has to be readable, and the folder of the data directory writable; --data DIR names another."
    with _file_errors(f"The backup {file} was not restored to {data_dir}", remedy):
        return _restore_backup(file, data_dir)


def _restore_backup(file: Path, data_dir: Path) -> BackupReport:
    if (state := read_state(data_dir)) is not None:
        raise IngestError(
            f"A worker (pid {state.pid or 'unknown'}) keeps {data_dir} up to date. Stop it, or the server that started "
            "it, first; then restore."
        )
    if data_dir.exists() and any(path.name != "secret.key" for path in data_dir.iterdir()):
        raise IngestError(f"{data_dir} is not empty, so nothing is restored over it. Move it away, or give --data DIR.")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{data_dir.name}.restoring-", dir=data_dir.parent))
    try:
        with disk_errors(data_dir.parent):
            about = _extract(file, fresh)
        warnings = []
        for place in about.generations:
            if control.is_former(fresh / place):  # made by an older program: whole, and built again by the next build
                continue
            what = f"The index in the backup {file}"
            warnings += _judge(check_invariants(fresh / place), what, "Use another backup.")
        shutil.rmtree(data_dir, ignore_errors=True)
        fresh.chmod(0o700)
        fresh.rename(data_dir)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return BackupReport(file, about.generations, len(about.files), file.stat().st_size, tuple(warnings))


def _extract(file: Path, target: Path) -> Listing:
    """Unpack into an empty folder and compare every file with the listing. Raises IngestError, IndexCorrupt."""
    try:
        with tarfile.open(file, "r:") as archive:
            archive.extractall(target, filter="data")
        about = json.loads((target / LISTING).read_bytes())
    except FileNotFoundError as error:
        raise IngestError(f"{file} is no backup of CodeCairn, or does not exist.") from error
    except (tarfile.TarError, ValueError) as error:
        raise IndexCorrupt(f"The backup {file} cannot be read ({error}). Use another backup.") from error
    listing = _read_listing(file, about)
    (target / LISTING).unlink()
    found = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}
    for name, (size, expected) in listing.files.items():
        path = found.pop(name, None)
        if path is None or path.stat().st_size != size or files.hash_file(path) != expected:
            raise IndexCorrupt(f"{name} in the backup {file} is not as it was written. Use another backup.")
    if found:
        raise IndexCorrupt(f"The backup {file} holds {min(found)}, which it does not list. Use another backup.")
    return listing


def _read_listing(file: Path, about: object) -> Listing:
    """Return what a backup says that it holds. Raises IngestError for another format, IndexCorrupt for no listing."""
    if isinstance(about, dict) and about.get("format", FORMAT) != FORMAT:
        raise IngestError(
            f"The backup {file} has format {about['format']}, this program reads {FORMAT}. "
            "Restore it with the release that made it, or index anew."
        )
    try:
        listing = Listing.model_validate(about)
    except ValidationError as error:
        raise IndexCorrupt(f"The listing in the backup {file} is not as it was written. Use another backup.") from error
    for place in listing.generations:
        if _join(place, control.CONTROL) not in listing.files:
            raise IndexCorrupt(f"The backup {file} lists an index {place!r} that it lacks. Use another backup.")
    return listing
