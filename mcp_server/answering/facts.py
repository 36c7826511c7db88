"""The facts of all evidence: what its definitions do, what its names are given. Read when first asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ingest.chunking.facts import IDENTIFIER, OWN, Definition, Value, read_facts
from ingest.index.tokens import whole_word
from ingest.model import Chunk
from mcp_server.answering.evidence import Evidence
from mcp_server.answering.passages import around
from mcp_server.answering.pieces import Document, is_later_piece, last_part, split_definitions, whole_definitions

DEFINING = re.compile(r"\s*(?:export\s+|public\s+|async\s+|static\s+)*(?:def|func|function|fn)\b")
HANDLER_LINES = 8  # between the decorator with a route and the definition below it


class CodeFacts:
    """The facts of all evidence, read when first asked for."""

    def __init__(
        self,
        chunks: Iterable[Chunk],
        find: Callable[[str], Sequence[Chunk]] = lambda _: (),
        document: Document = lambda *_: (),
        naming: Callable[[str, str], Sequence[Chunk]] = lambda *_: (),
    ) -> None:
        """Take the chunks; nothing is parsed yet.

        `find`: where definitions lie that the evidence lacks; `document`: the rest of a file, for what was cut;
        `naming`: chunks of a role that hold a name.
        """
        self._chunks = tuple(chunks)
        self._find = find
        self._document = document
        self._naming = naming
        self._known: dict[str, list[Definition]] = {}

    def definitions(self, name: str) -> list[Definition]:
        """Return the definitions of a name, plain or qualified, parts of a split one joined."""
        parts = name_parts(name)
        if not parts:
            return []
        key = ".".join(parts[-2:])
        if key not in self._known:
            found = self._definitions_in(self._defining(parts[-1]), parts)
            self._known[key] = found or self._definitions_in(self._find(key), parts)
        return self._known[key]

    def everywhere(self, name: str) -> list[Definition]:
        """Return the definitions of a name in the evidence and beyond: what excludes must hold for each of them."""
        parts = name_parts(name)
        found = self._definitions_in(self._find(".".join(parts[-2:])), parts) if parts else []
        known = {(one.path, one.qualname) for one in found}
        return [*found, *(one for one in self.definitions(name) if (one.path, one.qualname) not in known)]

    def _definitions_in(self, chunks: Iterable[Chunk], parts: Sequence[str]) -> list[Definition]:
        """Return what chunks define under a name, parts of one definition joined."""
        found: dict[tuple[str, str], Definition] = {}
        for chunk in chunks:
            for one in read_definitions(chunk, parts[-1], self._document):
                if one.name == parts[-1] and _agrees(one, parts):
                    key = (one.path, one.qualname)
                    found[key] = _joined(found[key], one) if key in found else one
        return list(found.values())

    def values(self, name: str) -> Iterator[tuple[Chunk, Value]]:
        """Yield what a name is given anywhere in the evidence; of a constant that it lacks, where it is given one."""
        parts = name_parts(name)
        last = parts[-1] if parts else ""
        found = values_in(self._about(last), last) if last else []
        if last.isupper() and not any(is_given(*one) for one in found):
            elsewhere = {chunk.id: chunk for chunk in (*self._find(last), *self._naming(last, "source"))}
            found += [one for one in values_in(elsewhere.values(), last) if is_given(*one)]
        yield from found

    def holds(self, path: str, name: str) -> bool:
        """Tell whether the evidence of a path holds a name."""
        return any(is_at(chunk.path or "", path) and holds_name(chunk.text, name) for chunk in self._chunks)

    def lines_of(self, path: str, first: int, last: int) -> list[str]:
        """Return those of some lines of a file that the evidence has."""
        return [
            line
            for chunk in self._chunks
            if is_at(chunk.path or "", path) and chunk.start_line <= last and first <= chunk.end_line
            for number, line in enumerate(chunk.text.split("\n"), chunk.start_line)
            if first <= number <= last
        ]

    def handlers(self, route: str) -> Iterator[tuple[str, str]]:
        """Yield the lines from each place that registers a route to the definition below it, and `path:line`."""
        quoted = re.compile(rf"[\"'`]{re.escape(route)}[\"'`]")
        for chunk in self._chunks:
            lines = chunk.text.split("\n") if chunk.kind == "code" and route in chunk.text else []
            for at, line in enumerate(lines):
                if quoted.search(line):
                    last = next(
                        (n for n in range(at, min(at + HANDLER_LINES, len(lines))) if DEFINING.match(lines[n])), at
                    )
                    yield "\n".join(lines[at : last + 1]), f"{chunk.path}:{chunk.start_line + at}"

    def imports(self, path: str) -> frozenset[str]:
        """Return the words of the imports of a path."""
        return frozenset().union(
            *(read_facts(chunk).imports for chunk in self._chunks if is_at(chunk.path or "", path))
        )

    def _defining(self, name: str) -> Iterator[Chunk]:
        """Yield the chunks that hold a definition of a name or a part of one: only those are parsed for it."""
        for chunk in self._chunks:
            is_part = chunk.symbol is not None and last_part(chunk.symbol) == name
            if is_part or any(symbol.name == name for symbol in chunk.symbols):
                yield chunk

    def _about(self, name: str) -> Iterator[Chunk]:
        last = last_part(name)
        for chunk in self._chunks:
            if holds_name(chunk.text, name) or (chunk.symbol and last_part(chunk.symbol) == last):
                yield chunk


def read_definitions(chunk: Chunk, name: str, document: Document) -> list[Definition]:
    """Return the definitions of a chunk; those of a name that were cut with all of their lines, where they are known.

    One of which some lines are not known is no whole, though it may look like one: a cut function still parses.
    """
    cut = split_definitions(chunk, name)
    if not cut and not is_later_piece(chunk, name):
        return list(read_facts(chunk).definitions)
    wholes = whole_definitions(chunk, name, document)
    known = [one for whole in wholes for one in read_facts(whole).definitions]
    starts = {symbol.start_line for symbol in cut}
    own = [
        replace(one, is_whole=False) if one.name == name and one.start_line in starts else one
        for one in read_facts(chunk).definitions
    ]
    return [*known, *own]


def values_in(chunks: Iterable[Chunk], name: str) -> list[tuple[Chunk, Value]]:
    """Return what some chunks give a name."""
    given = ((chunk, value) for chunk in chunks for value in read_facts(chunk).values)
    return [(chunk, value) for chunk, value in given if value.name.lstrip("-").replace("-", "_") == name]


TABLE = re.compile(r"default|config|settings|options", re.IGNORECASE)  # what a table of defaults is called


def is_given(chunk: Chunk, value: Value) -> bool:
    """Tell whether a value is what a name is: an argument that is passed under the name says nothing of it."""
    return value.how != "keyword" or is_table_entry(chunk, value)


def is_table_entry(chunk: Chunk, value: Value) -> bool:
    """Tell whether a value stands under its name in a table of defaults: `default_config = {"NAME": value}`."""
    line = chunk.text.split("\n")[value.line - chunk.start_line]
    if value.how != "keyword" or not re.search(rf"[\"'`]{re.escape(value.name)}[\"'`]\s*(?::|=>|,)", line):
        return False
    return TABLE.search(last_part(enclosing(chunk, value))) is not None


def enclosing(chunk: Chunk, value: Value) -> str:
    """Return the qualified name of the definition around a value, "" at the top level."""
    return around(Evidence("", chunk, 0.0), value.line) or ""


def holds_name(text: str, name: str) -> bool:
    """Tell whether a text holds a name as a whole word."""
    return name in text and whole_word(name).search(text) is not None


def name_parts(name: str) -> list[str]:
    """Return the parts of a qualified name without calls, `self` and the like."""
    return [part for part in IDENTIFIER.findall(re.sub(r"\([^()]*\)", "", name)) if part not in OWN]


def is_at(path: str, tail: str) -> bool:
    """Tell whether a path is what was written of it."""
    return path == tail or path.endswith("/" + tail)


def _agrees(definition: Definition, parts: Sequence[str]) -> bool:
    """Tell whether a qualified name can mean a definition: a head in lower case may be any variable."""
    if len(parts) == 1 or not parts[-2][:1].isupper():
        return True
    return parts[-2] in re.split(r"\.|::|#", definition.qualname)


def _joined(one: Definition, other: Definition) -> Definition:
    """Join two parts of one definition."""
    return Definition(
        one.name,
        one.qualname,
        one.kind,
        one.path,
        min(one.start_line, other.start_line),
        max(one.end_line, other.end_line),
        one.is_whole or other.is_whole,
        one.calls | other.calls,
        one.raises | other.raises,
        one.bases or other.bases,
        one.decorators | other.decorators,
        [*one.returns, *other.returns],
        one.parameters if one.parameters is not None else other.parameters,
        one.names | other.names,
        max(one.methods, other.methods),
    )
