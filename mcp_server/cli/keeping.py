"""`backup`, `restore` and `hook`: keep an index safe, and tell it of commits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mcp_server.access import list_domains
from mcp_server.cli.common import (
    ConfigOption,
    DataOption,
    JsonOption,
    RootOption,
    fail,
    open_setup,
    print_json,
    read_environment,
    read_setup,
    utc_now,
)
from mcp_server.cli.working import work_once
from mcp_server.config import Setup
from mcp_server.keyring import read_keys

hook_app = typer.Typer(no_args_is_help=True, help="Git hooks that index after each commit, checkout, merge and rebase.")


def backup(
    file: Annotated[Path | None, typer.Argument(help="Where to; default: a dated file here.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the index, the traces and the signing key into one file. Servers and workers may go on meanwhile.

    Example: `codecairn backup /backups/shop.tar`
    """
    from ingest.backup import create_backup

    setup = open_setup(root, config, data, reads=True)
    read_keys(setup.data_dir, may_make=False)  # a damaged key is told now, not when it is needed
    target = file or Path(f"codecairn-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar")
    report = create_backup(setup.data_dir, target.absolute(), utc_now())
    if as_json:
        counts = {"generations": report.generations, "bytes": report.bytes}
        print_json({"file": str(report.file), **counts, "warnings": report.warnings})
    else:
        print(f"wrote {report.file}: {report.files} files, {report.bytes / 1e6:.1f} MB, checked")
        print_warnings(report.warnings)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `codecairn backup` wrote.")],
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup in place of an empty or missing data directory, after checking every file of it.

    Example: `codecairn restore /backups/shop.tar --data ~/.local/share/codecairn/shop`
    """
    from ingest.backup import restore_backup

    setup = read_setup(root, config, data)
    report = restore_backup(file.absolute(), setup.data_dir)
    if as_json:
        place = {"data_dir": str(setup.data_dir), "generations": report.generations}
        print_json({**place, "warnings": report.warnings})
    else:
        numbers = ", ".join(map(str, report.generations.values()))
        print(f"restored {report.files} files to {setup.data_dir}; serving generation {numbers}")
        print_warnings(report.warnings)


def print_warnings(warnings: Sequence[str]) -> None:
    """Say what is wrong and kept nobody from what they wanted."""
    for warning in warnings:
        print(f"codecairn: {warning}", file=sys.stderr)


@hook_app.command("install")
def hook_install(root: RootOption = None, config: ConfigOption = None, data: DataOption = None) -> None:
    """Add a few lines to the repository's hooks; what is there stays. They run in the background and never fail.

    Example: `codecairn hook install --root ~/src/project`
    """
    from ingest.hooks import describe_place, install

    setup = open_setup(root, config, data)
    changes = install(setup.root, hook_command(setup), read_environment())
    for change in changes:
        print(f"{change.what}: {change.file}")
    for change in changes:
        if change.note:
            print(change.note)
    if note := describe_place(setup.root, read_environment()):
        print(note)


@hook_app.command("uninstall")
def hook_uninstall(root: RootOption = None, config: ConfigOption = None, data: DataOption = None) -> None:
    """Take those lines out again; a hook that holds nothing else is removed."""
    from ingest.hooks import uninstall

    setup = open_setup(root, config, data)
    changes = uninstall(setup.root, read_environment())
    for change in changes:
        print(f"{change.what}: {change.file}")
    if not changes:
        print("no hook of ours was there")


@hook_app.command("run")
def hook_run(root: RootOption = None, config: ConfigOption = None, data: DataOption = None) -> None:
    """Say that something was committed or checked out: wakes the worker, or builds once where none lives.

    Of many at a time one builds and one waits for it; the others end at once.
    """
    from ingest.gitio import head_commit
    from ingest.index import jobs

    setup = open_setup(root, config, data)
    for domain in list_domains(setup):
        with closing(jobs.connect_jobs(domain.data_dir)) as db:
            for source in domain.sources:
                if source.type == "git" and not source.is_remote:
                    jobs.want(db, source.name, "hook", utc_now(), head=head_commit(source.path) or "", priority=1)
    if not work_once(setup):
        fail("The build failed; `codecairn status` says why.")


def hook_command(setup: Setup) -> list[str]:
    """Return the command that a hook runs: this Python and these settings, wherever git is called from."""
    config = ["--config", str(setup.config_file)] if setup.config_file else []
    place = ["--root", str(setup.root), *config, "--data", str(setup.data_dir)]
    return [sys.executable, "-P", "-m", "mcp_server.cli", "hook", "run", *place]
