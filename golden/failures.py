"""The register of known failures: what people saw, why, what fixed it, and the case that now watches over it (D12)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golden.case import GoldenError
from mcp_server.blame import Cause

REGISTER = Path(__file__).with_name("failures.jsonl")


class Failure(BaseModel):
    """One way to fail. `fix`: the commit that ended it, "" while it still happens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symptom: str = Field(min_length=10)
    cause: Cause
    fix: str = Field(default="", pattern=r"^([0-9a-f]{7,40})?$")
    case: str = Field(min_length=1)


def load_failures(register: Path = REGISTER) -> list[Failure]:
    """Return the entries of a register. Raises GoldenError, naming the line, for one that is not complete."""
    found = []
    for number, line in enumerate(register.read_text("utf-8").splitlines(), 1):
        try:
            found.append(Failure(**json.loads(line)))
        except (ValueError, TypeError, ValidationError) as error:
            raise GoldenError(f"{register.name}:{number} is no entry (symptom, cause, fix, case): {error}") from error
    return found


def find_unwatched(failures: Iterable[Failure], cases: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each entry whose case is not in the golden set."""
    known = frozenset(cases)
    for failure in failures:
        if failure.case not in known:
            yield f"{failure.case!r} is no golden case, and the failure {failure.symptom!r} has no other one."


def failures_table(failures: Sequence[Failure]) -> str:
    """Return the register as a table of the documentation."""
    rows = ["| symptom | cause | fixed in | case |", "|---|---|---|---|"]
    rows += [f"| {f.symptom} | `{f.cause}` | {f.fix or 'open'} | `{f.case}` |" for f in failures]
    return "\n".join(rows)
