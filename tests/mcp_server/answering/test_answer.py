import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.index import Index, SourceState
from ingest.model import Chunk
from mcp_server.answering import grounding
from mcp_server.answering.answer import AnswerSettings, ComposedAnswer, compose_answer, make_hit
from mcp_server.answering.aspects import root, split_question
from mcp_server.answering.forms import CONDITION, best_lines
from mcp_server.answering.freshness import FreshnessChecker
from mcp_server.answering.passages import held_in, units
from mcp_server.answering.resolver import IndexResolver, Resolver
from mcp_server.results import AnswerEvent, Listener, MissingName, ignore
from mcp_server.retrieval.context import pack_context
from mcp_server.retrieval.model import Entity, Retrieval
from tests.ingest.index.support import SOURCE, publish, see

from .support import ChunkResolver, NullSpan, NullTrace, make_chunk, make_evidence, make_retrieval, rank

CACHE_TEXT = '''
class Cache:
    """Keeps entries until they expire."""

    def get(self, key):
        """Return a live entry, or None."""
        # Compare with <= because two reads within one tick must agree.
        if self.expires(key) <= now():
            self.evict(key)
        return self.entries.get(key)

    def evict(self, key, reason="expired", max_batch=64):
        """Drop one entry of the cache."""
        notify_listeners(key)
        self.entries.pop(key, None)
'''
SESSION_TEXT = '''
def close_session(session_id):
    """Forget a session when its user logs out."""
    notify_listeners(session_id)
    SESSIONS.evict(session_id)


def notify_listeners(key):
    """Tell every listener that an entry left the cache."""
    for listener in LISTENERS:
        listener(key)
'''
CACHE = make_chunk("src/cache.py", CACHE_TEXT)
SESSION = make_chunk("src/session.py", SESSION_TEXT)
TICKET = make_chunk(
    "#12",
    "# Expired entry returned once more\n\nSeen in production twice.\n\nFixed by comparing with <= instead of <.",
    kind="ticket",
    title="Expired entry returned once more",
    state="closed",
    links=("src/cache.py",),
    source="tickets",
)
COMMIT = make_chunk("a" * 40, "Compare expiry with <= (#12)", kind="commit", source="app.history", links=("#12",))
DESIGN = make_chunk(
    "designs/0001.md",
    "# In-process cache\n\n## Decision\n\nWe keep sessions in an in-process cache because a network cache costs 2 ms.",
    kind="design",
    source="designs",
)
ALL = (CACHE, SESSION, TICKET, COMMIT, DESIGN)


def compose(
    question: str,
    retrieval: Retrieval,
    resolver: Resolver | None = None,
    checker: FreshnessChecker | None = None,
    trace: object = None,
    listen: Listener = ignore,
) -> ComposedAnswer:
    return compose_answer(
        question,
        retrieval,
        pack_context(retrieval.chunks, 10_000),
        resolver or ChunkResolver(*ALL),
        checker or FreshnessChecker({}),
        AnswerSettings(),
        trace or NullTrace(),
        listen=listen,
    )


def ask(question: str, *chunks: Chunk, **kwargs: object) -> ComposedAnswer:
    return compose(question, make_retrieval(*(chunks or ALL), question=question, **kwargs))


@pytest.mark.req("R17")
def test_where_gives_the_definition_first_with_signature_and_doc() -> None:
    answer = ask("Where is close_session implemented?", entities=[Entity("close_session", "symbol", (SESSION.id,))])
    first = answer.answer.split("\n")[0]
    assert first.startswith("`close_session` is defined in src/session.py:1: `def close_session(session_id):`")
    assert '"Forget a session when its user logs out." [C1]' in first
    assert (answer.citations[0].path, answer.citations[0].start_line) == ("src/session.py", 1)


@pytest.mark.req("R17")
def test_where_gives_what_matches_by_its_words_before_what_merely_ranks_first() -> None:
    ranked = make_chunk("src/buffer.py", "def is_late(self):\n    with self._lock:\n        return self.writer.waits")
    locked = make_chunk("src/lease.py", 'class WriterLock:\n    """The one writer of a folder."""')
    first = ask("Where is the writer lock taken?", ranked, locked).answer.split("\n")[0]
    assert first.startswith("`WriterLock` is defined in src/lease.py:1")


@pytest.mark.req("R17", "R18")
def test_false_premise_is_said_to_be_contradicted() -> None:
    answer = ask("Why does notify_listeners call close_session?")
    (premise,) = [part for part in answer.ungrounded if part.verdict == "contradicted"]
    assert (premise.kind, premise.text) == ("question", "notify_listeners calls close_session")
    assert "other way round: 'close_session' calls 'notify_listeners' (src/session.py:1)" in premise.reason
    assert not [
        p for p in ask("Why does close_session call notify_listeners?").ungrounded if p.verdict == "contradicted"
    ]


@pytest.mark.req("R17")
def test_plain_capitalised_word_of_a_false_premise_is_a_name_where_something_is_called_so() -> None:
    (premise,) = [p for p in ask("Why does notify_listeners call Cache?").ungrounded if p.verdict == "contradicted"]
    assert premise.text == "notify_listeners calls Cache"
    assert not [p for p in ask("Why does notify_listeners call Home?").ungrounded if p.verdict == "contradicted"]


@pytest.mark.req("R17")
def test_how_gives_numbered_steps_with_callers_before_what_they_call() -> None:
    answer = ask("How are listeners told when a session leaves the cache?", SESSION, CACHE)
    steps = [line for line in answer.answer.split("\n") if line[:2] in ("1.", "2.", "3.")]
    assert len(steps) >= 2
    assert all("[C" in step for step in steps)
    order = [name for step in steps for name in ("evict", "notify_listeners") if f"{name}` (" in step]
    assert order == sorted(order)  # evict calls notify_listeners


@pytest.mark.req("R17")
def test_ticket_question_lists_ticket_resolution_paths_and_commit() -> None:
    answer = ask("What does ticket #12 touch?", route="ticket", entities=[Entity("#12", "ticket", (TICKET.id,))])
    lines = answer.answer.split("\n")
    assert lines[0].startswith('- Ticket #12 (closed): "Expired entry returned once more"')
    assert any("Fixed by comparing with <= instead of <." in line for line in lines)
    assert any("names src/cache.py" in line for line in lines)
    assert any(line.startswith("- Commit aaaaaaaaaa") for line in lines)


def test_why_prefers_the_sentence_that_gives_a_reason() -> None:
    answer = ask("Why are sessions kept in an in-process cache?")
    assert "because a network cache costs 2 ms" in answer.answer.split("\n")[0]


def test_default_is_read_from_the_parameter() -> None:
    answer = ask("What is the default max batch of evict?")
    assert "`max_batch` is `64` in `evict`" in answer.answer


def test_several_aspects_make_several_paragraphs() -> None:
    answer = ask("Where is close_session implemented and what is the default max batch?")
    assert len(answer.answer.split("\n\n")) == 2


def test_a_step_calls_what_it_calls_itself_not_what_its_neighbour_does() -> None:
    text = """
    def wrap_plain(handler):
        \"\"\"Wrap a plain handler for the cache listeners.\"\"\"
        return handler


    def wrap_object(server):
        return notify_listeners(server)
    """
    answer = ask("How are cache listeners wrapped by a handler?", make_chunk("src/wrap.py", text), SESSION)
    line = next(line for line in answer.answer.split("\n") if "`wrap_plain`" in line)
    assert "calls" not in line


def test_where_no_line_says_enough_the_answer_points_at_the_nearest_definition() -> None:
    chunk = make_chunk("src/flow.py", "def advance(state, event):\n    return TABLE[state, event]\n")
    answer = ask("Why are transitions of orders kept strictly separate from fulfilment?", chunk, vector_top=0.9)
    assert not answer.abstained
    assert answer.answer.startswith("Nothing says it in so many words")
    assert "`advance` is defined in src/flow.py:1" in answer.answer


@pytest.mark.req("R18")
def test_extractive_claims_pass_the_ledger() -> None:
    for question in ("Where is close_session?", "How does Cache.get work?", "Why keep sessions in process?", "#12"):
        answer = ask(question, entities=[Entity("Cache", "symbol", (CACHE.id,))])
        assert answer.claims
        assert {claim.verdict for claim in answer.claims} <= {"supported", "misattributed"}
        assert all(claim.citations for claim in answer.claims)


@pytest.mark.req("R26")
def test_every_citation_points_into_the_context() -> None:
    answer = ask("How does close_session work and why keep sessions in process?")
    documents = {chunk.ref: chunk for chunk in ALL}
    for citation in answer.citations:
        chunk = documents[citation.path or citation.key or ""]
        assert chunk.start_line <= citation.start_line <= citation.end_line <= chunk.end_line


@pytest.mark.req("R9")
def test_answer_lists_the_part_that_nothing_covers() -> None:
    answer = ask("Where is close_session implemented and how does Redis store it?")
    assert [(part.kind, part.text) for part in answer.ungrounded][0] == ("question", "Redis")
    assert "close_session" in answer.answer


@pytest.mark.req("F6", "R23")
def test_name_that_exists_nowhere_abstains_with_nearest_names() -> None:
    missing = (MissingName("RedisCache", ("Cache",)),)
    answer = ask("Where is RedisCache configured?", not_found=missing)
    assert answer.abstained and answer.mode == "abstained"
    assert answer.answer.startswith("I do not have that in the index.")
    assert "Nearest names: Cache." in answer.answer
    assert answer.not_found == missing
    assert [part.text for part in answer.ungrounded] == ["RedisCache"]
    assert answer.claims == () and len(answer.nearest) == 3


@pytest.mark.req("F6")
def test_nothing_found_abstains() -> None:
    answer = compose("How is Kafka used?", Retrieval(chunks=()))
    assert answer.abstained
    assert "Kafka" in [part.text for part in answer.ungrounded]


@pytest.mark.req("R23")
def test_thin_retrieval_abstains_and_strong_retrieval_answers() -> None:
    question = "how are payments settled with banks"
    assert ask(question, top_text_norm=0.05).abstained
    assert not ask("how does a session close when its user logs out", top_text_norm=0.6).abstained


def test_smalltalk_says_what_can_be_asked() -> None:
    answer = ask("hi", route="smalltalk")
    assert answer.mode == "capabilities" and not answer.abstained


@pytest.mark.req("R6")
def test_a_claim_that_is_told_on_the_way_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    find = grounding.find_anchors
    monkeypatch.setattr(grounding, "find_anchors", lambda text: looked_up.append(text) or find(text))
    told: list[AnswerEvent] = []
    question = "Where is close_session implemented?"
    retrieval = make_retrieval(*ALL, question=question, entities=[Entity("close_session", "symbol", (SESSION.id,))])
    answer = compose(question, retrieval, listen=told.append)
    texts = [claim.text for claim in answer.claims]
    assert [event.claim.text for event in told if event.kind == "claim"] == texts
    assert [looked_up.count(text) for text in texts] == [1] * len(texts)


@pytest.mark.req("A5", "R19")
def test_stale_citation_is_marked_in_the_text_and_listed(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/session.py").write_text(SESSION.text.replace("SESSIONS.evict", "SESSIONS.drop") + "\n")
    state = SourceState("app", "code", "shop", ("local",), "normal", "r1", str(tmp_path), 1, 1)
    question = "Where is close_session implemented?"
    answer = compose(question, make_retrieval(SESSION, question=question), checker=FreshnessChecker({"app": state}))
    assert answer.stale == ("C1",)
    assert answer.citations[0].freshness == "changed"
    assert "[C1] (changed since)" in answer.answer


@pytest.mark.req("F17")
def test_unreadable_tree_is_named_and_never_fresh(tmp_path: Path) -> None:
    state = SourceState("app", "code", "shop", ("local",), "normal", "r1", str(tmp_path / "gone"), 1, 1)
    question = "Where is close_session implemented?"
    answer = compose(question, make_retrieval(SESSION, question=question), checker=FreshnessChecker({"app": state}))
    assert answer.degraded == ("git_unavailable",)
    assert {citation.freshness for citation in answer.citations} == {"unchecked"}


def test_answers_are_short_and_the_same_each_time() -> None:
    question = "How does the cache keep, expire and evict entries, and why, and where is close_session?"
    many = [make_chunk(f"src/m{n}.py", SESSION_TEXT.replace("session", f"session_{n}")) for n in range(30)]
    first, second = ask(question, CACHE, *many), ask(question, CACHE, *many)
    assert first == second
    assert len(first.claims) <= 12
    assert len(first.answer) <= 2200


def test_spans_are_recorded_in_the_order_of_the_algorithm() -> None:
    seen: list[str] = []

    class Recorder:
        @contextlib.contextmanager
        def span(self, name: str) -> Iterator[NullSpan]:
            seen.append(name)
            yield NullSpan()

    question = "Where is close_session?"
    compose(question, make_retrieval(SESSION, question=question), trace=Recorder())
    assert seen == ["context", "coverage", "claims", "ledger", "freshness", "respond"]


def test_hit_shows_revision_and_freshness() -> None:
    hit = make_hit(rank(SESSION)[0], FreshnessChecker({}))
    assert (hit.path, hit.freshness, hit.revision) == ("src/session.py", "unchecked", "")


@pytest.mark.req("S14")
def test_hidden_source_reads_like_an_absent_one(tmp_path: Path) -> None:
    secret = type(SOURCE)("secret", "code", "shop", ("admins",))
    publish(tmp_path / "with", {"a.py": "def open_door():\n    pass"})
    publish(tmp_path / "with", {"b.py": "def launch_kraken():\n    pass"}, info=secret)
    publish(tmp_path / "without", {"a.py": "def open_door():\n    pass"})
    answers = []
    for name in ("with", "without"):
        with Index.open_current(tmp_path / name) as index:
            resolver = IndexResolver(index, see("app", "secret"))
            assert not resolver.has_name("launch_kraken")
            assert resolver.occurring(["kraken"]) == frozenset()
            assert resolver.has_name("open_door")
            answers.append(compose("How does the Kraken launch?", Retrieval(chunks=()), resolver))
    assert answers[0] == answers[1]


def test_examples_and_link_targets_of_doc_comments_are_no_prose() -> None:
    text = (
        "/// let first = make_the_first_of_all();\n/// ```\n/// Waits until the task has ended for good.\n"
        "/// ```rust\n/// let other = make_another_one_of_them();\n/// ```\n"
        "/// [`spawn`]: crate::task::spawn\npub struct Handle;"
    )
    block = make_evidence(make_chunk("src/handle.rs", text))[0]
    assert [said for said, _, is_prose in units(block) if is_prose] == ["Waits until the task has ended for good."]


def test_a_session_with_an_interpreter_is_no_prose() -> None:
    text = (
        'def retry():\n    """Send the task to the back of the queue.\n\n    Example:\n'
        "        >>> @app.task(bind=True)\n        ... def tweet(self, message):\n        ...     post(message)\n"
        '    """'
    )
    said = [said for said, _, is_prose in units(make_evidence(make_chunk("src/task.py", text))[0]) if is_prose]
    assert any("back of the queue" in one for one in said) and not any("tweet" in one for one in said)


@pytest.mark.parametrize(
    "text",
    [
        "int f() {\n  /*\n   * A handle that waits cannot be let go,\n   * so that it is closed by the loop.\n   */\n}",
        "def f():\n    # A handle that waits cannot be let go,\n    # so that it is closed by the loop.\n    return 1",
    ],
)
def test_a_sentence_of_a_comment_goes_on_over_its_lines(text: str) -> None:
    said = [said for said, _, is_prose in units(make_evidence(make_chunk("src/f.c", text))[0]) if is_prose]
    assert said == ["A handle that waits cannot be let go, so that it is closed by the loop."]


def test_the_files_of_a_commit_are_no_sentence_of_it() -> None:
    text = "cache: evict what is old\n\nIt was never evicted before.\n\nFiles:\nsrc/a_cache.py\nsrc/other_cache.py"
    commit = make_evidence(make_chunk("abc", text, kind="commit"))[0]
    assert not any("Files" in said for said, _, _ in units(commit))


def test_an_entry_of_a_list_is_quoted_with_the_sentence_that_leads_to_it() -> None:
    text = "/// Panics where one of these holds:\n///\n/// - The given future panics itself.\n"
    text += "/// - It is called within another loop."
    said = [said for said, _, _ in units(make_evidence(make_chunk("src/f.rs", text))[0])]
    assert said[1:] == [
        "Panics where one of these holds: … The given future panics itself.",
        "Panics where one of these holds: … It is called within another loop.",
    ]


@pytest.mark.req("R17")
def test_two_words_that_a_page_writes_as_one_are_the_same_words() -> None:
    aspect = split_question("What is the default size of the thread pool?")[0]
    held = held_in(aspect, "The threadpool is shared.")
    assert {"thread", "pool"} <= held and "size" not in held


@pytest.mark.req("R17")
def test_functions_of_the_name_that_is_asked_for_and_nothing_else_are_no_steps() -> None:
    names = ("pipe", "socket", "printer")
    chunks = [
        make_chunk(f"src/{name}.py", f"def drain({name}_queue):\n    return {name}_queue.take()\n", owner=name.title())
        for name in names
    ]
    answer = ask("What happens when `drain` meets an empty queue?", *chunks)
    assert "`Pipe.drain` is defined in src/pipe.py:1" in answer.answer
    assert "1. " not in answer.answer


@pytest.mark.req("R17")
def test_a_condition_that_shares_one_rare_word_by_chance_is_not_what_decides() -> None:
    (aspect,) = split_question("How is it decided that evidence is too thin?")
    prune = make_chunk("src/store.py", "def prune(limit):\n    while thinned < limit:\n        pass\n")
    judge = make_chunk("src/judge.py", "def judge(evidence):\n    if is_thin(evidence):\n        return None\n")
    weights = {root("thin"): 5.0, root("evidence"): 2.0}
    assert best_lines(aspect, CONDITION, [[prune]], weights) == []
    assert best_lines(aspect, CONDITION, [[prune], [judge]], weights) == [(judge, 2)]
