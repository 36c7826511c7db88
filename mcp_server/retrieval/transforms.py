"""Transforms: a question searched in more than its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.errors import EmbedderMismatch
from ingest.model import Filters
from mcp_server.errors import BadRequest
from mcp_server.retrieval import pipeline
from mcp_server.retrieval.model import Retrieval
from mcp_server.retrieval.pipeline import Trace

if TYPE_CHECKING:
    from ingest.index import Index


def retrieve(index: Index, text: str, filters: Filters, trace: Trace, strict: bool, wanted: int = 0) -> Retrieval:
    """Return what is found, `wanted` chunks of it in full. Raises BadRequest for an index of another embedder."""
    try:
        return pipeline.search(index, text, filters, trace, strict=strict, wanted=wanted)
    except EmbedderMismatch as error:
        raise BadRequest(str(error)) from error
