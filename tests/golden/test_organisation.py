"""The organisation is the same every time, has renames and ticket keys, and no real secret stands in its files."""

from __future__ import annotations

import re
import subprocess

import pytest

from golden.case import GoldenError
from golden.corpus import ROOT
from golden.organisation import (
    MATERIAL,
    PRODUCTS,
    REPOSITORIES,
    build_organisation,
    planted_secrets,
    read_history,
    trees,
)
from ingest.redact import redact


@pytest.fixture(scope="module")
def organisation(tmp_path_factory):
    """The organisation, built once."""
    return build_organisation(tmp_path_factory.mktemp("organisation"))


def git(folder, *arguments):
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.req("E1")
def test_it_is_built_twice_with_the_same_commits(organisation, tmp_path):
    again = build_organisation(tmp_path)
    for name in REPOSITORIES:
        assert git(organisation.folder / name, "rev-parse", "main") == git(again.folder / name, "rev-parse", "main")
    assert git(again.folder / "tollgate", "rev-parse", "main").startswith("54cd604"), "another machine made another id"


def test_each_commit_of_a_product_names_its_ticket_and_files_are_renamed(organisation):
    for name in PRODUCTS:
        log = git(organisation.folder / name, "log", "--format=%s").splitlines()
        assert all(re.match(r"T[GW]-\d+: ", subject) for subject in log)
        assert "R100" in git(organisation.folder / name, "log", "--name-status", "-M") or name == "tollway"
    assert "R09" in git(organisation.folder / "tollway", "log", "--name-status", "-M", "--diff-filter=R")


def test_it_speaks_four_languages_and_names_overlap(organisation):
    files = {path.suffix for name in PRODUCTS for path in (organisation.folder / name).rglob("*.*")}
    assert {".py", ".go", ".ts", ".java"} <= files
    texts = [
        "".join(p.read_text("utf-8", "replace") for p in (organisation.folder / name).rglob("*.*") if p.is_file())
        for name in ("tollgate", "tollway")
    ]
    for both in ("SessionStore", "AuditTrail", "Quota", "Ledger"):
        assert all(both in text for text in texts)


@pytest.mark.req("S1")
def test_no_secret_stands_in_the_repository_and_each_is_planted_where_it_is_built(organisation):
    stored = "".join(path.read_text("utf-8") for path in MATERIAL.rglob("*") if path.is_file())
    stored += (ROOT / "golden" / "organisation.py").read_text("utf-8")
    built = "".join(path.read_text("utf-8", "replace") for path in organisation.folder.rglob("*") if path.is_file())
    for secret in planted_secrets():
        assert secret not in stored
        assert secret in built
    assert redact(stored).text == stored


def test_the_work_tree_drifts_only_when_it_is_told_to(tmp_path):
    organisation = build_organisation(tmp_path)
    assert git(tmp_path / "fieldkit", "status", "--porcelain") == ""
    organisation.drift()
    changes = git(tmp_path / "fieldkit", "status", "--porcelain").split("\n")
    assert sorted(line[:2].strip() for line in changes if line) == ["D", "M", "M"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("== write a.py\nx\n", "before the first commit"),
        ("== commit 2025-01-01 a\nm\n== delete a.py\n", "no such file"),
        ("== commit 2025-01-01 a\nm\n== write a.py\nx\n== edit a.py\n<<<<\ny\n====\nz\n>>>>\n", "occurs 0 times"),
        ("== commit 2025-01-01 a\nm\n== write a.py\nx\n== edit a.py\nnothing\n", "replaces nothing"),
        ("== commit 2025-01-01 a\nm\n== write a.py\n@@SECRET:other@@\n", "no planted secret 'other'"),
    ],
)
def test_a_history_that_does_not_fit_is_refused(text, message):
    with pytest.raises(GoldenError, match=message):
        list(trees(read_history(text)))
