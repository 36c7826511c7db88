"""Redaction: secrets and personal data become same-length masks before they are stored, embedded, cached or traced.

Each rule's literal is searched first and its pattern is tried only there. Personal data is masked where the policy of
the source asks for it. A mask keeps the length and the line breaks
of what it hides, so that line numbers stay true, and names its rule: `<aws_access_key***>`. Masks are left alone by a
second pass.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingest.literals import LiteralSet, find_all
from ingest.personal import FINDERS, find_personal

RULES_VERSION = "4"  # part of the manifest: raise it when the same text is masked otherwise
MAX_PASSES = 4  # a mask is a word border, so that a secret glued to another one shows up once its neighbour is gone


@dataclass(frozen=True, slots=True)
class Rule:
    """A secret format: literals to look for, and the pattern that must match `offset` characters after one of them.

    A pattern with a group hides only the group.
    """

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
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:"
        r"(?:[^-]|-(?!----)){16,16384}+-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:\s*[A-Za-z0-9+/=]{40,})+)",  # cut off before its end
    ),
    _rule("aws_access_key", "AKIA|ASIA|AROA|AIDA", r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z2-7]{16}\b"),
    _rule(
        "aws_secret_key",
        "ecret_access_key|ECRET_ACCESS_KEY|ecretAccessKey",
        r"""(?i:ecret_?access_?key)["']?\s{0,4}(?:=>|:=|[:=,])\s{0,4}["']?(?=\S{0,39}\d)([A-Za-z0-9+/]{40})(?![\w+/=])""",
    ),
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
    _rule("model_api_key", "sk-", r"(?<![\w-])sk-(?=[A-Za-z_-]{0,40}\d)[A-Za-z0-9_-]{32,250}"),
    _rule("npm_token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _rule("pypi_token", "pypi-AgE", r"\bpypi-AgE[A-Za-z0-9_-]{40,300}"),
    _rule("sendgrid_key", "SG.", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _rule("stripe_webhook", "whsec_", r"\bwhsec_[A-Za-z0-9+/=]{24,250}"),
    _rule("azure_account_key", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{80,90}={0,2})"),
    _rule("huggingface_token", "hf_", r"\bhf_[A-Za-z0-9]{34}\b"),
    _rule("digitalocean_token", "dop_v1_|doo_v1_|dor_v1_", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    _rule("vault_token", "hvs.|hvb.", r"\bhv[bs]\.[A-Za-z0-9_-]{24,250}"),
    _rule("grafana_token", "glsa_|glc_", r"\bgl(?:sa|c)_[A-Za-z0-9_+/=]{32,250}"),
    _rule("atlassian_token", "ATATT3", r"\bATATT3[A-Za-z0-9_=-]{60,300}"),
    _rule("shopify_token", "shpat_|shpca_|shppa_|shpss_", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    _rule("linear_key", "lin_api_", r"\blin_api_[A-Za-z0-9]{40}\b"),
    _rule("databricks_token", "dapi", r"\bdapi[a-f0-9]{32}(?:-\d)?\b"),
    _rule("age_key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _rule("telegram_token", ":AA", r"(?<=\d{8}):AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _rule("twilio_key", "SK", r"\bSK[0-9a-f]{32}\b"),
    _rule("jwt", "eyJ", r"(?<![\w-])eyJ[\w-]{8,2048}+\.eyJ[\w-]{8,8192}+\.[\w-]{16,2048}"),
    _rule("url_password", "://", r"[A-Za-z0-9._%+-]{0,64}:([^\s:@/'\"<>{}$`\\]{6,128}+)(?=@[\w.-]+)", offset=3),
)
# A name that says "secret", an assignment, and a value: only a value that looks random counts.
SECRET_NAMES = ("password", "passwd", "pwd", "passphrase", "secret", "token", "credential") + (
    "api_key", "apikey", "api-key", "access_key", "accesskey", "auth_key",
)  # fmt: skip
NAME_END = r"""[\w-]{0,16}["']?"""
QUOTED = re.compile(
    NAME_END
    + r"""(?:\s?:\s?\w{1,16})?\s{0,4}(?:=>|:=|[:=])\s{0,4}(?P<quote>["'])(?P<value>[^\s"'`$<>{}()]{8,256}+)(?P=quote)"""
)
BARE = re.compile(  # .env, YAML, properties, URL queries: nothing but the value, to the end of the line or a delimiter
    NAME_END + r"(?:=(?P<query>[\w+/=.~-]{20,256}+)(?![\w+/=.~(\[-])"
    r"|\s{0,4}[:=]\s{1,4}(?P<value>[\w+/=.~-]{20,256}+)[ \t]*$)",
    re.MULTILINE,
)
BEARER_HEAD = "Bearer "
BEARER = re.compile(r"Bearer ([A-Za-z0-9_.~+/-]{24,1024}+={0,2})(?![\w.~+/(=-])")
PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|change|dummy|sample|test|fake|your|xxx|\*\*\*|my[-_]|foo|bar|secret|password|token|key|none|null|todo|^pass|"
    r"[/\\.:][a-z]"
)
LITERALS = LiteralSet(
    (*(literal.lower() for rule in RULES for literal in rule.literals), *SECRET_NAMES, BEARER_HEAD.lower())
)
IDENTIFIER = re.compile(r"[A-Za-z_][\w.-]*")
MIN_ENTROPY_BITS = 3.4  # per character; words and identifiers lie below, base64 and hex of 16+ characters above
LONG = 16  # characters; entropy says little about a shorter value: it has to mix kinds of characters
KINDS_OF_CHARACTERS = tuple(map(re.compile, (r"[a-z]", r"[A-Z]", r"\d", r"[^\w\s]")))
MIN_DIGITS = 0.12  # share in a bare value that could be an identifier; random base62 has 0.16

ASSIGNED = "assigned_secret"
SHORT = "masked"  # what a mask says that is too short for its rule's name
SECRETS = (*(rule.id for rule in RULES), ASSIGNED)
MASK = re.compile(r"<(" + "|".join((*SECRETS, *FINDERS, SHORT)) + r")\**>")


@dataclass(frozen=True, slots=True)
class Redacted:
    """The masked text and how often each rule fired."""

    text: str
    counts: tuple[tuple[str, int], ...]


def redact(text: str, *, personal: bool = False) -> Redacted:
    """Return the text with every known secret, or personal data too, replaced by a mask of the same length."""
    counts: Counter[str] = Counter()
    for _ in range(MAX_PASSES):
        # Where a known format stands in an assignment, the format names it.
        lowered = text.lower()
        possible = LITERALS.possible_in(lowered)
        secrets = (*_find_formats(text, possible), *_find_assigned(text, lowered, possible)) if possible else ()
        found = sorted(secrets, key=lambda item: (item[0], item[2] == ASSIGNED))
        if not found:
            break
        text = _mask_all(text, found, counts)
    if personal:  # last: the mask of a secret is no longer an address or a number
        text = _mask_all(text, sorted(find_personal(text)), counts)
    return Redacted(text, tuple(sorted(counts.items())))


def is_personal(rule: str) -> bool:
    """Tell the two classes of rules apart: personal data, or secrets."""
    return rule in FINDERS


def _mask_all(text: str, found: Iterable[tuple[int, int, str]], counts: Counter[str]) -> str:
    pieces: list[str] = []
    done = 0
    for start, end, rule in found:
        if start >= done:
            pieces += (text[done:start], mask(text[start:end], rule))
            counts[rule] += 1
            done = end
    return "".join((*pieces, text[done:]))


def _find_formats(text: str, possible: frozenset[str]) -> Iterator[tuple[int, int, str]]:
    for rule in RULES:
        for literal in rule.literals:
            if literal.lower() not in possible:
                continue
            for at in find_all(text, literal):
                match = rule.pattern.match(text, at + rule.offset)
                if match and not (rule.id == "url_password" and _is_placeholder_login(match[0])):
                    yield *match.span(rule.pattern.groups), rule.id


def _find_assigned(text: str, lowered: str, possible: frozenset[str]) -> Iterator[tuple[int, int, str]]:
    if len(lowered) != len(text):  # a few characters change their length: positions would not fit
        lowered = text
    for name in SECRET_NAMES:
        for at in find_all(lowered, name) if name in possible else ():
            if span := _find_value(text, at + len(name)):
                yield *span, ASSIGNED
    if BEARER_HEAD.lower() not in possible:
        return
    for at in find_all(text, BEARER_HEAD):
        match = BEARER.match(text, at)
        if match and looks_random_bare(match[1]):
            yield *match.span(1), ASSIGNED


def _find_value(text: str, at: int) -> tuple[int, int] | None:
    """Return where the value is that is assigned to the name which ends at `at`."""
    if match := QUOTED.match(text, at):
        return match.span("value") if looks_random(match["value"]) else None
    match = BARE.match(text, at)
    if match and match.lastgroup and looks_random_bare(match[match.lastgroup]):
        return match.span(match.lastgroup)
    return None


def count_masks(text: str) -> tuple[tuple[str, int], ...]:
    """Return how many masks of each rule a redacted text holds."""
    if "**" not in text and "<" not in text:
        return ()
    return tuple(sorted(Counter(match[1] for match in MASK.finditer(text)).items()))


def mask(secret: str, rule: str) -> str:
    """Return a mask as long as the secret, with its line breaks where they were."""
    first, *rest = secret.split("\n")
    for name in (rule, SHORT):
        if len(first) >= len(name) + 2:
            head = f"<{name.ljust(len(first) - 2, '*')}>"
            break
    else:
        head = "*" * len(first)
    return "\n".join((head, *("*" * len(line) for line in rest)))


def looks_random(value: str) -> bool:
    """Tell whether a quoted value is more like a key than like a word, path or placeholder."""
    if PLACEHOLDER.search(value) or not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value):
        return False
    if len(value) < LONG:
        return all(kind.search(value) for kind in KINDS_OF_CHARACTERS)
    return entropy_bits(value) >= MIN_ENTROPY_BITS


def looks_random_bare(value: str) -> bool:
    """Tell whether a value without quotes is a key: code has names and expressions at such places."""
    digits = sum(map(str.isdigit, value))
    return looks_random(value) and (digits >= MIN_DIGITS * len(value) or not IDENTIFIER.fullmatch(value))


def entropy_bits(value: str) -> float:
    """Return the Shannon entropy per character."""
    total = len(value)
    return -sum(n / total * math.log2(n / total) for n in Counter(value).values())


def _is_placeholder_login(login: str) -> bool:
    user, _, password = login.partition(":")
    return bool(PLACEHOLDER.search(password)) or user.lower() == password.lower() or len(set(password)) < 5
