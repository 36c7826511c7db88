"""Other search tools in the same run: processes of their own that speak JSON lines, never imported.

A rival reads one JSON object per line and answers each with one:

    {"do": "start", "scratch": DIR, "weights": DIR} -> {"name": "what it is and how it runs"}
    {"do": "index", "root": DIR, "kind": "code"}    -> {"seconds": 1.2}
    {"do": "ask", "query": "..."}                   -> {"paths": ["relative/to/root.py", ...], "ms": 3.4}

`scratch` is a folder of its own that is deleted afterwards, `weights` holds the embedded model of this package. `kind`
is `code`, or `designs` where the folder holds prose and prose is asked for. Paths come best first; only the first ten
distinct ones count. {"error": "..."} says why something cannot be done.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from golden.bench import BenchError
from ingest.embedding.static import WEIGHTS

HERE = Path(__file__).parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "CODEGRAPH_TELEMETRY": "0", "CI": "1"}


@dataclass(frozen=True, slots=True)
class RivalSpec:
    """A rival as it is named on the command line."""

    name: str
    command: tuple[str, ...]
    reads_files: bool = False  # it lists files, so whoever uses it reads them whole


@dataclass(frozen=True, slots=True)
class RivalAnswer:
    """What a rival found for one question."""

    paths: tuple[str, ...]
    duration_ms: float  # as the rival measured it


@dataclass(slots=True)
class RivalRun:
    """Everything that one rival did in one variant; `failure` says why it stopped."""

    spec: RivalSpec
    label: str = ""
    answers: dict[str, RivalAnswer] = field(default_factory=dict)
    index_s: float = 0.0
    failure: str = ""


def parse_rival(text: str) -> RivalSpec:
    """Read `NAME` or `NAME=PATH`; any other name takes a command that speaks the protocol. Raises BenchError.

    semble, semble-model: PATH is a Python that has semble. ripgrep: PATH is `rg`, else the one that is installed, else
    Python searches. codegraph: PATH is its command. bm25 needs none.
    """
    name, _, path = text.partition("=")
    path = os.path.expanduser(path)  # the shell does not, behind an equals sign
    script = {"semble-model": "semble", **{n: n for n in ("semble", "ripgrep", "codegraph", "bm25")}}.get(name)
    if script is None:
        if not path:
            raise BenchError(
                f"{name!r} is no built-in rival; give the command that speaks its protocol: {name}=COMMAND."
            )
        return RivalSpec(name, tuple(shlex.split(path)))
    file = str(HERE / f"rival_{script}.py")
    if script == "semble":
        return RivalSpec(name, (path or sys.executable, file, *(["--model"] if name == "semble-model" else [])))
    path = path or shutil.which("rg" if script == "ripgrep" else script) or "" if script != "bm25" else ""
    return RivalSpec(name, (sys.executable, file, *([path] if path else [])), reads_files=script == "ripgrep")


class Rival:
    """A rival's process and its two pipes. Use as a context manager."""

    def __init__(self, spec: RivalSpec) -> None:
        self.spec = spec
        self._scratch = tempfile.TemporaryDirectory(prefix="codecairn-rival-", ignore_cleanup_errors=True)
        env = {**os.environ, **OFFLINE, "SEMBLE_CACHE_LOCATION": f"{self._scratch.name}/cache"}
        self._log = open(Path(self._scratch.name) / "stderr.txt", "w+b")
        try:
            self._process = subprocess.Popen(
                spec.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=env
            )
        except OSError as error:
            self._log.close()
            self._scratch.cleanup()
            raise BenchError(f"The rival {spec.name} cannot be started: {error}.") from error

    def __enter__(self) -> Rival:
        return self

    def __exit__(self, *exc: object) -> None:
        cast("Any", self._process.stdin).close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast("Any", self._process.stdout).close()
        self._log.close()
        self._scratch.cleanup()

    def start(self) -> str:
        """Make it ready; return what it calls itself. Raises BenchError."""
        return str(self._request({"do": "start", "scratch": self._scratch.name, "weights": str(WEIGHTS)})["name"])

    def index(self, root: Path, kind: str = "code") -> float:
        """Let it index a folder of code or of designs; return its seconds. Raises BenchError."""
        return float(self._request({"do": "index", "root": str(root), "kind": kind})["seconds"])

    def ask(self, query: str) -> RivalAnswer:
        """Ask it. Raises BenchError."""
        answer = self._request({"do": "ask", "query": query})
        return RivalAnswer(tuple(answer["paths"]), float(answer["ms"]))

    def _request(self, message: dict[str, str]) -> dict[str, Any]:
        try:
            stdin = cast("Any", self._process.stdin)
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
            answer = json.loads(cast("Any", self._process.stdout).readline() or b'{"error": ""}')
        except (OSError, ValueError) as error:
            raise BenchError(f"{self.spec.name} broke off at {message['do']!r}: {error}. {self._said()}") from error
        if "error" in answer:
            raise BenchError(f"{self.spec.name} at {message['do']!r}: {answer['error'] or self._said() or 'it ended'}")
        return cast("dict[str, Any]", answer)

    def _said(self) -> str:
        self._log.flush()
        text = Path(self._log.name).read_text("utf-8", "replace").strip()
        return text[-300:]


def start_rivals(specs: Sequence[RivalSpec]) -> list[tuple[Rival | None, RivalRun]]:
    """Start each rival; one that cannot start keeps its reason instead of a process."""
    started: list[tuple[Rival | None, RivalRun]] = []
    for spec in specs:
        run = RivalRun(spec)
        try:
            rival: Rival | None = Rival(spec)
        except BenchError as error:
            rival, run.failure = None, str(error)
        started.append((rival, run))
    return started
