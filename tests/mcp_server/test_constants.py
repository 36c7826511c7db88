"""A default that is a name is followed to the value that the name stands for."""

import pytest

from mcp_server.access import local_principal
from mcp_server.results import AnswerRequest
from tests.mcp_server.conftest import reindex

GO = """package shop

const defaultUploadMemory = 32 << 20 // 32 MB

// Engine serves requests.
type Engine struct {
\tMaxUploadMemory int64
}

// New returns an engine with the defaults.
func New() *Engine {
\treturn &Engine{
\t\tMaxUploadMemory: defaultUploadMemory,
\t}
}
"""
CLIENT = '''from shop.limits import WAIT_LIMIT


class Client:
    """Talks to the bank."""

    def __init__(self, wait_seconds=WAIT_LIMIT):
        self.wait_seconds = wait_seconds
'''


def ask(service, question):
    request = AnswerRequest(question)
    return service.answer(request, local_principal(service.setup.settings), use_cache=False)


@pytest.fixture
def defaults(repository, service):
    """The service with a default in Go, and one whose constant is defined once, in another file."""
    (repository / "engine.go").write_text(GO)
    (repository / "shop" / "client.py").write_text(CLIENT)
    (repository / "shop" / "limits.py").write_text("WAIT_LIMIT = 45\n")
    reindex(service)
    return service


@pytest.mark.req("R17")
def test_the_constant_behind_a_default_is_given_with_its_value_and_place(defaults, repository):
    answer = ask(defaults, "What is the default value of MaxUploadMemory?")
    assert "`MaxUploadMemory` is `defaultUploadMemory`" in answer.answer
    assert (
        "`defaultUploadMemory` is defined in engine.go:3: `const defaultUploadMemory = 32 << 20 // 32 MB`"
        in answer.answer
    )
    assert ("engine.go", 3) in [(c.path, c.start_line) for c in answer.citations]
    answer = ask(defaults, "What is the default of wait_seconds of Client?")
    assert "`WAIT_LIMIT` is defined in shop/limits.py:1: `WAIT_LIMIT = 45`" in answer.answer
    # Defined twice and in neither place by the file that uses it: nobody says which is meant.
    (repository / "shop" / "other.py").write_text("WAIT_LIMIT = 60\n")
    reindex(defaults)
    assert "WAIT_LIMIT` is defined" not in ask(defaults, "What is the default of wait_seconds of Client?").answer
