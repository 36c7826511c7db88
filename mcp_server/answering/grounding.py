"""Grounding: the claim ledger. All that a claim names and says of it is looked up; the worst finding decides.

Order of look-up: L1 the cited lines, L2 the same file, L3 other evidence (the citation is repaired), L4 the repository
within the caller's filters, L5 its history (removed or renamed: stale), L6 other people's names (standard library,
dependencies), L7 what is exempt (terms of the question, placeholders, names that the text defines), L8 nowhere.
Relations and defaults are compared with the syntax tree of the evidence, absences are searched for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ingest.chunking.facts import IDENTIFIER, number_of
from mcp_server.answering.bearing import has_plenty
from mcp_server.answering.claims import META_NAME, PATH_LIKE, Anchor, ClaimDraft, find_anchors, passage_anchors
from mcp_server.answering.evidence import Evidence, Span, collapse
from mcp_server.answering.external import is_external
from mcp_server.answering.facts import CodeFacts
from mcp_server.answering.literals import (
    NUMBER,
    differing,
    digits,
    holds_number,
    is_call_argument,
    numbers_in,
    readings,
)
from mcp_server.answering.negation import Absence, find_absences
from mcp_server.answering.relations import Finding, RelationChecker, find_relations
from mcp_server.answering.resolver import Past, Resolver
from mcp_server.answering.values import ValueChecker
from mcp_server.results import Ungrounded, Verdict
from mcp_server.retrieval.query import SHAPED

Place = Literal[
    "ok", "ok_near", "misattributed", "unsupported_by_context", "stale", "external", "exempt", "fabricated",
    "misquoted", "unverified", "contradicted",
]  # fmt: skip

WORST_FIRST: tuple[Verdict, ...] = (
    "fabricated",
    "contradicted",
    "misquoted",
    "stale",
    "unsupported_by_context",
    "unverified",
    "no_anchor",
    "weak",
    "misattributed",
    "supported",
)
STRUCK: frozenset[Verdict] = frozenset({"fabricated", "contradicted", "misquoted"})
OPEN: frozenset[Verdict] = STRUCK | {"stale", "unsupported_by_context", "unverified", "no_anchor"}
WORD = re.compile(r"[\w$]+")
CITING = re.compile(
    r"\b(?:says?|said|states?|stated|reads?|documented as|described as|comments?|docstrings?|notes?|message|quotes?"
    r"|warns?|writes?)"
    r"\b[^.]{0,40}$",
    re.I,
)
WENT = re.compile(
    r"[`*)]*(?:\s+\w+)?\s+(?:was|were|is|are|has been|have been|got)\s+(?:removed|renamed|deleted|retired)\b", re.I
)
TAKEN = re.compile(
    r"\b(?:remov|delet|renam|retir|dropp?)(?:e|es|ed|ing)?\s+(?:the\s+)?[`*]*$"
    r"|\b(?:formerly|was called|before:)\s[`*]*$",
    re.I,
)
WORD_MARKS = ("_", "$")
LEAST_REAL = 5  # letters of a real name inside a made-up one
SHORT_FLAG = 4  # characters: --to, -n say nothing
CAMEL = re.compile(r"[A-Za-z]+\d*")
UNCOUNTED: frozenset[Place] = frozenset({"exempt", "external"})


@dataclass(frozen=True, slots=True)
class AnchorResult:
    """One anchor and where it was found; `reason` where the place alone does not say it."""

    anchor: Anchor
    place: Place
    found_in: Span | None = None
    nearest: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim after the ledger; `spans` with repaired citations."""

    draft: ClaimDraft
    verdict: Verdict
    reason: str
    spans: tuple[Span, ...]
    anchors: tuple[AnchorResult, ...]
    relations: tuple[Finding, ...] = ()
    absences: tuple[Absence, ...] = ()

    @property
    def is_struck(self) -> bool:
        """Tell whether the claim may not stand in the answer's text."""
        return self.verdict in STRUCK

    @property
    def nearest(self) -> tuple[str, ...]:
        """Nearest existing names of what was found nowhere."""
        return tuple(dict.fromkeys(name for result in self.anchors for name in result.nearest))


class Ledger:
    """The evidence of one answer, ready for looking up anchors."""

    def __init__(
        self,
        evidence: Sequence[Evidence],
        question: str,
        resolver: Resolver,
        own: frozenset[str] = frozenset(),
        *,
        cites_all: bool = False,
    ) -> None:
        """Prepare the look-up texts once for all claims.

        `own`: names that the text defines itself; `cites_all`: each claim rests on the whole evidence.
        """
        self.evidence = {block.id: block for block in evidence}
        self.question = question.lower()
        self.resolver = resolver
        self.own = own
        self.cites_all = cites_all
        chunks = [block.chunk for block in evidence]
        self.facts = CodeFacts(chunks, resolver.definitions, resolver.document, resolver.naming)
        self.relations = RelationChecker(self.facts)
        self.values = ValueChecker(self.evidence, self.facts)
        self._whole = {block.id: searchable(block) for block in evidence}
        self._plain: dict[str, str] = {}
        self._all = "\n".join(self._whole.values())
        self._numbers: dict[str, frozenset[str]] = {}
        self._checked: dict[ClaimDraft, CheckedClaim] = {}

    def check(self, draft: ClaimDraft) -> CheckedClaim:
        """Resolve every anchor of one claim, check what it says of them, and decide its verdict; once per claim."""
        if draft not in self._checked:
            self._checked[draft] = self._check(draft)
        return self._checked[draft]

    def _check(self, draft: ClaimDraft) -> CheckedClaim:
        spans = tuple(span for span in draft.spans if span.evidence in self.evidence)
        anchors = find_anchors(draft.text)
        absences = tuple(self.search_absence(absence, spans) for absence in find_absences(draft.text, anchors))
        absent = {absence.name for absence in absences}
        results = [
            AnchorResult(anchor, "exempt") if anchor.text in absent else result
            for anchor in anchors
            for result in self.resolve_all(anchor, spans)
        ]
        if draft.quote and not any(r.anchor.text == draft.quote for r in results):
            results.append(self.resolve(Anchor("quote", draft.quote), spans))
        findings = tuple(self.relations.check(relation) for relation in find_relations(draft.text, anchors))
        borne_out = {number_of(f.relation.object) for f in findings if f.holds == "yes"} - {""}
        results = [
            replace(r, place="ok")
            if r.anchor.kind == "number" and borne_out.intersection(readings(r.anchor.text))
            else r
            for r in results
        ]
        results = self.place_numbers(results, draft, anchors, spans)
        verbatim = [r.anchor for r in results if r.anchor.kind == "quote" and r.found_in is not None]
        results += [
            AnchorResult(Anchor("symbol", name), "unverified", reason=reason)
            for name, reason in self.values.wrong_truths(draft, anchors, spans, verbatim)
        ]
        results += (absence_result(absence, self.resolver.where) for absence in absences)
        results += [
            AnchorResult(Anchor("symbol", f.relation.subject), "contradicted", reason=f.reason)
            for f in findings
            if f.holds == "no"
        ]
        results = [admit_gone(result, draft.text) for result in results]
        verdict, reason = decide_verdict(results)
        if verdict == "no_anchor" and any(finding.holds == "yes" for finding in findings):
            verdict, reason = "supported", "The code says so."
        repaired = tuple(dict.fromkeys(r.found_in for r in results if r.place == "misattributed" and r.found_in))
        cited = tuple(dict.fromkeys((*spans, *repaired)))
        if verdict in ("supported", "misattributed") and self.is_weak(draft, anchors, cited):
            is_quote = bool(draft.quote) and not any(
                r.place not in UNCOUNTED for r in results if r.anchor.text != draft.quote
            )
            verdict, reason = ("no_anchor", QUOTE_ONLY) if is_quote else ("weak", WEAK_REASON)
        return CheckedClaim(draft, verdict, reason, cited, tuple(results), findings, absences)

    def is_weak(self, draft: ClaimDraft, anchors: Sequence[Anchor], spans: Sequence[Span]) -> bool:
        """Tell whether the cited lines hold hardly anything of what a claim says; no where it cites none."""
        own = [span for span in spans if span in draft.spans]
        lines = (
            "\n".join(self.values.cited_lines(draft, anchors, spans)) if own or any(a.lines for a in anchors) else ""
        )
        blocks = (self.evidence[name] for name in dict.fromkeys(span.evidence for span in own))
        # Of a ticket, a design or a commit the title and what it links to are part of what is cited.
        lines += "".join(f"\n{naming(block)}" for block in blocks if block.chunk.kind != "code")
        if not lines.strip() or has_plenty(draft.text, lines):
            return False
        return self.resolver.bearing(draft.text, lines).is_weak

    def place_numbers(
        self, results: Sequence[AnchorResult], draft: ClaimDraft, anchors: Sequence[Anchor], spans: Sequence[Span]
    ) -> list[AnchorResult]:
        """Leave the numbers open that were found, but in no line that speaks of what the claim names."""
        found = [r.anchor for r in results if r.anchor.kind == "number" and r.place in ("ok_near", "misattributed")]
        wrong = dict(self.values.misplaced_numbers(found, draft, anchors, spans))
        return [
            AnchorResult(r.anchor, "unverified", reason=wrong[r.anchor]) if r.anchor in wrong else r for r in results
        ]

    # -- anchors -----------------------------------------------------------------------------------------------------

    def resolve_all(self, anchor: Anchor, spans: Sequence[Span]) -> list[AnchorResult]:
        """Find an anchor, or the names inside a code passage that is nowhere as it is written."""
        if anchor.kind == "lines":
            return [self.resolve_lines(anchor)]
        if anchor.kind != "passage" or anchor.exempt:
            return [self.resolve(anchor, spans)]
        whole = self.resolve(replace(anchor, kind="quote"), spans)
        if whole.place not in ("misquoted", "exempt"):
            return [replace(whole, anchor=anchor)]
        if other := self.differing_passage(anchor.text):
            place_there: Place = "unverified" if is_call_argument(anchor.text) else "contradicted"
            return [AnchorResult(anchor, place_there, reason=f"The code has `{other}`, not `{anchor.text}`.")]
        if reason := self.values.foreign_number(anchor.text):
            return [AnchorResult(anchor, "unverified", reason=reason)]
        parts = (*passage_anchors(anchor), *(Anchor("number", number) for number in long_numbers(anchor.text)))
        inner = [self.resolve(part, spans) for part in parts]
        return inner or [AnchorResult(anchor, "exempt")]

    def resolve(self, anchor: Anchor, spans: Sequence[Span]) -> AnchorResult:
        """Find one anchor; the first place in the order of the ledger wins."""
        if anchor.text in self.own or (anchor.exempt and not (near := self.grown_from(anchor))):
            return AnchorResult(anchor, "exempt")
        if anchor.exempt:
            return AnchorResult(anchor, "fabricated", nearest=near)
        for span in spans:
            if self.is_in_lines(anchor, span):
                return AnchorResult(anchor, "ok", span)
        cited = {(self.evidence[s.evidence].chunk.source, self.evidence[s.evidence].chunk.ref) for s in spans}
        elsewhere: Span | None = None
        is_somewhere = anchor.kind in ("path", "number") or holds_words(self._all, anchor.text)
        for block in self.evidence.values() if is_somewhere else ():
            where = self.find_in_block(anchor, block)
            if where and (self.cites_all or (block.chunk.source, block.chunk.ref) in cited):
                return AnchorResult(anchor, "ok_near", where)
            elsewhere = elsewhere or where
        if elsewhere:
            return AnchorResult(anchor, "misattributed", elsewhere)
        return self.resolve_outside(anchor)

    def grown_from(self, anchor: Anchor) -> tuple[str, ...]:
        """Return the real names that an example holds whole: "classes like `CacheManager`" where there is a `Cache`."""
        name = anchor.text.rpartition("/")[2]
        if anchor.kind not in ("symbol", "path") or META_NAME.match(name) or not SHAPED.search(name):
            return ()
        if self.exists(anchor) or holds_words(self._all, name) or is_external(name):
            return ()
        found = self.resolver.near_paths(anchor.text) if anchor.kind == "path" else self.resolver.near_names(name)
        real = (near for near in found if len(near) >= LEAST_REAL and near.rpartition("/")[2].lower() in name.lower())
        return tuple(real)

    def resolve_outside(self, anchor: Anchor) -> AnchorResult:
        """Find an anchor that no evidence holds: in the repository, its history, the question, or nowhere."""
        if anchor.kind == "quote":
            return AnchorResult(anchor, "misquoted" if self.is_citing(anchor) else "exempt")
        if anchor.kind in ("number", "version"):
            known = anchor.text.lower() in self.question or digits(anchor.text) in self.question
            return AnchorResult(anchor, "exempt" if known else "unverified")
        if anchor.kind == "path":
            return self.resolve_path(anchor)
        if anchor.kind == "symbol" and not self.resolver.is_current(anchor.text):
            if past := self.resolver.past(anchor.text):
                return stale_result(anchor, past)
        if anchor.kind == "symbol" and self.is_others(anchor.text):
            return AnchorResult(anchor, "external")
        if self.exists(anchor):
            return AnchorResult(anchor, "unsupported_by_context")
        if anchor.text.lower() in self.question:
            return AnchorResult(anchor, "exempt")
        if not self.is_telling(anchor):
            return AnchorResult(anchor, "unverified")
        near = () if anchor.kind == "ticket" else self.resolver.near_names(anchor.text)
        return AnchorResult(anchor, "fabricated", nearest=near)

    def is_others(self, name: str) -> bool:
        """Tell whether a name is of the language, or a member of something that is imported from elsewhere."""
        head, *members = re.split(r"\.|::|->|#", name)
        return is_external(name) or (bool(members) and self.resolver.is_imported(head))

    def is_telling(self, anchor: Anchor) -> bool:
        """Tell whether it means anything that the repository does not know an anchor.

        A plain word in back-ticks may be any command's, a CamelCase word of the prose any product's, a ticket one of a
        tracker that is not indexed.
        """
        if anchor.kind == "ticket":
            return self.resolver.knows_tickets()
        if anchor.kind == "flag":
            return len(anchor.text) > SHORT_FLAG
        if anchor.kind == "symbol":
            return bool(SHAPED.search(anchor.text)) and (anchor.is_marked or not CAMEL.fullmatch(anchor.text))
        return anchor.kind not in ("route", "code")

    def is_citing(self, quote: Anchor) -> bool:
        """Tell whether a quote claims to be somebody's words: in a text of one's own, marks alone do not say so."""
        return not self.cites_all or bool(CITING.search(quote.before))

    def resolve_path(self, anchor: Anchor) -> AnchorResult:
        """Find a path that no evidence is of; `app.json` may be an attribute, `and/or` is none of both."""
        if self.resolver.has_path(anchor.text):
            last = self.resolver.last_line(anchor.text) if anchor.lines else None
            if anchor.lines and last is not None and anchor.lines[0] > last:
                return beyond(anchor, last)
            return AnchorResult(anchor, "unsupported_by_context")
        if "/" not in anchor.text:
            name = Anchor("symbol", anchor.text)
            parts = anchor.text.split(".")
            if any(self.find_in_block(name, b) for b in self.evidence.values()) or all(
                map(self.resolver.has_name, parts)
            ):
                return AnchorResult(anchor, "ok_near")
            if is_external(anchor.text):
                return AnchorResult(anchor, "external")
        if past := self.resolver.past_path(anchor.text):
            return stale_result(anchor, past)
        if anchor.text.lower() in self.question or not PATH_LIKE.search(anchor.text) or self.is_elsewhere(anchor.text):
            return AnchorResult(anchor, "exempt")
        return AnchorResult(anchor, "fabricated", nearest=self.resolver.near_paths(anchor.text))

    def differing_passage(self, code: str) -> str:
        """Return what the evidence has in the place of a passage that differs in nothing but its literals."""
        words = {word for word in WORD.findall(code) if not word[0].isdigit() and word.lower() not in ("true", "false")}
        for block in self.evidence.values():
            if all(word in self._whole[block.id] for word in words):
                if block.id not in self._plain:
                    self._plain[block.id] = " ".join(block.chunk.text.split())
                if other := differing(code, self._plain[block.id]):
                    return other
        return ""

    def is_elsewhere(self, path: str) -> bool:
        """Tell whether a path lies in a folder of tools or results that the repository does not keep: `.vscode/`."""
        folder, slash, _ = path.partition("/")
        if path.startswith(("~", "/")):
            return True
        return bool(slash and folder.startswith(".") and not self.resolver.has_path(folder))

    def resolve_lines(self, anchor: Anchor) -> AnchorResult:
        """Check lines that are named beside a path: they have to be in the file."""
        last = self.resolver.last_line(anchor.text) if anchor.text and anchor.lines else None
        if last is not None and anchor.lines and anchor.lines[0] > last:
            return beyond(anchor, last)
        return AnchorResult(anchor, "exempt")

    def exists(self, anchor: Anchor) -> bool:
        """Tell whether the repository has it."""
        if anchor.kind == "ticket":
            return self.resolver.has_key(anchor.text)
        if anchor.kind == "flag":  # libraries make them of parameters: `dry_run` is --dry-run
            return self.resolver.has_text(anchor.text) or self.resolver.is_current(parameter_of(anchor.text))
        if anchor.kind in ("route", "code"):
            return self.resolver.has_text(anchor.text)
        if anchor.kind == "path":
            return self.resolver.has_path(anchor.text)
        return self.resolver.has_name(anchor.text) or self.resolver.is_composed(anchor.text)

    def is_in_lines(self, anchor: Anchor, span: Span) -> bool:
        """Tell whether the cited lines, or what names them, hold an anchor."""
        block = self.evidence[span.evidence]
        if anchor.kind in ("symbol", "flag", "ticket") and not self.may_hold(block, anchor.text):
            return False
        text = block.slice(span.start_line, span.end_line)
        if anchor.kind == "quote":
            return holds_quote(text, anchor.text) or holds_quote(naming(block), anchor.text)
        if anchor.kind == "path":
            return names_path(block, anchor) or (not is_path_of(block, anchor) and contains_name(text, anchor.text))
        if anchor.kind == "number":
            return holds_number(f"{text}\n{dates_of(block)}", anchor.text)
        return contains_name(f"{text}\n{naming(block)}", anchor.text)

    def may_hold(self, block: Evidence, name: str) -> bool:
        """Tell whether a block has the words of a name."""
        return holds_words(self._whole[block.id], name)

    def find_in_block(self, anchor: Anchor, block: Evidence) -> Span | None:
        """Return the lines of a block that hold an anchor."""
        if anchor.kind == "quote":
            if not self.may_hold(block, anchor.text) or not holds_quote(block.chunk.text, anchor.text):
                return None
            return next((where for part in quote_parts(anchor.text)[:1] if (where := block.locate(part))), None)
        if anchor.kind == "path" and is_path_of(block, anchor):
            if not names_path(block, anchor):
                return None
            return block.span(*(anchor.lines or (block.chunk.start_line, block.chunk.start_line)))
        if anchor.kind == "number":
            if block.id not in self._numbers:
                self._numbers[block.id] = numbers_in(self._whole[block.id])
            if not self._numbers[block.id].intersection(readings(anchor.text)):
                return None
        elif not self.may_hold(block, anchor.text) or not contains_name(self._whole[block.id], anchor.text):
            return None
        test = holds_number if anchor.kind == "number" else contains_name
        for number, line in enumerate(block.lines, block.chunk.start_line):
            if test(line, anchor.text):
                return block.span(number, number)
        if anchor.kind != "number":  # named by the header of the block only
            return block.span(block.chunk.start_line, block.chunk.start_line)
        return None

    # -- what is said of them ----------------------------------------------------------------------------------------

    def search_absence(self, absence: Absence, spans: Sequence[Span]) -> Absence:
        """Look for what is said to be absent, where it is said to be."""
        if absence.scope == "everywhere":
            return replace(absence, hits=int(self.resolver.is_defined(absence.name)))
        last = (IDENTIFIER.findall(absence.name) or [absence.name])[-1]
        if "/" in absence.scope or PATH_LIKE.search(absence.scope):
            return replace(absence, hits=int(self.facts.holds(absence.scope, last)), files=(absence.scope,))
        bodies = [one for one in self.facts.definitions(absence.scope) if one.name != last]
        files = tuple(dict.fromkeys(f"{one.path}:{one.start_line}-{one.end_line}" for one in bodies))
        hits = sum(last in (one.calls | one.raises if absence.verb == "call" else one.names) for one in bodies)
        return replace(absence, hits=hits, files=files)


def absence_result(absence: Absence, everywhere: str) -> AnchorResult:
    """Return what an absence search means for its claim. `everywhere`: what is looked through where nothing is said."""
    anchor = Anchor("symbol", absence.name)
    where = ", ".join(absence.files) or everywhere
    if absence.hits:
        return AnchorResult(anchor, "contradicted", reason=f"'{absence.name}' is there: found in {where}.")
    if absence.files or absence.scope == "everywhere":
        return AnchorResult(anchor, "ok", reason=f"Searched {where} for '{absence.name}': nothing.")
    return AnchorResult(anchor, "exempt")


def admit_gone(result: AnchorResult, text: str) -> AnchorResult:
    """Exempt what a claim itself says is gone: "`old` was removed" is borne out by its being nowhere."""
    anchor = result.anchor
    if result.place not in ("fabricated", "stale") or anchor.end <= anchor.start:
        return result
    is_said = WENT.match(text, anchor.end) or TAKEN.search(text[max(0, anchor.start - 40) : anchor.start])
    return replace(result, place="exempt") if is_said else result


def beyond(anchor: Anchor, last: int) -> AnchorResult:
    """Return the result for a pointer past the end of its file."""
    first, end = anchor.lines or (0, 0)
    return AnchorResult(anchor, "contradicted", reason=f"{anchor.text} has {last} lines, not {max(first, end)}.")


def stale_result(anchor: Anchor, past: Past) -> AnchorResult:
    """Return the result for what the history knows and the tree does not."""
    return AnchorResult(anchor, "stale", nearest=past.replaced_by, reason=past.describe(anchor.text))


def long_numbers(code: str) -> list[str]:
    """Return the numbers of a code passage that are not found anywhere by chance."""
    return [number for number in NUMBER.findall(code) if len(number) > 1]


def holds_words(text: str, name: str) -> bool:
    """Tell whether a text holds the characters of all words of a name: quick, and never wrongly no."""
    return all(word in text for word in WORD.findall(name))


def parameter_of(flag: str) -> str:
    """Return the name of the parameter that a command-line flag usually stands for: --no-dry-run -> dry_run."""
    return flag.lstrip("-").removeprefix("no-").replace("-", "_")


def check_claims(
    drafts: Sequence[ClaimDraft],
    evidence: Sequence[Evidence],
    question: str,
    resolver: Resolver,
    own: frozenset[str] = frozenset(),
) -> tuple[CheckedClaim, ...]:
    """Pass all claims through the ledger. `own`: names that the text defines itself."""
    ledger = Ledger(evidence, question, resolver, own)
    return tuple(ledger.check(draft) for draft in drafts)


def check_premises(question: str, evidence: Sequence[Evidence], resolver: Resolver) -> tuple[Finding, ...]:
    """Return what a question takes for granted and the code excludes: "why does X call Y" when it does not."""
    ledger = Ledger(evidence, "", resolver)
    # In a question a plain word with a capital may be a name: "why does `run` call Abort".
    question = CAPITALISED.sub(lambda word: f"`{word[0]}`" if resolver.is_defined(word[0]) else word[0], question)
    relations = find_relations(question, find_anchors(question))
    return tuple(finding for relation in relations if (finding := ledger.relations.check(relation)).holds == "no")


def list_false_premises(question: str, evidence: Sequence[Evidence], resolver: Resolver) -> tuple[Ungrounded, ...]:
    """Return what a question takes for granted wrongly, as parts of the question that are contradicted."""
    return tuple(
        Ungrounded(
            "question", f"{f.relation.subject} {f.relation.predicate} {f.relation.object}", "contradicted", f.reason
        )
        for f in check_premises(question, evidence, resolver)
    )


def list_ungrounded_claims(claims: Sequence[CheckedClaim]) -> tuple[Ungrounded, ...]:
    """Return the claims that the evidence does not support."""
    return tuple(
        Ungrounded("claim", claim.draft.text, claim.verdict, claim.reason, claim.nearest)
        for claim in claims
        if claim.verdict in OPEN
    )


def decide_verdict(results: Sequence[AnchorResult]) -> tuple[Verdict, str]:
    """Return the worst verdict of the anchors that count, and why."""
    counted = [result for result in results if result.place not in UNCOUNTED]
    if not counted:
        return "no_anchor", "Nothing in it can be looked up: no path, name, key, number or quote."
    verdicts = [(verdict_of(result.place), result) for result in counted]
    verdict, worst = min(verdicts, key=lambda pair: WORST_FIRST.index(pair[0]))
    return verdict, worst.reason or REASONS[worst.place].format(text=worst.anchor.text)


def verdict_of(place: Place) -> Verdict:
    """Return the verdict that one anchor's place means for its claim."""
    return "supported" if place in ("ok", "ok_near", "exempt", "external") else place  # type: ignore[return-value]


CAPITALISED = re.compile(r"(?<=\s)[A-Z][A-Za-z0-9]*(?![\w`.(:])")
WEAK_REASON = "Its names are there, but the cited lines hold hardly anything of what it says."
QUOTE_ONLY = "Its quote is there, but the lines around it hold hardly anything of what it says."
REASONS: dict[Place, str] = {
    "ok": "Found in the cited lines.",
    "ok_near": "Found in the cited lines or the same file.",
    "misattributed": "'{text}' stands in other evidence; the citation was repaired.",
    "unsupported_by_context": "'{text}' exists in the index, but not in the evidence of this answer.",
    "stale": "'{text}' is no longer there.",
    "fabricated": "'{text}' exists nowhere in the index.",
    "misquoted": "'{text}' is not in the evidence word for word.",
    "unverified": "'{text}' is not in the evidence.",
    "contradicted": "The code says otherwise of '{text}'.",
    "exempt": "",
    "external": "",
}


def naming(block: Evidence) -> str:
    """Return what names a block: path, key, title, symbols and their context."""
    chunk = block.chunk
    symbols = " ".join(f"{symbol.qualname} {symbol.name}" for symbol in chunk.symbols)
    return "\n".join(
        filter(None, (chunk.ref, chunk.title, chunk.symbol, chunk.context, symbols, " ".join(chunk.links)))
    )


def dates_of(block: Evidence) -> str:
    """Return the days of a block's document, which a claim may give beside its key though no line has them."""
    chunk = block.chunk
    return " ".join(day[:10] for day in (chunk.created_at, chunk.updated_at, chunk.closed_at) if day)


def searchable(block: Evidence) -> str:
    """Return everything of a block in which names may stand."""
    return f"{block.chunk.text}\n{naming(block)}"


def contains_name(text: str, name: str) -> bool:
    """Tell whether a text holds a name as a whole word; a qualified name also by its last part."""
    if holds_whole(text.lower(), name.lower()) if name.startswith("#") else holds_whole(text, name):
        return True
    parts = [part for part in re.split(r"\.|::|->|#", name) if part]
    if len(parts) < 2:
        return False
    # `self.rows` and `Table.rows`: every part has to be there, not necessarily written together.
    return all(holds_whole(text, part) for part in parts)


def holds_whole(text: str, name: str) -> bool:
    """Tell whether a text holds a name with no letter, digit, `_` or `$` beside it, without a pattern for each name."""
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(name) : at + len(name) + 1]
        if not (before.isalnum() or before in WORD_MARKS) and not (after.isalnum() or after in WORD_MARKS):
            return True
        at = text.find(name, at + 1)
    return False


def names_path(block: Evidence, anchor: Anchor) -> bool:
    """Tell whether a block is of this path, and holds the line numbers given with it."""
    if not is_path_of(block, anchor):
        return False
    return anchor.lines is None or (block.chunk.start_line <= anchor.lines[0] and anchor.lines[1] <= block.end_line)


def is_path_of(block: Evidence, anchor: Anchor) -> bool:
    """Tell whether a path names the block's document."""
    path = block.chunk.path or ""
    return path == anchor.text or path.endswith("/" + anchor.text)


def quote_parts(quote: str) -> list[str]:
    """Return the parts of a quote between ellipses."""
    # a comma or full stop inside the closing mark may belong to the sentence around the quote
    parts = (part.strip() for part in re.split(r"…|\.\.\.$|\[\.\.\.\]", quote.rstrip(",.")))
    return [part for part in parts if part]


def holds_quote(text: str, quote: str) -> bool:
    """Tell whether a text holds a quote word for word after collapsing white space, its parts in order."""
    plain, at = collapse(text), 0
    for part in quote_parts(quote):
        found = plain.find(collapse(part), at)
        if found < 0:
            return False
        at = found + 1
    return True
