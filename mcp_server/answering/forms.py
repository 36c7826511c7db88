"""Lines that answer by their form: a condition where it is asked how something is decided, a raise for "which error".

Such lines share fewer words with a question than a sentence does, so they are looked for in the whole of the best
files, and what stands around them counts too: the two lines before, the name of the definition and the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ingest.chunking.facts import IDENTIFIER
from ingest.model import Chunk
from mcp_server.answering.aspects import Aspect, root
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence, block_of
from mcp_server.answering.generate import DEFAULT_RARITY
from mcp_server.answering.passages import Passage, Task, around, held_in, split_prose, state_passage
from mcp_server.answering.pieces import Document

MOST = 2  # lines of one aspect
MIN_SHARE = 0.5  # of the words of the aspect that a line and what stands around it hold
MIN_WORDS = 2
NEAR_BEST = 0.8  # of the best line's share
MOST_FILES = 6  # of those that were found
FILE_LINES = 3000  # of one file, around its best chunk
STEP = 0.03  # what each file before takes off
LINES_BEFORE = 2
DECIDED = re.compile(
    r"\b(?:decid\w+|determin\w+|whether|under (?:which|what)|conditions?)\b|\bhow (?:does|do|is) [^?]{1,60}\bknow", re.I
)
FAILING = re.compile(r"\b(?:which|what) (?:kind of |type of )?(?:\w+ )?(?:error|exception)s?\b", re.I)
CONDITION = re.compile(r"^\s*(?:\}\s*)?(?:else\s+)?(?:if|elif|elsif|while|until|unless|when|guard)\b[\s(!]")
FAILURE = re.compile(
    r"\b(?:raise|throw|reject|panic!?)\b|\bErr\(|\b(?:errors\.New|fmt\.Errorf)\(|\breturn\b.*\b(?:[A-Z]\w*(?:Error|Exception)"
    r"|Err[A-Z]\w*|(?:\w+_)?E[A-Z]{3,})\b"
)
# How a question is put: no word of the code that decides or fails.
ASKING = frozenset(
    root(word)
    for word in """decide decision determine know whether condition error exception raise throw give get return happen
    kind type""".split()
)


def find_forms(
    aspects: Sequence[Aspect],
    ranked: Sequence[Chunk],
    evidence: Sequence[Evidence],
    rarity: Mapping[str, float],
    document: Document,
) -> tuple[dict[int, list[ClaimDraft]], tuple[Evidence, ...]]:
    """Return the lines of the form that each aspect asks for, and the evidence with their chunks.

    `ranked`: what was found, best first; `document`: the chunks of a file around a line.
    """
    blocks = {block.chunk.id: block for block in evidence}
    found: dict[int, list[ClaimDraft]] = {}
    files: list[Sequence[Chunk]] = []
    for number, aspect in enumerate(aspects):
        form = CONDITION if DECIDED.search(aspect.text) else FAILURE if FAILING.search(aspect.text) else None
        weights = weigh_words(aspect, rarity)
        if form is None or not weights:
            continue
        files = files or open_files(ranked, document)
        lines = best_lines(aspect, form, files, weights)
        if lines:
            task = Task(number, aspect, tuple(evidence), weights)
            found[number] = [state_line(task, block_of(chunk, blocks), line) for chunk, line in lines]
    return found, tuple(blocks.values())


def open_files(ranked: Sequence[Chunk], document: Document) -> list[Sequence[Chunk]]:
    """Return the chunks of the best files of code that runs, file by file."""
    code = [c for c in ranked if c.kind == "code" and c.language and c.role in ("source", "compat")]
    best = {(chunk.source, chunk.ref): chunk for chunk in reversed(code)}
    order = dict.fromkeys((chunk.source, chunk.ref) for chunk in code)
    return [document(*file, best[file].start_line, FILE_LINES) for file in list(order)[:MOST_FILES]]


def weigh_words(aspect: Aspect, rarity: Mapping[str, float]) -> dict[str, float]:
    """Return the roots of what an aspect is about by their rarity, the words of asking left out."""
    roots = (root(word) for word in aspect.words or aspect.carried)
    return {r: rarity.get(r, DEFAULT_RARITY) for r in roots if r not in ASKING}


def best_lines(
    aspect: Aspect, form: re.Pattern[str], files: Sequence[Sequence[Chunk]], weights: Mapping[str, float]
) -> list[tuple[Chunk, int]]:
    """Return the lines of a form that hold most of the words, by themselves and with what stands around them."""
    total = sum(weights.values())
    named = {part for name in aspect.names for part in held_in(aspect, name)}

    def share(text: str) -> float:
        held = held_in(aspect, text)
        return sum(w for r, w in weights.items() if r in held) / total

    found: list[tuple[float, int, int, Chunk]] = []
    for at, chunk in ((at, chunk) for at, file in enumerate(files) for chunk in file):
        block = Evidence("", chunk, 0.0)
        for number, line, before in lines_of_form(block, form):
            if form is CONDITION and held_in(aspect, line) & weights.keys() <= named:
                continue  # it says nothing but the name of what decides
            near = "\n".join((line, before, around(block, number) or "", chunk.ref))
            whole = share(near)
            # One rare word may be most of the weight, and stand there by chance.
            if whole >= MIN_SHARE and len(held_in(aspect, near) & weights.keys()) >= min(MIN_WORDS, len(weights)):
                found.append((whole + 0.3 * share(line) - STEP * at, at, number, chunk))
    found.sort(key=lambda item: (-round(item[0], 6), item[1], item[2]))
    homes: dict[str, str] = {}  # a function of several platforms is quoted from one
    kept = []
    for score, _, at, chunk in found:
        inside = around(Evidence("", chunk, 0.0), at) or chunk.ref
        if score >= NEAR_BEST * found[0][0] and homes.setdefault(inside, chunk.ref) == chunk.ref:
            kept.append((chunk, at))
    return kept[:MOST]


def lines_of_form(block: Evidence, form: re.Pattern[str]) -> Iterator[tuple[int, str, str]]:
    """Yield number and text of the lines of code of a form, and the lines right before."""
    for number, line in split_prose(block)[1]:
        if form.search(line) and IDENTIFIER.search(line):
            yield number, line, block.slice(number - LINES_BEFORE, number - 1)


def state_line(task: Task, block: Evidence, number: int) -> ClaimDraft:
    """State a line of code with the place."""
    text = " ".join(block.slice(number, number).split())
    return state_passage(task, block, Passage(text, block.span(number, number), 1.0, False))
