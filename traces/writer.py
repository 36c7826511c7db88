"""One bounded queue and one thread: recording costs the query an append, whatever the disk does.

Writing a trace takes the interpreter for some milliseconds, which a query that runs meanwhile would wait for. So traces
are written while no query runs, a few at a time; only when many wait, or one has waited for long, beside queries.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from traces.activity import Activity
from traces.draft import Draft
from traces.model import CONTENT_QUEUE_FULL

MAX_FULL = 640  # drafts waiting with content, some 30 kB each
MAX_ROWS = 4096  # drafts waiting at all; beyond, a trace is lost and counted
MAX_BATCH = 64
IDLE_BATCH = 8  # traces that a query which begins meanwhile has to wait for
# The answer is still being rendered when its trace is queued; the writer would compete with it for the interpreter.
LINGER_S = 0.05
MAX_WAITING = 512  # traces, from which on they are written beside queries; their content is dropped at MAX_FULL
MAX_WAIT_S = 30.0  # a burst is answered at full speed; a server that is killed in it loses its traces


class Writer:
    """Hands drafts to `write` in batches, in order, from one daemon thread that starts with the first draft."""

    def __init__(
        self,
        write: Callable[[Sequence[Draft]], None],
        activity: Activity,
        *,
        max_full: int = MAX_FULL,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._write = write
        self._activity = activity
        self._max_full = max_full
        self._max_rows = max_rows
        self._state = threading.Condition()
        self._waiting: deque[tuple[float, Draft]] = deque()  # since when each one waits
        self._busy = False
        self._hurry = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self.dropped_content = 0
        self.lost = 0

    def put(self, draft: Draft) -> bool:
        """Queue a draft without waiting; False when it was lost. A full queue takes the row and drops the content."""
        with self._state:
            if self._closed or len(self._waiting) >= self._max_rows:
                self.lost += 1
                return False
            if len(self._waiting) >= self._max_full:
                draft = draft.without_content(CONTENT_QUEUE_FULL)
                self.dropped_content += 1
            self._waiting.append((time.monotonic(), draft))
            self._start()
            self._state.notify_all()
            return True

    @property
    def is_behind(self) -> bool:
        """Whether a trace waits, or is being written."""
        with self._state:
            return bool(self._waiting) or self._busy

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything queued is written or given up; False when that took too long."""
        with self._state:
            self._hurry = True
            self._state.notify_all()
            try:
                return self._state.wait_for(lambda: not self._waiting and not self._busy, timeout_s)
            finally:
                self._hurry = False

    def close(self, timeout_s: float = 10.0) -> bool:
        """Write what waits and end the thread; False when that took too long."""
        done = self.flush(timeout_s)
        with self._state:
            self._closed = True
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            atexit.unregister(self.close)
        return done

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="trace-writer", daemon=True)
            self._thread.start()
            atexit.register(self.close)  # a command line ends right after its query

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._write(batch)
            finally:
                with self._state:
                    self._busy = False
                    self._state.notify_all()

    def _take(self) -> list[Draft]:
        with self._state:
            self._state.wait_for(lambda: bool(self._waiting) or self._closed)
            while self._waiting and not (count := self._count_due()):
                self._state.wait(LINGER_S)
            batch = [self._waiting.popleft()[1] for _ in range(min(count, len(self._waiting)) if self._waiting else 0)]
            self._busy = bool(batch)
            return batch

    def _count_due(self) -> int:
        """Return how many of the waiting traces are written now."""
        now = time.monotonic()
        if self._hurry or self._closed or len(self._waiting) >= MAX_WAITING:
            return MAX_BATCH
        if self._activity.idle_s() >= LINGER_S:
            return IDLE_BATCH
        return sum(now - since >= MAX_WAIT_S for since, _ in self._waiting)
