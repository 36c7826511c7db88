"""Narrowing: a language or a glob that leaves nothing of what the caller may see, said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.languages.table import LANGUAGES
from ingest.model import Filters

if TYPE_CHECKING:
    from ingest.index import Index

LITERAL = frozenset("[]{}")  # wild in other globs, themselves in ours: folders are called `[id]`


def notes_on_filters(index: Index, filters: Filters) -> Iterator[str]:
    """Yield which of `language` and `path_glob` alone leaves nothing, and what there is or how globs are read."""
    wide = replace(filters, language="", path_glob="")
    if filters.language and not index.chunk_count(replace(wide, language=filters.language)):
        known = [name for name in LANGUAGES if index.chunk_count(replace(wide, language=name))]
        yield f"Nothing is in the language {filters.language!r}. Languages here: {', '.join(known) or 'none'}."
    if filters.path_glob and not index.chunk_count(replace(wide, path_glob=filters.path_glob)):
        marks = " ".join(f"`{mark}`" for mark in sorted(LITERAL.intersection(filters.path_glob)))
        literal = f"; {marks} stands for itself" if marks else ""
        yield f"No file matches path_glob {filters.path_glob!r}: `*`, `**` and `?` are wild{literal}."
