"""Ask a recorded query again and say where it comes out otherwise.

verify       the answer (or page) is made again from what the trace holds: byte for byte the same
re-retrieve  the chunks are found again on the same generation: the same ids, order and scores
re-generate  another prompt or model writes on the same context
full         everything runs on the index as it is now
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from ingest.access import Principal
from ingest.errors import IndexStateError, IngestError
from ingest.model import Chunk
from mcp_server.access import domain_of
from mcp_server.errors import BadRequest, ServerError
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service, make_page, redact_personal
from traces.blobs import hash_value
from traces.capture import Capture
from traces.diff import ANSWER_STAGES, RETRIEVAL_STAGES, TraceDiff, diff_settings, diff_traces
from traces.model import CONTENT_FULL, Trace
from traces.recorder import TraceRun

Mode = Literal["verify", "re-retrieve", "re-generate", "full"]
MODES: tuple[Mode, ...] = get_args(Mode)
# Why a call of another tool is not replayed: nothing was retrieved for a question, so that no stage can diverge.
NO_QUERY = {
    "check": "a check is no query: its verdicts hang on the text, the tree and the index as they are now, and no stage "
    "retrieves or writes. Run `codecairn check` on the text again",
    "explain_trace": "a look at a trace is no query; replay the trace that it showed",
}


@dataclass(frozen=True, slots=True)
class Replay:
    """How a replay came out. `is_same`: nothing that the mode compares differs."""

    trace_id: str
    mode: Mode
    is_same: bool
    diff: TraceDiff
    notes: tuple[str, ...] = ()
    answer: str | None = None  # of a replay that wrote one
    repeats: int = 1
    same_claims: float | None = None  # share of repeats with the claims of the first
    same_citations: float | None = None

    def __str__(self) -> str:
        lines = [f"{self.mode} {self.trace_id}: {'same' if self.is_same else 'DIFFERS'}"]
        lines += [f"  {note}" for note in self.notes]
        if self.repeats > 1:
            shares = f"same claims {self.same_claims:.0%}, same citations {self.same_citations:.0%}"
            lines.append(f"  {self.repeats} repeats: {shares}")
        if not self.is_same or self.mode == "full":
            lines.append(str(self.diff))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the replay as JSON values."""
        return {**asdict(self), "diff": {**asdict(self.diff), "first": self.diff.first}}


class Replayer:
    """Asks recorded queries again, over one service, as one principal."""

    def __init__(self, service: Service, principal: Principal) -> None:
        self._service = service
        self._principal = principal

    def replay(
        self, trace_id: str, mode: Mode = "verify", *, prompt: int | None = None, model: str = "", repeat: int = 1
    ) -> Replay:
        """Replay one trace. Raises NotFound, and BadRequest where the mode no longer works, with those that do."""
        trace = self._service.get_trace(trace_id, self._principal)
        blocked = {mode: why for mode, why in self.obstacles(trace)}
        if mode in blocked:
            left = [name for name in MODES if name not in blocked]
            works = f"These modes still work: {', '.join(left)}." if left else "No mode works for it."
            raise BadRequest(f"{mode} is not possible: {blocked[mode]}. {works}")
        if (prompt is not None or model) and mode != "re-generate":
            raise BadRequest("Another prompt or model is for mode re-generate; the other modes change nothing.")
        if mode == "verify":
            return self._verify(trace)
        if mode == "re-retrieve":
            return self._retrieve(trace)
        return self._repeat(trace, mode, prompt, model, repeat)

    def obstacles(self, trace: Trace) -> Iterator[tuple[Mode, str]]:
        """Yield each mode that does not work for a trace, and why."""
        row = trace.summary
        lost = ""
        if row.content != CONTENT_FULL:
            lost = f"only the row of this trace was kept ({row.content})"
        elif trace.thinned_at is not None:
            lost = f"retention took the content of this trace on {trace.thinned_at[:10]}"
        elif trace.content_hash in trace.missing:
            lost = f"blob {trace.content_hash} with its stages is missing"
        if row.tool not in ("search_code", "answer"):
            yield from ((mode, NO_QUERY.get(row.tool, f"{row.tool} is no query")) for mode in MODES)
            return
        whole = lost or self._why_not_whole(trace)
        if whole:
            yield "verify", whole
        if row.tool != "answer" or (not whole and "retrieval" not in trace.replay):
            yield "re-generate", "the trace holds no answer"
        elif whole:
            yield "re-generate", whole
        if found := lost or self._why_no_index(trace):
            yield "re-retrieve", found
        if not row.query:
            yield "full", "the question was not recorded"

    def _why_not_whole(self, trace: Trace) -> str:
        if trace.missing:
            return f"blob {trace.missing[0]} is missing"
        if trace.summary.cached:
            return "the answer came from the cache; replay the trace that worked it out"
        return "" if trace.replay else "the query ended before there was a result"

    def _why_no_index(self, trace: Trace) -> str:
        generation = trace.summary.generation
        if generation is None:
            return "the query did not reach the index"
        try:
            with self._generation(generation):
                return ""
        except IndexStateError:
            return f"index generation {generation} is no longer held"

    # -- modes -------------------------------------------------------------------------------------------------------

    def _verify(self, trace: Trace) -> Replay:
        from mcp_server.answering.tape import TapeGap, compose_again, fingerprint, read_page

        again, notes = Capture(), list(warnings(trace))
        result = ""
        with self.recorded(trace, again) as run:
            try:
                chunks = read_chunks(trace)
                if trace.summary.tool == "answer":
                    composed = compose_again(trace.summary.query, trace.replay, chunks, run)
                    result = fingerprint(composed)
                else:
                    result = fingerprint(make_page(*read_page(trace.replay, chunks)))
            except TapeGap as gap:
                notes.append(f"{gap}: the code that checks answers is not that of then.")
        is_same = hash_value(redact_personal(result)) == trace.summary.result_hash
        stages = ANSWER_STAGES if trace.summary.tool == "answer" else ()
        diff = diff_traces(trace, again.traces[0], stages, with_setting=False)
        return Replay(trace.summary.id, "verify", is_same, diff, tuple(notes))

    def _retrieve(self, trace: Trace) -> Replay:
        again = Capture()
        service = self._service.recording_into(again, datetime.fromisoformat(trace.summary.at))
        assert trace.summary.generation is not None
        with self._generation(trace.summary.generation) as index:
            service.retrieve_again(index, request_of(trace), self._principal)
        diff = diff_traces(trace, again.traces[0], RETRIEVAL_STAGES)
        notes = [*warnings(trace), *self._skew(trace, again.traces[0])]
        return Replay(trace.summary.id, "re-retrieve", not diff.first, diff, tuple(notes))

    def _repeat(self, trace: Trace, mode: Mode, prompt: int | None, model: str, repeat: int) -> Replay:
        runs = [self._run(trace, mode, prompt, model) for _ in range(max(1, repeat))]
        first = runs[0]
        stages = ANSWER_STAGES if mode == "re-generate" else (*RETRIEVAL_STAGES, *ANSWER_STAGES)
        diff = diff_traces(trace, first, stages, with_setting=mode == "full")
        claims, cited = [stage_text(run, "ledger") for run in runs], [stage_text(run, "freshness") for run in runs]
        return Replay(
            trace_id=trace.summary.id,
            mode=mode,
            is_same=not diff.first,
            diff=diff,
            notes=(*warnings(trace), *self._skew(trace, first)),
            answer=first.answer,
            repeats=len(runs),
            same_claims=claims.count(claims[0]) / len(runs),
            same_citations=cited.count(cited[0]) / len(runs),
        )

    def _run(self, trace: Trace, mode: Mode, prompt: int | None, model: str) -> Trace:
        from mcp_server.answering.tape import TapeGap, compose_again

        again = Capture()
        if mode == "full":
            service, request = self._service.recording_into(again), request_of(trace)
            if isinstance(request, AnswerRequest):
                service.answer(request, self._principal, use_cache=False)
            else:
                service.search(request, self._principal)
            return again.traces[0]
        with (
            self.recorded(trace, again) as run,
            self._service.open_asking().generator(run, prompt, model) as generator,
        ):
            # Other claims name other things, which nobody looked up then: those are looked up now.
            with self.any_generation(trace) as index:
                instead = self._service.look_ups(index, request_of(trace), self._principal)
                chunks = read_chunks(trace)
                try:
                    answer = compose_again(trace.summary.query, trace.replay, chunks, run, generator, instead)
                except TapeGap as gap:
                    raise BadRequest(f"re-generate is not possible: {gap}. Use mode full.") from gap
            run.set(answer=answer.answer)
        return again.traces[0]

    @contextmanager
    def any_generation(self, trace: Trace) -> Iterator[Any]:
        """Open the trace's own generation, or the one that is served now where it is no longer held."""
        own = self._why_no_index(trace) == "" and trace.summary.generation
        with self._generation(own) if own else self._service.reading(self._principal) as index:
            yield index

    # -- shared ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _generation(self, number: int) -> Iterator[Any]:
        """Open a generation that is kept. Raises IndexStateError."""
        from ingest.index import Index

        folder = domain_of(self._service.setup, self._principal).data_dir
        with Index.open_generation(folder, number, self._service.embedder) as index:
            yield index

    @contextmanager
    def recorded(self, trace: Trace, again: Capture) -> Iterator[TraceRun]:
        """Record what is done for a trace into a capture."""
        service = self._service.recording_into(again)
        with service.recorder.trace(
            tool=trace.summary.tool, query=trace.summary.query, entry="cli", kind="replay"
        ) as run:
            run.set(replay_of=trace.summary.id)
            yield run

    def _skew(self, trace: Trace, again: Trace) -> Iterator[str]:
        """Yield what the replay ran with that the recorded query did not, and how to get it back."""
        differing = list(diff_settings(trace, again))
        if any(line.startswith("code_commit") for line in differing) and trace.summary.code_commit:
            yield f"the query ran on another version of CodeCairn: git checkout {trace.summary.code_commit[:12]}"


def warnings(trace: Trace) -> Iterator[str]:
    """Yield why a replay may differ although nothing changed."""
    if any(flag.startswith("redacted:") for flag in trace.summary.policy_flags):
        yield "something in the question was masked before it was stored; the replay asks with the mask"


def request_of(trace: Trace) -> SearchRequest | AnswerRequest:
    """Return the request of a trace, from its arguments."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in (trace.arguments or {}).items()
    }
    if trace.summary.tool == "answer":
        return AnswerRequest(trace.summary.query, **given)
    return SearchRequest(trace.summary.query, **given)


def read_chunks(trace: Trace) -> Mapping[int, Chunk]:
    """Return the index chunks that a trace holds, by id."""
    from mcp_server.answering.tape import WHOLE_CHUNK

    names = ("id", "source", "path", "key", "title", "symbol", "start_line", "end_line", "text")
    return {
        int(chunk.id): WHOLE_CHUNK.validate_python(
            {**{name: getattr(chunk, name) for name in names}, "groups": (), "text_hash": "", **chunk.extra}
        )
        for chunk in trace.chunks
        if chunk.extra
    }


def stage_text(trace: Trace, stage: str) -> str:
    """Return what a stage put out, as text to compare; "" where it did not run."""
    return next((repr(span.output) for span in trace.spans if span.name == stage), "")


def replay_many(replayer: Replayer, ids: list[str], mode: Mode) -> Iterator[tuple[str, Replay | str]]:
    """Yield the replay of each trace, or why there is none."""
    for trace_id in ids:
        try:
            yield trace_id, replayer.replay(trace_id, mode)
        except (ServerError, IngestError) as error:
            yield trace_id, str(error)
