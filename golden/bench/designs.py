"""Questions between designs and code, mined from commits that name a design's id. `bench search` asks them.

From a design to the code: its title and the start of its text; right are the source files that commits which name its
id have changed. From a change to its design: its message and the lines that it added; right are the designs that it
names. No id of any design is left in a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.bench.questions import Gold, Place, Question
from ingest.embedding.training.history import (
    CloneError,
    Commit,
    list_files,
    mirrored,
    read_commits,
    read_files,
    run_git,
)
from ingest.index.keys import DESIGN_FAMILIES
from ingest.languages import LANGUAGES, detect_language, path_role
from ingest.sources.designs.records import read_record, split_front_matter
from ingest.sources.history import PEOPLE
from ingest.sources.links import URL

# `EIP-1559`, `eip1559`, `EIPs 197, 198 and 213`, also inside of names: `IsEIP155`.
NAMED = re.compile(
    rf"(?:({DESIGN_FAMILIES})s?)[-_ #]*\d+(?:(?:\s*[,/&]\s*(?:and\s+)?|\s+and\s+)#?\d{{2,}})*", re.IGNORECASE
)
NUMBER = re.compile(r"\d+")
PULL = re.compile(r"\s*\(#\d+\)")
HEADING_LINE = re.compile(r"^#{1,6}[ \t].*$|^[=~^\"-]{3,}[ \t]*$", re.MULTILINE)
LINK = re.compile(r"\[([^\]\n]*)\]\([^)\s]*\)")
WORD = re.compile(r"[^\W\d_]{2,}")
DESIGN_CHARS = 1_000  # of a design's text that a question takes
CHANGE_CHARS = 1_000  # of a change's message, and again of its added lines
MIN_WORDS = 8  # a question with fewer says nothing
DATA = frozenset(("json", "yaml", "toml", "csv", "xml", "html", "css"))
MAX_FILES = 20  # a change of more source files (a move, a fork's definition) implements no single design
MAX_DESIGNS = 3  # a change that names more is a list of them


@dataclass(frozen=True, slots=True)
class Change:
    """A commit that names designs: the source files that it changed and that are still there."""

    id: str
    commit: Commit
    designs: tuple[str, ...]  # keys
    files: tuple[str, ...]


def mine_cases(clones: Path, code: str, designs: str, root: str = "") -> list[Question]:
    """Return the questions between two repositories, `owner/name` below a folder of clones, at their HEADs.

    `root` is the folder of the designs. Raises BenchError.
    """
    try:
        with ExitStack() as stack:
            code_git, code_head = stack.enter_context(mirrored(clones, code))
            design_git, design_head = stack.enter_context(mirrored(clones, designs))
            place = Place(repo=designs, commit=design_head, root=root)
            known = read_designs(design_git, design_head, root)
            changes = list(find_changes(code_git, code_head, {key for key, _, _ in known}))
    except CloneError as error:
        raise BenchError(str(error)) from error
    base = {"repo": code, "commit": code_head, "designs": place}
    paths = {key: path for key, path, _ in known}
    return [*ask_for_code(known, changes, base), *ask_for_designs(changes, paths, base)]


def read_designs(git: Path, commit: str, root: str) -> list[tuple[str, str, str]]:
    """Return (key, path, question) of each design with an id and a text."""
    inside = f"{root.strip('/')}/" if root else ""
    paths = [path for path in list_files(git, commit) if path.startswith(inside) and path.endswith((".md", ".rst"))]
    found = []
    for path, text in read_files(git, commit, paths):
        key = read_record(path, text).key
        question = design_question(path, key, text) if key else ""
        if key and len(WORD.findall(question)) >= MIN_WORDS:
            found.append((key, path, question))
    return found


def design_question(path: str, key: str, text: str) -> str:
    """Return title, description and the start of a design's text, without markup, links and ids."""
    front, body = split_front_matter(text)
    title = read_record(path, text).title
    prose = LINK.sub(r"\1", HEADING_LINE.sub("", body))
    whole = ". ".join(filter(None, (title, front.get("description", ""), " ".join(prose.split()))))
    return without_ids(whole[: DESIGN_CHARS + 200], [key])[:DESIGN_CHARS].rpartition(" ")[0]


def without_ids(text: str, keys: Iterable[str]) -> str:
    """Return a text without ids of designs, numbers of pull requests, addresses (they hold ids) and people.

    Of the designs that it is about the bare number goes too: `enable5656`.
    """
    for pattern in (PEOPLE, URL, PULL, NAMED):
        text = pattern.sub("", text)
    for number in (key.rpartition("-")[2] for key in keys):
        if len(number) > 2:
            text = re.sub(rf"(?<!\d){number}(?!\d)", "", text)
    return re.sub(r"[ \t]{2,}", " ", text).strip(" :,-")


def named_designs(text: str, known: Iterable[str]) -> list[str]:
    """Return the keys of known designs that a message names."""
    keys = set(known)
    found = (f"{m[1].upper()}-{int(number)}" for m in NAMED.finditer(text) for number in NUMBER.findall(m[0]))
    return [key for key in dict.fromkeys(found) if key in keys]


def find_changes(git: Path, head: str, known: set[str]) -> Iterator[Change]:
    """Yield the commits that name at most MAX_DESIGNS designs and changed at most MAX_FILES source files."""
    present = {path for path in list_files(git, head) if is_source(path)}
    log = list_messages(git, head)
    naming = [commit for commit, message in log.items() if 0 < len(named_designs(message, known)) <= MAX_DESIGNS]
    for commit in naming:
        for read in read_commits(git, [commit]):
            files = tuple(sorted(path for path in read.hunks if path in present))
            if 0 < len(files) <= MAX_FILES:
                keys = named_designs(f"{read.subject}\n{read.body}", known)
                yield Change(commit, read, tuple(keys), files)


def list_messages(git: Path, head: str) -> dict[str, str]:
    """Return the messages of the commits without merges, newest first."""
    out = run_git(git, "rev-list", "--no-merges", "--format=%s%n%b%x00", head).decode(errors="replace")
    records = (record.lstrip("\n").partition("\n") for record in out.split("\0") if record.strip())
    return {first.removeprefix("commit "): message for first, _, message in records}


def is_source(path: str) -> bool:
    """Tell whether a file is code of the product itself: no test, no data, no prose."""
    language = LANGUAGES.get(detect_language(path) or "")
    return path_role(path) == "source" and bool(language and not language.prose and language.name not in DATA)


def ask_for_code(
    designs: Sequence[tuple[str, str, str]], changes: Sequence[Change], base: Mapping[str, Any]
) -> Iterator[Question]:
    """Yield a question per design that changes name."""
    for key, path, text in designs:
        files = sorted({file for change in changes if key in change.designs for file in change.files})
        if files:
            yield Question(
                id=f"code-of-{key.lower()}",
                bucket="design-to-code",
                query=text,
                gold=tuple(Gold(path=file) for file in files),
                meta={"design": path, "commits": [c.id[:12] for c in changes if key in c.designs]},
                **base,
            )


def ask_for_designs(changes: Sequence[Change], paths: Mapping[str, str], base: Mapping[str, Any]) -> Iterator[Question]:
    """Yield a question per change."""
    for change in changes:
        text = change_question(change)
        if len(WORD.findall(text)) >= MIN_WORDS:
            yield Question(
                id=f"design-of-{change.id[:12]}",
                bucket="code-to-design",
                query=text,
                gold=tuple(Gold(path=paths[key]) for key in change.designs),
                asks="designs",
                meta={"files": list(change.files)},
                **base,
            )


def change_question(change: Change) -> str:
    """Return the message of a change and the lines that it added to source files, without ids."""
    body = change.commit.body.replace("\r", "")
    message = without_ids(f"{change.commit.subject}\n{body}", change.designs)[:CHANGE_CHARS]
    lines = (line.strip() for path in change.files for line in change.commit.added.get(path, ()))
    added = without_ids("\n".join(filter(None, lines)), change.designs)[:CHANGE_CHARS]
    return f"{message}\n{added}".strip()
