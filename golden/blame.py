"""What the stages of one answer recorded about the right places, and the stage to blame for a miss (D3, A3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from golden.case import Expect
from ingest.index import Index
from ingest.model import Filters
from traces.model import RETRIEVERS, Span, Trace

Stage = Literal["access", "retrieval", "ranking", "context", "answer", "abstention", "freshness", ""]
STAGES: tuple[Stage, ...] = ("access", "retrieval", "ranking", "context", "answer", "abstention", "freshness")


@dataclass(frozen=True, slots=True)
class Targets:
    """The chunks that a case wants, and what it names that the index does not hold."""

    chunk_ids: frozenset[int] = frozenset()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the wanted chunks stood in each stage of the answer. Ranks from 1, 0 = not there."""

    ranks: Mapping[str, int] = field(default_factory=dict)  # retriever, fusion, rerank, context
    outputs: Mapping[str, int] = field(default_factory=dict)  # stage -> entries in its output
    context_tokens: int = 0
    repeats: int = 0  # chunks of the context whose text another one has as well
    zone: str = ""  # answer, warn or abstain

    @property
    def retrieved(self) -> int:
        """Best rank in any retriever's list."""
        return min((rank for name, rank in self.ranks.items() if name in RETRIEVERS and rank), default=0)


def present_names(index: Index, names: Iterable[str], filters: Filters) -> dict[str, str]:
    """Return what those files are called now that are not there any more, as far as the index saw them move."""
    present = {}
    for name in dict.fromkeys(names):
        if file_chunks(index, name, filters):
            continue
        source, _, path = name.rpartition(":")
        for one in [source] if source else sorted(filters.sources):
            if moved := index.moved_to(one, path, filters):
                present[name] = f"{one}:{moved}"
                break
    return present


def targets_of(index: Index, expect: Expect, filters: Filters) -> Targets:
    """Return the chunks of the files and tickets that are expected."""
    ids: set[int] = set()
    missing: list[str] = []
    for name in expect.cites:
        found = file_chunks(index, name, filters)
        ids.update(found)
        missing += [] if found else [name]
    for key in expect.tickets:
        keyed = index.find_keys(key, filters)
        ids.update(keyed)
        missing += [] if keyed else [key]
    missing += [name for name in expect.stale if not file_chunks(index, name, filters)]
    return Targets(frozenset(ids), tuple(dict.fromkeys(missing)))


def file_chunks(index: Index, name: str, filters: Filters) -> list[int]:
    """Return the chunks of a file that is written as `path` or `source:path`."""
    source, _, path = name.rpartition(":")
    names = [source] if source else sorted(filters.sources)
    return [chunk.id for one in names for chunk in index.document_chunks(one, path, filters)]


def read_stages(trace: Trace, index: Index, wanted: Collection[int]) -> Stages:
    """Return what a trace says of the wanted chunks; texts that its context has twice are looked up in the index."""
    rows = [row for span in trace.spans if span.name == "context" for row in rows_of(span)]
    return replace(read_rows(trace, wanted), repeats=count_repeats(index, rows))


def read_rows(trace: Trace, wanted: Collection[int]) -> Stages:
    """Return what a trace alone says of the wanted chunks."""
    ranks: dict[str, int] = {}
    outputs: dict[str, int] = {}
    tokens, zone = 0, ""
    for span in trace.spans:
        rows = rows_of(span)
        outputs[span.name] = span.n_out if span.n_out is not None else len(rows)
        if span.name in (*RETRIEVERS, "fusion", "rerank", "context"):
            ranks[span.name] = best_rank(rows, wanted)
        if span.name == "context":
            tokens = sum(int(row[2]["tokens"]) for row in rows)
        if span.name == "coverage":
            zone = zone_of(span)
    return Stages(ranks, outputs, tokens, zone=zone)


def rows_of(span: Span) -> Sequence[Any]:
    """Return the rows that a stage put out, none where it put out something else."""
    return span.output if isinstance(span.output, list | tuple) else ()


def best_rank(rows: Sequence[Any], wanted: Collection[int]) -> int:
    """Return the first rank of a wanted chunk in recorded rows; 0 if there is none."""
    return next((rank for rank, row in enumerate(rows, 1) if row[0] in wanted), 0)


def count_repeats(index: Index, rows: Sequence[Any]) -> int:
    """Return how many chunks of a context have a text that an earlier one has."""
    texts = [chunk.text_hash for chunk in index.chunks([int(row[0]) for row in rows])]
    return len(texts) - len(set(texts))


def zone_of(span: Span) -> str:
    """Return the decision that was recorded."""
    return str(span.output.get("zone", "")) if isinstance(span.output, Mapping) else ""


def blame_miss(stages: Stages) -> Stage:
    """Return the stage that lost the right place of an answerable question that was not answered from it."""
    if not stages.retrieved:
        return "retrieval"
    if not stages.ranks.get("rerank"):
        return "ranking"
    if not stages.ranks.get("context"):
        return "abstention" if "context" not in stages.ranks else "context"
    return "abstention" if stages.zone == "abstain" else "answer"


def count_blame(blamed: Sequence[Stage]) -> dict[str, int]:
    """Return how often each stage is to blame, in the order of the stages."""
    counts: Counter[Stage] = Counter(blamed)
    return {stage: counts[stage] for stage in STAGES if counts[stage]}
