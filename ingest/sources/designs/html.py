"""HTML: the text that a reader sees, on the lines where it stands in the file, with headings as Markdown."""

from __future__ import annotations

import re
from html import unescape

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
NAME = re.compile(r"/?([A-Za-z][^\s/>]*)")
ATTRIBUTE = re.compile(r"""([^\s=/"'>]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
RAW = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style")}
MAX_QUOTED_ENDS = 5  # `>` inside of one tag's quotes; a tag with more of them ends early
MAX_ATTRIBUTE_CHARS = 4_000  # of a tag that are read
INDENT = "    "  # a line of code for Markdown: nothing in it has a meaning


def read_html(text: str) -> Draft:
    """Return the visible text of a page; line numbers are those of the file."""
    page = _Page(text.count("\n") + 1)
    page.read(text)
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


class _Page:
    """Reads a page in one pass. The standard library's parser needs hours for some broken pages and gives others up."""

    def __init__(self, lines: int) -> None:
        self.rows = [_Row() for _ in range(lines)]
        self.title = ""
        self._line = 0  # of what is being read, from 0
        self._in_title = False
        self._heading = 0  # level of a heading whose first word is still to come
        self._pre = 0
        self._hidden_by = ""
        self._depth = 0

    def read(self, text: str) -> None:
        at = 0
        while at < len(text):
            stop = text.find("<", at)
            stop = stop if stop >= 0 else len(text)
            if stop > at:
                self._read_words(unescape(text[at:stop]))
                self._line += text.count("\n", at, stop)
            if stop == len(text):
                return
            at = self._read_markup(text, stop)
            self._line += text.count("\n", stop, at)

    def _read_markup(self, text: str, at: int) -> int:
        """Take up what a `<` begins; return where it ends."""
        if text.startswith("<!--", at):
            return _after(text, "-->", at + 4)
        if text.startswith(("<!", "<?"), at):
            return _after(text, ">", at)
        match = NAME.match(text, at + 1)
        if not match:
            self._read_words("<")
            return at + 1
        end, tag = _find_tag_end(text, match.end()), match[1].lower()
        if match[0].startswith("/"):
            self._end(tag)
            return end
        self._start(tag, _attributes(text[match.end() : min(end, match.end() + MAX_ATTRIBUTE_CHARS)]))
        closing = RAW[tag].search(text, end) if tag in RAW else None
        if tag in RAW and not closing:
            return len(text)
        return closing.start() if closing else end

    def _start(self, tag: str, attrs: dict[str, str]) -> None:
        if self._hidden_by:
            if tag != self._hidden_by:
                return
            if tag not in CLOSED_BY_ITSELF:
                self._depth += 1
                return
            self._hidden_by = ""
        if tag not in VOID and (tag in DROPPED or _is_hidden(attrs)):
            self._hidden_by, self._depth = tag, 1
            return
        self._open(tag, attrs)

    def _open(self, tag: str, attrs: dict[str, str]) -> None:
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
            self._say(f" {attrs.get('alt', '')} ")
        if tag in APART:
            self._say(" ")

    def _end(self, tag: str) -> None:
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
        self.rows[self._line].text += mark

    def _read_words(self, data: str) -> None:
        if self._hidden_by:
            return
        if self._in_title:
            self.title += data
            return
        for offset, piece in enumerate(data.split("\n")):
            row = self.rows[min(self._line + offset, len(self.rows) - 1)]
            if self._pre and not row.text.strip():
                row.keeps_space = True
            if self._heading and piece.strip():
                row.level, self._heading = self._heading, 0
            row.text += piece


def _after(text: str, mark: str, at: int) -> int:
    end = text.find(mark, at)
    return end + len(mark) if end >= 0 else len(text)


def _find_tag_end(text: str, at: int) -> int:
    """Return where a tag ends: behind the first `>` that is not in quotes."""
    end = at
    for _ in range(MAX_QUOTED_ENDS):
        end = _after(text, ">", end)
        quotes = re.sub(r"""[^"']+|"[^"]*"|'[^']*'""", "", text[at:end])
        if not quotes:
            break
    return end


def _attributes(text: str) -> dict[str, str]:
    return {m[1].lower(): unescape(m[2] or m[3] or m[4] or "") for m in ATTRIBUTE.finditer(text)}


def _is_hidden(attrs: dict[str, str]) -> bool:
    return "hidden" in attrs or HIDING.search(attrs.get("style", "").lower()) is not None
