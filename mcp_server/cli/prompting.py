"""`prompts`: list, show, lock and verify the versioned prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcp_server.cli.common import EXIT_ERROR, JsonOption, fail, print_json
from mcp_server.cli.looking import find_prompt_changes

app = typer.Typer(no_args_is_help=True, help="List, show and verify the versioned prompts.")


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
def prompts_show(name: str, version: Annotated[int | None, typer.Argument()] = None) -> None:
    """Show one prompt."""
    import prompts

    try:
        print(prompts.load(name, version).text)
    except prompts.PromptError as error:
        fail(str(error))


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
