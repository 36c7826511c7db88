"""Indexes that cases are asked of, built offline: this clone, and libraries that are installed beside it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from golden.case import GoldenError
from golden.organisation import Organisation, build_organisation, planted_secrets
from ingest.access import Principal
from ingest.build import BuildReport, Progress, build_index
from ingest.config import SourceConfig
from ingest.errors import GitError, SourceError
from ingest.gitio import head_commit
from mcp_server.access import local_principal
from mcp_server.config import AnswerConfig, Settings, Setup
from mcp_server.results import SearchRequest, SearchResult
from mcp_server.service import Service

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = Path(__file__).with_name("corpus")  # tickets and designs written for the golden set
LIBRARIES = {"rich": "rich", "gitpython": "git", "jinja2": "jinja2"}  # product -> package
PAGE = 50  # the largest page that the service gives
ORGANISATION = "organisation"
ORGANISATION_BUDGET = 2500  # tokens of context: small enough that a budget which nobody keeps shows
RESTRICTED_WORDS = ("rotate_master", "open_breakglass", "Halvorsen Partners")  # only in what the asker may not see


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sources that cases are asked of, with what belongs to them."""

    name: str
    sources: tuple[SourceConfig, ...]
    settings: Settings = field(default_factory=Settings)
    canaries: tuple[str, ...] = ()  # texts that no result of any case may hold, unless the question does
    after_build: Callable[[], None] = lambda: None  # what happens to the sources once the index is made


def open_corpus(name: str, data: Path) -> Corpus:
    """Return a named corpus; what has to be made for it is made below `data`. Raises GoldenError."""
    if name == "codecairn":
        return Corpus(name, own_sources())
    if name == "libraries":
        return Corpus(name, tuple(library_source(product) for product in LIBRARIES))
    if name == ORGANISATION:
        return organisation_corpus(build_organisation(data / "organisation-sources"))
    raise GoldenError(f"There is no corpus {name!r}. Corpora: codecairn, libraries, organisation.")


def organisation_corpus(organisation: Organisation) -> Corpus:
    """Return the corpus of an organisation that was built."""
    settings = Settings(answer=AnswerConfig(budget_tokens=ORGANISATION_BUDGET))
    canaries = (*planted_secrets(), *RESTRICTED_WORDS)
    return Corpus(ORGANISATION, organisation.sources(), settings, canaries, organisation.drift)


def own_sources() -> tuple[SourceConfig, ...]:
    """Return this clone (code and history) with the tickets and designs written about it."""
    if not (ROOT / ".git").exists():
        raise GoldenError(f"{ROOT} is no git clone, and the corpus 'codecairn' is one. Run the golden set in a clone.")
    about = "codecairn"
    hidden = ("golden/cases/", "golden/corpus/")  # neither the questions nor their material may answer for the code
    return (
        SourceConfig(name="codecairn", type="git", path=ROOT, product=about, exclude=hidden),
        SourceConfig(name="tickets", type="tickets", path=MATERIAL / "tickets.json", product=about),
        SourceConfig(name="designs", type="designs", path=MATERIAL / "designs", product=about),
    )


def library_source(product: str) -> SourceConfig:
    """Return an installed library as a folder source of a product of its own. Raises GoldenError."""
    return SourceConfig(name=product, type="folder", path=package_folder(LIBRARIES[product]), product=product)


def package_folder(package: str) -> Path:
    """Return where a package is installed. Raises GoldenError."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise GoldenError(f"The package {package!r} is not installed here, and a corpus is made of it.")
    return Path(next(iter(spec.submodule_search_locations)))


def library_version(product: str) -> str:
    """Return the installed version of a library."""
    return importlib.metadata.version(product)


def make_setup(
    sources: Sequence[SourceConfig], data_dir: Path, settings: Settings | None = None, root: Path | None = None
) -> Setup:
    """Return the defaults with these sources: no file, no environment."""
    values = (settings or Settings()).model_copy(update={"source": tuple(sources)})
    return Setup(values, root or data_dir, data_dir, None, {})


def build(setup: Setup, service: Service, progress: Callable[[Progress], None] = lambda _: None) -> BuildReport:
    """Bring an index up to its sources."""
    setup.data_dir.mkdir(parents=True, exist_ok=True)
    return build_index(
        setup.settings.source,
        setup.settings.index,
        service.embedder,
        setup.data_dir,
        now=utc_now(),
        config_hash=setup.config_hash,
        trigger="golden",
        progress=progress,
        allow_drop=True,
    )


def utc_now() -> str:
    """Return the time now, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@contextmanager
def open_service(setup: Setup) -> Iterator[Service]:
    """Open the service of an index and write its traces at the end."""
    service = Service(setup)
    try:
        yield service
    finally:
        service.close()


def head_of(root: Path) -> str:
    """Return the commit that is checked out in a clone, "" outside of one."""
    try:
        return head_commit(root) or ""
    except (SourceError, GitError):
        return ""


def principal_of(setup: Setup) -> Principal:
    """Return the local principal."""
    return local_principal(setup.settings)


def search_pages(
    service: Service,
    query: str,
    principal: Principal,
    *,
    sources: tuple[str, ...] = (),
    product: str = "",
    limit: int = PAGE,
) -> Iterator[SearchResult]:
    """Yield page after page of a ranked search."""
    cursor = ""
    while True:
        request = SearchRequest(query, limit, cursor, sources, product)
        page = service.search(request, principal, entry="eval")
        yield page
        if not page.next_cursor:
            return
        cursor = page.next_cursor


def fingerprint(parts: Iterable[str | Path]) -> str:
    """Return a hash over texts and the content of files; a folder counts with all its files."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode() + b"\0")
            continue
        for file in [part] if part.is_file() else sorted(part.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(part.parent)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def code_fingerprint() -> str:
    """Return a hash over the write path: an index made by other code is not used again."""
    return fingerprint([ROOT / "ingest"])


def fresh_folder(path: Path) -> Path:
    """Return an empty folder at a place, whatever lay there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
