"""HTML: the text that a reader sees, on the lines where it stands in the file, with headings as Markdown."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ingest.sources.designs.draft import Draft

DROPPED = frozenset("script style template noscript iframe object canvas".split())
VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
CLOSED_BY_ITSELF = frozenset("p li dt dd tr td th option".split())  # a second one ends the first
HEADINGS = {f"h{level}": level for level in range(1, 7)}
APART = frozenset(
    "p div br li ul ol tr table section article header footer main nav aside dl dt dd blockquote pre hr figure".split()
)
CELLS = frozenset(("td", "th"))
HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d])")
MARKDOWN = re.compile(r"#{1,6}(?:\s|$)|`{3,}|~{3,}|[=+-]{2,}\s*$")  # would mean something at the start of a line
INDENT = "    "  # a line of code for Markdown: nothing in it has a meaning


def read_html(text: str) -> Draft:
    """Return the visible text of a page; line numbers are those of the file."""
    page = _Page(text.count("\n") + 1)
    page.feed(text)
    page.close()
    return Draft("\n".join(map(_finish, page.rows)), " ".join(page.title.split()), "markdown")


def _finish(row: _Row) -> str:
    if row.keeps_space:
        return f"{INDENT}{row.text.rstrip()}" if row.text.strip() else ""
    words = " ".join(row.text.split())
    if row.level and words:
        return f"{'#' * row.level} {words}"
    return INDENT + words if MARKDOWN.match(words) else words


class _Row:
    """One line of the result."""

    __slots__ = ("keeps_space", "level", "text")

    def __init__(self) -> None:
        self.text = ""
        self.level = 0  # of the heading that starts here
        self.keeps_space = False


class _Page(HTMLParser):
    def __init__(self, lines: int) -> None:
        super().__init__(convert_charrefs=True)
        self.rows = [_Row() for _ in range(lines)]
        self.title = ""
        self._in_title = False
        self._heading = 0  # level of a heading whose first word is still to come
        self._pre = 0
        self._hidden_by = ""
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden_by:
            if tag != self._hidden_by:
                return
            if tag not in CLOSED_BY_ITSELF:
                self._depth += 1
                return
            self._hidden_by = ""
        if tag not in VOID and (tag in DROPPED or _is_hidden(dict(attrs))):
            self._hidden_by, self._depth = tag, 1
            return
        self._open(tag, dict(attrs))

    def _open(self, tag: str, attrs: dict[str, str | None]) -> None:
        if tag == "title":
            self._in_title = not self.title
        elif tag in HEADINGS:
            self._heading = HEADINGS[tag]
        elif tag == "pre":
            self._pre += 1
        elif tag == "li":
            self._say(" - ")
        elif tag in CELLS:
            self._say(" | ")
        elif tag == "img":
            self._say(f" {attrs.get('alt') or ''} ")
        if tag in APART:
            self._say(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden_by:
            if tag == self._hidden_by:
                self._depth -= 1
                self._hidden_by = self._hidden_by if self._depth else ""
            return
        if tag == "title":
            self._in_title = False
        elif tag in HEADINGS:
            self._heading = 0
            self._say(" ")
        elif tag == "pre":
            self._pre = max(self._pre - 1, 0)

    def _say(self, mark: str) -> None:
        self.rows[min(self.getpos()[0], len(self.rows)) - 1].text += mark

    def handle_data(self, data: str) -> None:
        if self._hidden_by:
            return
        if self._in_title:
            self.title += data
            return
        first = self.getpos()[0] - 1
        for offset, piece in enumerate(data.split("\n")):
            row = self.rows[min(first + offset, len(self.rows) - 1)]
            if self._pre and not row.text.strip():
                row.keeps_space = True
            if self._heading and piece.strip():
                row.level, self._heading = self._heading, 0
            row.text += piece


def _is_hidden(attrs: dict[str, str | None]) -> bool:
    return "hidden" in attrs or HIDING.search((attrs.get("style") or "").lower()) is not None
