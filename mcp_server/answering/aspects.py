"""Aspects: the separate things that a question asks for, and the words that say what it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

from ingest.index.tokens import split_identifier, stem
from mcp_server.retrieval.query import DESIGN, PATH, SCAFFOLD_WORDS, STOP_WORDS, TICKET, find_identifiers

Intent = Literal["where", "what", "how", "why", "ticket", "default"]

MAX_ASPECTS = 4

# Words that carry no topic of their own: a question about "the usual way to deal with errors" is about errors.
# Compared by stem, so one form of each is enough.
COMMON_WORDS = """
able absent accept access accomplish accord account achieve act action actual add address adjust affect ago agree aim
allow almost alone along already alternative always among amount another answer anyone anything anywhere apart appear
apply approach appropriate area around arrange arrive ask aspect assume attach attempt automatic available avoid aware
away back background bad base basic become begin behave behaviour behavior behind believe belong best better big bit
both bottom break brief bring build built call cannot capable care carry case catch cause certain chain chance change
check choice choose chosen clarify clean clear close code codebase collect combine come common compare compatible
complete complex component compose concept concern condition conduct confirm connect consider consist constrain contain
content contrast contribute control convert cope copy correct correspond cost count couple cover create current custom
cut daily data deal decide declare deep default define degree deliver depend derive describe design despite detail
detect determine develop differ different direct disable discard discover discuss display distinct distinguish divide
document double due duplicate ease easy edge effect either element elsewhere embed emerge emit enable encounter end
enforce engine engineer enough ensure enter entire entry equal equivalent error especially essential establish etc
evaluate even eventually ever every everything everywhere exact examine example except exceed execute exist expect
explain explicit expose express extend extent external extra extract face fact fail failure fall far fast feature
feed feel fetch field figure fill final find fine finish first fit five fix flag flow focus follow force forget form
former forward found four frequent full fully function fundamental gather general generate give given go goal gone
good great group grow guarantee guard guess guide half hand handle hang happen hard have head hear help hide high hit
hold hook hope huge idea identify ignore immediate impact imply important impose improve incoming indeed indicate
individual influence inform initial initialise initialize inner input inside insert install instance instead intend
interact interest interface intern internal introduce invalid invoke involve issue item job join keep kept kind know
known lack large last late later latter layer lead learn least leave left less let level library lie life like likely
limit line link list listen little live load local locate logic long look lose lost lot low main maintain major make
manage mandatory manner manual many mark match matter maximum maybe mean meaning means mechanism meet member mention
method middle might mind minimum minor miss mode model modify module moment move much multiple must name nature near
necessary need neither never nevertheless new next nice none nor normal note nothing notice notion now nowhere number
object observe obtain obvious occasion occur off offer often okay old once one ongoing open operate operation opposite
option optional order ordinary organise organize origin original others otherwise outcome outgoing outside outer output
overall overview owner package page pair parameter part partial particular party pass past path pattern people perform
perhaps permit person pick piece place plain plan play please point portion possible potential practice prefer prepare
presence present pretty prevent previous primary principle prior probably problem procedure proceed process produce
program project proper properly property protect prove provide public pull purpose push put quality question quick
quickly quite raise range rather reach react read ready real realise realize really reason receive recent recognise
recognize record reduce refer reference reflect refuse regard register regular reject relate relation relative release
relevant rely remain remember remove render repeat replace report repo repository represent request require required
reserve resolve respect respond response responsible rest restrict result retain return reuse reveal right role roughly
route rule run safe safely same save say scenario second section secure see seem select send sense separate sequence
series serious serve service set setup setting settle several shape share short show shown side signal similar simple
simply since single situation size skip slight slow small smart solution solve somehow someone something sometimes
somewhere soon sort source space special specific specify spend split stage stand standard start state statement stay
step still stop store story straight strategy stream strict string strong structure stuff style subject submit
subsequent succeed success such suddenly suit suitable supply support suppose sure surround switch system take taken
talk target task team technique tell tend term test text thank thing think third thought three throw thus ticket time
together tool top topic total touch toward track traditional transform treat trigger true try turn two type typical
under underlying understand unique unit unknown unless unlike unusual unwanted update upper upon usage useful user
usual valid validity value variant variety various vary version view visible want warn way week well whatever whenever
wherever whether whole wide wish without wonder word work world worry worth wrap write written wrong yes yet zero
away overwrite clobber decision rationale motivation trade tradeoff implementation ideal interpret inspect alter bypass
attention subtle careful correctly incorrectly twice else ahead aside besides beyond everyone nobody somebody yourself
itself themselves myself today yesterday recently actually basically currently essentially eventually generally mostly
normally specifically briefly described summary summarise summarize overview walk
"""

NOT_A_TOPIC = re.compile(r".*ly$|.*(?:ward|wards|wise)$|^\d+(?:\.\d+)*$")
CLAUSE_BORDER = re.compile(
    r"[?;\n]+\s*|(?<=[a-z)`])\.\s+(?=[A-Z])"
    r"|,?\s+(?:and|but|or|also|plus)\s+(?:also\s+)?(?=(?:where|how|what|why|which|who|when)\b)"
    r"|,\s+(?=(?:where|how|what|why|who|when)\s+(?:is|are|do|does|did|can|will|would|has|have)\b)",
    re.IGNORECASE,
)
INTENTS: tuple[tuple[Intent, re.Pattern[str]], ...] = (
    ("default", re.compile(r"\bdefaults?\b|\bvalue (?:of|does|is)\b|\bhow (?:many|much|long|large|big|often)\b", re.I)),
    ("why", re.compile(r"\bwhy\b|\breasons?\b|\brationale\b|\bmotivat|\bhow come\b|\bdecided?\b|\bdecision\b", re.I)),
    (
        "where",
        re.compile(r"\bwhere\b|\b(?:which|what) (?:file|module|class|function|method)s?\b|\blocat|\bdefined\b", re.I),
    ),
    ("ticket", re.compile(r"\b(?:tickets?|issues?|bugs?|pull requests?|prs?|reported)\b", re.I)),
    ("how", re.compile(r"\bhow\b|\bflow\b|\bsteps\b|\bwhat happens\b|\bwalk\b|\bend to end\b|\blifecycle\b", re.I)),
)
QUESTION_WORD = re.compile(r"^\W*(?:and |but |so )?(where|why|how)\b(?! (?:come|many|much|long|often))", re.I)
BACK_REFERENCE = re.compile(r"\b(?:it|its|they|their|them|this|that|these|those)\b", re.I)
WORD = re.compile(r"[^\W\d_][\w'’+#-]*[\w+#]|[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Topic:
    """One content word of the question; `phrase` is it together with the noun that it belongs to."""

    word: str
    phrase: str


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing asked for. What is `carried` comes from the clause before, where this one only says "it"."""

    text: str
    intent: Intent
    names: tuple[str, ...]  # identifiers, paths and keys as written
    words: tuple[str, ...]  # content words, lower case, in order
    carried: tuple[str, ...] = ()
    carried_names: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def common_stems() -> frozenset[str]:
    """Return the stems of the words that are no topic."""
    plain = (*COMMON_WORDS.split(), *SCAFFOLD_WORDS, *STOP_WORDS)
    return frozenset(stem(word) for word in plain)


def is_common(word: str) -> bool:
    """Tell whether a word is ordinary English without a topic of its own."""
    lower = word.lower()
    return lower in STOP_WORDS or lower in SCAFFOLD_WORDS or stem(lower) in common_stems()


def named_in(text: str) -> tuple[str, ...]:
    """Return identifiers, paths and keys of a text as written, without repeats."""
    return tuple(
        dict.fromkeys((*find_identifiers(text), *PATH.findall(text), *TICKET.findall(text), *DESIGN.findall(text)))
    )


def content_words(text: str) -> tuple[str, ...]:
    """Return the words that can match evidence: no stop words; identifiers whole and in parts; lower case."""
    found: dict[str, None] = {}
    for word in re.findall(r"\w+", text):
        lower = word.lower()
        if lower in STOP_WORDS or lower in SCAFFOLD_WORDS or (len(lower) < 2 and not lower.isdigit()):
            continue
        found.setdefault(lower)
        for part in split_identifier(word):
            if part not in STOP_WORDS and len(part) > 1:
                found.setdefault(part)
    return tuple(found)


def read_intent(text: str) -> Intent:
    """Return what kind of answer a clause wants."""
    if TICKET.search(text) and not re.search(r"\bwhere\b", text, re.I):
        return "ticket"
    asked = QUESTION_WORD.match(text)
    if asked and not INTENTS[0][1].search(text):
        return cast("Intent", asked[1].lower())
    return next((intent for intent, pattern in INTENTS if pattern.search(text)), "what")


def split_question(question: str) -> tuple[Aspect, ...]:
    """Split a question into its aspects, at most four; a clause that says "it" carries the words before it."""
    clauses = [clause.strip(" ,.") for clause in CLAUSE_BORDER.split(question)]
    aspects: list[Aspect] = []
    for clause in filter(None, clauses):
        names, words = named_in(clause), content_words(clause)
        if not words and not names:
            continue
        before = aspects[-1] if aspects else None
        refers = before if before and not names and BACK_REFERENCE.search(clause) else None
        carried = (*refers.words, *refers.carried) if refers else ()
        carried_names = (*refers.names, *refers.carried_names) if refers else ()
        aspects.append(Aspect(clause, read_intent(clause), names, words, carried, carried_names))
    if not aspects:
        return (Aspect(question, read_intent(question), named_in(question), content_words(question)),)
    return tuple(aspects[:MAX_ASPECTS])


def find_topics(question: str) -> tuple[Topic, ...]:
    """Return the content words that are plausibly what a question is about, in order, with their phrase."""
    masked = question
    for name in sorted(named_in(question), key=len, reverse=True):
        masked = masked.replace(name, " . ")
    topics: dict[str, Topic] = {}
    matches = list(WORD.finditer(masked))
    for at, match in enumerate(matches):
        word = match[0]
        if is_topic(word, masked, match):
            topics.setdefault(word.lower(), Topic(word, phrase_around(word, matches, at, masked)))
    return tuple(topics.values())


def is_topic(word: str, text: str, match: re.Match[str]) -> bool:
    """Tell whether a word is plausibly what the question is about, rather than how it is put."""
    lower = word.lower()
    if len(lower) < 3 and not word.isupper():
        return False
    if is_common(lower) or NOT_A_TOPIC.match(lower):
        return False
    if is_proper(word, text, match):
        return True
    if lower.endswith("ed") and not lower.endswith("eed"):
        return False  # a verb form says what is done, in one of many words for it
    return not lower.endswith("ing") or is_gerund_noun(text, match)


def is_proper(word: str, text: str, match: re.Match[str]) -> bool:
    """Tell whether a word is written as a name: a capital that no sentence start explains, or a digit in it."""
    starts = not text[: match.start()].strip() or text[: match.start()].rstrip()[-1] in ".?!:;"
    return any(c.isdigit() for c in word) or any(c.isupper() for c in word[1:]) or (word[0].isupper() and not starts)


def is_gerund_noun(text: str, match: re.Match[str]) -> bool:
    """Tell "rate limiting" and "is caching supported" from "for parsing the file"."""
    after = re.match(r"\s*(\w+)?", text[match.end() :])
    following = (after[1] or "").lower() if after else ""
    return following not in {
        "a",
        "an",
        "the",
        "each",
        "its",
        "their",
        "this",
        "that",
        "these",
        "those",
        "up",
        "out",
        "it",
    }


def phrase_around(word: str, matches: list[re.Match[str]], at: int, text: str) -> str:
    """Return the word with the noun right after it: `Redis` -> `Redis cache`."""
    if at + 1 >= len(matches) or text[matches[at].end() : matches[at + 1].start()] != " ":
        return word
    after = matches[at + 1][0]
    lower = after.lower()
    if lower in STOP_WORDS or lower in SCAFFOLD_WORDS or re.search(r"(?:ed|ing|ly)$", lower) or is_verb_like(lower):
        return word
    return f"{word} {after}"


def is_verb_like(lower: str) -> bool:
    """Tell whether a common word reads as the verb after a noun: "Redis help", "Kafka work"."""
    return lower in VERBS or (lower.endswith("s") and lower[:-1] in VERBS)


VERBS = frozenset(
    """help work use get handle do go run happen exist support need make take give look mean differ compare affect
    apply appear become behave come depend fail fit provide relate return want interact integrate""".split()
)


def root(word: str) -> str:
    """Return the form under which inflections and spelling variants of a word meet."""
    lower = word.lower()
    return SYNONYMS.get(stem(lower), stem(lower))


# Spellings and everyday pairs that one repository and its users tend to mix. By stem, both sides.
SYNONYMS = {
    "colour": "color", "folder": "directori", "dir": "directori", "config": "configur", "configurat": "configur",
    "auth": "authent", "authoris": "author", "authoriz": "author", "db": "databas", "repo": "repositori",
    "param": "paramet", "arg": "argument", "env": "environ", "centr": "center", "serialis": "serial",
    "serializ": "serial", "initialis": "initi", "initializ": "initi", "init": "initi", "init_": "initi",
    "async": "asynchron", "regex": "regular", "doc": "document", "docs": "document", "spec": "specif",
    "pictur": "imag", "img": "imag", "msg": "messag", "cmd": "command", "fn": "function", "func": "function",
    "behaviour": "behavior", "normalis": "normal", "normaliz": "normal", "optimis": "optim", "optimiz": "optim",
    "synchronis": "synchron", "synchroniz": "synchron", "sync": "synchron", "tokenis": "token", "tokeniz": "token",
}  # fmt: skip
ROOT_PREFIX = 5  # "redirection" and "redirects", "authentication" and "authenticator" agree in more than this


def variants(word: str) -> tuple[str, ...]:
    """Return index tokens under which a word may stand: itself, its stem and common inflections."""
    lower = word.lower().replace("’", "'").removesuffix("'s")
    base = stem(lower)
    bases = {lower, base, *(short for short, long in SYNONYMS.items() if long == root(lower)), root(lower)}
    endings = (
        "",
        "s",
        "es",
        "e",
        "ed",
        "d",
        "ing",
        "er",
        "ers",
        "or",
        "ors",
        "ion",
        "ions",
        "y",
        "ies",
        "able",
        "ment",
        "al",
    )
    doubled = (base + base[-1] + end for end in ("ed", "ing", "er")) if base else ()
    trimmed = (base[:-1] + end for end in ("y", "ies", "e", "es")) if base.endswith("i") else ()
    parts = [part for part in re.split(r"[-+#']", lower) if len(part) > 2] if re.search(r"[-+#']", lower) else []
    forms = (b + end for b in sorted(bases) for end in endings)
    return tuple(
        dict.fromkeys((lower, *forms, *doubled, *trimmed, *parts, lower.replace("-", ""), lower.replace("-", "_")))
    )


def roots_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the roots of all words and identifier parts of some texts."""
    found: set[str] = set()
    for text in texts:
        for word in set(re.findall(r"\w+", text)):
            found.add(root(word))
            found.update(root(part) for part in split_identifier(word))
    return frozenset(found)
