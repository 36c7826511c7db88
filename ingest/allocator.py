"""What the allocators of a long-lived process keep, and what its garbage collector looks at.

glibc gives each new thread an arena of its own, eight per core, and an arena keeps what was freed in it. The vector
engine reads files in short-lived threads, so that after hours of new generations every arena has held a large block
once: the memory of a server grows by tens of megabytes an hour although nothing is referenced any more. Other C
libraries keep less and have neither call.
"""

from __future__ import annotations

import ctypes
import gc

M_ARENA_MAX = -8  # malloc.h
ARENAS = 2


def limit_arenas() -> bool:
    """Let all threads share two arenas; tell whether the C library can. Call it before other threads start."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_ARENA_MAX, ARENAS) == 1


def return_memory() -> bool:
    """Give pages that hold nothing back to the system; tell whether there were any. Takes some milliseconds."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return malloc_trim is not None and malloc_trim(0) == 1


def spare_loaded() -> None:
    """Leave everything that is loaded by now out of all further passes of the garbage collector.

    A full pass holds up every thread, for 0.1 to 0.2 s where the libraries and an index are loaded, and nearly all that
    it looks at stays as long as the process.
    """
    gc.collect()
    gc.freeze()
