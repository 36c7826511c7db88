"""`codecairn bench soak`: a server, its worker, and an hour of edits, branch switches, kills and queries."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.bench.command import serving, write_config
from golden.bench.indexing import indexed_files, measure_command
from golden.machine import MachineFacts, folder_mb, own_mb, process_tree, read_machine, resident_mb
from golden.metrics import percentile
from golden.stdio import StdioServer
from ingest import gitio
from ingest.index.invariants import check_settled

SAMPLE_EVERY_S = 20.0
CHECK_EVERY_S = 300.0
WARM_UP = 0.25  # share of the run whose samples do not count for slopes
FOUND_WITHIN_S = 120.0  # an edit that is not searchable by then is lost
FIRST_WITHIN_S = 600.0
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the processes and the disk."""

    at_s: float
    server_mb: float
    server_own_mb: float  # of it, mapped from no file
    worker_mb: float
    descriptors: int
    disk_mb: float


@dataclass(slots=True)
class Tally:
    """What happened."""

    edits: int = 0
    switches: int = 0
    removals: int = 0
    kills: int = 0
    queries: int = 0
    errors: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # edits and switches that never became searchable
    inconsistencies: list[str] = field(default_factory=list)
    generations: int = 0
    found_ms: list[float] = field(default_factory=list)  # an edit to the search that returns it
    query_ms: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SoakBench:
    """Result of `bench soak`."""

    path: str
    minutes: float
    tally: Tally
    machine: MachineFacts = field(default_factory=read_machine)

    @property
    def settled(self) -> list[Sample]:
        """The samples after warming up."""
        samples = self.tally.samples
        return samples[int(len(samples) * WARM_UP) :]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {**asdict(self), "figures": self.figures()}

    def figures(self) -> dict[str, float]:
        """Return slopes and extremes of the settled samples."""
        settled = self.settled
        if not settled:
            return {}
        return {
            "server_mb_per_h": slope_per_h([(one.at_s, one.server_mb) for one in settled]),
            "server_own_mb_per_h": slope_per_h([(one.at_s, one.server_own_mb) for one in settled]),
            "worker_mb_per_h": slope_per_h([(one.at_s, one.worker_mb) for one in settled]),
            "server_mb_max": max(one.server_mb for one in settled),
            "worker_mb_max": max(one.worker_mb for one in settled),
            "descriptors_first": settled[0].descriptors,
            "descriptors_last": settled[-1].descriptors,
            "disk_mb_first": settled[0].disk_mb,
            "disk_mb_last": settled[-1].disk_mb,
        }

    def __str__(self) -> str:
        tally, figures = self.tally, self.figures()
        done = f"{tally.edits} edits, {tally.switches} branch switches, {tally.removals} removals, {tally.kills} kills"
        lines = [
            f"{self.path}, {self.minutes:.0f} minutes: {done}, {tally.queries} queries, "
            f"{tally.generations} generations",
            f"errors {len(tally.errors)}, lost changes {len(tally.lost)}, inconsistencies {len(tally.inconsistencies)}",
        ]
        if tally.found_ms:
            p50, p95 = percentile(tally.found_ms, 0.5), percentile(tally.found_ms, 0.95)
            lines.append(f"edit to searchable: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
        if tally.query_ms:
            p50, p99 = percentile(tally.query_ms, 0.5), percentile(tally.query_ms, 0.99)
            lines.append(f"query: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        if figures:
            lines += [
                f"memory: server {figures['server_mb_per_h']:+.1f} MB/h (at most {figures['server_mb_max']:.0f} MB; "
                f"{figures['server_own_mb_per_h']:+.1f} MB/h mapped from no file), "
                f"worker {figures['worker_mb_per_h']:+.1f} MB/h (at most {figures['worker_mb_max']:.0f} MB)",
                f"open files: {figures['descriptors_first']:.0f} -> {figures['descriptors_last']:.0f}; "
                f"disk: {figures['disk_mb_first']:.0f} -> {figures['disk_mb_last']:.0f} MB",
            ]
        lines += [f"error: {text}" for text in tally.errors[:5]]
        lines += [f"lost: {text}" for text in tally.lost[:5]]
        lines += [f"inconsistent: {text}" for text in tally.inconsistencies[:5]]
        return "\n".join([*lines, str(self.machine)])


def slope_per_h(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a least-squares line through (seconds, value), per hour."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def run_soak(path: Path, *, minutes: float, seed: int = 1, say: Callable[[str], None] = lambda _: None) -> SoakBench:
    """Soak a copy of a git repository. The repository itself is left alone. Raises BenchError."""
    if not (path / ".git").is_dir():
        raise BenchError(f"{path} is no clone of a git repository. Give one with some history.")
    with tempfile.TemporaryDirectory(prefix="codecairn-soak-") as scratch:
        root, data, config = Path(scratch) / path.resolve().name, Path(scratch) / "data", Path(scratch) / "c.toml"
        shutil.copytree(path, root, symlinks=True)
        write_config(config, root, "git")
        options = ("--config", str(config), "--root", str(root), "--data", str(data))
        say("indexing")
        measure_command(("index", *options, "--json"))
        with serving(options) as server:
            soak = _Soak(server, root, data, Path(scratch), random.Random(seed), say)
            soak.run(minutes)
        return SoakBench(str(path), minutes, soak.tally)


class _Soak:
    """One run: what is done at random, and what is checked."""

    def __init__(
        self, server: StdioServer, root: Path, data: Path, scratch: Path, rng: random.Random, say: Callable[[str], None]
    ) -> None:
        self.tally = Tally()
        self._server, self._root, self._data, self._rng, self._say = server, root, data, rng, say
        repository = gitio.find_repository(root)
        mirror = gitio.update_mirror(repository, scratch / "own")
        if mirror.commit is None:
            raise BenchError(f"{root.name} has no commit. Give a repository with some history.")
        history = gitio.list_commits(mirror.path, mirror.commit, 200)
        self._mirror, self._commits = mirror.path, [history[0], history[min(len(history) - 1, 100)]]
        self._commit = 0
        self._indexed = indexed_files(data)
        self._started = time.monotonic()
        self._sampled = self._checked = -1e9

    def run(self, minutes: float) -> None:
        """Act until the time is over, then check once more."""
        until = self._started + minutes * 60
        self._wait_for_first()
        while time.monotonic() < until:
            act = self._rng.choices((self._edit, self._remove, self._switch, self._kill), (60, 10, 4, 4))[0]
            begun = time.monotonic()
            act()
            self._say(f"{act.__name__} {time.monotonic() - begun:.1f} s")
            self._query()
            self._look()
            time.sleep(PAUSE_S)
        self._check()

    def _wait_for_first(self) -> None:
        limit = time.monotonic() + FIRST_WITHIN_S
        while time.monotonic() < limit:
            text, failed = self._ask("def")
            if not failed and not json.loads(text).get("files_behind"):
                time.sleep(2)  # the worker starts after the first reply
                return
            time.sleep(0.2)
        raise BenchError("The server did not answer within ten minutes.")

    def _files(self) -> list[Path]:
        """Return the indexed Python files that are there now, or else any indexed files."""
        found = [self._root / path for path in self._indexed if (self._root / path).is_file()]
        return [path for path in found if path.suffix == ".py"] or found

    def _edit(self) -> None:
        """Append a definition to a file and wait until it is found."""
        name = f"soak_marker_{self.tally.edits}_{os.getpid()}"
        file = self._rng.choice(self._files())
        started = time.perf_counter()
        with open(file, "a", encoding="utf-8") as handle:
            handle.write(f"\n\ndef {name}():\n    return {self.tally.edits}\n")
        self.tally.edits += 1
        if self._await(name):
            self.tally.found_ms.append((time.perf_counter() - started) * 1000)
        else:
            self.tally.lost.append(f"{file.relative_to(self._root)}: {name}")

    def _remove(self) -> None:
        """Write a file, see it, delete it, and see it gone."""
        name = f"soak_removed_{self.tally.removals}_{os.getpid()}"
        file = self._root / f"{name}.py"
        file.write_text(f"def {name}():\n    return 0\n")
        self.tally.removals += 1
        if not self._await(name):
            self.tally.lost.append(f"{name} never came")
        file.unlink()
        if not self._await(name, present=False):
            self.tally.lost.append(f"{name} never went")

    def _switch(self) -> None:
        """Check out the other commit, as git would: write its files, remove the others, move HEAD."""
        self._commit = 1 - self._commit
        commit = self._commits[self._commit]
        wanted = {item.path: item for item in gitio.list_tree(self._mirror, commit) if item.type == "file"}
        blobs = dict(gitio.read_blobs(self._mirror, [item.blob for item in wanted.values()]))
        known = {item.path for one in self._commits for item in gitio.list_tree(self._mirror, one)}
        for path in sorted(known - wanted.keys()):
            (self._root / path).unlink(missing_ok=True)
        for path, item in wanted.items():
            file = self._root / path
            if not file.is_file() or file.read_bytes() != blobs[item.blob]:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(blobs[item.blob])
        (self._root / ".git" / "HEAD").write_text(f"{commit}\n")
        self.tally.switches += 1

    def _kill(self) -> None:
        """Kill the worker, and whatever it started, wherever it is."""
        workers = process_tree(self._server.process.pid)[1:]
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.tally.kills += bool(workers)

    def _query(self) -> None:
        words = self._rng.sample("parse read write config error request session test name value open close".split(), 3)
        self._ask(" ".join(words))

    def _ask(self, query: str) -> tuple[str, bool]:
        started = time.perf_counter()
        text, failed = self._server.call("search_code", {"query": query, "limit": 3, "response_format": "json"})
        self.tally.query_ms.append((time.perf_counter() - started) * 1000)
        self.tally.queries += 1
        if failed:
            self.tally.errors.append(text[:300])
        return text, failed

    def _await(self, name: str, *, present: bool = True) -> bool:
        limit = time.monotonic() + FOUND_WITHIN_S
        while time.monotonic() < limit:
            text, failed = self._ask(name)
            if not failed and any(name in hit["text"] for hit in json.loads(text)["hits"]) == present:
                return True
            time.sleep(0.05)
        return False

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._sampled >= SAMPLE_EVERY_S:
            self._sampled = now
            server, *workers = process_tree(self._server.process.pid)
            descriptors = sum(count_descriptors(pid) for pid in (server, *workers))
            sample = Sample(
                now - self._started,
                resident_mb([server]),
                own_mb(server),
                resident_mb(workers),
                descriptors,
                folder_mb(self._data),
            )
            self.tally.samples.append(sample)
            self._say(json.dumps(asdict(sample)))
        if now - self._checked >= CHECK_EVERY_S:
            self._checked = now
            self._check()

    def _check(self) -> None:
        self.tally.inconsistencies += [str(violation) for violation in check_settled(self._data)]
        text, failed = self._ask("def")
        if not failed:
            self.tally.generations = json.loads(text)["generation"]


def count_descriptors(pid: int) -> int:
    """Return how many files a process has open; 0 when it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0
