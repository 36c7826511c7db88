"""Series F: each fault is caused for real, the answer says so, and nothing is lost."""

import shutil
from dataclasses import replace

import pytest

from ingest.access import LOCAL_PRINCIPAL
from mcp_server.errors import NotReady, Unavailable
from mcp_server.render import render_answer
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.retrieval import pipeline
from mcp_server.service import Building, Service
from tests.mcp_server.conftest import reindex


def search(service, query="SessionSigner", **more):
    return service.search(SearchRequest(query), LOCAL_PRINCIPAL, **more)


def generation_folder(service, number):
    return service.setup.data_dir / "gens" / str(number)


@pytest.mark.req("F3", "K1", "A2")
def test_F3_vector_store_down(setup):
    service = Service(setup)
    reindex(service)
    fresh = Service(setup)
    with fresh.reading() as index:
        shutil.rmtree(generation_folder(service, index.generation) / "lance")
    result = search(fresh)
    assert "vector_unavailable" in result.degraded
    assert result.hits[0].path == "shop/session.py"
    with pytest.raises(Unavailable, match="strict"):
        search(fresh, strict=True)
    answer = fresh.answer(AnswerRequest("How are session cookies signed?"), LOCAL_PRINCIPAL)
    assert render_answer(answer).startswith("ANSWER\n(vector_unavailable: ")
    fresh.close()
    service.close()


@pytest.mark.req("F3", "K1")
def test_F3_vector_store_that_comes_back_is_waited_for(service, monkeypatch):
    """A file that cannot be read for a moment, as on a network drive."""
    with service.reading() as index:  # opened before: a generation that lacks files is not opened at all (F18)
        lance = generation_folder(service, index.generation) / "lance"
        away, tries = lance.with_name("lance-away"), []
        lance.rename(away)
    original = pipeline.RETRIEVERS["vector"]

    def retrieve(*arguments):
        tries.append(1)
        if len(tries) == 3:
            away.rename(lance)
        return original(*arguments)

    monkeypatch.setitem(pipeline.RETRIEVERS, "vector", retrieve)
    assert search(service).degraded == ()
    assert len(tries) == 3


@pytest.mark.req("F4")
def test_F4_reranker_error_keeps_the_fused_order(service, monkeypatch):
    monkeypatch.setattr(pipeline, "rerank", lambda *arguments: 1 / 0)
    result = search(service)
    assert result.degraded == ("rerank_skipped",)
    spans = {span.name: span for span in service.get_trace(result.trace_id, LOCAL_PRINCIPAL).spans}
    assert [row[0] for row in spans["rerank"].output] == [row[0] for row in spans["fusion"].output]
    assert [hit.chunk_id for hit in result.hits][:3] == [row[0] for row in spans["fusion"].output][:3]
    with pytest.raises(Unavailable, match="Ranking failed"):
        search(service, strict=True)


@pytest.mark.req("F6")
def test_F6_thin_retrieval_abstains(service):
    result = service.answer(AnswerRequest("How is the Kubernetes operator reconciled with Terraform?"), LOCAL_PRINCIPAL)
    assert result.abstained
    assert "I do not have that in the index" in result.answer
    assert result.ungrounded


@pytest.mark.req("F8")
def test_F8_empty_index_is_a_state(setup):
    service = Service(setup)
    with pytest.raises(NotReady, match="index_empty.*codecairn index"):
        search(service)
    service.set_building(Building("shop-repo", 1, 4))
    with pytest.raises(NotReady, match=r"index_building.*25 % of shop-repo"):
        search(service)
    assert service.status(LOCAL_PRINCIPAL).state == "index_building"
    service.close()


@pytest.mark.req("F17")
def test_F17_tree_unreadable_is_unchecked(service, repository):
    moved = repository.with_name("moved-away")
    repository.rename(moved)
    result = search(service)
    assert result.hits[0].freshness == "unchecked"
    assert "git_unavailable" in result.degraded


@pytest.mark.req("F18")
def test_F18_damaged_generation_falls_back_to_the_previous(service, repository):
    (repository / "shop" / "coupon.py").write_text("def redeem_coupon(): ...\n")
    reindex(service)
    for file in (generation_folder(service, 2) / "tantivy").glob("*.store"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0x55
        file.unlink()
        file.write_bytes(bytes(data))
    later = Service(service.setup)
    result = search(later)
    assert result.generation == 1
    assert "rolled_back_generation" in result.degraded
    later.close()


@pytest.mark.req("F21")
def test_F21_broken_source_is_still_searchable(service, repository):
    (repository / "shop" / "broken.py").write_text("def ((((\n  class %%% zebra_marker = \n" * 3)
    reindex(service)
    assert search(service, "zebra_marker").hits[0].path == "shop/broken.py"


@pytest.mark.req("T30")
def test_F19_trace_store_not_writable_still_answers(setup):
    service = Service(setup)
    reindex(service)
    service.close()
    for file in setup.data_dir.glob("traces.db*"):
        file.unlink()
    (setup.data_dir / "traces.db").mkdir()
    later = Service(setup)
    search(later)
    later._store.flush()
    result = search(later)
    assert result.hits
    assert "trace_unavailable" in result.degraded
    later.close()


@pytest.mark.req("R19", "A5")
def test_changed_moved_and_deleted_files_are_marked(service, repository):
    file = repository / "shop" / "session.py"
    file.write_text("# a new first line\n" + file.read_text())
    hit = search(service).hits[0]
    assert hit.freshness == "moved"
    answer = service.answer(AnswerRequest("What does `SessionSigner.sign` do?"), LOCAL_PRINCIPAL)
    assert answer.stale
    assert any(c.moved_to and c.moved_to.startswith("shop/session.py:") for c in answer.citations)
    file.unlink()
    assert search(service).hits[0].freshness == "gone"


@pytest.mark.req("I6")
def test_deleted_content_is_not_found_after_the_next_build(service, repository):
    (repository / "shop" / "retry.py").unlink()
    reindex(service)
    for query in ("retry_payment", "Call a payment provider until it answers"):
        assert all(hit.path != "shop/retry.py" for hit in search(service, query).hits)
    assert [name.name for name in search(service, "retry_payment").not_found] == ["retry_payment"]


@pytest.mark.req("R26")
def test_sources_of_an_answer_are_those_of_its_trace(service):
    result = service.answer(AnswerRequest("How are session cookies signed?"), LOCAL_PRINCIPAL)
    trace = service.get_trace(result.trace_id, LOCAL_PRINCIPAL)
    recorded = {chunk.path for chunk in trace.chunks}
    assert {c.path for c in result.citations if c.path} <= recorded


@pytest.mark.req("T1", "T2", "T3", "T4", "T7", "T20", "T23", "T24")
def test_trace_holds_who_what_and_how_long(service):
    result = search(service, "how are  session cookies signed")
    trace = service.get_trace(result.trace_id, LOCAL_PRINCIPAL)
    row = trace.summary
    assert row.tool == "search_code"
    assert row.query_norm == "how are session cookies signed"
    assert row.generation == 1
    assert row.principal_hash
    assert row.principal_hash != LOCAL_PRINCIPAL.id
    assert row.duration_ms > 0
    assert row.config_hash
    names = [span.name for span in trace.spans]
    for stage in (
        "normalise",
        "route",
        "entities",
        "search.text",
        "search.vector",
        "search.symbol",
        "fusion",
        "rerank",
    ):
        assert stage in names


@pytest.mark.req("A6")
def test_secret_in_a_query_is_not_kept(service):
    token = "gh" + "p_" + "A1b2C3d4E5" * 4
    search(service, f"where is {token[:40]} used")
    service.close()
    stored = b"".join(file.read_bytes() for file in service.setup.data_dir.glob("traces.db*"))
    assert token[:40].encode() not in stored


def spans_of(service, result):
    return {span.name: span for span in service.get_trace(result.trace_id, LOCAL_PRINCIPAL).spans}


@pytest.mark.req("T5")
def test_trace_holds_what_names_resolved_to_with_the_alternatives(service, repository):
    (repository / "shop" / "other.py").write_text("class SessionSigner:\n    ...\n")
    reindex(service)
    resolved = spans_of(service, search(service))["entities"].output["entities"]
    assert resolved == [["SessionSigner", "symbol", ["shop/other.py:1", "shop/session.py:8"]]]
    missing = spans_of(service, search(service, "SessionSignr"))["entities"].output["missing"]
    assert missing == ["SessionSignr"]


@pytest.mark.req("T13", "T14")
def test_trace_holds_what_was_kept_and_dropped_and_its_size(setup):
    small = setup.settings.model_copy(
        update={"answer": setup.settings.answer.model_copy(update={"budget_tokens": 450})}
    )
    service = Service(replace(setup, settings=small))
    reindex(service)
    result = service.answer(AnswerRequest("How are session cookies signed?"), LOCAL_PRINCIPAL)
    context = spans_of(service, result)["context"]
    numbered = [f"E{number}" for number in range(1, len(context.output) + 1)]
    assert [details["evidence"] for _, _, details in context.output] == numbered
    assert sum(details["tokens"] for _, _, details in context.output) <= 450
    assert {details["slot"] for _, _, details in context.output} <= {"code", "history"}
    assert "budget" in {reason for _, reason in context.dropped}
    row = service.get_trace(result.trace_id, LOCAL_PRINCIPAL).summary
    assert row.prompt_chars
    assert row.tokens_estimated is True
    service.close()


@pytest.mark.req("R1")
def test_search_is_hybrid_and_filtered(service):
    spans = spans_of(service, search(service, "SessionSigner cookies"))
    assert {"search.text", "search.vector", "search.symbol"} <= set(spans)
    assert all(span.output for name, span in spans.items() if name.startswith("search."))

    def paths(**filters):
        hits = service.search(SearchRequest("session signature", limit=50, **filters), LOCAL_PRINCIPAL).hits
        return {hit.path for hit in hits}

    assert paths(path_glob="tests/**") == {"tests/test_session.py"}
    assert paths(language="markdown") == {"README.md"}
    assert paths(sources=("history",)) == {None}
    assert "shop/session.py" in paths(sources=("code",), product="shop-repo")


@pytest.mark.req("F8")
def test_F8_half_created_index_of_the_first_build_is_a_state(setup):
    setup.data_dir.mkdir(parents=True)
    (setup.data_dir / "control.db").touch()  # the writer has opened it and not yet made its tables
    service = Service(setup)
    with pytest.raises(NotReady, match="index_empty: nothing is indexed yet"):
        search(service)
    service.set_building(Building("shop-repo", 0, 0))
    with pytest.raises(NotReady, match="index_building"):
        search(service)
    service.close()
