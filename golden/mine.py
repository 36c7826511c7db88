"""Make cases from what a repository already says: doc comments, ticket-linked commits, titles of designs.

Nobody has to write them, so a gate of one's own exists in minutes. What is mined is the same every time: candidates are
ordered by a hash of what they are made from, and the same number is taken from each source.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from golden.case import BUCKETS, Bucket, Case, Expect, GoldenError, Tag
from ingest.access import Principal
from ingest.index import Index
from ingest.index.tokens import split_identifier
from ingest.model import Chunk, Filters, Symbol, is_marked
from mcp_server.access import make_filters
from mcp_server.service import Service

MINED = "mined.jsonl"
MIN_WORDS = 5  # of a sentence: shorter ones fit too many places
MAX_FILES = 4  # files of a commit: a larger one is about too much
MIN_NAME = 5  # letters of a name
K = TypeVar("K")
KEY = re.compile(r"#\d+|[A-Z][A-Z0-9]*-\d+")
WORD = re.compile(r"[A-Za-z]{2,}")
PREFIX = re.compile(r"^(?:\[?[A-Z][A-Z0-9]*-\d+\]?|#\d+)[:\s-]*|\s*\(?#\d+\)?$")
DULL = re.compile(r"(?i)^(merge|revert|bump|release|version|update|typo|changelog|prepare|wip)\b")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that could become a case, with what it was made from."""

    bucket: Bucket
    source: str
    origin: str  # what it was made from: its hash decides whether it is taken
    query: str
    expect: Expect
    tags: tuple[Tag, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """What an index holds, grouped for mining."""

    definitions: Mapping[tuple[str, str], tuple[tuple[Symbol, Chunk], ...]]  # source, path
    tickets: Mapping[str, Chunk]  # key -> first chunk
    commits: tuple[Chunk, ...]
    designs: tuple[Chunk, ...]  # first chunks
    files: frozenset[tuple[str, str]]  # source, path of code


def mine_cases(
    service: Service, principal: Principal, corpus: str, per_bucket: int, sources: Sequence[str] = ()
) -> list[Case]:
    """Return up to `per_bucket` cases per bucket from the current index, the same ones every time. Raises NotReady."""
    with service.reading(principal) as index:
        filters = make_filters(principal, service.infos(index), sources)
        material = read_material(index, filters)
        candidates = [*from_definitions(material), *from_tickets(material), *from_designs(material)]
        invented = take(list(from_absent_names(material, index, filters)), per_bucket // 4)
    cases = [to_case(item, corpus) for item in invented]
    for bucket in BUCKETS:
        room = per_bucket - (len(invented) if bucket == "exact-symbol" else 0)
        taken = take([item for item in candidates if item.bucket == bucket], room)
        cases += [to_case(item, corpus) for item in taken]
    return sorted(cases, key=lambda case: BUCKETS.index(case.bucket))


def take(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return candidates in turn from each source, in the order of their hashes, no question twice."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for item in sorted(candidates, key=lambda c: (digest(c.origin), c.query)):
        groups[item.source].append(item)
    taken: list[Candidate] = []
    seen: set[str] = set()
    queues = [groups[name] for name in sorted(groups)]
    while any(queues) and len(taken) < count:
        for queue in queues:
            while queue:
                item = queue.pop(0)
                if item.query.lower() not in seen:
                    seen.add(item.query.lower())
                    taken.append(item)
                    break
    return taken[:count]


def digest(text: str) -> str:
    """Return a short hash."""
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def to_case(item: Candidate, corpus: str) -> Case:
    """Return a candidate as a case; its id says what it was made from."""
    words = "-".join(WORD.findall(item.query.lower())[:4])[:36].strip("-") or "case"
    name = f"mined-{words}-{digest(item.bucket + item.origin + item.query)}"
    return Case(
        id=name,
        bucket=item.bucket,
        tags=item.tags,
        corpus=corpus,
        query=item.query,
        origin="mined",
        expect=item.expect,
        note=item.note,
    )


# -- what there is -----------------------------------------------------------------------------------------------------


def read_material(index: Index, filters: Filters) -> Material:
    """Read every visible chunk once."""
    definitions: dict[tuple[str, str], list[tuple[Symbol, Chunk]]] = defaultdict(list)
    tickets: dict[str, Chunk] = {}
    designs: dict[tuple[str, str], Chunk] = {}
    commits: dict[str, Chunk] = {}
    files: set[tuple[str, str]] = set()
    for chunk in index.every_chunk(filters):
        if chunk.kind == "code" and chunk.path:
            files.add((chunk.source, chunk.path))
            if chunk.role == "source":
                definitions[chunk.source, chunk.path] += [(symbol, chunk) for symbol in chunk.symbols]
        elif chunk.kind == "ticket" and chunk.key:
            keep_first(tickets, chunk.key, chunk)
        elif chunk.kind == "design" and chunk.path:
            keep_first(designs, (chunk.source, chunk.path), chunk)
        elif chunk.kind == "commit" and chunk.key:
            keep_first(commits, chunk.key, chunk)
    return Material(
        {place: tuple(found) for place, found in sorted(definitions.items())},
        tickets,
        tuple(commits[key] for key in sorted(commits)),
        tuple(designs[place] for place in sorted(designs)),
        frozenset(files),
    )


def keep_first(table: dict[K, Chunk], name: K, chunk: Chunk) -> None:
    """Keep the chunk of a document that starts first."""
    known = table.get(name)
    if known is None or chunk.start_line < known.start_line:
        table[name] = chunk


# -- definitions -------------------------------------------------------------------------------------------------------


def from_definitions(material: Material) -> Iterator[Candidate]:
    """Yield names and what their doc comments say: exact-symbol and conceptual."""
    every = [(place, symbol) for place, found in material.definitions.items() for symbol, _ in found]
    names = Counter(symbol.name for _, symbol in every)
    docs = Counter(symbol.doc for _, symbol in every)
    for (source, path), symbol in every:
        if symbol.name.startswith("_") or len(symbol.name) < MIN_NAME:
            continue
        expect = Expect(cites=(f"{source}:{path}",), symbols=(symbol.qualname,))
        origin = f"{source}:{path}#{symbol.qualname}"
        if names[symbol.name] == 1:
            yield name_question(symbol, source, origin, expect)
        if docs[symbol.doc] == 1 and is_telling(symbol):
            query, tags = ask_sentence(symbol.doc, origin)
            if len(WORD.findall(query)) >= MIN_WORDS:
                target = Expect(cites=expect.cites)
                yield Candidate("conceptual", source, origin, query, target, tags, "From a doc comment.")


VERBS = frozenset(
    """
    add append apply ask build call change check choose clear close collect compare compute convert copy count create
    cut decide delete describe divide drop encode ensure escape examine execute expand extract fetch fill filter find
    finish format get give group handle install invoke iterate join keep list load look make mark merge move note open
    parse pick plan point post print produce pull push put raise read refuse release remove rename render replace
    reserve resolve return run save send set show skip sort specify split start stop store strip swap tell transform
    truncate update use validate wait walk wrap write yield
    """.split()
)
CONSTANT_KINDS = frozenset(("constant", "variable", "field", "property", "enum_member"))
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
MAX_INVENTED = 200  # names that are tried
NAME_FORMS: tuple[tuple[Callable[[Symbol], str], tuple[Tag, ...]], ...] = (
    (lambda symbol: symbol.qualname, ("short",)),
    (lambda symbol: f"where is {symbol.qualname} defined", ()),
    (lambda symbol: symbol.name, ("short",)),
    (lambda symbol: f"what does {symbol.name} do", ()),
    (lambda symbol: " ".join(split_identifier(symbol.name)).lower() or symbol.name, ("short", "paraphrase")),
)


def from_absent_names(material: Material, index: Index, filters: Filters) -> Iterator[Candidate]:
    """Yield names that nothing bears, made of halves of names that exist: what must not be answered."""
    names = sorted({s.name for found in material.definitions.values() for s, _ in found if is_long(s.name)}, key=digest)
    for one, other in list(zip(names, names[1:], strict=False))[:MAX_INVENTED]:
        name = cross(one, other)
        if name in (one, other) or index.find_symbol(name, filters, 1) or index.holds_word(name, filters):
            continue
        expect = Expect(abstain=True, ungrounded_contains=(name,))
        note = "Halves of two names that exist; nothing bears this one."
        yield Candidate(
            "exact-symbol", "", f"absent {name}", f"where is {name} defined", expect, ("unanswerable",), note
        )


def is_long(name: str) -> bool:
    """Tell whether a name has two halves to exchange."""
    return len(PARTS.findall(name)) >= 2 and len(name) >= 2 * MIN_NAME


def cross(one: str, other: str) -> str:
    """Return the first half of one name with the second half of the other, in the manner of the first."""
    head, tail = PARTS.findall(one), PARTS.findall(other)
    parts: list[str] = [*head[: (len(head) + 1) // 2], *tail[len(tail) // 2 :]]
    if "_" in one.strip("_"):
        return "_".join(part.upper() if one.isupper() else part.lower() for part in parts)
    return parts[0] + "".join(part.capitalize() for part in parts[1:])


def name_question(symbol: Symbol, source: str, origin: str, expect: Expect) -> Candidate:
    """Return a question for a name: as it is, in a sentence, or half remembered, by the hash of its place."""
    forms = NAME_FORMS[:3] if symbol.kind in CONSTANT_KINDS else NAME_FORMS
    ask, tags = forms[int(digest(origin), 16) % len(forms)]
    if "paraphrase" in tags and len(split_identifier(symbol.name)) < 2:
        ask, tags = NAME_FORMS[0]
    if "paraphrase" in tags:
        # Its words may name other things as well: the file is wanted, that exact name is not.
        expect = Expect(cites=expect.cites)
    return Candidate("exact-symbol", source, origin, ask(symbol), expect, tags, "From a name that is defined once.")


def is_telling(symbol: Symbol) -> bool:
    """Tell whether a doc comment says something that the name does not."""
    words = {word.lower() for word in WORD.findall(symbol.doc)}
    own = {part.lower() for part in split_identifier(symbol.name)}
    return len(words - own) >= MIN_WORDS and len(symbol.doc) <= 200


def ask_sentence(doc: str, origin: str) -> tuple[str, tuple[Tag, ...]]:
    """Return the first clause of a doc sentence as people ask for it: as it is, or behind a question word."""
    plain = re.split(r"[;:](?:\s|$)", " ".join(re.sub(r"[`*]|:\w+:", "", doc).split()))[0].rstrip(".")
    asked = base_form(plain)
    if int(digest(origin), 16) % 2 or asked.partition(" ")[0] not in VERBS:
        return plain, ()
    return f"where do we {asked}", ("paraphrase",)


def base_form(sentence: str) -> str:
    """Return a sentence with its first verb in the base form: 'Returns the x' -> 'return the x'."""
    first, _, rest = sentence.partition(" ")
    verb = first.lower()
    if verb.endswith("ies"):
        verb = f"{verb[:-3]}y"
    elif verb.endswith("s") and not verb.endswith("ss"):
        verb = verb[:-2] if verb.endswith(("ches", "shes", "sses", "xes")) else verb[:-1]
    return f"{verb} {rest}".strip()


# -- tickets and commits -----------------------------------------------------------------------------------------------


def from_tickets(material: Material) -> Iterator[Candidate]:
    """Yield what tickets and commits say, with the files that their commits touched: cross-ticket."""
    touched: dict[str, set[str]] = defaultdict(set)
    for commit in material.commits:
        files = tuple(files_of(commit, material))
        keys = [link for link in commit.links if KEY.fullmatch(link)]
        for key in keys:
            touched[key].update(files)
        subject = PREFIX.sub("", commit.text.partition("\n")[0]).strip()
        tells = len(WORD.findall(subject)) >= MIN_WORDS and not DULL.match(subject)
        if keys and tells and 0 < len(files) <= MAX_FILES:
            known = tuple(key for key in keys if key in material.tickets)
            expect = Expect(cites=files, tickets=known[:1])
            origin = f"commit {commit.key}"
            yield Candidate("cross-ticket", commit.source, origin, subject, expect, note="From a commit.")
    for key, ticket in sorted(material.tickets.items()):
        files = tuple(sorted(touched[key]))
        if not 0 < len(files) <= MAX_FILES:
            continue
        make = partial(Candidate, "cross-ticket", ticket.source)
        question = f"Which code does {key} touch?"
        yield make(f"code of {key}", question, Expect(cites=files), note="From the commits of a ticket.")
        if len(WORD.findall(ticket.title)) >= MIN_WORDS:
            title = ticket.title.removeprefix(key).strip(" :")
            expect = Expect(cites=files, tickets=(key,))
            yield make(f"title of {key}", title, expect, note="From the title of a ticket and its commits.")


def files_of(commit: Chunk, material: Material) -> Iterator[str]:
    """Yield the code files of a commit that are still there, as `source:path`."""
    source = commit.source.removesuffix(".history")
    for link in commit.links:
        if not is_marked(link) and (source, link) in material.files:
            yield f"{source}:{link}"


# -- designs -----------------------------------------------------------------------------------------------------------


def from_designs(material: Material) -> Iterator[Candidate]:
    """Yield titles of designs, and questions from designs to the files that they name and back: cross-design."""
    naming: dict[str, list[str]] = defaultdict(list)
    for design in material.designs:
        place = f"{design.source}:{design.path}"
        make = partial(Candidate, "cross-design", design.source)
        key = design.key or ""
        title = re.sub(rf"^\W*{re.escape(key)}\W+", "", design.title).strip() if key else design.title
        if len(WORD.findall(title)) >= 4:
            yield make(f"title {place}", title, Expect(cites=(place,)), note="From a title.")
        files = tuple(sorted(named_files(design, material.files)))
        for file in files:
            naming[file].append(place)
        if key and 0 < len(files) <= MAX_FILES:
            query = f"which code implements {key}"
            yield make(f"code {place}", query, Expect(cites=files), note="From paths in a design.")
    for file, places in sorted(naming.items()):
        source = places[0].partition(":")[0]
        query = f"which design is behind {file.partition(':')[2]}"
        yield Candidate(
            "cross-design",
            source,
            f"design of {file}",
            query,
            Expect(cites=tuple(places)),
            note="From paths in a design.",
        )


def named_files(design: Chunk, files: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the code files that a design names by their whole path."""
    links = {link for link in design.links if not is_marked(link)}
    for source, path in files:
        if path in links:
            yield f"{source}:{path}"


def write_mined(cases: Sequence[Case], folder: Path) -> Path:
    """Write mined cases as `mined.jsonl` of a folder, in the place of those mined before. Raises GoldenError."""
    if not cases:
        raise GoldenError("Nothing to mine: the index has no doc comments, no ticket-linked commits and no designs.")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / MINED
    file.write_text("".join(f"{case.to_line()}\n" for case in cases), "utf-8")
    return file
