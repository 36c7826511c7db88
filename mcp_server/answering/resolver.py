"""Resolver: whether a name exists anywhere that the caller may look, and what is nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ingest.index.schema import TEXT_FIELDS
from ingest.index.tokens import index_tokens

if TYPE_CHECKING:
    from ingest.index import Index
    from ingest.model import Filters

EVERY_FIELD = dict.fromkeys(TEXT_FIELDS, 1.0)


class Resolver(Protocol):
    """Look-ups in the repository under the caller's filters: hidden reads as absent."""

    def has_name(self, name: str) -> bool: ...
    def has_path(self, path: str) -> bool: ...
    def has_key(self, key: str) -> bool: ...
    def near_names(self, name: str) -> tuple[str, ...]: ...
    def near_paths(self, path: str) -> tuple[str, ...]: ...
    def occurring(self, words: Sequence[str]) -> frozenset[str]:
        """Return those words that occur, in any inflection, in at least one chunk that the caller may see."""
        ...

    def frequency(self, words: Sequence[str]) -> float:
        """Return the share of chunks that hold at least one of the words, 0..1 (an upper estimate)."""
        ...


class IndexResolver:
    """Resolver over one opened generation."""

    def __init__(self, index: Index, filters: Filters) -> None:
        """Look up in this index what these filters let through."""
        self._index = index
        self._filters = filters
        self._occurs: dict[str, bool] = {}

    def has_name(self, name: str) -> bool:
        """Tell whether a symbol or word of this name exists."""
        last = name.replace("::", ".").replace("->", ".").rstrip("()").split(".")[-1]
        hits = self._index.find_symbol(name, self._filters, limit=3, loose=False)
        if any(hit.how in ("exact", "qualified", "case") for hit in hits):
            return True
        return "." not in name and self._index.holds_word(last, self._filters)

    def has_path(self, path: str) -> bool:
        """Tell whether a path ends so."""
        return bool(self._index.find_paths(path, self._filters, limit=1))

    def has_key(self, key: str) -> bool:
        """Tell whether a ticket, design or commit has this key."""
        return bool(self._index.find_keys(key, self._filters))

    def near_names(self, name: str) -> tuple[str, ...]:
        """Return up to three nearest symbol names."""
        return tuple(self._index.near_symbols(name, self._filters, limit=3))

    def near_paths(self, path: str) -> tuple[str, ...]:
        """Return up to three nearest paths."""
        return tuple(path for _, path in self._index.near_paths(path, self._filters, limit=3))

    def occurring(self, words: Sequence[str]) -> frozenset[str]:
        """Return those words that occur, in any inflection, in a visible chunk."""
        tokens = {word: index_tokens(word)[:1] for word in words}
        return frozenset(word for word, (*found,) in tokens.items() if found and self._token_occurs(found[0]))

    def frequency(self, words: Sequence[str]) -> float:
        """Return the share of chunks with one of the words."""
        total = self._index.chunk_count(self._filters)
        tokens = {token for word in words for token in index_tokens(word)[:1]}
        return min(1.0, sum(self._index.term_stats(sorted(tokens), self._filters).values()) / total) if total else 0.0

    def _token_occurs(self, token: str) -> bool:
        if token not in self._occurs:
            # The statistics count every source; what they know still has to be seen through the filters.
            seen = self._index.term_stats([token], self._filters)[token] > 0
            self._occurs[token] = seen and bool(self._index.search_text([(token, 1.0)], self._filters, 1, EVERY_FIELD))
        return self._occurs[token]
