"""Relations: what a claim says that one name does to another, checked on the facts of the code.

A verb between two names is a predicate ("`load` calls `parse`", "`b` is called by `a`"); a small lexicon knows the
verbs. A relation is contradicted only where the facts exclude it: the reverse holds, the class is known with all its
bases, the default is another literal. What cannot be derived is left open.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ingest.chunking.facts import IDENTIFIER, Definition, Value, literal_of
from ingest.languages.kinds import CALLABLE_KINDS
from ingest.model import Chunk
from mcp_server.answering.claims import COUNT_WORDS, Anchor
from mcp_server.answering.facts import CodeFacts, holds_name, is_at, is_given, is_table_entry, name_parts

Predicate = Literal[
    "calls", "inherits", "raises", "decorated", "imports", "defined_in", "defined_at", "returns", "defaults", "equals",
    "counts", "handled_by",
]  # fmt: skip
Holds = Literal["yes", "no", "open"]

FILLER = (
    r"(?:\s+(?:the|a|an|its|own|method|methods|function|functions|class|classes|hook|decorator|fixture|helper|property"
    r"|attribute|parameter|option|setting|flag|module|constructor|exception|error|base|parent|abstract|mixin|interface"
    r"|itself|then|also|always|only|first|finally|later|again|directly|internally|simply|explicitly|implicitly"
    r"|immediately|eventually|actually|automatically|itself|both|either|all|that|which|and|will|would|can|may"
    r"|\(\)|built-in|internal|private|public|static|async|in turn))*\s*"
)
NOT = (
    r"(?P<not>(?:(?:does|do|did|is|are|was|will|would|can|could|should)\s*(?:n[o’']t|not)|never|no longer|neither)"
    r"\s+(?:\w+ly\s+|ever\s+|actually\s+)?)?"
)
NAMES = r"§\d+§(?:\s*(?:,\s*and|,\s*or|,|and|or|/)\s*§\d+§){0,8}"
BE = r"(?:is|are|was|were|gets?|being|to be)"
VERBS: tuple[tuple[Predicate, str, str], ...] = (
    (
        "calls",
        r"(?:calls?|calling|invokes?|invoking|delegates?(?:\s+\w+){0,2}\s+to|delegating\s+to|dispatches\s+to|forwards?\s+to)(?:\s+(?:to|into))?",
        r"(?:called|invoked)\s+(?:\w+ly\s+)?(?:by|from|in|within|inside)",
    ),
    (
        "inherits",
        r"(?:(?:inherits?|inheriting|derives?|deriving)\s+(?:directly\s+)?from|extends|extending|subclass(?:es|ing)?(?:\s+of)?"
        r"|implements|is\s+(?:a|an)\s+(?:direct\s+)?(?:subclass|child|kind|subtype)(?:\s+class)?\s+of)",
        r"(?:inherited|extended|subclassed|implemented)\s+by|(?:a|the)\s+(?:base|parent|super)\s?class\s+(?:of|for)",
    ),
    ("raises", r"(?:raises?|raising|throws?|throwing)", r"(?:raised|thrown)\s+(?:\w+ly\s+)?(?:by|from|in)"),
    ("decorated", r"(?:decorated|annotated)\s+(?:with|by)", r"decorates"),
    ("imports", r"imports?", r"imported\s+(?:by|in|into)"),
)
LINK = rf"(?P<a>{NAMES}){FILLER}{NOT}(?:{BE}\s+)?(?:\w+ly\s+)?(?:{{verb}}){FILLER}(?P<b>{NAMES})"
PATTERNS = tuple(
    (predicate, is_passive, re.compile(LINK.replace("{verb}", verb), re.I))
    for predicate, active, passive in VERBS
    for is_passive, verb in ((False, active), (True, passive))
)
DEFINED = re.compile(
    rf"(?P<a>{NAMES})(?:\s+(?:class|function|method|fixture|hook|constant|helper|exception|module|attribute))?\s*\(?,?\s*"
    rf"(?:(?:which|that)\s+)?{NOT}(?:{BE}\s+)?(?:defined|implemented|declared|located|found|lives?|resides?|located)\s+(?:in|at|inside|within)"
    r"(?:\s+the)?(?:\s+(?:file|module))?\s*\(?(?P<b>§\d+§)",
    re.I,
)
# "`f` is defined in a.py:12", "`f` (a.py:12)", "the class `C` is in a.py, line 12": a name at lines of a file.
AT_LINES = re.compile(
    rf"(?P<a>§\d+§){FILLER}\s*,?\s*{NOT}(?:(?:{BE}\s+)?(?:(?P<strict>defined|implemented|declared|located|lives?)\s+)?"
    r"(?:in|at|on)\s+(?:the\s+file\s+)?|\()(?P<b>§\d+§)(?:,?\s*\(?(?:(?:at|on)\s+)?lines?\s(?P<first>\d{1,6})(?:\s?[-–]\s?(?P<last>\d{1,6}))?)?",
    re.I,
)
ABOVE, BELOW = 12, 3  # lines between a pointer to a definition and its first line: decorators, comments, its name
VALUE = (
    r"[`\"'*]*(?P<v>§\d+§|true|false|none|null|nil|-?\d[\d_,]*(?:\.\d+)?|\"[^\"]*\"|'[^']*')"
    r"[`\"'*]*(?![\w-]|\.\w)"
)
DEFAULTS = (
    re.compile(
        rf"(?P<a>§\d+§){FILLER}(?:\([^()§]*\)\s*)?{NOT}"
        r"(?:defaults?\s+to|defaulting\s+to|(?:is|are)\s+(?:set\s+to\s+)?(?=[^.;]{0,30}\bby default)"
        r"|has\s+(?:a|the)\s+default(?:\s+value)?\s+of"
        r"|(?:has\s+)?(?:a\s+)?default(?:\s+value)?\s+(?:is|of)|[,(]\s*default(?:s|ing)?(?:\s+to|\s+is|\s+value)?\s*[:=]?)\s*(?:the\s+)?(?:value\s+)?(?:of\s+)?"
        + VALUE,
        re.I,
    ),
    re.compile(
        rf"\bdefault(?:\s+value)?\s+(?:of|for)(?:\s+the)?\s+(?P<a>§\d+§){FILLER}(?:in\s+§\d+§\s+)?"
        + r"(?P<not>(?!))?(?:is|=|:)\s*"
        + VALUE,
        re.I,
    ),
    re.compile(r"(?P<a>§\d+§)\s*\(\s*(?P<not>(?!))?" + VALUE + r"\s+by\s+default\s*\)", re.I),
    re.compile(rf"\b(?:is|are)\s+(?P<a>§\d+§){FILLER}(?P<not>(?!))?(?:set\s+to\s+)?{VALUE}\s+by\s+default\b", re.I),
)
# "`LIMIT` is 5": said of a constant, with nothing after it; under a condition it is no statement of its value.
EQUALS = re.compile(
    rf"(?P<a>§\d+§){FILLER}(?:\([^()§]*\)\s*)?{NOT}(?:(?:is|are)(?:\s+set\s+to)?|equals|=)\s+[`\"'*]*"
    r"(?P<v>-?\d[\d_,]*(?:\.\d+)?|\"[^\"]*\"|'[^']*'|(?<=`)(?:true|false)(?=`))[`\"'*]*\s*(?=[.,;:)](?!\d)|$)",
    re.I,
)
CONDITION = re.compile(
    r"\b(?:if|when|where|unless|while|until|once|whether|should|would|suppose|assume|example|default)\b", re.I
)
RETURNS = re.compile(
    rf"(?P<a>§\d+§){FILLER}{NOT}(?:always\s+|simply\s+|then\s+)?(?:returns?|returning|evaluates?\s+to|yields)\s+"
    + VALUE,
    re.I,
)
COUNTS = re.compile(
    rf"(?P<a>§\d+§){FILLER}{NOT}(?:takes?|accepts?|has|have|defines?|declares?|expects?|requires?)\s+(?:exactly\s+|only\s+)?"
    rf"(?P<n>\d+|{'|'.join(COUNT_WORDS)})\s+(?:\w+\s+)?"
    r"(?P<what>parameters?|arguments?|methods?|base classes|bases|decorators?)",
    re.I,
)
HANDLED = re.compile(
    rf"(?P<a>§\d+§)(?:\s+(?:route|endpoint|path|url|requests?))*\s+{NOT}(?:{BE}\s+)?(?:handled|served|implemented|processed|answered)\s+by{FILLER}(?P<b>§\d+§)",
    re.I,
)
ASIDE = re.compile(r"\s\((?![^()]*\bdefault)[^()]{1,80}\)")  # "(line 12 of x.py)" between a name and its verb
DEPTH = 3  # calls that may lie between a caller and what it is said to call
MARK = re.compile(r"§(\d+)§")


@dataclass(frozen=True, slots=True)
class Relation:
    """What a claim says: predicate and two names, a name and a value, or a name and a count."""

    predicate: Predicate
    subject: str
    object: str
    negated: bool = False
    what: str = ""  # what is counted
    lines: tuple[int, int] = (0, 0)  # where it is said to stand, first and last
    is_start: bool = False  # that it begins there is said, not only that a part of it is there


@dataclass(frozen=True, slots=True)
class Finding:
    """A relation and whether the facts bear it out, with the reason for people."""

    relation: Relation
    holds: Holds
    reason: str = ""


def find_relations(text: str, anchors: Sequence[Anchor]) -> list[Relation]:
    """Return the relations that a claim states between its anchors."""
    if not anchors:
        return []
    named = [
        anchor for anchor in anchors if anchor.end > anchor.start and anchor.kind not in ("lines", "number", "quote")
    ]
    whole = mask(text, named)
    masked = ASIDE.sub("", whole)
    found: list[Relation] = []
    for predicate, is_passive, pattern in PATTERNS:
        for match in pattern.finditer(masked):
            left, right = names_in(match["a"], named), names_in(match["b"], named)
            subjects, objects = (right, left) if is_passive else (left, right)
            # "`a` and `b` call `c`" says it of both; of a list before a verb in the singular only the last is sure.
            subjects = subjects if is_passive or re.search(r"\band\b|,", match["a"]) else subjects[-1:]
            found.extend(Relation(predicate, s, o, bool(match["not"])) for s in subjects for o in objects)
    found.extend(find_definitions_in(masked, named))
    found.extend(find_lines_of(whole, named))
    found.extend(find_values(masked, named))
    for match in HANDLED.finditer(masked):
        subject, target = (names_in(match[part], named)[0] for part in ("a", "b"))
        if subject.startswith("/"):
            found.append(Relation("handled_by", subject, target, bool(match["not"])))
    return list(dict.fromkeys(found))


def find_definitions_in(masked: str, named: Sequence[Anchor]) -> Iterator[Relation]:
    """Yield what is said to be defined in a file."""
    for match in DEFINED.finditer(masked):
        place = named[int(MARK.search(match["b"])[1])]  # type: ignore[index]
        if place.kind == "path":
            for name in names_in(match["a"], named):
                if "/" not in name:
                    yield Relation("defined_in", name, place.text, bool(match["not"]))


def find_lines_of(masked: str, named: Sequence[Anchor]) -> Iterator[Relation]:
    """Yield what is said to stand at lines of a file."""
    if not any(anchor.kind == "path" for anchor in named):
        return
    for match in AT_LINES.finditer(masked):
        place = named[int(MARK.search(match["b"])[1])]  # type: ignore[index]
        name = names_in(match["a"], named)[-1]
        lines = place.lines
        if match["first"]:
            lines = (int(match["first"]), int(match["last"] or match["first"]))
        if place.kind == "path" and lines and "/" not in name:
            negated, is_start = bool(match["not"]), bool(match["strict"])
            yield Relation("defined_at", name, place.text, negated, lines=lines, is_start=is_start)


def find_values(masked: str, named: Sequence[Anchor]) -> Iterator[Relation]:
    """Yield defaults, returned literals and counts."""
    for pattern in DEFAULTS:
        for match in pattern.finditer(masked):
            yield Relation("defaults", names_in(match["a"], named)[-1], value_in(match["v"], named), bool(match["not"]))
    for match in EQUALS.finditer(masked):
        clause = re.split(r"[.;]\s", masked[: match.start()])[-1]
        if not CONDITION.search(clause):
            yield Relation("equals", names_in(match["a"], named)[-1], match["v"], bool(match["not"]))
    for match in RETURNS.finditer(masked):
        value = value_in(match["v"], named)
        if literal_of(value):
            yield Relation("returns", names_in(match["a"], named)[-1], value, bool(match["not"]))
    for match in COUNTS.finditer(masked):
        number = match["n"].lower()
        count = str(COUNT_WORDS.index(number)) if number in COUNT_WORDS else number
        what = match["what"].lower().rstrip("s")
        yield Relation("counts", names_in(match["a"], named)[-1], count, bool(match["not"]), what)


def mask(text: str, named: Sequence[Anchor]) -> str:
    """Return the text with each anchor as its number between marks; marks of emphasis removed."""
    parts: list[str] = []
    at = 0
    for number, anchor in sorted(enumerate(named), key=lambda pair: pair[1].start):
        if anchor.start < at:
            continue
        parts += [text[at : anchor.start].replace("§", " "), f"§{number}§"]
        at = anchor.end
    return "".join((*parts, text[at:].replace("§", " "))).replace("**", "")


def names_in(marks: str, named: Sequence[Anchor]) -> list[str]:
    """Return the names behind marks; of a call its callee."""
    return [bare(named[int(number)].text) for number in MARK.findall(marks)]


def bare(text: str) -> str:
    """Return a name without its arguments and leading @."""
    return text.partition("(")[0].lstrip("@") if re.match(r"@?[\w.$:]+\(", text) else text.lstrip("@")


def value_in(text: str, named: Sequence[Anchor]) -> str:
    """Return a value as it is written."""
    match = MARK.fullmatch(text)
    return named[int(match[1])].text if match else text


class RelationChecker:
    """Decides relations on the facts of the evidence."""

    def __init__(self, facts: CodeFacts) -> None:
        """Take the facts; each is read when a relation needs it."""
        self.facts = facts

    def check(self, relation: Relation) -> Finding:
        """Return whether a relation holds; a negated one holds where it does not."""
        holds, reason = CHECKS[relation.predicate](self, relation)
        if relation.negated:
            holds = {"yes": "no", "no": "yes", "open": "open"}[holds]  # type: ignore[assignment]
        return Finding(relation, holds, reason)

    def calls(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether one calls the other, directly or through what it calls."""
        caller, callee = relation.subject, relation.object
        callers = self.facts.definitions(caller)
        last = (name_parts(callee) or [callee])[-1]
        own = (name_parts(caller) or [caller])[-1]
        if calls_itself(callers, last):
            return "yes", f"'{caller}' calls '{callee}'."
        if self.reaches(callers, last):
            return "yes", f"'{caller}' calls '{callee}' through others."
        back = [one for one in self.facts.definitions(callee) if own in one.calls and one.name != own]
        if back and (callers or not any(True for _ in self.facts.values(caller))):
            one = back[0]
            return "no", f"It is the other way round: '{one.qualname}' calls '{caller}' ({one.path}:{one.start_line})."
        every = self.facts.everywhere(caller) if callers and self.facts.definitions(last) else []
        if calls_itself(every, last) or self.reaches(every, last):
            return "open", f"Another '{caller}' than that in the evidence calls '{callee}'."
        if every and all(one.is_whole and one.kind in CALLABLE_KINDS for one in every):
            one = callers[0]
            place = f"{one.path}:{one.start_line}"
            return "no", f"'{caller}' ({place}) does not call '{callee}', neither itself nor through {DEPTH} calls."
        return "open", f"No call of '{callee}' was found in '{caller}'."

    def reaches(self, callers: Sequence[Definition], callee: str) -> bool:
        """Tell whether a call chain of at most DEPTH leads to a name."""
        seen: set[str] = set()
        front = {name for one in callers for name in one.calls}
        for _ in range(DEPTH):
            if callee in front:
                return True
            seen |= front
            front = {n for name in sorted(front) for one in self.facts.definitions(name) for n in one.calls} - seen
        return callee in front

    def inherits(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a class has another among its bases, as far as they are known."""
        classes = [one for one in self.facts.definitions(relation.subject) if one.bases or one.kind == "class"]
        wanted = (name_parts(relation.object) or [relation.object])[-1]
        if not classes:
            return "open", f"The definition of '{relation.subject}' is not in the evidence."
        closed, bases = self.all_bases(classes)
        if wanted in bases:
            return "yes", f"'{relation.subject}' inherits from '{wanted}'."
        direct = ", ".join(classes[0].bases) or "nothing"
        if closed or (name_parts(relation.subject) or [""])[-1] in self.all_bases(self.facts.definitions(wanted))[1]:
            return "no", f"'{relation.subject}' inherits from {direct} ({classes[0].path}:{classes[0].start_line})."
        return "open", f"'{relation.subject}' inherits from {direct}, whose bases are not in the evidence."

    def all_bases(self, classes: Sequence[Definition]) -> tuple[bool, set[str]]:
        """Return whether every base is known down to its root, and the names of all of them."""
        bases: set[str] = set()
        front = {base for one in classes for base in one.bases}
        closed = True
        while front:
            bases |= front
            found: set[str] = set()
            for base in sorted(front):
                known = [one for one in self.facts.definitions(base) if one.kind not in ("function", "method")]
                builtin = getattr(builtins, base, None)
                if isinstance(builtin, type):
                    found |= {one.__name__ for one in builtin.__mro__[1:]}
                elif known:
                    found |= {name for one in known for name in one.bases}
                else:
                    closed = closed and base in ("object",)
            front = found - bases
        return closed, bases

    def raises(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether one raises the other."""
        definitions = self.facts.definitions(relation.subject)
        wanted = (name_parts(relation.object) or [relation.object])[-1]
        if any(wanted in one.raises or wanted in one.names for one in definitions):
            return "yes", f"'{relation.subject}' raises '{wanted}'."
        back = [
            one for one in self.facts.definitions(wanted) if (name_parts(relation.subject) or [""])[-1] in one.raises
        ]
        if back:
            return "no", f"It is the other way round: '{wanted}' raises '{relation.subject}'."
        return "open", f"No raise of '{wanted}' was found in '{relation.subject}'."

    def decorated(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether one is decorated with the other."""
        definitions = [one for one in self.facts.definitions(relation.subject) if one.is_whole]
        wanted = (name_parts(relation.object) or [relation.object])[-1]
        if any(wanted in one.decorators for one in definitions):
            return "yes", f"'{relation.subject}' is decorated with '{wanted}'."
        back = [
            one
            for one in self.facts.definitions(wanted)
            if (name_parts(relation.subject) or [""])[-1] in one.decorators
        ]
        if back:
            return "no", f"It is the other way round: '{wanted}' is decorated with '{relation.subject}'."
        return "open", f"'{relation.subject}' shows no decorator '{wanted}'."

    def imports(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a file imports a name."""
        wanted = (name_parts(relation.object) or [relation.object])[-1]
        if "." not in relation.subject and "/" not in relation.subject:
            return "open", ""
        if wanted in self.facts.imports(relation.subject):
            return "yes", f"{relation.subject} imports '{wanted}'."
        return "open", f"No import of '{wanted}' was found in {relation.subject}."

    def defined_in(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a name is defined in a file: no only where the file does not even hold the name."""
        last = (name_parts(relation.subject) or [relation.subject])[-1]
        is_held = self.facts.holds(relation.object, last)  # first: definitions have to be parsed
        definitions = [] if is_held else self.facts.definitions(relation.subject)
        if is_held or any(is_at(one.path, relation.object) for one in definitions):
            return "yes", f"'{relation.subject}' is in {relation.object}."
        if definitions:
            places = ", ".join(dict.fromkeys(f"{one.path}:{one.start_line}" for one in definitions[:3]))
            return "no", f"'{relation.subject}' is defined in {places}, not in {relation.object}."
        return "open", ""

    def defined_at(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a definition stands at lines of a file: no only where they do not even hold the name."""
        definitions = [one for one in self.facts.definitions(relation.subject) if is_at(one.path, relation.object)]
        first, last = relation.lines
        for one in definitions:
            # "the `run` method of `Task`, located in a.py:40" speaks of a part of the class
            is_start = relation.is_start and one.kind in CALLABLE_KINDS
            end = one.start_line + BELOW if is_start else one.end_line
            if one.start_line - ABOVE <= last and first <= end:
                return "yes", f"'{relation.subject}' is in {one.path}:{one.start_line}."
        held = self.facts.lines_of(relation.object, first - BELOW, last + BELOW)
        name = (name_parts(relation.subject) or [relation.subject])[-1]
        if not definitions or not held or any(holds_name(line, name) for line in held):
            return "open", ""
        one = min(definitions, key=lambda one: (abs(one.start_line - first), one.start_line))
        return "no", f"'{relation.subject}' is defined in {one.path}:{one.start_line}, not at line {first}."

    def returns(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a literal is among those that a function returns; no where all of them are others."""
        definitions = [one for one in self.facts.definitions(relation.subject) if one.returns]
        wanted = literal_of(relation.object)
        returned = {value for one in definitions for value in one.returns}
        if not definitions or not wanted:
            return "open", ""
        if wanted in returned:
            return "yes", f"'{relation.subject}' returns {relation.object}."
        if "" not in returned and all(one.is_whole for one in definitions):
            return "no", f"'{relation.subject}' returns {', '.join(sorted(returned))}, never {relation.object}."
        return "open", f"'{relation.subject}' returns no literal {relation.object}."

    def defaults(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a name defaults to a value: compared with parameters and assignments of that name."""
        wanted = literal_of(relation.object)
        given = list(self.facts.values(relation.subject))
        values = [(chunk, value) for chunk, value in given if is_given(chunk, value)]
        # A table of defaults settles it, whatever a test passes under the name.
        keywords = [] if any(is_table_entry(*one) for one in given) else [one for one in given if one not in values]
        if not wanted:
            same = [value for _, value in values if squeeze(value.source) == squeeze(relation.object)]
            return ("yes" if same else "open"), ""
        if any(value.value == wanted for _, value in (*values, *keywords)):
            return "yes", f"'{relation.subject}' defaults to {relation.object}."
        known = [(chunk, value) for chunk, value in values if value.value]
        if known and len(known) == len(values):
            return "no", other_value(relation, *known[0])
        return "open", f"No value {relation.object} of '{relation.subject}' was found."

    def equals(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a constant has a value; no where all that gives it one gives it the same other literal."""
        wanted = literal_of(relation.object)
        given = [(chunk, value) for chunk, value in self.facts.values(relation.subject) if value.how == "value"]
        if any(value.value == wanted for _, value in given):
            return "yes", f"'{relation.subject}' is {relation.object}."
        is_constant = any(letter.isupper() for letter in (name_parts(relation.subject) or [""])[-1])
        if is_constant and len({value.value for _, value in given}) == 1 and given[0][1].value:
            return "no", other_value(relation, *given[0])
        return "open", ""

    def counts(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a function has so many parameters, or a class so many methods, bases or decorators."""
        definitions = [one for one in self.facts.definitions(relation.subject) if one.is_whole]
        found = {count for one in definitions for count in [count_of(one, relation.what)] if count is not None}
        if not found:
            return "open", ""
        if int(relation.object) in found:
            return "yes", f"'{relation.subject}' has {relation.object}."
        what = relation.what
        return "no", f"'{relation.subject}' has {' or '.join(map(str, sorted(found)))} ({what}), not {relation.object}."

    def handled_by(self, relation: Relation) -> tuple[Holds, str]:
        """Tell whether a route leads to a handler: they stand together where the route is registered."""
        wanted = (name_parts(relation.object) or [relation.object])[-1]
        places = list(self.facts.handlers(relation.subject))
        if any(wanted in IDENTIFIER.findall(lines) for lines, _ in places):
            return "yes", f"'{relation.subject}' is handled by '{relation.object}'."
        if places and self.facts.definitions(relation.object):
            return "no", f"'{relation.subject}' is registered in {places[0][1]}, without '{relation.object}'."
        return "open", f"No registration of '{relation.subject}' was found."


CHECKS = {
    "calls": RelationChecker.calls,
    "inherits": RelationChecker.inherits,
    "raises": RelationChecker.raises,
    "decorated": RelationChecker.decorated,
    "imports": RelationChecker.imports,
    "defined_in": RelationChecker.defined_in,
    "defined_at": RelationChecker.defined_at,
    "returns": RelationChecker.returns,
    "defaults": RelationChecker.defaults,
    "equals": RelationChecker.equals,
    "counts": RelationChecker.counts,
    "handled_by": RelationChecker.handled_by,
}


def other_value(relation: Relation, chunk: Chunk, value: Value) -> str:
    """Return that a name has another value than is said, and where."""
    return f"'{relation.subject}' is {value.source} ({chunk.path}:{value.line}), not {relation.object}."


def calls_itself(callers: Sequence[Definition], callee: str) -> bool:
    """Tell whether one of some definitions of another name names a callee."""
    return any(callee in one.names and one.name != callee for one in callers)


def count_of(definition: Definition, what: str) -> int | None:
    """Return how many of something a definition has, None where that is not known."""
    if what in ("parameter", "argument"):
        return len(definition.parameters) if definition.parameters is not None else None
    if what == "method":
        return definition.methods if definition.kind not in ("function", "method") else None
    return len(definition.bases) if what.startswith("base") else len(definition.decorators)


def squeeze(text: str) -> str:
    """Return a text without white space and quotes."""
    return re.sub(r"[\s`\"']", "", text)
