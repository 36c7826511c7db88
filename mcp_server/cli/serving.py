"""`serve`: MCP on stdio or HTTP, with the index built and renewed in the background."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest.errors import IngestError
from mcp_server.access import list_domains
from mcp_server.cli.common import EXIT_USAGE, ConfigOption, DataOption, RootOption, fail, open_service, open_setup
from mcp_server.cli.indexing import build
from mcp_server.cli.looking import is_indexed
from mcp_server.config import Setup
from mcp_server.service import Building, Service

if TYPE_CHECKING:
    from ingest.build import Progress as BuildProgress


@dataclass(slots=True)
class Background:
    """Builds the index while the server answers."""

    setup: Setup
    service: Service
    _built: dict[str, int] = field(default_factory=dict)  # index -> generation of the last build, if it succeeded

    def rebuild(self, trigger: str, paths: frozenset[str] = frozenset()) -> None:
        """Build once; a failure is told to whoever asks next and on stderr, and the last generation keeps serving."""
        from ingest.build import Seen

        self.service.set_building(Building())
        error = ""
        # What changed since the last build is all that has to be looked at.
        seen, self._built = {name: Seen(paths, generation) for name, generation in self._built.items()}, {}
        try:
            reports = build(self.setup, self.service, trigger, self._show, seen)
            self._built = {name: report.manifest.generation for name, report in reports.items()}
            self.service.warm()
        except IngestError as problem:
            error = str(problem)
        except Exception as problem:  # the watcher must outlive whatever one build ran into
            error = f"{type(problem).__name__}: {problem}"
        self.service.set_building(None, error)
        if error:
            print(json.dumps({"event": "index_failed", "error": error}), file=sys.stderr)

    def _show(self, progress: BuildProgress) -> None:
        self.service.set_building(Building(progress.source, progress.done, progress.total))


def serve(
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP instead of stdio.")] = False,
    address: Annotated[str, typer.Argument(help="HOST:PORT for --http.", show_default=False)] = "",
    watch: Annotated[bool, typer.Option(help="Re-index when files or commits change.")] = True,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Serve MCP on stdin and stdout, or with --http on an address (default 127.0.0.1:8765).

    With no configuration it indexes the repository in the background and answers from what it has.
    Examples: `codecairn serve`, `codecairn serve --http 127.0.0.1:9000`
    """
    wire = None if http else divert_stdout()
    setup = open_setup(root, config, data)
    host, port = parse_address(address, setup)
    if http:
        from mcp_server.web import check_bind

        check_bind(host)
    with open_service(setup, log=True) as service:
        stop = start_background(setup, service, watch and setup.settings.server.watch)
        try:
            serve_over_http(service, host, port) if wire is None else serve_over_stdio(service, wire)
        finally:
            stop()


def parse_address(address: str, setup: Setup) -> tuple[str, int]:
    """Return host and port; either may be left out."""
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    if port and not port.isdigit():
        fail(f"{address!r} is no HOST:PORT.", EXIT_USAGE)
    return host or setup.settings.server.http_host, int(port) if port else setup.settings.server.http_port


def start_background(setup: Setup, service: Service, watch: bool) -> Any:  # noqa: ANN401 - a callable that stops it
    """Index in the background (the first time, and on change); returns what stops it."""
    background = Background(setup, service)
    if not watch:
        if not all(map(is_indexed, list_domains(setup))):
            service.set_building(Building())
            threading.Thread(target=background.rebuild, args=("start",), daemon=True).start()
        return lambda: None
    service.set_building(Building() if not all(map(is_indexed, list_domains(setup))) else None)
    holder: list[Any] = []

    def run() -> None:
        # Imported here: the first reply to a client does not wait for the watcher's library.
        from ingest.watch import Watcher

        watcher = Watcher(
            setup.settings.source,
            background.rebuild,
            debounce_ms=setup.settings.server.debounce_ms,
            first=True,
            avoid=setup.data_dir,
        )
        holder.append(watcher)
        watcher.start()

    starter = threading.Timer(0.3, run)  # let `initialize` be answered first
    starter.daemon = True
    starter.start()

    def stop() -> None:
        starter.cancel()
        for watcher in holder:
            watcher.stop()

    return stop


def divert_stdout() -> int:
    """Point descriptor 1 at stderr and return another one for the client's pipe.

    Done before anything is imported or started: from then on nothing that a library or a child process prints can
    reach the client as if it were a message.
    """
    wire = os.dup(1)
    os.dup2(2, 1)
    return wire


def serve_over_stdio(service: Service, wire: int) -> None:
    """Speak MCP on stdin and the client's pipe."""
    from mcp_server.server import serve_stdio

    serve_stdio(service, wire)


def serve_over_http(service: Service, host: str, port: int) -> None:
    """Serve HTTP."""
    from mcp_server.server import http_app
    from mcp_server.web import LOOPBACK_NAMES, make_app, serve_http

    names = (*LOOPBACK_NAMES, *service.setup.settings.server.allowed_hosts)
    hosts = [*names, *(f"{name}:*" for name in names)]
    origins = [f"http://{name}" for name in hosts] + [f"https://{name}" for name in hosts]
    server, mcp_app = http_app(service, hosts, origins)
    print(f"codecairn: http://{host}:{port}/mcp", file=sys.stderr, flush=True)
    serve_http(make_app(service, mcp_app, server.session_manager.run), host, port)
