"""`golden`: run the golden set and its gate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mcp_server.cli.common import EXIT_ERROR, JsonOption, fail, print_json

app = typer.Typer(no_args_is_help=True, help="Run the golden set and its gate.")


@app.command("run")
def golden_run(as_json: JsonOption = False) -> None:
    """Run the golden set over its corpora (this repository and installed packages) and print the figures per bucket."""
    from golden.case import load_cases
    from golden.gate import RESULTS
    from golden.run import render_stats, run_golden, write_results

    with bench_errors():
        report = run_golden(load_cases(), RESULTS / "index")
    write_results(report, RESULTS / "results")
    print_json({"seconds": report.seconds, "stats": render_stats(report)}) if as_json else print(render_stats(report))


@app.command("gate")
def golden_gate() -> None:
    """Run the golden set and decide: exit code 1 when a bucket is below its floor."""
    from golden.gate import run_gate

    with bench_errors():
        gate = run_gate()
    print(gate)
    if not gate.passed:
        raise SystemExit(EXIT_ERROR)


@contextmanager
def bench_errors() -> Iterator[None]:
    """Turn an error of a benchmark into a sentence."""
    from golden.case import GoldenError

    try:
        yield
    except GoldenError as error:
        fail(str(error))
