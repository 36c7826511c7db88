"""Literals: whether the code gives a name the value that a claim gives it. Lexical checks miss a flipped True.

A truth value belongs to the name before it ("`debug` is `False`", `stream=True`). What the evidence knows of a name is
its polarity: values that it is given, and conditions that it stands in (`not x` speaks of false). A code passage that
differs from the code in nothing but its literals is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from ingest.chunking.facts import IDENTIFIER, number_of
from mcp_server.answering.claims import COUNT_WORDS, WORD_UNIT, Anchor

TRUTH = re.compile(r"(?<![\w.=!-])(true|false)(?![\w-])|(?<==)\s?(true|false)(?![\w-])", re.I)
BESIDE = 6  # characters between a value and the line number that belongs to it
CUE_REACH = 110  # characters before a truth value in which a word says how it is meant
REACH = 70  # characters between a name and the truth value that is said of it
TOKEN = re.compile(r"(?<![\w.])(?:true|false|\d[\d_]*(?:\.\d+)?)(?![\w]|\.\d)", re.I)
LEAST_PASSAGE = 8  # letters of a passage beside its literals; less is found by chance
ASSIGNED = re.compile(
    r"^\s*(?:\)|[\"'`]|\]|\*)*\s*(?::\s*[\w.\[\]| ]+?)?\s*(?::=|===?|=|:|,|\bis\b|->|to|returns?)\s*"
    r"(?:[\"'`(]*)(?P<not>not\s+)?(?P<v>true|false)\b",
    re.I,
)
OWNER = r"(?:[\w$]+\s*(?:\.|->|\[[\"'])\s*)*$"  # `self.`, `app.config["`
NEGATED = re.compile(rf"(?:\bnot\s+|!\s?|\bunless\s+){OWNER}", re.I)
TESTED = re.compile(rf"(?:\b(?:if|elif|while|and|or|assert|when|until|return)\b|&&|\|\||\?)\s*\(*\s*{OWNER}", re.I)
COMPARED = re.compile(r"^\s*[\"'\]]*\s*(?:is\b|!=|==|in\b|not\s+in\b|<|>|\.)", re.I)
JOINED = re.compile(r"^\s*(?:or|and|&&|\|\|)(?!\w)")
ARGUMENTS = re.compile(r"^\s*\([^()]*\)")
LEAVES = re.compile(r"\s*(?:return|raise|throw|continue|break)\b")
ELSE = re.compile(r"\s*(?:\}\s*)?(?:else|elif|elsif)\b")
TRUTH_WORD = re.compile(r"\b(?:true|false)\b", re.I)
KEYWORDS = frozenset({"is", "not", "if", "return", "True", "False", "None", "and", "or", "in", "assert", "bool"})
OTHER = {"true": "false", "false": "true"}
# The last of these before a truth value says how it is meant.
CUES = re.compile(
    r"\b(?:(?P<tested>if|when|whenever|unless|while|until|provided|whether|where|requires?|must be)"
    r"|(?P<first>initiali[sz]\w+|initially|starts?|begins?|defaults?)"
    r"|(?P<given>sets?|setting|assigned?|becomes?|pass(?:es|ed|ing)|declared|marks?))\b",
    re.I,
)
RETURNING = re.compile(r"\breturn(?:s|ed|ing)?[\s`*(]*$", re.I)
RETURNS_IT = re.compile(r"[`()\s]*returns\s[`*]*", re.I)  # "if `f()` returns True": a test of f
FAILING = re.compile(r"\b(?:if|when|on)\b[^.;]{1,60}\b(?:fails?|raises?|throws?|errors?)\b", re.I)
TRY = re.compile(r"^\s*(?:try|begin)\s*[:{]?\s*$")
CATCH = re.compile(r"^\s*(?:\}\s*)?(?:except|catch|rescue)\b")
RETURN = re.compile(r"\breturn\s+(true|false)\b", re.I)
HANDLER = 6  # lines of a handler in which its return is looked for
DENIED = re.compile(r"\bnot\s*[`*_]*$", re.I)


NUMBER = re.compile(r"(?<![\w.])(?:0x[\da-fA-F_]+|\d[\d_,]*(?:\.\d+)?)")
TIME_UNIT = re.compile(r"^(ms|milli|s|min|h|d)", re.I)
TO_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
Form = Literal["first", "given", "tested", "returned", "any"]  # "starts as True", "set to True", "if True", ...
NAMES = 3  # before a truth value that it may be said of


@dataclass(frozen=True, slots=True)
class Said:
    """A truth value in a claim and the names before it, of one of which it is said."""

    names: tuple[str, ...]  # the nearest first
    value: str  # true or false
    form: Form = "any"
    end: int = 0  # where it ends in the claim
    is_failing: bool = False  # "if `x()` fails"

    def is_beside(self, anchor: Anchor) -> bool:
        """Tell whether line numbers belong to this value: "`True` at line 320", "`True` (line 320)"."""
        return 0 <= anchor.start - self.end <= BESIDE


@dataclass(frozen=True, slots=True)
class Polarity:
    """The truth values that code gives a name, in order, and those that it tests the name for."""

    given: tuple[str, ...] = ()
    tested: frozenset[str] = frozenset()

    def values(self, form: Form) -> frozenset[str]:
        """Return what bears on a statement of one form; none where nothing does."""
        given = frozenset(self.given[:1] if form == "first" else self.given)
        if form in ("first", "given"):
            return given or self.tested
        return (self.tested or given) if form == "tested" else given | self.tested


def find_truths(text: str, anchors: Sequence[Anchor]) -> list[Said]:
    """Return the truth values of a claim, each with the nearest name before it."""
    named = sorted((a for a in anchors if a.kind in ("symbol", "passage") and a.end > a.start), key=lambda a: a.start)
    found: list[Said] = []
    for match in TRUTH.finditer(text):
        value = (match[1] or match[2]).lower()
        if DENIED.search(text[max(0, match.start() - 12) : match.start()]):
            value = OTHER[value]
        form = form_of(text, match.start())
        is_failing = bool(FAILING.search(text, 0, match.start()))  # then the test is that it fails
        inside = next((a for a in named if a.start <= match.start() < a.end), None)
        if inside is not None:
            names = IDENTIFIER.findall(text[inside.start : match.start()])[-1:]
        else:
            before = [a for a in named if a.end <= match.start() and match.start() - a.end <= REACH]
            if RETURNING.search(text[: match.start()]) and not (
                not is_failing
                and before
                and form == "tested"
                and RETURNS_IT.fullmatch(text[before[-1].end : match.start()])
            ):
                form = "returned"
            names = [
                name for a in reversed(before[-NAMES:]) for name in IDENTIFIER.findall(a.text.partition("(")[0])[-1:]
            ]
        names = [name for name in names if name not in KEYWORDS]
        found.append(Said(tuple(names), value, form, match.end(), is_failing))
    return found


def form_of(text: str, at: int) -> Form:
    """Return whether the words before a truth value give it to a name or ask for it."""
    cues = list(CUES.finditer(text, max(0, at - CUE_REACH), at))
    return cast("Form", cues[-1].lastgroup) if cues else "any"


def returned(lines: Sequence[str]) -> frozenset[str]:
    """Return the truth values that lines of code return as literals."""
    return frozenset(match[1].lower() for line in lines for match in RETURN.finditer(line))


def returned_on(lines: Sequence[str], name: str) -> frozenset[str]:
    """Return the truth values that lines of code return where they catch an exception of a name."""
    caught = re.compile(rf"^\s*(?:\}}\s*)?(?:except|catch|rescue)\b.*(?<![\w$]){re.escape(name)}(?![\w$])")
    blocks = (lines[at + 1 : at + 1 + HANDLER] for at, line in enumerate(lines) if caught.search(line))
    firsts = (next((m[1].lower() for line in block for m in RETURN.finditer(line)), "") for block in blocks)
    return frozenset(filter(None, firsts))


def returned_failing(lines: Sequence[str], name: str) -> frozenset[str]:
    """Return the truth values that lines of code return where they catch what a call to a name may throw."""
    called = re.compile(rf"(?<![\w$]){re.escape(name)}\s*\(")
    found: set[str] = set()
    guarded: bool | None = None  # None outside of `try`
    for at, line in enumerate(lines):
        if TRY.match(line):
            guarded = False
        elif guarded is not None and CATCH.match(line):
            block = lines[at + 1 : at + 1 + HANDLER]
            if guarded and (value := next((m[1].lower() for one in block for m in RETURN.finditer(one)), "")):
                found.add(value)
            guarded = None
        elif guarded is not None and called.search(line):
            guarded = True
    return frozenset(found)


def polarity(lines: Sequence[str], name: str) -> Polarity:
    """Return the truth values that lines of code or documents give a name, and test it for; its case does not count."""
    word = re.compile(rf"(?<![\w$]){re.escape(name)}(?![\w$])", re.I)
    given: list[str] = []
    tested: set[str] = set()
    for at, line in enumerate(lines):
        for match in word.finditer(line):
            before, after = line[: match.start()], ARGUMENTS.sub("", line[match.end() :])
            if value := ASSIGNED.match(after):
                said = value["v"].lower()
                given.append(OTHER[said] if value["not"] else said)
            elif NEGATED.search(before):
                # What follows an early exit is what happens when the name is true.
                tested |= {"false", "true"} if LEAVES.match(lines[at + 1] if at + 1 < len(lines) else "") else {"false"}
            elif not COMPARED.match(after) and (TESTED.search(before) or JOINED.match(after)):
                tested |= {"true", "false"} if has_else(lines, at) else {"true"}
            else:
                given += [found.lower() for found in TRUTH_WORD.findall(after)]
    return Polarity(tuple(given), frozenset(tested))


def has_else(lines: Sequence[str], at: int) -> bool:
    """Tell whether the branch that begins in a line has another one beside it."""
    width = len(lines[at]) - len(lines[at].lstrip())
    for line in lines[at + 1 :]:
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth <= width:
            return depth == width and bool(ELSE.match(line))
    return False


def passage_pattern(code: str) -> re.Pattern[str] | None:
    """Return a pattern for code that differs from a passage in its literals only; None where little else is left."""
    plain = " ".join(code.split())
    parts = TOKEN.split(plain)
    if len(parts) < 2 or len(re.sub(r"\W", "", "".join(parts))) < LEAST_PASSAGE:
        return None
    pieces = [re.escape(part) for part in parts]
    return re.compile(r"(?<!\w)" + r"((?i:true|false)|\d[\d_]*(?:\.\d+)?)(?![\w])".join(pieces))


def differing(code: str, text: str) -> str:
    """Return what a text has in the place of a passage that differs in its literals only, "" if it has none."""
    pattern = passage_pattern(code)
    match = pattern.search(text) if pattern else None
    return match[0] if match else ""


def is_call_argument(code: str) -> bool:
    """Tell whether a passage is nothing but `name=value`: that may be anybody's call."""
    return bool(re.fullmatch(r"[\w.\[\]\"']+\s*=\s*[\w.\"'-]+", code.strip()))


def digits(text: str) -> str:
    """Return the number of a literal without separators."""
    found = NUMBER.search(text)
    return found[0].replace("_", "").replace(",", "") if found else ""


def numbers_in(text: str) -> frozenset[str]:
    """Return every number of a text in its normal form."""
    return frozenset(map(number_of, NUMBER.findall(text)))


def counted_in(text: str) -> frozenset[str]:
    """Return the numbers that a text gives in words before their unit: "two seconds"."""
    return frozenset(str(COUNT_WORDS.index(match[1].lower())) for match in WORD_UNIT.finditer(text))


def readings(literal: str) -> list[str]:
    """Return the normal forms of a number, as written and in other units of time: 30 s = 30000 ms."""
    value = number_of(digits(literal))
    unit = TIME_UNIT.match(literal.split()[-1])
    if not unit or not value:
        return [value]
    in_ms = float(value) * TO_MS["ms" if unit[1].lower() in ("ms", "milli") else unit[1][0].lower()]
    return [value, *(f"{in_ms / factor:.12g}" for factor in TO_MS.values())]


def holds_number(text: str, literal: str) -> bool:
    """Tell whether a text holds a number, as written or in another unit of time: 30 s = 30_000 ms."""
    return not numbers_in(text).isdisjoint(readings(literal))
