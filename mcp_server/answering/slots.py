"""Slots: what belongs to the thing that is asked about, found by following links, with the lines that show it.

A ticket leads to the lines that its commits changed, a design to the code that it names, code to the designs and
tickets behind it, an old path to where the file is now. Links are followed under the caller's filters and within one
product.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from rapidfuzz import fuzz

from ingest.index.tokens import index_tokens, whole_word
from ingest.model import HISTORY_SUFFIX, RENAME_LINK, Chunk, Filters, Symbol
from mcp_server.answering.aspects import content_words, is_title, root, text_roots
from mcp_server.answering.changes import ChangeReader, changed_ranges
from mcp_server.answering.passages import PLAIN_VALUES
from mcp_server.answering.removals import LEAST_LIKE
from mcp_server.answering.resolver import IndexResolver, is_tail, message_of
from mcp_server.retrieval.context import Link, Relation
from mcp_server.retrieval.history import new_name
from mcp_server.retrieval.linked import keys_in, naming_code, newest_first, only_commits, without_commits
from mcp_server.retrieval.links import Linked, read_linked
from mcp_server.retrieval.model import Retrieval
from mcp_server.retrieval.profiles import touched_paths
from mcp_server.retrieval.query import COMMIT_ASKED, PATH, SHAPED, ParsedQuery, parse_query, weigh_terms

if TYPE_CHECKING:
    from ingest.index import Index

MAX_LINKS = 12  # of one question
MAX_COMMITS = 4  # of one ticket or design whose changes are shown
MAX_FILES = 5  # of one commit, or named by one document
MAX_NAMED = 60  # documents looked at that name something
MAX_HOPS = 5  # renames of one path
MAX_BEHIND = 3  # documents of each kind behind one piece of code
MAX_MENTIONS = 3
RANGE_LINES = 12  # of code that one link shows
TITLE_HITS = 5  # among which the title of a ticket, design or commit is looked for
BEST_HIT_LINKS = 3  # of a best hit that the question does not name
DESIGN_ASKED = re.compile(
    r"\b(?:designs?|adrs?|rfcs?|keps?|peps?|decisions?|decided|proposals?|why|reasons?|rationale|behind)\b", re.I
)
TICKET_ASKED = re.compile(r"\b(?:tickets?|issues?|bugs?|incidents?|stor(?:y|ies)|pull requests?|asked for|why)\b", re.I)


@dataclass(frozen=True, slots=True)
class Places:
    """Where links are followed, and what the question is about."""

    index: Index
    filters: Filters
    changes: ChangeReader
    subject: frozenset[str]  # roots of the question's words

    def within(self, product: str) -> Places:
        """Return the same for one product: equal keys of two products have nothing to do with each other."""
        return replace(self, filters=replace(self.filters, product=product))


def find_slots(index: Index, retrieval: Retrieval, filters: Filters, changes: ChangeReader) -> tuple[Link, ...]:
    """Return the links from what a question names, else from its best hit, best first and without repeats."""
    query = parse_query(retrieval.query)
    asked = replace(filters, path_glob="", language="")
    places = Places(index, asked, changes, subject_of(retrieval.query, query))
    found: dict[tuple[object, ...], Link] = {}
    expired = index.expired(filters)
    valid = (link for link in every_link(places, query, retrieval) if holds(link, expired))
    for link in islice(valid, MAX_LINKS):
        found.setdefault((link.relation, link.about, link.origin.id, link.target.id, link.start_line), link)
    return tuple(found.values())


def holds(link: Link, expired: Container[tuple[str, str]]) -> bool:
    """Tell whether a link leads from and to what has not expired, or is asked for by its key."""
    ends = (link.origin, link.target)
    return all((end.source, end.ref) not in expired or link.about in (end.key, end.ref) for end in ends)


def subject_of(question: str, query: ParsedQuery) -> frozenset[str]:
    """Return the roots of a question's words, without those of its keys: the 12 of TG-12 is in many lines."""
    for key in (*query.tickets, *query.designs, *query.paths):
        question = question.replace(key, " ")
    return frozenset(map(root, content_words(question)))


def every_link(places: Places, query: ParsedQuery, retrieval: Retrieval) -> Iterator[Link]:
    """Yield links in the order in which they matter."""
    if retrieval.route == "smalltalk":
        return
    keys = (*query.tickets, *query.designs)
    for key in keys:
        yield from links_of_key(places, key)
    missing = {name.name for name in retrieval.not_found}
    missing |= {entity.text for entity in retrieval.entities if entity.kind == "renamed"}
    for name in dict.fromkeys((*query.paths, *missing)):
        if name in missing or not places.index.find_paths(name, places.filters, 1):
            yield from links_of_gone(places, name)
    for name in query.identifiers:
        yield from links_of_past(places, name)
    for entity in retrieval.entities:
        if entity.kind in ("path", "symbol", "renamed"):
            name = entity.places[0] if entity.kind == "renamed" else entity.text
            yield from links_of_code(places, query, name, entity.kind == "symbol")
    best = None if keys else best_document(places, retrieval)
    if best is not None:
        yield from islice(links_of_document(places, best, ""), BEST_HIT_LINKS)


def best_document(places: Places, retrieval: Retrieval) -> Chunk | None:
    """Return the ticket, design or commit that a question is about: the best hit, or one whose title it nearly is."""
    for at, hit in enumerate(retrieval.chunks[:TITLE_HITS]):
        chunk = hit.chunk
        if chunk.kind != "code" and (at == 0 or is_title(chunk.title, places.subject)):
            return chunk
    return None


# ---- from a key


def links_of_key(places: Places, key: str) -> Iterator[Link]:
    """Yield what a ticket or design leads to: changes, what it names, code that names it."""
    own = documents(places, places.index.find_keys(key, places.filters))
    for chunk in own:
        yield from links_of_document(places, chunk, key)
    products = {chunk.product for chunk in own} or {""}
    for product in sorted(products):
        yield from links_of_mentions(places.within(product), key)
        if not own:  # the tracker is not indexed: commits that name the key are
            yield from links_of_commits(places.within(product), key, key)


def links_of_document(places: Places, chunk: Chunk, about: str) -> Iterator[Link]:
    """Yield the code that a ticket, design or commit names, and what its commits changed."""
    own = places.within(chunk.product)
    names = list(named_code(own, chunk, about)) if chunk.kind in ("ticket", "design") else []
    key = chunk.key or chunk.path or ""
    if chunk.kind == "design":
        yield from names
    if chunk.kind == "commit":
        for asked in keys_in(chunk.links):
            for document in documents(own, places.index.find_keys(asked, own.filters)):
                yield Link("behind", about, document, chunk, chunk.start_line, chunk.start_line)
        yield from changed_by(own, chunk, about)
    elif key:
        yield from links_of_commits(own, key, about)
    if chunk.kind == "ticket":
        yield from names


def links_of_commits(places: Places, key: str, about: str) -> Iterator[Link]:
    """Yield what the newest commits changed that name a key, or a pull request that names it."""
    index, filters = places.index, places.filters
    commits = commits_naming(places, key)
    if not commits:
        naming = read_linked(index, index.linked_to(key, without_commits(index, filters), MAX_NAMED))
        requests = dict.fromkeys(d.file.key for d in naming if d.kind == "ticket" and d.file.key)
        commits = [commit for request in requests if request for commit in commits_naming(places, request)]
    for commit in index.chunks([commit.chunk_id for commit in commits[:MAX_COMMITS]]):
        yield from changed_by(places, commit, about)


def commits_naming(places: Places, name: str) -> list[Linked]:
    """Return the commits whose message names a key, or that touched a path, the newest first."""
    index = places.index
    return newest_first(read_linked(index, index.linked_to(name, only_commits(index, places.filters), MAX_NAMED)))


def changed_by(places: Places, commit: Chunk, about: str) -> Iterator[Link]:
    """Yield the lines that a commit changed and that are still there, implementation before tests.

    Of a file where none of them is, the lines that share the commit's words: it touched the file, not those lines.
    """
    found: list[Link] = []
    for path in touched_paths(commit.links)[: 2 * MAX_FILES]:
        now = present_path(places, commit.source.removesuffix(HISTORY_SUFFIX), path)
        chunks = places.index.document_chunks(*now, places.filters) if now else []
        if chunks:
            chunk, start, end, is_changed = changed_part(
                chunks, places.changes.added(commit, path), places, commit.title
            )
            found.append(Link("changed" if is_changed else "touched", about, commit, chunk, start, end))
    yield from sorted(found, key=lambda link: link.target.role != "source")[:MAX_FILES]


def present_path(places: Places, source: str, path: str) -> tuple[str, str] | None:
    """Return source and path of a file as it is called now."""
    for _ in range(MAX_HOPS):
        if any(found == (source, path) for found in places.index.find_paths(path, places.filters, 3)):
            return source, path
        renamed = new_name(places.index, source, path, only_commits(places.index, places.filters))
        if renamed is None:
            return None
        path = renamed
    return None


def changed_part(
    chunks: Sequence[Chunk], added: frozenset[str], places: Places, title: str
) -> tuple[Chunk, int, int, bool]:
    """Return the lines of a file that show a change best, and whether the commit put any of them there.

    Those of the commit, else those that share its words.
    """
    ranges = [(chunk, *place) for chunk in chunks for place in changed_ranges(chunk, added)]
    if ranges:
        chunk, start, end = max(ranges, key=lambda r: (r[2] - r[1], -r[1]))
        if end - start < RANGE_LINES:
            return chunk, start, end, True
    held = [c for c in chunks if any(c is chunk for chunk, _, _ in ranges)] or list(chunks)
    chunk, start, end = best_part(held, places.subject | frozenset(map(root, content_words(title))))
    return chunk, start, end, any(c is chunk and first <= end and start <= last for c, first, last in ranges)


def best_part(chunks: Sequence[Chunk], subject: frozenset[str]) -> tuple[Chunk, int, int]:
    """Return the definition of some chunks that shares most words with a subject, else the first lines."""
    pairs = [(c, s) for c in chunks for s in c.symbols]
    if not pairs:
        best = max(chunks, key=lambda c: (len(subject & text_roots(c.text)), -c.start_line))
        return best, best.start_line, min(best.end_line, best.start_line + RANGE_LINES - 1)

    def weigh(pair: tuple[Chunk, Symbol]) -> tuple[float, bool, int, int]:
        chunk, symbol = pair
        said = text_roots(f"{symbol.qualname} {symbol.doc}")
        body = chunk.text.split("\n")[symbol.start_line - chunk.start_line : symbol.end_line - chunk.start_line + 1]
        spoken = len(subject & text_roots("\n".join(body)))
        shared = 2 * len(subject & said) + spoken
        is_value = symbol.kind in PLAIN_VALUES
        return shared / (2 if is_value else 1), not is_value, -symbol.start_line, symbol.end_line

    chunk, symbol = max(pairs, key=weigh)
    return chunk, *lines_of(chunk, symbol.start_line)


def lines_of(chunk: Chunk, start: int) -> tuple[int, int]:
    """Return the first lines of the definition that starts on a line of a chunk."""
    end = next((s.end_line for s in chunk.symbols if s.start_line == start), start)
    return start, min(end, chunk.end_line, start + RANGE_LINES - 1)


# ---- from a document to the code that it names


def named_code(places: Places, document: Chunk, about: str) -> Iterator[Link]:
    """Yield the code that a ticket or design names by path, with the symbols it names there, then by symbol alone."""
    parts = places.index.document_chunks(document.source, document.ref, places.filters) or [document]
    said = "\n".join(part.text for part in parts)
    subject = places.subject | frozenset(map(root, content_words(document.title)))
    code = code_only(places.filters)
    seen: set[tuple[str, str]] = set()
    for path in touched_paths(document.links)[:MAX_FILES]:
        for source, found in places.index.find_paths(path, code, 2):
            chunks = places.index.document_chunks(source, found, places.filters)
            if not is_tail(path, found) or (source, found) in seen or not chunks:
                continue
            seen.add((source, found))
            chunk, start, end = named_part(chunks, said) or best_part(chunks, subject)
            yield Link("names", about, part_naming(parts, path), chunk, start, end)
    for name in list(dict.fromkeys(quoted_names(said)))[:MAX_FILES]:
        hits = places.index.find_symbol(name, code, 2, loose=False)
        if len(hits) == 1 and (hits[0].file.source, hits[0].file.ref) not in seen:
            chunk = places.index.chunks([hits[0].chunk_id])[0]
            seen.add((chunk.source, chunk.ref))
            start, end = lines_of(chunk, hits[0].symbol.start_line)
            yield Link("names", about, part_naming(parts, name), chunk, start, end)


def named_part(chunks: Sequence[Chunk], said: str) -> tuple[Chunk, int, int] | None:
    """Return the definition among some chunks that a text names in so many letters, functions before values."""
    written = ((c, s) for c in chunks for s in c.symbols if s.name in said and SHAPED.search(s.name))
    named = [(c, s) for c, s in written if whole_word(s.name).search(said)]
    if not named:
        return None
    chunk, symbol = min(named, key=lambda pair: (pair[1].kind in PLAIN_VALUES, pair[1].start_line))
    return chunk, *lines_of(chunk, symbol.start_line)


def quoted_names(text: str) -> Iterator[str]:
    """Yield the names that a text puts in back-ticks and that look like code."""
    for match in re.finditer(r"`([A-Za-z_][\w.:]*)(?:\(\))?`", text):
        if SHAPED.search(match[1]):
            yield match[1]


def part_naming(parts: Sequence[Chunk], name: str) -> Chunk:
    """Return the part of a document that holds a name, else its first."""
    tail = name.rsplit("/", 1)[-1]
    return next((part for part in parts if tail in part.text), parts[0])


def code_only(filters: Filters) -> Filters:
    """Return the filters for code alone."""
    return replace(filters, kinds=filters.kinds & {"code"})


def links_of_mentions(places: Places, key: str) -> Iterator[Link]:
    """Yield the lines of code that name a key."""
    pattern = whole_word(key)
    code = code_only(places.filters)
    for ref in list(dict.fromkeys(naming_code(places.index, key, places.filters)))[:MAX_MENTIONS]:
        for source, path in places.index.find_paths(ref, code, 1):
            for chunk in places.index.document_chunks(source, path, code):
                lines = enumerate(chunk.text.split("\n"), chunk.start_line)
                number = next((number for number, line in lines if pattern.search(line)), None)
                if number is not None:
                    yield Link("mentions", key, chunk, chunk, number, number)


# ---- from code to what is behind it


def links_of_code(places: Places, query: ParsedQuery, name: str, is_symbol: bool) -> Iterator[Link]:
    """Yield the designs, tickets and commits behind a path or symbol, as far as the question asks for such."""
    asked = (("design", DESIGN_ASKED), ("ticket", TICKET_ASKED), ("commit", COMMIT_ASKED))
    wanted = [kind for kind, pattern in asked if pattern.search(query.text)]
    if not wanted:
        return
    for chunk, start in places_of(places, name, is_symbol):
        own = places.within(chunk.product)
        commits = commits_naming(own, chunk.ref)
        behind = list(documents_behind(own, chunk, name if is_symbol else "", commits))
        for kind in wanted:
            found = [d for d in behind if d.kind == kind]
            if kind == "commit":
                found = places.index.chunks([commit.chunk_id for commit in commits[:MAX_BEHIND]])
            for document in found[:MAX_BEHIND]:
                yield Link("behind", name, document, chunk, start, start)


def places_of(places: Places, name: str, is_symbol: bool) -> Iterator[tuple[Chunk, int]]:
    """Yield the chunks, with a line, that a name of the question stands for."""
    index = places.index
    if is_symbol:
        for hit in index.find_symbol(name, code_only(places.filters), 2, loose=False):
            yield index.chunks([hit.chunk_id])[0], hit.symbol.start_line
        return
    for source, path in index.find_paths(name, code_only(places.filters), 2):
        first = index.first_chunk(source, path, places.filters) if is_tail(name, path) else None
        if first is not None:
            yield first, first.start_line


def documents_behind(places: Places, chunk: Chunk, symbol: str, commits: Sequence[Linked]) -> Iterator[Chunk]:
    """Yield designs and tickets behind a file: those that name it or the symbol, then those of its commits."""
    index, filters = places.index, places.filters
    seen: set[tuple[str, str]] = set()

    def fresh(found: Iterable[Chunk], name: str) -> Iterator[Chunk]:
        for document in found:
            if document.kind in ("design", "ticket") and (document.source, document.ref) not in seen:
                seen.add((document.source, document.ref))
                parts = index.document_chunks(document.source, document.ref, filters)
                yield part_naming(parts or [document], name)

    last = re.split(r"\.|::|->|#", symbol)[-1]
    if SHAPED.search(last):
        written = replace(filters, kinds=filters.kinds & {"design", "ticket"})
        pattern = whole_word(last)
        naming = index.chunks(index.containing(index_tokens(last)[:1], written, MAX_NAMED))
        yield from fresh((c for c in naming if pattern.search(c.text)), last)
    direct = index.linked_to(chunk.ref, without_commits(index, filters), MAX_NAMED)
    yield from fresh(index.chunks(direct), chunk.ref)
    named = (key for commit in commits for key in keys_in(commit.links))
    for key in list(dict.fromkeys(named))[: 2 * MAX_BEHIND]:
        behind = documents(places, index.find_keys(key, filters))
        yield from fresh(behind, key)
        designs = [key for document in behind for key in keys_in(document.links)]
        for other in designs[:MAX_BEHIND]:
            yield from fresh(documents(places, index.find_keys(other, filters)), other)


def documents(places: Places, ids: Sequence[int]) -> list[Chunk]:
    """Return the first chunk of each document among some chunks."""
    chunks = sorted(places.index.chunks(list(ids)), key=lambda c: (c.source, c.ref, c.start_line))
    return list({(c.source, c.ref): c for c in reversed(chunks)}.values())[::-1]


# ---- from an old name


def links_of_gone(places: Places, path: str) -> Iterator[Link]:
    """Yield the commit that renamed or removed a path, with where the file is now."""
    commits = only_commits(places.index, places.filters)
    terms = [(term.token, term.weight) for term in weigh_terms(path)]
    found = places.index.search_text(terms, commits, MAX_NAMED, {"touched": 1.0}) if terms else []
    naming = places.index.chunks([item.chunk_id for item in found])
    naming.sort(key=lambda chunk: (chunk.created_at, chunk.ref), reverse=True)
    old = [(c, old) for c in naming for old in renamed_paths(c) if is_tail(path, old)]
    for commit, was in old[:1]:
        source = commit.source.removesuffix(HISTORY_SUFFIX)
        now = present_path(places.within(commit.product), source, was)
        chunk = places.index.first_chunk(*now, places.filters) if now else None
        if chunk is not None:
            yield Link("renamed", path, commit, chunk, chunk.start_line, chunk.start_line)
            for key in keys_in(commit.links):
                for document in documents(places, places.index.find_keys(key, places.within(chunk.product).filters)):
                    yield Link("behind", path, document, chunk, chunk.start_line, chunk.start_line)
            return
    gone = [c for c in naming if any(is_tail(path, link) for link in touched_paths(c.links))]
    for commit in gone[:1]:
        new = file_instead(places.within(commit.product), commit, path)
        yield Link("replaced" if new else "removed", path, commit, new or commit, (new or commit).start_line, 0)


def file_instead(places: Places, commit: Chunk, path: str) -> Chunk | None:
    """Return the first chunk of a file that is there now and that the message of a removing commit names besides."""
    for named in dict.fromkeys(PATH.findall(message_of(commit))):
        if not is_tail(named, path) and not is_tail(path, named):
            source = commit.source.removesuffix(HISTORY_SUFFIX)
            found = [pair for pair in places.index.find_paths(named, places.filters, 2) if pair[0] == source]
            if found and is_tail(named, found[0][1]):
                return places.index.first_chunk(*found[0], places.filters)
    return None


def links_of_past(places: Places, name: str) -> Iterator[Link]:
    """Yield the commit that took a name away, with the definition that replaced it."""
    index, filters = places.index, places.filters
    resolver = IndexResolver(index, filters)
    past = None if resolver.is_current(name) else resolver.past(name)
    commits = documents(places, index.find_keys(past.commit, filters)) if past else []
    for commit in commits[:1]:
        new = index.find_symbol(past.replaced_by[0], filters, 1, loose=False) if past and past.replaced_by else []
        target = index.chunks([new[0].chunk_id])[0] if new else commit
        start, end = lines_of(target, new[0].symbol.start_line) if new else (commit.start_line, commit.start_line)
        relation: Relation = "removed"
        if new:
            is_same = fuzz.ratio(name, new[0].symbol.name) >= LEAST_LIKE or re.search(r"\brenam", commit.text, re.I)
            relation = "renamed" if is_same else "replaced"
        yield Link(relation, name, commit, target, start, end)


def renamed_paths(commit: Chunk) -> Iterator[str]:
    """Yield the old paths of the files that a commit renamed."""
    return (link.removeprefix(RENAME_LINK) for link in commit.links if link.startswith(RENAME_LINK))
