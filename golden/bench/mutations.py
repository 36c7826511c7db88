"""Mutations: reference sentences made wrong in one known way, to see whether the ledger notices.

Written against the text alone, not against what the ledger can read: the operators know nothing of its patterns.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

FILE = re.compile(
    r"(?<![\w/.-])((?:[\w.-]+/)*)([\w-]+)(\.(?:py|pyi|md|rst|txt|toml|cfg|ini|ya?ml|json|go|rs|js|ts|java|c|h|rb|sql))\b"
)
IDENTIFIER = re.compile(
    r"(?<![\w./$-])_*[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+_*(?![\w/-]|\.\w+/)|(?<![\w./$-])[A-Z]?[a-z0-9]+(?:[A-Z][a-z0-9]+)+(?![\w/-])"
)
BOOLEAN = re.compile(
    r"(?<![\w.])(True|False)(?![\w-])|(?<=[`=])(true|false)(?=`)"
)  # the values, not "true concurrency"
POINTER = re.compile(
    r"\b(?:lines?|ll?\.)\s?\d[\d\s,–-]*(?:(?:and|or)\s\d+[\d–-]*)?|:\d+(?:[-–]\d+)?|#L\d+\S*|\bv?\d+(?:\.\d+)+\b|#\d+|\b[A-Z]{2,}-\d+",
    re.I,
)
NUMBER = re.compile(r"(?<![\w.#/-])\d+(?:\.\d+)?(?![\w%/]|[.-]\d)(?<!\(\d)")
NAMED_NUMBER = re.compile(r"(?:\b[A-Z][\w+]*|\b(?i:step|section|phase|chapter|version))\s?$")
CALL = re.compile(  # subject, verb, object with no clause between them: with "which" or "and" the subject is another
    r"`([A-Za-z_][\w.]*)(?:\(\))?`((?:\s\([^()`]{1,40}\))?(?:\s(?:method|function|class|hook|then|also|directly|internally|itself|first"
    r"|\w+ly|in turn))*\s(?:calls|invokes|delegates to|is (?:called|invoked) (?:by|from))\s(?:the\s|its\s|\w+ly\s)*)"
    r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`"
)
MARKS = ("_v2", "_handler", "Manager")


@dataclass(frozen=True, slots=True)
class Mutation:
    """A sentence made wrong: the new text, and what was put in place of what."""

    operator: str
    text: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Material:
    """What the operators draw from: the words of the evidence, and identifiers of the whole repository."""

    evidence: frozenset[str]
    repository: Sequence[str]


Operator = Callable[[str, Material, random.Random], tuple[str, str, str] | None]


def mutate(text: str, material: Material, seed: str) -> list[Mutation]:
    """Return one mutation per operator that applies to a sentence; the same ones for the same seed."""
    found = []
    for name, operator in OPERATORS.items():
        made = operator(text, material, random.Random(f"{seed}/{name}"))
        if made is not None and made[0] != text:
            found.append(Mutation(name, *made))
    return found


def put(text: str, match: re.Match[str], new: str) -> tuple[str, str, str]:
    """Return the text with a match replaced, what stood there and what stands there now."""
    return text[: match.start()] + new + text[match.end() :], match[0], new


def fabricate_path(text: str, material: Material, rng: random.Random) -> tuple[str, str, str] | None:
    """Put `core_` before the name of a file."""
    found = list(FILE.finditer(text))
    if not found:
        return None
    match = rng.choice(found)
    return put(text, match, f"{match[1]}core_{match[2]}{match[3]}")


def known_identifiers(text: str, material: Material) -> list[re.Match[str]]:
    """Return the identifiers of a sentence that occur in its evidence."""
    files = [match.span() for match in FILE.finditer(text)]
    return [
        match
        for match in IDENTIFIER.finditer(text)
        if match[0] in material.evidence and not any(a <= match.start() < b for a, b in files)
    ]


def fabricate_identifier(text: str, material: Material, rng: random.Random) -> tuple[str, str, str] | None:
    """Change the end of an identifier, everywhere in the sentence."""
    found = known_identifiers(text, material)
    if not found:
        return None
    name = rng.choice(found)[0]
    return replace_name(text, name, name + rng.choice(MARKS))


def swap_identifier(text: str, material: Material, rng: random.Random) -> tuple[str, str, str] | None:
    """Put another real identifier of the repository in the place of one, everywhere in the sentence."""
    found = known_identifiers(text, material)
    if not found or not material.repository:
        return None
    name = rng.choice(found)[0]
    return replace_name(text, name, rng.choice(material.repository))


def replace_name(text: str, name: str, new: str) -> tuple[str, str, str]:
    """Return the text with every whole occurrence of a name replaced."""
    return re.sub(rf"(?<![\w$]){re.escape(name)}(?![\w$])", new, text), name, new


def flip_boolean(text: str, material: Material, rng: random.Random) -> tuple[str, str, str] | None:
    """Turn one True into False or the other way round."""
    found = list(BOOLEAN.finditer(text))
    if not found:
        return None
    match = rng.choice(found)
    return put(text, match, {"True": "False", "False": "True", "true": "false", "false": "true"}[match[0]])


def change_number(text: str, material: Material, rng: random.Random) -> tuple[str, str, str] | None:
    """Change a number that is a value: no line, version, ticket, list number or part of a name."""
    pointers = [match.span() for match in POINTER.finditer(text)]
    found = [
        match
        for match in NUMBER.finditer(text)
        if not any(a <= match.start() < b for a, b in pointers) and not NAMED_NUMBER.search(text[: match.start()])
    ]
    if not found:
        return None
    match = rng.choice(found)
    whole = match[0].partition(".")[0]
    return put(text, match, match[0].replace(whole, str(int(whole) + rng.randint(1, max(9, int(whole) // 2))), 1))


def invert_call(text: str, material: Material, rng: random.Random) -> tuple[str, str, str] | None:
    """Let the called one call its caller."""
    found = [match for match in CALL.finditer(text) if match[1] != match[3]]
    if not found:
        return None
    match = rng.choice(found)
    return put(text, match, f"`{match[3]}`{match[2]}`{match[1]}`")


def shift_lines(text: str, material: Material, rng: random.Random) -> tuple[str, str, str] | None:
    """Move a pointer by 500 lines."""
    found = list(re.finditer(r"(?<=lines )\d+(?:[-–]\d+)?|(?<=line )\d+", text))
    if not found:
        return None
    match = rng.choice(found)
    return put(text, match, re.sub(r"\d+", lambda number: str(int(number[0]) + 500), match[0]))


OPERATORS: Mapping[str, Operator] = {
    "fabricated path": fabricate_path,
    "fabricated identifier": fabricate_identifier,
    "wrong identifier": swap_identifier,
    "flipped boolean": flip_boolean,
    "changed number": change_number,
    "inverted call": invert_call,
    "shifted lines": shift_lines,
}
