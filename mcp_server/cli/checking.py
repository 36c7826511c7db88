"""`check`: the ledger over any text, for people, for CI and for a pre-commit hook."""

from __future__ import annotations

import codecs
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ingest.errors import IngestError
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
    say,
)
from mcp_server.cli.indexing import build
from mcp_server.config import Setup, is_read_only
from mcp_server.errors import ServerError, describe
from mcp_server.render import check_to_dict, render_check
from mcp_server.results import Verdict

if TYPE_CHECKING:
    from mcp_server.answering.check import CheckReport

STDIN = "-"


def check(
    files: Annotated[list[str], typer.Argument(help="Texts to check; - is standard input.")],
    min_verdict: Annotated[
        str, typer.Option(help="The mildest verdict that is a finding: fabricated, contradicted, misquoted, stale, ...")
    ] = "stale",
    index: Annotated[bool, typer.Option(help="Bring the index up to date first.")] = True,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check what a text says about this repository: paths, names, values, calls. Prints each finding with its line.

    The evidence of a text is every file that it names. Exit codes: 0 clean, 1 findings, 2 it could not be checked.

    Examples: `codecairn check README.md docs/*.md`, `git log -1 --format=%B | codecairn check -`
    """
    verdicts = get_args(Verdict)
    if min_verdict not in verdicts:
        fail(f"--min-verdict is {min_verdict!r}; it must be one of: {', '.join(verdicts)}.", EXIT_USAGE)
    try:
        found = check_files(open_setup(root, config, data, reads=True), files, min_verdict, index, as_json)  # type: ignore[arg-type]
    except (IngestError, ServerError) as error:
        fail(describe(error, 2000), EXIT_USAGE)
    if found:
        raise SystemExit(EXIT_ERROR)


def check_files(setup: Setup, files: list[str], mildest: Verdict, index: bool, as_json: bool) -> int:
    """Print what is found in each text; return how many findings there are."""
    found = 0
    texts = [(name, *read_text(name)) for name in files]
    with open_service(setup) as service:
        if index and is_read_only(setup.data_dir):
            say(f"The data directory {setup.data_dir} is read-only: its index is taken as it is.")
        elif index:
            build(setup, service, "cli")
        excluded = frozenset(path for name in files if (path := path_in(setup.root, name)))
        for name, text, before in texts:
            report = service.check(text, local_principal(setup.settings), excluded=excluded)
            report = move_claims(report, before)
            shown = "stdin" if name == STDIN else name
            found += len(report.findings(mildest))
            write(check_to_dict(report, shown) if as_json else render_check(report, shown, mildest), as_json)
    return found


def write(result: Any, as_json: bool) -> None:  # noqa: ANN401 - a dictionary or a text
    """Print one text's result."""
    print_json(result) if as_json else print(result)


def move_claims(report: CheckReport, by: int) -> CheckReport:
    """Return a report whose characters count from further ahead."""
    moved = (replace(c, start_char=c.start_char + by, end_char=c.end_char + by) for c in report.claims)
    return replace(report, claims=tuple(moved))


def read_text(name: str) -> tuple[str, int]:
    """Return a text to check, and the characters before it: 1 for a byte order mark. Raises BadRequest for no text."""
    from mcp_server.answering.check import decode_text

    data = read_bytes(name)
    return decode_text(data), int(data.startswith(codecs.BOM_UTF8))


def read_bytes(name: str) -> bytes:
    """Return a file, or standard input."""
    if name == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        fail(f"{name} cannot be read ({error.strerror}).", EXIT_USAGE)


def path_in(root: Path, name: str) -> str:
    """Return the path of a file below a root, "" for others."""
    if name == STDIN:
        return ""
    path = Path(os.path.abspath(name))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
