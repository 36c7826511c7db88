"""A store on disk, a recorder over it, and a query like those of the pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from traces.model import Caller, ChunkRef, TraceAcl
from traces.recorder import TraceRecorder, TraceRun
from traces.store import TraceStore

CANARY = "AK" + "IA" + "Q7CANARY" + "DEADBEEF"


def redact(text: str) -> str:
    return text.replace(CANARY, "*" * len(CANARY))


def see_all(acl: TraceAcl) -> bool:
    return True


def make_chunk(number: int, text: str = "", groups: tuple[str, ...] = ("local",), source: str = "app") -> ChunkRef:
    text = text or f"def function_{number}():\n    return {number}\n"
    return ChunkRef(
        id=number,
        source=source,
        text=text,
        text_hash=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        groups=groups,
        path=f"src/module_{number}.py",
        symbol=f"function_{number}",
        start_line=number,
        end_line=number + 2,
    )


@dataclass
class Desk:
    """What a test of recording works with."""

    store: TraceStore
    recorder: TraceRecorder
    errors: list[str] = field(default_factory=list)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "traces.db"


@pytest.fixture
def make_desk(path: Path) -> Iterator[Callable[..., Desk]]:
    stores: list[TraceStore] = []

    def make(redactor: Callable[[str], str] = redact, **limits: Any) -> Desk:
        errors: list[str] = []
        store = TraceStore(path, on_error=errors.append, **limits)
        stores.append(store)
        recorder = TraceRecorder(
            store,
            env="dev",
            service_version="0.1.0",
            code_commit="c0ffee1",
            redact=redactor,
            clock=lambda: datetime(2026, 11, 21, 10, 30, tzinfo=UTC),
            handled=(LookupError,),
            on_error=errors.append,
        )
        return Desk(store, recorder, errors)

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()


def record_search(trace: TraceRun, chunks: list[ChunkRef]) -> None:
    """Record the stages of a search over the given chunks: 3 lists, fusion, rerank, and the first 3 as hits."""
    ids = [chunk.id for chunk in chunks]
    with trace.span("normalise") as span:
        span.record(input="How  does\x07 it work?", output="How does it work?")
    with trace.span("search.text") as span:
        span.record(config={"limit": 50}, output=[[i, 10.0 - n, {"terms": ["work"]}] for n, i in enumerate(ids)])
    with trace.span("search.vector") as span:
        span.record(output=[[i, 0.9 - n / 10] for n, i in enumerate(reversed(ids))])
    with trace.span("fusion") as span:
        rows = [[i, 0.5 - n / 100, {"text": 0.4 - n / 100, "vector": 0.1}] for n, i in enumerate(ids)]
        span.record(input=ids, config={"weights": {"text": 1.0, "vector": 0.7}}, output=rows)
    with trace.span("rerank") as span:
        rows = [[i, 0.9 - n / 10, {"definition": 0.3}] for n, i in enumerate(ids)]
        span.record(input=rows, output=rows)
    with trace.span("diversify") as span:
        span.record(input=ids, output=[[i, 0.9] for i in ids[:3]], dropped=[[i, "same file as #1"] for i in ids[3:]])
    trace.add_chunks(chunks)
    trace.set(generation=7, revisions={"app": "abc1234"}, chunks_retrieved=len(ids), chunks_used=3)


def record_one(desk: Desk, query: str = "How does it work?", count: int = 5, **head: object) -> str:
    """Record one search and return its trace id."""
    with desk.recorder.trace(
        tool="search_code",
        query=query,
        entry="cli",
        principal_hash="p1",
        caller=Caller(client="claude-code", client_version="2.0", request_id="req-1"),
        config_snapshot={"retrieval": {"limit": 50}},
        arguments={"query": query, "limit": 3},
        **head,  # type: ignore[arg-type]
    ) as trace:
        record_search(trace, [make_chunk(n) for n in range(1, count + 1)])
    return trace.id


def read_bytes(path: Path) -> bytes:
    """Return everything on disk, the write-ahead log included."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))
