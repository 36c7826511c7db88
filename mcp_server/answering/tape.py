"""What an answer was made from, written down so that the same answer can be made again without index and tree.

A tape holds the ranked chunks, the packed context and each look-up with its result. The query that is recorded works on
exactly what the tape holds: what is not on it cannot have mattered.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import TypeAdapter

from ingest.model import Chunk
from mcp_server.answering.abstain import ThresholdsOf
from mcp_server.answering.answer import EXTRACTIVE, AnswerSettings, ComposedAnswer, Trace, compose_answer
from mcp_server.answering.freshness import FreshnessChecker
from mcp_server.answering.generate import Generated
from mcp_server.answering.generator import Emit, Generator, Material
from mcp_server.answering.resolver import Resolver
from mcp_server.results import Hit, Listener, ignore
from mcp_server.retrieval.context import Context
from mcp_server.retrieval.excerpts import Excerpt
from mcp_server.retrieval.model import RankedChunk, Retrieval
from mcp_server.retrieval.occurrences import Occurrence
from traces.blobs import dump

T = TypeVar("T")
Ranked = TypeVar("Ranked", Retrieval, Context)
Found = Sequence[tuple[Chunk | Excerpt | Occurrence, float, tuple[str, ...]]]
Json = Any
Calls = Mapping[str, Mapping[str, Json]]  # "resolver.has_name" -> arguments -> result

KEPT_CHUNKS = 40  # ranked chunks that answering sees
MAX_KEY_CHARS = 60  # of a look-up's arguments; longer ones are named by a hash
CHUNK = "$chunk"
PLAIN = frozenset((str, int, float, bool))
FOUND = TypeAdapter(tuple[tuple[Chunk | Excerpt | Occurrence, float, tuple[str, ...]], ...])
WHOLE_CHUNK = TypeAdapter(Chunk)


class TapeGap(Exception):
    """The code asks for something that the tape does not hold: it has changed since, or a text is missing."""


@dataclass(slots=True)
class Tape:
    """Look-ups by object, name and arguments, and the chunks that their results speak of."""

    calls: dict[str, dict[str, Json]] = field(default_factory=dict)
    chunks: dict[int, Chunk] = field(default_factory=dict)

    def listen(self, name: str, target: T) -> T:
        """Return an object that does what the target does and writes each result down."""
        return cast(T, _Listener(self, name, target))

    def encode(self, value: object) -> Json:
        """Return a value as JSON; a chunk by its id."""
        kind = type(value)
        if value is None or kind in PLAIN:  # most values are; asking abstract classes takes ten times as long
            return value
        if kind is tuple or kind is list:
            return [self.encode(item) for item in cast(Sequence[object], value)]
        if isinstance(value, Chunk):
            self.chunks[value.id] = value
            return {CHUNK: value.id}
        if names := fields_of(cast(Hashable, kind)):
            return {name: self.encode(getattr(value, name)) for name in names}
        if isinstance(value, Mapping):
            return {str(name): self.encode(item) for name, item in value.items()}
        if isinstance(value, AbstractSet):
            return sorted(self.encode(item) for item in value)
        if isinstance(value, (list, tuple)):
            return [self.encode(item) for item in value]
        return value

    def note(self, name: str, arguments: Sequence[object], result: object) -> None:
        """Write one look-up down."""
        self.calls.setdefault(name, {})[key_of(arguments)] = self.encode(result)


@lru_cache(maxsize=256)
def fields_of(kind: Hashable) -> tuple[str, ...]:
    """Return the names of a dataclass's fields, none for another class."""
    return tuple(field.name for field in dataclasses.fields(cast(type, kind))) if dataclasses.is_dataclass(kind) else ()


class _Listener:
    def __init__(self, tape: Tape, name: str, target: object) -> None:
        self._tape, self._name, self._target = tape, name, target

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 - whatever the target has
        value = getattr(self._target, attribute)
        name = f"{self._name}.{attribute}"
        if not callable(value):
            self._tape.note(name, (), value)
            return value

        def call(*arguments: object) -> Any:  # noqa: ANN401 - what the target returns
            result = value(*arguments)
            self._tape.note(name, arguments, result)
            return result

        return call


class Player:
    """An object that answers from a tape. Raises TapeGap for a look-up that was never made."""

    def __init__(
        self, name: str, kind: type, calls: Calls, chunks: Mapping[int, Chunk], instead: object | None = None
    ) -> None:
        """Answer for an object of a kind; `instead` is asked what the tape does not hold."""
        self._name, self._kind, self._calls, self._chunks = name, kind, calls, chunks
        self._instead = instead

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 - whatever the kind has
        declared = getattr(self._kind, attribute)
        if isinstance(declared, property):
            return self._find(attribute, declared.fget, ())
        return lambda *arguments: self._find(attribute, declared, arguments)

    def _find(self, attribute: str, declared: object, arguments: Sequence[object]) -> Any:  # noqa: ANN401
        known = self._calls.get(f"{self._name}.{attribute}", {})
        key = key_of(arguments)
        if key not in known and self._instead is not None:
            value = getattr(self._instead, attribute)
            return value(*arguments) if callable(value) else value
        if key not in known:
            shown = ", ".join(str(argument)[:40] for argument in arguments)
            raise TapeGap(f"{self._name}.{attribute}({shown}) was not looked up when the trace was recorded")
        return decode(known[key], TypeAdapter(get_type_hints(declared)["return"]), self._chunks)


def key_of(arguments: Sequence[object]) -> str:
    """Return the arguments of a look-up as a short text; chunks by their ids."""
    # A chunk's id in digits could be a card number, and what looks like one is masked in traces.
    named = [f"chunk {one.id:x}" if isinstance(one, Chunk) else Tape().encode(one) for one in arguments]
    text = ",".join(map(dump, named))
    if len(text) <= MAX_KEY_CHARS:
        return text
    return "#" + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def decode(value: Json, adapter: TypeAdapter[T], chunks: Mapping[int, Chunk]) -> T:
    """Return a value as it was encoded. Raises TapeGap for a chunk whose text is gone."""
    return adapter.validate_python(_with_chunks(value, chunks))


def _with_chunks(value: Json, chunks: Mapping[int, Chunk]) -> Json:
    if isinstance(value, dict):
        if value.keys() == {CHUNK}:
            if value[CHUNK] not in chunks:
                raise TapeGap(f"the text of chunk {value[CHUNK]} is missing")
            return chunks[value[CHUNK]]
        return {name: _with_chunks(item, chunks) for name, item in value.items()}
    return [_with_chunks(item, chunks) for item in value] if isinstance(value, list) else value


# -- answers -----------------------------------------------------------------------------------------------------------


class TapedGenerator:
    """Writes down the claims of a generator that could write others the next time: a model."""

    def __init__(self, inner: Generator, tape: Tape) -> None:
        self._inner, self._tape = inner, tape

    def generate(self, material: Material, emit: Emit) -> Generated:
        """Return the claims of the generator."""
        generated = self._inner.generate(material, emit)
        self._tape.note("generator.generate", (), generated)
        return generated


class RecordedGenerator:
    """Gives the claims that a model wrote then."""

    def __init__(self, generated: Generated) -> None:
        self._generated = generated

    def generate(self, material: Material, emit: Emit) -> Generated:
        """Return the recorded claims."""
        for draft in self._generated.claims:
            emit(draft)
        return self._generated


def compose_recorded(
    question: str,
    retrieval: Retrieval,
    context: Context,
    resolver: Resolver,
    checker: FreshnessChecker,
    settings: AnswerSettings,
    trace: Any,  # noqa: ANN401 - a TraceRun
    generator: Generator = EXTRACTIVE,
    listen: Listener = ignore,
) -> ComposedAnswer:
    """Compose an answer and put on the trace's tape what it takes to compose it again."""
    tape = Tape()
    retrieval, context = plain_retrieval(retrieval), plain_context(context)
    composed = compose_answer(
        question,
        retrieval,
        context,
        tape.listen("resolver", resolver),
        tape.listen("checker", checker),
        replace(settings, thresholds=settings.thresholds and tape.listen("thresholds", settings.thresholds)),
        trace,
        generator if generator is EXTRACTIVE else TapedGenerator(generator, tape),
        listen,
    )
    if not composed.nearest:  # the reasons of the ranking are shown with the nearest misses only
        retrieval, context = without_reasons(retrieval), without_reasons(context)
    made_from = {"retrieval": retrieval, "context": context, "settings": replace(settings, thresholds=None)}
    replay = {**{name: tape.encode(value) for name, value in made_from.items()}, "calls": tape.calls}
    trace.add_chunks(tape.chunks.values())
    trace.set(replay=replay, result=fingerprint(composed))
    return composed


def compose_again(
    question: str,
    recorded: Mapping[str, Json],
    chunks: Mapping[int, Chunk],
    trace: Trace,
    generator: Generator | None = None,
    instead: tuple[Resolver, FreshnessChecker] | tuple[None, None] = (None, None),
) -> ComposedAnswer:
    """Compose the answer of a tape, or, with another generator, another one on the same context. Raises TapeGap.

    `instead` looks up what only another generator's claims name.
    """
    calls = recorded["calls"]
    written = calls.get("generator.generate", {}).get("")
    if generator is None:
        generator = RecordedGenerator(decode(written, TypeAdapter(Generated), chunks)) if written else EXTRACTIVE
    return compose_answer(
        question,
        decode(recorded["retrieval"], TypeAdapter(Retrieval), chunks),
        decode(recorded["context"], TypeAdapter(Context), chunks),
        cast(Resolver, Player("resolver", Resolver, calls, chunks, instead[0])),
        cast(FreshnessChecker, Player("checker", FreshnessChecker, calls, chunks, instead[1])),
        read_settings(recorded, chunks),
        trace,
        generator,
    )


def read_settings(recorded: Mapping[str, Json], chunks: Mapping[int, Chunk]) -> AnswerSettings:
    """Return the settings of a tape; thresholds that were looked up are given again."""
    player = Player("thresholds", ThresholdsOf, recorded["calls"], chunks)
    known = "thresholds.of" in recorded["calls"]
    return AnswerSettings(**{**recorded["settings"], "thresholds": cast(ThresholdsOf, player) if known else None})


def fingerprint(value: object) -> str:
    """Return an answer, or the hits of a page, as canonical JSON with chunks by their ids, to compare two runs."""
    return dump(Tape().encode(value))


def plain_retrieval(retrieval: Retrieval) -> Retrieval:
    """Return a retrieval with the chunks that answering looks at, without the figures of the ranking."""
    return replace(retrieval, chunks=tuple(map(plain_chunk, retrieval.chunks[:KEPT_CHUNKS])), files=())


def plain_context(context: Context) -> Context:
    """Return a context without the figures of the ranking."""
    return replace(context, kept=tuple(map(plain_chunk, context.kept)))


def without_reasons(ranked: Ranked) -> Ranked:
    """Return a retrieval or a context without the reasons of its ranking."""
    if isinstance(ranked, Retrieval):
        return replace(ranked, chunks=tuple(replace(one, why=()) for one in ranked.chunks))
    return replace(ranked, kept=tuple(replace(one, why=()) for one in ranked.kept))


def plain_chunk(ranked: RankedChunk) -> RankedChunk:
    """Return a ranked chunk without its features, which the trace has already."""
    return replace(ranked, features={})


# -- pages of hits -----------------------------------------------------------------------------------------------------


def record_page(tape: Tape, found: Found, shown: Sequence[Hit], trace: Any) -> None:  # noqa: ANN401 - a TraceRun
    """Put on the trace's tape what a page of hits was made from."""
    rows = tape.encode(list(found))
    trace.add_chunks(tape.chunks.values())
    trace.set(replay={"hits": rows, "calls": tape.calls}, result=fingerprint(shown))


def read_page(recorded: Mapping[str, Json], chunks: Mapping[int, Chunk]) -> tuple[Found, FreshnessChecker]:
    """Return what a page was made from. Raises TapeGap."""
    checker = Player("checker", FreshnessChecker, recorded["calls"], chunks)
    return decode(recorded["hits"], FOUND, chunks), cast(FreshnessChecker, checker)
