"""Open a configured origin: one snapshot, or two for git with history."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from ingest.config import IndexConfig, SourceConfig, product_of
from ingest.errors import MirrorDamaged, SourceError
from ingest.model import HISTORY_SUFFIX, KnownFile, Snapshot, SourceInfo, hash_text
from ingest.sources.changes import Changes
from ingest.sources.designs import open_designs
from ingest.sources.folder import open_folder
from ingest.sources.git import fetch_remote, open_git
from ingest.sources.history import open_history
from ingest.sources.tickets import open_tickets

LOCKS = "fetching"  # folder in the data directory; a file per source that is fetched


def source_infos(config: SourceConfig) -> list[SourceInfo]:
    """Return what one configured source registers: itself and, for git with history, its commits."""
    info = SourceInfo(
        name=config.name,
        kind=config.kind,
        product=product_of(config),
        groups=config.groups,
        trust=config.trust,
        masks_personal=config.masks_personal(config.kind),
        marks_personal=config.marks_personal(config.kind),
    )
    if config.type != "git" or not config.history:
        return [info]
    masked, marked = config.masks_personal("commit"), config.marks_personal("commit")
    name = f"{info.name}{HISTORY_SUFFIX}"
    return [info, replace(info, name=name, kind="commit", masks_personal=masked, marks_personal=marked)]


def open_snapshots(
    config: SourceConfig,
    *,
    data_dir: Path,
    limits: IndexConfig,
    known: Callable[[str], Mapping[str, KnownFile]],
    previous: Callable[[str], str] = lambda name: "",
    changes: Callable[[str], Changes | None] = lambda name: None,
    may_ask: bool = True,
) -> list[Snapshot]:
    """Read a source as it is now: one snapshot, and a second one of commits for git with history that may be new.

    `known` and `previous` say, by source name, what the parent generation holds and at which revision; `changes`,
    where that is known, what changed since. A source elsewhere is asked what is new, if it `may_ask` and no other
    process does so now; else it is read as it was fetched last.
    Raises SourceError, GitError.
    """
    with ExitStack() as stack:
        if config.is_away and may_ask:
            may_ask = stack.enter_context(alone(data_dir, config.name))
        info, *history = source_infos(config)
        if config.type == "folder":
            seen = changes(info.name)
            return [open_folder(config, info, data_dir=data_dir, limits=limits, known=known(info.name), changes=seen)]
        if config.type == "designs":
            return [open_designs(config, info, data_dir=data_dir, limits=limits, known=known(info.name))]
        if config.is_live:
            from ingest.sources.connectors import open_connector  # here: few need what speaks HTTP

            return [open_connector(config, info, data_dir=data_dir, may_fetch=may_ask)]
        if config.type == "tickets":
            return [open_tickets(config, info, data_dir=data_dir, known=known(info.name))]
        open_repository = partial(
            _open_repository,
            config,
            data_dir=data_dir,
            limits=limits,
            known=known,
            previous=previous,
            changes=changes,
            may_ask=may_ask,
        )
        try:
            return open_repository()
        except MirrorDamaged:  # what it is a copy of is there
            return open_repository(anew=True)


def fetch_source(config: SourceConfig, data_dir: Path) -> None:
    """Fetch what is new of a source elsewhere, for builds that may not ask. Raises SourceError, GitError."""
    with alone(data_dir, config.name) as is_alone:
        if not is_alone:
            raise SourceError(f"Another process fetches source {config.name} now.")
        if config.is_remote:
            fetch_remote(config, data_dir)
        else:
            from ingest.sources.connectors import fetch_tickets  # here: few need what speaks HTTP

            fetch_tickets(config, source_infos(config)[0], data_dir=data_dir)


@contextmanager
def alone(data_dir: Path, name: str) -> Iterator[bool]:
    """Tell whether no other process fetches a source, and keep the others out meanwhile."""
    folder = data_dir / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{hash_text(name)[:16]}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _open_repository(
    config: SourceConfig,
    *,
    data_dir: Path,
    limits: IndexConfig,
    known: Callable[[str], Mapping[str, KnownFile]],
    previous: Callable[[str], str],
    changes: Callable[[str], Changes | None],
    may_ask: bool,
    anew: bool = False,
) -> list[Snapshot]:
    """Read a repository and its commits; `anew`: through another mirror."""
    info, *history = source_infos(config)
    seen = changes(info.name)
    files, mirror = open_git(
        config,
        info,
        data_dir=data_dir,
        limits=limits,
        known=known(info.name),
        previous=previous(info.name),
        changes=seen,
        may_ask=may_ask,
        anew=anew,
    )
    if seen is not None:  # an event: the commits are as they were while the last one of them is
        history = [one for one in history if previous(one.name) != mirror.commit]
    if mirror.commit is None:  # a branch without a commit yet says nothing about the commits that were read before
        history = [one for one in history if not known(one.name)]
    return [
        files,
        *(open_history(one, mirror, Path(files.location), known(one.name), previous(one.name)) for one in history),
    ]
