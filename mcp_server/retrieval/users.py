"""The users retriever: the code that calls or uses a name, read from its syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.chunking.facts import UNSAID, read_facts
from ingest.index.tokens import index_tokens, whole_word
from ingest.model import Chunk, Filters
from mcp_server.retrieval.candidates import RankedList, rank_candidates
from mcp_server.retrieval.occurrences import innermost
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index

READ = 300  # chunks that hold the name, of which the trees are read
MENTION = 0.5  # a use that calls nothing, beside a call
IMPORT = re.compile(r"\s*(?:(?:import|from|use|using|#\s*include|require|package)\b|export\s*[{*])")
STRING = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
PART = re.compile(r"::|->|[.#]")


@dataclass(frozen=True, slots=True)
class Use:
    """One line that calls or names something; `inside`: qualified name of the definition around it, or ""."""

    chunk: Chunk
    line: int
    inside: str
    is_call: bool


def retrieve_users(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Return the chunks that call the name whose users are asked for; then those that only name it."""
    name = query.users_of
    tokens = index_tokens(PART.split(name)[-1])[:1]
    chunks = index.chunks(index.containing(tokens, filters, READ)) if tokens else []
    uses = find_uses(chunks, name)
    called = {use.chunk.id for use in uses if use.is_call}
    named = frozenset() if called and query.only_calls else {use.chunk.id for use in uses} - called
    calls = [(chunk_id, 1.0, "call") for chunk_id in sorted(called)]
    return rank_candidates("users", [*calls, *((chunk_id, MENTION, "named") for chunk_id in sorted(named))])


def find_uses(chunks: Iterable[Chunk], name: str) -> list[Use]:
    """Return each line of code that uses a name, outside its own definitions, in the order of the chunks.

    Of `Class.name` it is what names the class too or lies in it, where there is any.
    """
    *heads, last = PART.split(name)
    found: dict[tuple[str, str, int], tuple[Use, bool]] = {}
    for chunk in chunks:
        if chunk.kind == "code" and last in chunk.text:
            for use, written in (*calls_in(chunk, last), *mentions_in(chunk, last)):
                own = not heads or is_of(heads[-1], written, use.inside)
                found.setdefault((chunk.source, chunk.ref, use.line), (use, own))
    return [use for use, own in found.values() if own] or [use for use, _ in found.values()]


def calls_in(chunk: Chunk, name: str) -> Iterator[tuple[Use, str]]:
    """Yield the calls of a name in a chunk, with what is called as it is written."""
    defined = defining_lines(chunk, name)  # a method cut out of its class reads as a call
    for call in read_facts(chunk).calls:
        if call.name == name and call.line not in defined:
            yield Use(chunk, call.line, innermost(chunk, call.line) or call.inside, is_call=True), call.callee


def mentions_in(chunk: Chunk, name: str) -> Iterator[tuple[Use, str]]:
    """Yield the lines that name something, and what they say: no comments, strings, imports and definitions of it."""
    said = UNSAID.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), chunk.text)
    pattern = whole_word(name)
    defined = defining_lines(chunk, name)
    for number, line in enumerate(said.split("\n"), chunk.start_line):
        if number not in defined and not IMPORT.match(line) and pattern.search(STRING.sub("", line)):
            yield Use(chunk, number, innermost(chunk, number) or "", is_call=False), line


def defining_lines(chunk: Chunk, name: str) -> frozenset[int]:
    """Return the first lines of the definitions of a name."""
    return frozenset(symbol.start_line for symbol in chunk.symbols if symbol.name == name)


def is_of(head: str, text: str, inside: str) -> bool:
    """Tell whether what is written can mean the name of one owner: it names it, or lies in it."""
    return head.lower().replace("_", "") in text.lower().replace("_", "") or head in PART.split(inside)


def first_use(chunk: Chunk, query: ParsedQuery) -> Use | None:
    """Return the first call of the name in a chunk, or the first line that names it."""
    uses = find_uses([chunk], query.users_of)
    return next((use for use in uses if use.is_call), next(iter(uses), None))
