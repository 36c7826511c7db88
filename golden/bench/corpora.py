"""Corpora as sources: which part of a repository is indexed, with or without its history, and where the index lies."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from golden.bench import BenchError
from golden.bench.changelog import write_fragments
from golden.bench.questions import Question
from golden.corpus import build, fingerprint, make_setup
from ingest.config import SourceConfig, product_of
from ingest.errors import IngestError
from ingest.gitio import head_commit
from mcp_server.config import Setup, source_name
from mcp_server.service import Service

EmbedderKind = Literal["static", "none"]


@dataclass(frozen=True, slots=True)
class Variant:
    """What of a corpus is indexed."""

    name: str
    whole: bool  # the repository with its tests and docs, not only the question's root
    history: bool  # as a git source, with the commits that lead to the snapshot
    changelog: bool = False  # with the older entries of its changelog as tickets


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("root", whole=False, history=False),
        Variant("root-history", whole=False, history=True),
        Variant("whole", whole=True, history=False),
        Variant("whole-history", whole=True, history=True),
        Variant("whole-history-changelog", whole=True, history=True, changelog=True),
    )
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """The questions of one kind that one index answers, and that index's sources."""

    folder: str
    root: str
    path: Path  # what a tool without git is given
    prefix: str  # stands before each path of the source, so that it counts from the repository
    sources: tuple[SourceConfig, ...]
    questions: tuple[Question, ...]
    asks: Literal["code", "designs"] = "code"

    @property
    def name(self) -> str:
        """Folder and root, for people."""
        return f"{self.folder}/{self.root}".rstrip("/") + ("" if self.asks == "code" else f" ({self.asks})")


def find_corpora(
    questions: Sequence[Question], corpora: Path, variant: Variant, cache: Path | None = None
) -> Iterator[Corpus]:
    """Yield each corpus with its questions, by name; one with designs is asked twice, for code and for designs.

    Raises BenchError for one that is not there.
    """

    def key(question: Question) -> tuple[str, str, str, str, str]:
        root = "" if variant.whole else question.root.strip("/")
        designs = question.designs
        beside = f"{designs.folder}/{designs.root.strip('/')}" if designs else ""
        return question.folder, root, question.commit, beside, question.asks

    for (folder, root, commit, beside, asks), group in groupby(sorted(questions, key=key), key):
        asking = tuple(group)
        repository = corpora / folder
        place = find_folder(repository / root)
        if variant.history:
            check_snapshot(repository, commit)
        sources = [corpus_source(repository, folder, root, variant)]
        prefix = "" if variant.history or not root else f"{root}/"
        if variant.changelog:
            sources.append(
                changelog_source(repository, (cache or default_cache()) / f"changelog-{folder}", sources[0], asking)
            )
        if beside:
            designs = find_folder(corpora / beside)
            sources.append(designs_source(designs, sources[0]))
            if asks == "designs":
                place, root = designs, beside.partition("/")[2]
                prefix = f"{root}/" if root else ""
        yield Corpus(
            folder=folder,
            root=root,
            path=place,
            prefix=prefix,
            sources=tuple(sources),
            questions=asking,
            asks="designs" if asks == "designs" else "code",
        )


def designs_source(folder: Path, code: SourceConfig) -> SourceConfig:
    """Return designs as a source of the product whose code they are about."""
    product = product_of(code)
    return SourceConfig(name=f"{code.name}.designs", type="designs", path=folder, product=product)


def changelog_source(repository: Path, folder: Path, code: SourceConfig, asking: Sequence[Question]) -> SourceConfig:
    """Return the older entries of a repository's changelog as tickets, without those that are asked about."""
    if not write_fragments(repository, folder, {str(question.meta.get("ticket", "")) for question in asking}):
        raise BenchError(f"{repository} has no changelog fragments in its history; leave this variant out.")
    return SourceConfig(name=f"{code.name}.tickets", type="tickets", path=folder, product=product_of(code))


def find_folder(path: Path) -> Path:
    """Return the folder of a corpus. Raises BenchError."""
    if not path.is_dir():
        raise BenchError(f"There is no corpus {path}. Lay it there, or give the folder with --corpora.")
    return path


def corpus_source(repository: Path, folder: str, root: str, variant: Variant) -> SourceConfig:
    """Return a corpus as a source: a plain folder, or a git source with history that reads only the root."""
    name = source_name(folder)
    if not variant.history:
        return SourceConfig(name=name, type="folder", path=repository / root)
    return SourceConfig(name=name, type="git", path=repository, include=(f"/{root}/**",) if root else ())


def check_snapshot(repository: Path, commit: str) -> None:
    """Refuse a clone that stands at another commit: its history could hold the answers. Raises BenchError."""
    try:
        head = head_commit(repository)
    except IngestError as error:
        raise BenchError(f"The history of {repository} cannot be read: {error}") from error
    if head != commit:
        raise BenchError(f"{repository} stands at {head}, its questions are about {commit}. Check that commit out.")


def default_cache() -> Path:
    """Return where indexes of benchmarks are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "codecairn" / "bench"


def bench_setup(
    sources: Sequence[SourceConfig], cache: Path, made_by: Sequence[str], embedder: EmbedderKind = "static"
) -> Setup:
    """Return the defaults for some sources, with a data directory named after everything that the index depends on."""
    setup = make_setup(sources, cache)
    settings = setup.settings.model_copy(
        update={"embedding": setup.settings.embedding.model_copy(update={"kind": embedder})}
    )
    described = [source.model_dump_json() for source in sources]
    key = fingerprint([*made_by, embedder, *described, settings.index.model_dump_json()])
    return make_setup(sources, cache / f"{sources[0].name[:40]}-{key}", settings)


def ensure_built(setup: Setup, service: Service) -> float:
    """Build an index unless a finished one is there; return the seconds that it took."""
    done = setup.data_dir / "bench.done"
    if done.exists():
        return 0.0
    shutil.rmtree(setup.data_dir, ignore_errors=True)
    started = time.perf_counter()
    build(setup, service)
    seconds = time.perf_counter() - started
    done.write_text(f"{seconds:.3f}\n", "utf-8")
    return seconds
