"""Figma: the JSON of a file (REST `GET /v1/files/:key`) and of its comments, as text by page and frame.

Each line ends in the id of its node, under which Figma opens it (`?node-id=12-34`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ingest.sources.designs.draft import Draft, UnreadableDesign, lay_out
from ingest.sources.designs.notebook import load_object

MAX_NODES = 2_000_000
NAMED = frozenset(("FRAME", "SECTION", "COMPONENT", "COMPONENT_SET", "INSTANCE"))
PATH = " / "

Node = Mapping[str, Any]


def read_figma(text: str) -> Draft:
    """Return the texts, names and comments of an export. Raises UnreadableDesign."""
    if '"document"' not in text and '"comments"' not in text:
        raise UnreadableDesign("unsupported", "JSON that is no Figma export")
    export = load_object(text)
    document = export.get("document")
    if not isinstance(document, dict) and not isinstance(export.get("comments"), list):
        raise UnreadableDesign("unsupported", "JSON that is no Figma export")
    places: dict[str, str] = {}
    sections: dict[str, list[str]] = {}
    for anchor, line in _lines(document, places) if isinstance(document, dict) else ():
        sections.setdefault(anchor, []).append(line)
    for anchor, line in (*_components(export), *_comments(export, places)):
        sections.setdefault(anchor, []).append(line)
    body, parts = lay_out((anchor, "\n".join(lines)) for anchor, lines in sections.items())
    if not parts:
        raise UnreadableDesign("no_text")
    return Draft(body, _string(export, "name"), "text", parts, updated_at=_string(export, "lastModified"))


def _lines(document: Node, places: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield frame and line of each node that says something, in order; fill in the frame of every node by its id.

    The tree is walked with a stack: an export can be nested deeper than Python may call.
    """
    stack: list[tuple[Node, tuple[str, ...], str]] = [(document, (), "")]
    for _ in range(MAX_NODES):
        if not stack:
            return
        node, path, frame = stack.pop()
        kind, name, number = _string(node, "type"), _string(node, "name"), _string(node, "id")
        if node.get("visible") is False:
            continue
        if kind == "CANVAS":
            path, frame = (name,), f"page {name} ({number})"
        elif kind in NAMED and len(path) == 1:
            path = (*path, name)
            frame = f"{PATH.join(path)} ({number})"
        elif kind in NAMED:
            path = (*path, name)
            yield frame, f"{PATH.join(path[2:])} ({kind.lower().replace('_', ' ')} {number})"
        elif kind == "TEXT" and (said := " ".join(_string(node, "characters").split())):
            yield frame, f"{said} ({number})"
        places[number] = frame
        children = node.get("children")
        inner = children if isinstance(children, list) else []
        stack.extend((child, path, frame) for child in reversed(inner) if isinstance(child, dict))


def _components(export: Node) -> Iterator[tuple[str, str]]:
    for table, label in (("components", "component"), ("componentSets", "component set")):
        entries = export.get(table)
        for number, entry in entries.items() if isinstance(entries, dict) else ():
            if isinstance(entry, dict) and (name := _string(entry, "name")):
                about = " ".join(_string(entry, "description").split())
                yield "components", f"{label} {name}{': ' if about else ''}{about} ({number})"


def _comments(export: Node, places: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield comments with the frame that they are pinned to; who wrote them is left out."""
    comments = export.get("comments")
    for comment in comments if isinstance(comments, list) else ():
        said = " ".join(_string(comment, "message").split()) if isinstance(comment, dict) else ""
        if said:
            meta = comment.get("client_meta")
            number = _string(meta, "node_id") if isinstance(meta, dict) else ""
            done = " resolved" if comment.get("resolved_at") else ""
            yield places.get(number) or "comments", f"{said} (comment{done}{f' on {number}' if number else ''})"


def _string(record: Node, name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""
