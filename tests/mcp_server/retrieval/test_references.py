"""From code to the design that it follows: what similar code and commits name."""

import json
import os
import subprocess

import pytest

from ingest.access import Principal
from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.results import SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

RETRY = "# ADR-5 Being patient\n\nStatus: accepted\n\nWe ask again, and again, and wait longer each time.\n"
OTHER = "# ADR-6 Providers\n\nStatus: accepted\n\nWhich payment provider we call for which country.\n"
DRAFT = "# ADR-7 Payment providers by country\n\nStatus: draft\n\nWhich payment provider we call for which country.\n"
CHANGE = "for attempt in range(attempts):\n    wait_before_retry(attempt)\nraise TimeoutError(payment provider)"


@pytest.fixture
def service(repository, tmp_path):
    """A service whose code names ADR-5 in a comment; `staff` see the code, everybody the designs and tickets."""
    for name, text in (("adr-5.md", RETRY), ("adr-6.md", OTHER), ("adr-7.md", DRAFT)):
        (tmp_path / "designs").mkdir(exist_ok=True)
        (tmp_path / "designs" / name).write_text(text)
    (tmp_path / "issues.json").write_text(json.dumps([{"number": 12, "title": "Impatience", "body": "Hurry."}]))
    code = repository / "shop" / "retry.py"
    code.write_text(code.read_text().replace("    for attempt", "    # As decided in ADR 5, see #12.\n    for attempt"))
    subprocess.run(["git", "-C", str(repository), "commit", "-qam", "Name the decision"], check=True)
    config = tmp_path / "codecairn.toml"
    config.write_text(
        f"""
[principal]
groups = ["local", "staff"]
[[source]]
name = "shop"
type = "git"
path = "{repository}"
product = "shop"
groups = ["staff"]
[[source]]
name = "adrs"
type = "designs"
path = "{tmp_path / "designs"}"
product = "shop"
[[source]]
name = "issues"
type = "tickets"
path = "{tmp_path / "issues.json"}"
product = "shop"
"""
    )
    service = Service(load_setup(root=repository, config=config, data=tmp_path / "data", env=dict(os.environ)))
    reindex(service)
    yield service
    service.close()


def find(service, query, source, principal=None):
    principal = principal or local_principal(service.setup.settings)
    return service.search(SearchRequest(query, sources=(source,)), principal).hits


@pytest.mark.req("R16")
def test_code_leads_to_the_design_that_similar_code_names(service):
    first = find(service, CHANGE, "designs")[0]
    assert first.key == "ADR-5"  # none of whose words stand in the query
    assert "named by similar code" in first.why


@pytest.mark.req("R16")
def test_code_leads_to_the_ticket_that_similar_code_names(service):
    assert [hit.key for hit in find(service, CHANGE, "tickets")] == ["#12"]


@pytest.mark.req("S1")
def test_hidden_code_leads_nowhere(service):
    hits = find(service, CHANGE, "designs", Principal("guest", frozenset({"local"})))
    assert not [hit for hit in hits if "named by similar code" in hit.why]
    assert hits[0].key != "ADR-5"


def test_a_draft_ranks_below_the_design_in_force(service):
    hits = find(service, "which payment provider for which country", "designs")
    assert [hit.key for hit in hits if hit.key != "ADR-5"] == ["ADR-6", "ADR-7"]  # the draft's title says more
