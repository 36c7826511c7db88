"""Numbers and truth values are looked up where the code speaks of what the claim names, not anywhere."""

import pytest

from mcp_server.answering.check import check_text
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.conditions import hangs_on
from mcp_server.answering.grounding import check_claims

from .support import ChunkResolver, make_chunk, make_evidence

CACHE = make_chunk(
    "src/cache.py",
    '''
    WAIT_LIMIT_S = 40


    def load_page(key, warm):
        """Load one page."""
        if not self.is_open(key):
            return None
        if warm:
            refresh_page(key, depth=3)
        else:
            drop_page(key)
        text = cached_text if self.is_fresh else read_text(key)
        sys.stages.insert(0, text)
        span[0], span[1] = find(text)
        lock.acquire(timeout=WAIT_LIMIT_S)
        return text


    def may_delete(path):
        try:
            path.probe()
        except OSError:
            return False
        return True


    def unrelated():
        return 2, 7, 9, 12, 404, True, False
    ''',
)
EVIDENCE = make_evidence(CACHE)
WAITING = make_chunk(
    "src/waiting.py",
    '''
    def wait_all(limit):
        """Wait until all is written; False when that took too long."""
        return queue.wait_for(is_empty, limit)


    close(wait_all=True)
    ''',
)
RESOLVER = ChunkResolver(CACHE)


def verdict(text, about=()):
    """Return the verdict on one statement; a citation that had to be repaired counts as support."""
    found = check_claims([ClaimDraft(text, about=about)], EVIDENCE, "", RESOLVER)[0].verdict
    return "supported" if found == "misattributed" else found


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("Wait until all is written; False when that took too long.", "supported"),
        ("Wait until all is written; True when that took too long.", "misquoted"),
    ],
)
def test_truth_value_within_a_true_quote_is_what_the_code_says(quote: str, expected: str) -> None:
    text = f'`wait_all` is defined in src/waiting.py:2: `def wait_all(limit):`. Doc: "{quote}"'
    evidence = make_evidence(WAITING)
    assert check_claims([ClaimDraft(text)], evidence, "", ChunkResolver(WAITING))[0].verdict in (
        expected,
        "misattributed" if expected == "supported" else "unverified",
    )


@pytest.mark.req("R18")
@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("`refresh_page` is called with a depth of 3", "`refresh_page` is called with a depth of 7"),
        ("The text is put into `sys.stages` at position 0", "The text is put into `sys.stages` at position 9"),
        ("The slice begins at `span[1]` in `load_page`", "The slice begins at `span[9]` in `load_page`"),
        ("`load_page` waits up to forty seconds, 40 s", "`load_page` waits at most 12 s"),
        ("`refresh_page` goes three days deep", "`refresh_page` goes nine days deep"),
        (
            "If `warm` is True, `refresh_page` runs in `load_page`",
            "If `warm` is False, `refresh_page` runs in `load_page`",
        ),
        ("When `warm` is False, `load_page` calls `drop_page`", "When `warm` is True, `load_page` calls `drop_page`"),
        (
            "If `is_open` returns True, `load_page` goes on to `read_text` or `cached_text`",
            "If `is_open` returns False, `load_page` goes on to `read_text` or `cached_text`",
        ),
        (
            "If `is_fresh` is True, `load_page` takes `cached_text`",
            "If `is_fresh` is False, `load_page` takes `cached_text`",
        ),
        ("If `is_open` is False, `load_page` returns early", "If `is_open` is True, `load_page` returns early"),
        ("If `probe()` fails, `may_delete` returns `False`", "If `probe()` fails, `may_delete` returns `True`"),
        (
            "`may_delete` is `True` if it is gone, `False` otherwise",
            "`may_delete` is `True` if it is gone, `True` otherwise",
        ),
    ],
)
def test_a_value_has_to_stand_where_the_code_speaks_of_it(true, false):
    assert (verdict(true), verdict(false)) == ("supported", "unverified")


@pytest.mark.req("R18")
def test_a_statement_without_a_name_is_about_what_the_lines_before_it_name():
    text = "See `src/cache.py`.\n\n## What `load_page()` does\n\n- It goes 3 levels deep.\n- It goes 12 levels deep.\n"
    library = ChunkResolver(CACHE)
    library.documents = lambda path, limit: [[CACHE]] if path == CACHE.path else []
    verdicts = [claim.verdict for claim in check_text(text, library).claims]
    assert verdicts[1:] == ["supported", "unverified"]


@pytest.mark.parametrize(
    "text",
    [
        "If `warm` is False, `load_page` avoids the call of `refresh_page`",
        "`load_page` may answer with a status of 404",
        "`load_page` gives a 2-tuple or `None`",
        "`load_page` costs about 12 look-ups, 5-10+ in the worst case",
        "`load_page` is like `SELECT page_text FROM unrelated_table;`",
        "The wait limit of `load_page` is 40",
    ],
)
def test_estimates_and_what_the_world_knows_are_left_alone(text):
    assert verdict(text) in ("supported", "no_anchor")


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [("refresh()", "warm", "true"), ("drop()", "warm", "false"), ("rest()", "warm", ""), ("rest()", "shut", "false")],
)
def test_a_line_hangs_on_the_branches_above_it_in_other_languages_too(line, name, value):
    code = (
        "func f() {\n  if shut {\n    return\n  }\n  if warm {\n    refresh()\n  } else {\n    drop()\n  }\n  rest()\n}"
    )
    lines = code.split("\n")
    at = next(number for number, text in enumerate(lines) if line in text)
    assert hangs_on(lines, at, name) == value


@pytest.mark.req("R18")
def test_a_number_in_words_is_a_number_of_the_line_that_says_it():
    text = "## Asking again\n\n`load_page` waits two seconds longer each time and gives up after five attempts.\n"
    design = make_chunk("docs/waiting.md", text)
    found = check_claims(
        [ClaimDraft("`load_page` waits two seconds longer"), ClaimDraft("`load_page` waits nine seconds longer")],
        make_evidence(CACHE, design),
        "",
        ChunkResolver(CACHE, design),
    )
    verdicts = [item.verdict for item in found]
    assert verdicts[0] in ("supported", "misattributed")
    assert verdicts[1] not in ("supported", "misattributed")
