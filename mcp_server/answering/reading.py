"""What to read on: the lines that most probably hold the names which a full answer would give, within a budget.

A name (identifier) of a file is worth the probability that an answer names it (`answering/naming.py`). Ranges of lines
are then taken greedily, each the contiguous run of one file with the highest worth of names that no range before it
holds, less a price per character: budgeted maximum coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, repeat

from ingest.model import Chunk
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence, Span, block_of
from mcp_server.answering.naming import Asked, FileText, Line, name_probabilities
from mcp_server.answering.passages import PLAIN_VALUES
from mcp_server.answering.vocabulary import Vocabulary, vocabulary
from mcp_server.retrieval.context import CHARS_PER_TOKEN
from mcp_server.retrieval.model import RankedChunk

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
    worth = [
        dict(zip(names[chances >= FLOOR].tolist(), chances[chances >= FLOOR].tolist(), strict=True))
        for names, chances in name_probabilities(asked, ranked, files, known)
    ]
    return choose_ranges(files, worth, budget)


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


def read_lines(chunks: Sequence[Chunk], known: Vocabulary) -> dict[int, Line]:
    """Return the lines of some chunks of a document by number."""
    lines: dict[int, Line] = {}
    for chunk in reversed({chunk.id: chunk for chunk in chunks}.values()):  # what an earlier chunk says of a line stays
        text = known.read(chunk.text)
        lines.update(zip(count(chunk.start_line), map(Line, text.lengths, repeat(chunk), text.lines)))
    return dict(sorted(lines.items()))


# ---- ranges


def choose_ranges(files: Sequence[FileText], worth: Sequence[Mapping[int, float]], budget: Budget) -> list[Range]:
    """Return ranges in the order in which they were taken; joins neighbours of one file when there are too many."""
    runs = [
        [(n, line.length, priced(line, prices)) for n, line in f.lines.items()]
        for f, prices in zip(files, worth, strict=True)
    ]
    gains: dict[int, tuple[float, int, int]] = {}
    stale = set(range(len(files)))
    before = cited_ranges(files, budget)
    taken = list(before)
    while budget.chars > MIN_CHARS:
        if len(taken) >= budget.ranges and not join_nearest(taken, budget):
            break
        best = best_run(files, runs, gains, stale, budget)
        if best is None:
            break
        file, (_, start, end) = files[best], gains[best]
        end = fit(file, start, end, budget.chars)
        if end < start:
            break
        take(Range(file, start, end), taken, budget)
        stale = set(range(len(files)))
    return [chosen for chosen in taken if chosen not in before]


def cited_ranges(files: Sequence[FileText], budget: Budget) -> list[Range]:
    """Return what is cited of these files, for others to join; what is cited of other files takes a place away."""
    open_ = {(file.source, file.ref): file for file in files}
    found = []
    for source, ref, start, end, _ in budget.cited:
        file = open_.get((source, ref))
        if file is not None and all(number in file.lines for number in range(start, end + 1)):
            found.append(Range(file, start, end))
        else:
            budget.ranges -= 1
    return found


def priced(line: Line, prices: Mapping[int, float]) -> tuple[tuple[int, float], ...]:
    """Return the names of a line that are worth something."""
    if prices.keys().isdisjoint(line.names):  # most lines; told in a third of the time
        return ()
    return tuple([(name, prices[name]) for name in line.names if name in prices])  # half the time of a generator


def best_run(
    files: Sequence[FileText],
    runs: Sequence[Sequence[tuple[int, int, tuple[tuple[int, float], ...]]]],
    gains: dict[int, tuple[float, int, int]],
    stale: set[int],
    budget: Budget,
) -> int | None:
    """Return the file with the best run. A gain can only have shrunk: files that cannot win are not looked at again."""
    while True:
        order = sorted(range(len(files)), key=lambda at: (-gains[at][0] if at in gains else -math.inf, at))
        if not order:
            return None
        first = order[0]
        if first not in stale:
            return first if gains[first][0] > 0 else None
        file = files[first]
        gains[first] = find_run(runs[first], budget.names, budget.lines.get((file.source, file.ref), set()))
        stale.discard(first)


def find_run(
    run: Sequence[tuple[int, int, tuple[tuple[int, float], ...]]], known: set[int], covered: set[int]
) -> tuple[float, int, int]:
    """Return gain, first and last line of the best run of a file (Kadane's scan; a name counts once in a run)."""
    best = (0.0, 0, 0)
    gain, start, before = 0.0, 0, -1
    seen: dict[int, int] = {}
    for number, length, names in run:
        if number in covered:
            gain, before = 0.0, -1
            continue
        if gain <= 0 or number != before + 1 or number - start >= RANGE_LINES:
            gain, start = 0.0, number
        before = number
        gain -= LINE_PRICE * length
        for name, price in names:
            if name not in known:
                if seen.get(name, -1) < start:
                    gain += price
                seen[name] = number
        if gain > best[0]:
            best = (gain, start, number)
    return best


def fit(file: FileText, start: int, end: int, chars: int) -> int:
    """Return the last line up to which a range fits."""
    left = chars
    for number in range(start, end + 1):
        left -= file.lines[number].length
        if left < 0:
            return number - 1
    return end


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
    covered = budget.lines.setdefault((new.file.source, new.file.ref), set())
    for number in range(new.start_line, new.end_line + 1):
        line = new.file.lines[number]
        if number not in covered:
            budget.chars -= line.length
        covered.add(number)
        budget.names.update(line.names)


def join_nearest(taken: list[Range], budget: Budget) -> bool:
    """Join the two ranges of one file with the shortest gap, so that another range has room; False if none can be."""
    gaps: list[tuple[int, Range, Range]] = []
    for first in taken:
        later = [r for r in taken if r.file is first.file and r.start_line > first.end_line]
        if later:
            second = min(later, key=lambda r: r.start_line)
            between = range(first.end_line + 1, second.start_line)
            if all(number in first.file.lines for number in between):
                gaps.append((sum(first.file.lines[number].length for number in between), first, second))
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
            for chunk in {file.lines[n].chunk.id: file.lines[n].chunk for n in numbers}.values():
                block = block_of(chunk, blocks)
                inside = [n for n in numbers if file.lines[n].chunk.id == chunk.id]
                spans.append(block.span(inside[0], inside[-1]))
                names.update(dict.fromkeys(names_to_read(chunk, inside)))
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
