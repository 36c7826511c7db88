"""What a design says of itself: title, id, status, dates, and which designs it replaces or is replaced by."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ingest.index.keys import DESIGN_FAMILIES, find_design_keys
from ingest.model import SUPERSEDED_BY, SUPERSEDES
from ingest.sources.links import URL

FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*\n(.*?)\n(?:---|\.\.\.)|\+\+\+[ \t]*\n(.*?)\n\+\+\+)[ \t]*(?:\n|\Z)", re.DOTALL
)
# `PEP: 7`, `Title: x` from the first line on to an empty one, continued by indented lines, as in a letter.
LETTER_HEAD = re.compile(r"\A((?:[A-Z][\w-]{0,30}:[^\n]*\n(?:[ \t]+\S[^\n]*\n)*){3,})\n")
FIELD = re.compile(
    r"^[ \t]*(\w[\w -]{0,30}?)[ \t]*[:=][ \t]*(?:(\S.*?)[ \t]*$|\n((?:[ \t]*-[ \t]+\S.*(?:\n|\Z))+))", re.MULTILINE
)
HEADING = re.compile(
    r"^(?:#{1,6}|={1,6})[ \t]+(\S[^\n]*?)[ \t]*#*$|^(\S[^\n]*)\n(?:={3,}|-{3,}|~{3,})[ \t]*$", re.MULTILINE
)
# `Status: x`, `* **Status:** x`, `| Status | x |`, `:Status: x`, `Superseded-By: 12` near the top of a document.
HEAD_FIELD = re.compile(
    r"^[ \t>*_|:-]*(status|state|date|created|(?:last[ -])?updated|(?:super[sc]eded|replaced|obsoleted)[ _-]by"
    r"|super[sc]edes|replaces|obsoletes|expires(?:[ _-](?:at|on))?|valid[ _-]until)\**[ \t]*[:|][ \t*_|]*(\S[^\n|]*)",
    re.IGNORECASE | re.MULTILINE,
)
STATUS_SECTION = re.compile(
    r"^(?:(?:#{1,6}|={1,6})[ \t]*status[ \t]*[#=]*\n|status[ \t]*\n[=~^\"-]{3,}[ \t]*\n)(.{1,600}?)"
    r"(?=^(?:#{1,6}|={1,6})[ \t]|^\S[^\n]*\n[=~^\"-]{3,}[ \t]*$|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
REPLACED_BY = re.compile(
    r"\b(?:super[sc]eded|replaced|obsoleted)[ _-](?:by|with):?[ \t]+([^\n;]{1,300})", re.IGNORECASE
)
REPLACES = re.compile(r"\b(?:super[sc]edes|replaces|obsoletes):?[ \t]+([^\n;]{1,300})", re.IGNORECASE)
NUMBERED = re.compile(rf"(?:^|[/_. -])({DESIGN_FAMILIES}|design)[-_ ]?0*([1-9]\d{{0,5}})(?!\d)", re.IGNORECASE)
NUMBERED_FIELD = re.compile(rf"(?:{DESIGN_FAMILIES}) 0*[1-9]\d{{0,5}}", re.IGNORECASE)  # `eip: 1153`
DECISION_FOLDER = re.compile(
    r"(?:^|/)(adrs?|decisions|rfcs?|keps?|proposals)/(?:.*/)?0*([1-9]\d{0,5})[-_ ][^/]*"
    r"(?:/(?:readme|index|kep|proposal|design)\.\w+)?$",
    re.IGNORECASE,
)
FAMILY = {"decisions": "ADR", "adrs": "ADR", "rfcs": "RFC", "keps": "KEP", "proposals": "PROPOSAL"}
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)[^)]*\)")
ASCIIDOC_LINK = re.compile(r"\b(?:link|xref):|<<")
REFERENCE = re.compile(r"(?<![\w:/.])(/?(?:[\w.@+-]+/)*[\w@+-][\w.@+-]*/?)(?![\w/])")
FILE_SUFFIXES = (".md", ".markdown", ".mdx", ".rst", ".adoc", ".txt", ".html", ".pdf")
BARE_NUMBER = re.compile(r"(?<![\w./-])0*([1-9]\d{0,5})(?![\w./-])")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")
STATE_WORD = re.compile(r"[A-Za-z][A-Za-z-]*")
REPLACED_STATES = frozenset(("superceded", "superseded", "replaced", "obsoleted"))
SUPERSEDED = "superseded"
MAX_HEAD_CHARS = 4_000  # a state further down is about something else
MAX_SUCCESSION = 20
EXPIRY = ("expires", "expires-at", "expires_at", "expires-on", "valid-until", "valid_until")


@dataclass(frozen=True, slots=True)
class Record:
    """What a design says of itself. `links` are its successors and predecessors with their prefix."""

    title: str
    key: str | None
    state: str
    created_at: str
    updated_at: str
    expires_at: str
    links: tuple[str, ...]


def read_record(path: str, text: str) -> Record:
    """Return what the head of a design says; what it does not say is empty."""
    front, body = (read_fields(text), "") if path.lower().endswith((".yaml", ".yml")) else split_front_matter(text)
    fields = _head_fields(body) | front
    key = find_design_key(path, front, body)
    status = _status(fields, body)
    after = _targets(path, key, " ".join(_values(fields, "by")), REPLACED_BY, status)
    before = _targets(path, key, " ".join(_values(fields, "es")), REPLACES, status)
    state = find_state(status)
    return Record(
        title=find_title(front, body),
        key=key,
        state=SUPERSEDED if after or state in REPLACED_STATES else state,
        created_at=_date(fields, "date", "created", "creation-date"),
        updated_at=_date(fields, "updated", "last-updated", "last_updated"),
        expires_at=_date(fields, *EXPIRY),
        links=(*(SUPERSEDED_BY + name for name in after), *(SUPERSEDES + name for name in before)),
    )


def split_front_matter(text: str) -> tuple[dict[str, str], str]:
    """Return the flat fields of a front matter (YAML, TOML or a letter head), and the text after it."""
    text = text.replace("\r\n", "\n")
    match = FRONT_MATTER.match(text) or LETTER_HEAD.match(text)
    if not match:
        return {}, text
    return read_fields(next(filter(None, match.groups()), "")), text[match.end() :]


def read_fields(text: str) -> dict[str, str]:
    """Return flat `name: value` fields, names in lower case; the items of a list become one value."""
    fields: dict[str, str] = {}
    for name, value, items in FIELD.findall(text):
        listed = ", ".join(line.strip().lstrip("-").strip(" \t\"'") for line in items.splitlines())
        fields.setdefault(name.lower(), value.strip("\"' ") or listed)
    return fields


def _head_fields(body: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    head = body[:MAX_HEAD_CHARS]
    fence = head.find("```") % (len(head) + 1)  # an example may hold an expiry that is not the document's
    for match in HEAD_FIELD.finditer(head):
        name = re.sub(r"[ _]", "-", match[1].lower())
        if match.start() < fence or name not in EXPIRY:
            fields.setdefault(name, match[2])
    return fields


def _values(fields: Mapping[str, str], ending: str) -> Iterator[str]:
    """Yield the values of `superseded-by`, `replaced_by`... or of `supersedes`, `replaces`..., by the ending."""
    for stem in ("supersed", "superced", "replac", "obsolet"):
        for name in (f"{stem}ed-by", f"{stem}ed_by", f"{stem}ed by") if ending == "by" else (f"{stem}es",):
            if name in fields:
                yield fields[name]


def _status(fields: Mapping[str, str], body: str) -> str:
    """Return the status and what is written with it; the section of that name may say more than a field."""
    section = STATUS_SECTION.search(body[:MAX_HEAD_CHARS])
    field = fields.get("status", fields.get("state", ""))
    return "\n".join(filter(None, (field, section[1].strip() if section else "")))


def find_title(front: Mapping[str, str], body: str) -> str:
    """Return the title of the front matter, or the first heading, or ""."""
    match = HEADING.search(body)
    return front.get("title", "") or ((match[1] or match[2]).strip() if match else "")


def find_state(status: str) -> str:
    """Return accepted, proposed, superseded...: the first word of the status, in lower case, or ""."""
    word = STATE_WORD.search(status)
    return word[0].lower() if word else ""


def find_design_key(path: str, front: Mapping[str, str], body: str) -> str | None:
    """Return the id that people call a design by ('ADR-7'), from its front matter, path or title, or None."""
    for name, value in front.items():
        if NUMBERED_FIELD.fullmatch(f"{name} {value}"):
            return f"{name.upper()}-{int(value)}"
    match = NUMBERED.search(path) or NUMBERED.match(find_title(front, body)) or DECISION_FOLDER.search(path)
    return f"{_family(match[1])}-{match[2]}" if match else None


def _family(name: str) -> str:
    return FAMILY.get(name.lower(), name.upper())


def _targets(path: str, own: str | None, field: str, phrase: re.Pattern[str], status: str) -> list[str]:
    """Return the designs that a field or a phrase of the status names: ids, or paths where a file has no id."""
    found: dict[str, None] = {}
    for text in (field, *(match[1] for match in phrase.finditer(status))):
        found.update(dict.fromkeys(_references(path, own, text)))
    found.pop(own or path, None)
    found.pop(path, None)
    return list(found)[:MAX_SUCCESSION]


def _references(path: str, own: str | None, text: str) -> Iterator[str]:
    rest = LINK.sub(" ", URL.sub(" ", ASCIIDOC_LINK.sub(" ", text)))
    for target in (*LINK.findall(text), *URL.findall(LINK.sub(" ", text))):
        name = _name_file(path, target)
        yield from (name,) if name else ()
    keys = find_design_keys(rest)
    yield from keys
    for match in REFERENCE.finditer(rest) if not keys else ():
        name = _name_file(path, match[1])
        number = BARE_NUMBER.fullmatch(match[1]) if own else None
        if number and own:
            yield f"{own.rpartition('-')[0]}-{number[1]}"
        elif name and ("/" in match[1] or match[1].endswith(FILE_SUFFIXES)):
            yield name


def _name_file(path: str, target: str) -> str:
    """Return the id of the design in a file that is named relative to another, or its path, or "" for no file."""
    target = target.partition("#")[0]
    if "://" in target:
        return find_design_key(target, {}, "") or ""
    full = target.lstrip("/") if target.startswith("/") else posixpath.join(posixpath.dirname(path), target)
    full = posixpath.normpath(full).removeprefix("../")
    return find_design_key(full, {}, "") or (full if full.endswith(FILE_SUFFIXES) else "")


def _date(fields: Mapping[str, str], *names: str) -> str:
    found = (DATE.match(fields[name]) for name in names if name in fields)
    return next((f"{match[0]}T00:00:00Z" for match in found if match), "")
