"""The history retriever: files by what was said of their changes, one by one and all together."""

import subprocess

import pytest

from ingest.access import Principal
from ingest.model import Filters
from mcp_server.access import local_principal
from mcp_server.results import SearchRequest
from mcp_server.retrieval.history import retrieve_history
from mcp_server.retrieval.profiles import profile_files
from mcp_server.retrieval.query import parse_query
from mcp_server.retrieval.weights import DEFAULT_WEIGHTS

PLAIN = "def run(value):\n    return value + {}\n"
TICKETS = [
    {"number": 41, "title": "Gondola tips over", "body": "The gondola tips over in a storm."},
    {"number": 42, "title": "Carousel whistles", "body": "The carousel whistles at night. It is in shop/rota.py."},
]


@pytest.fixture
def service(serve, repository):
    """A service over files without telling words: only commits and a ticket say what they are about."""
    for number, (paths, message) in enumerate(
        [
            (("hub.py", "scale.py", "rota.py"), "First versions of hub, scale and rota"),
            (("scale.py", "hub.py"), "The parcel scale overflows with heavy parcels"),
            (("hub.py",), "Parcels leave by the north gate"),
            (("hub.py",), "Parcels are counted twice on Mondays"),
            (("hub.py", "rota.py"), "Parcel drivers swap shifts"),
            (("hub.py",), "Weigh the parcel scale table once"),
            (("scale.py",), "Overflow of the scale is told to the driver"),
            (("winch.py",), "Mend it (#41)"),
        ]
    ):
        for name in paths:
            (repository / "shop" / name).write_text(PLAIN.format(number))
        subprocess.run(["git", "-C", str(repository), "add", "-A"], check=True)
        subprocess.run(["git", "-C", str(repository), "commit", "-qm", message], check=True)
    (repository / "shop" / "rota.py").write_text(PLAIN.format(99))
    return serve("Renumber", tickets=TICKETS, designs={}, staff_only="issues")


def profiles(service, question, principal=None):
    """Return the files by their profile, best first."""
    principal = principal or local_principal(service.setup.settings)
    with service.reading(principal) as index:
        filters = service.filters(index, principal, SearchRequest(question, sources=("code",)))
        found = retrieve_history(index, parse_query(question), filters, DEFAULT_WEIGHTS)
        commits = Filters(filters.groups, filters.history, frozenset({"commit"}))
        scored = profile_files(index, parse_query(question), filters, commits)
        shown = [index.rows([chunk_id]).files[0].path for chunk_id in found.ids.tolist()]
    return [path for (_, path), _ in sorted(scored.items(), key=lambda item: -item[1])], shown


@pytest.mark.req("R1")
def test_a_file_whose_changes_speak_of_the_query_stands_before_one_that_every_change_touches(service):
    told, shown = profiles(service, "the scale overflows when a parcel is heavy")
    assert told[0] == shown[0] == "shop/scale.py"
    assert "shop/hub.py" in told
    request = SearchRequest("the scale overflows when a parcel is heavy")
    first = service.search(request, local_principal(service.setup.settings)).hits
    assert "shop/scale.py" in [hit.path for hit in first[:2]]


@pytest.mark.req("R16")
def test_a_ticket_speaks_for_the_files_of_the_commit_that_names_it(service):
    told, shown = profiles(service, "our gondola tips over when a storm comes")
    assert told[0] == shown[0] == "shop/winch.py"


@pytest.mark.req("R16")
def test_a_ticket_speaks_for_the_files_that_it_names(service):
    assert profiles(service, "how comes that our carousel whistles at night")[1][0] == "shop/rota.py"


@pytest.mark.req("S1")
def test_a_ticket_that_the_asker_may_not_see_speaks_for_nothing(service):
    guest = Principal("guest", frozenset({"local"}))
    told, _ = profiles(service, "our gondola tips over when a storm comes", guest)
    assert "shop/winch.py" not in told
    _, shown = profiles(service, "how comes that our carousel whistles at night", guest)
    assert "shop/rota.py" not in shown[:1]


def test_tests_and_documents_have_no_profile(service):
    told, _ = profiles(service, "Sign session cookies")
    assert told
    assert not [path for path in told if path.startswith(("tests/", "docs/")) or path.endswith(".md")]
