"""Two products with the same names: what is found in one is never passed off as the other's."""

import os

import pytest

from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.render import render_answer, render_search
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

SHOP = '''"""Sessions of the shop."""


class SessionStore:
    """Keeps sessions in cookies that are signed."""

    def load_session(self, cookie):
        """Load a session from its signed cookie."""
        return verify_cookie(cookie)
'''
BANK = '''"""Sessions of the bank."""


class SessionStore:
    """Keeps sessions in a table of the ledger database."""

    def load_session(self, number):
        """Load a session from its row in the ledger table."""
        return fetch_row(number)
'''
QUESTION = "How does SessionStore load a session?"


@pytest.fixture
def homonyms(tmp_path):
    """A service over two products with a class and a file of the same names."""
    tables = []
    for product, text in (("shop", SHOP), ("bank", BANK)):
        folder = tmp_path / product
        folder.mkdir()
        (folder / "session.py").write_text(text)
        tables.append(f'[[source]]\nname = "{product}"\ntype = "folder"\npath = "{folder}"\nproduct = "{product}"\n')
    config = tmp_path / "codecairn.toml"
    config.write_text("".join(tables))
    service = Service(load_setup(root=tmp_path, config=config, data=tmp_path / "data", env=dict(os.environ)))
    reindex(service)
    yield service
    service.close()


def ask(service, question, product=""):
    return service.answer(AnswerRequest(question, product=product), local_principal(service.setup.settings))


@pytest.mark.req("R13")
def test_an_answer_from_several_products_says_so_and_keeps_them_apart(homonyms):
    result = ask(homonyms, QUESTION)
    text = render_answer(result)
    assert "Several products have something on this: `" in text
    parts = dict(part.split(":\n", 1) for part in result.answer.split("\n\n") if part.startswith("In "))
    head, _, rest = result.answer.partition("In ")
    assert head and rest and parts
    product_of = {citation.id: citation.product for citation in result.citations}
    for name, part in parts.items():
        cited = {product_of[mark] for mark in product_of if f"[{mark}]" in part}
        assert cited == {name.removeprefix("In ").rpartition("\n")[2].removeprefix("In ")}


@pytest.mark.req("R13")
@pytest.mark.parametrize(("product", "own", "foreign"), [("shop", "cookie", "ledger"), ("bank", "ledger", "cookie")])
def test_a_named_product_gives_nothing_of_another(homonyms, product, own, foreign):
    result = ask(homonyms, QUESTION, product)
    assert {citation.product for citation in result.citations} == {product}
    assert own in result.answer and foreign not in result.answer
    assert "Several products" not in result.answer
    search = SearchRequest("SessionStore", product=product)
    assert {hit.product for hit in homonyms.search(search, local_principal(homonyms.setup.settings)).hits} == {product}


@pytest.mark.req("R13")
def test_hits_of_several_products_name_theirs(homonyms):
    result = homonyms.search(SearchRequest("load session"), local_principal(homonyms.setup.settings))
    text = render_search(result, "load session")
    assert "product shop" in text and "product bank" in text
    assert "`product` narrows to one" in text


@pytest.mark.req("R13")
def test_the_product_that_a_question_names_comes_first(homonyms):
    for product in ("shop", "bank"):
        answer = ask(homonyms, f"How does SessionStore of the {product} load a session?").answer
        assert answer.index(f"In {product}:") < min(
            (answer.index(f"In {name}:") for name in {"shop", "bank"} - {product} if f"In {name}:" in answer),
            default=len(answer),
        )
