"""One golden case: a question and what an acceptable answer looks like, checked when it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Bucket = Literal["exact-symbol", "conceptual", "cross-ticket", "cross-design"]
Tag = Literal["short", "multihop", "ambiguous", "unanswerable", "typed", "homonym"]

BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
TAGS: tuple[Tag, ...] = get_args(Tag)


class GoldenError(Exception):
    """A case file cannot be used; the message names the file, the line and what to change."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Expect(_Row):
    """Acceptable behaviour. Paths are relative to their source; symbols are qualified names or tails of them."""

    cites: tuple[str, ...] = ()  # files of which one should rank first
    symbols: tuple[str, ...] = ()  # definitions that should be among the first ten hits
    tickets: tuple[str, ...] = ()  # keys that should be among the first ten hits
    not_cites: tuple[str, ...] = ()  # files that no citation may point into
    abstain: bool | None = False  # None: abstaining with the right hint is as good as answering
    ungrounded_contains: tuple[str, ...] = ()  # each must occur in the ungrounded list or among the names not found


class Case(_Row):
    """One question with its bucket, its corpus and what is expected."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{2,60}$")
    bucket: Bucket
    tags: tuple[Tag, ...] = ()
    corpus: str
    query: str = Field(min_length=1, max_length=20_000)
    sources: tuple[str, ...] = ()  # filters of the request
    product: str = ""
    expect: Expect
    note: str = ""  # why this case; a doubtful target says so here

    @model_validator(mode="after")
    def _is_answerable_or_not(self) -> Case:
        wants = self.expect.cites or self.expect.symbols or self.expect.tickets
        if (self.expect.abstain is True) == bool(wants):
            raise ValueError("expect either cites, symbols or tickets, or abstain = true, and not both")
        if (self.expect.abstain is True) != ("unanswerable" in self.tags):
            raise ValueError("a case that must abstain, and only such a case, has the tag 'unanswerable'")
        return self


CASES = Path(__file__).with_name("cases")
SECRET_LIKE = re.compile(r"(?i)\b(?:api[_-]?key|secret|password|token)\b\s*[:=]\s*\S{8,}|\b[A-Z0-9]{20}\b|-----BEGIN ")
PERSONAL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+|\b\d{3}[-. ]\d{3}[-. ]\d{4}\b")


def load_cases(folder: Path = CASES) -> list[Case]:
    """Read every case of a folder's `*.jsonl`, by id. Raises GoldenError."""
    cases: dict[str, Case] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if not line.strip():
                continue
            case = parse_case(line, f"{file.name}:{number}")
            if case.id in cases:
                raise GoldenError(f"{file.name}:{number}: the id {case.id!r} is taken. Give each case its own.")
            cases[case.id] = case
    if not cases:
        raise GoldenError(f"There is no case in {folder}. Cases are JSON lines in files called *.jsonl.")
    return [cases[name] for name in sorted(cases)]


def parse_case(line: str, where: str) -> Case:
    """Read one JSON line. Raises GoldenError."""
    try:
        return Case.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise GoldenError(f"{where}: this line is no JSON ({error.msg}).") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "case"
        raise GoldenError(f"{where}: {place}: {first['msg']}.") from None


def find_hygiene_problems(cases: list[Case], minimum_per_bucket: int) -> Iterator[str]:
    """Yield a sentence for each bucket or tag without enough cases and each text that looks like private data (E18)."""
    for bucket in BUCKETS:
        count = sum(case.bucket == bucket for case in cases)
        if count < minimum_per_bucket:
            yield f"Bucket {bucket} has {count} cases; at least {minimum_per_bucket} are wanted."
    for tag in TAGS:
        if not any(tag in case.tags for case in cases):
            yield f"No case has the tag {tag}."
    for case in cases:
        text = case.model_dump_json()
        for kind, pattern in (("a secret", SECRET_LIKE), ("personal data", PERSONAL)):
            if match := pattern.search(text):
                yield f"Case {case.id} holds what looks like {kind}: {match[0][:12]}..."
