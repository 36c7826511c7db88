"""Jupyter notebooks: what people wrote, Markdown and code; results are left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ingest.sources.designs.draft import MAX_CHARS, Draft, UnreadableDesign

HEADING = re.compile(r"^( {0,3}#{1,6}[ \t]+\S.*?)[ \t]*#*$", re.MULTILINE)
FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def read_notebook(text: str) -> Draft:
    """Return the cells of a notebook as Markdown; the headings name their cell. Raises UnreadableDesign."""
    notebook = load_object(text)
    cells = notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):  # format 3
        cells = [cell for sheet in notebook["worksheets"] if isinstance(sheet, dict) for cell in sheet.get("cells", ())]
    if not isinstance(cells, list):
        raise UnreadableDesign("malformed", "no cells")
    language = _language(notebook)
    blocks = [block for number, cell in enumerate(cells, 1) for block in _blocks(number, cell, language)]
    return Draft("\n\n".join(blocks)[:MAX_CHARS], language="markdown")


def _blocks(number: int, cell: Any, language: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    if not isinstance(cell, dict):
        return
    source = cell.get("source", cell.get("input", ""))
    text = source if isinstance(source, str) else "".join(filter(_is_text, source if isinstance(source, list) else ()))
    if not text.strip():
        return
    if cell.get("cell_type") == "code":
        yield f"###### cell {number}\n\n```{language}\n{text.strip()}\n```"
    elif cell.get("cell_type") == "heading":
        level = cell.get("level")
        yield f"{'#' * (level if isinstance(level, int) and 0 < level < 7 else 1)} {text.strip()} (cell {number})"
    elif HEADING.match(text) and not FENCE.search(text):
        yield HEADING.sub(rf"\1 (cell {number})", text.strip())
    else:
        yield f"###### cell {number}\n\n{text.strip()}"


def _is_text(value: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(value, str)


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    info = metadata.get("language_info", metadata.get("kernelspec")) if isinstance(metadata, dict) else None
    name = info.get("name", "") if isinstance(info, dict) else ""
    return name if isinstance(name, str) and re.fullmatch(r"[\w+#.-]{1,20}", name) else ""


def load_object(text: str) -> dict[str, Any]:
    """Return the JSON object of a text. Raises UnreadableDesign."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableDesign("malformed", str(error)[:200]) from error
    if not isinstance(value, dict):
        raise UnreadableDesign("malformed", "no JSON object")
    return value
