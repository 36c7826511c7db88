"""MCP in memory, both protocol eras."""

import base64
import gc
import json
import re

import anyio
import pytest
from mcp import Client

from ingest.access import LOCAL_PRINCIPAL, Principal
from mcp_server.errors import BadRequest
from mcp_server.results import SearchRequest
from mcp_server.server import make_server
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

MODES = ("auto", "legacy")


def run(service, steps, mode="auto", principal=None):
    """Open a client and run `await steps(client)`."""

    async def session():
        async with Client(make_server(service, principal=principal), mode=mode) as client:
            return await steps(client)

    return anyio.run(session)


def call(service, tool, era="auto", principal=None, **arguments):
    async def steps(client):
        result = await client.call_tool(tool, arguments)
        assert result.structured_content is None
        return result.is_error, result.content[0].text

    return run(service, steps, era, principal)


@pytest.mark.parametrize("mode", MODES)
def test_exactly_three_tools_that_read_only(service, mode):
    async def steps(client):
        return (await client.list_tools()).tools

    tools = run(service, steps, mode)
    assert [tool.name for tool in tools] == ["search_code", "answer", "explain_trace"]
    for tool in tools:
        assert tool.annotations.read_only_hint
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema is None


def test_definitions_and_instructions_fit_the_budget(service):
    async def steps(client):
        tools = (await client.list_tools()).tools
        return sum(len(json.dumps(t.model_dump(by_alias=True, exclude_none=True))) for t in tools)

    instructions = make_server(service).instructions
    assert len(instructions) <= 600
    assert run(service, steps) + len(instructions) <= 3600


@pytest.mark.parametrize("mode", MODES)
def test_search_names_path_lines_and_trace(service, mode):
    is_error, text = call(service, "search_code", mode, query="how are session cookies signed")
    assert not is_error
    assert text.startswith("shop/session.py:")
    assert "index=1" in text
    assert "trace=" in text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.req("R9", "T1")
def test_answer_cites_and_lists_what_is_not_grounded(service, mode):
    is_error, text = call(
        service, "answer", mode, question="What does `SessionSigner.sign` return and where is the Redis cache?"
    )
    assert not is_error
    assert "CITATIONS" in text
    assert "shop/session.py:" in text
    assert "UNGROUNDED" in text
    assert "Redis" in text.split("UNGROUNDED")[1]
    assert "TRACE " in text


@pytest.mark.req("F6", "R9")
def test_unknown_name_abstains_with_the_nearest(service):
    is_error, text = call(service, "answer", question="What does `SessionSignr` do?")
    assert not is_error
    assert "I do not have that in the index" in text
    assert "SessionSigner" in text


@pytest.mark.req("T17", "T25")
def test_explain_trace_shows_the_stages(service):
    _, text = call(service, "search_code", query="retry payment")
    trace_id = text.rsplit("trace=", 1)[1].strip()
    is_error, explained = call(service, "explain_trace", trace_id=trace_id)
    assert not is_error
    for stage in ("normalise", "search.text", "search.vector", "search.symbol", "fusion", "rerank", "freshness"):
        assert stage in explained
    _, one = call(service, "explain_trace", trace_id=trace_id, stage="rerank")
    assert "rerank" in one


@pytest.mark.req("F13")
@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("search_code", {"query": "x", "limt": 3}, "Did you mean 'limit'?"),
        ("search_code", {"query": "x", "limit": 0}, "limit"),
        ("search_code", {"query": ""}, "query"),
        ("search_code", {"query": "  "}, "is empty"),
        ("search_code", {"query": "x" * 25_000}, "20000"),
        ("search_code", {"query": "x", "sources": ["nope"]}, "Unknown source 'nope'"),
        ("search_code", {"query": "x", "product": "nope"}, "Unknown product"),
        ("search_code", {"query": "x", "cursor": "!!"}, "Ask again without `cursor`"),
        ("answer", {}, "question"),
        ("explain_trace", {"trace_id": "nothing"}, "There is no trace 'nothing'"),
        ("find_everything", {}, "search_code"),
    ],
)
def test_bad_arguments_get_a_sentence(service, tool, arguments, expected):
    is_error, text = call(service, tool, **arguments)
    assert is_error
    assert expected in text
    assert "pydantic" not in text
    assert len(text) <= 600


def test_aliases_are_repaired_where_the_target_is_free(service):
    is_error, text = call(service, "search_code", q="retry payment", top_k=1)
    assert not is_error
    assert "shown 1/" in text


def test_pages_do_not_overlap_and_an_old_cursor_is_refused(service, repository):
    _, first = call(service, "search_code", query="session", limit=1)
    cursor = first.split("next_cursor=")[1].split()[0]
    _, second = call(service, "search_code", query="session", limit=1, cursor=cursor)
    assert first.splitlines()[0] != second.splitlines()[0]
    is_error, text = call(service, "search_code", query="other", limit=1, cursor=cursor)
    assert is_error
    assert "another query" in text
    (repository / "shop" / "new.py").write_text("def new_session(): ...\n")
    reindex(service)
    is_error, text = call(service, "search_code", query="session", limit=1, cursor=cursor)
    assert is_error
    assert "generation 1; the index is now at 2" in text


@pytest.mark.req("R8")
def test_every_occurrence_with_a_true_count_and_pages(service, repository):
    lines = [f"    use(limit_{n}, RETRY_LIMIT)" for n in range(60)]
    (repository / "many.py").write_text("\n".join(["def caller(RETRY_LIMIT_2):", *lines]) + "\n")
    reindex(service)
    in_tree = {
        (str(path.relative_to(repository)), number)
        for path in repository.rglob("*.*")
        if ".git" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\bRETRY_LIMIT\b", line)
    }
    found, cursor = [], ""
    while True:
        arguments = {"query": "RETRY_LIMIT", "mode": "all", "sources": ["code"], "limit": 25, "response_format": "json"}
        _, text = call(service, "search_code", **arguments, **({"cursor": cursor} if cursor else {}))
        page = json.loads(text)
        found += [(hit["path"], hit["start_line"]) for hit in page["hits"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(found) == len(set(found)) == page["total"]
    assert set(found) == in_tree
    _, text = call(service, "search_code", query="RETRY_LIMIT", mode="all", sources=["code"])
    assert "definition" in text.splitlines()[0]
    assert "many.py:2  caller: use(limit_0, RETRY_LIMIT)" in text


def test_every_occurrence_of_a_name_that_is_not_there_offers_the_nearest(service):
    _, text = call(service, "search_code", query="SesionSigner", mode="all")
    assert "0 hits" in text
    assert "Nearest: SessionSigner" in text
    is_error, text = call(service, "search_code", query="()[]", mode="all")
    assert is_error
    assert "no letter or digit" in text


def test_results_stay_below_the_budget(service, repository):
    (repository / "big.py").write_text("\n".join(f"def session_{n}():\n    return {n}\n" for n in range(3000)))
    reindex(service)
    for form in ("concise", "detailed"):
        _, text = call(service, "search_code", query="session", limit=50, response_format=form)
        assert len(text) <= 9000


@pytest.mark.req("S9")
def test_a_principal_without_the_group_sees_nothing(service):
    stranger = Principal("stranger", frozenset({"other"}))
    for tool, arguments in (
        ("search_code", {"query": "SessionSigner"}),
        ("answer", {"question": "What is SessionSigner?"}),
    ):
        _, text = call(service, tool, principal=stranger, **arguments)
        assert "session.py" not in text
    is_error, text = call(service, "search_code", principal=stranger, query="x", sources=["shop-repo"])
    assert is_error
    assert "Unknown source 'shop-repo'" in text


def test_resources(service):
    async def steps(client):
        status = (await client.read_resource("status://index")).contents[0].text
        code = (await client.read_resource("code://shop-repo/shop/session.py")).contents[0].text
        return status, code

    status, code = run(service, steps)
    assert "state: ready" in status
    assert "9| " in code or "8| class SessionSigner" in code


def test_small_talk_gets_the_capabilities(service):
    _, text = call(service, "answer", question="what can you do?")
    assert "Ask where something is implemented" in text


def leases(setup):
    return [path.name.split("-")[0] for path in (setup.data_dir / "leases").iterdir()]


def test_a_replaced_generation_is_let_go_at_once_even_after_errors(service, setup, repository):
    """Its folder can only be collected then; the garbage collector of Python may come much later."""
    gc.disable()
    try:
        for n in range(3):
            call(service, "search_code", query="session")
            call(service, "search_code", query="session", cursor="zz")
            (repository / "shop" / f"new{n}.py").write_text(f"def new_{n}(): ...\n")
            reindex(service)
        call(service, "search_code", query="session")
        assert leases(setup) == ["4"]
    finally:
        gc.enable()


def test_a_generation_is_kept_while_a_query_reads_it(service, setup, repository):
    with service.reading() as old:
        (repository / "shop" / "new.py").write_text("def new(): ...\n")
        reindex(service)
        with service.reading() as new:
            assert new.generation == old.generation + 1
        assert sorted(leases(setup)) == ["1", "2"]
    assert leases(setup) == ["2"]


@pytest.mark.parametrize("signature", ["é", "ключ"])
def test_a_cursor_with_any_letters_gets_a_sentence(service, signature):
    cursor = base64.urlsafe_b64encode(f"1.1.{signature}".encode()).decode().rstrip("=")
    is_error, text = call(service, "search_code", query="session", cursor=cursor)
    assert is_error
    assert "belongs to another query" in text


@pytest.fixture
def many_hits(service, repository):
    (repository / "big.py").write_text("\n".join(f"def session_{n}():\n    return {n}\n" for n in range(3000)))
    reindex(service)
    return service


def test_json_pages_within_the_budget_and_leaves_no_hit_out(many_hits):
    seen, cursor = [], ""
    for _ in range(60):
        _, text = call(many_hits, "search_code", query="session", limit=20, cursor=cursor, response_format="json")
        assert len(text) <= 9000
        page = json.loads(text)
        seen += [(hit["path"], hit["start_line"]) for hit in page["hits"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == page["total"]


def test_text_that_does_not_fit_goes_on_at_the_cursor(many_hits):
    _, text = call(many_hits, "search_code", query="session", limit=50, response_format="detailed")
    shown, total = map(int, text.split("shown ")[1].split()[0].split("/"))
    assert shown < 50 <= total
    cursor = text.split("next_cursor=")[1].split()[0]
    _, rest = call(many_hits, "search_code", query="session", limit=50, cursor=cursor, response_format="json")
    _, whole = call(many_hits, "search_code", query="session", limit=50, response_format="json")
    assert json.loads(rest)["hits"][0] not in json.loads(whole)["hits"][:shown]


@pytest.mark.parametrize("form", ["concise", "detailed", "json"])
@pytest.mark.parametrize(("tool", "argument"), [("search_code", "query"), ("answer", "question")])
def test_hundreds_of_missing_names_stay_below_the_budget(service, form, tool, argument):
    names = " ".join(f"`missing_name_{n}`" for n in range(700))
    is_error, text = call(service, tool, response_format=form, **{argument: names})
    assert not is_error
    assert len(text) <= 9000
    if form == "json":
        assert json.loads(text)["trace_id"]


@pytest.mark.req("T1")
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("search_code", {"query": "session", "cursor": "zz"}), ("answer", {"question": "x", "product": "nope"})],
)
def test_an_error_names_its_trace(service, tool, arguments):
    is_error, text = call(service, tool, **arguments)
    assert is_error
    trace_id = text.rsplit("trace=", 1)[1]
    is_error, explained = call(service, "explain_trace", trace_id=trace_id)
    assert not is_error
    assert "BadRequest" in explained


@pytest.mark.req("T29", "S12")
def test_a_query_that_fails_leaves_a_log_line(service, capsys):
    logging = Service(service.setup, log=True)
    with pytest.raises(BadRequest):
        logging.search(SearchRequest("SessionSigner", product="nowhere"), LOCAL_PRINCIPAL)
    logging.close()
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (line["event"], line["tool"], line["status"], line["error"]) == (
        "query",
        "search_code",
        "handled",
        "BadRequest",
    )
    assert "SessionSigner" not in json.dumps(line)


@pytest.mark.req("T1")
def test_a_defect_names_its_trace_which_has_the_details(service, monkeypatch):
    monkeypatch.setattr("mcp_server.retrieval.pipeline.search", lambda *arguments, **more: 1 / 0)
    is_error, text = call(service, "search_code", query="session")
    assert is_error
    assert "A defect inside the server (ZeroDivisionError)." in text
    _, explained = call(service, "explain_trace", trace_id=text.rsplit("trace=", 1)[1])
    assert "division by zero" in explained


@pytest.mark.req("M11", "I1")
def test_whoever_listens_to_the_status_is_told_of_a_new_generation(service):
    """From the thread that follows the worker, on the event loop of each client."""

    async def session():
        wanted = ["status://index"]
        async with Client(make_server(service)) as client, client.listen(resource_subscriptions=wanted) as events:
            await anyio.to_thread.run_sync(service.tell_published, 2)
            with anyio.fail_after(60):
                return await anext(aiter(events))

    event = anyio.run(session)
    assert str(event.uri) == "status://index"
