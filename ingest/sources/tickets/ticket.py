"""One ticket as a value, its stored form, and the document that it becomes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ingest.index.keys import find_design_keys, find_ticket_keys
from ingest.model import AuthorRole, Document, Entry, Part, SourceInfo
from ingest.redact import redact
from ingest.sources.links import find_paths, join_links

TICKET_VERSION = "3"  # part of what is hashed: raise it when the same ticket gives another document
to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody said about a ticket."""

    body: str
    role: AuthorRole = "other"
    created_at: str = ""
    author: str = ""
    place: str = ""  # "path:12-14" of the code that a review comment is about


@dataclass(frozen=True, slots=True)
class Ticket:
    """One issue, merge request or changelog fragment. People are pseudonyms or left out, times are ISO 8601 UTC."""

    key: str  # "" where it has none, as an orphan changelog fragment
    title: str
    body: str = ""
    state: str = ""
    labels: tuple[str, ...] = ()
    assignee: str = ""
    role: AuthorRole = "author"
    created_at: str = ""
    updated_at: str = ""
    closed_at: str = ""
    links: tuple[str, ...] = ()  # keys, paths and commits that the tracker itself names
    comments: tuple[Comment, ...] = ()
    url: str = ""  # tells two tickets of one key apart
    author: str = ""
    expires_at: str = ""


def pack_ticket(ticket: Ticket) -> bytes:
    """Return a ticket as the bytes that unpack_ticket reads (JSON, UTF-8; lone surrogates survive)."""
    comments = [(said.body, said.role, said.created_at, said.author, said.place) for said in ticket.comments]
    row = [
        TICKET_VERSION,
        ticket.key,
        ticket.title,
        ticket.body,
        ticket.state,
        ticket.labels,
        ticket.assignee,
        ticket.role,
        ticket.created_at,
        ticket.updated_at,
        ticket.closed_at,
        ticket.links,
        comments,
        ticket.url,
        ticket.author,
        ticket.expires_at,
    ]
    return to_json(row).encode("utf-8", "surrogatepass")


def unpack_ticket(data: bytes) -> Ticket:
    """Return the ticket of packed bytes."""
    row: list[Any] = json.loads(data.decode("utf-8", "surrogatepass"))
    return Ticket(
        key=row[1],
        title=row[2],
        body=row[3],
        state=row[4],
        labels=tuple(row[5]),
        assignee=row[6],
        role=row[7],
        created_at=row[8],
        updated_at=row[9],
        closed_at=row[10],
        links=tuple(row[11]),
        comments=tuple(Comment(*comment) for comment in row[12]),
        url=row[13],
        author=row[14],
        expires_at=row[15],
    )


def name_person(source: str, identity: str) -> str:
    """Return the pseudonym of a person: the same within one source, another one elsewhere; "" for nobody.

    It has no key, so that whoever knows all names can find out; it keeps names out of answers, traces and models.
    """
    if not identity:
        return ""
    identified = "\x00".join((source, identity.casefold())).encode("utf-8", "replace")
    return f"person-{hashlib.blake2b(identified, digest_size=3).hexdigest()}"


def redact_ticket(ticket: Ticket, *, personal: bool) -> Ticket:
    """Return a ticket without secrets, and without personal data where that is the source's policy."""

    def masked(text: str) -> str:
        return redact(text, personal=personal).text

    return replace(
        ticket,
        title=masked(ticket.title),
        body=masked(ticket.body),
        labels=tuple(map(masked, ticket.labels)),
        links=tuple(map(masked, ticket.links)),
        comments=tuple(replace(comment, body=masked(comment.body)) for comment in ticket.comments),
    )


def ticket_document(info: SourceInfo, revision: str, entry: Entry, ticket: Ticket) -> Document:
    """Return the document of a ticket: title, labels and body are one part, each comment is one of its own."""
    title = " ".join(ticket.title.split()) or ticket.key
    labels = f"Labels: {', '.join(ticket.labels)}" if ticket.labels else ""
    head = "\n\n".join(part for part in (f"# {title}", labels, clean_text(ticket.body)) if part)
    text, parts = _lay_out(head, ticket)
    return Document(
        source=info,
        path=None,
        key=ticket.key or None,
        title=title,
        text=text,
        content_hash=entry.content_hash,
        language="markdown",
        role="docs",
        revision=revision,
        state=ticket.state,
        created_at=ticket.created_at,
        updated_at=ticket.updated_at,
        closed_at=ticket.closed_at,
        expires_at=ticket.expires_at,
        labels=ticket.labels,
        assignee=ticket.assignee,
        links=join_links(
            ticket.links, find_ticket_keys(text), find_design_keys(text), find_paths(text), without=ticket.key
        ),
        parts=parts,
    )


def _lay_out(head: str, ticket: Ticket) -> tuple[str, tuple[Part, ...]]:
    """Return the whole text of a ticket, and where its parts lie in it."""
    texts = [head]
    lines = head.count("\n") + 1
    parts = [Part(1, lines, "", ticket.role)]
    for comment in ticket.comments:
        body = clean_text(comment.body)
        where = f"on `{comment.place}`" if comment.place else ""  # as a path in the text it is a link to the code
        heading = " ".join(filter(None, ("## Comment", WHO[comment.role], where, comment.created_at[:10])))
        texts.append(f"{heading}\n\n{body}")
        start = lines + 4  # a blank line, the heading, a blank line
        lines = start + body.count("\n")
        parts.append(Part(start, lines, heading[3:], comment.role, comment.created_at))
    return "\n\n".join(texts) + "\n", tuple(parts)


WHO: Mapping[AuthorRole, str] = {"": "", "author": "by the author", "maintainer": "by a maintainer", "other": ""}


def clean_text(text: str) -> str:
    """Return a text with line feeds only and without blank ends."""
    return (text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text).strip()


def said(comments: Iterable[Comment]) -> Iterator[Comment]:
    """Yield the comments that say anything."""
    return (comment for comment in comments if comment.body.strip())
