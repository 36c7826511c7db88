"""Cached answers: the same question once, never past what it cites, never across rights."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from typer.testing import CliRunner

from ingest.access import LOCAL_PRINCIPAL, Principal
from mcp_server.cache import Cache, CacheUnavailable, SingleFlight, make_key, wording
from mcp_server.cli import app
from mcp_server.errors import Unavailable
from mcp_server.results import AnswerRequest
from mcp_server.service import Service
from mcp_server.web import make_app
from tests.ingest.embedding.test_openai import Endpoint
from tests.mcp_server.conftest import reindex
from tests.mcp_server.fake_llm import FakeLLM, Step, claim, find_block, reply

QUESTION = "How are session cookies signed?"


def signing(request):
    block, start, end = find_block(request, "shop/session.py")
    return reply(claim("`SessionSigner.sign` signs with `hmac` and `SESSION_SALT`.", f"{block}:{start}-{end}"))


@pytest.fixture
def endpoint():
    server = FakeLLM()
    server.default = signing
    yield server
    server.close()


class Clock:
    """A clock that tests move."""

    def __init__(self):
        self.at = datetime(2026, 11, 21, tzinfo=UTC)

    def __call__(self):
        return self.at

    def pass_(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def asked(setup, endpoint, clock):
    """A service whose answers a model writes: each call of the endpoint is an answer that was worked out."""
    llm = setup.settings.llm.model_validate({"model": "m", "base_url": endpoint.url, "timeout_s": 5})
    service = Service(replace(setup, settings=setup.settings.model_copy(update={"llm": llm})), now=clock)
    reindex(service)
    yield service
    service.close()


def ask(service, question=QUESTION, principal=LOCAL_PRINCIPAL, **more):
    filters = {name: more.pop(name) for name in ("sources", "product", "path_glob", "language") if name in more}
    return service.answer(AnswerRequest(question, **filters), principal, **more)


def hits(service, result):
    return service.get_trace(result.trace_id, LOCAL_PRINCIPAL).summary.cache


@pytest.mark.req("C1", "C7", "T22")
def test_the_same_question_is_worked_out_once_and_the_answer_says_so(asked, endpoint):
    first, second = ask(asked), ask(asked, "  How are session\tcookies signed? ")
    assert len(endpoint.requests) == 1
    assert (first.cached, second.cached) == (False, True)
    assert second.answer == first.answer
    assert second.cached_trace_id == first.trace_id != second.trace_id
    assert second.cached_at == "2026-11-21T00:00:00+00:00"
    assert (hits(asked, first)["answer"], hits(asked, second)["answer"]) == (False, True)
    assert [span.name for span in asked.get_trace(second.trace_id, LOCAL_PRINCIPAL).spans] == ["respond"]


@pytest.mark.req("C1")
@pytest.mark.parametrize("other", [{"path_glob": "shop/**"}, {"sources": ("code",)}, {"language": "python"}])
def test_other_filters_are_another_question(asked, endpoint, other):
    ask(asked)
    assert not ask(asked, **other).cached
    assert len(endpoint.requests) == 2


@pytest.mark.req("C1", "A6", "S1")
def test_other_rights_are_another_question(asked, endpoint):
    ask(asked)
    nobody = ask(asked, principal=Principal("stranger", frozenset({"other"})))
    assert not nobody.cached
    assert nobody.abstained
    assert not ask(asked, principal=Principal("x", frozenset({"local", "more"}))).cached


@pytest.mark.req("C2", "N5")
def test_an_answer_is_given_again_for_five_minutes(asked, endpoint, clock):
    ask(asked)
    clock.pass_(299)
    assert ask(asked).cached
    clock.pass_(2)
    assert not ask(asked).cached
    assert len(endpoint.requests) == 2


@pytest.mark.req("C3", "A5")
def test_a_cited_file_that_changed_is_read_again(asked, endpoint, repository):
    ask(asked)
    file = repository / "shop" / "session.py"
    file.write_text("# one line more\n" + file.read_text())
    assert not ask(asked).cached, "the tree changed, the index did not"
    reindex(asked)
    result = ask(asked)
    assert not result.cached
    assert (result.generation, result.citations[0].freshness) == (2, "fresh")


@pytest.mark.req("C3")
def test_an_answer_outlives_a_generation_that_changed_nothing_of_it(asked, endpoint, repository):
    first = ask(asked)
    (repository / "shop" / "coupon.py").write_text("def redeem_coupon(): ...\n")
    reindex(asked)
    second = ask(asked)
    assert (second.cached, second.generation) == (True, first.generation + 1)
    assert len(endpoint.requests) == 1


@pytest.mark.req("C12", "K8")
def test_an_abstention_holds_until_the_next_generation(asked, repository):
    question = "What does `redeem_coupon` do?"
    assert ask(asked, question).abstained
    assert ask(asked, question).cached
    (repository / "shop" / "coupon.py").write_text('def redeem_coupon():\n    """Take the coupon off the price."""\n')
    reindex(asked)
    assert not ask(asked, question).cached


@pytest.mark.req("C12", "F9")
def test_a_degraded_answer_is_not_kept(asked, endpoint):
    endpoint.default = Step("no json")
    assert ask(asked).degraded == ("parse_failed",)
    endpoint.default = signing
    result = ask(asked)
    assert (result.cached, result.degraded) == (False, ())


@pytest.mark.req("C8")
def test_the_caller_can_ask_for_a_new_answer(asked, endpoint):
    ask(asked)
    assert not ask(asked, use_cache=False).cached
    assert len(endpoint.requests) == 2


@pytest.mark.req("F2", "K3")
def test_F2_model_down_gives_an_old_answer_that_still_holds(asked, endpoint, clock):
    first = ask(asked)
    clock.pass_(3000)
    endpoint.default = Step(status=401)
    result = ask(asked)
    assert (result.answer, result.cached, result.degraded) == (first.answer, True, ("llm_down",))
    assert result.mode == "model"
    with pytest.raises(Unavailable):
        ask(asked, strict=True)
    clock.pass_(700)
    assert (ask(asked).mode, ask(asked).cached) == ("extractive", False), "an hour is the end of it"


@pytest.mark.req("F7", "C6")
def test_F7_cache_down_is_said_and_everything_else_works(asked, endpoint):
    asked._cache.close()
    path = asked.setup.data_dir / "cache.db"
    for file in asked.setup.data_dir.glob("cache.db*"):
        file.unlink()
    path.mkdir()
    result = ask(asked)
    assert (result.mode, result.degraded) == ("model", ("cache_unavailable",))
    assert not ask(asked).cached
    assert asked.get_trace(result.trace_id, LOCAL_PRINCIPAL).summary.degraded == ("cache_unavailable",)


@pytest.mark.req("F7")
def test_F7_damaged_cache_is_said(asked):
    ask(asked)
    asked._cache.close()
    for file in asked.setup.data_dir.glob("cache.db*"):
        file.write_bytes(b"this is no database" * 500)
    assert ask(asked).degraded == ("cache_unavailable",)


@pytest.mark.req("C11")
def test_one_burst_of_the_same_question_costs_one_call(asked, endpoint):
    arrived = threading.Barrier(6)
    endpoint.default = lambda request: replace(signing(request), pause_s=0.2)
    results = []

    def go():
        arrived.wait()
        results.append(ask(asked))

    callers = [threading.Thread(target=go) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(endpoint.requests) == 1
    assert len({result.answer for result in results}) == 1
    assert len({result.trace_id for result in results}) == 6
    assert sorted(result.cached for result in results) == [False] + [True] * 5


def test_work_that_fails_for_one_is_done_by_the_next():
    flight, calls = SingleFlight(), []

    def fail():
        calls.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        flight.run("k", fail)
    assert flight.run("k", lambda: 7) == (7, False)


@pytest.mark.req("C10", "N9")
def test_a_bursty_mix_costs_at_least_a_quarter_less(asked, endpoint):
    kinds = [QUESTION, "How is a session cookie signed?", "What does `SessionSigner.verify` do?"]
    mix = [kinds[n % 3] for n in range(6)] + [QUESTION] * 4
    for question in mix:
        ask(asked, question)
    assert len(endpoint.requests) <= 0.75 * len(mix)


# -- other words ------------------------------------------------------------------------------------------------------


@pytest.mark.req("C4", "K7")
def test_another_wording_of_the_question_is_a_hit(asked, endpoint):
    first = ask(asked)
    second = ask(asked, "Please show me how the session cookie is signed")
    assert (second.cached, second.answer) == (True, first.answer)
    assert hits(asked, second)["semantic"] is True
    assert len(endpoint.requests) == 1


@pytest.mark.req("C4", "K7")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what does parse_v1 return", "what does parse_v2 return"),
        ("what does parse_v1 return", "what does parse_V1 return"),
        ("does load_a call load_b", "does load_b call load_a"),
        ("is the client verified by the server", "is the server verified by the client"),
        ("where is the timeout of 30 s set", "where is the timeout of 60 s set"),
        ("what changed in version 2.1", "what changed in version 2.2"),
        ("what does SHOP-12 touch", "what does SHOP-13 touch"),
        ("what is in shop/session.py", "what is in shop/sessions.py"),
        ("how are cookies signed", "how are cookies not signed"),
        ("how are cookies signed", "why are cookies signed"),
        ("how are cookies signed", "where are cookies signed"),
        ("how are cookies signed", "how are cookies verified"),
        ("retries with backoff", "retries without backoff"),
        ("what runs before the build", "what runs after the build"),
        ("what does `sign` do", "what does `Sign` do"),
        ("can retries be enabled", "can retries be disabled"),
    ],
)
def test_questions_that_only_look_alike_are_kept_apart(one, other):
    assert make_key(one, []).near != make_key(other, []).near


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How are session cookies signed?", "please show me how a session cookie is signed"),
        ("Where does retry_payment sleep?", "please tell where does retry_payment sleep"),
        ("What is the limit of retries", "what is a limit of the retries"),
    ],
)
def test_questions_in_other_words_share_a_key(one, other):
    assert wording(one) == wording(other)


# -- embeddings, file -------------------------------------------------------------------------------------------------


@pytest.fixture
def embedded(setup):
    """A service whose vectors come from an endpoint."""
    endpoint = Endpoint()
    values = {"kind": "openai", "model": "e", "base_url": endpoint.url, "dimensions": 4, "timeout_s": 5}
    embedding = setup.settings.embedding.model_validate(values)
    service = Service(replace(setup, settings=setup.settings.model_copy(update={"embedding": embedding})))
    reindex(service)
    yield service, endpoint
    service.close()
    endpoint.close()


@pytest.mark.req("C9", "T22")
def test_the_vector_of_a_query_is_asked_for_once(embedded):
    service, endpoint = embedded
    before = len(endpoint.requests)
    results = [ask(service, use_cache=False) for _ in range(2)]
    assert [request["input"] for request in endpoint.requests[before:]] == [[QUESTION]]
    assert [hits(service, result)["embedding"] for result in results] == [False, True]


@pytest.mark.req("S3")
def test_secrets_of_a_query_do_not_reach_the_embedding_endpoint(embedded):
    service, endpoint = embedded
    token, person = "gh" + "p_" + "A1b2C3d4E5" * 3 + "f6G7h8", "jane.roe" + "@" + "shop-mail.de"
    ask(service, f"How does `SessionSigner.sign` work with {token} of {person}?")
    sent = json.dumps(endpoint.requests)
    assert "SessionSigner" in sent
    assert token not in sent
    assert person not in sent


@pytest.mark.req("F1", "K2")
def test_F1_embedding_endpoint_down_is_said_and_text_search_answers(embedded):
    service, endpoint = embedded
    endpoint.close()
    result = ask(service)
    assert "embed_unavailable" in result.degraded
    assert result.citations or result.nearest
    with pytest.raises(Unavailable, match="strict"):
        ask(service, strict=True)


@pytest.mark.req("F1")
def test_F1_embedding_endpoint_down_gives_an_old_answer_that_still_holds(setup):
    clock, endpoint = Clock(), Endpoint()
    values = {"kind": "openai", "model": "e", "base_url": endpoint.url, "dimensions": 4, "timeout_s": 5}
    embedding = setup.settings.embedding.model_validate(values)
    service = Service(replace(setup, settings=setup.settings.model_copy(update={"embedding": embedding})), now=clock)
    reindex(service)
    first = ask(service, "What does `SessionSigner.sign` do?")
    clock.pass_(1000)
    endpoint.close()
    service._cache._run(lambda db: db.execute("DELETE FROM vector"))
    result = ask(service, "What does `SessionSigner.sign` do?")
    assert (result.answer, result.cached, result.degraded) == (first.answer, True, ("embed_unavailable",))
    service.close()


@pytest.mark.req("S11", "A6")
def test_a_question_with_a_secret_is_not_stored(asked):
    token = "gh" + "p_" + "A1b2C3d4E5" * 3 + "f6G7h8"
    ask(asked, f"How does `SessionSigner.sign` work with {token}?")
    asked.close()
    stored = b"".join(file.read_bytes() for file in asked.setup.data_dir.glob("cache.db*"))
    assert token.encode() not in stored


def test_unusable_file_is_an_error_of_its_own(tmp_path):
    (tmp_path / "cache.db").mkdir()
    with pytest.raises(CacheUnavailable, match=r"cache\.db cannot be used"):
        Cache(tmp_path / "cache.db").find(make_key("x", []), 0)


def test_oldest_answers_go(tmp_path, monkeypatch):
    from mcp_server import cache
    from mcp_server.cache import Entry

    monkeypatch.setattr(cache, "MAX_ANSWERS", 3)
    store = Cache(tmp_path / "cache.db")
    keys = [make_key(f"q{n}", []) for n in range(5)]
    for n, key in enumerate(keys):
        store.put(key, Entry("{}", (), 1, 100.0 + n))
    assert [store.find(key, 0) is not None for key in keys] == [False, False, True, True, True]
    store.put(keys[0], Entry("{}", (), 1, 4000.0))
    assert store.find(keys[4], 0) is None, "older than an hour"
    store.close()


@pytest.mark.req("C8", "C7")
def test_cache_over_http_and_command_line(setup):
    service = Service(setup)
    reindex(service)
    try:
        web = make_app(service, PlainTextResponse("mcp"), lambda: None)
        client = TestClient(web, base_url="http://127.0.0.1")
        bodies = [{"question": QUESTION, **more} for more in ({}, {}, {"use_cache": False})]
        answers = [client.post("/v1/query", json=body).json() for body in bodies]
        assert [answer["cached"] for answer in answers] == [False, True, False]
        assert answers[1]["cached_trace_id"] == answers[0]["trace_id"]
    finally:
        service.close()
    common = ["answer", QUESTION, "--root", str(setup.root), "--data", str(setup.data_dir), "--json"]
    said = [json.loads(CliRunner().invoke(app, [*common, *more]).stdout) for more in ([], ["--no-cache"])]
    assert [answer["cached"] for answer in said] == [True, False]
