"""A repository by its address: asked on a schedule, fetched when its refs moved, over real HTTP on loopback."""

import base64
import os
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ingest import gitio
from ingest.build import build_index
from ingest.config import IndexConfig, SourceConfig, UpkeepConfig
from ingest.errors import GitError, IndexStateError, SourceError
from ingest.index import Index, jobs, status
from ingest.index.beacon import FETCHING, read_state
from ingest.model import Filters
from ingest.worker import Target, Worker
from tests.ingest.waiting import PATIENCE_S, wait_until

NOW = "2026-11-21T00:00:00Z"
TOKEN = "token-of-the-test"


class GitHost:
    """`git http-backend` behind a real HTTP server that wants a token."""

    def __init__(self, root):
        self.requests, self.redirect, self.failing, self.fetches = [], "", False, 0
        self.answers = threading.Event()  # until it is set, requests are taken and not answered
        self.answers.set()
        host = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                path, _, query = self.path.partition("?")
                service = query.removeprefix("service=") or path.rpartition("/")[2]
                host.requests.append(service)
                host.answers.wait(PATIENCE_S)
                login = base64.b64decode(self.headers.get("Authorization", " ").partition(" ")[2]).decode()
                if login.partition(":")[2] != TOKEN:
                    return self.reply(401, {})
                if host.redirect:
                    return self.reply(302, {"Location": host.redirect})
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if b"command=fetch" in body:
                    host.fetches += 1
                    if host.failing:
                        return self.reply(500, {})
                done = subprocess.run(
                    ["git", "http-backend"],
                    input=body,
                    capture_output=True,
                    check=True,
                    env={
                        "PATH": os.environ["PATH"],
                        "GIT_PROJECT_ROOT": str(root),
                        "GIT_HTTP_EXPORT_ALL": "1",
                        "GIT_CONFIG_GLOBAL": os.devnull,
                        "PATH_INFO": path,
                        "QUERY_STRING": query,
                        "REQUEST_METHOD": self.command,
                        "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                        "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                        "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    },
                )
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                return self.reply(int(fields.pop("Status", "200").split()[0]), fields, content)

            do_GET = do_POST = answer

            def reply(self, status, fields, content=b""):
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/shop.git"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.answers.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def origin(tmp_path, git):
    """A work tree with a bare repository beside it that it pushes to."""
    bare, work = tmp_path / "hosted" / "shop.git", tmp_path / "work"
    bare.parent.mkdir()
    work.mkdir()
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    git(work, "init", "-q", "-b", "main")
    git(work, "remote", "add", "origin", str(bare))
    push(git, work, "alpha", "Adds alpha")
    return work


def push(git, work, name, message, *options):
    (work / f"{name}.py").write_text(f"def {name}():\n    return 1\n")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", message)
    git(work, "push", "-q", *options, "origin", "main")


@pytest.fixture
def host(tmp_path, origin, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    host = GitHost(tmp_path / "hosted")
    yield host
    host.close()


def remote(host, **more):
    return SourceConfig(**{"name": "shop", "type": "git", "url": host.url, "token_env": "SHOP_TOKEN", **more})


def build(tmp_path, *sources, **options):
    options = {"allow_drop": True, **options}
    return build_index(sources, IndexConfig(workers=1), None, tmp_path / "data", now=NOW, **options)


def names(tmp_path, source="shop"):
    filters = Filters(groups=frozenset({"local"}), sources=frozenset({source}))
    known = ("alpha", "beta", "gamma", "delta", "epsilon")
    with Index.open_current(tmp_path / "data") as index:
        return {name for name in known if index.find_symbol(name, filters, loose=False)}


def utc_now():
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.req("I1", "I16")
def test_a_repository_is_indexed_by_its_address_and_fetched_only_when_its_refs_moved(tmp_path, git, origin, host):
    report = build(tmp_path, remote(host))
    assert names(tmp_path) == {"alpha"}
    revisions = {state.name: state.revision for state in report.manifest.sources}
    head = git(origin, "rev-parse", "HEAD")
    assert revisions == {"shop": head, "shop.history": head}

    host.requests.clear()
    assert not build(tmp_path, remote(host)).published
    assert "git-upload-pack" in host.requests and len(host.requests) == 2  # its refs, and nothing else

    push(git, origin, "beta", "Adds beta")
    assert build(tmp_path, remote(host)).published
    assert names(tmp_path) == {"alpha", "beta"}


@pytest.mark.req("I1")
def test_a_forced_push_a_branch_and_a_damaged_mirror_are_followed(tmp_path, git, origin, host):
    push(git, origin, "beta", "Adds beta")
    build(tmp_path, remote(host))
    git(origin, "reset", "-q", "--hard", "HEAD~1")
    push(git, origin, "gamma", "Instead of beta", "--force")
    before = gitio.remote_mirror_path(host.url, tmp_path / "data").stat().st_ino
    build(tmp_path, remote(host))
    assert (
        gitio.remote_mirror_path(host.url, tmp_path / "data").stat().st_ino == before
    )  # fetched into, not cloned anew
    assert names(tmp_path) == {"alpha", "gamma"}

    git(origin, "push", "-q", "origin", "HEAD~1:refs/heads/old")
    build(tmp_path, remote(host, ref="old"))
    assert names(tmp_path) == {"alpha"}

    mirror = gitio.remote_mirror_path(host.url, tmp_path / "data")
    (mirror / "HEAD").write_text("damaged")
    build(tmp_path, remote(host, ref="old", exclude=("no",)))
    assert (mirror / "HEAD").read_text() != "damaged"

    for pack in (mirror / "objects").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            pack.write_bytes(b"damaged")
    push(git, origin, "beta", "Adds beta again")
    build(tmp_path, remote(host))
    assert names(tmp_path) == {"alpha", "beta", "gamma"}


@pytest.mark.req("I16", "M11")
def test_a_host_that_refuses_leaves_the_index_as_it_was_and_says_why_without_the_token(
    tmp_path, git, origin, host, monkeypatch
):
    other = tmp_path / "other"
    other.mkdir()
    (other / "gamma.py").write_text("def gamma():\n    return 1\n")
    sources = (remote(host), SourceConfig(name="other", type="folder", path=other))
    build(tmp_path, *sources)
    push(git, origin, "beta", "Adds beta")
    monkeypatch.setenv("SHOP_TOKEN", "an-old-token")
    report = build(tmp_path, *sources)
    refused = f"The repository {host.url} was not read: it refused the token of SHOP_TOKEN."
    assert report.left_out["shop"].startswith(refused)
    assert "an-old-token" not in report.left_out["shop"]
    assert names(tmp_path) == {"alpha"}
    monkeypatch.delenv("SHOP_TOKEN")
    assert "SHOP_TOKEN is not set" in build(tmp_path, *sources).left_out["shop"]
    report = build(tmp_path, remote(host, token_env=""), *sources[1:])
    assert "no token is configured" in report.left_out["shop"]


@pytest.mark.req("I16")
def test_a_fetch_that_fails_at_the_host_leaves_the_mirror_and_is_tried_once(tmp_path, git, origin, host):
    build(tmp_path, remote(host))
    mirror = gitio.remote_mirror_path(host.url, tmp_path / "data")
    before = mirror.stat().st_ino
    push(git, origin, "beta", "Adds beta")
    host.failing, host.fetches = True, 0
    with pytest.raises(GitError, match="HTTP 500"):
        build(tmp_path, remote(host))
    assert (host.fetches, names(tmp_path)) == (1, {"alpha"})
    host.failing = False
    build(tmp_path, remote(host))
    assert names(tmp_path) == {"alpha", "beta"}
    assert mirror.stat().st_ino == before


@pytest.mark.req("S11")
def test_a_redirect_is_not_followed_and_no_unsafe_address_is_asked(tmp_path, host):
    host.redirect = "http://127.0.0.1:9/elsewhere.git"
    with pytest.raises(SourceError, match=r"it has moved \(HTTP 302\), and no redirect is followed. Correct `url`"):
        build(tmp_path, remote(host))
    for url in (
        "http://example.com/shop.git",
        "git://example.com/shop.git",
        "ext::sh -c touch% /tmp/x",
        "file:///etc",
        "/etc/shop.git",
        "https://-upload/shop.git",
        "ssh://-oProxyCommand=touch/shop.git",
        "https://example.com/a b.git",
    ):
        with pytest.raises(SourceError, match="url|transport|address"):
            gitio.check_remote(url)
    for url in ("https://example.com/a/b.git", "ssh://git@example.com:22/a.git", "http://[::1]:8/a.git"):
        assert gitio.check_remote(url) == url.partition(":")[0]


@pytest.mark.req("S11", "M11")
@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@example.com/shop.git",
        "https://secret@example.com/shop.git",
        "https://secret@-upload/shop.git",
        "https://example.com/shop.git?private_token=secret",
        "https://example.com/shop.git#secret",
        "user:secret@example.com:shop.git",
        "https:/secret@example.com/shop.git",
    ],
)
def test_an_address_with_a_secret_is_refused_without_it(url):
    with pytest.raises(SourceError, match="The `url` of a git source") as refused:
        gitio.check_remote(url)
    assert "secret" not in str(refused.value)


def test_the_short_address_of_ssh_is_offered_with_its_transport():
    for url in ("git@github.com:o/r.git", "git@github.com:/o/r.git"):
        assert SourceConfig(name="shop", type="git", url=url).is_remote
        with pytest.raises(SourceError, match=r"Set `url` to ssh://git@github\.com/o/r\.git\."):
            gitio.check_remote(url)


def test_a_git_source_has_a_path_or_an_address(tmp_path):
    with pytest.raises(ValueError, match="not both"):
        SourceConfig(name="shop", type="git", url="https://example.com/shop.git", path=tmp_path)
    with pytest.raises(ValueError, match="path or url"):
        SourceConfig(name="shop", type="git")


@contextmanager
def working(tmp_path, *sources, poll_s):
    """A worker that watches the sources, and real builds."""

    def build_due(target, order):
        options = {"only": order.only, "seen": order.seen, "may_ask": order.may_ask, "skip_failing": True}
        return build(tmp_path, *target.sources, **options)

    data = tmp_path / "data"
    upkeep, targets = UpkeepConfig(poll_s=poll_s), [Target("", sources, data)]
    worker = Worker(data, targets, build_due, utc_now, upkeep=upkeep, debounce_ms=20, watch=True)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield data
    finally:
        worker.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.req("I1")
def test_the_worker_asks_on_its_schedule_and_at_once_when_something_says_so(tmp_path, git, origin, host):
    with working(tmp_path, remote(host), poll_s=1) as data:
        assert wait_until(lambda: published(tmp_path) and names(tmp_path) == {"alpha"})
        push(git, origin, "beta", "Adds beta")
        assert wait_until(lambda: names(tmp_path) == {"alpha", "beta"})  # by a poll: nothing else says it
        push(git, origin, "gamma", "Adds gamma")
        with jobs.connect_jobs(data) as db:  # what a webhook does
            jobs.want(db, "shop", "webhook", NOW, priority=1)
        assert wait_until(lambda: names(tmp_path) == {"alpha", "beta", "gamma"})


@pytest.mark.req("I1", "I4")
def test_a_host_that_does_not_answer_holds_up_nobody_else(tmp_path, origin, host):
    near = tmp_path / "near"
    near.mkdir()
    (near / "delta.py").write_text("def delta():\n    return 1\n")
    code = SourceConfig(name="near", type="folder", path=near)
    host.answers.clear()
    with working(tmp_path, code, remote(host), poll_s=3600) as data:
        assert wait_until(lambda: published(tmp_path) and names(tmp_path, "near") == {"delta"})
        (near / "epsilon.py").write_text("def epsilon():\n    return 1\n")
        assert wait_until(lambda: names(tmp_path, "near") == {"delta", "epsilon"})
        assert wait_until(lambda: (state := read_state(data)) and (state.stage, state.source) == (FETCHING, "shop"))
        assert jobs.read_work(data).jobs[0].attempts == 0, "it was not even asked for in the builds of the other"
        by_hand = build(tmp_path, code, remote(host))  # waits for neither the host nor the worker
        assert "has not been fetched yet" in by_hand.left_out["shop"]
        host.answers.set()
        assert wait_until(lambda: names(tmp_path) == {"alpha"})
    assert names(tmp_path, "near") == {"delta", "epsilon"}


@pytest.mark.req("I1", "I4")
def test_what_is_pushed_while_a_host_is_asked_is_asked_for_again(tmp_path, git, origin, host):
    with working(tmp_path, remote(host), poll_s=3600) as data:
        assert wait_until(lambda: published(tmp_path) and names(tmp_path) == {"alpha"})
        asked = len(host.requests)
        host.answers.clear()
        with jobs.connect_jobs(data) as db:
            jobs.want(db, "shop", "webhook", utc_now())
        assert wait_until(lambda: len(host.requests) > asked)
        with jobs.connect_jobs(data) as db:
            jobs.want(db, "shop", "webhook", utc_now())
        asked = len(host.requests)
        host.answers.set()
        assert wait_until(lambda: len(host.requests) == asked + 3), "the rest of the first question, and a second one"


@pytest.mark.req("I1", "I4")
def test_a_host_that_fails_is_told_and_asked_again(tmp_path, origin, host):
    host.redirect = "http://127.0.0.1:1/elsewhere"
    with working(tmp_path, remote(host), poll_s=3600) as data:
        assert wait_until(lambda: any("302" in job.reason for job in jobs.read_work(data).jobs))
        host.redirect = ""
        assert wait_until(lambda: published(tmp_path) and names(tmp_path) == {"alpha"})
        (job,) = jobs.read_work(data).jobs
        assert (job.attempts, job.reason) == (0, "")


def published(tmp_path):
    try:
        return status(tmp_path / "data").current is not None
    except IndexStateError:  # its files are just being made
        return False


@pytest.mark.req("I1")
def test_an_empty_remote_repository_is_no_failure_and_one_without_a_head_says_what_to_set(tmp_path, git, host, origin):
    hosted = tmp_path / "hosted" / "shop.git"
    git(hosted, "symbolic-ref", "HEAD", "refs/heads/none")
    git(hosted, "update-ref", "-d", "refs/heads/main")
    assert build(tmp_path, remote(host)).manifest.chunks == 0
    push(git, origin, "beta", "Adds beta")
    with pytest.raises(GitError, match="Set `ref`"):
        build(tmp_path, remote(host))


@pytest.mark.req("I1", "I16")
def test_a_remote_that_says_that_it_is_empty_and_was_not_leaves_the_index_as_it_was(tmp_path, git, host, origin):
    build(tmp_path, remote(host))
    git(tmp_path / "hosted" / "shop.git", "update-ref", "-d", "refs/heads/main")
    with pytest.raises(GitError, match=r"no branch and no tag, but it had .* remove this source"):
        build(tmp_path, remote(host))
    assert names(tmp_path) == {"alpha"}
    git(origin, "push", "-q", "origin", "main")
    assert not build(tmp_path, remote(host)).published
