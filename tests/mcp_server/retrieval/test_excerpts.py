"""Small definitions share a chunk; who asks for one of them is shown that one."""

import os

import pytest

from ingest.access import LOCAL_PRINCIPAL
from mcp_server.config import load_setup
from mcp_server.render import render_search
from mcp_server.replay import Replayer
from mcp_server.results import SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import make_repository, reindex

SMALL = """export function openDoor(key: string) {
  return key.length > 3;
}

/** Closes it, slowly. */
export function closeDoor() {
  return false;
}

export class Door {
  // Knocks twice.
  knock() {
    return 2;
  }
  ring() {
    return 1;
  }
}

export function paint(colour: string): void;
export function paint(colour: number): void;
export function paint(colour: any) {
  return colour;
}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("excerpts")
    root = make_repository(folder / "repo", {"src/door.ts": SMALL})
    service = Service(load_setup(root=root, config=None, data=folder / "data", env=dict(os.environ)))
    reindex(service)
    yield service
    service.close()


def first_hit(service, query):
    return service.search(SearchRequest(query, limit=3), LOCAL_PRINCIPAL).hits[0]


@pytest.mark.parametrize(
    ("query", "symbol", "lines"),
    [
        ("openDoor", "openDoor", (1, 3)),
        ("closeDoor", "closeDoor", (5, 8)),  # with the comment above it
        ("Door.knock", "Door.knock", (11, 14)),
        ("ring", "Door.ring", (15, 17)),  # the line above belongs to `knock`
        ("Door", "Door", (10, 18)),
        ("paint", "paint", (20, 24)),  # its overloads too
    ],
)
def test_a_hit_for_a_name_is_its_definition(service, query, symbol, lines):
    hit = first_hit(service, query)
    assert (hit.symbol, (hit.start_line, hit.end_line)) == (symbol, lines)
    assert hit.text.split("\n") == SMALL.split("\n")[lines[0] - 1 : lines[1]]
    assert hit.freshness == "fresh"


def test_a_hit_for_a_sentence_is_the_whole_chunk(service):
    hit = first_hit(service, "how does the door close slowly")
    assert (hit.start_line, hit.end_line) == (1, 24)


def test_the_lines_are_shown_and_replayed(service):
    result = service.search(SearchRequest("closeDoor"), LOCAL_PRINCIPAL)
    assert render_search(result, "closeDoor").startswith("src/door.ts:5-8  closeDoor")
    for mode in ("verify", "re-retrieve"):
        assert Replayer(service, LOCAL_PRINCIPAL).replay(result.trace_id, mode).is_same
