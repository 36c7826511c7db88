"""Admission: who runs, who waits, and who is told to come again."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from mcp_server.admission import Admission
from mcp_server.errors import Overloaded
from mcp_server.fallback import Cancellation


def wait_for(what):
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.req("F12")
def test_never_more_run_than_may_and_all_that_wait_come_in_turn():
    admission = Admission(2, 6, 30.0)
    inside, most, order, lock = set(), [], [], threading.Lock()

    def ask(number):
        with admission.admitted():
            with lock:
                inside.add(number)
                order.append(number)
                most.append(len(inside))
            time.sleep(0.01)
            with lock:
                inside.discard(number)

    with ThreadPoolExecutor(8) as pool:
        asked = []
        for number in range(8):
            asked.append(pool.submit(ask, number))
            wait_for(lambda number=number: len(order) + admission.inside[1] > number)
        for one in asked:
            one.result()
    assert max(most) == 2 and sorted(order) == list(range(8))
    assert order[2:] == sorted(order[2:])
    assert admission.inside == (0, 0)


@pytest.mark.req("F12", "F23")
def test_who_goes_leaves_the_line_to_the_next():
    admission, gone = Admission(1, 1, 30.0), Cancellation()

    def ask(go_on=lambda: None):
        with admission.admitted(go_on):
            return "answered"

    with ThreadPoolExecutor(2) as pool:
        with admission.admitted():
            first = pool.submit(ask, gone.check)
            wait_for(lambda: admission.inside == (1, 1))
            with pytest.raises(Overloaded):
                ask()
            gone.set()
            with pytest.raises(CancelledError):
                first.result()
            second = pool.submit(ask)
            wait_for(lambda: admission.inside == (1, 1))
        assert second.result() == "answered"


@pytest.mark.req("F12")
def test_nobody_waits_longer_than_configured_and_the_hint_is_what_the_line_takes():
    admission = Admission(1, 3, 0.02)
    with admission.admitted():
        with pytest.raises(Overloaded, match="1 run and 1 wait") as refused, admission.admitted():
            pass
        assert refused.value.retry_after_s == 1
    assert admission.inside == (0, 0)
