"""Finished traces as OpenTelemetry spans, sent over OTLP/HTTP; needs the extra `otel`, which only this module imports.

Ids, hashes and figures by default; questions and answers only where `with_text` says so. A trace joins the caller's:
its root span has the caller's trace id and the caller's span as parent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from traces import otel_names as names
from traces.errors import TraceError
from traces.model import Span, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

INSTALL = (
    "Traces cannot be exported: OpenTelemetry is not installed. Install codecairn[otel], or clear trace.otlp_endpoint."
)
TRANSPORTS = {"mcp-stdio": "pipe", "mcp-http": "tcp", "web": "tcp"}
TIMEOUT_S = 10.0
Values = Mapping[str, Any]


class OtlpExport:
    """A sink that sends each trace to an OTLP/HTTP endpoint, in the writer's thread. Raises TraceError when made."""

    def __init__(self, endpoint: str, *, with_text: bool = False) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError as error:
            raise TraceError(INSTALL) from error
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)
        self._endpoint = endpoint
        self._with_text = with_text

    def write(self, traces: Sequence[Trace]) -> None:
        """Send traces. Raises TraceError when the endpoint does not take them."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        spans = [span for trace in traces for span in to_spans(trace, with_text=self._with_text)]
        if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise TraceError(f"{self._endpoint} did not take {len(spans)} spans")


def to_spans(trace: Trace, *, with_text: bool = False) -> Iterator[ReadableSpan]:
    """Yield the root span of a trace, then one for each stage."""
    row = trace.summary
    began = int(datetime.fromisoformat(row.at.replace("Z", "+00:00")).timestamp() * 1e9)
    parent = int(row.traceparent.split("-")[2], 16) if row.traceparent else None
    root = span_id(row.id, 0)
    resource = {names.SERVICE_NAME: names.SCOPE, names.SERVICE_VERSION: row.service_version, names.ENVIRONMENT: row.env}
    is_mcp = row.entry.startswith("mcp-")
    name = f"tools/call {row.tool}" if is_mcp else f"execute_tool {row.tool}"
    values = root_attributes(trace, with_text)
    yield make_span(
        name, "server", row.w3c_trace_id, root, parent, began, row.duration_ms, values, resource, row.error_type
    )
    for span in trace.spans:
        above = span_id(row.id, span.parent) if span.parent is not None else root
        start = began + int(span.start_ms * 1e6)
        kind = "client" if span.name == "model" else "internal"
        values = stage_attributes(trace, span, with_text)
        yield make_span(
            stage_name(trace, span), kind, row.w3c_trace_id, span_id(row.id, span.id), above, start, span.duration_ms,
            values, resource, span.error_type,
        )  # fmt: skip


def root_attributes(trace: Trace, with_text: bool) -> dict[str, Any]:
    """Return what is said of a whole query."""
    row = trace.summary
    values: dict[str, Any] = {
        names.OPERATION: "execute_tool",
        names.TOOL_NAME: row.tool,
        names.MCP_METHOD: "tools/call" if row.entry.startswith("mcp-") else None,
        names.MCP_SESSION: row.session_id,
        names.JSONRPC_REQUEST: row.request_id,
        names.NETWORK_TRANSPORT: TRANSPORTS.get(row.entry),
        names.ERROR_TYPE: (names.TOOL_ERROR if row.status == "handled" else row.error_type) if row.error_type else None,
        names.PROMPT_NAME: row.prompt_id,
        names.PROMPT_VERSION: row.prompt_version,
        names.TRACE_ID: row.id,
        names.TRACE_HASH: trace.hash,
        names.QUERY_HASH: row.query_hash,
        names.PRINCIPAL: row.principal_hash,
        names.CONFIG_HASH: row.config_hash,
        names.KIND: row.kind,
        names.STATUS: row.status,
        names.GENERATION: row.generation,
        names.DEGRADED: list(row.degraded),
        names.POLICY_FLAGS: list(row.policy_flags),
        names.CACHED: row.cached,
        names.ABSTAINED: row.abstained,
        names.CLAIMS: row.n_claims,
        names.SUPPORTED: row.n_supported,
        names.UNGROUNDED: row.n_ungrounded,
        names.STALE: row.n_stale,
    }
    if with_text:
        values |= {names.TOOL_ARGUMENTS: row.query, names.TOOL_RESULT: trace.answer}
    return values


def stage_name(trace: Trace, span: Span) -> str:
    """Return the name of a stage's span: by the conventions where there is one, else the stage's own."""
    if span.name == "model":
        return f"chat {_config(span).get('model') or trace.summary.model or ''}".rstrip()
    return f"retrieval {span.name}" if span.name.startswith("search.") else span.name


def stage_attributes(trace: Trace, span: Span, with_text: bool) -> dict[str, Any]:
    """Return what is said of one stage."""
    values: dict[str, Any] = {
        names.ROWS_IN: span.n_in,
        names.ROWS_OUT: span.n_out,
        names.ERROR_TYPE: span.error_type,
    }
    if span.name.startswith("search."):
        values |= {names.OPERATION: "retrieval", names.DATA_SOURCE: span.name.removeprefix("search.")}
        if with_text:
            values[names.QUERY_TEXT] = trace.summary.query
    if span.name == "model":
        values |= model_attributes(span, with_text)
    return values


def model_attributes(span: Span, with_text: bool) -> dict[str, Any]:
    """Return what the conventions say of a model call."""
    config, attrs = _config(span), span.attrs
    values = {
        names.OPERATION: "chat",
        names.PROVIDER: config.get("host"),
        names.REQUEST_MODEL: config.get("model"),
        names.TEMPERATURE: config.get("temperature"),
        names.TOP_P: config.get("top_p"),
        names.MAX_TOKENS: config.get("max_tokens"),
        names.SEED: config.get("seed"),
        names.RESPONSE_MODEL: attrs.get("response_model"),
        names.RESPONSE_ID: attrs.get("request_id"),
        names.FINISH_REASONS: [attrs["finish_reason"]] if attrs.get("finish_reason") else None,
        names.TOKENS_IN: attrs.get("tokens_in"),
        names.TOKENS_OUT: attrs.get("tokens_out"),
        names.TOKENS_CACHED: attrs.get("tokens_cached"),
    }
    if attrs.get("cost_usd") is not None:
        values |= {names.COST: float(attrs["cost_usd"]), names.COST_CURRENCY: "USD", names.COST_SOURCE: "local"}
    if with_text and isinstance(span.output, Mapping):
        values[names.OUTPUT_MESSAGES] = str(span.output.get("text", ""))
    return values


def span_id(trace_id: str, number: int) -> int:
    """Return the id of a stage: the same each time a trace is sent."""
    return int.from_bytes(hashlib.blake2b(f"{trace_id}.{number}".encode(), digest_size=8).digest(), "big") or 1


def make_span(
    name: str,
    kind: str,
    trace_id: str,
    own: int,
    parent: int | None,
    start_ns: int,
    duration_ms: float,
    attributes: Values,
    resource: Values,
    error: str | None,
) -> ReadableSpan:
    """Return one finished span; attributes that are null are left out."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(number: int) -> SpanContext:
        return SpanContext(int(trace_id, 16), number, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        name=name,
        context=context(own),
        parent=context(parent) if parent is not None else None,
        resource=Resource(dict(resource)),
        attributes={key: value for key, value in attributes.items() if value not in (None, [], "")},
        kind=SpanKind[kind.upper()],
        instrumentation_scope=InstrumentationScope(names.SCOPE, names.CONVENTION),
        status=Status(StatusCode.ERROR if error else StatusCode.UNSET),
        start_time=start_ns,
        end_time=start_ns + int(duration_ms * 1e6),
    )


def _config(span: Span) -> Values:
    return span.config if isinstance(span.config, Mapping) else {}
