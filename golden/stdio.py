"""A small MCP client over stdio, for measuring: raw JSON lines, so that no client library is in the figure."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from golden.case import GoldenError

PROTOCOL = "2025-06-18"


class StdioServer:
    """A server process and its two pipes. Use as a context manager; leaving ends the process."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, log: Path | None = None) -> None:
        self._errors = open(log, "wb") if log else None
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors or subprocess.DEVNULL,
            env=dict(env) if env is not None else None,
        )
        self._id = 0

    def __enter__(self) -> StdioServer:
        return self

    def __exit__(self, *exc: object) -> None:
        cast("IO[bytes]", self.process.stdin).close()  # the protocol's way of saying goodbye
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        cast("IO[bytes]", self.process.stdout).close()
        if self._errors:
            self._errors.close()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message."""
        pipe = cast("IO[bytes]", self.process.stdin)
        pipe.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        pipe.flush()

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return its result. Raises GoldenError with the server's error."""
        self._id += 1
        self.send({"id": self._id, "method": method, "params": params})
        for line in cast("IO[bytes]", self.process.stdout):
            message = json.loads(line)
            if message.get("id") == self._id:
                if "error" in message:
                    raise GoldenError(f"The server refused {method}: {message['error'].get('message')}")
                return cast("dict[str, Any]", message["result"])
        raise GoldenError(f"The server ended before it answered {method} (exit code {self.process.wait()}).")

    def initialize(self) -> dict[str, Any]:
        """Shake hands."""
        client = {"name": "codecairn-bench", "version": "1"}
        result = self.request("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client})
        self.send({"method": "notifications/initialized"})
        return result

    def call(self, tool: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        """Call a tool; return its text and whether it is an error."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        text = "".join(part["text"] for part in result["content"] if part["type"] == "text")
        return text, bool(result.get("isError"))
