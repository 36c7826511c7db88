"""What is linked to a hit, a short text each: designs and tickets of a file, commits of a ticket, a successor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.index.keys import key_token
from ingest.model import SUPERSEDED_BY, Chunk, Filters, is_marked
from mcp_server.retrieval.features import file_key

if TYPE_CHECKING:
    from ingest.index import Index

MAX_LINKED = 60  # documents looked at for one hit
SHOWN = 3
KEY = re.compile(r"#\d+|[A-Z][A-Z0-9]*-\d+")


def linked_items(index: Index, chunk: Chunk, filters: Filters) -> tuple[str, ...]:
    """Return what is linked to a chunk's document. `filters`: everything that the caller may see, of any kind."""
    return tuple(find_links(index, chunk, filters))


def find_links(index: Index, chunk: Chunk, filters: Filters) -> Iterator[str]:
    """Yield one short text for each kind of link that there is."""
    yield from successors(chunk)
    name = chunk.key if chunk.kind in ("ticket", "design") and chunk.key else chunk.path
    if chunk.kind == "commit":
        yield from listed("ticket", (link for link in chunk.links if KEY.fullmatch(link)))
    elif name:
        # Of code the commits are left out: a file can have thousands, and which of them matter is the history's part.
        kinds = filters.kinds - {"commit"} if chunk.kind == "code" else filters.kinds
        naming = index.chunks(index.linked_to(name, replace(filters, kinds=kinds), MAX_LINKED))
        others = [other for other in naming if file_key(other) != file_key(chunk)]
        for kind, label in (("design", "design"), ("ticket", "ticket")):
            yield from listed(label, (other.key or other.ref for other in others if other.kind == kind))
        if chunk.kind in ("ticket", "design"):
            yield from changes(others)
            yield from listed("named in", naming_code(index, name, filters))


def naming_code(index: Index, key: str, filters: Filters) -> list[str]:
    """Return the code files whose text names a ticket key or design id."""
    code = replace(filters, kinds=frozenset({"code"}))
    found = index.search_text([(key_token(key), 1.0)], code, MAX_LINKED, {"keys": 1.0})
    return [chunk.ref for chunk in index.chunks([item.chunk_id for item in found])]


def successors(chunk: Chunk) -> Iterator[str]:
    """Yield what replaced a design."""
    yield from listed(
        "superseded by", (link.removeprefix(SUPERSEDED_BY) for link in chunk.links if link.startswith(SUPERSEDED_BY))
    )


def changes(naming: Sequence[Chunk]) -> Iterator[str]:
    """Yield the commits that name a ticket or design, the newest first, and the files that they touched most."""
    commits = {other.ref: other for other in naming if other.kind == "commit"}
    newest = sorted(commits.values(), key=lambda commit: (commit.created_at, commit.ref), reverse=True)
    yield from listed("commit", (commit.ref for commit in newest))
    touched = Counter(link for commit in newest for link in commit.links if "." in link and not is_marked(link))
    yield from listed("touched", (path for path, _ in sorted(touched.items(), key=lambda item: (-item[1], item[0]))))


def listed(label: str, names: Iterable[str]) -> Iterator[str]:
    """Yield `label: a, b, c (+4)`, nothing where there is no name."""
    unique = list(dict.fromkeys(names))
    if unique:
        more = f" (+{len(unique) - SHOWN})" if len(unique) > SHOWN else ""
        yield f"{label}: {', '.join(unique[:SHOWN])}{more}"
