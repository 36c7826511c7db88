"""What braces and lone macros say of C and C++ where a grammar lost its way: plain text is read, no tree."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

C_LIKE = ("c", "cpp")
Body = Literal["outer", "type", "enum", "code"]

TOKEN = re.compile(
    rb"(?P<directive>^[ \t]*#(?:[^\n]*\\\r?\n)*[^\n]*)"
    rb"|(?P<comment>//[^\n]*|/\*.*?\*/)"
    # What is not closed ends with its line; behind a digit an apostrophe only groups digits.
    rb"|(?P<string>\"(?:\\.|[^\"\\\n])*\"?|(?<![\da-fA-F])'(?:\\.|[^'\\\n])*'?)"
    # Macros in capitals alone on their lines, in a list of enumerators with the comma behind.
    rb"|(?P<lone>^[ \t]*(?:[A-Z_][A-Z0-9_]{2,}\b[ \t]*"
    rb"(?P<call>\((?:[^(){};]|\([^(){};]*\)){0,400}\)[ \t]*)?){1,4},?[ \t]*(?=\r?$|//|/\*))"
    rb"|(?P<mark>[{};,])"
    rb"|(?P<other>[^\s{};,\"'/]+|/)",
    re.DOTALL | re.MULTILINE,
)
CONDITIONAL = re.compile(rb"[ \t]*#[ \t]*(if|el|endif)")
# Between enumerators: a macro over a list of names, and one that is called like the enumerator that it stands for.
DEFINE = re.compile(rb"[ \t]*#[ \t]*(?:undef\b|define[ \t]+(\w+)(?:\(|[ \t]+\1[ \t]*\r?$))")
ATTRIBUTE_CALL = re.compile(rb"\w+[ \t]*\(\([^()]*(?:\([^()]*\))?[^()]*\)\)|\balignas[ \t]*\([^()]*\)")
ENUM = re.compile(rb"\benum\b")
TYPE = re.compile(rb"\b(?:struct|union|class)\b")
OUTER = re.compile(rb"\b(?:extern|namespace)\b")
# `BIG_TYPE` above `name;` is a type; above `name(`, outside of a type, that of a function; above `{` it names one.
NO_MACRO_ABOVE = {"type": re.compile(rb"\s*\w+\s*[;=,\[]"), "outer": re.compile(rb"\s*(?:\w+\s*[;=,\[(]|\{)")}
NAME_BELOW = re.compile(rb"\s*[A-Za-z_]")


class Brace(NamedTuple):
    """An open brace: where it stands, what it opens, and the one around it."""

    start: int
    body: Body
    outer: Brace | None


class Branch(NamedTuple):
    """An open `#if`: the innermost open brace before it and behind its first branch, once that has ended."""

    before: Brace | None
    after: Brace | None = None
    has_ended: bool = False


@dataclass(slots=True)
class Braces:
    """What was read: where each opening brace is closed, and the spans of what no grammar reads."""

    closings: dict[int, int] = field(default_factory=dict)
    macros: list[tuple[int, int]] = field(default_factory=list)


def read_braces(data: bytes) -> Braces:
    """Return the pairs of braces, and the macros that stand where a member, an enumerator or a declaration would."""
    read = Braces()
    inner: Brace | None = None
    branches: list[Branch] = []
    statement, mark = 0, b";"  # where the statement started; the mark right before, empty inside of a statement
    for match in TOKEN.finditer(data):
        kind, text = match.lastgroup, match[0]
        body: Body = inner.body if inner else "outer"
        if kind in ("directive", "comment"):
            statement = match.end() if mark else statement
        if kind == "directive":
            inner = _follow_branch(text, inner, branches)
            if body == "enum" and DEFINE.match(text):
                read.macros.append(match.span())
        elif kind == "mark":
            if text == b"{":
                inner = Brace(match.start(), _opened(data[statement : match.start()], body), inner)
            elif text == b"}" and inner:
                read.closings[inner.start] = match.end()
                inner = inner.outer
            mark, statement = text, match.end() if text != b"," else statement
        elif kind == "lone" and _is_macro(match, body, mark):
            read.macros.append(match.span())
            statement = match.end()
        elif kind != "comment":
            mark = b"," if text.rstrip().endswith(b",") else b""
    return read


def _follow_branch(directive: bytes, inner: Brace | None, branches: list[Branch]) -> Brace | None:
    """Return the open brace behind a directive: all branches of an `#if` start alike, the first counts after it."""
    match = CONDITIONAL.match(directive)
    if match is None:
        return inner
    if match[1] == b"if":
        branches.append(Branch(inner))
        return inner
    if not branches:
        return inner
    before, after, has_ended = branches.pop()
    if match[1] == b"endif":
        return after if has_ended else inner
    branches.append(Branch(before, after if has_ended else inner, has_ended=True))
    return before


def _opened(head: bytes, around: Body) -> Body:
    """Return what the brace behind a head opens."""
    plain = ATTRIBUTE_CALL.sub(b"", head)
    if b"(" in plain or b"=" in plain:
        return "code"
    if ENUM.search(plain):
        return "enum"
    if TYPE.search(plain):
        return "type"
    return "outer" if around == "outer" and OUTER.search(plain) else "code"


def _is_macro(match: re.Match[bytes], body: Body, mark: bytes) -> bool:
    """Say whether names in capitals, alone on a line, stand for whole members, enumerators or declarations."""
    if not mark or body == "code":
        return False
    is_call = match["call"] is not None
    text = match[0].strip()
    if body == "enum":  # a bare name is an enumerator, unless the next one follows it without a comma
        return is_call or (not text.endswith(b",") and NAME_BELOW.match(match.string, match.end()) is not None)
    is_telling = is_call or b"_" in text.strip(b"_")
    return is_telling and not text.endswith(b",") and not NO_MACRO_ABOVE[body].match(match.string, match.end())
