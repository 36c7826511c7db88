"""/metrics: what a Prometheus server reads. Same figures as the traces, and never a question."""

import re
import shutil

import pytest
from starlette.testclient import TestClient

from mcp_server.access import local_principal
from mcp_server.errors import BadRequest
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.server import http_app
from mcp_server.web import make_app


@pytest.fixture
def client(service):
    server, app = http_app(service, ["testserver"], [])
    service.setup.settings.server.__dict__["allowed_hosts"] = ("testserver",)
    with TestClient(make_app(service, app, server.session_manager.run)) as client:
        yield client


def read(client):
    """Return each sample of /metrics by its name with labels."""
    text = client.get("/metrics").text
    return {name: float(value) for name, value in re.findall(r"^(codecairn_\S+) (\S+)$", text, re.MULTILINE)}


@pytest.mark.req("M16", "M1", "M3")
def test_metrics_count_queries_stages_answers_and_degraded_codes(client, service, setup):
    principal = local_principal(setup.settings)
    service.search(SearchRequest("SessionSigner"), principal)
    service.answer(AnswerRequest("Where is the retry limit set?"), principal)
    service.answer(AnswerRequest("Where is the retry limit set?"), principal)
    with pytest.raises(BadRequest):
        service.search(SearchRequest("x", product="nowhere"), principal)
    found = read(client)
    assert found['codecairn_queries_total{entry="cli",kind="live",status="success",tool="search_code"}'] == 1
    assert found['codecairn_errors_total{type="BadRequest"}'] == 1
    assert found['codecairn_query_seconds_count{tool="answer"}'] == 2
    assert found['codecairn_cache_lookups_total{cache="answer",outcome="hit"}'] == 1
    assert found['codecairn_stage_seconds_count{stage="fusion"}'] >= 2
    assert found['codecairn_answers_total{abstained="false"}'] == 2
    assert "retry" not in client.get("/metrics").text and "nowhere" not in client.get("/metrics").text


@pytest.mark.req("M3", "M16")
def test_degraded_codes_are_counted_without_the_source_that_they_name(client, service, setup):
    with service.reading():
        shutil.rmtree(next((setup.data_dir / "gens").glob("*/lance")))
    codes = service.search(SearchRequest("retry payment"), local_principal(setup.settings)).degraded
    found = read(client)
    assert codes and all(found[f'codecairn_degraded_total{{code="{code}"}}'] == 1 for code in codes)


def test_metrics_are_told_apart_by_content_type_and_count_lost_traces(client, service):
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert read(client)['codecairn_traces_lost{why="lost"}'] == 0
    service.store.close()
    service.search(SearchRequest("SessionSigner"), local_principal(service.setup.settings))
    assert read(client)['codecairn_traces_lost{why="lost"}'] == 1
