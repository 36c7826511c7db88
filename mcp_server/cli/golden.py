"""`golden`: run the golden set and its gate, and make a gate for one's own repository."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcp_server.cli.common import (
    EXIT_ERROR,
    EXIT_USAGE,
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
    from mcp_server.config import Setup

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
REPORTS = Path("reports")


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
    planted: Annotated[
        bool, typer.Option("--planted", help="Show instead that ten faults in the product are refused, on all cases.")
    ] = False,
    ship: Annotated[
        bool, typer.Option("--ship", help="Decide over a release: the nine checks of the ship gate, with their tests.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the scoreboard, with --ship.")] = REPORTS,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Run the cases and decide: exit code 1 when a floor does not hold or something is worse than the baseline.

    Writes `junit.xml` and one text per case. Examples: `codecairn golden gate --cases golden/`,
    `codecairn golden gate --planted`, `codecairn golden gate --ship` (in a clone; minutes)
    """
    from golden.gate import run_gate

    if planted:
        if let_through := try_faults(open_suite(None, work, root, config, data)):
            fail(f"The gate does not see: {', '.join(let_through)}.")
        return
    if ship:
        decide_shipping(open_suite(cases, work, root, config, data), out)
        return
    with bench_errors():
        gate = run_gate(open_suite(cases, work, root, config, data))
    print(gate)
    if not gate.passed:
        raise SystemExit(EXIT_ERROR)


def decide_shipping(suite: Suite, out: Path) -> None:
    """Run the gate, the planted faults, the ways to search and the tests; print the nine checks, end with 1 on a no."""
    from golden.gate import run_gate
    from golden.planted import FAULTS
    from golden.ship import run_ship
    from golden.suite import Suite as Shipped
    from golden.worth import measure_worth

    with bench_errors():
        gate = run_gate(suite)
        worth = measure_worth(suite, [verdict.outcome.present_case for verdict in gate.run.report.verdicts])
        # Where the gate blocks as it is, a fault shows nothing.
        let_through = try_faults(Shipped(work=suite.work)) if gate.passed else list(FAULTS)
        decision = run_ship(gate, suite, worth, let_through, out)
    print(decision)
    if not decision.passed:
        raise SystemExit(EXIT_ERROR)


def try_faults(suite: Suite) -> list[str]:
    """Plant each fault and print what the gate says to it; return those that it lets through."""
    from golden.corpus import ORGANISATION
    from golden.planted import FAULTS, judge_core, prepare_ground, try_fault

    let_through = []
    with bench_errors():
        cases = [case for case in suite.cases() if case.corpus == ORGANISATION]
        ground = prepare_ground(suite.work / "planted")
        if sound := judge_core(ground, cases, suite).failures:
            fail(f"Without any fault the gate blocks already, so nothing can be shown: {sound[0]}.")
        for name, fault in FAULTS.items():
            failures = try_fault(fault, cases, ground, suite.work / "planted-build", suite).failures
            print(f"{name:20} {'BLOCK: ' + failures[0] if failures else 'LET THROUGH'}", flush=True)
            let_through += [] if failures else [name]
    return let_through


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


@app.command("compare")
def golden_compare(
    before: Annotated[Path | None, typer.Argument(help="A stored run (`golden run --save`), or a baseline.")] = None,
    after: Annotated[Path | None, typer.Argument(help="Another one.")] = None,
    dimension: Annotated[str, typer.Option(help="What may differ: prompts, retrieval, model, embedder, index.")] = "",
    allow_mixed: Annotated[bool, typer.Option("--allow-mixed", help="Compare although more differs.")] = False,
    ship: Annotated[
        bool, typer.Option("--ship", help="Also say whether the second may ship in place of the first.")
    ] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Compare live answers with those of the shadow.")] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Compare two stored runs case by case; refused where more than one thing differs between them.

    Examples: `codecairn golden compare golden/cases/baseline.jsonl after.jsonl --dimension retrieval`,
    `codecairn golden compare --shadow`
    """
    if shadow:
        compare_with_shadow(open_setup(root, config, data))
        return
    if before is None or after is None:
        fail("Give two stored runs, or --shadow.", EXIT_USAGE)
    from golden.baseline import read_baseline
    from golden.compare import compare_runs, ship_failures

    with bench_errors():
        one, other = read_baseline(before), read_baseline(after)
        comparison = compare_runs(one, other, dimension, allow_mixed=allow_mixed)
    print(comparison)
    failures = list(ship_failures(one, other)) if ship else []
    if ship:
        print("\n".join(f"ship: BLOCK {failure}" for failure in failures) or "ship: PASS")
    if failures:
        raise SystemExit(EXIT_ERROR)


def compare_with_shadow(setup: Setup) -> None:
    """Print the live queries beside those of the shadow; end with 1 where the shadow may not be promoted."""
    from golden.shadowing import compare_shadow, read_pairs
    from mcp_server.access import local_principal

    with open_service(setup) as service:
        report = compare_shadow(read_pairs(service, local_principal(setup.settings)))
    failures = list(report.failures())
    print("\n".join((str(report), *failures)))
    if failures:
        raise SystemExit(EXIT_ERROR)


@app.command("report")
def golden_report(
    cases: CasesOption = None,
    work: WorkOption = WORK,
    out: Annotated[Path, typer.Option(help="Folder for the scoreboard.")] = REPORTS,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also what each retriever, stage, transform and feature is worth.")
    ] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Run the cases and write `scoreboard.json` with a hash over its inputs, `final-scoreboard.md` and a plot.

    Example: `codecairn golden report --out reports --ablate`
    """
    from golden.gate import run_gate
    from golden.scoreboard import MARKDOWN, write_scoreboard
    from golden.worth import measure_worth

    with bench_errors():
        suite = open_suite(cases, work, root, config, data)
        gate = run_gate(suite)
        worth = (
            measure_worth(suite, [verdict.outcome.present_case for verdict in gate.run.report.verdicts])
            if ablate
            else []
        )
        board = write_scoreboard(gate, suite, out, worth)
    print(f"{out / MARKDOWN}: gate {'PASS' if gate.passed else 'BLOCK'}, hash {board['hash']}")


@app.command("verify")
def golden_verify(
    expected: Annotated[str, typer.Argument(help="The hash, or its first digits.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of the scoreboard.")] = REPORTS,
    cases: CasesOption = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Check that a scoreboard was made from these cases and floors, and not changed since.

    Example: `codecairn golden verify 3f2a91c0`
    """
    from golden.scoreboard import NAME, read_scoreboard, verify_scoreboard

    with bench_errors():
        suite = open_suite(cases, WORK, root, config, data)
        problems = list(verify_scoreboard(read_scoreboard(out / NAME), suite, expected))
    if problems:
        fail("; ".join(problems))
    print("verified: the figures were made from these cases and floors, and not changed since.")


@app.command("promote")
def golden_promote(
    trace_id: str,
    bucket: Annotated[str, typer.Option(help="exact-symbol, conceptual, cross-ticket or cross-design.")],
    cites: Annotated[list[str] | None, typer.Option("--cites", help="A file that should be cited; repeat.")] = None,
    symbols: Annotated[list[str] | None, typer.Option("--symbol", help="A definition that should be found.")] = None,
    tickets: Annotated[list[str] | None, typer.Option("--ticket", help="A ticket that should be found.")] = None,
    not_cites: Annotated[list[str] | None, typer.Option("--not-cites", help="A file that must not be cited.")] = None,
    abstain: Annotated[bool, typer.Option("--abstain", help="Nothing answers it.")] = False,
    note: Annotated[str, typer.Option(help="Why the case is there.")] = "",
    case_id: Annotated[str, typer.Option("--id", help="Id of the case; default: made of the question.")] = "",
    cases: Annotated[Path, typer.Option("--cases", help="Folder for the case.")] = Path("golden"),
    corpus: Annotated[str, typer.Option(help="Corpus of the case.")] = "here",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Make a case of a trace that went wrong, with what should have come; the trace is then kept for good.

    Example: `codecairn golden promote 01M7... --bucket cross-ticket --cites src/retry.py --ticket PAY-12`
    """
    from pydantic import ValidationError

    from golden.case import Expect
    from golden.promote import promote_trace
    from mcp_server.access import local_principal

    setup = open_setup(root, config, data)
    with bench_errors(), open_service(setup) as service:
        try:
            expect = Expect(
                cites=tuple(cites or ()),
                symbols=tuple(symbols or ()),
                tickets=tuple(tickets or ()),
                not_cites=tuple(not_cites or ()),
                abstain=abstain,
            )
            principal = local_principal(setup.settings)
            case, file = promote_trace(
                service,
                principal,
                trace_id,
                cases,
                bucket=bucket,  # type: ignore[arg-type]  # the case's own model refuses another word
                expect=expect,
                corpus=corpus,
                note=note,
                case_id=case_id,
            )
        except ValidationError as error:
            fail(f"No case can be made of this: {error.errors(include_url=False, include_input=False)[0]['msg']}.")
    print(f"{case.id} in {file}; `codecairn golden update` takes it into the baseline.")


@app.command("review")
def golden_review(
    out: Annotated[Path | None, typer.Option(help="Write a form with sampled answers to this file.")] = None,
    read: Annotated[Path | None, typer.Option(help="Take the verdicts of a form that was filled in.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=500)] = 20,
    seed: Annotated[str, typer.Option(help="Another seed draws another sample.")] = "",
    author: Annotated[str, typer.Option(help="Who judged, with --read.")] = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Let people judge a sample of answers: a form out, and its verdicts back as scores of the traces.

    Example: `codecairn golden review --out form.md`, then `codecairn golden review --read form.md --author ada`
    """
    from golden.review import make_form, read_form, store_reviews
    from mcp_server.access import local_principal

    if (out is None) == (read is None) or (read is not None and not author):
        fail("Give either --out FILE, or --read FILE with --author NAME.")
    setup = open_setup(root, config, data)
    with bench_errors(), open_service(setup) as service:
        principal = local_principal(setup.settings)
        if out is not None:
            out.write_text(make_form(service, principal, count, seed), "utf-8")
            print(f"{out}: write a verdict for each answer, then `codecairn golden review --read {out} --author NAME`.")
        elif read is not None:
            scores = store_reviews(service, principal, list(read_form(read.read_text("utf-8"))), author)
            print(f"{len(scores)} verdicts stored with their traces.")


@app.command("rescore")
def golden_rescore(
    since: Annotated[str, typer.Option(help="From this day on, such as 2026-11-01.")] = "",
    cases: CasesOption = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Judge stored answers again by what the cases expect today; nothing is searched and no model is asked.

    Example: `codecairn golden rescore --since 2026-11-01 --cases golden/`
    """
    from golden.case import CASES, load_cases
    from golden.rescore import rescore
    from mcp_server.access import local_principal

    setup = open_setup(root, config, data)
    with bench_errors(), open_service(setup) as service:
        found = list(rescore(service, local_principal(setup.settings), load_cases(cases or CASES), since))
    print("\n".join(map(str, found)) or "No stored answer asks what a case asks.")


@contextmanager
def bench_errors() -> Iterator[None]:
    """Turn an error of a benchmark into a sentence."""
    from golden.case import GoldenError

    try:
        yield
    except GoldenError as error:
        fail(str(error))
