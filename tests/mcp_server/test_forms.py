"""Answers whose line has a form: a condition for what is decided, a raise for which error, a constant for how long."""

import os

import pytest

from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

FILES = {
    "ferry/deck.py": '''"""The deck of a ferry and the cars on it."""

from ferry.errors import DeckFull


class Deck:
    """Cars stand on it in lanes."""

    def __init__(self, lanes):
        self.lanes = lanes
        self.cars = []

    def board(self, car):
        """Let a car onto the deck."""
        if len(self.cars) == self.lanes * 12:
            raise DeckFull(car)
        self.cars.append(car)

    def weigh(self):
        """Return the weight of all cars on the deck."""
        return sum(car.weight for car in self.cars)


def sail(deck, storm):
    """Leave the harbour and cross the sound."""
    start_engines(deck)
    while not storm and deck.weigh() < 40_000:
        cross(deck)
    return moor(deck)


def start_engines(deck):
    """Start both engines."""
    return deck


def cross(deck):
    """Cross the sound once."""
    return deck


def moor(deck):
    """Tie up at the quay."""
    return deck
''',
    "ferry/errors.py": '''"""What may go wrong."""


class DeckFull(Exception):
    """A car came too late."""
''',
    "ferry/engine.py": '''"""Engines."""

from datetime import timedelta

IDLE_TIMEOUT = timedelta(seconds=90)
idle = None


def run_down(seconds=IDLE_TIMEOUT):
    """Stop the engine after a while."""
    return seconds
''',
    "ferry/settings.py": '''"""Settings of the owner."""


class Settings:
    """What the owner may change of an engine."""

    def engine_timeouts(self):
        """Engines that are idle stop by themselves; change how long that takes with `engine_idle_timeout`."""
        return self
''',
}


@pytest.fixture(scope="module")
def ferry(tmp_path_factory):
    """A service over a few files of code."""
    root = tmp_path_factory.mktemp("ferry")
    for name, text in FILES.items():
        (root / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "code" / name).write_text(text)
    config = root / "codecairn.toml"
    config.write_text(f'[[source]]\nname = "code"\ntype = "folder"\npath = "{root / "code"}"\nproduct = "ferry"\n')
    service = Service(load_setup(root=root, config=config, data=root / "data", env=dict(os.environ)))
    reindex(service)
    yield service
    service.close()


def ask(service, question):
    return service.answer(AnswerRequest(question), local_principal(service.setup.settings), use_cache=False)


@pytest.mark.req("R17")
def test_how_something_is_decided_is_answered_with_the_condition(ferry):
    answer = ask(ferry, "How does `sail` decide whether to cross in a storm?")
    definition, condition = [line for line in answer.answer.split("\n") if line.startswith("`sail`")][:2]
    assert definition.startswith("`sail` is defined in ferry/deck.py:")
    assert ": `while not storm and deck.weigh() < 40_000:" in condition
    assert "while not storm" not in ask(ferry, "How does `sail` cross the sound?").answer


@pytest.mark.req("R17")
def test_which_error_there_is_is_answered_with_the_line_that_raises_it(ferry):
    answer = ask(ferry, "Which error does a car get when it boards a deck that has no lanes left?")
    assert "`Deck.board` (ferry/deck.py:16): `raise DeckFull(car)`" in answer.answer
    assert "raise DeckFull" not in ask(ferry, "What does a car do when it boards the deck?").answer


@pytest.mark.req("R17")
def test_how_long_is_answered_with_the_constant_that_is_called_like_the_setting(ferry):
    answer = ask(ferry, "How long may an engine be idle?")
    assert "`None`" not in answer.answer  # nothing that is none says how long
    assert "`IDLE_TIMEOUT` is defined in ferry/engine.py:5: `IDLE_TIMEOUT = timedelta(seconds=90)`" in answer.answer
