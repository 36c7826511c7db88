"""The extractive generator: statements taken from the evidence, per aspect of the question. Deterministic, no model.

Each intent has its form: "where" puts the definition first, "how" gives steps in calling order, "why" prefers designs,
tickets and comments, "ticket" lists what a ticket touches, "default" looks for the assignment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from ingest.model import Symbol
from mcp_server.answering.aspects import Aspect, Intent, root, text_roots
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.conflicts import state_conflicts
from mcp_server.answering.evidence import Evidence, Span, collapse
from mcp_server.answering.linked import links_of, state_lead, state_links
from mcp_server.answering.passages import (
    COMMENT_LINE,
    MIN_OVERLAP,
    PLAIN_VALUES,
    Passage,
    Task,
    around,
    best_symbol,
    clip,
    close_brackets,
    code,
    defines,
    held_in,
    introduce,
    is_document,
    is_inside,
    is_prose,
    paragraphs,
    passages,
    place_of,
    quote_doc,
    quote_signature,
    quoted,
    signature_lines,
    split_prose,
    state_definition,
    state_passage,
    state_ticket,
    unique_documents,
    units,
)
from mcp_server.retrieval.context import GONE, Link
from mcp_server.retrieval.query import TICKET

MAX_CLAIMS = 12
MAX_CHARS = 1500
MAX_STEPS = 5
MAX_DEFINITIONS = 3
NEAR_BEST = 0.6  # of the best share of words: a definition from there on matches by its words too
MIN_BLOCK = 0.35  # of the best block's score; weaker blocks are about something else
MIN_STEP = 0.5  # of the most relevant step
ROLE_SHARE = {"source": 1.0, "config": 0.8, "docs": 0.8, "compat": 0.6, "test": 0.5, "example": 0.5}
ASSIGNMENT = re.compile(
    r"(?<![\w.])(?P<name>(?:self\.|this\.)?[A-Za-z_][\w-]*)\??\s*(?::\s*[^,=()\n]*(?:\[[^\]\n]*\])?[^,=()\n]*)?\s*"
    r"(?::=|=(?![=>]))\s*(?P<value>(?:\"[^\"\n]*\"|'[^'\n]*'|[^,()\n\"']+)(?:\([^()\n]*\))?)"
)
SETTING = re.compile(r"^\s*\"?(?P<name>[A-Za-z_][\w.-]*)\"?\s*:\s+(?P<value>[^{\[\n]+)$")  # YAML, JSON
DEFAULT_CUE = re.compile(r"\bdefaults?\b", re.I)
REASON_CUE = re.compile(
    r"\b(?:because|since|so that|to avoid|in order to|otherwise|reason|workaround|decid|prevent|instead of)", re.I
)
TESTS = re.compile(r"\btest(?:s|ed|ing)?\b", re.I)
DECISION_CUE = re.compile(
    r"\b(?:decision|we (?:will|chose|choose|use|decided)|decided|chosen|accepted|rejected)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Generated:
    """The statements, and the aspects that have none of their own because another aspect's statements cover them."""

    claims: tuple[ClaimDraft, ...] = ()
    covered: frozenset[int] = frozenset()
    mode: Literal["extractive", "model"] = "extractive"
    not_covered: tuple[str, ...] = ()  # parts of the question that the generator itself found nothing about
    degraded: tuple[str, ...] = ()
    note: str = ""  # what the answer says first: why it is not what it should be


def generate_claims(
    aspects: Sequence[Aspect],
    evidence: Sequence[Evidence],
    rarity: Mapping[str, float],
    links: Sequence[Link] = (),
    told: Mapping[int, Sequence[ClaimDraft]] = MappingProxyType({}),
    forms: Mapping[int, Sequence[ClaimDraft]] = MappingProxyType({}),
) -> Generated:
    """Answer each aspect from its best evidence: at most 12 claims, 1,500 characters. `rarity`: word root -> idf.

    An aspect that is `told` already needs no other statements; `forms` are said after the first one.
    """
    if not evidence:
        return Generated()
    share = max(2, MAX_CLAIMS // len(aspects))
    drafts: list[ClaimDraft] = []
    covered: set[int] = set()
    for number, aspect in enumerate(aspects):
        written = list(told.get(number, ()))
        if not written:
            written = write_aspect(plan_aspect(number, aspect, evidence, rarity, links))
            written = [*written[:1], *forms.get(number, ()), *written[1:]]
        fresh = drop_repeats(written, drafts)
        if written and not fresh:
            covered.add(number)
        drafts.extend(fit_length(fresh[:share], MAX_CHARS // len(aspects)))
    if not drafts:
        nearest = state_nearest(plan_aspect(0, aspects[0], evidence, rarity))
        return Generated(tuple(nearest), note=NEAREST_NOTE if nearest else "")
    return Generated(tuple(drafts), frozenset(covered))


def write_aspect(task: Task) -> list[ClaimDraft]:
    """State what links say of an aspect's names, what the best hit is, and what the form of its intent asks for."""
    named = [link for link in links_of(task) if link.about]
    if task.aspect.intent == "ticket":
        drafts = write_ticket(task, named)
    else:
        lead = [] if named else [*state_lead(task), *state_links(task, links_of(task))]
        if any(link.relation in HISTORICAL for link in named) and task.aspect.intent not in ("why", "how"):
            return state_links(task, named)  # what the file holds was not asked for
        if lead and task.aspect.intent == "what":  # what is reported says what it is about better than any definition
            written = [*state_documents(task), *state_named(task), *state_best_passages(task, 2)]
        else:
            written = WRITERS[task.aspect.intent](task)
        places_first = task.aspect.intent in ("where", "default") and written
        drafts = [*state_links(task, named), *([*written, *lead] if places_first else [*lead, *written])]
    drafts = [*state_conflicts(task), *drafts]
    asked_by_key = any(TICKET.fullmatch(name) for name in task.aspect.names)
    if not drafts or named or asked_by_key:
        return drafts
    best = state_best(task, drafts)
    return [*best, *drafts] if task.best and leads(task, task.best) else [*drafts, *best]


def state_best(task: Task, drafts: Sequence[ClaimDraft]) -> list[ClaimDraft]:
    """State something of the best hit where no other statement does: nothing else was found to be nearer."""
    best = task.best
    if best is None:
        return []
    own = {block.id for block in task.every if block.chunk.ref == best.chunk.ref}
    if any(span.evidence in own for draft in drafts for span in draft.spans):
        return []
    if best.chunk.kind in ("ticket", "commit"):
        return state_ticket(task, best)[:1]
    passage = next(iter(passages(task, best)), None)
    symbol = None if is_prose(best) else best_symbol(best, task)
    if symbol and (passage is None or symbol.kind not in PLAIN_VALUES):
        return [state_definition(task, best, symbol)]
    return [state_passage(task, best, passage)] if passage else []


def leads(task: Task, block: Evidence) -> bool:
    """Tell whether a block says enough of an aspect to be spoken of before what does; a place, by what it defines."""
    symbol = None if is_prose(block) else best_symbol(block, task)
    if task.aspect.intent == "where" and symbol is not None:
        return definition_overlap(symbol, task) >= least_overlap(found_definitions(task))
    return bool(passages(task, block)) or (symbol is not None and bears_on(task, block, symbol))


def plan_aspect(
    number: int,
    aspect: Aspect,
    evidence: Sequence[Evidence],
    rarity: Mapping[str, float],
    links: Sequence[Link] = (),
) -> Task:
    """Order the evidence for one aspect: rank of retrieval, words of the aspect, definitions of its names."""
    words = aspect.words or aspect.carried
    weights = {root(word): rarity.get(root(word), DEFAULT_RARITY) for word in words}
    for word in aspect.carried if aspect.words else ():
        weights.setdefault(root(word), rarity.get(root(word), DEFAULT_RARITY) / 2)
    scored = [(score_block(block, aspect, weights), at, block) for at, block in enumerate(evidence)]
    best = max(score for score, _, _ in scored)
    # what touches a ticket may share nothing with the question but the key
    least = 0.0 if aspect.intent == "ticket" else MIN_BLOCK * best
    kept = sorted((item for item in scored if item[0] >= least), key=lambda item: (-item[0], item[1]))
    return Task(number, aspect, tuple(block for _, _, block in kept), weights, tuple(evidence), tuple(links))


HISTORICAL = GONE | {"behind"}
NEAREST_NOTE = "Nothing says it in so many words; these are the places that it is most probably about."
DEFAULT_RARITY = 3.0  # idf of a word that the retrieval gave no figure for


def score_block(block: Evidence, aspect: Aspect, weights: Mapping[str, float]) -> float:
    """Return how well one block suits one aspect."""
    chunk = block.chunk
    found = held_in(aspect, "\n".join((chunk.text, chunk.ref, chunk.title, chunk.symbol or "", chunk.context)))
    overlap = sum(w for r, w in weights.items() if r in found) / (sum(weights.values()) or 1.0)
    names = (*aspect.names, *aspect.carried_names)
    named = 1.0 if any(is_inside(block, name) or is_document(block, name) for name in names) else 0.0
    return (0.6 * block.score + overlap + named) * role_share(block) * KIND_SHARE[aspect.intent].get(chunk.kind, 1.0)


KIND_SHARE: dict[Intent, dict[str, float]] = {
    "where": {"ticket": 0.6, "design": 0.7, "commit": 0.4},
    "what": {"commit": 0.6, "ticket": 0.8},
    "how": {"commit": 0.5, "ticket": 0.7},
    "default": {"commit": 0.4, "ticket": 0.6},
    "why": {"design": 1.5, "ticket": 1.3, "commit": 1.1},
    "ticket": {"ticket": 1.5, "commit": 1.2, "design": 1.2},
}


def state_nearest(task: Task) -> list[ClaimDraft]:
    """State what the best blocks define, or else say first: for an aspect of which no line says enough."""
    found = state_definitions(task, 2)
    first = next((unit for block in task.blocks[:1] for unit in units(block)), None)
    if not found and first:
        found = [state_passage(task, task.blocks[0], Passage(first[0], first[1], 0.0, first[2]))]
    return found


# ---- one writer per intent


def write_where(task: Task) -> list[ClaimDraft]:
    """Definition first, then other definitions about the same words, then the line that matches best."""
    if TESTS.search(task.aspect.text):
        task = replace(task, blocks=tuple(b for b in task.blocks if b.chunk.role == "test"))
    drafts = state_documents(task) + state_definitions(task, MAX_DEFINITIONS)
    return drafts + state_best_passages(task, 1 if drafts else 3)


def write_what(task: Task) -> list[ClaimDraft]:
    """Definitions of what is named, then what prose and code say about it."""
    named = state_documents(task) + state_named(task)
    lead = named or state_definitions(task, 1)
    return lead + state_best_passages(task, 4) + state_history(task, 1)


def write_how(task: Task) -> list[ClaimDraft]:
    """Give steps in calling order, each with its citation, then what designs and tickets add."""
    named = state_documents(task) + state_named(task) + state_inside(task)
    steps = state_steps(task)
    return named + steps + state_best_passages(task, 1 if steps else 4) + state_history(task, 2)


def state_inside(task: Task) -> list[ClaimDraft]:
    """State what the definition that is asked about does with the words that are asked about."""
    drafts = []
    for name in (*task.aspect.names, *task.aspect.carried_names):
        inside = [(p.overlap, p, b) for b in task.blocks if is_inside(b, name) for p in passages(task, b)]
        inside = [item for item in inside if not is_signature_line(item[2], item[1])]
        inside.sort(key=lambda item: (-round(item[0], 6), item[1].span.start_line))
        drafts += [state_passage(task, block, passage) for _, passage, block in inside[:2]]
    return drafts


def write_why(task: Task) -> list[ClaimDraft]:
    """Reasons as they are written down: designs, tickets, commits and comments with a reason in them."""
    reasons = [
        (
            passage.overlap + (0.5 if REASON_CUE.search(passage.text) or DECISION_CUE.search(passage.text) else 0),
            at,
            passage,
            block,
        )
        for at, block in enumerate(about_names(task))
        for passage in passages(task, block)
        if passage.is_prose
    ]
    reasons.sort(key=lambda item: (-round(item[0], 6), item[1], item[2].span.start_line))
    drafts = [state_passage(task, block, passage) for _, _, passage, block in reasons[:4]]
    return (
        drafts + state_history(task, 2)
        if drafts
        else state_named(task) + state_best_passages(task, 3) + state_history(task, 2)
    )


def about_names(task: Task) -> tuple[Evidence, ...]:
    """Return the blocks that define or mention what the aspect names; all where it names nothing that is there."""
    names = (*task.aspect.names, *task.aspect.carried_names)
    last = list(map(last_of_asked, names))
    held = [b for b in task.blocks if any(is_document(b, n) for n in names) or any(n in b.chunk.text for n in last)]
    return tuple(held) or task.blocks


def last_of_asked(name: str) -> str:
    """Return the last part of a name as a question writes it: `Cache.evict()` -> evict."""
    return re.split(r"\.|::|->|#", name.strip("`").removesuffix("()"))[-1]


def write_ticket(task: Task, links: Sequence[Link] = ()) -> list[ClaimDraft]:
    """List what a ticket says and touches: its resolution, paths, linked commits, designs and code."""
    tickets = [b for b in task.blocks if b.chunk.kind == "ticket"]
    named = [b for b in tickets if any(is_document(b, name) for name in task.aspect.names)]
    keys = [name for name in task.aspect.names if TICKET.fullmatch(name)]
    if (keys or links) and not named:
        tickets = []
    drafts = [draft for block in unique_documents(named or tickets)[:3] for draft in state_ticket(task, block)]
    drafts += state_links(task, links)
    told = {chunk.ref for link in links for chunk in (link.origin, link.target)}
    others = [b for b in task.blocks if b.chunk.kind != "ticket" and any(mentions(b, key) for key in keys)]
    others = [b for b in unique_documents(others) if b.chunk.ref not in told]
    drafts += [state_mention(task, block, keys) for block in others[:4]]
    if not drafts:
        return write_what(task)
    return drafts if keys else drafts + state_best_passages(task, 2)


def write_default(task: Task) -> list[ClaimDraft]:
    """State the assignments and parameters whose name shares most words with the aspect, and what the docs say."""
    wanted = {r: w for r, w in task.weights.items() if r not in NO_SETTING}
    total = sum(wanted.values()) or 1.0
    counted = COUNTED.search(task.aspect.text) is not None

    def share(text: str) -> float:
        held = held_in(task.aspect, text)
        return sum(w for r, w in wanted.items() if r in held) / total

    found: list[tuple[float, int, int, ClaimDraft]] = []
    for at, block in enumerate(task.blocks):
        for passage in default_entries(block):
            if (said := share(passage.text)) >= MIN_OVERLAP:
                draft = state_passage(task, block, passage)
                score = said + 0.5 * share(owner_of(block, passage))
                found.append((score * role_share(block), at, passage.span.start_line, draft))
        for name, value, passage in default_values(block):
            if named := share(name):
                owner = owner_of(block, passage)
                if counted and not any(c.isdigit() for c in value) and LITERAL_VALUE.match(value):
                    continue  # nothing that is null or true says how long
                asked = any(own.strip("`").removesuffix("()") in owner for own in task.aspect.names)
                score = named + 0.5 * share(owner) + (0.3 if is_default_name(name) else 0.0) + (0.5 if asked else 0.0)
                draft = state_assignment(task, passage, block, name, value)
                found.append((score * role_share(block), at, passage.span.start_line, draft))
    found.sort(key=lambda item: (-round(item[0], 6), item[1], item[2]))
    return [draft for score, _, _, draft in found[:3] if score >= 0.7 * found[0][0]] or write_what(task)


def role_share(block: Evidence) -> float:
    """Return how much a block's word counts for what it is: source before tests and examples."""
    return ROLE_SHARE.get(block.chunk.role, 0.5)


def owner_of(block: Evidence, passage: Passage) -> str:
    """Return what a line belongs to, as words: definition and path."""
    return f"{around(block, passage.span.start_line) or ''} {block.chunk.ref}"


def default_entries(block: Evidence) -> list[Passage]:
    """Return the paragraphs of a block that speak of a default."""
    found = []
    for paragraph in paragraphs(split_prose(block)[0], in_code=not is_prose(block)):
        text = collapse("\n".join(line for _, line in paragraph))
        if DEFAULT_CUE.search(text) and len(text.split()) >= 3:
            found.append(Passage(text, block.span(paragraph[0][0], paragraph[-1][0]), 0.0, True))
    return found


def default_values(block: Evidence) -> list[tuple[str, str, Passage]]:
    """Return names, values and lines of the parameters and settings of a block that have a plain value."""
    called = [symbol for symbol in block.chunk.symbols if symbol.kind not in PLAIN_VALUES]
    signatures = {n for symbol in called for n in signature_lines(block, symbol)}
    found = []
    for text, span, prose in units(block):
        for name, value, nested in () if prose else assignments(text, block.chunk.role == "config"):
            is_argument = (nested or text.endswith(",")) and span.start_line not in signatures and ": " not in text
            if PLAIN_VALUE.match(value) and not INTERPOLATED.search(value) and not is_argument:
                found.append((name, value, Passage(text, span, 0.0, False)))
        field = None if prose or block.chunk.language != "go" else GO_FIELD.match(text)
        if field and PLAIN_VALUE.match(field["value"]):
            found.append((field["name"], field["value"], Passage(text, span, 0.0, False)))
    return found


GO_FIELD = re.compile(r"(?P<name>[A-Za-z_]\w*):\s+(?P<value>[^{}\n]+),$")  # of a composite literal


# A literal, a constant or an enumeration's member: what "the default is" can be answered with.
PLAIN_VALUE = re.compile(
    r"(?:[-+]?[\d.]|[rbuf]?[\"'`]|True\b|False\b|None\b|true\b|false\b|null\b|nil\b|[A-Z][A-Z0-9_]{2,}\b|[A-Z]\w*\.[A-Z]"
    r"|_?default[A-Z_]\w*\b)"
)


COUNTED = re.compile(r"\bhow (?:many|much|long|large|big|often)\b", re.I)
LITERAL_VALUE = re.compile(r"(?:True|False|None|true|false|null|nil|undefined)\b|[rbuf]?[\"'`]")
INTERPOLATED = re.compile(r"[#$]\{")  # a string that is put together: no value that holds always


def is_default_name(name: str) -> bool:
    """Tell whether a name reads as a default: a constant, or with the word in it."""
    return name.isupper() or "default" in name.lower()


NO_SETTING = frozenset(
    root(word) for word in ("default", "value", "many", "much", "long", "large", "big", "often", "size")
)


def assignments(line: str, is_config: bool = False) -> list[tuple[str, str, bool]]:
    """Return names and values that a line assigns, and whether that stands inside brackets."""
    found = [
        (
            m["name"],
            m["value"].strip().rstrip(";:{,").strip(),
            line[: m.start()].count("(") > line[: m.start()].count(")"),
        )
        for m in ASSIGNMENT.finditer(line)
    ]
    if not found and is_config and (match := SETTING.match(line)):
        found = [(match["name"], match["value"].strip().rstrip(","), False)]
    return [item for item in found if item[1]]


def state_assignment(task: Task, passage: Passage, block: Evidence, name: str, value: str) -> ClaimDraft:
    """State which value a name is given and where."""
    symbol = around(block, passage.span.start_line)
    inside = f" in `{symbol}`" if symbol and symbol.rsplit(".", 1)[-1] != name else ""
    place = place_of(block, passage.span.start_line)
    text = f"`{name}` is {code(clip(value))}{inside} ({place}): {code(clip(passage.text))}"
    return task.draft(text, [passage.span])


def state_documents(task: Task) -> list[ClaimDraft]:
    """State what the files say of themselves and define that the aspect names by path."""
    drafts = []
    for name in task.aspect.names:
        blocks = [b for b in task.blocks if b.chunk.path and is_document(b, name)]
        for block in blocks:
            about = next((unit for unit in units(block) if unit[2]), None) if block.chunk.start_line <= 3 else None
            if about and around(block, about[1].start_line) is None:
                drafts.append(task.draft(f"{place_of(block)}: {quoted(clip(about[0]))}", [about[1]]))
        listed = list_definitions(blocks)
        if listed:
            names = ", ".join(f"`{symbol.qualname}`" for _, symbol in listed)
            spans = [block.span(symbol.start_line, symbol.start_line) for block, symbol in listed]
            drafts.append(task.draft(f"{place_of(listed[0][0])} defines {names}.", spans))
    return drafts


def list_definitions(blocks: Sequence[Evidence]) -> list[tuple[Evidence, Symbol]]:
    """Return up to six definitions of some blocks of a file: functions before values, top level before members."""
    symbols = {s.qualname: (b, s) for b in blocks for s in b.chunk.symbols}

    def order(pair: tuple[Evidence, Symbol]) -> tuple[bool, int, int, str]:
        symbol = pair[1]
        return (symbol.kind in PLAIN_VALUES, symbol.qualname.count("."), symbol.start_line, symbol.qualname)

    return sorted(sorted(symbols.values(), key=order)[:6], key=lambda p: (p[1].start_line, p[1].qualname))


def state_named(task: Task) -> list[ClaimDraft]:
    """State the definitions of the names that the aspect uses, the best-ranked block for each."""
    drafts = []
    for name in task.aspect.names:
        for block in task.blocks:
            if symbol := defines(block, name):
                drafts.append(state_definition(task, block, symbol))
                break
    return drafts


def state_definitions(task: Task, most: int) -> list[ClaimDraft]:
    """State named definitions, else the definitions that share most words with the aspect."""
    named = state_named(task)
    if named:
        return named
    found = found_definitions(task)
    # The first block is what retrieval trusts most: it is named, but behind those that match by their words.
    matching = [item for item in found if item[0] >= least_overlap(found)]
    kept = matching + [item for item in found[:1] if item not in matching]
    return [state_definition(task, block, symbol) for _, block, symbol in kept[:most]]


def found_definitions(task: Task) -> list[tuple[float, Evidence, Symbol]]:
    """Return what each block of code defines nearest to the aspect, with its share of the aspect's weight."""
    symbols = [(block, None if is_prose(block) else best_symbol(block, task)) for block in task.blocks]
    return [
        (definition_overlap(symbol, task), block, symbol)
        for block, symbol in symbols
        if symbol and symbol.kind not in PLAIN_VALUES
    ]


def least_overlap(found: Sequence[tuple[float, Evidence, Symbol]]) -> float:
    """Return the share from which on a definition matches by its words."""
    return max(NEAR_BEST * max((overlap for overlap, _, _ in found), default=0.0), MIN_OVERLAP)


def definition_overlap(symbol: Symbol, task: Task) -> float:
    """Return the share of the aspect's weight in a symbol's name and doc."""
    found = text_roots(f"{symbol.qualname} {symbol.doc}")
    return sum(w for r, w in task.weights.items() if r in found) / (sum(task.weights.values()) or 1.0)


def state_steps(task: Task) -> list[ClaimDraft]:
    """State one step per function involved, callers before what they call."""
    found: dict[str, tuple[Evidence, Symbol]] = {}
    asked = set(map(last_of_asked, task.aspect.names))
    for block in task.blocks:
        if is_prose(block) or block.chunk.role not in ("source", "compat", "config"):
            continue
        symbol = best_symbol(block, task)
        if symbol and symbol.name in asked and best_line(task, block, symbol) is None:
            continue  # the definition is stated already, and others of its name are no steps
        if symbol and symbol.kind not in PLAIN_VALUES and bears_on(task, block, symbol):
            found.setdefault(symbol.qualname, (block, symbol))
    relevance = {name: weigh_step(task, *pair, found) for name, pair in found.items()}
    best = max(relevance.values(), default=0.0)
    ranked = sorted((n for n in found if relevance[n] >= MIN_STEP * best), key=lambda n: -round(relevance[n], 6))
    chosen = {name: found[name] for name in ranked[:MAX_STEPS]}
    if len(chosen) == 1:
        return [state_definition(task, *pair) for pair in chosen.values()]
    return [state_step(task, *chosen[name], chosen) for name in call_order(chosen)]


def bears_on(task: Task, block: Evidence, symbol: Symbol) -> bool:
    """Tell whether a function has enough of the aspect to be a step of it: by name and doc, or in one of its lines."""
    is_named = any(defines(block, name) is symbol for name in task.aspect.names)
    return is_named or definition_overlap(symbol, task) >= MIN_OVERLAP or best_line(task, block, symbol) is not None


def weigh_step(task: Task, block: Evidence, symbol: Symbol, others: Mapping[str, tuple[Evidence, Symbol]]) -> float:
    """Return how much a function belongs to the flow: its name and doc, its rank, calls to and from other steps."""
    rest = [pair for name, pair in others.items() if name != symbol.qualname]
    connected = any(calls(block, other) or calls(b, symbol) for b, other in rest)
    return definition_overlap(symbol, task) + 0.5 * block.score + (0.3 if connected else 0.0)


def call_order(chosen: Mapping[str, tuple[Evidence, Symbol]]) -> list[str]:
    """Return the names so that callers come before what they call; otherwise in rank order."""
    order: list[str] = []
    pending = list(chosen)
    while pending:
        free = next(
            (n for n in pending if not any(calls(chosen[m][0], chosen[n][1]) for m in pending if m != n)), pending[0]
        )
        order.append(free)
        pending.remove(free)
    return order


TELLING_NAME = 8  # a method name of this length is hardly shared by chance


def calls(block: Evidence, symbol: Symbol, caller: Symbol | None = None) -> Span | None:
    """Return the line on which a block, or one definition in it, calls a symbol that the block does not define."""
    if symbol.name.startswith("__") or any(own.qualname == symbol.qualname for own in block.chunk.symbols):
        return None
    owner = symbol.qualname.rpartition(".")[0]
    receiver = r"(?<![\w$])"
    if owner and owner == (block.chunk.symbol or "").rpartition(".")[0]:
        receiver = r"(?:self|cls|this|@)(?:\.|->)"
    elif owner and len(symbol.name) < TELLING_NAME and "_" not in symbol.name.strip("_"):
        return None  # `x.get(...)` may be anybody's `get`
    pattern = re.compile(rf"(?<!def )(?<!class )(?<!func )(?<!fn ){receiver}{re.escape(symbol.name)}\s*\(")
    for number, line in enumerate(block.lines, block.chunk.start_line):
        inside = caller is None or caller.start_line <= number <= caller.end_line
        if inside and pattern.search(line) and not COMMENT_LINE.match(line):
            return block.span(number, number)
    return None


def state_step(
    task: Task, block: Evidence, symbol: Symbol, chosen: Mapping[str, tuple[Evidence, Symbol]]
) -> ClaimDraft:
    """State what one function does: its doc or its best line, and which other steps it calls."""
    spans: list[Span | None] = [block.span(symbol.start_line, min(symbol.end_line, block.end_line))]
    head = f"`{symbol.qualname}` ({place_of(block, symbol.start_line)})"
    doc = quote_doc(block, symbol)
    if doc:
        head += f": {quoted(doc)}"
    else:
        best = best_line(task, block, symbol)
        said = (quoted if best.is_prose else code)(clip(best.text)) if best else code(quote_signature(block, symbol))
        head += f": {said}"
        spans.append(best.span if best else None)
    called: dict[str, Span] = {}
    for _, other in chosen.values():  # of several of one name, and of its own, nobody knows which is called
        if other.name != symbol.name and other.name not in called and (line := calls(block, other, symbol)):
            called[other.name] = line
    if called:
        names = " and ".join(f"`{name}`" for name in list(called)[:2])
        head = f"{head}; it calls {names}"
        spans.extend(list(called.values())[:2])
    return task.draft(head, spans, form="step")


def best_line(task: Task, block: Evidence, symbol: Symbol) -> Passage | None:
    """Return the line within a definition that carries most of the aspect, its signature aside."""
    for passage in passages(task, block):
        inside = around(block, passage.span.start_line) == symbol.qualname
        if inside and not is_signature_line(block, passage):
            return passage if passage.is_prose else close_brackets(block, passage)
    return None


def state_best_passages(task: Task, most: int) -> list[ClaimDraft]:
    """State the lines and sentences that carry most of the aspect, at most two of one document."""
    ranked = [
        (p.overlap * (1 - 0.05 * at), at, p, block)
        for at, block in enumerate(task.blocks)
        for p in passages(task, block)[:3]
    ]
    ranked.sort(key=lambda item: (-round(item[0], 6), item[1], item[2].span.start_line))
    best = ranked[0][0] if ranked else 0.0
    drafts: list[ClaimDraft] = []
    per_document: dict[str, int] = {}
    for score, _, passage, block in ranked:
        if len(drafts) == most or score < 0.6 * best:
            break
        if per_document.get(block.chunk.ref, 0) < 2 and not is_signature_line(block, passage):
            per_document[block.chunk.ref] = per_document.get(block.chunk.ref, 0) + 1
            drafts.append(state_passage(task, block, passage))
    return drafts


def is_signature_line(block: Evidence, passage: Passage) -> bool:
    """Tell whether a line only starts a definition, which a definition statement shows better."""
    line = passage.span.start_line
    return not passage.is_prose and any(
        line == s.start_line or line in signature_lines(block, s)[:1] for s in block.chunk.symbols
    )


def state_history(task: Task, most: int) -> list[ClaimDraft]:
    """State what tickets, designs and commits of the context add, one sentence of each document."""
    blocks = [b for b in unique_documents(task.blocks) if b.chunk.kind != "code"]
    drafts = []
    for block in blocks:
        best = next(iter(passages(task, block, skip_names=False)), None)
        if best and best.overlap >= 2 * MIN_OVERLAP:
            drafts.append(
                state_ticket(task, block)[0] if block.chunk.kind == "commit" else state_passage(task, block, best)
            )
    return drafts[:most]


def mentions(block: Evidence, key: str) -> bool:
    """Tell whether a block names a ticket key in its text or links."""
    return key in block.chunk.links or bool(
        re.search(rf"(?<![\w#]){re.escape(key)}(?!\w)", f"{block.chunk.title}\n{block.chunk.text}")
    )


def state_mention(task: Task, block: Evidence, keys: Sequence[str]) -> ClaimDraft:
    """State that a commit, design or piece of code names the ticket, with the line."""
    for number, line in enumerate(block.lines, block.chunk.start_line):
        if any(mention in line for mention in keys):
            span, said = block.span(number, number), clip(" ".join(line.split()))
            return task.draft(
                f"{introduce(block) if is_prose(block) else place_of(block, number)}: {code(said)}", [span], form="item"
            )
    return state_ticket(task, block)[0]


WRITERS: dict[Intent, Callable[[Task], list[ClaimDraft]]] = {
    "where": write_where,
    "what": write_what,
    "how": write_how,
    "why": write_why,
    "ticket": write_ticket,
    "default": write_default,
}


# ---- length


def drop_repeats(drafts: Sequence[ClaimDraft], before: Sequence[ClaimDraft]) -> list[ClaimDraft]:
    """Return the drafts without those that repeat a quote, a definition or the very lines of another."""
    seen: set[object] = {key for draft in before for key in repeat_keys(draft)}
    kept = []
    for draft in drafts:
        keys = repeat_keys(draft)
        if seen.isdisjoint(keys):
            kept.append(draft)
        seen.update(keys)
    return kept


def repeat_keys(draft: ClaimDraft) -> set[object]:
    """Return what makes two drafts say the same."""
    said = re.findall(r"(?<!`)`([^`]{12,})`|\"([^\"]{12,})\"|“([^”]{12,})”", draft.text)
    passages_said = {collapse("".join(groups)).lower() for groups in said}
    return {draft.text, *(passage for passage in passages_said if " " in passage)}


def fit_length(drafts: Sequence[ClaimDraft], most_chars: int) -> list[ClaimDraft]:
    """Return the leading drafts that fit; the first one always stays."""
    kept: list[ClaimDraft] = []
    used = 0
    for draft in drafts:
        if kept and used + len(draft.text) > most_chars:
            continue
        kept.append(draft)
        used += len(draft.text)
    return kept
