"""`config`: what queries ran with, and how settings go from one environment to the next."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_server.access import local_principal
from mcp_server.cli.common import (
    EXIT_ERROR,
    ConfigOption,
    DataOption,
    JsonOption,
    RootOption,
    fail,
    open_service,
    print_json,
    utc_now,
)
from mcp_server.cli.traces import open_records
from mcp_server.config import ENV_PREFIX, Setup, ensure_writable, load_setup
from mcp_server.releases import (
    ENVIRONMENTS,
    PROMOTED,
    Release,
    append_release,
    current_release,
    promoted_values,
    read_releases,
    roll_back,
)
from traces.diff import diff_settings, flatten

if TYPE_CHECKING:
    from golden.shadowing import ShadowReport
    from traces.model import Trace

app = typer.Typer(no_args_is_help=True, help="Compare configurations, and promote or roll back those of environments.")

EnvironmentArgument = Annotated[str, typer.Argument(help="dev, staging or prod.")]
ByOption = Annotated[str, typer.Option("--by", help="Who does it; default: who is logged in.")]


@app.command("diff")
def config_diff(
    one: Annotated[str, typer.Argument(help="A trace, or an environment.")],
    other: Annotated[str, typer.Argument(help="Another one.")],
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two queries or two environments: settings, and of queries also versions and packages.

    Examples: `codecairn config diff 01M7... 01M8...`, `codecairn config diff staging prod`
    """
    if one in ENVIRONMENTS and other in ENVIRONMENTS:
        lines = diff_environments(
            open_environment(one, root, config, data), open_environment(other, root, config, data)
        )
    else:
        with open_records(root, config, data) as records:
            lines = list(diff_settings(records.get(one), records.get(other)))
    print_json(lines) if as_json else print("\n".join(lines) or "no difference")


@app.command("promote")
def config_promote(
    source: EnvironmentArgument,
    target: EnvironmentArgument,
    cases: Annotated[Path, typer.Option("--cases", help="The cases that clear the way.")] = Path("golden"),
    work: Annotated[Path, typer.Option("--work", help="Where indexes and results of the check go.")] = Path(".golden"),
    without_shadow: Annotated[str, typer.Option("--without-shadow", help="Reason to go without a shadow run.")] = "",
    by: ByOption = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Let prompts, model, embedder and retrieval settings of one environment hold in another, if the gate allows it.

    Runs your cases under both. Refused when the gate blocks, recall falls, or the shadow run was worse. What is
    promoted is written to `codecairn.releases.jsonl`, which belongs into version control.
    Example: `codecairn config promote staging prod --cases golden/`
    """
    from golden.environments import check_promotion
    from mcp_server.cli.golden import bench_errors

    if source == target:
        fail("The two environments are the same.")
    origin, place = (open_environment(name, root, config, data) for name in (source, target))
    file = config_file_of(place)
    with bench_errors():
        shadow = None if without_shadow else read_shadow(place, source)
        clearance = check_promotion(origin, place, cases, work, shadow, without_shadow)
    if not clearance.granted:
        print("\n".join(f"promote: BLOCK {failure}" for failure in clearance.failures))
        raise SystemExit(EXIT_ERROR)
    releases = read_releases(file)
    release = Release(
        id=releases[-1].id + 1 if releases else 1,
        at=utc_now(),
        who=by or getpass.getuser(),
        action="promote",
        source=source,
        target=target,
        values=promoted_values(origin.snapshot()),
        evidence=clearance.evidence,
    )
    print(append_release(file, release))


@app.command("rollback")
def config_rollback(
    environment: EnvironmentArgument,
    by: ByOption = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Bring back the settings that held in an environment before its latest promotion.

    The index has a rollback of its own: `codecairn rollback`. Example: `codecairn config rollback prod`
    """
    setup = open_environment(environment, root, config, data)
    print(roll_back(config_file_of(setup), environment, by or getpass.getuser(), utc_now()))


@app.command("log")
def config_log(
    root: RootOption = None, config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Show every promotion and rollback, with who did it and what holds now. Example: `codecairn config log`"""
    setup = load_setup(root=root, config=config, data=data, env=dict(os.environ))
    releases = read_releases(config_file_of(setup))
    if as_json:
        from dataclasses import asdict

        print_json([asdict(release) for release in releases])
        return
    for release in releases:
        holds = current_release(releases, release.target) is release
        print(f"{release}{'  (holds)' if holds else ''}")
    if not releases:
        print("Nothing was promoted yet.")


def open_environment(name: str, root: Path | None, config: Path | None, data: Path | None) -> Setup:
    """Read the settings of one environment, whichever is set outside."""
    if name not in ENVIRONMENTS:
        fail(f"There is no environment {name!r}. Environments: {', '.join(ENVIRONMENTS)}.")
    env = {**os.environ, f"{ENV_PREFIX}ENVIRONMENT": name}
    return load_setup(root=root, config=config, data=data, env=env)


def config_file_of(setup: Setup) -> Path:
    """Return the configuration file; without one there are no environments."""
    if setup.config_file is None:
        fail("There is no configuration file, so there are no environments. `codecairn init` writes one.")
    return setup.config_file


def diff_environments(one: Setup, other: Setup) -> list[str]:
    """Return a line for each promoted setting that differs."""
    lines = []
    for section in PROMOTED:
        left, right = one.snapshot()[section], other.snapshot()[section]
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key):
                values = (json.dumps(values.get(key), ensure_ascii=False) for values in (left, right))
                lines.append(f"{section}.{key}: {' -> '.join(values)}")
    return lines


def compare_places(one: Setup, other: Setup) -> list[str]:
    """Return a line for each setting that differs between two environments, and for each version and package.

    Versions and packages are those that the latest query of each ran with: the two may be other machines, whose data
    directories are copied or mounted here.
    """
    left, right = dict(flatten(one.snapshot())), dict(flatten(other.snapshot()))
    lines = [
        f"{key}: {show(left, key)} -> {show(right, key)}"
        for key in sorted({*left, *right})
        if left.get(key) != right.get(key)
    ]
    traces = [latest_trace(setup) for setup in (one, other)]
    for setup, trace in zip((one, other), traces, strict=True):
        if trace is None:
            name = setup.settings.environment
            lines.append(f"{name}: no query was recorded in {setup.data_dir}; versions and packages are not compared")
    if traces[0] is not None and traces[1] is not None:
        lines += [line for line in diff_settings(traces[0], traces[1]) if not line.startswith(("config ", "env:"))]
    return lines


def show(values: Mapping[str, Any], key: str) -> str:
    """Return a setting as JSON, "-" where it is not set."""
    return json.dumps(values[key], ensure_ascii=False) if key in values else "-"


def latest_trace(setup: Setup) -> Trace | None:
    """Return the latest trace of an environment, None where it has none."""
    if not (setup.data_dir / "traces.db").is_file():
        return None
    with open_service(setup) as service:
        principal = local_principal(setup.settings)
        rows = service.list_traces(principal, 1)
        return service.get_trace(rows[0].id, principal) if rows else None


def read_shadow(target: Setup, source: str) -> ShadowReport | None:
    """Return what an environment's settings did in the shadow of another's, None where no shadow is configured."""
    from golden.shadowing import compare_shadow, read_pairs

    if target.settings.shadow.environment != source:
        return None
    ensure_writable(target.data_dir)
    with open_service(target) as service:
        return compare_shadow(read_pairs(service, local_principal(target.settings)))
