"""Push webhooks: genuine ones once, everything else never."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

from ingest.config import SourceConfig
from mcp_server.errors import BadRequest, Refused
from mcp_server.webhook import normalise_address, sources_of, verify_push

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "s3cr3t"
REPOSITORY = {"full_name": "acme/shop", "clone_url": "https://forge.example/acme/shop.git"}
BODY = json.dumps({"ref": "refs/heads/main", "before": "a" * 40, "after": "b" * 40, "repository": REPOSITORY}).encode()


def github(body=BODY, secret=SECRET, delivery="d-1", event="push"):
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": delivery, "X-GitHub-Event": event}


def gitlab(body=BODY, secret=SECRET, delivery="d-1", at=NOW):
    stamp = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1,bm90IHRoaXM= v1," + base64.b64encode(digest).decode()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": stamp,
        "webhook-signature": signature,
        "X-Gitlab-Event": "Push Hook",
    }


@pytest.mark.req("I4")
@pytest.mark.parametrize("sign", [github, gitlab])
def test_a_genuine_push_is_accepted_once(tmp_path, sign):
    push = verify_push(sign(), BODY, SECRET, NOW, tmp_path)
    assert (push.ref, push.after) == ("refs/heads/main", "b" * 40)
    with pytest.raises(Refused, match="delivered before"):
        verify_push(sign(), BODY, SECRET, NOW, tmp_path)


@pytest.mark.req("I4")
@pytest.mark.parametrize("sign", [github, gitlab])
def test_a_changed_body_or_another_secret_is_refused(tmp_path, sign):
    for headers, body in ((sign(), BODY + b" "), (sign(secret="other"), BODY)):
        with pytest.raises(Refused, match="does not fit"):
            verify_push(headers, body, SECRET, NOW, tmp_path)
    with pytest.raises(Refused, match="no signature"):
        verify_push({}, BODY, SECRET, NOW, tmp_path)
    with pytest.raises(Refused, match="No webhook secret"):
        verify_push(sign(secret=""), BODY, "", NOW, tmp_path)


@pytest.mark.req("I4")
def test_a_copy_under_another_id_or_from_long_ago_is_refused(tmp_path):
    verify_push(github(), BODY, SECRET, NOW, tmp_path)
    with pytest.raises(Refused, match="delivered before"):
        verify_push(github(delivery="d-2"), BODY, SECRET, NOW, tmp_path)
    for off in (timedelta(minutes=6), -timedelta(minutes=6)):
        with pytest.raises(Refused, match="too long ago"):
            verify_push(gitlab(at=NOW - off), BODY, SECRET, NOW, tmp_path)
    with pytest.raises(Refused, match="does not fit"):  # the id is part of what is signed
        verify_push({**gitlab(), "webhook-id": "d-9"}, BODY, SECRET, NOW, tmp_path)


@pytest.mark.req("I4")
def test_the_older_token_of_gitlab_is_compared(tmp_path):
    headers = {"X-Gitlab-Token": SECRET, "X-Gitlab-Event-UUID": "u-1", "X-Gitlab-Event": "Push Hook"}
    assert verify_push(headers, BODY, SECRET, NOW, tmp_path) is not None
    with pytest.raises(Refused):
        verify_push({**headers, "X-Gitlab-Token": "other"}, BODY, SECRET, NOW, tmp_path)


def test_other_events_and_strange_bodies_are_told_apart(tmp_path):
    assert verify_push(github(b"{}", event="ping"), b"{}", SECRET, NOW, tmp_path) is None
    for body in (b"[]", b"nonsense", b'{"ref": 1}'):
        with pytest.raises(BadRequest, match="no push"):
            verify_push(github(body, delivery=body.decode()), body, SECRET, NOW, tmp_path)
    deleted = BODY.replace(b"b" * 40, b"0" * 40)
    assert verify_push(github(deleted, delivery="x"), deleted, SECRET, NOW, tmp_path).after == ""


@pytest.mark.req("I4")
def test_a_push_is_for_the_clones_of_its_repository(tmp_path, git):
    for name, address in (("ours", "git@forge.example:acme/shop.git"), ("theirs", "https://forge.example/acme/other")):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "-q")
        git(tmp_path / name, "remote", "add", "origin", address)
    sources = [SourceConfig(name=name, type="git", path=tmp_path / name) for name in ("ours", "theirs")]
    sources += [SourceConfig(name="gone", type="git", path=tmp_path / "gone")]
    push = verify_push(github(), BODY, SECRET, NOW, tmp_path)
    assert [source.name for source in sources_of(push, sources)] == ["ours"]
    assert normalise_address("ssh://git@forge.example:22/acme/shop.git/") == "forge.example/acme/shop"
