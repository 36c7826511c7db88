"""`codecairn bench names`: the weights of names, fitted on real answers over two small corpora."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcp_server.answering import name_weights
from mcp_server.answering.name_weights import NAME_FEATURES
from mcp_server.cli import app

MAIL = '"""Mail."""\n\n\ndef send_mail(address, text):\n    """Send a text to an address."""\n'
MAIL += "    return open_connection(address).deliver(text)\n\n\ndef close_all(pool):\n    pool.drop_everything()\n"


@pytest.fixture
def corpora(tmp_path):
    rows = []
    for repo, extra in (("shop", "stock"), ("post", "depot")):
        folder = tmp_path / "corpora" / (f"acme__{repo}-" + "a" * 12)
        (folder / "src").mkdir(parents=True)
        (folder / "src/mail.py").write_text(MAIL)
        (folder / f"src/{extra}.py").write_text(f"def count_{extra}(shelves):\n    return total_{extra}(shelves)\n")
        rows.append(
            {
                "id": repo, "repo": f"acme/{repo}", "commit": "a" * 40, "bucket": "conceptual",
                "query": "How is a text sent to an address by mail, and over which connection is it delivered?",
                "gold": [{"path": "src/mail.py"}], "meta": {"answer": "`send_mail()` calls `open_connection`."},
            }
        )  # fmt: skip
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.req("R17")
def test_weights_are_fitted_on_the_names_that_reference_answers_give_and_written_with_where_they_come_from(corpora):
    file = corpora / "name_weights.py"
    shutil.copy(Path(name_weights.__file__), file)
    arguments = ["--cases", f"{corpora}/cases.jsonl", "--corpora", f"{corpora}/corpora", "--cache", f"{corpora}/cache"]
    result = CliRunner().invoke(app, ["bench", "names", *arguments, "--out", str(file), "--json"])
    assert result.exit_code == 0, result.output
    fitted = json.loads(result.stdout)
    assert (fitted["questions"], fitted["given"]) == (2, 4)  # two names in each of two corpora
    assert tuple(fitted["weights"]) == NAME_FEATURES
    assert set(fitted["auroc"]) == {"acme/shop", "acme/post"}
    scope: dict[str, object] = {}
    text = file.read_text()
    exec(compile(text, str(file), "exec"), scope)
    assert scope["WEIGHT_OF"] == fitted["weights"]
    assert "2 questions about post, shop" in " ".join(text.split()) and "(4 of " in text
    assert "# idf of the question's words in its parts" in text, "comments stay"


def test_another_file_than_that_of_the_weights_is_left_alone(corpora):
    file = corpora / "other.py"
    file.write_text("nothing\n")
    arguments = ["--cases", f"{corpora}/cases.jsonl", "--corpora", f"{corpora}/corpora", "--cache", f"{corpora}/cache"]
    result = CliRunner().invoke(app, ["bench", "names", *arguments, "--out", str(file)])
    assert result.exit_code != 0 and "no file of name weights" in result.output
    assert file.read_text() == "nothing\n"
