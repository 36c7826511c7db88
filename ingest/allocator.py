"""What the allocators of a long-lived process keep, and what its garbage collector looks at.

glibc gives each new thread an arena of its own, eight per core, and an arena keeps what was freed in it. The vector
engine reads files in short-lived threads, so that after hours of new generations every arena has held a large block
once: the memory of a server grows by tens of megabytes an hour although nothing is referenced any more. Other C
libraries keep less and have neither call.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -8, -3, -1  # malloc.h
ARENAS = 2
BLOCK_BYTES = 1 << 20  # smaller ones each query makes, and from the system a megabyte takes 0.3 ms more
TOP_BYTES = 1 << 20
SELDOM = (100_000, 50, 100)  # objects before the youngest are looked at, and passes before those before them are
_met: list[tuple[int, int, int]] = []  # the thresholds that each who asks for seldom now has met
_met_lock = threading.Lock()


def limit_arenas() -> bool:
    """Let all threads share two arenas; tell whether the C library can. Call it before other threads start."""
    return _set_option(M_ARENA_MAX, ARENAS)


def part_large_blocks() -> bool:
    """Take each large block from the system and return it when it is freed; tell whether the C library can.

    glibc begins so, but once a larger block was freed it takes all up to that size (at most 32 MB) from the heap, where
    small things that stay come to lie between what every generation takes and frees.
    """
    return _set_option(M_MMAP_THRESHOLD, BLOCK_BYTES) and _set_option(M_TRIM_THRESHOLD, TOP_BYTES)


def _set_option(option: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(option, value) == 1


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


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the garbage collector look seldom at what is made meanwhile: much that lives long, and few cycles.

    As often as usual it takes a twelfth of the time of cutting files, and a tenth of that of writing what was cut.
    Builds of one process may overlap: the last of them to end restores what the first has met.
    """
    with _met_lock:
        _met.append(gc.get_threshold())
        gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        with _met_lock:
            usual = _met[0]
            _met.pop()
            if not _met:
                gc.set_threshold(*usual)
