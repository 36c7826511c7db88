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
TITLE_SHARE = 0.6  # of the words of the longer one of question and title
MIN_TITLE = 3  # words; two common ones are no title
KEPT_WORDS = 4096  # 4 MB with their roots
KEPT_TEXTS = 512  # 2 MB: one question looks at some 200, several times each

# Words that carry no topic of their own: a question about "the usual way to deal with errors" is about errors.
# Compared by stem, so one form of each is enough.
COMMON_WORDS = """
able absent accept access accomplish accord account achieve act action actual actually add address adjust admit
advance affect afford ago agree ahead aim allow almost alone along already alter alternative always among amount
announce another answer anyone anything anywhere apart appear apply approach appropriate area argue arise around
arrange arrive aside ask aspect assist assume attach attempt attention automatic available avoid aware away back
background bad balance base basic basically bear beat become begin behave behavior behaviour behind believe belong
besides best better beyond big bind bit bite blame blow borrow both bottom bound break brief briefly bring brush build
built burn burst busy bypass call calm cannot capable care careful carry case catch cause cease certain chain chance
change chase cheap check choice choose chosen claim clarify clean clear clobber close code codebase cold collect
combine come comfortable comment commit common compare compatible compete complain complete complex component compose
concentrate concept concern condition conduct confirm connect consequence consider consist constrain consult contain
content contrast contribute control convert convince cope copy correct correctly correspond cost count couple courage
cover crash create criteria cross curious current currently custom cut daily danger data dead deal dear decide
decision declare deep default define degree deliberate deliver demand deny depend derive describe described deserve
design desire despite destroy detail detect determine develop differ different dig direct dirty disable disappear
discard discover discuss display distinct distinguish divide document double doubt drag draw dream drive drop dry due
duplicate eager earn ease easier easy eat edge effect effort either elaborate element else elsewhere emerge emit
emphasise emphasize empty enable encounter encourage end enforce engine engineer enjoy enough ensure enter entertain
entire entry equal equivalent error especially essential essentially establish estimate etc evaluate even eventually
ever every everyone everything everywhere exact examine example exceed except exclude excuse execute exhaust exist
expand expect expensive explain explicit explode explore expose express extend extent external extra extract face fact
fail failure fair fall familiar far fast favor favour fear feature feed feel fellow fetch field fight figure fill
final find fine finish first fit five fix flag flow focus fold follow forbid force forget forgive form former
fortunate forward found four free frequent fresh friend full fully fun function fundamental gain gather general
generally generate give given glad go goal gone good grab grand grant grateful great grip group grow guarantee guard
guess guide habit half hand handle hang happen hard hate have head hear heart heavy help hesitate hide high hint hire
hit hold honest hope hot hour huge human hurry hurt idea ideal identify ignore ill imagine immediate impact
implementation imply important impose improve incoming incorrectly indeed indicate individual influence inform initial
initialise initialize inner input insert inside insist inspect install instance instead instruct intend interact
interest interface intern internal interpret introduce invalid invoke involve issue item itself job join judge jump
keep kept kick kill kind knock know known lack large last late later latter lay layer lazy lead learn least leave left
lend less let level library lie life lift like likely limit line link list listen little live load local locate logic
long look lose lost lot loud love low lucky main maintain major make manage mandatory manner manual many mark match
matter maximum maybe mean meaning means measure mechanism meet member mention mere mess method middle might mind
minimum minor miss mistake mix mode model modify module moment mostly motivation move much multiple must myself
mystery name narrow natural nature near neat necessary need neither never nevertheless new next nice nobody noise none
nor normal normally note nothing notice notion now nowhere number obey object observe obtain obvious occasion occupy
occur odd off offend offer often okay old once one ongoing open operate operation opposite option optional order
ordinary organise organize origin original others otherwise ought outcome outer outgoing output outside overall
overview overwrite owe owner package page pain pair parameter part partial particular party pass past path pattern pay
people perfect perform perhaps permit person persuade pick piece pile pity place plain plan play please plenty point
polite poor portion possess possible potential pour powerful practice praise precise prefer prepare presence present
preserve pretend pretty prevent previous primary principle prior probably problem procedure proceed process produce
program project promise prompt proof proper properly property protect proud prove provide public pull punish pure
purpose push put quality question quick quickly quiet quite raise range rapid rare rather rationale reach react read
ready real realise realize really reason receive recent recently recognise recognize record reduce refer reference
reflect refuse regard register regret regular reject relate relation relative release relevant rely remain remember
remind remove render rent repeat replace repo report repository represent request require required rescue reserve
resolve respect respond response responsible rest restrict result retain return reuse reveal rid right ring rise risk
role roll rough roughly route rub ruin rule run sad safe safely sail same satisfy save say scare scatter scenario
search second section secure see seek seem select send sense separate sequence series serious serve service set
setting settle setup several shake shame shape share short show shown shut side sign signal silent similar simple
simply since single sit situation size skip slide slight slow small smart smell smile soft solid solution solve
somebody somehow someone something sometimes somewhere soon sort sound source space spare speak special specific
specifically specify spell spend split spoil stage stand standard start state statement stay steal step stick still
stop store storm story straight strange strategy strict strike string strip strong structure struggle stuff style
subject submit subsequent subtle succeed success such sudden suddenly suffer suit suitable summarise summarize summary
supply support suppose sure surround survive suspect swear sweep swing switch system take taken talk target task team
tear technique tell temporary tempt tend term test text thank themselves thick thin thing think third thought three
throw thus ticket tidy tight time tiny tire today together tool top topic total touch tough toward track trade
tradeoff traditional transform treat trick trigger trouble true truth try turn twice twist two type typical ugly under
underlying understand unique unit unite unknown unless unlike unusual unwanted update upon upper upset urge usage
useful user usual valid validity value variant variety various vary vast version view violent visible wait wake walk
wander want warm warn waste way weak wear week well whatever whenever wherever whether whole wide wild win wise wish
without wonder word work world worry worse worst worth wrap write written wrong yes yesterday yet young yourself zero
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
    ("ticket", re.compile(r"\b(?:tickets?|issues?|bugs?|incidents?|pull requests?|prs?|reported)\b", re.I)),
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
    is_name: bool = False  # written as a name: capital letters or digits


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


def is_title(title: str, subject: frozenset[str]) -> bool:
    """Tell whether a question has most words of a title and hardly any others. `subject`: the roots of its words."""
    own = frozenset(map(root, content_words(title)))
    shared = len(own & subject)
    return shared >= MIN_TITLE and shared >= TITLE_SHARE * max(len(own), len(subject))


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
            topics.setdefault(
                word.lower(), Topic(word, phrase_around(word, matches, at, masked), is_proper(word, masked, match))
            )
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
    """help work use get handle do go run happen exist support need make take give look mean differ compare affect store
    keep send save hold
    apply appear become behave come depend fail fit provide relate return want interact integrate""".split()
)


@lru_cache(maxsize=KEPT_WORDS)
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


@lru_cache(maxsize=KEPT_TEXTS)
def text_roots(text: str) -> frozenset[str]:
    """Return the roots of one text's words; kept, because lines and blocks are asked for again and again."""
    return roots_of((text,))


def roots_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the roots of all words and identifier parts of some texts."""
    found: set[str] = set()
    for text in texts:
        for word in set(re.findall(r"\w+", text)):
            found |= word_roots(word)
    return frozenset(found)


@lru_cache(maxsize=KEPT_WORDS)
def word_roots(word: str) -> frozenset[str]:
    """Return the roots of a word and of its parts; kept, because a code base says the same words again and again."""
    return frozenset((root(word), *(root(part) for part in split_identifier(word))))
