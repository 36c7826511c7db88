"""A tracker on this machine: real HTTP with pages, tags, limits and faults that a test plans."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """One request as it arrived."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Answer:
    """What to send instead of content. `cut`: close the connection in the middle."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    cut: bool = False


class TrackerServer(ThreadingHTTPServer):
    """`plan(number, request)` may return an Answer in place of the content; numbers count from 1.

    `ahead_s`: by how many seconds its clock, as it tells in each answer, is ahead of ours.
    """

    daemon_threads = True

    def __init__(self, content: Callable[[Request, str], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.plan: Callable[[int, Request], Answer | None] = lambda number, request: None
        self.requests: list[Request] = []
        self.arrived = threading.Condition()
        self.ahead_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def wait_for(self, count: int, timeout: float = 60) -> None:
        """Wait until so many requests have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, timeout)


class _Handler(BaseHTTPRequestHandler):
    server: TrackerServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        request = Request(parts.path, query, {name.lower(): value for name, value in self.headers.items()})
        with self.server.arrived:
            self.server.requests.append(request)
            number = len(self.server.requests)
            self.server.arrived.notify_all()
        self._send(self.server.plan(number, request) or self.server.content(request, self.server.url + self.path))

    def _send(self, answer: Answer) -> None:
        data = b"" if answer.status == 304 else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if answer.cut:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(data)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of this clock."""
        return super().date_time_string((timestamp or time.time()) + self.server.ahead_s)

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


@contextmanager
def serving(content: Callable[[Request, str], Answer]) -> Iterator[TrackerServer]:
    """Serve in a thread until the block ends."""
    server = TrackerServer(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class GitHubContent:
    """Issues and comments as GitHub lists them: `since`, order of change, pages with a Link header, entity tags."""

    def __init__(
        self,
        issues: list[dict[str, Any]],
        comments: list[dict[str, Any]] | None = None,
        page: int = 3,
        reviews: list[dict[str, Any]] | None = None,
    ) -> None:
        self.issues, self.comments, self.page, self.reviews = issues, comments or [], page, reviews or []

    def __call__(self, request: Request, url: str) -> Answer:
        lists = {"pulls/comments": self.reviews, "issues/comments": self.comments, "issues": self.issues}
        items = next(held for end, held in lists.items() if request.path.endswith(f"/{end}"))
        assert (request.query["sort"], request.query["direction"]) == ("updated", "asc")
        since = request.query.get("since", "")
        found = sorted((i for i in items if i["updated_at"] >= since), key=lambda i: i["updated_at"])
        tag = f'"{hash(json.dumps(found, sort_keys=True))}"'
        number = int(request.query.get("page", "1"))
        if request.headers.get("if-none-match") == tag:
            return Answer(304, {"ETag": tag})
        headers = {"ETag": tag}
        if len(found) > number * self.page:
            bare = re.sub(r"&page=\d+", "", url)
            headers["Link"] = f'<{bare}&page={number + 1}>; rel="next", <{bare}&page=9>; rel="last"'
        return Answer(200, headers, found[(number - 1) * self.page : number * self.page])
