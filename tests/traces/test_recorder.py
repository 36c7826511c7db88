"""Recording: complete, failing, cancelled, in parallel, and never in the way."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.traces.conftest import CANARY, Desk, make_chunk, record_one, record_search, see_all
from traces.draft import rehash
from traces.log import log_record
from traces.model import CONTENT_BLOCKED, SPAN_NAMES, Caller, Trace
from traces.recorder import TraceRecorder
from traces.store import TraceQuery, TraceStore


def read(desk: Desk, trace_id: str) -> Trace:
    trace = desk.store.get(trace_id, see_all)
    assert trace is not None
    return trace


@pytest.mark.req("T1", "T2", "T3", "T7", "T24", "T26")
def test_trace_keeps_who_asked_what_of_which_index_with_which_config(desk: Desk) -> None:
    trace = read(desk, record_one(desk))
    row = trace.summary
    assert (row.env, row.service_version, row.code_commit) == ("dev", "0.1.0", "c0ffee1")
    assert (row.client, row.client_version, row.request_id, row.principal_hash) == ("claude-code", "2.0", "req-1", "p1")
    assert (row.generation, row.revisions, row.at) == (7, {"app": "abc1234"}, "2026-11-21T10:30:00.000Z")
    assert (row.chunks_retrieved, row.chunks_used, row.sources, row.query_chars) == (5, 3, ("app",), 17)
    assert trace.config == {"retrieval": {"limit": 50}}
    assert row.config_hash is not None and row.config_hash.startswith("b2:")
    assert trace.arguments == {"query": "How does it work?", "limit": 3}
    assert (row.status, row.content, len(row.id)) == ("success", "full", 26)


@pytest.mark.req("T8", "T9", "T10", "T11", "T12", "T20", "T25")
def test_trace_keeps_each_list_and_the_text_of_its_chunks(desk: Desk) -> None:
    trace = read(desk, record_one(desk))
    spans = {span.name: span for span in trace.spans}
    assert spans["search.text"].output[0] == [1, 10.0, {"terms": ["work"]}]
    assert spans["search.vector"].output[4] == [1, 0.9 - 4 / 10]  # exactly, to the last bit
    assert spans["fusion"].config == {"weights": {"text": 1.0, "vector": 0.7}}
    assert (spans["rerank"].n_in, spans["rerank"].n_out, spans["diversify"].n_out) == (5, 5, 3)
    assert all(span.duration_ms >= 0 and span.start_ms >= 0 for span in trace.spans)
    assert {chunk.id: chunk.text for chunk in trace.chunks}[2] == make_chunk(2).text
    assert [(c.id, c.kept, c.stage, c.rank, c.reason) for c in trace.chunks[2:4]] == [
        (3, True, "diversify", 3, None),
        (4, False, "rerank", 4, "diversify: same file as #1"),
    ]


def test_mere_candidate_has_no_row_but_can_still_be_named(desk: Desk, path: Path) -> None:
    with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace:
        with trace.span("search.text") as span:
            span.record(output=[[1, 2.0], [2, 1.0], [77, 0.5]], chunks=[make_chunk(1), make_chunk(2)])
        with trace.span("fusion") as span:
            span.record(output=[[1, 1.0]])
    kept = read(desk, trace.id)
    assert [(c.id, c.stage, c.kept, c.hash is None) for c in kept.chunks] == [
        (1, "fusion", True, False),
        (2, None, False, True),
    ]
    assert kept.chunks[1].label == "src/module_2.py:2-4"
    assert rehash(kept) == kept.hash
    assert [row.id for row in desk.store.find(TraceQuery(chunk=1), see_all)] == [trace.id]
    assert desk.store.find(TraceQuery(chunk=2), see_all) == []


@pytest.mark.req("T25")
def test_span_names_are_those_of_the_catalogue_and_a_slip_is_told(desk: Desk) -> None:
    assert len(SPAN_NAMES) == len(set(SPAN_NAMES)) >= 20
    with desk.recorder.trace(tool="answer", query="q", entry="cli") as trace:
        for name in SPAN_NAMES:
            with trace.span(name):
                pass
        with pytest.raises(ValueError, match=r"did you mean 'fusion'"):
            trace.span("fusoin")
        with pytest.raises(TypeError, match="generatoin"):
            trace.set(generatoin=1)  # type: ignore[call-arg]


@pytest.mark.req("T23", "T30")
def test_failing_run_leaves_a_trace_and_raises_what_it_raised(desk: Desk) -> None:
    with (
        pytest.raises(RuntimeError, match="boom") as caught,
        desk.recorder.trace(tool="answer", query="why", entry="mcp-stdio") as trace,
        trace.span("rerank"),
    ):
        raise RuntimeError(f"boom {CANARY}")
    assert CANARY in str(caught.value)  # the caller gets the original
    kept = read(desk, trace.id)
    assert (kept.summary.status, kept.summary.error_type) == ("failed", "RuntimeError")
    assert kept.failure is not None
    assert kept.failure.message == "boom " + "*" * len(CANARY)
    assert "test_recorder.py" in kept.failure.stack
    assert CANARY not in kept.failure.stack
    assert kept.spans[0].error_type == "RuntimeError"


@pytest.mark.req("T23")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LookupError("no such source"), "handled"),
        (ValueError("bug"), "failed"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_status_tells_an_answer_from_a_fault_from_a_cancellation(desk: Desk, error: BaseException, status: str) -> None:
    with (
        pytest.raises(type(error)),
        desk.recorder.trace(tool="answer", query="q", entry="cli") as trace,
    ):
        raise error
    assert read(desk, trace.id).summary.status == status


@pytest.mark.req("T23", "A2")
def test_stage_that_failed_and_fell_back_is_in_the_trace_with_its_code(desk: Desk) -> None:
    with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace:
        try:
            with trace.span("search.vector"):
                raise OSError("vectors are gone")
        except OSError:
            trace.set(degraded=["vector_unavailable"])
        trace.set(degraded=["vector_unavailable", "git_unavailable"])
    kept = read(desk, trace.id)
    assert kept.summary.degraded == ("vector_unavailable", "git_unavailable")
    assert kept.summary.status == "handled"
    failure = kept.spans[0].failure
    assert failure is not None and failure.message == "vectors are gone"


def test_spans_nest_and_name_their_parent_across_threads(desk: Desk) -> None:
    with desk.recorder.trace(tool="answer", query="q", entry="cli") as trace:
        with trace.span("transform") as outer, trace.span("model"):
            pass
        with ThreadPoolExecutor(2) as pool:
            for name in ("search.text", "search.vector"):
                pool.submit(lambda name=name: trace.span(name, parent=outer).__enter__().__exit__(None, None, None))
        with trace.span("respond"):
            pass
    spans = {span.name: span for span in read(desk, trace.id).spans}
    assert spans["transform"].parent is None and spans["respond"].parent is None
    assert {spans[name].parent for name in ("model", "search.text", "search.vector")} == {spans["transform"].id}


def test_span_of_another_trace_is_no_parent(desk: Desk) -> None:
    with desk.recorder.trace(tool="answer", query="q", entry="cli") as outer, outer.span("tool"):
        with desk.recorder.trace(tool="search_code", query="q", entry="cli") as inner, inner.span("fusion"):
            pass
    assert read(desk, inner.id).spans[0].parent is None


def test_span_left_running_by_a_thread_is_marked_unfinished(desk: Desk) -> None:
    release, started = threading.Event(), threading.Event()

    def hang() -> None:
        with trace.span("search.vector") as span:
            started.set()
            release.wait(10)
            span.record(output=[[1, 1.0]])

    with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace:
        thread = threading.Thread(target=hang)
        thread.start()
        assert started.wait(10)
    release.set()
    thread.join()
    span = read(desk, trace.id).spans[0]
    assert (span.error_type, span.output) == ("unfinished", None)


def test_recorded_value_is_a_copy(desk: Desk) -> None:
    rows = [[1, 1.0]]
    with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace, trace.span("fusion") as span:
        span.record(output=rows)
        rows.append([2, 0.5])
    assert read(desk, trace.id).spans[0].output == [[1, 1.0]]


@pytest.mark.req("A4")
def test_not_a_number_is_recorded_as_unknown(desk: Desk) -> None:
    with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace, trace.span("rerank") as span:
        span.record(output=[[1, float("nan")], [2, float("inf")], [3, 0.1]])
    assert read(desk, trace.id).spans[0].output == [[1, None], [2, None], [3, 0.1]]


def test_value_that_json_cannot_hold_becomes_a_note(desk: Desk) -> None:
    loop: list[object] = []
    loop.append(loop)
    with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace, trace.span("rerank") as span:
        span.record(input=object(), output=loop)
    kept = read(desk, trace.id).spans[0]
    assert (kept.input, kept.output) == ({"not_recorded": "TypeError"}, {"not_recorded": "ValueError"})
    assert len(desk.errors) == 2 and "rerank.input is not recorded" in desk.errors[0]


def test_eight_threads_leave_every_trace_whole(desk: Desk) -> None:
    ids: list[str] = []

    def ask(worker: int) -> None:
        for number in range(10):
            ids.append(record_one(desk, f"question {worker} {number}"))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 80
    for trace_id in ids:
        kept = read(desk, trace_id)
        assert [span.id for span in kept.spans] == [1, 2, 3, 4, 5, 6]
        assert [span.name for span in kept.spans] == [
            "normalise", "search.text", "search.vector", "fusion", "rerank", "diversify"]  # fmt: skip
        assert len(kept.chunks) == 5


def test_retrievers_fill_one_trace_in_parallel(desk: Desk) -> None:
    def retrieve(number: int) -> None:
        with trace.span(("search.text", "search.vector")[number % 2]) as span:
            trace.add_chunks([make_chunk(n) for n in range(number, number + 10)])
            trace.set(degraded=[f"code_{number}"])
            span.record(output=[[number, 1.0]], worker=number)

    with desk.recorder.trace(tool="search_code", query="q", entry="cli") as trace, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: contextvars.Context().run(retrieve, n), range(64)))
    kept = read(desk, trace.id)
    assert sorted(span.attrs["worker"] for span in kept.spans) == list(range(64))
    assert all(span.output == [[span.attrs["worker"], 1.0]] for span in kept.spans)
    assert len(kept.chunks) == 73
    assert len(kept.summary.degraded) == 64


def test_w3c_trace_id_is_the_callers_when_valid_else_the_ulid(desk: Desk) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    made = []
    for parent in (given, "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "nonsense", ""):
        with desk.recorder.trace(tool="t", query="q", entry="web", caller=Caller(traceparent=parent)) as trace:
            pass
        made.append((trace.w3c_trace_id, read(desk, trace.id).summary.traceparent))
    assert made[0] == ("4bf92f3577b34da6a3ce929d0e0e4736", given)
    assert all(len(w3c) == 32 and w3c != "0" * 32 and parent is None for w3c, parent in made[1:])


def test_request_id_that_could_forge_a_line_is_ignored(desk: Desk) -> None:
    with desk.recorder.trace(tool="t", query="q", entry="web", caller=Caller(request_id="a\nb")) as trace:
        pass
    assert read(desk, trace.id).summary.request_id is None


@pytest.mark.req("A6", "K13")
def test_redactor_that_fails_blocks_the_content_and_keeps_the_row(make_desk: Callable[..., Desk], path: Path) -> None:
    def fail(text: str) -> str:
        raise ValueError("bad rule")

    desk = make_desk(redactor=fail)
    trace_id = record_one(desk, f"where is {CANARY}")
    kept = read(desk, trace_id)
    assert (kept.summary.query, kept.summary.query_hash, kept.summary.content) == ("", "", CONTENT_BLOCKED)
    assert (kept.summary.query_chars, len(kept.spans), kept.chunks, kept.config) == (29, 6, (), None)
    assert kept.summary.client is None  # nothing that anybody typed
    assert kept.acl.sources == ("app",)  # still needed to decide who may see even this


def test_redactor_that_fails_on_the_content_only_blocks_it_too(make_desk: Callable[..., Desk]) -> None:
    def fail_on_code(text: str) -> str:
        if "def " in text:
            raise ValueError("bad rule")
        return text

    desk = make_desk(redactor=fail_on_code)
    kept = read(desk, record_one(desk))
    assert (kept.summary.content, kept.summary.query, kept.chunks) == (CONTENT_BLOCKED, "", ())
    assert (desk.store.blocked, len(desk.errors)) == (1, 1)
    assert desk.recorder.healthy


@pytest.mark.req("T30")
def test_without_a_store_a_query_runs_and_has_an_id() -> None:
    recorder = TraceRecorder(None, env="dev", service_version="0", code_commit="", redact=str)
    with recorder.trace(tool="search_code", query="q", entry="cli") as trace:
        record_search(trace, [make_chunk(1)])
    assert len(trace.id) == 26 and trace.summary.status == "success"
    assert not recorder.healthy


@pytest.mark.req("T29", "S12")
def test_log_line_has_ids_and_figures_but_no_question_text(desk: Desk) -> None:
    with desk.recorder.trace(
        tool="search_code", query="secretive question", entry="cli", caller=Caller(request_id="r-9")
    ) as trace:
        record_search(trace, [make_chunk(1)])
        trace.set(query_norm="secretive question", cached=False, answer="secretive answer")
    line = log_record(trace)
    assert (line["trace_id"], line["request_id"], line["query_chars"]) == (trace.id, "r-9", 18)
    assert line["query_hash"].startswith("b2:") and line["chunks_retrieved"] == 1
    assert list(line["stage_ms"]) == ["normalise", "search.text", "search.vector", "fusion", "rerank", "diversify"]
    assert "secretive" not in str(line)
    assert log_record(read(desk, trace.id)) == line


def test_summary_before_the_end_is_an_error_that_says_so(desk: Desk) -> None:
    with desk.recorder.trace(tool="t", query="q", entry="cli") as trace, pytest.raises(RuntimeError, match="after"):
        _ = trace.summary


def test_command_line_process_writes_its_trace_before_it_ends(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from traces.recorder import TraceRecorder\n"
        "from traces.store import TraceQuery, TraceStore\n"
        "r = TraceRecorder(TraceStore(Path(sys.argv[1])), env='dev', service_version='0', code_commit='', redact=str)\n"
        "with r.trace(tool='search_code', query='q', entry='cli') as t: pass\n"
        "sys.stdout.write(t.id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    store = TraceStore(path)
    assert store.get(done.stdout, see_all) is not None
    store.close()
    assert done.stderr == ""
