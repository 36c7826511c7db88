"""Prepare one entry: bytes -> documents -> redacted -> chunks -> token streams. Runs in worker processes."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ingest.chunking import chunk_with_reason
from ingest.cleaning import clean_document, mark_chunks
from ingest.index.keys import HINTS, find_design_keys, find_ticket_keys
from ingest.index.tokens import pack_hashes, read_tokens, token_hash, token_stream
from ingest.languages import LANGUAGES, detect_language, path_role
from ingest.languages.detection import HEAD_BYTES
from ingest.model import FILES_HEADING, Chunk, Document, FileJob, FileResult, Prepared, Skip
from ingest.sources.decode import decode_text

if TYPE_CHECKING:
    from ingest.embedding import Embedder

__all__ = ["FileJob", "FileResult", "embed_results", "prepare_file"]

PATH_FOLDERS = 3  # how many of the nearest folders describe a file
# The patterns of find_ticket_keys look around each position: ten times the cost of asking first whether any can match.
KEY_HINTS = (re.compile(r"#[1-9]"), re.compile(r"[A-Z][A-Z0-9]*-\d"), re.compile(r"/(?:issues|pull|merge_requests)/\d"))
# A design id is a word, or two, that begins with one of these.
DESIGN_WORDS = frozenset(token_hash(hint.lower()) for hint in HINTS)
MESSAGE_KINDS = frozenset(("ticket", "commit"))
HEADING_KINDS = frozenset(("ticket", "design", "commit"))


def prepare_file(job: FileJob, *, chunk_chars: int) -> FileResult:
    """Return the chunks of one entry with their token streams, or why it is left out."""
    documents = list(job.documents) if job.documents is not None else _read_job(job)
    if isinstance(documents, Skip):
        return FileResult(job.entry, skip=documents)
    prepared: list[Prepared] = []
    redactions: dict[str, int] = {}
    fallback = ""
    for document in documents:
        cleaned = clean_document(document)
        for rule, count in cleaned.redactions:
            redactions[rule] = redactions.get(rule, 0) + count
        chunked = chunk_with_reason(cleaned.document, chunk_chars=chunk_chars)
        fallback = fallback or chunked.fallback or document.fallback
        chunks = mark_chunks(chunked.chunks, cleaned)
        # Asked of the document, not of each chunk: most name none.
        names_tickets = any(hint.search(cleaned.document.text) for hint in KEY_HINTS)
        prepared.extend(prepare_chunk(chunk, names_tickets=names_tickets) for chunk in chunks)
    return FileResult(job.entry, tuple(prepared), None, tuple(sorted(redactions.items())), fallback)


def prepare_chunk(chunk: Chunk, *, names_tickets: bool = True) -> Prepared:
    """Return a chunk with its token streams and the tokens that it holds.

    `names_tickets`: False where its document is known to name none.
    """
    said, held = read_tokens(own_words(chunk))
    tokens = _make_tokens(chunk, said, held, names_tickets)
    return Prepared(chunk, tokens, terms=pack_hashes(held | _ref_hashes(chunk.ref)))


@lru_cache(maxsize=16)
def _ref_hashes(ref: str) -> set[int]:
    return read_tokens(ref)[1]


def _read_job(job: FileJob) -> list[Document] | Skip:
    """Return the documents of a file that its source has not parsed."""
    if job.info.kind != "design":
        return _read_file(job)
    from ingest.sources.designs import read_design  # here: a worker that reads code starts without it

    document = read_design(job.info, job.revision, job.entry, job.data)
    return document if isinstance(document, Skip) else [document]


def _read_file(job: FileJob) -> list[Document] | Skip:
    """Decode a file into its one document."""
    path = job.entry.path
    text, _ = decode_text(job.data)
    if text is None:
        return Skip(path, "encoding")
    if not text or text.isspace():
        return Skip(path, "empty")
    role = path_role(path)
    language = detect_language(path, job.data[:HEAD_BYTES])
    content_hash = job.entry.content_hash
    return [Document(job.info, path, None, path, text, content_hash, language, role, job.revision)]


def own_words(chunk: Chunk) -> str:
    """Return what the chunk says: of a commit its message, for the paths that it lists are a field of their own."""
    return chunk.text.partition(FILES_HEADING)[0] if chunk.kind == "commit" else chunk.text


def _make_tokens(chunk: Chunk, said: str, held: Set[int], names_tickets: bool) -> dict[str, str]:
    """Return the token stream of each text field that has any.

    `said`, `held`: the chunk's own tokens, and their hashes.
    """
    field = "message" if chunk.kind in MESSAGE_KINDS else "content"
    streams = {
        field: said,
        "path": _path_tokens(chunk.path) if chunk.path else "",
        "touched": "" if chunk.path else _touched_tokens(chunk.links),
        "symbols": _symbol_tokens(chunk),
        "heading": _heading_tokens(chunk),
        "keys": _key_tokens(chunk, held, names_tickets),
    }
    return {name: stream for name, stream in streams.items() if stream}


@lru_cache(maxsize=1024)
def _path_tokens(path: str) -> str:
    """Return the stem twice and the nearest folders once: a file's name says most about it."""
    *folders, name = path.split("/")
    stem = name.rpartition(".")[0] or name
    return token_stream(" ".join((stem, stem, *folders[-PATH_FOLDERS:])))


@lru_cache(maxsize=64)
def _touched_tokens(links: tuple[str, ...]) -> str:
    """Return the words of the paths that a commit or ticket names."""
    return " ".join(_path_tokens(link) for link in links if "/" in link or "." in link)


def _symbol_tokens(chunk: Chunk) -> str:
    names = [symbol.name for symbol in chunk.symbols]
    if chunk.symbol:
        names.extend(chunk.symbol.split("."))
    return token_stream(" ".join(dict.fromkeys(names))) if names else ""


def _heading_tokens(chunk: Chunk) -> str:
    """Return the words of the title and the enclosing headings of prose, which its own text may lack.

    Code has none: the names of an enclosing definition are among its symbols, and its signature twice only misleads.
    """
    if chunk.kind not in HEADING_KINDS and not _is_prose(chunk.language):
        return ""
    title = chunk.title if chunk.title != chunk.path else ""
    return token_stream(f"{title} {chunk.context}") if title or chunk.context else ""


def _is_prose(language: str | None) -> bool:
    entry = LANGUAGES.get(language or "")
    return bool(entry and entry.prose)


def _key_tokens(chunk: Chunk, held: Set[int], names_tickets: bool) -> str:
    """Return the ticket keys and design ids that the chunk is or names, in lower case; of a design id its one form."""
    own = (chunk.key, chunk.key.lstrip("#")) if chunk.key else ()
    named = find_ticket_keys(chunk.text) if names_tickets else ()
    may_name_designs = chunk.kind == "commit" or not DESIGN_WORDS.isdisjoint(held)  # a commit's paths are not in `held`
    designs = find_design_keys(chunk.text) if may_name_designs else ()
    return " ".join(dict.fromkeys(key.lower() for key in (*own, *named, *designs)))


def embed_results(results: Sequence[FileResult], embedder: Embedder) -> list[FileResult]:
    """Return results with a vector on each chunk; all files of a batch are embedded together."""
    passages = [
        embedder.passage(item.chunk.ref, item.chunk.context, own_words(item.chunk))
        for result in results
        for item in result.prepared
    ]
    if not passages:
        return list(results)
    vectors = iter(embedder.embed_passages(passages))
    return [
        replace(result, prepared=tuple(replace(item, vector=next(vectors).tobytes()) for item in result.prepared))
        for result in results
    ]
