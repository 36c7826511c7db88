"""Constants followed: where a default is a name, the value that the name stands for, one step further."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set

from ingest.index.tokens import split_identifier
from ingest.model import Chunk
from mcp_server.answering.aspects import Aspect, root
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence, block_of
from mcp_server.answering.generate import assignments
from mcp_server.answering.grounding import CheckedClaim
from mcp_server.answering.passages import Passage, clip, close_brackets, code, place_of
from mcp_server.answering.resolver import Resolver

MAX_FOLLOWED = 3
NAMED_VALUE = re.compile(r"^`[\w.-]+` is `(?P<name>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)`")
SETTING_NAME = re.compile(r"(?<![\w/])(?:[a-z]+(?:_[a-z]+)+|[A-Za-z][a-z]+(?:[A-Z][a-z]+)+)(?![\w/])")
LITERALS = frozenset({"True", "False", "None", "true", "false", "null", "nil"})


def follow_constants(
    checked: Sequence[CheckedClaim], evidence: Sequence[Evidence], resolver: Resolver
) -> tuple[list[ClaimDraft], tuple[Evidence, ...]]:
    """Return what the names stand for that claims give as values, and the evidence with those definitions."""
    blocks = {block.chunk.id: block for block in evidence}
    by_id = {block.id: block for block in evidence}
    drafts: list[ClaimDraft] = []
    for claim in checked:
        match = NAMED_VALUE.match(claim.draft.text)
        if claim.is_struck or match is None or match["name"] in LITERALS or not claim.spans:
            continue
        user = by_id[claim.spans[0].evidence].chunk
        last = match["name"].rpartition(".")[2]
        chunk = nearest_definition(resolver.definitions(match["name"]), last, user)
        if chunk is None:
            continue
        block = block_of(chunk, blocks)
        draft = state_constant(block, last, claim.draft.aspect)
        if draft is not None and draft.text not in {d.text for d in drafts}:
            drafts.append(draft)
    return drafts[:MAX_FOLLOWED], tuple(blocks.values())


def follow_settings(
    aspects: Sequence[Aspect], checked: Sequence[CheckedClaim], evidence: Sequence[Evidence], resolver: Resolver
) -> tuple[list[ClaimDraft], tuple[Evidence, ...]]:
    """Return the constants that are called like a setting that a "how long" was answered with, and the evidence.

    A doc comment says "change it with `pool_keep_alive`", and the value itself is `KEEP_ALIVE` somewhere else.
    """
    blocks = {block.chunk.id: block for block in evidence}
    by_id = {block.id: block for block in evidence}
    drafts: dict[str, ClaimDraft] = {}
    for claim in checked:
        aspect = aspects[claim.draft.aspect] if claim.draft.aspect < len(aspects) else None
        if aspect is None or aspect.intent != "default" or claim.is_struck or not claim.spans:
            continue
        user = by_id[claim.spans[0].evidence].chunk
        asked = {root(word) for word in (*aspect.words, *aspect.carried)}
        for name in constants_like(claim.draft.text, asked):
            chunk = nearest_definition(resolver.definitions(name), name, user)
            draft = state_constant(block_of(chunk, blocks), name, claim.draft.aspect) if chunk else None
            if draft is not None and all(name not in other.draft.text for other in checked):
                drafts.setdefault(name, draft)
    return list(drafts.values())[:MAX_FOLLOWED], tuple(blocks.values())


def constants_like(text: str, asked: Set[str]) -> Iterator[str]:
    """Yield the names of constants that settings named in a text may have, those with a word that is asked for."""
    for setting in dict.fromkeys(SETTING_NAME.findall(text)):
        parts = split_identifier(setting)
        for start in range(len(parts) - 1):
            own = parts[start:]
            if not asked.isdisjoint(map(root, own)):
                constant = "_".join(own).upper()
                yield from (constant, f"DEFAULT_{constant}", f"default{''.join(map(str.capitalize, own))}")


def nearest_definition(chunks: Sequence[Chunk], name: str, user: Chunk) -> Chunk | None:
    """Return the chunk that defines a name for a piece of code: of its own file, else the only one of its product."""
    defining = [c for c in chunks if c.product == user.product and any(s.name == name for s in c.symbols)]
    own = [c for c in defining if c.ref == user.ref]
    if own:
        return own[0]
    return defining[0] if len({c.ref for c in defining}) == 1 else None


def state_constant(block: Evidence, name: str, aspect: int) -> ClaimDraft | None:
    """State what a name is given where it is defined; None where that is no assignment."""
    symbol = next(s for s in block.chunk.symbols if s.name == name)
    line = block.slice(symbol.start_line, symbol.start_line)
    span = block.span(symbol.start_line, symbol.start_line)
    whole = close_brackets(block, Passage(" ".join(line.split()), span, 0.0, False))
    found = [value for given, value, _ in assignments(whole.text) if given.rpartition(".")[2] == name]
    if not found:
        return None
    text = f"`{name}` is defined in {place_of(block, symbol.start_line)}: {code(clip(whole.text))}"
    return ClaimDraft(text, (whole.span,), aspect=aspect)
