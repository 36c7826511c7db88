"""Push webhooks: who sent one, whether it is genuine and new, and what it says. No route here: the HTTP surface has it.

Signatures: GitHub `X-Hub-Signature-256` (HMAC-SHA256 of the body), GitLab signing token (Standard Webhooks:
`webhook-signature` over `id.timestamp.body`), GitLab's older secret token (`X-Gitlab-Token`, the secret itself).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.gitio import find_repository, read_config_value
from mcp_server.errors import BadRequest, Refused

MAX_BODY_BYTES = 25 * 1024 * 1024  # what GitHub sends at most
TOLERANCE = timedelta(minutes=5)  # of a signed time stamp
REMEMBERED = timedelta(days=30)  # ids of deliveries, where the sender signs no time
SECRET_PREFIX = "whsec_"
SEEN = "webhooks.db"
PUSHES = frozenset(("push", "Push Hook", "Tag Push Hook"))  # GitHub's `push` tells of tags, too
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Push:
    """A verified push. `after` is "" for a deleted ref; `places` are the repository's names and addresses."""

    sender: str  # github | gitlab
    delivery: str
    ref: str
    before: str
    after: str
    places: frozenset[str]


@contextmanager
def receive_push(
    headers: Mapping[str, str], body: bytes, secret: str, now: datetime, data_dir: Path
) -> Iterator[Push | None]:
    """Yield a genuine push that was not accepted before; None for another genuine event, such as a ping.

    It is accepted when the block ends; where the block raises, the sender may deliver it again.
    Raises Refused for a wrong signature, an old or repeated delivery, BadRequest for a body that is no push.
    """
    if not secret:
        raise Refused("No webhook secret is configured, so no webhook is accepted.")
    if len(body) > MAX_BODY_BYTES:
        raise BadRequest(f"The webhook's body is larger than {MAX_BODY_BYTES} bytes.")
    given = {name.lower(): value for name, value in headers.items()}
    sender, delivery = authenticate(given, body, secret, now)
    event = given.get("x-github-event") or given.get("x-gitlab-event", "")
    content = "" if sender == "gitlab" else hashlib.sha256(body).hexdigest()
    with remembering(data_dir, f"{sender} {delivery}", content, now):
        yield read_push(sender, delivery, body, given.get("content-type", "")) if event in PUSHES else None


def authenticate(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> tuple[str, str]:
    """Return who sent it and the delivery's id. Raises Refused unless a signature holds.

    Header names are in lower case.
    """
    if "x-hub-signature-256" in headers:
        expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        check(hmac.compare_digest(expected.encode(), headers["x-hub-signature-256"].encode()))
        return "github", require(headers, "x-github-delivery")
    if "webhook-signature" in headers:
        delivery, stamp = require(headers, "webhook-id"), require(headers, "webhook-timestamp")
        digest = hmac.new(signing_key(secret), f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
        expected = "v1," + base64.b64encode(digest).decode()
        given = headers["webhook-signature"].split()
        check(any([hmac.compare_digest(expected.encode(), one.encode()) for one in given]))  # all: in constant time
        check_time(stamp, now)
        return "gitlab", delivery
    if "x-gitlab-token" in headers:
        check(hmac.compare_digest(secret.encode(), headers["x-gitlab-token"].encode()))
        return "gitlab", require(headers, "x-gitlab-event-uuid")
    raise Refused("The webhook carries no signature. Set the secret on the sender's side too.")


def signing_key(secret: str) -> bytes:
    """Return the key of a Standard Webhooks secret: base64 behind `whsec_`, else the text itself."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise Refused("The configured webhook secret starts with whsec_ but is no base64 behind it.") from error


def check(holds: bool) -> None:
    """Raise Refused for a signature that does not hold."""
    if not holds:
        raise Refused("The webhook's signature does not fit the configured secret.")


def check_time(stamp: str, now: datetime) -> None:
    """Raise Refused for a signed time too far from now."""
    if not stamp.isdigit() or abs(now.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
        raise Refused("The webhook was signed too long ago, or the clocks differ by more than five minutes.")


def require(headers: Mapping[str, str], name: str) -> str:
    """Return a header. Raises Refused where it is missing: without an id a repeated delivery cannot be told."""
    value = headers.get(name, "")
    if not value or len(value) > 200:
        raise Refused(f"The webhook has no usable header {name}.")
    return value


@contextmanager
def remembering(data_dir: Path, delivery: str, content: str, now: datetime) -> Iterator[None]:
    """Keep a delivery's id for a month, unless the block raises. Raises Refused if it was there.

    Another delivery waits until the block has ended: of two copies at once only one is accepted.
    `content`: hash of the body where the id itself is not signed, as by GitHub: a copy may come under another id.
    """
    with closing(sqlite3.connect(data_dir / SEEN, timeout=30)) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS seen(id TEXT PRIMARY KEY, content TEXT, at REAL) WITHOUT ROWID")
        db.execute("CREATE INDEX IF NOT EXISTS seen_content ON seen(content)")
        db.execute("DELETE FROM seen WHERE at < ?", ((now - REMEMBERED).timestamp(),))
        if db.execute(
            "SELECT 1 FROM seen WHERE id = ? OR (content = ? AND content <> '')", (delivery, content)
        ).fetchone():
            raise Refused("This webhook was delivered before.")
        db.execute("INSERT INTO seen VALUES (?, ?, ?)", (delivery, content, now.timestamp()))
        yield


def read_push(sender: str, delivery: str, body: bytes, content_type: str) -> Push:
    """Return what a push says, as JSON or in the form that GitHub sends by default. Raises BadRequest otherwise."""
    is_form = content_type.partition(";")[0].strip().lower() == FORM
    try:
        data: dict[str, Any] = json.loads(parse_qs(body.decode())["payload"][0] if is_form else body)
        repository = data.get("repository") or data.get("project") or {}
        names = ("full_name", "path_with_namespace", "clone_url", "ssh_url", "git_http_url", "git_ssh_url", "html_url")
        places = {
            str(part[name]) for part in (repository, data.get("project") or {}) for name in names if part.get(name)
        }
        after = str(data["after"])
        return Push(
            sender=sender,
            delivery=delivery,
            ref=str(data["ref"]),
            before=str(data["before"]),
            after="" if after.strip("0") == "" else after,
            places=frozenset(places),
        )
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise BadRequest(f"The webhook's body is no push ({type(error).__name__}).") from error


def sources_of(push: Push, sources: Iterable[SourceConfig]) -> list[SourceConfig]:
    """Return the git sources that are the pushed repository, or clones of it by the address they were cloned from."""
    wanted = {normalise_address(place) for place in push.places}
    found = []
    for source in sources:
        if source.type != "git":
            continue
        try:
            address = source.url or origin_of(source)
        except SourceError:
            continue  # gone or broken: the build says so
        if address and normalise_address(address) in wanted:
            found.append(source)
    return found


def origin_of(source: SourceConfig) -> str:
    """Return the address that a source's repository was cloned from, "" where it was not. Raises SourceError."""
    return read_config_value(find_repository(source.path).common_dir / "config", "remote.origin.url")


def normalise_address(address: str) -> str:
    """Return host/owner/name of a repository's address: `git@host:o/n.git` and `https://host/o/n` are the same."""
    plain = re.sub(r"^[a-z+]+://(?:[^@/]*@)?|^[^@/:]+@", "", address.strip().lower())
    return re.sub(r"^([^/:]+)(?::\d+/|:|/)", r"\1/", plain).removesuffix("/").removesuffix(".git")
