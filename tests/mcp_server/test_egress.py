"""The last step before a result leaves: an index that holds what it must not hold, and filters that fail."""

import json
import os
from dataclasses import replace

import anyio
import numpy as np
import pytest
from mcp import Client
from starlette.responses import PlainTextResponse

from ingest.access import Principal
from ingest.build import build_index
from ingest.config import EmbeddingConfig
from ingest.embedding import load_embedder
from ingest.index import Index
from ingest.redact import Redacted
from ingest.untrusted import defuse_links
from mcp_server.access import local_principal
from mcp_server.config import load_setup
from mcp_server.errors import Withheld
from mcp_server.render import render_answer, render_search
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.server import make_server
from mcp_server.service import Service
from mcp_server.web import make_app
from tests.access.leaks import call_app
from tests.mcp_server.conftest import reindex
from tests.mcp_server.fake_llm import FakeLLM, claiming

TOKEN = "ghp_" + "Zk4mQ9vX2bN7tR5wY8cL1dF3gH6jK0pS4aEu"
MAIL = "ada.lovelace@acme-payments.io"
BEACON = "https://collector.evil-host.io/pixel.png?data=payload"
TICKET = {
    "number": 7,
    "title": "Coupon service rejects the payment token",
    "body": f"The coupon service answers 401 to {TOKEN}, as {MAIL} found.\n\n![status]({BEACON}) see [log]({BEACON})\n",
    "updated_at": "2026-10-01T00:00:00Z",
}
CODE = f'''"""Coupons."""

COUPON_LOGO = "{BEACON}"


def coupon_token():
    """Return the token of the coupon service."""
    return "{TOKEN}"
'''
DESIGN = f"# ADR-4 Coupon service\n\nStatus: accepted\n\nThe coupon service is called with {TOKEN}.\n"
MAPS = "https://maps.example.org/x"


def write_world(folder):
    (folder / "code").mkdir()
    (folder / "code" / "coupons.py").write_text(CODE)
    (folder / "issues.json").write_text(json.dumps([TICKET]))
    (folder / "designs").mkdir()
    (folder / "designs" / "adr-4.md").write_text(DESIGN)
    (folder / "codecairn.toml").write_text(
        f"""
[[source]]
name = "code"
type = "folder"
path = "{folder / "code"}"
product = "shop"
[[source]]
name = "issues"
type = "tickets"
path = "{folder / "issues.json"}"
product = "shop"
[[source]]
name = "designs"
type = "designs"
path = "{folder / "designs"}"
product = "shop"
groups = ["architects"]
[principal]
groups = ["local", "architects"]
"""
    )
    return load_setup(root=folder, config=None, data=folder / "data", env=dict(os.environ))


@pytest.fixture(scope="module")
def unclean(tmp_path_factory):
    """An index that was built without any redaction, as by rules that did not know these formats yet."""
    setup = write_world(tmp_path_factory.mktemp("egress"))
    service = Service(setup)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.cleaning.redact", lambda text, personal=False: Redacted(text, ()))
        reindex(service)
    with service.reading() as index:
        held = [chunk.text for chunk in index.chunks(index.sample_ids(100))]
    assert sum(TOKEN in text for text in held) == 3, "the fault must be there"
    yield service
    service.close()


def me(service):
    return local_principal(service.setup.settings)


def outputs(service):
    """Return what every surface says of the coupon service."""
    said = []
    for query in ("coupon service token", "coupon_token", "#7", "ADR-4"):
        for mode in ("ranked", "all"):
            result = service.search(SearchRequest(query, limit=20, mode=mode), me(service))
            said += [render_search(result, query, style, 90_000) for style in ("concise", "detailed", "json")]
            said += [service.explain(result.trace_id, stage, me(service)) for stage in ("", "rerank")]
        said.append(render_answer(service.answer(AnswerRequest(f"what does the {query} return?"), me(service))))
        events = service.stream_answer(AnswerRequest(f"where is the {query}?"), me(service), use_cache=False)
        said += [repr(event) for event in events]
    said += [service.read_document(s, p, me(service)) for s, p in (("code", "coupons.py"), ("issues", "#7"))]
    said.append(anyio.run(ask_tools, service))
    web = make_app(service, PlainTextResponse("mcp"), lambda: None)
    said += [anyio.run(call_app, web, path, {"query": "coupon service token"}) for path in ("/v1/search", "/v1/query")]
    return said


async def ask_tools(service):
    async with Client(make_server(service)) as client:
        found = await client.call_tool("search_code", {"query": "coupon service token"})
        read = await client.read_resource("code://code/coupons.py")
        return f"{found} {read}"


@pytest.mark.req("S8", "S12", "V4.7")
def test_a_secret_that_lies_in_the_index_leaves_by_no_surface_trace_or_log(unclean, capfd):
    said = outputs(unclean)
    assert any("coupon_token" in text for text in said)
    assert not [text for text in said if TOKEN[8:] in text]
    unclean.store.flush()
    captured = capfd.readouterr()
    assert TOKEN[8:] not in captured.out + captured.err


@pytest.mark.req("S2", "S8")
def test_personal_data_leaves_only_where_its_source_lets_it(unclean):
    assert not [
        text[max(0, text.index(MAIL) - 600) : text.index(MAIL) + 300] for text in outputs(unclean) if MAIL in text
    ]
    settings = unclean.setup.settings
    sources = tuple(s.model_copy(update={"pii": "off"}) if s.name == "issues" else s for s in settings.source)
    open_setup = replace(unclean.setup, settings=settings.model_copy(update={"source": sources}))
    service = Service(open_setup)
    found = service.search(SearchRequest("coupon service rejects"), me(service))
    assert any(MAIL in hit.text for hit in found.hits)
    service.close()


@pytest.mark.req("S8")
def test_retrieved_prose_holds_no_live_link_or_image_and_code_stays_as_it_is(unclean):
    found = unclean.search(SearchRequest("coupon service payment status log"), me(unclean))
    (ticket,) = [hit for hit in found.hits if hit.key == "#7"]
    assert "status (image: collector.evil-host.io/pixel.png) see log (collector.evil-host.io/pixel.png)" in ticket.text
    (code, *_) = [hit for hit in found.hits if hit.path == "coupons.py"]
    assert f'COUPON_LOGO = "{BEACON}"' in unclean.read_document("code", "coupons.py", me(unclean))
    assert code.kind == "code"


@pytest.mark.parametrize(
    "live",
    [
        f"![x]({MAPS}?q=1)",
        f"[x](<{MAPS}> 'title')",
        "![x](//maps.example.org/x)",
        f"[ref]: {MAPS}?a=b",
        f'<img width=1 src="{MAPS}?a=b">',
        f"<iframe src={MAPS}></iframe>",
        f"<a href='{MAPS}'>here",
        f'<video\tposter="{MAPS}"',
    ],
)
def test_no_form_of_a_live_link_is_left(live):
    safe = defuse_links(f"before\n{live}\nafter")
    assert "//" not in safe and "maps.example.org/x" in safe and len(safe.split("\n")) == 3


@pytest.mark.parametrize("kept", ["see https://example.org/a?b=c", "[own](docs/a.md#b)", "a // b", "![own](x.png)"])
def test_what_no_client_loads_stays(kept):
    assert defuse_links(kept) == kept


@pytest.mark.req("S1", "S8")
def test_what_filters_let_through_by_mistake_is_withheld(unclean, monkeypatch):
    monkeypatch.setattr(Index, "_visible", lambda self, filters: tuple(s.name for s in self.manifest.sources))
    outsider = Principal("outsider", frozenset(["local"]))
    for call in (
        lambda: unclean.search(SearchRequest("ADR-4 coupon service"), outsider),
        lambda: unclean.answer(AnswerRequest("what is the coupon service called with?"), outsider, use_cache=False),
    ):
        with pytest.raises(Withheld, match="so none is given"):
            call()


@pytest.mark.req("S3", "S8")
def test_no_secret_goes_to_a_model_though_the_index_holds_it(unclean):
    endpoint = FakeLLM()
    endpoint.default = claiming("coupons.py", f"The service is called with {TOKEN}.")
    settings = unclean.setup.settings
    llm = settings.llm.model_validate({"model": "m", "base_url": endpoint.url, "timeout_s": 5})
    service = Service(replace(unclean.setup, settings=settings.model_copy(update={"llm": llm}), llm_api_key="k"))
    said = service.answer(AnswerRequest("what does coupon_token return?"), me(service))
    assert endpoint.requests and "coupon_token" in json.dumps(endpoint.requests)
    assert TOKEN[8:] not in json.dumps(endpoint.requests) and TOKEN[8:] not in repr(said)
    service.close()
    endpoint.close()


@pytest.mark.req("S3", "S8")
def test_no_secret_goes_to_an_embedding_endpoint_though_cleaning_missed_it(tmp_path, monkeypatch):
    setup = write_world(tmp_path)
    static = load_embedder(EmbeddingConfig(), "")
    sent = []

    class Remote:
        id, dimensions, local = static.id, static.dimensions, False
        passage = staticmethod(static.passage)

        def embed_passages(self, passages):
            sent.extend(passages)
            return np.asarray(static.embed_passages(passages))

    monkeypatch.setattr("ingest.cleaning.redact", lambda text, personal=False: Redacted(text, ()))
    build_index(setup.settings.source, setup.settings.index, Remote(), setup.data_dir, now="2026-11-21T00:00:00Z")
    assert any("coupon_token" in passage for passage in sent)
    assert not [passage for passage in sent if TOKEN[8:] in passage]
