"""Fallbacks: the named ways in which an answer is less than it should be; deadlines; how work is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager

# Degraded code -> what somebody who reads the result is told. Codes with a name behind them end in a colon here.
SAYS: Mapping[str, str] = {
    "vector_unavailable": "the vector side of the index cannot be read; found by words and names only",
    "embed_unavailable": "the embedding endpoint does not answer; found by words and names only",
    "rerank_skipped": "the second ordering failed; hits are in the order of the first",
    "llm_down": "the model cannot be asked; statements are taken from the evidence as it is written",
    "generation_timeout": "the model did not answer in time; statements are taken from the evidence as it is written",
    "generation_truncated": "the model's answer broke off; only its whole statements are given",
    "parse_failed": "the model's answer could not be read; statements are taken from the evidence as it is written",
    "budget_exceeded": "the day's budget for model calls is spent; statements are taken from the evidence",
    "transform_skipped": "the question could not be rewritten by the model; it was searched as it is",
    "judge_unavailable": "the judge cannot be asked; verdicts are those of the look-ups alone",
    "cache_unavailable": "the cache cannot be read or written; everything was worked out anew",
    "git_unavailable": "a tree cannot be read; pointers into it are unchecked",
    "rolled_back_generation": "files of the newest index are damaged; this is the one before",
    "rolled_back": "the index was set back to an earlier generation; what was indexed after it is not found",
    "read_only": "the data directory is read-only: the index is served as it is, not renewed, and no records are kept",
    "disk_full": "the disk of the data directory is full: changes are not indexed until there is space",
    "trace_unavailable": "the trace of this result cannot be written",
    "source_missing:": "nothing of this source is indexed yet, and nothing can be found in it; see `codecairn status`",
    "ingest_stalled:": "this source waits for indexing or fails; what was indexed before is used",
    "source_stale:": "a tracker could not be asked to the end; what was fetched before is used",
}


def describe_codes(codes: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each degraded code; of a code that has none, the code."""
    for code in codes:
        name, _, rest = code.partition(":")
        text = SAYS.get(f"{name}:" if rest else name)
        yield f"{code}: {text}" if text else code


class Deadline:
    """The moment at which an answer has to be there, whatever is still under way."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def remaining_s(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self._end - self._clock())


class Cancellation:
    """Tells work in other threads that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._stops: list[Callable[[], object]] = []

    @property
    def is_set(self) -> bool:
        """Tell whether the caller has gone."""
        return self._event.is_set()

    def set(self) -> None:
        """Stop what runs now and what would start later."""
        with self._lock:
            self._event.set()
            stops = tuple(self._stops)
        for stop in stops:
            stop()

    def check(self) -> None:
        """Raise CancelledError once the caller has gone."""
        if self.is_set:
            raise CancelledError("The caller has gone; the work was stopped.")

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Call `stop` if the caller goes while the block runs. Raises CancelledError where it has gone already."""
        with self._lock:
            self.check()
            self._stops.append(stop)
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)
