"""`codecairn bench abstain`: own, foreign and altered questions of a small corpus, through the real search."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from golden.bench.abstention import auroc
from mcp_server.cli import app

FILES = {
    "src/stock.py": '"""Stock."""\n\n\ndef count_stock(shelves):\n    """Count the pieces that lie on the shelves."""\n'
    "    return sum(shelf.pieces for shelf in shelves)\n",
    "src/mail.py": '"""Mail."""\n\n\ndef send_mail(address, text):\n    """Send a text to an address by mail."""\n'
    "    return open_connection(address).deliver(text)\n",
}
QUESTIONS = (
    ("own-1", "How does `count_stock` count the pieces on the shelves?", "src/stock.py"),
    ("own-2", "How is a text sent to an address by mail in shop?", "src/mail.py"),
    ("none-1", "How are kubernetes pods scheduled onto graphical accelerators?", None),
    ("none-2", "Which gradient clipping does `TensorTrainer` apply?", None),
)


@pytest.mark.req("R19")
def test_rates_are_told_per_kind_of_question(tmp_path):
    folder = tmp_path / "corpora" / ("acme__shop-" + "a" * 12)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    rows = [
        {"id": i, "repo": "acme/shop", "commit": "a" * 40, "bucket": "conceptual", "query": query,
         "gold": [{"path": path}] if path else []}
        for i, query, path in QUESTIONS
    ]  # fmt: skip
    cases = tmp_path / "cases.jsonl"
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["bench", "abstain", "--cases", str(cases), "--corpora", str(folder.parent), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--cache", str(tmp_path / "cache")])
    assert result.exit_code == 0, result.output
    for side in json.loads(result.stdout)["sides"]:
        rates = {row["kind"]: row for row in side["rates"]}
        assert rates["own"]["n"] == rates["unanswerable"]["n"] == 2
        assert rates["own"]["abstained"] == 0.0
        assert rates["near name"] == {"kind": "near name", "n": 1, "abstained": 1.0, "warned": 0.0}
        assert rates["near product"]["n"] == 1
        assert side["auroc"]["unanswerable"] == 1.0


def test_area_under_the_curve_counts_ties_half():
    assert auroc([1.0, 2.0], [0.0, 1.0]) == 0.875
    assert auroc([], [1.0]) == 0.5
