"""Open a configured origin: one snapshot, or two for git with history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from ingest.config import IndexConfig, SourceConfig, product_of
from ingest.errors import MirrorDamaged
from ingest.model import HISTORY_SUFFIX, KnownFile, Snapshot, SourceInfo
from ingest.sources.changes import Changes
from ingest.sources.designs import open_designs
from ingest.sources.folder import open_folder
from ingest.sources.git import open_git
from ingest.sources.history import open_history
from ingest.sources.tickets import open_tickets


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
) -> list[Snapshot]:
    """Read a source as it is now: one snapshot, and a second one of commits for git with history that may be new.

    `known` and `previous` say, by source name, what the parent generation holds and at which revision; `changes`,
    where that is known, what changed since.
    Raises SourceError, GitError.
    """
    info, *history = source_infos(config)
    if config.type == "folder":
        seen = changes(info.name)
        return [open_folder(config, info, data_dir=data_dir, limits=limits, known=known(info.name), changes=seen)]
    if config.type == "designs":
        return [open_designs(config, info, data_dir=data_dir, limits=limits, known=known(info.name))]
    if config.is_live:
        from ingest.sources.connectors import open_connector  # here: few need what speaks HTTP

        # A save of a file must not wait for a tracker: only a build that was asked for, or a start, goes there.
        may_fetch = changes(info.name) is None
        return [open_connector(config, info, data_dir=data_dir, may_fetch=may_fetch)]
    if config.type == "tickets":
        return [open_tickets(config, info, data_dir=data_dir, known=known(info.name))]
    open_repository = partial(
        _open_repository, config, data_dir=data_dir, limits=limits, known=known, previous=previous, changes=changes
    )
    try:
        return open_repository()
    except MirrorDamaged:  # what it is a copy of is there
        return open_repository(anew=True)


def _open_repository(
    config: SourceConfig,
    *,
    data_dir: Path,
    limits: IndexConfig,
    known: Callable[[str], Mapping[str, KnownFile]],
    previous: Callable[[str], str],
    changes: Callable[[str], Changes | None],
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
