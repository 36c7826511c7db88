"""Cut prose by heading: Markdown, reStructuredText, AsciiDoc, plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ingest.chunking.layout import Layout, Piece
from ingest.chunking.lines import split_lines

ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
NOT_PARAGRAPH = re.compile(r"\s*(?:[-*+>|]\s|\d+[.)]\s|[-*_=]{3,}\s*$|<|\|)|\s{4,}")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^`]*)$")
RST_LINE = re.compile(r"([!-/:-@\[-`{-~])\1+\s*$")
ASCIIDOC = re.compile(r"(={1,6})[ \t]+(\S.*?)(?:[ \t]+=+)?$")
ASCIIDOC_BLOCK = re.compile(r"(-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,})\s*$")
MARKUP = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])|<[^<>]+>|\{[#.][^}]*\}|[*`]+|(?<!\w)_+|_+(?!\w)")
FRONT_MATTER_LINES = 60
HEADING_CHARS = 200
PATH_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading line: its row (0-based), depth from 1, and title without markup."""

    row: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Section:
    """Rows from a heading to before the next one; `path` holds the enclosing titles and its own."""

    first: int
    last: int
    path: tuple[str, ...]
    level: int


def find_headings(layout: Layout, style: str) -> list[Heading]:
    """Return the headings of a text in `style` (markdown, rst, asciidoc; any other has none)."""
    scan = SCANNERS.get(style)
    return list(scan(layout.lines)) if scan else []


def divide_text(layout: Layout, style: str, limit: int) -> list[tuple[Piece, str]]:
    """Return pieces with their heading path."""
    divided: list[tuple[Piece, str]] = []
    for section in _merge_small(_sections(layout, find_headings(layout, style)), layout, limit):
        context = PATH_SEPARATOR.join(section.path)
        pieces = [layout.trim(piece) for piece in split_lines(layout, section.first, section.last, limit)]
        divided.extend((piece, context) for piece in pieces if piece)
    return divided


def _sections(layout: Layout, headings: list[Heading]) -> list[Section]:
    sections: list[Section] = []
    if not headings or headings[0].row > 0:
        stop = headings[0].row - 1 if headings else layout.last
        sections.append(Section(0, stop, (), 0))
    path: list[Heading] = []
    for number, heading in enumerate(headings):
        path = [outer for outer in path if outer.level < heading.level] + [heading]
        stop = headings[number + 1].row - 1 if number + 1 < len(headings) else layout.last
        sections.append(Section(heading.row, stop, tuple(outer.title for outer in path), heading.level))
    return sections


def _merge_small(sections: list[Section], layout: Layout, limit: int) -> list[Section]:
    """Join a section with the next while both fit and the next lies deeper, or both are short siblings."""
    merged: list[Section] = []
    for section in sections:
        if merged and _may_join(merged[-1], section, layout, limit):
            before = merged[-1]
            path = _shared_path(before, section)
            merged[-1] = Section(before.first, section.last, path, min(before.level or 9, section.level))
        else:
            merged.append(section)
    return merged


def _may_join(before: Section, section: Section, layout: Layout, limit: int) -> bool:
    both = layout.size(before.first, section.last)
    if both > limit:
        return False
    deeper = section.level > before.level > 0
    return deeper or both * 3 <= limit or layout.size(before.first, before.last) * 8 <= limit


def _shared_path(before: Section, section: Section) -> tuple[str, ...]:
    """Return the path of the first of two joined sections; of two siblings, their common part and the first's title."""
    return before.path or section.path


def _markdown(lines: list[str]) -> Iterator[Heading]:
    row = _after_front_matter(lines)
    fence = ""
    while row < len(lines):
        line = lines[row]
        if fence:
            fence = "" if _closes(fence, line) else fence
        elif opening := FENCE.match(line):
            fence = opening[1]
        elif atx := ATX.match(line):
            yield Heading(row, len(atx[1]), plain_title(atx[2] or ""))
        elif row + 1 < len(lines) and line.strip() and not NOT_PARAGRAPH.match(line):
            underline = SETEXT.match(lines[row + 1])
            if underline and (row == 0 or not lines[row - 1].strip()):
                yield Heading(row, 1 if underline[1][0] == "=" else 2, plain_title(line))
                row += 1
        row += 1


def _after_front_matter(lines: list[str]) -> int:
    if lines[0].rstrip() not in ("---", "+++"):
        return 0
    for row in range(1, min(len(lines), FRONT_MATTER_LINES)):
        if lines[row].rstrip() == lines[0].rstrip():
            return row + 1
    return 0


def _closes(fence: str, line: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(fence) and not bare.strip(fence[0])


def _rst(lines: list[str]) -> Iterator[Heading]:
    """A title is underlined (or over- and underlined) by punctuation; styles rank by first appearance."""
    ranks: dict[str, int] = {}
    row = 0
    while row + 1 < len(lines):
        style = _rst_style(lines, row)
        if style:
            overlined = len(style) == 2
            title_row = row + overlined
            level = ranks.setdefault(style, len(ranks) + 1)
            yield Heading(row, level, plain_title(lines[title_row]))
            row = title_row + 1
        row += 1


def _rst_style(lines: list[str], row: int) -> str:
    """Return the marker of a title that starts at `row`: one character, two when overlined, "" when none."""
    line = lines[row]
    below = lines[row + 1]
    if not line.strip() or line != line.lstrip() and not RST_LINE.match(line):
        return ""
    if RST_LINE.match(line):
        is_framed = row + 2 < len(lines) and below.strip() and lines[row + 2].rstrip() == line.rstrip()
        return line[0] * 2 if is_framed and len(line.rstrip()) >= len(below.strip()) else ""
    is_underlined = RST_LINE.match(below) and len(below.rstrip()) >= min(len(line.rstrip()), 4)
    after_blank = row == 0 or not lines[row - 1].strip() or lines[row - 1].startswith("..")
    return below[0] if is_underlined and after_blank else ""


def _asciidoc(lines: list[str]) -> Iterator[Heading]:
    block = ""
    for row, line in enumerate(lines):
        fence = ASCIIDOC_BLOCK.match(line)
        if block:
            block = "" if fence and fence[1] == block else block
        elif fence:
            block = fence[1]
        elif heading := ASCIIDOC.match(line):
            yield Heading(row, len(heading[1]), plain_title(heading[2]))


def plain_title(text: str) -> str:
    """Return a heading's words without links, emphasis and anchors."""
    plain = MARKUP.sub(lambda match: match[1] or "", text)
    return " ".join(plain.split())[:HEADING_CHARS]


SCANNERS: dict[str, Callable[[list[str]], Iterator[Heading]]] = {
    "markdown": _markdown,
    "rst": _rst,
    "asciidoc": _asciidoc,
}
