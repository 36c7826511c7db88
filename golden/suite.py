"""A suite: cases, their corpora, floors and baseline. The shipped one, or a team's own beside its repository."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import prompts
from golden.baseline import Baseline, Dimensions, dimensions_hash, make_baseline, read_baseline
from golden.case import BASELINE, BUCKETS, CASES, Case, GoldenError, Removed, load_cases, load_removed
from golden.corpus import ROOT, Corpus, head_of, make_setup, open_corpus, open_service, utc_now
from golden.run import Asked, ask_setup, ask_shipped
from golden.stats import BucketStats, Report, make_report
from mcp_server.config import Setup
from mcp_server.retrieval.context import SlotCaps
from mcp_server.retrieval.weights import DEFAULT_WEIGHTS
from mcp_server.service import Service

HERE = "here"  # the corpus of a team's own suite: what its configuration indexes
FLOORS = "floors.toml"
WORK = Path(".golden")
SPARE_CASES = 2  # a floor that is written from a run lies this many cases below it


class _Floors(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BucketFloor(_Floors):
    """The least that a bucket may show."""

    cases: int = 1
    pass_rate: float = 0.0
    right: float = 0.0
    ndcg: float = 0.0


class OverallFloor(_Floors):
    """The least, or the most, that the whole set may show."""

    confident_wrong: float = Field(0.05, ge=0, le=1)  # at most, of all cases (E14)
    false_abstain: float = Field(0.12, ge=0, le=1)  # at most, always beside the next one (E11)
    answered_anyway: float = Field(0.20, ge=0, le=1)  # at most
    right: float = 0.0
    text_leg: float = 0.0
    vector_leg: float = 0.0


class Floors(_Floors):
    """All floors of a suite."""

    overall: OverallFloor = OverallFloor()
    bucket: Mapping[str, BucketFloor] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    """What a run needs. `setup` is None for the shipped suite, whose corpora are built."""

    folder: Path = CASES
    work: Path = WORK
    setup: Setup | None = None

    @property
    def baseline_file(self) -> Path:
        """Where the baseline lies."""
        return self.folder / BASELINE

    @property
    def results(self) -> Path:
        """Where the readable results go."""
        return self.work / "results"

    @property
    def index(self) -> Path:
        """Where the shipped corpora and their indexes lie."""
        return self.work / "index"

    def cases(self) -> list[Case]:
        """Read the cases. Raises GoldenError."""
        return load_cases(self.folder)

    def removed(self) -> list[Removed]:
        """Read what was removed. Raises GoldenError."""
        return load_removed(self.folder)

    def floors(self) -> Floors:
        """Read the floors; without a file, only the rates that hold for any set. Raises GoldenError."""
        return read_floors(self.folder / FLOORS)

    def baseline(self) -> Baseline:
        """Read the baseline. Raises GoldenError."""
        return read_baseline(self.baseline_file)


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a suite."""

    report: Report
    dimensions: Dimensions
    corpora: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # name -> hashes
    made_at: str = ""

    def to_baseline(self) -> Baseline:
        """Return the run as a baseline."""
        return make_baseline(self.report, self.dimensions, self.made_at)


def run_suite(suite: Suite, cases: Sequence[Case] | None = None, workers: int = 2) -> Run:
    """Build what the cases need, ask and judge them. Raises GoldenError."""
    started = time.perf_counter()
    chosen = suite.cases() if cases is None else list(cases)
    if suite.setup is None:
        asked = ask_shipped(chosen, suite.index, workers)
    else:
        asked = [ask_setup(suite.setup, check_corpus(chosen), Corpus(HERE, suite.setup.settings.source))]
    return make_run(asked, time.perf_counter() - started, suite.setup)


def open_again(suite: Suite, cases: Sequence[Case]) -> Iterator[tuple[Service, list[Case]]]:
    """Yield each index that a run of these cases left, open, with the cases that were asked of it."""
    names = sorted({case.corpus for case in cases})
    for name in names:
        setup = suite.setup
        if setup is None:
            corpus = open_corpus(name, suite.index)
            corpus.after_build()
            setup = make_setup(corpus.sources, suite.index / name, corpus.settings)
        with open_service(setup) as service:
            yield service, [case for case in cases if case.corpus == name]


def check_corpus(cases: Sequence[Case]) -> Sequence[Case]:
    """Raise GoldenError for a case of another corpus than the configured sources."""
    for case in cases:
        if case.corpus != HERE:
            raise GoldenError(
                f"Case {case.id} is of the corpus {case.corpus!r}; a suite of your own asks the sources of its "
                f"configuration, called {HERE!r}."
            )
    return cases


def make_run(asked: Sequence[Asked], seconds: float, setup: Setup | None) -> Run:
    """Return what was asked as a run with everything that it depends on."""
    corpora = {
        one.corpus: {"index": one.content_hash, "embedder": one.embedder, "config": one.config_hash} for one in asked
    }
    return Run(make_report(asked, seconds), dimensions_of(asked, setup), corpora, utc_now())


def dimensions_of(asked: Sequence[Asked], setup: Setup | None) -> Dimensions:
    """Return what the results depend on, each as a hash or a name (P7)."""
    environment = setup.settings.environment if setup else "prod"
    settings = [without_places(one.settings) for one in asked]
    return Dimensions(
        prompts=prompts_in_use(environment),
        retrieval=dimensions_hash([asdict(DEFAULT_WEIGHTS), asdict(SlotCaps()), settings]),
        model=model_of(setup),
        embedder=", ".join(sorted({one.embedder for one in asked})),
        index=dimensions_hash(sorted((one.corpus, one.content_hash) for one in asked)),
        commit=head_of(setup.root if setup else ROOT),
    )


def without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without what differs from machine to machine, the sources, and what has a dimension."""
    apart = ("source", "llm", "prompts", "embedding", "name", "environment", "server", "trace", "shadow")
    return {name: value for name, value in settings.items() if name not in apart}


def prompts_in_use(label: str) -> dict[str, str]:
    """Return the hash of the text of every prompt that an environment uses."""
    return {name: prompts.load(name, label=label).sha256[:16] for name in sorted(prompts.labels(label))}


def model_of(setup: Setup | None) -> str:
    """Return the model that writes answers; without one they are extractive."""
    return (setup.settings.llm.model if setup else "") or "extractive"


# -- floors ------------------------------------------------------------------------------------------------------------


def read_floors(file: Path) -> Floors:
    """Read floors. Raises GoldenError."""
    if not file.is_file():
        return Floors()
    try:
        floors = Floors.model_validate(tomllib.loads(file.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise GoldenError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    except tomllib.TOMLDecodeError as error:
        raise GoldenError(f"{file} cannot be read: {error}.") from error
    if unknown := sorted(floors.bucket.keys() - set(BUCKETS)):
        raise GoldenError(f"{file}: there is no bucket {unknown[0]!r}. Buckets: {', '.join(BUCKETS)}.")
    return floors


def write_floors(report: Report, file: Path) -> None:
    """Write floors a little below what a run shows; people edit them afterwards."""
    rows = [row for row in report.stats() if row.cases]
    parts = ["# The least that each bucket may show. Written by `codecairn golden update`, yours to raise.\n"]
    parts.append(f"\n[overall]\n{ceiling_lines(report.overall())}")
    parts += [f"\n[bucket.{row.bucket}]\n{floor_lines(row)}" for row in rows]
    file.write_text("".join(parts), "utf-8")


def ceiling_lines(row: BucketStats) -> str:
    """Return the most that may go wrong over all: the targets, or a little more than what the run shows."""
    shown = {
        "confident_wrong": row.wrong_rate,
        "false_abstain": row.false_abstain,
        "answered_anyway": row.answered_anyway,
    }
    targets, spare = OverallFloor(), SPARE_CASES / row.cases
    most = {
        name: max(getattr(targets, name), min(1.0, value + spare)) for name, value in shown.items() if value == value
    }
    return "".join(f"{name} = {value:.2f}\n" for name, value in most.items())


def floor_lines(row: BucketStats) -> str:
    """Return the floors of one bucket as TOML."""
    spare = SPARE_CASES / row.cases
    rates = {"pass_rate": row.pass_rate, "right": row.right, "ndcg": row.ndcg}
    lines = [f"{name} = {max(0.0, value - spare):.2f}\n" for name, value in rates.items() if value == value]
    return "".join((f"cases = {max(1, row.cases - SPARE_CASES)}\n", *lines))
