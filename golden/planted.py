"""Ten faults, planted for real into the running product: the gate must refuse each of them (A7, E4).

A fault replaces one function, or the index that is asked, while the cases are run. How often it fired is counted: a
fault that never fired proves nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from golden.case import Case, GoldenError
from golden.corpus import Corpus, build, make_setup, open_service, organisation_corpus
from golden.gate import Gate, decide
from golden.organisation import RESTRICTED_GROUP, build_organisation
from golden.run import Asked, ask_cases
from golden.suite import Floors, Suite, make_run
from ingest.access import Principal
from ingest.index.scored import ScoredChunks
from ingest.model import SourceInfo
from mcp_server.answering.abstain import Decision
from mcp_server.answering.freshness import Checked
from mcp_server.config import Setup
from mcp_server.retrieval.context import Context, SlotCaps

BEHIND = 5  # commits of each product that a stale index has not seen
SLICE_CHARS = 200
WITHOUT_END = 10**9

Fired = Callable[[], None]
Patches = Callable[[Fired], Sequence[Any]]  # context managers that put the fault in


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault."""

    name: str
    asking: Patches | None = None  # in place while cases are asked
    building: Patches | None = None  # in place while the index is built
    behind: int = 0  # the index is of so many commits ago


@dataclass(frozen=True, slots=True)
class Ground:
    """An index of the organisation that cases and faults share."""

    setup: Setup
    corpus: Corpus


def core_cases(suite: Suite) -> list[Case]:
    """Return the cases that are asked again with each fault. Raises GoldenError."""
    return [case for case in suite.cases() if "core" in case.tags]


def prepare_ground(folder: Path, fault: Fault | None = None) -> Ground:
    """Build the organisation and its index below a folder, with a fault of the build if there is one."""
    shutil.rmtree(folder, ignore_errors=True)
    behind = fault.behind if fault else 0
    corpus = organisation_corpus(build_organisation(folder / "sources", behind))
    setup = make_setup(corpus.sources, folder / "index", corpus.settings)
    with planted(fault.building if fault else None), open_service(setup) as service:
        build(setup, service)
    if behind:
        build_organisation(folder / "sources")
    corpus.after_build()
    return Ground(setup, corpus)


def ask_core(ground: Ground, cases: Sequence[Case]) -> Asked:
    """Ask cases of a ground."""
    with open_service(ground.setup) as service:
        return ask_cases(service, cases, ground.corpus)


def try_fault(fault: Fault, cases: Sequence[Case], shared: Ground, folder: Path, suite: Suite) -> Gate:
    """Return what the gate says to a fault. Raises GoldenError if the fault never fired."""
    ground = prepare_ground(folder, fault) if fault.building or fault.behind else shared
    with planted(fault.asking):
        return judge_core(ground, cases, suite)


def judge_core(ground: Ground, cases: Sequence[Case], suite: Suite) -> Gate:
    """Ask the cases and decide by the overall floors and the baseline of these cases.

    Rates that a part of the set moves have no floor here: they are compared with the baseline.
    """
    run = make_run([ask_core(ground, cases)], 0.0, None)
    free = {"confident_wrong": 1.0, "false_abstain": 1.0, "right": 0.0}
    overall = suite.floors().overall.model_copy(update=free)
    return decide(run, Floors(overall=overall), suite.baseline().only({case.id for case in cases}))


@contextmanager
def planted(patches: Patches | None) -> Iterator[None]:
    """Put a fault in place. Raises GoldenError on leaving if it never fired."""
    if patches is None:
        yield
        return
    fired = 0

    def note() -> None:
        nonlocal fired
        fired += 1

    with ExitStack() as stack:
        for one in patches(note):
            stack.enter_context(one)
        yield
    if not fired:
        raise GoldenError("The planted fault never fired, so nothing is shown by it: the code that it replaces moved.")


def instead(target: str, make: Callable[[Callable[..., Any]], Callable[..., Any]], fired: Fired) -> Any:  # noqa: ANN401
    """Return a patch of a function: `make` takes the original and returns the faulty one."""
    from pkgutil import resolve_name

    module, _, name = target.rpartition(".")
    original = getattr(resolve_name(module), name)
    faulty = make(original)

    def counted(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - any signature
        fired()
        return faulty(*arguments, **more)

    return patch(target, counted)


# -- the faults --------------------------------------------------------------------------------------------------------


def slice_blindly(chunk: Callable[..., Any]) -> Callable[..., Any]:
    """Cut every few lines, through definitions, and know no names."""

    def faulty(document: Any, *, chunk_chars: int) -> Any:  # noqa: ANN401
        cut = chunk(document, chunk_chars=SLICE_CHARS)
        return replace(cut, chunks=[replace(c, symbols=(), symbol=None, context="") for c in cut.chunks])

    return faulty


def reverse_vector(embed: Callable[..., Any]) -> Callable[..., Any]:
    """Give the vector of another model: the same length, other axes."""
    return lambda *arguments: embed(*arguments)[::-1].copy()


def let_all_in(make_filters: Callable[..., Any]) -> Callable[..., Any]:
    """Filter as for somebody who may see everything."""

    def faulty(principal: Principal, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401
        return make_filters(Principal(principal.id, principal.groups | {RESTRICTED_GROUP}), *arguments, **more)

    return faulty


def keep_copies(pack: Callable[..., Context]) -> Callable[..., Context]:
    """Put what was dropped as a duplicate back into the context."""

    def faulty(hits: Sequence[Any], *arguments: Any, **more: Any) -> Context:  # noqa: ANN401
        context = pack(hits, *arguments, **more)
        copies = {drop.chunk_id for drop in context.dropped if drop.reason == "duplicate"}
        return replace(context, kept=(*context.kept, *(hit for hit in hits if hit.chunk.id in copies)))

    return faulty


def pack_without_end(pack: Callable[..., Context]) -> Callable[..., Context]:
    """Ignore every limit of the context."""
    caps = SlotCaps(WITHOUT_END, WITHOUT_END, WITHOUT_END, WITHOUT_END)
    return lambda hits, *_: pack(hits, WITHOUT_END, caps, WITHOUT_END)


def answer_all(decide_zone: Callable[..., Decision]) -> Callable[..., Decision]:
    """Find everything well enough covered."""
    return lambda *arguments: replace(decide_zone(*arguments), zone="answer")


def swap_prompt(load: Callable[..., Any]) -> Callable[..., Any]:
    """Load the text of another prompt in the place of the answer's."""
    return lambda name, *arguments, **more: load("capabilities" if name == "answer" else name, *arguments, **more)


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("bad chunker", building=lambda f: [instead("ingest.prepare.chunk_with_reason", slice_blindly, f)]),
        Fault("no BM25", asking=lambda f: [instead("ingest.index.reader.TextReader.search", lambda _: nothing, f)]),
        Fault("swapped prompt", asking=lambda f: [instead("prompts.load", swap_prompt, f)]),
        Fault("stale index", behind=BEHIND),
        Fault(
            "access control off",
            asking=lambda f: [
                instead("mcp_server.service.make_filters", let_all_in, f),
                patch("mcp_server.service.Service.may_read", lambda *_: lambda _: True),
                patch("mcp_server.egress.Outlet._known", lambda _, source: SourceInfo(source, "code", "", ())),
            ],
        ),
        Fault("no dedupe", asking=lambda f: [instead("mcp_server.asking.pack_context", keep_copies, f)]),
        Fault("wrong embedder", asking=lambda f: [instead("ingest.index.reader.Index.embed_query", reverse_vector, f)]),
        Fault(
            "no freshness check",
            asking=lambda f: [
                instead("mcp_server.answering.freshness.FreshnessChecker.check_lines", lambda _: always_fresh, f)
            ],
        ),
        Fault("abstention off", asking=lambda f: [instead("mcp_server.answering.answer.decide", answer_all, f)]),
        Fault("budget ignored", asking=lambda f: [instead("mcp_server.asking.pack_context", pack_without_end, f)]),
    )
}


def nothing(*_: Any) -> ScoredChunks:  # noqa: ANN401
    """Find nothing."""
    return ScoredChunks()


def always_fresh(*_: Any) -> Checked:  # noqa: ANN401
    """Find everything as it was."""
    return Checked("fresh")
