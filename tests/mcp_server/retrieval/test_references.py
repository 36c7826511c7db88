"""From code to the design that it follows: what similar code and commits name."""

import pytest

from ingest.access import Principal
from mcp_server.access import local_principal
from mcp_server.results import SearchRequest

RETRY = "# ADR-5 Being patient\n\nStatus: accepted\n\nWe ask again, and again, and wait longer each time.\n"
NAMING = "# ADR-8 Cookies\n\nStatus: accepted\n\nWhat a browser keeps is small.\n\n## Where\n\nSee `shop/session.py`.\n"
OTHER = "# ADR-6 Providers\n\nStatus: accepted\n\nWhich payment provider we call for which country.\n"
DRAFT = "# ADR-7 Payment providers by country\n\nStatus: draft\n\nWhich payment provider we call for which country.\n"
CHANGE = "for attempt in range(attempts):\n    wait_before_retry(attempt)\nraise TimeoutError(payment provider)"


@pytest.fixture
def service(serve, repository):
    """A service whose code names ADR-5 in a comment; `staff` see the code, everybody the designs and tickets."""
    code = repository / "shop" / "retry.py"
    code.write_text(code.read_text().replace("    for attempt", "    # As decided in ADR 5, see #12.\n    for attempt"))
    designs = {"adr-5.md": RETRY, "adr-6.md": OTHER, "adr-7.md": DRAFT, "adr-8.md": NAMING}
    tickets = [{"number": 12, "title": "Impatience", "body": "Hurry."}]
    return serve("Name the decision", tickets=tickets, designs=designs, staff_only="shop")


def find(service, query, source, principal=None):
    principal = principal or local_principal(service.setup.settings)
    return service.search(SearchRequest(query, sources=(source,)), principal).hits


@pytest.mark.req("R16")
def test_code_leads_to_the_design_that_similar_code_names(service):
    first = find(service, CHANGE, "designs")[0]
    assert first.key == "ADR-5"  # none of whose words stand in the query
    assert "linked to the code asked about" in first.why


@pytest.mark.req("R16")
def test_code_leads_to_the_ticket_that_similar_code_names(service):
    assert [hit.key for hit in find(service, CHANGE, "tickets")] == ["#12"]


@pytest.mark.req("S1")
def test_hidden_code_leads_nowhere(service):
    hits = find(service, CHANGE, "designs", Principal("guest", frozenset({"local"})))
    assert not [hit for hit in hits if "linked to the code asked about" in hit.why]
    assert hits[0].key != "ADR-5"


@pytest.mark.req("R16")
@pytest.mark.parametrize("filters", [{}, {"path_glob": "*.md"}])
def test_who_asks_for_the_design_behind_a_file_gets_the_one_that_names_it(service, filters):
    principal = local_principal(service.setup.settings)
    request = SearchRequest("which design is behind shop/session.py", limit=5, **filters)
    first = next(hit for hit in service.search(request, principal).hits if hit.kind == "design")
    assert first.key == "ADR-8"  # its other words are not those of the query
    assert "linked to the code asked about" in first.why
    plain = service.search(SearchRequest("what does shop/session.py do", limit=5, **filters), principal).hits
    assert not [hit for hit in plain if "linked to the code asked about" in hit.why]
    only = service.search(SearchRequest(request.query, sources=("shop",)), principal).hits
    assert {hit.source for hit in only} == {"shop"}


def test_a_draft_ranks_below_the_design_in_force(service):
    hits = find(service, "which payment provider for which country", "designs")
    assert [hit.key for hit in hits if hit.key not in ("ADR-5", "ADR-8")] == [
        "ADR-6",
        "ADR-7",
    ]  # the draft's title says more
