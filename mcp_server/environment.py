"""The machine and the packages that a query ran on: what differs where the same configuration gives another result."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ingest.gitio import head_commit

CHECKOUT = Path(__file__).resolve().parent.parent


@cache
def code_commit() -> str:
    """Return the commit of CodeCairn itself where it runs from a checkout, "" for an installed package."""
    return (head_commit(CHECKOUT) or "") if (CHECKOUT / ".git").exists() else ""


@cache
def describe_environment() -> dict[str, Any]:
    """Return Python, operating system, processor and the versions of all installed packages (grammars among them)."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": dict(sorted((found.metadata["Name"].lower(), found.version) for found in distributions())),
    }
