"""Asking and judging on a small index: ranks, abstention, citations that do not open."""

from __future__ import annotations

import threading

import pytest

from golden.blame import Stages, blame_miss
from golden.case import Case, Expect, SpanExpect
from golden.corpus import Corpus, build, make_setup, open_service, principal_of
from golden.judge import judge
from golden.results import render_case, write_results
from golden.run import ask_case, ask_cases, find_dangling
from golden.stats import Report
from ingest.config import SourceConfig
from mcp_server.results import Citation
from traces.store import TraceStore

MANY = 70  # cases, of two traces each: more than the writer takes at once and a queue of as many holds


@pytest.fixture
def shop(tmp_path):
    """A service over two files, with its setup."""
    root = tmp_path / "shop"
    root.mkdir()
    (root / "invoice.py").write_text(
        '"""Invoices of the shop."""\n\n\ndef total_of_invoice(lines):\n    """Add up the lines of an invoice."""\n'
        "    return sum(lines)\n"
    )
    (root / "stock.py").write_text(
        '"""Stock."""\n\n\ndef count_stock(shelves):\n    """Count the shelves."""\n    return len(shelves)\n'
    )
    setup = make_setup((SourceConfig(name="shop", type="folder", path=root),), tmp_path / "data")
    with open_service(setup) as service:
        build(setup, service)
        yield service, setup


def make_case(query: str, **expect: object) -> Case:
    tags = ("unanswerable",) if expect.get("abstain") else ()
    return Case(id="case-1", bucket="exact-symbol", tags=tags, corpus="shop", query=query, expect=Expect(**expect))


def test_a_case_passes_when_the_file_and_the_symbol_are_found(shop):
    service, setup = shop
    case = make_case("total_of_invoice", cites=("shop:invoice.py",), symbols=("total_of_invoice",))
    outcome = ask_case(service, case, principal_of(setup))
    assert outcome.files[0] == "shop:invoice.py"
    assert judge(outcome).problems == ()
    assert outcome.cited
    assert outcome.dangling == ()


@pytest.fixture
def slow_disk(monkeypatch):
    """A trace store that writes only while somebody waits for it: the worst that a loaded machine can do."""
    write, flush, waited_for = TraceStore._write_batch, TraceStore.flush, threading.Event()

    def write_late(store, batch):
        waited_for.wait(60)
        write(store, batch)

    def let_write(store, timeout_s=10.0):
        waited_for.set()
        written = flush(store, timeout_s)
        waited_for.clear()
        return written

    monkeypatch.setattr(TraceStore, "_write_batch", write_late)
    monkeypatch.setattr(TraceStore, "flush", let_write)
    yield
    waited_for.set()


def ask_many(service, setup):
    cases = [make_case("total_of_invoice", cites=("shop:invoice.py",)) for _ in range(MANY)]
    return ask_cases(service, cases, Corpus("shop", setup.settings.source)).outcomes


@pytest.mark.req("A4")
def test_no_stage_is_judged_by_a_trace_that_lost_its_content(shop, slow_disk, monkeypatch):
    service, setup = shop
    monkeypatch.setattr(service.store._writer, "_max_full", MANY)
    assert {outcome.stages.ranks["search.text"] for outcome in ask_many(service, setup)} == {1}
    assert service.store.dropped == (0, 0)

    monkeypatch.setattr("golden.run.PORTION", MANY)  # as many as the queue cannot hold
    verdicts = [judge(outcome) for outcome in ask_many(service, setup)]
    lost = [verdict for verdict in verdicts if not verdict.passed]
    assert lost
    assert all("its trace holds no content (dropped:queue_full)" in verdict.problems[0] for verdict in lost)
    assert all(verdict.outcome.stages.ranks["search.text"] == 1 for verdict in verdicts if verdict.passed)


def test_a_path_may_be_written_without_its_source(shop):
    service, setup = shop
    outcome = ask_case(service, make_case("total_of_invoice", cites=("invoice.py",)), principal_of(setup))
    assert outcome.files[0] == "invoice.py"


def test_an_absent_name_passes_when_it_abstains_and_names_what_is_missing(shop):
    service, setup = shop
    case = make_case("rotate_vault_keys", abstain=True, ungrounded_contains=("rotate_vault_keys",))
    assert judge(ask_case(service, case, principal_of(setup))).problems == ()


def test_a_forbidden_file_a_missing_symbol_and_a_missing_ticket_are_each_a_problem(shop):
    service, setup = shop
    case = make_case(
        "total_of_invoice", cites=("nowhere.py",), symbols=("Cart.total",), tickets=("#9",), not_cites=("invoice.py",)
    )
    problems = "\n".join(judge(ask_case(service, case, principal_of(setup))).problems)
    for expected in ("none of nowhere.py", "symbol Cart.total", "ticket #9", "cites the forbidden invoice.py"):
        assert expected in problems


@pytest.mark.parametrize(("path", "end_line"), [("invoice.py", 900), ("gone.py", 1)])
def test_a_citation_that_does_not_open_is_dangling(shop, path, end_line):
    service, _ = shop
    citation = Citation("C1", path, None, 1, end_line, None, "shop", "shop", "", "fresh")
    assert len(list(find_dangling(service, [citation]))) == 1


def test_results_are_one_text_per_case_and_the_statistics(shop, tmp_path):
    service, setup = shop
    verdict = judge(ask_case(service, make_case("total_of_invoice", cites=("invoice.py",)), principal_of(setup)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old-case.txt").write_text("of a case that is gone")
    write_results(Report((verdict,), 1.0), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["case-1.txt", "stats.txt"]
    assert "PASS" in (tmp_path / "out" / "case-1.txt").read_text("utf-8")


@pytest.mark.req("E18")
def test_a_case_that_names_what_is_gone_is_stale_and_says_so(shop):
    service, setup = shop
    verdict = judge(ask_case(service, make_case("total_of_invoice", cites=("gone.py",)), principal_of(setup)))
    assert "stale case: gone.py is not in the index any more" in verdict.problems[0]
    assert verdict.blame == ""


@pytest.mark.req("E18", "I13")
@pytest.mark.parametrize("name", ["invoice.py", "shop:invoice.py"])
def test_a_case_follows_a_file_that_was_renamed_and_says_so(shop, name):
    service, setup = shop
    case = make_case("total_of_invoice", cites=(name,), symbols=("total_of_invoice",))
    root = setup.settings.source[0].path
    (root / "billing").mkdir()
    (root / "invoice.py").rename(root / "billing" / "invoices.py")
    build(setup, service)
    verdict = judge(ask_case(service, case, principal_of(setup)))
    assert verdict.problems == ()
    assert verdict.ranking.hit5 and verdict.cites_right
    assert verdict.outcome.stages.ranks["search.text"] == 1
    assert verdict.case.hash == case.hash
    assert f"renamed: {name} is shop:billing/invoices.py now; correct the case" in render_case(verdict)
    assert verdict.outcome.present_case.expect.cites == ("shop:billing/invoices.py",)  # what ablations are measured by


@pytest.mark.req("E18", "I13")
def test_a_path_that_is_forbidden_is_not_followed_and_a_file_that_is_back_is_itself(shop):
    service, setup = shop
    root = setup.settings.source[0].path
    (root / "invoice.py").rename(root / "bills.py")
    build(setup, service)
    forbids = make_case("total_of_invoice", cites=("bills.py",), not_cites=("invoice.py",))
    assert judge(ask_case(service, forbids, principal_of(setup))).problems == ()
    (root / "invoice.py").write_text("def send_invoice(post):\n    return post.send()\n")
    build(setup, service)
    wants = make_case("total_of_invoice", cites=("invoice.py",))
    outcome = ask_case(service, wants, principal_of(setup))
    assert outcome.renamed == {}
    assert "cites none of invoice.py" in "\n".join(judge(outcome).problems)


@pytest.mark.req("E3")
def test_stages_latency_tokens_and_the_text_of_the_answer_can_be_asked_for(shop):
    service, setup = shop
    fine = make_case(
        "total_of_invoice",
        shows=("total_of_invoice",),
        max_latency_ms=60_000,
        max_tokens=6000,
        spans=(SpanExpect(name="search.text", min_out=1), SpanExpect(name="model", absent=True)),
    )
    assert judge(ask_case(service, fine, principal_of(setup))).problems == ()
    wrong = make_case(
        "total_of_invoice",
        shows=("nothing of the kind",),
        hides=("Add up the lines",),
        max_latency_ms=0.001,
        max_tokens=1,
        spans=(
            SpanExpect(name="search.text", absent=True),
            SpanExpect(name="model"),
            SpanExpect(name="fusion", max_out=0),
        ),
    )
    problems = "\n".join(judge(ask_case(service, wrong, principal_of(setup))).problems)
    for expected in (
        "does not show",
        "leak",
        "took",
        "tokens, at most 1",
        "search.text ran",
        "model did not run",
        "fusion put",
    ):
        assert expected in problems


@pytest.mark.req("A3", "E14")
def test_an_answer_from_a_wrong_place_is_confidently_wrong_and_has_a_stage_to_blame(shop):
    service, setup = shop
    verdict = judge(ask_case(service, make_case("total_of_invoice", cites=("stock.py",)), principal_of(setup)))
    assert verdict.blame == "answer"  # the vector side has it, the context too
    assert verdict.cites_right is False
    assert verdict.is_confidently_wrong


@pytest.mark.req("A3", "D3")
@pytest.mark.parametrize(
    ("ranks", "zone", "stage"),
    [
        ({"search.text": 0, "fusion": 0}, "answer", "retrieval"),
        ({"search.text": 30, "rerank": 0, "context": 0}, "answer", "ranking"),
        ({"search.text": 1, "rerank": 9, "context": 0}, "answer", "context"),
        ({"search.text": 1, "rerank": 1, "context": 1}, "abstain", "abstention"),
        ({"search.text": 1, "rerank": 1, "context": 1}, "answer", "answer"),
    ],
)
def test_the_first_stage_that_lost_the_place_is_to_blame(ranks, zone, stage):
    assert blame_miss(Stages(ranks, zone=zone)) == stage


@pytest.mark.req("E19")
def test_a_call_that_fails_is_a_failed_case_and_not_the_end_of_the_run(shop):
    service, setup = shop
    case = make_case("total_of_invoice", cites=("invoice.py",)).model_copy(update={"product": "no-such-product"})
    verdict = judge(ask_case(service, case, principal_of(setup)))
    assert verdict.problems[0].startswith("the call failed: Unknown product 'no-such-product'")
