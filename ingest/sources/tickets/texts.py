"""Tickets that are files of their own: Markdown with front matter, YAML, and changelog fragments (towncrier)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from ingest.sources.tickets.fields import parse_record
from ingest.sources.tickets.records import Fault
from ingest.sources.tickets.ticket import Ticket

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)(.*)", re.DOTALL)
TITLE = re.compile(r"\A\s*#[ \t]+(\S[^\n]*?)[ \t]*#*[ \t]*(?:\n|\Z)")
STEM_KEY = re.compile(r"#?0*([1-9]\d{0,8}|[A-Z][A-Z0-9]+-\d+)(?![\w.])")
# towncrier: issue.type, issue.type.counter, each with or without a suffix; an orphan begins with a plus sign.
FRAGMENT = re.compile(
    r"(?P<issue>\+[\w.-]*?|[A-Za-z0-9_-]+)\.(?P<type>[A-Za-z][\w-]*)(?:\.\d+)?(?:\.(?P<suffix>rst|md|txt))?"
)
# The types that towncrier knows by itself, and those that projects of the Python world add.
FRAGMENT_TYPES = frozenset(
    """
    feature bugfix doc removal misc breaking deprecation improvement vendor trivial contrib packaging change changes
    perf performance security build ci added changed fixed deprecated removed api new_feature newfeature compatibility
    highlight expired c_api enhancement docker process docs internal significant bug fix break feat deps test typing
    """.split()
)
TELLING_TYPES = frozenset(("bugfix", "feature", "removal", "misc", "breaking", "deprecation", "vendor", "trivial"))
FRAGMENT_ISSUE = re.compile(r"\d+|\+.*|[A-Z][A-Z0-9]+-\d+|[0-9a-f]{8}[0-9a-f-]*")  # the last: made at random
SENTENCE = re.compile(r"(.+?(?<!e\.g)(?<!i\.e)[.!?])(?=\s+[A-Z`*:]|\s*\Z)", re.DOTALL)
MARKUP = re.compile(r":[\w:.+-]+:(?=`)|^[-*+][ \t]+|[`*]+", re.MULTILINE)
TITLE_CHARS = 200
TEXT_SUFFIXES = (".md", ".markdown", ".yaml", ".yml")


def fragment_of(name: str) -> re.Match[str] | None:
    """Return the parts of a changelog fragment's file name, None if it is none."""
    match = FRAGMENT.fullmatch(name)
    if match is None:
        return None
    if match["issue"].isdecimal() and match["suffix"]:
        return match  # whatever the project calls its types
    kind = match["type"].lower()
    if match["suffix"] and kind in TELLING_TYPES:
        return match  # the issue may be a word, as the name of a vendored package
    return match if kind in FRAGMENT_TYPES and FRAGMENT_ISSUE.fullmatch(match["issue"]) else None


def parse_fragment(name: str, text: str, source: str) -> Iterator[Ticket | Fault]:
    """Yield the ticket of a changelog fragment: its first sentence is the title, its type a label."""
    match = fragment_of(name)
    if match is None or not text.strip():
        yield Fault("bad_record", "an empty changelog fragment")
        return
    issue = match["issue"]
    key = f"#{int(issue)}" if issue.isdecimal() else issue if STEM_KEY.fullmatch(issue) else ""
    yield Ticket(key, first_sentence(text) or name, text, labels=(match["type"].lower(),), role="maintainer")


def first_sentence(text: str) -> str:
    """Return the first sentence of a text without its markup, at most 200 characters."""
    paragraph = re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0]
    plain = " ".join(MARKUP.sub("", paragraph).split())
    match = SENTENCE.match(plain)
    return (match[1] if match else plain)[:TITLE_CHARS]


def parse_text(name: str, text: str, source: str) -> Iterator[Ticket | Fault]:
    """Yield the tickets of a Markdown or YAML file: one, or for YAML as many as its list or its documents hold."""
    stem = name.rpartition(".")[0]
    try:
        if name.lower().endswith((".yaml", ".yml")):
            records = [item for document in yaml.load_all(text, Loader) for item in _each(document)]
        else:
            records = [_read_markdown(stem, text)]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)  # not the whole message: it quotes the file
        yield Fault("bad_record", f"no valid YAML{f' (line {mark.line + 1})' if mark else ''}")
        return
    key = _stem_key(stem) if len(records) == 1 else ""
    for record in records:
        yield _to_ticket(record, source, key, stem) or Fault("bad_record", "no title, or nothing to call it by")


def _each(document: object) -> list[object]:
    return document if isinstance(document, list) else [] if document is None else [document]


def _to_ticket(record: object, source: str, key: str, stem: str) -> Ticket | None:
    if not isinstance(record, dict):
        return None
    fields = {str(name).strip().lower().replace("-", "_").replace(" ", "_"): value for name, value in record.items()}
    given = fields.get("key", fields.get("id"))
    named = given.strip() if isinstance(given, str) and given.strip() else ""
    has_title = bool(fields.get("title") or fields.get("summary"))
    return parse_record(fields, source, key or named or stem) if has_title else None


def _stem_key(stem: str) -> str:
    match = STEM_KEY.match(stem)
    return "" if match is None else f"#{int(match[1])}" if match[1].isdecimal() else match[1]


def _read_markdown(stem: str, text: str) -> dict[str, Any]:
    """Return front matter and body as one record; a file whose name is a ticket's needs no front matter."""
    text = text.replace("\r\n", "\n")
    match = FRONT_MATTER.match(text)
    loaded = yaml.load(match[1], Loader) if match else {}
    record: dict[str, Any] = loaded if isinstance(loaded, dict) else {}
    body = match[2] if match else text
    title = TITLE.match(body)
    if title and not record.get("title") and (record or _stem_key(stem)):
        record = {**record, "title": title[1]}
        body = body[title.end() :]
    return {**record, "body": body}
