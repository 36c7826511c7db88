"""Every pointer of an answer exists now, or is marked: over random histories of a repository that moves on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from golden.corpus import build, make_setup, open_service, principal_of
from ingest.config import SourceConfig
from mcp_server.results import AnswerRequest
from mcp_server.service import Service

NAMES = ("parcel", "voucher", "refund", "courier")
EDITS = st.tuples(st.sampled_from(("shift", "edit", "rename", "delete", "restore")), st.sampled_from(NAMES))


def module(name: str) -> str:
    return (
        f'"""All about one {name}."""\n\n\ndef store_{name}(shelf, weight):\n'
        f'    """Store a {name} on the shelf that can carry its weight."""\n'
        f"    position_of_{name} = shelf.find_space(weight)\n    return shelf.put(position_of_{name}, weight)\n"
    )


def apply(root: Path, edit: str, name: str) -> None:
    """Change the tree as one commit would."""
    file, moved = root / f"src/{name}.py", root / f"src/{name}_moved.py"
    if edit == "restore":
        file.write_text(module(name))
    elif edit == "rename" and file.exists():
        file.rename(moved)
    elif file.exists() and edit == "shift":
        file.write_text("# One line more.\n" + file.read_text())
    elif file.exists() and edit == "edit":
        file.write_text(file.read_text().replace("shelf.put(", "shelf.push("))
    elif edit == "delete":
        file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A service over an index of the first state, and the folder that changes."""
    base = tmp_path_factory.mktemp("pointers")
    root = base / "shop"
    (root / "src").mkdir(parents=True)
    for name in NAMES:
        (root / f"src/{name}.py").write_text(module(name))
    setup = make_setup((SourceConfig(name="shop", type="folder", path=root),), base / "data")
    with open_service(setup) as service:
        build(setup, service)
    with open_service(setup) as service:
        yield service, root


@pytest.mark.req("R19")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EDITS, max_size=6), st.sampled_from(NAMES))
@example([("edit", "parcel")], "parcel")
@example([("shift", "refund"), ("edit", "voucher")], "refund")
@example([("rename", "courier"), ("delete", "parcel")], "courier")
def test_every_pointer_exists_now_or_says_that_it_does_not(shop: tuple[Service, Path], edits, asked):
    service, root = shop
    shutil.rmtree(root / "src")
    (root / "src").mkdir()
    for name in NAMES:
        (root / f"src/{name}.py").write_text(module(name))
    for edit, name in edits:
        apply(root, edit, name)
    request = AnswerRequest(f"How is a {asked} stored on a shelf, and which position does it get for its weight there?")
    answer = service.answer(request, principal_of(service.setup), use_cache=False)
    assert answer.citations
    for citation in answer.citations:
        then = module(Path(citation.path).stem).split("\n")[citation.start_line - 1 : citation.end_line]
        now = read(root / citation.path)
        stands = now[citation.start_line - 1 : citation.end_line] == then
        assert (citation.freshness == "fresh") == stands, citation
        if citation.freshness == "moved":
            path, _, lines = citation.moved_to.rpartition(":")
            start, end = map(int, lines.split("-"))
            assert read(root / path)[start - 1 : end] == then
        assert (citation.freshness == "gone") <= (not now or "def store_" not in "\n".join(now))
        assert (citation.id in answer.stale) == (not stands)


def read(file: Path) -> list[str]:
    return file.read_text().split("\n") if file.exists() else []
