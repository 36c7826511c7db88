"""One golden case: a question and what an acceptable answer looks like, checked when it is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Bucket = Literal["exact-symbol", "conceptual", "cross-ticket", "cross-design"]
Tag = Literal[
    "short", "multihop", "ambiguous", "unanswerable", "forbidden", "typed", "homonym", "paraphrase", "drift", "core"
]
Origin = Literal["written", "mined", "promoted"]

BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
TAGS: tuple[Tag, ...] = get_args(Tag)


class GoldenError(Exception):
    """A case file cannot be used; the message names the file, the line and what to change."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpanExpect(_Row):
    """What one stage of the answer's trace must look like."""

    name: str
    min_out: int = Field(0, ge=0)
    max_out: int | None = None
    absent: bool = False  # the stage must not have run


class Expect(_Row):
    """Acceptable behaviour. Paths are relative to their source; symbols are qualified names or tails of them."""

    cites: tuple[str, ...] = ()  # files of which one should rank among the first and be cited
    symbols: tuple[str, ...] = ()  # definitions that should be among the first ten hits
    tickets: tuple[str, ...] = ()  # keys that should be among the first ten hits
    not_cites: tuple[str, ...] = ()  # files or keys that no citation may point into: wrong product, superseded
    abstain: bool | None = False  # None: abstaining with the right hint is as good as answering
    ungrounded_contains: tuple[str, ...] = ()  # each must occur in the ungrounded list or among the names not found
    answer: str = ""  # reference, for people
    shows: tuple[str, ...] = ()  # texts that the answer must contain
    hides: tuple[str, ...] = ()  # texts that no part of any result may contain
    stale: tuple[str, ...] = ()  # files whose citations must be marked as moved, changed or gone
    spans: tuple[SpanExpect, ...] = ()
    max_latency_ms: float | None = Field(None, gt=0)  # of the answer
    max_tokens: int | None = Field(None, gt=0)  # of the context

    def with_names(self, present: Mapping[str, str]) -> Expect:
        """Return the same with the present names of wanted files that were renamed.

        What must not be cited keeps its name: an old path may be forbidden because it is gone.
        """
        return self.model_copy(update={"cites": tuple(present.get(path, path) for path in self.cites)})


class Case(_Row):
    """One question with its bucket, its corpus and what is expected."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{2,60}$")
    bucket: Bucket
    tags: tuple[Tag, ...] = ()
    corpus: str
    query: str = Field(min_length=1, max_length=20_000)
    sources: tuple[str, ...] = ()  # filters of the request
    product: str = ""
    groups: tuple[str, ...] = ()  # of who asks; empty: as configured
    origin: Origin = "written"
    trace: str = ""  # the failure that the case was made from
    expect: Expect
    note: str = ""  # why this case; a doubtful target says so here

    @model_validator(mode="after")
    def _is_answerable_or_not(self) -> Case:
        expect = self.expect
        wants = expect.cites or expect.symbols or expect.tickets or expect.shows
        if (expect.abstain is True) == bool(wants):
            raise ValueError("expect either cites, symbols, tickets or shows, or abstain = true, and not both")
        if (expect.abstain is True) != bool({"unanswerable", "forbidden"}.intersection(self.tags)):
            raise ValueError("a case that must abstain, and only such a case, is tagged 'unanswerable' or 'forbidden'")
        if "forbidden" in self.tags and not expect.hides:
            raise ValueError("a forbidden case says in expect.hides what must not be shown")
        return self

    @property
    def hash(self) -> str:
        """Hash over everything that the case asks and expects; its note does not count."""
        content = self.model_dump(mode="json", exclude={"note"}, exclude_defaults=True)
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()

    def to_line(self) -> str:
        """Return the case as one JSON line, defaults left out."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(
            {name: content[name] for name in type(self).model_fields if name in content}, ensure_ascii=False
        )


class Removed(_Row):
    """A case that was taken out, and why; the report counts them."""

    id: str
    reason: str = Field(min_length=10)


CASES = Path(__file__).with_name("cases")
REMOVED = "removed.jsonl"
BASELINE = "baseline.jsonl"
NO_CASES = frozenset((REMOVED, BASELINE))  # other files of the folder
SECRET_LIKE = re.compile(r"(?i:\b(?:api[_-]?key|secret|password|token)\b\s*[:=]\s*\S{8,})|\b[A-Z0-9]{20}\b|-----BEGIN ")
PERSONAL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+|\b\d{3}[-. ]\d{3}[-. ]\d{4}\b")


def load_cases(folder: Path = CASES) -> list[Case]:
    """Read every case of a folder's `*.jsonl`, by id. Raises GoldenError, for two cases that contradict as well."""
    cases: dict[str, Case] = {}
    for file in sorted(folder.glob("*.jsonl")):
        if file.name in NO_CASES:
            continue
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if not line.strip():
                continue
            case = parse_case(line, f"{file.name}:{number}")
            if case.id in cases:
                raise GoldenError(f"{file.name}:{number}: the id {case.id!r} is taken. Give each case its own.")
            cases[case.id] = case
    if not cases:
        raise GoldenError(f"There is no case in {folder}. Cases are JSON lines in files called *.jsonl.")
    if problem := next(find_contradictions(list(cases.values())), ""):
        raise GoldenError(problem)
    return [cases[name] for name in sorted(cases)]


def load_removed(folder: Path = CASES) -> list[Removed]:
    """Read which cases were taken out and why. Raises GoldenError."""
    file = folder / REMOVED
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    removed = []
    for number, line in enumerate(lines, 1):
        try:
            removed.append(Removed.model_validate_json(line))
        except ValidationError as error:
            message = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise GoldenError(f"{REMOVED}:{number}: {message}. Each line names the id and the reason.") from None
    return removed


def add_case(case: Case, folder: Path, name: str) -> Path:
    """Append a case to `<name>.jsonl` of a folder and return the file. Raises GoldenError where it cannot stand."""
    folder.mkdir(parents=True, exist_ok=True)
    present = load_cases(folder) if any(file.name not in NO_CASES for file in folder.glob("*.jsonl")) else []
    if case.id in {other.id for other in present}:
        raise GoldenError(f"There is a case {case.id!r} already. Give the new one another id.")
    if problem := next(find_contradictions([*present, case]), ""):
        raise GoldenError(problem)
    file = folder / f"{name}.jsonl"
    with file.open("a", encoding="utf-8") as out:
        out.write(case.to_line() + "\n")
    return file


def find_contradictions(cases: Sequence[Case]) -> Iterator[str]:
    """Yield a sentence for each pair that asks the same and cannot both pass."""
    asked: dict[tuple[object, ...], list[Case]] = defaultdict(list)
    for case in cases:
        words = " ".join(case.query.lower().split())
        asked[case.corpus, words, case.product, frozenset(case.sources), frozenset(case.groups)].append(case)
    for group in asked.values():
        for number, one in enumerate(group):
            for other in group[number + 1 :]:
                if why := contradiction(one.expect, other.expect):
                    names = f"{one.id} and {other.id}"
                    yield f"The cases {names} ask the same and contradict: {why}. Correct or remove one."


def contradiction(one: Expect, other: Expect) -> str:
    """Return why two expectations of one question cannot both hold, "" if they can."""
    if {one.abstain, other.abstain} == {True, False}:
        return "one must abstain, the other must answer"
    for wants, refuses in ((one, other), (other, one)):
        cites = {*wants.cites, *wants.tickets}
        if cites and cites <= set(refuses.not_cites):
            return f"one forbids to cite {', '.join(sorted(cites))}, the other wants it"
    return ""


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
