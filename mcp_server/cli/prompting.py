"""`prompts`: list, show, compare, render, label, lock and verify the versioned prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcp_server.access import local_principal
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
from mcp_server.cli.looking import find_prompt_changes
from mcp_server.config import Setup

EnvironmentOption = Annotated[str, typer.Option("--env", help="dev, staging or prod")]

app = typer.Typer(no_args_is_help=True, help="List, show, compare, label and verify the versioned prompts.")


@app.command("list")
def prompts_list(as_json: JsonOption = False) -> None:
    """List all versions of all prompts."""
    import prompts

    rows = [{"id": p.id, "version": p.version, "role": p.role, "sha256": p.sha256} for p in prompts.list_prompts()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['id']}@v{row['version']}  {row['role']:<12} {str(row['sha256'])[:12]}")


@app.command("show")
def prompts_show(name: str, version: Annotated[str, typer.Argument(help="such as v1; default: prod's")] = "") -> None:
    """Show one prompt. Example: `codecairn prompts show answer/system v1`."""
    import prompts

    try:
        print(prompts.load(name, read_version(version) if version else prompts.labels("prod").get(name, 1)).text)
    except prompts.PromptError as error:
        fail(str(error))


@app.command("diff")
def prompts_diff(name: str, one: str, other: str) -> None:
    """Show what changed between two versions. Example: `codecairn prompts diff answer/system v1 v2`."""
    import difflib

    import prompts

    try:
        texts = [prompts.load(name, read_version(version)) for version in (one, other)]
    except prompts.PromptError as error:
        fail(str(error))
    old, new = (text.text.splitlines() for text in texts)
    print("\n".join(difflib.unified_diff(old, new, texts[0].ref, texts[1].ref, lineterm="")) or "no difference")


@app.command("label")
def prompts_label(name: str, version: str, environment: EnvironmentOption = "dev") -> None:
    """Move an environment to a version, in a checkout. Example: `codecairn prompts label answer v2 --env prod`."""
    move_label(environment, name, read_version(version))


@app.command("rollback")
def prompts_rollback(name: str, environment: EnvironmentOption = "prod") -> None:
    """Move an environment back to the version before. Example: `codecairn prompts rollback answer`."""
    import prompts

    try:
        move_label(environment, name, prompts.previous_version(name, prompts.labels(environment).get(name, 0)))
    except prompts.PromptError as error:
        fail(str(error))


@app.command("render")
def prompts_render(
    name: str,
    values: Annotated[list[str] | None, typer.Argument(help="variables as name=value")] = None,
    version: Annotated[str, typer.Option(help="such as v1; default: prod's")] = "",
    trace: Annotated[str, typer.Option(help="take the variables of what this trace sent, and compare")] = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Fill in a prompt, or what a trace sent once more: the same bytes, or it says that they differ.

    Examples: `codecairn prompts render query_rewrite/hyde question="how are sessions signed"`,
    `codecairn prompts render answer --trace 01K...`
    """
    import prompts

    try:
        if trace:
            print(render_again(open_setup(root, config, data), trace))
            return
        wanted = read_version(version) if version else prompts.labels("prod").get(name, 1)
        print(prompts.render(name, wanted, **dict(value.split("=", 1) for value in values or () if "=" in value)).text)
    except prompts.PromptError as error:
        fail(str(error))


def render_again(setup: Setup, trace_id: str) -> str:
    """Return the messages of a trace's answer, rendered again; the last line says whether they are what was sent."""
    from mcp_server.answering.model import render_messages
    from mcp_server.model_calls import hash_messages
    from prompts import compose

    with open_service(setup) as service:
        spans = service.get_trace(trace_id, local_principal(setup.settings)).spans
    sent = next((span for span in spans if span.name == "prompt" and span.config["purpose"] == "answer"), None)
    if sent is None:
        fail(f"Trace {trace_id} sent no prompt: its answer was taken from the evidence or from the cache.")
    name, _, version = sent.config["prompt"].partition("@")
    messages = render_messages(compose(name, read_version(version)), sent.input)
    same = hash_messages(messages) == sent.output["sha256"]
    said = "these are the bytes that were sent" if same else "NOT what was sent: a part of the prompt changed"
    return "\n\n".join((*(f"[{m.role}]\n{m.content}" for m in messages), f"sha256 {sent.output['sha256']}: {said}"))


def read_version(text: str) -> int:
    """Return 3 for "v3"."""
    import prompts

    match = prompts.VERSION.fullmatch(text)
    if not match:
        fail(f"{text!r} is no version. Write it as v3.", EXIT_USAGE)
    return int(match[1])


def move_label(environment: str, name: str, version: int) -> None:
    """Write one label."""
    import prompts

    file = Path(prompts.__file__).parent / prompts.LABELS_NAME
    try:
        file.write_text(prompts.set_label(file.read_text("utf-8"), environment, name, version), "utf-8")
    except prompts.PromptError as error:
        fail(str(error))
    print(f"{environment} uses {name}@v{version}; commit {prompts.LABELS_NAME} to make it so")


@app.command("lock")
def prompts_lock() -> None:
    """Lock new versions (in a source checkout). Versions that are locked already are not touched."""
    import prompts

    problems = [problem for problem in prompts.verify_lock() if "is not locked" not in problem]
    if problems:
        fail(problems[0])
    (Path(prompts.__file__).parent / prompts.LOCK_NAME).write_text(prompts.make_lock(prompts.list_prompts()), "utf-8")
    print("all versions are locked")


@app.command("verify")
def prompts_verify() -> None:
    """Check that no published prompt changed."""
    problems = find_prompt_changes()
    print("\n".join(problems) or "all prompts are as they were locked")
    if problems:
        raise SystemExit(EXIT_ERROR)
