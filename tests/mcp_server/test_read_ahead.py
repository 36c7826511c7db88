"""What a server reads while nobody asks, so that the first answers need not."""

import pytest

from mcp_server.access import local_principal
from mcp_server.answering import vocabulary
from mcp_server.results import AnswerRequest

QUESTION = "How is a call of a payment provider tried again after an error of the connection, and when is it given up?"


@pytest.fixture
def no_names(monkeypatch):
    """A process that has seen no name yet."""
    monkeypatch.setattr(vocabulary, "_CURRENT", [])


def ask(service):
    return service.answer(AnswerRequest(QUESTION), local_principal(service.setup.settings), use_cache=False)


@pytest.mark.req("N11")
def test_an_answer_is_the_same_after_the_names_of_the_index_were_read_ahead_and_it_meets_no_new_one(service, no_names):
    before = ask(service)
    vocabulary._CURRENT.clear()
    with service.reading() as index:
        assert service.read_ahead() == index.manifest.chunks
    names = list(vocabulary.vocabulary().names)
    assert {"retry_payment", "SessionSigner"} <= set(names)
    after = ask(service)
    assert "Read on" in after.answer
    assert (after.answer, after.citations) == (before.answer, before.citations)
    assert vocabulary.vocabulary().names == names


@pytest.mark.req("N11")
def test_reading_ahead_ends_when_it_is_told_to(service, no_names):
    assert service.read_ahead(lambda: False) == 0


@pytest.mark.req("N11", "R21")
def test_of_a_very_large_index_nothing_is_read_ahead(service, no_names, monkeypatch):
    with service.reading() as index:
        monkeypatch.setattr("mcp_server.service.READ_AHEAD_MAX", index.manifest.chunks - 1)
    assert service.read_ahead() == 0
    assert not vocabulary._CURRENT or not vocabulary.vocabulary().names
