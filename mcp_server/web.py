"""HTTP: /mcp, /health, /health/ready, /metrics, /v1/search, /v1/query. One guard checks Host and Origin of each."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast, get_args
from urllib.parse import urlsplit

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.access import Principal
from ingest.errors import IngestError
from mcp_server.access import local_principal
from mcp_server.config import TransformSetting
from mcp_server.errors import BadRequest, NotFound, NotReady, Overloaded, ServerError, Unavailable, trace_of
from mcp_server.metrics import CONTENT_TYPE, Metrics
from mcp_server.render import answer_to_dict, search_to_dict, status_to_dict
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from traces.model import Caller

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
MAX_BODY_BYTES = 256 * 1024
STATUS_OF = {BadRequest: 400, NotFound: 404, NotReady: 503, Unavailable: 503, Overloaded: 429}
SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
SEARCH_FIELDS = {"query", "limit", "cursor", "sources", "product", "path_glob", "mode", "language", "strict"}
ANSWER_FIELDS = {"question", "sources", "product", "path_glob", "language", "strict", "use_cache", "transform"}


def is_loopback(host: str) -> bool:
    """Tell whether a host to bind to is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(host: str) -> None:
    """Raise BadRequest for an address that others can reach: there are no API keys yet."""
    if not is_loopback(host):
        raise BadRequest(
            f"serve --http refuses to bind to {host!r}: everyone who reaches it could read the index. "
            "Bind to 127.0.0.1 and put an authenticating proxy in front."
        )


class HostGuard:
    """Refuses requests whose Host or Origin is not ours (DNS rebinding, cross-site calls), whatever the route."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = bare_host(headers.get(b"host", b"").decode("latin-1"))
        origin = headers.get(b"origin", b"").decode("latin-1")
        if host not in self._hosts:
            await PlainTextResponse("This host name is not served here.", 421)(scope, receive, send)
        elif origin and bare_host(urlsplit(origin).netloc) not in self._hosts:
            await PlainTextResponse("Requests from this origin are refused.", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, add_headers(send))


def bare_host(netloc: str) -> str:
    """Return a host without its port, lower-cased."""
    name = netloc.rsplit("@", 1)[-1].lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def add_headers(send: Send) -> Send:
    """Return a send that adds the security headers to each response."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(h for h in SECURITY_HEADERS if h[0] not in present)]
        await send(message)

    return sending


def make_app(service: Service, mcp_app: ASGIApp, run_mcp: Callable[[], Any]) -> ASGIApp:
    """Return the whole application: routes, then MCP, behind the guard. `run_mcp` gives the MCP session manager."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with run_mcp():
            service.admission.make_room()
            yield

    api = Api(service, local_principal(service.setup.settings))
    routes = [
        Route("/health", api.health),
        Route("/health/ready", api.ready),
        Route("/metrics", api.metrics),
        Route("/v1/search", api.search, methods=["POST"]),
        Route("/v1/query", api.query, methods=["POST"]),
        Route("/v1/traces/{trace_id}", api.trace),
        Mount("/", app=mcp_app),
    ]
    hosts = frozenset((*LOOPBACK_NAMES, *(name.lower() for name in service.setup.settings.server.allowed_hosts)))
    return HostGuard(Starlette(routes=routes, lifespan=lifespan), hosts)


class Api:
    """The JSON interface: the same service, the same contract as the tools' json format."""

    def __init__(self, service: Service, principal: Principal) -> None:
        self._service = service
        self._principal = principal
        self._metrics = Metrics()
        service.on_query(self._metrics.count)

    async def health(self, request: Request) -> Response:
        """Alive."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """May serve: 200 with the state of the index, else 503."""
        status = await anyio.to_thread.run_sync(lambda: self._service.status(self._principal))
        return JSONResponse(status_to_dict(status), 200 if status.state == "ready" else 503)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics: counters and histograms of this process, for Prometheus."""
        store = self._service.store if self._service.setup.settings.trace.enabled else None
        return Response(self._metrics.render(store, *self._service.admission.inside), media_type=CONTENT_TYPE)

    async def search(self, request: Request) -> Response:
        """POST /v1/search."""

        def call(body: dict[str, Any]) -> dict[str, Any]:
            strict = body.pop("strict", None)
            body["sources"] = tuple(body.get("sources", ()))
            asked = SearchRequest(**body)
            return search_to_dict(
                self._service.search(asked, self._principal, entry="web", caller=caller_of(request), strict=strict)
            )

        return await self._answer(request, SEARCH_FIELDS, "query", call)

    async def query(self, request: Request) -> Response:
        """POST /v1/query."""

        def call(body: dict[str, Any]) -> dict[str, Any]:
            strict, use_cache = body.pop("strict", None), body.pop("use_cache", True)
            transform = read_transform(body.pop("transform", None))
            body["sources"] = tuple(body.get("sources", ()))
            asked, caller, ask = AnswerRequest(**body), caller_of(request), self._service.answer
            return answer_to_dict(
                ask(
                    asked,
                    self._principal,
                    entry="web",
                    caller=caller,
                    strict=strict,
                    use_cache=use_cache,
                    transform=transform,
                )
            )

        return await self._answer(request, ANSWER_FIELDS, "question", call)

    async def trace(self, request: Request) -> Response:
        """GET /v1/traces/{id}: the text of explain_trace."""
        trace_id, stage = request.path_params["trace_id"], request.query_params.get("stage", "")
        try:
            explain = self._service.explain
            text = await anyio.to_thread.run_sync(lambda: explain(trace_id, stage, self._principal))
        except ServerError as error:
            return refuse(error)
        return PlainTextResponse(text)

    async def _answer(
        self, request: Request, fields: set[str], required: str, call: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> Response:
        try:
            body = await read_body(request, fields, required)
            return JSONResponse(await anyio.to_thread.run_sync(lambda: call(body)))
        except (ServerError, IngestError) as error:
            return refuse(error)


async def read_body(request: Request, fields: set[str], required: str) -> dict[str, Any]:
    """Return the JSON object of a request. Raises BadRequest."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY_BYTES:
            raise BadRequest(f"The request body is larger than {MAX_BODY_BYTES} bytes.")
    try:
        body = json.loads(bytes(raw))
    except ValueError as error:
        raise BadRequest("The request body is no JSON.") from error
    if not isinstance(body, dict) or not isinstance(body.get(required), str):
        raise BadRequest(f"The request body must be a JSON object with the text {required!r}.")
    check_fields(body, fields)
    return body


def read_transform(wanted: str | None) -> TransformSetting | None:
    """Return a transform's name. Raises BadRequest that names the ones that there are."""
    if wanted is not None and wanted not in get_args(TransformSetting):
        raise BadRequest(f"`transform` is {wanted!r}; it must be one of {', '.join(get_args(TransformSetting))}.")
    return cast("TransformSetting | None", wanted)


TEXTS = {"transform", "query", "question", "cursor", "product", "path_glob", "mode", "language"}


def check_fields(body: dict[str, Any], fields: set[str]) -> None:
    """Raise BadRequest for unknown fields and for wrong types."""
    unknown = sorted(set(body) - fields)
    if unknown:
        raise BadRequest(f"Unknown field {unknown[0]!r}. Accepted: {', '.join(sorted(fields))}.")
    for name, value in body.items():
        is_right = (
            isinstance(value, str)
            if name in TEXTS
            else isinstance(value, bool)
            if name in ("strict", "use_cache")
            else isinstance(value, int) and not isinstance(value, bool)
            if name == "limit"
            else isinstance(value, list) and all(isinstance(item, str) for item in value)
        )
        if not is_right:
            raise BadRequest(f"Field {name!r} has the wrong type.")
    if body.get("mode", "ranked") not in ("ranked", "all"):
        raise BadRequest("`mode` must be 'ranked' or 'all'.")


def caller_of(request: Request) -> Caller:
    """Return who called, as far as the headers say it."""
    headers = request.headers
    return Caller(
        client=headers.get("user-agent", "")[:100],
        request_id=headers.get("x-request-id", ""),
        traceparent=headers.get("traceparent", ""),
    )


def refuse(error: Exception) -> Response:
    """Return an error of ours as JSON with a fitting status."""
    code = next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), 500)
    retry_after_s = error.retry_after_s if isinstance(error, ServerError) and error.retryable else 0
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else None
    trace = {"trace_id": trace_of(error)} if trace_of(error) else {}
    return JSONResponse({"error": str(error), "retryable": bool(retry_after_s), **trace}, code, headers)


def serve_http(app: ASGIApp, host: str, port: int) -> None:
    """Serve until interrupted."""
    import uvicorn

    uvicorn.run(app, host=host.strip("[]"), port=port, log_level="warning", access_log=False)
