"""`trace` and `feedback`: read, judge, compare, check and hand on the records of past queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mcp_server.access import local_principal
from mcp_server.cli.common import (
    EXIT_ERROR,
    EXIT_NOTHING,
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
from mcp_server.cli.golden import golden_promote
from mcp_server.records import Records
from traces.model import KINDS, STATUSES, Score, TraceSummary
from traces.retention import MB
from traces.store import TraceQuery

app = typer.Typer(no_args_is_help=True, help="Read, judge, compare, replay and hand on the records of past queries.")

LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)]
StatusOption = Annotated[str, typer.Option(help=f"Only {', '.join(STATUSES)}.")]
KindOption = Annotated[str, typer.Option(help=f"Only {', '.join(KINDS)}.")]
SinceOption = Annotated[str, typer.Option(help="From this day or time on (UTC), such as 2026-11-21.")]
UntilOption = Annotated[str, typer.Option(help="Before this day or time (UTC).")]
ExpectedPath = Annotated[list[str] | None, typer.Option("--path", help="A file that should be found; repeat.")]
ExpectedSymbol = Annotated[list[str] | None, typer.Option("--symbol", help="A definition to be found; repeat.")]
ExpectedTicket = Annotated[list[str] | None, typer.Option("--ticket", help="A ticket that should be found; repeat.")]
NoteOption = Annotated[str, typer.Option(help="Why, in your words.")]


@contextmanager
def open_records(root: Path | None, config: Path | None, data: Path | None) -> Iterator[Records]:
    """Open the records of whoever works at the command line."""
    setup = open_setup(root, config, data, reads=True)
    with open_service(setup) as service:
        yield Records(service, local_principal(setup.settings))


@app.command("list")
def trace_list(
    limit: LimitOption = 20,
    status: StatusOption = "",
    tool: Annotated[str, typer.Option(help="Only search_code or answer.")] = "",
    kind: KindOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    degraded: Annotated[str, typer.Option(help="Only with this degraded code, such as vector_unavailable.")] = "",
    flag: Annotated[str, typer.Option(help="Only with a policy flag that begins so, such as redacted.")] = "",
    prompt: Annotated[str, typer.Option(help="Only with this prompt: answer, or answer@v3.")] = "",
    model: Annotated[str, typer.Option(help="Only with this model.")] = "",
    generation: Annotated[int | None, typer.Option(help="Only of this index generation.")] = None,
    feedback: Annotated[str, typer.Option(help="Only rated up or down; down shows the notes.")] = "",
    scored: Annotated[str, typer.Option(help="Only with a judgement of this name: escalated, regenerate ...")] = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the latest queries, or those with a property.

    Examples: `codecairn trace list --status failed`, `codecairn trace list --feedback down`
    """
    if feedback not in ("", "up", "down"):
        fail(f"--feedback is {feedback!r}; it must be up or down.", EXIT_USAGE)
    query = TraceQuery(
        status=status, tool=tool, kind=kind, since=since, until=until, degraded=degraded, flag=flag, prompt=prompt,
        model=model, generation=generation, feedback=feedback, scored=scored,
    )  # fmt: skip
    with open_records(root, config, data) as records:
        rows = records.find(query, limit)
        notes = {rated.trace.id: rated.score.note for rated in records.low_rated(limit)} if feedback == "down" else {}
    print_rows(rows, as_json, notes)


@app.command("search")
def trace_search(
    text: Annotated[str, typer.Argument(help="Words of the question or the answer; all must occur.")] = "",
    path: Annotated[str, typer.Option(help="Queries that retrieved a chunk of this file.")] = "",
    source: Annotated[str, typer.Option(help="With --path: of this source.")] = "",
    limit: LimitOption = 20,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find queries by their words, or by a file that they retrieved.

    Examples: `codecairn trace search "refresh token"`, `codecairn trace search --path src/auth/token.py`
    """
    if not text and not path:
        fail("Give words of a question, or --path.", EXIT_USAGE)
    with open_records(root, config, data) as records:
        rows = records.find(TraceQuery(text=text, path=path, source=source), limit)
    print_rows(rows, as_json)
    if not rows:
        raise SystemExit(EXIT_NOTHING)


@app.command("show")
def trace_show(
    trace_id: str,
    stage: Annotated[str, typer.Option(help="One stage in full, such as rerank; config, environment, answer.")] = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how one result came about.

    Example: `codecairn trace show 01M7... --stage rerank`
    """
    setup = open_setup(root, config, data, reads=True)
    with open_service(setup) as service:
        principal = local_principal(setup.settings)
        records = Records(service, principal)
        if as_json:
            print_json(asdict(records.get(trace_id)) | {"scores": [asdict(one) for one in records.scores(trace_id)]})
        else:
            print(service.explain(trace_id, stage, principal))


@app.command("blame")
def trace_blame(
    trace_id: str,
    path: ExpectedPath = None,
    symbol: ExpectedSymbol = None,
    ticket: ExpectedTicket = None,
    text: Annotated[list[str] | None, typer.Option(help="What the answer should have said; repeat.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the stage that lost what was expected: retrieval, ranking, context, prompt, model or post-processing.

    Example: `codecairn trace blame 01M7... --path src/auth/token.py`
    """
    from mcp_server.blame import Blamer, Expectation

    expected = Expectation(tuple(path or ()), tuple(symbol or ()), tuple(ticket or ()), tuple(text or ()))
    setup = open_setup(root, config, data)
    with open_service(setup) as service:
        blame = Blamer(service, local_principal(setup.settings)).blame(trace_id, expected)
    print_json(asdict(blame)) if as_json else print(blame)


@app.command("probe")
def trace_probe(
    trace_id: str,
    path: ExpectedPath = None,
    symbol: ExpectedSymbol = None,
    ticket: ExpectedTicket = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a query's search again and show the rank of what is expected in each list: text, vector, symbol, history.

    Example: `codecairn trace probe 01M7... --path src/auth/token.py`
    """
    from mcp_server.blame import Blamer, Expectation

    setup = open_setup(root, config, data)
    with open_service(setup) as service:
        expected = Expectation(tuple(path or ()), tuple(symbol or ()), tuple(ticket or ()))
        ranks = Blamer(service, local_principal(setup.settings)).probe(trace_id, expected)
    if as_json:
        return print_json(dict(ranks))
    for name, rank in ranks.items():
        print(f"{name:<18} {f'#{rank}' if rank else 'not in it'}")


@app.command("replay")
def trace_replay(
    trace_id: Annotated[list[str] | None, typer.Argument(help="Traces; none: the latest ones.")] = None,
    mode: Annotated[str, typer.Option(help="verify, re-retrieve, re-generate or full.")] = "verify",
    prompt: Annotated[str, typer.Option(help="re-generate: with this version of the prompt, such as v2.")] = "",
    model: Annotated[str, typer.Option(help="re-generate: with this model.")] = "",
    repeat: Annotated[int, typer.Option(min=1, max=50, help="Run so often; how often it came out the same.")] = 1,
    last: Annotated[int, typer.Option(min=1, max=10_000, help="Without an id: so many of the latest live ones.")] = 20,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask recorded queries again and name the first stage that comes out otherwise; exit code 1 when one does.

    Examples: `codecairn trace replay 01M7... --mode full`, `codecairn trace replay --last 200 --mode re-retrieve`
    """
    from mcp_server.replay import MODES, Replayer, replay_many

    wanted = next((name for name in MODES if name == mode), None)
    if wanted is None:
        fail(f"--mode is {mode!r}; it must be one of {', '.join(MODES)}.", EXIT_USAGE)
    setup = open_setup(root, config, data)
    with open_service(setup) as service:
        principal = local_principal(setup.settings)
        replayer = Replayer(service, principal)
        if trace_id and len(trace_id) == 1:
            version = read_version(prompt)
            replay = replayer.replay(trace_id[0], wanted, prompt=version, model=model, repeat=repeat)
            print_json(replay.to_dict()) if as_json else print(replay)
            if not replay.is_same and wanted in ("verify", "re-retrieve"):
                raise SystemExit(EXIT_ERROR)
            return
        ids = trace_id or [row.id for row in service.list_traces(principal, last, TraceQuery(kind="live"))]
        found = dict(replay_many(replayer, ids, wanted))
    print_replays(found, as_json)


def read_version(text: str) -> int | None:
    """Return the number of `v2`; None for nothing."""
    digits = text.removeprefix("v")
    if text and not digits.isdecimal():
        fail(f"--prompt is {text!r}; it must be a version such as v2.", EXIT_USAGE)
    return int(digits) if digits else None


def print_replays(found: dict[str, Any], as_json: bool) -> None:
    """Print which replays differ and which were not possible; exit code 1 for a difference."""
    impossible = {trace_id: why for trace_id, why in found.items() if isinstance(why, str)}
    differing = {trace_id: one for trace_id, one in found.items() if trace_id not in impossible and not one.is_same}
    same = len(found) - len(impossible) - len(differing)
    if as_json:
        shown = {trace_id: one.to_dict() for trace_id, one in differing.items()}
        print_json({"same": same, "differing": shown, "impossible": impossible})
    else:
        print("\n".join(str(one) for one in differing.values()) + "\n" * bool(differing), end="")
        for trace_id, why in impossible.items():
            print(f"{trace_id}: {why}")
        print(f"{same} same, {len(differing)} different, {len(impossible)} not possible")
    if differing:
        raise SystemExit(EXIT_ERROR)


@app.command("diff")
def trace_diff(
    one: str,
    other: str,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two traces: configuration, environment, versions, and each stage; the first that differs is named.

    Example: `codecairn trace diff 01M7... 01M8...`
    """
    from traces.diff import diff_traces

    with open_records(root, config, data) as records:
        diff = diff_traces(records.get(one), records.get(other))
    print_json({**asdict(diff), "first": diff.first}) if as_json else print(diff)


@app.command("annotate")
def trace_annotate(
    trace_id: str,
    name: Annotated[str, typer.Argument(help="What is judged, such as relevance.")],
    value: Annotated[float | None, typer.Option(help="A figure.")] = None,
    label: Annotated[str, typer.Option(help="A word.")] = "",
    note: NoteOption = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Attach a judgement to a trace; the trace is then kept. A later one of the same name replaces it.

    Example: `codecairn trace annotate 01M7... relevance --value 0.5 --note "second hit is the right one"`
    """
    with open_records(root, config, data) as records:
        score = records.annotate(trace_id, name, value, label or None, note)
    print_score(score, as_json)


@app.command("verify")
def trace_verify(
    root: RootOption = None, config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Compute the hash of every trace and text anew; name what was changed, what is missing, what is not complete.

    Example: `codecairn trace verify`
    """
    with open_records(root, config, data) as records:
        found = records.verify()
    if as_json:
        print_json(asdict(found))
    else:
        print("\n".join(f"FAULT: {fault}" for fault in found.faults) or "no faults")
        print(f"{found.traces} traces ({found.thinned} of them without content), {found.blobs} blobs")
    if found.faults:
        raise SystemExit(EXIT_ERROR)


@app.command("export")
def trace_export(
    out: Annotated[Path, typer.Option(help="Folder for YYYY-MM-DD.jsonl; files of these days are written anew.")],
    since: SinceOption = "",
    until: UntilOption = "",
    kind: KindOption = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write traces as JSON lines, one file per UTC day.

    Example: `codecairn trace export --out audit --since 2026-11-01`
    """
    with open_records(root, config, data) as records:
        written = records.export(out, TraceQuery(since=since, until=until, kind=kind))
    print_json(written) if as_json else print("\n".join(f"{out / day}.jsonl  {n}" for day, n in written.items()))


@app.command("prune")
def trace_prune(
    max_days: Annotated[int | None, typer.Option(min=0, help="Instead of trace.max_days.")] = None,
    max_mb: Annotated[int | None, typer.Option(min=0, help="Instead of trace.max_mb.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Delete all of yours, also failed and judged.")] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget what is too old or too much, now, and shrink the file; failed, judged and golden traces stay.

    Example: `codecairn trace prune --max-mb 100`
    """
    with open_records(root, config, data) as records:
        if mine:
            count = records.forget_mine()
            print_json({"deleted": count}) if as_json else print(f"{count} traces deleted")
            return
        done = records.prune(records.limits(max_days, max_mb))
    if as_json:
        print_json(asdict(done))
        return
    sizes = f"{done.bytes_before / MB:.1f} MB -> {done.bytes_after / MB:.1f} MB"
    print(f"{done.deleted} traces deleted, {done.thinned} thinned; {sizes}")


@app.command("rotate-key")
def trace_rotate_key(
    drop_former: Annotated[
        bool, typer.Option("--drop-former", help="Also drop the former keys: traces of before belong to nobody.")
    ] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name principals in traces anew from now on, and end all cursors. A running server does so when it is restarted.

    Former keys are kept, so that everybody can still read and delete what is theirs. Example:
    `codecairn trace rotate-key`
    """
    from mcp_server.keyring import rotate_key

    count = rotate_key(open_setup(root, config, data).data_dir, drop_former=drop_former)
    print_json({"keys": count}) if as_json else print(f"a new key; {count - 1} former ones are kept")


def feedback(
    trace_id: str,
    verdict: Annotated[str, typer.Argument(help="up, down, or escalate: a person had to answer it.")],
    note: NoteOption = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether an answer helped; a later word replaces an earlier one.

    Example: `codecairn feedback 01M7... down --note "that is the old service"`
    """
    if verdict not in ("up", "down", "escalate"):
        fail(f"The verdict is {verdict!r}; it must be up, down or escalate.", EXIT_USAGE)
    with open_records(root, config, data) as records:
        if verdict == "escalate":
            score = records.escalate(trace_id, note)
        else:
            score = records.rate(trace_id, "up" if verdict == "up" else "down", note)
    print_score(score, as_json)


def print_rows(rows: list[TraceSummary], as_json: bool, notes: dict[str, Any] | None = None) -> None:
    """Print one line per trace."""
    names = ("id", "at", "kind", "tool", "entry", "query", "status", "degraded", "duration_ms", "generation")
    notes = notes or {}
    if as_json:
        print_json([{name: getattr(row, name) for name in names} | _note(notes, row.id) for row in rows])
        return
    for row in rows:
        print(f"{row.id}  {row.at}  {row.tool:<13} {row.status:<8} {row.duration_ms:7.1f} ms  {row.query[:80]}")
        if notes.get(row.id):
            print(f"    {notes[row.id]}")


def _note(notes: dict[str, Any], trace_id: str) -> dict[str, Any]:
    return {"note": notes[trace_id]} if trace_id in notes else {}


def print_score(score: Score, as_json: bool) -> None:
    """Print a judgement as it was written."""
    if as_json:
        print_json(asdict(score))
        return
    said = " ".join(str(part) for part in (score.label, score.value) if part is not None)
    print(f"{score.name} {said}".rstrip() + (f" (replaces {score.supersedes})" if score.supersedes else ""))


app.command("promote")(golden_promote)  # a trace becomes a golden case; here as well, where one looks at traces
