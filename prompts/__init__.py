"""Versioned prompt text: `prompts/<name>/v<N>.md`, TOML front matter between `+++` lines, then the text.

Published text never changes: `prompts.lock` holds the SHA-256 of every version, and CI compares. Tool descriptions and
server instructions are prompts too: they are read by the calling agent.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

LOCK_NAME = "prompts.lock"
LABELS_NAME = "labels.toml"
VERSION_FILE = re.compile(r"v([1-9]\d*)\.md")
FRONT_MATTER = re.compile(r"\A\+\+\+\n(.*?)\n\+\+\+\n(.*)\Z", re.DOTALL)


class PromptError(Exception):
    """A prompt is missing, malformed, or changed after it was published."""


class Change(BaseModel):
    """Why a version exists."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    reason: str = Field(min_length=8)


class FrontMatter(BaseModel):
    """The head of a prompt file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    version: int = Field(ge=1)
    role: str
    vars: tuple[str, ...] = ()
    changelog: tuple[Change, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of one prompt."""

    id: str
    version: int
    role: str
    vars: tuple[str, ...]
    changelog: tuple[Change, ...]
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the normalised text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def ref(self) -> str:
        """`answer@v3`."""
        return f"{self.id}@v{self.version}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """What is sent, with where it came from; `sha256` is of the rendered text."""

    text: str
    id: str
    version: int
    sha256: str


def list_prompts() -> list[Prompt]:
    """Return all versions of all prompts, by id and version. Raises PromptError."""
    folders = (folder for folder in files("prompts").iterdir() if folder.is_dir())
    names = sorted(folder.name for folder in folders if folder.name[0] not in "._")
    return [_read(name, version) for name in names for version in _versions(name)]


def load(name: str, version: int | None = None, label: str = "prod") -> Prompt:
    """Return a version of a prompt, by default the one that a label points to. Raises PromptError."""
    return _read(name, version if version is not None else labels(label).get(name, 0))


def render(name: str, version: int | None = None, /, **variables: Any) -> Rendered:  # noqa: ANN401 - template values
    """Return a prompt with its variables filled in. Raises PromptError."""
    prompt = load(name, version)
    if set(variables) != set(prompt.vars):
        raise PromptError(f"{prompt.ref} takes the variables {sorted(prompt.vars)}, not {sorted(variables)}.")
    try:
        text = SandboxedEnvironment(undefined=StrictUndefined).from_string(prompt.text).render(variables)
    except TemplateError as error:
        raise PromptError(f"{prompt.ref} cannot be rendered: {error}.") from error
    return Rendered(text, prompt.id, prompt.version, hashlib.sha256(text.encode()).hexdigest())


def labels(label: str) -> Mapping[str, int]:
    """Return prompt id -> version of a label (environment). Raises PromptError."""
    tables = tomllib.loads((files("prompts") / LABELS_NAME).read_text("utf-8"))
    if label not in tables:
        raise PromptError(f"There is no label {label!r} in {LABELS_NAME}; there are {', '.join(sorted(tables))}.")
    for name, version in tables[label].items():
        if not isinstance(version, int):
            raise PromptError(f"Label {label} of {name} is {version!r}; it must be a version number, never a word.")
    return dict(tables[label])


def make_lock(prompts: list[Prompt]) -> str:
    """Return the text of the lock file."""
    return "".join(f"{prompt.ref} {prompt.sha256}\n" for prompt in prompts)


def verify_lock() -> list[str]:
    """Return a sentence per prompt that is not as it was locked; empty when all is well."""
    locked = dict(line.split() for line in (files("prompts") / LOCK_NAME).read_text("utf-8").splitlines() if line)
    return list(_complaints(list_prompts(), locked))


def _complaints(prompts: list[Prompt], locked: Mapping[str, str]) -> Iterator[str]:
    for prompt in prompts:
        if prompt.ref not in locked:
            yield f"{prompt.ref} is not locked. Run `codecairn prompts lock` once its text is final."
        elif locked[prompt.ref] != prompt.sha256:
            yield f"The text of {prompt.ref} changed after it was published. Write v{prompt.version + 1} instead."
    for ref in sorted(locked.keys() - {prompt.ref for prompt in prompts}):
        yield f"{ref} is locked, but its file is gone. Published versions stay."
    known = {(prompt.id, prompt.version) for prompt in prompts}
    for label in ("dev", "staging", "prod"):
        for name, version in labels(label).items():
            if (name, version) not in known:
                yield f"Label {label} points to {name}@v{version}, which does not exist."


@lru_cache
def _versions(name: str) -> tuple[int, ...]:
    found = (VERSION_FILE.fullmatch(file.name) for file in (files("prompts") / name).iterdir())
    return tuple(sorted(int(match[1]) for match in found if match))


@lru_cache
def _read(name: str, version: int) -> Prompt:
    try:
        raw = (files("prompts") / name / f"v{version}.md").read_text("utf-8").replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PromptError(f"There is no prompt {name}@v{version}.") from error
    match = FRONT_MATTER.match(raw)
    if not match:
        raise PromptError(f"prompts/{name}/v{version}.md does not start with front matter between +++ lines.")
    try:
        head = FrontMatter.model_validate(tomllib.loads(match[1]))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise PromptError(f"The front matter of prompts/{name}/v{version}.md is wrong: {error}.") from error
    if (head.id, head.version) != (name, version):
        raise PromptError(f"prompts/{name}/v{version}.md says that it is {head.id}@v{head.version}.")
    return Prompt(head.id, head.version, head.role, head.vars, head.changelog, match[2].strip())
