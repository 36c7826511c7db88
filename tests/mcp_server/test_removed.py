"""A question about what was removed is answered from history: in which commit, and what stands in its place."""

import os
import re
import subprocess

import anyio
import pytest
from mcp import Client

from ingest import gitio
from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.server import make_server
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex, write_files

COUPONS = '''"""Coupons of the shop."""


def apply_coupon(order, coupon):
    """Take the coupon's value off an order."""
    return order.total - coupon.value


def void_coupon(coupon):
    """Make a coupon worthless."""
    coupon.value = 0
'''
VOUCHERS = '''"""Coupons of the shop."""


def redeem_voucher(order, coupon):
    """Take the coupon's value off an order."""
    return order.total - coupon.value
'''
EXPORT = '"""Nightly files for the tax office."""\n\n\ndef write_csv(rows):\n    return "\\n".join(map(str, rows))\n'
LEDGER = '''"""Books what was sold."""

import json


class Ledger:
    """Entries by day."""

    def book(self, day, entry):
        self.days[day].append(json.dumps(entry))
'''
BOOK = {
    "shop/coupons.py": COUPONS,
    "shop/tax_export.py": EXPORT,
    "shop/greeting.py": "def greet_customer(name):\n    return f'Hello {name}'\n",
    "shop/orders.py": "def place_order(cart):\n    return list(cart)\n",
}


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A service over a repository in whose last week two files and two functions went."""
    root = tmp_path_factory.mktemp("removed")
    shop = root / "shop"
    commits: dict[str, str] = {}

    def commit(message, day):
        when = {"GIT_AUTHOR_DATE": f"{day}T12:00:00Z", "GIT_COMMITTER_DATE": f"{day}T12:00:00Z"}
        for command in (["add", "-A"], ["commit", "-qm", message]):
            subprocess.run(["git", "-C", str(shop), *command], check=True, env={**os.environ, **when})
        head = subprocess.run(["git", "-C", str(shop), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        commits[message] = head.stdout[:10]

    shop.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main", str(shop)], check=True)
    write_files(shop, BOOK)
    commit("Sell things", "2026-10-01")
    (shop / "shop" / "coupons.py").write_text(COUPONS.partition("\n\n\ndef void_coupon")[0] + "\n")
    commit("Tidy up", "2026-11-14")
    (shop / "shop" / "coupons.py").write_text(VOUCHERS)
    commit("Use redeem_voucher instead of apply_coupon", "2026-11-15")
    (shop / "shop" / "tax_export.py").unlink()
    (shop / "shop" / "ledger.py").write_text(LEDGER)
    commit("Replace tax_export.py with ledger.py", "2026-11-16")
    (shop / "shop" / "greeting.py").unlink()
    commit("Less is more", "2026-11-17")
    service = Service(load_setup(root=shop, config=None, data=root / "data", env=dict(os.environ)))
    reindex(service)
    yield service, commits
    service.close()


def ask(service, question):
    async def call():
        async with Client(make_server(service)) as client:
            return await client.call_tool("answer", {"question": question})

    return anyio.run(call)


REMOVED = (
    ("where is `void_coupon`", "void_coupon", "Tidy up", ""),
    (
        "where is apply_coupon defined",
        "apply_coupon",
        "Use redeem_voucher instead of apply_coupon",
        "`redeem_voucher` (shop/coupons.py:4): ",
    ),
    ("where is shop/greeting.py", "shop/greeting.py", "Less is more", ""),
    ("What happened to greeting.py?", "greeting.py", "Less is more", ""),
    ("where is tax_export.py", "tax_export.py", "Replace tax_export.py with ledger.py", "shop/ledger.py: "),
)


@pytest.mark.req("R22", "D9")
@pytest.mark.parametrize(("question", "name", "message", "instead"), REMOVED)
def test_what_was_removed_last_week_is_told_with_its_commit_and_what_replaced_it(
    history, question, name, message, instead
):
    service, commits = history
    text = ask(service, question).content[0].text
    said = re.search(rf"{re.escape(name)} was removed in commit (\w+) .*", text)
    assert said, text
    assert said[1].startswith(commits[message])
    assert message in said[0]
    assert (f", replaced by {instead}" in said[0]) if instead else "replaced" not in said[0]
    assert "UNGROUNDED (not supported by what was found)\nnone" in text


@pytest.mark.req("R22")
def test_what_was_removed_is_told_while_files_are_edited(history):
    service, commits = history
    orders = service.setup.root / "shop" / "orders.py"
    before = orders.read_text()
    orders.write_text(f"{before}\n\nMOST = 9\n")
    reindex(service)
    assert (
        f"void_coupon was removed in commit {commits['Tidy up']}"
        in ask(service, "What became of void_coupon?").content[0].text
    )
    orders.write_text(before)
    reindex(service)


@pytest.mark.req("R22")
def test_a_commit_that_brought_a_name_removed_it_not_whatever_its_message_says(history):
    service, _ = history
    notes = service.setup.root / "NOTES.md"
    notes.write_text("Use `pay_invoice` now.\n")
    for command in (["add", "-A"], ["commit", "-qm", "Replace pay_order with pay_invoice"]):
        subprocess.run(["git", "-C", str(service.setup.root), *command], check=True)
    reindex(service)
    report = service.check(
        "Call `pay_invoice`.", local_principal(service.setup.settings), excluded=frozenset({"NOTES.md"})
    )
    assert [(claim.verdict, "removed" in claim.reason) for claim in report.claims] == [
        ("unsupported_by_context", False)
    ]


@pytest.mark.req("R22")
def test_an_answer_searches_no_old_commits_for_a_name_that_it_does_not_have(history, monkeypatch):
    def search(*_):
        raise AssertionError("the build has read what commits took away")

    monkeypatch.setattr(gitio, "find_occurrence_change", search)
    service, commits = history
    assert (
        f"void_coupon was removed in commit {commits['Tidy up']}"
        in ask(service, "who calls void_coupon?").content[0].text
    )
    assert "void_cupon" in ask(service, "who calls void_cupon?").content[0].text
