"""Settings of the write path: sources, index, embedding. Read once at the edge, passed down."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingest.access import LOCAL_GROUP
from ingest.model import Kind

PERSONAL_KINDS = frozenset(("ticket", "commit"))  # where people write to each other
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
PROJECT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
CODE_TYPES = ("git", "folder")


class Section(BaseModel):
    """Base of every configuration section: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(Section):
    """One `[[source]]` table."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    type: Literal["git", "folder", "tickets", "designs", "github", "jira"]
    path: Path = Path()  # required for what lies on this machine
    product: str = ""  # "" = the folder's name, of tickets and designs that of the code if there is only one
    groups: tuple[str, ...] = (LOCAL_GROUP,)
    trust: Literal["high", "normal", "low"] = "normal"
    pii: Literal["", "off", "mark", "mask"] = ""  # personal data; "" = mask in tickets and commits, off otherwise
    pii_groups: tuple[str, ...] = ()  # who sees chunks with personal data; empty = everybody who sees the source
    ref: str = ""  # git: index this ref from the object database instead of the work tree
    include: tuple[str, ...] = ()  # gitignore-style patterns; empty = everything
    exclude: tuple[str, ...] = ()
    history: bool = True  # git: commits are documents too
    overlay: bool = True  # git: uncommitted work counts
    url: str = (
        ""  # git: address of a remote repository, instead of path; github, jira: of the interface, "" = github.com
    )
    repo: str = ""  # github: owner/name
    project: str = ""  # jira: key of the project
    user: str = ""  # jira cloud: whose token it is (e-mail address); git: the user name that goes with it, "" = any
    token_env: str = ""  # github, jira, git with url: name of the variable that holds the token, never the token
    full_days: float = Field(7.0, ge=0)  # github, jira: after so many days deleted tickets are looked for
    half_life_days: float = Field(1461.0, ge=0)  # tickets, designs: age costs half of what it can; 0 = nothing
    expires_days: float = Field(0.0, ge=0)  # tickets, designs: left out so long after the last change; 0 = never

    @model_validator(mode="after")
    def _names_its_place(self) -> Self:
        """Raise unless the source says where its content is."""
        if self.type == "github" and not REPOSITORY.fullmatch(self.repo):
            raise ValueError("a source of type github needs repo = 'owner/name'")
        if self.type == "jira" and not (PROJECT.fullmatch(self.project) and self.url):
            raise ValueError("a source of type jira needs url = 'https://...' and project = 'KEY'")
        if self.pii_groups and not self.marks_personal(self.kind):
            raise ValueError('pii_groups needs pii = "mark" or "mask": otherwise nobody knows which chunks it is about')
        if self.expires_days and self.type in CODE_TYPES:
            raise ValueError(f"a source of type {self.type} does not expire; expires_days is for tickets and designs")
        if holds_secret(self.url, self.type):  # here, for settings are shown and stored as they are
            raise ValueError(
                f"the url of a source of type {self.type} holds a user name, a password, a query or a fragment. Remove "
                "it, and name the environment variable that holds the token in token_env"
            )
        if self.type == "git" and self.url and "path" in self.model_fields_set:
            raise ValueError("a source of type git has a path or a url, not both")
        if not self.is_away and "path" not in self.model_fields_set:
            raise ValueError(f"a source of type {self.type} needs path" + (" or url" if self.type == "git" else ""))
        return self

    def masks_personal(self, kind: str) -> bool:
        """Tell whether personal data is masked in documents of a kind."""
        return self.pii == "mask" or (not self.pii and kind in PERSONAL_KINDS)

    def marks_personal(self, kind: str) -> bool:
        """Tell whether chunks with personal data, masked or not, are known as such."""
        return self.pii == "mark" or self.masks_personal(kind)

    @property
    def kind(self) -> Kind:
        """Return the kind of the documents."""
        return "code" if self.type in CODE_TYPES else "design" if self.type == "designs" else "ticket"

    @property
    def is_live(self) -> bool:
        """Tell whether the content is fetched from a tracker."""
        return self.type in ("github", "jira")

    @property
    def is_remote(self) -> bool:
        """Tell whether the source is a repository that is fetched by its address."""
        return self.type == "git" and bool(self.url)

    @property
    def is_away(self) -> bool:
        """Tell whether the content lies on another machine, so that `path` says nothing."""
        return self.is_live or self.is_remote

    @property
    def is_polled(self) -> bool:
        """Tell whether nothing on this machine says when the content changes."""
        return self.is_away


def holds_secret(url: str, kind: str) -> bool:
    """Tell whether an address may hold a secret; the user of `ssh://git@host` and of `git@host:` is none."""
    marks = "@?#" if kind != "git" or url.startswith("http") else "?#"
    return not set(marks).isdisjoint(url) or bool(re.search("//[^@]*:[^@]*@", url))


def product_of(source: SourceConfig) -> str:
    """Return the product of a source: what it says, else the repository, project or folder that it comes from."""
    named = source.product or source.repo.rpartition("/")[2] or source.project
    return named or name_product(Path(source.url.rstrip("/")) if source.is_remote else source.path)


def name_product(path: Path) -> str:
    """Return the name of a repository or folder."""
    absolute = path.absolute()
    return absolute.name.removesuffix(".git") or absolute.parent.name or "root"


def share_product(sources: Sequence[SourceConfig]) -> Iterator[SourceConfig]:
    """Yield the sources; tickets and designs that name no product get that of the code where there is only one.

    Links stay within a product, and who sets up a repository with its tickets beside it means one. Those who may not
    see the code do not learn its name: then the source keeps a product of its own.
    """
    code = [source for source in sources if source.type in CODE_TYPES]
    products = {product_of(source) for source in code}
    for source in sources:
        alone = source.type in CODE_TYPES or source.product or len(products) != 1
        known = all(set(source.groups) <= set(other.groups) for other in code)
        yield source if alone or not known else source.model_copy(update={"product": next(iter(products))})


class SmokeQuestion(Section):
    """One `[[index.smoke]]` table: a question, and what must be among its first hits for a generation to be served."""

    query: str = Field(min_length=1)
    finds: str = Field(min_length=1)  # path or key, with wildcards: 'src/**/session.py', 'PROJ-7'


class IndexConfig(Section):
    """The `[index]` table."""

    max_file_bytes: int = Field(1_000_000, gt=0)
    chunk_chars: int = Field(1500, ge=200, le=20_000)
    workers: int = Field(0, ge=0)  # 0 = one per CPU
    drop_guard: float = Field(0.2, gt=0, le=1)  # N12: a larger drop in a source's chunks blocks publication
    keep_generations: int = Field(2, ge=1)
    exact_vectors_max: int = Field(1_500_000, ge=0)  # chunks; of more the vectors are searched on the disk
    parse_timeout_s: float = Field(10.0, gt=0)
    worker_memory_mb: int = Field(1024, ge=256)
    smoke: tuple[SmokeQuestion, ...] = ()  # what a new generation must find, or it is not published


class UpkeepConfig(Section):
    """The `[upkeep]` table: what the worker looks after by itself, and from when on something is an alarm."""

    poll_s: float = Field(300.0, ge=1)  # between two looks at a tracker or a remote repository
    sweep_h: float = Field(24.0, ge=0)  # between two comparisons of the whole index with the sources; 0 = never
    scrub_h: float = Field(24.0, ge=0)  # between two checks of every stored file; 0 = never
    stalled_s: float = Field(900.0, gt=0)  # a source that wants indexing for longer is stalled
    failure_ratio: float = Field(0.05, gt=0, le=1)  # of a source's files that could not be parsed
    stale_ratio: float = Field(0.05, gt=0, le=1)  # of files that the last sweep found changed unseen


class EmbeddingConfig(Section):
    """The `[embedding]` table."""

    kind: Literal["static", "openai", "none"] = "static"
    model: str = ""
    base_url: str = ""
    api_key_env: str = "OPENAI_API_KEY"  # name of the variable, never the key
    dimensions: int = Field(0, ge=0)
    batch: int = Field(256, ge=1, le=2048)
    timeout_s: float = Field(30.0, gt=0)
