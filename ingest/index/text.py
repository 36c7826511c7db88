"""The Tantivy side of a generation: schema, writer, reader. The only module that imports tantivy.

A committed directory is never written in place: a killed writer leaves a `.del` file that blocks every later
commit at the same opstamp. Writers work on a hard-linked clone (see generation.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tantivy
from tantivy import Occur, Query

from ingest.errors import DiskFull, IndexCorrupt
from ingest.index.files import is_writable
from ingest.index.names import clean, file_term, path_tails
from ingest.index.recent import Record, is_scattered, read_recent
from ingest.index.schema import TEXT_FIELDS
from ingest.index.scored import ScoredChunks
from ingest.index.stored import REMEDY
from ingest.model import Packed

WRITER_HEAP = 96_000_000  # one thread: 25k chunks make two or three segments; parents of worker pools stay small
RAW_FIELDS = ("source", "language", "file", "full_path", "path_tail", "key", "link", "name", "name_lower", "pii")


def build_schema() -> tantivy.Schema:
    """Return the schema: token streams for ranking, raw fields for filters and look-ups, one stored field."""
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("id", indexed=True, fast=True)
    for field in TEXT_FIELDS:
        builder.add_text_field(field, tokenizer_name="whitespace", index_option="freq")
    for field in RAW_FIELDS:
        builder.add_text_field(field, tokenizer_name="raw", index_option="basic")
    builder.add_bytes_field("stored", stored=True)
    return builder.build()


SCHEMA = build_schema()


@dataclass(frozen=True, slots=True)
class TextFilter:
    """What the inverted index must restrict a query to. `sources` None = every source of the generation is visible."""

    sources: tuple[str, ...] | None
    language: str = ""
    path_pattern: str = ""
    shielded: tuple[str, ...] = ()  # of these sources nothing with personal data


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn tantivy's exceptions into ours."""
    try:
        yield
    except (ValueError, OSError, TypeError, OverflowError) as error:  # the last two: of ids that are none
        raise translate(error, folder) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # raised by the Rust side on damaged files; it cannot be imported
            raise
        raise translate(RuntimeError(str(error)), folder) from error


def translate(error: Exception, folder: Path) -> Exception:
    """Return the DiskFull or IndexCorrupt that a tantivy exception stands for."""
    text = str(error)
    if any(sign in text for sign in ("os error 28", "os error 27", "os error 122", "No space left", "Errno 28")):
        return DiskFull(
            f"No space left for the text index in {folder}. Nothing was published; free some space and retry."
        )
    return IndexCorrupt(f"The text index in {folder} cannot be used: {text[:300]}. {REMEDY}")


def make_record(entry_path: str, packed: Packed, first: bool) -> Record:
    """Return the indexed form of one chunk. `first`: it is the first of its document and carries the path's tails."""
    tails = tuple(path_tails(packed.path)) if first and packed.path else ()
    file = file_term(packed.source, entry_path)
    return Record(packed.id, packed.source, file, packed.texts, tails, packed.stored)


def make_document(record: Record) -> tantivy.Document:
    """Return a record as the engine takes it."""
    doc = tantivy.Document()
    doc.add_unsigned("id", record.id)
    for field, text in record.texts:
        doc.add_text(field, text)
    doc.add_text("file", record.file)
    for tail in record.tails:
        doc.add_text("path_tail", tail)
    doc.add_bytes("stored", record.stored)
    return doc


class TextWriter:
    """Applies one delta to a cloned directory."""

    def __init__(self, folder: Path, *, create: bool) -> None:
        self._folder = folder
        with translated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            index = tantivy.Index(SCHEMA, path=str(folder)) if create else tantivy.Index.open(str(folder))
            self._writer = index.writer(heap_size=WRITER_HEAP, num_threads=1)
            self._recent = read_recent(folder)
            self._gathers = not create and is_scattered(folder)

    def delete_file(self, source: str, path: str) -> None:
        """Delete every chunk that came from one entry."""
        file = file_term(source, path)
        with translated(self._folder):
            self._writer.delete_documents_by_term("file", file)
        self._recent.delete_file(file)

    def delete_source(self, source: str) -> None:
        """Delete every chunk of one source."""
        with translated(self._folder):
            self._writer.delete_documents_by_term("source", clean(source))
        self._recent.delete_source(source)

    def add(self, entry_path: str, chunks: Iterable[Packed]) -> None:
        """Add chunks that came from the entry."""
        documented: set[str] = set()
        with translated(self._folder):
            for packed in chunks:
                record = make_record(entry_path, packed, packed.ref not in documented)
                documented.add(packed.ref)
                self._writer.add_document(make_document(record))
                self._recent.add(record)

    def commit(self) -> None:
        """Make the delta part of the directory and end the writer."""
        with translated(self._folder):
            if self._gathers:
                self._gather()
            self._writer.commit()
            self._writer.wait_merging_threads()
        self._recent.write(self._folder)

    def _gather(self) -> None:
        """Write the documents of the newest segments again, into the one that this commit makes."""
        for record in self._recent.records.values():
            self._writer.delete_documents_by_query(Query.term_query(SCHEMA, "id", record.id))
            self._writer.add_document(make_document(record))

    def abort(self) -> None:
        """Forget the delta."""
        with translated(self._folder):
            self._writer.rollback()


@contextmanager
def lockable(folder: Path) -> Iterator[Path]:
    """Yield a folder with the same files in which the engine can make its lock file, as it does to open an index.

    On a read-only disk that is one of links; it is not needed any more once the engine has the files open.
    """
    if is_writable(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="codecairn-") as links:
        for path in (path for path in folder.iterdir() if path.suffix != ".lock"):
            Path(links, path.name).symlink_to(path.absolute())
        yield Path(links)


class TextReader:
    """One immutable searcher. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with translated(folder), lockable(folder) as place:
            self._searcher = tantivy.Index.open(str(place)).searcher()

    def search(
        self, terms: Sequence[tuple[str, float]], where: TextFilter, limit: int, weights: Mapping[str, float]
    ) -> ScoredChunks:
        """Return the best chunks by weighted BM25, summed over fields."""
        fields = [(field, weight) for field, weight in weights.items() if weight > 0]
        clauses = [
            (Occur.Should, Query.boost_query(Query.term_query(SCHEMA, field, clean(term), "freq"), weight * boost))
            for term, boost in terms
            if boost > 0
            for field, weight in fields
        ]
        if not clauses or limit <= 0:
            return ScoredChunks()
        return self._scored(restrict(Query.boolean_query(clauses), where), limit)

    def _scored(self, query: Query, limit: int) -> ScoredChunks:
        with translated(self._folder):
            hits = self._searcher.search(query, limit, count=False).hits
            ids = self._searcher.fast_field_values("id", [address for _, address in hits])
            return ScoredChunks(ids, [score for score, _ in hits])  # type: ignore[arg-type]

    def ids_by_term(self, field: str, value: str, where: TextFilter, limit: int) -> list[int]:
        """Return the smallest chunk ids that carry a raw term."""
        if not self.document_frequency(field, value):  # 2 us against 30 for a search, and most look-ups find nothing
            return []
        return self._ids(Query.term_query(SCHEMA, field, value, "basic"), where, limit)

    def ids_by_prefix(self, field: str, prefix: str, where: TextFilter, limit: int) -> list[int]:
        """Return the smallest chunk ids that carry one of the first raw terms with the prefix."""
        with translated(self._folder):
            found = self._searcher.terms_with_prefix(field, prefix, None, limit)
        return self._ids(any_of(field, [term for term, _ in found]), where, limit) if found else []

    def ids_by_tokens(self, field: str, tokens: Sequence[str], where: TextFilter, limit: int) -> list[int]:
        """Return the best chunk ids whose text field holds every token."""
        if not tokens:
            return []
        musts = [(Occur.Must, Query.term_query(SCHEMA, field, clean(token), "freq")) for token in tokens]
        found: list[int] = self._scored(restrict(Query.boolean_query(musts), where), limit).ids.tolist()
        return found

    def ids_holding(self, fields: Sequence[str], tokens: Sequence[str], where: TextFilter, limit: int) -> list[int]:
        """Return the smallest chunk ids that hold every token in one of the text fields."""
        return self._ids(Query.boolean_query([(Occur.Must, holding(fields, token)) for token in tokens]), where, limit)

    def ids_by_fuzzy(self, field: str, value: str, distance: int, where: TextFilter, limit: int) -> list[int]:
        """Return the smallest chunk ids that carry a raw term within the edit distance (0..2)."""
        return self._ids(Query.fuzzy_term_query(SCHEMA, field, clean(value), distance), where, limit)

    def _ids(self, query: Query, where: TextFilter, limit: int) -> list[int]:
        with translated(self._folder):
            found = self._searcher.search(
                restrict(query, where), limit, count=False, order_by_field="id", order=tantivy.Order.Asc
            ).hits
            return self._read_ids([a for _, a in found])

    def document_frequency(self, field: str, term: str) -> int:
        """Return how many chunks hold a token."""
        with translated(self._folder):
            return int(self._searcher.doc_freq(field, clean(term)))

    def count_term(self, fields: Sequence[str], term: str, where: TextFilter) -> int:
        """Return how many chunks that pass the filter hold a token in one of the fields."""
        with translated(self._folder):
            return self._count(restrict(holding(fields, term), where))

    def count(self, where: TextFilter) -> int:
        """Return how many chunks pass the filter."""
        with translated(self._folder):
            return self._count(restrict(Query.all_query(), where))

    def _count(self, query: Query) -> int:
        found: Any = self._searcher.search(query, 1, count=True)  # its stub lacks `count`
        return int(found.count)

    def holds(self, chunk_id: int) -> bool:
        """Return whether exactly one live chunk has the id."""
        with translated(self._folder):
            return self._count(Query.term_query(SCHEMA, "id", chunk_id)) == 1

    def stored(self, chunk_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the stored forms of those chunks that exist, by id."""
        if not chunk_ids:
            return {}
        with translated(self._folder):
            # A union of 20 ids takes 0.1 ms among a million chunks, a set of them 1.8: it walks over all that exist.
            query = Query.boolean_query([(Occur.Should, Query.term_query(SCHEMA, "id", i)) for i in chunk_ids])
            addresses = [a for _, a in self._searcher.search(query, len(chunk_ids), count=False).hits]
            ids = self._searcher.fast_field_values("id", addresses)
            values = [self._searcher.doc(address).get_first("stored") for address in addresses]
            return {int(i): bytes(value) for i, value in zip(ids, values, strict=True) if value is not None}  # type: ignore[arg-type]

    def every(self) -> Iterator[tuple[int, bytes]]:
        """Yield (id, stored form) of every chunk, in no promised order."""
        with translated(self._folder):
            total = max(1, self._searcher.num_docs)
            addresses = [a for _, a in self._searcher.search(Query.all_query(), total, count=False).hits]
            ids = self._searcher.fast_field_values("id", addresses)
            for chunk_id, address in zip(ids, addresses, strict=True):
                yield int(chunk_id), bytes(self._searcher.doc(address).get_first("stored") or b"")  # type: ignore[arg-type]

    def all_ids(self) -> list[int]:
        """Return every chunk id."""
        with translated(self._folder):
            total = max(1, self._searcher.num_docs)
            addresses = [a for _, a in self._searcher.search(Query.all_query(), total, count=False).hits]
            return self._read_ids(addresses)

    def _read_ids(self, addresses: list[tantivy.DocAddress]) -> list[int]:
        ids: list[int] = np.array(self._searcher.fast_field_values("id", addresses), dtype=np.int64).tolist()
        return ids


EVERYTHING = TextFilter(sources=None)


def holding(fields: Sequence[str], token: str) -> Query:
    """Return a query for chunks that hold a token in one of the text fields."""
    return Query.boolean_query(
        [(Occur.Should, Query.term_query(SCHEMA, field, clean(token), "freq")) for field in fields]
    )


def restrict(query: Query, where: TextFilter) -> Query:
    """Add the filters as clauses that must match and score nothing."""
    if where == EVERYTHING:
        return query
    clauses: list[tuple[Occur, Query]] = [(Occur.Must, query)]
    clauses += [(Occur.Must, Query.const_score_query(condition, 0.0)) for condition in _conditions(where)]
    return Query.boolean_query(clauses)


@lru_cache(maxsize=256)  # compiling a pattern takes 2 ms, four times as long as searching with it
def _conditions(where: TextFilter) -> tuple[Query, ...]:
    conditions = []
    if where.sources is not None:
        conditions.append(any_of("source", where.sources))
    if where.language:
        conditions.append(Query.term_query(SCHEMA, "language", where.language, "basic"))
    if where.path_pattern:
        conditions.append(Query.regex_query(SCHEMA, "full_path", where.path_pattern))
    if where.shielded:
        personal = Query.term_query(SCHEMA, "pii", "personal", "basic")
        both = Query.boolean_query([(Occur.Must, any_of("source", where.shielded)), (Occur.Must, personal)])
        conditions.append(Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, both)]))
    return tuple(conditions)


def any_of(field: str, values: Sequence[str]) -> Query:
    """Return a query for any of the raw terms. For a few values a union beats a term set (0.2 against 0.4 ms)."""
    if len(values) > 16:
        return Query.term_set_query(SCHEMA, field, [clean(value) for value in values])
    terms = [(Occur.Should, Query.term_query(SCHEMA, field, clean(value), "basic")) for value in values]
    return Query.boolean_query(terms)
