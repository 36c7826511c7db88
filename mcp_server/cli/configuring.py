"""`config`: what queries ran with."""

from __future__ import annotations

from typing import Annotated

import typer

from mcp_server.cli.common import ConfigOption, DataOption, JsonOption, RootOption, print_json
from mcp_server.cli.traces import open_records

app = typer.Typer(no_args_is_help=True, help="Compare the configurations that queries ran with.")


@app.command("diff")
def config_diff(
    one: Annotated[str, typer.Argument(help="A trace.")],
    other: Annotated[str, typer.Argument(help="Another trace.")],
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what two queries ran with that differs: settings, packages, versions, prompt, model, index generation.

    Example: `codecairn config diff 01M7... 01M8...`
    """
    from traces.diff import diff_settings

    with open_records(root, config, data) as records:
        lines = list(diff_settings(records.get(one), records.get(other)))
    print_json(lines) if as_json else print("\n".join(lines) or "no difference")
