"""The ranking's constants, in one place, with where each comes from.

Provenance: first values by hand, then one coordinate search (2026-11-21) over a public development set of 222 code
search queries in 11 repositories, rounded towards the first values; see docs/decisions.md, "Ranking weights".
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIELD_WEIGHTS: dict[str, float] = {"content": 1.0, "path": 1.0, "symbols": 1.0, "heading": 0.7, "keys": 2.0}

ROLE_FACTORS: dict[str, float] = {
    "source": 1.0,
    "docs": 0.3,
    "config": 0.7,
    "compat": 0.4,
    "test": 0.3,
    "example": 0.3,
    "generated": 0.3,
    "vendored": 0.3,
}


@dataclass(frozen=True, slots=True)
class RankWeights:
    """Weights of fusion and rerank. All scores are scaled to a best of 1 before they are weighted."""

    fields: dict[str, float] = field(default_factory=lambda: dict(FIELD_WEIGHTS))
    text: float = 0.7
    text_key: float = 0.3  # where the query is about a key: its other words ("touch", "decided") say little
    vector: float = 1.0
    vector_symbol: float = 0.4  # the vector side's weight where the query is one name
    symbol: float = 0.2
    link: float = 1.0
    rrf_k: int = 20
    candidates: int = 60  # per retriever
    definition: float = 3.0  # the chunk defines a name of the query
    use: float = 0.8  # the chunk holds the one name that is asked for, without defining it
    definition_role_floor: float = 0.75  # the role factor of a definition never falls below this
    definition_in_text: float = 1.2  # ... where the name stands within a sentence
    path_match: float = 1.2  # share of the query's words in file stem and directory
    symbol_match: float = 0.3  # share of the query's words in one defined symbol's name
    coherence: float = 0.3  # the file's share of all candidates' scores
    saturation: float = 0.5  # each further chunk of a file counts this much of the one before
    roles: dict[str, float] = field(default_factory=lambda: dict(ROLE_FACTORS))
    history_factor: float = 0.4  # commits beside code: their messages repeat the words of what they touched
    stub_factor: float = 0.5  # __init__.py, package-info.java, mod.rs: they re-export more than they hold
    declaration_factor: float = 0.7  # .d.ts


DEFAULT_WEIGHTS = RankWeights()
