"""The shipped cases are clean (E18), and a broken case says which line to change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from golden.case import (
    BUCKETS,
    GoldenError,
    add_case,
    find_hygiene_problems,
    load_cases,
    load_removed,
    parse_case,
)
from golden.corpus import MATERIAL, ROOT, open_corpus

CASES = load_cases()
GOOD = {
    "id": "symbol-x",
    "bucket": "exact-symbol",
    "corpus": "codecairn",
    "query": "x",
    "expect": {"cites": ["ingest/model.py"]},
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """The shipped corpora by name, made where they have to be."""
    folder = tmp_path_factory.mktemp("corpora")
    return {name: open_corpus(name, folder) for name in ("codecairn", "libraries", "organisation")}


def file_of(corpus, name: str) -> Path:
    """Where a path of a case lies: `source:path`, or a path of the corpus's first source."""
    source, _, path = name.rpartition(":")
    return next(s.path for s in corpus.sources if not source or s.name == source) / path


def keys_of(corpus) -> set[str]:
    """The ticket keys of a corpus."""
    exports = [json.loads(s.path.read_text("utf-8")) for s in corpus.sources if s.type == "tickets"]
    return {str(ticket.get("key") or f"#{ticket['number']}") for export in exports for ticket in export}


@pytest.mark.req("E18", "E1", "E2")
def test_every_bucket_and_tag_has_cases_and_none_holds_private_data():
    assert list(find_hygiene_problems(CASES, minimum_per_bucket=50)) == []


@pytest.mark.req("E1")
def test_there_are_250_cases_and_half_of_them_nobody_wrote():
    assert len(CASES) >= 250
    assert 2 * sum(case.origin == "mined" for case in CASES) >= len(CASES)


@pytest.mark.req("E16")
def test_a_fifth_is_asked_as_people_type():
    typed = sum(bool({"paraphrase", "typed", "short"} & set(case.tags)) for case in CASES)
    assert typed >= len(CASES) / 5


@pytest.mark.req("E18")
def test_what_the_cases_expect_is_there(corpora):
    keys = {name: keys_of(corpus) for name, corpus in corpora.items()}
    for case in CASES:
        corpus = corpora[case.corpus]
        renamed = {"tollgate:tollgate/ledger/entries.py"}  # forbidden to cite because it is gone
        for name in {*case.expect.cites, *case.expect.not_cites} - renamed:
            assert file_of(corpus, name).is_file(), f"{case.id}: {name} is gone; correct the case"
        text = "\n".join(file_of(corpus, name).read_text("utf-8", "replace") for name in case.expect.cites)
        for symbol in case.expect.symbols:
            assert symbol.rpartition(".")[2] in text, f"{case.id}: {symbol} is not in the files that the case names"
        assert set(case.expect.tickets) <= keys[case.corpus], case.id


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
        ({"expect": {"abstain": True}, "tags": ["forbidden"]}, "what must not be shown"),
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


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({"expect": {"cites": ["a.py"]}}, {"expect": {"abstain": True}, "tags": ["unanswerable"]}, "must abstain"),
        (
            {"expect": {"cites": ["a.py"]}},
            {"expect": {"cites": ["b.py"], "not_cites": ["a.py"]}},
            "forbids to cite a.py",
        ),
    ],
)
def test_two_cases_that_contradict_are_both_named(tmp_path, one, other, why):
    rows = [{**GOOD, "id": "first", **one}, {**GOOD, "id": "second", "query": " X ", **other}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    with pytest.raises(GoldenError, match=f"first and second.*{why}"):
        load_cases(tmp_path)


def test_a_removal_needs_a_reason(tmp_path):
    (tmp_path / "removed.jsonl").write_text('{"id": "symbol-x", "reason": ""}\n', "utf-8")
    with pytest.raises(GoldenError, match="removed.jsonl:1.*reason"):
        load_removed(tmp_path)


def test_a_case_survives_being_written_and_its_hash_ignores_the_note(tmp_path):
    case = parse_case(json.dumps(GOOD), "here")
    add_case(case, tmp_path, "promoted")
    assert load_cases(tmp_path) == [case]
    assert case.model_copy(update={"note": "other"}).hash == case.hash
    assert case.model_copy(update={"query": "other"}).hash != case.hash
    with pytest.raises(GoldenError, match="already"):
        add_case(case, tmp_path, "promoted")
