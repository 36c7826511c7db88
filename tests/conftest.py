"""Shared by all tests: nothing leaves the machine, nothing of the developer's home is read, and small real corpora."""

import os
import socket
import subprocess

import pytest

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Raise on any attempt to reach another machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"A test tried to reach {address}.")
        return connect(self, address)

    socket.socket.connect = guarded
    yield
    socket.socket.connect = connect


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """Give each test a home of its own and a fixed git identity."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(("CODECAIRN_", "GIT_"))]:
        if name != "CODECAIRN_KILLS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A. Developer")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "dev@example.invalid")
        monkeypatch.setenv(f"GIT_{role}_DATE", "2026-01-02T03:04:05Z")


@pytest.fixture
def git():
    """Run git in a folder: `git(folder, "commit", "-m", "x")`."""

    def run(folder, *arguments):
        done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return run
