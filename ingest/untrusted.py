"""Text that nobody vouches for: characters that hide or reorder it go, orders to a model are marked."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from ingest.literals import LiteralSet, find_all

FLAGS_VERSION = "1"  # part of the manifest: raise it when the same text gives other flags or characters

ASCII_CONTROLS = bytes(n for n in (*range(32), 127) if n not in b"\n\r\t")
# Controls (C0, C1), bidi controls, zero-width characters, invisible operators, fillers, tag characters and the
# supplementary variation selectors, of which the last two can carry a whole hidden text. Kept: line ends and tabs.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
BREAKS = re.compile("[\u2028\u2029]")  # ends of lines for some readers and not for others
# Overrides and isolates of direction, and hidden text; not the three flags that are written with tags (England,
# Scotland, Wales) and not the variant of an ideograph.
DECEIVING = re.compile(
    "\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
    "|([\u202a-\u202e\u2066-\u2069\U000e0001-\U000e007f]+"
    "|(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]+)"
)

# What DECEIVING can begin with, found by the way: a pattern of alternatives looks at each character several times.
DECEIVERS = tuple("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
BEYOND = b"\xf3\xa0"  # begins the UTF-8 of U+E0000 to U+E0FFF


def clean_text(text: str) -> str:
    """Return a text without invisible and control characters; its lines stay the same."""
    if text.isascii():
        kept = text.encode().translate(None, ASCII_CONTROLS)
        return text if len(kept) == len(text) else kept.decode()
    return BREAKS.sub(" ", INVISIBLE.sub("", text))


# -- links -------------------------------------------------------------------------------------------------------------

ADDRESS = r"(?:https?:)?//([^\s/?#)\"'>]+)([^\s?#)\"'>]*)[^\s)\"'>]*"  # host, path, and what may carry data out
MARKDOWN_IMAGE = re.compile(rf"!\[([^\]\n]*)\]\(\s*<?{ADDRESS}>?[^)\n]*\)")
MARKDOWN_LINK = re.compile(rf"(?<!!)\[([^\]\n]*)\]\(\s*<?{ADDRESS}>?[^)\n]*\)")
REFERENCE = re.compile(rf"^([ \t]{{0,3}}\[[^\]\n]+\]):[ \t]*<?{ADDRESS}>?", re.MULTILINE)
# What a browser would fetch by itself, or open: their addresses go, also where the tag is cut off or of one line.
LOADING_TAG = re.compile(
    rf"<(img|image|iframe|frame|embed|object|video|audio|source|track|script|link|base|form|input|svg|use|a|area|meta)\b"
    rf"[^<>\n]*?(?:src|srcset|href|data|poster|action|content|background)\s*=\s*[\"']?[^<>\n]*?{ADDRESS}[^<>\n]*>?",
    re.IGNORECASE,
)


def defuse_links(text: str) -> str:
    """Return prose in which no image and no link to another host is left that a client would load or open.

    Host and path stay as words, what follows a question mark goes. Lines stay the same.
    """
    if "//" not in text:
        return text
    text = MARKDOWN_IMAGE.sub(r"\1 (image: \2\3)", text)
    text = MARKDOWN_LINK.sub(r"\1 (\2\3)", text)
    text = REFERENCE.sub(r"\1 \2\3", text)
    return LOADING_TAG.sub(r"(\1: \2\3)", text)


# -- flags -------------------------------------------------------------------------------------------------------------

GAP = r"[\s*#/>|_`\"'-]{1,12}"  # between two words, also over a line end in a comment
ASSISTANT = r"(?:AI|A\.I\.|LLM|GPT|ChatGPT|Claude|Copilot|Gemini|Cursor|Codex|language model|coding)"
HELPER = r"(?:assistants?|agents?|models?|bots?|chatbots?|tools?|reviewers?|crawlers?)"
INSTRUCTIONS = r"(?:instructions?|prompts?|directions?|directives?|commands?|guidelines|safeguards)"
REACH = 80  # characters before a literal in which its phrase may begin


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that give orders to a model: literals to look for (lower case), and the pattern around one of them."""

    flag: str
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    reach: int = 0


def _phrase(flag: str, literals: str, pattern: str, reach: int = 0) -> Phrase:
    return Phrase(flag, tuple(literals.split(",")), re.compile(pattern.replace(" ", GAP), re.IGNORECASE), reach)


PHRASES = (
    _phrase(
        "overrides_instructions",
        "ignor,disregard,forget,overrid,bypass",
        r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget|overrid(?:e|ing)|bypass(?:ing)?)"
        r"(?: (?:all|any|every|each|of|the|your|my|these|those|and)){0,4}"
        r" (?:previous(?:ly)?|prior|above|earlier|preceding|foregoing|existing|original|system|safety|given)"
        rf"(?: (?:system|safety|given|and|or|your|user))? {INSTRUCTIONS}\b",
    ),
    _phrase(
        "changes_role",
        "you are now,from now on,new instructions,new system,new prompt,developer mode,do anything now",
        r"you are now (?:in |an? |the )?"
        r"(?:developer mode|DAN\b|unrestricted|jailbroken|a different assistant|no longer bound)"
        r"|from now on,? you (?:are|will|must|shall)"
        r" (?:act|respond|reply|answer|obey|behave|follow|ignore|an? (?:AI|assistant))"
        r"|new (?:system )?(?:instructions|prompt) (?:for you )?(?:are|is)\b"
        r"|developer mode (?:enabled|activated)\b|do anything now\b",
    ),
    _phrase(
        "reveals_secrets",
        "system prompt,system instructions,hidden instructions,initial prompt",
        r"\b(?:reveal|repeat|print|output|show|leak|disclose) (?:(?:me )?your|me the)"
        r"(?: (?:full|entire|hidden|initial|whole)){0,2}"
        r" (?:system prompt|system instructions|instructions|prompt)\b",
        REACH,
    ),
    _phrase(
        "reveals_secrets",
        "the user",
        r"\b(?:do not|don'?t|never) (?:tell|inform|mention (?:this|it) to|alert|notify) the user"
        r" (?:about (?:this|these|it)|of this|that you|what you)\b",
        REACH,
    ),
    _phrase(
        "reveals_secrets",
        "to http,via http",
        r"\b(?:send|post|upload|exfiltrate|forward)(?: (?:all|any|the|your|their|user'?s?|of|contents)){0,5}"
        r" (?:api keys?|credentials|environment variables|secrets|tokens|passwords|\.env)(?: \w+){0,3}"
        r" (?:to|via) https?:",
        2 * REACH,
    ),
    _phrase(
        "addresses_assistant",
        "if you,attention,dear,hey,note to,message,instruction,important for,<!--",
        rf"if you(?:'re| are) (?:an? |the )?{ASSISTANT}(?: {HELPER})?\b"
        r"(?! (?:user|developer|engineer|researcher|company))"
        r"|(?:attention|dear|hey|note to|message (?:to|for)|instructions? (?:to|for)|important for)"
        rf"(?: all| any| the)?:? {ASSISTANT} {HELPER}\b"
        rf"|<!--\s*(?:{ASSISTANT}(?: {HELPER})?|{HELPER})\s*[:,]"
        r"(?=[^>]{0,400}\b(?:must|should|please|ignore|always|never|do not|instead|respond|say|run|execute|include)\b)",
    ),
    _phrase(
        "fake_role",
        "<|,[inst],[/inst],<<sys>>,<tool_,</tool_,<function_,</function_,<system,</system-",
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|start_header_id|eot_id)\|>|(?-i:\[/?INST\])|<<SYS>>"
        r"|</?(?:tool_calls?|tool_results?|function_calls|function_results|system-(?:reminder|prompt|message))>"
        r"|<system>\s*(?:you|ignore|from|important)\b",
    ),
)

LITERALS = LiteralSet(literal for phrase in PHRASES for literal in phrase.literals)


def find_flags(text: str, cleaned: str) -> list[tuple[int, int, str]]:
    """Return first row, last row (0-based) and flag of what a model should not obey, in a text and its `clean_text`.

    Phrases are looked for in the clean text, where no invisible character parts their words.
    """
    return [*_in_rows(cleaned, list(_find_phrases(cleaned))), *_in_rows(text, list(_find_hidden(text)))]


def _in_rows(text: str, found: list[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    breaks = [match.start() for match in re.finditer("\n", text)] if found else []
    return ((bisect_left(breaks, start), bisect_left(breaks, end - 1), flag) for start, end, flag in found)


def _find_phrases(text: str) -> Iterator[tuple[int, int, str]]:
    lowered = text.lower()
    if len(lowered) != len(text):  # a few characters change their length: positions would not fit
        lowered = text
    possible = LITERALS.possible_in(lowered)
    lowered = lowered.replace("\n", " ")
    for phrase in PHRASES if possible else ():
        done = 0
        literals = [literal for literal in phrase.literals if literal in possible]
        for at in sorted(at for literal in literals for at in find_all(lowered, literal)):
            match = _match_around(phrase, text, at, done)
            if match:
                done = match.end()
                yield *match.span(), phrase.flag


def _match_around(phrase: Phrase, text: str, at: int, done: int) -> re.Match[str] | None:
    if phrase.reach:
        return phrase.pattern.search(text, max(at - phrase.reach, done), at + REACH)
    return phrase.pattern.match(text, at) if at >= done else None


def _find_hidden(text: str) -> Iterator[tuple[int, int, str]]:
    if not text.isascii() and _may_deceive(text):
        yield from ((*match.span(1), "hidden_text") for match in DECEIVING.finditer(text) if match[1])


def _may_deceive(text: str) -> bool:
    return any(char in text for char in DECEIVERS) or BEYOND in text.encode("utf-8", "surrogatepass")
