"""The real command, as a person runs it: its configuration file, its arguments, its server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from golden.stdio import StdioServer
from ingest.config import SourceConfig
from mcp_server.config import source_name

SourceType = Literal["folder", "git"]


def find_type(path: Path) -> SourceType:
    """Return git for a work tree, folder for anything else."""
    return "git" if (path / ".git").exists() else "folder"


def write_config(file: Path, root: Path, kind: SourceType) -> None:
    """Write a configuration with one source."""
    write_sources(file, [SourceConfig(name=source_name(root.name), type=kind, path=root)])


def write_sources(file: Path, sources: Sequence[SourceConfig]) -> None:
    """Write a configuration with some sources."""
    tables = (
        f'[[source]]\nname = "{source.name}"\ntype = "{source.type}"\npath = {json.dumps(str(source.path))}\n'
        for source in sources
    )
    file.write_text("\n".join(tables), "utf-8")


def codecairn_command() -> list[str]:
    """Return the command line of CodeCairn under this Python."""
    return [sys.executable, "-m", "mcp_server.cli"]


@contextmanager
def serving(options: Sequence[str]) -> Iterator[StdioServer]:
    """Run `codecairn serve` on stdio, with the handshake done."""
    with StdioServer([*codecairn_command(), "serve", *options]) as server:
        server.initialize()
        yield server
