"""Push webhooks: genuine ones once, everything else never."""

import base64
import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from ingest.config import SourceConfig
from mcp_server.errors import BadRequest, Refused
from mcp_server.webhook import normalise_address, receive_push, sources_of

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


def receive(*arguments):
    with receive_push(*arguments) as push:
        return push


@pytest.mark.req("I4")
@pytest.mark.parametrize("sign", [github, gitlab])
def test_a_genuine_push_is_accepted_once(tmp_path, sign):
    push = receive(sign(), BODY, SECRET, NOW, tmp_path)
    assert (push.ref, push.after) == ("refs/heads/main", "b" * 40)
    with pytest.raises(Refused, match="delivered before"):
        receive(sign(), BODY, SECRET, NOW, tmp_path)


@pytest.mark.req("I4")
@pytest.mark.parametrize("sign", [github, gitlab])
def test_a_changed_body_or_another_secret_is_refused(tmp_path, sign):
    for headers, body in ((sign(), BODY + b" "), (sign(secret="other"), BODY)):
        with pytest.raises(Refused, match="does not fit"):
            receive(headers, body, SECRET, NOW, tmp_path)
    with pytest.raises(Refused, match="no signature"):
        receive({}, BODY, SECRET, NOW, tmp_path)
    with pytest.raises(Refused, match="No webhook secret"):
        receive(sign(secret=""), BODY, "", NOW, tmp_path)


@pytest.mark.req("I4")
def test_a_copy_under_another_id_or_from_long_ago_is_refused(tmp_path):
    receive(github(), BODY, SECRET, NOW, tmp_path)
    with pytest.raises(Refused, match="delivered before"):
        receive(github(delivery="d-2"), BODY, SECRET, NOW, tmp_path)
    for off in (timedelta(minutes=6), -timedelta(minutes=6)):
        with pytest.raises(Refused, match="too long ago"):
            receive(gitlab(at=NOW - off), BODY, SECRET, NOW, tmp_path)
    with pytest.raises(Refused, match="does not fit"):  # the id is part of what is signed
        receive({**gitlab(), "webhook-id": "d-9"}, BODY, SECRET, NOW, tmp_path)


@pytest.mark.req("I4")
def test_the_older_token_of_gitlab_is_compared(tmp_path):
    headers = {"X-Gitlab-Token": SECRET, "X-Gitlab-Event-UUID": "u-1", "X-Gitlab-Event": "Push Hook"}
    assert receive(headers, BODY, SECRET, NOW, tmp_path) is not None
    with pytest.raises(Refused):
        receive({**headers, "X-Gitlab-Token": "other"}, BODY, SECRET, NOW, tmp_path)


@pytest.mark.req("I4")
@pytest.mark.parametrize("sign", [github, gitlab])
def test_a_push_that_could_not_be_taken_in_may_be_delivered_again(tmp_path, sign):
    with pytest.raises(OSError, match="disk is full"), receive_push(sign(), BODY, SECRET, NOW, tmp_path):
        raise OSError("the disk is full")
    assert receive(sign(), BODY, SECRET, NOW, tmp_path) is not None
    with pytest.raises(Refused, match="delivered before"):
        receive(sign(), BODY, SECRET, NOW, tmp_path)


@pytest.mark.req("I4")
def test_of_two_copies_at_once_one_is_accepted(tmp_path):
    receive(github(b"{}", event="ping", delivery="d-0"), b"{}", SECRET, NOW, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with receive_push(github(), BODY, SECRET, NOW, tmp_path):
            copy = pool.submit(receive, github(), BODY, SECRET, NOW, tmp_path)
            assert not wait([copy], timeout=0.2).done
        with pytest.raises(Refused, match="delivered before"):
            copy.result(30)


def test_the_form_that_github_sends_by_default_is_unpacked(tmp_path):
    form = urlencode({"payload": BODY.decode()}).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    assert receive(github(form) | kind, form, SECRET, NOW, tmp_path).after == "b" * 40
    for body in (b"other=1", b"payload=nonsense", b"\xff"):
        with pytest.raises(BadRequest, match="no push"):
            receive(github(body, delivery="d-2") | kind, body, SECRET, NOW, tmp_path)


def test_a_pushed_tag_is_told_by_gitlab_too(tmp_path):
    body = BODY.replace(b"refs/heads/main", b"refs/tags/v1")
    push = receive(gitlab(body) | {"X-Gitlab-Event": "Tag Push Hook"}, body, SECRET, NOW, tmp_path)
    assert (push.ref, push.after) == ("refs/tags/v1", "b" * 40)


def test_other_events_and_strange_bodies_are_told_apart(tmp_path):
    assert receive(github(b"{}", event="ping"), b"{}", SECRET, NOW, tmp_path) is None
    for body in (b"[]", b"nonsense", b'{"ref": 1}', b"[" * 100_000):
        with pytest.raises(BadRequest, match="no push"):
            receive(github(body, delivery="d-2"), body, SECRET, NOW, tmp_path)
    deleted = BODY.replace(b"b" * 40, b"0" * 40)
    assert receive(github(deleted, delivery="x"), deleted, SECRET, NOW, tmp_path).after == ""


@pytest.mark.req("I4")
def test_a_push_is_for_the_clones_of_its_repository(tmp_path, git):
    for name, address in (("ours", "git@forge.example:acme/shop.git"), ("theirs", "https://forge.example/acme/other")):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "-q")
        git(tmp_path / name, "remote", "add", "origin", address)
    sources = [SourceConfig(name=name, type="git", path=tmp_path / name) for name in ("ours", "theirs")]
    sources += [SourceConfig(name="gone", type="git", path=tmp_path / "gone")]
    push = receive(github(), BODY, SECRET, NOW, tmp_path)
    assert [source.name for source in sources_of(push, sources)] == ["ours"]
    assert normalise_address("ssh://git@forge.example:22/acme/shop.git/") == "forge.example/acme/shop"
