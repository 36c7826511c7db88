"""`codecairn bench index`: the real command on a copy of a folder, then changes under a running server."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.bench.command import SourceType, codecairn_command, find_type, serving, write_config
from golden.machine import MachineFacts, PeakMemory, folder_mb, read_machine
from golden.metrics import percentile, rounded
from golden.stdio import StdioServer

POLL_S = 0.025  # between searches for a change: without a pause they take the processor from the build they wait for


@dataclass(frozen=True, slots=True)
class IndexBench:
    """Result of `bench index`."""

    path: str
    source_type: str
    seconds: float  # of the whole command, start of Python included
    build_s: float  # as the build itself reports it
    files: int
    lines: int
    chunks: int
    peak_mb: float  # resident memory of all processes together
    processes: int
    index_mb: float
    skipped: Mapping[str, int]
    unchanged_s: float  # the same command again, nothing changed
    change_ms: tuple[float, ...]  # from the write to the first search of a running server that returns it
    machine: MachineFacts = field(default_factory=read_machine)

    @property
    def lines_per_s(self) -> float:
        """Indexed lines per second of the build."""
        return self.lines / self.build_s if self.build_s else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        values = asdict(self)
        change = {"p50": percentile(self.change_ms, 0.5), "p95": percentile(self.change_ms, 0.95)}
        return {
            **values,
            "lines_per_s": round(self.lines_per_s),
            "change_ms": {**rounded(change, 1), "n": len(self.change_ms)},
        }

    def __str__(self) -> str:
        skipped = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.skipped.items())) or "nothing"
        change = "not measured"
        if self.change_ms:
            p50, p95 = percentile(self.change_ms, 0.5), percentile(self.change_ms, 0.95)
            change = f"p50 {p50:.0f} ms, p95 {p95:.0f} ms ({len(self.change_ms)} changes)"
        return "\n".join(
            (
                f"{self.path} as {self.source_type}",
                f"indexed: {self.files:,} files, {self.lines:,} lines, {self.chunks:,} chunks",
                f"cold index: {self.seconds:.1f} s; build {self.build_s:.1f} s = {self.lines_per_s:,.0f} lines/s",
                f"peak memory: {self.peak_mb:,.0f} MB resident in {self.processes} processes",
                f"index on disk: {self.index_mb:,.1f} MB",
                f"skipped: {skipped}",
                f"again, nothing changed: {self.unchanged_s:.1f} s",
                f"one-file change to searchable: {change}",
                str(self.machine),
            )
        )


def run_index(
    path: Path, *, source_type: SourceType | None = None, changes: int = 10, say: Callable[[str], None] = lambda _: None
) -> IndexBench:
    """Index a copy of a folder with the real command, then change files of it under a running server.

    `source_type` defaults to git inside a repository. The folder itself is left alone. Raises BenchError.
    """
    if not path.is_dir():
        raise BenchError(f"{path} is no folder. Give the repository or folder to index.")
    kind: SourceType = source_type or find_type(path)
    with tempfile.TemporaryDirectory(prefix="codecairn-bench-") as scratch:
        root, data, config = (
            Path(scratch) / "tree" / path.resolve().name,
            Path(scratch) / "data",
            Path(scratch) / "c.toml",
        )
        say("copying")
        ignore = shutil.ignore_patterns(".git") if kind == "folder" else None
        shutil.copytree(path, root, symlinks=True, ignore=ignore)
        write_config(config, root, kind)
        options = ("--config", str(config), "--root", str(root), "--data", str(data))
        say("indexing")
        seconds, memory, report = measure_command(("index", *options, "--json"))
        say("indexing again")
        unchanged_s, _, _ = measure_command(("index", *options, "--json"))
        say("changing files")
        return IndexBench(
            path=str(path),
            source_type=kind,
            seconds=seconds,
            build_s=report["duration_s"],
            files=report["files"],
            lines=count_lines(data, root),
            chunks=report["chunks"],
            peak_mb=memory.peak_mb,
            processes=memory.processes,
            index_mb=folder_mb(data),
            skipped=merge_counts(source["skipped"] for source in report["sources"]),
            unchanged_s=unchanged_s,
            change_ms=tuple(measure_changes(options, data, root, changes)) if changes else (),
        )


def measure_command(arguments: Sequence[str]) -> tuple[float, PeakMemory, dict[str, Any]]:
    """Run a command; return its seconds, its memory and its JSON. Raises BenchError with what it said."""
    started = time.perf_counter()
    process = subprocess.Popen([*codecairn_command(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with PeakMemory(process.pid) as memory:
        out, err = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise BenchError(f"codecairn {arguments[0]} failed: {err.decode('utf-8', 'replace').strip()[-500:]}")
    return seconds, memory, json.loads(out)


def merge_counts(tables: Iterator[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of counts."""
    total: dict[str, int] = defaultdict(int)
    for table in tables:
        for name, count in table.items():
            total[name] += count
    return dict(total)


def indexed_files(data: Path) -> list[str]:
    """Return the paths of the code source of an index, in order."""
    from ingest.index.control import connect, known_files, read_pointer

    connection = connect(data)
    try:
        pointer = read_pointer(connection)
        if pointer is None:
            return []
        names = connection.execute("SELECT DISTINCT source FROM file ORDER BY source").fetchall()
        sources = [name for (name,) in names if not name.endswith(".history")]
        return [path for name in sources for path in sorted(known_files(connection, name, pointer[0]))]
    finally:
        connection.close()


def count_lines(data: Path, root: Path) -> int:
    """Return the lines of all indexed files."""
    return sum((root / path).read_bytes().count(b"\n") for path in indexed_files(data) if (root / path).is_file())


def measure_changes(options: Sequence[str], data: Path, root: Path, changes: int) -> Iterator[float]:
    """Append a new definition to file after file under a running server; yield milliseconds until search returns it."""
    python = [path for path in indexed_files(data) if path.endswith(".py")]
    files = (python or indexed_files(data))[:: max(1, len(python or indexed_files(data)) // changes)][:changes]
    with serving(options) as server:
        time.sleep(3.0)  # the watcher starts after the first reply and compares the tree once
        for number, path in enumerate(files):
            name = f"bench_marker_{number}_{os.getpid()}"
            started = time.perf_counter()
            with open(root / path, "a", encoding="utf-8") as file:
                file.write(f"\n\ndef {name}():\n    return {number}\n")
            yield wait_for(server, name, started)


def wait_for(server: StdioServer, name: str, started: float, limit_s: float = 60.0) -> float:
    """Search until a name is found; return the milliseconds since `started`. Raises BenchError after the limit."""
    while time.perf_counter() - started < limit_s:
        text, failed = server.call("search_code", {"query": name, "limit": 1, "response_format": "json"})
        if not failed and any(name in hit["text"] for hit in json.loads(text)["hits"]):
            return (time.perf_counter() - started) * 1000
        time.sleep(POLL_S)
    raise BenchError(f"A change was not searchable within {limit_s:.0f} s of a running server.")
