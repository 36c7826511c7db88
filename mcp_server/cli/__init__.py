"""The command line. The same service and the same rendering as the tools; errors are one sentence on stderr.

One module holds one group of commands; this one registers them, in the order in which `--help` shows them.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from ingest.errors import IngestError
from mcp_server.cli.common import fail
from mcp_server.errors import ServerError, describe
from traces.errors import TraceError

MARKUP: Final = "markdown"
COMMANDS = {  # name -> module and what it is called there, in the order of `--help`
    "index": ("indexing", "index"),
    "init": ("indexing", "init"),
    "search": ("asking", "search"),
    "answer": ("asking", "answer"),
    "check": ("checking", "check"),
    "status": ("looking", "status"),
    "doctor": ("looking", "doctor"),
    "rollback": ("indexing", "rollback"),
    "calibrate": ("calibrating", "calibrate"),
    "backup": ("keeping", "backup"),
    "restore": ("keeping", "restore"),
    "serve": ("serving", "serve"),
    "worker": ("working", "worker"),
    "feedback": ("traces", "feedback"),
    "trace": ("traces", "app"),
    "report": ("reporting", "app"),
    "config": ("configuring", "app"),
    "audit": ("auditing", "app"),
    "hook": ("keeping", "hook_app"),
    "prompts": ("prompting", "app"),
    "golden": ("golden", "app"),
    "bench": ("bench", "app"),
}


class Commands(Mapping[str, Any]):
    """The commands by name. Each is imported when it is called (or all for `--help`): `serve` answers the sooner."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - the class of a command is private to the library
        module, attribute = COMMANDS[name]
        target = getattr(import_module(f"{__name__}.{module}"), attribute)
        one = typer.Typer(rich_markup_mode=MARKUP)
        if isinstance(target, typer.Typer):
            one.add_typer(target, name=name)
            return typer.main.get_group(one).commands[name]
        one.command(name)(target)
        return typer.main.get_command(one)


class Group(TyperGroup):
    """The commands as one group."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(**settings)
        self.commands = cast(Any, Commands())  # read only; nothing is added


app = typer.Typer(
    name="codecairn",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=MARKUP,
    help="""Where things live and why, over code, tickets, design documents and history. Every pointer is checked.

Start in a repository: `codecairn index`, then `codecairn search "how are sessions signed"` or
`codecairn answer "Where is the retry limit set?"`. `codecairn serve` is the MCP server for coding assistants.

Exit codes: 0 done, 1 failed (one sentence on stderr), 2 wrong usage, 3 nothing found or abstained.
""",
)


def print_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from mcp_server.service import VERSION

        print(f"codecairn {VERSION}")
        raise typer.Exit


@app.callback()
def codecairn(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
) -> None:  # its docstring is not shown: `help` above is
    """Make a group of the commands."""


def main() -> None:
    """Run the command line; what we raise on purpose is a sentence, not a traceback."""
    try:
        app()
    except (IngestError, ServerError, TraceError) as error:
        fail(describe(error, 2000))
    except KeyboardInterrupt:
        fail("Interrupted; nothing half-done is left behind.")
    except Exception as error:
        traceback.print_exception(error)
        fail(f"That {type(error).__name__} is a fault of CodeCairn, not of yours: report it with the lines above.")
