"""`bench`: measure indexing, search quality, size, serving and redaction."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mcp_server.cli.common import EXIT_USAGE, JsonOption, fail, print_json, say
from mcp_server.cli.golden import bench_errors

app = typer.Typer(no_args_is_help=True, help="Measure indexing, search quality and serving.")


def print_bench(result: Any, as_json: bool) -> None:  # noqa: ANN401 - any of the results
    """Print figures for people or as JSON."""
    print_json(result.to_dict()) if as_json else print(result)


@app.command("index")
def bench_index(
    path: Path,
    source_type: Annotated[str, typer.Option(help="folder or git; default: git inside a repository.")] = "",
    changes: Annotated[int, typer.Option(min=0, help="One-file changes to time under a running server.")] = 10,
    switch: Annotated[int, typer.Option(min=0, help="Files to change at once: in a git source by `git switch`.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure indexing: seconds, lines per second, memory of all processes, size, and change to searchable.

    Example: `codecairn bench index ../sympy --source-type folder --changes 20 --switch 500`
    """
    from golden.bench.indexing import run_index

    if source_type not in ("", "folder", "git"):
        fail(f"--source-type is {source_type!r}; it must be folder or git.", EXIT_USAGE)
    kind: Literal["folder", "git"] | None = "git" if source_type == "git" else "folder" if source_type else None
    with bench_errors():
        print_bench(run_index(path, source_type=kind, changes=changes, switch=switch, say=say), as_json)


@app.command("search")
def bench_search(
    cases: Annotated[list[Path], typer.Option(help="JSONL of questions with known files; repeat.")],
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora, OWNER__NAME-COMMIT.")],
    variant: Annotated[
        list[str] | None,
        typer.Option(help="root (default), root-history, whole, whole-history or whole-history-changelog; repeat."),
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATH of semble, semble-model (its Python), ripgrep, codegraph; repeat."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Ask only so many questions, evenly spread.")] = 0,
    ablate: Annotated[bool, typer.Option(help="Each retriever and feature off, one at a time.")] = False,
    worst: Annotated[int, typer.Option(min=0, help="Explain so many of the worst questions.")] = 0,
    pred: Annotated[Path | None, typer.Option(help="Write predictions as JSONL.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    embedder: Annotated[str, typer.Option(help="static or none.")] = "static",
    as_json: JsonOption = False,
) -> None:
    """Measure search quality, beside rivals: NDCG@10, hit@k, MRR, tokens until the right file, and latency."""
    from golden.bench.quality import Plan, run_search
    from golden.bench.rivals import parse_rival

    if embedder not in ("static", "none"):
        fail(f"--embedder is {embedder!r}; it must be static or none.", EXIT_USAGE)
    kind: Literal["static", "none"] = "none" if embedder == "none" else "static"
    with bench_errors():
        rivals = tuple(map(parse_rival, rival or ()))
        plan = Plan(tuple(variant or ("root",)), rivals, kind, limit, ablate, worst)
        result = run_search(cases, corpora, plan, cache=cache, say=say)
    if pred is not None:
        for file, text in result.prediction_files(pred).items():
            file.write_text(text, "utf-8")
    if out is not None:
        out.write_text(json.dumps(result.to_dict(), indent=1), "utf-8")
    print_bench(result, as_json)


@app.command("mine-designs")
def bench_mine_designs(
    clones: Annotated[Path, typer.Argument(help="Folder of clones, owner/name or OWNER__NAME-COMMIT.")],
    code: Annotated[str, typer.Option(help="owner/name of the repository whose commits name designs.")],
    designs: Annotated[str, typer.Option(help="owner/name of the repository of the designs; may be the same.")],
    out: Annotated[Path, typer.Option(help="Where the questions go, as JSONL for `bench search --cases`.")],
    root: Annotated[str, typer.Option(help="Folder of the designs in their repository.")] = "",
) -> None:
    """Make questions between designs and code from commits that name a design, at the clones' HEADs.

    Example: codecairn bench mine-designs clones --code acme/shop --designs acme/rfcs --root text --out cases.jsonl
    """
    from golden.bench.designs import mine_cases

    with bench_errors():
        questions = mine_cases(clones, code, designs, root)
    lines = (question.model_dump_json(exclude_defaults=True) + "\n" for question in questions)
    out.write_text("".join(lines), "utf-8")
    say(f"{len(questions)} questions in {out}")


@app.command("answers")
def bench_answers(
    cases: Annotated[list[Path], typer.Option(help="JSONL of questions with a reference answer; repeat.")],
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora, OWNER__NAME-COMMIT.")],
    variant: Annotated[str, typer.Option(help="root, root-history, whole or whole-history.")] = "whole",
    limit: Annotated[int, typer.Option(min=0, help="Ask only so many questions, evenly spread.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure answers without a model: names of the reference answers inside the cited lines, beside plain BM25.

    Example: codecairn bench answers --cases repo_qa.jsonl --corpora ~/corpora
    """
    from golden.bench.answering import run_answers

    with bench_errors():
        print_bench(run_answers(cases, corpora, limit=limit, variant=variant, cache=cache, say=say), as_json)


@app.command("names")
def bench_names(
    cases: Annotated[list[Path], typer.Option(help="JSONL of questions with a reference answer; repeat.")],
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora, OWNER__NAME-COMMIT.")],
    limit: Annotated[int, typer.Option(min=0, help="Ask only so many questions, evenly spread.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    out: Annotated[Path | None, typer.Option(help="File of weights to write, with its provenance.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the weights of names: which names an answer would give, and so what it says to read on.

    Example: codecairn bench names --cases repo_qa.jsonl --corpora ~/corpora --out
    mcp_server/answering/name_weights.py
    """
    from golden.bench.naming import run_names, write_weights

    with bench_errors():
        fitted = run_names(cases, corpora, limit=limit, cache=cache, say=say)
        if out is not None:
            write_weights(out, fitted, datetime.now(UTC).date().isoformat())
        print_bench(fitted, as_json)


@app.command("abstain")
def bench_abstain(
    cases: Annotated[list[Path], typer.Option(help="JSONL of questions; without gold: not answerable. Repeat.")],
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora, OWNER__NAME-COMMIT.")],
    limit: Annotated[int, typer.Option(min=0, help="Ask only so many questions, evenly spread.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure abstention: lost answerable questions, caught others; also the weights fitted on these questions.

    Example: codecairn bench abstain --cases repo_qa.jsonl --cases abstain.jsonl --corpora ~/corpora
    """
    from golden.bench.abstention import run_abstain

    with bench_errors():
        print_bench(run_abstain(cases, corpora, limit=limit, cache=cache, say=say), as_json)


@app.command("scale")
def bench_scale(
    folder: Path,
    cases: Annotated[list[Path], typer.Option(help="JSONL of questions; their queries are asked. Repeat.")],
    chunks: Annotated[list[int] | None, typer.Option(help="Size to build (10000, 50000, 200000); repeat.")] = None,
    queries: Annotated[int, typer.Option(min=3, help="Queries to ask, a third of them to warm up.")] = 200,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    rival: Annotated[
        list[str] | None, typer.Option(help="Ask this one, too: semble=PYTHON, bm25, NAME=COMMAND. Repeat.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure search by size of the index, built from the repositories in a folder: times, memory, size on disk.

    Example: codecairn bench scale repositories/ --cases cases.jsonl --chunks 10000 --rival semble=~/semble/bin/python
    """
    from golden.bench.rivals import parse_rival
    from golden.bench.scaling import TARGETS, run_scale

    with bench_errors():
        rivals = tuple(map(parse_rival, rival or ()))
        targets = tuple(chunks or TARGETS)
        result = run_scale(folder, cases, targets=targets, queries=queries, cache=cache, rivals=rivals, say=say)
        print_bench(result, as_json)


@app.command("serve")
def bench_serve(path: Path, rounds: Annotated[int, typer.Option(min=1)] = 20, as_json: JsonOption = False) -> None:
    """Measure a server: start-up, first search, warm MCP round trips."""
    from golden.bench.serving import run_serve

    with bench_errors():
        print_bench(run_serve(path, rounds=rounds, say=say), as_json)


@app.command("soak")
def bench_soak(
    path: Path,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of what is done at random.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Write every sample as JSON.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Edit, switch branches, kill the worker and query for an hour: memory, open files, disk, lost changes, damage.

    Example: codecairn bench soak ~/src/project --minutes 60 --out soak.json
    """
    from golden.bench.soaking import run_soak

    with bench_errors():
        result = run_soak(path, minutes=minutes, seed=seed, say=say)
    if out is not None:
        out.write_text(json.dumps(result.to_dict(), indent=1), "utf-8")
    print_bench(result, as_json)


@app.command("tickets")
def bench_tickets(
    export: Annotated[Path | None, typer.Argument(help="Export or folder of tickets; default: made up.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Made-up tickets of 1 KB.")] = 20_000,
    as_json: JsonOption = False,
) -> None:
    """Measure ticket ingestion: parsed, redacted and linked per second, embedded and published per second.

    Example: codecairn bench tickets --count 20000
    """
    from golden.bench.ticketing import run_tickets

    with bench_errors():
        print_bench(run_tickets(export, count=count, say=say), as_json)


@app.command("redact")
def bench_redact(
    paths: list[Path],
    personal: Annotated[bool, typer.Option(help="Personal data too, as in tickets and commits.")] = False,
    places: Annotated[bool, typer.Option(help="List where something is masked or flagged, never what.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure redaction on folders: masked and flagged lines by rule, and megabytes per second."""
    from golden.bench.redaction import run_redaction

    with bench_errors():
        print_bench(run_redaction(paths, personal=personal, places=places, say=say), as_json)


@app.command("grounding")
def bench_grounding(
    cases: Annotated[
        list[Path], typer.Option(help="JSONL of questions with reference answers (`meta.answer`); repeat.")
    ],
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora, OWNER__NAME-COMMIT.")],
    limit: Annotated[int, typer.Option(min=0, help="Check only so many answers, evenly spread.")] = 0,
    misses: Annotated[Path | None, typer.Option(help="Write every wrong judgement as JSONL.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the claim ledger: mutated reference answers that it catches, untouched sentences that it flags, its cost.

    Example: `codecairn bench grounding --cases qa.jsonl --corpora corpora/ --misses misses.jsonl`
    """
    from golden.bench.grounding import run_grounding

    with bench_errors():
        print_bench(run_grounding(cases, corpora, limit=limit, misses=misses, cache=cache, say=say), as_json)


@app.command("traces")
def bench_traces(
    count: Annotated[int, typer.Option(min=100, help="Traces to write.")] = 100_000,
    max_mb: Annotated[int, typer.Option(min=1, help="Size that retention keeps to.")] = 150,
    out: Annotated[Path | None, typer.Option(help="Folder to leave the file in.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure traces: bytes, the recorder's time per query, reports and searches over many.

    Example: `codecairn bench traces --count 100000`
    """
    from golden.bench.tracing import run_traces

    with bench_errors():
        print_bench(run_traces(count, max_mb=max_mb, folder=out, say=say), as_json)
