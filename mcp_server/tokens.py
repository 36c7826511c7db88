"""How many tokens a text has for a model whose vocabulary is not here: an estimate that learns."""

from __future__ import annotations

import math
import threading

# Tokens per UTF-8 byte. Source code takes 0.25 to 0.35, other scripts up to 0.4, random hexadecimal and base64 0.5:
# before anything was counted the upper edge has to hold for the worst of them.
FIRST_MEAN = 0.32
FIRST_SPREAD = 0.12
FIRST_WEIGHT = 4  # counted calls that the first values are worth
EDGE = 2.0  # spreads above the mean


class TokenEstimator:
    """Running mean and spread of one model's tokens per byte (Welford's algorithm). Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._weight = FIRST_WEIGHT
        self._mean = FIRST_MEAN
        self._squares = FIRST_WEIGHT * FIRST_SPREAD**2

    def observe(self, size_bytes: int, tokens: int) -> None:
        """Learn from a text that was counted."""
        if size_bytes <= 0 or tokens <= 0:
            return
        with self._lock:
            self._weight += 1
            ratio = tokens / size_bytes
            before = ratio - self._mean
            self._mean += before / self._weight
            self._squares += before * (ratio - self._mean)

    def estimate(self, size_bytes: int) -> int:
        """Return the likely number of tokens."""
        return math.ceil(size_bytes * self._mean)

    def upper(self, size_bytes: int) -> int:
        """Return the number of tokens that is hardly ever exceeded: mean and spread together."""
        return math.ceil(size_bytes * (self._mean + EDGE * math.sqrt(self._squares / self._weight)))

    def bytes_within(self, tokens: int) -> int:
        """Return the bytes whose upper estimate is at most `tokens`."""
        size = max(0, int(tokens / (self._mean + EDGE * math.sqrt(self._squares / self._weight))))
        while size and self.upper(size) > tokens:
            size -= 1
        return size


def size_of(text: str) -> int:
    """Return the bytes of a text."""
    return len(text.encode("utf-8", "replace"))
