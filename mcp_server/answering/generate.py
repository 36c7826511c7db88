"""The extractive generator: statements taken from the evidence, per aspect of the question. Deterministic, no model.

Each intent has its form: "where" puts the definition first, "how" gives steps in calling order, "why" prefers designs,
tickets and comments, "ticket" lists what a ticket touches, "default" looks for the assignment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ingest.model import Symbol
from mcp_server.answering.aspects import Aspect, Intent, root, roots_of, text_roots
from mcp_server.answering.claims import ClaimDraft, Form, split_sentences
from mcp_server.answering.evidence import Evidence, Span, collapse
from mcp_server.retrieval.query import PATH, TICKET

MAX_CLAIMS = 12
MAX_CHARS = 1500
MAX_STEPS = 5
MAX_DEFINITIONS = 3
MAX_SIGNATURE_LINES = 40
MAX_JOINED_LINES = 6
CLIP = 160  # longest code or sentence quoted in full
MIN_BLOCK = 0.35  # of the best block's score; weaker blocks are about something else
MIN_OVERLAP = 0.2  # share of the aspect's weight that a quoted sentence has to carry
MIN_CODE_OVERLAP = 0.4  # ... a line of code, which says little around the word
MIN_STEP = 0.5  # of the most relevant step
FRAGMENT_SHARE = 0.7  # one argument or field of many says little by itself
PROSE_BONUS = 1.25  # a comment that matches explains more than a line of code that matches
ROLE_SHARE = {"source": 1.0, "config": 0.8, "docs": 0.8, "compat": 0.6, "test": 0.5, "example": 0.5}
PROSE_SUFFIXES = (".md", ".markdown", ".rst", ".txt", ".adoc")
COMMENT_LINE = re.compile(r"^\s*(?:#(?!\[|include|define|if|end|pragma)|//|/\*|\*(?:\s|$)|--\s|;;)")
NOISE_LINE = re.compile(
    r"^\s*(?:(?:from|import|use|using|package|require|include|export \*)\b.*|[\W_]*"
    r"|(?:else|try|finally|pass|return)\W*)$"
)
ASSIGNMENT = re.compile(
    r"(?<![\w.])(?P<name>(?:self\.|this\.)?[A-Za-z_][\w-]*)\??\s*(?::\s*[^,=()\n]*(?:\[[^\]\n]*\])?[^,=()\n]*)?\s*"
    r"(?::=|=(?![=>]))\s*(?P<value>(?:\"[^\"\n]*\"|'[^'\n]*'|[^,()\n\"']+)(?:\([^()\n]*\))?)"
)
SETTING = re.compile(r"^\s*\"?(?P<name>[A-Za-z_][\w.-]*)\"?\s*:\s+(?P<value>[^{\[\n]+)$")  # YAML, JSON
DEFAULT_CUE = re.compile(r"\bdefaults?\b", re.I)
REASON_CUE = re.compile(
    r"\b(?:because|since|so that|to avoid|in order to|otherwise|reason|workaround|decid|prevent|instead of)", re.I
)
RESOLUTION_CUE = re.compile(
    r"\b(?:fix(?:ed|es)?|resolv|clos(?:ed|es)|caused? by|root cause|solution|workaround|merged|implemented|now)\b", re.I
)
TESTS = re.compile(r"\btest(?:s|ed|ing)?\b", re.I)
DECISION_CUE = re.compile(
    r"\b(?:decision|we (?:will|chose|choose|use|decided)|decided|chosen|accepted|rejected)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Task:
    """One aspect with its evidence, best first, and the weight of each word root it asks about."""

    number: int
    aspect: Aspect
    blocks: tuple[Evidence, ...]
    weights: Mapping[str, float]

    def draft(self, text: str, spans: Iterable[Span | None], quote: str = "", form: Form = "sentence") -> ClaimDraft:
        """Return a statement of this aspect."""
        return ClaimDraft(text, tuple(span for span in spans if span), quote, self.number, form)


@dataclass(frozen=True, slots=True)
class Passage:
    """A line of code or a sentence of prose within a block, with how much of the aspect it carries."""

    text: str
    span: Span
    overlap: float
    is_prose: bool


@dataclass(frozen=True, slots=True)
class Generated:
    """The statements, and the aspects that have none of their own because another aspect's statements cover them."""

    claims: tuple[ClaimDraft, ...] = ()
    covered: frozenset[int] = frozenset()
    mode: Literal["extractive", "model"] = "extractive"
    not_covered: tuple[str, ...] = ()  # parts of the question that the generator itself found nothing about
    degraded: tuple[str, ...] = ()
    note: str = ""  # what the answer says first: why it is not what it should be


def generate_claims(aspects: Sequence[Aspect], evidence: Sequence[Evidence], rarity: Mapping[str, float]) -> Generated:
    """Answer each aspect from its best evidence: at most 12 claims, 1,500 characters. `rarity`: word root -> idf."""
    if not evidence:
        return Generated()
    share = max(2, MAX_CLAIMS // len(aspects))
    drafts: list[ClaimDraft] = []
    covered: set[int] = set()
    for number, aspect in enumerate(aspects):
        written = WRITERS[aspect.intent](plan_aspect(number, aspect, evidence, rarity))
        fresh = drop_repeats(written, drafts)
        if written and not fresh:
            covered.add(number)
        drafts.extend(fit_length(fresh[:share], MAX_CHARS // len(aspects)))
    if not drafts:
        nearest = state_nearest(plan_aspect(0, aspects[0], evidence, rarity))
        return Generated(tuple(nearest), note=NEAREST_NOTE if nearest else "")
    return Generated(tuple(drafts), frozenset(covered))


def plan_aspect(number: int, aspect: Aspect, evidence: Sequence[Evidence], rarity: Mapping[str, float]) -> Task:
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
    return Task(number, aspect, tuple(block for _, _, block in kept), weights)


NEAREST_NOTE = "Nothing says it in so many words; these are the places that it is most probably about."
DEFAULT_RARITY = 3.0  # idf of a word that the retrieval gave no figure for


def score_block(block: Evidence, aspect: Aspect, weights: Mapping[str, float]) -> float:
    """Return how well one block suits one aspect."""
    chunk = block.chunk
    found = text_roots("\n".join((chunk.text, chunk.ref, chunk.title, chunk.symbol or "", chunk.context)))
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


# ---- what a block is


def is_prose(block: Evidence) -> bool:
    """Tell whether a block is written for people: a ticket, a design, a commit or a page of documentation."""
    return block.chunk.kind != "code" or (block.chunk.path or "").lower().endswith(PROSE_SUFFIXES)


def is_document(block: Evidence, name: str) -> bool:
    """Tell whether a block belongs to the document that a path or key names."""
    path, key = block.chunk.path or "", (block.chunk.key or "").lower()
    bare = name.lower().lstrip("#")
    if PATH.fullmatch(name) and (path == name or path.endswith("/" + name)):
        return True
    return bool(key) and bare == key.lstrip("#")


def defines(block: Evidence, name: str) -> Symbol | None:
    """Return the definition of a name that starts in this block."""
    wanted = re.sub(r"::|->|#", ".", name).strip("`").removesuffix("()")
    for symbol in block.chunk.symbols:
        if symbol.qualname == wanted or symbol.qualname.endswith("." + wanted):
            return symbol
    last = wanted.rsplit(".", 1)[-1]
    same = [symbol for symbol in block.chunk.symbols if symbol.name == last]
    if "." in wanted:  # `mod.func`: the head may be the module, which no symbol names
        head = wanted.split(".")[-2].lower()
        same = [symbol for symbol in same if head in (block.chunk.path or "").lower()]
    return same[0] if same else None


PLAIN_VALUES = frozenset({"variable", "constant", "property", "field"})


def is_inside(block: Evidence, name: str) -> bool:
    """Tell whether a block defines a name or is a part of its definition."""
    wanted = re.sub(r"::|->|#", ".", name).strip("`").removesuffix("()")
    whole = block.chunk.symbol or ""
    return bool(defines(block, name)) or whole == wanted or whole.endswith("." + wanted)


def best_symbol(block: Evidence, task: Task) -> Symbol | None:
    """Return the definition of a block that the aspect is about: named, or sharing most words with it."""
    for name in task.aspect.names:
        if symbol := defines(block, name):
            return symbol

    def weigh(symbol: Symbol) -> float:
        name, doc = text_roots(symbol.name), text_roots(f"{symbol.qualname} {symbol.doc}")
        share = sum(w * (2 * (r in name) + (r in doc)) for r, w in task.weights.items())
        return share * (0.5 if symbol.kind in PLAIN_VALUES else 1.0)

    ranked = sorted(block.chunk.symbols, key=lambda s: (-weigh(s), s.start_line, s.qualname))
    return ranked[0] if ranked else None


def place_of(block: Evidence, line: int | None = None) -> str:
    """Return path:line, or the key of a ticket or commit."""
    chunk = block.chunk
    if chunk.path is None:
        return short_key(chunk.key or chunk.title)
    return f"{chunk.path}:{line}" if line else chunk.path


def short_key(key: str) -> str:
    """Return a key as people write it: a commit id in 10 digits."""
    return key[:10] if re.fullmatch(r"[0-9a-f]{40}", key) else key


# ---- statements


def state_definition(task: Task, block: Evidence, symbol: Symbol) -> ClaimDraft:
    """State where a symbol is defined, with its signature and the first sentence of its doc."""
    head = f"`{symbol.qualname}` is defined in {place_of(block, symbol.start_line)}"
    signature = quote_signature(block, symbol)
    text = f"{head}: {code(signature)}." if signature else f"{head}."
    doc = quote_doc(block, symbol)
    whole = block.span(symbol.start_line, min(symbol.end_line, block.end_line))
    return task.draft(f"{text} Doc: {quoted(doc)}" if doc else text, [whole, block.locate(doc) if doc else None])


def quote_signature(block: Evidence, symbol: Symbol) -> str:
    """Return the signature as it stands in the block, on one line, clipped."""
    lines = signature_lines(block, symbol)
    return clip(collapse(block.slice(lines.start, lines.stop - 1)).rstrip("{").rstrip()) if lines else ""


def signature_lines(block: Evidence, symbol: Symbol) -> range:
    """Return the lines from the one that names a symbol, after its decorators, until its brackets are closed."""
    named = re.compile(rf"(?<!\w){re.escape(symbol.name)}(?!\w)")
    last = min(symbol.end_line, block.end_line)
    first = next((n for n in range(symbol.start_line, last + 1) if named.search(block.slice(n, n))), None)
    if first is None:
        return range(0)
    for number in range(first, min(first + MAX_SIGNATURE_LINES, last + 1)):
        if not is_open(block.slice(first, number)):
            return range(first, number + 1)
    return range(first, min(first + MAX_SIGNATURE_LINES, last + 1))  # cut off where the block ends


def is_open(code_text: str) -> bool:
    """Tell whether code opens more brackets than it closes."""
    return sum(code_text.count(c) for c in "([{") > sum(code_text.count(c) for c in ")]}") + code_text.endswith("{")


def quote_doc(block: Evidence, symbol: Symbol) -> str:
    """Return the first sentence of a symbol's doc if it stands in the block word for word."""
    doc = " ".join(symbol.doc.split())
    if len(doc.split()) < 2 or not block.locate(doc):
        return ""
    return clip(doc)


def state_passage(task: Task, block: Evidence, passage: Passage, form: Form = "sentence") -> ClaimDraft:
    """State what a line or sentence says and where."""
    symbol = around(block, passage.span.start_line)
    place = place_of(block, passage.span.start_line)
    passage = passage if passage.is_prose else close_brackets(block, passage)
    said = quoted(clip(passage.text)) if passage.is_prose else code(clip(passage.text))
    if is_prose(block):
        return task.draft(f"{introduce(block, passage.span.start_line)} says: {said}", [passage.span], form=form)
    subject = f"`{symbol}` ({place})" if symbol else place
    return task.draft(f"{subject}: {said}", [passage.span], form=form)


def close_brackets(block: Evidence, passage: Passage) -> Passage:
    """Return a line of code with the few lines after it that close its brackets, or the first of what it opens."""
    first = passage.span.start_line
    for last in range(first, min(first + MAX_JOINED_LINES, block.end_line + 1)):
        text = block.slice(first, last)
        if not is_open(text) and not (text.rstrip().endswith((":", "{")) and last == first):
            return replace(passage, text=collapse(text), span=block.span(first, last))
    return passage


def introduce(block: Evidence, line: int | None = None) -> str:
    """Name a ticket, commit, design or page, with the section around a line."""
    chunk = block.chunk
    if chunk.kind == "ticket":
        state = f" ({chunk.state})" if chunk.state else ""
        return f"Ticket {chunk.key}{state}"
    if chunk.kind == "commit":
        day = f" of {chunk.created_at[:10]}" if chunk.created_at else ""
        return f"Commit {short_key(chunk.key or '')}{day}"
    heading = heading_above(block, line) or chunk.symbol or chunk.context.split("\n")[-1].strip(" #>")
    heading = heading.rsplit(" > ", 1)[-1]
    section = f", section {quoted(heading)}" if heading and '"' not in heading and len(heading.split()) <= 8 else ""
    kind = "Design " if chunk.kind == "design" else ""
    return f"{kind}{place_of(block)}{section}"


def around(block: Evidence, line: int) -> str | None:
    """Return the innermost definition around a line."""
    inside = [symbol for symbol in block.chunk.symbols if symbol.start_line <= line <= symbol.end_line]
    if inside:
        return max(inside, key=lambda s: (s.start_line, -s.end_line, s.qualname)).qualname
    own = {symbol.qualname for symbol in block.chunk.symbols}  # what starts in this block does not reach before it
    return None if is_prose(block) or block.chunk.symbol in own else block.chunk.symbol


def heading_above(block: Evidence, line: int | None) -> str:
    """Return the nearest heading of a block above a line: Markdown's, or a line that is underlined."""
    if line is None:
        return ""
    lines = block.lines[: max(0, line - block.chunk.start_line)]
    for at in range(len(lines) - 1, -1, -1):
        if match := re.match(r"#{1,6}\s+(.+?)\s*#*$", lines[at]):
            return match[1]
        if at and re.match(r"([=\-~^*])\1{2,}\s*$", lines[at]) and lines[at - 1].strip():
            return lines[at - 1].strip()
    return ""


def quoted(text: str) -> str:
    """Put a passage in quotation marks that it does not hold itself."""
    return f"“{text}”" if '"' in text else f'"{text}"'


def code(text: str) -> str:
    """Put code in backticks, doubled where it holds one."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def clip(text: str) -> str:
    """Cut a long passage at a word, marked with an ellipsis."""
    if len(text) <= CLIP:
        return text
    return text[: text.rfind(" ", CLIP // 2, CLIP) if " " in text[CLIP // 2 : CLIP] else CLIP].rstrip() + "…"


# ---- passages


def passages(task: Task, block: Evidence, skip_names: bool = True) -> list[Passage]:
    """Return lines and sentences of a block that carry the aspect's words, best first."""
    weights = task.weights
    names = (*task.aspect.names, *task.aspect.carried_names)
    if skip_names and names:
        spoken = roots_of(names)
        rest = {r: w for r, w in weights.items() if r not in spoken}
        if not rest and any(PATH.fullmatch(name) for name in names):
            return []
        weights = rest or weights
    total = sum(weights.values()) or 1.0
    found: list[Passage] = []
    for text, span, prose in units(block):
        hit = sum(w for r, w in weights.items() if r in text_roots(text)) / total
        if hit >= (MIN_OVERLAP if prose else MIN_CODE_OVERLAP):
            factor = PROSE_BONUS if prose else FRAGMENT_SHARE if text.endswith(",") else 1.0
            found.append(Passage(text, span, hit * factor, prose))
    return sorted(found, key=lambda p: (-round(p.overlap, 6), p.span.start_line, p.text))


def units(block: Evidence) -> list[tuple[str, Span, bool]]:
    """Return the quotable units of a block: sentences of prose and comments, lines of code."""
    prose, plain = split_prose(block)
    found = [(" ".join(line.split()), block.span(n, n), False) for n, line in plain if not NOISE_LINE.match(line)]
    return sorted([*found, *prose_units(block, prose)], key=lambda unit: (unit[1].start_line, unit[1].end_line))


def split_prose(block: Evidence) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Return the numbered lines of a block that are prose or comment, and those that are code."""
    numbered = list(enumerate(block.lines, block.chunk.start_line))
    if is_prose(block):
        return numbered, []
    prose: list[tuple[int, str]] = []
    plain: list[tuple[int, str]] = []
    inside = opening_quote(block)
    for number, line in numbered:
        if MAIN_GUARD.match(line):
            break  # a demonstration of the module, not a part of it
        inside, is_doc = follow_docstring(line, inside)
        (prose if is_doc or COMMENT_LINE.match(line) else plain).append((number, line))
    return prose, plain


def opening_quote(block: Evidence) -> str:
    """Return the triple quote that is open where a block begins, as far as one block shows."""
    text = block.chunk.text
    starts_inside = text.count('"""') % 2 == 1
    return '"""' if starts_inside and block.chunk.symbol and not block.chunk.symbols else ""


MAIN_GUARD = re.compile(r"^if __name__ == ")


def follow_docstring(line: str, inside: str) -> tuple[str, bool]:
    """Return the triple quote that is open after a line, and whether the line belongs to a docstring."""
    if inside:
        return ("", True) if inside in line else (inside, True)
    opening = re.match(r"^\s*[rRbBuUfF]?(\"\"\"|''')", line)
    if not opening:
        return "", False
    return ("" if opening[1] in line[opening.end() :] else opening[1]), True


def prose_units(block: Evidence, lines: Sequence[tuple[int, str]]) -> list[tuple[str, Span, bool]]:
    """Return the sentences of consecutive prose lines with their lines, paragraph by paragraph."""
    found: list[tuple[str, Span, bool]] = []
    for paragraph in paragraphs(lines):
        for sentence in split_sentences(collapse("\n".join(text for _, text in paragraph))):
            plain = sentence.removesuffix('"""').removesuffix("*/").strip()
            if len(plain.split()) >= 4 and (span := locate_near(block, plain, paragraph[0][0])):
                found.append((plain, span, True))
    return found


def paragraphs(lines: Sequence[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    """Group numbered lines into paragraphs: blank lines, headings, list items and fences part them."""
    groups: list[list[tuple[int, str]]] = [[]]
    fenced = False
    for number, line in lines:
        if groups[-1] and number != groups[-1][-1][0] + 1:
            groups.append([])
        fence = line.strip().startswith(("```", "~~~"))
        fenced ^= fence
        if fence or fenced or not collapse(line) or re.match(r"^\s*(?:[-=~^]{3,}|\||\.\. |#{1,6}\s+\S)", line):
            groups.append([])
            continue
        if ENTRY.match(line + " "):
            groups.append([])
        groups[-1].append((number, line))
    return [group for group in groups if group]


# Entries of a list, or of the parameters in a doc comment.
ENTRY = re.compile(
    r"^\s*(?:[-*+]\s|\d+[.)]\s|[:@]\w+\s|(?:Args|Arguments|Parameters|Returns|Raises|Yields):"
    r"|\*{0,2}\w+\s+-\s|\*{0,2}\w+\s*\([^)\n]*\)\s*:|\*{0,2}\w+:\s)"
)


def locate_near(block: Evidence, text: str, line: int) -> Span | None:
    """Return the lines of a text at or after a line."""
    rest = replace(block, chunk=replace(block.chunk, text=block.slice(line, block.end_line), start_line=line))
    found = rest.locate(text)
    return block.span(found.start_line, found.end_line) if found else None


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
    last = [re.split(r"\.|::|->|#", name.strip("`").removesuffix("()"))[-1] for name in names]
    held = [b for b in task.blocks if any(is_document(b, n) for n in names) or any(n in b.chunk.text for n in last)]
    return tuple(held) or task.blocks


def write_ticket(task: Task) -> list[ClaimDraft]:
    """List what a ticket says and touches: its resolution, paths, linked commits, designs and code."""
    tickets = [b for b in task.blocks if b.chunk.kind == "ticket"]
    named = [b for b in tickets if any(is_document(b, name) for name in task.aspect.names)]
    keys = [name for name in task.aspect.names if TICKET.fullmatch(name)]
    if keys and not named:
        tickets = []
    drafts = [draft for block in unique_documents(named or tickets)[:3] for draft in state_ticket(task, block)]
    others = [b for b in task.blocks if b.chunk.kind != "ticket" and any(mentions(b, key) for key in keys)]
    drafts += [state_mention(task, block, keys) for block in unique_documents(others)[:4]]
    if not drafts:
        return write_what(task)
    return drafts if keys else drafts + state_best_passages(task, 2)


def write_default(task: Task) -> list[ClaimDraft]:
    """State the assignments and parameters whose name shares most words with the aspect, and what the docs say."""
    wanted = {r: w for r, w in task.weights.items() if r not in NO_SETTING}
    total = sum(wanted.values()) or 1.0

    def share(text: str) -> float:
        return sum(w for r, w in wanted.items() if r in text_roots(text)) / total

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
    for paragraph in paragraphs(split_prose(block)[0]):
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
            if PLAIN_VALUE.match(value) and not is_argument:
                found.append((name, value, Passage(text, span, 0.0, False)))
    return found


# A literal, a constant or an enumeration's member: what "the default is" can be answered with.
PLAIN_VALUE = re.compile(
    r"(?:[-+]?[\d.]|[rbuf]?[\"'`]|True\b|False\b|None\b|true\b|false\b|null\b|nil\b|[A-Z][A-Z0-9_]{2,}\b|[A-Z]\w*\.[A-Z]"
    r")"
)


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
    found = []
    for block in task.blocks:
        symbol = None if is_prose(block) else best_symbol(block, task)
        if symbol and symbol.kind not in PLAIN_VALUES:
            found.append((definition_overlap(symbol, task), block, symbol))
    # the first block is what retrieval trusts most; others have to match by their words
    best = max((overlap for overlap, _, _ in found), default=0.0)
    kept = [(b, s) for at, (overlap, b, s) in enumerate(found) if at == 0 or overlap >= max(0.6 * best, MIN_OVERLAP)]
    return [state_definition(task, block, symbol) for block, symbol in kept[:most]]


def definition_overlap(symbol: Symbol, task: Task) -> float:
    """Return the share of the aspect's weight in a symbol's name and doc."""
    found = text_roots(f"{symbol.qualname} {symbol.doc}")
    return sum(w for r, w in task.weights.items() if r in found) / (sum(task.weights.values()) or 1.0)


def state_steps(task: Task) -> list[ClaimDraft]:
    """State one step per function involved, callers before what they call."""
    found: dict[str, tuple[Evidence, Symbol]] = {}
    for block in task.blocks:
        if is_prose(block) or block.chunk.role not in ("source", "compat", "config"):
            continue
        symbol = best_symbol(block, task)
        if symbol and symbol.kind not in PLAIN_VALUES:
            found.setdefault(symbol.qualname, (block, symbol))
    relevance = {name: weigh_step(task, *pair, found) for name, pair in found.items()}
    best = max(relevance.values(), default=0.0)
    ranked = sorted((n for n in found if relevance[n] >= MIN_STEP * best), key=lambda n: -round(relevance[n], 6))
    chosen = {name: found[name] for name in ranked[:MAX_STEPS]}
    if len(chosen) == 1:
        return [state_definition(task, *pair) for pair in chosen.values()]
    return [state_step(task, *chosen[name], chosen) for name in call_order(chosen)]


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
    called = {}
    for name, (_, other) in chosen.items():
        if name != symbol.qualname and (line := calls(block, other, symbol)):
            called[name] = line
    if called:
        names = " and ".join(f"`{chosen[name][1].name}`" for name in list(called)[:2])
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


def state_ticket(task: Task, block: Evidence) -> list[ClaimDraft]:
    """State title and state of a ticket or commit, the sentence that resolves it, and the paths it names."""
    chunk, first = block.chunk, block.span(block.chunk.start_line, block.chunk.start_line)
    title = chunk.title if len(chunk.title.split()) >= 2 else ""
    drafts = [
        task.draft(
            f"{introduce(block)}: {quoted(clip(title))}" if title else f"{introduce(block)}.", [first], form="item"
        )
    ]
    sentences = [(text, span) for text, span, _ in units(block) if collapse(text) != collapse(title)]
    resolved = [item for item in sentences if RESOLUTION_CUE.search(item[0])]
    pick = resolved[-1] if resolved else (sentences[0] if sentences else None)
    if pick and chunk.kind == "ticket":
        drafts.append(task.draft(f"{chunk.key} says: {quoted(clip(pick[0]))}", [pick[1]], form="item"))
    touched = [link for link in chunk.links if PATH.fullmatch(link)][:5]
    if touched:
        drafts.append(task.draft(f"{introduce(block)} names {', '.join(touched)}.", [first], form="item"))
    return drafts


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


def unique_documents(blocks: Sequence[Evidence]) -> list[Evidence]:
    """Return the first block of each document, in order."""
    return list({(b.chunk.source, b.chunk.ref): b for b in reversed(blocks)}.values())[::-1]


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
