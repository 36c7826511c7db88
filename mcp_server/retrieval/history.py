"""The history retriever: files of similar older commits and tickets vote.

Every commit of the indexed head's history is a document of its own. The commits nearest to the query, by words and by
vector, each spread their similarity over the files that they touched, the nearest tickets over those that they name:
the less similar, the older and the larger the commit, the less each of its files gets. Beside them stand the profiles
of the files (`profiles.py`): what all commits together say of each. Commits newer than the indexed head are not in the
generation.
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
TICKETS = 10
RENAMES = 100  # commits that are looked at for what a path is called now
SHARPNESS = 4  # power of the similarity: the nearest few decide
HALF_LIFE_YEARS = 3.0
TOUCHED_SHARE = 0.5  # a vote is divided by the number of touched files to this power
VECTOR_SHARE = 1.0  # weight of the vector side beside the words
PROFILE_SHARE = 1.5  # of what all commits together say of a file, beside the votes
NEW_FILES = 10  # best voted files that become candidates of their own
RENAME_HOPS = 4
SECONDS_PER_YEAR = 31_557_600.0


def retrieve_history(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Return the first chunk of each file that similar commits and tickets speak for, by its votes and profile.

    What commits say is scaled by the cosine of the nearest commit, what tickets say by that of the nearest ticket: a
    question that resembles none of them gets weak votes. Raises VectorUnavailable or EmbedderMismatch.
    """
    anything = replace(filters, path_glob="", language="")
    commits = replace(anything, sources=filters.history, kinds=frozenset({"commit"}))
    tickets = replace(anything, sources=ticket_sources(index, filters), kinds=frozenset({"ticket"}))
    scored: dict[int, float] = {}
    if commits.sources and index.chunk_count(commits):
        similar, nearest = similar_voters(index, query, commits, COMMITS)
        voted = first_chunks(index, count_votes(similar), filters, commits, weights.history_files)
        add_scaled(scored, scale_to_best(voted), nearest)
        # A question asks how things are: what was said of changes counts little for it, and is not worth the time.
        profiles = {} if query.is_question else profile_files(index, query, filters, commits)
        told = first_chunks(index, profiles, filters, commits, weights.history_files)
        add_scaled(scored, scale_to_best(told), nearest * PROFILE_SHARE)
    if tickets.sources and index.chunk_count(tickets):
        similar, nearest = similar_voters(index, query, tickets, TICKETS)
        # Most tickets name no file: the best voted file need not be one that a near ticket names.
        named = {file: min(1.0, vote) for file, vote in count_votes(similar).items()}
        add_scaled(scored, first_chunks(index, named, filters, commits, weights.history_files), nearest)
    return rank_candidates("history", [(chunk_id, score, "") for chunk_id, score in scored.items()])


def add_scaled(scores: dict[int, float], more: Mapping[int, float], factor: float) -> None:
    """Add a multiple of some scores to others, in place."""
    for chunk_id, score in more.items():
        scores[chunk_id] = scores.get(chunk_id, 0.0) + factor * score


def first_chunks(
    index: Index, votes: Mapping[FileKey, float], filters: Filters, commits: Filters, limit: int
) -> dict[int, float]:
    """Return the first chunk of each of the best files that are there, with its votes."""
    scored: dict[int, float] = {}
    for (source, path), vote in best_first(votes)[: 2 * limit]:
        chunk = first_chunk(index, source, path, filters, commits)
        if chunk is not None:
            scored[chunk.id] = scored.get(chunk.id, 0.0) + vote
    return dict(sorted(scored.items(), key=lambda item: (-item[1], item[0]))[:limit])


def scale_to_best(votes: Mapping[int, float]) -> dict[int, float]:
    """Return votes of which the best is 1."""
    top = max(votes.values(), default=0.0) or 1.0
    return {chunk_id: vote / top for chunk_id, vote in votes.items()}


class Voter(NamedTuple):
    """A commit or ticket that votes: the files that it speaks for, and how near it is to the query, 0..1."""

    document: FileRow
    files: Sequence[FileKey]
    similarity: float


def ticket_sources(index: Index, filters: Filters) -> frozenset[str]:
    """Return the visible sources of tickets, asked for or not."""
    return frozenset(name for name in filters.followed | filters.sources if index.kind_of(name) == "ticket")


def similar_voters(index: Index, query: ParsedQuery, voters: Filters, most: int) -> tuple[list[Voter], float]:
    """Return the commits and tickets nearest to the query with their similarity, best 1, and the highest cosine."""
    terms = [(term.token, term.weight) for term in query.terms]
    by_words = index.search_text(terms, voters, 2 * most, COMMIT_FIELDS).by_id()
    by_vector = index.search_vector(query.text, voters, 2 * most).by_id()
    words_top = max(by_words.values(), default=0.0) or 1.0
    nearest, last = max(by_vector.values(), default=0.0), min(by_vector.values(), default=0.0)
    similarity = {
        chunk_id: by_words.get(chunk_id, 0.0) / words_top
        + VECTOR_SHARE * (by_vector.get(chunk_id, last) - last) / (nearest - last or 1.0)
        for chunk_id in {*by_words, *by_vector}
    }
    best = sorted(similarity, key=lambda chunk_id: (-similarity[chunk_id], chunk_id))[:most]
    top = (similarity[best[0]] if best else 0.0) or 1.0
    rows = index.rows(best)
    voting = [
        Voter(document, files_of(index, document, rows.links(at), voters), similarity[best[at]] / top)
        for at, document in enumerate(rows.files)
    ]
    return voting, max(0.0, nearest)


def files_of(index: Index, document: FileRow, links: Sequence[str], voters: Filters) -> list[FileKey]:
    """Return the files that a commit touched, or that a ticket names."""
    if index.kind_of(document.source) == "commit":
        return touched_files(document, links)
    product = index.product_of(document.source)
    code = replace(voters, sources=voters.followed, kinds=frozenset({"code"}), product=product)
    chunks = index.rows(index.document_ids(document.source, document.ref, voters))
    paths = dict.fromkeys(path for at in range(len(chunks.files)) for path in touched_paths(chunks.links(at)))
    return list(dict.fromkeys(file for path in paths for file in index.find_paths(path, code, 1)))


def touched_files(commit: FileRow, links: Sequence[str]) -> list[FileKey]:
    """Return the files that a commit touched."""
    return [(commit.source.removesuffix(HISTORY_SUFFIX), path) for path in touched_paths(links)]


def count_votes(voters: Sequence[Voter]) -> dict[FileKey, float]:
    """Return each file's votes: similarity ^ 4 x age decay / sqrt(files), one voice a commit or ticket."""
    newest = max((voter.document.created_at for voter in voters), default="")
    votes: dict[FileKey, float] = {}
    seen: set[FileKey] = set()
    for voter in voters:
        place = file_key(voter.document)
        if place in seen or not 0 < len(voter.files) <= MAX_FILES:
            continue
        seen.add(place)
        decay = 0.5 ** (years_between(voter.document.created_at, newest) / HALF_LIFE_YEARS)
        vote = voter.similarity**SHARPNESS * decay / len(voter.files) ** TOUCHED_SHARE
        for file in voter.files:
            votes[file] = votes.get(file, 0.0) + vote
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
    found = index.chunks(index.linked_to(f"{RENAME_LINK}{path}", own, RENAMES))
    for commit in sorted(found, key=lambda chunk: (chunk.created_at, chunk.ref), reverse=True):
        for line in commit.text.split("\n"):
            old, arrow, new = line.partition(" -> ")
            if arrow and old == path:
                return new
    return None
