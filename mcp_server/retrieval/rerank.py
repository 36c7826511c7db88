"""Rerank: code-aware features over the fused candidates, as columns. Pure; every feature is kept for the trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ingest.index.rows import Bits, Definition, FileRow, Ints
from ingest.index.tokens import split_identifier, token_hash
from ingest.languages.kinds import CALLABLE_KINDS, TYPE_KINDS
from ingest.model import Symbol
from mcp_server.retrieval.candidates import RankedList
from mcp_server.retrieval.features import Coverage, FileKey, Floats, Matcher, file_key, path_platforms
from mcp_server.retrieval.fusion import Fused
from mcp_server.retrieval.query import ParsedQuery, bare_name
from mcp_server.retrieval.weights import RankWeights

SUPERSEDED = "superseded"
NOT_IN_FORCE = frozenset(("draft", "stagnant", "withdrawn", "rejected", "deferred", "abandoned", "deprecated", "moved"))
STUB_NAMES = frozenset({"__init__.py", "package-info.java", "mod.rs", "index.ts", "index.js"})
FILE_DEPTH = 3  # how many of a file's nearest chunks speak for it


@dataclass(frozen=True, slots=True)
class Candidates:
    """The fused chunks in columns, in fused order; `file` is each one's place in `files` and what goes with these."""

    fused: Fused
    file: Ints
    files: Sequence[FileRow]
    kinds: Sequence[str]  # of the files' sources
    path_bits: Bits  # of the query's words in each file's path
    found: Bits  # of the query's tokens in each chunk, see Coverage
    name_of: Ints  # of every name that is defined, the place of its chunk
    name_bits: Bits  # ... the bits of its words
    defining: Mapping[int, Sequence[Definition]]  # place -> definitions, where one may be a name that is asked for


@dataclass(frozen=True, slots=True)
class Signals:
    """What rerank knows besides the candidates.

    `nearest`: the vector side's candidates; `votes`: what the history says of each file, 0..1; `frames`:
    what the frames of a stack trace say of each chunk, 0..1; `callers`: chunks that call (1) or name (less) that whose
    users are asked for; `using`: chunks whose text holds the one name that is asked for; `references`: how much similar
    code names each document, 0..1; `ages`: the factor of each document's age, in the order of the candidates' files,
    None where nothing grows old.
    """

    nearest: RankedList | None = None
    votes: Mapping[FileKey, float] = field(default_factory=dict)
    frames: Mapping[int, float] = field(default_factory=dict)
    callers: Mapping[int, float] = field(default_factory=dict)
    using: frozenset[int] = frozenset()
    references: Mapping[FileKey, float] = field(default_factory=dict)
    ages: Floats | None = None


class Ranked(NamedTuple):
    """A chunk with its final score and the features that made it.

    score = ((fused + bonuses) x role_factor + definition + use + frame + caller) x saturation; each is a feature.
    The role factor of a ticket or design holds its `age_factor`, which is named where it is not 1.
    """

    id: int
    file: FileRow
    score: float
    fused: float
    features: tuple[tuple[str, float], ...]
    contributions: tuple[tuple[str, float], ...]
    found: int = 0  # the words of the query in the chunk, one bit each


@dataclass(frozen=True, slots=True)
class Ranking:
    """All candidates in final order. `order`: places in the candidates; columns are by place."""

    candidates: Candidates
    order: Ints
    score: Floats
    bonuses: Mapping[str, Floats]
    factor: Floats
    age: Floats
    named: Mapping[str, Floats]
    saturation: Floats

    def first(self, count: int) -> list[Ranked]:
        """Return the first chunks with their features."""
        return [self._ranked(at) for at in self.order[:count].tolist()]

    def _ranked(self, at: int) -> Ranked:
        candidates = self.candidates
        shown = [(name, float(values[at])) for name, values in self.bonuses.items() if values[at]]
        shown.append(("role_factor", float(self.factor[at])))
        if self.age[at] != 1.0:
            shown.append(("age_factor", float(self.age[at])))
        shown += [(name, float(values[at])) for name, values in self.named.items() if values[at]]
        if self.saturation[at] != 1.0:
            shown.append(("saturation", float(self.saturation[at])))
        file, found = candidates.files[candidates.file[at]], int(candidates.found[at])
        fused = candidates.fused
        own, total = fused.contributions(at), float(fused.scores[at])
        return Ranked(int(fused.ids[at]), file, float(self.score[at]), total, tuple(shown), own, found)

    def files(self) -> list[FileRow]:
        """Return the file of every candidate."""
        return [self.candidates.files[place] for place in self.candidates.file[self.order].tolist()]


def keep_order(candidates: Candidates) -> Ranking:
    """Return the candidates in the order of the fusion: the fallback where ranking them failed."""
    fused = candidates.fused
    same = np.ones(len(fused))
    return Ranking(candidates, np.arange(len(fused)), fused.scores, {}, same, same, {}, same)


def wanted_names(query: ParsedQuery) -> dict[str, str]:
    """Return the names that the query asks for: last part -> name as written."""
    wanted = {name.rsplit(".", 1)[-1].rsplit("::", 1)[-1]: name for name in query.identifiers}
    if is_lone_name(query):
        wanted.setdefault(bare_name(query.text), query.text)
    return wanted


def is_lone_name(query: ParsedQuery) -> bool:
    """Tell whether the query is one name or word and nothing else."""
    return query.route == "symbol" or len(query.text.split()) == 1


def joined_names(query: ParsedQuery) -> frozenset[str]:
    """Return two or three neighbouring words as one name would hold them: JSON array -> jsonarray, json_array."""
    if query.route != "conceptual":
        return frozenset()
    parts = [part.lower() for word in query.keywords for part in split_identifier(word)]
    groups = [parts[at : at + size] for size in (2, 3) for at in range(len(parts) - size + 1)]
    return frozenset(sign.join(group) for group in groups for sign in ("", "_"))


def name_hashes(query: ParsedQuery) -> list[int]:
    """Return the hashes under which rows keep names that the query may ask for."""
    return sorted({token_hash(name.lower()) for name in (*wanted_names(query), *joined_names(query))})


def match_symbols(wanted: Mapping[str, str], definitions: Iterable[Definition]) -> float:
    """Return how well one of the definitions answers one of the names, 0..1."""
    return max((match_symbol(wanted, definition) for definition in definitions), default=0.0)


def match_symbol(wanted: Mapping[str, str], symbol: Definition | Symbol) -> float:
    """Return how well a definition answers one of the names, 0..1."""
    scores = (_definition_score(symbol.name, symbol.qualname, symbol.kind, last, full) for last, full in wanted.items())
    return max(scores, default=0.0)


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


def role_factors(query: ParsedQuery, candidates: Candidates, weights: RankWeights, rare: frozenset[str]) -> Floats:
    """Return the factor of each document's role, turned around when the query asks for that role.

    `rare`: words of the query that stand almost nowhere; an example with such a name is the one that is meant (tests
    and pages too cost tickets 0.005 of hit@1).
    """
    asked = {"test": query.wants_tests, "example": query.wants_examples, "docs": query.wants_docs}
    turned = any(asked.values())
    commits = 1.0 if query.wants_history or query.route in ("ticket", "design") else weights.history_factor
    words = frozenset(query.keywords)

    def factor(file: FileRow, kind: str) -> float:
        if kind == "commit":
            return commits
        if kind == "design":
            old = file.state == SUPERSEDED
            return weights.superseded_factor if old else weights.draft_factor if file.state in NOT_IN_FORCE else 1.0
        if kind == "ticket":
            return 1.0
        if turned:
            return 1.0 if asked.get(file.role, False) else 0.6 if file.role == "source" else 0.5
        share = weights.roles.get(file.role, 1.0)
        stem_name, is_stub, is_declaration, platforms = path_facts(file.path or "")
        if file.role == "example" and stem_name in rare:
            share = 1.0
        share *= (weights.stub_factor if is_stub else 1.0) * (weights.declaration_factor if is_declaration else 1.0)
        return share * weights.platform_factor if platforms and platforms.isdisjoint(words) else share

    return np.array(list(map(factor, candidates.files, candidates.kinds)), dtype=np.float64)


@lru_cache(maxsize=16_384)
def path_facts(path: str) -> tuple[str, bool, bool, frozenset[str]]:
    """Return a file's stem, whether it only re-exports, whether it only declares, and the platforms of its path."""
    name = path.rpartition("/")[2]
    return name.partition(".")[0].lower(), name in STUB_NAMES, name.endswith(".d.ts"), path_platforms(path)


def rerank(
    query: ParsedQuery,
    matcher: Matcher,
    coverage: Coverage,
    candidates: Candidates,
    signals: Signals,
    weights: RankWeights,
) -> Ranking:
    """Return all candidates in final order."""
    file, count = candidates.file, len(candidates.files)
    # Where the query is about a key, its other words ("touch", "decided") say little.
    word_share = weights.text_key if query.route in ("ticket", "design") else 1.0
    fused, ids = candidates.fused.scores, candidates.fused.ids
    covered = weights.coverage * word_share * coverage.shares(candidates.found)
    path = weights.path_match * word_share * matcher.shares(candidates.path_bits)
    age = (np.ones(count) if signals.ages is None else signals.ages)[file]
    factor = role_factors(query, candidates, weights, matcher.rare)[file] * age
    bonuses = {
        "path": path[file],
        "symbol_words": weights.symbol_match * best_of(matcher.shares(candidates.name_bits), candidates.name_of, fused),
        "coverage": covered,
    }
    named = score_names(query, candidates, signals, factor, weights)
    own = add_up(fused, bonuses, factor, named)
    leads = find_leaders(own, ids, file)
    of_file = {
        "coherence": weights.coherence * coherence(fused, file, count),
        "coverage": largest(covered, file, count),
        "file_coverage": weights.file_coverage * word_share * coverage.shares(join(candidates.found, file, count)),
        "vector_depth": weights.vector_depth * vector_depth(signals.nearest, candidates),
        "history": weights.history * votes_of(signals.votes, candidates.files),
        "references": weights.references * votes_of(signals.references, candidates.files),
    }
    # The best chunk of each file carries the features of the file, in place of its own.
    bonuses |= {name: np.where(leads, values[file], bonuses.get(name, 0.0)) for name, values in of_file.items()}
    score = add_up(fused, bonuses, factor, named)
    saturation = saturate(score, ids, file, weights.saturation)
    score = score * saturation
    order = np.lexsort((ids, -score))
    return Ranking(candidates, order, score, bonuses, factor, age, named, saturation)


def add_up(fused: Floats, bonuses: Mapping[str, Floats], factor: Floats, named: Mapping[str, Floats]) -> Floats:
    """Return (fused + bonuses) x role factor + what names and frames give, always summed in this order."""
    total = fused
    for values in bonuses.values():
        total = total + values
    total = total * factor
    for values in named.values():
        total = total + values
    return total


def score_names(
    query: ParsedQuery, candidates: Candidates, signals: Signals, factor: Floats, weights: RankWeights
) -> dict[str, Floats]:
    """Return what chunks gain by defining or using a name of the query, or by a frame of its stack trace."""
    per_definition = weights.definition if query.route == "symbol" else weights.definition_in_text
    wanted, joined = wanted_names(query), joined_names(query)
    # Who asks for a name wants its definition, also where that lies in a test or an example.
    floored = np.maximum(factor, weights.definition_role_floor)
    answers: Floats = np.zeros(len(factor))
    described: Floats = np.zeros(len(factor))
    for at, definitions in candidates.defining.items():
        answers[at] = match_symbols(wanted, definitions)
        described[at] = any(symbol.name.lower() in joined for symbol in definitions)
    using = is_one_of(candidates.fused.ids, sorted(signals.using))
    return {
        "definition": per_definition * answers * floored,
        "joined_name": np.where(answers == 0, weights.joined_name * described * floored, 0.0),
        "use": np.where(using & (answers == 0), weights.use * floored, 0.0),
        "frame": weights.frame * by_chunk(signals.frames, candidates),
        "caller": weights.caller * by_chunk(signals.callers, candidates) * factor,
    }


def by_chunk(scores: Mapping[int, float], candidates: Candidates) -> Floats:
    """Return what is said of single chunks, 0 for the others."""
    values: Floats = np.zeros(len(candidates.fused))
    if scores:
        values[candidates.fused.places(list(scores))] = list(scores.values())
    return values


def best_of(values: Floats, place: Ints, like: Floats) -> Floats:
    """Return the largest value of each place, 0 where there is none."""
    best: Floats = np.zeros(len(like))
    np.maximum.at(best, place, values)
    return best


def largest(values: Floats, file: Ints, count: int) -> Floats:
    """Return the largest value of each file."""
    best: Floats = np.zeros(count)
    np.maximum.at(best, file, values)
    return best


def join(found: Bits, file: Ints, count: int) -> Bits:
    """Return what the candidates of each file hold together."""
    joined: Bits = np.zeros(count, dtype=np.int64)
    np.bitwise_or.at(joined, file, found)
    return joined


def find_leaders(score: Floats, ids: Ints, file: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return whether each chunk is the best of its file; of equals the smallest id."""
    order = np.lexsort((ids, -score))
    _, first = np.unique(file[order], return_index=True)
    leads = np.zeros(len(score), dtype=np.bool_)
    leads[order[first]] = True
    return leads


def coherence(fused: Floats, file: Ints, count: int) -> Floats:
    """Return each file's sum of fused scores, scaled to a best of 1."""
    sums: Floats = np.bincount(file, weights=fused, minlength=count).astype(np.float64)
    best = float(sums.max(initial=0.0))
    return sums / best if best else sums


def vector_depth(nearest: RankedList | None, candidates: Candidates) -> Floats:
    """Return how near each file's three nearest chunks are: mean cosine, the last candidate being 0, the first 1."""
    if not nearest:
        return np.zeros(len(candidates.files))
    low, high = float(nearest.scores[-1]), float(nearest.scores[0])
    files = candidates.file[candidates.fused.places(nearest.ids)]
    speak = earlier_of_group(files) < FILE_DEPTH
    depth = np.bincount(files[speak], nearest.scores[speak] - low, len(candidates.files)).astype(np.float64)
    return depth / (FILE_DEPTH * (high - low or 1.0))


def votes_of(votes: Mapping[FileKey, float], files: Sequence[FileRow]) -> Floats:
    """Return the votes for each file."""
    return np.array([votes.get(file_key(file), 0.0) for file in files]) if votes else np.zeros(len(files))


def saturate(score: Floats, ids: Ints, file: Ints, saturation: float) -> Floats:
    """Return the factor of each chunk: each further one of a file counts half, half again, ..."""
    order = np.lexsort((ids, -score))
    earlier = np.zeros(len(score), dtype=np.int64)
    earlier[order] = earlier_of_group(file[order])
    factors: Floats = np.power(float(saturation), earlier, dtype=np.float64)
    return factors


def is_one_of(values: np.ndarray[Any, Any], wanted: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which values are among a few ascending ones."""
    if not wanted:
        return np.zeros(len(values), dtype=np.bool_)
    among = np.array(wanted, dtype=values.dtype)
    found: np.ndarray[Any, np.dtype[np.bool_]] = (
        among[np.minimum(np.searchsorted(among, values), len(among) - 1)] == values
    )
    return found


def earlier_of_group(groups: Ints) -> Ints:
    """Return, for each place of a column, how many places before it hold the same value."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.searchsorted(ordered, ordered)  # where each value begins
    earlier: Ints = np.zeros(len(groups), dtype=np.int64)
    earlier[order] = np.arange(len(groups)) - starts
    return earlier
