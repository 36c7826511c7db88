"""Conflicts: sentences of different documents that give different values for one thing, the newest first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mcp_server.answering.aspects import content_words, root
from mcp_server.answering.claims import COUNT_WORDS, ClaimDraft
from mcp_server.answering.evidence import Evidence, Span
from mcp_server.answering.passages import Task, clip, day_of, introduce, is_prose, passages, quoted

MAX_BLOCKS = 12
MAX_SENTENCES = 4  # of one block
MIN_SHARED = 2  # content words of two sentences about one thing
SHARED = 0.5  # of the words of the shorter sentence
TEENS = "thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
NUMBER_WORDS = {word: str(value) for value, word in enumerate((*COUNT_WORDS, *TEENS))}
NUMBER_WORDS |= {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "ninety": "90"}
NUMBER_WORDS |= {"hundred": "100", "thousand": "1000"}
VALUE = re.compile(
    rf"(?<![\w.#-])(\d[\d_,]*(?:\.\d+)?|{'|'.join(NUMBER_WORDS)})[ -]?(%|[a-z]+)(?![\w-]*\d)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence of a document with a day: the words that say what it is about, and its values by unit."""

    block: Evidence
    text: str
    span: Span
    subject: frozenset[str]
    values: dict[str, frozenset[str]]


def state_conflicts(task: Task) -> list[ClaimDraft]:
    """State what documents of different days say differently of one thing, at most one pair, the newest first."""
    said = [statement for block in dated_blocks(task) for statement in statements_of(task, block)]
    for one, other in combinations(said, 2):
        if differ(one, other):
            new, old = sorted((one, other), key=lambda s: day_of(s.block), reverse=True)
            text = f"Two documents differ, the newer one first: {tell(new)}; {tell(old)}"
            return [task.draft(text, [new.span, old.span])]
    return []


def tell(statement: Statement) -> str:
    """Return who says it, on which day, and the sentence."""
    head = introduce(statement.block, statement.span.start_line)
    day = "" if statement.block.chunk.kind == "commit" else f" of {day_of(statement.block)}"  # a commit's head has it
    return f"{head}{day} says: {quoted(clip(statement.text))}"


def dated_blocks(task: Task) -> Sequence[Evidence]:
    """Return the blocks of tickets, designs and commits that say when they were written."""
    return [b for b in task.blocks if is_prose(b) and day_of(b)][:MAX_BLOCKS]


def statements_of(task: Task, block: Evidence) -> list[Statement]:
    """Return the sentences of a block that are about the aspect and give a value."""
    found = []
    for passage in passages(task, block)[:MAX_SENTENCES]:
        values: dict[str, set[str]] = {}
        for match in VALUE.finditer(passage.text):
            number = match[1].lower()
            if match[2].lower() in NUMBER_WORDS:
                continue  # "two hundred": no value of a unit called hundred
            values.setdefault(root(match[2]), set()).add(NUMBER_WORDS.get(number, re.sub("[_,]", "", number)))
        if values:
            bare = VALUE.sub(" ", passage.text)
            subject = frozenset(map(root, content_words(bare))) | frozenset(values)
            frozen = {unit: frozenset(numbers) for unit, numbers in values.items()}
            found.append(Statement(block, passage.text, passage.span, subject, frozen))
    return found


def differ(one: Statement, other: Statement) -> bool:
    """Tell whether two sentences of different documents and days give different values of one unit for one thing."""
    first, second = one.block, other.block
    if first.chunk.ref == second.chunk.ref or first.chunk.product != second.chunk.product:
        return False
    if day_of(first) == day_of(second):
        return False
    shared = len(one.subject & other.subject)
    if shared < MIN_SHARED + 1 or shared < SHARED * min(len(one.subject), len(other.subject)):
        return False
    units = one.values.keys() & other.values.keys()
    return any(one.values[unit].isdisjoint(other.values[unit]) for unit in units)
