"""`golden`: run the golden set and its gate, and make a gate for one's own repository."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcp_server.cli.common import (
    EXIT_ERROR,
    ConfigOption,
    DataOption,
    JsonOption,
    RootOption,
    fail,
    open_service,
    open_setup,
    print_json,
)

if TYPE_CHECKING:
    from golden.suite import Suite

app = typer.Typer(
    no_args_is_help=True,
    help="""Run the golden set and its gate, or a set of your own.

Without `--cases` it is the shipped set over the shipped corpora. With `--cases DIR` it is yours over what your
configuration indexes: `codecairn golden mine --cases golden/`, then `update`, then `gate` in CI.
""",
)

CasesOption = Annotated[
    Path | None, typer.Option("--cases", help="Folder of your own cases; default: the shipped set.")
]
WorkOption = Annotated[Path, typer.Option("--work", help="Where indexes and results go.")]
WORK = Path(".golden")


def open_suite(cases: Path | None, work: Path, root: Path | None, config: Path | None, data: Path | None) -> Suite:
    """Return the shipped suite, or one of a team's own cases over its own sources."""
    from golden.suite import Suite

    if cases is None:
        return Suite(work=work)
    return Suite(cases, work, open_setup(root, config, data))


@app.command("run")
def golden_run(
    cases: CasesOption = None,
    work: WorkOption = WORK,
    save: Annotated[Path | None, typer.Option(help="Write the figures of each case, for `golden compare`.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the cases, print the figures per bucket and write one readable text per case.

    Example: `codecairn golden run --save before.jsonl`
    """
    from golden.baseline import write_baseline
    from golden.results import render_stats, render_times, write_results
    from golden.suite import run_suite

    with bench_errors():
        suite = open_suite(cases, work, root, config, data)
        removed = len(suite.removed())
        run = run_suite(suite)
    write_results(run.report, suite.results, removed)
    if save:
        write_baseline(run.to_baseline(), save)
    if as_json:
        stats = [row.to_dict() for row in (*run.report.stats(), run.report.overall())]
        print_json({"seconds": run.report.seconds, "stats": stats, "blame": run.report.blame()})
        return
    print(render_stats(run.report, removed))
    print(f"{render_times(run.report)}; one text per case in {suite.results}")


@app.command("update")
def golden_update(
    cases: CasesOption = None,
    work: WorkOption = WORK,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Run the cases and accept what they show as the baseline; floors are written where there are none.

    Review the difference of `baseline.jsonl` before you commit it. Example: `codecairn golden update`
    """
    from golden.baseline import write_baseline
    from golden.results import render_stats, write_results
    from golden.suite import FLOORS, run_suite, write_floors

    with bench_errors():
        suite = open_suite(cases, work, root, config, data)
        removed = len(suite.removed())
        run = run_suite(suite)
    write_results(run.report, suite.results, removed)
    write_baseline(run.to_baseline(), suite.baseline_file)
    if not (suite.folder / FLOORS).is_file():
        write_floors(run.report, suite.folder / FLOORS)
    print(render_stats(run.report, removed))
    print(f"accepted: {suite.baseline_file}")


@app.command("gate")
def golden_gate(
    cases: CasesOption = None,
    work: WorkOption = WORK,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Run the cases and decide: exit code 1 when a floor does not hold or something is worse than the baseline.

    Writes `junit.xml` and one text per case. Example: `codecairn golden gate --cases golden/`
    """
    from golden.gate import run_gate

    with bench_errors():
        gate = run_gate(open_suite(cases, work, root, config, data))
    print(gate)
    if not gate.passed:
        raise SystemExit(EXIT_ERROR)


@app.command("mine")
def golden_mine(
    cases: Annotated[Path, typer.Option("--cases", help="Folder for the cases.")] = Path("golden"),
    per_bucket: Annotated[int, typer.Option("--per-bucket", min=1, max=1000, help="At most so many per bucket.")] = 25,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Make cases from what is indexed: doc comments, names, ticket-linked commits, designs. Index first.

    Example: `codecairn index && codecairn golden mine --cases golden/ && codecairn golden update --cases golden/`
    """
    from golden.mine import mine_cases, write_mined
    from golden.suite import HERE
    from mcp_server.access import local_principal

    setup = open_setup(root, config, data)
    with bench_errors(), open_service(setup) as service:
        mined = mine_cases(service, local_principal(setup.settings), HERE, per_bucket)
        file = write_mined(mined, cases)
    counts = {bucket: sum(case.bucket == bucket for case in mined) for bucket in dict.fromkeys(c.bucket for c in mined)}
    print(f"{len(mined)} cases in {file}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


@contextmanager
def bench_errors() -> Iterator[None]:
    """Turn an error of a benchmark into a sentence."""
    from golden.case import GoldenError

    try:
        yield
    except GoldenError as error:
        fail(str(error))
