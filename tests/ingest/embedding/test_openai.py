"""The endpoint embedder against a real server on loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ingest.config import EmbeddingConfig
from ingest.embedding import load_embedder
from ingest.errors import ConfigError, EmbeddingError


class Endpoint:
    """An OpenAI-compatible embedding server: `script` holds the statuses of the next answers."""

    def __init__(self):
        self.requests, self.script, self.dimensions = [], [], 4
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.requests.append(body)
                status = endpoint.script.pop(0) if endpoint.script else 200
                rows = [[float(len(text)), 1.0, *[0.0] * (endpoint.dimensions - 2)] for text in body["input"]]
                data = [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(rows)]
                answer = {"object": "list", "data": data, "model": body["model"], "usage": {}}
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("retry-after", "0")
                self.end_headers()
                self.wfile.write(json.dumps(answer if status == 200 else {"error": {"message": "no"}}).encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint():
    server = Endpoint()
    yield server
    server.close()


def make(endpoint, **more):
    return load_embedder(EmbeddingConfig(kind="openai", model="m", base_url=endpoint.url, **more), "key")


def test_batches_keep_their_order(endpoint):
    vectors = make(endpoint, batch=2, dimensions=4).embed_passages(["a", "bb", "ccc", "dddd", "eeeee"])
    assert [len(request["input"]) for request in endpoint.requests] == [2, 2, 1]
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [1, 2, 3, 4, 5])


@pytest.mark.req("R12")
@pytest.mark.parametrize("status", [429, 500])
def test_passing_failures_are_tried_again(endpoint, status):
    endpoint.script = [status, status]
    assert make(endpoint, dimensions=4).embed_query("abc").shape == (4,)
    assert len(endpoint.requests) == 3


@pytest.mark.req("R12")
def test_lasting_failure_is_a_sentence(endpoint):
    endpoint.script = [500] * 20
    with pytest.raises(EmbeddingError, match="answered 500 for model 'm'"):
        make(endpoint, dimensions=4).embed_query("abc")
    assert len(endpoint.requests) == 4


def test_closed_port_is_a_sentence(endpoint):
    embedder = make(endpoint, dimensions=4)
    endpoint.server.server_close()
    endpoint.server.shutdown()
    with pytest.raises(EmbeddingError, match="cannot be reached"):
        embedder.embed_query("abc")


@pytest.mark.req("I12")
def test_other_dimensions_are_refused(endpoint):
    embedder = make(endpoint, dimensions=8)
    with pytest.raises(EmbeddingError, match="4 dimensions, not 8"):
        embedder.embed_query("abc")


def test_dimensions_are_asked_for_once(endpoint):
    embedder = make(endpoint)
    assert embedder.id == "openai:m/4"
    assert embedder.dimensions == 4
    assert len(endpoint.requests) == 1


def test_a_rename_changes_no_passage(endpoint):
    embedder = make(endpoint)
    assert embedder.passage("a.py", "class A:", "x") == embedder.passage("b.py", "class A:", "x")


def test_endpoint_without_address_names_the_setting():
    with pytest.raises(ConfigError, match="embedding.base_url"):
        load_embedder(EmbeddingConfig(kind="openai", model="m"), None)
