"""What a tracker's interface brings, page by page, whatever tracker it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ingest.sources.tickets.ticket import Comment, Ticket


@dataclass(frozen=True, slots=True)
class Fetched:
    """One page. `now` is the tracker's time, `newest` the latest change on the page (ISO 8601 UTC, "" = none)."""

    tickets: tuple[Ticket, ...]
    now: datetime
    newest: str = ""
    comments: Mapping[tuple[str, str], Comment] = field(default_factory=dict)  # by ticket and id
    faults: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""  # of the whole list, on its first page


class Tracker(Protocol):
    """A tracker that can be read."""

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of its lists, which are read one after the other, each with a cursor of its own."""
        ...

    def pages(self, stream: str, since: datetime | None, etag: str) -> Iterator[Fetched]:
        """Yield what changed since then, oldest first; nothing where the tag says that nothing did. Raises Stop."""
        ...
