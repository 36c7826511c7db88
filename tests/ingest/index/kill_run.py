"""Kill a publishing process again and again and look at what is left.

`python -m tests.ingest.index.kill_run --kills 100 --rounds 4` prints kills, generations published, inconsistencies
and lost acknowledgements (X1: random kills, then every named failpoint `rounds` times).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from ingest.errors import IndexEmpty
from ingest.index import Index
from ingest.index.failpoints import FAILPOINTS
from ingest.index.invariants import check_invariants
from tests.ingest.index.kill_child import ACKNOWLEDGED, acknowledge, corpus, publish_next
from tests.ingest.index.support import SOURCE, make_chunks, see

ROOT = Path(__file__).parents[3]
CHUNK_LIMIT = 10_000
PATIENCE_S = 30  # for a generation that takes 60 ms


@dataclass
class Figures:
    """What a run of kills showed."""

    kills: int = 0
    published: int = 0
    lost: int = 0
    stuck: int = 0  # kills after which the next writer published nothing
    slowest_recovery_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"kills {self.kills}, generations published {self.published}, inconsistencies {len(self.problems)}, "
            f"lost acknowledgements {self.lost}, stuck {self.stuck}, slowest recovery {self.slowest_recovery_s:.2f} s"
        )


class Zygote:
    """A warm process that forks victims."""

    def __enter__(self) -> Zygote:
        command = [sys.executable, "-W", "ignore", "-m", "tests.ingest.index.kill_child"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._line() == "ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def start(self, data_dir: Path, failpoint: str = "-", after: int = 0) -> int:
        """Fork a victim and return its pid."""
        assert self._process.stdin
        self._process.stdin.write(f"{data_dir} {failpoint} {after}\n")
        self._process.stdin.flush()
        return int(self._line())

    def wait(self) -> int:
        """Return the exit code of the last victim (negative: the signal that ended it)."""
        return int(self._line())


def acknowledged(data_dir: Path) -> int:
    """Return the last generation that a victim acknowledged, 0 for none."""
    path = data_dir / ACKNOWLEDGED
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return int(lines[-1]) if lines else 0


def inspect(data_dir: Path, figures: Figures, before: int = 0) -> int:
    """Check W1-W3 and the exact content after a kill; return the visible generation.

    `before`: the generation that was visible when the victim started; at most one more than it or than the last
    acknowledged one may be visible now.
    """
    started = time.perf_counter()
    try:
        index = Index.open_current(data_dir)
    except IndexEmpty:
        if acknowledged(data_dir):
            figures.lost += 1
        return 0
    figures.slowest_recovery_s = max(figures.slowest_recovery_s, time.perf_counter() - started)
    with index:
        visible, last = index.generation, acknowledged(data_dir)
        figures.lost += visible < last
        if visible > max(last, before) + 1 or index.degraded:
            figures.problems.append(f"visible {visible}, acknowledged {last}, degraded {index.degraded}")
        figures.problems += [f"{v.rule}: {v.detail}" for v in check_invariants(data_dir)]
        expected = {c.id: c for path, text in corpus(visible).items() for c in make_chunks(SOURCE, path, text)}
        found = [
            s.chunk_id for s in index.search_text([("def", 1.0), ("return", 1.0)], see(), CHUNK_LIMIT, {"content": 1.0})
        ]
        if sorted(found) != sorted(expected) or index.chunks(found) != [expected[i] for i in found]:
            figures.problems.append(f"generation {visible} does not hold exactly its corpus")
    return visible


def kill_at_failpoints(
    zygote: Zygote, data_dir: Path, names: tuple[str, ...], figures: Figures, after: int = 0
) -> None:
    """Let a victim die at each failpoint once, and publish one generation in peace after each (W6)."""
    for name in names:
        before = inspect(data_dir, figures)
        zygote.start(data_dir, name, after)
        if zygote.wait() != -signal.SIGKILL:
            figures.problems.append(f"the victim did not die at failpoint {name}")
        figures.kills += 1
        visible = inspect(data_dir, figures, before)
        acknowledge(data_dir, publish_next(data_dir).generation)
        now = inspect(data_dir, figures, visible)
        figures.stuck += now != visible + 1
        figures.published += now - before


def kill_at_random(zygote: Zygote, data_dir: Path, kills: int, figures: Figures, rng: random.Random) -> None:
    """Let victims acknowledge 0 to 2 generations, then kill them at a random moment of the next one."""
    step_s = 0.2
    visible = inspect(data_dir, figures)
    for _ in range(kills):
        # Several victims in a row may die between publishing and acknowledging: each counts from what was visible.
        before, wanted = visible, acknowledged(data_dir) + rng.randrange(3)
        pid, started = zygote.start(data_dir), time.monotonic()
        while acknowledged(data_dir) < wanted and time.monotonic() - started < PATIENCE_S:
            time.sleep(0.002)
        if acknowledged(data_dir) < wanted:
            figures.stuck += 1
        elif wanted > before:
            step_s = (time.monotonic() - started) / (wanted - before)
        time.sleep(rng.uniform(0, 1.2 * step_s))
        os.kill(pid, signal.SIGKILL)
        if zygote.wait() != -signal.SIGKILL:
            figures.problems.append("a victim ended before it was killed")
        figures.kills += 1
        visible = inspect(data_dir, figures, before)
        figures.published += visible - before


def main() -> None:
    """Run the kills and print the figures; the exit code is 1 when something was lost or is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="random kills")
    parser.add_argument("--rounds", type=int, default=4, help="rounds over every named failpoint")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder, Zygote() as zygote:
        for label, data_dir in (("random", Path(folder) / "random"), ("failpoints", Path(folder) / "failpoints")):
            data_dir.mkdir()
            figures = Figures()
            if label == "random":
                kill_at_random(zygote, data_dir, options.kills, figures, random.Random(options.seed))
            for after in range(options.rounds if label == "failpoints" else 0):
                kill_at_failpoints(zygote, data_dir, FAILPOINTS, figures, after % 2)
            print(f"{label}: {figures}")  # noqa: T201
            for problem in figures.problems[:20]:
                print(f"  {problem}")  # noqa: T201
            failed = failed or bool(figures.problems or figures.lost or figures.stuck)
    sys.exit(failed)


if __name__ == "__main__":
    main()
