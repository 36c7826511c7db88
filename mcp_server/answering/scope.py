"""Scope: the lines of the evidence that speak of a name: bodies of the definitions, and lines that mention it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from ingest.index.tokens import whole_word
from mcp_server.answering.evidence import Evidence

AROUND = 2  # lines around a mention
MOST = 40  # mentions: a name that stands everywhere tells nothing


class Scope:
    """The evidence of one text, by name."""

    def __init__(self, blocks: Iterable[Evidence]) -> None:
        """Index what the blocks define; nothing is read yet."""
        self._blocks = tuple(blocks)
        self._defined: dict[str, list[tuple[Evidence, int, int, str]]] = {}
        for block in self._blocks:
            for symbol in block.chunk.symbols:
                self._defined.setdefault(symbol.name, []).append(
                    (block, symbol.start_line, symbol.end_line, symbol.kind)
                )
        self._mentions: dict[str, tuple[str, ...]] = {}

    def bodies(self, names: Collection[str], kinds: Collection[str]) -> list[list[str]]:
        """Return the lines of each definition of some kinds that has one of the names."""
        return [
            block.slice(start, end).split("\n")
            for name in names
            for block, start, end, kind in self._defined.get(name, ())
            if kind in kinds
        ]

    def lines_with(self, name: str) -> list[str]:
        """Return the lines that hold a name."""
        return [block.lines[at] for block in self._blocks for at in places_of_name(block, name)]

    def mentions(self, name: str) -> Sequence[str]:
        """Return the lines that hold a name, with a few around; none where it stands everywhere."""
        if name not in self._mentions:
            found = [(block, at) for block in self._blocks if (at := places_of_name(block, name))]
            is_common = sum(len(at) for _, at in found) > MOST
            self._mentions[name] = () if is_common else tuple(line for b, at in found for line in lines_around(b, at))
        return self._mentions[name]


def places_of_name(block: Evidence, name: str) -> list[int]:
    """Return the indices of the lines of a block that hold a name as a whole word."""
    if name not in block.chunk.text:
        return []
    pattern = whole_word(name)
    return [number for number, line in enumerate(block.lines) if name in line and pattern.search(line)]


def lines_around(block: Evidence, at: Iterable[int]) -> list[str]:
    """Return some lines of a block with a few around each, in order."""
    lines = block.lines
    near = {n for number in at for n in range(max(0, number - AROUND), min(len(lines), number + AROUND + 1))}
    return [lines[number] for number in sorted(near)]


def word_pattern(name: str) -> re.Pattern[str]:
    """Return a pattern for a name as a whole word."""
    return re.compile(rf"(?<![\w$]){re.escape(name)}(?![\w$])")
