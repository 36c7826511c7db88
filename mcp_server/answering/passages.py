"""Passages: what a block of evidence is, what stands in it, and statements about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from ingest.model import FILES_HEADING, SUPERSEDED_BY, Symbol
from mcp_server.answering.aspects import Aspect, root, roots_of, text_roots
from mcp_server.answering.claims import ClaimDraft, Form, split_sentences
from mcp_server.answering.evidence import COMMENT_LEADER, Evidence, Span, collapse, join_lines, line_at
from mcp_server.retrieval.context import Link
from mcp_server.retrieval.query import PATH

MAX_SIGNATURE_LINES = 40
MAX_JOINED_LINES = 6
CLIP = 240  # longest code or sentence quoted in full
MIN_OVERLAP = 0.2  # share of the aspect's weight that a quoted sentence has to carry
MIN_CODE_OVERLAP = 0.4  # ... a line of code, which says little around the word
FRAGMENT_SHARE = 0.7  # one argument or field of many says little by itself
PROSE_BONUS = 1.25  # a comment that matches explains more than a line of code that matches
PROSE_SUFFIXES = (".md", ".markdown", ".rst", ".txt", ".adoc")
COMMENT_LINE = re.compile(r"^\s*(?:#(?!\[|include|define|if|end|pragma)|//|/\*|\*(?:\s|$)|--\s|;;)")
NOISE_LINE = re.compile(
    r"^\s*(?:(?:from|import|use|using|package|require|include|export \*)\b.*|[\W_]*"
    r"|(?:else|try|finally|pass|return)\W*)$"
)
RESOLUTION_CUE = re.compile(
    r"\b(?:fix(?:ed|es)?|resolv|clos(?:ed|es)|caused? by|root cause|solution|workaround|merged|implemented|now)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Task:
    """One aspect with its evidence, best first, and the weight of each word root it asks about."""

    number: int
    aspect: Aspect
    blocks: tuple[Evidence, ...]
    weights: Mapping[str, float]
    every: tuple[Evidence, ...] = ()  # all evidence, in the order of retrieval
    links: tuple[Link, ...] = ()

    @property
    def best(self) -> Evidence | None:
        """What retrieval put first, if it has anything of the aspect."""
        first = self.every[0] if self.every else None
        return first if first in self.blocks else None

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


def held_in(aspect: Aspect, text: str) -> frozenset[str]:
    """Return the roots of a text's words, with those of two words of an aspect that it writes as one: "threadpool"."""
    held = text_roots(text)
    joined = [r for a, b in pairwise(aspect.words) if root(a + b) in held for r in (root(a), root(b))]
    return held.union(joined) if joined else held


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
    """Return the lines from the one that names a symbol, after its decorators, until its brackets are closed.

    Of a type that is named where it ends (`typedef enum { ... } color;`) the line where it begins.
    """
    named = re.compile(rf"(?<!\w){re.escape(symbol.name)}(?!\w)")
    last = min(symbol.end_line, block.end_line)
    first = next((n for n in range(symbol.start_line, last + 1) if named.search(block.slice(n, n))), None)
    if first is None and symbol.end_line <= block.end_line:
        return range(0)
    if first is None or block.slice(first, first).lstrip().startswith("}"):
        return range(symbol.start_line, symbol.start_line + 1)
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
    return f"{kind}{place_of(block)}{superseded(block)}{section}"


def superseded(block: Evidence) -> str:
    """Return what replaced a design, in brackets, "" for one that holds."""
    new = [link.removeprefix(SUPERSEDED_BY) for link in block.chunk.links if link.startswith(SUPERSEDED_BY)]
    return f" (superseded by {', '.join(new)})" if new else ""


def day_of(block: Evidence) -> str:
    """Return the day on which a document was last changed, as far as it says, "" for none."""
    chunk = block.chunk
    return (chunk.updated_at or chunk.closed_at or chunk.created_at)[:10]


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
        held = held_in(task.aspect, text)
        hit = sum(w for r, w in weights.items() if r in held) / total
        if hit >= (MIN_OVERLAP if prose else MIN_CODE_OVERLAP):
            factor = PROSE_BONUS if prose else FRAGMENT_SHARE if text.endswith(",") else 1.0
            found.append(Passage(text, span, hit * factor, prose))
    return sorted(found, key=lambda p: (-round(p.overlap, 6), p.span.start_line, p.text))


def units(block: Evidence) -> list[tuple[str, Span, bool]]:
    """Return the quotable units of a block: sentences of prose and comments, lines of code."""
    # The files that a commit touched are no sentence of its message.
    said = block.chunk.text.partition(FILES_HEADING)[0] if block.chunk.kind == "commit" else block.chunk.text
    found = read_units(said, block.chunk.start_line, is_prose(block), opening_quote(block))
    return [(text, Span(block.id, first, last), prose) for text, first, last, prose in found]


@lru_cache(maxsize=512)  # each aspect and form of statement asks for them again, and so does the next question
def read_units(text: str, start_line: int, prose: bool, inside: str) -> tuple[tuple[str, int, int, bool], ...]:
    """Return the quotable units of a text: what it says, first and last line, and whether it is prose."""
    said, plain = split_lines(text, start_line, prose, inside)
    found = [(" ".join(line.split()), n, n, False) for n, line in plain if not NOISE_LINE.match(line)]
    spoken = [unit for unit in prose_units(said, in_code=not prose) if prose or not CODE_LIKE.search(unit[0])]
    return tuple(sorted([*found, *spoken], key=lambda unit: (unit[1], unit[2])))


def split_prose(block: Evidence) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Return the numbered lines of a block that are prose or comment, and those that are code."""
    return split_lines(block.chunk.text, block.chunk.start_line, is_prose(block), opening_quote(block))


def split_lines(
    text: str, start_line: int, prose: bool, inside: str
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Return the numbered lines of a text that are prose or comment, and those that are code.

    `inside`: the triple quote that is open where it begins.
    """
    numbered = list(enumerate(text.split("\n"), start_line))
    if prose:
        return numbered, []
    said: list[tuple[int, str]] = []
    plain: list[tuple[int, str]] = []
    for number, line in numbered:
        if MAIN_GUARD.match(line):
            break  # a demonstration of the module, not a part of it
        inside, is_doc = follow_docstring(line, inside)
        (said if is_doc or COMMENT_LINE.match(line) else plain).append((number, line))
    return said, plain


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


def prose_units(lines: Sequence[tuple[int, str]], *, in_code: bool) -> list[tuple[str, int, int, bool]]:
    """Return the sentences of consecutive prose lines with their lines, paragraph by paragraph.

    An entry of a list says little without the sentence that leads to it ("It panics if:"), so that comes before it.
    """
    found: list[tuple[str, int, int, bool]] = []
    lead: tuple[str, int] | None = None
    for paragraph in paragraphs(lines, in_code=in_code):
        joined, starts = join_lines([line for _, line in paragraph])
        is_entry = BULLET.match(joined) is not None
        if not is_entry or (lead and paragraph[0][0] - lead[1] > MAX_LED_LINES):
            lead = None
        for sentence in split_sentences(joined):
            plain = sentence.removesuffix('"""').removesuffix("*/").strip()
            wanted = collapse(plain)
            at = joined.find(wanted) if len(plain.split()) >= 4 and wanted else -1
            if at >= 0:
                first, last = line_at(starts, at), line_at(starts, at + len(wanted) - 1)
                start, said = paragraph[first][0], BULLET.sub("", plain) if lead else plain
                found.append(
                    (f"{lead[0]} … {said}" if lead else plain, lead[1] if lead else start, paragraph[last][0], True)
                )
            if plain.endswith(":") and not is_entry and len(plain) <= MAX_LEAD and '"' not in plain:
                lead = (plain, paragraph[max(0, line_at(starts, max(at, 0)))][0])
    return found


def paragraphs(lines: Sequence[tuple[int, str]], *, in_code: bool) -> list[list[tuple[int, str]]]:
    """Group numbered lines into paragraphs: blank lines, headings, list items and fences part them.

    `in_code`: the lines are comments, whose leaders say nothing.
    """
    groups: list[list[tuple[int, str]]] = [[]]
    starred = any("/*" in line or "*/" in line for _, line in lines)  # elsewhere a star begins an item of a list
    bare = [(n, line, without_leader(line, starred=starred) if in_code else line) for n, line in lines]
    fences = [mark for _, _, said in bare if (mark := FENCE.match(said))]
    fenced = len(fences) % 2 == 1 and not fences[0]["kind"]  # where a block begins within an example
    for number, line, said in bare:
        if groups[-1] and number != groups[-1][-1][0] + 1:
            groups.append([])
        fence = FENCE.match(said) is not None
        fenced ^= fence
        if fence or fenced or not collapse(line) or NO_PROSE.match(said):
            groups.append([])
            continue
        if ENTRY.match(said + " "):
            groups.append([])
        groups[-1].append((number, line))
    return [group for group in groups if group]


def without_leader(line: str, *, starred: bool) -> str:
    """Return a line of a comment without what makes it one."""
    return line if not starred and line.lstrip().startswith("*") else COMMENT_LEADER.sub("", line)


# Underlines, tables, directives and headings; where a link leads to; lines of a session with an interpreter.
NO_PROSE = re.compile(r"^\s*(?:[-=~^]{3,}|\||\.\. |#{1,6}\s+\S|\[[^\]]+\]:\s+\S+\s*$|(?:>>>|\.\.\.)(?:\s|$))")
FENCE = re.compile(r"^\s*(?:```|~~~)(?P<kind>\S*)")
# Code in a comment: an example, or what was switched off.
CODE_LIKE = re.compile(r"[;{]\s*$|\)\s*[;{]|;\s+\w[^;]*[=(]|^[\w.]+\s*(?:=|:=|\+=)\s|=>|^#\[|^# ")
BULLET = re.compile(r"^(?:[-*+]|\d+[.)])\s+")
MAX_LEAD = 90  # characters
MAX_LED_LINES = 12  # after it
# Entries of a list, or of the parameters in a doc comment.
ENTRY = re.compile(
    r"^\s*(?:[-*+]\s|\d+[.)]\s|[:@]\w+\s|(?:Args|Arguments|Parameters|Returns|Raises|Yields):"
    r"|\*{0,2}\w+\s+-\s|\*{0,2}\w+\s*\([^)\n]*\)\s*:|\*{0,2}\w+:\s)"
)


# ---- tickets


def state_ticket(task: Task, block: Evidence) -> list[ClaimDraft]:
    """State title and state of a ticket or commit, the sentence that resolves it, and the paths it names."""
    chunk, first = block.chunk, block.span(block.chunk.start_line, block.chunk.start_line)
    title = chunk.title if len(chunk.title.split()) >= 2 else ""
    head = f"Design {place_of(block)}{superseded(block)}" if chunk.kind == "design" else introduce(block)
    drafts = [task.draft(f"{head}: {quoted(clip(title))}" if title else f"{head}.", [first], form="item")]
    sentences = [(text, span) for text, span, _ in units(block) if collapse(text) != collapse(title)]
    resolved = [item for item in sentences if RESOLUTION_CUE.search(item[0])]
    pick = resolved[-1] if resolved else (sentences[0] if sentences else None)
    if pick and chunk.kind == "ticket":
        drafts.append(task.draft(f"{chunk.key} says: {quoted(clip(pick[0]))}", [pick[1]], form="item"))
    touched = [link for link in chunk.links if PATH.fullmatch(link)][:5]
    if touched:
        drafts.append(task.draft(f"{introduce(block)} names {', '.join(touched)}.", [first], form="item"))
    return drafts


def unique_documents(blocks: Sequence[Evidence]) -> list[Evidence]:
    """Return the first block of each document, in order."""
    return list({(b.chunk.source, b.chunk.ref): b for b in reversed(blocks)}.values())[::-1]
