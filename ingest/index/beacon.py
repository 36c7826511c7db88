"""What the worker of a data directory is doing now: a lock that says that it lives, and a small file that says what."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ingest.index.files import DISK_ERRNOS, disk_errors

WORKER_LOCK = "worker.lock"
STATE = "worker.json"
FETCHING = "fetching"  # a stage in which the worker waits for other machines, and would build at once
LOCK_TRIES = 5  # whoever asks whether a worker lives holds the lock for microseconds
LOCK_WAIT_S = 0.02


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker said last. `behind`: changed files that it saw and that are not searchable yet."""

    pid: int = 0
    watching: Literal["events", "polling", "off"] = "off"
    stage: str = ""  # "" = idle
    source: str = ""
    done: int = 0
    total: int = 0
    behind: int = 0
    error: str = ""  # of the last build, "" after a success
    problems: tuple[str, ...] = ()  # what watching, sweeping and scrubbing found
    disk_full: str = ""  # why nothing can be written, "" while something can


class WorkerLock:
    """The one worker of a data directory. A second one stands by until the first ends, however it ends."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / WORKER_LOCK
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False while another worker lives."""
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOCK_WAIT_S)
                continue
            self._descriptor = descriptor
            return True
        os.close(descriptor)
        return False

    def release(self) -> None:
        """Let another worker in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_worked(data_dir: Path) -> bool:
    """Tell whether a worker lives."""
    try:
        descriptor = os.open(data_dir / WORKER_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_state(data_dir: Path, state: WorkerState) -> None:
    """Replace what the worker said; not flushed, for it is worth nothing after a crash.

    On a full disk it is written over what was said before. Raises DiskFull where that takes more space, too.
    """
    partial = data_dir / f"{STATE}.{os.getpid()}"
    content = json.dumps(asdict(state)).encode()
    try:
        partial.write_bytes(content)
        partial.replace(data_dir / STATE)
    except OSError as error:
        if error.errno not in DISK_ERRNOS:
            raise
        partial.unlink(missing_ok=True)
        _write_over(data_dir / STATE, content)


def _write_over(path: Path, content: bytes) -> None:
    """Write into the space that a file has already; who reads it half-written takes it for one that says nothing."""
    with disk_errors(path.parent, "state of the worker", "Free some space."):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, content.ljust(os.fstat(descriptor).st_size), 0)
        finally:
            os.close(descriptor)


def silent_s(data_dir: Path) -> float:
    """Return the seconds since the worker said anything, 0 before its first word; an idle one speaks all the time."""
    try:
        return max(0.0, time.time() - (data_dir / STATE).stat().st_mtime)
    except FileNotFoundError:
        return 0.0


def read_state(data_dir: Path) -> WorkerState | None:
    """Return what the living worker said last, None without one."""
    if not is_worked(data_dir):
        return None
    try:
        values: dict[str, Any] = json.loads((data_dir / STATE).read_text("utf-8"))
    except (OSError, ValueError):  # it has not said anything yet
        return WorkerState()
    known = {field.name for field in fields(WorkerState)}  # another release may say more
    kept = {name: value for name, value in values.items() if name in known}
    return WorkerState(**{**kept, "problems": tuple(kept.get("problems", ()))})
