"""Smoke questions: what a new generation has to find before it may serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from ingest.config import SmokeQuestion
from ingest.model import Filters
from traces.recorder import TraceRecorder

if TYPE_CHECKING:
    from ingest.index import Index

AMONG = 10  # hits


def smoke_checks(questions: Sequence[SmokeQuestion]) -> list[Callable[[Index], str | None]]:
    """Return a check per question: it complains of a generation that does not find what the question names."""
    return [partial(ask, question) for question in questions]


def ask(question: SmokeQuestion, index: Index) -> str | None:
    """Return what is wrong with a generation's hits for a question, None when they are as expected.

    The generation is not published yet and is searched without vectors: these are verified by count and id.
    """
    from mcp_server.retrieval.pipeline import search

    states = index.manifest.sources
    everything = Filters(
        groups=frozenset(group for state in states for group in state.groups),
        sources=frozenset(state.name for state in states),
        history=frozenset(state.name for state in states if state.kind == "commit"),
    )
    recorder = TraceRecorder(None, env="smoke", service_version="", code_commit="", redact=str)
    with recorder.trace(tool="search_code", query=question.query, entry="cli") as trace:
        found = search(index, question.query, everything, trace)
    places = [ranked.chunk.ref for ranked in found.chunks[:AMONG]]
    if any(fnmatchcase(place, question.finds) for place in places):
        return None
    seen = ", ".join(dict.fromkeys(places)) or "nothing"
    return f"{question.query!r} does not find {question.finds!r} among its first {AMONG} hits, but {seen[:300]}"
