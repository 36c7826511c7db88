"""`status` and `doctor`: what is indexed, and what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ingest.errors import ConfigError, IndexStateError, WriterBusy
from mcp_server.access import Domain, list_domains, local_principal
from mcp_server.cli.common import (
    EXIT_ERROR,
    EXIT_NOTHING,
    ConfigOption,
    DataOption,
    JsonOption,
    RootOption,
    open_service,
    open_setup,
    print_json,
)
from mcp_server.cli.configuring import compare_places, open_environment
from mcp_server.config import Setup, is_read_only
from mcp_server.keyring import read_keys
from mcp_server.service import VERSION


def status(
    root: RootOption = None, config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Show what is indexed, how old it is, and what was skipped and why."""
    from mcp_server.render import render_status, status_to_dict

    setup = open_setup(root, config, data, reads=True)
    with open_service(setup) as service:
        state = service.status(local_principal(setup.settings))
    print_json(status_to_dict(state)) if as_json else print(render_status(state))
    if state.state != "ready":
        raise SystemExit(EXIT_ERROR if state.state == "index_unreadable" else EXIT_NOTHING)


def doctor(
    deep: Annotated[
        bool,
        typer.Option(help="Read every file of every generation that is kept, and take what is damaged out of use."),
    ] = False,
    diff: Annotated[
        tuple[str, str] | None, typer.Option(help="Instead compare two environments: settings, versions, packages.")
    ] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check installation, settings and index; print each setting with where it came from.

    Example: `codecairn doctor --diff staging prod`
    """
    if diff is not None:
        lines = compare_places(*(open_environment(name, root, config, data) for name in diff))
        print_json(lines) if as_json else print("\n".join(lines) or "no difference")
        return
    setup = open_setup(root, config, data, reads=True)
    problems = [*find_intruders(), *find_prompt_changes(), *find_key_damage(setup), *find_violations(setup, deep)]
    if shutil.which("git") is None:
        problems.append("git is not on the PATH; git sources cannot be read.")
    if as_json:
        effective = {"settings": setup.snapshot(), "origins": dict(setup.origins), "data_dir": str(setup.data_dir)}
        print_json({"version": VERSION, "problems": problems, **effective})
    else:
        print(f"codecairn {VERSION}\nroot: {setup.root}\ndata: {setup.data_dir}" + " (ephemeral)" * setup.is_ephemeral)
        for key, value in flatten(setup.snapshot()):
            print(f"{key} = {json.dumps(value)}  ({setup.origins.get(key, 'default')})")
        print("\n".join(f"PROBLEM: {problem}" for problem in problems) or "no problems found")
    if problems:
        raise SystemExit(EXIT_ERROR)


def flatten(value: dict[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of nested tables."""
    for key, part in value.items():
        if isinstance(part, dict):
            yield from flatten(part, f"{at}{key}.")
        else:
            yield f"{at}{key}", part


def find_intruders() -> list[str]:
    """Return a sentence per other distribution that claims one of our package names."""
    from importlib.metadata import packages_distributions

    claimed = packages_distributions()
    return [
        f"The package {name!r} is also claimed by {', '.join(sorted(set(claimed[name]) - {'codecairn'}))}; "
        "install CodeCairn into an environment of its own."
        for name in ("mcp_server", "ingest", "prompts", "golden", "traces")
        if not set(claimed.get(name, ())) <= {"codecairn"}
    ]


def find_prompt_changes() -> list[str]:
    """Return what is wrong with the prompts."""
    import prompts

    return prompts.verify_lock()


def find_key_damage(setup: Setup) -> list[str]:
    """Return what is wrong with the key that signs and names; nothing for one that is not made yet."""
    try:
        read_keys(setup.data_dir, may_make=False)
    except ConfigError as error:
        return [str(error)]
    return []


def find_violations(setup: Setup, deep: bool) -> list[str]:
    """Return what is wrong with the index; nothing for an index that does not exist yet.

    `deep`: what is damaged is taken out of use, so that the next build does not go on with it.
    """
    from ingest.index.invariants import check_invariants, check_settled

    found = []
    for folder in [domain.data_dir for domain in list_domains(setup) if is_indexed(domain)]:
        violations = check_settled(folder, older=True) if deep else check_invariants(folder, deep=False)
        found += [describe_violation(str(violation), folder) for violation in violations]
        if deep and violations and not is_read_only(folder):
            found += take_damaged_out(folder)
    return found


def take_damaged_out(folder: Path) -> list[str]:
    """Take the generations out of use whose files are damaged; return what to do then."""
    from ingest.index.generation import quarantine

    try:
        damaged = quarantine(folder)
    except (WriterBusy, IndexStateError) as error:
        return [str(error)]
    return [
        f"Generation {number} in {folder} is damaged and was taken out of use. Run `codecairn index`: it builds on "
        "one that is intact, or anew."
        for number in damaged
    ]


def describe_violation(found: str, folder: Path) -> str:
    """Return what is wrong with an index as sentences; what its files said when they were opened is some already."""
    if found.endswith("."):
        return found
    return (
        f"The index in {folder} is damaged: {found}. If `codecairn index` does not mend it, move that folder away "
        "and run it again."
    )


def is_indexed(domain: Domain) -> bool:
    """Tell whether there is an index already."""
    return (domain.data_dir / "control.db").exists()
