"""People judge a sample of answers: a form to fill in, and its verdicts back as scores with author and time (E17)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from golden.case import GoldenError
from ingest.access import Principal
from mcp_server.service import Service
from traces.model import Score, Trace
from traces.scores import make_score
from traces.store import TraceQuery

REVIEW = "review"
Word = Literal["right", "partly", "wrong", "unclear"]
WORDS: tuple[Word, ...] = get_args(Word)
VALUES = {"right": 1.0, "partly": 0.5, "wrong": 0.0}  # unclear has no value: unknown is not zero
DRAWN_FROM = 2000  # latest answers
HEAD = "## trace "
FIELD = re.compile(r"^(verdict|note):[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Filled:
    """What a person wrote on one answer."""

    trace: str
    word: Word
    note: str


def make_form(service: Service, principal: Principal, count: int, seed: str = "") -> str:
    """Return a form over a sample of the latest live answers; the same seed draws the same ones."""
    found = service.list_traces(principal, DRAWN_FROM, TraceQuery(tool="answer", kind="live"))
    drawn = sorted(found, key=lambda row: hashlib.blake2b(f"{seed}{row.id}".encode()).digest())[:count]
    if not drawn:
        raise GoldenError("There is no answer to review yet.")
    head = f"# Review\n\nWrite one of {', '.join(WORDS)} behind each verdict; leave out what you do not judge.\n"
    return head + "".join(form_part(service.get_trace(row.id, principal)) for row in drawn)


def form_part(trace: Trace) -> str:
    """Return the part of a form that one answer has."""
    quoted = "\n".join(f"> {line}" for line in (trace.answer or "no text was kept").splitlines())
    question = " ".join(trace.summary.query.split())
    return f"\n{HEAD}{trace.summary.id}\n\nquestion: {question}\n\n{quoted}\n\nverdict:\nnote:\n"


def read_form(text: str) -> Iterator[Filled]:
    """Yield each verdict of a form. Raises GoldenError for a word that is none."""
    for part in text.split(f"\n{HEAD}")[1:]:
        trace, _, rest = part.partition("\n")
        own = "\n".join(line for line in rest.splitlines() if not line.startswith(">"))
        fields = {name: value.strip() for name, value in FIELD.findall(own)}
        word = fields.get("verdict", "").lower()
        if not word:
            continue
        chosen = next((known for known in WORDS if known == word), None)
        if chosen is None:
            raise GoldenError(f"Trace {trace.strip()}: {word!r} is no verdict. Verdicts: {', '.join(WORDS)}.")
        yield Filled(trace.strip(), chosen, fields.get("note", ""))


def store_reviews(service: Service, principal: Principal, filled: Sequence[Filled], author: str) -> list[Score]:
    """Add the verdicts to their traces as scores. Raises NotFound for a trace that is gone or not permitted."""
    for item in filled:
        service.get_trace(item.trace, principal)
    return [
        service.store.add_score(
            make_score(
                item.trace,
                REVIEW,
                at=service.now(),
                source="human",
                value=VALUES.get(item.word),
                label=item.word,
                note=item.note or None,
                author=author,
            )
        )
        for item in filled
    ]
