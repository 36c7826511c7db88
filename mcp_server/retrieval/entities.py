"""Entity resolution: names, paths and keys of the query against the index, under the caller's filters."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.index.keys import key_token
from ingest.index.tokens import index_tokens
from ingest.model import KINDS, Filters
from mcp_server.results import MissingName
from mcp_server.retrieval.candidates import symbol_names
from mcp_server.retrieval.model import Entity
from mcp_server.retrieval.query import ParsedQuery

if TYPE_CHECKING:
    from ingest.index import Index

MAX_ALTERNATIVES = 12
MAX_DEFINITIONS = 10_000
CLASS_LIKE = re.compile(r"[A-Z][a-z]+\w*$")
NEAREST = 3
MAX_MISSING = 8  # names that exist nowhere for which the nearest are looked up; a pasted text can hold hundreds


def resolve_entities(
    index: Index, query: ParsedQuery, filters: Filters
) -> tuple[tuple[Entity, ...], tuple[MissingName, ...]]:
    """Return what the query's names resolve to, and the names that exist nowhere, with the nearest ones."""
    wide = replace(filters, kinds=frozenset(KINDS), path_glob="", language="")
    entities: list[Entity] = []
    missing: list[MissingName] = []
    for name in symbol_names(query):
        entity = resolve_symbol(index, name, wide)
        if entity:
            entities.append(entity)
        elif not occurs(index, name, wide) and not is_file_name(index, name, wide):
            missing.append(MissingName(name, near_names(index, name, wide, len(missing)), wide.where))
    for path in query.paths:
        found = index.find_paths(path, wide, MAX_ALTERNATIVES)
        if found:
            entities.append(Entity(path, "path", (), tuple(p for _, p in found)))
        elif entity := None if "/" in path else resolve_symbol(index, path, wide):
            entities.append(entity)  # `res.json` reads as a file and is a method
        elif moved := index.find_moved(path, wide, MAX_ALTERNATIVES):
            entities.append(Entity(path, "renamed", (), tuple(dict.fromkeys(new for _, _, new in moved))))
        else:
            missing.append(MissingName(path, tuple(near for _, near in index.near_paths(path, wide)), wide.where))
    followed = replace(wide, sources=filters.followed | filters.sources)  # a ticket's key may be asked of code alone
    for key in (*query.tickets, *query.designs):
        chunks = index.find_keys(key, followed)
        if chunks:
            entities.append(Entity(key, "design" if key in query.designs else "ticket", tuple(chunks), ()))
        elif not index.linked_to(key, followed, 1) and not is_named(index, key, followed):
            missing.append(MissingName(key, (), followed.where))
    renamed = {entity.text for entity in entities if entity.kind == "renamed"}
    return tuple(entities), tuple(item for item in missing if item.name not in renamed)


def resolve_symbol(index: Index, name: str, filters: Filters) -> Entity | None:
    """Return the definitions of a name: exact or qualified ones, else those that differ in case only."""
    found = index.find_symbol(name, filters, MAX_DEFINITIONS, loose=False)
    if not found:
        return None
    own = [hit for hit in found if hit.how != "case"]
    hits = found[:MAX_ALTERNATIVES]
    places = tuple(f"{hit.path}:{hit.symbol.start_line}" for hit in hits)
    chunk_ids = tuple(dict.fromkeys(hit.chunk_id for hit in hits))
    return Entity(name, "symbol", chunk_ids, places, len(own) or len(found))


def near_names(index: Index, name: str, filters: Filters, already: int) -> tuple[str, ...]:
    """Return the nearest symbol names of one of the first missing names; of a missing class first those near to it."""
    if already >= MAX_MISSING:
        return ()
    head = re.split(r"::|->|\.", name)[0]
    near = index.near_symbols(head, filters, 1) if head != name and CLASS_LIKE.match(head) else []
    return tuple(dict.fromkeys((*near, *index.near_symbols(name, filters))))[:NEAREST]


def is_named(index: Index, key: str, filters: Filters) -> bool:
    """Tell whether a visible chunk names a ticket key or design id as such (its digits alone occur in any hash)."""
    return bool(index.search_text([(key_token(key), 1.0)], filters, 1, {"keys": 1.0}))


def is_file_name(index: Index, name: str, filters: Filters) -> bool:
    """Tell whether a visible file has a plain word in its name: `0006-geofence.md`."""
    tokens = index_tokens(name)[:1] if name.isalnum() else []
    return bool(tokens) and bool(index.search_text([(tokens[0], 1.0)], filters, 1, {"path": 1.0}))


def occurs(index: Index, name: str, filters: Filters) -> bool:
    """Tell whether a visible chunk holds the name's last part as a word or key (a use without a definition).

    Of a qualified name its class too: `drain` is known, `Outbx.drain` is not. What is in lower case may be a variable.
    """
    *heads, word = (part.strip("`()#?!") for part in re.split(r"::|->|\.", name))
    known = bool(word) and (index.holds_word(word, filters) or is_named(index, word, filters))
    return known and all(index.holds_word(head, filters) for head in heads if CLASS_LIKE.match(head))
