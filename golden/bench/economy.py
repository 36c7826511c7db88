"""Tokens until the right file is seen. One token is four characters; a reader is a list of (tokens so far, path).

Two readers:

- of hits: asks for five concise hits, reads them from the top as the tool renders them, asks for the next five, up to
  fifty. A file counts as seen with the hit that shows a part of it.
- of files: gets the list of the first ten files of a keyword grep, then opens them whole, one after another. A file
  counts as seen when it has been read.

A reader that never meets a right file is charged everything that it read; the share of such questions is given beside
the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from golden.bench.questions import Question
from golden.metrics import mean, percentile, rounded
from mcp_server.render import hit_block, render_search
from mcp_server.results import Hit, SearchResult

CHARS_PER_TOKEN = 4
PAGE_HITS = 5
BUDGETS = (500, 1000, 2000)  # tokens

Step = tuple[float, str]  # tokens read so far, path whose reading ends there ("" = no file)


@dataclass(frozen=True, slots=True)
class Economy:
    """What one kind of reader pays over all answerable questions. Tokens."""

    reader: str
    n: int
    first_page: float  # mean size of what the first call returns
    first_page_p95: float
    to_first: float  # mean until the first right file is seen
    never: float  # share of questions where none is
    recall: Mapping[int, float]  # budget -> mean share of the right files seen within it

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        recall = rounded({str(budget): value for budget, value in self.recall.items()})
        return {**asdict(self), "recall": recall}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader went through for one question."""

    first_page: float
    steps: tuple[Step, ...]

    def to_first(self, wanted: Sequence[str]) -> tuple[float, bool]:
        """Return the tokens until the first right file, and whether there was one."""
        for tokens, path in self.steps:
            if path in wanted:
                return tokens, True
        return (self.steps[-1][0] if self.steps else self.first_page), False

    def recall(self, wanted: Sequence[str], budget: int) -> float:
        """Return the share of the right files seen within a budget."""
        seen = {path for tokens, path in self.steps if tokens <= budget}
        return len(seen.intersection(wanted)) / len(wanted)


def read_hits(page: SearchResult, shown: SearchResult, query: str, prefix: str) -> Reading:
    """Return the reading of a search: the first page of five, and all hits shown; `prefix` stands before each path."""
    page_tokens = len(render_search(page, query, "concise")) / CHARS_PER_TOKEN
    blocks = sum(len(hit_block(hit, query, "concise")) + 1 for hit in page.hits) / CHARS_PER_TOKEN
    rest_of_page = page_tokens - blocks  # index, age, cursor and trace, once per page
    return Reading(page_tokens, tuple(steps_of_hits(shown.hits, query, prefix, rest_of_page)))


def steps_of_hits(hits: Sequence[Hit], query: str, prefix: str, rest_of_page: float) -> Iterator[Step]:
    """Yield each hit with the tokens read up to its end."""
    tokens = 0.0
    for place, hit in enumerate(hits):
        if place and place % PAGE_HITS == 0:
            tokens += rest_of_page
        tokens += (len(hit_block(hit, query, "concise")) + 1) / CHARS_PER_TOKEN
        yield tokens, f"{prefix}{hit.path}" if hit.path else ""


def read_files(root: Path, paths: Sequence[str], prefix: str) -> Reading:
    """Return the reading of a list of files, each opened whole."""
    tokens = listing = sum(len(path) + len(":12\n") for path in paths) / CHARS_PER_TOKEN
    steps: list[Step] = []
    for path in paths:
        file = root / path
        if file.is_file():
            tokens += len(file.read_text("utf-8", "replace")) / CHARS_PER_TOKEN
        steps.append((tokens, f"{prefix}{path}"))
    return Reading(listing, tuple(steps))


def summarise(reader: str, questions: Sequence[Question], readings: Mapping[str, Reading]) -> Economy:
    """Return what a reader pays over all answerable questions that it was given."""
    asked = [(readings[q.id], q.wanted) for q in questions if q.wanted and q.id in readings]
    first = [reading.to_first(wanted) for reading, wanted in asked]
    pages = [reading.first_page for reading, _ in asked]
    return Economy(
        reader=reader,
        n=len(asked),
        first_page=mean(pages),
        first_page_p95=percentile(pages, 0.95),
        to_first=mean(tokens for tokens, _ in first),
        never=mean(float(not found) for _, found in first),
        recall={budget: mean(reading.recall(wanted, budget) for reading, wanted in asked) for budget in BUDGETS},
    )
