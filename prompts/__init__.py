"""Versioned prompt text: `prompts/<name>/v<N>.md`, TOML front matter between `+++` lines, then the text.

Published text never changes: `prompts.lock` holds the SHA-256 of every version, and CI compares. Tool descriptions and
server instructions are prompts too: they are read by the calling agent. A composition names the versions of its parts.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

LOCK_NAME = "prompts.lock"
LABELS_NAME = "labels.toml"
NAME = re.compile(r"[a-z][a-z0-9_]*(?:/[a-z][a-z0-9_]*)?")
REF = re.compile(r"([a-z0-9_/]+)@v([1-9]\d*)")
VERSION = re.compile(r"v?([1-9]\d*)")
LATEST = "latest"
ENVIRONMENTS = ("dev", "staging", "prod")
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
    parts: tuple[str, ...] = ()  # of a composition: "answer/system@v1"
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
    parts: tuple[str, ...] = ()
    path: str = ""  # within the package

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


@dataclass(frozen=True, slots=True)
class Composition:
    """A prompt that is put together from others, each in the version that it names."""

    prompt: Prompt
    parts: Mapping[str, Prompt]  # last word of the part's id -> part

    @property
    def sha256(self) -> str:
        """Hash over the composition's text and those of all its parts, in order."""
        lines = (f"{part.ref} {part.sha256}" for part in (self.prompt, *self.parts.values()))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def render(self, part: str, **variables: Any) -> Rendered:  # noqa: ANN401 - template values
        """Return a part with its variables filled in. Raises PromptError."""
        return _render(self.parts[part], variables)


def list_names() -> list[str]:
    """Return the ids of all prompts."""
    top = [folder for folder in files("prompts").iterdir() if folder.is_dir() and NAME.fullmatch(folder.name)]
    inner = [f"{folder.name}/{part.name}" for folder in top for part in folder.iterdir() if part.is_dir()]
    names = (*(folder.name for folder in top), *inner)
    return sorted(name for name in names if NAME.fullmatch(name) and _versions(name))


def list_prompts() -> list[Prompt]:
    """Return all versions of all prompts, by id and version. Raises PromptError."""
    return [_read(name, version) for name in list_names() for version in _versions(name)]


def select(environment: str, chosen: Mapping[str, str] | None = None) -> Mapping[str, int]:
    """Return prompt id -> version for an environment: its label, and what the configuration chose instead.

    Every version is read, so that a missing one fails now and not at the first query. Raises PromptError.
    """
    selected = dict(labels(environment))
    for name, wanted in (chosen or {}).items():
        if name not in selected:
            near = get_close_matches(name, selected, 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(sorted(selected))}."
            raise PromptError(f"No prompt is called {name!r}.{hint}")
        selected[name] = _read_version(name, wanted, environment)
    for name, version in selected.items():
        compose(name, version)
    return selected


def _read_version(name: str, wanted: str, environment: str) -> int:
    if wanted == LATEST:
        if environment == "prod":
            raise PromptError(f"Prompt {name} is set to 'latest' in prod: it would change by itself. Name one.")
        return max(_versions(name))
    match = VERSION.fullmatch(wanted)
    if not match:
        raise PromptError(f"Version {wanted!r} of prompt {name} is none. Write it as 'v3'.")
    return int(match[1])


def compose(name: str, version: int) -> Composition:
    """Return a prompt with its parts; one without parts is its own only part. Raises PromptError."""
    prompt = _read(name, version)
    refs = [REF.fullmatch(ref) for ref in prompt.parts]
    if not all(refs):
        raise PromptError(f"{prompt.ref} names its parts {list(prompt.parts)}; each must read like 'answer/system@v1'.")
    parts = [_read(ref[1], int(ref[2])) for ref in refs if ref]
    return Composition(prompt, {part.id.split("/")[-1]: part for part in parts or [prompt]})


def previous_version(name: str, version: int) -> int:
    """Return the version before another one. Raises PromptError where there is none."""
    earlier = [known for known in _versions(name) if known < version]
    if not earlier:
        raise PromptError(f"{name}@v{version} has no earlier version to go back to.")
    return max(earlier)


def set_label(text: str, environment: str, name: str, version: int) -> str:
    """Return the text of the label file with one label moved, everything else as it was. Raises PromptError."""
    _read(name, version)
    key = name if "/" not in name else f'"{name}"'
    head, found, table = text.partition(f"[{environment}]\n")
    body, border, rest = table.partition("\n[")
    moved, count = re.subn(rf"(?m)^{re.escape(key)} = .*$", f"{key} = {version}", body)
    if not found or not count:
        raise PromptError(f"{LABELS_NAME} has no label for {name} in [{environment}].")
    return head + found + moved + border + rest


def load(name: str, version: int | None = None, label: str = "prod") -> Prompt:
    """Return a version of a prompt, by default the one that a label points to. Raises PromptError."""
    return _read(name, version if version is not None else labels(label).get(name, 0))


def render(name: str, version: int | None = None, /, **variables: Any) -> Rendered:  # noqa: ANN401 - template values
    """Return a prompt with its variables filled in. Raises PromptError."""
    return _render(load(name, version), variables)


def _render(prompt: Prompt, variables: Mapping[str, Any]) -> Rendered:
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
    for label in ENVIRONMENTS:
        for name, version in labels(label).items():
            if (name, version) not in known:
                yield f"Label {label} points to {name}@v{version}, which does not exist."


@lru_cache
def _versions(name: str) -> tuple[int, ...]:
    if not NAME.fullmatch(name) or not (files("prompts") / name).is_dir():
        return ()
    found = (VERSION_FILE.fullmatch(file.name) for file in (files("prompts") / name).iterdir())
    return tuple(sorted(int(match[1]) for match in found if match))


@lru_cache
def _read(name: str, version: int) -> Prompt:
    if not NAME.fullmatch(name):
        raise PromptError(f"{name[:60]!r} is no id of a prompt.")
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
    path = f"prompts/{name}/v{version}.md"
    return Prompt(head.id, head.version, head.role, head.vars, head.changelog, match[2].strip(), head.parts, path)
