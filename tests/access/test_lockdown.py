"""Lockdown: what comes from untrusted sources is hidden from everybody, at once and everywhere."""

import os

import pytest

from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.errors import BadRequest, NotFound
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

NOTE = "# Zebra notes\n\nThe zebra counter lives in `app.py`. Ask for `zebra_total`.\n"


@pytest.fixture
def open_world(tmp_path):
    """Return a function that opens the service of one index, with lockdown on or off."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text("def zebra_counter():\n    return 1\n")
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki" / "notes.md").write_text(NOTE)
    opened = []

    def open_service(lockdown: bool) -> Service:
        (tmp_path / "codecairn.toml").write_text(
            f"[access]\nlockdown = {str(lockdown).lower()}\n"
            f'[[source]]\nname = "code"\ntype = "folder"\npath = "{tmp_path / "code"}"\n'
            f'[[source]]\nname = "wiki"\ntype = "designs"\npath = "{tmp_path / "wiki"}"\ntrust = "low"\n'
        )
        setup = load_setup(root=tmp_path, config=None, data=tmp_path / "data", env=dict(os.environ))
        opened.append(Service(setup))
        return opened[-1]

    yield open_service
    for service in opened:
        service.close()


@pytest.mark.req("S5", "S14")
def test_lockdown_hides_untrusted_sources_without_a_new_index(open_world):
    service = open_world(lockdown=False)
    reindex(service)
    me = local_principal(service.setup.settings)
    shown = service.search(SearchRequest("zebra"), me)
    assert {hit.source for hit in shown.hits} == {"code", "wiki"}
    assert shown.hits[0].linked or shown.hits[1].linked

    locked = open_world(lockdown=True)
    found = locked.search(SearchRequest("zebra"), me)
    assert {hit.source for hit in found.hits} == {"code"}
    assert not any(hit.linked for hit in found.hits)
    assert [name.name for name in locked.search(SearchRequest("`zebra_total`"), me).not_found] == ["zebra_total"]
    assert "notes" not in locked.answer(AnswerRequest("What is the zebra counter?"), me).answer
    assert [source["name"] for source in locked.status(me).sources] == ["code"]
    with pytest.raises(BadRequest, match="Unknown source 'wiki'"):
        locked.search(SearchRequest("zebra", sources=("wiki",)), me)
    with pytest.raises(NotFound):
        locked.read_document("wiki", "notes.md", me)
    with pytest.raises(NotFound):
        locked.explain(shown.trace_id, "", me)  # its evidence came from the source that is hidden now

    lifted = open_world(lockdown=False)
    assert {hit.source for hit in lifted.search(SearchRequest("zebra"), me).hits} == {"code", "wiki"}
