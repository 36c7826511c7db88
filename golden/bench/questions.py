"""Questions with known files: one JSON object per line, each about one commit of one repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from golden.bench import BenchError
from ingest.languages import detect_language


class Gold(BaseModel):
    """One right place; no lines = the file as a whole."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    path: str
    start: int | None = None
    end: int | None = None


class Place(BaseModel):
    """A folder of a repository at a commit."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    repo: str
    commit: str
    root: str = ""

    @property
    def folder(self) -> str:
        """Name of the corpus below the folder of corpora."""
        return f"{self.repo.replace('/', '__')}-{self.commit[:12]}"


class Question(Place):
    """One line of a case file: a query about one commit of one repository, and of its designs where it names them."""

    id: str
    bucket: str
    query: str
    gold: tuple[Gold, ...]
    designs: Place | None = None  # indexed beside the code
    asks: Literal["code", "designs"] = "code"  # what kind of file is right
    meta: dict[str, Any] = {}

    @property
    def wanted(self) -> list[str]:
        """The distinct right files; none = abstaining is right."""
        return list(dict.fromkeys(gold.path for gold in self.gold))

    @property
    def language(self) -> str:
        """The language as the case says it, else that of the first right file."""
        said = self.meta.get("language")
        return str(said) if said else next(filter(None, map(detect_language, self.wanted)), "")


GROUPINGS: Mapping[str, Callable[[Question], str]] = {
    "all": lambda question: "ALL",
    "bucket": lambda question: question.bucket,
    "category": lambda question: str(question.meta.get("category", "")),
    "language": lambda question: question.language,
    "repo": lambda question: question.repo,
}


def load_questions(files: Sequence[Path], limit: int = 0) -> list[Question]:
    """Read case files; a limit takes that many evenly from all over them. Raises BenchError with the line."""
    questions = [question for file in files for question in read_file(file)]
    ids = [question.id for question in questions]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise BenchError(f"Two cases are called {twice!r}; predictions are told apart by id.")
    if not 0 < limit < len(questions):
        return questions
    return [questions[number * len(questions) // limit] for number in range(limit)]


def read_file(file: Path) -> list[Question]:
    """Read one case file. Raises BenchError with the line."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise BenchError(f"The case file {file} cannot be read ({error.strerror}).") from error
    questions = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                questions.append(Question.model_validate_json(line))
            except ValidationError as error:
                raise BenchError(f"{file}:{number} is no case: {error.errors()[0]['msg']}.") from error
    return questions


def group_ids(questions: Sequence[Question]) -> dict[tuple[str, str], list[str]]:
    """Return the ids of the answerable questions per (grouping, name), in the order of GROUPINGS, then by name."""
    found: dict[tuple[str, str], list[str]] = {}
    for by, name_of in GROUPINGS.items():
        answerable = [question for question in questions if question.gold]
        for name in sorted(filter(None, {name_of(question) for question in answerable})):
            found[by, name] = [question.id for question in answerable if name_of(question) == name]
    return found
