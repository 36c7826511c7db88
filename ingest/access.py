"""Who asks, and what they may see. Default deny: an unknown source or an empty group set sees nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ingest.model import SourceInfo

LOCAL_GROUP = "local"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Every service call takes one."""

    id: str
    groups: frozenset[str]


LOCAL_PRINCIPAL = Principal(id="local", groups=frozenset({LOCAL_GROUP}))


def visible_sources(principal: Principal, sources: Iterable[SourceInfo]) -> list[SourceInfo]:
    """Return the registered sources that share a group with the principal."""
    return [source for source in sources if principal.groups.intersection(source.groups)]
