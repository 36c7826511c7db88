"""Jira's two kinds of markup as Markdown, as far as headings, lists and code need it to be cut and read well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

CODE = re.compile(r"\{(code|noformat)(?::([^}\n]*))?\}(.*?)(?:\{\1\}|\Z)", re.DOTALL)
HEADING = re.compile(r"^[ \t]*h([1-6])\.[ \t]+", re.MULTILINE)
NUMBERED = re.compile(r"^[ \t]*(#+)[ \t]+", re.MULTILINE)  # Markdown would take it for a heading
MONOSPACED = re.compile(r"\{\{([^{}\n]+)\}\}")
MAX_DEPTH = 60
BLOCKS = frozenset(("paragraph", "heading", "codeBlock", "blockquote", "listItem", "tableRow", "panel", "rule"))


def wiki_to_markdown(text: str) -> str:
    """Return Jira wiki markup with the marks of Markdown for headings, numbered lists and code. The rest stays."""
    if not any(mark in text for mark in ("{", "#", "h1.", "h2.", "h3.", "h4.", "h5.", "h6.")):
        return text
    parts: list[str] = []
    at = 0
    text = text.replace("\r\n", "\n")
    for match in CODE.finditer(text):
        parts += [_prose(text[at : match.start()]), _fence(match[2] or "", match[3])]
        at = match.end()
    return "".join((*parts, _prose(text[at:])))


def _fence(language: str, code: str) -> str:
    language = language.partition("|")[0].strip()
    ticks = "```" if "```" not in code else "~~~~"
    return f"\n{ticks}{language if language.isalnum() else ''}\n{code.strip(chr(10))}\n{ticks}\n"


def _prose(text: str) -> str:
    text = NUMBERED.sub(lambda match: f"{'   ' * (len(match[1]) - 1)}1. ", text)
    text = HEADING.sub(lambda match: "#" * int(match[1]) + " ", text)
    return MONOSPACED.sub(r"`\1`", text)


def adf_to_text(node: Mapping[str, Any], depth: int = 0) -> str:
    """Return the text of an Atlassian document. People who are mentioned are left out."""
    kind = node.get("type")
    attributes = node.get("attrs")
    attrs: Mapping[str, Any] = attributes if isinstance(attributes, Mapping) else {}
    if kind == "text":
        return _marked(node)
    if kind == "hardBreak":
        return "\n"
    if kind in ("inlineCard", "blockCard"):
        return str(attrs.get("url", ""))
    content = node.get("content")
    children = content if isinstance(content, Sequence) and not isinstance(content, str) and depth < MAX_DEPTH else ()
    inner = "".join(adf_to_text(child, depth + 1) for child in children if isinstance(child, Mapping))
    if kind == "heading":
        level = attrs.get("level", 2)
        return f"{'#' * (level if isinstance(level, int) and 1 <= level <= 6 else 2)} {inner}\n\n"
    if kind == "codeBlock":
        return f"```{attrs.get('language') or ''}\n{inner}\n```\n\n"
    if kind == "listItem":
        return "- " + inner.strip().replace("\n\n", "\n").replace("\n", "\n  ") + "\n"
    return f"{inner}\n\n" if kind in BLOCKS else inner


def _marked(node: Mapping[str, Any]) -> str:
    text = node.get("text")
    marks = node.get("marks")
    is_code = isinstance(marks, list) and any(
        isinstance(mark, Mapping) and mark.get("type") == "code" for mark in marks
    )
    return "" if not isinstance(text, str) else f"`{text}`" if is_code else text
