"""Query with eight threads while another process publishes (X5).

`python -m tests.mcp_server.swap_run --swaps 100` prints queries, errors, results that mix generations, and the ratio of
the slowest hundredth to that of an idle index. The exit code is 1 after an error or a mixed result.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from golden.metrics import percentile
from ingest.access import Principal
from ingest.build import build_index
from ingest.embedding.static import StaticEmbedder
from mcp_server.config import load_setup
from mcp_server.results import SearchRequest
from mcp_server.service import Service

FILES = 12
THREADS = 8
WARM_S = 3.0  # in which what is read once is read: names, thresholds, libraries
IDLE_S = 10.0
ROUND = re.compile(r"round_(\d+)")
LOCAL = Principal("local", frozenset({"local"}))


@dataclass
class Figures:
    """What the threads saw."""

    queries: int = 0
    errors: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    generations: set[int] = field(default_factory=set)
    ms: list[float] = field(default_factory=list)

    def p99(self) -> float:
        return percentile(self.ms, 0.99) if self.ms else 0.0


def write_round(root: Path, number: int) -> None:
    """Rewrite every file, so that two rounds in one result are two generations."""
    for file in range(FILES):
        (root / f"m{file}.py").write_text(f"def session_{file}():\n    return 'round_{number}'\n")


def setup_of(root: Path, data: Path):
    return load_setup(root=root, config=None, data=data, env={**os.environ, "CODECAIRN_TRACE__ENABLED": "false"})


def publish(root: Path, data: Path, swaps: int, pause_s: float) -> None:
    """Publish one round after the other: the other process."""
    setup, embedder = setup_of(root, data), StaticEmbedder()
    for number in range(1, swaps + 1):
        write_round(root, number)
        build_index(setup.settings.source, setup.settings.index, embedder, data, now="2026-11-21T00:00:00Z")
        time.sleep(pause_s)


def query(service: Service, stop: threading.Event, figures: Figures, lock: threading.Lock) -> None:
    while not stop.is_set():
        started = time.perf_counter()
        try:
            result = service.search(SearchRequest("session round", limit=FILES), LOCAL)
        except Exception as error:
            with lock:
                figures.errors.append(f"{type(error).__name__}: {error}")
            continue
        rounds = {match for hit in result.hits for match in ROUND.findall(hit.text)}
        with lock:
            figures.queries += 1
            figures.ms.append((time.perf_counter() - started) * 1000)
            figures.generations.add(result.generation)
            if len(rounds) != 1:
                figures.mixed.append(
                    f"generation {result.generation}: rounds {sorted(rounds)}, {len(result.hits)} hits"
                )


def run_threads(service: Service, until) -> Figures:
    """Query with all threads until the condition holds."""
    figures, stop, lock = Figures(), threading.Event(), threading.Lock()
    threads = [threading.Thread(target=query, args=(service, stop, figures, lock)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    while not until(figures):
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    return figures


def run(
    root: Path, data: Path, swaps: int, warm_s: float = WARM_S, idle_s: float = IDLE_S, pause_s: float = 0.0
) -> tuple[Figures, Figures]:
    """Return what the threads saw on an idle index, and while it was swapped."""
    root.mkdir(parents=True)
    write_round(root, 0)
    setup = setup_of(root, data)
    build_index(setup.settings.source, setup.settings.index, StaticEmbedder(), data, now="2026-11-21T00:00:00Z")
    service = Service(setup)
    service.warm()
    for seconds in (warm_s, idle_s):
        ends = time.monotonic() + seconds
        idle = run_threads(service, lambda figures, ends=ends: time.monotonic() >= ends and figures.queries)
    command = [sys.executable, "-m", "tests.mcp_server.swap_run", "--publish", str(root), str(data)]
    with subprocess.Popen([*command, "--swaps", str(swaps), "--pause", str(pause_s)]) as publisher:
        swapped = run_threads(service, lambda figures: publisher.poll() is not None)
        assert publisher.returncode == 0
    final = service.search(SearchRequest("session round", limit=FILES), LOCAL)
    swapped.generations.add(final.generation)
    service.close()
    return idle, swapped


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.2)
    parser.add_argument("--publish", nargs=2, type=Path)
    options = parser.parse_args()
    if options.publish:
        publish(*options.publish, options.swaps, options.pause)
        return
    with tempfile.TemporaryDirectory() as scratch:
        idle, swapped = run(Path(scratch) / "code", Path(scratch) / "data", options.swaps, pause_s=options.pause)
    lines = (
        f"swaps {options.swaps}, generations seen {len(swapped.generations)}, queries {swapped.queries}, "
        f"errors {len(swapped.errors)}, mixed {len(swapped.mixed)}; p99 idle {idle.p99():.1f} ms ({idle.queries} "
        f"queries), during swaps {swapped.p99():.1f} ms, ratio {swapped.p99() / idle.p99():.2f}; "
        f"p50 {percentile(idle.ms, 0.5):.1f} -> {percentile(swapped.ms, 0.5):.1f} ms; load {os.getloadavg()[0]:.1f}",
        *swapped.errors[:3],
        *swapped.mixed[:3],
    )
    print("\n".join(lines))  # noqa: T201  # the figure
    sys.exit(bool(swapped.errors or swapped.mixed))


if __name__ == "__main__":
    main()
