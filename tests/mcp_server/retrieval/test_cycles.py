"""Links that lead in circles: every search ends, and shows each document once."""

import json
import os

import pytest

from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex


@pytest.fixture(scope="module")
def circular(tmp_path_factory):
    """Three tickets, each naming the next, two designs that replace each other, and one that names its own file."""
    folder = tmp_path_factory.mktemp("circles")
    circle = {1: 2, 2: 3, 3: 1}
    tickets = [
        {"number": own, "title": f"Circle {own}", "body": f"See #{next_one}, #{own} and ADR-1.", "parent": next_one}
        for own, next_one in circle.items()
    ]
    (folder / "issues.json").write_text(json.dumps(tickets))
    (folder / "designs").mkdir()
    for own, other in ((1, 2), (2, 1)):
        text = (
            f"# ADR-{own} Circles\n\nStatus: superseded by ADR-{other}\n\nSee ADR-{own} in designs/adr-{own}.md, #1.\n"
        )
        (folder / "designs" / f"adr-{own}.md").write_text(text)
    (folder / "designs" / "ring.md").write_text("# The ring\n\nThis page is `ring.md`, see `adr-1.md`.\n")
    sources = (("tickets", folder / "issues.json"), ("designs", folder / "designs"))
    (folder / "codecairn.toml").write_text(
        "\n".join(f'[[source]]\nname = "{t}"\ntype = "{t}"\npath = "{p}"\nproduct = "shop"' for t, p in sources)
    )
    service = Service(load_setup(root=folder, config=None, data=folder / "data", env=dict(os.environ)))
    reindex(service)
    yield service
    service.close()


@pytest.mark.parametrize(
    "query", ["#1", "#2", "ADR-1", "ADR-2", "what does the circle of #3 and ADR-2 mean?", "the ring"]
)
def test_links_in_a_circle_end(circular, query):
    me = local_principal(circular.setup.settings)
    hits = circular.search(SearchRequest(query, limit=20), me).hits
    places = [(hit.key, hit.start_line) for hit in hits]
    assert places and len(places) == len(set(places))
    for hit in hits:
        named = [name for item in hit.linked for name in item.split(": ", 1)[1].split(", ")]
        assert not {hit.key, hit.path} & set(named), "nothing is linked to itself"
    assert circular.answer(AnswerRequest(query), me).trace_id
