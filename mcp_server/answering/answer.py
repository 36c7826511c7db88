"""The answering algorithm, top to bottom: context -> evidence -> decision -> claims -> ledger -> freshness -> text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from mcp_server.answering.abstain import ThresholdsOf, abstain_text, decide, other_product
from mcp_server.answering.aspects import Aspect, content_words, root, split_question
from mcp_server.answering.citations import Numbered, Pointer, document_of, number_citations
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.constants import follow_constants, follow_settings
from mcp_server.answering.coverage import list_unanswered, list_uncovered, list_unspoken
from mcp_server.answering.evidence import Evidence, build_evidence
from mcp_server.answering.flow import follow_calls
from mcp_server.answering.forms import find_forms
from mcp_server.answering.freshness import FreshnessChecker
from mcp_server.answering.generate import DEFAULT_RARITY, Generated
from mcp_server.answering.generator import ExtractiveGenerator, Generator, Material
from mcp_server.answering.grounding import (
    CheckedClaim,
    Ledger,
    check_claims,
    list_false_premises,
    list_ungrounded_claims,
)
from mcp_server.answering.lookups import LookedUp, look_up
from mcp_server.answering.naming import Asked
from mcp_server.answering.products import competing_products, group_by_product, product_note
from mcp_server.answering.reading import MIN_WORDS, find_reading, remaining, state_reading
from mcp_server.answering.resolver import Resolver
from mcp_server.results import AnswerEvent, Citation, Claim, Hit, Listener, MissingName, Ungrounded, ignore
from mcp_server.retrieval.context import GONE, SLOT_OF_KIND, Context, Link, chunk_tokens
from mcp_server.retrieval.model import RankedChunk, Retrieval, tell_renamed, use_present_names

NEAREST_MISSES = 3
CAPABILITIES = (
    "I answer questions about the indexed code, tickets, design documents and history, with file and line for each"
    " statement and a list of what was not found. Ask where something is implemented, how a flow works, why it is so,"
    " or what a ticket touches; or search with `search_code`."
)
EXTRACTIVE = ExtractiveGenerator()
NOT_COVERED = "The evidence says nothing about it."
# With a determiner after the verb: "merge sort" and "commit hash" are no orders.
ORDER = re.compile(
    r"^\W*(?:please |can you |could you |now )*(?:delete|erase|wipe|drop|remove|rename|run|execute|deploy|push|merge"
    r"|commit|revert|restart|install|uninstall|ignore|forget)"
    r" (?:the|all|any|every\w*|this|that|these|my|our|your|it|an?)\b",
    re.IGNORECASE,
)
ASKS = re.compile(r"\?|\b(?:where|how|why|what|which|when|who)\b", re.IGNORECASE)
READ_ONLY = "Nothing is done here, this only answers from what is indexed."
WARNING = "Little was found about this; the statements below are the nearest."


class Trace(Protocol):
    """What answering needs of a trace: spans whose value takes `record(...)`."""

    def span(self, name: str) -> Any:  # noqa: ANN401 - a context manager whose value has record(...)
        """Open a span."""
        ...


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How answers are put together."""

    keep_struck: bool = False  # show fabricated and contradicted claims in the text as well as in the list
    thresholds: ThresholdsOf | None = None  # of abstention; None: those that ship with the program


@dataclass(frozen=True, slots=True)
class ComposedAnswer:
    """The parts of an answer that do not depend on who asked or when; the service adds the rest."""

    answer: str
    mode: Literal["extractive", "model", "capabilities", "abstained"]
    claims: tuple[Claim, ...] = ()
    citations: tuple[Citation, ...] = ()
    ungrounded: tuple[Ungrounded, ...] = ()
    not_found: tuple[MissingName, ...] = ()
    stale: tuple[str, ...] = ()
    abstained: bool = False
    degraded: tuple[str, ...] = ()
    nearest: tuple[Hit, ...] = ()
    pointers: tuple[Pointer, ...] = ()  # what the citations were made from


def compose_answer(
    question: str,
    retrieval: Retrieval,
    context: Context,
    resolver: Resolver,
    checker: FreshnessChecker,
    settings: AnswerSettings,
    trace: Trace,
    generator: Generator = EXTRACTIVE,
    listen: Listener = ignore,
) -> ComposedAnswer:
    """Answer from the context alone; every statement is looked up, every citation compared with the tree now."""
    if retrieval.route == "smalltalk":
        return ComposedAnswer(CAPABILITIES, "capabilities")
    if is_mere_order(retrieval):
        return ComposedAnswer(f"{READ_ONLY}\n{CAPABILITIES}", "capabilities")
    retrieval = without_explained(retrieval, context.links)
    question = use_present_names(question, retrieval.entities)
    with trace.span("context") as span:
        evidence = build_evidence(context)
        span.record(
            config={"tokens": dict(context.tokens), "links": describe_links(context.links)},
            output=describe_context(evidence),
            dropped=[[drop.chunk_id, drop.reason] for drop in context.dropped],
        )
    with trace.span("coverage") as span:
        uncovered = (
            *list_false_premises(question, evidence, resolver),
            *(
                part
                for part in list_uncovered(question, evidence, retrieval.not_found, resolver)
                if part.text not in explained_names(context.links)
            ),
        )
        decision = decide(question, retrieval, context, settings.thresholds)
        span.record(output={"zone": decision.zone, "reason": decision.reason, "features": dict(decision.features)})
    if decision.zone == "abstain":
        other = other_product(retrieval)
        if other and not any(other.lower() in part.text.lower() for part in uncovered):
            uncovered = (*uncovered, Ungrounded("question", other, "not_covered", decision.reason))
        return abstain(retrieval, context, uncovered, checker, trace)
    listen(AnswerEvent("evidence", places=tuple(place_of(block) for block in evidence)))
    with trace.span("claims") as span:
        aspects = split_question(question)
        facts, known = LookedUp({}, evidence), evidence
        forms: dict[int, list[ClaimDraft]] = {}
        if isinstance(generator, ExtractiveGenerator):  # a model gets what its budget was packed with
            facts = look_up(aspects, evidence, resolver)
            evidence = facts.evidence
            ranked = [hit.chunk for hit in retrieval.chunks]
            forms, known = find_forms(aspects, ranked, evidence, rarity_of(retrieval), resolver.document)
        material = Material(question, aspects, evidence, rarity_of(retrieval), context.links, facts.told, forms)
        evidence = known
        ledger = Ledger(evidence, question, resolver)
        generated = generator.generate(material, lambda draft: announce(draft, ledger, checker, listen))
        span.record(output={"generator": generated.mode, "claims": [draft.text for draft in generated.claims]})
        uncovered = (
            *uncovered,
            *facts.missing,
            *(Ungrounded("question", part, "not_covered", NOT_COVERED) for part in generated.not_covered),
        )
    with trace.span("ledger") as span:
        checked = tuple(map(ledger.check, generated.claims))
        holds = any(claim.verdict in ("supported", "weak", "misattributed") for claim in checked)
        if holds and generated.mode == "extractive":
            followed, evidence = follow_constants(checked, evidence, resolver)
            settings_of, evidence = follow_settings(aspects, checked, evidence, resolver)
            flow, evidence = follow_calls(aspects, checked, evidence, resolver)
            checked = (*checked, *check_claims((*followed, *settings_of, *flow), evidence, question, resolver))
            further, evidence = read_on(question, retrieval, checked, evidence, len(aspects), resolver)
            checked = (*checked, *further)
        span.record(output=describe_ledger(checked))
    if not holds:
        none = abstain(retrieval, context, uncovered, checker, trace, list_ungrounded_claims(checked))
        return replace(none, degraded=join_codes(none.degraded, generated.degraded))
    with trace.span("freshness") as span:
        numbered = number_citations([claim.spans for claim in checked if not claim.is_struck], by_id(evidence))
        citations = check_citations(numbered, checker)
        span.record(output={c.id: [c.freshness, c.moved_to] for c in citations})
    with trace.span("respond") as span:
        composed = respond(
            checked, numbered, citations, uncovered, retrieval, aspects, generated, facts, settings, checker,
            is_warned=decision.zone == "warn" and len(facts.told) < len(aspects),
        )  # fmt: skip
        span.record(output={"answer": composed.answer, "ungrounded": len(composed.ungrounded)})
    return composed


def is_mere_order(retrieval: Retrieval) -> bool:
    """Tell whether somebody wants something done, and neither asks nor names anything that is there."""
    return bool(ORDER.match(retrieval.query)) and not ASKS.search(retrieval.query) and not retrieval.entities


def without_explained(retrieval: Retrieval, links: Sequence[Link]) -> Retrieval:
    """Return the retrieval without the missing and renamed names of which history says what became of them."""
    explained = explained_names(links)
    return replace(
        retrieval,
        not_found=tuple(name for name in retrieval.not_found if name.name not in explained),
        entities=tuple(e for e in retrieval.entities if e.kind != "renamed" or e.text not in explained),
    )


def renamed_notes(retrieval: Retrieval) -> tuple[str, ...]:
    """Return what to say of the files asked for by an old name of which no commit tells."""
    return tuple(tell_renamed(entity) for entity in retrieval.entities if entity.kind == "renamed")


def explained_names(links: Sequence[Link]) -> frozenset[str]:
    """Return the names of which history says what became of them."""
    return frozenset(link.about for link in links if link.relation in GONE)


def read_on(
    question: str,
    retrieval: Retrieval,
    checked: Sequence[CheckedClaim],
    evidence: tuple[Evidence, ...],
    aspect: int,
    resolver: Resolver,
) -> tuple[tuple[CheckedClaim, ...], tuple[Evidence, ...]]:
    """Return statements that name what else to read, as far as citations may go, and the evidence with their lines."""
    if len(question.split()) < MIN_WORDS:
        return (), evidence
    cited = number_citations([claim.spans for claim in checked if not claim.is_struck], by_id(evidence)).pointers
    budget = remaining([(*document_of(p.evidence), p.start_line, p.end_line, p.text) for p in cited])
    ranges = find_reading(asked_of(question, retrieval), retrieval.chunks, resolver.document, budget)
    drafts, blocks = state_reading(ranges, evidence, aspect)
    return check_claims(drafts, blocks, question, resolver), blocks


def asked_of(question: str, retrieval: Retrieval) -> Asked:
    """Return a question as names are compared with it."""
    rarity = rarity_of(retrieval)
    return Asked(question, {root(word): rarity.get(root(word), DEFAULT_RARITY) for word in content_words(question)})


def announce(draft: ClaimDraft, ledger: Ledger, checker: FreshnessChecker, listen: Listener) -> None:
    """Tell of a claim as soon as it passed the ledger; one that is struck is never told."""
    if listen is ignore:
        return
    claim = ledger.check(draft)
    if claim.is_struck:
        return
    numbered = number_citations([claim.spans], ledger.evidence)
    citations = check_citations(numbered, checker)
    told = Claim(claim.draft.text, claim.verdict, claim.reason, tuple(c.id for c in citations))
    listen(AnswerEvent("claim", claim=told, citations=citations))


def place_of(block: Evidence) -> str:
    """Return where a block stands, for people."""
    return f"{block.chunk.ref}:{block.chunk.start_line}-{block.end_line}"


def abstain(
    retrieval: Retrieval,
    context: Context,
    uncovered: Sequence[Ungrounded],
    checker: FreshnessChecker,
    trace: Trace,
    failed: Sequence[Ungrounded] = (),
) -> ComposedAnswer:
    """Say that there is no answer, with the nearest misses."""
    with trace.span("respond") as span:
        misses = unique_documents(context.kept or retrieval.chunks)[:NEAREST_MISSES]
        hits = tuple(make_hit(ranked, checker) for ranked in misses)
        refs = [f"{hit.path or hit.key}:{hit.start_line}-{hit.end_line}" for hit in hits]
        found = abstain_text(retrieval.not_found, uncovered, refs, retrieval.where)
        text = "\n".join((*renamed_notes(retrieval), *retrieval.emptied, found))
        text = f"{READ_ONLY}\n{text}" if ORDER.match(retrieval.query) else text
        span.record(output={"answer": text, "abstained": True})
    return ComposedAnswer(
        answer=text,
        mode="abstained",
        ungrounded=(*uncovered, *failed),
        not_found=retrieval.not_found,
        abstained=True,
        degraded=join_codes(retrieval.degraded, checker.degraded),
        nearest=hits,
    )


def respond(
    checked: Sequence[CheckedClaim],
    numbered: Numbered,
    citations: tuple[Citation, ...],
    uncovered: Sequence[Ungrounded],
    retrieval: Retrieval,
    aspects: Sequence[Aspect],
    generated: Generated,
    facts: LookedUp,
    settings: AnswerSettings,
    checker: FreshnessChecker,
    *,
    is_warned: bool,
) -> ComposedAnswer:
    """Put the checked parts together."""
    ids = iter(numbered.of_claim)
    pointers = [() if claim.is_struck else next(ids) for claim in checked]
    shown = [(c, p) for c, p in zip(checked, pointers, strict=True) if settings.keep_struck or not c.is_struck]
    unanswered = list_unanswered(aspects, generated.covered | {claim.draft.aspect for claim, _ in shown})
    said = (*(claim.draft.text for claim, _ in shown), *(pointer.text for pointer in numbered.pointers))
    unspoken = list_unspoken(retrieval.query, said, (*uncovered, *unanswered))
    products = competing_products(retrieval.query, retrieval.chunks)
    counts = Counter(claim.draft.aspect for claim, _ in shown)
    rests = {aspect: rest for aspect, one in facts.listed.items() if (rest := one.rest(counts[aspect]))}
    text = compose_by_product(shown, citations, len(aspects) + 1, products, rests)  # the last: what to read on
    kept_apart = product_note(products, [citation.product for citation in citations])
    ordered = READ_ONLY if ORDER.match(retrieval.query) else ""
    denied = (f"That is not so: {part.reason}" for part in uncovered if part.verdict == "contradicted")
    absent = (part.reason for part in facts.missing)
    notes = (*renamed_notes(retrieval), *retrieval.emptied, *denied, *absent, generated.note)
    heads = (ordered, *notes, WARNING if is_warned else "", kept_apart)
    return ComposedAnswer(
        answer="\n".join((*filter(None, heads), text)),
        mode=generated.mode,
        claims=tuple(Claim(c.draft.text, c.verdict, c.reason, p) for c, p in zip(checked, pointers, strict=True)),
        citations=citations,
        ungrounded=(*uncovered, *unanswered, *unspoken, *list_ungrounded_claims(checked)),
        not_found=retrieval.not_found,
        stale=tuple(c.id for c in citations if c.freshness in ("moved", "changed", "gone")),
        degraded=join_codes(retrieval.degraded, generated.degraded, checker.degraded),
        pointers=numbered.pointers,
    )


def compose_by_product(
    shown: Sequence[tuple[CheckedClaim, tuple[str, ...]]],
    citations: Sequence[Citation],
    aspects: int,
    products: Sequence[str],
    rests: Mapping[int, str],
) -> str:
    """Return the claims as prose, those of each product under its name where there are several."""
    product_of = {citation.id: citation.product for citation in citations}
    groups: dict[str, list[tuple[CheckedClaim, tuple[str, ...]]]] = {name: [] for name in products}
    for claim, pointers in shown:
        groups.setdefault(group_by_product(product_of, pointers), []).append((claim, pointers))
    filled = {name: own for name, own in groups.items() if own}
    if len(filled) < 2 and not products:
        return compose_text(shown, citations, aspects, rests)
    texts = ((name, compose_text(own, citations, aspects, {})) for name, own in filled.items())
    return "\n\n".join(f"In {name}:\n{text}" if name else text for name, text in texts)


def compose_text(
    shown: Sequence[tuple[CheckedClaim, tuple[str, ...]]],
    citations: Sequence[Citation],
    aspects: int,
    rests: Mapping[int, str],
) -> str:
    """Return the claims as prose: one paragraph per aspect, steps numbered, each with its citations.

    `rests`: what is said last of an aspect of which not all is shown.
    """
    state = {c.id: c.freshness for c in citations}
    paragraphs: list[str] = []
    for aspect in range(aspects):
        lines: list[str] = []
        own = [(claim, pointers) for claim, pointers in shown if claim.draft.aspect == aspect]
        is_list = sum(claim.draft.form == "step" for claim, _ in own) > 1
        step = 0
        for claim, pointers in own:
            step += claim.draft.form == "step"
            lead = "- " if claim.draft.form == "item" else ""
            lead = f"{step}. " if claim.draft.form == "step" and is_list else lead
            lines.append(f"{lead}{claim.draft.text}{mark(pointers, state)}")
        if lines:
            paragraphs.append("\n".join((*lines, *filter(None, (rests.get(aspect),)))))
    return "\n\n".join(paragraphs)


def mark(pointers: Sequence[str], state: Mapping[str, str]) -> str:
    """Return the citation marks of a claim; what is no longer so in the tree says it."""
    gone = {"moved": " (moved)", "changed": " (changed since)", "gone": " (no longer there)"}
    return "".join(f" [{pointer}]{gone.get(state[pointer], '')}" for pointer in pointers)


def check_citations(numbered: Numbered, checker: FreshnessChecker) -> tuple[Citation, ...]:
    """Return the citations with the freshness of their lines."""
    citations = []
    for pointer in numbered.pointers:
        chunk = pointer.evidence.chunk
        now = checker.check_lines(chunk, pointer.start_line, pointer.text, pointer.symbol)
        citations.append(
            Citation(
                id=pointer.id,
                path=chunk.path,
                key=chunk.key,
                start_line=pointer.start_line,
                end_line=pointer.end_line,
                symbol=pointer.symbol,
                source=chunk.source,
                product=chunk.product,
                revision=checker.revision(chunk.source),
                freshness=now.freshness,
                moved_to=now.moved_to,
            )
        )
    return tuple(citations)


def make_hit(ranked: RankedChunk, checker: FreshnessChecker) -> Hit:
    """Return a ranked chunk as a hit, with its freshness."""
    chunk = ranked.chunk
    return Hit(
        path=chunk.path,
        key=chunk.key,
        title=chunk.title,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        symbol=chunk.symbol,
        kind=chunk.kind,
        text=chunk.text,
        score=ranked.score,
        why=ranked.why,
        source=chunk.source,
        product=chunk.product,
        revision=checker.revision(chunk.source),
        freshness=checker.check_chunk(chunk).freshness,
        chunk_id=chunk.id,
        language=chunk.language,
        context=chunk.context,
        flags=chunk.flags,
    )


def rarity_of(retrieval: Retrieval) -> dict[str, float]:
    """Return the idf of each word root of the query; a root has the rarest of its forms."""
    rarity: dict[str, float] = {}
    for term in retrieval.terms:
        key = root(term.form)
        rarity[key] = max(rarity.get(key, 0.0), term.idf)
    return rarity


def by_id(evidence: Sequence[Evidence]) -> dict[str, Evidence]:
    """Return evidence by its id."""
    return {block.id: block for block in evidence}


def unique_documents(ranked: Sequence[RankedChunk]) -> list[RankedChunk]:
    """Return the best chunk of each document, in rank order."""
    return list({(hit.chunk.source, hit.chunk.ref): hit for hit in reversed(ranked)}.values())[::-1]


def join_codes(*codes: Sequence[str]) -> tuple[str, ...]:
    """Return degraded codes without repeats, in order."""
    return tuple(dict.fromkeys(code for group in codes for code in group))


def describe_context(evidence: Sequence[Evidence]) -> list[list[object]]:
    """Return the kept chunks for the trace: id, no score, evidence id, slot and tokens."""
    return [
        [b.chunk.id, None, {"evidence": b.id, "slot": SLOT_OF_KIND[b.chunk.kind], "tokens": chunk_tokens(b.chunk)}]
        for b in evidence
    ]


def describe_links(links: Sequence[Link]) -> list[list[object]]:
    """Return the links for the trace: relation, what was asked, from where to where, and the lines there."""
    return [[n.relation, n.about, n.origin.ref, n.target.ref, n.start_line, n.end_line] for n in links]


def describe_ledger(checked: Sequence[CheckedClaim]) -> list[dict[str, object]]:
    """Return the ledger for the trace: each claim's verdict and where each anchor was found."""
    return [
        {
            "text": claim.draft.text,
            "verdict": claim.verdict,
            "anchors": [[r.anchor.kind, r.anchor.text, r.place] for r in claim.anchors],
        }
        for claim in checked
    ]
