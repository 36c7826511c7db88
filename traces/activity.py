"""Whether queries run: work that can wait keeps out of their way, because one interpreter serves both."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    """Counts the queries of one process that run now. Thread-safe."""

    def __init__(self) -> None:
        """Start with none, and none before."""
        self._lock = threading.Lock()
        self._running = 0
        self._last_end = -float("inf")

    @contextmanager
    def query(self) -> Iterator[None]:
        """Count a query while it runs."""
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._last_end = time.monotonic()

    def idle_s(self) -> float:
        """Return the seconds since the last query ended, 0 while one runs."""
        with self._lock:
            return 0.0 if self._running else time.monotonic() - self._last_end
