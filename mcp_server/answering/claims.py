"""Claims: text cut into checkable statements, and the anchors in each that can be looked up."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from mcp_server.answering.evidence import Span
from mcp_server.retrieval.query import PATH, SHAPED, TICKET

AnchorKind = Literal[
    "path", "symbol", "ticket", "quote", "passage", "number", "flag", "route", "code", "version", "lines"
]
Form = Literal["sentence", "step", "item"]

# What a document says of other repositories, or on purpose: between these marks nothing is checked.
IGNORED = re.compile(r"<!--\s*codecairn:\s*off\s*-->[\s\S]*?(?:<!--\s*codecairn:\s*on\s*-->|\Z)")
# reStructuredText: what is quoted as code, and where links lead. A line that ends so, or one of these, opens a block.
LITERAL_NEXT = re.compile(r"^(?!\s*\.\.\s).*::\s*$")
CODE_DIRECTIVE = re.compile(
    r"^\s*\.\.\s+(?:code|code-block|sourcecode|parsed-literal|prompt|doctest|testcode|testoutput|testsetup|ipython|console"
    r"|math|graphviz|productionlist|raw|highlight|literalinclude|image|figure|toctree)::"
)
LINK_TARGET = re.compile(r"^\s*(?:\.\.\s+_[^\n]*:|__\s)")
PROMPT = re.compile(r"^\s*(?:>>>|\.\.\.)(?:\s|$)")
FENCE = re.compile(r"^\s{0,12}(```+|~~~+)")
HEADING = re.compile(r"^\s*#{1,6}\s|^\s*(?:=+|-{3,}|\*{3,})\s*$")
LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+")
TABLE_RULE = re.compile(r"^\s*\|?[\s:|-]+\|?\s*$")
CELL = re.compile(r"(?<!\\)\|")
META = re.compile(
    r"^(?:I (?:found|could|can|did|do|have|was)\b|Here (?:is|are)\b|Based on\b|In summary\b|Note that I\b)", re.I
)
ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|resp|incl|fig|no|al|dr|mr|mrs|st)|\b[A-Za-z])\.$", re.I)
SENTENCE_END = re.compile(r"[.!?][)\"'”’\]]*(?=\s+(?:[A-Z`\"'“(\[*_]|$)|\s*$)")

MAX_CLAIM = 4_000  # characters; a longer "sentence" is data
MAX_BLOCK = 40_000  # characters of a paragraph
# A code span or a quote has at most 400 characters: that bounds the search for its closing mark.
CODE_SPAN = re.compile(r"(?<!`)(`{1,2})(?!`)(.{1,400}?)(?<!`)\1(?!`)", re.S)
QUOTED = re.compile(r"(?<![\w\"])\"(?=\S)([^\"\n]{3,400})(?<=\S)\"(?!\w)|“([^”\n]{3,400})”")
URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s<>)\]`\"']+|\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", re.I)
TAG = re.compile(r"</?[a-zA-Z][\w:-]*\s?/?>")  # mark-up, and placeholders such as <name>
ABBREVIATED = re.compile(r"[a-z]\.[a-z]", re.I)  # e.g, i.e
LINES = re.compile(r":(\d{1,7})(?:[-–](\d{1,7}))?|#L(\d{1,7})(?:-L?(\d{1,7}))?")
BESIDE = re.compile(
    r"[`*\s]*[(,:]?\s*(?:at|on|around|see|from|in)?\s*(?:the\s)?[(`*]*", re.I
)  # from a path to its lines
INSIDE = re.compile(
    r"[)`*]*\s*[(]?\s*(?:in|of|from|within)\s+(?:the\s+)?(?:file\s+)?[`*]*", re.I
)  # from lines to a path
LINE_REFERENCE = re.compile(
    r"\b(?:lines?|ll?\.|L)\s?(\d{1,6})(?:\s?(?:[-–—]|to|through)\s?(?:line\s)?L?(\d{1,6}))?"
    r"((?:\s?(?:,|and|or|&|/|, and|, or)\s?(?:lines?\s)?\d{1,6}(?:\s?[-–—]\s?\d{1,6})?)*)",
    re.I,
)
PATH_LIKE = re.compile(r"\.[A-Za-z]\w{0,9}$")  # of a path: names a file
NAME = re.compile(r"(?<![\w$])[A-Za-z_$][\w$]*(?:(?:\.|::|->|#)[A-Za-z_$][\w$]*)*(?:\(\))?")
CALL = re.compile(r"@?([A-Za-z_$][\w$]*(?:(?:\.|::|->)[A-Za-z_$][\w$]*)*)\((?=.)")
PASSAGE_NAME = re.compile(r"(?<![\w$%{<-])([A-Za-z_$][\w$]*(?:(?:\.|::|->)[A-Za-z_$][\w$]*)*)(?=(\()?)")
STRING = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
STRING_NAME = re.compile(r"[\"'][A-Za-z]\w*_\w+[\"']")  # a key: `config["SECRET_KEY"]`
# A statement of SQL: its tables and columns are anybody's.
STATEMENT = re.compile(
    r"(?:SELECT|INSERT\s+INTO|UPDATE|DELETE\s+FROM|(?:CREATE|DROP|ALTER|TRUNCATE)(?:\s+[A-Z]+)*\s+(?:TABLE|VIEW|INDEX)"
    r"|MERGE\s+INTO)\s"
)
FLAG = re.compile(r"(?<![\w/-])--[a-z][\w-]*[\w]", re.I)
ROUTE = re.compile(
    r"(?<![\w.~<])/(?:[\w.~:*%-]+|<[\w:. -]+>|\{[\w:.*-]+\})(?:/(?:[\w.~:*%-]+|<[\w:. -]+>|\{[\w:.*-]+\}))*/?"
)
METHOD = re.compile(r"\b(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS)\s+`?$")
FILE_SYSTEM = re.compile(r"^/(?:etc|usr|var|tmp|home|dev|proc|opt|bin|root|mnt|srv|sys|Users|path|some)\b")
CODE = re.compile(r"[A-Z]{1,5}-?\d{2,5}")
VERSION = re.compile(
    r"(?<![\w.])v?\d+\.\d+(?:\.\d+)+(?:[-.]?(?:a|b|rc|dev|post)\d*)?(?![\w.]*\w)|(?<![\w.])v\d+\.\d+(?!\.?\w)"
)
NUMBER_UNIT = re.compile(
    r"(?<![\w.])(\d[\d_,]*(?:\.\d+)?)\s?"
    r"(ms|milliseconds?|s|secs?|seconds?|min|minutes?|h|hours?|days?|bytes?|[kmg]i?b|%|percent|tokens?|characters?|chars"
    r"|lines?|retries|times|attempts?|workers?|threads?|connections?|items?|entries|columns?|rows?)(?![\w])",
    re.I,
)
PLAIN_NUMBER = re.compile(r"(?<![\w.#$/:@-])(?:0x[\da-fA-F_]+|\d[\d_,]*(?:\.\d+)?)(?![\w:]|\.\d)(?<!\(\d)")
COUNT_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
WORD_UNIT = re.compile(
    rf"\b({'|'.join(COUNT_WORDS)})\s(milliseconds?|seconds?|minutes?|hours?|days?|bytes?|retries|attempts?)\b", re.I
)
AT_LEAST = re.compile(r"(?<![\w.])\d+[-–]\d+\+")  # an estimate: "5-10+ times"
COMPARISON = re.compile(r"^(?:[<>=!]=?|==)\s*(?=\d)")
# Before a number that counts or names something in the text itself: "Python 3", "step 2", "(1".
NOT_A_VALUE = re.compile(
    r"(?:\b[A-Z][\w+#.-]*|\b(?i:step|phase|section|chapter|part|level|stage|version|rule|item|point|figure|case|branch)|\[)"
    r"\s?$"
)
CUE = re.compile(
    r"(?:\blike|\be\.g\.,?|\bi\.e\.,?|\bsuch as|\bfor example,?|\bfor instance,?|\byour(?: own)?|\bsay,?|\bnamed"
    r"|\bcalled)"
    r"\s+(?:an?\s+|the\s+)?[`\"(]*$",
    re.I,
)
META_NAME = re.compile(
    r"^(?:foo|bar|baz|qux|spam|eggs|x{2,}|u?X{3,}|your_?\w+|my_?\w+|My[A-Z]\w*|Your[A-Z]\w*|some_\w+|Some[A-Z]\w*|example\w*|Foo\w*|Bar\w*)$"
)
NO_TICKET = frozenset(
    {"UTF", "SHA", "ISO", "RFC", "PEP", "CVE", "TLS", "HTTP", "BASE", "AES", "MD", "CP", "LATIN", "WINDOWS", "X"}
)
LITERAL_WORDS = frozenset({"true", "false", "none", "null", "nil", "undefined"})
IDENTIFIERS = re.compile(r"[A-Za-z_$][\w$]*")
CALLED = re.compile(r"\([^()]*\)")
QUOTE_WORDS = 3  # shorter quotes are names or scare quotes


@dataclass(frozen=True, slots=True)
class ClaimDraft:
    """One statement before it is checked: what it says, the lines it rests on, and its verbatim quote if any."""

    text: str
    spans: tuple[Span, ...] = ()
    quote: str = ""
    aspect: int = 0
    form: Form = "sentence"
    place: str = ""  # the path that line numbers without a path belong to
    about: tuple[str, ...] = ()  # names of the statements before it: what "it" and "the method" may mean


@dataclass(frozen=True, slots=True)
class TextClaim:
    """One statement of a text and where it stands: characters from 0, the end exclusive, and the line from 1."""

    text: str
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """Something in a claim that can be looked up. `lines` belongs to a path; `exempt` marks a placeholder.

    `start` and `end` are its place in the claim, marks included.
    """

    kind: AnchorKind
    text: str
    lines: tuple[int, int] | None = None
    exempt: bool = False
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)
    before: str = field(default="", compare=False)  # of a quote: what introduces it
    is_marked: bool = True  # False: a name that stands in the prose without back-ticks


def split_claims(text: str) -> list[str]:
    """Cut markdown into claims: sentences, list items, table rows; no headings, questions, code or meta text."""
    return [claim.text for claim in find_claims(text)]


def find_claims(text: str) -> list[TextClaim]:
    """Return the claims of a markdown text with their places. Any line ends; `text` keeps its own offsets."""
    breaks = [at for at, char in enumerate(text) if char == "\n"]
    claims: list[TextClaim] = []
    ignored = [match.span() for match in IGNORED.finditer(text)]
    for block in split_blocks(without_code(text)):
        if any(start <= block.pieces[0][1] < end for start, end in ignored):
            continue
        for start, end in cut_long(block.text, sentence_bounds(block.text)):
            sentence = block.text[start:end]
            if is_claim(sentence):
                first, last = block.offset(start), block.offset(end - 1) + 1
                claims.append(TextClaim(sentence, first, last, bisect_right(breaks, first - 1) + 1))
    return claims


def cut_long(text: str, bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of sentences, those that no person writes in pieces."""
    for start, end in bounds:
        while end - start > MAX_CLAIM:
            space = text.rfind(" ", start + 1, start + MAX_CLAIM)
            cut = space if space > 0 else start + MAX_CLAIM
            yield start, cut
            start = trim_start(text, cut, end)
        if end > start:
            yield start, end


@dataclass(slots=True)
class Block:
    """A paragraph, list item or table row on one line, and where its pieces stand in the text."""

    text: str = ""
    pieces: list[tuple[int, int]] = field(default_factory=list)  # start in the block, start in the text

    def add(self, piece: str, at: int, joint: str = " ") -> None:
        """Append a piece that starts at a character of the text."""
        self.text += joint if self.text else ""
        self.pieces.append((len(self.text), at))
        self.text += piece

    def offset(self, position: int) -> int:
        """Return the character of the text for one of the block."""
        start, at = self.pieces[bisect_right(self.pieces, position, key=lambda piece: piece[0]) - 1]
        return at + position - start


def split_blocks(text: str) -> Iterator[Block]:
    """Yield paragraphs, list items and table rows, each on one line, without fences and headings."""
    block = Block()
    fence = ""
    for at, line in text_lines(text):
        mark = FENCE.match(line)
        if fence or mark:
            if block.text:
                yield block
                block = Block()
            if mark and (not fence or (mark[1].startswith(fence) and line.strip() == mark[1])):
                fence = "" if fence else mark[1]
            continue
        is_row = line.lstrip().startswith("|")
        if block.text and (is_row or HEADING.match(line) or LIST_ITEM.match(line) or not line.strip()):
            yield block
            block = Block()
        if HEADING.match(line) or not line.strip():
            continue
        if is_row:
            if not TABLE_RULE.match(line):
                yield row_block(line, at)
            continue
        marker = LIST_ITEM.match(line)
        start = marker.end() if marker else len(line) - len(line.lstrip())
        block.add(line[start:].rstrip(), at + start)
        if len(block.text) > MAX_BLOCK:
            yield block
            block = Block()
    if block.text:
        yield block


def row_block(line: str, at: int) -> Block:
    """Return a table row, its cells joined by dashes."""
    block = Block()
    start = 0
    for end in (*(bar.start() for bar in CELL.finditer(line)), len(line)):
        cell = line[start:end]
        if cell.strip():
            block.add(cell.strip(), at + start + len(cell) - len(cell.lstrip()), " - ")
        start = end + 1
    return block


def text_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text without their ends, each with its first character's number."""
    at = 0
    for line in text.split("\n"):
        yield at, line.removesuffix("\r")
        at += len(line) + 1


def literal_spans(text: str) -> list[tuple[int, int]]:
    """Return where code and link targets of reStructuredText stand, in order: literal blocks, directives, sessions."""
    spans: list[tuple[int, int]] = []
    depth_of_code: int | None = None
    in_session = False
    for at, line in text_lines(text):
        said = line.strip()
        depth = len(line) - len(line.lstrip())
        if depth_of_code is not None and said and depth <= depth_of_code:
            depth_of_code = None
        in_session = bool(said) and (in_session or said.startswith(">>>"))
        opens = CODE_DIRECTIVE.match(line) is not None
        if depth_of_code is not None or in_session or opens or LINK_TARGET.match(line):
            spans[-1:] = join_spans(spans[-1:], (at, at + len(line) + 1))
        if depth_of_code is None and (opens or LITERAL_NEXT.match(line)):
            depth_of_code = depth
    return spans


def join_spans(last: list[tuple[int, int]], new: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the last of some spans with a new one, joined where they touch."""
    if last and last[0][1] >= new[0]:
        return [(last[0][0], new[1])]
    return [*last, new]


def without_code(text: str) -> str:
    """Return a text of the same length with spaces where reStructuredText quotes code."""
    parts: list[str] = []
    at = 0
    for start, end in literal_spans(text):
        parts += text[at:start], re.sub(r"[^\n]", " ", text[start:end])
        at = end
    return "".join((*parts, text[at:]))


def split_sentences(paragraph: str) -> list[str]:
    """Cut one line of prose at sentence ends, leaving code, quotes, file.py:12. and e.g. whole."""
    return [paragraph[start:end] for start, end in sentence_bounds(paragraph)]


def sentence_bounds(paragraph: str) -> list[tuple[int, int]]:
    """Return where the sentences of one line of prose start and end."""
    masked = CODE_SPAN.sub(lambda m: "X" * len(m[0]), paragraph)  # a capital: a sentence may begin with code
    masked = QUOTED.sub(lambda m: "X" * len(m[0]), masked)
    bounds: list[tuple[int, int]] = []
    start = 0
    for match in SENTENCE_END.finditer(masked):
        if (
            ABBREVIATION.search(masked[max(start, match.start() - 12) : match.start() + 1])
            and masked[match.end() :].strip()
        ):
            continue
        bounds.append((start, match.end()))
        start = match.end()
    bounds.append((start, len(paragraph)))
    trimmed = ((trim_start(paragraph, s, e), e) for s, e in bounds)
    return [(s, s + len(paragraph[s:e].rstrip())) for s, e in trimmed if paragraph[s:e].strip()]


def trim_start(text: str, start: int, end: int) -> int:
    """Return where the first visible character of a part of a text stands."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip())


def is_claim(sentence: str) -> bool:
    """Tell whether a sentence states something that can be checked."""
    plain = sentence.strip("*_ ")
    return not plain.endswith(("?", ":")) and not META.match(plain) and len(re.findall(r"\w+", plain)) >= 2


def quoted_code(text: str) -> str:
    """Return the code that a text quotes: between fences, in literal blocks, behind prompts."""
    lines = [PROMPT.sub("", line) for start, end in literal_spans(text) for line in text[start:end].split("\n")]
    fence = ""
    for _, line in text_lines(text):
        mark = FENCE.match(line)
        if mark and (not fence or (mark[1].startswith(fence) and line.strip() == mark[1])):
            fence = "" if fence else mark[1]
        elif fence:
            lines.append(line)
    return "\n".join(lines)


@lru_cache(maxsize=512)
def find_anchors(text: str) -> tuple[Anchor, ...]:
    """Return the anchors of one claim: quotes first, the rest outside of them."""
    anchors: list[Anchor] = []
    rest = URL.sub(blank, take_quotes(text, anchors))  # a quote keeps its addresses
    rest = TAG.sub(blank, take_code(rest, anchors))
    rest = take_paths(rest, anchors)
    rest = take_lines(rest, anchors)
    for match in TICKET.finditer(rest):
        if match[0].split("-")[0].upper() not in NO_TICKET:
            anchors.append(
                Anchor("ticket", match[0], None, is_example(rest, match.start()), match.start(), match.end())
            )
    rest = TICKET.sub(lambda m: " " * len(m[0]), rest)
    rest = take(VERSION, "version", rest, anchors)
    rest = take(FLAG, "flag", rest, anchors)
    rest = take_numbers(rest, anchors)
    for match in NAME.finditer(rest):
        if (SHAPED.search(match[0]) or match[0].endswith("()")) and not ABBREVIATED.fullmatch(match[0]):
            name = match[0].removesuffix("()").lstrip("$")
            exempt = is_example(rest, match.start()) or name.lower() in LITERAL_WORDS
            is_marked = match[0].endswith("()")
            anchors.append(Anchor("symbol", name, None, exempt, match.start(), match.end(), is_marked=is_marked))
    return tuple(dict.fromkeys(attach_lines(text, anchors)))


def names_of(anchors: Sequence[Anchor]) -> tuple[str, ...]:
    """Return the last parts of the names among anchors, placeholders left out."""
    names = (IDENTIFIERS.findall(CALLED.sub("", a.text))[-1:] for a in anchors if a.kind == "symbol" and not a.exempt)
    return tuple(dict.fromkeys(name for found in names for name in found))


def blank(match: re.Match[str]) -> str:
    """Return spaces in the place of a match."""
    return " " * len(match[0])


def attach_lines(text: str, anchors: Sequence[Anchor]) -> Iterator[Anchor]:
    """Yield the anchors, bare line numbers with the path that they stand beside."""
    paths = [anchor for anchor in anchors if anchor.kind == "path"]
    for anchor in anchors:
        if anchor.kind != "lines":
            yield anchor
            continue
        before = next(
            (p for p in paths if p.end <= anchor.start and BESIDE.fullmatch(text[p.end : anchor.start])), None
        )
        after = next((p for p in paths if p.start >= anchor.end and INSIDE.fullmatch(text[anchor.end : p.start])), None)
        beside = after or before
        yield replace(anchor, text=beside.text) if beside else anchor


def take(pattern: re.Pattern[str], kind: AnchorKind, text: str, anchors: list[Anchor]) -> str:
    """Add every match as an anchor of one kind; return the text without them."""

    def add(match: re.Match[str]) -> str:
        anchors.append(Anchor(kind, match[0], None, is_example(text, match.start()), match.start(), match.end()))
        return " " * len(match[0])

    return pattern.sub(add, text)


def take_quotes(text: str, anchors: list[Anchor]) -> str:
    """Add quoted passages of three words or more; return the text without them."""

    def add(match: re.Match[str]) -> str:
        quote = match[1] or match[2]
        if len(quote.split()) < QUOTE_WORDS or "`" in quote:
            return match[0]
        before = text[max(0, match.start() - 60) : match.start()]
        exempt = is_example(text, match.start())
        anchors.append(Anchor("quote", quote, None, exempt, match.start(), match.end(), before))
        return " " * len(match[0])

    masked = CODE_SPAN.sub(lambda m: m[0].replace('"', "\x00"), text)  # a quote inside code is code
    return QUOTED.sub(add, masked).replace("\x00", '"')


def take_code(text: str, anchors: list[Anchor]) -> str:
    """Add back-ticked names, paths and code passages; return the text without them."""

    def add(match: re.Match[str]) -> str:
        code = match[2].strip()
        exempt = is_example(text, match.start())
        place = (match.start(), match.end())
        pointer = LINES.search(code)
        bare = code[: pointer.start()] if pointer and pointer.end() == len(code) else code
        if code.lower() in LITERAL_WORDS:
            pass
        elif NAME.fullmatch(code) and not PATH.fullmatch(code):
            anchors.append(Anchor("symbol", code.removesuffix("()").lstrip("$") or code, None, exempt, *place))
        elif TICKET.fullmatch(code):
            anchors.append(Anchor("ticket", code, None, exempt, *place))
        elif PATH.fullmatch(bare):
            lines = pointed(pointer) if pointer and bare != code else None
            anchors.append(Anchor("path", bare.removeprefix("./"), lines, exempt, *place))
        elif FLAG.fullmatch(code):
            anchors.append(Anchor("flag", code, None, exempt, *place))
        elif ROUTE.fullmatch(code) and PATH.fullmatch(code[1:]) and PATH_LIKE.search(code):
            anchors.append(Anchor("path", code[1:], None, exempt, *place))  # written from the root of the repository
        elif ROUTE.fullmatch(code):
            anchors.append(Anchor("route", code, None, exempt or bool(FILE_SYSTEM.match(code)), *place))
        elif VERSION.fullmatch(code):
            anchors.append(Anchor("version", code, None, exempt, *place))
        elif PLAIN_NUMBER.fullmatch(bound := COMPARISON.sub("", code)):
            anchors.append(Anchor("number", bound, None, exempt, *place))
        elif code:
            anchors.append(Anchor("passage", code, None, exempt or bool(STATEMENT.match(code)), *place))
        return " " * len(match[0])

    return CODE_SPAN.sub(add, text)


def passage_anchors(passage: Anchor) -> tuple[Anchor, ...]:
    """Return what can be looked up inside a code passage: calls, members, shaped names, flags; no strings."""
    if passage.exempt:
        return ()
    code = STRING.sub(lambda m: m[0] if STRING_NAME.fullmatch(m[0]) else blank(m), passage.text)
    anchors = [Anchor("flag", match[0].partition("=")[0]) for match in FLAG.finditer(code)]
    code = FLAG.sub(lambda m: " " * len(m[0]), code)
    path = PATH.fullmatch(passage.text.rstrip("/").removesuffix("/*"))
    if path:
        return (Anchor("path", passage.text),)
    for match in PASSAGE_NAME.finditer(code):
        name = match[1].lstrip("$")
        if (
            name
            and (match[2] or SHAPED.search(name))
            and name.lower() not in LITERAL_WORDS
            and not META_NAME.match(name)
        ):
            anchors.append(Anchor("symbol", name))
    return tuple(dict.fromkeys(anchors))


def take_paths(text: str, anchors: list[Anchor]) -> str:
    """Add paths with their line numbers; return the text without them."""
    kept = text
    for match in PATH.finditer(text):
        pointer = LINES.match(text, match.end())
        end = pointer.end() if pointer else match.end()
        lines = pointed(pointer) if pointer else None
        path = match[0].removeprefix("./")
        anchors.append(Anchor("path", path, lines, is_example(text, match.start()), match.start(), end))
        kept = kept[: match.start()] + " " * (end - match.start()) + kept[end:]
    return kept


def pointed(match: re.Match[str]) -> tuple[int, int]:
    """Return the lines of a pointer `:3-9` or `#L3-L9`."""
    first = int(match[1] or match[3])
    return first, max(first, int(match[2] or match[4] or first))


def take_lines(text: str, anchors: list[Anchor]) -> str:
    """Add `lines 3-9` and `line 3`; return the text without them."""

    def add(match: re.Match[str]) -> str:
        first = int(match[1])
        pairs = [(first, max(first, int(match[2] or first)))]
        for more in re.finditer(r"(\d+)(?:\s?[-–—]\s?(\d+))?", match[3]):
            pairs.append((int(more[1]), max(int(more[1]), int(more[2] or more[1]))))
        anchors.extend(Anchor("lines", "", pair, False, match.start(), match.end()) for pair in pairs)
        return " " * len(match[0])

    return LINE_REFERENCE.sub(add, text)


def take_numbers(text: str, anchors: list[Anchor]) -> str:
    """Add numbers with a unit, and plain ones that are values; return the text without them."""
    rest = text = AT_LEAST.sub(blank, text)
    for match in NUMBER_UNIT.finditer(text):
        anchors.append(Anchor("number", f"{match[1]} {match[2]}", None, False, match.start(), match.end()))
        rest = rest[: match.start()] + " " * len(match[0]) + rest[match.end() :]
    for match in WORD_UNIT.finditer(rest):
        count = COUNT_WORDS.index(match[1].lower())
        anchors.append(Anchor("number", f"{count} {match[2]}", None, False, match.start(), match.end()))
    for match in PLAIN_NUMBER.finditer(rest):
        before = rest[max(0, match.start() - 30) : match.start()]
        if not NOT_A_VALUE.search(before):
            number = match[0].rstrip(",_")
            anchors.append(Anchor("number", number, None, False, match.start(), match.start() + len(number)))
    return rest


def is_example(text: str, start: int) -> bool:
    """Tell whether what begins here is introduced as an example or is a placeholder."""
    at = start
    while text[at : at + 1] in ("`", '"'):
        at += 1
    name = NAME.match(text, at)
    return bool(CUE.search(text[max(0, start - 60) : start])) or bool(name and META_NAME.match(name[0]))
