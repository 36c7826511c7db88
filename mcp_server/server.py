"""MCP: exactly three tools, three resources, both protocol eras. The only module that imports the SDK.

Importing this module and answering `initialize` loads neither index engine nor numpy nor tree-sitter: those come with
the first tool call.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated, ServerEvent
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import Field, ValidationError

import prompts
from ingest.access import Principal
from ingest.errors import IngestError
from mcp_server.access import local_principal
from mcp_server.errors import ServerError, describe, trace_of
from mcp_server.fallback import Cancellation
from mcp_server.render import render_answer, render_search, render_status
from mcp_server.results import AnswerEvent, AnswerRequest, AnswerResult, Listener, SearchRequest, ignore
from mcp_server.service import VERSION, Service
from traces.model import Caller, EntryPoint

if TYPE_CHECKING:
    from starlette.applications import Starlette

T = TypeVar("T")

ERROR_CHARS = 500
STATUS_URI = "status://index"
ALIASES: Mapping[str, Mapping[str, str]] = {
    "search_code": {"q": "query", "question": "query", "top_k": "limit", "max_results": "limit"},
    "answer": {"q": "question", "query": "question"},
    "explain_trace": {},
}
READ_ONLY = ToolAnnotations(read_only_hint=True, idempotent_hint=True, destructive_hint=False, open_world_hint=False)

Sources = Annotated[list[str], Field(description="kinds or source names; empty = all")]
Format = Literal["concise", "detailed", "json"]


class GenerationBus(InMemorySubscriptionBus):
    """Tells subscribers of the status that another generation is served; published from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._loops: dict[Callable[[ServerEvent], None], asyncio.AbstractEventLoop] = {}

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register a listener of the running event loop."""
        self._loops[listener] = asyncio.get_running_loop()
        unsubscribe = super().subscribe(listener)

        def leave() -> None:
            self._loops.pop(listener, None)
            unsubscribe()

        return leave

    def announce(self) -> None:
        """Tell every listener, each on its own event loop."""
        for listener, loop in list(self._loops.items()):
            loop.call_soon_threadsafe(listener, ResourceUpdated(uri=STATUS_URI))


class CodeCairnServer(MCPServer):
    """The SDK's server with strict arguments: aliases repaired, the rest refused with did-you-mean."""

    async def speak(self, read: Any, write: Any) -> None:  # noqa: ANN401 - the SDK names their type in private only
        """Answer the messages of one pair of streams; the SDK's own stdio loop always takes descriptor 1."""
        await self._lowlevel_server.run(read, write, self._lowlevel_server.create_initialization_options())

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Check the arguments, then call. Raises ToolError with a sentence that says what to do."""
        tools = {tool.name: tool.parameters for tool in self._tool_manager.list_tools()}
        if name not in tools:
            raise ToolError(f"There is no tool {name!r}. Tools: {', '.join(sorted(tools))}.")
        fixed = repair_arguments(name, arguments, list(tools[name].get("properties", {})))
        try:
            return await super().call_tool(name, fixed, context)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(describe_invalid(name, error.__cause__)) from None
            raise


def repair_arguments(tool: str, arguments: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    """Return the arguments, aliases renamed where the target is free. Raises ToolError for any other unknown one."""
    fixed = {key: value for key, value in arguments.items() if key in known}
    for key in arguments:
        target = ALIASES.get(tool, {}).get(key, "")
        if key in known:
            continue
        if target and target not in fixed:
            fixed[target] = arguments[key]
            continue
        near = get_close_matches(key, known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ToolError(f"Unknown argument {key[:60]!r} for {tool}.{hint} Accepted: {', '.join(known)}.")
    return fixed


def describe_invalid(tool: str, error: ValidationError) -> str:
    """Return what is wrong with the arguments, in one sentence."""
    problems = [
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False)
    ]
    return f"Invalid arguments for {tool}: {'; '.join(problems)}."[:ERROR_CHARS]


def make_server(
    service: Service, *, entry: EntryPoint = "mcp-stdio", principal: Principal | None = None
) -> CodeCairnServer:
    """Return the server over a service."""
    asking = principal or local_principal(service.setup.settings)
    bus = GenerationBus()
    service.on_published(lambda _: bus.announce())
    server = CodeCairnServer(
        "codecairn",
        subscriptions=bus,
        title="CodeCairn",
        version=VERSION,
        instructions=prompts.load("mcp_instructions", service.prompts["mcp_instructions"]).text,
        cache_hints={"tools/list": CacheHint(ttl_ms=60_000, scope="public")},
        log_level="WARNING",
    )
    add_tools(server, service, asking, entry)
    add_resources(server, service, asking)
    for tool in server._tool_manager.list_tools():
        tool.parameters = tighten(tool.parameters)
    return server


def add_tools(server: MCPServer, service: Service, principal: Principal, entry: EntryPoint) -> None:
    """Register search_code, answer and explain_trace."""
    budget = service.setup.settings.server.max_result_chars
    is_slow = service.setup.settings.llm.is_on  # without a model an answer is there before its progress

    @server.tool(
        title="Search code, tickets, designs and history",
        description=prompts.load("tool_search_code", service.prompts["tool_search_code"]).text,
        annotations=READ_ONLY,
        meta={"anthropic/alwaysLoad": True, "anthropic/searchHint": "find code by meaning, symbol, path or ticket"},
        structured_output=False,
    )
    def search_code(
        context: Context[Any, Any],
        query: Annotated[str, Field(min_length=1, max_length=20_000)],
        limit: Annotated[int, Field(ge=1, le=50)] = 8,
        cursor: str = "",
        sources: Sources = [],  # noqa: B006 - never changed
        product: str = "",
        path_glob: str = "",
        mode: Literal["ranked", "all"] = "ranked",
        response_format: Format = "concise",
    ) -> str:
        request = SearchRequest(query, limit, cursor, tuple(sources), product, path_glob, mode)
        caller = caller_of(context)
        result = guarded(lambda: service.search(request, principal, entry=entry, caller=caller))
        return render_search(result, query, response_format, budget)

    @server.tool(
        title="Answer a question with checked citations",
        description=prompts.load("tool_answer", service.prompts["tool_answer"]).text,
        annotations=READ_ONLY,
        structured_output=False,
    )
    async def answer(
        context: Context[Any, Any],
        question: Annotated[str, Field(min_length=1, max_length=20_000)],
        sources: Sources = [],  # noqa: B006 - never changed
        product: str = "",
        path_glob: str = "",
        response_format: Format = "concise",
    ) -> str:
        request = AnswerRequest(question, tuple(sources), product, path_glob)
        caller = caller_of(context)
        result = await ask_in_thread(
            lambda tell, cancellation: service.answer(
                request,
                principal,
                entry=entry,
                caller=caller,
                listen=tell if is_slow else ignore,
                cancellation=cancellation,
            ),
            context,
        )
        return render_answer(result, response_format, budget)

    @server.tool(
        title="Explain how a result came about",
        description=prompts.load("tool_explain_trace", service.prompts["tool_explain_trace"]).text,
        annotations=READ_ONLY,
        structured_output=False,
    )
    def explain_trace(trace_id: Annotated[str, Field(min_length=1, max_length=64)], stage: str = "") -> str:
        return guarded(lambda: service.explain(trace_id, stage, principal))


def add_resources(server: MCPServer, service: Service, principal: Principal) -> None:
    """Register status://index, code://{source}/{+path} and trace://{id}."""

    @server.resource(STATUS_URI, name="index status", mime_type="text/plain")
    def status() -> str:
        return render_status(service.status(principal))

    @server.resource("code://{source}/{+path}", name="indexed document", mime_type="text/plain")
    def document(source: str, path: str) -> str:
        return guarded(lambda: service.read_document(source, path, principal), ResourceError)

    @server.resource("trace://{id}", name="trace", mime_type="text/plain")
    def trace(id: str) -> str:
        return guarded(lambda: service.explain(id, "", principal), ResourceError)


async def ask_in_thread(
    ask: Callable[[Listener, Cancellation], AnswerResult], context: Context[Any, Any]
) -> AnswerResult:
    """Return an answer; a client that asked for progress hears of each checked claim, one that goes stops the work."""
    cancellation = Cancellation()
    told = itertools.count(1)

    def tell(event: AnswerEvent) -> None:
        anyio.from_thread.run(context.report_progress, next(told), None, describe_event(event))

    try:
        return await anyio.to_thread.run_sync(lambda: guarded(lambda: ask(tell, cancellation)), abandon_on_cancel=True)
    finally:
        cancellation.set()


def describe_event(event: AnswerEvent) -> str:
    """Return an event as a line for people: where the evidence stands, or a claim with its places."""
    if event.claim is None:
        return f"reading {', '.join(event.places)}"
    places = (f"{c.path or c.key}:{c.start_line}-{c.end_line}" for c in event.citations)
    return f"{event.claim.text} ({', '.join(places)})"


def guarded(call: Callable[[], T], kind: type[Exception] = ToolError) -> T:
    """Return a call's value; an error becomes a sentence for the caller that names its trace.

    A defect of ours without a trace is left to the SDK, which logs it.
    """
    try:
        return call()
    except (ServerError, IngestError) as error:
        raise kind(describe(error, ERROR_CHARS)) from error
    except Exception as error:
        if not trace_of(error):
            raise
        raise kind(f"A defect inside the server ({type(error).__name__}). trace={trace_of(error)}") from error


def tighten(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's schema closed to unknown arguments and without the titles that repeat each name."""
    properties = {
        name: {key: value for key, value in part.items() if key != "title"}
        for name, part in schema.get("properties", {}).items()
    }
    kept = {key: value for key, value in schema.items() if key not in ("title", "properties")}
    return {**kept, "properties": properties, "additionalProperties": False}


def caller_of(context: Context[Any, Any]) -> Caller:
    """Return who called, as far as the protocol says it."""
    headers = context.headers or {}
    meta = getattr(context.request_context, "meta", None) or {}
    info = getattr(getattr(context.session, "client_params", None), "client_info", None)
    return Caller(
        client=getattr(info, "name", "") or "",
        client_version=getattr(info, "version", "") or "",
        session_id=headers.get("mcp-session-id", ""),
        request_id=headers.get("x-request-id", "") or str(context.request_id),
        traceparent=str(dict(meta).get("traceparent", "") or headers.get("traceparent", "")),
    )


def serve_stdio(service: Service, heard: int, wire: int) -> None:
    """Speak MCP on two open descriptors, what the client says and what it hears, until it closes them."""
    server = make_server(service)

    async def speak() -> None:
        service.admission.make_room()
        with (
            os.fdopen(heard, encoding="utf-8", errors="replace") as lines,
            os.fdopen(wire, "w", encoding="utf-8") as out,
        ):
            async with stdio_server(anyio.wrap_file(lines), anyio.wrap_file(out)) as (read, write):
                await server.speak(read, write)

    anyio.run(speak)


def http_app(service: Service, allowed_hosts: list[str], allowed_origins: list[str]) -> tuple[MCPServer, Starlette]:
    """Return the server and its streamable HTTP application at /mcp."""
    server = make_server(service, entry="mcp-http")
    security = TransportSecuritySettings(allowed_hosts=allowed_hosts, allowed_origins=allowed_origins)
    return server, server.streamable_http_app(stateless_http=True, transport_security=security)
