"""When a worker that died is followed by another one."""

import pytest

from mcp_server.cli.serving import MAX_DELAY_S, PROVEN_S, Restarts


def delay_s(restarts: Restarts, died: float) -> float:
    """Return the seconds from the death of a worker until another one is started."""
    now = died
    while not restarts.is_due(now):
        now += 0.5
    return now - died


@pytest.mark.req("I1", "I4")
def test_a_worker_that_dies_before_its_work_is_done_is_followed_ever_later():
    restarts, now, delays = Restarts(), 0.0, []
    for _ in range(9):
        now += 100.0  # however long it worked: a large index would else be begun again and again without a pause
        delays.append(delay_s(restarts, now))
        now += delays[-1]
    assert delays == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, MAX_DELAY_S, MAX_DELAY_S, MAX_DELAY_S]


@pytest.mark.req("I1", "I4")
def test_a_worker_that_had_done_its_work_is_followed_at_once_however_often_it_is_killed():
    restarts, now = Restarts(), 0.0
    for _ in range(5):
        restarts.see_idle(now + 1.0)
        now += 1.0 + PROVEN_S
        restarts.see_idle(now)
        assert delay_s(restarts, now) == 0.0
    restarts.see_idle(now + 1.0)
    assert delay_s(restarts, now + 1.5) == 1.0, "it dies of what it does first when it is idle"
