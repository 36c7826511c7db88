"""`codecairn bench scale`: the same questions on indexes of 10,000, 50,000 and 200,000 chunks of real code.

Machines differ and are busy, so rivals can be asked the same questions of the same code in the same run.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.bench.command import serving, write_sources
from golden.bench.corpora import default_cache
from golden.bench.indexing import measure_command
from golden.bench.questions import load_questions
from golden.bench.rivals import Rival, RivalSpec
from golden.bench.serving import search_once, timed
from golden.corpus import code_fingerprint, fingerprint, open_service
from golden.machine import MachineFacts, folder_mb, process_tree, read_machine, resident_mb
from golden.metrics import percentile
from ingest.config import SourceConfig
from ingest.languages import detect_language
from mcp_server.config import Setup, load_setup, source_name

TARGETS = (10_000, 50_000, 200_000)  # chunks
MAX_FILE_BYTES = 1_000_000  # larger ones are not indexed
FIRST_BYTES_PER_CHUNK = 1300.0  # before anything was built; then what the last build showed
MAX_EXCESS = 1.2  # times what is missing, for the last repository
REPORT = "bench-scale.json"


@dataclass(frozen=True, slots=True)
class Repository:
    """A folder of code and the bytes in it that an index would read."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Built:
    """What building one index took."""

    repositories: int
    files: int
    chunks: int
    seconds: float  # of the whole command
    peak_mb: float  # resident memory of all processes together
    index_mb: float


@dataclass(frozen=True, slots=True)
class RivalStep:
    """A rival at one size, by its own clock; `failure` says why it could not be measured."""

    name: str
    index_s: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class ScaleStep:
    """One size: the index, and warm searches on it. Milliseconds; each query is timed once, after others warmed up."""

    target: int
    built: Built
    p50_ms: float  # in process
    p95_ms: float
    cpu_p50_ms: float  # processor time of the same searches, all threads: what other work on the machine leaves alone
    stdio_p50_ms: float  # MCP round trips
    stdio_p95_ms: float
    serving_mb: float  # resident memory of the server after all queries
    queries: int
    rivals: tuple[RivalStep, ...] = ()


@dataclass(frozen=True, slots=True)
class ScaleBench:
    """Result of `bench scale`."""

    steps: tuple[ScaleStep, ...]
    machine: MachineFacts

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        heads = ["chunks", "files", "repos", "build s", "peak MB", "index MB", "p50 ms", "p95 ms", "cpu p50"]
        heads += ["stdio p50", "stdio p95", "serving MB"]
        lines = ["".join(f"{head:>12}" for head in heads), *map(step_line, self.steps)]
        count = self.steps[0].queries if self.steps else 0
        lines.append(f"warm search_code of eight hits: {count} different queries, each timed once")
        lines += [rival_line(step, rival) for step in self.steps for rival in step.rivals]
        return "\n".join([*lines, str(self.machine)])


def step_line(step: ScaleStep) -> str:
    """Return one row of the table."""
    whole = (step.built.chunks, step.built.files, step.built.repositories)
    build = (step.built.seconds, step.built.peak_mb, step.built.index_mb)
    times = (step.p50_ms, step.p95_ms, step.cpu_p50_ms, step.stdio_p50_ms, step.stdio_p95_ms, step.serving_mb)
    return "".join([*(f"{v:12,}" for v in whole), *(f"{v:12,.1f}" for v in (*build, *times))])


def rival_line(step: ScaleStep, rival: RivalStep) -> str:
    """Return how a rival did at one size, and how many times its median ours is."""
    head = f"{step.built.chunks:,} chunks, {rival.name}: "
    if rival.failure:
        return f"{head}not measured: {rival.failure}"
    times = f"index {rival.index_s:.1f} s, p50 {rival.p50_ms:.1f} ms, p95 {rival.p95_ms:.1f} ms"
    return f"{head}{times}; ours / theirs at p50: {step.p50_ms / rival.p50_ms:.2f}" if rival.p50_ms else head + times


def run_scale(
    folder: Path,
    cases: Sequence[Path],
    *,
    targets: Sequence[int] = TARGETS,
    queries: int = 200,
    cache: Path | None = None,
    rivals: Sequence[RivalSpec] = (),
    say: Callable[[str], None] = lambda _: None,
) -> ScaleBench:
    """Build an index of each size from the repositories in a folder, and ask it real queries. Raises BenchError.

    A third of the queries warms up, the others are timed. Indexes are kept in `cache`, so a second run only asks; those
    of rivals are not.
    """
    repositories = find_repositories(folder)
    texts = list(dict.fromkeys(question.query for question in load_questions(cases, queries)))
    if len(texts) < 3:
        raise BenchError(f"{len(texts)} different queries are too few to warm up and to time; give at least three.")
    bytes_per_chunk, steps = FIRST_BYTES_PER_CHUNK, []
    for target in sorted(targets):
        chosen = choose(repositories, target * bytes_per_chunk)
        setup, options = prepare(chosen, target, cache or default_cache())
        say(f"{target:,} chunks: {len(chosen)} repositories")
        built = build_once(setup, options, chosen)
        bytes_per_chunk = sum(repository.size for repository in chosen) / max(1, built.chunks)
        say(f"{target:,} chunks: {built.chunks:,} built in {built.seconds:.0f} s; asking")
        step = measure(target, built, setup, options, texts)
        steps.append(replace(step, rivals=tuple(measure_rival(spec, chosen, texts, say) for spec in rivals)))
    return ScaleBench(tuple(steps), read_machine())


def find_repositories(folder: Path) -> list[Repository]:
    """Return the folders of code in a folder, smallest first. Raises BenchError."""
    if not folder.is_dir():
        raise BenchError(f"{folder} is no folder. Give a folder of repositories.")
    found = [Repository(path.resolve(), code_bytes(path)) for path in sorted(folder.iterdir()) if path.is_dir()]
    code = sorted((repository for repository in found if repository.size), key=lambda item: (item.size, item.path))
    if not code:
        raise BenchError(f"{folder} holds no folder with code. Give a folder of repositories.")
    return code


def code_bytes(path: Path) -> int:
    """Return the bytes of files in a known language, hidden folders left out."""
    total = 0
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = os.path.join(folder, name)
            size = os.lstat(file).st_size
            if size <= MAX_FILE_BYTES and detect_language(file):
                total += size
    return total


def choose(repositories: Sequence[Repository], wanted: float) -> list[Repository]:
    """Return repositories that together hold the bytes, or all: small ones for half, so that many kinds of code are in.

    From there on one that closes the gap by at most a fifth too much is the last.
    """
    chosen: list[Repository] = []
    held = 0
    for place, repository in enumerate(repositories):
        missing = wanted - held
        fitting = (other for other in repositories[place:] if missing <= other.size <= MAX_EXCESS * missing)
        last = next(fitting, None) if held >= wanted / 2 else None
        chosen.append(last or repository)
        held += chosen[-1].size
        if held >= wanted:
            break
    return chosen


def prepare(chosen: Sequence[Repository], target: int, cache: Path) -> tuple[Setup, tuple[str, ...]]:
    """Write the configuration of the repositories as folders; return its setup and the options of the commands."""
    key = fingerprint([code_fingerprint(), *(f"{item.path} {item.size}" for item in chosen)])
    place = cache / f"scale-{target}-{key}"
    place.mkdir(parents=True, exist_ok=True)
    config, data = place / "codecairn.toml", place / "data"
    sources = [SourceConfig(name=source_name(item.path.name), type="folder", path=item.path) for item in chosen]
    write_sources(config, sources)
    setup = load_setup(root=place, config=config, data=data, env={})
    return setup, ("--config", str(config), "--root", str(place), "--data", str(data))


def build_once(setup: Setup, options: Sequence[str], chosen: Sequence[Repository]) -> Built:
    """Build the index with the real command unless a finished one is there. Raises BenchError."""
    done = setup.data_dir.parent / REPORT
    if done.exists():
        return Built(**json.loads(done.read_text("utf-8")))
    shutil.rmtree(setup.data_dir, ignore_errors=True)
    seconds, memory, report = measure_command(("index", *options, "--json"))
    built = Built(
        repositories=len(chosen),
        files=report["files"],
        chunks=report["chunks"],
        seconds=seconds,
        peak_mb=memory.peak_mb,
        index_mb=folder_mb(setup.data_dir),
    )
    done.write_text(json.dumps(asdict(built)), "utf-8")
    return built


def measure(target: int, built: Built, setup: Setup, options: Sequence[str], texts: Sequence[str]) -> ScaleStep:
    """Ask the queries in process and through a server."""
    warm = len(texts) // 3
    with open_service(setup) as service:
        inside = [timed_both(partial(search_once, service, setup, text)) for text in texts][warm:]
    with serving((*options, "--no-watch")) as server:
        outside = [timed(partial(server.call, "search_code", {"query": text})) for text in texts][warm:]
        serving_mb = resident_mb(process_tree(server.process.pid))
    return ScaleStep(
        target=target,
        built=built,
        p50_ms=percentile([wall for wall, _ in inside], 0.5),
        p95_ms=percentile([wall for wall, _ in inside], 0.95),
        cpu_p50_ms=percentile([cpu for _, cpu in inside], 0.5),
        stdio_p50_ms=percentile(outside, 0.5),
        stdio_p95_ms=percentile(outside, 0.95),
        serving_mb=serving_mb,
        queries=len(inside),
    )


def measure_rival(
    spec: RivalSpec, chosen: Sequence[Repository], texts: Sequence[str], say: Callable[[str], None]
) -> RivalStep:
    """Let a rival index the same repositories, as one folder, and ask it the same queries."""
    say(f"asking {spec.name}")
    try:
        with tempfile.TemporaryDirectory(prefix="codecairn-scale-") as folder, Rival(spec) as rival:
            for repository in chosen:
                copy_tree(repository.path, Path(folder) / repository.path.name)
            label = rival.start()
            seconds = rival.index(Path(folder))
            times = [rival.ask(text).duration_ms for text in texts][len(texts) // 3 :]
    except (BenchError, OSError) as error:
        return RivalStep(spec.name, failure=str(error))
    return RivalStep(label, seconds, percentile(times, 0.5), percentile(times, 0.95))


def copy_tree(source: Path, target: Path) -> None:
    """Copy a repository without hidden folders and links, whatever the rival does to it."""
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = target / os.path.relpath(folder, source)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not os.path.islink(os.path.join(folder, name)):
                shutil.copyfile(os.path.join(folder, name), place / name)


def timed_both(action: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds that an action takes, and those of processor time in this process."""
    before = time.process_time()
    wall = timed(action)
    return wall, (time.process_time() - before) * 1000
