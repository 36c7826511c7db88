"""The worst questions, and for each right file the stage that lost it, from what the stages of the search recorded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from golden.bench.probing import Probe
from golden.bench.questions import Question
from golden.metrics import TOP
from mcp_server.retrieval.context import pack_context

RETRIEVER_SPAN = "search."
CONTEXT_HITS = 20  # ranked chunks that an answer's context is packed from

NOT_INDEXED = "not indexed"
NOT_RETRIEVED = "not retrieved"  # in no retriever's candidates
STAGES = ("retrieved low", "lost in fusion", "lost in rerank", "lost in context")


@dataclass(frozen=True, slots=True)
class Blamed:
    """Where one right file of one question was lost. Ranks count distinct files; 0 = not in the recorded list."""

    path: str
    stage: str  # "" = nothing lost
    retrieved: int  # best rank in any retriever's list
    fused: int
    ranked: int
    in_context: bool


@dataclass(frozen=True, slots=True)
class Bad:
    """One of the worst questions."""

    question: Question
    ndcg: float
    first: tuple[str, ...]  # what was found in its place
    blamed: tuple[Blamed, ...]


def blame(found: Probe, question: Question, prefix: str, budget_tokens: int) -> list[Blamed]:
    """Return, per right file, the stage that cost it most."""
    names = [name for name in found.stages.stages if name.startswith(RETRIEVER_SPAN)]
    lists = [file_ranks(found, found.stages.chunk_ids(name), prefix) for name in names]
    fused = file_ranks(found, found.stages.chunk_ids("fusion"), prefix)
    ranked = {path: rank for rank, path in enumerate(found.paths(prefix), 1)}
    context = pack_context(found.retrieval.chunks[:CONTEXT_HITS], budget_tokens)
    kept = {f"{prefix}{hit.chunk.path}" for hit in context.kept}
    return [
        blame_file(
            Blamed(
                path=path,
                stage="" if is_indexed(found, path.removeprefix(prefix)) else NOT_INDEXED,
                retrieved=min((ranks[path] for ranks in lists if path in ranks), default=0),
                fused=fused.get(path, 0),
                ranked=ranked.get(path, 0),
                in_context=path in kept,
            ),
            len(question.wanted),
        )
        for path in question.wanted
    ]


def blame_file(item: Blamed, wanted: int) -> Blamed:
    """Return the file with the stage that lost most gain, 1 / log2(rank + 1), the earliest of equals.

    A file that stands as far in front as all `wanted` files can and is in the context has lost nothing.
    """
    if item.stage:
        return item
    if not item.retrieved:
        return replace(item, stage=NOT_RETRIEVED)
    if 0 < item.ranked <= wanted:
        return replace(item, stage="" if item.in_context else STAGES[-1])
    ranked = gain(item.ranked)
    gains = [1.0, gain(item.retrieved), gain(item.fused), ranked, ranked if item.in_context else 0.0]
    losses = [before - after for before, after in pairwise(gains)]
    return replace(item, stage=STAGES[losses.index(max(losses))])


def gain(rank: int) -> float:
    """Return what a rank is worth in NDCG@10; 0 = no rank."""
    return 1 / math.log2(rank + 1) if 0 < rank <= TOP else 0.0


def file_ranks(found: Probe, chunk_ids: Sequence[int], prefix: str) -> dict[str, int]:
    """Return the rank of each distinct file in a list of chunks."""
    paths = [chunk.path for chunk in found.index.chunks(chunk_ids) if chunk.path]
    return {f"{prefix}{path}": rank for rank, path in enumerate(dict.fromkeys(paths), 1)}


def is_indexed(found: Probe, path: str) -> bool:
    """Tell whether the index holds a file of exactly this path."""
    return any(found.index.document_chunks(source, path, found.filters) for source in sorted(found.filters.sources))


def count_stages(bad: Sequence[Bad]) -> dict[str, int]:
    """Return how often each stage is to blame, most often first."""
    counts = Counter(item.stage for case in bad for item in case.blamed if item.stage)
    return dict(counts.most_common())
