"""Age: an older ticket or design counts a little less, one that has expired is left out unless it is asked for by key.

Age is counted from the newest ticket or design among the candidates, not from today: what an old project says is not
worth less beside its code. A time after today is a clock that is ahead, and makes nothing else older.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ingest.index.rows import FileRow
from ingest.model import Filters
from mcp_server.retrieval.candidates import RankedList
from mcp_server.retrieval.features import FileKey, Floats, file_key
from mcp_server.retrieval.history import SECONDS_PER_YEAR, years_between
from mcp_server.retrieval.links import BY_KEY
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index

DAYS_PER_YEAR = SECONDS_PER_YEAR / 86_400
ROOM = 2  # times as many candidates are looked at where some will be left out
SHOWN = 3


def age_factors(files: Sequence[FileRow], filters: Filters, weights: RankWeights) -> Floats:
    """Return the factor of each document: 1 for the newest, near `oldest_factor` for one far older."""
    half_lives = {item.source: item.half_life_days / DAYS_PER_YEAR for item in filters.ageing}
    times = [file.changed_at for file in files if file.source in half_lives]
    newest = max((time for time in times if time[:10] <= filters.today), default="")
    factors: Floats = np.ones(len(files))
    for at, file in enumerate(files) if newest else ():
        half_life = half_lives.get(file.source, 0.0)
        if half_life:
            left = 0.5 ** (years_between(file.changed_at, newest) / half_life)
            factors[at] = weights.oldest_factor + (1.0 - weights.oldest_factor) * left
    return factors


def make_room(weights: RankWeights, expired: Mapping[FileKey, str]) -> RankWeights:
    """Return weights with which enough is left when expired documents are left out."""
    return replace(weights, depth=weights.depth * ROOM) if expired else weights


def leave_out(
    index: Index, lists: dict[str, RankedList], expired: Mapping[FileKey, str]
) -> tuple[dict[str, RankedList], dict[int, FileRow]]:
    """Return the candidates without those that have expired, ranked anew, and the chunks that were left out.

    What was asked for by its key stays.
    """
    if not expired:
        return lists, {}
    asked = {candidate.chunk_id for candidate in lists.get("link", ()) if candidate.how == BY_KEY}
    ids = list(dict.fromkeys(chunk_id for candidates in lists.values() for chunk_id in candidates.ids.tolist()))
    files = zip(ids, index.rows(ids).files, strict=True)
    gone = {i: file for i, file in files if file_key(file) in expired and i not in asked}
    return {name: candidates.without(gone) for name, candidates in lists.items()}, gone


def notes_on_expired(
    left_out: Iterable[FileRow], shown: Iterable[FileRow], expired: Mapping[FileKey, str]
) -> Iterator[str]:
    """Yield what whoever asked should know: what was left out, and what is shown though it has expired."""
    names = list(dict.fromkeys(name_expired(file, expired) for file in left_out))
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"Left out because it has expired: {', '.join(names[:SHOWN])}{more}. Ask for one by its key to see it."
    for name in dict.fromkeys(name_expired(file, expired) for file in shown if file_key(file) in expired):
        yield f"{name} has expired: what it says may no longer hold."


def name_expired(file: FileRow, expired: Mapping[FileKey, str]) -> str:
    """Return what a document is called and on which day it expired."""
    return f"{file.key or file.ref} ({expired[file_key(file)]})"
