"""A file is found under every name that it had, by questions, people and records: the index remembers where it went."""

import json
import os
import subprocess
from itertools import pairwise

import pytest

from mcp_server.access import local_principal
from mcp_server.blame import Blamer, Expectation
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import FILES, make_repository, reindex, write_files
from traces.store import TraceQuery

OLD, NEW = "shop/session.py", "shop/cookies/signing.py"
QUESTION = "How are session cookies signed?"


def serve(root, tmp_path, kind):
    config = tmp_path / "codecairn.toml"
    config.write_text(f'[[source]]\nname = "shop"\ntype = "{kind}"\npath = "{root}"\n')
    service = Service(load_setup(root=root, config=config, data=tmp_path / "data", env=dict(os.environ)))
    reindex(service)
    return service


def move(root, old=OLD, new=NEW):
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)


@pytest.fixture
def shop(tmp_path):
    """A service over a folder without history, its repository's files, and one query from before they move."""
    root = tmp_path / "shop"
    write_files(root, FILES)
    service = serve(root, tmp_path, "folder")
    yield service, root
    service.close()


def me(service):
    return local_principal(service.setup.settings)


def search(service, query):
    return service.search(SearchRequest(query), me(service))


def answer(service, question):
    return service.answer(AnswerRequest(question), me(service))


@pytest.mark.req("I13")
@pytest.mark.parametrize("query", [OLD, "session.py", "what does shop/session.py sign"])
def test_a_search_for_an_old_path_is_one_for_the_file_under_its_present_name_and_says_so(shop, query):
    service, root = shop
    move(root)
    reindex(service, allow_drop=True)
    result = search(service, query)
    assert result.hits[0].path == NEW
    assert any(f"was renamed: it is {NEW} now" in note for note in result.notes)
    assert not result.not_found


@pytest.mark.req("I13", "R22")
def test_an_answer_about_an_old_path_cites_the_present_one_and_says_so(shop):
    service, root = shop
    move(root)
    reindex(service, allow_drop=True)
    result = answer(service, f"What does {OLD} do?")
    assert not result.abstained
    assert f"`{OLD}` was renamed: it is {NEW} now." in result.answer
    assert {citation.path for citation in result.citations} == {NEW}


@pytest.mark.req("I13")
def test_with_history_it_is_told_by_the_commit_and_told_once(tmp_path):
    root = make_repository(tmp_path / "shop-repo")
    service = serve(root, tmp_path, "git")
    move(root)
    subprocess.run(["git", "-C", str(root), "add", "-A"], check=True)
    subprocess.run(["git", "-C", str(root), "commit", "-qm", "Cookies of their own"], check=True)
    reindex(service, allow_drop=True)
    said = answer(service, f"where did {OLD} go").answer
    service.close()
    assert said.count("was renamed: it is") == 1
    assert "Cookies of their own" in said


@pytest.mark.req("I13", "F7")
def test_a_cached_answer_does_not_cite_the_path_that_a_file_had(shop):
    service, root = shop
    before = answer(service, QUESTION)
    assert OLD in {citation.path for citation in before.citations}
    assert answer(service, QUESTION).cached
    move(root)
    reindex(service, allow_drop=True)
    after = answer(service, QUESTION)
    paths = {citation.path for citation in after.citations}
    assert NEW in paths and OLD not in paths
    assert {citation.freshness for citation in after.citations} == {"fresh"}


@pytest.mark.req("I13", "T10")
def test_queries_are_found_by_every_name_of_a_file_that_they_retrieved(shop):
    service, root = shop
    first = answer(service, QUESTION).trace_id
    move(root)
    reindex(service, allow_drop=True)
    move(root, NEW, "shop/seals.py")
    reindex(service, allow_drop=True)
    service.store.flush()
    for name in (OLD, NEW, "shop/seals.py"):
        found = [row.id for row in service.list_traces(me(service), 20, TraceQuery(path=name))]
        assert first in found
    others = service.list_traces(me(service), 20, TraceQuery(path="shop/nothing.py"))
    assert others == []


@pytest.mark.req("I13", "T12")
def test_blame_takes_the_name_that_a_file_had_when_it_was_asked(shop):
    service, root = shop
    first = answer(service, QUESTION).trace_id
    names = [OLD, *(f"shop/name_{number}.py" for number in range(4))]
    for old, new in pairwise(names):  # until the generation that was asked is gone
        move(root, old, new)
        reindex(service, allow_drop=True)
    service.store.flush()
    assert Blamer(service, me(service)).blame(first, Expectation(paths=(OLD,))).cause != "no_relevant_document"


@pytest.mark.req("I13")
def test_a_document_is_read_under_an_old_name_with_a_note(shop):
    service, root = shop
    move(root)
    reindex(service, allow_drop=True)
    text = service.read_document("shop", OLD, me(service))
    assert text.startswith(f"({OLD} was renamed: it is {NEW} now.)")
    assert "class SessionSigner" in text


@pytest.mark.req("I13")
def test_a_new_file_under_an_old_name_is_itself(shop):
    service, root = shop
    move(root)
    reindex(service, allow_drop=True)
    (root / OLD).write_text("class Visit:\n    '''One visit.'''\n")
    reindex(service, allow_drop=True)
    result = search(service, OLD)
    assert result.hits[0].path == OLD
    assert not [note for note in result.notes if "renamed" in note]
    assert "class Visit" in service.read_document("shop", OLD, me(service))


@pytest.mark.req("I13", "S1")
def test_a_rename_in_a_hidden_source_is_told_to_nobody(tmp_path):
    for name in ("open", "board"):
        write_files(tmp_path / name, FILES if name == "open" else {"plans/merger.py": "def merge():\n    return 1\n"})
    config = tmp_path / "codecairn.toml"
    config.write_text(
        "".join(
            f'[[source]]\nname = "{name}"\ntype = "folder"\npath = "{tmp_path / name}"\ngroups = ["{group}"]\n'
            for name, group in (("open", "local"), ("board", "staff"))
        )
    )
    service = Service(load_setup(root=tmp_path / "open", config=config, data=tmp_path / "data", env=dict(os.environ)))
    reindex(service)
    (tmp_path / "board" / "plans").rename(tmp_path / "board" / "takeover")
    reindex(service, allow_drop=True)
    result = search(service, "plans/merger.py")
    said = json.dumps([result.notes, [hit.path for hit in result.hits], [item.nearest for item in result.not_found]])
    service.close()
    assert "takeover" not in said and "renamed" not in said
