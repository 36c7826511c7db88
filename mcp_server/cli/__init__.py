"""The command line. The same service and the same rendering as the tools; errors are one sentence on stderr.

One module holds one group of commands; this one registers them, in the order in which `--help` shows them.
"""

from __future__ import annotations

import typer

from ingest.errors import IngestError
from mcp_server.cli import (
    asking,
    auditing,
    bench,
    calibrating,
    checking,
    configuring,
    golden,
    indexing,
    keeping,
    looking,
    prompting,
    reporting,
    serving,
    traces,
    working,
)
from mcp_server.cli.common import fail
from mcp_server.errors import ServerError, describe
from traces.errors import TraceError

app = typer.Typer(
    name="codecairn",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="""Where things live and why, over code, tickets, design documents and history. Every pointer is checked.

Start in a repository: `codecairn index`, then `codecairn search "how are sessions signed"` or
`codecairn answer "Where is the retry limit set?"`. `codecairn serve` is the MCP server for coding assistants.

Exit codes: 0 done, 1 failed (one sentence on stderr), 2 wrong usage, 3 nothing found or abstained.
""",
)
for command in (
    indexing.index,
    indexing.init,
    asking.search,
    asking.answer,
    checking.check,
    looking.status,
    looking.doctor,
    indexing.rollback,
    calibrating.calibrate,
    keeping.backup,
    keeping.restore,
    serving.serve,
    working.worker,
    traces.feedback,
):
    app.command()(command)
traces.app.command("promote")(golden.golden_promote)
app.add_typer(traces.app, name="trace")
app.add_typer(reporting.app, name="report")
app.add_typer(configuring.app, name="config")
app.add_typer(auditing.app, name="audit")
app.add_typer(keeping.hook_app, name="hook")
app.add_typer(prompting.app, name="prompts")
app.add_typer(golden.app, name="golden")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line; what we raise on purpose is a sentence, not a traceback."""
    try:
        app()
    except (IngestError, ServerError, TraceError) as error:
        fail(describe(error, 2000))
    except KeyboardInterrupt:
        fail("Interrupted; nothing half-done is left behind.")
