"""The flow of a function whose "how" is asked for: what it calls of this code base, in the order of its lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ingest.chunking.facts import IDENTIFIER, OWN, Call, read_facts
from ingest.languages.kinds import CALLABLE_KINDS
from ingest.model import Chunk, Symbol
from mcp_server.answering.aspects import Aspect
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence, Span, block_of
from mcp_server.answering.grounding import CheckedClaim
from mcp_server.answering.passages import code
from mcp_server.answering.pieces import pieces_of
from mcp_server.answering.resolver import Resolver

MIN_CALLS = 2  # one call is no flow
MAX_CALLS = 12
MAX_LOOKED_UP = 24  # called names of which is asked whether they are defined here


def follow_calls(
    aspects: Sequence[Aspect], checked: Sequence[CheckedClaim], evidence: Sequence[Evidence], resolver: Resolver
) -> tuple[list[ClaimDraft], tuple[Evidence, ...]]:
    """Return what the functions call whose definitions a "how" was answered with, and the evidence with those lines."""
    blocks = {block.chunk.id: block for block in evidence}
    by_id = {block.id: block for block in evidence}
    drafts: list[ClaimDraft] = []
    for claim in checked:
        aspect = aspects[claim.draft.aspect] if claim.draft.aspect < len(aspects) else None
        if aspect is None or aspect.intent != "how" or claim.is_struck or not claim.spans:
            continue
        chunk = by_id[claim.spans[0].evidence].chunk
        for symbol in filter(None, (callable_of(chunk, name) for name in aspect.names)):
            if claim.draft.text.startswith(f"{code(symbol.qualname)} is defined in "):
                drafts += state_calls(symbol, chunk, blocks, claim.draft.aspect, resolver)
    return drafts, tuple(blocks.values())


def callable_of(chunk: Chunk, name: str) -> Symbol | None:
    """Return the function of a name that a chunk defines."""
    return next((s for s in chunk.symbols if name in (s.name, s.qualname) and s.kind in CALLABLE_KINDS), None)


def state_calls(
    symbol: Symbol, chunk: Chunk, blocks: dict[int, Evidence], aspect: int, resolver: Resolver
) -> Iterator[ClaimDraft]:
    """State what a function calls that is defined in this code base, in order, with the lines."""
    first: dict[str, tuple[Call, Chunk]] = {}
    for part in pieces_of(chunk, symbol, resolver.document):
        for call in sorted(read_facts(part).calls, key=lambda call: call.line):
            if symbol.start_line < call.line <= symbol.end_line:
                first.setdefault(call.callee, (call, part))
    found: dict[str, Span] = {}
    for call, part in list(first.values())[:MAX_LOOKED_UP]:
        if len(found) == MAX_CALLS:
            break
        name = next(filter(resolver.is_defined, names_of(call, symbol)), "")
        if name and name != symbol.qualname:
            found.setdefault(name, block_of(part, blocks).span(call.line, call.line))
    if len(found) >= MIN_CALLS:
        *names, last = map(code, found)
        text = f"{code(symbol.qualname)} calls {', '.join(names)} and {last}, in this order."
        yield ClaimDraft(text, tuple(dict.fromkeys(found.values())), aspect=aspect)


def names_of(call: Call, symbol: Symbol) -> list[str]:
    """Return what a call can mean: a function, a member of a named owner, or of the caller's own one.

    What a variable holds is not known: `store.flush()` means a `flush` of a `Store`, or of the caller's own type.
    """
    head = call.callee.removesuffix(call.name).rstrip(".:->?!")
    owner = symbol.qualname.rpartition(".")[0]
    own = [f"{owner}.{call.name}"] if owner else []
    if not head:
        return [call.name]
    if head in OWN:
        return own or [call.name]
    return [*([f"{head}.{call.name}"] if IDENTIFIER.fullmatch(head) else []), *(own if head[:1].islower() else [])]
