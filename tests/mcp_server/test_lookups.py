"""A plain look-up is answered by the place where the answer stands, whatever else its words are found in."""

import pytest

from mcp_server.access import local_principal
from mcp_server.answering.lookups import read_subjects
from mcp_server.config import load_setup
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex, write_files

FILES = {
    "shop/importer.py": '''"""Imports orders."""


class Importer:
    """Reads orders. Many orders come by default from one file, and the batch argument is documented elsewhere."""

    retries: int = 7

    def __init__(self, batch: int = 64, *, strict=False):
        self.batch = batch
        self.strict = strict

    def load(self, path, batch: int | None = None):
        """Load a file; many is the default."""
        return Worker(batch=12).run(path, strict=True)
''',
    "shop/worker.py": '''"""Workers of the importer, by default one."""


class Worker:
    def __init__(self, batch=1):
        self.batch = batch
''',
    "engine.go": """package shop

// Engine serves requests. By default it redirects.
type Engine struct {
\tRedirectSlash bool
}

func New() *Engine {
\treturn &Engine{
\t\tRedirectSlash: true,
\t}
}

func Off() *Engine {
\treturn &Engine{RedirectSlash: false}
}
""",
    "lib/reply.js": """'use strict'

/**
 * Send JSON.
 */
reply.json = function json(obj) {
  return this.send(JSON.stringify(obj))
}
""",
    "test/reply.js": """describe('reply', function () {
  it('should answer with an object', function () {
    reply.json({ a: 1 })
  })
})
""",
    "lib/settings.rb": """class Base
  set :port, Integer(ENV['PORT'] || 4567)
end
""",
    "shop/options.py": """def read(parser, host):
    parser.add_argument("--rows", type=int, default=50, help="how many lines a page has")
    address = f"{host}:{port_of(host)}"
    return parser, address
""",
    "tests/test_worker.py": "from shop.worker import Worker\n"
    + "".join(f"\n\ndef test_size_{n}():\n    assert Worker(batch={n}).batch\n" for n in range(9)),
    "tests/test_importer.py": """from shop.importer import Importer


def test_batches():
    assert Importer(batch=2).batch == 2


def test_strict_import():
    assert Importer(strict=True).strict
""",
}


@pytest.fixture
def ask(repository, service):
    write_files(repository, FILES)
    reindex(service)

    def answer(question):
        return service.answer(AnswerRequest(question), local_principal(service.setup.settings), use_cache=False)

    return answer


@pytest.mark.req("R17")
@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("default of the batch argument of Importer", "`batch` is `64` in `Importer.__init__` (shop/importer.py:9)"),
        ("What does the batch parameter of Importer.load default to?", "`batch` is `None` in `Importer.load`"),
        ("What is the default value of Worker's batch option?", "`batch` is `1` in `Worker.__init__`"),
        ("What is the default of the field retries of Importer?", "`retries` is `7`"),
        ("default value of RedirectSlash", "`RedirectSlash` is `true` in `New` (engine.go:10)"),
        ("What is the default value of the RedirectSlash field of Engine?", "`RedirectSlash` is `true` in `New`"),
        ("What is the default port?", "`port` is `Integer(ENV['PORT'] || 4567)` in `Base` (lib/settings.rb:2)"),
        ("Which port is used by default?", "`port` is `Integer(ENV['PORT'] || 4567)` in `Base` (lib/settings.rb:2)"),
        (
            "What is the default rows option when a page has lines?",
            "`rows` is `50` in `read` (shop/options.py:2)",
        ),
    ],
)
def test_a_named_default_is_read_where_its_owner_is_defined(ask, question, said):
    answer = ask(question)
    assert answer.answer.startswith(said)
    assert len(answer.claims) == 1  # and nothing that is merely near
    assert answer.claims[0].verdict == "supported"


@pytest.mark.req("R17")
def test_which_tests_is_answered_with_the_tests_that_name_it(ask):
    answer = ask("Which tests cover the strict argument of `Importer`?")
    assert [c.path for c in answer.citations] == ["tests/test_importer.py"] * len(answer.citations)
    assert "`test_strict_import` (tests/test_importer.py:" in answer.answer
    assert "`test_sign`" not in ask("which tests cover SESSION_SALT").answer  # none names it, so none is said to


@pytest.mark.req("R19")
def test_a_default_that_an_owner_does_not_have_is_said_to_be_missing(ask):
    answer = ask("What is the default of the loading argument of Importer?")
    assert answer.answer.startswith(
        "Nothing called `loading` is given a value in `Importer`.\n`Importer.load` is defined"
    )
    assert "default of loading" in [part.text for part in answer.ungrounded]


@pytest.mark.req("R19")
def test_the_default_number_of_something_is_no_field_called_number():
    assert read_subjects("What is the default number of threads?") == []
    assert read_subjects("What is the default batch of Importer?") == [("batch", "Importer")]


@pytest.mark.req("R17")
def test_a_list_of_tests_says_how_many_more_there_are(ask):
    answer = ask("Which tests cover `Worker`?")
    shown = answer.answer.count("\n- ") + answer.answer.startswith("- ")
    assert answer.answer.endswith(f"\n{9 - shown} more tests name `Worker`.") and 0 < shown < 9


@pytest.mark.req("R17")
@pytest.mark.parametrize("question", ["What happens when `Importer.load` is called?", "How can `batch` be changed?"])
def test_a_question_that_says_when_or_changed_asks_for_no_history(ask, question):
    assert not any(citation.path is None for citation in ask(question).citations)


@pytest.mark.req("R17")
def test_tests_that_have_a_title_instead_of_a_name_are_told_by_it(ask):
    answer = ask("Which tests cover reply.json?")
    assert '"should answer with an object" (test/reply.js:3): `reply.json({ a: 1 })`' in answer.answer


@pytest.mark.req("R9")
def test_a_method_that_reads_as_a_file_is_found_as_what_it_is(ask):
    answer = ask("what does reply.json do?")
    assert not answer.not_found
    assert "`reply.json` is defined in lib/reply.js:6" in answer.answer


@pytest.mark.req("R9")
@pytest.mark.parametrize(
    "question",
    [
        "Where is `Importer` defined?\n</rewritten_question>",
        "<question>Where is `Importer` defined?</question>",
    ],
)
def test_tags_that_a_prompt_left_around_a_question_are_no_part_of_it(ask, question):
    answer = ask(question)
    assert "`Importer` is defined in shop/importer.py:4" in answer.answer
    assert answer.answer == ask("Where is `Importer` defined?").answer
    assert not answer.not_found


CALLERS = {
    "shop/store.py": '''"""Storage."""


def open__store(path):
    """Open it."""
    return Store(path)


class Store:
    def flush(self):
        """Write all."""

    def close(self):
        # flush() is done first
        self.flush()


class Queue:
    def flush(self):
        return "flush"


def drain(queue: Queue):
    queue.flush()
    return open__store("a")
''',
    "shop/main.py": """from shop.store import open__store


def main():
    store = open__store("b")
    store.flush()
    register(open__store)


def stop(): open__store("c")
""",
    "tests/test_store.py": """from shop.store import open__store


def test_it():
    assert open__store("d")
""",
}


@pytest.fixture
def callers(repository, service):
    write_files(repository, CALLERS)
    reindex(service)
    principal = local_principal(service.setup.settings)

    def ask(question):
        hits = service.search(SearchRequest(question, limit=6), principal).hits
        answer = service.answer(AnswerRequest(question), principal, use_cache=False)
        return hits, answer

    return ask


@pytest.mark.req("R17")
@pytest.mark.parametrize(
    "question",
    [
        "who calls open__store?",
        "Where is open__store called from",
        "callers of `open__store`",
        "what is calling open__store()",
    ],
)
def test_who_calls_something_is_answered_with_the_lines_that_call_it(callers, question):
    hits, answer = callers(question)
    assert {(h.path, h.symbol) for h in hits[:2]} == {("shop/main.py", "main"), ("shop/store.py", "drain")}
    assert (hits[2].path, hits[2].symbol) == ("tests/test_store.py", "test_it")  # a test comes after what runs
    assert all("calls it" in hit.why and 'open__store("' in hit.text for hit in hits[:3])
    assert answer.answer.split("\n") == [
        '- `main` (shop/main.py:5): `store = open__store("b")` [C1]',
        '- `stop` (shop/main.py:10): `def stop(): open__store("c")` [C2]',
        '- `drain` (shop/store.py:25): `return open__store("a")` [C3]',
        '- `test_it` (tests/test_store.py:5): `assert open__store("d")` [C4]',
    ]
    assert {claim.verdict for claim in answer.claims} == {"supported"}


def test_who_uses_something_is_told_also_where_it_is_handed_on(callers):
    assert "`register(open__store)`" in callers("where is open__store used?")[1].answer


def test_callers_of_a_method_are_those_of_its_class(callers):
    answer = callers("who calls Store.flush?")[1].answer
    assert "`Store.close` (shop/store.py:15): `self.flush()`" in answer
    assert "`store.flush()`" in answer
    assert "queue.flush()" not in answer


def test_it_is_what_was_named_before(callers):
    answer = callers("Where is `open__store` defined and who calls it?")[1].answer
    assert "`open__store` is defined in shop/store.py:4" in answer
    assert "`test_it` (tests/test_store.py:5)" in answer


def test_a_long_list_of_callers_says_how_many_more_there_are(repository, service, callers):
    write_files(repository, {"shop/many.py": "".join(f"def f{n}():\n    open__store({n})\n\n\n" for n in range(9))})
    reindex(service)
    answer = callers("who calls open__store?")[1]
    assert "7 more lines call `open__store`." in answer.answer
    assert answer.ungrounded == ()


FLOW = {
    "shop/pipeline.py": '''"""Stages."""

import json
from shop.stages import parse, Checker


class Pipeline:
    def run(self, text, store, sink):
        """Run it all."""
        raw = json.dumps(text)
        rows = parse(raw)
        self.check(rows)
        store.write(rows)
        sink.write(rows)
        if not rows:
            return self.run(text, store, sink)
        return Checker(rows)

    def check(self, rows):
        assert rows
''',
    "shop/stages.py": """def parse(raw):
    return [raw]


class Checker:
    def __init__(self, rows):
        self.rows = rows


class Store:
    def write(self, rows):
        return rows
""",
}


@pytest.mark.req("R17")
def test_how_a_function_works_is_said_by_what_it_calls_here(repository, service):
    write_files(repository, FLOW)
    reindex(service)
    principal = local_principal(service.setup.settings)
    answer = service.answer(AnswerRequest("How does Pipeline.run work?"), principal, use_cache=False)
    said = next(claim for claim in answer.claims if " calls " in claim.text)
    # neither the standard library, nor what a variable may hold, nor itself
    assert said.text == "`Pipeline.run` calls `parse`, `Pipeline.check`, `store.write` and `Checker`, in this order."
    assert said.verdict == "supported"
    lines = {c.id: (c.path, c.start_line, c.end_line) for c in answer.citations}
    assert {lines[i][0] for i in said.citations} == {"shop/pipeline.py"}


TABLE = {
    "shop/app.py": """class Shop:
    default_config = Frozen(
        {
            "CART_COOKIE_NAME": "cart",
            "CART_COOKIE_SECURE": True,
            "CART_LIFETIME": timedelta(days=31),
        }
    )
""",
    "shop/sessions.py": """def cart_cookie_path(shop):
    \"\"\"The path of the cookie. The default value is that of the config.\"\"\"
    return shop.config["CART_COOKIE_NAME"]


CART_TABLE = {"CART_COOKIE_SECURE": False}
""",
    "tests/test_cart.py": """def test_cart(shop):
    shop.config.update(CART_COOKIE_SECURE=False, CART_COOKIE_NAME="other")
""",
}


TABLE |= {
    "shop/money.py": """class Money:
    pass


class Coin(Money):
    pass


class Bag(list):
    \"\"\"Holds Money, and is none.\"\"\"
""",
    "shop/Note.java": """package shop;

/** Paper that is Money. */
public class Note extends Paper implements Money, Foldable {
}
""",
    "tests/test_money.py": "class FakeMoney(Money):\n    pass\n",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    write_files(root / "code", TABLE)
    service = Service(load_setup(root=root / "code", config=None, data=root / "data", env={}))
    reindex(service)
    yield lambda question: service.answer(AnswerRequest(question), local_principal(service.setup.settings))
    service.close()


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What is the default value of CART_COOKIE_NAME?", ['`CART_COOKIE_NAME` is `"cart"`']),
        ("What does CART_LIFETIME default to?", ["`CART_LIFETIME` is `timedelta(days=31)`"]),
        (
            "What is the default of CART_COOKIE_NAME and of CART_COOKIE_SECURE?",
            ['`CART_COOKIE_NAME` is `"cart"`', "`CART_COOKIE_SECURE` is `True`"],
        ),
    ],
)
def test_the_default_of_a_setting_is_its_entry_in_the_table_of_defaults(shop, question, said):
    answer = shop(question)
    lines = [line for line in answer.answer.split("\n") if line.startswith("`")]
    assert [line.partition(" in `Shop.default_config` (shop/app.py:")[0] for line in lines] == said
    assert not answer.ungrounded


def test_a_default_that_the_table_excludes_is_denied(shop):
    answer = shop("Why is CART_COOKIE_SECURE False by default?")
    assert answer.answer.startswith("That is not so: 'CART_COOKIE_SECURE' is True (shop/app.py:5), not False.")


@pytest.mark.parametrize(
    "question",
    ["Which classes extend Money?", "What implements the interface `Money`?", "Are there subclasses of Money?"],
)
def test_who_extends_something_is_read_from_the_code(shop, question):
    lines = shop(question).answer.split("\n")
    assert [line.partition(")")[0] for line in lines] == [
        "- `Coin` (shop/money.py:5",
        "- `Note` (shop/Note.java:4",
        "- `FakeMoney` (tests/test_money.py:1",
    ]
