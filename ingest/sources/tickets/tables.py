"""Tables of tickets: the CSV exports of Jira (columns that repeat), Linear and GitLab."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TextIO

from ingest.sources.tickets.fields import LETTER_KEY, format_moment, key_of, name_state
from ingest.sources.tickets.markup import wiki_to_markdown
from ingest.sources.tickets.records import Fault
from ingest.sources.tickets.ticket import Comment, Ticket, name_person, said

csv.field_size_limit(16 << 20)  # descriptions and comments are longer than the 128 KB that the library allows
KEYS = ("issue key", "key", "identifier", "id", "issue id", "number")  # Jira's "Issue id" is a number nobody knows
TITLES = ("summary", "title")
LINK_COLUMN = re.compile(
    r"(?:outward|inward) issue link|^parent(?: issue| key)?$|^epic link$|related|blocks|blocked|duplicate"
)
LABEL_COLUMNS = ("labels", "label", "component/s", "components", "component")
COMMENT = re.compile(r"\s*([^;\n]{6,40});([^;\n]{0,200});(.*)", re.DOTALL)  # Jira: time;author;text
DELIMITERS = (",", ";", "\t")
MAX_HEADING_CHARS = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; a column may occur more than once."""

    columns: Mapping[str, Sequence[int]]
    cells: Sequence[str]

    def every(self, *names: str) -> list[str]:
        """Return what the columns of these names hold, without the empty ones."""
        places = (place for name in names for place in self.columns.get(name, ()))
        return [cell for place in places if place < len(self.cells) and (cell := self.cells[place].strip())]

    def first(self, *names: str) -> str:
        """Return the first of these columns that holds anything, or ""."""
        return next(iter(self.every(*names)), "")


def find_columns(line: str) -> tuple[dict[str, list[int]], str]:
    """Return the places of each column of a heading line and its delimiter; no columns where it is no ticket table."""
    for delimiter in DELIMITERS:
        names = next(csv.reader([line.lstrip("\ufeff")], delimiter=delimiter), [])
        columns: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            columns.setdefault(name.strip().lower(), []).append(place)
        if any(name in columns for name in KEYS) and any(name in columns for name in TITLES):
            return columns, delimiter
    return {}, ""


def stream_rows(stream: TextIO, source: str) -> Iterator[Ticket | Fault]:
    """Yield a ticket per row, and a Fault in the place of each row that is none. The first line names the columns."""
    heading = stream.readline(MAX_HEADING_CHARS)
    columns, delimiter = find_columns(heading)
    if not columns:
        yield Fault("bad_record", "the first line names no columns of a ticket table")
        return
    links = [name for name in columns if LINK_COLUMN.search(name)]
    rows = csv.reader(stream, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                yield Fault("truncated", f"the file ends in the middle of a cell (line {rows.line_num + 1})")
                return
            yield Fault("bad_record", f"line {rows.line_num + 1}: {error}")
            continue
        if any(cells):
            yield parse_row(Row(columns, cells), source, links) or Fault(
                "bad_record", f"line {rows.line_num + 1}: no key"
            )


def parse_row(row: Row, source: str, links: Sequence[str]) -> Ticket | None:
    """Return the ticket of a row, None if it has no key."""
    key = key_of({"key": row.first(*KEYS)})
    if not key:
        return None
    status, resolution = row.first("status", "state"), row.first("resolution")
    author = row.first("reporter id", "reporter", "creator id", "creator", "author")
    authors = frozenset(row.every("reporter id", "reporter", "creator id", "creator", "author"))
    comments = (parse_comment(cell, authors) for cell in row.every("comment", "comments"))
    assignee = row.first("assignee id", "assignee")
    return Ticket(
        key=key,
        title=row.first(*TITLES) or key,
        body=wiki_to_markdown(row.first("description")),
        state=name_state(status, row.first("status category"), resolution),
        labels=tuple(dict.fromkeys(filter(None, chain(*(_split(cell) for cell in row.every(*LABEL_COLUMNS)))))),
        assignee=name_person(source, assignee),
        role="author" if author else "",
        created_at=moment_of(row, "created", "created at (utc)", "created at"),
        updated_at=moment_of(row, "updated", "updated at (utc)", "updated at"),
        closed_at=moment_of(row, "resolved", "completed", "canceled", "closed at (utc)", "closed at"),
        links=tuple(dict.fromkeys(link for cell in row.every(*links) for link in LETTER_KEY.findall(cell))),
        comments=tuple(said(comments)),
        url=row.first("url"),
    )


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(",")]


def moment_of(row: Row, *names: str) -> str:
    """Return the first of the columns that holds a time, as ISO 8601 UTC, or ""."""
    return next(filter(None, map(format_moment, row.every(*names))), "")


def parse_comment(cell: str, authors: frozenset[str]) -> Comment:
    """Return a comment of Jira's `time;author;text`, or of plain text."""
    match = COMMENT.fullmatch(cell)
    moment = format_moment(match[1]) if match else ""
    if match is None or not moment:
        return Comment(wiki_to_markdown(cell))
    return Comment(wiki_to_markdown(match[3].strip()), "author" if match[2].strip() in authors else "other", moment)
