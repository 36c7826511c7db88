import hashlib
from pathlib import Path

import pytest

from ingest.exports import exports_revision
from ingest.index.schema import SourceState
from ingest.model import Chunk
from mcp_server.answering.freshness import FreshnessChecker

from .support import make_chunk

OLD = """import os


def first(value):
    return value + 1


def second(value, extra):
    total = value + extra
    return os.path.join(str(total), "somewhere", "deeper")
"""
SECOND = OLD.split("\n\n\n")[2].rstrip("\n")


def chunk_of(path: str, text: str = SECOND, start: int = 8) -> Chunk:
    return make_chunk(path, text, start=start, content=hashlib.sha256(OLD.encode()).hexdigest())


def checker(location: Path, kind: str = "code", revision: str = "r1") -> FreshnessChecker:
    state = SourceState("app", kind, "shop", ("local",), "normal", revision, str(location), 1, 1)
    return FreshnessChecker({"app": state})


def check(root: Path, path: str = "src/calc.py") -> tuple[str, str | None]:
    checked = checker(root).check_chunk(chunk_of(path))
    return checked.freshness, checked.moved_to


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/calc.py").write_text(OLD)
    return tmp_path


@pytest.mark.req("R19")
def test_unchanged_file_is_fresh(tree: Path) -> None:
    assert check(tree) == ("fresh", None)


@pytest.mark.req("R19")
def test_lines_that_stand_where_they_stood_are_fresh_although_the_file_changed(tree: Path) -> None:
    (tree / "src/calc.py").write_text(OLD.replace("value + 1", "value + 2"))
    assert check(tree) == ("fresh", None)


@pytest.mark.req("R19")
def test_shifted_lines_are_moved_with_their_new_place(tree: Path) -> None:
    (tree / "src/calc.py").write_text("# one\n# two\n" + OLD)
    assert check(tree) == ("moved", "src/calc.py:10-12")


@pytest.mark.req("R19")
def test_nearest_of_several_equal_passages_counts(tree: Path) -> None:
    (tree / "src/calc.py").write_text(SECOND + "\n" * 3 + "x = 1\n" * 5 + SECOND + "\n")
    assert check(tree) == ("moved", "src/calc.py:11-13")


@pytest.mark.req("R19")
def test_edited_lines_are_changed_and_never_fresh(tree: Path) -> None:
    (tree / "src/calc.py").write_text(OLD.replace("value + extra", "value - extra"))
    assert check(tree) == ("changed", None)


@pytest.mark.req("R19")
def test_removed_definition_is_gone(tree: Path) -> None:
    (tree / "src/calc.py").write_text(OLD.replace(SECOND, "# nothing calls second any more"))
    assert check(tree) == ("gone", None)


@pytest.mark.req("R19")
def test_deleted_file_is_gone(tree: Path) -> None:
    (tree / "src/calc.py").unlink()
    assert check(tree) == ("gone", None)


@pytest.mark.req("R19")
@pytest.mark.parametrize("new", ["lib/calc.py", "src/arithmetic.py"])
def test_renamed_file_is_gone_with_its_new_path(tree: Path, new: str) -> None:
    (tree / "lib").mkdir()
    (tree / "src/calc.py").rename(tree / new)
    assert check(tree) == ("gone", new)


@pytest.mark.req("R19")
def test_file_that_was_renamed_and_edited_is_found_by_the_cited_lines(tree: Path) -> None:
    (tree / "src/calc.py").unlink()
    (tree / "src/sums.py").write_text(OLD.replace("value + 1", "value + 2"))
    (tree / "src/decoy.py").write_text("def second():\n    pass\n")
    assert check(tree) == ("gone", "src/sums.py")


@pytest.mark.req("F17", "R19")
def test_missing_tree_is_unchecked_and_named(tmp_path: Path) -> None:
    missing = checker(tmp_path / "nowhere")
    assert missing.check_chunk(chunk_of("src/calc.py")).freshness == "unchecked"
    assert missing.degraded == ("git_unavailable",)


@pytest.mark.req("F17", "R19")
def test_file_behind_a_symbolic_link_is_unchecked(tree: Path) -> None:
    (tree / "src/calc.py").rename(tree / "src/real.py")
    (tree / "src/calc.py").symlink_to(tree / "src/real.py")
    assert check(tree)[0] == "unchecked"


def test_unknown_source_is_unchecked(tree: Path) -> None:
    assert FreshnessChecker({}).check_chunk(chunk_of("src/calc.py")).freshness == "unchecked"


@pytest.mark.req("R19")
def test_commits_do_not_change(tmp_path: Path) -> None:
    commit = make_chunk("0" * 40, "Fix the lock", kind="commit")
    assert checker(tmp_path).check_chunk(commit).freshness == "fresh"


@pytest.mark.req("R19")
def test_ticket_is_fresh_while_its_export_is_the_same(tmp_path: Path) -> None:
    export = tmp_path / "issues.json"
    export.write_text("[]")
    ticket = make_chunk("#1", "Broken", kind="ticket")
    revision = exports_revision(export)
    assert checker(export, "ticket", revision).check_chunk(ticket).freshness == "fresh"
    export.write_text("[ ]")
    assert checker(export, "ticket", revision).check_chunk(ticket).freshness == "unchecked"
    assert checker(tmp_path / "none", "ticket", "").check_chunk(ticket).freshness == "unchecked"


@pytest.mark.req("R19")
def test_redacted_lines_are_compared_redacted(tree: Path) -> None:
    from ingest.redact import redact

    secret = "AKIA" + "ABCDEFGHIJKLMNOP"
    before = f'key = "{secret}"\nother = 1\n'
    after = "# new first line\n" + before
    (tree / "src/keys.py").write_text(after)
    masked = redact(before).text.rstrip("\n")
    assert secret not in masked
    chunk = make_chunk("src/keys.py", masked, content=hashlib.sha256(before.encode()).hexdigest())
    checked = checker(tree).check_chunk(chunk)
    assert (checked.freshness, checked.moved_to) == ("moved", "src/keys.py:2-3")
