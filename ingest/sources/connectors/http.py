"""Polite requests to a tracker: retries that wait as long as they are told, and a stop before the budget is spent."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from ingest.errors import SourceError

ATTEMPTS = 5
LONGEST_WAIT_S = 5.0  # a tracker that asks for more is left alone until the next run
LONGEST_WAITS_S = 15.0  # of one run altogether: a build fetches, and edits on this machine wait for it
TIMEOUT_S = 30.0
RESERVE_SHARE = 0.1  # of the budget of requests is left to others who use the same token
MAX_REDIRECTS = 3
FIRST_WAIT = wait_random_exponential(multiplier=0.4, max=20)


class Stop(Exception):
    """The run ends here; what was fetched stays. The text says why and what to do, `resume_at` when to go on."""

    def __init__(self, text: str, resume_at: datetime | None = None) -> None:
        super().__init__(text)
        self.resume_at = resume_at


class Missing(Stop):
    """The address does not exist, for this token."""


class _Again(Exception):
    """Worth another try, after `wait_s` seconds if the tracker said so."""

    def __init__(self, text: str, wait_s: float | None = None) -> None:
        super().__init__(text)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Reply:
    """What the tracker said. `body` is None for 304: nothing changed. `now` is the tracker's own time."""

    body: Any
    next_url: str
    etag: str
    now: datetime


def check_url(url: str) -> None:
    """Raise SourceError unless an address is safe to send a token to."""
    parsed = httpx2.URL(url)
    if parsed.scheme == "https" or (parsed.scheme == "http" and _is_loopback(parsed.host)):
        return
    raise SourceError(f"The address {url!r} of a ticket source must begin with https://, for a token is sent to it.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Client:
    """Requests to one tracker. Use as a context manager."""

    def __init__(self, headers: Mapping[str, str], *, hint: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """`headers` carry the token; `hint` says what to do when it is refused."""
        self._http = httpx2.Client(headers=dict(headers), timeout=TIMEOUT_S)
        self._hint = hint
        self._sleep = sleep
        self._spent_until: datetime | None = None
        self._waited_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, url: str, params: Mapping[str, str] | None = None, *, etag: str = "") -> Reply:
        """Return the reply to a GET. Raises Stop when the budget is spent, the token refused or nothing helps."""
        if self._spent_until is not None:
            raise Stop(f"The budget of requests is spent until {_show(self._spent_until)}.", self._spent_until)
        retrying = Retrying(
            retry=retry_if_exception_type(_Again),
            stop=self._is_enough,
            wait=_wait,
            sleep=self._pause,
            reraise=True,
        )
        try:
            return retrying(self._get_once, str(httpx2.URL(url, params=dict(params)) if params else url), etag)
        except _Again as last:
            raise Stop(f"{last} The next run goes on from here.") from last

    def _is_enough(self, state: RetryCallState) -> bool:
        return state.attempt_number >= ATTEMPTS or self._waited_s + state.upcoming_sleep > LONGEST_WAITS_S

    def _pause(self, seconds: float) -> None:
        self._waited_s += seconds
        self._sleep(seconds)

    def _get_once(self, url: str, etag: str) -> Reply:
        headers = {"If-None-Match": etag} if etag else {}
        asked_at = time.monotonic()
        try:
            response = self._follow(url, headers)
        except httpx2.TransportError as error:
            self._waited_s += time.monotonic() - asked_at  # for nothing, as where no connection comes about
            raise _Again(f"{httpx2.URL(url).host} cannot be reached ({type(error).__name__}).") from error
        now = _date(response)
        self._judge(response, now)
        self._count(response, now)
        if response.status_code == 304:
            return Reply(None, "", etag, now)
        try:
            body = response.json()
        except ValueError as error:
            raise _Again(f"{response.url.host} sent no valid JSON.") from error
        return Reply(body, response.links.get("next", {}).get("url", ""), response.headers.get("ETag", ""), now)

    def _follow(self, url: str, headers: Mapping[str, str]) -> httpx2.Response:
        """Follow redirects of the same host only: the token must not reach another one."""
        for _ in range(MAX_REDIRECTS):
            response = self._http.get(url, headers=dict(headers))
            if response.status_code not in (301, 302, 307, 308):
                return response
            target = response.url.join(response.headers.get("Location", ""))
            if (target.scheme, target.host, target.port) != (response.url.scheme, response.url.host, response.url.port):
                raise Stop(f"The tracker moved to {target.scheme}://{target.host}. Correct `url` of this source.")
            url = str(target)
        raise Stop(f"{httpx2.URL(url).host} redirects in a circle. Correct `url` of this source.")

    def _judge(self, response: httpx2.Response, now: datetime) -> None:
        """Raise for everything that is neither content nor 304."""
        status, headers = response.status_code, response.headers
        if status in (200, 304):
            return
        wait_s = _seconds(headers.get("Retry-After", ""), now)
        is_limit = status == 429 or (
            status == 403 and (wait_s is not None or headers.get("X-RateLimit-Remaining") == "0")
        )
        if is_limit:
            reset = _reset_of(response) if wait_s is None and headers.get("X-RateLimit-Remaining") == "0" else None
            wait_s = max(0.0, (reset - now).total_seconds()) if reset else wait_s
        if is_limit or status >= 500 or status in (408, 425):
            if wait_s is not None and wait_s > LONGEST_WAIT_S:
                until = datetime.now(UTC) + timedelta(seconds=wait_s)
                raise Stop(f"The tracker wants no requests until {_show(until)}; the next run goes on then.", until)
            raise _Again(f"{response.url.host} {'limits requests' if is_limit else 'failed'} (HTTP {status}).", wait_s)
        if status in (401, 403):
            raise Stop(f"{response.url.host} refused the token (HTTP {status}). {self._hint}")
        if status in (404, 410):
            raise Missing(f"{response.url.path} is not there, or not for this token (HTTP {status}). {self._hint}")
        raise Stop(f"{response.url.host} answered HTTP {status} to {response.url.path}. {self._hint}")

    def _count(self, response: httpx2.Response, now: datetime) -> None:
        """Stop before the next request when only the reserve is left."""
        try:
            left = int(response.headers["X-RateLimit-Remaining"])
            limit = int(response.headers.get("X-RateLimit-Limit", "0"))
        except (KeyError, ValueError):
            return
        reset = _reset_of(response)
        if reset is not None and reset > now and left <= limit * RESERVE_SHARE:
            self._spent_until = reset - now + datetime.now(UTC)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    told = error.wait_s if isinstance(error, _Again) else None
    return FIRST_WAIT(state) if told is None else told


def _date(response: httpx2.Response) -> datetime:
    """Return the tracker's time, ours where it tells none."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return datetime.now(UTC)


def _seconds(value: str, now: datetime) -> float | None:
    """Return what `Retry-After` asks for: seconds, or until a date."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value).astimezone(UTC) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _reset_of(response: httpx2.Response) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(response.headers["X-RateLimit-Reset"]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def _show(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
