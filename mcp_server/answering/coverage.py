"""Coverage: which parts of the question the evidence does not speak of. Users read this list, so it must not cry wolf.

A part is reported when its word is plausibly a topic and (a) occurs nowhere in what the caller may see, or (b) is rare
in the index and missing from the evidence. Ordinary words, verb forms and paraphrases are left alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from mcp_server.answering.aspects import (
    ROOT_PREFIX,
    Aspect,
    Topic,
    find_topics,
    named_in,
    root,
    roots_of,
    variants,
)
from mcp_server.answering.evidence import Evidence
from mcp_server.answering.grounding import searchable
from mcp_server.answering.resolver import Resolver
from mcp_server.results import MissingName, Ungrounded
from mcp_server.retrieval.query import PATH, SHAPED

# Of all chunks: a word this rare, asked for and not in the evidence, was the point of the question. Plain words have
# synonyms ("rate" for "per second"), names have none.
RARE_SHARE = 0.002
RARE_NAME_SHARE = 0.01
NEAREST = 3


def list_uncovered(
    question: str, evidence: Sequence[Evidence], not_found: Sequence[MissingName], resolver: Resolver
) -> tuple[Ungrounded, ...]:
    """Return the parts of the question without evidence, in the order of the question."""
    missing = {name.name: name for name in not_found}
    texts = [searchable(block) for block in evidence]
    covered = group_roots(roots_of(texts))
    parts = {name.name: judge_missing(name, resolver) for name in missing.values()}
    for name in named_in(question):
        if name not in missing and not is_named(name, texts):
            part = judge_name(name, resolver)
            if part:
                parts.setdefault(name, part)
    spoken = roots_of(missing)
    for topic in find_topics(question):
        if topic.word.lower() in spoken or root(topic.word) in spoken or is_covered(topic.word, covered):
            continue
        part = judge_topic(topic, resolver)
        if part:
            parts.setdefault(topic.phrase, part)
            spoken |= roots_of([topic.phrase])
    at = question.lower()
    return merge_neighbours(question, sorted(parts.values(), key=lambda p: (at.find(p.text.lower()), p.text)))


def judge_missing(name: MissingName, resolver: Resolver) -> Ungrounded:
    """Return the part for a name that is not there: gone, as far as history tells, or never heard of."""
    past = resolver.past_path(name.name) if PATH.fullmatch(name.name) else resolver.past(name.name)
    if past is not None:
        return Ungrounded("question", name.name, "stale", past.describe(name.name), past.replaced_by or name.nearest)
    return Ungrounded(
        "question", name.name, "not_found", f"'{name.name}' exists nowhere in {name.where}.", name.nearest
    )


def merge_neighbours(question: str, parts: Sequence[Ungrounded]) -> tuple[Ungrounded, ...]:
    """Return the parts with those joined that stand next to each other in the question: "exponential smoothing"."""
    merged: list[Ungrounded] = []
    for part in parts:
        joined = f"{merged[-1].text} {part.text}" if merged else ""
        if joined and joined.lower() in question.lower() and merged[-1].verdict == part.verdict:
            reason = f"{merged[-1].reason} {part.reason}"
            merged[-1] = replace(part, text=joined, reason=reason, nearest=(*merged[-1].nearest, *part.nearest))
        else:
            merged.append(part)
    return tuple(merged)


def list_unanswered(aspects: Sequence[Aspect], answered: Container[int]) -> tuple[Ungrounded, ...]:
    """Return the aspects of which no statement is left."""
    return tuple(
        Ungrounded("question", aspect.text, "not_covered", "The evidence found allows no statement about it.")
        for number, aspect in enumerate(aspects)
        if number not in answered
    )


def list_unspoken(question: str, said: Sequence[str], known: Sequence[Ungrounded]) -> tuple[Ungrounded, ...]:
    """Return the names of a question of which no statement speaks and no cited line does, and no other part either."""
    told = " ".join(part.text for part in known)
    names = (name for name in named_in(question) if SHAPED.search(name) and not PATH.fullmatch(name))
    return tuple(
        Ungrounded("question", name, "not_covered", f"No statement here speaks of '{name}'.")
        for name in names
        if not is_named(name, said) and not is_named(name, [told])
    )


def is_named(name: str, texts: Sequence[str]) -> bool:
    """Tell whether some evidence holds a name, path or key as written or by its last part."""
    bare = name.strip("`").removesuffix("()")
    last = bare if PATH.fullmatch(bare) else bare.replace("::", ".").replace("->", ".").rsplit(".", 1)[-1]
    if any(c.isupper() for c in last):
        return any(last in text for text in texts)
    return any(last.lower() in text.lower() for text in texts)


def judge_name(name: str, resolver: Resolver) -> Ungrounded | None:
    """Return the part for a name that no evidence holds; None if it is not a name of the repository at all."""
    is_path = bool(PATH.fullmatch(name))
    exists = resolver.has_path(name) if is_path else resolver.has_name(name) or resolver.has_key(name)
    if exists:
        return Ungrounded(
            "question", name, "not_covered", f"'{name}' is in {resolver.where}, but not in the evidence found."
        )
    near = resolver.near_paths(name) if is_path else resolver.near_names(name)
    return Ungrounded("question", name, "not_found", f"'{name}' exists nowhere in {resolver.where}.", near[:NEAREST])


def group_roots(roots: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Return roots by their first letters, as many as two forms of one word agree in."""
    groups: dict[str, list[str]] = {}
    for one in roots:
        groups.setdefault(one[:ROOT_PREFIX], []).append(one)
    return groups


def is_covered(word: str, covered: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether the evidence speaks of a word: in another inflection, a known synonym or a longer form of it.

    `covered`: what `group_roots` makes of its roots.
    """
    parts = [root(part) for part in (word, *(word.lower().split("-") if "-" in word else ())) if part]
    if any(one in covered.get(one[:ROOT_PREFIX], ()) for one in parts):
        return True
    compact = word.lower().replace("-", "").replace("'s", "")
    return any(shares_root(compact, other) for other in covered.get(compact[:ROOT_PREFIX], ()))


def shares_root(word: str, other: str) -> bool:
    """Tell whether two words agree in their first letters far enough to be forms of one."""
    need = max(ROOT_PREFIX, round(0.75 * min(len(word), len(other))))
    return word[:need] == other[:need] and abs(len(word) - len(other)) <= 6 and len(other) >= need


def judge_topic(topic: Topic, resolver: Resolver) -> Ungrounded | None:
    """Return the part for a topic word that the evidence lacks; None if that says nothing about the question."""
    present = resolver.occurring(variants(topic.word))
    if not present:
        near = tuple(n for n in resolver.near_names(topic.word) if is_near(topic.word, n))
        reason = f"'{topic.word}' occurs nowhere in {resolver.where}."
        return Ungrounded("question", topic.phrase, "not_covered", reason, near)
    if resolver.frequency(sorted(present)) > (RARE_NAME_SHARE if topic.is_name else RARE_SHARE):
        return None
    reason = f"'{topic.word}' occurs in {resolver.where}, but not in the evidence found."
    return Ungrounded("question", topic.phrase, "not_covered", reason)


def is_near(word: str, name: str) -> bool:
    """Tell whether a name is near enough to a plain word to be worth showing."""
    plain = name.lower().replace("_", "")
    return len(plain) >= len(word) - 1 and plain[:3] == word.lower()[:3]
