"""Evidence: the context as blocks E1..En with numbered lines, which claims point into."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.model import Chunk
from mcp_server.retrieval.context import Context

COMMENT_LEADER = re.compile(r"^\s*(?:///?!?|#+[!:]?(?=\s|$)|\*+(?=\s|$)|/\*+|--(?=\s)|;+(?=\s)|\"\"\"|''')\s?")
SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Span:
    """Lines of one evidence block, 1-based inclusive, in the numbering of its document."""

    evidence: str
    start_line: int
    end_line: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One block: a chunk of the context under the id that claims cite. `score` is relative to the best block, 0..1."""

    id: str
    chunk: Chunk
    score: float

    @property
    def lines(self) -> tuple[str, ...]:
        """The text's lines; the first one is number `chunk.start_line`."""
        return tuple(self.chunk.text.split("\n"))

    @property
    def end_line(self) -> int:
        """The last line that the text really has."""
        return self.chunk.start_line + self.chunk.text.count("\n")

    def slice(self, start_line: int, end_line: int) -> str:
        """Return the text of some of its lines; lines outside of the block are empty."""
        first = self.chunk.start_line
        return "\n".join(self.lines[max(0, start_line - first) : max(0, end_line - first + 1)])

    def span(self, start_line: int, end_line: int) -> Span:
        """Return a pointer into this block, clipped to it."""
        first, last = self.chunk.start_line, self.end_line
        start = min(max(start_line, first), last)
        return Span(self.id, start, min(max(end_line, start), last))

    def locate(self, quote: str) -> Span | None:
        """Return the lines that hold a quote, white space and comment leaders aside; None if it is not there."""
        wanted = collapse(quote)
        if not wanted:
            return None
        joined, starts = join_lines(self.lines)
        at = joined.find(wanted)
        if at < 0:
            return None
        first = line_at(starts, at)
        return self.span(self.chunk.start_line + first, self.chunk.start_line + line_at(starts, at + len(wanted) - 1))

    def render(self) -> str:
        """Return the block as text: header, then numbered lines."""
        chunk = self.chunk
        header = f"[{self.id}] {chunk.ref}@{chunk.source} lines {chunk.start_line}-{self.end_line}"
        named = f" {chunk.symbol}" if chunk.symbol else ""
        named += f" within {' '.join(chunk.context.split())}" if chunk.context else ""  # signatures around the lines
        body = "\n".join(f"{number}| {line}" for number, line in enumerate(self.lines, chunk.start_line))
        return f"{header}{named}\n{body}"


def build_evidence(context: Context) -> tuple[Evidence, ...]:
    """Return the kept hits as blocks E1..En in their order."""
    top = max((hit.score for hit in context.kept), default=0.0)
    return tuple(
        Evidence(f"E{number}", hit.chunk, hit.score / top if top > 0 else 0.0)
        for number, hit in enumerate(context.kept, 1)
    )


def render_evidence(blocks: Sequence[Evidence]) -> str:
    """Return all blocks as one text."""
    return "\n\n".join(block.render() for block in blocks)


def collapse(text: str) -> str:
    """Return a text on one line, without comment leaders, for comparing quotes."""
    return join_lines(text.split("\n"))[0]


def join_lines(lines: Sequence[str]) -> tuple[str, list[int]]:
    """Return the collapsed lines joined into one, and the offset at which each line begins."""
    joined = ""
    starts: list[int] = []
    for line in lines:
        plain = SPACES.sub(" ", COMMENT_LEADER.sub("", line)).strip()
        if not plain:
            starts.append(len(joined) + 1)
            continue
        # a bracket that is opened or closed on a line of its own reads as if it were not
        tight = not joined or joined[-1] in "([{" or plain[0] in ")]}"
        joined += plain if tight else f" {plain}"
        starts.append(len(joined) - len(plain))
    return joined, starts


def line_at(starts: Sequence[int], offset: int) -> int:
    """Return the index of the line that holds an offset; an empty line shares its offset with the text after it."""
    return bisect_right(starts, offset) - 1


def block_of(chunk: Chunk, blocks: dict[int, Evidence]) -> Evidence:
    """Return the evidence of a chunk, which is added where it is none yet."""
    return blocks.setdefault(chunk.id, Evidence(f"E{len(blocks) + 1}", chunk, 0.0))
