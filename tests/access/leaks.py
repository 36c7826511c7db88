"""Random principals ask random things of every surface; nothing of a source that they may not see may come back."""

from __future__ import annotations

import copy
import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import anyio
from mcp import Client
from starlette.responses import PlainTextResponse
from typer.testing import CliRunner

from ingest.access import Principal
from mcp_server.cli import app
from mcp_server.errors import ServerError, describe
from mcp_server.render import (
    answer_to_dict,
    render_answer,
    render_search,
    render_status,
    search_to_dict,
    status_to_dict,
)
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.server import make_server
from mcp_server.service import Service
from mcp_server.web import make_app
from tests.access.world import COMMON, Coins, Origin, World, some_principals

STAGES = ("", "config", "answer", "entities", "transform", "search.text", "search.vector", "search.symbol",
          "search.link", "search.history", "fusion", "rerank", "context", "respond", "claims",
          "freshness", "nosuch")  # fmt: skip
VARYING = re.compile(  # a trace id, and what the clock says
    r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b|\"(?:latency_ms|index_age_s)\": ?[\d.]+|(?:latency_ms|index_age_s)=[\d.]+"
    r"|\bage=\w+"
)
DEFINITIONS = re.compile(r"`SharedLedger` has (\d+) definitions")
SUPER = "super"


@dataclass
class Report:
    """What a run showed. A check is one output of one surface, searched for what must not be in it."""

    checks: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    seen: int = 0  # outputs that held something of a visible source: a run that finds nothing shows nothing

    @property
    def total(self) -> int:
        """Number of checks."""
        return sum(self.checks.values())

    def __str__(self) -> str:
        surfaces = ", ".join(f"{name} {count:,}" for name, count in sorted(self.checks.items()))
        return (
            f"{self.total:,} checks ({surfaces}); {self.seen:,} outputs held visible content; leaks: {len(self.leaks)}"
        )


class LeakCheck:
    """One world, indexed once, asked by many."""

    def __init__(self, world: World, service: Service, seed: int) -> None:
        self.world, self.service, self.report = world, service, Report()
        self._rng = random.Random(seed)
        self._coins = Coins(random.Random(seed + 1))
        self._principals = list(some_principals(world, self._rng, 40))
        self._cursors: list[tuple[Principal, SearchRequest, str]] = []
        self._traces: list[tuple[Principal, str]] = []
        self._queries: dict[str, str] = {}  # trace -> what was asked
        self._secrets = {origin.name: origin.canaries | self._stored(origin) for origin in world.origins}
        everybody = Principal(SUPER, frozenset(world.groups))
        self._totals = {o.name: self._count("SharedLedger", everybody, o) for o in world.origins}
        self._defining = {o.name: o.type in ("git", "folder") for o in world.origins}

    # -- what must not be said ---------------------------------------------------------------------------------------

    def _stored(self, origin: Origin) -> frozenset[str]:
        """Return the chunk ids of a source: traces show them."""
        with self.service.reading(Principal(SUPER, frozenset(self.world.groups))) as index:
            names = {origin.name, f"{origin.name}.history"}
            ids = [i for i in index._text.all_ids() if index.chunks([i])[0].source in names]
        return frozenset(str(i) for i in ids if i > 10**12)

    def _count(self, text: str, principal: Principal, origin: Origin) -> int:
        names = [origin.name, *([f"{origin.name}.history"] if origin.type == "git" else [])]
        return self.service.search(SearchRequest(text, mode="all", sources=tuple(names)), principal).total

    def forbidden(self, principal: Principal) -> set[str]:
        """Return every string that the principal must not read."""
        visible = self.world.visible(principal)
        hidden = set().union(*(self._secrets[origin.name] for origin in self.world.hidden(principal)), set())
        products = {o.product for o in self.world.origins} - {o.product for o in visible}
        known = {group for origin in visible for group in origin.groups} | principal.groups
        return hidden | products | (set(self.world.groups) - known)

    def check(self, surface: str, principal: Principal, asked: object, output: str) -> None:
        """Search one output. What was asked may come back: it tells nothing."""
        self.report.checks[surface] += 1
        text, said = output.lower(), str(asked).lower()
        for secret in self._forbidden:
            if secret in text and secret not in said:
                self.fail(surface, principal, asked, f"shows {secret!r}")
                break
        self.report.seen += any(word in text for o in self._visible for word in o.words)

    def fail(self, surface: str, principal: Principal, asked: object, what: str) -> None:
        """Note a leak."""
        self.report.leaks.append(f"{surface}: {principal.id} {sorted(principal.groups)} asked {asked}: {what}")

    # -- the run -----------------------------------------------------------------------------------------------------

    def run(self, checks: int, cli_every: int = 400) -> Report:
        """Ask until so many outputs were checked."""
        next_cli = min(checks // 2, cli_every)
        while self.report.total < checks:
            principal = self._rng.choice(self._principals)
            self._forbidden = sorted(self.forbidden(principal))
            self._visible = self.world.visible(principal)
            self.ask_service(principal)
            self.ask_http(principal)
            anyio.run(self.ask_mcp, principal)
            if self.report.total >= next_cli:
                next_cli += cli_every
                self.ask_command_line(principal)
        return self.report

    # -- what is asked -----------------------------------------------------------------------------------------------

    def text(self) -> str:
        """Return a question or query about anything in the world, seen or not, right or nearly right."""
        rng, origin = self._rng, self._rng.choice(self.world.origins)
        word = rng.choice(origin.words)
        name = rng.choice(origin.symbols or ("SharedLedger",))
        path = rng.choice(origin.paths or ("src/common.py",))
        key = rng.choice(origin.keys or ("#12", "ADR-7"))
        makers: tuple[Callable[[], str], ...] = (
            lambda: " ".join(rng.sample(COMMON, rng.randint(1, 4))),
            lambda: f"how is the {rng.choice(COMMON)} {rng.choice(COMMON)} kept",
            lambda: word,
            lambda: f"{word} {rng.choice(COMMON)}",
            lambda: name,
            lambda: misspelt(name, rng),
            lambda: f"{name}.load",
            lambda: path,
            lambda: misspelt(path, rng),
            lambda: path.rpartition("/")[2],
            lambda: key,
            lambda: f"why was {key} changed",
            lambda: f"What does {name} do?",
            lambda: f"Where is {misspelt(name, rng)} defined and what is {rng.choice(COMMON)}?",
            lambda: "SharedLedger",
            lambda: "Sign payment session cookies",
            lambda: (
                f'Traceback:\n  File "/srv/{path}", line 6, in load\n  File "src/common.py", line 2, in f\nKeyError'
            ),
            lambda: rng.choice(origin.texts),
            lambda: " ".join([self._coins.word() for _ in range(70)] + [word, "payment"]),
            lambda: self._coins.word(),
        )
        return rng.choice(makers)()

    def filters(self) -> dict[str, Any]:
        """Return random filters; many name what the asker may not see."""
        rng, origin = self._rng, self._rng.choice(self.world.origins)
        names = ("code", "tickets", "designs", "history", origin.name, f"{origin.name}.history", self._coins.word())
        chosen: dict[str, Any] = {}
        if rng.random() < 0.3:
            chosen["sources"] = tuple(rng.sample(names, rng.randint(1, 2)))
        if rng.random() < 0.2:
            chosen["product"] = rng.choice((origin.product, f"suite-{self._coins.word()}"))
        if rng.random() < 0.2:
            chosen["path_glob"] = rng.choice(("src/**", "**/*.md", *origin.paths))
        return chosen

    def request(self) -> SearchRequest:
        """Return a random search."""
        mode = self._rng.choice(("ranked", "ranked", "all"))
        limit = self._rng.choice((1, 3, 8, 50))
        language = self._rng.choice(("", "", "", "python"))
        return SearchRequest(self.text(), limit, mode=mode, language=language, **self.filters())

    # -- surfaces ----------------------------------------------------------------------------------------------------

    def ask_service(self, principal: Principal) -> None:
        """Ask in process, rendered in every form."""
        for _ in range(4):
            self.search(principal, self.request())
        asked = AnswerRequest(self.text(), **self.filters())
        for form, output in self.outputs(lambda: self.answer(principal, asked)):
            self.check(f"answer {form}", principal, asked, output)
        self.see_status(principal)
        self.page_through(principal)
        self.use_foreign_cursor(principal)
        self.read_traces(principal)
        self.read_documents(principal)
        self.ask_for_hidden_and_absent(principal)
        self.count_names(principal)

    def search(self, principal: Principal, asked: SearchRequest) -> None:
        """Search and look at every form of the result."""
        for form, output in self.outputs(lambda: self.searched(principal, asked)):
            self.check(f"search {form}", principal, asked, output)

    def searched(self, principal: Principal, asked: SearchRequest) -> Iterator[tuple[str, str]]:
        result = self.service.search(asked, principal)
        self._note(principal, result.trace_id, asked)
        if result.next_cursor:
            self._cursors.append((principal, asked, result.next_cursor))
        yield "fields", repr(result)
        yield "concise", render_search(result, asked.query, "concise")
        yield "detailed", render_search(result, asked.query, "detailed", 40_000)
        yield "json", json.dumps(search_to_dict(result))

    def _note(self, principal: Principal, trace: str, asked: object) -> None:
        self._traces.append((principal, trace))
        self._queries[trace] = str(asked)

    def answer(self, principal: Principal, asked: AnswerRequest) -> Iterator[tuple[str, str]]:
        result = self.service.answer(asked, principal)
        self._note(principal, result.trace_id, asked)
        yield "fields", repr(result)
        yield "detailed", render_answer(result, "detailed", 40_000)
        yield "json", json.dumps(answer_to_dict(result))

    @staticmethod
    def outputs(call: Callable[[], Iterator[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
        """Yield the forms of a result, or the error as it is told."""
        try:
            yield from call()
        except ServerError as error:
            yield "error", describe(error)

    def see_status(self, principal: Principal) -> None:
        """Look at the status; its sums are of what the principal sees."""
        status = self.service.status(principal)
        self.check("status", principal, "status", render_status(status) + json.dumps(status_to_dict(status)))
        sums = tuple(sum(source[name] for source in status.sources) for name in ("files", "chunks"))
        if sums != (status.files, status.chunks):
            self.fail(
                "status", principal, "status", f"counts {status.files} files, {status.chunks} chunks, sees {sums}"
            )

    def count_names(self, principal: Principal) -> None:
        """Totals and notes count what is visible."""
        result = self.service.search(SearchRequest("SharedLedger", mode="all"), principal)
        expected = sum(self._totals[origin.name] for origin in self._visible)
        self.check("count", principal, "SharedLedger", repr(result))
        if result.total != expected:
            self.fail("count", principal, "SharedLedger", f"counts {result.total} lines, sees {expected}")
        notes = " ".join(self.service.search(SearchRequest("SharedLedger"), principal).notes)
        said = [int(number) for number in DEFINITIONS.findall(notes)]
        defined = sum(self._defining[origin.name] for origin in self._visible)
        if said and said != [defined]:
            self.fail("count", principal, "SharedLedger", f"says {said} definitions, sees {defined}")

    def page_through(self, principal: Principal) -> None:
        """Follow a cursor of one's own."""
        own = [(asked, cursor) for who, asked, cursor in self._cursors[-20:] if who == principal]
        for asked, cursor in own[-1:]:
            self.search(principal, replace(asked, cursor=cursor))

    def use_foreign_cursor(self, principal: Principal) -> None:
        """A cursor of somebody else is refused, whoever it is of."""
        others = [item for item in self._cursors[-60:] if item[0] != principal]
        for who, asked, cursor in self._rng.sample(others, min(1, len(others))):
            stolen = replace(asked, cursor=cursor)
            outputs = list(self.outputs(lambda stolen=stolen: self.searched(principal, stolen)))
            for form, output in outputs:
                self.check(f"cursor {form}", principal, stolen, output)
            if [form for form, _ in outputs] != ["error"]:
                self.fail("cursor", principal, stolen, f"the cursor of {who.id} was taken")

    def read_traces(self, principal: Principal) -> None:
        """One's own traces hold nothing hidden; those of others read like absent ones."""
        own = [trace for who, trace in self._traces[-40:] if who == principal]
        for trace in own[-2:]:
            stage = self._rng.choice(STAGES)
            for form, output in self.outputs(
                lambda t=trace, s=stage: iter([("", self.service.explain(t, s, principal))])
            ):
                self.check(f"trace {form}".strip(), principal, self._queries[trace], output)
        others = [trace for who, trace in self._traces[-200:] if who != principal]
        for trace in self._rng.sample(others, min(2, len(others))):
            absent = trace[:-8] + "00000000"
            said = [
                self.told(lambda t=t: self.service.explain(t, "", principal)).replace(t, "") for t in (trace, absent)
            ]
            self.check("trace of others", principal, "", said[0])
            if said[0] != said[1]:
                self.fail("trace", principal, trace, f"a trace of somebody else reads {said[0][:200]!r}")
        for row in self.service.list_traces(principal, 5):
            self.check("trace list", principal, f"{row.query} {row.filters.get('path_glob')}", repr(row))

    def read_documents(self, principal: Principal) -> None:
        """A document of a hidden source reads like one of an absent source."""
        origin = self._rng.choice(self.world.origins)
        path = self._rng.choice((*origin.paths, *origin.keys, "#12", "src/common.py"))
        output = self.told(lambda: self.service.read_document(origin.name, path, principal))
        self.check("document", principal, (origin.name, path), output)
        if origin not in self._visible:
            absent = f"{origin.name[:-10]}{self._coins.word()}"
            other = self.told(lambda: self.service.read_document(absent, path, principal))
            if output.replace(origin.name, "") != other.replace(absent, ""):
                self.fail("document", principal, (origin.name, path), output[:200])

    def ask_for_hidden_and_absent(self, principal: Principal) -> None:
        """A filter that names something hidden answers as if it did not exist."""
        for origin in self._rng.sample(self.world.origins, 2):
            if origin in self._visible:
                continue
            word, path = self._coins.word(), f"src/{self._coins.word()}/x.py"
            pairs: list[tuple[str, str, SearchRequest]] = [
                (origin.name, word, SearchRequest("payment", sources=("{}",))),
                (origin.words[0], word, SearchRequest("{}", mode="all")),
            ]
            if origin.product not in {seen.product for seen in self._visible}:
                pairs.append((origin.product, f"suite-{word}", SearchRequest("payment", product="{}")))
            if origin.paths:
                pairs.append((origin.paths[0], path, SearchRequest("payment", path_glob="{}")))
            for hidden, absent, asked in pairs:
                said = [self.alike(principal, asked, name) for name in (hidden, absent)]
                self.check("hidden as absent", principal, (asked, hidden), said[0])
                if said[0] != said[1]:
                    self.fail("hidden as absent", principal, (asked, hidden), f"{said[0][:300]!r} != {said[1][:300]!r}")

    def alike(self, principal: Principal, asked: SearchRequest, name: str) -> str:
        """Return a whole output without the name that was asked for and without what differs between any two calls."""
        filled = {
            key: value.format(name) if isinstance(value, str) else tuple(part.format(name) for part in value)
            for key in ("query", "sources", "product", "path_glob")
            if (value := getattr(asked, key))
        }
        request = replace(asked, **filled)
        output = "\n".join(f"{form} {text}" for form, text in self.outputs(lambda: self.searched(principal, request)))
        return VARYING.sub("", output).replace(name, "")

    @staticmethod
    def told(call: Callable[[], str]) -> str:
        """Return what a call says, or its error."""
        try:
            return call()
        except ServerError as error:
            return describe(error)

    async def ask_mcp(self, principal: Principal) -> None:
        """Ask through the protocol."""
        async with Client(make_server(self.service, principal=principal)) as client:
            trace = self._rng.choice(self._traces)[1]
            own = self._asked(trace, principal)
            tools: Sequence[tuple[str, dict[str, Any]]] = (
                ("search_code", self.tool_arguments("query")),
                ("answer", self.tool_arguments("question")),
                ("explain_trace", {"trace_id": trace}),
            )
            for name, arguments in tools:
                result = await client.call_tool(name, arguments)
                output = "\n".join(part.text for part in result.content)
                self.check(f"mcp {name}", principal, f"{arguments} {own}", output)
            origin = self._rng.choice(self.world.origins)
            path = self._rng.choice((*origin.paths, "src/common.py"))
            for uri in ("status://index", f"code://{origin.name}/{path}", f"trace://{trace}"):
                output = await read_resource(client, uri)
                self.check(f"mcp {uri.partition(':')[0]}", principal, f"{uri} {own}", output)

    def _asked(self, trace: str, principal: Principal) -> str:
        """Return what was asked in a trace of one's own; that of others must say nothing."""
        return self._queries[trace] if (principal, trace) in self._traces else ""

    def tool_arguments(self, name: str) -> dict[str, Any]:
        filters = {key: list(value) if key == "sources" else value for key, value in self.filters().items()}
        form = self._rng.choice(("concise", "detailed", "json"))
        return {name: self.text(), "response_format": form, **filters}

    def ask_http(self, principal: Principal) -> None:
        """Ask the JSON interface."""
        view = copy.copy(self.service)
        settings = self.service.setup.settings
        who = settings.principal.model_copy(update={"id": principal.id, "groups": tuple(principal.groups)})
        view.setup = replace(self.service.setup, settings=settings.model_copy(update={"principal": who}))
        web = make_app(view, PlainTextResponse("mcp"), lambda: None)
        trace = self._rng.choice(self._traces)[1]
        calls: Sequence[tuple[str, dict[str, Any] | None]] = (
            ("/v1/search", {"query": self.text(), "mode": self._rng.choice(("ranked", "all")), **self.json_filters()}),
            ("/v1/query", {"question": self.text(), **self.json_filters()}),
            ("/health/ready", None),
            (f"/v1/traces/{trace}", None),
        )
        for path, body in calls:
            output = anyio.run(call_app, web, path, body)
            surface = path.split("/")[-2 if body is None else -1]
            self.check(f"http {surface}", principal, f"{body} {self._asked(trace, principal)}", output)

    def json_filters(self) -> dict[str, Any]:
        return {key: list(value) if key == "sources" else value for key, value in self.filters().items()}

    def ask_command_line(self, principal: Principal) -> None:
        """Ask the command line, as JSON and as text."""
        setup = self.service.setup
        environment = {
            "CODECAIRN_PRINCIPAL__ID": json.dumps(principal.id),
            "CODECAIRN_PRINCIPAL__GROUPS": json.dumps(sorted(principal.groups)),
        }
        place = ["--root", str(setup.root), "--config", str(setup.config_file), "--data", str(setup.data_dir)]
        text, filters = self.text(), self.filters()
        chosen = [part for name in filters.get("sources", ()) for part in ("--source", name)]
        commands = (["search", "--json", *chosen, "--", text], ["answer", "--json", *chosen, "--", text], ["status"],
                    ["trace", "list"])  # fmt: skip
        with mock.patch.dict(os.environ, environment):
            for command in commands:
                end = command.index("--") if "--" in command else len(command)
                done = CliRunner().invoke(app, [*command[:end], *place, *command[end:]])
                output = done.output + str(done.exception or "")
                own = [row.query for row in self.service.list_traces(principal, 20)]
                self.check(f"cli {command[0]}", principal, (command, own), output)


def misspelt(name: str, rng: random.Random) -> str:
    """Return a name with one letter changed or left out."""
    at = rng.randrange(1, len(name) - 1)
    return name[:at] + rng.choice(("", "e")) + name[at + 1 :]


async def read_resource(client: Any, uri: str) -> str:
    """Return a resource or the error."""
    try:
        return "\n".join(part.text for part in (await client.read_resource(uri)).contents)
    except Exception as error:  # whatever the client makes of a refusal is an output too
        return str(error)


async def call_app(web: Any, path: str, body: dict[str, Any] | None) -> str:
    """Call an ASGI application and return the body of its answer."""
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body or {}).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    scope = {"type": "http", "method": "POST" if body is not None else "GET", "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": [(b"host", b"localhost")], "scheme": "http", "server": ("localhost", 80),
             "client": ("127.0.0.1", 1), "root_path": "", "http_version": "1.1"}  # fmt: skip
    await web(scope, receive, send)
    return b"".join(sent).decode()
