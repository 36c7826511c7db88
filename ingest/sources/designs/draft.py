"""What a reader of a format hands over: text with anchors, and what the format itself says of its document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ingest.model import Part

MAX_CHARS = 5_000_000  # of text from one file; what follows is not indexed


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of a design file. `parts` are the pages or frames of a format without lines, named in their context."""

    text: str
    title: str = ""
    language: str | None = "text"
    parts: tuple[Part, ...] = ()
    created_at: str = ""
    updated_at: str = ""


class UnreadableDesign(Exception):
    """A design file that gives no text, with a reason code of `SKIP_REASONS`. Never leaves this package."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def lay_out(sections: Iterable[tuple[str, str]]) -> tuple[str, tuple[Part, ...]]:
    """Return the text of anchored sections, each below a line `[anchor]`, and their parts; empty ones are left out."""
    lines: list[str] = []
    parts: list[Part] = []
    size = 0
    for anchor, body in sections:
        inner = body.strip("\n").split("\n")
        if not body.strip() or size > MAX_CHARS:
            continue
        parts.append(Part(len(lines) + 2, len(lines) + 1 + len(inner), anchor))
        lines += (f"[{anchor}]", *inner, "")
        size += len(body)
    return "\n".join(lines), tuple(parts)
