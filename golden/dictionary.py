"""`python -m golden.dictionary OUT`: make the dictionary that the content of traces is compressed with.

Half of the shipped cases are asked over two of the shipped corpora, and what their traces hold is trained on. A
dictionary that was released stays as it is: stored traces are read with it. A new one gets a new file and a new first
byte in `traces/packing.py`.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from golden.case import CASES, load_cases
from golden.run import ask_corpus
from traces.packing import open_content, shorten, train

CORPORA = ("organisation", "libraries")
EVERY = 2  # case of a corpus


def read_contents(store: Path) -> Iterator[bytes]:
    """Yield the content of every trace of a store with its ids as marks."""
    numbers: dict[int, int] = {}
    with closing(sqlite3.connect(store)) as connection:
        for (data,) in connection.execute("SELECT data FROM blob WHERE kind = 'trace'").fetchall():
            yield shorten(open_content(connection, data), lambda value: numbers.setdefault(value, len(numbers) + 1))


def make_dictionary(data: Path) -> bytes:
    """Ask the cases with indexes below `data`; return a zstd dictionary of their traces. Raises GoldenError."""
    cases = load_cases(CASES)
    contents: list[bytes] = []
    for name in CORPORA:
        ask_corpus([case for case in cases if case.corpus == name][::EVERY], data, name)
        contents += read_contents(data / name / "traces.db")
    return train(contents)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        Path(sys.argv[1]).write_bytes(make_dictionary(Path(folder)))
