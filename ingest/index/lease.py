"""Writer lock and reader leases: flock on files, so that a dead process holds nothing."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from ingest.errors import WriterBusy

LEASES = "leases"
WRITER_LOCK = "writer.lock"


class Lease:
    """A shared lock that keeps one generation from being collected while its reader lives."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._finalizer = weakref.finalize(self, _release, descriptor, path)

    def release(self) -> None:
        """Give the generation free. Safe to call twice."""
        self._finalizer()


def _release(descriptor: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(descriptor)


def take_lease(data_dir: Path, generation: int) -> Lease | None:
    """Return a lease on a generation; None where the data directory cannot be written (then nothing collects there)."""
    folder = data_dir / LEASES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / f"{generation}-{os.getpid()}-{os.urandom(6).hex()}"
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if path.exists():  # not swept between open and flock
                return Lease(descriptor, path)
            os.close(descriptor)
    except OSError:
        return None


def leased_generations(data_dir: Path) -> set[int]:
    """Return the generations that a living reader holds; sweep the leases of dead ones."""
    held: set[int] = set()
    folder = data_dir / LEASES
    if not folder.is_dir():
        return held
    for path in folder.iterdir():
        if _is_held(path):
            held.add(int(path.name.split("-")[0]))
    return held


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


class WriterLock:
    """The one writer of a data directory."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._path = data_dir / WRITER_LOCK
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise WriterBusy(
                f"Another process (pid {owner}) is writing the index in {data_dir}. Wait for it to finish, or stop it."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let another writer in."""
        os.close(self._descriptor)
