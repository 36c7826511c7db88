"""An OpenAI-compatible chat endpoint on loopback: records what it is sent, answers what a test scripted."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EVIDENCE = re.compile(r"^\[(E\d+)\] (\S+)@(\S+) lines (\d+)-(\d+)", re.MULTILINE)


@dataclass
class Step:
    """One scripted answer. `text` goes out in pieces as a stream; `raw` replaces the whole body."""

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = "text/event-stream"
    finish: str | None = "stop"  # None: the stream ends without a word
    usage: dict | None = field(default_factory=lambda: {"prompt_tokens": 900, "completion_tokens": 90})
    pause_s: float = 0.0  # between two pieces
    silent: bool = False  # accepts the request and says nothing until the test ends


def claim(text, *ev, quote=""):
    return {"text": text, "ev": list(ev), "quote": quote}


def reply(*claims, not_covered=(), **more):
    """Return a step with well-formed claims."""
    return Step(json.dumps({"claims": list(claims), "not_covered": list(not_covered)}), **more)


def find_block(request, path):
    """Return id, first and last line of the evidence block of a path in a recorded request."""
    text = request["messages"][-1]["content"]
    return next((m[1], int(m[4]), int(m[5])) for m in EVIDENCE.finditer(text) if m[2] == path)


def cite(request, path):
    """Return a pointer to all lines of the evidence block of a path."""
    block, start, end = find_block(request, path)
    return f"{block}:{start}-{end}"


def claiming(path, *claims):
    """Return an answer whose claims all cite the block of a path; each is a text, or a text and a quote."""

    def answer(request):
        lines = cite(request, path)
        pairs = [(one, "") if isinstance(one, str) else one for one in claims]
        return reply(*[claim(text, lines, quote=quote) for text, quote in pairs])

    return answer


class Handler(BaseHTTPRequestHandler):
    """Speaks for the endpoint that the server carries."""

    protocol_version = "HTTP/1.1"

    @property
    def endpoint(self):
        return self.server.endpoint

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.endpoint.requests.append(body)
        self.endpoint.headers.append(self.headers)
        step = self.endpoint.script.pop(0) if self.endpoint.script else self.endpoint.default
        step = step(body) if callable(step) else step
        try:
            self.wait_for_the_end() if step.silent else self.send(step, body)
        except OSError:
            self.endpoint.broken.set()
        self.close_connection = True

    def wait_for_the_end(self):
        self.connection.settimeout(0.02)
        while not self.endpoint.stopped.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(1):
                    self.endpoint.broken.set()
                    return

    def send(self, step, body):
        self.send_response(step.status)
        for name, value in {"content-type": step.content_type, "connection": "close", **step.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if step.status != 200:
            self.wfile.write(step.raw if step.raw is not None else b'{"error": {"message": "no"}}')
        elif step.raw is not None:
            self.wfile.write(step.raw)
        else:
            self.stream(step, body["model"])

    def stream(self, step, model):
        for piece in [step.text[at : at + 40] for at in range(0, len(step.text), 40)] or [""]:
            self.event(model, choices=[{"index": 0, "delta": {"content": piece}}])
            if step.pause_s and self.endpoint.stopped.wait(step.pause_s):
                return
        if step.finish is None:
            return
        self.event(model, choices=[{"index": 0, "delta": {}, "finish_reason": step.finish}])
        if step.usage is not None:
            self.event(model, choices=[], usage=step.usage)
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, model, **value):
        self.wfile.write(b"data: " + json.dumps({"id": "chat-1", "model": model, **value}).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, *args):
        pass


class FakeLLM:
    """The endpoint. `script` holds the next steps, or functions from the request to a step; then `default`."""

    def __init__(self):
        self.requests, self.headers, self.script = [], [], []
        self.default = reply()
        self.stopped = threading.Event()
        self.broken = threading.Event()  # set when the caller hung up while an answer was under way
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.endpoint = self
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def prompts(self):
        """Return the texts of all messages that were sent."""
        return [message["content"] for request in self.requests for message in request["messages"]]

    def close(self):
        self.stopped.set()
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
        self.server.server_close()
