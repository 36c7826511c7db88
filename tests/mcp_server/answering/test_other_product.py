"""A question about a product that the index never heard of is left alone, however much of its wording is found."""

import os

import pytest

from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import FILES, make_repository, reindex

FENCE = "# A fence around each depot\n\nA lorry that leaves the area closes its list by itself.\n"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Return a function that asks the shop."""
    folder = tmp_path_factory.mktemp("products")
    root = make_repository(folder / "shop-repo", {**FILES, "docs/geofence.md": FENCE})
    service = Service(load_setup(root=root, config=None, data=folder / "data", env=dict(os.environ)))
    reindex(service)
    yield lambda question: service.answer(AnswerRequest(question), local_principal(service.setup.settings))
    service.close()


@pytest.mark.req("R23")
@pytest.mark.parametrize(
    "question",
    [
        "How does Django sign session cookies with HMAC?",
        "How are session cookies signed and verified with HMAC in the django framework?",
        "Where do django's session cookies get signed and verified with HMAC?",
        "django::SessionSigner",
        "how django signs session cookies with HMAC",
    ],
)
def test_another_product_is_named_and_nothing_is_answered(ask, question):
    answer = ask(question)
    assert answer.abstained
    assert "django" in answer.answer.lower()


@pytest.mark.req("R23")
@pytest.mark.parametrize(
    "question",
    [
        "How does SessionSigner sign session cookies with HMAC?",
        "How does the shop sign session cookies with HMAC?",
        "How does unconditionally signing session cookies with HMAC work?",
        "How are session cookies signed and verified with HMAC?",
    ],
)
def test_the_own_product_and_words_that_are_no_product_are_answered(ask, question):
    assert not ask(question).abstained


@pytest.mark.req("R23")
def test_a_word_that_only_a_file_is_called_is_no_other_product(ask):
    answer = ask("geofence")
    assert not answer.abstained
    assert answer.citations
    assert ask("geohedge").abstained
