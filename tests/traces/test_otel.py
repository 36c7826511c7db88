"""OTLP: what a collector receives over HTTP on loopback, decoded from the wire."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.traces.conftest import Desk, make_chunk, see_all
from traces import otel_names
from traces.model import Caller
from traces.otel import OtlpExport
from traces.store import TraceStore

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
QUESTION = "a very private question"


class Collector:
    """Takes OTLP over HTTP and keeps the decoded spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                raw = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                for block in ExportTraceServiceRequest.FromString(raw).resource_spans:
                    collector.resources.append(values_of(block.resource.attributes))
                    collector.spans += [span for scope in block.scope_spans for span in scope.spans]
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def values_of(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def record(desk: Desk, path: Path, sink: OtlpExport, errors: list[str]) -> str:
    store = TraceStore(path, sinks=[sink], on_error=errors.append)
    desk.recorder._store = store
    caller = Caller(traceparent=PARENT, request_id="r-1")
    with desk.recorder.trace(
        tool="answer", query=QUESTION, entry="mcp-http", principal_hash="p1", caller=caller
    ) as trace:
        with trace.span("search.text") as span:
            span.record(output=[[1, 2.0]], chunks=[make_chunk(1)])
        with trace.span("claims"), trace.span("model") as span:
            span.record(
                config={"model": "m-1", "host": "127.0.0.1", "temperature": 0.0}, output={"text": "private reply"}
            )
            span.record(tokens_in=900, tokens_out=90, response_model="m-1-x", finish_reason="stop", cost_usd="0.01")
        trace.set(answer="private answer", n_claims=1, n_supported=1, abstained=False, degraded=["cache_unavailable"])
    assert store.get(trace.id, see_all) is not None
    store.close()
    return trace.id


@pytest.mark.req("T36", "T32")
def test_collector_gets_the_query_joined_to_the_callers_trace_without_its_text(
    desk: Desk, path: Path, collector: Collector
) -> None:
    errors: list[str] = []
    trace_id = record(desk, path, OtlpExport(collector.url), errors)
    assert errors == []
    spans = {span.name: span for span in collector.spans}
    root = spans["tools/call answer"]
    assert root.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736" and root.parent_span_id.hex() == "00f067aa0ba902b7"
    assert {span.trace_id for span in collector.spans} == {root.trace_id}
    assert spans["retrieval search.text"].parent_span_id == root.span_id
    assert spans["chat m-1"].parent_span_id == spans["claims"].span_id
    assert collector.resources[0][otel_names.SERVICE_NAME] == "codecairn"
    values = values_of(root.attributes)
    assert values[otel_names.TRACE_ID] == trace_id and values[otel_names.MCP_METHOD] == "tools/call"
    assert values[otel_names.SUPPORTED] == 1 and values[otel_names.NETWORK_TRANSPORT] == "tcp"
    model = values_of(spans["chat m-1"].attributes)
    assert (model[otel_names.TOKENS_IN], model[otel_names.RESPONSE_MODEL], model[otel_names.COST]) == (
        900,
        "m-1-x",
        0.01,
    )
    assert "private" not in str(collector.spans)


@pytest.mark.req("T36")
def test_text_is_sent_only_where_it_was_asked_for(desk: Desk, path: Path, collector: Collector) -> None:
    record(desk, path, OtlpExport(collector.url, with_text=True), [])
    sent = str(collector.spans)
    assert QUESTION in sent and "private answer" in sent and "private reply" in sent


@pytest.mark.req("T36", "T30")
def test_collector_that_refuses_costs_no_trace_and_is_told_once(desk: Desk, path: Path, collector: Collector) -> None:
    collector.status = 400
    errors: list[str] = []
    record(desk, path, OtlpExport(collector.url), errors)
    assert len(errors) == 1 and "did not take 4 spans" in errors[0]
