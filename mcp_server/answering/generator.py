"""The seam between an answer and what writes it: a generator turns material into claims, from the evidence alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mcp_server.answering.aspects import Aspect
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence
from mcp_server.answering.generate import Generated, generate_claims
from mcp_server.retrieval.context import Link

Emit = Callable[[ClaimDraft], None]


@dataclass(frozen=True, slots=True)
class Material:
    """What a generator may use. `rarity`: root of a word -> idf; by the number of an aspect:

    `told` what settles it, `forms` lines of the form that it asks for.
    """

    question: str
    aspects: Sequence[Aspect]
    evidence: Sequence[Evidence]
    rarity: Mapping[str, float]
    links: Sequence[Link] = ()
    told: Mapping[int, Sequence[ClaimDraft]] = field(default_factory=dict)
    forms: Mapping[int, Sequence[ClaimDraft]] = field(default_factory=dict)


class Generator(Protocol):
    """Writes claims."""

    def generate(self, material: Material, emit: Emit) -> Generated:
        """Return all claims in order; `emit` is given each as soon as it is whole, for callers that do not wait."""
        ...


class ExtractiveGenerator:
    """Takes statements from the evidence; needs no model and never fails."""

    def generate(self, material: Material, emit: Emit) -> Generated:
        """Return the claims of all aspects."""
        generated = generate_claims(
            material.aspects, material.evidence, material.rarity, material.links, material.told, material.forms
        )
        for draft in generated.claims:
            emit(draft)
        return generated
