"""Queries as people really send them, over the small repository."""

import pytest

from mcp_server.access import local_principal
from mcp_server.errors import BadRequest
from mcp_server.render import render_search
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.retrieval.stacktrace import find_frames, find_places
from tests.mcp_server.conftest import reindex

PYTHON_TRACE = """Traceback (most recent call last):
  File "/srv/app/venv/lib/python3.12/site-packages/flask/app.py", line 1511, in wsgi_app
    response = self.full_dispatch_request()
  File "/srv/app/shop/checkout.py", line 3, in pay
    retry_payment(call)
  File "/srv/app/shop/retry.py", line 14, in retry_payment
    raise TimeoutError("payment provider did not answer")
TimeoutError: payment provider did not answer
"""


def search(service, query, **fields):
    return service.search(SearchRequest(query, **fields), local_principal(service.setup.settings))


def paths(result):
    return [hit.path for hit in result.hits]


@pytest.mark.req("R15")
def test_the_frames_of_a_stack_trace_come_first_the_innermost_before_the_others(service, repository):
    (repository / "shop" / "checkout.py").write_text("def pay(call):\n    # charge the card\n    retry_payment(call)\n")
    reindex(service)
    result = search(service, PYTHON_TRACE)
    assert paths(result)[:2] == ["shop/retry.py", "shop/checkout.py"]
    assert result.hits[0].symbol == "retry_payment"
    assert "in the stack trace" in result.hits[0].why
    assert "3 frames, 2 of them in indexed files" in result.notes[0]
    assert result.not_found == ()


@pytest.mark.req("R15")
def test_a_frame_of_another_revision_is_found_by_its_function(service):
    result = search(service, PYTHON_TRACE.replace("line 14", "line 314"))
    assert paths(result)[0] == "shop/retry.py"
    assert "in the stack trace" in result.hits[0].why


@pytest.mark.req("R15")
def test_a_frame_whose_file_name_two_files_bear_is_not_guessed(service, repository):
    for folder in ("shop", "tools"):
        (repository / folder).mkdir(exist_ok=True)
        (repository / folder / "money.rs").write_text("fn total() {\n    panic!()\n}\n")
    reindex(service)
    result = search(service, "thread 'main' panicked at money.rs:2:5: oops at shop/retry.py:7:1")
    assert "2 frames, 1 of them in indexed files" in result.notes[0]
    named = search(service, "thread 'main' panicked at tools/money.rs:2:5: oops at shop/retry.py:7:1")
    assert paths(named)[0] == "tools/money.rs"


@pytest.mark.parametrize(
    ("text", "first", "count"),
    [
        (PYTHON_TRACE, ("/srv/app/shop/retry.py", 14, "retry_payment"), 3),
        (
            "Exception in thread main java.lang.NullPointerException\n"
            "\tat org.shop.Cart.total(Cart.java:42)\n\tat org.shop.App.main(App.java:7)",
            ("Cart.java", 42, "org.shop.Cart.total"),
            2,
        ),
        (
            "TypeError: x\n    at total (/srv/app/src/cart.ts:42:13)\n    at main (file:///srv/app/src/app.ts:7:1)",
            ("/srv/app/src/cart.ts", 42, "total"),
            2,
        ),
        (
            "at Shop.Cart.Total(Int32 n) in /srv/app/Cart.cs:line 42\n at Shop.App.Main() in /srv/app/App.cs:line 7",
            ("/srv/app/Cart.cs", 42, "Shop.Cart.Total"),
            2,
        ),
        ("goroutine 1:\nmain.total()\n\t/srv/cart.go:42 +0x1d\nmain()\n\t/srv/a.go:7", ("/srv/cart.go", 42, ""), 2),
        ("thread 'main' panicked at src/cart.rs:42:5:\nnone\n  at src/app.rs:7:1", ("src/cart.rs", 42, ""), 2),
        ("cart.rb:42:in `total': oops (RuntimeError)\n\tfrom app.rb:7:in `main'", ("cart.rb", 42, "total"), 2),
        ("#0 /srv/cart.php(42): Cart->total()\n#1 /srv/app.php(7): main()", ("/srv/cart.php", 42, ""), 2),
        ("#0  total (n=1) at cart.c:42\n#1  0x00 in main () at app.c:7", ("cart.c", 42, ""), 2),
    ],
)  # fmt: skip
def test_frames_are_read_in_the_notation_of_each_language(text, first, count):
    frames = find_frames(" ".join(text.split()))
    assert (frames[0].path, frames[0].line, frames[0].function) == first
    assert len(frames) == count


def test_one_place_is_no_stack_trace():
    assert find_frames("what happens in shop/retry.py:14 when it fails") == ()


@pytest.mark.req("R15")
def test_a_name_with_many_definitions_says_how_many(service, repository):
    for number in range(40):
        (repository / "shop" / f"handler_{number}.py").write_text(f"def handle(event):\n    return {number}\n")
    reindex(service)
    result = search(service, "handle")
    assert result.notes[0].startswith("`handle` has 40 definitions.")
    assert len({hit.path for hit in result.hits}) == len(result.hits)
    assert search(service, "SessionSigner").notes == ()


@pytest.mark.req("R15")
def test_a_typo_finds_the_nearest_name(service):
    result = search(service, "SesionSigner")
    assert result.not_found[0].nearest[0] == "SessionSigner"
    assert result.hits[0].symbol == "SessionSigner"
    assert "these hits are for `SessionSigner`" in result.notes[0]
    assert not any("these hits are for" in note for note in search(service, "QuantumBridge").notes)


@pytest.mark.req("R15")
@pytest.mark.parametrize("query", ["¿¡!?", "()[]{}.*", "…", "🙂"])
def test_a_query_without_a_letter_is_refused_with_what_to_send(service, query):
    with pytest.raises(BadRequest, match="holds no letter or digit"):
        search(service, query)


def test_common_words_only_are_answered_with_a_warning(service):
    assert "common words only" in search(service, "how is it and why not then").notes[0]


FOREIGN = {
    "german": ("wie werden Sitzungen bestätigt", "Sitzungen werden mit dem Schlüssel bestätigt"),
    "russian": ("подпись сессии", "здесь подпись сессии проверяется"),
    "chinese": ("会话签名", "检查会话签名是否有效"),
    "japanese": ("署名", "セッション署名を検証する"),
    "hebrew": ("חתימת עוגייה", "בדיקה של חתימת עוגייה"),
}


@pytest.mark.req("R15")
def test_text_in_another_language_or_alphabet_is_found_by_a_part_of_it(service, repository):
    for language, (_, text) in FOREIGN.items():
        (repository / "shop" / f"{language}.py").write_text(f"# {text}\nVALUE = 1\n")
    reindex(service)
    for language, (query, _) in FOREIGN.items():
        first = search(service, query).hits[0]
        assert first.path == f"shop/{language}.py"
        assert "text #1" in first.why, "by its words: that vectors are near is luck among a few files"


@pytest.mark.req("R15")
@pytest.mark.parametrize(
    "query",
    [
        "wie unterschreibt SessionSigner die Sitzung",
        "как SessionSigner подписывает сессию",
        "SessionSigner 怎么签名会话",
        "איך SessionSigner חותם על העוגייה",
    ],
)
def test_a_name_in_a_question_in_another_language_is_found(service, query):
    first = search(service, query).hits[0]
    assert (first.path, first.symbol) == ("shop/session.py", "SessionSigner")
    assert "text #1" in first.why


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("session.*sign(", "shop/session.py"),
        ("^(payment|refund)[a-z]+", "shop/retry.py"),
        ("a|b\\d{3} retry^", "shop/retry.py"),
        ('AND OR NOT "backoff', "shop/retry.py"),
        ("path:backoff +-~", "shop/retry.py"),
    ],
)
def test_characters_of_query_languages_are_text(service, query, path):
    first = search(service, query).hits[0]
    assert first.path == path
    assert "text #1" in first.why


@pytest.mark.req("R15")
def test_a_pasted_file_is_searched_by_its_rarest_words(service):
    filler = "\n".join(f"    value_{n} = compute({n})  # unrelated line {n}" for n in range(300))
    result = search(service, f"{filler}\nwait_before_retry(attempt)\n{filler}"[:19_000])
    assert any("rarest words of" in note for note in result.notes)
    assert paths(result)[0] == "shop/retry.py"
    assert any(reason.startswith("words:") and "wait_before_retry" in reason for reason in result.hits[0].why)
    assert len(result.not_found) <= 40


def test_a_text_that_is_too_long_is_refused_with_what_to_send(service):
    with pytest.raises(BadRequest, match="has 20,001 characters; at most 20,000 are taken. Send the part that matters"):
        search(service, "x" * 20_001)


def test_a_story_about_tests_and_examples_asks_for_neither(service):
    story = (
        "Signing of session cookies fails, for example when the documentation build runs all tests of the signature in "
        "parallel; the tests of another project were fine before the update"
    )
    assert paths(search(service, story))[0] == "shop/session.py"
    assert paths(search(service, "tests for session signature"))[0] == "tests/test_session.py"


@pytest.fixture
def long_file(service, repository):
    """Return the service with a file of 60 constants, a blank line behind each tenth."""
    rows = [f"RETRY_{n} = {n} * 10\n" if n % 10 else "\n" for n in range(1, 61)]
    (repository / "shop" / "limits.py").write_text("".join(rows) + "LAST = 61\n")
    (repository / "Makefile").write_text("all:\n\ttrue\n\nclean:\n\tfalse\n")
    reindex(service)
    return service


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("shop/limits.py:37", "RETRY_37 = 37 * 10"),
        ("./shop/limits.py:37-39", "RETRY_37 = 37 * 10"),
        ("limits.py:37:4", "RETRY_37 = 37 * 10"),
        ("shop/limits.py#L37-L38", "RETRY_37 = 37 * 10"),
        ("shop/limits.py#L61", "LAST = 61"),
        ("Makefile:4", "clean:"),
        ("What is at shop/limits.py:37?", "RETRY_37 = 37 * 10"),
    ],
)
def test_a_path_with_a_line_finds_that_line_first(long_file, query, first):
    result = search(long_file, query)
    hit = result.hits[0]
    assert hit.text.split("\n")[0] == first
    assert "the line asked for" in hit.why
    assert result.not_found == ()
    assert not [note for note in result.notes if "no line" in note]
    assert first in render_search(result, query)


def test_a_line_behind_the_end_of_a_file_is_said_with_its_length(long_file):
    result = search(long_file, "shop/limits.py:5000")
    assert "There is no line 5000 in `shop/limits.py`: its last line with text is 61." in result.notes
    assert result.not_found == ()


def test_a_line_of_a_file_that_does_not_exist_is_missing_by_its_path(long_file):
    result = search(long_file, "shop/limitz.py:12")
    assert [(item.name, item.nearest[0]) for item in result.not_found] == [("shop/limitz.py", "shop/limits.py")]


@pytest.mark.parametrize("text", ["http://localhost:8080/x", "at 10:30 sharp", "std::map:3", "what about port:80"])
def test_what_only_looks_like_a_place_is_none(text):
    assert find_places(text) == ()


@pytest.mark.parametrize("mode", ["ranked", "all"])
@pytest.mark.parametrize(
    ("narrowed", "said"),
    [
        ({"language": "klingon"}, "Nothing is in the language 'klingon'. Languages here: python, "),
        ({"path_glob": "["}, "No file matches path_glob '[': `*`, `**` and `?` are wild; `[` stands for itself."),
        ({"path_glob": "nowhere/**"}, "No file matches path_glob 'nowhere/**': `*`, `**` and `?` are wild."),
    ],
)
def test_a_filter_that_leaves_nothing_is_named(service, mode, narrowed, said):
    result = search(service, "retry_payment", mode=mode, **narrowed)
    assert result.hits == ()
    assert any(note.startswith(said) for note in result.notes)


@pytest.mark.parametrize("narrowed", [{}, {"language": "python"}, {"path_glob": "shop/**"}])
def test_a_filter_that_leaves_something_is_not_spoken_of(service, narrowed):
    assert search(service, "retry_payment", **narrowed).notes == ()


@pytest.mark.req("F6")
@pytest.mark.parametrize(
    ("narrowed", "first"),
    [
        ({"language": "klingon"}, "Nothing is in the language 'klingon'. Languages here: python, "),
        ({"path_glob": "nowhere/**"}, "No file matches path_glob 'nowhere/**'"),
        ({"path_glob": "shop/**"}, "I do not have that in what was searched (path_glob 'shop/**')."),
        ({"sources": ("tickets",)}, "I do not have that in what was searched (chosen sources)."),
        ({}, "I do not have that in the index."),
    ],
)
def test_an_answer_says_where_it_looked_and_which_filter_leaves_nothing(service, narrowed, first):
    asked = AnswerRequest("Which colour do walruses prefer?", **narrowed)
    answer = service.answer(asked, local_principal(service.setup.settings))
    assert answer.abstained
    assert answer.answer.startswith(first)
    where = "the index" if not narrowed else "what was searched ("
    reasons = [part.reason for part in answer.ungrounded]
    assert any(reason.startswith(f"'walruses' occurs nowhere in {where}") for reason in reasons), reasons


def test_a_name_that_the_chosen_sources_lack_is_not_said_to_be_missing_from_the_index(service):
    sources = (f"{service.setup.root.name}.history",)
    result = search(service, "SessionSigner", sources=sources)
    assert [item.where for item in result.not_found] == ["what was searched (chosen sources)"]
    assert "Not in what was searched (chosen sources): SessionSigner." in render_search(result, "SessionSigner")
    assert "Not in the index: SessionSigning." in render_search(search(service, "SessionSigning"), "SessionSigning")
