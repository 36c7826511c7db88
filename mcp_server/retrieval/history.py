"""The history retriever: files of similar older commits vote.

Every commit of the indexed head's history is a document of its own. The commits nearest to the query, by words and by
vector, each spread their similarity over the files that they touched: the less similar, the older and the larger the
commit, the less each of its files gets. Beside them stand the profiles of the files (`profiles.py`): what all commits
together say of each. Commits newer than the indexed head are not in the generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from ingest.index.rows import FileRow
from ingest.model import HISTORY_SUFFIX, RENAME_LINK, Chunk, Filters
from mcp_server.retrieval.candidates import RankedList, rank_candidates
from mcp_server.retrieval.features import FileKey, file_key
from mcp_server.retrieval.profiles import COMMIT_FIELDS, MAX_FILES, profile_files, touched_paths
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index

COMMITS = 100  # that vote
SHARPNESS = 4  # power of the similarity: the nearest few decide
HALF_LIFE_YEARS = 3.0
TOUCHED_SHARE = 0.5  # a vote is divided by the number of touched files to this power
VECTOR_SHARE = 1.0  # weight of the vector side beside the words
PROFILE_SHARE = 1.5  # of what all commits together say of a file, beside the votes
NEW_FILES = 10  # best voted files that become candidates of their own
RENAME_HOPS = 4
SECONDS_PER_YEAR = 31_557_600.0


def retrieve_history(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Return the first chunk of each file that similar commits touched; its score is the file's votes and its profile.

    Both are scaled by the cosine of the nearest commit: a question that resembles no change gets weak votes.
    Raises VectorUnavailable or EmbedderMismatch.
    """
    commits = replace(filters, sources=filters.history, kinds=frozenset({"commit"}), path_glob="", language="")
    if not filters.history or not index.chunk_count(commits):
        return rank_candidates("history", [])
    similar, nearest = similar_commits(index, query, commits)
    voted = first_chunks(index, count_votes(similar), filters, commits, weights.history_files)
    # A question asks how things are: what was said of changes counts little for it, and is not worth the time.
    profiles = {} if query.is_question else profile_files(index, query, filters, commits)
    told = first_chunks(index, profiles, filters, commits, weights.history_files)
    scored = {i: voted.get(i, 0.0) + PROFILE_SHARE * told.get(i, 0.0) for i in {*voted, *told}}
    return rank_candidates("history", [(chunk_id, nearest * score, "") for chunk_id, score in scored.items()])


def first_chunks(
    index: Index, votes: Mapping[FileKey, float], filters: Filters, commits: Filters, limit: int
) -> dict[int, float]:
    """Return the first chunk of each of the best files that are there, with its votes; the best has 1."""
    scored: dict[int, float] = {}
    for (source, path), vote in best_first(votes)[: 2 * limit]:
        chunk = first_chunk(index, source, path, filters, commits)
        if chunk is not None:
            scored[chunk.id] = scored.get(chunk.id, 0.0) + vote
    top = max(scored.values(), default=0.0) or 1.0
    ranked = sorted(scored.items(), key=lambda item: (-item[1], item[0]))
    return {chunk_id: vote / top for chunk_id, vote in ranked[:limit]}


class Commit(NamedTuple):
    """A commit that votes: what it changed, and how near it is to the query, 0..1."""

    file: FileRow
    links: Sequence[str]
    similarity: float


def similar_commits(index: Index, query: ParsedQuery, commits: Filters) -> tuple[list[Commit], float]:
    """Return the commits nearest to the query with their similarity, best 1, and the highest cosine of all."""
    terms = [(term.token, term.weight) for term in query.terms]
    by_words = index.search_text(terms, commits, 2 * COMMITS, COMMIT_FIELDS).by_id()
    by_vector = index.search_vector(query.text, commits, 2 * COMMITS).by_id()
    words_top = max(by_words.values(), default=0.0) or 1.0
    nearest, last = max(by_vector.values(), default=0.0), min(by_vector.values(), default=0.0)
    similarity = {
        chunk_id: by_words.get(chunk_id, 0.0) / words_top
        + VECTOR_SHARE * (by_vector.get(chunk_id, last) - last) / (nearest - last or 1.0)
        for chunk_id in {*by_words, *by_vector}
    }
    best = sorted(similarity, key=lambda chunk_id: (-similarity[chunk_id], chunk_id))[:COMMITS]
    top = (similarity[best[0]] if best else 0.0) or 1.0
    rows = index.rows(best)
    voting = [Commit(file, rows.links(at), similarity[best[at]] / top) for at, file in enumerate(rows.files)]
    return voting, max(0.0, nearest)


def count_votes(commits: Sequence[Commit]) -> dict[FileKey, float]:
    """Return each touched file's votes: similarity ^ 4 x age decay / sqrt(files), one voice a commit."""
    newest = max((commit.file.created_at for commit in commits), default="")
    votes: dict[FileKey, float] = {}
    seen: set[FileKey] = set()
    for commit in commits:
        paths = touched_paths(commit.links)
        if file_key(commit.file) in seen or not 0 < len(paths) <= MAX_FILES:
            continue
        seen.add(file_key(commit.file))
        decay = 0.5 ** (years_between(commit.file.created_at, newest) / HALF_LIFE_YEARS)
        vote = commit.similarity**SHARPNESS * decay / len(paths) ** TOUCHED_SHARE
        for path in paths:
            key = (commit.file.source.removesuffix(HISTORY_SUFFIX), path)
            votes[key] = votes.get(key, 0.0) + vote
    return votes


def years_between(earlier: str, later: str) -> float:
    """Return the years between two ISO 8601 times, 0 where one is missing or they are in the other order."""
    if not earlier or not later:
        return 0.0
    seconds = (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    return max(0.0, seconds / SECONDS_PER_YEAR)


def best_first(votes: Mapping[FileKey, float]) -> list[tuple[FileKey, float]]:
    """Return files by votes, then name."""
    return sorted(votes.items(), key=lambda item: (-item[1], item[0]))


def first_chunk(index: Index, source: str, path: str, filters: Filters, commits: Filters) -> Chunk | None:
    """Return the first chunk of a file, under its present name if it was renamed since."""
    for _ in range(RENAME_HOPS):
        chunk = index.first_chunk(source, path, filters)
        if chunk is not None:
            return chunk
        renamed = new_name(index, source, path, commits)
        if renamed is None:
            return None
        path = renamed
    return None


def new_name(index: Index, source: str, path: str, commits: Filters) -> str | None:
    """Return what the newest commit that renamed a path called it."""
    own = replace(commits, sources=commits.sources & {f"{source}{HISTORY_SUFFIX}"})
    found = index.chunks(index.linked_to(f"{RENAME_LINK}{path}", own, COMMITS))
    for commit in sorted(found, key=lambda chunk: (chunk.created_at, chunk.ref), reverse=True):
        for line in commit.text.split("\n"):
            old, arrow, new = line.partition(" -> ")
            if arrow and old == path:
                return new
    return None
