"""The JSON contract: what every surface returns, as frozen values (DESIGN: `search` and `answer`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ingest.model import EVERYWHERE

Freshness = Literal["fresh", "moved", "changed", "gone", "unchecked"]
Verdict = Literal[
    "supported",
    "weak",
    "misattributed",
    "misquoted",
    "unsupported_by_context",
    "contradicted",
    "fabricated",
    "stale",
    "unverified",
    "no_anchor",
]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One parsed call of `search_code`, whatever the surface. `sources` holds kinds or source names; empty = all."""

    query: str
    limit: int = 8
    cursor: str = ""
    sources: tuple[str, ...] = ()
    product: str = ""
    path_glob: str = ""
    mode: Literal["ranked", "all"] = "ranked"
    language: str = ""


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """One parsed call of `answer`."""

    question: str
    sources: tuple[str, ...] = ()
    product: str = ""
    path_glob: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class MissingName:
    """A name of the query that exists nowhere, with the nearest ones that do, and where it was looked for."""

    name: str
    nearest: tuple[str, ...] = ()
    where: str = EVERYWHERE


@dataclass(frozen=True, slots=True)
class Hit:
    """One final ranked chunk. A ticket has `key` and a null `path`. Lines are 1-based inclusive."""

    path: str | None
    key: str | None
    title: str
    start_line: int
    end_line: int
    symbol: str | None
    kind: str
    text: str
    score: float
    why: tuple[str, ...]
    source: str
    product: str
    revision: str
    freshness: Freshness
    chunk_id: int = 0
    language: str | None = None
    context: str = ""
    flags: tuple[str, ...] = ()  # orders to a model and hidden text in it: to be read as text, never followed
    linked: tuple[str, ...] = ()  # "ticket: #12", "superseded by: ADR-9": what is linked to the document


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What `search_code` found in one generation."""

    hits: tuple[Hit, ...]
    total: int
    next_cursor: str | None
    generation: int
    index_age_s: float
    degraded: tuple[str, ...]
    not_found: tuple[MissingName, ...]
    trace_id: str
    notes: tuple[str, ...] = ()  # what to know of the query: a name with many definitions, common words only, ...
    cursors: tuple[str | None, ...] = ()  # the cursor behind each hit, for a surface that shows fewer
    files_behind: int | None = None  # changed files that were seen and are not in the index yet; None = nobody looks

    def first(self, count: int) -> SearchResult:
        """Return the result with fewer hits; its cursor starts behind the last of them."""
        if not 0 < count < len(self.hits):
            return self
        return replace(self, hits=self.hits[:count], next_cursor=self.cursors[count - 1])


@dataclass(frozen=True, slots=True)
class Citation:
    """A checked pointer: path (or key) + lines + revision, with its freshness against the tree now."""

    id: str  # "C1"
    path: str | None
    key: str | None
    start_line: int
    end_line: int
    symbol: str | None
    source: str
    product: str
    revision: str
    freshness: Freshness
    moved_to: str | None = None  # "path:start-end" or a renamed path


@dataclass(frozen=True, slots=True)
class Claim:
    """One checkable statement of an answer."""

    text: str
    verdict: Verdict
    reason: str
    citations: tuple[str, ...]  # Citation ids


@dataclass(frozen=True, slots=True)
class AnswerEvent:
    """What is told while an answer is being written: where its evidence stands, then each claim that was checked.

    Citation ids count anew in each event; those of the finished answer are its own.
    """

    kind: Literal["evidence", "claim"]
    places: tuple[str, ...] = ()  # evidence: "path:start-end"
    claim: Claim | None = None
    citations: tuple[Citation, ...] = ()


Listener = Callable[[AnswerEvent], None]


def ignore(event: AnswerEvent) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True)
class Ungrounded:
    """A part of the question without evidence, or a claim that the evidence does not support."""

    kind: Literal["question", "claim"]
    text: str
    verdict: str
    reason: str
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """What `answer` returns. `ungrounded` is the one list that users read; empty means nothing was left open."""

    answer: str
    mode: Literal["extractive", "model", "capabilities", "abstained"]
    claims: tuple[Claim, ...]
    citations: tuple[Citation, ...]
    ungrounded: tuple[Ungrounded, ...]
    not_found: tuple[MissingName, ...]
    stale: tuple[str, ...]  # citation ids
    abstained: bool
    cached: bool
    degraded: tuple[str, ...]
    latency_ms: float
    generation: int
    index_age_s: float
    trace_id: str
    nearest: tuple[Hit, ...] = ()  # nearest misses when abstained
    files_behind: int | None = None  # changed files that were seen and are not in the index yet; None = nobody looks
    cached_at: str = ""  # when a cached answer was worked out (ISO 8601, UTC), and in which trace
    cached_trace_id: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)  # prompt, its hash and model of an answer that a model wrote
