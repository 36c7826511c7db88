"""What each part of the search is worth on the golden set (E15): lists alone, joined, ranked, transformed; parts off.

Every case that names files is searched again on the index that the run left, with the filters of its own request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

from golden.bench.ablation import ablations
from golden.bench.probing import Stages, opened
from golden.case import Case
from golden.metrics import TOP, RankMetrics, bootstrap, mean, rounded, score_ranking
from golden.run import name_files, principal_for
from golden.suite import Suite, open_again
from ingest.index import Index
from ingest.model import Filters
from mcp_server.config import TransformSetting
from mcp_server.results import SearchRequest
from mcp_server.retrieval import transforms
from mcp_server.retrieval.candidates import RankedList, Retriever, rank_candidates
from mcp_server.retrieval.fusion import fuse
from mcp_server.retrieval.pipeline import RETRIEVERS, adapt, list_weights, search
from mcp_server.retrieval.query import normalise_query, parse_query
from mcp_server.retrieval.weights import DEFAULT_WEIGHTS

WHOLE = "all"  # everything on: what each other way is compared with
JOINED = "lists joined"
TRANSFORMS: tuple[TransformSetting, ...] = ("multi", "hyde", "decompose")  # by rule: no model is asked
CLOSE = 5

Files = list[str]
Ways = Iterator[tuple[str, Files]]  # name of a way, and the first ten distinct files that it finds


@dataclass(frozen=True, slots=True)
class Worth:
    """One way to search over all cases that name files, beside everything on."""

    name: str
    kind: str  # list, stage, transform or without
    cases: int
    ndcg: float
    recall5: float
    loss: float  # NDCG@10 of everything on minus this
    low: float  # of its 95 % interval over the cases
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        values = asdict(self)
        return {**values, **rounded({name: value for name, value in values.items() if isinstance(value, float)})}

    def __str__(self) -> str:
        loss = f"{self.loss:+.3f} ({self.low:+.3f} to {self.high:+.3f})" if self.name != WHOLE else ""
        return f"{self.name:34} {self.ndcg:6.3f} {self.recall5:6.3f}  {loss}".rstrip()


def measure_worth(suite: Suite, cases: Sequence[Case]) -> list[Worth]:
    """Search the cases of a run again in every way; lists alone first, then what costs most when it is off."""
    found: dict[tuple[str, str], dict[str, Files]] = {}
    wanted = {case.id: case for case in cases if case.expect.cites}
    for service, asked in open_again(suite, list(wanted.values())):
        with opened(service) as index:
            for case in asked:
                request = SearchRequest(case.query, sources=case.sources, product=case.product)
                filters = service.filters(index, principal_for(service, case), request)
                for kind, ways in search_all_ways(index, case, filters):
                    for name, files in ways:
                        found.setdefault((kind, name), {})[case.id] = files
    return list(weigh(found, wanted))


def search_all_ways(index: Index, case: Case, filters: Filters) -> Iterator[tuple[str, Ways]]:
    """Yield what each kind of way finds for a case."""
    stages = Stages()
    retrieval = search(index, case.query, filters, stages)
    yield "list", lists_alone(index, case, stages)
    yield "stage", stages_on(index, case, stages, [(file.source, file.path) for file in retrieval.files if file.path])
    yield "transform", transformed(index, case, filters)
    yield "without", parts_off(index, case, filters)


def lists_alone(index: Index, case: Case, stages: Stages) -> Ways:
    """Yield the files of each retriever's own list."""
    for name in RETRIEVERS:
        yield f"{name} alone", files_of(index, case, stages.chunk_ids(f"search.{name}"))


def stages_on(index: Index, case: Case, stages: Stages, ranked: Sequence[tuple[str, str]]) -> Ways:
    """Yield the files of the lists joined, and of the final ranking."""
    query = parse_query(normalise_query(case.query))
    weights = adapt(DEFAULT_WEIGHTS, query)
    fused = fuse(candidates_of(stages), list_weights(query, weights), weights.rrf_k, weights.candidates)
    yield JOINED, files_of(index, case, fused.ids[fused.scores > 0].tolist())
    yield WHOLE, name_files(case.expect, ranked)


def candidates_of(stages: Stages) -> Mapping[str, RankedList]:
    """Return the lists of one search as they were recorded."""
    rows = {name: stages.stages[f"search.{name}"].output for name in RETRIEVERS if f"search.{name}" in stages.stages}
    return {
        name: rank_candidates(cast(Retriever, name), [(int(row[0]), float(row[1]), "") for row in output or ()])
        for name, output in rows.items()
    }


def transformed(index: Index, case: Case, filters: Filters) -> Ways:
    """Yield the files with each transform by rule."""
    for name in TRANSFORMS:
        found = transforms.retrieve(index, case.query, filters, Stages(), False, 5 * TOP, transform=name)
        files = [(ranked.chunk.source, ranked.chunk.path) for ranked in found.chunks]
        yield f"with {name}", name_files(case.expect, [(source, path) for source, path in files if path])


def parts_off(index: Index, case: Case, filters: Filters) -> Ways:
    """Yield the files with each retriever and each feature off."""
    for name, weights in ablations():
        files = search(index, case.query, filters, Stages(), weights=weights).files
        yield f"without {name}", name_files(case.expect, [(file.source, file.path) for file in files if file.path])


def files_of(index: Index, case: Case, chunk_ids: Sequence[int]) -> Files:
    """Return the first ten distinct files of some chunks."""
    files = index.rows(list(chunk_ids)).files
    return name_files(case.expect, [(file.source, file.path) for file in files if file.path])


def weigh(found: Mapping[tuple[str, str], Mapping[str, Files]], cases: Mapping[str, Case]) -> Iterator[Worth]:
    """Yield the figures of each way: in the order of the kinds, and the dearest of the parts that were off first."""
    whole = scores(found["stage", WHOLE], cases) if found else {}
    rows = [judge_way(kind, name, scores(files, cases), whole) for (kind, name), files in found.items()]
    yield from (row for row in rows if row.kind != "without")
    yield from sorted((row for row in rows if row.kind == "without"), key=lambda row: (-row.loss, row.name))


def scores(found: Mapping[str, Files], cases: Mapping[str, Case]) -> dict[str, tuple[RankMetrics, float]]:
    """Return the ranking of each case with its recall@5."""
    close: Callable[[str], float] = partial(recall_close, found=found, cases=cases)
    return {name: (score_ranking(cases[name].expect.cites, files), close(name)) for name, files in found.items()}


def recall_close(name: str, found: Mapping[str, Files], cases: Mapping[str, Case]) -> float:
    """Return the share of a case's files among the first five."""
    wanted = set(cases[name].expect.cites)
    return len(wanted.intersection(found[name][:CLOSE])) / len(wanted)


def judge_way(
    kind: str,
    name: str,
    own: Mapping[str, tuple[RankMetrics, float]],
    whole: Mapping[str, tuple[RankMetrics, float]],
) -> Worth:
    """Return one way beside everything on; over the same cases."""
    losses = [whole[case][0].ndcg - ranking.ndcg for case, (ranking, _) in own.items()]
    low, high = bootstrap(losses)
    ndcg, recall = (mean(values) for values in zip(*((r.ndcg, close) for r, close in own.values()), strict=True))
    return Worth(name, kind, len(own), ndcg, recall, mean(losses), low, high)


def render_worth(rows: Sequence[Worth]) -> list[str]:
    """Return the table as lines."""
    title = f"{'':34} {'ndcg10':>6} {'rec@5':>6}  loss against all (95 %)"
    return (
        [f"{'what each part is worth, over ' + str(rows[0].cases) + ' cases'}", title, *map(str, rows)] if rows else []
    )


def weak_lists(rows: Sequence[Worth]) -> Iterator[str]:
    """Yield a sentence for each list that alone is as good as everything together (E15)."""
    whole = next((row for row in rows if row.name == WHOLE), None)
    for row in rows:
        if whole and row.kind == "list" and not whole.ndcg > row.ndcg:
            yield f"{row.name} has NDCG@10 {row.ndcg:.3f}, everything together {whole.ndcg:.3f}"
