"""Hand-made chunks, a resolver over them, and a trace that records nothing."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from textwrap import dedent

from ingest.index.tokens import split_identifier
from ingest.model import EVERYWHERE, Chunk, Kind, Role, Symbol, chunk_id, hash_text
from mcp_server.answering.bearing import Bearing, word_share
from mcp_server.answering.evidence import Evidence, build_evidence
from mcp_server.answering.resolver import Past, chunks_near
from mcp_server.retrieval.context import pack_context
from mcp_server.retrieval.model import Entity, QueryTerm, RankedChunk, Retrieval

DEFINITION = re.compile(r"^\s*(?:async )?(def|class) (\w+)")


def make_chunk(
    ref: str,
    text: str,
    *,
    start: int = 1,
    kind: Kind = "code",
    source: str = "app",
    role: Role = "source",
    title: str = "",
    owner: str = "",
    symbol: str | None = None,
    links: tuple[str, ...] = (),
    state: str = "",
    content: str = "",
) -> Chunk:
    """Return a chunk; `def` and `class` lines become symbols of class `owner`, whose doc is the next docstring line."""
    text = dedent(text).strip("\n")
    symbols = find_symbols(text, start, owner)
    is_path = kind in ("code", "design")
    return Chunk(
        id=chunk_id(source, ref, hash_text(text), 0),
        source=source,
        kind=kind,
        product="shop",
        groups=("local",),
        path=ref if is_path else None,
        key=None if is_path else ref,
        title=title or ref,
        language="python" if ref.endswith(".py") else None,
        role=role,
        start_line=start,
        end_line=start + text.count("\n"),
        symbol=symbol or (symbols[0].qualname if symbols else None),
        context="",
        text=text,
        text_hash=hash_text(text),
        content_hash=content or hashlib.sha256(text.encode()).hexdigest(),
        symbols=symbols,
        state=state,
        links=links,
    )


def find_symbols(text: str, start: int, owner: str) -> tuple[Symbol, ...]:
    found = []
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if match := DEFINITION.match(line):
            rest = next((i for i, later in enumerate(lines[at + 1 :], at + 1) if DEFINITION.match(later)), len(lines))
            doc = re.search(r'"""(.+?\.)', "\n".join(lines[at:rest]))
            name = match[2]
            kind = "class" if match[1] == "class" else "method" if owner else "function"
            qualname = f"{owner}.{name}" if owner else name
            found.append(
                Symbol(name, qualname, kind, start + at, start + rest - 1, line.strip(), doc[1] if doc else "")
            )
    return tuple(found)


def rank(*chunks: Chunk) -> tuple[RankedChunk, ...]:
    return tuple(RankedChunk(chunk, 1.0 / (at + 1)) for at, chunk in enumerate(chunks))


def make_evidence(*chunks: Chunk) -> tuple[Evidence, ...]:
    return build_evidence(pack_context(rank(*chunks), 100_000))


def make_retrieval(*chunks: Chunk, question: str = "", entities: Sequence[Entity] = (), **kwargs: object) -> Retrieval:
    terms = tuple(QueryTerm(word.lower(), 3.0, 1, word) for word in re.findall(r"\w+", question))
    values: dict[str, object] = {"top_text_norm": 0.6, "terms": terms, **kwargs}
    return Retrieval(chunks=rank(*chunks), entities=tuple(entities), **values)


class ChunkResolver:
    """A resolver over chunks in memory: what is in none of them exists nowhere."""

    where = EVERYWHERE

    def __init__(self, *chunks: Chunk, near: Sequence[str] = ()) -> None:
        self.chunks = chunks
        self.near = tuple(near)
        texts = [f"{c.text} {c.path or ''} {c.key or ''}" for c in chunks]
        words = {word for text in texts for word in re.findall(r"\w+", text)}
        self.tokens = {w.lower() for w in words} | {part for w in words for part in split_identifier(w)}

    def has_name(self, name: str) -> bool:
        return name.split(".")[-1].lower() in self.tokens

    def has_path(self, path: str) -> bool:
        return any((c.path or "").endswith(path) for c in self.chunks)

    def has_key(self, key: str) -> bool:
        return any((c.key or "").lower() == key.lower() for c in self.chunks)

    def knows_tickets(self) -> bool:
        return any(c.kind == "ticket" for c in self.chunks)

    def has_text(self, text: str) -> bool:
        return any(text in c.text for c in self.chunks)

    def is_current(self, name: str) -> bool:
        return self.has_name(name)

    def is_composed(self, name: str) -> bool:
        return False

    def is_imported(self, name: str) -> bool:
        return any(re.search(rf"import .*\b{name}\b", c.text) for c in self.chunks) and not self.is_defined(name)

    def is_defined(self, name: str) -> bool:
        return any(symbol.name == name.split(".")[-1] for c in self.chunks for symbol in c.symbols)

    def definitions(self, name: str) -> Sequence[Chunk]:
        return [c for c in self.chunks if any(symbol.name == name.split(".")[-1] for symbol in c.symbols)]

    def naming(self, name: str, role: str) -> Sequence[Chunk]:
        return [c for c in self.chunks if c.role == role and re.search(rf"\b{name}\b", c.text)]

    def last_line(self, path: str) -> int | None:
        return max((c.end_line for c in self.chunks if (c.path or "").endswith(path)), default=None)

    def past(self, name: str) -> Past | None:
        return None

    def past_path(self, path: str) -> Past | None:
        return None

    def near_names(self, name: str) -> tuple[str, ...]:
        return self.near

    def near_paths(self, path: str) -> tuple[str, ...]:
        return self.near

    def document(self, source: str, ref: str, line: int, lines: int) -> Sequence[Chunk]:
        return chunks_near([c for c in self.chunks if (c.source, c.ref) == (source, ref)], line, lines)

    def occurring(self, tokens: Sequence[str]) -> frozenset[str]:
        return frozenset(token for token in tokens if token in self.tokens)

    def frequency(self, tokens: Sequence[str]) -> float:
        holding = [c for c in self.chunks if any(re.search(rf"\b{t}\b", c.text.lower()) for t in tokens)]
        return len(holding) / len(self.chunks) if self.chunks else 0.0

    def bearing(self, statement: str, lines: str) -> Bearing:
        return Bearing(word_share(statement, lines, lambda word: self.frequency([word])))


class NullSpan:
    def record(self, **values: object) -> None:
        pass


class NullTrace:
    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[NullSpan]:
        yield NullSpan()
