"""`codecairn bench serve`: start of the server, first search, warm round trips."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.bench.command import SourceType, codecairn_command, find_type, serving, write_config
from golden.corpus import build, make_setup, open_service, principal_of
from golden.machine import MachineFacts, read_machine
from golden.metrics import percentile
from golden.stdio import StdioServer
from ingest.config import SourceConfig
from mcp_server.config import Setup, source_name
from mcp_server.errors import ServerError
from mcp_server.results import SearchRequest
from mcp_server.service import Service


@dataclass(frozen=True, slots=True)
class ServeBench:
    """Result of `bench serve`. Milliseconds."""

    import_mcp_ms: float  # a fresh Python that imports mcp.server and ends
    initialize_ms: float  # from the start of the process to the reply
    first_search_ms: float  # the first call after it
    warm_p50_ms: float  # MCP round trips over stdio
    warm_p95_ms: float
    in_process_p50_ms: float  # the same queries without MCP
    in_process_p95_ms: float
    queries: int
    chunks: int
    definition_chars: int  # tools/list and instructions: what each session of an agent pays
    machine: MachineFacts = field(default_factory=read_machine)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        above_ms = self.initialize_ms - self.import_mcp_ms
        return "\n".join(
            (
                f"index: {self.chunks:,} chunks",
                f"initialize: {self.initialize_ms:.0f} ms after the start of the process, "
                f"{above_ms:.0f} ms above `import mcp.server` ({self.import_mcp_ms:.0f} ms)",
                f"first search: {self.first_search_ms:.0f} ms",
                f"warm search_code over stdio: p50 {self.warm_p50_ms:.1f} ms, p95 {self.warm_p95_ms:.1f} ms "
                f"({self.queries} calls)",
                f"in process: p50 {self.in_process_p50_ms:.1f} ms, p95 {self.in_process_p95_ms:.1f} ms",
                f"tool definitions and instructions: {self.definition_chars:,} characters",
                str(self.machine),
            )
        )


QUERIES = (
    "where is the configuration file read",
    "open a file and read it line by line",
    "raise an error when the argument is not valid",
    "retry after a timeout",
    "parse command line options",
    "main",
    "split a string into words",
    "cache the result of an expensive call",
    "write a test for the parser",
    "version",
)


def run_serve(
    path: Path, *, source_type: SourceType | None = None, rounds: int = 20, say: Callable[[str], None] = lambda _: None
) -> ServeBench:
    """Measure a server on a built index of a folder: start, first search, warm round trips. Raises BenchError."""
    kind: SourceType = source_type or find_type(path)
    source = SourceConfig(name=source_name(path.resolve().name), type=kind, path=path.resolve())
    with tempfile.TemporaryDirectory(prefix="codecairn-bench-") as scratch:
        setup = make_setup((source,), Path(scratch) / "data")
        config = Path(scratch) / "codecairn.toml"
        write_config(config, path.resolve(), kind)
        with open_service(setup) as service:
            say("indexing")
            chunks = build(setup, service).manifest.chunks
            in_process = [timed(partial(search_once, service, setup, query)) for query in QUERIES * (rounds + 1)]
        options = ("--config", str(config), "--root", str(path.resolve()), "--data", str(setup.data_dir), "--no-watch")
        say("starting the server")
        import_ms = min(timed(import_mcp) for _ in range(3))
        start = [start_once(options) for _ in range(3)]
        with serving(options) as server:
            server.call("search_code", {"query": QUERIES[0]})
            warm = [timed(partial(server.call, "search_code", {"query": query})) for query in QUERIES * (rounds + 1)]
    skip = len(QUERIES)  # the first round warms up
    return ServeBench(
        import_mcp_ms=import_ms,
        initialize_ms=percentile([first for first, _, _ in start], 0.5),
        first_search_ms=percentile([second for _, second, _ in start], 0.5),
        warm_p50_ms=percentile(warm[skip:], 0.5),
        warm_p95_ms=percentile(warm[skip:], 0.95),
        in_process_p50_ms=percentile(in_process[skip:], 0.5),
        in_process_p95_ms=percentile(in_process[skip:], 0.95),
        queries=len(warm) - skip,
        chunks=chunks,
        definition_chars=start[0][2],
    )


def timed(action: Callable[[], object]) -> float:
    """Return the milliseconds that an action takes."""
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1000


def search_once(service: Service, setup: Setup, query: str) -> None:
    """Search as the tool does; a query without hits is a result too."""
    try:
        service.search(SearchRequest(query), principal_of(setup), entry="eval")
    except ServerError as error:
        raise BenchError(f"The index cannot be searched: {error}") from error


def import_mcp() -> None:
    """Start a Python that imports the SDK and ends."""
    subprocess.run([sys.executable, "-c", "import mcp.server"], check=True)


def start_once(options: Sequence[str]) -> tuple[float, float, int]:
    """Start a server; return ms to the handshake, ms of the first search, characters of the definitions."""
    started = time.perf_counter()
    with StdioServer([*codecairn_command(), "serve", *options]) as server:
        hello = server.initialize()
        initialize_ms = (time.perf_counter() - started) * 1000
        search_ms = timed(lambda: server.call("search_code", {"query": QUERIES[0]}))
        tools = server.request("tools/list", {})["tools"]
    size = len(json.dumps(tools, ensure_ascii=False, separators=(",", ":"))) + len(hello.get("instructions", ""))
    return initialize_ms, search_ms, size
