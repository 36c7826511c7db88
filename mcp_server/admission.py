"""Admission: how many queries run at once and how many wait in line; who comes after that is told when to return."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mcp_server.errors import Overloaded

POLL_S = 0.1  # how soon somebody in line sees that their caller has gone
NEWEST_SHARE = 0.2  # of the latest query in the mean duration
MAX_RETRY_S = 60
SPARE_THREADS = 16


class Admission:
    """A bounded number of queries runs, a bounded number waits, first come first served."""

    def __init__(self, running: int, waiting: int, patience_s: float) -> None:
        self._most_running = running
        self._most_waiting = waiting
        self._patience_s = patience_s
        self._running = 0
        self._line: deque[object] = deque()
        self._changed = threading.Condition()
        self._mean_s = 0.0

    @property
    def inside(self) -> tuple[int, int]:
        """How many queries run now, and how many wait in line."""
        with self._changed:
            return self._running, len(self._line)

    def make_room(self) -> None:
        """Let as many calls come from this event loop as may be inside, and some to be refused: no line before ours."""
        from anyio.to_thread import current_default_thread_limiter

        current_default_thread_limiter().total_tokens = self._most_running + self._most_waiting + SPARE_THREADS

    @contextmanager
    def admitted(self, go_on: Callable[[], None] = lambda: None) -> Iterator[float]:
        """Hold one place; yield the milliseconds in line. `go_on` raises once the caller is gone. Raises Overloaded."""
        arrived = time.monotonic()
        self._enter(arrived, go_on)
        started = time.monotonic()
        try:
            yield (started - arrived) * 1000
        finally:
            self._leave(time.monotonic() - started)

    def _enter(self, arrived: float, go_on: Callable[[], None]) -> None:
        with self._changed:
            if not self._line and self._running < self._most_running:
                self._running += 1
                return
            if len(self._line) >= self._most_waiting:
                raise self._refuse()
            place = object()
            self._line.append(place)
            try:
                while self._line[0] is not place or self._running >= self._most_running:
                    go_on()
                    left = arrived + self._patience_s - time.monotonic()
                    if left <= 0:
                        raise self._refuse()
                    self._changed.wait(min(left, POLL_S))
                self._running += 1
            finally:
                self._line.remove(place)
                self._changed.notify_all()

    def _leave(self, duration_s: float) -> None:
        with self._changed:
            self._running -= 1
            self._mean_s += NEWEST_SHARE * (duration_s - self._mean_s) if self._mean_s else duration_s
            self._changed.notify_all()

    def _refuse(self) -> Overloaded:
        line_s = self._mean_s * (len(self._line) + 1) / self._most_running
        wait_s = min(MAX_RETRY_S, max(1, math.ceil(line_s)))
        return Overloaded(
            f"Too many queries at once: {self._running} run and {len(self._line)} wait (server.max_running, "
            f"server.max_waiting, server.max_wait_s). Ask again in {wait_s} s.",
            wait_s,
        )
