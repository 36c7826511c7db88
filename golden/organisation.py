"""The organisation of the golden set: two products with overlapping names, made from plain files, the same every time.

A `*.history` file is a list of commits, oldest first. Each begins with `== commit DAY AUTHOR` and its message, followed
by changes: `== write PATH` with the text, `== edit PATH` with `<<<< old ==== new >>>>`, `== copy`, `== move`,
`== delete`. What follows `== after the build` is done to the work tree once the index is made, and never committed.

No secret stands in the files: `@@SECRET:kind@@` becomes one when the organisation is built, put together from parts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from golden.case import GoldenError
from ingest.config import SourceConfig

MATERIAL = Path(__file__).with_name("corpus") / "organisation"
REPOSITORIES = ("tollgate", "tollway", "nightjar", "fieldkit")
PRODUCTS = ("tollgate", "tollway")
RESTRICTED_GROUP = "security"  # of the sources that the golden principal may not see
SECRET = re.compile(r"@@SECRET:(\w+)@@")
HEADING = re.compile(r"^== (commit|write|edit|copy|move|delete|after the build)(?: (.*))?$", re.MULTILINE)
EDIT = re.compile(r"<<<<\n(.*?)\n====\n(.*?)\n>>>>", re.DOTALL)

# Parts of the planted secrets. They look real and open nothing; no whole one stands in any file.
SECRETS = {
    "aws_access_key": ("AKIA", "Q3T7", "WZ5M", "K2PN", "V6RD"),
    "aws_secret_key": ("wJ9x", "Lq4T", "v8Zr", "2mKp", "7bNd", "5sYf", "3hGc", "6tQe", "1uXa", "0iOw"),
    "github_token": ("ghp", "_", "R7kV2m", "Xq9TzL", "4bNw8s", "YcJ5dH", "1fGa3P", "uE6oZk"),
    "slack_token": ("xoxb", "-", "73920164", "-", "Vt8qLm2Xz9", "RkPw4Ns7Yb"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a commit."""

    kind: str
    path: str
    text: str = ""


@dataclass(slots=True)
class Step:
    """One commit, or what happens after the build."""

    day: str = ""
    author: str = ""
    message: str = ""
    changes: list[Change] = field(default_factory=list)


def planted_secrets() -> tuple[str, ...]:
    """Return every planted secret in full."""
    return tuple("".join(parts) for parts in SECRETS.values())


def fill_secrets(text: str) -> str:
    """Return a text with its placeholders replaced. Raises GoldenError for an unknown kind."""

    def put(match: re.Match[str]) -> str:
        if match[1] not in SECRETS:
            raise GoldenError(f"There is no planted secret {match[1]!r}. Known: {', '.join(SECRETS)}.")
        return "".join(SECRETS[match[1]])

    return SECRET.sub(put, text)


def read_history(text: str) -> list[Step]:
    """Return the steps of a `*.history` file. Raises GoldenError."""
    steps: list[Step] = []
    marks = list(HEADING.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        body = text[mark.end() + 1 : following.start() if following else len(text)]
        kind, what = mark[1], mark[2] or ""
        if kind == "commit":
            day, author = what.split()
            steps.append(Step(day, author, body.strip()))
        elif kind == "after the build":
            steps.append(Step())
        elif not steps:
            raise GoldenError(f"'{mark[0]}' stands before the first commit.")
        else:
            steps[-1].changes.append(Change(kind, what, fill_secrets(body)))
    return steps


def apply_change(files: dict[str, str], change: Change) -> None:
    """Do one change to a tree. Raises GoldenError where it does not fit."""
    first, _, second = change.path.partition(" ")
    if change.kind == "write":
        files[first] = change.text
        return
    if first not in files:
        raise GoldenError(f"'== {change.kind} {change.path}': there is no such file at that point of the history.")
    if change.kind == "delete":
        del files[first]
    elif change.kind == "copy":
        files[second] = files[first]
    elif change.kind == "move":
        files[second] = files.pop(first)
    else:
        files[first] = edit_text(files[first], change)


def edit_text(text: str, change: Change) -> str:
    """Return a text with every replacement of an edit done. Raises GoldenError unless each old part occurs once."""
    pairs = EDIT.findall(change.text)
    for old, new in pairs:
        if text.count(old) != 1:
            raise GoldenError(f"'== edit {change.path}': {old[:60]!r} occurs {text.count(old)} times, not once.")
        text = text.replace(old, new)
    if not pairs:
        raise GoldenError(f"'== edit {change.path}' replaces nothing.")
    return text


def trees(steps: Sequence[Step]) -> Iterator[tuple[Step, dict[str, str]]]:
    """Yield each commit with all files as they are after it."""
    files: dict[str, str] = {}
    for step in steps:
        for change in step.changes:
            apply_change(files, change)
        yield step, dict(files)


def export_stream(steps: Sequence[Step]) -> bytes:
    """Return the commits as a stream for `git fast-import`: same files, same commit ids, on every machine."""
    out = bytearray()
    for step, files in trees([step for step in steps if step.day]):
        at = int(datetime.fromisoformat(f"{step.day}T12:00:00").replace(tzinfo=UTC).timestamp())
        who = f"{step.author} <{step.author}@example.invalid> {at} +0000"
        out += f"commit refs/heads/main\nauthor {who}\ncommitter {who}\n".encode()
        out += data_of(step.message + "\n") + b"deleteall\n"
        for path in sorted(files):
            out += f"M 100644 inline {path}\n".encode() + data_of(files[path])
        out += b"\n"
    return bytes(out)


def data_of(text: str) -> bytes:
    """Return a text as fast-import wants it."""
    raw = text.encode()
    return b"data %d\n%s\n" % (len(raw), raw)


def git(folder: Path, *arguments: str, data: bytes | None = None) -> None:
    """Run git in a repository of ours, without anybody's configuration. Raises GoldenError."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env = {**plain, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", str(folder), *arguments], input=data, env=env, capture_output=True)
    if done.returncode:
        raise GoldenError(f"git {arguments[0]} failed in {folder}: {done.stderr.decode(errors='replace').strip()}")


def build_repository(folder: Path, steps: Sequence[Step]) -> None:
    """Make a repository with its history and its work tree, whatever lay there before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main", ".")
    git(folder, "fast-import", "--quiet", "--force", data=export_stream(steps))
    git(folder, "reset", "--quiet", "--hard", "main")


@dataclass(frozen=True, slots=True)
class Organisation:
    """Where the organisation was built."""

    folder: Path

    def sources(self) -> tuple[SourceConfig, ...]:
        """Return its sources. Those of the group `security` are there to be kept back."""
        return (
            *(SourceConfig(name=p, type="git", path=self.folder / p, product=p) for p in PRODUCTS),
            *(
                SourceConfig(name=f"{p}-tickets", type="tickets", path=self.folder / f"{p}-tickets.json", product=p)
                for p in PRODUCTS
            ),
            *(
                SourceConfig(name=f"{p}-designs", type="designs", path=self.folder / f"{p}-designs", product=p)
                for p in PRODUCTS
            ),
            SourceConfig(name="fieldkit", type="git", path=self.folder / "fieldkit", product="fieldkit"),
            SourceConfig(
                name="nightjar",
                type="git",
                path=self.folder / "nightjar",
                product="nightjar",
                groups=(RESTRICTED_GROUP,),
            ),
            SourceConfig(
                name="nightjar-tickets",
                type="tickets",
                path=self.folder / "nightjar-tickets.json",
                product="nightjar",
                groups=(RESTRICTED_GROUP,),
            ),
        )

    def drift(self) -> None:
        """Change the work tree as people do after an index was built."""
        for name in REPOSITORIES:
            steps = read_history((MATERIAL / f"{name}.history").read_text("utf-8"))
            if steps[-1].day:
                continue
            *_, (_, before), (_, after) = trees(steps)
            for path in before.keys() - after.keys():
                (self.folder / name / path).unlink()
            for path, text in after.items():
                if before.get(path) != text:
                    (self.folder / name / path).write_text(text, "utf-8")


def build_organisation(folder: Path, behind: int = 0) -> Organisation:
    """Build everything below a folder, as it is before `drift`. Raises GoldenError.

    `behind`: so many of the latest commits of each product are left out.
    """
    for name in REPOSITORIES:
        steps = read_history((MATERIAL / f"{name}.history").read_text("utf-8"))
        build_repository(folder / name, steps[: len(steps) - behind] if name in PRODUCTS else steps)
    for item in sorted(MATERIAL.iterdir()):
        if item.is_dir():
            shutil.rmtree(folder / item.name, ignore_errors=True)
            for page in sorted(item.iterdir()):
                write_filled(page, folder / item.name / page.name)
        elif item.suffix == ".json":
            write_filled(item, folder / item.name)
    return Organisation(folder)


def write_filled(origin: Path, target: Path) -> None:
    """Copy a text with its secrets put in; what is as it was keeps its time stamp."""
    target.parent.mkdir(parents=True, exist_ok=True)
    text = fill_secrets(origin.read_text("utf-8"))
    if not target.is_file() or target.read_text("utf-8") != text:
        target.write_text(text, "utf-8")
