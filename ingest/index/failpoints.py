"""Named places where a test can kill or fail a publication. Unarmed, each costs one dict look-up."""

from __future__ import annotations

import errno
import os
import signal
from typing import Literal

FAILPOINTS: tuple[str, ...] = (
    "recovered",
    "mid_clone",
    "after_clone",
    "after_delete",
    "after_add",
    "before_vector_write",
    "after_vector_write",
    "after_vector_delete",
    "before_text_commit",
    "after_text_commit",
    "after_verify",
    "after_manifest",
    "mid_fsync",
    "after_fsync",
    "in_sql",
    "in_sql_after_pointer",
    "after_sql",
    "mid_garbage",
)
Action = Literal["kill", "enospc", "eio"]

_armed: dict[str, tuple[Action, int]] = {}


def arm(name: str, action: Action = "kill", after: int = 0) -> None:
    """Make the failpoint act when it is passed for the `after`+1st time. Tests only."""
    if name not in FAILPOINTS:
        raise ValueError(f"No failpoint is called {name!r}. Choose one of {', '.join(FAILPOINTS)}.")
    _armed[name] = (action, after)


def disarm() -> None:
    """Disarm every failpoint."""
    _armed.clear()


def failpoint(name: str) -> None:
    """Do nothing, unless a test armed this name."""
    if not _armed or name not in _armed:
        return
    action, left = _armed[name]
    if left:
        _armed[name] = (action, left - 1)
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    number = errno.ENOSPC if action == "enospc" else errno.EIO
    raise OSError(number, os.strerror(number), name)
