"""Keyword grep as a rival: files by number of distinct words of the query that they hold, then by matching lines.

With a path to `rg`, that searches; without, Python does, over all text files. Imports nothing of this package.
"""

import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORD = re.compile(r"[A-Za-z_]\w{2,}")
STOP = frozenset(
    """about after all also and any are because been before being between both but can could did does doing
    down each few for from further had has have having her here him his how into its itself just more most not
    now off once only other our out over own same she should some such than that the their them then there
    these they this those through under until very was were what when where which while who whom why will with
    would you your""".split()
)  # fmt: skip
MAX_WORDS = 30  # a pasted text holds hundreds


def keywords(query: str) -> list[str]:
    """Return the distinct words of a query that are no stop-words, lower case."""
    return [word for word in dict.fromkeys(map(str.lower, WORD.findall(query))) if word not in STOP][:MAX_WORDS]


def rg_counts(rg: str, root: Path, word: str) -> Iterator[tuple[str, int]]:
    """Yield each file with its lines that hold the word, as ripgrep counts them."""
    command = (rg, "--ignore-case", "--fixed-strings", "--count", "--null", "--no-messages", "--", word, ".")
    out = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=False).stdout.decode("utf-8", "replace")
    for line in out.splitlines():
        path, _, count = line.partition("\0")
        yield path.removeprefix("./"), int(count)


def read_texts(root: Path) -> dict[str, list[str]]:
    """Return the lower-case lines of all text files, without hidden folders."""
    texts = {}
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        if not file.is_file() or any(part.startswith(".") for part in name.split("/")):
            continue
        data = file.read_bytes()
        if b"\0" not in data:
            texts[name] = data.decode("utf-8", "replace").lower().splitlines()
    return texts


def rank(counts: dict[str, list[int]]) -> list[str]:
    """Return files by number of distinct words, then by matching lines, then by name."""
    return sorted(counts, key=lambda path: (-len(counts[path]), -sum(counts[path]), path))


def main() -> None:
    """Answer one JSON line after another."""
    rg = sys.argv[1] if len(sys.argv) > 1 else ""
    root, texts = Path(), {}
    for line in sys.stdin:
        message = json.loads(line)
        started = time.perf_counter()
        answer: dict[str, Any]
        if message["do"] == "start":
            version = subprocess.run((rg, "--version"), stdout=subprocess.PIPE, check=True).stdout if rg else b""
            tool = version.decode().splitlines()[0] if rg else "in Python"
            answer = {"name": f"keyword grep ({tool})"}
        elif message["do"] == "index":
            root = Path(message["root"])
            texts = {} if rg else read_texts(root)
            answer = {"seconds": time.perf_counter() - started}
        else:
            counts: dict[str, list[int]] = defaultdict(list)
            for word in keywords(message["query"]):
                found = (
                    rg_counts(rg, root, word)
                    if rg
                    else ((p, sum(word in r for r in rows)) for p, rows in texts.items())
                )
                for path, count in found:
                    if count:
                        counts[path].append(count)
            answer = {"paths": rank(counts)[:10], "ms": (time.perf_counter() - started) * 1000}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
