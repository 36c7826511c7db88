"""Personal data in text: e-mail addresses, telephone and card numbers, bank accounts (IBAN), public IP addresses.

Each finder looks for a cheap mark first and decides by check digits, number plans and lists of what is nobody's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping

Span = tuple[int, int]

EMAIL = re.compile(
    r"(?<![\w.%+-])([A-Za-z0-9_%+-][A-Za-z0-9._%+-]{0,63})@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}([A-Za-z]{2,24}))"
    r"(?![\w@-]|:[\w/~])"  # `git@host:path` is an address of a repository
)
EMAIL_REACH = 65  # characters before an @ that can belong to an address
# RFC 2606 and RFC 6761: names that lead nowhere. `noreply` addresses reach nobody, but may name a person: `12+ada@...`.
NOBODY_DOMAINS = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|org|net))?|test|invalid|localhost|local)$", re.IGNORECASE)
NOBODY_NAMES = re.compile(
    r"(?:git|hg|svn|no-?reply|do-?not-?reply|user(?:name)?|foo|bar|someone|you(?:r.*)?)", re.IGNORECASE
)
LOGIN_BEFORE = re.compile(r"://[^\s/]*\Z")
FILE_ENDINGS = frozenset(
    "png jpg jpeg gif svg webp js mjs ts css py rb rs go java md json yml yaml txt html so dll".split()
)

# Each pattern starts with plain characters, which is found quickly, and looks back only then.
PHONE = re.compile(
    r"[+(0-9](?<![\w.+/=-].)(?:"
    r"(?<=\+)[1-9]\d{0,2}[ .\-]?(?:\(\d{1,5}\)[ .\-]?)?\d{1,5}(?:[ .\-]\d{2,8}){1,5}"
    r"|(?<=\+)[1-9]\d{9,14}"
    r"|(?<=\()\d{3}\) ?\d{3}-\d{4}|\d{2}-\d{3}-\d{4}"
    r")(?![\w.\-/:]?\w)"
)
TEL = re.compile(r"[TtPpMmFf](?:el|hone|obile|ax|EL|HONE|OBILE|AX)[.:]{1,2}\s{0,4}(\+?[\d(][\d ().\-]{6,18}\d)(?!\w)")
FICTION = re.compile(r"(?:^1?555\d{3}|555)\d{4}$")  # numbers that the North American plan keeps for films
PHONE_DIGITS = range(8, 16)  # ITU-T E.164 allows 15

CARD = re.compile(r"[2-6](?<![\w.+/=-].)(?:[ -]?\d){12,18}(?![\w.+/=-]?\w)")
CARD_BRANDS = re.compile(  # length and first digits as ISO/IEC 7812 gives them to the large networks
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01])\d{13}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|35\d{14}"
)
CARD_GROUPS = re.compile(r"\d+|\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{4,5}")
MIN_CARD_KINDS = 5  # different digits: test numbers such as 4242... have fewer
TEST_CARDS = frozenset(
    "4012888888881881 4000056655665556 5200828282828210 5105105105105100 378282246310005 371449635398431"
    " 6011000990139424 3566002020360505 30569309025904 38520000023237 5454545454545454".split()
)

IBAN = re.compile(
    r"[A-Z](?<![\w/+=-].)[A-Z]\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,4})?)(?![\w/+=])"
)
IBAN_LENGTHS: Mapping[str, int] = dict(  # registry of ISO 13616
    AD=24, AE=23, AL=28, AT=20, AZ=28, BA=20, BE=16, BG=22, BH=22, BR=29, CH=21, CR=22, CY=28, CZ=24, DE=22, DK=18,
    DO=28, EE=20, EG=29, ES=24, FI=18, FO=18, FR=27, GB=22, GE=22, GI=23, GL=18, GR=27, GT=28, HR=21, HU=28, IE=22,
    IL=23, IQ=23, IS=26, IT=27, JO=30, KW=30, KZ=20, LB=28, LI=21, LT=20, LU=20, LV=21, MC=27, MD=24, ME=22, MK=19,
    MR=27, MT=31, MU=30, NL=18, NO=15, PK=24, PL=28, PS=29, PT=25, QA=29, RO=24, RS=22, SA=24, SE=24, SI=19, SK=24,
    SM=27, TN=24, TR=26, UA=29, VA=22, VG=24, XK=20,
)  # fmt: skip

IPV4 = re.compile(r"[0-9](?<![\w.+/=-].)\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.\w|/\d)")
IPV6 = re.compile(
    r"[23](?<![\w:.].)[0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:]|\.\w)"
)  # 2000::/3
VERSION_BEFORE = re.compile(
    r"(?:\bv|\bversions?|\brelease[ds]?|\bupgraded?|\bupdated?|\bsections?|\bfrom|\bto|[=<>~^])[\s:`\"'=]{0,3}$",
    re.IGNORECASE,
)
VERSION_REACH = 16
# Resolvers that stand in countless examples and belong to no person.
PUBLIC_RESOLVERS = frozenset("8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 1.2.3.4".split())


def find_emails(text: str) -> Iterator[Span]:
    """Yield e-mail addresses that may be a person's."""
    done = at = -1
    while (at := text.find("@", at + 1)) >= 0:
        for match in EMAIL.finditer(text, max(done, at - EMAIL_REACH, 0), at + 320):
            if match.end(1) == at and not (_is_nobody(match) or _is_login(text, match.start())):
                yield match.span()
                done = match.end()
            if match.end(1) >= at:
                break


def _is_nobody(match: re.Match[str]) -> bool:
    name, domain, ending = match.groups()
    return bool(NOBODY_NAMES.fullmatch(name) or NOBODY_DOMAINS.search(domain)) or ending.lower() in FILE_ENDINGS


def _is_login(text: str, at: int) -> bool:
    """Tell whether a name stands in an address such as `https://name:word@host`."""
    return LOGIN_BEFORE.search(text, max(at - EMAIL_REACH, 0), at) is not None


def find_phones(text: str) -> Iterator[Span]:
    """Yield telephone numbers: with a country code, in the North American form, or after a word such as `tel:`."""
    for pattern in (PHONE, TEL):
        for match in pattern.finditer(text):
            start, end = match.span(pattern.groups)
            digits = _digits(text[start:end])
            if len(digits) in PHONE_DIGITS and len(set(digits)) > 2 and not FICTION.search(digits):
                yield start, end


def find_cards(text: str) -> Iterator[Span]:
    """Yield card numbers: brand, length and Luhn's check digit are right, and it is no well-known test number."""
    for match in CARD.finditer(text):
        digits = _digits(match[0])
        if CARD_BRANDS.fullmatch(digits) and CARD_GROUPS.fullmatch(match[0]) and is_luhn(digits):
            if len(set(digits)) >= MIN_CARD_KINDS and digits not in TEST_CARDS:
                yield match.span()


def find_ibans(text: str) -> Iterator[Span]:
    """Yield bank account numbers whose length and check digits are right."""
    for match in IBAN.finditer(text):
        for span in (match.span(), (match.start(), _shorter(text, *match.span()))):
            if is_iban(text[slice(*span)].replace(" ", "")):
                yield span
                break


def _shorter(text: str, start: int, end: int) -> int:
    """Return an end without the last group: a word in capitals may follow a number."""
    return max(text.rfind(" ", start, end), start)


def find_addresses(text: str) -> Iterator[Span]:
    """Yield IP addresses that are reachable on the internet; private, local and documentation ranges name nobody."""
    for pattern in (IPV4, IPV6):
        for match in pattern.finditer(text):
            before = text[max(match.start() - VERSION_REACH, 0) : match.start()]
            if _is_public(match[0]) and not (pattern is IPV4 and VERSION_BEFORE.search(before)):
                yield match.span()


def _is_public(text: str) -> bool:
    if text in PUBLIC_RESOLVERS:
        return False
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 4 and text.endswith((".0", ".0.1")):
        return False  # a version or a network
    return address.is_global and not address.is_multicast


def is_luhn(digits: str) -> bool:
    """Tell whether the last digit is the check digit of the others (Luhn, ISO/IEC 7812-1)."""
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(n - 9 if n > 9 else n for n in doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Tell whether length and check digits are those of an IBAN (ISO 13616: mod 97 = 1)."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


FINDERS: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "email": find_emails,
    "iban": find_ibans,
    "card": find_cards,
    "phone": find_phones,
    "ip": find_addresses,
}


def find_personal(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where personal data stands and of which kind it is; spans of different kinds may overlap."""
    for kind, find in FINDERS.items():
        for start, end in find(text):
            yield start, end, kind
