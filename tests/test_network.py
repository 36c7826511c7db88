"""The guard of the guards: the fixtures of conftest do what the other tests rely on."""

from __future__ import annotations

import os
import socket

import pytest

from tests.conftest import NetworkBlocked


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.org", 443)])
def test_connecting_to_another_machine_raises(address):
    with socket.socket() as client, pytest.raises(NetworkBlocked, match=r"192\.0\.2\.1|example\.org"):
        client.connect(address)


def test_looking_up_another_machine_raises():
    with pytest.raises(NetworkBlocked, match="look up"):
        socket.getaddrinfo("example.org", 443)


def test_sending_a_datagram_to_another_machine_raises():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, pytest.raises(NetworkBlocked):
        client.sendto(b"x", ("192.0.2.1", 53))


def test_loopback_works():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_the_home_folder_is_not_the_one_of_the_person_who_runs_the_tests(plain_environment):
    assert os.path.expanduser("~") == str(plain_environment)
