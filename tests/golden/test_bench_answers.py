"""`codecairn bench answers`: the cited lines of real answers, beside plain BM25, on a small corpus."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from golden.bench.answering import names_of
from mcp_server.cli import app

FILES = {
    "src/stock.py": '"""Stock."""\n\n\ndef count_stock(shelves):\n    """Count what lies on the shelves."""\n'
    "    return sum(shelf.pieces for shelf in shelves)\n",
    "src/mail.py": '"""Mail."""\n\n\ndef send_mail(address, text):\n    """Send a text to an address."""\n'
    "    return open_connection(address).deliver(text)\n",
}


@pytest.fixture
def corpora(tmp_path):
    folder = tmp_path / "corpora" / ("acme__shop-" + "a" * 12)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder.parent


@pytest.mark.req("R17")
def test_names_of_the_reference_answer_are_looked_for_in_the_cited_lines(corpora, tmp_path):
    answer = "`send_mail()` in `src/mail.py` calls `open_connection` and `Parcel.deliver`; `None` and `gone` not."
    row = {
        "id": "m", "repo": "acme/shop", "commit": "a" * 40, "bucket": "conceptual",
        "query": "How is a text sent to an address by mail, and over which connection is it delivered?",
        "gold": [{"path": "src/mail.py"}], "meta": {"answer": answer},
    }  # fmt: skip
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(row) + "\n")
    arguments = ["bench", "answers", "--cases", str(cases), "--corpora", str(corpora), "--cache", str(tmp_path / "c")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    (answered,) = figures["answered"]
    assert answered["wanted"] == ["send_mail", "open_connection", "deliver"]
    assert answered["cited"] == answered["wanted"]
    assert figures["shares"][0]["cited"] == 1.0


def test_names_are_identifiers_without_paths_and_constants():
    assert names_of("`a.b_c()`, `x/y.py`, `app.py`, `True`, `foo(bar)`, ``code``, `Foo::bar`") == ("b_c", "bar")
