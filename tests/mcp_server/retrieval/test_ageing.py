"""Older tickets and designs count a little less; expired ones are left out, and that is said."""

import json
import os
from datetime import UTC, datetime

import pytest

from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.render import render_status
from mcp_server.replay import Replayer
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

SAID = "The basket total is rounded twice when a coupon applies."
TITLE = "Basket total rounded twice"
CHANGED = {1: "2012-03-01T08:00:00Z", 2: "2026-10-01T08:00:00Z", 3: "2026-09-01T08:00:00Z"}
TICKETS = [{"number": n, "title": TITLE, "body": f"{SAID} Shop {n}.", "updated_at": at} for n, at in CHANGED.items()]
EXPIRED = "---\nexpires: 2026-01-31\n---\n# ADR-7 Rounding of totals\n\nStatus: accepted\n\nTotals are rounded once.\n"
EXAMPLE = (
    "# ADR-8 Rounding of lines\n\nStatus: accepted\n\nTotals are rounded per line.\n\n```\nexpires: 2020-01-01\n```\n"
)
DESIGNS = {"adr-7.md": EXPIRED, "adr-8.md": EXAMPLE}


def open_shop(tmp_path, now="2026-11-21", **options):
    """A service over the tickets and designs; `options`: keys of the ticket source."""
    (tmp_path / "issues.json").write_text(json.dumps(TICKETS))
    designs = tmp_path / "designs"
    designs.mkdir(exist_ok=True)
    for name, text in DESIGNS.items():
        (designs / name).write_text(text)
    config = tmp_path / "codecairn.toml"
    lines = [f"{key} = {value}" for key, value in options.items()]
    issues = ["[[source]]", 'name = "issues"', 'type = "tickets"', f'path = "{tmp_path / "issues.json"}"', *lines]
    adrs = ["[[source]]", 'name = "adrs"', 'type = "designs"', f'path = "{designs}"']
    config.write_text("\n".join((*issues, 'product = "shop"', *adrs, 'product = "shop"', "")))
    setup = load_setup(root=tmp_path, config=config, data=tmp_path / "data", env=dict(os.environ))
    return Service(setup, now=lambda: datetime.fromisoformat(now).replace(tzinfo=UTC))


def find(service, query, **fields):
    return service.search(SearchRequest(query, limit=20, **fields), local_principal(service.setup.settings))


def keys_of(found):
    return [hit.key for hit in found.hits]


@pytest.fixture
def shop(tmp_path):
    service = open_shop(tmp_path)
    reindex(service)
    yield service
    service.close()


@pytest.mark.req("I11")
def test_of_tickets_that_say_the_same_the_newer_comes_first(shop):
    found = find(shop, "basket total rounded twice coupon", sources=("tickets",))
    assert keys_of(found)[0] in ("#2", "#3") and keys_of(found)[-1] == "#1"
    trace = shop.get_trace(found.trace_id, local_principal(shop.setup.settings))
    ranked = next(span.output for span in trace.spans if span.name == "rerank")
    ages = {row[0]: row[2].get("age_factor", 1.0) for row in ranked}
    by_key = {hit.key: ages[hit.chunk_id] for hit in found.hits}
    assert by_key["#2"] == 1.0 > by_key["#3"] > 0.99
    assert 0.9 < by_key["#1"] < 0.95


@pytest.mark.req("I11")
def test_a_source_can_be_told_not_to_age(tmp_path):
    with_age = open_shop(tmp_path, half_life_days=0)
    reindex(with_age)
    found = find(with_age, "basket total rounded twice coupon", sources=("tickets",))
    trace = with_age.get_trace(found.trace_id, local_principal(with_age.setup.settings))
    assert "age_factor" not in str([span.output for span in trace.spans if span.name == "rerank"])
    with_age.close()


def test_a_clock_that_is_ahead_makes_nothing_else_old(tmp_path, monkeypatch):
    monkeypatch.setitem(TICKETS[2], "updated_at", "2099-01-01T00:00:00Z")
    service = open_shop(tmp_path)
    reindex(service)
    found = find(service, "basket total rounded twice coupon", sources=("tickets",))
    trace = service.get_trace(found.trace_id, local_principal(service.setup.settings))
    ranked = next(span.output for span in trace.spans if span.name == "rerank")
    ages = {row[0]: row[2].get("age_factor", 1.0) for row in ranked}
    assert {hit.key: ages[hit.chunk_id] for hit in found.hits}["#2"] == 1.0
    service.close()


@pytest.mark.req("I11", "R22")
def test_an_expired_design_is_left_out_and_that_is_said_until_it_is_asked_for(shop):
    found = find(shop, "how are totals rounded", sources=("designs",))
    assert keys_of(found) == ["ADR-8"]  # an expiry in an example is not its own
    assert "Left out because it has expired: ADR-7 (2026-01-31). Ask for one by its key to see it." in found.notes
    named = find(shop, "ADR-7")
    assert keys_of(named)[0] == "ADR-7" and named.hits[0].why[0] == "expired 2026-01-31"
    assert "ADR-7 (2026-01-31) has expired: what it says may no longer hold." in named.notes


@pytest.mark.req("I11")
def test_tickets_expire_so_long_after_their_last_change(tmp_path):
    service = open_shop(tmp_path, expires_days=60)
    reindex(service)
    found = find(service, "basket total rounded twice coupon", sources=("tickets",))
    assert keys_of(found) == ["#2"]
    assert any(
        note.startswith("Left out because it has expired: #") and "#1 (2012-04-30)" in note for note in found.notes
    )
    answer = service.answer(
        AnswerRequest("why is the basket total rounded twice"), local_principal(service.setup.settings)
    )
    assert {citation.key for citation in answer.citations} <= {"#2", "ADR-8"}
    report = service.explain(found.trace_id, "", local_principal(service.setup.settings))
    assert "expired 2012-04-30" in report
    status = render_status(service.status(local_principal(service.setup.settings)))
    assert "expired: 2 documents" in status and "expired: 1 documents" in status
    service.close()


@pytest.mark.req("I11", "T20")
def test_a_recorded_search_is_found_again_after_something_expired(tmp_path):
    service = open_shop(tmp_path, expires_days=60)
    reindex(service)
    before = find(service, "basket total rounded twice coupon", sources=("tickets",))
    service.close()
    later = open_shop(tmp_path, now="2027-06-01", expires_days=60)
    assert not find(later, "basket total rounded twice coupon", sources=("tickets",)).hits
    assert Replayer(later, local_principal(later.setup.settings)).replay(before.trace_id, "re-retrieve").is_same
    later.close()


def test_what_is_no_longer_there_is_not_counted_as_expired(tmp_path):
    service = open_shop(tmp_path, expires_days=60)
    reindex(service)
    (tmp_path / "designs" / "adr-7.md").unlink()
    reindex(service, now="2026-11-22T00:00:00Z")
    status = service.status(local_principal(service.setup.settings))
    assert {source["name"]: source.get("expired", 0) for source in status.sources} == {"issues": 2, "adrs": 0}
    service.close()


@pytest.mark.parametrize("kind", ["git", "folder"])
def test_code_does_not_expire(tmp_path, kind):
    from ingest.config import SourceConfig

    with pytest.raises(ValueError, match="does not expire"):
        SourceConfig(name="code", type=kind, path=tmp_path, expires_days=30)
