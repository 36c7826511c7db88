"""`worker`: keep the index up to date beside whoever serves."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from mcp_server.access import list_domains
from mcp_server.cli.common import EXIT_ERROR, ConfigOption, DataOption, RootOption, open_setup, say, utc_now
from mcp_server.cli.indexing import build_domain, drop_domains, old_domains
from mcp_server.config import Setup

if TYPE_CHECKING:
    from ingest.build import BuildReport
    from ingest.worker import Order, Target, Worker

GRACE_S = 5.0  # for a build that runs when the server goes; then it is killed, which loses nothing

Once = Annotated[bool, typer.Option("--once", help="Build what is due and end.")]
Watch = Annotated[bool, typer.Option(help="Watch files; without, sources are looked at every upkeep.poll_s.")]
Child = Annotated[bool, typer.Option("--child", hidden=True, help="End when standard input is closed.")]


def worker(
    once: Once = False,
    watch: Watch = True,
    child: Child = False,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Index on change, poll trackers and remote repositories, sweep and scrub, until stopped.

    `codecairn serve` starts one by itself. Run it on its own where several servers share one data directory, or where
    a timer or hook shall do it (`--once`). A second worker on one data directory stands by until the first one ends.
    Example: `codecairn worker --root ~/src/project`
    """
    setup = open_setup(root, config, data)
    if once:
        if not work_once(setup):
            say_failures(setup)
            raise SystemExit(EXIT_ERROR)
        return
    work = make_worker(setup, watch=watch)
    signal.signal(signal.SIGTERM, lambda *_: work.stop())
    if child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server too, which closes the pipe
        threading.Thread(target=end_with_parent, args=(work,), daemon=True).start()
    if not work.run(once=once):
        raise SystemExit(EXIT_ERROR)


def work_once(setup: Setup) -> bool:
    """Build what is due, unless others see to it; tell whether every source could be built.

    Only the process whose turn it is loads what a build needs: git runs dozens of hooks at once.
    """
    from ingest.turn import take_turn

    lock = take_turn(setup.data_dir, lambda: is_due(setup))
    if lock is None:
        return True
    try:
        work = make_worker(setup, watch=False)
        signal.signal(signal.SIGTERM, lambda *_: work.stop())
        return work.run(once=True, held=lock)
    finally:
        lock.release()


def say_failures(setup: Setup) -> None:
    """Say on stderr which sources could not be brought up to date, and why."""
    from ingest.index.jobs import read_work
    from mcp_server.upkeep import describe_stalled

    for domain in list_domains(setup):
        for job in read_work(domain.data_dir).jobs:
            if job.attempts:
                say(f"codecairn: {describe_stalled(job)}")


def is_due(setup: Setup) -> bool:
    """Tell whether a source of any index has work that can be done now."""
    from ingest.index import jobs

    for domain in list_domains(setup):
        with closing(jobs.connect_jobs(domain.data_dir)) as db:
            if jobs.due_jobs(db, {source.name for source in domain.sources}, utc_now()):
                return True
    return False


def make_worker(setup: Setup, *, watch: bool) -> Worker:
    """Return the worker of a configuration."""
    from ingest.embedding import load_embedder
    from ingest.index.vector import preload_vectors
    from ingest.worker import Target, Worker

    embedder = load_embedder(setup.settings.embedding, setup.api_key)
    domains = {domain.name: domain for domain in list_domains(setup)}
    old = old_domains(setup, list(domains.values()))  # of now: one that comes later is of a newer configuration

    def run_build(target: Target, order: Order) -> BuildReport:
        try:
            report = build_domain(
                setup,
                embedder,
                domains[target.name],
                order.trigger,
                order.progress,
                only=order.only,
                seen=order.seen,
                rehash=order.rehash,
                may_ask=order.may_ask,
                skip_failing=True,
            )
            drop_domains(old, list(domains.values()))
            return report
        except Exception as error:
            print(json.dumps({"event": "index_failed", "error": f"{error}"}), file=sys.stderr, flush=True)
            raise

    return Worker(
        setup.data_dir,
        [Target(domain.name, domain.sources, domain.data_dir) for domain in domains.values()],
        run_build,
        utc_now,
        upkeep=setup.settings.upkeep,
        debounce_ms=setup.settings.server.debounce_ms,
        watch=watch,
        at_leisure=preload_vectors if embedder else lambda: None,  # the first change would wait a second and a half
        tell=say,
    )


def end_with_parent(work: Worker) -> None:
    """Stop when whoever started this process closed its pipe or died."""
    while os.read(0, 1024):
        pass
    work.stop()
    timer = threading.Timer(GRACE_S, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


def worker_command(setup: Setup, *options: str) -> list[str]:
    """Return the command line of a worker with the same settings and the same code as this process."""
    boot = f"import sys; sys.path[:] = {sys.path!r}; from mcp_server.cli import main; main()"
    config = ["--config", str(setup.config_file)] if setup.config_file else []
    place = ["--root", str(setup.root), *config, "--data", str(setup.data_dir)]
    return [sys.executable, "-c", boot, "worker", *options, *place]
