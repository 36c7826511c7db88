"""`codecairn bench index`: the real command on a copy of a folder, then changes under a running server."""

from __future__ import annotations

import json
import math
import secrets
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from golden.bench import BenchError
from golden.bench.command import SourceType, codecairn_command, find_type, serving, write_config
from golden.case import GoldenError
from golden.machine import MachineFacts, PeakMemory, folder_mb, read_machine
from golden.metrics import percentile, rounded
from golden.organisation import git
from golden.stdio import StdioServer
from ingest.languages import path_role

SWITCHED_WITHIN_S = 300.0
POLL_S = 0.025  # between searches for a change: without a pause they take the processor from the build they wait for
BEFORE, AFTER = "codecairn-bench-before", "codecairn-bench-after"  # branches of the copy
GIT_OPTIONS = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false",
    "-c", "user.name=bench", "-c", "user.email=bench@localhost",
)  # fmt: skip
HITS = 10  # chunks of source files that are similar to a name may stand before the one that holds it


@dataclass(frozen=True, slots=True)
class IndexBench:
    """Result of `bench index`."""

    path: str
    source_type: str
    seconds: float  # of the whole command, start of Python included
    build_s: float  # as the build itself reports it
    text_s: float  # of the build, until text and symbols were searchable
    files: int
    lines: int
    chunks: int
    peak_mb: float  # resident memory of all processes together
    processes: int
    index_mb: float
    skipped: Mapping[str, int]
    unchanged_s: float  # the same command again, nothing changed
    change_ms: tuple[float, ...]  # from the write to the first search of a running server that returns it
    switch_files: int  # changed at once: by `git switch` in a git source, written one after the other in a folder
    switch_ms: float  # from the start of that to the searches that return them; 0 = not measured
    switch_queries: int  # answered meanwhile, by the old generation
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
        at_once = "by git switch" if self.source_type == "git" else "at once"
        switch = "not measured"
        if self.switch_ms:
            switch = f"{self.switch_ms / 1000:.1f} s, {self.switch_queries} queries answered meanwhile"
        return "\n".join(
            (
                f"{self.path} as {self.source_type}",
                f"indexed: {self.files:,} files, {self.lines:,} lines, {self.chunks:,} chunks",
                f"cold index: {self.seconds:.1f} s; build {self.build_s:.1f} s = {self.lines_per_s:,.0f} lines/s; "
                f"text and symbols after {self.text_s:.1f} s",
                f"peak memory: {self.peak_mb:,.0f} MB resident in {self.processes} processes",
                f"index on disk: {self.index_mb:,.1f} MB",
                f"skipped: {skipped}",
                f"again, nothing changed: {self.unchanged_s:.1f} s",
                f"one-file change to searchable: {change}",
                f"{self.switch_files} files changed {at_once}, to searchable: {switch}",
                str(self.machine),
            )
        )


def run_index(
    path: Path,
    *,
    source_type: SourceType | None = None,
    changes: int = 10,
    switch: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> IndexBench:
    """Index a copy of a folder with the real command, then change files of it under a running server.

    `changes`: files, one after the other. `switch`: files, all at once; in a git source by `git switch`.

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
        lines = count_lines(data, root)
        change_ms: tuple[float, ...] = ()
        switch_ms, switch_queries, switched = 0.0, 0, 0
        on_branch: list[str] = []
        if switch and kind == "git":
            on_branch = prepare_branch(data, root, switch)
            measure_command(("index", *options, "--json"))  # the files that the preparation touched
        if changes or switch:
            with serving(options) as server:
                time.sleep(3.0)  # the watcher starts after the first reply and compares the tree once
                if switch:  # first: git switches no branch over changed files
                    say("changing many files at once")
                    change_files = (
                        partial(switch_branch, root, on_branch)
                        if on_branch
                        else partial(mark_files, data, root, switch)
                    )
                    switched, switch_ms, switch_queries = measure_switch(server, change_files)
                    say("changing files")
                change_ms = tuple(measure_changes(server, data, root, changes))
        return IndexBench(
            path=str(path),
            source_type=kind,
            seconds=seconds,
            build_s=report["duration_s"],
            text_s=report["text_after_s"] or report["duration_s"],
            files=report["files"],
            lines=lines,
            chunks=report["chunks"],
            peak_mb=memory.peak_mb,
            processes=memory.processes,
            index_mb=folder_mb(data),
            skipped=merge_counts(source["skipped"] for source in report["sources"]),
            unchanged_s=unchanged_s,
            change_ms=change_ms,
            switch_files=switched,
            switch_ms=switch_ms,
            switch_queries=switch_queries,
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


def choose_files(data: Path, root: Path, count: int) -> list[Path]:
    """Return some indexed files, spread over the tree: of Python sources, else of sources, else of all as many."""
    indexed = indexed_files(data)
    source = [path for path in indexed if path_role(path) == "source"]  # the ranking puts tests back
    python = [path for path in source if path.endswith(".py")]
    paths = next((paths for paths in (python, source) if len(paths) >= count), indexed)
    return [root / path for path in paths[:: max(1, len(paths) // max(1, count))][:count]]


def new_name() -> str:
    """Return a name that shares no word with another: else an earlier one may stand before it in the ranking."""
    return "".join(secrets.choice(ascii_lowercase) for _ in range(16))


def append_marker(file: Path, name: str) -> None:
    """Append a new definition to a file."""
    with open(file, "a", encoding="utf-8") as handle:
        handle.write(f"\n\ndef {name}():\n    return 1\n")


def measure_changes(server: StdioServer, data: Path, root: Path, changes: int) -> Iterator[float]:
    """Append a new definition to file after file under a running server; yield milliseconds until search returns it."""
    for file in choose_files(data, root, changes):
        name = new_name()
        started = time.perf_counter()
        append_marker(file, name)
        yield wait_for(server, name, started)


def mark_files(data: Path, root: Path, count: int) -> list[str]:
    """Append a new definition to many files; return the names, in the order of the files."""
    names = []
    for file in choose_files(data, root, count):
        names.append(new_name())
        append_marker(file, names[-1])
    return names


def prepare_branch(data: Path, root: Path, count: int) -> list[str]:
    """Commit the copy as it is, and many changed files on a branch that is not checked out; return their names."""
    change(root, "switch", "--create", BEFORE)
    change(root, "add", "--all")
    change(root, "commit", "--allow-empty", "--message", "As it was")
    change(root, "switch", "--create", AFTER)
    names = mark_files(data, root, count)
    change(root, "commit", "--all", "--message", f"Change {len(names)} files")
    change(root, "switch", BEFORE)
    return names


def change(root: Path, command: str, *arguments: str) -> None:
    """Run a git command that changes the copy, without its hooks. Raises BenchError."""
    try:
        git(root, *GIT_OPTIONS, command, *arguments)
    except GoldenError as error:
        raise BenchError(str(error)) from error


def switch_branch(root: Path, names: Sequence[str]) -> Sequence[str]:
    """Check the branch with the changed files out."""
    change(root, "switch", AFTER)
    return names


def measure_switch(server: StdioServer, change_files: Callable[[], Sequence[str]]) -> tuple[int, float, int]:
    """Change many files at once.

    Return how many, milliseconds until searches return the first, the middle and the last of them, and how many
    queries the server answered before that. Raises BenchError when one of these fails.
    """
    started = time.perf_counter()
    names = change_files()
    wanted = [names[0], names[len(names) // 2], names[-1]]
    answered = 0
    while time.perf_counter() - started < SWITCHED_WITHIN_S:
        text, failed = server.call("search_code", {"query": wanted[-1], "limit": HITS, "response_format": "json"})
        if failed:
            raise BenchError(f"A query failed while {len(names)} changed files were indexed: {text[:300]}")
        if any(wanted[-1] in hit["text"] for hit in json.loads(text)["hits"]):
            wanted.pop()
            if not wanted:
                return len(names), (time.perf_counter() - started) * 1000, answered
            continue
        answered += 1
        time.sleep(POLL_S)
    raise BenchError(f"{len(names)} changed files were not searchable within {SWITCHED_WITHIN_S:.0f} s.")


def wait_for(server: StdioServer, name: str, started: float, limit_s: float = 60.0) -> float:
    """Search until a name is found; return the milliseconds since `started`. Raises BenchError after the limit."""
    while time.perf_counter() - started < limit_s:
        text, failed = server.call("search_code", {"query": name, "limit": HITS, "response_format": "json"})
        if not failed and any(name in hit["text"] for hit in json.loads(text)["hits"]):
            return (time.perf_counter() - started) * 1000
        time.sleep(POLL_S)
    raise BenchError(f"A change was not searchable within {limit_s:.0f} s of a running server.")
