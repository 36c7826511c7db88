"""Context: ranked chunks packed under a token budget, with slots per kind and a cap per file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ingest.model import Chunk, Kind
from mcp_server.retrieval.model import Entity, RankedChunk

Slot = Literal["code", "tickets", "designs", "history"]
Relation = Literal["changed", "touched", "names", "behind", "mentions", "renamed", "replaced", "removed"]
GONE = frozenset({"renamed", "replaced", "removed"})  # relations that say what became of something
DropReason = Literal["duplicate", "file_cap", "slot_cap", "budget"]

SLOTS: tuple[Slot, ...] = ("code", "tickets", "designs", "history")
SLOT_OF_KIND: dict[Kind, Slot] = {"code": "code", "ticket": "tickets", "design": "designs", "commit": "history"}
CHARS_PER_TOKEN = 4  # no vocabulary ships with the program; every budget here counts so
LINE_CHARS = 9  # "1234567| " before each numbered line
MAX_REST = 6  # chunks added for one named definition or file; the caps below still apply
LINKED_SHARE = 0.5  # of the best score, for what was reached by links alone
HEADER_CHARS = 96  # "[E12] ... lines 1234567-1234567 ..." without the names in it


@dataclass(frozen=True, slots=True)
class SlotCaps:
    """Most tokens per slot. What one slot leaves unused is free for the others, up to their own caps."""

    code: int = 6000
    tickets: int = 2000
    designs: int = 2000
    history: int = 1000

    def of(self, slot: Slot) -> int:
        """Return one slot's cap in tokens."""
        return {"code": self.code, "tickets": self.tickets, "designs": self.designs, "history": self.history}[slot]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A chunk that did not fit, and why."""

    chunk_id: int
    ref: str
    reason: DropReason


@dataclass(frozen=True, slots=True)
class Link:
    """One step from what is asked about to what belongs to it, with the lines that show it.

    `changed`: `origin`, a commit, changed these lines of `target`. `names`: `origin`, a ticket or design, names what
    stands there. `behind`: `origin` is the ticket, design or commit behind the code `target`. `mentions`: these lines
    of `target` name the key. `renamed`, `removed`: `origin` is the commit that did it to the path `about`.
    """

    relation: Relation
    about: str  # the key, path or name as it is asked for; "" = the best hit
    origin: Chunk
    target: Chunk
    start_line: int  # of the target
    end_line: int


@dataclass(frozen=True, slots=True)
class Context:
    """Hits in rank order under the budget, what was left out, tokens per slot, and the links among what is kept."""

    kept: tuple[RankedChunk, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    tokens: Mapping[Slot, int] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    @property
    def total_tokens(self) -> int:
        """Tokens over all slots."""
        return sum(self.tokens.values())


def count_tokens(text: str) -> int:
    """Return the tokens of a text, rounded up; one token is four characters."""
    return -(-len(text) // CHARS_PER_TOKEN)


def chunk_tokens(chunk: Chunk) -> int:
    """Return an upper bound of the tokens that a chunk takes as an evidence block with numbered lines."""
    lines = chunk.text.count("\n") + 1
    names = sum(len(part) for part in (chunk.ref, chunk.source, chunk.title, chunk.symbol or "", chunk.context))
    return -(-(len(chunk.text) + lines * LINE_CHARS + names + HEADER_CHARS) // CHARS_PER_TOKEN)


def add_whole_definitions(
    hits: Sequence[RankedChunk], entities: Sequence[Entity], read_document: Callable[[str, str], Sequence[Chunk]]
) -> list[RankedChunk]:
    """Return the hits with the rest of what the question names, each after its first hit: a long definition, a file.

    `read_document` takes source and path and returns the document's chunks under the caller's filters.
    """
    present = {hit.chunk.id for hit in hits}
    ranked: list[RankedChunk] = []
    for hit in hits:
        ranked.append(hit)
        for chunk in rest_of_entity(hit.chunk, entities, read_document):
            if chunk.id not in present:
                present.add(chunk.id)
                ranked.append(RankedChunk(chunk, hit.score, ("rest of what is named",)))
    return ranked


def add_linked(hits: Sequence[RankedChunk], links: Sequence[Link]) -> list[RankedChunk]:
    """Return the hits with what links lead to right after the first: an answer's slots are filled before the rest."""
    scores = {hit.chunk.id: hit for hit in hits}
    top = hits[0].score if hits else 1.0
    linked = {chunk.id: chunk for link in links for chunk in (link.origin, link.target)}
    first = [scores.get(i, RankedChunk(chunk, LINKED_SHARE * top, ("linked",))) for i, chunk in linked.items()]
    before = [*hits[:1], *(hit for hit in first if not hits or hit.chunk.id != hits[0].chunk.id)]
    return [*before, *(hit for hit in hits[1:] if hit.chunk.id not in linked)]


def keep_links(context: Context, links: Sequence[Link]) -> Context:
    """Return the context with those links whose both ends were kept."""
    kept = {hit.chunk.id for hit in context.kept}
    return replace(context, links=tuple(n for n in links if {n.origin.id, n.target.id} <= kept))


def rest_of_entity(
    chunk: Chunk, entities: Sequence[Entity], read_document: Callable[[str, str], Sequence[Chunk]]
) -> list[Chunk]:
    """Return the other chunks of a named definition, or of a named file, that a hit belongs to."""
    if chunk.path is None:
        return []
    named = (name for e in entities for name in {"path": (e.text,), "renamed": e.places}.get(e.kind, ()))
    if any(is_path_of(name, chunk.path) for name in named):
        return [c for c in read_document(chunk.source, chunk.path) if c.id != chunk.id][:MAX_REST]
    if not any(e.kind == "symbol" and chunk.id in e.chunk_ids for e in entities):
        return []
    names = [re.split(r"\.|::|->|#", e.text)[-1] for e in entities if e.kind == "symbol" and chunk.id in e.chunk_ids]
    spans = [(s.start_line, s.end_line) for s in chunk.symbols if s.name in names]
    return [
        other
        for other in read_document(chunk.source, chunk.path)
        if other.id != chunk.id and any(start <= other.start_line and other.end_line <= end for start, end in spans)
    ][:MAX_REST]


def is_path_of(fragment: str, path: str) -> bool:
    """Tell whether a path ends in a fragment of whole names."""
    return path == fragment or path.endswith("/" + fragment)


def pack_context(
    hits: Sequence[RankedChunk], budget_tokens: int, caps: SlotCaps | None = None, file_tokens: int = 2400
) -> Context:
    """Keep hits in rank order while the budget, their slot and their file have room; never exceeds any of the three."""
    caps = caps or SlotCaps()
    kept: list[RankedChunk] = []
    dropped: list[Dropped] = []
    used: dict[Slot, int] = dict.fromkeys(SLOTS, 0)
    per_file: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for hit in hits:
        chunk, slot = hit.chunk, SLOT_OF_KIND[hit.chunk.kind]
        cost, file = chunk_tokens(chunk), (chunk.source, chunk.ref)
        reason: DropReason | None = None
        if chunk.text_hash in seen:
            reason = "duplicate"
        elif per_file.get(file, 0) + cost > file_tokens:
            reason = "file_cap"
        elif used[slot] + cost > caps.of(slot):
            reason = "slot_cap"
        elif sum(used.values()) + cost > budget_tokens:
            reason = "budget"
        if reason:
            dropped.append(Dropped(chunk.id, chunk.ref, reason))
            continue
        kept.append(hit)
        seen.add(chunk.text_hash)
        used[slot] += cost
        per_file[file] = per_file.get(file, 0) + cost
    return Context(tuple(kept), tuple(dropped), used)
