"""Issues, pull requests, comments and review comments from GitHub's REST interface, oldest change first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ingest.config import SourceConfig
from ingest.sources.connectors.fetched import Fetched
from ingest.sources.connectors.http import Client, Reply, Stop
from ingest.sources.tickets.fields import COMMENTED, format_moment, key_of, parse_comment, parse_record
from ingest.sources.tickets.ticket import Comment, Ticket

API = "https://api.github.com"
PAGE = 100
LISTS = {"issues": "/issues", "comments": "/issues/comments", "reviews": "/pulls/comments"}
# Pages are not numbered but begin where the last one ended: with numbers, a ticket that changes while the list is read
# moves to its end and another one slips from the next page to the one that was read already.
ORDER = {"state": "all", "sort": "updated", "direction": "asc", "per_page": str(PAGE)}


class GitHub:
    """One repository. `streams` are read one after the other, each with a cursor of its own."""

    streams = tuple(LISTS)

    def __init__(self, config: SourceConfig, client: Client) -> None:
        self._source = config.name
        self._base = f"{(config.url or API).rstrip('/')}/repos/{config.repo}"
        self._client = client

    def pages(self, stream: str, since: datetime | None, etag: str) -> Iterator[Fetched]:
        """Yield the pages of what changed since then; none where the tag says that nothing did. Raises Stop."""
        url = self._base + LISTS[stream]
        after = since.strftime("%Y-%m-%dT%H:%M:%SZ") if since else ""
        reply = self._client.get(url, _parameters(after), etag=etag)
        tag = reply.etag
        while reply.body is not None:
            page = self._read(stream, reply, tag)
            yield page
            if not reply.next_url:
                return
            if page.newest > after and page.newest <= reply.now.strftime("%Y-%m-%dT%H:%M:%SZ"):
                after = page.newest
                reply = self._client.get(url, _parameters(after))
            else:  # a whole page of one moment, or a clock that is ahead: only the tracker's own link leads on
                reply = self._client.get(reply.next_url)
            tag = ""

    def _read(self, stream: str, reply: Reply, etag: str) -> Fetched:
        if not isinstance(reply.body, list):
            raise Stop(f"{self._base} sent no list of {stream}. Is `url` that of GitHub's REST interface?")
        newest = max((_changed(item) for item in reply.body), default="")
        if stream == "issues":
            tickets, faults = _read_issues(reply.body, self._source)
            return Fetched(tickets, reply.now, newest, faults=faults, etag=etag)
        comments = dict(_read_comments(reply.body, self._source, "review-" if stream == "reviews" else ""))
        return Fetched((), reply.now, newest, comments, etag=etag)


def _parameters(since: str) -> dict[str, str]:
    return ORDER | {"since": since} if since else dict(ORDER)


def _changed(item: object) -> str:
    return format_moment(item.get("updated_at")) if isinstance(item, Mapping) else ""


def _read_issues(items: list[Any], source: str) -> tuple[tuple[Ticket, ...], dict[str, str]]:
    tickets: list[Ticket] = []
    faults: dict[str, str] = {}
    for item in items:
        ticket = parse_record(item, source) if isinstance(item, Mapping) else None
        if ticket:
            tickets.append(ticket)
        else:
            faults[(isinstance(item, Mapping) and key_of(item)) or f"a page of {len(items)}"] = "no number or no title"
    return tuple(tickets), faults


def _read_comments(items: list[Any], source: str, kind: str) -> Iterator[tuple[tuple[str, str], Comment]]:
    """Yield comments by ticket and id. `kind`: before the id, since each list numbers its own."""
    for item in items:
        urls = (item.get("pull_request_url"), item.get("issue_url")) if isinstance(item, Mapping) else ()
        match = next(filter(None, (COMMENTED.search(str(url)) for url in urls if url)), None)
        if match:
            yield (f"#{int(match[1])}", f"{kind}{item.get('id', '')}"), parse_comment(item, source)
