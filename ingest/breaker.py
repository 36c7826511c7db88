"""A circuit breaker: an endpoint that failed several times in a row is left alone, then tried by one call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAILURES = 3  # in a row, each after its own retries
PAUSE_S = 30.0


class Breaker:
    """Counts failures of one endpoint. Thread-safe."""

    def __init__(
        self, failures: int = FAILURES, pause_s: float = PAUSE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = 0
        self._open_until = 0.0

    @property
    def wait_s(self) -> float:
        """Seconds until the endpoint is tried again, 0 when it may be."""
        with self._lock:
            return max(0.0, self._open_until - self._clock())

    def admits(self) -> bool:
        """Tell whether a call may go out; after the pause one is let through, and the others wait for what it finds."""
        with self._lock:
            now = self._clock()
            if now < self._open_until:
                return False
            if self._failed >= self._limit:
                self._open_until = now + self._pause_s
            return True

    def succeeded(self) -> None:
        """Close again: the endpoint answered."""
        with self._lock:
            self._failed, self._open_until = 0, 0.0

    def failed(self) -> None:
        """Count a failure; at the limit, pause."""
        with self._lock:
            self._failed += 1
            if self._failed >= self._limit:
                self._open_until = self._clock() + self._pause_s
