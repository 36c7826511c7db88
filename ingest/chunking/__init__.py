"""Chunking: one document -> chunks. Code by definition, prose by heading, everything else by lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ingest.chunking.layout import Cut, Layout
from ingest.chunking.lines import split_lines
from ingest.chunking.text import divide_text
from ingest.languages.table import LANGUAGES
from ingest.model import Chunk, Document, Part, chunk_id, hash_text

CHUNKER_VERSION = "code-8"  # part of the manifest: raise it when the same document gives other chunks
COMMIT_CHUNKS = 4  # a commit message is one chunk up to this many times the limit


@dataclass(frozen=True, slots=True)
class Chunked:
    """The chunks of a document; `fallback` is the reason code when it could only be cut by lines."""

    chunks: list[Chunk] = field(default_factory=list)
    fallback: str = ""


def chunk_document(document: Document, *, chunk_chars: int) -> list[Chunk]:
    """Return the chunks of a document, about `chunk_chars` characters each, in source order."""
    return chunk_with_reason(document, chunk_chars=chunk_chars).chunks


def chunk_with_reason(document: Document, *, chunk_chars: int) -> Chunked:
    """Return the chunks of a document and why it had to be cut by lines, if so."""
    layout = Layout(document.text)
    repeats: dict[str, int] = {}
    if document.parts:
        return Chunked(
            [chunk for part in document.parts for chunk in _chunk_part(document, part, layout, chunk_chars, repeats)]
        )
    cuts, fallback = _cut(document, layout, chunk_chars)
    return Chunked(list(_chunks(document, layout, cuts, repeats)), fallback)


def _chunk_part(document: Document, part: Part, layout: Layout, limit: int, repeats: dict[str, int]) -> Iterator[Chunk]:
    """Yield the chunks of a part as if it stood alone, with the lines that it has in the document."""
    above = part.start_line - 1
    inner = Layout("\n".join(layout.lines[above : part.end_line]))
    cuts, _ = _cut(document, inner, limit)
    for chunk in _chunks(document, inner, cuts, repeats):
        yield replace(
            chunk,
            start_line=chunk.start_line + above,
            end_line=chunk.end_line + above,
            context=chunk.context or part.context,
            author_role=part.author_role,
            created_at=part.created_at or chunk.created_at,
        )


def _cut(document: Document, layout: Layout, limit: int) -> tuple[list[Cut], str]:
    language = LANGUAGES.get(document.language or "")
    if document.source.kind == "commit":
        return _cut_lines(layout, limit * COMMIT_CHUNKS), ""
    if language and language.grammar:
        return _cut_code(document, layout, limit)
    if language and language.name == "sql":
        return _cut_sql(document, layout, limit), ""
    style = language.prose if language else "markdown" if document.source.kind in ("ticket", "design") else ""
    if not style:
        return _cut_lines(layout, limit), ""
    return [Cut(piece, context) for piece, context in divide_text(layout, style, limit)], ""


def _cut_lines(layout: Layout, limit: int) -> list[Cut]:
    pieces = map(layout.trim, split_lines(layout, 0, layout.last, limit))
    return [Cut(piece) for piece in pieces if piece]


def _cut_sql(document: Document, layout: Layout, limit: int) -> list[Cut]:
    from ingest.chunking.sql import cut_sql  # here for the same reason as below

    return cut_sql(document.text, layout, limit)


def _cut_code(document: Document, layout: Layout, limit: int) -> tuple[list[Cut], str]:
    # Imported here: surfaces that only cut prose start without tree-sitter.
    from ingest.chunking.code import cut_code
    from ingest.languages.loading import load_grammar

    grammar = load_grammar(document.language or "")
    if isinstance(grammar, str):
        return _cut_lines(layout, limit), grammar
    cuts, reason = cut_code(document.text, layout, grammar, limit)
    return (_cut_lines(layout, limit), reason) if reason else (cuts, "")


def _chunks(document: Document, layout: Layout, cuts: Sequence[Cut], repeats: dict[str, int]) -> Iterator[Chunk]:
    """Yield a chunk per cut; `repeats` counts equal texts over the whole document."""
    source = document.source
    for cut in cuts:
        text = layout.text(cut.piece)
        text_hash = hash_text(text)
        repeat = repeats.get(text_hash, 0)
        repeats[text_hash] = repeat + 1
        yield Chunk(
            id=chunk_id(source.name, document.ref, text_hash, repeat),
            source=source.name,
            kind=source.kind,
            product=source.product,
            groups=source.groups,
            path=document.path,
            key=document.key,
            title=document.title,
            language=document.language,
            role=document.role,
            start_line=cut.piece.first + 1,
            end_line=cut.piece.last + 1,
            symbol=cut.symbol,
            context=cut.context,
            text=text,
            text_hash=text_hash,
            content_hash=document.content_hash,
            symbols=cut.symbols,
            state=document.state,
            created_at=document.created_at,
            updated_at=document.updated_at,
            links=document.links,
            trust=source.trust,
            closed_at=document.closed_at,
            expires_at=document.expires_at,
            labels=document.labels,
            assignee=document.assignee,
        )
