"""A small repository, indexed, and a service over it."""

import os
import subprocess

import pytest

from ingest.build import build_index
from mcp_server.config import load_setup
from mcp_server.service import Service

FILES = {
    "shop/session.py": '''"""Signed sessions."""

import hmac

SESSION_SALT = "cart-v2"


class SessionSigner:
    """Sign and verify session cookies with HMAC."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def sign(self, payload: bytes) -> str:
        """Return the hexadecimal signature of a payload."""
        return hmac.new(self.key, payload + SESSION_SALT.encode(), "sha256").hexdigest()

    def verify(self, payload: bytes, signature: str) -> bool:
        """Tell whether a signature belongs to a payload."""
        return hmac.compare_digest(self.sign(payload), signature)
''',
    "shop/retry.py": '''"""Retries of payment calls."""

RETRY_LIMIT = 5


def retry_payment(call, attempts=RETRY_LIMIT):
    """Call a payment provider until it answers or the attempts are used up."""
    for attempt in range(attempts):
        try:
            return call()
        except ConnectionError:
            wait_before_retry(attempt)
    raise TimeoutError("payment provider did not answer")


def wait_before_retry(attempt):
    """Sleep with exponential backoff."""
''',
    "tests/test_session.py": """from shop.session import SessionSigner


def test_sign():
    assert SessionSigner(b"k").sign(b"x")
""",
    "README.md": "# Shop\n\n## Sessions\n\nSession cookies are signed, see `SessionSigner`.\n",
}


def write_files(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def make_repository(root, files=FILES):
    root.mkdir(parents=True, exist_ok=True)
    write_files(root, files)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Sign session cookies (#12)"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


@pytest.fixture
def repository(tmp_path):
    return make_repository(tmp_path / "shop-repo")


@pytest.fixture
def setup(repository, tmp_path):
    return load_setup(root=repository, config=None, data=tmp_path / "data", env=dict(os.environ))


@pytest.fixture
def service(setup):
    service = Service(setup)
    reindex(service)
    yield service
    service.close()


def reindex(service, now="2026-11-21T00:00:00Z", **options):
    setup = service.setup
    return build_index(
        setup.settings.source, setup.settings.index, service.embedder, setup.data_dir, now=now, **options
    )
