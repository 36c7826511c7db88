"""`codecairn bench grounding` over a small repository: what the ledger catches of reference sentences made wrong."""

import json

import pytest

from golden.bench import BenchError
from golden.bench.grounding import run_grounding
from golden.bench.mutations import Material, mutate

CODE = '''
RETRY_LIMIT = 5
VERIFY_TLS = True


def retry_payment(call):
    """Call until it answers."""
    for attempt in range(RETRY_LIMIT):
        wait_before_retry(attempt)


def wait_before_retry(attempt):
    """Sleep."""


def cancel_all_orders():
    """Cancel."""
'''
ANSWER = (
    "In `shop/retry.py`, `retry_payment` calls `wait_before_retry`. `RETRY_LIMIT` defaults to 5 and `VERIFY_TLS` is"
    " set to `True`. It is fast."
)


@pytest.fixture
def corpora(tmp_path):
    """A folder of one corpus, and a case file about it."""
    folder = tmp_path / "corpora" / f"acme__shop-{'a' * 12}" / "shop"
    folder.mkdir(parents=True)
    (folder / "retry.py").write_text(CODE)
    (folder / "orders.py").write_text("def load_open_orders():\n    return 40\n")
    case = {
        "id": "c1", "repo": "acme/shop", "commit": "a" * 40, "bucket": "conceptual", "query": "How are calls retried?",
        "gold": [{"path": "shop/retry.py"}], "meta": {"answer": ANSWER},
    }  # fmt: skip
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(case) + "\n")
    return cases, tmp_path / "corpora", tmp_path / "cache"


@pytest.mark.req("R18", "E21")
def test_every_mutation_of_a_checkable_answer_is_caught_and_nothing_untouched_is_flagged(corpora, tmp_path):
    cases, folder, cache = corpora
    misses = tmp_path / "misses.jsonl"
    result = run_grounding([cases], folder, cache=cache, misses=misses)
    (row, total) = result.to_dict()["repositories"]
    assert (row["repo"], row["sentences"], row["verdicts"]) == ("acme/shop", 3, {"no_anchor": 1, "supported": 2})
    assert (total["ungrounded_percent"], total["fabricated_or_contradicted_percent"]) == (0, 0)
    caught = row["caught"]
    for operator in ("fabricated path", "fabricated identifier", "flipped boolean", "changed number", "inverted call"):
        assert caught[operator]["tried"] >= 1, operator
        assert caught[operator]["percent"] == 100, (operator, misses.read_text())
    assert "| caught: fabricated path | 100.0 % of 1 |" in str(result)


@pytest.mark.req("R18")
def test_case_without_a_reference_answer_is_named(corpora, tmp_path):
    cases, folder, cache = corpora
    cases.write_text(cases.read_text().replace('"answer"', '"other"'))
    with pytest.raises(BenchError, match="reference answer"):
        run_grounding([cases], folder, cache=cache)


def test_mutations_are_the_same_for_the_same_seed_and_change_one_thing():
    material = Material(frozenset({"retry_payment", "wait_before_retry"}), ["load_open_orders"])
    made = {m.operator: m for m in mutate(ANSWER, material, "seed")}
    assert made == {m.operator: m for m in mutate(ANSWER, material, "seed")}
    assert made["fabricated path"].text == ANSWER.replace("shop/retry.py", "shop/core_retry.py")
    assert made["flipped boolean"].text == ANSWER.replace("`True`", "`False`")
    assert made["inverted call"].text.startswith("In `shop/retry.py`, `wait_before_retry` calls `retry_payment`.")
    assert made["wrong identifier"].new == "load_open_orders"
    assert mutate("It considers the true order of 3.10 things.", material, "seed") == []
