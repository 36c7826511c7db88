"""Query understanding: text -> terms, identifiers, intent and route. Pure, no index."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ingest.index.keys import DESIGN_FAMILIES
from ingest.index.tokens import index_tokens, parts_within, stem, words
from mcp_server.retrieval.stacktrace import Frame, Place, find_frames, find_places

Route = Literal["symbol", "path", "ticket", "design", "conceptual", "smalltalk"]

MAX_TERMS = 64  # a pasted file becomes its rarest words, not a thousand-clause query
MAX_IDENTIFIERS = 40  # names of a pasted text that are looked up

# Function words and question scaffolding: they say how the question is put, not what it is about.
STOP_WORDS = frozenset(
    """a an and any are as at be been but by can could did do does for from get gets had has have how i if in into is
    it its let may me might must my no not of off on or our shall should so some such than that the their them then
    there these they this those to up us was we were what when where which while who whom whose why will with within
    without would you your about above across after again all also am because before being below between both down
    during each few further here just more most only other out over own same s t too under until very via myself
    ourselves yourself yourselves himself herself itself themselves""".split()
)
# Words of the request itself; worth little as evidence.
SCAFFOLD_WORDS = frozenset(
    """work works working implemented implementation implement implements code codebase function functions file files
    find show explain tell defined definition handle handled handles handling used uses use using happen happens
    internals logic mechanism make makes made""".split()
)
SCAFFOLD_WEIGHT = 0.35
BACKTICKS = re.compile(r"``+")  # reStructuredText and fences: read as pairs of one they would quote what lies between
QUOTED = re.compile(r"`([^`\n]{1,120})`")
QUOTED_WEIGHT = 1.5  # who puts a word in backticks says what the text is about
PART_WEIGHT = 0.6  # a part of an identifier says less than the identifier

IDENTIFIER = re.compile(
    r"`([^`\n]{1,120})`|((?:[A-Za-z_$][\w$]*(?:::|\.|->|\\|#))+[A-Za-z_$][\w$]*[?!]?|[A-Za-z_$][\w$]*)(\(\))?"
)
SHAPED = re.compile(
    r"[a-z0-9][A-Z]|[A-Za-z0-9]_+[A-Za-z0-9]|^_|^[A-Z]+[a-z0-9]+[A-Z]|^[A-Z]{2,}[a-z]{2,}\w*$|::|->|\w\.\w|\\"
)
CAPITALISED = re.compile(r"^[A-Z][A-Za-z0-9]+$")
PATH = re.compile(
    r"(?:[\w.@~+-]+/){2,}[\w.@+-]*[\w@+]|(?:[\w.@~+-]+/)+[\w@+-]+\.\w+|\b[\w+-]+\.(?:pyi?|[cm]?[jt]sx?|go|rs|java|kt|scala|c|cc|cpp|cxx|h|hh|hpp|cs|rb|php|md|rst|txt|toml|ya?ml|json|sh|swift|lua|exs?|hs|zig|sql|tf|proto|html|css)\b"
)
TICKET = re.compile(r"(?<![\w/])(?:#\d{1,7}|[A-Z][A-Z0-9]{1,9}-\d{1,7})\b")
DESIGN = re.compile(rf"\b(?:{DESIGN_FAMILIES}|DESIGN)[- ]?\d{{1,6}}\b", re.IGNORECASE)
SMALLTALK = re.compile(
    r"^\s*(?:hi|hello|hey|hallo|good (?:morning|evening|day)|thanks?|thank you|ok(?:ay)?|bye|help"
    r"|(?:what|who) (?:can|could|do|are) you(?: do| able to do| help(?: me)? with)?(?: for me)?"
    r"|who are you|how are you)"
    r"\s*[?!.]*\s*$",
    re.IGNORECASE,
)
TEST_INTENT = re.compile(
    r"^(?:the |unit |integration )*(?:tests?|specs?)\b(?! client| runner| server| config)"
    r"|\b(?:tests?|specs?|test cases?) (?:for|of|that|covering|which cover)\b"
    r"|\b(?:unit|integration|regression)[- ]tests?\b|\b(?:is|are) .{1,60}\btested\b|\btest (?:files?|suites?)\b",
    re.IGNORECASE,
)
EXAMPLE_INTENT = re.compile(r"(?<!for )\b(?:examples?|samples?|demos?|tutorials?)\b", re.IGNORECASE)
# "When" and "changed" alone ask for no history: "what happens when ...", "how can it be changed".
COMMIT_ASKED = re.compile(
    r"\bcommits?\b|\bhistory\b|\b(?:last|latest|recent(?:ly)?) (?:\w+ )?(?:chang|touch|edit)\w*"
    r"|\bwhen (?:was|were|did|has|have|had)\b|\bsince when\b"
    r"|\bwho (?:\w+ )?(?:wrote|written|chang|add|touch|introduc|remov|made|broke|fix)\w*"
    r"|\b(?:what|which|was|were|been|has|have|had) (?:\w+ ){0,2}(?:changed|touched)\b"
    r"|\b(?:changed|touched) (?:by|last|since|recently|when)\b",
    re.I,
)
HISTORY_INTENT = re.compile(r"\b(?:changelog|introduced|removed|renamed|why|regression)\b", re.IGNORECASE)
DOCS_INTENT = re.compile(r"\b(?:docs?|documentation|readme|guide|changelog)\b", re.IGNORECASE)


# Whose uses are asked for: "who calls X", "callers of X", "where is X used". A plain word counts beside "call" only:
# "what uses the cache" is no question about something named `cache`.
CALL_VERB = re.compile(r"call(?:s|ed|ing|ers?)?|invok(?:es?|ed|ing)|call ?sites?", re.IGNORECASE)
USED = r"(?P<name>`[^`\n]{1,120}`|[\w$]+(?:(?:::|\.|->|#)[\w$]+)*[!?]?(?:\(\))?)"
REQUEST = r"^(?:(?:tell|show|find|list|give|get|see|me|us|and|so|please|what|which|where|are|is|all|every|any|the) )*"
CODE_NOUNS = (
    r"(?: (?:other|else|all|parts?|pieces?|bits?|of|in|the|this|our|functions?|methods?|class(?:es)?|modules?|files?"
    r"|places?|code|code ?base|components?|services?|handlers?|commands?|repo(?:sitory)?|project))*"
)
USES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{REQUEST}(?:who|what|which|(?:code|places|functions|files) (?:that|which)){CODE_NOUNS} "
        rf"(?:(?:is|are) )?(?P<verb>calls?|calling|invok(?:es?|ing)|uses?|using|references?) (?:the (?:\w+ )?)?{USED}",
        rf"{REQUEST}(?P<verb>callers?|call ?sites?|calls|usages?|uses|users|references) (?:of|to|for) "
        rf"(?:the (?:\w+ )?)?{USED}",
        rf"\bwhere(?:'s| is| are| all is| does| do| else is)? (?:the (?:function |method |class )?)?{USED}"
        r"(?: (?:function|method|class|macro))? (?:gets? |being )?(?P<verb>called|invoked|used|referenced)\b",
    )
)


QUESTION = re.compile(
    r"\?\s*$|^(?:how|what|where|which|when|why|who|whose|does|do|is|are|can|could|should|find|show|explain|describe)\b",
    re.IGNORECASE,
)
REPORT_WORDS = 15
REQUEST_WORDS = 6  # up to so many words are read as a request also without a question word


@dataclass(frozen=True, slots=True)
class Term:
    """One index token of the query with its weight.

    `word` is the query word that it came from as written, `form` that word or its part in lower case, not stemmed.
    """

    token: str
    weight: float
    word: str
    form: str

    @property
    def is_whole(self) -> bool:
        """Tell whether the token stands for the whole word, not for a part of an identifier."""
        return self.form == self.word.lower()


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query after parsing."""

    text: str
    route: Route
    terms: tuple[Term, ...]
    keywords: tuple[str, ...]  # content words, lower-cased, in order, without repeats
    identifiers: tuple[str, ...]  # names as written that look like code
    paths: tuple[str, ...]
    tickets: tuple[str, ...]
    designs: tuple[str, ...]
    wants_tests: bool
    wants_examples: bool
    wants_docs: bool
    wants_history: bool
    users_of: str = ""  # the name whose callers or uses are asked for
    only_calls: bool = False
    frames: tuple[Frame, ...] = ()  # of a pasted stack trace, innermost first
    places: tuple[Place, ...] = ()  # `path:line`, where no stack trace is pasted

    @property
    def is_report(self) -> bool:
        """Tell whether the query is a long text that asks nothing: a ticket, a release note, a mail."""
        return len(self.keywords) >= REPORT_WORDS and not self.is_question

    @property
    def is_question(self) -> bool:
        """Tell whether the query asks, by its mark or its first word."""
        return bool(QUESTION.search(self.text))

    @property
    def is_bare(self) -> bool:
        """Tell whether the query has stop words only."""
        return bool(self.terms) and all(term.form in STOP_WORDS for term in self.terms)


def normalise_query(text: str) -> str:
    """Return the text without control, format and bidi characters, white space collapsed (Unicode NFC)."""
    visible = "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else " " for c in text)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def find_identifiers(text: str) -> tuple[str, ...]:
    """Return names that look like code: back-ticked, dotted, snake_case, camelCase, CONSTANT or call()."""
    found: dict[str, None] = {}
    plain = BACKTICKS.sub("`", text)
    for match in IDENTIFIER.finditer(plain):
        name = (match[1] or match[2]).strip().removesuffix("()")
        if match[2] and name[-1] in "?!" and len(plain.split()) > 1 and not plain[match.end() :].strip():
            name = name[:-1]  # ends the question, not a method of Ruby
        if match[1] or match[3] or SHAPED.search(name):
            found.setdefault(name)
    keys = text_keys(text)
    return tuple(name for name in found if not PATH.fullmatch(name) and name not in keys)


def text_keys(text: str) -> frozenset[str]:
    """Return the words of ticket keys and design ids, which are no identifiers."""
    keys = (*TICKET.findall(text), *DESIGN.findall(text))
    return frozenset(part for key in keys for part in (key, *re.split(r"[- #]", key)))


def bare_name(text: str) -> str:
    """Return a name without what people put around it: `name`, name()."""
    return text.strip("`").removesuffix("()")


def is_lone_identifier(text: str) -> bool:
    """Tell whether the whole query is one name."""
    match = IDENTIFIER.fullmatch(text)
    if match is None:
        return False
    return bool(match[1] or match[3] or SHAPED.search(text) or CAPITALISED.match(text))


def choose_route(text: str, paths: tuple[str, ...], tickets: tuple[str, ...], designs: tuple[str, ...]) -> Route:
    """Pick the route; the most specific reading wins."""
    if SMALLTALK.match(text):
        return "smalltalk"
    if tickets and len(text.split()) <= 8:
        return "ticket"
    if designs and len(text.split()) <= 8:
        return "design"
    if paths and len(text.split()) == 1:
        return "path"
    return "symbol" if is_lone_identifier(text) else "conceptual"


def weigh_terms(text: str) -> tuple[Term, ...]:
    """Return the query's index tokens with weights: whole words 1, parts of identifiers less, stop words none."""
    weights: dict[str, Term] = {}
    quoted = dict.fromkeys(words(" ".join(QUOTED.findall(BACKTICKS.sub("`", text)))), QUOTED_WEIGHT)

    def add(token: str, weight: float, word: str, form: str) -> None:
        known = weights.get(token)
        if known is None or known.weight < weight:
            weights[token] = Term(token, weight, word, form)

    for word in words(text):
        lower = word.lower()
        if lower in STOP_WORDS:
            continue
        weight = quoted.get(word, SCAFFOLD_WEIGHT if lower in SCAFFOLD_WORDS else 1.0)
        parts = parts_within(word)
        if not parts:
            add(stem(lower), weight, word, lower)
            continue
        add(lower, weight, word, lower)
        for part in parts:
            if part not in STOP_WORDS and len(part) > 1:
                add(stem(part), weight * PART_WEIGHT, word, part)
    kept = list(weights.values()) or [
        Term(token, 1.0, w, w.lower()) for w in dict.fromkeys(words(text)) for token in index_tokens(w)[:1]
    ]
    return tuple(kept)


def find_users_asked(text: str) -> tuple[str, bool]:
    """Return the name whose callers or uses a text asks for, or "", and whether only calls are meant."""
    for pattern in USES:
        match = pattern.search(text)
        if match is None:
            continue
        calls = bool(CALL_VERB.fullmatch(match["verb"]))
        name = match["name"].rstrip("?!") if match.end() == len(text.rstrip()) else match["name"]
        is_code = name.startswith("`") or name.endswith("()") or bool(SHAPED.search(name) or CAPITALISED.match(name))
        bare = bare_name(name)
        if (is_code or calls) and bare.lower() not in STOP_WORDS and not PATH.fullmatch(bare):
            return bare, calls
    return "", False


@lru_cache(maxsize=64)
def parse_query(text: str) -> ParsedQuery:
    """Parse a normalised query; search, excerpts and slots of one query ask for the same."""
    frames = find_frames(text)
    places = () if frames else find_places(text)
    names = () if frames else find_identifiers(text)
    identifiers = tuple(name for name in names if not any(name in place.text for place in places))  # `a.py#L7`
    paths = () if frames else tuple(dict.fromkeys(PATH.findall(text)))
    designs = tuple(dict.fromkeys(DESIGN.findall(text)))
    tickets = tuple(t for t in dict.fromkeys(TICKET.findall(text)) if t not in designs)
    terms = weigh_terms(text)
    # Who tells a story about tests or examples is not asking for them: the words of a long text turn no role around.
    asks = len(text.split()) <= REQUEST_WORDS or bool(QUESTION.search(text))
    users_of, only_calls = find_users_asked(text) if asks else ("", False)
    keywords = tuple(dict.fromkeys(t.word.lower() for t in terms if t.weight >= SCAFFOLD_WEIGHT))
    return ParsedQuery(
        text=text,
        route=choose_route(text, paths, tickets, designs),
        terms=terms,
        keywords=keywords,
        identifiers=identifiers[:MAX_IDENTIFIERS],
        paths=paths,
        tickets=tickets,
        designs=designs,
        wants_tests=asks and bool(TEST_INTENT.search(text)),
        wants_examples=asks and bool(EXAMPLE_INTENT.search(text)),
        wants_docs=asks and bool(DOCS_INTENT.search(text)),
        wants_history=bool(HISTORY_INTENT.search(text) or COMMIT_ASKED.search(text)) and not users_of,
        users_of=users_of,
        only_calls=only_calls,
        frames=frames,
        places=places,
    )
