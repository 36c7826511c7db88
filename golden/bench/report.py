"""What `bench search` found, as values, as JSON and as tables for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from golden.bench.ablation import Ablated
from golden.bench.blame import Bad, count_stages
from golden.bench.comparison import Difference
from golden.bench.economy import BUDGETS, Economy
from golden.bench.questions import Question
from golden.machine import MachineFacts
from golden.metrics import NAMES, RankMetrics, rounded

QUERY_CHARS = 90


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with what was found: the first ten distinct files, relative to the repository."""

    question: Question
    paths: tuple[str, ...]
    duration_ms: float  # of one warm `search_code` of eight hits, in process


@dataclass(frozen=True, slots=True)
class Group:
    """Mean metrics of one group of answerable questions."""

    by: str
    name: str
    n: int
    metrics: RankMetrics

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {"by": self.by, "name": self.name, "n": self.n, **rounded(asdict(self.metrics))}


@dataclass(frozen=True, slots=True)
class RivalReport:
    """What a rival reached on the same questions; differences are ours minus theirs."""

    name: str
    label: str
    failure: str = ""
    groups: tuple[Group, ...] = ()
    differences: tuple[Difference, ...] = ()
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    p50_ms: float = nan  # as the rival measures itself
    p95_ms: float = nan
    index_s: float = nan

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "name": self.name,
            "label": self.label,
            "failure": self.failure,
            "groups": [group.to_dict() for group in self.groups],
            "differences": [difference_to_dict(item) for item in self.differences],
            "latency_ms": rounded({"p50": self.p50_ms, "p95": self.p95_ms}, 2),
            "index_s": rounded({"s": self.index_s}, 1)["s"],
        }


@dataclass(frozen=True, slots=True)
class VariantRun:
    """All figures of one variant."""

    variant: str
    asked: tuple[Asked, ...]
    groups: tuple[Group, ...]
    rivals: tuple[RivalReport, ...]
    economies: tuple[Economy, ...]
    ablated: tuple[Ablated, ...]
    worst: tuple[Bad, ...]
    p50_ms: float
    p95_ms: float
    index_s: float  # for the corpora that were not indexed yet
    embedder: str

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "variant": self.variant,
            "groups": [group.to_dict() for group in self.groups],
            "rivals": [rival.to_dict() for rival in self.rivals],
            "tokens": [economy.to_dict() for economy in self.economies],
            "ablated": [
                {"off": item.name, "differences": [difference_to_dict(d) for d in item.differences]}
                for item in self.ablated
            ],
            "worst": [bad_to_dict(bad) for bad in self.worst],
            "blame": count_stages(self.worst),
            "unanswerable": sum(1 for a in self.asked if not a.question.gold),
            "empty_when_unanswerable": sum(1 for a in self.asked if not a.question.gold and not a.paths),
            "latency_ms": rounded({"p50": self.p50_ms, "p95": self.p95_ms}, 2),
            "index_s": round(self.index_s, 1),
            "embedder": self.embedder,
        }

    def __str__(self) -> str:
        blocks = [
            [f"== {self.variant} =="],
            quality_lines(self.groups),
            self.speed_lines(),
            economy_lines(self.economies),
            *(rival_lines(rival) for rival in self.rivals),
            ablation_lines(self.ablated),
            worst_lines(self.worst),
        ]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def speed_lines(self) -> list[str]:
        """Return times and embedder in a line."""
        asking = f"search_code in process: p50 {self.p50_ms:.1f} ms, p95 {self.p95_ms:.1f} ms"
        return [f"{asking}; embedder: {self.embedder or 'none'}; indexing this time: {self.index_s:.1f} s"]


@dataclass(frozen=True, slots=True)
class SearchBench:
    """Result of `bench search`: one run per variant."""

    runs: tuple[VariantRun, ...]
    machine: MachineFacts
    between: Mapping[str, tuple[Difference, ...]] = field(default_factory=dict)  # later variant minus the first one

    def prediction_files(self, file: Path) -> dict[Path, str]:
        """Return what to write where: one file per variant and rival, named after `file` where there are several."""
        found: dict[Path, str] = {}
        for run in self.runs:
            variant = f".{run.variant}" if len(self.runs) > 1 else ""
            tables = {"": {asked.question.id: asked.paths for asked in run.asked}}
            tables |= {f".{rival.name}": dict(rival.answers) for rival in run.rivals if not rival.failure}
            for rival_name, paths in tables.items():
                lines = [json.dumps({"id": i, "paths": list(p)}) + "\n" for i, p in paths.items()]
                found[file.with_name(f"{file.stem}{variant}{rival_name}{file.suffix}")] = "".join(lines)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        between = {name: [difference_to_dict(item) for item in items] for name, items in self.between.items()}
        return {"runs": [run.to_dict() for run in self.runs], "between": between, "machine": asdict(self.machine)}

    def __str__(self) -> str:
        pairs = ["\n".join(difference_lines(items, name)) for name, items in self.between.items()]
        return "\n\n".join([*map(str, self.runs), *pairs, str(self.machine)])


def difference_to_dict(item: Difference) -> dict[str, Any]:
    """Return a paired difference as JSON values."""
    values = {"ours": item.ours, "theirs": item.theirs, "difference": item.mean, "low": item.low, "high": item.high}
    return {"by": item.by, "name": item.name, "metric": item.metric, "n": item.n, **rounded(values)}


def bad_to_dict(bad: Bad) -> dict[str, Any]:
    """Return one of the worst questions as JSON values."""
    return {
        "id": bad.question.id,
        "query": bad.question.query,
        "ndcg": round(bad.ndcg, 4),
        "found": list(bad.first),
        "blame": [asdict(item) for item in bad.blamed],
    }


def quality_lines(groups: Sequence[Group]) -> list[str]:
    """Return the table of metrics per group."""
    lines = [" " * 24 + f"{'n':>6}" + "".join(f"{name:>9}" for name in ("ndcg@10", *NAMES[1:]))]
    for by in dict.fromkeys(group.by for group in groups):
        lines += [f"by {by}"] if by != "all" else []
        lines += [group_line(group) for group in groups if group.by == by]
    return lines


def group_line(group: Group) -> str:
    """Return one row of the table."""
    return f"{group.name:24.24}{group.n:6d}" + "".join(f"{getattr(group.metrics, name):9.3f}" for name in NAMES)


def economy_lines(economies: Sequence[Economy]) -> list[str]:
    """Return the table of tokens per reader."""
    recalls = "".join(f"{f'recall {budget}':>13}" for budget in BUDGETS)
    lines = [f"{'tokens (4 characters = 1)':36}{'1st call':>10}{'p95':>8}{'to right file':>15}{'never':>8}{recalls}"]
    for item in economies:
        recall = "".join(f"{item.recall[budget]:13.3f}" for budget in BUDGETS)
        paid = f"{item.first_page:10.0f}{item.first_page_p95:8.0f}{item.to_first:15.0f}{item.never:8.1%}"
        lines.append(f"{item.reader:36.36}{paid}{recall}")
    return lines


def rival_lines(rival: RivalReport) -> list[str]:
    """Return a rival's metrics and the paired differences."""
    head = f"rival {rival.name}: {rival.label or 'did not start'}"
    if rival.failure:
        return [head, f"  no figures: {rival.failure}"]
    time = f"index {rival.index_s:.1f} s, query p50 {rival.p50_ms:.1f} ms, p95 {rival.p95_ms:.1f} ms by its own clock"
    overall = [group_line(group) for group in rival.groups if group.by == "all"]
    return [head, f"  {time}", *overall, *difference_lines(rival.differences)]


def difference_lines(differences: Sequence[Difference], title: str = "ours - theirs") -> list[str]:
    """Return the table of paired differences of two sides; a star marks an interval without zero."""
    one, _, other = title.partition(" - ")
    lines = [f"{title:32}{'n':>6}{one:>15.14}{other:>15.14}{'diff':>9}   95 % interval"]
    for item in differences:
        name = f"{item.name} {item.metric}" if item.by == "all" else item.name
        interval = f"[{item.low:+.3f}, {item.high:+.3f}]{' *' if item.is_clear else ''}"
        lines.append(f"{name:32.32}{item.n:6d}{item.ours:15.3f}{item.theirs:15.3f}{item.mean:+9.3f}   {interval}")
    return lines


def ablation_lines(ablated: Sequence[Ablated]) -> list[str]:
    """Return the table of what each thing is worth in NDCG@10, overall and per bucket."""
    if not ablated:
        return []
    lines = [f"{'off':32}{'ndcg@10':>9}{'loss':>9}   95 % interval        loss per bucket"]
    for item in ablated:
        overall, *_ = item.differences
        buckets = "  ".join(f"{d.name} {d.mean:+.3f}" for d in item.differences if d.by == "bucket")
        interval = f"[{overall.low:+.3f}, {overall.high:+.3f}]{' *' if overall.is_clear else '  '}"
        lines.append(f"{item.name:32.32}{overall.theirs:9.3f}{overall.mean:+9.3f}   {interval}   {buckets}")
    return lines


def worst_lines(worst: Sequence[Bad]) -> list[str]:
    """Return the worst questions, each right file with the stage that lost it."""
    if not worst:
        return []
    counts = ", ".join(f"{stage} {count}" for stage, count in count_stages(worst).items())
    lines = [f"worst {len(worst)} questions; right files by the stage to blame: {counts}"]
    for bad in worst:
        lines.append(f"{bad.ndcg:.3f} {bad.question.id}  {' '.join(bad.question.query.split())[:QUERY_CHARS]}")
        lines.append(f"      found: {', '.join(bad.first) or 'nothing'}")
        for item in bad.blamed:
            ranks = f"retrieved {item.retrieved or '-'}, fused {item.fused or '-'}, ranked {item.ranked or '-'}"
            lines.append(f"      {item.stage or 'nothing lost'}: {item.path} ({ranks})")
    return lines
