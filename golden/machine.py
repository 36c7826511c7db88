"""Facts of this machine and of its processes, read from /proc; every figure is printed beside them."""

from __future__ import annotations

import os
import platform
import threading
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

SAMPLE_S = 0.02
TREE_EVERY = 10  # samples: to look through all processes each time took a tenth of a core from what is measured


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a figure was measured on."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    codecairn: str
    load_1m: float  # other work on the machine makes times longer

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.cpu}), {self.memory_gb:.0f} GB, {self.system}, Python {self.python}, "
            f"CodeCairn {self.codecairn}, load {self.load_1m:.1f}"
        )


def read_machine() -> MachineFacts:
    """Read the facts of this machine."""
    from mcp_server.service import VERSION

    return MachineFacts(
        cpu=read_field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=int((read_field(Path("/proc/meminfo"), "MemTotal") or "0 kB").split()[0]) / 1e6,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        codecairn=VERSION,
        load_1m=os.getloadavg()[0],
    )


def read_field(file: Path, name: str) -> str:
    """Return a `name: value` line's value; "" where there is none."""
    try:
        for line in file.read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:
        return ""
    return ""


def process_tree(root: int) -> list[int]:
    """Return a process with all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (parent := read_parent(int(entry.name))):
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def read_parent(pid: int) -> int:
    """Return a process's parent; 0 when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def resident_mb(pids: list[int]) -> float:
    """Return the sum of the resident memory of processes; pages that they share count once per process."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        except OSError:
            continue  # it ended between listing and reading
    return total * os.sysconf("SC_PAGE_SIZE") / 1e6


def own_mb(pid: int) -> float:
    """Return the resident memory of a process that is mapped from no file: what it made. 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("RssAnon:")), 0.0)


class PeakMemory:
    """Samples the memory of a process and all its descendants until stopped."""

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self.processes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pids: list[int] = []
        for sample in count():
            if self._stop.is_set():
                return
            if sample % TREE_EVERY == 0:
                pids = process_tree(self._pid)
            now_mb = resident_mb(pids)
            if now_mb > self.peak_mb:
                self.peak_mb, self.processes = now_mb, len(pids)
            time.sleep(SAMPLE_S)


def folder_mb(path: Path) -> float:
    """Return the size on disk of a folder; a file with several hard links counts once."""
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(path):
        for name in names:
            stat = os.lstat(os.path.join(folder, name))
            seen[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(seen.values()) / 1e6
