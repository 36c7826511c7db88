"""Plain look-ups, answered from facts of the code, not from hits: a named default, the tests that name something, who
calls it.

"The default of the many argument of Schema" has one answer, and it stands where `Schema` is defined, whatever else the
words of the question are found in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.chunking.facts import Definition, Value, read_facts
from ingest.index.tokens import split_identifier
from ingest.languages.kinds import CALLABLE_KINDS, TYPE_KINDS
from ingest.model import Chunk, Symbol
from mcp_server.answering.aspects import Aspect, root
from mcp_server.answering.callers import ROLES, Listed, state_users, users_asked
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence, block_of
from mcp_server.answering.facts import enclosing, is_table_entry
from mcp_server.answering.generate import role_share, state_assignment
from mcp_server.answering.passages import Passage, Task, clip, code, place_of, quoted, state_definition
from mcp_server.answering.pieces import last_part
from mcp_server.answering.resolver import MAX_NAMING, Resolver
from mcp_server.results import Ungrounded
from mcp_server.retrieval.query import SHAPED, STOP_WORDS

MAX_VALUES = 3
MAX_TESTS = 6
MAX_HEIRS = 8
OWNER_LINES = 800  # of the document of an owner that are read around it
TEST_LINES = 30  # of one test that are cited
CONSTRUCTORS = frozenset({"__init__", "__new__", "constructor", "initialize", "new", "init", "default", "__construct"})
MAKER = re.compile(r"^(?:new|make|create|default|init|setup)", re.IGNORECASE)
LITERAL_FIELDS = frozenset({"go", "rust", "c", "cpp"})  # where `name: value` in braces fills a field, it calls nothing
NAME = r"`?(?P<{}>[A-Za-z_]\w*(?:(?:\.|::)[A-Za-z_]\w*)*)`?(?:\(\))?"
KIND = (
    r"(?:arguments?|args?|parameters?|params?|options?|fields?|settings?|attributes?|keywords?|kwargs?|propert(?:y|ies)"
    r"|flags?|variables?|constants?|members?)"
)
OWNER = (
    r"(?:\s+(?:of|in|on|for|to|from)\s+(?:the\s+|an?\s+)?(?:(?:class|function|method|constructor|struct|type)\s+)?"
    + NAME.format("owner")
    + ")?"
)
VALUE = r"(?:\s+(?:values?|settings?))?"
SUBJECTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{NAME.format('owner')}['’]s\s+(?:default\s+)?{NAME.format('name')}",
        rf"\b{NAME.format('name')}\s+{KIND}\b{OWNER}",
        rf"\b{KIND}\s+{NAME.format('name')}{OWNER}",
        rf"\bdefaults?{VALUE}\s+(?:of|for)\s+(?:the\s+)?{NAME.format('name')}{OWNER}",
        rf"\bdefault\s+{NAME.format('name')}{OWNER}",
        rf"\b(?:what|which)\s+{NAME.format('name')}\s+(?:is|are|do|does|will)\b(?=.*\bdefault)(?P<owner>(?!))?",
        rf"\b(?:does|do|is)\s+(?:the\s+)?{NAME.format('name')}(?:\s+{KIND})?{OWNER}\s+(?:default|set)\b",
    )
)
BESIDE = re.compile(
    rf"`?(?:\(\))?\s*(?:,|,?\s*\band|,?\s*\bor)\s+(?:(?:of|for)\s+)?(?:the\s+)?(?:defaults?\s+(?:of|for)\s+)?{NAME.format('name')}"
)
NO_SUBJECT = STOP_WORDS | frozenset(
    "default defaults value values argument parameter option field set number amount count".split()
)
BASE_ASKED = re.compile(
    r"\b(?:what|which|who|list|show|find|are there|is there|any)\b.{0,40}"
    r"\b(?:inherits?\s+from|extends?|implements?|subclass(?:es)?(?:\s+of)?|derived?s?\s+from|implementations?\s+of)"
    rf"\s+(?:the\s+)?(?:(?:class|interface|trait|type)\s+)?{NAME.format('name')}",
    re.IGNORECASE,
)
TESTS_ASKED = re.compile(
    r"\b(?:which|what|where|list|show|find|are there|is there|any)\b.{0,30}\b(?:tests?|specs?|test cases?)\b"
    r"(?! (?:client|runner|server|config|framework|command))"
    r"|\b(?:tests|test cases|specs) (?:for|of|that|which|covering)\b|\b(?:is|are|gets?) \S+ tested\b",
    re.IGNORECASE,
)
# `it("...", ...)`, `context '...' do`: tests that are no definitions
TITLED = re.compile(
    r"\s*(?:it|test|describe|context|specify|scenario|should)\b[\w.]*\s*\(?\s*(?P<quote>[\"'`])(?P<title>.+?)(?P=quote)"
)


@dataclass(frozen=True, slots=True)
class Given:
    """What a name is given at one place; `rank`: 0 is where a caller would look."""

    rank: int
    chunk: Chunk
    value: Value


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What facts of the code say, by the number of the aspect that it settles."""

    told: Mapping[int, Sequence[ClaimDraft]]
    evidence: tuple[Evidence, ...]  # with what the statements rest on
    missing: tuple[Ungrounded, ...] = ()  # what is asked for and is not there
    listed: Mapping[int, Listed] = field(default_factory=dict)


def look_up(aspects: Sequence[Aspect], evidence: Sequence[Evidence], resolver: Resolver) -> LookedUp:
    """Return the statements that settle an aspect, and what is certainly not there."""
    blocks = {block.chunk.id: block for block in evidence}
    told: dict[int, Sequence[ClaimDraft]] = {}
    missing: list[Ungrounded] = []
    listed: dict[int, Listed] = {}
    for number, aspect in enumerate(aspects):
        task = Task(number, aspect, tuple(evidence), {})
        if TESTS_ASKED.search(aspect.text):
            name, tests, is_cut = find_tests(task, resolver)
            drafts = [state_test(task, test, block_of(test.chunk, blocks)) for test in tests[:MAX_TESTS]]
            listed[number] = Listed(len(tests), name, is_cut=is_cut)
        elif base := BASE_ASKED.search(aspect.text):
            heirs, is_cut = find_heirs(last_part(base["name"].replace("::", ".")), resolver)
            drafts = [state_heir(task, chunk, heir, blocks) for chunk, heir in heirs[:MAX_HEIRS]]
            said = ("class extends", "classes extend")
            listed[number] = Listed(len(heirs), base["name"], *said, is_cut=is_cut)
        elif (asked := users_asked(aspect))[0]:
            drafts, listed[number] = state_users(task, *asked, blocks, resolver)
        elif aspect.intent == "default":
            drafts, gone = state_defaults(task, blocks, resolver)
            missing += gone
            if not drafts and not gone:
                drafts, gone = state_members(task, blocks, resolver)
                missing += gone
        else:
            continue
        if drafts:
            told[number] = drafts
    return LookedUp(told, tuple(blocks.values()), tuple(missing), listed)


# ---- heirs


def find_heirs(name: str, resolver: Resolver) -> tuple[list[tuple[Chunk, Definition]], bool]:
    """Return the types that have a name among their bases, source first, and whether there may be more."""
    naming = [resolver.naming(name, role) for role in ROLES]
    found = {
        (chunk.ref, heir.start_line): (chunk, heir)
        for chunks in naming
        for chunk in chunks
        for heir in read_facts(chunk).definitions
        if name in heir.bases and any((s.name, s.start_line) == (heir.name, heir.start_line) for s in chunk.symbols)
    }
    return list(found.values()), any(len(chunks) == MAX_NAMING for chunks in naming)


def state_heir(task: Task, chunk: Chunk, heir: Definition, blocks: dict[int, Evidence]) -> ClaimDraft:
    """State that a type has a base, with the line where it begins."""
    block = block_of(chunk, blocks)
    line = " ".join(block.slice(heir.start_line, heir.start_line).split())
    text = f"`{heir.qualname}` ({place_of(block, heir.start_line)}): {code(clip(line))}"
    return task.draft(text, [block.span(heir.start_line, heir.start_line)], form="item")


# ---- defaults


def state_defaults(
    task: Task, blocks: dict[int, Evidence], resolver: Resolver
) -> tuple[list[ClaimDraft], list[Ungrounded]]:
    """State what the names that are asked for are given, at the places where a caller would look.

    Also what of several names is given nothing: the others' values are no answer about it.
    """
    for name, owner in read_subjects(task.aspect.text):
        found = {name: given_values(name, owner, blocks, resolver)}
        if not found[name]:
            continue
        found |= {more: given_values(more, owner, blocks, resolver) for more in names_beside(task.aspect.text, name)}
        told = [state_value(task, given, block_of(given.chunk, blocks)) for own in found.values() for given in own]
        return told, [nothing_given(more) for more, own in found.items() if not own]
    return [], []


def given_values(name: str, owner: str, blocks: Mapping[int, Evidence], resolver: Resolver) -> list[Given]:
    """Return what a name is given where a caller would look first, at most a few places."""
    found = values_of_owner(name, owner, resolver) if owner else []
    if not found and SHAPED.search(name):
        found = values_anywhere(name, blocks.values(), resolver) or entries_named(name, resolver)
    if not found and not owner:
        found = settings_named(name, blocks.values(), resolver)
    first = min((given.rank for given in found), default=0)
    return unique(given for given in found if given.rank == first)[:MAX_VALUES]


def names_beside(text: str, name: str) -> list[str]:
    """Return the names that stand beside one in a list: "the default of A and of B"."""
    found: list[str] = []
    at = text.find(name) + len(name)
    while match := BESIDE.match(text, at):
        if not SHAPED.search(match["name"]):
            break
        found.append(match["name"])
        at = match.end()
    return found


def nothing_given(name: str) -> Ungrounded:
    """Return the part of a question about the default of a name that is given none."""
    return Ungrounded("question", f"default of {name}", "not_covered", f"No place gives `{name}` a value.")


def read_subjects(text: str) -> list[tuple[str, str]]:
    """Return names whose default a question may ask for, each with what it belongs to or ""."""
    found: dict[tuple[str, str], None] = {}
    for pattern in SUBJECTS:
        for match in pattern.finditer(text):
            head, _, name = match["name"].replace("::", ".").rpartition(".")
            owner = (match["owner"] or head).replace("::", ".")
            if name.lower() not in NO_SUBJECT and owner.lower() not in NO_SUBJECT:
                found.setdefault((name, owner))
    # who names an owner says more
    return sorted(found, key=lambda pair: not pair[1])


def values_of_owner(name: str, owner: str, resolver: Resolver) -> list[Given]:
    """Return what a name is given by a definition: its parameters, its fields, what its makers fill in."""
    found: list[Given] = []
    for symbol, chunk in owners_of(owner, resolver):
        document = resolver.document(chunk.source, chunk.ref, symbol.start_line, OWNER_LINES)
        found += [
            Given(rank, part, value)
            for part in document
            for value in values_named(part, name)
            if (rank := rank_within(symbol, part, value)) is not None
        ]
        if found:
            break
    return found


def rank_within(owner: Symbol, chunk: Chunk, value: Value) -> int | None:
    """Return how directly a value is the default of something of an owner, None where it is not."""
    inside = enclosing(chunk, value)
    if not owner.start_line <= value.line <= owner.end_line:
        is_filled = value.how == "keyword" and chunk.language in LITERAL_FIELDS and owner.kind in TYPE_KINDS
        return 1 if is_filled and MAKER.match(last_part(inside)) else None
    if value.how == "keyword":
        return None
    if owner.kind in CALLABLE_KINDS:
        return 0 if value.how == "parameter" and inside == owner.qualname else None
    if last_part(inside) in CONSTRUCTORS:
        return 0 if value.how == "parameter" else 2
    if inside in (owner.qualname, f"{owner.qualname}.{value.name}"):
        return 1
    return 3 if value.how == "parameter" else None


def values_anywhere(name: str, blocks: Iterable[Evidence], resolver: Resolver) -> list[Given]:
    """Return what a name is given in the evidence and where it is defined: parameters, constants, filled fields."""
    chunks = {block.chunk.id: block.chunk for block in blocks}
    for chunk in resolver.definitions(name):
        if any(symbol.name == name for symbol in chunk.symbols):
            around_it = resolver.document(chunk.source, chunk.ref, chunk.start_line, OWNER_LINES)
            chunks.update((part.id, part) for part in around_it)
    found = []
    for chunk in chunks.values():
        for value in values_named(chunk, name):
            if (rank := rank_anywhere(chunk, value)) is not None:
                found.append(Given(rank + 3 * (chunk.role not in ("source", "config", "compat")), chunk, value))
    return found


def rank_anywhere(chunk: Chunk, value: Value) -> int | None:
    """Return how probably a value is a default, None where it is what one piece of code happens to give."""
    inside = last_part(enclosing(chunk, value))
    makes = inside in CONSTRUCTORS or bool(MAKER.match(inside))
    if value.how == "parameter":
        return 0
    if value.how == "keyword":
        return 0 if makes and chunk.language in LITERAL_FIELDS else None
    kind = next((s.kind for s in chunk.symbols if s.qualname == enclosing(chunk, value)), "")
    if not inside or kind in TYPE_KINDS or (inside == value.name and kind not in CALLABLE_KINDS):
        return 0
    return 1 if makes else None


def entries_named(name: str, resolver: Resolver) -> list[Given]:
    """Return what tables of defaults hold under a name: `default_config = {"NAME": value}`."""
    return [
        Given(int("default" not in last_part(enclosing(chunk, value)).lower()), chunk, value)
        for chunk in resolver.naming(name, "source")
        for value in values_named(chunk, name)
        if is_table_entry(chunk, value)
    ]


def settings_named(name: str, blocks: Iterable[Evidence], resolver: Resolver) -> list[Given]:
    """Return what calls give a name that they are passed: `set :port, 80`, `add_argument("--port", default=80)`."""
    chunks = {block.chunk.id: block.chunk for block in blocks}
    chunks.update((chunk.id, chunk) for chunk in resolver.naming(name, "source"))
    written = re.compile(rf"[:\"'`-]{name.replace('_', '[-_]')}[\"'`]?\s*,")
    return [
        Given(role_of(chunk), chunk, value)
        for chunk in chunks.values()
        if written.search(chunk.text)
        for value in read_facts(chunk).settings
        if value.name == name
    ]


def role_of(chunk: Chunk) -> int:
    """Return 0 for code that decides, 1 for tests, examples and the like."""
    return int(chunk.role not in ("source", "config", "compat"))


def state_members(
    task: Task, blocks: dict[int, Evidence], resolver: Resolver
) -> tuple[list[ClaimDraft], list[Ungrounded]]:
    """State what of an owner is called like the name whose default is asked for, and that it has no such value."""
    for name, owner in read_subjects(task.aspect.text):
        found = next(owners_of(owner, resolver), None) if owner else None
        if found is None:
            continue
        symbol, chunk = found
        wanted = frozenset(map(root, split_identifier(name)))
        document = resolver.document(chunk.source, chunk.ref, symbol.start_line, OWNER_LINES)
        like = [
            (part, own)
            for part in document
            for own in part.symbols
            if own.qualname.startswith(f"{symbol.qualname}.")
            and wanted <= frozenset(map(root, split_identifier(own.name)))
        ]
        drafts = [state_definition(task, block_of(part, blocks), own) for part, own in like[:MAX_VALUES]]
        reason = f"Nothing called `{name}` is given a value in `{symbol.qualname}`."
        return drafts, [Ungrounded("question", f"default of {name}", "not_covered", reason)]
    return [], []


def owners_of(owner: str, resolver: Resolver) -> Iterator[tuple[Symbol, Chunk]]:
    """Yield the functions and types of a name, source first."""
    last = owner.rpartition(".")[2]
    for chunk in sorted(resolver.definitions(owner), key=lambda chunk: chunk.role != "source"):
        symbol = next((s for s in chunk.symbols if s.name == last and s.kind in CALLABLE_KINDS | TYPE_KINDS), None)
        if symbol is not None:
            yield symbol, chunk


def values_named(chunk: Chunk, name: str) -> Iterator[Value]:
    """Yield what a chunk gives a name."""
    if name in chunk.text:
        yield from (value for value in read_facts(chunk).values if value.name == name)


def unique(found: Iterable[Given]) -> list[Given]:
    """Return one of each place, in order of source first, then as the documents have them."""
    ordered = sorted(found, key=lambda g: (-role_share(Evidence("", g.chunk, 0.0)), g.chunk.ref, g.value.line))
    return list({(g.chunk.source, g.chunk.ref, g.value.line): g for g in reversed(ordered)}.values())[::-1]


def state_value(task: Task, given: Given, block: Evidence) -> ClaimDraft:
    """State which value a name is given and where."""
    line = block.slice(given.value.line, given.value.line)
    passage = Passage(" ".join(line.split()), block.span(given.value.line, given.value.line), 0.0, False)
    return state_assignment(task, passage, block, given.value.name, " ".join(given.value.source.split()))


# ---- tests


@dataclass(frozen=True, slots=True)
class Test:
    """One test that names something: its own name, its lines, and the first line that names it."""

    chunk: Chunk
    name: str
    start_line: int
    end_line: int
    line: int


def find_tests(task: Task, resolver: Resolver) -> tuple[str, list[Test], bool]:
    """Return a name that is asked about and the tests that name it, those first that are called after it.

    The last value tells that there may be more.
    """
    for written in (*task.aspect.names, *task.aspect.carried_names):
        name = written.strip("`").removesuffix("()")
        bare = last_part(name)
        if "/" in name:
            continue
        chunks = resolver.naming(bare, "test")
        whole = [test for chunk in chunks for test in tests_in(chunk, name)] if bare != name else []
        tests = whole or [test for chunk in chunks for test in tests_in(chunk, bare)]
        if tests:
            tests.sort(key=lambda test: (-likeness(test.name, bare), test.chunk.ref, test.line))
            return name if whole else bare, tests, len(chunks) >= MAX_NAMING
    return "", [], False


def tests_in(chunk: Chunk, name: str) -> list[Test]:
    """Return the tests of a chunk that name something: functions, and the calls that give a test its title."""
    named = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    lines = chunk.text.split("\n")
    found: dict[str, Test] = {}
    for number, line in enumerate(lines, chunk.start_line):
        if not named.search(line):
            continue
        inside = [s for s in chunk.symbols if s.kind in CALLABLE_KINDS and s.start_line <= number <= s.end_line]
        if inside:
            symbol = max(inside, key=lambda s: (s.start_line, -s.end_line))
            last = min(symbol.end_line, chunk.end_line, symbol.start_line + TEST_LINES)
            test = Test(chunk, symbol.qualname, symbol.start_line, max(last, number), number)
        elif title := title_above(lines, number - chunk.start_line):
            test = Test(chunk, title[1], chunk.start_line + title[0], number, number)
        else:
            continue
        found.setdefault(test.name, test)
    return list(found.values())


def title_above(lines: Sequence[str], at: int) -> tuple[int, str] | None:
    """Return the line of the nearest call at or above a line that gives a test its title, and the title."""
    for number in range(at, max(-1, at - TEST_LINES), -1):
        if match := TITLED.match(lines[number]):
            return number, match["title"]
    return None


def likeness(test: str, name: str) -> float:
    """Return the share of a name's parts that the name of a test has."""
    parts = split_identifier(name)
    own = {part for word in re.findall(r"\w+", test) for part in split_identifier(word)}
    return sum(part in own for part in parts) / len(parts) if parts else 0.0


def state_test(task: Task, test: Test, block: Evidence) -> ClaimDraft:
    """State that a test names something, with the line."""
    said = " ".join(block.slice(test.line, test.line).split())
    called = code(test.name) if re.fullmatch(r"[\w.:$#]+", test.name) else quoted(clip(test.name))
    text = f"{called} ({place_of(block, test.line)}): {code(clip(said))}"
    return task.draft(text, [block.span(test.start_line, test.end_line)], form="item")
