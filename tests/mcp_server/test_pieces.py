"""A function that is longer than one chunk: what it does is known where all of its pieces may be seen."""

import os

import pytest

from ingest.access import Principal
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

MAIL = "grace.hopper@acme-payments.io"
OFFICER = Principal("officer", frozenset(["local", "privacy"]))
OTHER = Principal("other", frozenset(["local"]))


def fill(name, count):
    """Return lines that a chunk is filled with."""
    return "".join(
        f"    {name}_{n} = ledger.balance_of({n}) + ledger.interest_of({n}, rate=0.0{n})\n" for n in range(count)
    )


BOOKS = f'''"""The books of a bank."""


def write_ledger(entry):
    """Keep an entry."""
    return open("ledger", "a").write(entry)


def print_letter(entry):
    """Print an entry for the customer."""
    return str(entry)


def settle_accounts(ledger):
    """Settle all accounts at the end of the day."""
    open_books(ledger)
{fill("first", 24)}

    owner = "{MAIL}"
{fill("second", 24)}

    write_ledger(second_3)
{fill("third", 24)}
    return owner


def open_books(ledger):
    """Open the books."""
    return ledger
'''

STEPS = "".join(
    f"    ledger->balance[{n}] = interest_of(ledger, {n}) + balance_of(ledger, {n}, {n});\n" for n in range(60)
)
VAULT = f"""static int lock_door(int vault) {{
    return vault + 1;
}}

static int ring_bell(int vault) {{
    return vault + 2;
}}

int close_vault(struct ledger* ledger) {{
    if (!lock_door(ledger->vault))
        return 0;
    switch (ledger->day) {{
        case 1:
{STEPS}
            break;
        case 2:
            count_coins(ledger);
{STEPS}
            break;
    }}
    return 1;
}}

static int count_coins(struct ledger* ledger) {{
    return ledger->coins;
}}
"""


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A service over a function of several pieces, of which one is for the group `privacy`."""
    root = tmp_path_factory.mktemp("bank")
    (root / "code").mkdir()
    (root / "code" / "books.py").write_text(BOOKS)
    (root / "code" / "vault.c").write_text(VAULT)
    config = root / "codecairn.toml"
    config.write_text(
        f'[[source]]\nname = "code"\ntype = "folder"\npath = "{root / "code"}"\nproduct = "bank"\n'
        'pii = "mark"\npii_groups = ["privacy"]\n'
    )
    service = Service(load_setup(root=root, config=config, data=root / "data", env=dict(os.environ)))
    reindex(service)
    yield service
    service.close()


def denied(service, principal, question):
    """Return what a question is told to take for granted wrongly."""
    answer = service.answer(AnswerRequest(question), principal, use_cache=False)
    return [part.reason for part in answer.ungrounded if part.verdict == "contradicted"]


@pytest.mark.req("R17", "R18")
@pytest.mark.parametrize(
    ("caller", "callee", "place"),
    [("settle_accounts", "print_letter", "books.py:14"), ("close_vault", "ring_bell", "vault.c:9")],
)
def test_a_call_that_no_piece_of_a_long_function_has_is_denied(bank, caller, callee, place):
    (reason,) = denied(bank, OFFICER, f"Why does {caller} call {callee}?")
    assert reason.startswith(f"'{caller}' ({place}) does not call '{callee}'")


@pytest.mark.req("R18")
@pytest.mark.parametrize("callee", ["lock_door", "count_coins"])
def test_a_call_in_any_piece_of_a_long_function_is_found(bank, callee):
    (claim,) = bank.check(f"`close_vault` in vault.c calls `{callee}`.", OFFICER).claims
    assert claim.verdict == "supported"
    assert not denied(bank, OFFICER, f"Why does close_vault call {callee}?")
    (reason,) = denied(bank, OFFICER, f"Why does {callee} call close_vault?")
    assert reason == f"It is the other way round: 'close_vault' calls '{callee}' (vault.c:9)."


@pytest.mark.req("R18", "S1")
def test_of_a_function_with_a_piece_that_the_asker_may_not_see_nothing_is_denied(bank):
    assert not denied(bank, OTHER, "Why does settle_accounts call print_letter?")
    assert "settle_accounts" in bank.answer(AnswerRequest("settle_accounts"), OTHER, use_cache=False).answer
