"""Who calls or uses something: every line of the index that does, read from the code, not from the hits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from ingest.model import Role
from mcp_server.answering.aspects import BACK_REFERENCE, Aspect
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence, block_of
from mcp_server.answering.passages import Task, clip, code, place_of
from mcp_server.answering.resolver import MAX_NAMING, Resolver
from mcp_server.retrieval.query import find_users_asked
from mcp_server.retrieval.users import PART, Use, find_uses

MAX_USES = 6
ROLES: tuple[Role, ...] = get_args(Role)  # source first: who asks for callers means those that run


@dataclass(frozen=True, slots=True)
class Listed:
    """How many places there are of which an answer shows some, and what they do: `test names`, `lines call`."""

    total: int
    name: str
    one: str = "test names"
    several: str = "tests name"
    is_cut: bool = False  # there are more, which were not looked at

    def rest(self, shown: int) -> str:
        """Return what is to be said of those that are not shown, "" where all are."""
        more = self.total - shown
        if more == 1 and not self.is_cut:
            return f"One more {self.one} `{self.name}`."
        at_least = "At least " if self.is_cut else ""
        return f"{at_least}{more} more {self.several} `{self.name}`." if more > 0 else ""


def users_asked(aspect: Aspect) -> tuple[str, bool]:
    """Return the name whose users are asked for, or "", and whether only calls are meant."""
    carried = next((name for name in aspect.carried_names if "/" not in name), "")
    text = BACK_REFERENCE.sub(lambda match: f"`{carried.strip('`')}`", aspect.text, count=1) if carried else aspect.text
    return find_users_asked(text)


def state_users(
    task: Task, name: str, only_calls: bool, blocks: dict[int, Evidence], resolver: Resolver
) -> tuple[list[ClaimDraft], Listed]:
    """State which lines call or use a name, code that runs before tests, and return how many there are."""
    naming = [resolver.naming(PART.split(name)[-1], role) for role in ROLES]
    uses = find_uses([chunk for chunks in naming for chunk in chunks], name)
    calls = [use for use in uses if use.is_call]
    chosen = sorted(calls if calls and only_calls else uses, key=order)
    said = ("line calls", "lines call") if calls and only_calls else ("line uses", "lines use")
    listed = Listed(len(chosen), name, *said, is_cut=any(len(chunks) == MAX_NAMING for chunks in naming))
    return [state_use(task, use, blocks) for use in chosen[:MAX_USES]], listed


def order(use: Use) -> tuple[int, bool, str, int]:
    """Return what sorts uses: by the role of the file, calls first, then by place."""
    return ROLES.index(use.chunk.role), not use.is_call, use.chunk.ref, use.line


def state_use(task: Task, use: Use, blocks: dict[int, Evidence]) -> ClaimDraft:
    """State one line that calls or names something, and what it lies in."""
    block = block_of(use.chunk, blocks)
    line = " ".join(block.slice(use.line, use.line).split())
    inside = f"{code(use.inside)} " if use.inside else ""
    text = f"{inside}({place_of(block, use.line)}): {code(clip(line))}"
    return task.draft(text, [block.span(use.line, use.line)], form="item")
