"""The model's client against a real server on loopback: every way in which an endpoint can let one down."""

import ast
import asyncio
import json
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from ingest.breaker import Breaker
from mcp_server.chat import LLMDown, LLMTimeout, Message
from mcp_server.config import LlmConfig
from mcp_server.fallback import Cancellation, Deadline
from mcp_server.llm import OpenAILLM
from tests.mcp_server.fake_llm import FakeLLM, Step, claim, reply

MESSAGES = (Message("system", "rules"), Message("user", "question"))
SCHEMA = {"type": "object"}


@pytest.fixture
def endpoint():
    server = FakeLLM()
    yield server
    server.close()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def make(endpoint, waits):
    made = []

    async def sleep(seconds):
        waits.append(seconds)
        await asyncio.sleep(0)

    def make(breaker=None, key="key-of-the-test", **more):
        config = LlmConfig(model="m", base_url=endpoint.url, **{"timeout_s": 5, **more})
        llm = OpenAILLM(config, key, sleep=sleep, breaker=breaker)
        made.append(llm)
        return llm

    yield make
    for llm in made:
        llm.close()


def ask(llm, *, deadline_s=20.0, cancellation=None, schema=None, on_text=None):
    return llm.complete(
        MESSAGES,
        deadline=Deadline(deadline_s),
        cancellation=cancellation or Cancellation(),
        schema=schema,
        on_text=on_text,
    )


@pytest.mark.req("T15", "T19", "N15")
def test_reply_has_text_model_and_what_the_endpoint_counted(endpoint, make):
    usage = {"prompt_tokens": 900, "completion_tokens": 90, "prompt_tokens_details": {"cached_tokens": 640}}
    endpoint.script = [Step("hello", usage=usage, headers={"x-request-id": "r-1"})]
    answer = ask(make(), schema=SCHEMA)
    assert (answer.text, answer.model, answer.finish_reason, answer.request_id) == ("hello", "m", "stop", "r-1")
    assert (answer.tokens.input, answer.tokens.output, answer.tokens.cached) == (900, 90, 640)
    sent = endpoint.requests[0]
    assert (sent["temperature"], sent["seed"], sent["max_tokens"], sent["stream"]) == (0, 7, 1200, True)
    assert sent["response_format"]["json_schema"]["schema"] == SCHEMA
    assert answer.is_constrained


def test_text_is_told_while_it_is_written(endpoint, make):
    endpoint.script = [Step("x" * 100)]
    told = []
    assert ask(make(), on_text=lambda attempt, piece: told.append((attempt, piece))).text == "x" * 100
    assert "".join(piece for _, piece in told) == "x" * 100
    assert len(told) == 3


def test_body_that_is_no_stream_is_read_too(endpoint, make):
    body = {"model": "m", "choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}
    endpoint.script = [Step(raw=json.dumps(body).encode(), content_type="application/json")]
    answer = ask(make())
    assert (answer.text, answer.tokens) == ("whole", None)


@pytest.mark.req("F16", "R12", "N2")
@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_tried_again(endpoint, make, waits, status):
    endpoint.script = [Step(status=status), Step(status=status), Step("there")]
    answer = ask(make())
    assert (answer.text, answer.attempts, len(waits)) == ("there", 3, 2)


@pytest.mark.req("F16")
def test_the_endpoint_says_how_long_to_wait(endpoint, make, waits):
    endpoint.script = [Step(status=429, headers={"retry-after": "3"}), Step("there")]
    ask(make())
    assert waits == [3]


@pytest.mark.req("F16", "K5")
def test_a_wait_beyond_the_deadline_is_not_begun(endpoint, make, waits):
    endpoint.script = [Step(status=429, headers={"retry-after": "60"})] * 9
    with pytest.raises(LLMDown, match=r"answered 429 for model 'm'. It asks to wait 60 s\."):
        ask(make(), deadline_s=5)
    assert (len(endpoint.requests), waits) == (1, [])


@pytest.mark.req("F16")
def test_retries_end(endpoint, make):
    endpoint.script = [Step(status=500)] * 20
    with pytest.raises(LLMDown, match="answered 500"):
        ask(make())
    assert len(endpoint.requests) == 4


@pytest.mark.req("F2", "S11")
def test_refused_key_is_not_tried_again_and_not_told(endpoint, make):
    endpoint.script = [Step(status=401)] * 3
    with pytest.raises(LLMDown, match="llm.api_key_env") as caught:
        ask(make())
    assert len(endpoint.requests) == 1
    assert "key-of-the-test" not in str(caught.value)


@pytest.mark.req("F2")
def test_closed_port_is_a_sentence(endpoint, make):
    llm = make()
    endpoint.close()
    with pytest.raises(LLMDown, match="cannot be reached"):
        ask(llm)


@pytest.mark.req("F5", "K5")
def test_silent_endpoint_is_cancelled_and_not_asked_again(endpoint, make):
    endpoint.script = [Step(silent=True)]
    with pytest.raises(LLMTimeout, match="no whole answer in time"):
        ask(make(timeout_s=0.2))
    assert len(endpoint.requests) == 1
    assert endpoint.broken.wait(10), "the connection stayed open"


@pytest.mark.req("F5")
def test_slow_drip_is_cancelled_at_the_limit(endpoint, make):
    endpoint.script = [Step("drip " * 4000, pause_s=0.02)]
    with pytest.raises(LLMTimeout):
        ask(make(timeout_s=0.3))
    assert endpoint.broken.wait(10), "the stream went on"


@pytest.mark.req("N1")
def test_the_deadline_of_the_answer_counts_too(endpoint, make):
    endpoint.script = [Step(silent=True)]
    with pytest.raises(LLMTimeout):
        ask(make(timeout_s=60), deadline_s=0.2)


@pytest.mark.req("F16")
@pytest.mark.parametrize(
    "broken",
    [
        Step('{"claims": [', finish=None),
        Step(raw=b"data: {oops\n\n"),
        Step(raw=b'data: {"error": {"message": "x"}}\n\n'),
    ],
)
def test_stream_that_breaks_off_is_asked_for_again(endpoint, make, broken):
    endpoint.script = [broken, Step("there")]
    told = []
    assert ask(make(), on_text=lambda attempt, piece: told.append(attempt)).text == "there"
    assert told[-1] == 2


@pytest.mark.parametrize("raw", [b"<html>busy</html>", b"[1, 2]", b"", b"[" * 100_000])
def test_something_else_than_a_completion_is_down(endpoint, make, raw):
    endpoint.default = Step(raw=raw, content_type="text/html")
    with pytest.raises(LLMDown, match="something else than a chat completion"):
        ask(make())


def test_huge_answer_is_cut_where_more_came_than_was_asked_for(endpoint, make):
    endpoint.script = [Step("y" * 1_000_000)]
    answer = ask(make(max_output_tokens=100))
    assert len(answer.text) == 800
    assert not answer.is_whole
    assert endpoint.broken.wait(10)


def test_huge_answer_that_comes_in_one_piece_is_cut_too(endpoint, make):
    body = {"model": "m", "choices": [{"message": {"content": "y" * 900_000}, "finish_reason": "stop"}]}
    endpoint.script = [Step(raw=json.dumps(body).encode(), content_type="application/json")]
    answer = ask(make(max_output_tokens=100))
    assert (len(answer.text), answer.is_whole) == (800, False)


def test_huge_body_is_not_read_to_its_end(endpoint, make):
    endpoint.default = Step(raw=b"x" * 6_000_000, content_type="application/json")
    with pytest.raises(LLMDown, match="more than"):
        ask(make())


def test_answer_cut_by_the_endpoint_is_not_whole(endpoint, make):
    endpoint.script = [Step("half", finish="length")]
    assert not ask(make()).is_whole


@pytest.mark.parametrize(
    ("message", "missing", "added"),
    [
        ("Unsupported parameter: response_format", "response_format", None),
        ("'max_tokens' is not supported, use 'max_completion_tokens'", "max_tokens", "max_completion_tokens"),
        ("json_schema is not available for this model", "response_format", None),
        ("temperature does not support 0", "temperature", None),
    ],
)
def test_parameter_that_the_endpoint_does_not_know_is_left_out_for_good(endpoint, make, message, missing, added):
    refusal = Step(status=400, raw=json.dumps({"error": {"message": message}}).encode())
    endpoint.script = [refusal, Step("a"), Step("b")]
    llm = make()
    assert ask(llm, schema=SCHEMA).text == "a"
    assert ask(llm, schema=SCHEMA).text == "b"
    assert missing in endpoint.requests[0]
    assert all(missing not in request for request in endpoint.requests[1:])
    assert added is None or added in endpoint.requests[1]
    assert len(endpoint.requests) == 3


def test_endpoint_that_refuses_everything_is_down(endpoint, make):
    endpoint.default = Step(status=400)
    with pytest.raises(LLMDown, match="answered 400"):
        ask(make(), schema=SCHEMA)
    assert len(endpoint.requests) <= 7


@pytest.mark.req("F23")
def test_caller_that_goes_ends_the_call(endpoint, make):
    endpoint.script = [Step(silent=True)]
    llm, cancellation = make(timeout_s=60), Cancellation()

    def go():
        while not endpoint.requests:
            time.sleep(0.01)
        cancellation.set()

    leaver = threading.Thread(target=go)
    leaver.start()
    with pytest.raises(CancelledError):
        ask(llm, cancellation=cancellation)
    leaver.join()
    assert endpoint.broken.wait(10), "the call went on"
    with pytest.raises(CancelledError):
        ask(llm, cancellation=cancellation)
    assert len(endpoint.requests) == 1


def test_listener_that_fails_ends_the_call(endpoint, make):
    endpoint.script = [Step("drip " * 400, pause_s=0.05)]
    with pytest.raises(ZeroDivisionError):
        ask(make(), on_text=lambda attempt, piece: 1 / 0)
    assert endpoint.broken.wait(10)


@pytest.mark.req("F16")
def test_failing_endpoint_is_left_alone_and_then_tried_by_one_call(endpoint, make):
    now = [0.0]
    breaker = Breaker(failures=2, pause_s=30, clock=lambda: now[0])
    llm = make(breaker=breaker)
    endpoint.default = Step(status=500)
    for _ in range(2):
        with pytest.raises(LLMDown, match="answered 500"):
            ask(llm)
    asked = len(endpoint.requests)
    with pytest.raises(LLMDown, match=r"tried again in 30 s"):
        ask(llm)
    assert len(endpoint.requests) == asked
    now[0] = 31.0
    assert breaker.admits()
    assert not breaker.admits(), "only one call tries a paused endpoint"
    now[0] = 62.0
    endpoint.default = reply(claim("x"))
    assert ask(llm).text
    assert ask(llm).text


@pytest.mark.req("R12")
def test_no_client_is_made_without_a_timeout():
    root = Path(__file__).parents[2]
    made = []
    for package in ("mcp_server", "ingest"):
        for file in (root / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("OpenAI", "AsyncOpenAI"):
                    made.append(file.name)
                    assert {"timeout", "max_retries"} <= {keyword.arg for keyword in node.keywords}, file
    assert sorted(made) == ["llm.py", "openai.py"]
