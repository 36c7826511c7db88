"""The frames retriever: the lines that a pasted stack trace names, the innermost first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ingest.model import Chunk, Filters
from mcp_server.retrieval.candidates import RankedList, rank_candidates
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.stacktrace import Frame, path_tails
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index


def retrieve_frames(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Return the chunk of each frame that lies in an indexed file; the innermost one scores 1, the next 1/2, ..."""
    found = [chunk for frame in query.frames if (chunk := locate(index, frame, filters)) is not None]
    ids = list(dict.fromkeys(chunk.id for chunk in found))
    return rank_candidates("frames", [(chunk_id, 1.0 / place, "") for place, chunk_id in enumerate(ids, 1)])


def locate(index: Index, frame: Frame, filters: Filters) -> Chunk | None:
    """Return the chunk that holds a frame's line, in the file that agrees with most of its path.

    A trace may be of another revision: where the named function has moved, its definition in the file counts.
    """
    for tail in path_tails(frame.path):
        files = index.find_paths(tail, filters, 2)
        if len(files) > 1 and "/" not in tail and not frame.function:
            return None  # a bare file name that several files bear says nothing
        for source, path in files:
            chunks = index.document_chunks(source, path, filters)
            name = re.split(r"[.:/]", frame.function)[-1]
            defining = [chunk for chunk in chunks if any(symbol.name == name for symbol in chunk.symbols)]
            holding = [chunk for chunk in chunks if chunk.start_line <= frame.line <= chunk.end_line]
            best = [chunk for chunk in holding if not name or chunk in defining] or defining or holding
            if best:
                return best[0]
    return None
