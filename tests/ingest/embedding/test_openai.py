"""The endpoint embedder against a real server on loopback."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ingest.config import EmbeddingConfig
from ingest.embedding import load_embedder
from ingest.embedding.openai import MAX_INPUT_CHARS, QUERY_PATIENCE_S, OpenAIEmbedder
from ingest.errors import ConfigError, EmbeddingError


class Endpoint:
    """An OpenAI-compatible embedding server: `script` holds the next answers, a status or the body of a 200."""

    def __init__(self):
        self.requests, self.headers, self.script, self.dimensions, self.retry_after = [], [], [], 4, None
        self.content_type = "application/json"
        self.hold = threading.Event()
        self.hold.set()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.requests.append(body)
                endpoint.headers.append(self.headers)
                status, answer = endpoint.next_answer(body)
                endpoint.hold.wait(30)
                with contextlib.suppress(ConnectionError):  # the caller may have given up
                    self.reply(status, answer)

            def reply(self, status, answer):
                self.send_response(status)
                self.send_header("content-type", endpoint.content_type)
                if endpoint.retry_after is not None:
                    self.send_header("retry-after", endpoint.retry_after)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def next_answer(self, body):
        step = self.script.pop(0) if self.script else 200
        if isinstance(step, bytes):
            return 200, step
        if step != 200:
            return step, b'{"error": {"message": "no"}}'
        rows = [[float(len(text)), 1.0, *[0.0] * (self.dimensions - 2)] for text in body["input"]]
        data = [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(rows)]
        return 200, json.dumps({"object": "list", "data": data[::-1], "model": body["model"], "usage": {}}).encode()

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint():
    server = Endpoint()
    yield server
    server.close()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def make(endpoint, waits):
    def make(**more):
        settings = {"dimensions": 4, **more}
        config = EmbeddingConfig(kind="openai", model="m", base_url=endpoint.url, **settings)
        return OpenAIEmbedder(config, "key-of-the-test", sleep=waits.append)

    return make


def test_batches_keep_their_order(endpoint, make):
    vectors = make(batch=2).embed_passages(["a", "bb", "ccc", "dddd", "eeeee"])
    assert [len(request["input"]) for request in endpoint.requests] == [2, 2, 1]
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [1, 2, 3, 4, 5])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors.dtype == np.float32


def test_nothing_to_embed_costs_no_call(endpoint, make):
    assert make().embed_passages([]).shape == (0, 4)
    assert endpoint.requests == []


@pytest.mark.req("R12")
@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_passing_failures_are_tried_again(endpoint, make, waits, status):
    endpoint.script = [status, status]
    assert make().embed_query("abc").shape == (4,)
    assert len(endpoint.requests) == 3
    assert len(waits) == 2


@pytest.mark.req("R12")
def test_the_endpoint_says_how_long_to_wait(endpoint, make, waits):
    endpoint.script, endpoint.retry_after = [429, 429], "17"
    make().embed_passages(["abc"])
    assert waits == [17, 17]


@pytest.mark.req("F1")
def test_a_query_does_not_wait_out_a_rate_limit(endpoint, make, waits):
    endpoint.script, endpoint.retry_after = [429] * 9, "17"
    with pytest.raises(EmbeddingError, match=r"answered 429 for model 'm'. It asks to wait 17 s\."):
        make().embed_query("abc")
    assert (len(endpoint.requests), waits) == (1, [])


@pytest.mark.parametrize("value", ["soon", "-3", "inf", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_unusable_retry_after_is_read_as_none(endpoint, make, waits, value):
    endpoint.script, endpoint.retry_after = [503], value
    make().embed_query("abc")
    assert all(0 <= wait < QUERY_PATIENCE_S for wait in waits)
    assert len(waits) == 1


@pytest.mark.req("R12")
def test_lasting_failure_is_a_sentence(endpoint, make):
    endpoint.script = [500] * 20
    with pytest.raises(EmbeddingError, match="answered 500 for model 'm'"):
        make().embed_passages(["abc"])
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize(
    ("status", "advice"), [(400, "'m'.$"), (401, "embedding.api_key_env"), (404, "embedding.base_url")]
)
def test_refusal_is_not_tried_again(endpoint, make, status, advice):
    endpoint.script = [status] * 3
    with pytest.raises(EmbeddingError, match=advice) as caught:
        make().embed_query("abc")
    assert "key-of-the-test" not in str(caught.value)
    assert len(endpoint.requests) == 1


def test_closed_port_is_a_sentence(endpoint, make, waits):
    embedder = make()
    endpoint.server.shutdown()
    endpoint.server.server_close()
    with pytest.raises(EmbeddingError, match="cannot be reached"):
        embedder.embed_query("abc")
    assert len(waits) == 3


def test_silent_endpoint_is_a_sentence(endpoint, make):
    endpoint.hold.clear()
    with pytest.raises(EmbeddingError, match=r"did not answer in 0\.05 s"):
        make(timeout_s=0.05).embed_query("abc")


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>a proxy</html>",
        b"{}",
        b"null",
        b'{"data": null}',
        b'{"data": [{"index": 0, "embedding": null}]}',
        b'{"data": [{"index": 0, "embedding": ["a", "b"]}]}',
        b'{"data": [{"index": 0, "embedding": [1.0, NaN, 0.0, 0.0]}]}',
        b'{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]}',
        b'{"data": [{"index": 0, "embedding": [1.0, 0.0, 0.0, 0.0]}]}',
    ],
)
def test_answer_that_is_no_list_of_vectors_is_a_sentence(endpoint, make, answer):
    endpoint.script = [answer] * 4
    with pytest.raises(EmbeddingError, match="list of vectors|1 vectors for 2 texts"):
        make().embed_passages(["a", "b"])


def test_a_page_of_a_proxy_is_a_sentence(endpoint, make):
    endpoint.script, endpoint.content_type = [b"<html>sign in</html>"], "text/html"
    with pytest.raises(EmbeddingError, match="list of vectors"):
        make().embed_query("a")


@pytest.mark.req("I12")
def test_other_dimensions_are_refused(endpoint, make):
    with pytest.raises(EmbeddingError, match="4 dimensions, not 8"):
        make(dimensions=8).embed_query("abc")


def test_dimensions_are_asked_for_once(endpoint, make):
    embedder = make(dimensions=0)
    assert embedder.id == "openai:m/4"
    assert embedder.dimensions == 4
    assert len(endpoint.requests) == 1


def test_input_is_never_empty_and_never_longer_than_the_model_takes(endpoint, make):
    make().embed_passages(["", "  \n", "x" * 99_999])
    assert [len(text) for text in endpoint.requests[0]["input"]] == [1, 1, MAX_INPUT_CHARS]


def test_only_the_given_key_is_sent(endpoint, make, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-another-endpoint")
    make().embed_query("abc")
    sent = endpoint.headers[0]
    assert sent["authorization"] == "Bearer key-of-the-test"
    assert "of-another-endpoint" not in str(sent)


def test_a_rename_changes_no_passage(make):
    embedder = make()
    assert embedder.passage("a.py", "class A:", "x") == embedder.passage("b.py", "class A:", "x")


def test_endpoint_without_address_names_the_setting():
    with pytest.raises(ConfigError, match=r"embedding\.base_url"):
        load_embedder(EmbeddingConfig(kind="openai", model="m"), None)


def test_settings_choose_the_endpoint(endpoint):
    embedder = load_embedder(EmbeddingConfig(kind="openai", model="m", base_url=endpoint.url), "key")
    assert embedder is not None
    assert embedder.id == "openai:m/4"


@pytest.mark.req("F16", "F1")
def test_an_endpoint_that_keeps_failing_costs_a_query_no_time(endpoint, make):
    endpoint.script = [400] * 9
    embedder = make()
    for _ in range(3):
        with pytest.raises(EmbeddingError, match="answered 400"):
            embedder.embed_query("abc")
    with pytest.raises(EmbeddingError, match=r"failed repeatedly; it is tried again in \d+ s"):
        embedder.embed_query("abc")
    assert len(endpoint.requests) == 3
    assert embedder.embed_passages([]).shape == (0, 4), "a build is patient"
