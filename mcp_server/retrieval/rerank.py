"""Rerank: code-aware features over the fused chunks. Pure; every feature is kept for the trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from ingest.index.tokens import split_identifier, stem, words
from ingest.model import Chunk
from mcp_server.retrieval.fusion import Fused
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.weights import RankWeights

STUB_NAMES = frozenset({"__init__.py", "package-info.java", "mod.rs", "index.ts", "index.js"})
MIN_PREFIX = 4  # shared letters from which two words count as related: dependency ~ dependencies


@dataclass(frozen=True, slots=True)
class Ranked:
    """A chunk with its final score and the features that made it."""

    chunk: Chunk
    score: float
    fused: float
    features: tuple[tuple[str, float], ...]  # bonuses, role_factor, definition, use, saturation
    contributions: tuple[tuple[str, float], ...]


def related(one: str, other: str) -> bool:
    """Tell whether two lower-case words are the same but for their ending."""
    if one == other or stem(one) == stem(other):
        return True
    shorter, longer = sorted((one, other), key=len)
    # Letters only: `bench` is no ending away from `bench_marker_0`.
    return len(shorter) >= MIN_PREFIX and longer.isalpha() and longer.startswith(shorter)


@lru_cache(maxsize=65_536)
def name_words(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a file stem or identifier, with the whole name."""
    parts = [part for word in words(name.replace("-", "_")) for part in split_identifier(word)]
    return (*parts, name.lower())


@lru_cache(maxsize=16_384)
def path_words(path: str) -> tuple[str, ...]:
    """Return the words of a path's stem and its nearest directory."""
    pure = PurePosixPath(path)
    return (*name_words(pure.stem), *(name_words(pure.parent.name) if pure.parent.name else ()))


class Matcher:
    """The content words of one query with their weights; remembers which of them each word of a name is related to."""

    def __init__(self, keywords: Mapping[str, float]) -> None:
        self._weights = dict(sorted(keywords.items()))
        self._total = sum(self._weights.values())
        self._known: dict[str, frozenset[str]] = {}

    def share(self, names: Iterable[str]) -> float:
        """Return the share (by weight) of the keywords that are related to one of the names."""
        if not self._total:
            return 0.0
        matched = frozenset().union(*map(self._related, names))
        return sum(weight for word, weight in self._weights.items() if word in matched) / self._total

    def _related(self, name: str) -> frozenset[str]:
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = frozenset(word for word in self._weights if related(word, name))
        return found


def match_symbols(query: ParsedQuery, chunk: Chunk) -> tuple[float, str]:
    """Return how well a definition in the chunk answers a name of the query (0..1) and which one."""
    wanted = {name.rsplit(".", 1)[-1].rsplit("::", 1)[-1]: name for name in query.identifiers}
    if query.route == "symbol" or len(query.text.split()) == 1:
        wanted.setdefault(query.text.strip("`").removesuffix("()"), query.text)
    best, which = 0.0, ""
    for symbol in chunk.symbols:
        for last, full in wanted.items():
            score = _definition_score(symbol.name, symbol.qualname, symbol.kind, last, full)
            if score > best:
                best, which = score, symbol.qualname
    return best, which


def uses_name(query: ParsedQuery, chunk: Chunk) -> bool:
    """Tell whether the one name that is asked for stands in the chunk as it is written."""
    if query.route != "symbol":
        return False
    name = query.text.strip("`").removesuffix("()")
    at = chunk.text.find(name)
    while at >= 0:
        end = at + len(name)
        if not (at and is_word(chunk.text[at - 1])) and not (end < len(chunk.text) and is_word(chunk.text[end])):
            return True
        at = chunk.text.find(name, end)
    return False


def is_word(character: str) -> bool:
    """Tell whether a character can be part of an identifier."""
    return character.isalnum() or character == "_"


TYPE_KINDS = frozenset({"class", "interface", "struct", "trait", "enum", "type", "module"})


def _definition_score(name: str, qualname: str, kind: str, last: str, full: str) -> float:
    if name == last:
        exact = 1.0 if full in (last, name) or qualname.endswith(full.replace("::", ".").replace("->", ".")) else 0.6
        return exact if kind in TYPE_KINDS or kind in ("function", "method", "macro") else exact * 0.8
    return 0.7 if name.lower() == last.lower() else 0.0


def role_factor(query: ParsedQuery, chunk: Chunk, weights: RankWeights) -> float:
    """Return the factor of the chunk's path role, turned around when the query asks for that role."""
    if chunk.kind == "commit":
        return 1.0 if query.wants_history or query.route in ("ticket", "design") else weights.history_factor
    if chunk.kind in ("ticket", "design"):
        return 1.0
    asked = {"test": query.wants_tests, "example": query.wants_examples, "docs": query.wants_docs}
    if any(asked.values()):
        return 1.0 if asked.get(chunk.role, False) else 0.6 if chunk.role == "source" else 0.5
    factor = weights.roles.get(chunk.role, 1.0)
    name = (chunk.path or "").rpartition("/")[2]
    if name in STUB_NAMES:
        factor *= weights.stub_factor
    return factor * (weights.declaration_factor if name.endswith(".d.ts") else 1.0)


def file_key(chunk: Chunk) -> tuple[str, str]:
    """Return what counts as one file: source and path, or ticket key."""
    return (chunk.source, chunk.ref)


def coherence(fused: Sequence[Fused], chunks: Mapping[int, Chunk]) -> dict[tuple[str, str], float]:
    """Return each file's sum of fused scores, scaled to a best of 1."""
    sums: dict[tuple[str, str], float] = {}
    for item in fused:
        key = file_key(chunks[item.chunk_id])
        sums[key] = sums.get(key, 0.0) + item.score
    best = max(sums.values(), default=0.0) or 1.0
    return {key: value / best for key, value in sums.items()}


def best_chunks(fused: Sequence[Fused], chunks: Mapping[int, Chunk]) -> set[int]:
    """Return the best fused chunk of each file: the file's bonuses go to that one."""
    seen: dict[tuple[str, str], int] = {}
    for item in fused:
        seen.setdefault(file_key(chunks[item.chunk_id]), item.chunk_id)
    return set(seen.values())


def score_chunk(
    query: ParsedQuery,
    matcher: Matcher,
    item: Fused,
    chunk: Chunk,
    file_share: float,
    weights: RankWeights,
) -> Ranked:
    """Return the chunk with its score: (fused + bonuses) x role factor + definition + use."""
    definition, _ = match_symbols(query, chunk)
    per_definition = weights.definition if query.route == "symbol" else weights.definition_in_text
    symbol_share = max((matcher.share(name_words(symbol.name)) for symbol in chunk.symbols), default=0.0)
    bonuses = {
        "path": weights.path_match * matcher.share(path_words(chunk.path or "")),
        "symbol_words": weights.symbol_match * symbol_share,
        "coherence": weights.coherence * file_share,
    }
    factor = role_factor(query, chunk, weights)
    # Who asks for a name wants its definition, also where that lies in a test or an example.
    named_factor = max(factor, weights.definition_role_floor)
    named = {
        "definition": per_definition * definition * named_factor,
        "use": weights.use * named_factor if definition == 0 and uses_name(query, chunk) else 0.0,
    }
    score = (item.score + sum(bonuses.values())) * factor + sum(named.values())
    features = (*((k, v) for k, v in bonuses.items() if v), ("role_factor", factor), *named.items())
    return Ranked(chunk, score, item.score, features, item.contributions)


def saturate(ranked: Sequence[Ranked], weights: RankWeights) -> list[Ranked]:
    """Return the list with each further chunk of a file halved, halved again, ..."""
    counts: dict[tuple[str, str], int] = {}
    result = []
    for item in ranked:
        earlier = counts.get(file_key(item.chunk), 0)
        counts[file_key(item.chunk)] = earlier + 1
        factor = weights.saturation**earlier
        features = (*item.features, ("saturation", factor)) if earlier else item.features
        result.append(Ranked(item.chunk, item.score * factor, item.fused, features, item.contributions))
    return sort_ranked(result)


def sort_ranked(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Return in total order: score, then chunk id."""
    return sorted(ranked, key=lambda item: (-item.score, item.chunk.id))


def rerank(
    query: ParsedQuery,
    keywords: Mapping[str, float],
    fused: Sequence[Fused],
    chunks: Mapping[int, Chunk],
    weights: RankWeights,
) -> list[Ranked]:
    """Return all fused chunks in final order. `keywords`: content words of the query with their weights (idf)."""
    shares = coherence(fused, chunks)
    leaders = best_chunks(fused, chunks)
    matcher = Matcher(keywords)
    scored = [
        score_chunk(
            query,
            matcher,
            item,
            chunks[item.chunk_id],
            shares[file_key(chunks[item.chunk_id])] if item.chunk_id in leaders else 0.0,
            weights,
        )
        for item in fused
    ]
    return saturate(sort_ranked(scored), weights)
