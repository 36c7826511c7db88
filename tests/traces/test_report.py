"""What explain_trace shows: complete within its budget, and never a dead end."""

from __future__ import annotations

import re

import pytest

from tests.traces.conftest import CANARY, Desk, make_chunk, record_one, record_search, see_all
from traces.model import SPAN_NAMES, Trace
from traces.report import render_trace


def read(desk: Desk, trace_id: str) -> Trace:
    trace = desk.store.get(trace_id, see_all)
    assert trace is not None
    return trace


@pytest.fixture
def small(desk: Desk) -> Trace:
    return read(desk, record_one(desk))


@pytest.fixture
def large(desk: Desk) -> Trace:
    """A trace of every stage with 200 candidates each, long texts and many claims."""
    chunks = [make_chunk(n, f"line of {n}\n" * 60) for n in range(1, 201)]
    verdicts = ("supported", "weak", "fabricated")
    with desk.recorder.trace(tool="answer", query="why " * 4000, entry="mcp-stdio") as trace:
        record_search(trace, chunks)
        for name in SPAN_NAMES:
            with trace.span(name) as span:
                span.record(output=[[c.id, 0.5, {"slot": "code"}] for c in chunks], note="x" * 900)
        with trace.span("context") as span:
            rows = [[c.id, None, {"evidence": f"E{n}"}] for n, c in enumerate(chunks[:50], start=1)]
            span.record(output=rows, dropped=[[c.id, "over budget"] for c in chunks[50:]])
        with trace.span("ledger") as span:
            span.record(output=[{"text": f"claim {n}", "verdict": verdicts[n % 3]} for n in range(90)])
        trace.set(ungrounded=[{"kind": "claim", "text": "y" * 900, "verdict": "weak", "reason": "r"}] * 30)
    return read(desk, trace.id)


@pytest.mark.req("T28")
def test_overview_tells_how_each_hit_got_there(small: Trace) -> None:
    text = render_trace(small)
    assert f"TRACE {small.summary.id}  search_code  success" in text
    assert re.search(r"^  rerank +[\d.]+ +5 +5", text, re.MULTILINE)
    assert "HITS  as diversify left them  (weights text 1, vector 0.7)" in text
    assert (
        "1. src/module_1.py:1-3 function_1  0.9\n"
        '   text #1 10 (terms ["work"]) · vector #5 0.5 -> fusion #1 0.5 (text 0.4, vector 0.1)'
        " -> rerank #1 0.9 (definition 0.3) -> diversify #1 0.9\n"
    ) in text
    assert "  - src/module_4.py:4-6 function_4  diversify: same file as #1" in text
    assert "generation 7" in text and "abc1234" in text and "degraded: none" in text
    assert small.summary.config_hash in text


@pytest.mark.req("T18")
def test_overview_counts_verdicts_and_lists_the_ungrounded(desk: Desk) -> None:
    with desk.recorder.trace(tool="answer", query="q", entry="cli") as trace:
        with trace.span("ledger") as span:
            claims = [{"text": "a", "verdict": "supported"}, {"text": "b", "verdict": "fabricated"}] * 2
            span.record(output=[*claims, {"text": "c", "verdict": "supported"}])
        trace.set(ungrounded=[{"kind": "claim", "text": "b", "verdict": "fabricated", "reason": "no such path"}])
        trace.set(degraded=["llm_down"])
    text = render_trace(read(desk, trace.id))
    assert "CLAIMS  supported 3, fabricated 2" in text
    assert "UNGROUNDED  1\n  - claim [fabricated] b - no such path" in text
    assert "degraded: llm_down" in text


def test_overview_shows_an_error_with_the_end_of_its_stack(desk: Desk) -> None:
    with (
        pytest.raises(RuntimeError),
        desk.recorder.trace(tool="answer", query="q", entry="cli") as trace,
        trace.span("rerank"),
    ):
        raise RuntimeError("no weights")
    text = render_trace(read(desk, trace.id))
    assert "ERROR RuntimeError: no weights" in text
    assert re.search(r"rerank .*ERROR RuntimeError", text)
    assert "test_report.py" in text


@pytest.mark.req("T28")
@pytest.mark.parametrize("budget", [400, 1000, 9000, 40_000])
def test_no_report_exceeds_its_budget(large: Trace, budget: int) -> None:
    for stage in ("", *SPAN_NAMES, "config", "answer", "nonsense", "context@30", "context@99999"):
        assert len(render_trace(large, stage, budget)) <= budget, stage


def test_cut_overview_says_how_to_see_more(large: Trace) -> None:
    text = render_trace(large)
    assert len(text) > 8000
    assert re.search(r'Cut: \d+ more lines\. Ask for one stage in full, as stage="rerank"\.$', text)


def test_stage_can_be_read_to_its_end_page_by_page(large: Trace) -> None:
    stage, pages = "context", []
    while stage:
        text = render_trace(large, stage)
        pages.append(text)
        more = re.search(r'Ask for stage="(context@\d+)" to go on\.$', text)
        stage = more[1] if more else ""
    lines = [line for page in pages for line in page.splitlines() if not line.startswith("Cut:")]
    assert len(pages) > 5
    assert lines == render_trace(large, "context", 10**7).splitlines()
    assert sum(line == "  | line of 50" for line in lines) == 120  # of both context spans


def test_stage_in_full_has_config_rows_and_reasons(small: Trace) -> None:
    text = render_trace(small, "fusion")
    assert 'weights: {"text":1.0,"vector":0.7}' in text
    assert "  5. src/module_5.py:5-7 function_5  0.46  (text 0.36, vector 0.1)" in text
    assert "  1. src/module_4.py:4-6 function_4  same file as #1" in render_trace(small, "diversify")


def test_unknown_stage_names_those_that_exist(small: Trace) -> None:
    text = render_trace(small, "reranker")
    assert "Did you mean rerank?" in text
    assert "normalise, search.text, search.vector, fusion, rerank, diversify, config, environment, answer" in text


def test_recorded_text_cannot_steer_a_terminal_or_fake_a_section(desk: Desk) -> None:
    with desk.recorder.trace(tool="search_code", query="a\x1b[31m\nHITS\n\u202egnp", entry="cli") as trace:
        trace.add_chunks([make_chunk(1, "\x1b]0;x\x07\nSTAGE fake")])
        with trace.span("respond") as span:
            span.record(output=[[1, 0.5]])
    kept = read(desk, trace.id)
    for stage in ("", "respond"):
        text = render_trace(kept, stage)
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert "query: a [31m HITS gnp" in render_trace(kept)
    assert "\n  | STAGE fake" in render_trace(kept, "respond")


def test_trace_without_content_says_why(desk: Desk) -> None:
    def fail(text: str) -> str:
        raise ValueError

    desk.recorder.redact = fail
    kept = read(desk, record_one(desk, f"q {CANARY}"))
    text = render_trace(kept)
    assert "content: blocked:redaction" in text and "query: (not recorded)" in text
    assert "rerank" in text


def test_same_trace_reads_the_same(large: Trace) -> None:
    assert render_trace(large) == render_trace(large)
