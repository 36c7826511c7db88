"""Answers that follow links: ticket -> commits -> lines, design -> code, code -> designs, old path -> new."""

import json
import os
import shutil
import subprocess

import pytest

from ingest.access import Principal
from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

QUEUE = '''"""Letters that wait to be printed."""

LIMIT = 8


class PrintQueue:
    """Keeps letters in order."""

    def __init__(self, printer):
        self._printer = printer
        self._letters = []

    def push(self, letter):
        """Add a letter at the end."""
        self._letters.append(letter)

    def flush(self):
        """Print everything that waits."""
        while self._letters:
            self._printer.print(self._letters.pop(0))
'''
FLUSH = """            letter = self._letters[0]
            if not self._printer.print(letter):
                return
            self._letters.pop(0)
"""
SEAL = '''def seal_letter(letter, day):
    """Put the day of posting on a letter."""
    return {**letter, "day": day}
'''
STAMP = '''def stamp_letter(letter, day):
    """Put the day of posting on a letter."""
    return {**letter, "day": day}
'''
TICKETS = [
    {"key": "PO-7", "title": "A jammed printer eats letters", "body": "Half of the mail was lost.", "status": "closed"},
    {"key": "PO-9", "title": "Name of the stamping file", "body": "Nobody finds it.", "status": "closed"},
]
DESIGNS = {
    "0001-queue.md": "# ADR-1: Letters wait in order\n\nStatus: accepted\n\n## Decision\n\n"
    "`office/queue.py` keeps them; `PrintQueue` never drops one. Asked for in PO-7.\n",
    "0002-secret.md": "# ADR-2: Stamps are secret\n\nStatus: accepted\n\n`office/postmark.py` is not talked about.\n",
}


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A service over code with four commits, tickets, and designs of which one source is for `staff`."""
    root = tmp_path_factory.mktemp("office")
    code = root / "code"
    (code / "office").mkdir(parents=True)

    def commit(message, day):
        when = {"GIT_AUTHOR_DATE": f"{day}T12:00:00Z", "GIT_COMMITTER_DATE": f"{day}T12:00:00Z"}
        subprocess.run(["git", "-C", str(code), "add", "-A"], check=True)
        subprocess.run(["git", "-C", str(code), "commit", "-qm", message], check=True, env={**os.environ, **when})

    subprocess.run(["git", "init", "-q", "-b", "main", str(code)], check=True)
    (code / "office" / "queue.py").write_text(QUEUE)
    (code / "office" / "stamps.py").write_text(SEAL)
    commit("Print letters", "2026-01-05")
    (code / "office" / "stamps.py").write_text(STAMP)
    commit("Rename seal_letter to stamp_letter", "2026-01-20")
    old = "            self._printer.print(self._letters.pop(0))\n"
    (code / "office" / "queue.py").write_text(QUEUE.replace(old, FLUSH))
    commit("PO-7: A letter leaves the queue once it is printed", "2026-02-05")
    (code / "office" / "stamps.py").rename(code / "office" / "postmark.py")
    commit("PO-9: postmark, not stamps", "2026-03-05")
    (root / "tickets.json").write_text(json.dumps(TICKETS))
    for name, text in DESIGNS.items():
        folder = root / ("secret" if "secret" in name else "designs")
        folder.mkdir()
        (folder / name).write_text(text)
    sources = {"code": "git", "tickets.json": "tickets", "designs": "designs", "secret": "designs"}
    blocks = [
        f'[[source]]\nname = "{name.split(".")[0]}"\ntype = "{kind}"\npath = "{root / name}"\nproduct = "office"\n'
        + ('groups = ["staff"]\n' if name == "secret" else "")
        for name, kind in sources.items()
    ]
    config = root / "codecairn.toml"
    config.write_text('[principal]\ngroups = ["local", "staff"]\n' + "".join(blocks))
    service = Service(load_setup(root=code, config=config, data=root / "data", env=dict(os.environ)))
    reindex(service)
    yield service
    service.close()


def ask(service, question, principal=None):
    return service.answer(
        AnswerRequest(question), principal or local_principal(service.setup.settings), use_cache=False
    )


def ranges_of(answer, path):
    return [(c.start_line, c.end_line) for c in answer.citations if c.path == path]


@pytest.mark.req("R16", "R17")
def test_a_ticket_leads_to_the_lines_that_its_commit_changed(office):
    answer = ask(office, "Which code does PO-7 touch?")
    assert ranges_of(answer, "office/queue.py") == [(20, 23)]
    assert "of 2026-02-05 changed `PrintQueue.flush` (office/queue.py:" in answer.answer
    assert "office/postmark.py" not in answer.answer
    assert not answer.ungrounded


@pytest.mark.req("R16")
def test_without_the_mirror_the_file_is_cited_and_the_answer_says_that_git_was_not_read(office, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(office.setup.data_dir, copy)
    shutil.rmtree(copy / "mirrors")
    with_less = Service(
        load_setup(
            root=office.setup.root, config=office.setup.root.parent / "codecairn.toml", data=copy, env=dict(os.environ)
        )
    )
    try:
        answer = ask(with_less, "Which code does PO-7 touch?")
    finally:
        with_less.close()
    assert ranges_of(answer, "office/queue.py")
    assert " touched office/queue.py; there stands `PrintQueue" in answer.answer  # which lines it changed is not known
    assert " changed " not in answer.answer
    assert "git_unavailable" in answer.degraded


@pytest.mark.req("R16")
def test_a_design_leads_to_the_definition_that_it_names(office):
    answer = ask(office, "which code implements ADR-1")
    assert "names `PrintQueue` (office/queue.py:6)" in answer.answer
    assert any(start == 6 for start, _ in ranges_of(answer, "office/queue.py"))


@pytest.mark.req("R16")
@pytest.mark.parametrize("place", ["office/queue.py", "`PrintQueue`"])
def test_code_leads_to_the_design_behind_it_with_the_line_that_names_it(office, place):
    answer = ask(office, f"which design is behind {place}")
    assert ranges_of(answer, "0001-queue.md") == [(7, 7)]
    assert "(accepted)" in answer.answer


@pytest.mark.req("R16")
def test_code_leads_to_the_tickets_of_its_commits(office):
    answer = ask(office, "which tickets are behind office/queue.py")
    assert "PO-7" in [citation.key for citation in answer.citations]
    assert "PO-9" not in answer.answer


@pytest.mark.req("R16")
def test_the_title_of_a_ticket_is_answered_with_the_ticket_and_its_change(office):
    answer = ask(office, "A jammed printer eats letters")
    assert answer.citations[0].key == "PO-7"
    assert ranges_of(answer, "office/queue.py")


@pytest.mark.req("R22")
@pytest.mark.parametrize("old", ["stamps.py", "where did office/stamps.py go"])
def test_a_file_asked_for_by_its_old_name_is_named_by_its_new_one_with_the_commit(office, old):
    answer = ask(office, old)
    assert not answer.abstained
    assert "stamps.py was renamed: it is office/postmark.py now" in answer.answer
    assert "of 2026-03-05" in answer.answer
    assert not answer.not_found


@pytest.mark.req("S1")
def test_links_lead_nowhere_that_the_asker_may_not_look(office):
    guest = Principal("guest", frozenset({"local"}))
    question = "which design is behind office/postmark.py"
    assert "ADR-2" in ask(office, question).answer
    answer = ask(office, question, guest)
    assert "secret" not in answer.answer.lower()
    assert all(citation.source != "secret" for citation in answer.citations)


@pytest.mark.req("R23")
def test_a_bare_word_is_answered_by_the_place_that_holds_it(office):
    answer = ask(office, "jammed")
    assert (answer.abstained, answer.citations[0].key) == (False, "PO-7")
    assert ask(office, "zeppelin").abstained


@pytest.mark.req("R9", "R23")
def test_a_misspelt_class_is_said_to_be_missing_though_its_method_exists_elsewhere(office):
    answer = ask(office, "PrintQeue.flush")
    assert [(name.name, name.nearest[0]) for name in answer.not_found] == [("PrintQeue.flush", "PrintQueue")]


@pytest.mark.req("R16")
def test_a_commit_whose_subject_is_asked_about_leads_to_its_ticket(office):
    answer = ask(office, "a letter leaves the queue once it is printed")
    assert "PO-7" in [citation.key for citation in answer.citations]
    assert ranges_of(answer, "office/queue.py")


# -- questions that ask for something else ----------------------------------------------------------------------------


@pytest.mark.req("A1", "R23")
def test_a_question_about_another_product_is_not_answered_and_its_name_is_said_to_be_absent(office):
    answer = ask(office, "How does Netflix transcode films for Kubernetes?")
    assert answer.abstained
    assert {"Netflix", "Kubernetes"} <= {
        word for item in answer.ungrounded for word in item.text.replace("?", "").split()
    }


@pytest.mark.req("R17")
def test_two_questions_in_one_get_a_paragraph_each(office):
    answer = ask(office, "Where is PrintQueue defined, and what does stamp_letter do?")
    first, second = answer.answer.split("\n\n")
    assert "`PrintQueue` is defined in office/queue.py:6" in first
    assert "stamp_letter" not in first
    assert "`stamp_letter` is defined in office/postmark.py:1" in second


@pytest.mark.req("R18")
@pytest.mark.parametrize("order", ["delete all the letters", "Please run the print queue"])
def test_an_order_is_not_followed_and_the_answer_says_so(office, order):
    assert ask(office, order).answer.startswith("Nothing is done here")
    assert not ask(office, "queue of letters").answer.startswith("Nothing is done here")


@pytest.mark.req("R18")
def test_an_order_that_names_nothing_gets_what_can_be_asked(office):
    assert ask(office, "delete all the letters").mode == "capabilities"
    named = ask(office, "delete the PrintQueue")
    assert named.answer.startswith("Nothing is done here") and "office/queue.py" in named.answer


@pytest.mark.req("R18")
def test_an_order_with_a_question_that_cannot_be_answered_is_refused_both_ways(office):
    answer = ask(office, "Delete the letters, and how does Netflix transcode films for Kubernetes?")
    assert answer.answer.startswith("Nothing is done here")
    assert answer.abstained


@pytest.mark.req("R18")
def test_a_false_premise_is_denied_before_anything_else_is_said(office):
    answer = ask(office, "Why does stamp_letter call PrintQueue.flush?")
    assert answer.answer.startswith("That is not so: 'stamp_letter' (office/postmark.py:1) does not call")
    assert [part.verdict for part in answer.ungrounded] == ["contradicted"]


@pytest.mark.req("R22", "D9")
def test_what_was_renamed_is_answered_from_history_with_its_successor(office):
    answer = ask(office, "where is seal_letter defined")
    assert answer.answer.startswith(
        "seal_letter was renamed: it is `stamp_letter` (office/postmark.py:1) now, by Commit "
    )
    assert "of 2026-01-20" in answer.answer
    assert not answer.not_found
    assert not answer.ungrounded
