"""The shipped cases are clean (E18), and a broken case says which line to change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from golden.case import BUCKETS, Case, GoldenError, find_hygiene_problems, load_cases, parse_case
from golden.corpus import MATERIAL, ROOT, corpus_sources

CASES = load_cases()
GOOD = {
    "id": "symbol-x",
    "bucket": "exact-symbol",
    "corpus": "codecairn",
    "query": "x",
    "expect": {"cites": ["ingest/model.py"]},
}


def file_of(case: Case, name: str) -> Path:
    """Where a path of a case lies: `source:path`, or a path of the corpus's first source."""
    source, _, path = name.rpartition(":")
    sources = corpus_sources(case.corpus)
    return next(s.path for s in sources if not source or s.name == source) / path


@pytest.mark.req("E18", "E1", "E2")
def test_every_bucket_and_tag_has_cases_and_none_holds_private_data():
    assert list(find_hygiene_problems(CASES, minimum_per_bucket=10)) == []


@pytest.mark.req("E18")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_case_expects_is_there(case):
    for name in (*case.expect.cites, *case.expect.not_cites):
        assert file_of(case, name).is_file(), f"{case.id}: {name} is gone; correct the case"
    text = "\n".join(file_of(case, name).read_text("utf-8", "replace") for name in case.expect.cites)
    for symbol in case.expect.symbols:
        assert symbol.rpartition(".")[2] in text, f"{case.id}: {symbol} is not in the files that the case names"
    keys = {f"#{ticket['number']}" for ticket in json.loads((MATERIAL / "tickets.json").read_text("utf-8"))}
    assert set(case.expect.tickets) <= keys


@pytest.mark.req("E18")
def test_what_the_material_points_at_is_there():
    from ingest.sources.links import find_paths

    files = [MATERIAL / "tickets.json", *sorted((MATERIAL / "designs").glob("*.md"))]
    named = {path for file in files for path in find_paths(file.read_text("utf-8"))}
    assert {path for path in named if "/" in path and not (ROOT / path).is_file()} == set()


@pytest.mark.req("E18")
def test_hygiene_sees_a_missing_bucket_a_missing_tag_a_secret_and_a_person():
    planted = "pass" + "word = " + "hunter2hunter2"
    case = parse_case(json.dumps({**GOOD, "query": f"{planted} of ada@" + "example.org"}), "here")
    problems = "\n".join(find_hygiene_problems([case], minimum_per_bucket=1))
    for expected in ("Bucket conceptual has 0", "tag unanswerable", "a secret", "personal data"):
        assert expected in problems


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bucket": "other"}, "bucket"),
        ({"expect": {}}, "either cites"),
        ({"expect": {"abstain": True}}, "unanswerable"),
        ({"expect": {"cites": ["a"], "abstain": True}}, "not both"),
        ({"typo": 1}, "typo"),
    ],
)
def test_a_broken_case_names_line_and_field(change, message):
    with pytest.raises(GoldenError, match=rf"x\.jsonl:3.*{message}"):
        parse_case(json.dumps({**GOOD, **change}), "x.jsonl:3")


def test_two_cases_with_one_id_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}\n", "utf-8")
    with pytest.raises(GoldenError, match="a.jsonl:2: the id 'symbol-x' is taken"):
        load_cases(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(GoldenError, match="no case"):
        load_cases(tmp_path)


def test_the_buckets_are_the_documented_ones():
    assert BUCKETS == ("exact-symbol", "conceptual", "cross-ticket", "cross-design")
