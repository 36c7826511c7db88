"""Issues with their comments from Jira's REST interface (Cloud, Server, Data Center), oldest change first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ingest.config import SourceConfig
from ingest.sources.connectors.fetched import Fetched
from ingest.sources.connectors.http import Client, Missing, Reply, Stop
from ingest.sources.tickets.fields import format_moment, listed, parse_record

PAGE = 100
PAGE_OVERLAP = 10  # numbered pages shift when an issue changes while they are read; so many may, for each page
FIELDS = (
    "summary,description,status,resolution,labels,components,assignee,reporter,created,updated,resolutiondate,"
    "issuelinks,parent,subtasks,comment"
)


class Jira:
    """One project. Comments come with their issue."""

    streams = ("issues",)

    def __init__(self, config: SourceConfig, client: Client) -> None:
        self._source = config.name
        self._project = config.project
        self._base = f"{config.url.rstrip('/')}/rest/api/2"  # the third version has no plain text
        self._client = client

    def pages(self, stream: str, since: datetime | None, etag: str) -> Iterator[Fetched]:
        """Yield the pages of what changed since then. Raises Stop. There are no tags."""
        query = f'project = "{self._project}"{self._since(since)} ORDER BY updated ASC, key ASC'
        common = {"jql": query, "maxResults": str(PAGE), "fields": FIELDS}
        try:
            reply = self._client.get(f"{self._base}/search/jql", common)
        except Missing:  # not the cloud
            yield from self._numbered(common)
            return
        while True:
            yield self._read(reply)
            token = reply.body.get("nextPageToken")
            if not token or reply.body.get("isLast") is True:
                return
            reply = self._client.get(f"{self._base}/search/jql", common | {"nextPageToken": str(token)})

    def _since(self, since: datetime | None) -> str:
        """Return the condition, in minutes before now: a date would be read in the time zone of the token's owner."""
        if since is None:
            return ""
        now = self._client.get(f"{self._base}/serverInfo").now
        return f' AND updated >= "-{max(1, int((now - since).total_seconds() // 60) + 1)}m"'

    def _numbered(self, common: Mapping[str, str]) -> Iterator[Fetched]:
        start = 0
        while True:
            reply = self._client.get(f"{self._base}/search", {**common, "startAt": str(start)})
            yield self._read(reply)
            count, total = len(reply.body["issues"]), reply.body.get("total", 0)
            if not count or start + count >= total:
                return
            start += max(1, count - PAGE_OVERLAP)

    def _read(self, reply: Reply) -> Fetched:
        issues = reply.body.get("issues") if isinstance(reply.body, dict) else None
        if not isinstance(issues, list):
            raise Stop(f"{self._base} sent no list of issues. Is `url` the address of a Jira?")
        records = [self._complete(issue) for issue in issues if isinstance(issue, dict)]
        parsed = [(record, parse_record(record, self._source)) for record in records]
        return Fetched(
            tickets=tuple(ticket for _, ticket in parsed if ticket),
            now=reply.now,
            newest=max((_changed(record) for record in records), default=""),
            faults={str(record.get("key", "?")): "no key or no summary" for record, ticket in parsed if not ticket},
        )

    def _complete(self, issue: dict[str, Any]) -> dict[str, Any]:
        """Return an issue with all its comments: a list of issues only brings the first of them."""
        fields = issue.get("fields")
        block = fields.get("comment") if isinstance(fields, dict) else None
        comments = listed(block)
        total = block.get("total", 0) if isinstance(block, Mapping) else 0
        while isinstance(total, int) and len(comments) < total:
            place = {"startAt": str(len(comments)), "maxResults": str(PAGE)}
            more = listed(self._client.get(f"{self._base}/issue/{issue['key']}/comment", place).body)
            if not more:
                break
            comments += more
        return issue | {"fields": {**fields, "comment": comments}} if isinstance(fields, dict) else issue


def _changed(record: Mapping[str, Any]) -> str:
    fields = record.get("fields")
    return format_moment(fields.get("updated")) if isinstance(fields, Mapping) else ""
