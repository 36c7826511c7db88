"""Plain BM25 as a rival: 50-line windows of all text files, the best window of a file counts."""

import json
import math
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

LINES = 50  # of a window
K1, B = 1.2, 0.75
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # parts of identifiers
FILES = 10


def terms(text: str) -> list[str]:
    """Return the lower-case words of a text, identifiers in parts."""
    return [word.lower() for word in WORD.findall(text)]


class Windows:
    """An inverted index over windows of files."""

    def __init__(self, root: Path) -> None:
        self.paths: list[str] = []
        self.starts: list[int] = []  # first line of each window, 1-based
        self.lengths: list[int] = []
        self.postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for file in sorted(root.rglob("*")):
            name = file.relative_to(root).as_posix()
            if any(part.startswith(".") for part in name.split("/")) or not file.is_file():
                continue
            data = file.read_bytes()
            if b"\0" not in data[:8_000]:
                self._add(name, data.decode("utf-8", "replace").splitlines())

    def _add(self, name: str, lines: list[str]) -> None:
        for start in range(0, len(lines), LINES):
            counts = Counter(terms("\n".join(lines[start : start + LINES])))
            for term, count in counts.items():
                self.postings[term].append((len(self.paths), count))
            self.paths.append(name)
            self.starts.append(start + 1)
            self.lengths.append(counts.total())

    def ask(self, query: str) -> list[str]:
        """Return the first files, best first."""
        return list(dict.fromkeys(self.paths[window] for window in self.rank(query)))[:FILES]

    def rank(self, query: str) -> list[int]:
        """Return the windows that hold a word of the query, best first."""
        mean = sum(self.lengths) / max(len(self.lengths), 1)
        scores: dict[int, float] = defaultdict(float)
        for term in dict.fromkeys(terms(query)):
            found = self.postings.get(term, [])
            idf = math.log(1 + (len(self.paths) - len(found) + 0.5) / (len(found) + 0.5))
            for window, count in found:
                norm = K1 * (1 - B + B * self.lengths[window] / mean)
                scores[window] += idf * count * (K1 + 1) / (count + norm)
        return sorted(scores, key=lambda window: (-scores[window], self.paths[window], window))


def main() -> None:
    """Answer one JSON line after another."""
    windows: Any = None
    for line in sys.stdin:
        message = json.loads(line)
        started = time.perf_counter()
        answer: dict[str, Any]
        if message["do"] == "start":
            answer = {"name": f"BM25 (k1 {K1}, b {B}) over windows of {LINES} lines"}
        elif message["do"] == "index":
            windows = Windows(Path(message["root"]))
            answer = {"seconds": time.perf_counter() - started}
        else:
            answer = {"paths": windows.ask(message["query"]), "ms": (time.perf_counter() - started) * 1000}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
