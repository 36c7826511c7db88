"""Chunks with personal data: known as such, and of sources with `pii_groups` seen by these groups alone."""

import json
import os

import pytest

from ingest.access import Principal
from ingest.config import SourceConfig
from ingest.index import Index
from mcp_server.access import local_principal, make_filters
from mcp_server.config import load_setup
from mcp_server.errors import NotFound, ServerError
from mcp_server.render import render_answer, render_search
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import make_repository, reindex

MAIL = "grace.hopper@acme-payments.io"
TICKETS = [
    {"number": 1, "title": "Invoice mail bounces", "body": f"The invoice mail to {MAIL} bounces with zebracode."},
    {"number": 2, "title": "Invoice total", "body": "The invoice total is rounded twice."},
]
OFFICER = Principal("officer", frozenset(["local", "privacy"]))
OTHER = Principal("other", frozenset(["local"]))
QUERIES = ("invoice mail bounces", "zebracode", "#1", "why does the invoice mail bounce?")


@pytest.fixture(scope="module", params=["mark", "mask"])
def support(request, tmp_path_factory):
    """A service over support tickets; those with personal data are for the group `privacy`."""
    folder = tmp_path_factory.mktemp("personal")
    (folder / "issues.json").write_text(json.dumps(TICKETS))
    (folder / "codecairn.toml").write_text(
        f"""
[[source]]
name = "support"
type = "tickets"
path = "{folder / "issues.json"}"
product = "shop"
pii = "{request.param}"
pii_groups = ["privacy"]
"""
    )
    service = Service(load_setup(root=folder, config=None, data=folder / "data", env=dict(os.environ)))
    reindex(service)
    yield service, request.param
    service.close()


def said_to(service, principal):
    """Return all that a principal is told, and the chunks that hits and citations point into."""
    said, keys = [], set()
    for query in QUERIES:
        for mode in ("ranked", "all"):
            found = service.search(SearchRequest(query, limit=20, mode=mode), principal)
            keys |= {hit.key for hit in found.hits}
            said += [render_search(found, "", style, 90_000) for style in ("detailed", "json")]
            said.append(service.explain(found.trace_id, "", principal))
        answer = service.answer(AnswerRequest(query), principal, use_cache=True)
        keys |= {citation.key for citation in answer.citations}
        said.append(render_answer(answer))
    try:
        said.append(service.read_document("support", "#1", principal))
        keys.add("#1")
    except NotFound:
        pass
    return said, keys


@pytest.mark.req("S1", "S2")
def test_chunks_with_personal_data_are_seen_by_their_groups_only(support):
    service, policy = support
    told, seen = said_to(service, OFFICER)
    assert "#1" in seen and any(MAIL in text for text in told) == (policy == "mark")
    told, seen = said_to(service, OTHER)
    assert "#2" in seen and "#1" not in seen
    assert not [text for text in told if MAIL in text or "bounces with" in text]


@pytest.mark.req("S1", "S2")
def test_they_are_not_counted_and_their_words_are_unknown_to_others(support):
    service, _ = support
    assert (service.status(OFFICER).chunks, service.status(OTHER).chunks) == (2, 1)
    assert [source["chunks"] for source in service.status(OTHER).sources] == [1]
    assert service.search(SearchRequest("zebracode", mode="all"), OTHER).total == 0
    with service.reading(OTHER) as index:
        seen = make_filters(OTHER, service.infos(index))
        assert index.term_stats(["zebracod"], seen) == {"zebracod": 0} and index.chunk_count(seen) == 1
        assert [chunk.key for chunk in index.every_chunk(seen)] == ["#2"]
        assert {item.chunk_id for item in index.search_vector("invoice mail bounces", seen, 10)} == set(
            index.find_keys("#2", seen)
        )


@pytest.mark.req("S1", "S2")
def test_vectors_in_the_database_hide_them_too(support):
    service, _ = support
    with Index.open_current(service.setup.data_dir, service.embedder, exact_vectors_max=0) as index:
        found = {
            principal.id: {
                chunk.key
                for item in index.search_vector("invoice mail", make_filters(principal, service.infos(index)), 10)
                for chunk in index.chunks([item.chunk_id])
            }
            for principal in (OFFICER, OTHER)
        }
    assert found == {"officer": {"#1", "#2"}, "other": {"#2"}}


@pytest.mark.req("S2")
def test_the_class_is_in_the_metadata_of_the_chunk(support):
    service, policy = support
    with service.reading(OFFICER) as index:
        classes = {
            c.key: (c.pii_class, c.redactions) for c in index.every_chunk(make_filters(OFFICER, service.infos(index)))
        }
    assert classes == {"#1": ("personal", (("email", 1),) if policy == "mask" else ()), "#2": ("", ())}


def test_groups_for_personal_data_need_a_policy_that_finds_it(tmp_path):
    with pytest.raises(ValueError, match="nobody knows which chunks"):
        SourceConfig(name="s", type="tickets", path=tmp_path, pii="off", pii_groups=("privacy",))


@pytest.mark.req("S1", "S2")
def test_who_asks_locally_is_no_exception(support):
    service, _ = support
    told, seen = said_to(service, local_principal(service.setup.settings))
    assert "#1" not in seen and not [text for text in told if MAIL in text]
    with pytest.raises(ServerError):
        service.read_document("support", "#1", local_principal(service.setup.settings))


@pytest.mark.req("A6")
def test_a_policy_that_comes_later_holds_for_the_commits_that_are_indexed(tmp_path, git):
    root = make_repository(tmp_path / "shop")
    git(root, "commit", "-q", "--allow-empty", "-m", f"Resend invoices\n\nAsked for by {MAIL}, see zebracode.")
    stored = {}
    for policy in ("off", "mask"):
        (root / "codecairn.toml").write_text(f'[[source]]\nname = "shop"\ntype = "git"\npath = "."\npii = "{policy}"\n')
        service = Service(load_setup(root=root, config=None, data=tmp_path / "data", env=dict(os.environ)))
        reindex(service)
        principal = local_principal(service.setup.settings)
        with service.reading(principal) as index:
            chunks = index.every_chunk(make_filters(principal, service.infos(index)))
            stored[policy] = "\n".join(chunk.text for chunk in chunks)
        found = service.search(SearchRequest("zebracode"), principal)
        assert (MAIL in render_search(found, "", "detailed", 90_000)) == (policy == "off")
        service.close()
    assert MAIL in stored["off"]
    assert "zebracode" in stored["mask"] and MAIL not in stored["mask"]
