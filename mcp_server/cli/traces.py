"""`trace`: read the records of past queries."""

from __future__ import annotations

from typing import Annotated

import typer

from mcp_server.access import local_principal
from mcp_server.cli.common import ConfigOption, DataOption, JsonOption, RootOption, open_service, open_setup, print_json

app = typer.Typer(no_args_is_help=True, help="Read the records of past queries.")


@app.command("list")
def trace_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the latest queries."""
    setup = open_setup(root, config, data)
    with open_service(setup) as service:
        rows = service.list_traces(local_principal(setup.settings), limit)
    if as_json:
        names = ("id", "at", "tool", "entry", "query", "status", "duration_ms", "generation")
        print_json([{name: getattr(row, name) for name in names} for row in rows])
        return
    for row in rows:
        print(f"{row.id}  {row.at}  {row.tool:<13} {row.status:<8} {row.duration_ms:7.1f} ms  {row.query[:80]}")


@app.command("show")
def trace_show(
    trace_id: str,
    stage: Annotated[str, typer.Option(help="One stage in full, such as rerank.")] = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how one result came about."""
    setup = open_setup(root, config, data)
    with open_service(setup) as service:
        principal = local_principal(setup.settings)
        if as_json:
            from dataclasses import asdict

            print_json(asdict(service.get_trace(trace_id, principal)))
        else:
            print(service.explain(trace_id, stage, principal))
