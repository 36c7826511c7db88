"""`report`: what queries cost, how long they took, how good they were, what they lacked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcp_server.cli.common import ConfigOption, DataOption, JsonOption, RootOption, print_json
from mcp_server.cli.traces import open_records
from mcp_server.records import ReportName

app = typer.Typer(
    no_args_is_help=True, help="What queries cost, how long they took, how good they were, what they lacked."
)

DaysOption = Annotated[int, typer.Option(min=1, max=3650, help="Over so many days, today included.")]


@app.command("costs")
def report_costs(
    days: DaysOption = 30,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show spend per day, model, module, transform and bucket, cache hit rates, and the day's budget.

    Example: `codecairn report costs --days 7`
    """
    show("costs", days, root, config, data, as_json)


@app.command("latency")
def report_latency(
    days: DaysOption = 30,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show p50, p90, p95 and p99 of whole queries and of each stage; errors and degraded codes.

    Example: `codecairn report latency`
    """
    show("latency", days, root, config, data, as_json)


@app.command("quality")
def report_quality(
    days: DaysOption = 30,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show abstained, ungrounded and stale rates by day, prompt, model, generation and deployment; alarms of drift.

    Example: `codecairn report quality --json`
    """
    show("quality", days, root, config, data, as_json)


@app.command("gaps")
def report_gaps(
    days: DaysOption = 30,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where knowledge is missing: questions that were not answered, and their parts that nothing covers, grouped.

    Example: `codecairn report gaps --days 7`
    """
    show("gaps", days, root, config, data, as_json)


def show(
    panel: ReportName, days: int, root: Path | None, config: Path | None, data: Path | None, as_json: bool
) -> None:
    """Print one report over the last days."""
    with open_records(root, config, data) as records:
        report = records.report(panel, days)
    print_json(report.to_dict()) if as_json else print(report)
