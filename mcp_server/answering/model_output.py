"""What a model wrote, read as claims: whole ones while it writes, with pointers into the evidence only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ingest.untrusted import clean_text
from mcp_server.answering.aspects import Aspect, root, text_roots
from mcp_server.answering.claims import ClaimDraft, split_sentences
from mcp_server.answering.evidence import Evidence, Span

MAX_CLAIMS = 16  # sentences; ten are asked for
MAX_CLAIM_CHARS = 600  # a longer one is no single statement
MAX_NOT_COVERED = 8
POINTER = re.compile(r"\[?(E\d{1,4})\]?(?::?\s*[Ll]?(\d{1,7})(?:\s*[-–]\s*[Ll]?(\d{1,7}))?)?")
MENTION = re.compile(r"\s*[\[(](?:see )?E\d{1,4}(?::[\d-]+)?(?:\s*[,;]\s*E\d{1,4}(?::[\d-]+)?)*[\])]")
MARKDOWN_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
TAG = re.compile(r"</?(?:img|a|script|iframe|svg|style|object|embed|form|input|link|meta)\b[^>]*>", re.IGNORECASE)
URL = re.compile(r"\b(?:https?|ftp|data|javascript|file):(?://)?[^\s`\"')>\]]+", re.IGNORECASE)
START = re.compile(r'"claims"\s*:\s*\[')
DECODER = json.JSONDecoder()


class NotReadable(Exception):
    """The text is no reply in the form that was asked for; the message says what is wrong with it."""


class ModelClaim(BaseModel):
    """One statement of the reply."""

    model_config = ConfigDict(frozen=True, strict=True)
    text: str
    ev: list[str] = []
    quote: str | None = ""


class ModelOutput(BaseModel):
    """The whole reply."""

    model_config = ConfigDict(frozen=True, strict=True)
    claims: list[ModelClaim]
    not_covered: list[str] = []


@dataclass(slots=True)
class Problems:
    """What was left out of a reply, for the trace."""

    invalid_cites: list[str] = field(default_factory=list)
    dropped_claims: list[str] = field(default_factory=list)
    removed_links: list[str] = field(default_factory=list)


def read_output(text: str) -> ModelOutput:
    """Return a finished reply; prose and fences around its object are passed over. Raises NotReadable."""
    if not text.strip():
        raise NotReadable("it is empty")
    at = text.find("{")
    if at < 0:
        raise NotReadable("it holds no JSON object")
    try:
        value, _ = DECODER.raw_decode(text, at)
        return ModelOutput.model_validate(value)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotReadable(f"it is no valid JSON ({error})") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise NotReadable(f"{place or 'the object'}: {first['msg']}") from error


class ClaimReader:
    """Finds the claims that are whole in a text that is still being written."""

    def __init__(self) -> None:
        self._attempt = 0
        self._text = ""
        self._at = -1  # behind the last claim; -1 before the list begins

    def feed(self, attempt: int, piece: str) -> Iterator[ModelClaim]:
        """Yield the claims that a piece completes. A new attempt begins with an empty text."""
        if attempt != self._attempt:
            self._attempt, self._text, self._at = attempt, "", -1
        self._text += piece
        if "}" in piece:
            yield from self._whole_claims()

    def _whole_claims(self) -> Iterator[ModelClaim]:
        if self._at < 0:
            match = START.search(self._text)
            if not match:
                return
            self._at = match.end()
        while (at := self._next_object()) >= 0:
            try:
                value, self._at = DECODER.raw_decode(self._text, at)
                claim = ModelClaim.model_validate(value)
            except (json.JSONDecodeError, RecursionError):
                return  # not whole yet
            except ValidationError:
                continue  # the whole reply is judged at its end
            yield claim

    def _next_object(self) -> int:
        match = re.compile(r"[\s,]*\{").match(self._text, self._at)
        return match.end() - 1 if match else -1


def read_whole_claims(text: str) -> ModelOutput:
    """Return the claims that are whole in a text that broke off."""
    return ModelOutput(claims=list(ClaimReader().feed(1, text)))


class Drafter:
    """Turns what the model claims into drafts for the ledger."""

    def __init__(self, evidence: Sequence[Evidence], aspects: Sequence[Aspect]) -> None:
        self.problems = Problems()
        self._blocks: Mapping[str, Evidence] = {block.id: block for block in evidence}
        self._known = "\n".join(block.chunk.text for block in evidence)
        self._aspects = [frozenset(root(word) for word in (*a.words, *a.carried)) for a in aspects]

    def draft(self, claim: ModelClaim) -> list[ClaimDraft]:
        """Return one draft for each sentence of a claim."""
        spans = tuple(span for pointer in claim.ev for span in self._span(pointer))
        quote = clean_text(claim.quote or "").strip()
        drafts = []
        for number, sentence in enumerate(split_sentences(self._clean(claim.text))):
            if len(sentence) > MAX_CLAIM_CHARS:
                self.problems.dropped_claims.append(f"{sentence[:80]}... ({len(sentence)} characters)")
                continue
            drafts.append(ClaimDraft(sentence, spans, "" if number else quote, self.aspect_of(sentence)))
        return drafts

    def draft_all(self, claims: Sequence[ModelClaim]) -> tuple[ClaimDraft, ...]:
        """Return the drafts of all claims, each statement once, at most 16."""
        drafts = {draft.text: draft for claim in reversed(claims) for draft in reversed(self.draft(claim))}
        ordered = list(drafts.values())[::-1]
        self.problems.dropped_claims += [draft.text for draft in ordered[MAX_CLAIMS:]]
        return tuple(ordered[:MAX_CLAIMS])

    def aspect_of(self, text: str) -> int:
        """Return the aspect of the question that a statement shares most words with, the first of equals."""
        found = text_roots(text)
        shared = [len(words & found) for words in self._aspects]
        return shared.index(max(shared)) if shared else 0

    def _span(self, pointer: str) -> Iterator[Span]:
        """Yield the lines that a pointer names; one outside of its block is dropped and noted."""
        match = POINTER.fullmatch(pointer.strip())
        block = self._blocks.get(match[1]) if match else None
        if match is None or block is None:
            self.problems.invalid_cites.append(pointer[:60])
            return
        first, last = block.chunk.start_line, block.end_line
        start = int(match[2] or first)
        end = int(match[3] or match[2] or last)
        if first <= start <= end <= last:
            yield Span(block.id, start, end)
        else:
            self.problems.invalid_cites.append(pointer[:60])

    def _clean(self, text: str) -> str:
        """Return a statement on one line, without what could act in a reader's page or lead out of the project."""
        plain = TAG.sub("", MARKDOWN_LINK.sub(r"\1", clean_text(text)))
        return " ".join(MENTION.sub("", URL.sub(self._keep_known, plain)).split())

    def _keep_known(self, match: re.Match[str]) -> str:
        if match[0].rstrip(".,;:") in self._known:
            return match[0]
        self.problems.removed_links.append(match[0][:120])
        return "(link removed)"


def clean_parts(parts: Sequence[str]) -> tuple[str, ...]:
    """Return what the model says the evidence does not cover, for the list that users read."""
    plain = (" ".join(clean_text(part).split())[:200] for part in parts[:MAX_NOT_COVERED])
    return tuple(dict.fromkeys(part for part in plain if part))


def describe_problems(problems: Problems) -> dict[str, Any]:
    """Return the problems as JSON values."""
    return {
        "invalid_cite": problems.invalid_cites,
        "dropped_claims": problems.dropped_claims,
        "removed_links": problems.removed_links,
    }
