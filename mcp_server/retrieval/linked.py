"""What is linked to a hit, a short text each: designs and tickets of a file, commits of a ticket, a successor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.index.keys import key_token
from ingest.model import SUPERSEDED_BY, Chunk, Filters
from mcp_server.retrieval.links import KEY, Linked, read_linked, touched_paths

if TYPE_CHECKING:
    from ingest.index import Index

MAX_LINKED = 60  # documents looked at for one hit
MAX_COMMITS = 300  # a file can have thousands
MAX_KEYS = 10  # tickets of a file that are looked up
SHOWN = 3


def linked_items(index: Index, chunk: Chunk, filters: Filters) -> tuple[str, ...]:
    """Return what is linked to a chunk's document. `filters`: everything that the caller may see, of any kind."""
    return tuple(find_links(index, chunk, filters))


def find_links(index: Index, chunk: Chunk, filters: Filters) -> Iterator[str]:
    """Yield one short text for each kind of link that there is, within the chunk's product."""
    yield from successors(chunk)
    own = replace(filters, product=chunk.product)
    name = chunk.key if chunk.kind in ("ticket", "design") and chunk.key else chunk.path
    if chunk.kind == "commit":
        yield from listed("ticket", keys_in(chunk.links))
    elif name and index.linked_to(name, own, 1):  # most files are named nowhere
        naming = read_linked(index, index.linked_to(name, without_commits(index, own), MAX_LINKED))
        others = [other for other in naming if (other.file.source, other.file.ref) != (chunk.source, chunk.ref)]
        commits = newest_first(read_linked(index, index.linked_to(name, only_commits(index, own), MAX_COMMITS)))
        for kind, label in (("design", "design"), ("ticket", "ticket")):
            yield from listed(label, (other.file.key or other.file.ref for other in others if other.kind == kind))
        if chunk.kind == "code":
            shown = {other.file.key for other in others}
            yield from listed("changed for", (key for key in tickets_of(index, commits, own) if key not in shown))
        if chunk.kind in ("ticket", "design"):
            yield from changes(commits)
    if chunk.kind in ("ticket", "design") and name:
        yield from listed("named in", naming_code(index, name, own))


def keys_in(links: Iterable[str]) -> Iterator[str]:
    """Return the ticket keys and design ids among the links of a document."""
    return (link for link in links if KEY.fullmatch(link))


def only_commits(index: Index, filters: Filters) -> Filters:
    """Return the filters for commits alone."""
    return replace(filters, sources=frozenset(s for s in filters.sources if index.kind_of(s) == "commit"))


def without_commits(index: Index, filters: Filters) -> Filters:
    """Return the filters for all but commits."""
    return replace(filters, sources=frozenset(s for s in filters.sources if index.kind_of(s) != "commit"))


def newest_first(commits: Sequence[Linked]) -> list[Linked]:
    """Return commits once each, the newest first."""
    once = {commit.file.ref: commit for commit in commits}
    return sorted(once.values(), key=lambda commit: (commit.file.created_at, commit.file.ref), reverse=True)


def tickets_of(index: Index, commits: Sequence[Linked], filters: Filters) -> Iterator[str]:
    """Yield the indexed tickets that the newest commits name."""
    named = (key for commit in commits for key in keys_in(commit.links))
    for key in list(dict.fromkeys(named))[:MAX_KEYS]:
        if index.find_keys(key, filters):
            yield key


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


def changes(newest: Sequence[Linked]) -> Iterator[str]:
    """Yield the commits that name a ticket or design, and the files that they touched most."""
    yield from listed("commit", (commit.file.ref for commit in newest))
    touched = Counter(path for commit in newest for path in touched_paths(commit.links))
    yield from listed("touched", (path for path, _ in sorted(touched.items(), key=lambda item: (-item[1], item[0]))))


def listed(label: str, names: Iterable[str]) -> Iterator[str]:
    """Yield `label: a, b, c (+4)`, nothing where there is no name."""
    unique = list(dict.fromkeys(names))
    if unique:
        more = f" (+{len(unique) - SHOWN})" if len(unique) > SHOWN else ""
        yield f"{label}: {', '.join(unique[:SHOWN])}{more}"
