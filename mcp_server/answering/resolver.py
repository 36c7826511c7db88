"""Resolver: whether a name exists anywhere that the caller may look, and what is nearest to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ingest.index.schema import TEXT_FIELDS
from ingest.index.tokens import index_tokens, whole_word, words
from ingest.model import COMMIT_KEY_CHARS, FILES_HEADING, HISTORY_SUFFIX, RENAME_LINK, Chunk
from mcp_server.answering.bearing import Bearing, word_share
from mcp_server.answering.freshness import walk_files
from mcp_server.answering.removals import RemovalReader
from mcp_server.retrieval.history import new_name

if TYPE_CHECKING:
    from ingest.index import Index
    from ingest.index.schema import SourceState
    from ingest.model import Chunk, Filters

CURRENT = frozenset({"code", "design"})  # kinds of documents that say what is there now
SCAN = 400  # chunks that are read for one name
COMMITS = 50  # commits that are read for one name
MAX_DEFINITIONS = 8  # of one name that are read
MAX_NAMING = 40  # chunks of one role that name something
HOPS = 5  # renames of one path that are followed
REMOVING = re.compile(r"\b(?:remov|delet|drop|renam|replac|deprecat|get rid|retir)\w*", re.I)
MIN_NAME = 4  # letters of a name that is looked for in commit messages: shorter ones are words
VARIABLES = frozenset({"self", "this", "cls", "super"})
EVERY_FIELD = dict.fromkeys(TEXT_FIELDS, 1.0)


@dataclass(frozen=True, slots=True)
class Past:
    """What the history knows of a name or path that is no longer there."""

    commit: str
    date: str  # YYYY-MM-DD, "" where unknown
    title: str
    replaced_by: tuple[str, ...] = ()

    def describe(self, name: str) -> str:
        """Return one sentence: removed in which commit, replaced by what."""
        when = f"{self.commit[:12]} ({', '.join(filter(None, (self.date, self.title)))})"
        instead = f", replaced by {' or '.join(repr(name) for name in self.replaced_by)}" if self.replaced_by else ""
        return f"'{name}' is no longer there: removed in commit {when}{instead}."


class Resolver(Protocol):
    """Look-ups in the repository under the caller's filters: hidden reads as absent."""

    @property
    def where(self) -> str:
        """What is looked through, for sentences: the index, or what was asked for of it."""
        ...

    def has_name(self, name: str) -> bool: ...
    def has_path(self, path: str) -> bool: ...
    def has_key(self, key: str) -> bool: ...
    def knows_tickets(self) -> bool:
        """Tell whether tickets are indexed at all."""
        ...

    def has_text(self, text: str) -> bool:
        """Tell whether a flag, route or code occurs as it is written."""
        ...

    def is_current(self, name: str) -> bool:
        """Tell whether code or documents have the name now: what only tickets and commits speak of may be gone."""
        ...

    def is_composed(self, name: str) -> bool:
        """Tell whether the code makes a name of parts that it has: environment variables with a prefix."""
        ...

    def is_imported(self, name: str) -> bool:
        """Tell whether code imports a name that nothing here defines: its members are others' business."""
        ...

    def is_defined(self, name: str) -> bool:
        """Tell whether a definition has the name."""
        ...

    def definitions(self, name: str) -> Sequence[Chunk]:
        """Return the chunks that define a name, at most a few."""
        ...

    def naming(self, name: str, role: str) -> Sequence[Chunk]:
        """Return chunks of code of one role that hold a name as a whole word, at most a few dozen."""
        ...

    def last_line(self, path: str) -> int | None:
        """Return the number of the last line of a file, None where it is not known."""
        ...

    def past(self, name: str) -> Past | None:
        """Return what became of a name that is not there now, None where history knows nothing of it."""
        ...

    def past_path(self, path: str) -> Past | None:
        """Return what became of a path that is not there now, None where history knows nothing of it."""
        ...

    def near_names(self, name: str) -> tuple[str, ...]: ...
    def near_paths(self, path: str) -> tuple[str, ...]: ...
    def document(self, source: str, ref: str, line: int, lines: int) -> Sequence[Chunk]:
        """Return the chunks of one document that the caller may see, about so many lines around a line, in order."""
        ...

    def occurring(self, words: Sequence[str]) -> frozenset[str]:
        """Return those words that occur, in any inflection, in at least one chunk that the caller may see."""
        ...

    def frequency(self, words: Sequence[str]) -> float:
        """Return the share of chunks that hold at least one of the words, 0..1 (an upper estimate)."""
        ...

    def bearing(self, statement: str, lines: str) -> Bearing:
        """Return how much of what a statement says stands in some lines."""
        ...


class Tree:
    """The files and folders of work trees, indexed or not; walked when first asked for."""

    def __init__(self, roots: Sequence[Path] = (), hidden: Sequence[Path] = ()) -> None:
        """Know what lies below `roots` and not below `hidden`."""
        self._roots = tuple(roots)
        self._hidden = tuple(path.resolve() for path in hidden)
        self._tails: frozenset[str] | None = None

    def has(self, path: str) -> bool:
        """Tell whether a file or folder ends so."""
        if self._tails is None:
            self._tails = frozenset(tail for root in self._roots for tail in self._list(root))
        return path.strip("/").removeprefix("./") in self._tails

    def _list(self, root: Path) -> Iterator[str]:
        for file in walk_files(root):
            parts = file.split("/")
            if any((root / file).is_relative_to(place) for place in self._hidden if place != root):
                continue
            for end in range(len(parts), 0, -1):
                yield from ("/".join(parts[start:end]) for start in range(end))


def chunks_near(chunks: Sequence[Chunk], line: int, lines: int) -> list[Chunk]:
    """Return the chunks that begin nearest to a line, until they have so many lines, in order."""
    kept: list[Chunk] = []
    for chunk in sorted(chunks, key=lambda c: (abs(c.start_line - line), c.start_line)):
        if lines <= 0:
            break
        kept.append(chunk)
        lines -= chunk.text.count("\n") + 1
    return sorted(kept, key=lambda c: c.start_line)


class IndexResolver:
    """Resolver over one opened generation."""

    def __init__(
        self, index: Index, filters: Filters, tree: Tree | None = None, excluded: frozenset[str] = frozenset()
    ) -> None:
        """Look up in this index what these filters let through.

        `tree` knows the files that are not indexed; `excluded` are paths that prove nothing: a text under check is no
        evidence for itself.
        """
        self._excluded = excluded
        self._index = index
        self._filters = filters
        self._tree = tree or Tree()
        self._current = replace(filters, kinds=filters.kinds & CURRENT)
        self._commits = replace(
            filters, kinds=frozenset({"commit"}), sources=filters.history | filters.sources, language="", path_glob=""
        )
        self._removals = RemovalReader(index.data_dir, self._with_history())
        self._names: dict[tuple[str, frozenset[str]], bool] = {}
        self._occurs: dict[str, bool] = {}

    def _with_history(self) -> list[SourceState]:
        """Return the sources of the commits that the caller may see."""
        seen = self._commits.sources
        return [state for state in self._index.manifest.sources if state.kind == "commit" and state.name in seen]

    @property
    def where(self) -> str:
        """What is looked through, for sentences."""
        return self._filters.where

    def has_name(self, name: str) -> bool:
        """Tell whether a symbol or word of this name exists, in tickets and commits too."""
        return self.is_current(name) or self._look_up(name, self._filters)

    def is_current(self, name: str) -> bool:
        """Tell whether code or documents have the name now."""
        return self._look_up(name, self._current)

    def _look_up(self, name: str, filters: Filters) -> bool:
        key = (name, filters.kinds)
        if key not in self._names:
            self._names[key] = self._search_name(name, filters)
        return self._names[key]

    def _search_name(self, name: str, filters: Filters) -> bool:
        if self.is_defined(name):
            return True
        parts = [part for part in re.split(r"\.|::|->|#|/", name.rstrip("()")) if part and part not in VARIABLES]
        if len(parts) > 1:
            # `app.json` where `app` is a variable: the word is known. An unknown class or member is not.
            told = [part for part in parts if not part.islower() or "_" in part or part is parts[-1]]
            return all(self._look_up(part, filters) for part in told)
        if not parts or not self._excluded:
            return bool(parts) and self._index.holds_word(parts[0], filters)
        tokens = index_tokens(parts[0])[:1]
        pattern = whole_word(parts[0], re.IGNORECASE)
        return any(pattern.search(chunk.text) for chunk in self._holding(tokens, filters))

    def _holding(self, tokens: Sequence[str], filters: Filters) -> Iterator[Chunk]:
        """Yield the chunks that hold all tokens and that prove something."""
        for start in self._index.containing(list(dict.fromkeys(tokens)), filters)[:SCAN] if tokens else ():
            chunk = self._index.chunks([start])[0]
            if chunk.path not in self._excluded:
                yield chunk

    def is_composed(self, name: str) -> bool:
        """Tell whether the code makes a name of parts: `APP_` in the code and `debug` give APP_DEBUG."""
        parts = name.split("_")
        return name.isupper() and any(
            self.has_text("_".join(parts[:end]) + "_") and all(map(self.is_current, filter(None, parts[end:])))
            for end in range(1, len(parts))
        )

    def is_imported(self, name: str) -> bool:
        """Tell whether code imports a name that nothing here defines."""
        named = rf"(?<!\w){re.escape(name)}(?!\w)"
        pattern = re.compile(rf"^[^\n]*\b(?:import|require|use|using|include)\b[^\n]*{named}", re.M)
        chunks = self._holding(index_tokens(name)[:1], self._current)
        hits = self._index.find_symbol(name, self._current, limit=3, loose=False)
        if any(hit.how in ("exact", "qualified") for hit in hits):
            return False
        return any(pattern.search(chunk.text) for chunk in chunks)

    def is_defined(self, name: str) -> bool:
        """Tell whether a definition has the name, whatever its case."""
        hits = self._index.find_symbol(name, self._filters, limit=3 + len(self._excluded), loose=False)
        return any(hit.how in ("exact", "qualified", "case") and hit.path not in self._excluded for hit in hits)

    def definitions(self, name: str) -> Sequence[Chunk]:
        """Return the chunks of the definitions of a name."""
        hits = self._index.find_symbol(name, self._current, limit=MAX_DEFINITIONS, loose=False)
        return self._index.chunks(list(dict.fromkeys(hit.chunk_id for hit in hits)))

    def naming(self, name: str, role: str) -> Sequence[Chunk]:
        """Return chunks of code of one role that hold a name as a whole word."""
        pattern = whole_word(name)
        holding = self._holding(index_tokens(name)[:1], self._current)
        return list(islice((c for c in holding if c.role == role and pattern.search(c.text)), MAX_NAMING))

    def documents(self, path: str, limit: int) -> list[list[Chunk]]:
        """Return the chunks of the files that a path names, the likeliest file first."""
        found = self._index.find_paths(path, self._current, limit=limit + 1)
        named = [pair for pair in found if is_tail(path, pair[1]) and pair[1] not in self._excluded]
        exact = [pair for pair in named if pair[1] == path.removeprefix("./")]
        return [self._index.document_chunks(source, whole, self._current) for source, whole in (exact or named)[:limit]]

    def has_path(self, path: str) -> bool:
        """Tell whether a file or folder of this name is there."""
        found = self._index.find_paths(path, self._filters, limit=1)
        return any(is_tail(path, other) for _, other in found) or self._tree.has(path)

    def last_line(self, path: str) -> int | None:
        """Return the last line of the one file that a path names."""
        found = [pair for pair in self._index.find_paths(path, self._filters, limit=2) if is_tail(path, pair[1])]
        if not found or (len(found) > 1 and found[0][1] != path):
            return None
        source, whole = found[0]
        return max(
            (chunk.end_line for chunk in self._index.document_chunks(source, whole, self._filters)), default=None
        )

    def has_key(self, key: str) -> bool:
        """Tell whether a ticket, design or commit has this key, or anything that is indexed names it."""
        if self._index.find_keys(key, self._filters) or self._index.linked_to(key, self._filters, 1):
            return True
        return self.has_text(key.removeprefix("#"))

    def knows_tickets(self) -> bool:
        """Tell whether the index holds tickets: where it does not, a key that is nowhere may well exist."""
        return any(s.kind == "ticket" and s.name in self._filters.sources for s in self._index.manifest.sources)

    def has_text(self, text: str) -> bool:
        """Tell whether a text occurs as a whole word."""
        tokens = [token for word in words(text) for token in index_tokens(word)[:1]]
        pattern = whole_word(text)
        return any(pattern.search(chunk.text) for chunk in self._holding(tokens, self._current))

    def past_path(self, path: str) -> Past | None:
        """Return the commit that took a path away, as far as the index holds history."""
        commits = self._newest(self._index.linked_to(path, self._commits, COMMITS))
        if not commits:
            return None
        now: str | None = path
        for _ in range(HOPS):
            now = (
                new_name(self._index, commits[0].source.removesuffix(HISTORY_SUFFIX), now, self._commits)
                if now
                else None
            )
            if now and self.has_path(now):
                break
        renaming = [c for c in commits if f"{RENAME_LINK}{path}" in c.links]
        return past_of((renaming or commits)[0], (now,) if now else ())

    def past(self, name: str) -> Past | None:
        """Return the commit that took a name away, as far as the index holds history."""
        last = re.split(r"\.|::|->|#", name)[-1]
        tokens = list(index_tokens(last)[:1])
        if not tokens or len(last) < MIN_NAME:
            return None
        pattern = whole_word(last)
        ids = self._index.containing(tokens, self._commits)
        commits = [c for c in self._newest(ids) if pattern.search(message_of(c))][:COMMITS]
        taking = (commit for commit in commits if REMOVING.search(message_of(commit)))
        took = next((c for c in taking if not self._removals.brings(c.source, c.key or "", last)), None)
        if took is None:
            return self._taken_away(last)
        new = [found for found in replacements(message_of(took), last) if self.has_name(found)]
        return past_of(took, tuple(new[:2]))

    def _taken_away(self, name: str) -> Past | None:
        """Return the commit that took a name out of the code, where no message tells of it."""
        removal = self._removals.find(name, self._has_file)
        if removal is None:
            return None
        known = self._index.chunks(self._index.find_keys(removal.commit[:COMMIT_KEY_CHARS], self._commits))
        new = [found for found in removal.instead if self.is_current(found)]
        return past_of(known[0], tuple(new[:1])) if known else None

    def _has_file(self, path: str) -> bool:
        return any(found == path for _, found in self._index.find_paths(path, self._current, limit=4))

    def _newest(self, ids: Sequence[int]) -> list[Chunk]:
        chunks = self._index.chunks(list(ids))
        return sorted(chunks, key=lambda chunk: (chunk.created_at, chunk.ref), reverse=True)

    def near_names(self, name: str) -> tuple[str, ...]:
        """Return up to three nearest symbol names."""
        return tuple(self._index.near_symbols(name, self._filters, limit=3))

    def near_paths(self, path: str) -> tuple[str, ...]:
        """Return up to three nearest paths."""
        return tuple(path for _, path in self._index.near_paths(path, self._filters, limit=3))

    def document(self, source: str, ref: str, line: int, lines: int) -> Sequence[Chunk]:
        """Return the chunks of one document around a line, in order."""
        return chunks_near(self._index.document_chunks(source, ref, self._filters), line, lines)

    def occurring(self, words: Sequence[str]) -> frozenset[str]:
        """Return those words that occur, in any inflection, in a visible chunk."""
        tokens = {word: index_tokens(word)[:1] for word in words}
        return frozenset(word for word, (*found,) in tokens.items() if found and self._token_occurs(found[0]))

    def frequency(self, words: Sequence[str]) -> float:
        """Return the share of chunks with one of the words."""
        total = self._index.chunk_count(self._filters)
        tokens = {token for word in words for token in index_tokens(word)[:1]}
        return min(1.0, sum(self._index.term_stats(sorted(tokens), self._filters).values()) / total) if total else 0.0

    def bearing(self, statement: str, lines: str) -> Bearing:
        """Return how much of a statement stands in some lines: words by rarity in the index, vectors where local."""
        words = word_share(statement, lines, lambda word: self.frequency([word]))
        return Bearing(
            round(words, 3), like if (like := self._index.likeness(statement, lines)) is None else round(like, 3)
        )

    def _token_occurs(self, token: str) -> bool:
        if token not in self._occurs:
            # The statistics count every source; what they know still has to be seen through the filters.
            seen = self._index.term_stats([token], self._filters)[token] > 0
            self._occurs[token] = seen and bool(self._index.search_text([(token, 1.0)], self._filters, 1, EVERY_FIELD))
        return self._occurs[token]


def is_tail(tail: str, path: str) -> bool:
    """Tell whether a path is what was written, or ends so."""
    wanted = tail.strip("/").removeprefix("./").lower()
    return path.lower() == wanted or path.lower().endswith(f"/{wanted}")


def message_of(commit: Chunk) -> str:
    """Return a commit's message without its list of files."""
    return commit.text.partition(FILES_HEADING)[0]


def past_of(commit: Chunk, replaced_by: tuple[str, ...]) -> Past:
    """Return what a commit did to a name."""
    return Past(commit.key or "", commit.created_at[:10], commit.title, replaced_by)


def replacements(message: str, name: str) -> list[str]:
    """Return the successors of a name in a commit message: "rename a to b", "a -> b", "use b instead of a"."""
    old, new = rf"`?(?:[\w.]+\.)?{re.escape(name)}(?:\(\))?`?", r"`?([A-Za-z_][\w.]*)(?:\(\))?`?"
    patterns = (
        rf"{old}\s*(?:->|=>|→|\bto\b|\bwith\b|\binto\b|\bin favou?r of\b"
        rf"|(?:is|was) (?:replaced|superseded|renamed) (?:by|with|to))\s*{new}",
        rf"\buse\s+{new}\s+(?:instead\s+of|rather\s+than|in\s+place\s+of|over)\s+{old}",
        rf"{old}[^.\n]{{0,60}}?[;,:.]\s*use\s+{new}",
    )
    return [match[1] for pattern in patterns for match in re.finditer(pattern, message, re.I) if match[1] != name]
