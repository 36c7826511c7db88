"""From a record of a tracker to a ticket: GitHub (REST, GraphQL, `gh`), GitLab, Jira, Linear, front matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from ingest.model import AuthorRole
from ingest.sources.tickets.markup import adf_to_text, wiki_to_markdown
from ingest.sources.tickets.ticket import Comment, Ticket, name_person, said

Record = Mapping[str, Any]

CLOSED_AS = {
    "not_planned": "not planned",
    "wontfix": "not planned",
    "won't fix": "not planned",
    "won't do": "not planned",
    "duplicate": "duplicate",
    "cannot reproduce": "cannot reproduce",
    "canceled": "not planned",
    "cancelled": "not planned",
}
OPEN_WORDS = frozenset(("opened", "open", "to do", "todo", "backlog", "new", "reopened", "triage", "unstarted"))
CLOSED_WORDS = frozenset(("closed", "done", "resolved", "completed", "fixed"))
MAINTAINERS = frozenset(("OWNER", "MEMBER", "COLLABORATOR"))
LETTER_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*-\d+")
IDENTITY = ("login", "accountId", "username", "emailAddress", "key", "name", "email", "displayName")
COMMENTED = re.compile(r"/(?:issues|pulls)/(\d+)$")
COMMIT_CHARS = 12  # as in the key of a commit
PLAIN_TIMES = (
    "%d/%b/%y %I:%M %p",
    "%d/%b/%y %H:%M",
    "%d/%b/%Y %I:%M %p",
    "%d/%b/%Y %H:%M",
    "%Y-%m-%d %H:%M",
    "%a %b %d %Y %H:%M:%S GMT%z",
    "%Y/%m/%d",
)


def parse_record(record: Record, source: str, key: str = "") -> Ticket | None:
    """Return the ticket of a record, None if it is none. `key` is used where it names none; `source` names people."""
    fields = record.get("fields")
    if isinstance(fields, Mapping) and isinstance(record.get("key"), str):
        return _parse_jira(record, fields, source)
    if ("pull_request_url" in record or "issue_url" in record) and "title" not in record:
        return parse_lone_comment(record, source)
    key = key_of(record) or key
    title = text_of(record, "title", "summary", "name", "subject")
    if not key or not (title or text_of(record, *BODY)):
        return None
    author = person_of(first(record, "user", "author", "reporter", "creator"))
    return Ticket(
        key=key,
        title=title or key,
        body=text_of(record, *BODY),
        state=state_of(record),
        labels=tuple(labels_of(record)),
        assignee=name_person(source, person_of(first(record, "assignee", "assignees", "owner"))),
        role="maintainer" if association_of(record) in MAINTAINERS else "author",
        created_at=time_of(record, "created_at", "createdAt", "created", "date", "created_on"),
        updated_at=time_of(record, "updated_at", "updatedAt", "updated", "modified"),
        closed_at=time_of(record, *CLOSED_TIMES),
        links=tuple(links_of(record)),
        comments=tuple(said(comments_of(record, source, author))),
        url=text_of(record, "html_url", "web_url", "url"),
        author=name_person(source, author),
        expires_at=time_of(record, *EXPIRY),
    )


EXPIRY = ("expires_at", "expires", "valid_until")
BODY = ("body", "description", "text")
CLOSED_TIMES = ("closed_at", "closedAt", "merged_at", "mergedAt", "closed", "completedAt", "canceledAt", "resolved")


def key_of(record: Record) -> str:
    """Return '#12' or 'PROJ-7', or "" for what is no ticket."""
    for name in ("number", "iid", "key", "identifier", "ticket", "issue", "id"):
        value = record.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return f"#{value}"
        if isinstance(value, str):
            text = value.strip()
            if text.lstrip("#").isdecimal():
                return f"#{int(text.lstrip('#'))}"
            if LETTER_KEY.fullmatch(text):
                return text
    return ""


def first(record: Record, *names: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the first value that is there and not empty."""
    return next((record[name] for name in names if record.get(name)), None)


def text_of(record: Record, *names: str) -> str:
    """Return the first text among the values, rich text as plain text."""
    for name in names:
        value = record.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, Mapping) and value.get("type") == "doc":
            return adf_to_text(value)
    return ""


def named(value: object) -> str:
    """Return a text, or the name of an object that has one."""
    if isinstance(value, Mapping):
        value = value.get("name", value.get("value", ""))
    return value.strip() if isinstance(value, str) else ""


def listed(value: object) -> list[Any]:
    """Return a list as it is, the list of a page of results, and the parts of a text at its commas."""
    if value is None or isinstance(value, list):
        return value or []
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("nodes", "comments", "values") if key in value), [])
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return list(value) if isinstance(value, Sequence) and not isinstance(value, bytes) else []


def labels_of(record: Record) -> list[str]:
    """Return the names of the labels, once each."""
    groups = (listed(record.get(name)) for name in ("labels", "tags", "components"))
    return list(dict.fromkeys(filter(None, (named(label) for group in groups for label in group))))


def person_of(value: object) -> str:
    """Return what tells a person from others, or ""."""
    if isinstance(value, Mapping) and isinstance(value.get("nodes"), list):
        value = value["nodes"]
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, Mapping):
        value = first(value, *IDENTITY)
    return value.strip() if isinstance(value, str) else ""


def association_of(record: Record) -> str:
    """Return what GitHub says of the author's relation to the repository."""
    return text_of(record, "author_association", "authorAssociation").upper()


def role_of(record: Record, person: str, author: str) -> AuthorRole:
    """Return who speaks: a maintainer, the author of the ticket, or somebody else."""
    if association_of(record) in MAINTAINERS:
        return "maintainer"
    return "author" if person and person == author else "other"


def comments_of(record: Record, source: str, author: str) -> Iterator[Comment]:
    """Yield comments and reviews (GitHub's REST interface gives only their number), without notes by the tracker."""
    names = ("comments", "notes", "reviews", "review_comments", "reviewComments")
    found = [item for name in names for item in listed(record.get(name))]
    for item in found:
        if isinstance(item, str):
            yield Comment(item)
        elif isinstance(item, Mapping) and not item.get("system"):
            yield parse_comment(item, source, author)
            yield from comments_of(item, source, author)  # of a review: those on lines of code
    for thread in listed(record.get("reviewThreads")):
        for item in listed(thread.get("comments")) if isinstance(thread, Mapping) else ():
            if isinstance(item, Mapping):
                yield replace(parse_comment(item, source, author), place=place_of(item) or place_of(thread))


def parse_comment(item: Record, source: str, author: str = "") -> Comment:
    """Return one comment; `author` wrote the ticket, "" where that is not known yet."""
    person = person_of(first(item, "user", "author"))
    moment = time_of(item, "created_at", "createdAt", "created", "date", "submittedAt")
    role = role_of(item, person, author)
    return Comment(text_of(item, *BODY), role, moment, name_person(source, person), place_of(item))


def place_of(item: Record) -> str:
    """Return the code that a review comment is about as `path:12-14`, "" for any other comment.

    GitHub gives the lines of the present change, or of the one that the comment was written on; GitLab a position.
    """
    position = item.get("position")
    if isinstance(position, Mapping):
        path, line = first(position, "new_path", "old_path"), first(position, "new_line", "old_line")
        start = line
    else:
        path, line = item.get("path"), first(item, "line", "original_line", "originalLine")
        start = first(item, "start_line", "startLine") or line
    if not isinstance(path, str) or not path or "`" in path or "\n" in path:
        return ""
    if not isinstance(line, int) or not isinstance(start, int):
        return path
    return f"{path}:{start}-{line}" if start < line else f"{path}:{line}"


def parse_lone_comment(record: Record, source: str) -> Ticket | None:
    """Return a comment that an export lists by itself (GitHub's `/pulls/comments` and `/issues/comments`)."""
    match = COMMENTED.search(text_of(record, "pull_request_url", "issue_url"))
    said = parse_comment(record, source)
    if match is None or "id" not in record or not said.body:
        return None
    ticket = f"#{int(match[1])}"
    about = f" on {said.place}" if said.place else ""
    updated = time_of(record, "updated_at")
    return Ticket(
        key=f"{ticket}/comment-{record['id']}",
        title=f"Comment{about} in {ticket}",
        created_at=said.created_at,
        updated_at=updated,
        links=(ticket,),
        comments=(said,),
        url=text_of(record, "html_url"),
        author=said.author,
    )


def state_of(record: Record) -> str:
    """Return open, closed, merged or the tracker's own word, with the reason of a closure that solved nothing."""
    pull = record.get("pull_request")
    if first(record, "mergedAt", "merged_at") or (isinstance(pull, Mapping) and pull.get("merged_at")):
        return "merged"
    value = first(record, "state", "status")
    category = value.get("type", "") if isinstance(value, Mapping) else ""
    return name_state(named(value), str(category), text_of(record, "state_reason", "stateReason", "resolution"))


def name_state(word: str, category: str = "", reason: str = "") -> str:
    """Return a state in the words of this index. `category`: what the tracker counts the state as."""
    word, category = word.strip().lower(), category.strip().lower()
    why = CLOSED_AS.get(reason.strip().lower()) or CLOSED_AS.get(word)
    if word in CLOSED_WORDS or word in CLOSED_AS or category in CLOSED_WORDS or category in CLOSED_AS:
        return f"closed as {why}" if why else "closed"
    return "open" if word in OPEN_WORDS or category in ("new", "unstarted", "backlog") else word


def links_of(record: Record) -> Iterator[str]:
    """Yield what the tracker itself links: other tickets, the files of a pull request, the commit that merged it."""
    for name in ("closingIssuesReferences", "links", "related", "blocks", "blocked_by", "parent", "duplicates"):
        value = record.get(name)
        for item in [value] if isinstance(value, int) else listed(value) or [value]:
            key = key_of(item if isinstance(item, Mapping) else {"key": item})
            text = item.strip() if isinstance(item, str) else ""
            if key or text:
                yield key or text
    for item in listed(record.get("files")):
        path = item.get("path") if isinstance(item, Mapping) else item
        if isinstance(path, str) and path:
            yield path
    commit = record.get("mergeCommit")
    commit = commit.get("oid") if isinstance(commit, Mapping) else record.get("merge_commit_sha")
    if isinstance(commit, str) and state_of(record) == "merged":
        yield commit[:COMMIT_CHARS]


def time_of(record: Record, *names: str) -> str:
    """Return the first of the values that is a time, as ISO 8601 UTC, or ""."""
    return next(filter(None, (format_moment(record.get(name)) for name in names)), "")


def format_moment(value: object) -> str:
    """Return a time as ISO 8601 UTC, or "" if it is none. Where no zone is said, it is taken for UTC."""
    if isinstance(value, str):
        value = _parse_moment(value.strip())
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return ""
    try:
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        return ""


def _parse_moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass  # no ISO 8601: one of the forms that tables have
    bare = text.partition(" (")[0]
    for form in PLAIN_TIMES:
        try:
            return datetime.strptime(bare, form)
        except ValueError:
            continue
    return None


def _parse_jira(record: Record, fields: Record, source: str) -> Ticket | None:
    key = str(record["key"])
    title = text_of(fields, "summary")
    if not LETTER_KEY.fullmatch(key) or not title:
        return None
    status = fields.get("status")
    category = status.get("statusCategory") if isinstance(status, Mapping) else None
    reporter = person_of(fields.get("reporter"))
    comments = listed(fields.get("comment"))
    return Ticket(
        key=key,
        title=title,
        body=_jira_text(fields, "description"),
        state=name_state(
            named(status),
            str(category.get("key", "")) if isinstance(category, Mapping) else "",
            named(fields.get("resolution")),
        ),
        labels=tuple(labels_of(fields)),
        assignee=name_person(source, person_of(fields.get("assignee"))),
        created_at=time_of(fields, "created"),
        updated_at=time_of(fields, "updated"),
        closed_at=time_of(fields, "resolutiondate"),
        links=tuple(dict.fromkeys(_jira_links(fields))),
        comments=tuple(said(_jira_comment(item, source, reporter) for item in comments if isinstance(item, Mapping))),
        url=text_of(record, "self"),
        author=name_person(source, reporter),
    )


def _jira_text(record: Record, name: str) -> str:
    value = record.get(name)
    return wiki_to_markdown(value) if isinstance(value, str) else text_of(record, name)


def _jira_comment(item: Record, source: str, reporter: str) -> Comment:
    person = person_of(item.get("author"))
    role, moment = role_of(item, person, reporter), time_of(item, "created")
    return Comment(_jira_text(item, "body"), role, moment, name_person(source, person))


def _jira_links(fields: Record) -> Iterator[str]:
    """Yield the keys of linked issues, the parent and the parts."""
    related: Iterable[object] = (fields.get("parent"), *listed(fields.get("subtasks")))
    for link in listed(fields.get("issuelinks")):
        related = (
            *related,
            *((link.get("outwardIssue"), link.get("inwardIssue")) if isinstance(link, Mapping) else ()),
        )
    for issue in related:
        key = issue.get("key") if isinstance(issue, Mapping) else None
        if isinstance(key, str) and LETTER_KEY.fullmatch(key):
            yield key
