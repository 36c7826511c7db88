"""One search with any weights, its stages kept in memory: what ablation and blame are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Unpack

from golden.corpus import principal_of
from ingest.index import Index
from ingest.model import Chunk, Filters
from mcp_server.results import SearchRequest
from mcp_server.retrieval.model import Retrieval
from mcp_server.retrieval.pipeline import search
from mcp_server.retrieval.weights import DEFAULT_WEIGHTS, RankWeights
from mcp_server.service import Service
from traces.model import TraceFields


@dataclass(slots=True)
class Stage:
    """A span that keeps what it is given."""

    output: Any = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def record(self, **slots: object) -> None:
        """Keep the output."""
        self.output = slots.get("output", self.output)


@dataclass(slots=True)
class Stages:
    """A trace in memory: stage name -> what it put out."""

    stages: dict[str, Stage] = field(default_factory=dict)

    def span(self, name: str) -> Stage:
        """Open a stage."""
        return self.stages.setdefault(name, Stage())

    def set(self, **values: Unpack[TraceFields]) -> None:
        """Facts of the query are not kept."""

    def add_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Texts are not kept."""

    def chunk_ids(self, name: str) -> list[int]:
        """Return the chunks of a stage's recorded list, best first."""
        return [int(row[0]) for row in self.stages[name].output or ()] if name in self.stages else []


@dataclass(frozen=True, slots=True)
class Probe:
    """One search, its stages, and the index that it ran on."""

    index: Index
    filters: Filters
    retrieval: Retrieval
    stages: Stages

    def paths(self, prefix: str) -> list[str]:
        """Return the distinct files of the final ranking."""
        return list(dict.fromkeys(f"{prefix}{file.path}" for file in self.retrieval.files if file.path))


@contextmanager
def opened(service: Service) -> Iterator[Index]:
    """Open the current generation beside the service's own."""
    limit = service.setup.settings.index.exact_vectors_max
    index = Index.open_current(service.setup.data_dir, service.embedder, exact_vectors_max=limit)
    try:
        yield index
    finally:
        index.close()


def probe(
    service: Service, index: Index, query: str, weights: RankWeights = DEFAULT_WEIGHTS, kind: str = "code"
) -> Probe:
    """Search code only, or designs only, as the predictions are made."""
    filters = service.filters(index, principal_of(service.setup), SearchRequest(query, sources=(kind,)))
    stages = Stages()
    return Probe(index, filters, search(index, query, filters, stages, weights=weights), stages)
