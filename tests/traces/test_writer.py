"""Traces are written while nobody asks; only when many wait, or one for long, beside queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from traces import writer as module
from traces.activity import Activity
from traces.draft import Draft
from traces.writer import Writer


@pytest.fixture
def written() -> list[Draft]:
    return []


@pytest.fixture
def activity() -> Activity:
    return Activity()


@pytest.fixture
def writer(written: list[Draft], activity: Activity) -> Iterator[Writer]:
    made = Writer(written.extend, activity)
    yield made
    made.close()


def put(writer: Writer, count: int = 1) -> None:
    for _ in range(count):
        assert writer.put(cast(Draft, object()))


def comes(condition: Callable[[], bool], within_s: float = 20.0) -> bool:
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_a_trace_waits_for_the_query_that_runs(writer: Writer, written: list[Draft], activity: Activity) -> None:
    with activity.query():
        put(writer)
        assert activity.idle_s() == 0.0
        assert not comes(lambda: bool(written), 0.4)
    assert comes(lambda: len(written) == 1)
    assert activity.idle_s() > 0.0


def test_many_traces_are_written_beside_queries(writer: Writer, written: list[Draft], activity: Activity) -> None:
    with activity.query():
        put(writer, module.MAX_WAITING)
        assert comes(lambda: bool(written))
    assert comes(lambda: len(written) == module.MAX_WAITING)


def test_no_trace_waits_for_long(
    writer: Writer, written: list[Draft], activity: Activity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAIT_S", 0.1)
    with activity.query():
        put(writer, 3)
        assert comes(lambda: len(written) == 3)


def test_who_flushes_does_not_wait_for_queries(writer: Writer, written: list[Draft], activity: Activity) -> None:
    with activity.query():
        put(writer, 3)
        assert writer.flush()
        assert len(written) == 3
