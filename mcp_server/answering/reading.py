"""What to read on: the lines that most probably hold the names which a full answer would give, within a budget.

A name (identifier) of a file is worth the probability that an answer names it (`answering/naming.py`). Ranges of lines
are then taken greedily, each the contiguous run of one file with the highest worth of names that no range before it
holds, less a price per character: budgeted maximum coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ingest.model import Chunk
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence, Span, block_of
from mcp_server.answering.naming import Asked, FileText, Lines, name_probabilities
from mcp_server.answering.passages import PLAIN_VALUES
from mcp_server.answering.vocabulary import Vocabulary, vocabulary
from mcp_server.retrieval.context import CHARS_PER_TOKEN
from mcp_server.retrieval.model import RankedChunk

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_CITATIONS = 10  # of a whole answer
MAX_TOKENS = 2000  # that its cited lines take
MAX_FILES = 8
FILE_LINES = 450  # of one file that are looked at: those around its best chunk, and what else of it is in the ranking
MIN_WORDS = 12  # a shorter question is about one place, which its answer states
LINE_PRICE = 0.00004  # worth that one more character has to bring
MIN_CHARS = 300  # what is left of the budget is not worth another range
RANGE_LINES = 60
FLOOR = 0.005  # names that are less probable count nothing


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Lines of one document, 1-based inclusive."""

    file: FileText
    start_line: int
    end_line: int


@dataclass(slots=True)
class Budget:
    """How many ranges may be cited in all, how many characters more, and which ranges, names and lines are."""

    ranges: int = MAX_CITATIONS
    chars: int = MAX_TOKENS * CHARS_PER_TOKEN
    cited: list[tuple[str, str, int, int, str]] = field(default_factory=list)  # source, ref, first and last line, text
    names: set[int] = field(default_factory=set)  # by their numbers
    lines: dict[tuple[str, str], set[int]] = field(default_factory=dict)


ReadDocument = Callable[[str, str, int, int], Sequence[Chunk]]  # source, path, line, lines around it


def find_reading(
    asked: Asked, ranked: Sequence[RankedChunk], read_document: ReadDocument, budget: Budget
) -> list[Range]:
    """Return the ranges to read on. `ranked`: chunks, best first."""
    known = vocabulary()
    for *_, text in budget.cited:
        budget.names.update(known.read(text).table[0].tolist())
    files = open_files(ranked, read_document, known)
    chances = name_probabilities(asked, ranked, files, known)
    return choose_ranges([run_of(*one) for one in zip(files, chances, strict=True)], budget)


# ---- files and names


def open_files(ranked: Sequence[RankedChunk], read_document: ReadDocument, known: Vocabulary) -> list[FileText]:
    """Return the best files of a ranking with the lines around their best chunk."""
    top = max((hit.score for hit in ranked), default=0.0) or 1.0
    found: dict[tuple[str, str], list[RankedChunk]] = {}  # best first
    for hit in sorted(ranked, key=lambda hit: -hit.score):
        if hit.chunk.path is not None:
            found.setdefault((hit.chunk.source, hit.chunk.ref), []).append(hit)
    scores = {d: {hit.chunk.id: max(0.0, hit.score / top) for hit in hits} for d, hits in found.items()}
    totals = {d: decayed_sum(own.values()) for d, own in scores.items()}
    best = sorted(found, key=lambda d: (-(max(scores[d].values()) + 0.5 * totals[d]), d))[:MAX_FILES]
    files = []
    for document in best:
        own = [hit.chunk for hit in found[document]]
        around = read_document(*document, own[0].start_line, FILE_LINES)
        lines = read_lines([*around, *own], known)  # what was found far away in a long file is looked at too
        files.append(
            FileText(*document, own[0].role, lines, scores[document], max(scores[document].values()), totals[document])
        )
    return files


def decayed_sum(scores: Iterable[float]) -> float:
    """Return a sum in which each further score counts 0.7 of the one before."""
    return sum(score * 0.7**at for at, score in enumerate(sorted(scores, reverse=True)))


def read_lines(chunks: Sequence[Chunk], known: Vocabulary) -> Lines:
    """Return the lines of some chunks of a document."""
    import numpy as np

    own = list({chunk.id: chunk for chunk in chunks}.values())
    texts = [known.read(chunk.text) for chunk in own]
    sizes = np.array([len(text.lengths) for text in texts])
    ends = np.cumsum(sizes)
    every = np.arange(ends[-1]) + np.repeat([chunk.start_line for chunk in own] - (ends - sizes), sizes)
    numbers, first = np.unique(every, return_index=True)  # of a line in two chunks, what the earlier one says
    place = np.full(len(every), -1)
    place[first] = np.arange(len(first))
    owners = np.repeat(np.arange(len(own)), sizes)[first]
    used, at = np.unique(owners, return_index=True)
    used = used[np.argsort(at)]
    renumbered = np.empty(len(own), dtype=np.int64)
    renumbered[used] = np.arange(len(used))
    lines, names = np.concatenate([text.held for text in texts], axis=1)
    lines = place[lines + np.repeat(ends - sizes, [text.held.shape[1] for text in texts])]
    order = np.argsort(lines, kind="stable")[np.count_nonzero(lines < 0) :]
    lengths = np.concatenate([text.lengths for text in texts])[first]
    held = np.stack([lines[order], names[order]])
    return Lines([own[number] for number in used.tolist()], numbers, lengths, renumbered[owners], held)


# ---- ranges


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What of a file is worth something: position of a line, number and worth of a name that it holds, line by line.

    `numbers`: of its lines. `upto`: characters before each line and after the last.
    """

    file: FileText
    worth: Sequence[tuple[int, int, float]]
    numbers: Sequence[int]
    upto: Sequence[int]


def run_of(file: FileText, chances: tuple[Array, Array]) -> Run:
    """Return the run of a file, given the numbers of its names and the probability of each."""
    import numpy as np

    names, probabilities = chances
    lines, held = file.lines.held
    order = np.argsort(names)
    price = probabilities[order[names.searchsorted(held, sorter=order)]] if len(names) else np.zeros(len(held))
    own = price >= FLOOR
    worth = zip(lines[own].tolist(), held[own].tolist(), price[own].tolist(), strict=True)
    return Run(file, list(worth), file.lines.numbers.tolist(), [0, *np.cumsum(file.lines.lengths).tolist()])


def choose_ranges(runs: Sequence[Run], budget: Budget) -> list[Range]:
    """Return ranges in the order in which they were taken; joins neighbours of one file when there are too many."""
    gains: dict[int, tuple[float, int, int]] = {}
    stale = set(range(len(runs)))
    before = cited_ranges([run.file for run in runs], budget)
    taken = list(before)
    while budget.chars > MIN_CHARS:
        if len(taken) >= budget.ranges and not join_nearest(taken, budget):
            break
        best = best_run(runs, gains, stale, budget)
        if best is None:
            break
        file, (_, start, end) = runs[best].file, gains[best]
        end = fit(file, start, end, budget.chars)
        if end < start:
            break
        take(Range(file, start, end), taken, budget)
        stale = set(range(len(runs)))
    return [chosen for chosen in taken if chosen not in before]


def cited_ranges(files: Sequence[FileText], budget: Budget) -> list[Range]:
    """Return what is cited of these files, for others to join; what is cited of other files takes a place away."""
    open_ = {(file.source, file.ref): file for file in files}
    found = []
    for source, ref, start, end, _ in budget.cited:
        file = open_.get((source, ref))
        if file is not None and file.lines.rows(start, end):
            found.append(Range(file, start, end))
        else:
            budget.ranges -= 1
    return found


def best_run(
    runs: Sequence[Run], gains: dict[int, tuple[float, int, int]], stale: set[int], budget: Budget
) -> int | None:
    """Return the file with the best run. A gain can only have shrunk: files that cannot win are not looked at again."""
    while True:
        order = sorted(range(len(runs)), key=lambda at: (-gains[at][0] if at in gains else -math.inf, at))
        if not order:
            return None
        first = order[0]
        if first not in stale:
            return first if gains[first][0] > 0 else None
        file = runs[first].file
        gains[first] = find_run(runs[first], budget.names, budget.lines.get((file.source, file.ref), set()))
        stale.discard(first)


def find_run(run: Run, known: set[int], covered: set[int]) -> tuple[float, int, int]:
    """Return gain, first and last line of the best run of a file (Kadane's scan; a name counts once in a run).

    Only lines with a worth are looked at: what lies between two of them costs its characters, and breaks the run where
    a line is missing or covered.
    """
    numbers, upto = run.numbers, run.upto
    barriers = list(accumulate(number in covered for number in numbers)) if covered else None
    best = (0.0, 0, 0)
    gain, start, before = 0.0, 0, -1
    seen: dict[int, int] = {}
    for at, name, price in run.worth:
        if at != before:
            if barriers and numbers[at] in covered:
                continue
            gain -= LINE_PRICE * (upto[at] - upto[before + 1])
            if (
                gain <= 0
                or numbers[at] - numbers[before] != at - before
                or numbers[at] - numbers[start] >= RANGE_LINES
                or (barriers and barriers[at] != barriers[before])
            ):
                gain, start = 0.0, at
            gain -= LINE_PRICE * (upto[at + 1] - upto[at])
            before = at
        if name not in known:
            if seen.get(name, -1) < start:
                gain += price
                if gain > best[0]:
                    best = (gain, numbers[start], numbers[at])
            seen[name] = at
    return best


def fit(file: FileText, start: int, end: int, chars: int) -> int:
    """Return the last line up to which a range fits."""
    used = file.lines.lengths[file.lines.rows(start, end)].cumsum()
    return start + int(used.searchsorted(chars, side="right")) - 1


def take(new: Range, taken: list[Range], budget: Budget) -> None:
    """Add a range, joined with those of the same file that it touches."""
    start, end = new.start_line, new.end_line
    for old in [r for r in taken if r.file is new.file and (r.end_line + 1 == start or end + 1 == r.start_line)]:
        taken.remove(old)
        start, end = min(start, old.start_line), max(end, old.end_line)
    taken.append(Range(new.file, start, end))
    spend(new, budget)


def spend(new: Range, budget: Budget) -> None:
    """Take the lines and names of a range off the budget."""
    file = new.file
    covered = budget.lines.setdefault((file.source, file.ref), set())
    rows = file.lines.rows(new.start_line, new.end_line)
    assert rows is not None
    numbers = range(new.start_line, new.end_line + 1)
    lengths = zip(numbers, file.lines.lengths[rows].tolist(), strict=True)
    budget.chars -= sum(length for number, length in lengths if number not in covered)
    covered.update(numbers)
    first, end = file.lines.held[0].searchsorted((rows.start, rows.stop))
    budget.names.update(file.lines.held[1][first:end].tolist())


def join_nearest(taken: list[Range], budget: Budget) -> bool:
    """Join the two ranges of one file with the shortest gap, so that another range has room; False if none can be."""
    gaps: list[tuple[int, Range, Range]] = []
    for first in taken:
        later = [r for r in taken if r.file is first.file and r.start_line > first.end_line]
        if later:
            second = min(later, key=lambda r: r.start_line)
            rows = first.file.lines.rows(first.end_line + 1, second.start_line - 1)
            if rows is not None:
                gaps.append((int(first.file.lines.lengths[rows].sum()), first, second))
    gap = min(gaps, key=lambda item: (item[0], item[1].start_line), default=None)
    if gap is None or gap[0] > budget.chars - MIN_CHARS:
        return False
    _, first, second = gap
    taken.remove(first)
    taken.remove(second)
    taken.append(Range(first.file, first.start_line, second.end_line))
    spend(Range(first.file, first.end_line + 1, second.start_line - 1), budget)
    return True


# ---- statements


def state_reading(
    ranges: Sequence[Range], evidence: Sequence[Evidence], aspect: int
) -> tuple[list[ClaimDraft], tuple[Evidence, ...]]:
    """Return one statement per file that names what stands there to read, and the evidence with the chunks cited."""
    blocks = {block.chunk.id: block for block in evidence}
    drafts: list[ClaimDraft] = []
    for file in {id(r.file): r.file for r in ranges}.values():
        spans: list[Span] = []
        names: dict[str, None] = {}
        for own in sorted((r for r in ranges if r.file is file), key=lambda r: r.start_line):
            numbers = range(own.start_line, own.end_line + 1)
            inside: dict[int, list[int]] = {}  # by chunk
            owners = file.lines.owners[file.lines.rows(numbers[0], numbers[-1])].tolist()
            for number, owner in zip(numbers, owners, strict=True):
                inside.setdefault(owner, []).append(number)
            for owner, lines in inside.items():
                spans.append(block_of(file.lines.chunks[owner], blocks).span(lines[0], lines[-1]))
                names.update(dict.fromkeys(names_to_read(file.lines.chunks[owner], lines)))
        said = ", ".join(f"`{name}`" for name in list(names)[:4])
        text = f"Read on in {file.ref}: {said}." if said else f"Read on in {file.ref}."
        drafts.append(ClaimDraft(text, tuple(spans), aspect=aspect))
    return drafts, tuple(blocks.values())


def names_to_read(chunk: Chunk, lines: Sequence[int]) -> list[str]:
    """Return the definitions that start in some lines of a chunk, else the one around them."""
    starting = [s for s in chunk.symbols if lines[0] <= s.start_line <= lines[-1]]
    inside = [s.qualname for s in starting if s.kind not in PLAIN_VALUES]
    return inside[:2] or ([chunk.symbol] if chunk.symbol else [])


def remaining(cited: Sequence[tuple[str, str, int, int, str]]) -> Budget:
    """Return what may still be cited beside some citations: source, ref, first and last line, text."""
    budget = Budget()
    for source, ref, start, end, text in cited:
        budget.cited.append((source, ref, start, end, text))
        budget.chars -= len(text) + 1
        budget.lines.setdefault((source, ref), set()).update(range(start, end + 1))
    return budget
