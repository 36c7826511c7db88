"""Claims: text cut into checkable statements, and the anchors in each that can be looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mcp_server.answering.evidence import Span
from mcp_server.retrieval.query import PATH, SHAPED, TICKET

AnchorKind = Literal["path", "symbol", "ticket", "quote", "number"]
Form = Literal["sentence", "step", "item"]

FENCE = re.compile(r"^\s*(```|~~~)")
HEADING = re.compile(r"^\s*#{1,6}\s|^\s*(?:=+|-{3,}|\*{3,})\s*$")
LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+")
TABLE_RULE = re.compile(r"^\s*\|?[\s:|-]+\|?\s*$")
META = re.compile(
    r"^(?:I (?:found|could|can|did|do|have|was)\b|Here (?:is|are)\b|Based on\b|In summary\b|Note that I\b)", re.I
)
ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|resp|incl|fig|no|al|dr|mr|mrs|st)|\b[A-Za-z])\.$", re.I)
SENTENCE_END = re.compile(r"[.!?][)\"'”’\]]*(?=\s+(?:[A-Z`\"'“(\[*_]|$)|\s*$)")

CODE_SPAN = re.compile(r"(?<!`)(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", re.S)
QUOTED = re.compile(r"\"([^\"\n]{3,})\"|“([^”\n]{3,})”")
LINES = re.compile(r":(\d{1,7})(?:-(\d{1,7}))?")
NAME = re.compile(r"[A-Za-z_$][\w$]*(?:(?:\.|::|->|#)[A-Za-z_$][\w$]*)*(?:\(\))?")
NUMBER_UNIT = re.compile(
    r"(?<![\w.])(\d[\d_,]*(?:\.\d+)?)\s?"
    r"(ms|milliseconds?|s|secs?|seconds?|min|minutes?|h|hours?|days?|bytes?|[kmg]i?b|%|percent|tokens?|characters?|chars"
    r"|lines?|retries|times|attempts?|workers?|threads?|connections?|items?|entries|columns?|rows?)(?![\w])",
    re.I,
)
CUE = re.compile(r"(?:\blike|\be\.g\.,?|\bsuch as|\bfor example,?|\byour|\bsay,?)\s+(?:an?\s+|the\s+)?[`\"]?$", re.I)
META_NAME = re.compile(r"^(?:foo|bar|baz|qux|x{2,}|your_\w+|my_\w+|some_\w+|example\w*)$", re.I)
NO_TICKET = frozenset(
    {"UTF", "SHA", "ISO", "RFC", "PEP", "CVE", "TLS", "HTTP", "BASE", "AES", "MD", "CP", "LATIN", "WINDOWS", "X"}
)
QUOTE_WORDS = 3  # shorter quotes are names or scare quotes


@dataclass(frozen=True, slots=True)
class ClaimDraft:
    """One statement before it is checked: what it says, the lines it rests on, and its verbatim quote if any."""

    text: str
    spans: tuple[Span, ...] = ()
    quote: str = ""
    aspect: int = 0
    form: Form = "sentence"


@dataclass(frozen=True, slots=True)
class Anchor:
    """Something in a claim that can be looked up. `lines` belongs to a path; `exempt` marks a placeholder."""

    kind: AnchorKind
    text: str
    lines: tuple[int, int] | None = None
    exempt: bool = False


def split_claims(text: str) -> list[str]:
    """Cut markdown into claims: sentences, list items, table rows; no headings, questions, code or meta text."""
    claims: list[str] = []
    for block in split_blocks(text):
        claims.extend(sentence for sentence in split_sentences(block) if is_claim(sentence))
    return claims


def split_blocks(text: str) -> Iterator[str]:
    """Yield paragraphs, list items and table rows, each on one line, without fences and headings."""
    paragraph: list[str] = []
    fenced = False
    for line in (*text.split("\n"), ""):
        if FENCE.match(line):
            fenced = not fenced
        breaks = fenced or bool(FENCE.match(line) or HEADING.match(line) or LIST_ITEM.match(line)) or not line.strip()
        if (breaks or "|" in line[:2]) and paragraph:
            yield " ".join(paragraph)
            paragraph = []
        if fenced or FENCE.match(line) or HEADING.match(line) or not line.strip():
            continue
        if line.lstrip().startswith("|"):
            if not TABLE_RULE.match(line):
                yield " - ".join(cell.strip() for cell in line.strip().strip("|").split("|"))
            continue
        paragraph.append(LIST_ITEM.sub("", line).strip())


def split_sentences(paragraph: str) -> list[str]:
    """Cut one line of prose at sentence ends, leaving code, quotes, file.py:12. and e.g. whole."""
    masked = CODE_SPAN.sub(lambda m: "x" * len(m[0]), paragraph)
    masked = QUOTED.sub(lambda m: "x" * len(m[0]), masked)
    sentences: list[str] = []
    start = 0
    for match in SENTENCE_END.finditer(masked):
        if ABBREVIATION.search(masked[start : match.start() + 1]) and masked[match.end() :].strip():
            continue
        sentences.append(paragraph[start : match.end()].strip())
        start = match.end()
    sentences.append(paragraph[start:].strip())
    return [sentence for sentence in sentences if sentence]


def is_claim(sentence: str) -> bool:
    """Tell whether a sentence states something that can be checked."""
    plain = sentence.strip("*_ ")
    return not plain.endswith(("?", ":")) and not META.match(plain) and len(re.findall(r"\w+", plain)) >= 2


def find_anchors(text: str) -> tuple[Anchor, ...]:
    """Return the anchors of one claim in order: quotes first, the rest outside of them."""
    anchors: list[Anchor] = []
    rest = take_quotes(text, anchors)
    rest = take_code(rest, anchors)
    rest = take_paths(rest, anchors)
    for match in TICKET.finditer(rest):
        if match[0].split("-")[0].upper() not in NO_TICKET:
            anchors.append(Anchor("ticket", match[0], exempt=is_example(rest, match.start())))
    for match in NUMBER_UNIT.finditer(rest):
        anchors.append(Anchor("number", f"{match[1]} {match[2]}"))
    for match in NAME.finditer(TICKET.sub(" ", rest)):
        if SHAPED.search(match[0]) or match[0].endswith("()"):
            anchors.append(Anchor("symbol", match[0].removesuffix("()"), exempt=is_example(rest, match.start())))
    return tuple(dict.fromkeys(anchors))


def take_quotes(text: str, anchors: list[Anchor]) -> str:
    """Add quoted passages of three words or more; return the text without them."""

    def take(match: re.Match[str]) -> str:
        quote = match[1] or match[2]
        if len(quote.split()) < QUOTE_WORDS:
            return match[0]
        anchors.append(Anchor("quote", quote))
        return " " * len(match[0])

    masked = CODE_SPAN.sub(lambda m: m[0].replace('"', "\x00"), text)  # a quote inside code is code
    return QUOTED.sub(take, masked).replace("\x00", '"')


def take_code(text: str, anchors: list[Anchor]) -> str:
    """Add back-ticked names, paths and code passages; return the text without them."""

    def take(match: re.Match[str]) -> str:
        code = match[2].strip()
        exempt = is_example(text, match.start())
        if NAME.fullmatch(code) and not PATH.fullmatch(code):
            anchors.append(Anchor("symbol", code.removesuffix("()"), exempt=exempt))
        elif TICKET.fullmatch(code):
            anchors.append(Anchor("ticket", code, exempt=exempt))
        elif PATH.match(code) and " " not in code:
            take_paths(code, anchors)
        elif code:
            anchors.append(Anchor("quote", code, exempt=exempt))
        return " " * len(match[0])

    return CODE_SPAN.sub(take, text)


def take_paths(text: str, anchors: list[Anchor]) -> str:
    """Add paths with their line numbers; return the text without them."""
    kept = text
    for match in PATH.finditer(text):
        pointer = LINES.match(text, match.end())
        lines = (int(pointer[1]), int(pointer[2] or pointer[1])) if pointer else None
        anchors.append(Anchor("path", match[0], lines, is_example(text, match.start())))
        end = pointer.end() if pointer else match.end()
        kept = kept[: match.start()] + " " * (end - match.start()) + kept[end:]
    return kept


def is_example(text: str, start: int) -> bool:
    """Tell whether what begins here is introduced as an example or is a placeholder."""
    name = NAME.match(text, start + (1 if text[start : start + 1] == "`" else 0))
    return bool(CUE.search(text[:start])) or bool(name and META_NAME.match(name[0]))
