"""Conditions: under which truth value of a name a line of code runs, read from indentation and the words of a branch.

"When `x` is True, `y` is called" is wrong where every `y` stands under `if not x`, or below `if x: return`. Languages
that are indented by habit read alike; what a line hangs on but cannot be told is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

BRANCH = re.compile(
    r"^\s*(?:\}\s*)?(?P<word>if|else\s+if|elsif|elif|else|while|unless)\b\s*(?P<test>.*?)\s*(?:[:{]|\bthen\b)?\s*(?P<rest>[^:{]*)$"
)
LEAVES = re.compile(r"^\s*(?:return|raise|throw|continue|break|panic!?)\b")
DEFINES = re.compile(
    r"^\s*(?:(?:pub|async|static|export|public|private|protected)\s+)*(?:def|class|func|function|fn)\b"
)
TERM = re.compile(
    r"^\(*\s*(?P<not>(?:not\b|!)\s*)?\(*(?:(?:\w+|\[[\"']\w+[\"']\])\s*(?:\.|->|::))*(?P<name>[A-Za-z_$][\w$]*)(?:\([^()]*\))?\s*"
    r"(?:(?:is|===?)\s+(?P<value>true|false))?\)*$",
    re.I,
)
TERNARY = re.compile(r"(?P<yes>[\w.]+(?:\([^()]*\))?)\s+if\s+(?P<test>[\w. ]+?)\s+else\s+(?P<no>[\w.]+(?:\([^()]*\))?)")
BLANK = re.compile(r"^\s*(?:$|#|//|\*|/\*)")


def indent_of(line: str) -> int:
    """Return the width of the white space before a line."""
    return len(line) - len(line.lstrip())


def value_in(test: str, name: str, *, taken: bool) -> str:
    """Return which truth value a name has where a test holds (`taken`) or fails; "" where that cannot be told."""
    joint, other = (r"\band\b|&&", r"\bor\b|\|\|") if taken else (r"\bor\b|\|\|", r"\band\b|&&")
    if re.search(other, test):
        return ""
    for part in re.split(joint, test):
        term = TERM.match(part.strip())
        if term and term["name"] == name:
            wanted = ((term["value"] or "true").lower() == "true") != bool(term["not"])
            return "true" if wanted == taken else "false"
    return ""


def hangs_on(lines: Sequence[str], at: int, name: str) -> str:
    """Return the truth value that a name must have for a line to run; "" where no branch above says so."""
    depth = indent_of(lines[at])
    fails: list[int] = []  # indents at which the branches above have failed: the line is in their `else`
    for number in range(at - 1, -1, -1):
        line = lines[number]
        width = indent_of(line)
        if BLANK.match(line) or width > depth:
            continue
        if DEFINES.match(line) and width < depth:
            return ""
        branch = BRANCH.match(line)
        if branch is None:
            depth = min(depth, width)
            continue
        word = " ".join(branch["word"].split())
        if width < depth:
            if word != "else" and (found := branch_value(word, branch["test"], name, taken=True)):
                return found
            if word not in ("if", "while", "unless"):
                fails.append(width)
            depth = width
        elif (width in fails or is_left(lines, number)) and word != "else":
            if found := branch_value(word, branch["test"], name, taken=False):
                return found
            if word in ("if", "unless") and width in fails:
                fails.remove(width)
    return ""


def branch_value(word: str, test: str, name: str, *, taken: bool) -> str:
    """Return `value_in` for the test of a branch; `unless` turns it round."""
    return value_in(test, name, taken=taken != (word == "unless"))


def is_left(lines: Sequence[str], at: int) -> bool:
    """Tell whether the branch that begins here leaves the function or the loop at its end."""
    width = indent_of(lines[at])
    last = lines[at].partition(":")[2] if lines[at].rstrip()[-1:] not in ":{" else ""
    for line in lines[at + 1 :]:
        if BLANK.match(line):
            continue
        if indent_of(line) <= width:
            break
        if indent_of(line) == indent_of(lines[at + 1]):
            last = line
    return bool(LEAVES.match(last))


def nested(lines: Sequence[str]) -> list[str]:
    """Return the lines of a function, those at its own level that leave it as empty ones: they are no early exit."""
    base = min((indent_of(line) for line in lines[1:] if line.strip()), default=0)
    return ["" if indent_of(line) <= base and LEAVES.match(line) else line for line in lines]


def values_at(lines: Sequence[str], pattern: re.Pattern[str], name: str) -> Iterator[str]:
    """Yield for each line with something the truth value of a name that it hangs on, "" where it hangs on none."""
    for at, line in enumerate(lines):
        if not pattern.search(line):
            continue
        ternary = TERNARY.search(line)
        if ternary and (value := value_in(ternary["test"], name, taken=True)):
            in_yes, in_no = (bool(pattern.search(ternary[part])) for part in ("yes", "no"))
            yield (
                value if in_yes and not in_no else "" if in_yes == in_no else {"true": "false", "false": "true"}[value]
            )
        else:
            yield hangs_on(lines, at, name)


def excluded(
    bodies: Iterable[Sequence[str]], pattern: re.Pattern[str], name: str, value: str, *, everywhere: bool = True
) -> bool:
    """Tell whether something runs only where a name has the other truth value, and at least once.

    `everywhere`: lines that hang on no such test count against it.
    """
    found = [one for lines in bodies for one in values_at(lines, pattern, name) if one or everywhere]
    return bool(found) and all(one and one != value for one in found)
