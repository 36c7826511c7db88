"""Rerank: code-aware features over the fused chunks. Pure; every feature is kept for the trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.index.rows import Definition, FileRow
from ingest.languages.kinds import CALLABLE_KINDS, TYPE_KINDS
from mcp_server.retrieval.candidates import Candidate
from mcp_server.retrieval.features import (
    Coverage,
    FileKey,
    Matcher,
    Row,
    coherence,
    file_key,
    path_platforms,
    path_words,
    vector_depth,
)
from mcp_server.retrieval.fusion import Fused
from mcp_server.retrieval.query import ParsedQuery, bare_name
from mcp_server.retrieval.weights import RankWeights

SUPERSEDED = "superseded"
STUB_NAMES = frozenset({"__init__.py", "package-info.java", "mod.rs", "index.ts", "index.js"})


class Ranked(NamedTuple):
    """A chunk with its final score and the features that made it.

    score = ((fused + bonuses) x role_factor + definition + use + frame) x saturation; each a feature of this name.
    """

    id: int
    file: FileRow
    score: float
    fused: float
    features: tuple[tuple[str, float], ...]
    contributions: tuple[tuple[str, float], ...]
    found: int = 0  # the words of the query in the chunk, one bit each


@dataclass(frozen=True, slots=True)
class Signals:
    """What rerank knows besides the chunks.

    `keywords`: content words of the query with their weights; `coverage`: its rare words in texts; `nearest`: the
    vector side's candidates, best first; `votes`: what the history says of each file, 0..1; `frames`: what the frames
    of a stack trace say of each chunk, 0..1; `using`: chunks whose text holds the one name that is asked for.
    """

    keywords: Mapping[str, float]
    coverage: Coverage
    nearest: Sequence[Candidate] = ()
    votes: Mapping[FileKey, float] = field(default_factory=dict)
    frames: Mapping[int, float] = field(default_factory=dict)
    using: frozenset[int] = frozenset()


class Scored(NamedTuple):
    """A chunk with its own features, before those of its file are added. Plain fields: there are hundreds a query."""

    item: Fused
    row: Row
    key: FileKey
    path: float
    symbol_words: float
    coverage: float
    factor: float
    named: Mapping[str, float]
    score: float


NOTHING: Mapping[str, float] = {}


def wanted_names(query: ParsedQuery) -> dict[str, str]:
    """Return the names that the query asks for: last part -> name as written."""
    wanted = {name.rsplit(".", 1)[-1].rsplit("::", 1)[-1]: name for name in query.identifiers}
    if query.route == "symbol" or len(query.text.split()) == 1:
        wanted.setdefault(bare_name(query.text), query.text)
    return wanted


def match_symbols(wanted: Mapping[str, str], definitions: Iterable[Definition]) -> float:
    """Return how well one of the definitions answers one of the names, 0..1."""
    return max(
        (
            _definition_score(symbol.name, symbol.qualname, symbol.kind, last, full)
            for symbol in definitions
            for last, full in wanted.items()
        ),
        default=0.0,
    )


def uses_name(query: ParsedQuery, text: str) -> bool:
    """Tell whether the one name that is asked for stands in a text as it is written."""
    name = bare_name(query.text)
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        if not (at and is_word(text[at - 1])) and not (end < len(text) and is_word(text[end])):
            return True
        at = text.find(name, end)
    return False


def is_word(character: str) -> bool:
    """Tell whether a character can be part of an identifier."""
    return character.isalnum() or character == "_"


# What a name stands for most: a variable, a key or a prototype of the same name comes after it.
NAMED_KINDS = TYPE_KINDS | CALLABLE_KINDS | {"module", "macro"}


def _definition_score(name: str, qualname: str, kind: str, last: str, full: str) -> float:
    if name == last:
        exact = 1.0 if full in (last, name) or qualname.endswith(full.replace("::", ".").replace("->", ".")) else 0.6
        return exact if kind in NAMED_KINDS else exact * 0.8
    return 0.7 if len(name) == len(last) and name.lower() == last.lower() else 0.0


def role_factor(query: ParsedQuery, row: Row, weights: RankWeights) -> float:
    """Return the factor of the path's role, turned around when the query asks for that role."""
    if row.kind == "commit":
        return 1.0 if query.wants_history or query.route in ("ticket", "design") else weights.history_factor
    if row.kind == "design" and row.file.state == SUPERSEDED:
        return weights.superseded_factor
    if row.kind in ("ticket", "design"):
        return 1.0
    asked = {"test": query.wants_tests, "example": query.wants_examples, "docs": query.wants_docs}
    if any(asked.values()):
        return 1.0 if asked.get(row.file.role, False) else 0.6 if row.file.role == "source" else 0.5
    factor = weights.roles.get(row.file.role, 1.0)
    name = (row.file.path or "").rpartition("/")[2]
    if name in STUB_NAMES:
        factor *= weights.stub_factor
    if name.endswith(".d.ts"):
        factor *= weights.declaration_factor
    platforms = path_platforms(row.file.path or "")
    return factor * (weights.platform_factor if platforms and platforms.isdisjoint(query.keywords) else 1.0)


class Scorer:
    """Scores the chunks of one query; what depends on the query or the path alone is worked out once."""

    def __init__(self, query: ParsedQuery, signals: Signals, weights: RankWeights) -> None:
        self.coverage = signals.coverage
        self._query = query
        self._weights = weights
        self._matcher = Matcher(signals.keywords)
        self._wanted = wanted_names(query)
        self._per_definition = weights.definition if query.route == "symbol" else weights.definition_in_text
        # Where the query is about a key, its other words ("touch", "decided") say little.
        self.word_share = weights.text_key if query.route in ("ticket", "design") else 1.0
        self._frames = signals.frames
        self._using = signals.using
        self._paths: dict[tuple[str | None, str], tuple[float, float]] = {}

    def score(self, item: Fused, row: Row) -> Scored:
        """Return the candidate with the features of its own."""
        path, factor = self._of_path(row)
        share = 0.0
        for symbol in row.definitions:
            share = max(share, self._matcher.name_share(symbol.name))
        words = self._weights.symbol_match * share
        covered = self._weights.coverage * self.word_share * self.coverage.share(row.found)
        named = self._named(row, factor) if self._wanted or self._frames else NOTHING
        total = (item.score + path + words + covered) * factor
        return Scored(item, row, row.key, path, words, covered, factor, named, total + sum(named.values()))

    def _of_path(self, row: Row) -> tuple[float, float]:
        """Return the bonus of the path's words and the factor of its role."""
        key = (row.file.path, row.kind)
        known = self._paths.get(key)
        if known is None:
            share = self._matcher.share(path_words(row.file.path)) if row.file.path else 0.0
            bonus = self._weights.path_match * self.word_share * share
            known = self._paths[key] = (bonus, role_factor(self._query, row, self._weights))
        return known

    def _named(self, row: Row, factor: float) -> Mapping[str, float]:
        """Return what the chunk gains by defining or using a name of the query, or by a frame of its stack trace."""
        # Who asks for a name wants its definition, also where that lies in a test or an example.
        floored = max(factor, self._weights.definition_role_floor)
        definition = match_symbols(self._wanted, row.definitions)
        named = {
            "definition": self._per_definition * definition * floored,
            "use": self._weights.use * floored if not definition and row.id in self._using else 0.0,
            "frame": self._weights.frame * self._frames.get(row.id, 0.0),
        }
        return {name: value for name, value in named.items() if value}


def add_file_features(scored: Sequence[Scored], features: Mapping[str, Mapping[FileKey, float]]) -> list[Ranked]:
    """Return ranked chunks; the best chunk of each file carries the features of the file, in place of its own."""
    leaders: dict[FileKey, Scored] = {}
    for item in scored:
        best = leaders.get(item.key)
        if best is None or (item.score, -item.row.id) > (best.score, -best.row.id):
            leaders[item.key] = item
    ranked = []
    for item in scored:
        bonuses = {"path": item.path, "symbol_words": item.symbol_words, "coverage": item.coverage}
        score = item.score
        if leaders[item.key] is item:
            bonuses.update((name, values[item.key]) for name, values in features.items() if item.key in values)
            score = (item.item.score + sum(bonuses.values())) * item.factor + sum(item.named.values())
        shown = [(name, value) for name, value in bonuses.items() if value]
        every = (*shown, ("role_factor", item.factor), *item.named.items())
        ranked.append(
            Ranked(item.row.id, item.row.file, score, item.item.score, every, item.item.contributions, item.row.found)
        )
    return ranked


def file_coverage(scored: Sequence[Scored], coverage: Coverage) -> dict[FileKey, float]:
    """Return the share of the query that each file's candidates cover together."""
    found: dict[FileKey, int] = {}
    for item in scored:
        found[item.key] = found.get(item.key, 0) | item.row.found
    return {key: coverage.share(bits) for key, bits in found.items()}


def best_coverage(scored: Sequence[Scored], coverage: Coverage) -> dict[FileKey, float]:
    """Return the largest share of the query that one chunk of each file covers."""
    best: dict[FileKey, float] = {}
    for item in scored:
        best[item.key] = max(best.get(item.key, 0.0), coverage.share(item.row.found))
    return best


def scaled(weight: float, values: Mapping[FileKey, float]) -> dict[FileKey, float]:
    """Return the values times a weight."""
    return {key: weight * value for key, value in values.items()}


def saturate(ranked: Sequence[Ranked], weights: RankWeights) -> list[Ranked]:
    """Return the list with each further chunk of a file halved, halved again, ..."""
    counts: dict[FileKey, int] = {}
    result = []
    for item in ranked:
        key = file_key(item.file)
        earlier = counts.get(key, 0)
        counts[key] = earlier + 1
        if earlier:
            factor = weights.saturation**earlier
            item = item._replace(score=item.score * factor, features=(*item.features, ("saturation", factor)))
        result.append(item)
    return sort_ranked(result)


def sort_ranked(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Return in total order: score, then chunk id."""
    return sorted(ranked, key=lambda item: (-item.score, item.id))


def rerank(
    query: ParsedQuery, signals: Signals, fused: Sequence[Fused], rows: Mapping[int, Row], weights: RankWeights
) -> list[Ranked]:
    """Return all fused chunks in final order."""
    scorer = Scorer(query, signals, weights)
    scored = [scorer.score(item, rows[item.chunk_id]) for item in fused]
    files = {item.row.id: item.key for item in scored}
    features = {
        "coherence": scaled(weights.coherence, coherence((item.key, item.item.score) for item in scored)),
        "coverage": scaled(weights.coverage * scorer.word_share, best_coverage(scored, scorer.coverage)),
        "file_coverage": scaled(weights.file_coverage * scorer.word_share, file_coverage(scored, scorer.coverage)),
        "vector_depth": scaled(weights.vector_depth, vector_depth(signals.nearest, files)),
        "history": scaled(weights.history, signals.votes),
    }
    return saturate(sort_ranked(add_file_features(scored, features)), weights)
