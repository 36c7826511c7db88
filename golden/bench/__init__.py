"""`codecairn bench`: how well (quality), how fast and how large (indexing), how quick to answer (serving).
The same by size of the index: scaling.

Each `run_*` returns a value: `str()` of it is the table for people, `to_dict()` the JSON. Nothing here prints. Every
figure comes with the machine that it was measured on.
"""

from __future__ import annotations

from golden.case import GoldenError


class BenchError(GoldenError):
    """A benchmark cannot run; the message says what is missing."""
