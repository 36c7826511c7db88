"""Recorded queries asked again, in all four modes, and the stage to blame."""

import json
import os
import sqlite3
import sys
from dataclasses import replace

import pytest

from ingest.access import LOCAL_PRINCIPAL
from mcp_server.blame import CAUSES, STAGES, Blamer, Expectation
from mcp_server.cli import main
from mcp_server.config import load_setup
from mcp_server.errors import BadRequest
from mcp_server.replay import Replayer
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from tests.mcp_server.conftest import FILES, make_repository, reindex, write_files
from tests.mcp_server.fake_llm import FakeLLM, claim, find_block, reply

WORDS = (
    "session cookies", "SessionSigner", "RETRY_LIMIT", "payment provider", "exponential backoff",
    "hexadecimal signature", "shop/retry.py", "wait_before_retry", "SESSION_SALT", "attempts",
    "#12", "compare_digest", "test_sign", "README",
    "unknown_name_here", "retry_payment", "hmac key", "payload bytes", "ConnectionError", "TimeoutError",
)  # fmt: skip
FORMS = (
    "{}",
    "Where is {} defined?",
    "How does {} work?",
    "Why is {} used, and what happens when it fails?",
    "what is {}",
)
QUESTION = "How are session cookies signed?"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A repository with its index and 200 recorded queries."""
    folder = tmp_path_factory.mktemp("replay")
    root = make_repository(folder / "shop-repo")
    setup = load_setup(root=root, config=None, data=folder / "data", env=dict(os.environ))
    service = Service(setup)
    reindex(service)
    for form in FORMS:
        for word in WORDS:
            service.search(SearchRequest(form.format(word), limit=3), LOCAL_PRINCIPAL)
            service.answer(AnswerRequest(form.format(word)), LOCAL_PRINCIPAL, use_cache=False)
    service.close()
    return setup


@pytest.fixture
def service(built):
    service = Service(built)
    yield service
    service.close()


@pytest.fixture
def replayer(service):
    return Replayer(service, LOCAL_PRINCIPAL)


def ask(service, question=QUESTION, **more):
    return service.answer(AnswerRequest(question, **more), LOCAL_PRINCIPAL, use_cache=False).trace_id


@pytest.mark.req("D2")
def test_a_query_of_another_version_names_the_commit_to_check_out(built, service, replayer, monkeypatch):
    monkeypatch.setattr("mcp_server.service.code_commit", lambda: "0123456789abcdef" * 2)
    older = Service(built)
    trace_id = ask(older)
    older.close()
    monkeypatch.undo()
    notes = replayer.replay(trace_id, "re-retrieve").notes
    assert "the query ran on another version of CodeCairn: git checkout 0123456789ab" in notes
    assert not replayer.replay(ask(service), "re-retrieve").notes


@pytest.mark.req("D1", "T35")
@pytest.mark.parametrize("mode", ["verify", "re-retrieve"])
def test_two_hundred_recorded_queries_replay_clean(replayer, service, mode):
    rows = service.list_traces(LOCAL_PRINCIPAL, 200)
    assert len(rows) == 200
    replays = [replayer.replay(row.id, mode) for row in rows]
    assert [str(replay) for replay in replays if not replay.is_same] == []
    assert service.store.verify().faults == ()


@pytest.mark.parametrize("mode", ["verify", "re-retrieve", "full"])
def test_what_asked_nothing_of_the_index_replays_clean(replayer, service, mode):
    replay = replayer.replay(ask(service, "What can you do?"), mode)
    assert replay.is_same, str(replay)


@pytest.mark.req("D1", "D11")
def test_verify_names_the_stage_whose_code_has_changed(replayer, service, monkeypatch):
    trace_id = ask(service)
    real = sys.modules["mcp_server.answering.answer"].compose_text
    monkeypatch.setattr("mcp_server.answering.answer.compose_text", lambda *args: real(*args).upper())
    replay = replayer.replay(trace_id, "verify")
    assert not replay.is_same and replay.diff.first == "respond"
    assert "+answer:" in str(replay) and "-answer:" in str(replay)


@pytest.mark.req("D1")
def test_re_retrieve_names_the_stage_that_ranks_otherwise(replayer, service, monkeypatch):
    trace_id = ask(service)
    real = sys.modules["mcp_server.retrieval.pipeline"].list_weights
    monkeypatch.setattr("mcp_server.retrieval.pipeline.list_weights", lambda *args: {**real(*args), "vector": 0.1})
    replay = replayer.replay(trace_id, "re-retrieve")
    assert not replay.is_same and replay.diff.first == "fusion"
    assert any(line.startswith("~ #") for stage in replay.diff.stages for line in stage.lines)


@pytest.mark.req("D1", "T12")
def test_full_replay_shows_what_the_index_of_today_changes(tmp_path):
    root = make_repository(tmp_path / "shop-repo")
    service = Service(load_setup(root=root, config=None, data=tmp_path / "data", env=dict(os.environ)))
    reindex(service)
    trace_id = ask(service, "What is RETRY_LIMIT?")
    replayer = Replayer(service, LOCAL_PRINCIPAL)
    assert replayer.replay(trace_id, "full").is_same
    for number in range(3):
        write_files(root, {"shop/retry.py": FILES["shop/retry.py"].replace("LIMIT = 5", f"LIMIT = {number + 6}")})
        reindex(service, f"2026-11-22T00:0{number}:00Z")
    replay = replayer.replay(trace_id, "full")
    assert not replay.is_same and replay.diff.first
    assert "generation: 1 -> 4" in replay.diff.setting and "RETRY_LIMIT = 8" in str(replay.answer)
    with pytest.raises(BadRequest, match=r"generation 1 is no longer held. These modes still work: verify.*full"):
        replayer.replay(trace_id, "re-retrieve")
    assert replayer.replay(trace_id, "verify").is_same  # from what the trace holds: neither index nor tree is asked
    service.close()


def test_replay_of_a_thinned_trace_or_one_without_a_blob_says_which_modes_are_left(tmp_path, built):
    root = make_repository(tmp_path / "shop-repo")
    service = Service(load_setup(root=root, config=None, data=tmp_path / "data", env=dict(os.environ)))
    reindex(service)
    trace_id = ask(service)
    replayer = Replayer(service, LOCAL_PRINCIPAL)
    assert replayer.replay(trace_id).is_same
    with sqlite3.connect(service.setup.data_dir / "traces.db") as connection:
        connection.execute("DROP TRIGGER blob_hold")
        connection.execute("DELETE FROM blob WHERE kind = 'chunk'")
    connection.close()
    with pytest.raises(BadRequest, match=r"blob b2:\w+ is missing. These modes still work: re-retrieve, full"):
        replayer.replay(trace_id)
    with pytest.raises(BadRequest, match="holds no answer"):
        replayer.replay(service.search(SearchRequest("RETRY_LIMIT"), LOCAL_PRINCIPAL).trace_id, "re-generate")
    with pytest.raises(BadRequest, match="for mode re-generate"):
        replayer.replay(trace_id, "full", model="x")
    service.close()


@pytest.fixture
def endpoint():
    server = FakeLLM()
    yield server
    server.close()


@pytest.fixture
def modelled(built, endpoint):
    llm = built.settings.llm.model_validate({"model": "writer-1", "base_url": endpoint.url, "timeout_s": 5})
    service = Service(
        replace(built, settings=built.settings.model_copy(update={"llm": llm}), llm_api_key="key-of-the-test")
    )
    yield service
    service.close()


def signing(request):
    block, first, _ = find_block(request, "shop/session.py")
    return reply(claim("`SessionSigner.sign` returns the signature of a payload.", f"{block}:{first}-{first + 9}"))


def salting(request):
    block, first, _ = find_block(request, "shop/session.py")
    return reply(claim('`SESSION_SALT` is `"cart-v2"`.', f"{block}:{first}-{first + 9}"))


@pytest.mark.req("D10", "D1", "P13")
def test_re_generate_asks_another_model_on_the_same_context_and_changes_nothing_else(modelled, endpoint):
    endpoint.default = signing
    trace_id = ask(modelled)
    replayer = Replayer(modelled, LOCAL_PRINCIPAL)
    before = endpoint.requests[-1]
    assert replayer.replay(trace_id, "verify").is_same and len(endpoint.requests) == 1  # nobody is asked for a check
    again = replayer.replay(trace_id, "re-generate")
    assert again.is_same, str(again)
    assert endpoint.requests[-1]["messages"] == before["messages"]
    endpoint.default = salting
    replay = replayer.replay(trace_id, "re-generate", model="writer-2")
    assert endpoint.requests[-1]["model"] == "writer-2"
    assert endpoint.requests[-1]["messages"] == before["messages"]
    assert not replay.is_same and replay.diff.first == "model"
    assert "SESSION_SALT" in replay.answer
    assert [stage.stage for stage in replay.diff.stages if stage.is_same][:2] == ["context", "prompt"]


@pytest.mark.req("D8")
def test_repeats_tell_how_often_the_claims_were_the_same(modelled, endpoint):
    endpoint.default = signing
    trace_id = ask(modelled)
    endpoint.script = [signing, salting, signing, signing]
    replay = Replayer(modelled, LOCAL_PRINCIPAL).replay(trace_id, "re-generate", repeat=4)
    assert (replay.repeats, replay.same_claims) == (4, 0.75)
    assert "4 repeats: same claims 75%" in str(replay)


# -- blame -------------------------------------------------------------------------------------------------------------


def blame(service, trace_id, **expected):
    return Blamer(service, LOCAL_PRINCIPAL).blame(trace_id, Expectation(**{k: (v,) for k, v in expected.items()}))


@pytest.mark.req("D9")
def test_probe_shows_the_rank_in_each_list_and_judges_nothing(service):
    trace_id = ask(service)
    ranks = Blamer(service, LOCAL_PRINCIPAL).probe(trace_id, Expectation(paths=("shop/session.py",)))
    assert {"search.text", "search.vector", "search.symbol", "fusion", "rerank"} <= ranks.keys()
    assert ranks["search.text"] == 1
    assert not [score for score in service.store.scores(trace_id) if score.name == "blame"]
    with pytest.raises(BadRequest, match="not in the index under this query's filters"):
        Blamer(service, LOCAL_PRINCIPAL).probe(trace_id, Expectation(paths=("shop/nowhere.py",)))
    with pytest.raises(BadRequest, match="Say what each list should hold"):
        Blamer(service, LOCAL_PRINCIPAL).probe(trace_id, Expectation(contains=("seven days",)))


@pytest.mark.req("D3", "D4")
def test_nothing_is_to_blame_where_the_expected_file_was_found(service):
    found = blame(service, ask(service), paths="shop/session.py")
    assert (found.stage, found.cause) == ("none", "none")
    assert found.ranks["fusion"] > 0 and any(found.ranks[name] for name in ("search.text", "search.vector"))


@pytest.mark.req("D3", "D4", "D9")
def test_what_is_not_indexed_and_what_a_filter_leaves_out_is_blamed_on_retrieval(service):
    missing = blame(service, ask(service), paths="shop/nowhere.py")
    assert (missing.stage, missing.cause) == ("retrieval", "no_relevant_document")
    narrow = blame(service, ask(service, path_glob="tests/**"), paths="shop/session.py")
    assert (narrow.stage, narrow.cause) == ("retrieval", "wrong_index_or_filter")


@pytest.mark.req("D3", "D4")
def test_what_ranked_below_the_page_is_blamed_on_ranking(service):
    trace_id = service.search(SearchRequest("sign payload signature SessionSigner", limit=1), LOCAL_PRINCIPAL).trace_id
    found = blame(service, trace_id, paths="shop/retry.py")
    assert found.stage == "ranking" and found.cause == "lost_in_fusion_or_rerank"
    scores = service.store.scores(trace_id)
    assert [(one.name, one.label, one.note, one.source) for one in scores] == [
        ("blame", found.stage, found.cause, "rule")
    ]


@pytest.mark.req("D3", "D4")
def test_what_the_budget_left_out_is_blamed_on_the_context(built):
    answer = built.settings.answer.model_copy(update={"budget_tokens": 200})
    small = Service(replace(built, settings=built.settings.model_copy(update={"answer": answer})))
    trace_id = ask(small)
    found = blame(small, trace_id, paths="shop/session.py")
    assert (found.stage, found.cause) == ("context", "truncated")
    roomy = Service(built)
    diff = str(Replayer(roomy, LOCAL_PRINCIPAL).replay(trace_id, "full"))
    assert "config answer.budget_tokens: 200 -> " in diff
    assert "dropped no more, was for budget: shop/session.py:1-" in diff
    roomy.close()
    small.close()


@pytest.mark.req("D3", "D4", "D11")
def test_what_the_model_left_out_and_what_the_ledger_struck_are_told_apart(modelled, endpoint):
    endpoint.default = signing
    left_out = blame(modelled, ask(modelled), contains="cart-v2")
    assert left_out.stage == "prompt" and left_out.cause in CAUSES

    def inventing(request):
        block, first, _ = find_block(request, "shop/session.py")
        good = claim("`SessionSigner.sign` returns the signature of a payload.", f"{block}:{first}-{first + 9}")
        return reply(good, claim("`CookieVault.lock_all` locks every cookie.", f"{block}:{first}-{first + 9}"))

    endpoint.default = inventing
    struck = blame(modelled, ask(modelled), contains="CookieVault.lock_all")
    assert (struck.stage, struck.cause) == ("post-processing", "citation_matching")
    assert set(STAGES) == {"none", "retrieval", "ranking", "context", "prompt", "model", "post-processing"}


@pytest.mark.req("D1", "V2", "T26")
def test_replay_blame_diff_and_config_diff_from_the_command_line(built, service, capsys, monkeypatch):
    one, other = ask(service), ask(service, "What is RETRY_LIMIT?")
    service.store.flush()

    def command(*arguments):
        place = ["--root", str(built.root), "--data", str(built.data_dir)]
        monkeypatch.setattr(sys, "argv", ["codecairn", *arguments, *place])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        return code, capsys.readouterr().out

    code, out = command("trace", "replay", one, "--mode", "re-retrieve")
    assert (code, out) == (0, f"re-retrieve {one}: same\n")
    code, out = command("trace", "replay", "--last", "5", "--json")
    assert code == 0 and json.loads(out) == {"same": 5, "differing": {}, "impossible": {}}
    code, out = command("trace", "diff", one, other)
    assert code == 0 and "first diverging stage: normalise" in out
    assert command("config", "diff", one, other) == (0, "no difference\n")
    code, out = command("trace", "blame", one, "--path", "shop/nowhere.py")
    assert code == 0 and out.startswith("BLAME  retrieval (no_relevant_document)")
    monkeypatch.setenv("CODECAIRN_ANSWER__BUDGET_TOKENS", "900")
    changed = Service(load_setup(root=built.root, config=None, data=built.data_dir, env=dict(os.environ)))
    third = ask(changed)
    changed.close()
    assert command("config", "diff", one, third)[1] == "config answer.budget_tokens: 6000 -> 900\n"


@pytest.mark.req("D1")
@pytest.mark.parametrize("mode", ["verify", "re-retrieve", "re-generate", "full"])
def test_a_check_is_not_replayed_and_says_what_to_do_instead(replayer, service, mode):
    service.check("`SessionSigner` signs.", LOCAL_PRINCIPAL)
    service.store.flush()
    (row,) = service.list_traces(LOCAL_PRINCIPAL, limit=1)
    assert row.tool == "check"
    with pytest.raises(
        BadRequest, match=f"{mode} is not possible: a check is no query.*Run `codecairn check`.*No mode"
    ):
        replayer.replay(row.id, mode)
