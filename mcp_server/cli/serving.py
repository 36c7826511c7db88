"""`serve`: MCP on stdio or HTTP, with the index built and renewed in the background."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from ingest.allocator import limit_arenas, part_large_blocks, return_memory
from ingest.errors import IngestError
from ingest.words import keep_few_words
from mcp_server.access import list_domains
from mcp_server.cli.common import (
    EXIT_USAGE,
    ConfigOption,
    DataOption,
    RootOption,
    fail,
    open_service,
    open_setup,
    read_environment,
    say,
)
from mcp_server.cli.looking import is_indexed
from mcp_server.cli.working import worker_command
from mcp_server.config import ConfigFiles, Setup, is_read_only
from mcp_server.errors import NotReady, ServerError
from mcp_server.service import Building, Service

FOLLOW_S = 0.05  # between two looks at what the worker published; each costs microseconds
FIRST_LOOK_S = 0.3  # let `initialize` be answered first
STOP_S = 10.0  # for the worker to end
CALIBRATION_PAUSE_S = 0.03  # between two questions that an index asks itself: queries come first
QUIET_S = 0.5  # without a query, before such a question is asked; ...
PATIENCE_S = 2.0  # ... where there is never so long a pause, one is asked after this time
PREPARE_PATIENCE_S = 60.0  # loading what answers need takes the interpreter for half a second at a time
TRIM_EVERY_S = 30.0  # at most: what generations before left is given back to the system
CONFIG_S = 1.0  # between two looks at the files of the configuration
PROVEN_S = 3.0  # a worker that lives on for so long after it had nothing left to do is sound
MAX_DELAY_S = 60.0


class Restarts:
    """When a worker that died is followed by another one: at once, and ever later while none gets its work done.

    All arguments are seconds of one clock.
    """

    def __init__(self) -> None:
        self._delay_s = 0.0
        self._idle_from = self._ended = inf

    def see_idle(self, now: float) -> None:
        """Note that the worker has nothing left to do."""
        self._idle_from = min(self._idle_from, now)

    def is_due(self, now: float) -> bool:
        """Note that the worker is dead; tell whether to start the next one, and be slower to say so again."""
        if now - self._idle_from >= PROVEN_S:
            self._delay_s = 0.0
        self._idle_from, self._ended = inf, min(self._ended, now)
        if now - self._ended < self._delay_s:
            return False
        self._delay_s, self._ended = min(MAX_DELAY_S, 2 * self._delay_s + 1), inf
        return True


class Background:
    """A worker process beside the server, and a thread that follows what it says and publishes."""

    def __init__(self, setup: Setup, service: Service) -> None:
        self._setup = setup
        self._service = service
        self._child: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="codecairn-follow", daemon=True)
        self._calibration: threading.Thread | None = None
        self._generation = 0
        self._is_prepared = self._is_littered = False
        self._trimmed = 0.0
        self._error = self._change = ""
        self._files = ConfigFiles(setup, read_environment())
        self._looked = 0.0
        self._restarts = Restarts()

    def start(self, *options: str, work: bool) -> None:
        """Start following, and where there is work to do a worker with these options."""
        if work and not all(map(is_indexed, list_domains(self._setup))):
            self._service.set_building(Building())
        self._options = options if work else None
        self._thread.start()

    def stop(self) -> None:
        """End both; a build that runs is finished or thrown away, and the next worker starts it again."""
        self._stop.set()
        self._thread.join(timeout=STOP_S)
        if self._calibration is not None:
            self._calibration.join(timeout=STOP_S)
        if self._child is None:
            return
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _follow(self) -> None:
        self._stop.wait(FIRST_LOOK_S)
        if self._options is not None and not self._stop.is_set():
            self._start_worker()
        while not self._stop.wait(FOLLOW_S):
            try:
                self._look()
            except Exception as error:  # the next look may find it mended; whoever asks meanwhile is told why it fails
                print(json.dumps({"event": "follow_failed", "error": str(error)}), file=sys.stderr, flush=True)
                self._stop.wait(1.0)

    def _restart(self) -> None:
        """Start a worker that watches again after it died."""
        if self._child is None or self._child.poll() is None or self._options:  # with --once it is meant to end
            return
        if not self._setup.data_dir.is_dir():
            return  # somebody took it away: a worker would fill what is about to be put back
        if self._restarts.is_due(time.monotonic()):
            self._start_worker()

    def _start_worker(self) -> None:
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()
        command = worker_command(self._setup, "--child", *(self._options or ()))
        # Not this process's stdout, which belongs to the client.
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2)

    def _look(self) -> None:
        # Here: it loads an engine, and `initialize` does not wait for that.
        from ingest.index.beacon import FETCHING, read_state

        state = read_state(self._setup.data_dir)
        generation = self._read_generation()
        if state is not None:
            self._error = state.error
            self._service.set_alarm("worker", "")
            # One that has said nothing yet is about to build what nobody has seen.
            busy = state.stage not in ("", "checking", FETCHING) or not (generation or state.error)
            if not state.stage and self._child is not None and state.pid == self._child.pid:
                self._restarts.see_idle(time.monotonic())
            self._service.set_building(Building(state.source, state.done, state.total) if busy else None, self._error)
        elif self._child is not None and self._child.poll() is not None:
            ended = describe_end(self._child.returncode)
            self._service.set_building(None, self._error or (ended if self._child.returncode else ""))
            if self._child.returncode or not self._options:  # with --once it is meant to end
                self._service.set_alarm("worker", f"{ended} Until another one runs, changes are not indexed.")
        self._restart()
        self._look_at_configuration()
        if not generation:
            return
        if generation != self._generation:
            self._service.warm()
            self._generation = generation
            self._service.tell_published(generation)
            self._start_calibration()
            self._is_littered = True
        self._trim()

    def _read_generation(self) -> int:
        """Return the generation that is served, 0 before there is one."""
        try:
            return self._service.generation()
        except NotReady:
            return 0

    def _look_at_configuration(self) -> None:
        """Say that the configuration was edited: this server goes on with what it read."""
        now = time.monotonic()
        if now - self._looked < CONFIG_S:
            return
        self._looked = now
        change = self._files.describe_change()
        if change and change != self._change:
            say(f"codecairn: {change}")
        self._change = change
        self._service.set_alarm("configuration", change)

    def _trim(self) -> None:
        """Give back what generations left, after the last of a row of them too."""
        now = time.monotonic()
        if self._is_littered and now - self._trimmed >= TRIM_EVERY_S:
            self._trimmed, self._is_littered = now, False
            return_memory()

    def _start_calibration(self) -> None:
        """Group very many vectors, and set the thresholds of abstention anew, beside the queries; one at a time."""
        if self._calibration is not None and self._calibration.is_alive():
            return
        self._calibration = threading.Thread(target=self._calibrate, name="codecairn-calibrate", daemon=True)
        self._calibration.start()

    def _calibrate(self) -> None:
        try:
            if self._service.group_vectors():  # first: until then searches look at all rows, and these take more room
                return_memory()  # of a million vectors hundreds of megabytes
            self._prepare()
            self._service.calibrate(go_on=self._wait_for_quiet)
        except (IngestError, ServerError, OSError) as error:  # the thresholds before serve on
            print(json.dumps({"event": "calibration_failed", "error": str(error)}), file=sys.stderr, flush=True)
        finally:
            return_memory()

    def _prepare(self) -> None:
        """Make ready for the first answers while nobody asks; once."""
        if not self._is_prepared and self._wait_for_quiet(PREPARE_PATIENCE_S):
            self._is_prepared = True
            self._service.prepare(self._wait_for_quiet)

    def _wait_for_quiet(self, patience_s: float = PATIENCE_S) -> bool:
        """Return once nobody asks, or nobody stops asking; False when the server ends."""
        until = time.monotonic() + patience_s
        while not self._stop.wait(CALIBRATION_PAUSE_S):
            if self._service.idle_s() >= QUIET_S or time.monotonic() >= until:
                return True
        return False


def describe_end(status: int) -> str:
    """Return how a process ended, of which `status` is the exit status or the negative number of a signal."""
    if status < 0:
        return f"The worker was killed by signal {-status}."
    return f"The worker ended with status {status}; its reason is on stderr."


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
    limit_arenas()
    part_large_blocks()
    keep_few_words()
    wire = None if http else divert_stdout()
    setup = open_setup(root, config, data, reads=True)
    host, port = parse_address(address, setup)
    if http:
        from mcp_server.web import check_bind

        check_bind(host)
    import mcp_server.server  # noqa: F401 - now: once the background loads engines, it would take twice as long

    with open_service(setup, log=True) as service, shadowing(service, root, config):
        background = Background(setup, service)
        keeps_up = watch and setup.settings.server.watch
        unbuilt = not all(map(is_indexed, list_domains(setup)))
        can_work = not is_read_only(setup.data_dir)
        background.start(*([] if keeps_up else ["--once"]), work=can_work and (keeps_up or unbuilt))
        try:
            serve_over_http(service, host, port) if wire is None else serve_over_stdio(service, wire)
        finally:
            background.stop()


@contextmanager
def shadowing(service: Service, root: Path | None, config: Path | None) -> Iterator[None]:
    """Run the settings of `[shadow]` behind the live ones, if there are any."""
    chosen = service.setup.settings.shadow
    if not chosen.share:
        yield
        return
    from mcp_server.cli.configuring import open_environment
    from mcp_server.shadow import Shadow

    other = open_environment(chosen.environment, root, config, service.setup.data_dir)
    shadow = Shadow(service, other, chosen.share, lambda text: print(f"codecairn: {text}", file=sys.stderr, flush=True))
    try:
        yield
    finally:
        shadow.close()


def parse_address(address: str, setup: Setup) -> tuple[str, int]:
    """Return host and port; either may be left out."""
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    if port and not port.isdigit():
        fail(f"{address!r} is no HOST:PORT.", EXIT_USAGE)
    return host or setup.settings.server.http_host, int(port) if port else setup.settings.server.http_port


def divert_stdout() -> int:
    """Point descriptor 1 at stderr and return another one for the client's pipe.

    Done before anything is imported or started: from then on nothing that a library or a child process prints can
    reach the client as if it were a message.
    """
    wire = os.dup(1)
    os.dup2(2, 1)
    return wire


def divert_stdin() -> int:
    """Return a descriptor on which the client is heard, until it closes its pipe or somebody presses Ctrl-C.

    A thread that reads from a client that says nothing cannot be woken. So what it says is handed on through a pipe,
    which Ctrl-C closes: then the server ends as if the client had gone. Another Ctrl-C ends it at once.
    """
    client, nothing = os.dup(0), os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # no child process shall take a message for its own
    heard, hand_on = os.pipe()

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(nothing, hand_on)  # not closed: the thread would write into what is opened next under its number

    def listen() -> None:
        with suppress(OSError):  # the terminal was closed, or this server ends
            while data := os.read(client, 65536):
                while data:
                    data = data[os.write(hand_on, data) :]
        os.dup2(nothing, hand_on)

    signal.signal(signal.SIGINT, end)
    threading.Thread(target=listen, name="codecairn-listen", daemon=True).start()
    return heard


def serve_over_stdio(service: Service, wire: int) -> None:
    """Speak MCP on stdin and the client's pipe."""
    from mcp_server.server import serve_stdio

    if sys.stdin.isatty():
        say("codecairn: waiting for an MCP client on standard input; Ctrl-C ends.")
    serve_stdio(service, divert_stdin(), wire)


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
