"""`codecairn bench tickets` on few tickets: that it counts what it says."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcp_server.cli import app


def run(*arguments: str):
    return CliRunner().invoke(app, ["bench", "tickets", *arguments])


@pytest.mark.req("I20")
def test_tickets_are_parsed_redacted_linked_and_published(tmp_path: Path) -> None:
    result = run("--count", "60", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["tickets"] == 60
    assert figures["masked"] and figures["linked"]  # the made-up tickets hold addresses, paths and keys
    assert 0.055 < figures["megabytes"] < 0.09  # a KB each, and its fields
    assert all(figures[name] > 0 for name in ("prepared_per_cpu_s", "published_per_cpu_s", "published_per_s"))


def test_an_own_export_is_measured_too_and_a_broken_one_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "issues.json").write_text(json.dumps([{"number": 1, "title": "One", "body": "See #2"}]))
    assert "1 tickets" in run(str(tmp_path / "issues.json")).stdout
    gone = run(str(tmp_path / "gone.json"))
    assert gone.exit_code == 1
    assert "does not exist" in gone.stderr
