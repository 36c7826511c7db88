"""Values: whether the truth values and numbers of a claim stand in the lines that speak of what the claim speaks of.

That a number stands somewhere in the evidence says little: small ones stand in every file. It has to stand in the
cited lines, in the definitions that the claim names, or beside a mention of its names. A truth value is compared with
what those lines give the name before it, test it for, or return.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ingest.chunking.facts import IDENTIFIER, number_of
from ingest.languages.kinds import CALLABLE_KINDS, TYPE_KINDS
from mcp_server.answering.claims import STRING, Anchor, ClaimDraft, names_of, passage_anchors
from mcp_server.answering.conditions import excluded, nested
from mcp_server.answering.evidence import Evidence, Span
from mcp_server.answering.facts import CodeFacts, is_at, name_parts
from mcp_server.answering.literals import (
    NUMBER,
    TRUTH_WORD,
    Said,
    counted_in,
    find_truths,
    numbers_in,
    polarity,
    readings,
    returned,
    returned_failing,
    returned_on,
)
from mcp_server.answering.relations import bare
from mcp_server.answering.scope import Scope, word_pattern

PAD = 1  # lines around those that are cited
NAMED_KINDS = CALLABLE_KINDS | TYPE_KINDS
EARLY = re.compile(r"\breturn(?:s|ing)?\s+(?:early|immediately|without|right away)\b|\bexits?\s+early\b", re.I)
SAME_TWICE = re.compile(  # "`True` if found, `True` otherwise", "`False` or `False`"
    r"(?<![\w.=])[`*]*(?P<value>true|false)[`*]*(?:\s+\((?:if|when)\b[^()]*\))?"
    r"(?:\s+or\s+(?:when\s+|if\s+)?[`*]*(?P=value)\b|\s+(?:if|when|means|for)\b[^.;]{1,80}?[`*\s](?P=value)[`*]*"
    r"\s+(?:otherwise|if not|else|means|\(if not|for)\b)",
    re.I,
)
SKIPPED = re.compile(r"\b(?:skip(?:s|ped)?|continues?)\b", re.I)
AVOIDED = re.compile(
    r"\b(?:avoid\w*|without|prevent\w*|instead of|rather than|skip\w*|bypass\w*|not|never|before)\b[^.;,]{0,40}$", re.I
)
RETURN_LINE = re.compile(r"^\s*return\b")
SKIP_LINE = re.compile(r"^\s*(?:continue|next)\b")


CONSTANT = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
LOOSE_BEFORE = re.compile(
    r"(?:\b(?:typically|usually|about|around|roughly|approximately|nearly|almost|up to|say|over|under)\s"
    r"|[~≈+×*/-]\s?)$",
    re.I,
)
LOOSE_AFTER = re.compile(r"\s?[+×]|-tuples?\b|[-–]\d+\+|x\b")
STATUS = re.compile(r"[1-5]\d\d")
STATUS_WORD = re.compile(r"\b(?:HTTP|status|redirect\w*|responses?|errors?)\b", re.I)


class ValueChecker:
    """The evidence of one answer, asked for values."""

    def __init__(self, evidence: Mapping[str, Evidence], facts: CodeFacts) -> None:
        """Take the blocks by id; nothing is read yet."""
        self._evidence = evidence
        self._facts = facts
        self._scope = Scope(evidence.values())
        self._lower: dict[str, str] = {}

    # -- numbers -----------------------------------------------------------------------------------------------------

    def misplaced_numbers(
        self, numbers: Sequence[Anchor], draft: ClaimDraft, anchors: Sequence[Anchor], spans: Sequence[Span]
    ) -> Iterator[tuple[Anchor, str]]:
        """Yield those numbers of a claim that no line holds that speaks of what it names, with the reason."""
        if not numbers:
            return
        names, lines = self.speaking_lines(draft, anchors, spans)
        spoken = "\n".join(lines)
        held = numbers_in(spoken) | counted_in(spoken)
        for anchor in numbers:
            if lines and held.isdisjoint(readings(anchor.text)) and not is_loose(draft.text, anchor):
                yield anchor, f"'{anchor.text}' is in no line that speaks of {', '.join(names) or 'it'}."

    def speaking_lines(
        self, draft: ClaimDraft, anchors: Sequence[Anchor], spans: Sequence[Span]
    ) -> tuple[Sequence[str], list[str]]:
        """Return the names that a claim is about, and the lines that speak of them, cited ones first."""
        inner = [part for a in anchors if a.kind == "passage" for part in passage_anchors(a)]
        names = names_of([*anchors, *inner])
        lines = self.cited_lines(draft, anchors, spans)
        lines += [line for body in self._scope.bodies(names, NAMED_KINDS) for line in body]
        lines += [line for body in self._scope.bodies(draft.about, CALLABLE_KINDS) for line in body]
        lines += [line for name in names for line in self._scope.mentions(name)]
        if not lines:
            names = draft.about
            lines = [line for name in names for line in self._scope.mentions(name)]
        constants = {word for line in lines for word in CONSTANT.findall(line)}
        return names, lines + [value.source for name in constants for _, value in self._facts.values(name)]

    def foreign_number(self, code: str) -> str:
        """Return why a number in a code passage is wrong: no line with the name before it holds it; "" where none is.

        `pos[8]` where the code has `pos[0]` and `pos[1]` only.
        """
        plain = STRING.sub(lambda match: " " * len(match[0]), code)
        for match in NUMBER.finditer(plain):
            before = [] if STATUS.fullmatch(match[0]) else IDENTIFIER.findall(plain[: match.start()])
            lines = self._scope.lines_with(before[-1]) if before else ()
            if lines and numbers_in("\n".join(lines)).isdisjoint([number_of(match[0])]):
                return f"'{match[0]}' is in no line that speaks of {before[-1]}."
        return ""

    # -- truth values ------------------------------------------------------------------------------------------------

    def wrong_truths(
        self, draft: ClaimDraft, anchors: Sequence[Anchor], spans: Sequence[Span], verbatim: Sequence[Anchor] = ()
    ) -> Iterator[tuple[str, str]]:
        """Yield the names that a claim gives another truth value than the lines that speak of them, with the reason.

        What it says in `verbatim` quotes is said by the code itself.
        """
        found = find_truths(draft.text, anchors)
        truths = [said for said in found if not any(quote.start < said.end <= quote.end for quote in verbatim)]
        if not truths:
            return
        cited = self.cited_lines(draft, anchors, spans)
        named = {part for a in anchors if a.kind in ("symbol", "passage") for part in name_parts(bare(a.text))[-1:]}
        bodies = self._scope.bodies(named, CALLABLE_KINDS) or self._scope.bodies(draft.about, CALLABLE_KINDS)
        around = bodies + self._scope.bodies(draft.about, CALLABLE_KINDS)
        flat = [line for body in bodies for line in body]
        if twice := SAME_TWICE.search(draft.text):
            yield "", f"It gives both alternatives as {twice['value']}."
        for said in truths:
            beside = [
                line for a in anchors if a.lines and said.is_beside(a) for line in self.anchor_lines(a, draft, anchors)
            ]
            name, known = self.known_values(said, beside or cited, flat)
            if known and said.value not in known:
                yield name, f"'{name or 'it'}' is never {said.value} in the lines that speak of it."
            elif other := self.other_condition(said, draft.text, anchors, around):
                yield other, f"What the claim ties to '{other}' being {said.value} runs only where it is not."

    def other_condition(self, said: Said, text: str, anchors: Sequence[Anchor], bodies: Sequence[Sequence[str]]) -> str:
        """Return the name of "if `x` is True, `y` is called" where every `y` runs only when it is not."""
        if said.form != "tested" or not said.names:
            return ""
        name = said.names[0]
        mentioned = [
            part
            for a in anchors
            if a.kind == "symbol" and not AVOIDED.search(text[: a.start])
            for part in name_parts(bare(a.text))[-1:]
        ]
        effects = [word_pattern(one) for one in mentioned if one not in said.names]
        leaving = [line for words, line in ((EARLY, RETURN_LINE), (SKIPPED, SKIP_LINE)) if words.search(text, said.end)]
        tested = word_pattern(name)
        about = [body for body in bodies if any(tested.search(line) for line in body)]
        is_other = any(excluded(about, effect, name, said.value) for effect in effects) or any(
            excluded(map(nested, about), effect, name, said.value, everywhere=False) for effect in leaving
        )
        return name if is_other else ""

    def known_values(self, said: Said, cited: Sequence[str], bodies: Sequence[str]) -> tuple[str, frozenset[str]]:
        """Return the truth values that the cited lines, else the named functions, else all evidence know of a name."""
        if said.form == "returned":
            for name in said.names:
                if near := returned_on(cited, name) or returned_on(bodies, name):
                    return name, near
                if said.is_failing and (near := returned_failing(bodies, name)):
                    return name, near
            if near := returned(cited):
                return "", near
        for name in said.names:
            if near := polarity(cited, name).values(said.form):
                return name, near
        if cited and (said.form != "tested" or not said.names) and (near := values_in(cited)):
            return "", near
        for name in said.names:
            if near := polarity(bodies, name).values(said.form) or self.values_anywhere(name, said):
                return name, near
        return "", values_in(cited)

    def values_anywhere(self, name: str, said: Said) -> frozenset[str]:
        """Return the truth values that all evidence knows of a name; of a function those that it returns."""
        if said.form != "tested" and any(one.kind in CALLABLE_KINDS for one in self._facts.definitions(name)):
            return self.returned_by(name)
        lower = name.lower()
        lines = [line for block in self._evidence.values() if lower in self.lower(block) for line in block.lines]
        return polarity(lines, name).values(said.form)

    def returned_by(self, name: str) -> frozenset[str]:
        """Return the literals that a function returns; none where it returns anything else as well."""
        functions = (one for one in self._facts.definitions(name) if one.kind in CALLABLE_KINDS)
        values = frozenset(value for one in functions for value in one.returns)
        return frozenset() if "" in values else values

    def lower(self, block: Evidence) -> str:
        """Return the text of a block in lower case."""
        if block.id not in self._lower:
            self._lower[block.id] = block.chunk.text.lower()
        return self._lower[block.id]

    # -- cited lines -------------------------------------------------------------------------------------------------

    def cited_lines(self, draft: ClaimDraft, anchors: Sequence[Anchor], spans: Sequence[Span]) -> list[str]:
        """Return the lines that a claim rests on: its spans, or the line numbers in its text, with a few around."""
        found = [self._evidence[s.evidence].slice(s.start_line - PAD, s.end_line + PAD) for s in spans]
        lines = [line for text in found for line in text.split("\n")]
        return lines + [line for a in anchors if a.lines for line in self.anchor_lines(a, draft, anchors)]

    def anchor_lines(self, anchor: Anchor, draft: ClaimDraft, anchors: Sequence[Anchor]) -> list[str]:
        """Return the lines that one line number in the text of a claim points at, none where they do not fit it."""
        names = {part for a in anchors if a.kind in ("symbol", "passage") for part in IDENTIFIER.findall(a.text)}
        names = names or set(draft.about)
        near = self.lines_near(anchor.text or draft.place, anchor.lines or (0, 0), names)
        return near.split("\n") if near else []

    def lines_near(self, path: str, lines: tuple[int, int], names: set[str]) -> str:
        """Return numbered lines of a document: of the one whose lines hold most of the names, none where none does."""
        first, last = lines[0] - PAD, lines[1] + PAD
        found: dict[str, str] = {}
        for block in self._evidence.values():
            if first <= block.end_line and block.chunk.start_line <= last:
                found[block.chunk.ref] = f"{found.get(block.chunk.ref, '')}\n{block.slice(first, last)}"
        held = {ref: len(names.intersection(IDENTIFIER.findall(text))) for ref, text in found.items()}
        best = max(found, key=lambda ref: (held[ref], is_at(ref, path)), default="")
        return found[best] if best and held[best] else ""


def is_loose(text: str, number: Anchor) -> bool:
    """Tell whether a number is an estimate, part of a formula, or one that the world knows: 404, 2-tuple, `n + 1`."""
    return bool(
        LOOSE_BEFORE.search(text[max(0, number.start - 30) : number.start])
        or LOOSE_AFTER.match(text, number.end)
        or (STATUS.fullmatch(number.text) and STATUS_WORD.search(text))
    )


def values_in(lines: Sequence[str]) -> frozenset[str]:
    """Return the truth values that lines hold; none where they hold none."""
    return frozenset(word.lower() for line in lines for word in TRUTH_WORD.findall(line))
