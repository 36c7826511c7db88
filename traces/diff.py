"""Two traces side by side: the first stage that differs, and what differs in each, for people."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from traces.blobs import Json, dump
from traces.draft import list_rows
from traces.model import LIST_STAGES, SPAN_NAMES, ChunkKey, Span, Trace

MAX_LINES = 14  # per stage; the rest is counted
RETRIEVAL_STAGES = (
    "normalise", "route", "entities", "transform", "embed", "search.text", "search.vector", "search.symbol",
    "search.history", "search.frames", "search.references", "search.users", "search.link", "fusion", "rerank",
    "diversify",
)  # fmt: skip
ANSWER_STAGES = ("context", "coverage", "prompt", "model", "claims", "ledger", "freshness", "respond")

Label = Callable[[ChunkKey], str]


@dataclass(frozen=True, slots=True)
class StageDiff:
    """What differs in one stage; no lines = the same."""

    stage: str
    lines: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Tell whether the stage came out the same, to the last bit of each score."""
        return not self.lines


@dataclass(frozen=True, slots=True)
class TraceDiff:
    """The stages of two traces compared, in the order in which they run, and what they ran on."""

    stages: tuple[StageDiff, ...]
    setting: tuple[str, ...] = ()  # configuration, environment, generation, versions that differ

    @property
    def first(self) -> str:
        """The first stage that differs, "" where none does."""
        return next((stage.stage for stage in self.stages if not stage.is_same), "")

    def __str__(self) -> str:
        lines = [f"first diverging stage: {self.first or 'none'}"]
        lines += [f"  {line}" for line in self.setting]
        for stage in self.stages:
            lines.append(f"{'same   ' if stage.is_same else 'DIFFERS'}  {stage.stage}")
            lines += [f"    {line}" for line in stage.lines]
        return "\n".join(lines)


def diff_traces(
    one: Trace, other: Trace, stages: Collection[str] = SPAN_NAMES, *, with_setting: bool = True
) -> TraceDiff:
    """Compare the stages that either trace has, and the settings that both ran with."""
    spans = ({span.name: span for span in trace.spans} for trace in (one, other))
    before, after = spans
    names = {c.id: f"{c.label} {c.symbol or ''}".strip() for trace in (other, one) for c in trace.chunks}
    order = sorted({*before, *after}.intersection(stages), key=SPAN_NAMES.index)
    compared = [
        StageDiff(
            name, tuple(_cut(diff_span(before.get(name), after.get(name), lambda key: names.get(key, f"chunk {key}"))))
        )
        for name in order
    ]
    return TraceDiff(tuple(compared), tuple(diff_settings(one, other)) if with_setting else ())


def diff_span(before: Span | None, after: Span | None, label: Label) -> Iterator[str]:
    """Yield what differs in one stage."""
    if before is None or after is None:
        yield "did not run then" if before is None else "does not run now"
        return
    if (before.error_type or "") != (after.error_type or ""):
        yield f"error: {before.error_type or 'none'} -> {after.error_type or 'none'}"
    if before.name in LIST_STAGES and isinstance(before.output, list) and isinstance(after.output, list):
        yield from diff_rows(before.output, after.output, label)
        if before.rest != after.rest:
            yield f"candidates beyond those kept differ: {_rest(before.rest)} -> {_rest(after.rest)}"
        yield from diff_dropped(before.dropped, after.dropped, label)
    else:
        yield from diff_values(_without_estimate(before.output), _without_estimate(after.output))


def _without_estimate(output: Json) -> Json:
    """Return an output without estimated tokens: the estimate learns from each call, the text stays the same."""
    if isinstance(output, Mapping) and output.get("estimated"):
        return {name: value for name, value in output.items() if name != "tokens"}
    return output


def diff_dropped(before: Json, after: Json, label: Label) -> Iterator[str]:
    """Yield the chunks that are dropped now, no more, or for another reason."""
    old, new = ({key: reason for key, reason, _ in list_rows(rows)} for rows in (before, after))
    for key in (*new, *(key for key in old if key not in new)):
        if old.get(key) != new.get(key):
            now = f"for {new[key]}" if key in new else "no more"
            was = f", was for {old[key]}" if key in old else ""
            yield f"dropped {now}{was}: {label(key)}"


def diff_rows(before: Sequence[Json], after: Sequence[Json], label: Label) -> Iterator[str]:
    """Yield the chunks that came, went, moved or changed score, in the new order."""
    old = {key: (rank, score) for rank, (key, score, _) in enumerate(list_rows(list(before)), 1)}
    new = {key: (rank, score) for rank, (key, score, _) in enumerate(list_rows(list(after)), 1)}
    for key, (rank, score) in new.items():
        if key not in old:
            yield f"+ #{rank} {label(key)}  {_number(score)}"
        elif old[key] != (rank, score):
            was_rank, was_score = old[key]
            moved = f"#{was_rank} -> #{rank}" if was_rank != rank else f"#{rank}"
            changed = f"  {_number(was_score)} -> {_number(score)}" if was_score != score else ""
            yield f"~ {moved} {label(key)}{changed}"
    for key, (rank, score) in old.items():
        if key not in new:
            yield f"- #{rank} {label(key)}  {_number(score)}"


def diff_values(before: Json, after: Json) -> Iterator[str]:
    """Yield a line diff of two JSON values; texts by their lines, claims by their text."""
    if before == after:
        return
    lines = difflib.unified_diff(list(_lines(before)), list(_lines(after)), lineterm="", n=0)
    yield from (line for line in lines if not line.startswith(("---", "+++", "@@")))


def diff_settings(one: Trace, other: Trace) -> Iterator[str]:
    """Yield each setting, package, prompt, model and version that differs between two traces."""
    for name in (
        "env",
        "service_version",
        "code_commit",
        "generation",
        "prompt_id",
        "prompt_version",
        "prompt_sha256",
        "model",
    ):
        yield from _pair(name, getattr(one.summary, name), getattr(other.summary, name))
    for source in sorted({*one.summary.revisions, *other.summary.revisions}):
        yield from _pair(
            f"revision of {source}", one.summary.revisions.get(source), other.summary.revisions.get(source)
        )
    for title, before, after in (
        ("config", one.config, other.config),
        ("environment", one.environment, other.environment),
    ):
        old, new = dict(flatten(before)), dict(flatten(after))
        for key in sorted({*old, *new}):
            yield from _pair(f"{title} {key}", old.get(key), new.get(key))


_SETTINGS = (
    "env", "service_version", "code_commit", "generation", "prompt_id", "prompt_version", "prompt_sha256", "model",
)  # fmt: skip


def flatten(value: Json, at: str = "") -> Iterator[tuple[str, Json]]:
    """Yield dotted keys and values of nested tables."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from flatten(part, f"{at}.{name}" if at else str(name))
    elif value is not None or at:
        yield at, value


def _pair(name: str, before: Json, after: Json) -> Iterator[str]:
    if before != after:
        yield f"{name}: {_short(before)} -> {_short(after)}"


def _lines(value: Json) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        yield f"[{value.get('verdict', '')}] {value['text']}"
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from (f"{name}: {line}" for line in _lines(item))
    elif isinstance(value, list):
        for item in value:
            yield from _lines(item) if isinstance(item, (str, Mapping)) else (dump(item),)
    else:
        yield from value.splitlines() if isinstance(value, str) else (dump(value),)


def _cut(lines: Iterator[str]) -> Iterator[str]:
    whole = list(lines)
    yield from whole[:MAX_LINES]
    if len(whole) > MAX_LINES:
        yield f"... and {len(whole) - MAX_LINES} more"


def _rest(rest: Json) -> str:
    return f"{rest['rows']} rows, {rest['hash']}" if isinstance(rest, Mapping) else "none"


def _number(value: Json) -> str:
    return "" if value is None else f"{value!r}"


def _short(value: Json) -> str:
    return "none" if value is None else value if isinstance(value, str) else dump(value)
