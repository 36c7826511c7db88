"""Shared by all tests: nothing leaves the machine, nothing of the developer's home is read, and small real corpora."""

import os
import socket
import subprocess

import hypothesis
import pytest

# How long an example takes says something of the machine, nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

LOOPBACK = ("127.", "::1", "localhost")


class NetworkBlocked(AssertionError):
    """A test tried to reach another machine."""


def check_address(what, family, address):
    """Raise NetworkBlocked unless an address is on this machine."""
    if family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
        raise NetworkBlocked(f"A test tried to {what} {address[0]}.")


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Raise on any attempt to reach another machine."""
    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex", "sendto"):
        original = getattr(socket.socket, name)

        def guarded(self, *arguments, original=original):
            check_address("reach", self.family, arguments[-1])
            return original(self, *arguments)

        patch.setattr(socket.socket, name, guarded)
    look_up = socket.getaddrinfo

    def guarded_look_up(host, *arguments, **more):
        if host is not None:
            check_address("look up", socket.AF_INET, (host.decode() if isinstance(host, bytes) else host,))
        return look_up(host, *arguments, **more)

    patch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def plain_environment(tmp_path_factory, monkeypatch):
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
    return home


@pytest.fixture
def git():
    """Run git in a folder: `git(folder, "commit", "-m", "x")`."""

    def run(folder, *arguments):
        done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `codecairn golden gate --ship` run the tests of some rows."""
    parser.addoption("--rows", default="", help="Run only the tests of these rows of the catalogue, such as 'F1 F2'.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write each test's rows to the JUnit report, and leave out tests of other rows than --rows."""
    rows = {item: {row for mark in item.iter_markers("req") for row in mark.args} for item in items}
    for item, ids in rows.items():
        item.user_properties.append(("rows", " ".join(sorted(ids))))
    wanted = set(config.getoption("--rows").split())
    if wanted:
        other = [item for item in items if not rows[item] & wanted]
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if rows[item] & wanted]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """List the requirement rows that no test shows, after a run of everything."""
    if config.args == config.getini("testpaths"):
        from tests.test_requirements import rows_without_a_test

        terminalreporter.write_line(f"requirement rows without a test: {' '.join(rows_without_a_test()) or 'none'}")
