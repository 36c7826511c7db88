"""What every command needs: options, the open service, errors as sentences, JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from mcp_server.config import CONFIG_NAME, Setup, ensure_writable, is_read_only, load_setup
from mcp_server.service import Service

EXIT_ERROR, EXIT_USAGE, EXIT_NOTHING = 1, 2, 3

RootOption = Annotated[Path | None, typer.Option("--root", help="Repository or folder; default: the work tree's top.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help=f"Configuration file; default: {CONFIG_NAME}.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data directory; default: below $XDG_DATA_HOME.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SourcesOption = Annotated[
    list[str] | None, typer.Option("--source", "-s", help="code, tickets, designs, history or a source's name; repeat.")
]
ProductOption = Annotated[str, typer.Option("--product", "-p", help="Only this product.")]
GlobOption = Annotated[str, typer.Option("--path-glob", "-g", help="Only these paths, such as 'src/**/*.py'.")]
LanguageOption = Annotated[str, typer.Option("--language", help="Only this language, such as python.")]
StrictOption = Annotated[bool | None, typer.Option("--strict/--no-strict", help="Refuse degraded results.")]
CacheOption = Annotated[bool, typer.Option("--cache/--no-cache", help="Take a cached answer that still holds.")]
TransformOption = Annotated[
    str | None, typer.Option("--transform", help="How else to search: auto, none, multi, decompose, hyde.")
]
DetailedOption = Annotated[bool, typer.Option("--detailed", "-d", help="Longer snippets and the source of each hit.")]


def fail(sentence: str, code: int = EXIT_ERROR) -> NoReturn:
    """Print one sentence on stderr and end."""
    print(f"codecairn: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def read_environment() -> dict[str, str]:
    """Return the variables of this process."""
    return dict(os.environ)


def read_setup(root: Path | None, config: Path | None, data: Path | None) -> Setup:
    """Read the settings without touching the data directory."""
    return load_setup(root=root, config=config, data=data, env=read_environment())


def open_setup(
    root: Path | None,
    config: Path | None,
    data: Path | None,
    *,
    reads: bool = False,
    **flags: Any,  # noqa: ANN401
) -> Setup:
    """Read the settings and make sure that the data directory can be written, or, to read, that it holds an index."""
    given = {name: value for name, value in flags.items() if value is not None}
    setup = load_setup(root=root, config=config, data=data, env=dict(os.environ), flags=given)
    if not (reads and is_read_only(setup.data_dir)):
        ensure_writable(setup.data_dir)
    return setup


@contextmanager
def open_service(setup: Setup, *, log: bool = False) -> Iterator[Service]:
    """Open the service and make sure that its traces are written at the end."""
    service = Service(setup, log=log)
    try:
        yield service
    finally:
        service.close()


def utc_now() -> str:
    """Return the time now, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def print_json(value: object) -> None:
    """Print compact JSON."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def say(line: str) -> None:
    """Print progress on stderr."""
    print(line, file=sys.stderr, flush=True)
