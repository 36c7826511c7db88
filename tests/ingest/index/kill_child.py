"""The victim: publishes one deterministic generation after the other until somebody kills it.

Run as a module it is a zygote: it imports the engines once, then forks one victim per line of its standard input
(`<data dir> <failpoint or -> <after>`), so that a hundred kills do not pay a hundred imports.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from ingest.index.failpoints import arm
from ingest.index.schema import Manifest
from tests.ingest.index.support import NOW, SOURCE, make_entry, open_publication, prepare_text

FILES = 14
ACKNOWLEDGED = "acknowledged"
WORDS = "login token store cache retry parse render invoice refund cart stock price ledger audit".split()


def corpus(generation: int) -> dict[str, str]:
    """Return what generation n must hold: path -> text, a pure function of n."""
    files = {}
    for number in range(FILES):
        last = max(g for g in range(generation + 1) if g == 0 or random.Random(f"{number}/{g}").random() < 0.3)
        rng = random.Random(f"{number}@{last}")
        if last and rng.random() < 0.25:
            continue  # absent since generation `last`
        blocks = [
            f"def {rng.choice(WORDS)}_{number}_{i}(x):\n    return {' '.join(rng.choices(WORDS, k=6))}"
            for i in range(5)
        ]
        files[f"pkg/m{number}.py"] = "\n\n".join(blocks)
    return files


def publish_next(data_dir: Path) -> Manifest:
    """Publish the generation after the parent."""
    with open_publication(data_dir, allow_drop=True) as publication:
        parent = publication.parent
        target = corpus((parent.generation if parent else 0) + 1)
        publication.begin_source(SOURCE, f"r{parent.generation + 1 if parent else 1}", "/src")
        known = publication.known_files(SOURCE.name)
        for path in sorted(known.keys() - target.keys()):
            publication.remove_file(SOURCE.name, path)
        for path, text in sorted(target.items()):
            entry = make_entry(path, text)
            if path not in known or known[path].content_hash != entry.content_hash:
                publication.add_file(SOURCE.name, entry, prepare_text(SOURCE, path, text))
        return publication.commit(NOW)


def acknowledge(data_dir: Path, generation: int) -> None:
    """Tell the world, durably, that a generation was published."""
    descriptor = os.open(data_dir / ACKNOWLEDGED, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{generation}\n".encode())
    os.fsync(descriptor)
    os.close(descriptor)


def publish_for_ever(data_dir: Path) -> None:
    """Publish and acknowledge until killed."""
    while True:
        acknowledge(data_dir, publish_next(data_dir).generation)


def main() -> None:
    """Serve fork requests until end of input."""
    import lancedb  # noqa: F401  # what a victim would pay for

    print("ready", flush=True)  # noqa: T201  # the protocol with the harness
    for line in sys.stdin:
        data_dir, failpoint, after = line.split()
        pid = os.fork()
        if pid == 0:
            os.close(0)
            if failpoint != "-":
                arm(failpoint, after=int(after))
            publish_for_ever(Path(data_dir))
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
