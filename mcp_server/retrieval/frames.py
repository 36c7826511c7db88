"""The frames retriever: the lines that a pasted stack trace names, the innermost first, or that are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingest.model import Chunk, Filters
from mcp_server.retrieval.candidates import RankedList, rank_candidates
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.stacktrace import Frame, Place, path_tails
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index


MAX_FILES = 5  # files of one name in which a line is looked up


def retrieve_frames(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Return the chunk of each frame that lies in an indexed file; the innermost one scores 1, the next 1/2, ..."""
    found = [chunk for frame in query.frames if (chunk := locate(index, frame, filters)) is not None]
    found += [chunk for place in query.places for chunks in open_place(index, place, filters) for chunk in chunks[0]]
    ids = list(dict.fromkeys(chunk.id for chunk in found))
    return rank_candidates("frames", [(chunk_id, 1.0 / place, "") for place, chunk_id in enumerate(ids, 1)])


def open_place(index: Index, place: Place, filters: Filters) -> Iterator[tuple[list[Chunk], str, int]]:
    """Yield, for each file that a place may mean, the chunks with its lines, the file's path and its last line."""
    files = [file for file in index.find_paths(place.path, filters, MAX_FILES) if place.is_in(file[1])]
    exact = [file for file in files if file[1] == place.path.removeprefix("./")]
    for source, path in exact or files:
        chunks = index.document_chunks(source, path, filters)
        end = max((chunk.end_line for chunk in chunks), default=0)
        holding = [chunk for chunk in chunks if chunk.start_line <= place.last and place.line <= chunk.end_line]
        above = [chunk for chunk in chunks if chunk.end_line < place.line <= end]  # a blank line between two chunks
        yield holding or above[-1:], path, end


def notes_on_places(index: Index, query: ParsedQuery, filters: Filters) -> Iterator[str]:
    """Yield which lines that are asked for lie behind the end of their file."""
    for place in query.places:
        opened = list(open_place(index, place, filters))
        if opened and not any(chunks for chunks, _, _ in opened):
            _, path, end = opened[0]
            yield f"There is no line {place.line} in `{path}`: its last line with text is {end}."


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
