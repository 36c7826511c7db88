"""Context: ranked chunks packed under a token budget, with slots per kind and a cap per file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ingest.model import Chunk, Kind
from mcp_server.retrieval.model import RankedChunk

Slot = Literal["code", "tickets", "designs", "history"]
DropReason = Literal["duplicate", "file_cap", "slot_cap", "budget"]

SLOTS: tuple[Slot, ...] = ("code", "tickets", "designs", "history")
SLOT_OF_KIND: dict[Kind, Slot] = {"code": "code", "ticket": "tickets", "design": "designs", "commit": "history"}
CHARS_PER_TOKEN = 4  # no vocabulary ships with the program; every budget here counts so
LINE_CHARS = 9  # "1234567| " before each numbered line
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
class Context:
    """Hits in rank order under the budget, what was left out, and tokens per slot."""

    kept: tuple[RankedChunk, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    tokens: Mapping[Slot, int] = field(default_factory=dict)

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
