"""Live ticket sources: what a tracker has is fetched into a spool in the data directory, and indexed from there.

A run fetches what changed since the last one. From time to time it fetches everything again, because trackers do not
tell what was deleted or transferred. Whatever ends a run early, what was fetched stays and the next run goes on.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.index.spool import Page, Row, Spool
from ingest.model import Document, Entry, Rename, Skip, SourceInfo
from ingest.sources.connectors.fetched import Fetched, Tracker
from ingest.sources.connectors.github import API, GitHub
from ingest.sources.connectors.http import Client, Stop, check_url
from ingest.sources.connectors.jira import Jira
from ingest.sources.files import hash_entries
from ingest.sources.tickets.ticket import (
    TICKET_VERSION,
    Comment,
    Ticket,
    pack_ticket,
    redact_ticket,
    ticket_document,
    unpack_ticket,
)
from ingest.sources.tokens import read_token
from ingest.sources.worktree import hash_bytes

OVERLAP = timedelta(minutes=5)  # clocks of a tracker's machines differ, and a list may lag behind a change
READ_AHEAD = 200
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(slots=True)
class ConnectorSnapshot:
    """The tickets of a spool. An entry's path is the ticket's key."""

    info: SourceInfo
    revision: str
    location: str
    entries: tuple[Entry, ...]
    skipped: tuple[Skip, ...]
    spool: Spool
    renames: tuple[Rename, ...] = ()
    may_shrink: bool = False
    ahead: dict[str, bytes] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)

    def read(self, entry: Entry) -> bytes:
        """Return a packed ticket. Raises SourceError if it is no longer there. Quickest in order."""
        if entry.path not in self.ahead:
            place = self.places[entry.path]
            keys = [next_entry.path for next_entry in self.entries[place : place + READ_AHEAD]]
            self.ahead = {row.key: pack_ticket(compose_ticket(row)) for row in self.spool.read(keys)}
        try:
            return self.ahead.pop(entry.path)
        except KeyError:
            raise SourceError(f"Ticket {entry.path} of source {self.info.name} was removed meanwhile.") from None

    def documents(self, entry: Entry, data: bytes) -> Iterator[Document]:
        """Yield the one document of a ticket."""
        yield ticket_document(self.info, self.revision, entry, unpack_ticket(data))


def open_connector(
    config: SourceConfig, info: SourceInfo, *, data_dir: Path, may_fetch: bool, now: datetime | None = None
) -> ConnectorSnapshot:
    """Fetch what is new, if that is allowed now, and return what the spool holds.

    Raises SourceError if it holds nothing because nothing could be fetched.
    """
    spool = open_spool(config, info, data_dir)
    meta = synchronise(config, info, spool, now or datetime.now(UTC)) if may_fetch else spool.meta()
    entries = tuple(Entry(key, digest, size) for key, digest, size in spool.hashes())
    if not entries and not meta.get("synced_at"):
        reason = meta.get("reason") or "nobody asked for them yet."
        raise SourceError(f"No ticket could be fetched for source {info.name}: {reason}")
    return ConnectorSnapshot(
        info=info,
        revision=hash_entries(entries),
        location=location_of(config),
        entries=entries,
        skipped=tuple(Skip(path, "bad_record", detail) for path, detail in spool.faults()),
        spool=spool,
        places={entry.path: place for place, entry in enumerate(entries)},
    )


def open_spool(config: SourceConfig, info: SourceInfo, data_dir: Path) -> Spool:
    """Return what was fetched of a source."""
    return Spool(data_dir, info.name, f"{TICKET_VERSION} {config.type} {location_of(config)}", _digest)


def fetch_tickets(config: SourceConfig, info: SourceInfo, *, data_dir: Path) -> None:
    """Fetch what is new, as far as the tracker lets; what keeps it from that is said where the spool is opened."""
    synchronise(config, info, open_spool(config, info, data_dir), datetime.now(UTC))


def location_of(config: SourceConfig) -> str:
    """Return what people know the origin by."""
    base = (config.url or API).rstrip("/")
    return f"{base}/repos/{config.repo}" if config.type == "github" else f"{base}/projects/{config.project}"


def open_client(config: SourceConfig) -> Client:
    """Return a client that carries the token. Raises Stop if the variable that the configuration names is not set."""
    check_url(config.url or API)
    try:
        token = read_token(config)
    except SourceError as error:
        raise Stop(str(error)) from error
    headers = {"Accept": "application/vnd.github+json" if config.type == "github" else "application/json"}
    if token and config.user:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{config.user}:{token}".encode()).decode()
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    name = config.token_env or "a token: set `token_env` to the name of a variable that holds one"
    return Client(headers, hint=f"Check {name}, and `repo` or `project` of this source.")


TRACKERS: Mapping[str, Callable[[SourceConfig, Client], Tracker]] = {"github": GitHub, "jira": Jira}


# -- fetching ----------------------------------------------------------------------------------------------------------


def synchronise(config: SourceConfig, info: SourceInfo, spool: Spool, now: datetime) -> dict[str, str]:
    """Bring the spool up to date as far as the tracker lets; return its values, which say how far that was."""
    meta = spool.meta()
    resume_at = meta.get("resume_at", "")
    if resume_at and now.strftime(TIME) < resume_at:
        return meta  # the tracker asked to be left alone until then
    try:
        with open_client(config) as client:
            fetch_all(TRACKERS[config.type](config, client), info, spool, now, timedelta(days=config.full_days))
    except Stop as stop:
        resume_at = stop.resume_at.strftime(TIME) if stop.resume_at else ""
        since = meta.get("stale_since") or meta.get("synced_at") or now.strftime(TIME)
        spool.set_meta({"stale_since": since, "reason": str(stop), "resume_at": resume_at})
    return spool.meta()


def fetch_all(tracker: Tracker, info: SourceInfo, spool: Spool, now: datetime, full_after: timedelta) -> None:
    """Fetch what changed, or everything where that is due. Raises Stop; then the next call goes on from there."""
    meta = spool.meta()
    if not meta.get("sweeping") and _is_due(meta.get("swept_at", ""), now, full_after):
        meta = {"sweeping": "yes", "sweep": str(int(meta.get("sweep", "0")) + 1)}
        spool.set_meta(meta | {f"{stream}.cursor": "" for stream in tracker.streams})
        meta = spool.meta()
    is_full, sweep = bool(meta.get("sweeping")), int(meta["sweep"])
    for stream in tracker.streams:
        fetch_stream(tracker, stream, info, spool, sweep, now, is_full=is_full)
    done = {"synced_at": now.strftime(TIME), "stale_since": "", "reason": "", "resume_at": ""}
    if is_full:
        spool.sweep_out(sweep, done | {"sweeping": "", "swept_at": now.strftime(TIME)})
    else:
        spool.set_meta(done)


def _is_due(swept_at: str, now: datetime, full_after: timedelta) -> bool:
    return not swept_at or datetime.strptime(swept_at, TIME).replace(tzinfo=UTC) + full_after <= now


def fetch_stream(
    tracker: Tracker, stream: str, info: SourceInfo, spool: Spool, sweep: int, now: datetime, *, is_full: bool
) -> None:
    """Fetch one list from its cursor on. Each page is stored with the cursor that it leads to. Raises Stop."""
    meta = spool.meta()
    cursor = min(meta.get(f"{stream}.cursor", ""), now.strftime(TIME))  # earlier releases followed a clock ahead
    since = datetime.strptime(cursor, TIME).replace(tzinfo=UTC) - OVERLAP if cursor else None
    tagged, _, etag = meta.get(f"{stream}.etag", "").partition(" ")
    fits = not is_full and tagged == cursor  # a tag belongs to one address; a full listing must see every ticket
    for page in tracker.pages(stream, since, etag if fits else ""):
        # Neither a ticket from the future nor a tracker there may carry the cursor over what changes until then.
        newest = max(cursor, min(page.newest, page.now.strftime(TIME), now.strftime(TIME)))
        values = {f"{stream}.cursor": newest}
        if page.etag:
            values[f"{stream}.etag"] = f"{cursor} {page.etag}"
        cursor = newest
        spool.store(_pack_page(page, info, now), sweep, values)


def _pack_page(page: Fetched, info: SourceInfo, now: datetime) -> Page:
    """Return a page as it is stored: redacted, for the spool is a file like any other.

    No ticket counts as newer than now, or what it becomes until then would count as older.
    """
    latest = now.strftime(TIME)
    safe = [redact_ticket(ticket, personal=info.masks_personal) for ticket in page.tickets]
    return Page(
        tickets={ticket.key: (pack_ticket(ticket), min(ticket.updated_at, latest)) for ticket in safe},
        comments={place: _pack_comment(comment, info) for place, comment in page.comments.items()},
        faults=page.faults,
    )


def _pack_comment(comment: Comment, info: SourceInfo) -> bytes:
    return pack_ticket(redact_ticket(Ticket("", "", comments=(comment,)), personal=info.masks_personal))


def compose_ticket(row: Row) -> Ticket:
    """Return a ticket with the comments that were fetched on their own; those of its author are marked now."""
    ticket = unpack_ticket(row.data)
    fetched = [comment for data in row.comments for comment in unpack_ticket(data).comments if comment.body.strip()]
    if not fetched:
        return ticket
    own = ticket.author
    marked = (replace(c, role="author") if own and c.author == own and c.role == "other" else c for c in fetched)
    return replace(ticket, comments=(*ticket.comments, *marked))


def _digest(row: Row) -> tuple[str, int]:
    data = pack_ticket(compose_ticket(row))
    return hash_bytes(data), len(data)
