"""Read a git history for mining: files at a commit, commits with their hunks. Objects only, never a work tree."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest import gitio
from ingest.errors import GitError

MAX_FILE_BYTES = 200_000  # larger files are data or generated
MAX_HUNK_LINES = 60


class CloneError(Exception):
    """A clone that can't be read."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Subject, body and the new text of what changed: path -> hunks."""

    subject: str
    body: str
    hunks: dict[str, list[str]]
    added: dict[str, list[str]]  # path -> added lines


def find_clone(folder: Path, repository: str) -> Path:
    """Return the git directory of `owner/name` below a folder: `owner/name`, `owner+name` or `owner__name`.

    Raises CloneError.
    """
    for name in (repository, repository.replace("/", "+"), repository.replace("/", "__")):
        for tail in ("", ".git", "repo", "repo/.git"):
            path = folder / name / tail
            if (path / "objects").is_dir() and (path / "HEAD").is_file():
                return path
    raise CloneError(f"No clone of {repository} in {folder}. Clone it to {folder / repository}.")


def list_clones(folder: Path) -> list[str]:
    """Return the names `owner/name` of the clones below a folder, sorted."""
    names: set[str] = set()
    for path in folder.iterdir():
        if not path.is_dir() or path.name.startswith("."):
            continue
        flat = re.fullmatch(r"([^+]+?)(?:\+|__)(.+)", path.name)
        names.update(
            [f"{flat[1]}/{flat[2]}"] if flat else [f"{path.name}/{p.name}" for p in path.iterdir() if p.is_dir()]
        )
    return sorted(names)


@contextlib.contextmanager
def mirrored(folder: Path, repository: str) -> Iterator[tuple[Path, str]]:
    """Yield a bare copy of a clone for as long as it is read, and the commit of its HEAD. Raises CloneError.

    Nothing is run in the clone itself: what its configuration names would run too.
    """
    clone = find_clone(folder, repository)
    with tempfile.TemporaryDirectory(prefix="codecairn-mirror-") as scratch:
        try:
            found = gitio.find_repository(clone.parent if clone.name == ".git" else clone)
            mirror = gitio.update_mirror(found, Path(scratch))
        except GitError as error:
            raise CloneError(f"The clone of {repository} cannot be read: {error}") from error
        if mirror.commit is None:
            raise CloneError(f"The clone of {repository} has no commit yet.")
        yield mirror.path, mirror.commit


def run_git(mirror: Path, command: str, *arguments: str, stdin: bytes = b"") -> bytes:
    """Return what an allow-listed git command prints. Raises CloneError."""
    try:
        return gitio.run_git(command, *arguments, git_dir=mirror, stdin=stdin)
    except GitError as error:
        raise CloneError(str(error)) from error


def list_files(clone: Path, commit: str) -> dict[str, str]:
    """Return path -> object id of the files of a commit that are not too large. Raises CloneError."""
    listed: dict[str, str] = {}
    for line in run_git(clone, "ls-tree", "-r", "-l", commit).decode(errors="replace").splitlines():
        facts, _, path = line.partition("\t")
        _, kind, object_id, size = facts.split()
        if kind == "blob" and size.isdigit() and int(size) <= MAX_FILE_BYTES:  # no number: a partial clone lacks it
            listed[path] = object_id
    return listed


def read_files(clone: Path, commit: str, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of files of a commit, in order of path, without binary ones. Raises CloneError."""
    listed = list_files(clone, commit)
    wanted = sorted(set(paths) & set(listed))
    data = run_git(clone, "cat-file", "--batch", stdin="".join(f"{listed[path]}\n" for path in wanted).encode())
    at = 0
    for path in wanted:
        end = data.index(b"\n", at)
        size = int(data[at:end].split()[2])
        blob = data[end + 1 : end + 1 + size]
        at = end + 2 + size
        if b"\0" not in blob[:8000]:
            yield path, blob.decode("utf-8", errors="replace")


def list_commits(clone: Path, commit: str) -> list[tuple[str, str]]:
    """Return (id, subject) of the commits without merges, newest first. Raises CloneError."""
    lines = run_git(clone, "rev-list", "--no-merges", "--format=%s", commit).decode(errors="replace").split("\n")
    return [(head.removeprefix("commit "), subject) for head, subject in zip(lines[::2], lines[1::2], strict=False)]


def read_commits(clone: Path, ids: list[str]) -> Iterator[Commit]:
    """Yield commits with the new text of their hunks (added and context lines). Raises CloneError."""
    for start in range(0, len(ids), 200):  # bounds the text held at once
        for record in _diff(clone, ids[start : start + 200]).split("\x01")[1:]:
            subject, _, rest = record.partition("\x02")
            body, _, patch = rest.partition("\x03")
            yield Commit(subject, body.strip(), *_parse_patch(patch))


def _diff(clone: Path, ids: list[str]) -> str:
    """Return subjects, bodies and patches, without commits whose files a partial clone lacks. Raises CloneError."""
    form = "--format=%x01%s%x02%b%x03"
    arguments = ("--stdin", "-r", "-p", "-U3", "--no-renames", "--diff-filter=AM", "--root", form)
    safe = ("--no-ext-diff", "--no-textconv")
    try:
        asked = "\n".join(ids).encode() + b"\n"
        return run_git(clone, "diff-tree", *arguments, *safe, stdin=asked).decode("utf-8", errors="replace")
    except CloneError:
        if len(ids) == 1:
            return ""
        half = len(ids) // 2
        return _diff(clone, ids[:half]) + _diff(clone, ids[half:])


def _parse_patch(patch: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    hunks: dict[str, list[str]] = {}
    added: dict[str, list[str]] = {}
    for part in patch.split("\ndiff --git ")[1:]:
        head, _, text = part.partition("\n@@ ")
        named = re.search(r"^\+\+\+ b/(.+)$", head, re.MULTILINE)
        if named and text:
            path = named[1].rstrip("\t")
            hunks[path] = [_new_text(hunk) for hunk in text.split("\n@@ ")]
            added[path] = [line[1:] for line in text.split("\n")[1:] if line[:1] == "+"]
    return hunks, added


def _new_text(hunk: str) -> str:
    """Return a hunk as it reads after the commit, headed by the definition that git names."""
    head, _, text = hunk.partition("\n")
    lines = [line[1:] for line in text.split("\n")[: 2 * MAX_HUNK_LINES] if line[:1] in ("+", " ")]
    return "\n".join([head.rpartition("@@")[2].strip(), *lines[:MAX_HUNK_LINES]])
