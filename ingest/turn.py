"""Whose turn it is to build once: git runs hooks in crowds, where one that works and one that waits are enough."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.index.beacon import WorkerLock

NEXT_LOCK = "worker.next"
LOOK_S = 0.3


def take_turn(data_dir: Path, is_due: Callable[[], bool]) -> WorkerLock | None:
    """Return the worker's lock as soon as it is free; None where others see to everything that is due.

    Call it after the events were counted: who works may have looked for the last time, but who waits looks again after
    it stopped being the one that waits. So no event is lost when everybody else goes.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = WorkerLock(data_dir)
    while not lock.acquire():
        with _become_next(data_dir) as is_next:
            if not is_next:
                return None
            while is_due():
                if lock.acquire():
                    return lock
                time.sleep(LOOK_S)
        if not is_due():
            return None
    return lock


@contextmanager
def _become_next(data_dir: Path) -> Iterator[bool]:
    """Yield whether this is the one process that waits."""
    descriptor = os.open(data_dir / NEXT_LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_next = True
    except BlockingIOError:
        is_next = False
    try:
        yield is_next
    finally:
        os.close(descriptor)
