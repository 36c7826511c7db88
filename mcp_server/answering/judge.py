"""The optional judge: a model is asked about statements in which the look-ups found nothing to look up.

It sees nothing but the statement and its cited lines, and never a statement that was struck: all it can do is lift what
is open to supported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, ValidationError

from mcp_server.answering.answer import ComposedAnswer, join_codes
from mcp_server.chat import LLMError, Message
from mcp_server.model_calls import ModelCalls, Prompt
from mcp_server.results import Claim
from prompts import Composition

OPEN_VERDICTS = frozenset({"no_anchor", "weak", "unverified"})
LIFTED = "The judge found it in the cited lines; there was nothing in it to look up."


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: int
    shown: str


class _Verdicts(BaseModel):
    model_config = ConfigDict(frozen=True)
    verdicts: list[_Shown]


def judge_claims(
    composed: ComposedAnswer, calls: ModelCalls, composition: Composition, redact: Callable[[str], str]
) -> ComposedAnswer:
    """Return the answer with the verdicts of the judge; where it cannot be asked, as it is, and it says so."""
    lines = {pointer.id: pointer.text for pointer in composed.pointers}
    asked = {n: c for n, c in enumerate(composed.claims) if c.verdict in OPEN_VERDICTS and c.citations}
    if not asked:
        return composed
    try:
        shown = _ask(asked, lines, calls, composition, redact)
    except (LLMError, ValidationError):
        return replace(composed, degraded=join_codes(composed.degraded, ("judge_unavailable",)))
    lifted = {asked[number].text for number in shown if number in asked}
    return replace(
        composed,
        claims=tuple(
            replace(claim, verdict="supported", reason=LIFTED) if n in shown and n in asked else claim
            for n, claim in enumerate(composed.claims)
        ),
        ungrounded=tuple(u for u in composed.ungrounded if u.kind != "claim" or u.text not in lifted),
    )


def _ask(
    asked: Mapping[int, Claim],
    lines: Mapping[str, str],
    calls: ModelCalls,
    composition: Composition,
    redact: Callable[[str], str],
) -> frozenset[int]:
    """Return the numbers of the statements that their lines show in full. Raises LLMError, ValidationError."""
    statements = [
        {"id": number, "statement": claim.text, "lines": redact("\n".join(lines[c] for c in claim.citations))}
        for number, claim in asked.items()
    ]
    given = json.dumps(statements, ensure_ascii=False)
    messages = (Message("system", composition.render("ground_judge").text), Message("user", given))
    reply = calls.ask("judge", Prompt(messages, composition, {"statements": given}))
    text = reply.text[reply.text.find("{") : reply.text.rfind("}") + 1]
    verdicts = _Verdicts.model_validate_json(text or "null")
    return frozenset(item.id for item in verdicts.verdicts if item.shown == "yes")
