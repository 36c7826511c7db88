"""The promises of the store as one check, shared by tests, `codecairn doctor` and the background scrub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import IndexCorrupt, IndexStateError
from ingest.index import control, files
from ingest.index.control import LIVE, GenerationRow
from ingest.index.rows import RowReader
from ingest.index.schema import Violation
from ingest.index.stored import MODULUS, as_number, decode_chunk, digest, file_digest, hash_content, manifest_from_dict
from ingest.index.text import EVERYTHING, TextFilter, TextReader

if TYPE_CHECKING:
    import sqlite3

SETTLE_ATTEMPTS = 3
AUDIT = "audit"  # the rule that the hash chain of the trail holds: what is searched does not depend on it


def check_invariants(data_dir: Path, deep: bool = True, *, older: bool = False) -> list[Violation]:
    """Return every broken promise of the pointed generation; `deep` also reads every id, row and file.

    `older`: of the others that are kept too, but for those that were taken out of use. An index that was never
    published breaks none.
    """
    try:
        if not control.is_created(data_dir):
            return []
        connection = control.connect(data_dir)
    except IndexStateError as error:
        return [Violation("control", str(error))]
    try:
        with control.translated(data_dir / control.CONTROL):
            return list(_check(data_dir, connection, deep, older))
    except IndexStateError as error:
        return [Violation("W1", str(error))]
    finally:
        connection.close()


def check_copy(data_dir: Path, copy: sqlite3.Connection) -> list[Violation]:
    """Return every broken promise of what a copy of control.db points at; the files lie in `data_dir`."""
    try:
        with control.translated(data_dir / control.CONTROL):
            return list(_check(data_dir, copy, deep=True, older=False))
    except IndexStateError as error:
        return [Violation("W1", str(error))]


def check_settled(data_dir: Path, *, older: bool = False) -> list[Violation]:
    """Check deeply while others may publish: what is found counts only if the pointer stood still meanwhile."""
    for _ in range(SETTLE_ATTEMPTS):
        before = _pointed(data_dir)
        violations = check_invariants(data_dir, older=older)
        if not violations or _pointed(data_dir) == before:
            return violations
    return []  # it is published faster than it can be read; the next check has another chance


def _pointed(data_dir: Path) -> object:
    """Return what the pointer names, or why it cannot be read."""
    try:
        connection = control.connect(data_dir)
        try:
            with control.translated(data_dir / control.CONTROL):
                return control.read_pointer(connection)
        finally:
            connection.close()
    except IndexStateError as error:
        return str(error)


def _check(data_dir: Path, connection: sqlite3.Connection, deep: bool, older: bool) -> Iterator[Violation]:
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if deep else "ok"
    if damage != "ok":
        yield Violation("control", f"control.db is damaged: {damage}")
        return
    broken = control.broken_audit_row(connection) if deep else None
    if broken is not None:
        yield Violation(AUDIT, f"row {broken} of the audit trail breaks the hash chain")
    pointed = control.read_pointer(connection)
    if pointed is None:
        return
    rows = {row.id: row for row in control.read_generations(connection)}
    if pointed[0] not in rows or rows[pointed[0]].files_hash != pointed[1]:
        yield Violation("W1", f"the pointer names generation {pointed[0]}, which is not published or cannot be read")
        return
    yield from _check_readable(data_dir, connection, rows.pop(pointed[0]), deep)
    for row in rows.values() if older else ():
        if not files.is_out_of_use(files.generation_folder(data_dir, row.id)):
            yield from _check_readable(data_dir, connection, row, deep)


def _check_readable(
    data_dir: Path, connection: sqlite3.Connection, row: GenerationRow, deep: bool
) -> Iterator[Violation]:
    """Check one generation; what keeps it from being read is its last violation."""
    try:
        yield from _check_generation(data_dir, connection, row, deep)
    except IndexStateError as error:
        yield Violation("W1", str(error))


def _check_generation(
    data_dir: Path, connection: sqlite3.Connection, row: GenerationRow, deep: bool
) -> Iterator[Violation]:
    folder = files.generation_folder(data_dir, row.id)
    manifest = files.read_file_manifest(folder, row.files_hash)
    files.verify_files(folder, manifest, "full" if deep else "fast")
    if manifest_from_dict(manifest.logical["manifest"]) != row.manifest:
        yield Violation("W1", f"generation {row.id}: the manifests on disk and in control.db differ")
    extra = files.list_files(folder).keys() - manifest.files.keys()
    if extra:
        yield Violation("W1", f"generation {row.id}: files that the manifest does not name: {sorted(extra)}")
    reader = TextReader(folder / files.TEXT_FOLDER)
    yield from _check_counts(connection, row, reader)
    if deep:
        yield from _check_ids(connection, row, reader, folder)
        yield from _check_content(connection, row, reader)


def _check_counts(connection: sqlite3.Connection, row: GenerationRow, reader: TextReader) -> Iterator[Violation]:
    control_counts = Counter(
        dict(
            connection.execute(
                "SELECT f.source, count(*) FROM chunk c JOIN file f ON f.id = c.file WHERE c.shadowed = 0"
                " AND c.gen_from <= :g AND (c.gen_to IS NULL OR c.gen_to > :g) GROUP BY f.source",
                {"g": row.id},
            )
        )
    )
    for state in row.manifest.sources:
        text = reader.count(TextFilter(sources=(state.name,)))
        if not state.chunks == text == control_counts[state.name]:
            counts = f"manifest {state.chunks}, text {text}, control.db {control_counts[state.name]}"
            yield Violation("W1", f"source {state.name!r}: chunk counts differ: {counts}")
    if reader.count(EVERYTHING) != row.manifest.chunks or sum(control_counts.values()) != row.manifest.chunks:
        yield Violation("W1", f"generation {row.id}: chunks of sources that the manifest does not name")


def _check_ids(
    connection: sqlite3.Connection, row: GenerationRow, reader: TextReader, folder: Path
) -> Iterator[Violation]:
    known = sorted(
        value[0] for value in connection.execute(f"SELECT id FROM chunk WHERE shadowed = 0 AND {LIVE}", {"g": row.id})
    )
    if sorted(reader.all_ids()) != known:
        yield Violation("W1", f"generation {row.id}: the ids of the text index and of control.db differ")
    if not RowReader(folder / files.ROWS_FOLDER).holds(known):
        yield Violation("W1", f"generation {row.id}: a chunk has no row for the ranking")
    if row.manifest.embedder:
        from ingest.index.vector import read_ids

        found = read_ids(folder / files.VECTOR_FOLDER)
        if sorted(chunk_id for chunk_id, _ in found) != known:
            yield Violation("W1", f"generation {row.id}: the ids of the vectors and of control.db differ")
        sources = {chunk_id: source for chunk_id, source in found}
        wrong = [i for i, data in reader.every() if decode_source(data, row) != sources.get(i)]
        if wrong:
            yield Violation("W5", f"generation {row.id}: {len(wrong)} vectors carry another source than their text")


def decode_source(data: bytes, row: GenerationRow) -> str | None:
    """Return the source that a stored chunk names, None when it cannot be read or the generation does not know it."""
    sources = {state.name: state for state in row.manifest.sources}
    try:
        return decode_chunk(data, sources).source
    except IndexCorrupt:
        return None


def _check_content(connection: sqlite3.Connection, row: GenerationRow, reader: TextReader) -> Iterator[Violation]:
    """Recompute the logical hash from what the text index stores and control.db lists."""
    chunk_sums: Counter[str] = Counter()
    for _, data in reader.every():
        chunk_sums[decode_source(data, row) or ""] += as_number(digest(data))
    file_sums: Counter[str] = Counter()
    for source, path, content_hash, reason in connection.execute(
        f"SELECT source, path, content_hash, skip_reason FROM file WHERE {LIVE}", {"g": row.id}
    ):
        file_sums[source] += as_number(file_digest(source, path, content_hash, reason))
    sums = {s.name: (chunk_sums[s.name] % MODULUS, file_sums[s.name] % MODULUS) for s in row.manifest.sources}
    content = hash_content(row.manifest.embedder, row.manifest.chunker, list(row.manifest.sources), sums)
    if content != row.content_hash or content != row.manifest.content_hash:
        yield Violation("W3", f"generation {row.id}: its content hashes to {content}, published was {row.content_hash}")
