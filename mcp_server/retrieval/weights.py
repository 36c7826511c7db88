"""The ranking's constants, in one place, with where each comes from.

Provenance: fitted by coordinate search on 2026-11-21 on the mean of four development sets (code search in 11 source
roots, the same queries with tests and documentation indexed, 677 tickets of two projects, 189 questions about four
repositories), then rounded; see docs/decisions.md, "Ranking weights".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

FIELD_WEIGHTS: dict[str, float] = {
    "content": 1.0,
    "message": 1.0,
    "path": 1.5,
    "touched": 0.3,
    "symbols": 1.0,
    "heading": 0.7,
    "keys": 2.0,
}

ROLE_FACTORS: dict[str, float] = {
    "source": 1.0,
    "docs": 0.2,
    "config": 0.7,
    "compat": 0.6,
    "test": 0.3,
    "example": 0.2,
    "generated": 0.3,
    "vendored": 0.3,
}


@dataclass(frozen=True, slots=True)
class RankWeights:
    """Weights of fusion and rerank. All scores are scaled to a best of 1 before they are weighted."""

    fields: dict[str, float] = field(default_factory=lambda: dict(FIELD_WEIGHTS))
    text: float = 2.0
    text_key: float = 0.3  # where the query is about a key: its other words ("touch", "decided") say little
    vector: float = 1.25  # fitted anew for the weights trained here
    vector_symbol: float = 0.4  # the vector side's weight where the query is one name
    symbol: float = 0.2
    link: float = 1.0
    rrf_k: int = 20
    candidates: int = 60  # per retriever, in the fusion
    depth: int = 150  # per retriever, looked at for what a file holds in all
    history_files: int = 20
    frame: float = 6.0  # the innermost frame of a stack trace lies in the chunk
    caller: float = 6.0  # the chunk calls or uses the name whose users are asked for
    definition: float = 5.0  # the chunk defines a name of the query
    use: float = 0.8  # the chunk holds the one name that is asked for, without defining it
    definition_role_floor: float = 0.75  # the role factor of a definition never falls below this
    definition_in_text: float = 0.7  # ... where the name stands within a sentence
    joined_name: float = 0.5  # the chunk defines what neighbouring words of the query name together
    path_match: float = 1.2  # share of the query's words in file stem and directory
    symbol_match: float = 0.4  # share of the query's words in one defined symbol's name
    coverage: float = 1.3  # share of the query, by rarity, that stands in the chunk
    file_coverage: float = 0.6  # ... in the file's candidates together
    coherence: float = 0.5  # the file's share of all candidates' scores
    vector_depth: float = 0.6  # how near the file's three nearest chunks are
    history: float = 1.0  # votes of similar commits for the file, and its profile
    references: float = 2.0  # how much code near to the query names the design or ticket
    saturation: float = 0.5  # each further chunk of a file counts this much of the one before
    roles: dict[str, float] = field(default_factory=lambda: dict(ROLE_FACTORS))
    history_factor: float = 0.4  # commits beside code: their messages repeat the words of what they touched
    stub_factor: float = 1.0  # __init__.py, package-info.java, mod.rs: they re-export more than they hold
    superseded_factor: float = 0.5  # a design that another one replaced
    draft_factor: float = 0.8  # a design that is a draft, withdrawn, rejected...: what is in force comes first
    oldest_factor: float = 0.9  # a ticket or design far older than the newest candidate
    declaration_factor: float = 0.7  # .d.ts
    platform_factor: float = 0.6  # a folder or file for one platform that the query does not name

    def for_users(self) -> RankWeights:
        """Return the weights for whose users are asked for: of several callers in one file each is an answer."""
        return replace(self, saturation=1.0)

    def for_report(self) -> RankWeights:
        """Return the weights for a long text that asks nothing.

        Among many words some match any path by accident, while what a file covers of them in all tells more.
        """
        return replace(
            self,
            fields={**self.fields, "path": self.fields.get("path", 0.0) * REPORT_PATH},
            vector=self.vector * REPORT_VECTOR,
            coverage=self.coverage * REPORT_COVERAGE,
            file_coverage=self.file_coverage * REPORT_FILE_COVERAGE,
            history=self.history * REPORT_HISTORY,
        )

    def for_question(self) -> RankWeights:
        """Return the weights for a question: it asks how things are, while commits say how they changed."""
        return replace(self, history=self.history * QUESTION_HISTORY)


# Found on 95 long tickets (NDCG@10 0.670 -> 0.713); 143 long questions lose by the same (0.761 -> 0.733).
REPORT_PATH = 1 / 3
REPORT_VECTOR = 0.6
REPORT_COVERAGE = 5 / 3
REPORT_FILE_COVERAGE = 2.5
REPORT_HISTORY = 1.5  # tickets hit@1 0.598 -> 0.610
QUESTION_HISTORY = 0.5  # questions hit@1 0.758 -> about 0.83; without any votes 0.853
DEFAULT_WEIGHTS = RankWeights()
