"""Redaction: secrets become same-length masks before anything is stored, embedded, cached or traced.

Each rule's literal is searched first and its pattern is tried only there. A mask keeps the length and the line breaks
of what it hides, so that line numbers stay true, and names its rule: `<aws_access_key***>`. Masks are left alone by a
second pass.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

RULES_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Rule:
    """A secret format: literals to look for, and the pattern that must match `offset` characters after one of them."""

    id: str
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    offset: int = 0


def _rule(name: str, literals: str, pattern: str, offset: int = 0) -> Rule:
    return Rule(name, tuple(literals.split("|")), re.compile(pattern), offset)


RULES: tuple[Rule, ...] = (
    _rule(
        "private_key",
        "-----BEGIN ",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\S]{16,16384}?"
        r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    ),
    _rule("aws_access_key", "AKIA|ASIA|AROA|AIDA", r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z2-7]{16}\b"),
    _rule("github_token", "ghp_|gho_|ghu_|ghs_|ghr_", r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
    _rule("github_fine_token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{60,255}\b"),
    _rule("gitlab_token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20,64}"),
    _rule("slack_token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    _rule(
        "slack_webhook",
        "hooks.slack.com/services/",
        r"hooks\.slack\.com/services/T[A-Za-z0-9_]{6,}/B[A-Za-z0-9_]{6,}/[A-Za-z0-9_]{16,}",
    ),
    _rule("stripe_key", "sk_live_|rk_live_", r"\b[rs]k_live_[A-Za-z0-9]{16,250}"),
    _rule("google_api_key", "AIza", r"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _rule("model_api_key", "sk-", r"\bsk-(?:ant-[a-z0-9]+-|proj-|svcacct-)?(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{32,250}"),
    _rule("npm_token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _rule("pypi_token", "pypi-AgE", r"\bpypi-AgE[A-Za-z0-9_-]{40,300}"),
    _rule("sendgrid_key", "SG.", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _rule("twilio_key", "SK", r"\bSK[0-9a-f]{32}\b"),
    _rule("jwt", "eyJ", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}"),
    _rule("url_password", "://", r"[A-Za-z0-9._%+-]{1,64}:[^\s:@/'\"<>{}$`\\]{6,128}(?=@[\w.-]+)", offset=3),
)
# A name that says "secret", an assignment, and a quoted value: only a value that looks random counts.
SECRET_NAMES = tuple("password passwd secret token api_key apikey access_key accesskey auth_key credential".split())
ASSIGNMENT = re.compile(
    r"""(?:_?(?:key|id|value|hash))?s?["']?\s{0,4}(?:=>|:=|[:=])\s{0,4}(["'])([^\s"'`$<>{}()]{16,256})\1""",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|change|dummy|sample|test|fake|your|xxx|\*\*\*|my[-_]|foo|bar|secret|password|token|key|none|null|todo|"
    r"[/\\.:]{1}[a-z]|^[a-z_-]+$|^[A-Z_-]+$|^[a-z]+(?:[A-Z][a-z]+)+$|^[A-Z][a-z]+(?:[A-Z][a-z]+)*$"
)
MIN_ENTROPY_BITS = 3.4  # per character; words and identifiers lie below, base64 and hex of 16+ characters above

ASSIGNED = "assigned_secret"
MASK = re.compile(r"<(" + "|".join((*(rule.id for rule in RULES), ASSIGNED)) + r")\**>")


@dataclass(frozen=True, slots=True)
class Redacted:
    """The masked text and how often each rule fired."""

    text: str
    counts: tuple[tuple[str, int], ...]


def redact(text: str) -> Redacted:
    """Return the text with every known secret replaced by a mask of the same length."""
    # Where a known format stands in an assignment, the format names it.
    found = sorted((*_find_formats(text), *_find_assigned(text)), key=lambda item: (item[0], item[2] == ASSIGNED))
    if not found:
        return Redacted(text, ())
    counts: Counter[str] = Counter()
    pieces: list[str] = []
    done = 0
    for start, end, rule in found:
        if start >= done:
            pieces += (text[done:start], mask(text[start:end], rule))
            counts[rule] += 1
            done = end
    return Redacted("".join((*pieces, text[done:])), tuple(sorted(counts.items())))


def _find_all(text: str, literal: str) -> Iterator[int]:
    """Yield where a literal occurs: str.find is an order of magnitude quicker than a regex over the whole text."""
    at = text.find(literal)
    while at >= 0:
        yield at
        at = text.find(literal, at + 1)


def _find_formats(text: str) -> Iterator[tuple[int, int, str]]:
    for rule in RULES:
        for literal in rule.literals:
            for at in _find_all(text, literal):
                match = rule.pattern.match(text, at + rule.offset)
                if match and not (rule.id == "url_password" and _is_placeholder_login(match[0])):
                    yield match.start(), match.end(), rule.id


def _find_assigned(text: str) -> Iterator[tuple[int, int, str]]:
    lowered = text.lower()
    if len(lowered) != len(text):  # a few characters change their length: positions would not fit
        lowered = text
    for name in SECRET_NAMES:
        for at in _find_all(lowered, name):
            match = ASSIGNMENT.match(text, at + len(name))
            if match and looks_random(match[2]):
                yield match.start(2), match.end(2), ASSIGNED


def count_masks(text: str) -> tuple[tuple[str, int], ...]:
    """Return how many masks of each rule a redacted text holds."""
    if "**" not in text and "<" not in text:
        return ()
    return tuple(sorted(Counter(match[1] for match in MASK.finditer(text)).items()))


def mask(secret: str, rule: str) -> str:
    """Return a mask as long as the secret, with its line breaks where they were."""
    first, *rest = secret.split("\n")
    label = f"<{rule}"
    head = (label + "*" * (len(first) - len(label) - 1) + ">") if len(first) > len(label) + 1 else "*" * len(first)
    return "\n".join((head, *("*" * len(line) for line in rest)))


def looks_random(value: str) -> bool:
    """Tell whether a quoted value is more like a key than like a word, path or placeholder."""
    if PLACEHOLDER.search(value) or not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value):
        return False
    return entropy_bits(value) >= MIN_ENTROPY_BITS


def entropy_bits(value: str) -> float:
    """Return the Shannon entropy per character."""
    total = len(value)
    return -sum(n / total * math.log2(n / total) for n in Counter(value).values())


def _is_placeholder_login(login: str) -> bool:
    user, _, password = login.partition(":")
    return bool(PLACEHOLDER.search(password)) or user.lower() == password.lower() or len(set(password)) < 5
