"""Ticket exports: JSON of GitHub's REST interface or of `gh issue list --json`, also GitLab's, one file or a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.model import Document, Entry, KnownFile, Skip, SourceInfo
from ingest.sources.decode import decode_text
from ingest.sources.files import FileSnapshot, hash_entries
from ingest.sources.folder import read_unchanged
from ingest.sources.ignore import root_scope
from ingest.sources.links import find_paths, find_ticket_keys, join_links
from ingest.sources.worktree import FoundFile, find_file, inspect_file, walk_folder

EXPORT_SUFFIXES = (".json", ".jsonl", ".ndjson")
MAX_EXPORT_BYTES = 512 * 1024 * 1024
LIST_KEYS = ("items", "issues", "nodes", "data")  # where a search result or a GraphQL page keeps its list
HOW_TO_EXPORT = (
    "Export it again, for example with `gh issue list --state all --limit 10000 --json "
    "number,title,body,state,labels,comments,createdAt,updatedAt > issues.json`."
)
CLOSED_AS = {"NOT_PLANNED": "not planned", "DUPLICATE": "duplicate"}

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TicketSnapshot(FileSnapshot):
    """Export files of one source; a file holds many tickets."""

    def documents(self, entry: Entry, data: bytes) -> Iterator[Document]:
        """Return one document per ticket of a file. Raises SourceError if it cannot be parsed."""
        return parse_export(self.info, self.revision, entry, data)


def open_tickets(
    config: SourceConfig, info: SourceInfo, *, data_dir: Path, known: Mapping[str, KnownFile]
) -> TicketSnapshot:
    """Return the export files of a source. Raises SourceError if one is no export, so that the last good one stays."""
    root = config.path if config.path.is_dir() else config.path.parent
    files, skips = _find_exports(config, data_dir)
    entries: list[Entry] = []
    for found in files:
        result = inspect_file(root, found, known.get(found.path), MAX_EXPORT_BYTES, lambda path, data: None)
        skips.append(result) if isinstance(result, Skip) else entries.append(result[0])
    entries.sort(key=lambda entry: entry.path)
    if not entries:
        raise SourceError(f"No ticket export (*.json, *.jsonl) at {config.path}. {HOW_TO_EXPORT}")
    if any(entry.path not in known or known[entry.path].content_hash != entry.content_hash for entry in entries):
        _check_exports(info, root, entries)
    return TicketSnapshot(
        info=info,
        revision=hash_entries(entries),
        location=str(config.path),
        entries=tuple(entries),
        skipped=tuple(sorted(skips, key=lambda skip: skip.path)),
        load=lambda entry: read_unchanged(root, entry),
    )


def _check_exports(info: SourceInfo, root: Path, entries: Sequence[Entry]) -> None:
    """Raise SourceError if a file cannot be parsed or a ticket is in two of them."""
    home: dict[str, str] = {}
    for entry in entries:
        for document in parse_export(info, "", entry, read_unchanged(root, entry)):
            other = home.setdefault(document.ref, entry.path)
            if other != entry.path:
                raise SourceError(
                    f"Ticket {document.ref} of source {info.name} is in both {other} and {entry.path}. "
                    "Keep it in one file, or configure the two files as two sources."
                )


def parse_export(info: SourceInfo, revision: str, entry: Entry, data: bytes) -> Iterator[Document]:
    """Yield one document per ticket, the last record of each. Raises SourceError naming file and line."""
    records = {key_of(record): record for record in load_records(entry.path, data)}
    for key, record in records.items():
        yield parse_ticket(info, revision, entry, key, record)


def load_records(path: str, data: bytes) -> list[Record]:
    """Return the ticket records of an export: a list, an object that holds one, or one object per line."""
    text, _ = decode_text(data)
    if text is None:
        raise SourceError(f"{path} is no text in a known encoding. {HOW_TO_EXPORT}")
    try:
        value = json.loads(text)
    except RecursionError:
        raise SourceError(f"{path} is nested too deeply to be a ticket export. {HOW_TO_EXPORT}") from None
    except json.JSONDecodeError as error:
        value = _load_lines(path, text, error)
    if isinstance(value, dict):
        value = next((value[key] for key in LIST_KEYS if isinstance(value.get(key), list)), [value])
    if not isinstance(value, list):
        raise SourceError(f"{path} holds {type(value).__name__}, no list of tickets. {HOW_TO_EXPORT}")
    for number, record in enumerate(value, 1):
        if not isinstance(record, dict) or not key_of(record):
            raise SourceError(f"Record {number} of {path} is no ticket: it has no `number`. {HOW_TO_EXPORT}")
    return value


def _load_lines(path: str, text: str, error: json.JSONDecodeError) -> list[Any]:
    """Parse JSON lines; the first error of the whole file is reported unless its first line stands alone."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    records: list[Any] = []
    for number, line in lines:
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as fault:
            at = error.lineno if not records else number
            reason = error.msg if not records or isinstance(fault, RecursionError) else fault.msg
            raise SourceError(f"{path} is no valid JSON (line {at}: {reason}). {HOW_TO_EXPORT}") from None
        records.extend(record if isinstance(record, list) else [record])  # `gh api --paginate` writes list after list
    if not records:
        raise SourceError(f"{path} is no valid JSON (line {error.lineno}: {error.msg}). {HOW_TO_EXPORT}")
    return records


def key_of(record: Record) -> str:
    """Return '#12' or 'PROJ-7', or "" for what is no ticket."""
    number = record.get("number", record.get("iid"))
    if isinstance(number, int | str) and str(number).isdecimal():
        return f"#{int(number)}"
    key = record.get("key")
    return key if isinstance(key, str) and "-" in key else ""


def parse_ticket(info: SourceInfo, revision: str, entry: Entry, key: str, record: Record) -> Document:
    """Return the document of one ticket: title, body, comments. People are left out."""
    title = _text(record, "title", "summary") or key
    body = _text(record, "body", "description")
    comments = _comments(record)
    labels = _labels(record)
    parts = [f"# {title}", f"Labels: {', '.join(labels)}" if labels else "", body]
    parts += [f"## Comment\n\n{comment}" for comment in comments]
    text = "\n\n".join(part.strip() for part in parts if part.strip()).replace("\r\n", "\n") + "\n"
    return Document(
        source=info,
        path=None,
        key=key,
        title=title,
        text=text,
        content_hash=entry.content_hash,
        language="markdown",
        role="docs",
        revision=revision,
        state=_state(record),
        created_at=_time(record, "created_at", "createdAt"),
        updated_at=_time(record, "updated_at", "updatedAt"),
        links=join_links(find_ticket_keys(text), find_paths(text), without=key),
    )


def _text(record: Record, *names: str) -> str:
    return next((record[name] for name in names if isinstance(record.get(name), str)), "")


def _comments(record: Record) -> list[str]:
    """Return the bodies of comments; GitHub's REST interface only gives their number."""
    comments = record.get("comments", record.get("notes"))
    if isinstance(comments, dict):
        comments = comments.get("nodes")
    if not isinstance(comments, list):
        return []
    bodies = [comment.get("body") if isinstance(comment, dict) else comment for comment in comments]
    return [body for body in bodies if isinstance(body, str) and body.strip()]


def _labels(record: Record) -> list[str]:
    labels = record.get("labels")
    if isinstance(labels, dict):
        labels = labels.get("nodes")
    names = [label.get("name") if isinstance(label, dict) else label for label in labels or ()]
    return [name for name in names if isinstance(name, str)]


def _state(record: Record) -> str:
    """Return open, closed or merged, with the reason of a closure that solved nothing."""
    state = _text(record, "state", "status").lower()
    pull = record.get("pull_request")
    if record.get("mergedAt") or record.get("merged_at") or (isinstance(pull, dict) and pull.get("merged_at")):
        return "merged"
    state = "open" if state == "opened" else state
    reason = CLOSED_AS.get(_text(record, "state_reason", "stateReason").upper())
    return f"{state} as {reason}" if reason else state


def _time(record: Record, *names: str) -> str:
    """Return a time stamp as ISO 8601 UTC, or "" if it is none."""
    try:
        moment = datetime.fromisoformat(_text(record, *names))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return ""


def _find_exports(config: SourceConfig, data_dir: Path) -> tuple[list[FoundFile], list[Skip]]:
    """Return the one file that the source names, or the exports of its folder."""
    if config.path.is_dir():
        walk = walk_folder(config.path, root_scope(config.include, config.exclude), avoid=data_dir)
        files = [found for found in walk.files if found.path.lower().endswith(EXPORT_SUFFIXES)]
        return files, [skip for skip in walk.skips if skip.path.lower().endswith((*EXPORT_SUFFIXES, "/"))]
    found = find_file(config.path.parent, config.path.name)
    if found is None:
        raise SourceError(f"The ticket export {config.path} does not exist. Correct `path`, or: {HOW_TO_EXPORT}")
    return ([found], []) if isinstance(found, FoundFile) else ([], [found])
