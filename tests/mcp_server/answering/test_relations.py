"""What a claim says of names is compared with the syntax tree of the evidence."""

import pytest

from mcp_server.answering.claims import ClaimDraft, find_anchors
from mcp_server.answering.grounding import CheckedClaim, check_claims, check_premises
from mcp_server.answering.relations import find_relations

from .support import ChunkResolver, make_chunk, make_evidence

STORE = make_chunk(
    "src/store.py",
    '''
    import json
    from functools import cache

    RETRY_LIMIT = 5
    VERIFY_TLS = True


    @final
    class StoreError(ValueError):
        """Raised when an entry cannot be read."""


    class Store(Base):
        def read_entry(self, key, timeout=30, strict=True):
            """Return one entry, in no way with write_entry."""
            if not self.opened:
                raise StoreError(key)
            return self.parse_entry(key)

        @cache
        def parse_entry(self, key):
            return json.loads(key)

        def is_ready(self):
            if not self.warm:
                self.heat()
            return True

        def write_entry(self, key):
            self.frozen = False
            flush_log(key)

    def flush_log(key):
        pass
    ''',
)
ROUTES = make_chunk(
    "src/routes.py",
    """
    @app.get("/entries/<key>")
    def show_entry(key):
        return read_entry(key)

    def drop_entry(key):
        return None
    """,
)
EVIDENCE = make_evidence(STORE, ROUTES)
RESOLVER = ChunkResolver(STORE, ROUTES)


def check(text: str) -> CheckedClaim:
    return check_claims([ClaimDraft(text)], EVIDENCE, "", RESOLVER)[0]


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("`read_entry` calls `parse_entry`", "`parse_entry` calls `read_entry`"),
        ("`parse_entry` is called by `read_entry`", "`read_entry` is called by `parse_entry`"),
        ("`StoreError` inherits from `ValueError`", "`StoreError` inherits from `KeyError`"),
        ("`read_entry()` raises `StoreError`", "`StoreError` raises `read_entry()`"),
        ("`parse_entry` is decorated with `cache`", "`cache` is decorated with `parse_entry`"),
        ("`flush_log` is defined in `src/store.py`", "`flush_log` is defined in `src/routes.py`"),
        ("`RETRY_LIMIT` defaults to 5", "`RETRY_LIMIT` defaults to 7"),
        ("`RETRY_LIMIT` is 5.", "`RETRY_LIMIT` is 7."),
        ("The default of `RETRY_LIMIT` in `src/store.py` is 5", "The default of `RETRY_LIMIT` in `src/store.py` is 7"),
        ("`timeout` (default: 30) bounds the wait", "`timeout` (default: 60) bounds the wait"),
        ("`VERIFY_TLS` is `True` by default", "`VERIFY_TLS` is `False` by default"),
        ("`is_ready` returns `True`", "`is_ready` returns `False`"),
        ("`parse_entry` takes 1 argument", "`parse_entry` takes 2 arguments"),
        ("`flush_log` takes one parameter", "`flush_log` takes three parameters"),
        ("`Store` has four methods", "`Store` has nine methods"),
        ("`/entries/<key>` is handled by `show_entry`", "`/entries/<key>` is handled by `drop_entry`"),
        ("`write_entry` does not call `parse_entry`", "`read_entry` does not call `parse_entry`"),
        ("There is no `drop_table` in `src/store.py`", "There is no `flush_log` in `src/store.py`"),
    ],
)
def test_true_relations_stand_and_false_ones_are_contradicted(true: str, false: str) -> None:
    assert check(true).verdict in ("supported", "misattributed")
    assert check(false).verdict == "contradicted"


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    "text", ["If `RETRY_LIMIT` is 7, it waits.", "`RETRY_LIMIT` is 7 times the old one.", "`timeout` is 7."]
)
def test_what_is_no_statement_of_a_constants_value_is_not_contradicted(text: str) -> None:
    assert check(text).verdict != "contradicted"


@pytest.mark.req("R18")
def test_contradiction_says_what_the_code_says_and_where() -> None:
    assert "other way round: 'read_entry' calls 'parse_entry' (src/store.py:14)" in (
        check("`parse_entry` calls `read_entry`").reason
    )
    assert "'RETRY_LIMIT' is 5 (src/store.py:4), not 7" in check("`RETRY_LIMIT` defaults to 7").reason


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("When `warm` is `False`, `is_ready` heats it", "misattributed"),
        ("When `warm` is `True`, `is_ready` heats it", "unverified"),  # the code asks `if not self.warm`
        ("When `opened` is `True`, `read_entry` goes on", "misattributed"),  # after an early exit
        ("`write_entry` sets `frozen` to `False`", "misattributed"),
        ("`write_entry` sets `frozen` to `True`", "unverified"),
        ("It runs `self.frozen = False` there", "misattributed"),
        ("It declares `read_entry(self, key, timeout=90, strict=True)`", "contradicted"),
    ],
)
def test_literals_are_compared_with_what_the_code_gives_the_name(text: str, expected: str) -> None:
    assert check(text).verdict == expected


@pytest.mark.req("R18")
def test_call_that_is_not_there_is_contradicted() -> None:
    claim = check("`write_entry` calls `parse_entry`")
    assert claim.verdict == "contradicted"
    assert "does not call 'parse_entry', neither itself nor through 3 calls" in claim.reason


@pytest.mark.req("R18")
def test_call_through_others_is_a_call() -> None:
    assert [finding.holds for finding in check("`read_entry` calls `loads`").relations] == ["yes"]


@pytest.mark.req("R18")
def test_what_is_not_derivable_is_left_open() -> None:
    claim = check("`write_entry` calls `encode_key`")  # defined nowhere here
    assert [finding.holds for finding in claim.relations] == ["open"]


@pytest.mark.req("R18")
def test_absence_search_is_recorded_with_what_was_searched() -> None:
    (absence,) = check("`write_entry` does not call `parse_entry`").absences
    assert (absence.name, absence.hits) == ("parse_entry", 0)
    assert absence.files == ("src/store.py:29-31",)


@pytest.mark.req("R18")
def test_condition_claims_no_absence() -> None:
    assert check("It fails if `flush_log` does not exist").absences == ()


@pytest.mark.req("R18")
def test_false_premise_of_a_question_is_found_and_a_true_one_is_not() -> None:
    (finding,) = check_premises("Why does `flush_log` call `read_entry`?", EVIDENCE, RESOLVER)
    assert "does not call" in finding.reason
    (finding,) = check_premises("Why does `parse_entry` call `read_entry`?", EVIDENCE, RESOLVER)
    assert "other way round" in finding.reason
    assert check_premises("Why does `read_entry` call `parse_entry`?", EVIDENCE, RESOLVER) == ()


def test_names_in_a_doc_string_are_no_calls() -> None:
    claim = check("`read_entry` calls `write_entry`")
    assert [finding.holds for finding in claim.relations] == ["no"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`a_b` (line 12) then calls `c_d` and `e_f`", [("calls", "a_b", "c_d"), ("calls", "a_b", "e_f")]),
        ("`c_d` is invoked by the `a_b` method", [("calls", "a_b", "c_d")]),
        ("`A_b` is a subclass of `C_d`", [("inherits", "A_b", "C_d")]),
        ("the default value of `a_b` is 3", [("defaults", "a_b", "3")]),
        ("`a_b` prepares it, and somebody calls `c_d`", []),
    ],
)
def test_verbs_between_names_are_relations(text: str, expected: list[tuple[str, str, str]]) -> None:
    found = find_relations(text, find_anchors(text))
    assert [(r.predicate, r.subject, r.object) for r in found] == expected


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("`flush_log` is defined in src/store.py:{at}.", "supported"),
        ("`flush_log` (src/store.py:{at}) does nothing.", "supported"),
        ("`flush_log` is defined in src/store.py:4.", "contradicted"),
        ("`flush_log` (src/store.py:2-4) does nothing.", "contradicted"),
        ("The function `flush_log` is in src/store.py, line 4.", "contradicted"),
        ("`flush_log` (src/store.py:{call}) is called there.", "supported"),  # a use of it
        (
            "The `is_ready` method of the `Store` class, located in src/store.py:{call}.",
            "supported",
        ),  # within the class
    ],
)
def test_a_definition_is_not_at_lines_that_do_not_hold_it(said: str, verdict: str) -> None:
    numbered = list(enumerate(STORE.text.split("\n"), STORE.start_line))
    at, call = (next(n for n, line in numbered if part in line) for part in ("def flush", "flush_log(key)"))
    draft = ClaimDraft(said.format(at=at, call=call))
    (checked,) = check_claims([draft], make_evidence(STORE), "", ChunkResolver(STORE))
    assert (checked.verdict == "contradicted") == (verdict == "contradicted"), checked.reason
    if verdict == "contradicted":
        assert f"src/store.py:{at}, not at line " in checked.reason
