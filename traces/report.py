"""A trace as text, for an agent and for a person: the whole in one page, or one stage in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from traces.blobs import Json, dump
from traces.draft import list_rows
from traces.model import LIST_STAGES, RETRIEVERS, ChunkKey, Failure, Span, Trace, TraceChunk

BUDGET_CHARS = 9000
NOTICE_CHARS = 320  # kept free for the sentence that says what was cut
LINE_CHARS = 400
QUERY_CHARS = 300
STACK_LINES = 6  # of an error in the overview; the stage shows all
DROPPED_LINES = 12
TEXT_STAGES = ("context", "respond")  # shown with the text of their chunks
FINAL_STAGES = ("respond", "context", "diversify", "rerank", "fusion", *RETRIEVERS)
VIEWS = ("config", "environment", "answer")  # parts that are no stage but can be asked for like one


def render_trace(trace: Trace, stage: str = "", budget_chars: int = BUDGET_CHARS) -> str:
    """Return the overview of a trace, or one stage in full, in at most `budget_chars` characters.

    `stage` is a name; `name@41` goes on from line 41 of a stage that was cut. An unknown one lists those that exist.
    """
    if not stage:
        return _fit(_overview(trace), budget_chars, _overview_notice(trace))
    name, _, start = stage.partition("@")
    lines = list(_wrap(_stage_lines(trace, name)))
    if not lines:
        return _fit([_unknown_stage(trace, name)], budget_chars, lambda shown, total: "Cut.")
    first = max(int(start) if start.isdigit() else 1, 1)
    if first > len(lines):
        return f"Stage {name} has {len(lines)} lines; nothing from line {first} on."[:budget_chars]
    return _fit(lines[first - 1 :], budget_chars, _stage_notice(name, first, len(lines)))


def _overview(trace: Trace) -> Iterator[str]:
    index = {chunk.id: chunk for chunk in trace.chunks}
    yield from _head(trace)
    yield from _scores(trace)
    yield from _stage_table(trace)
    yield from _failures(trace)
    yield from _ungrounded(trace)
    yield from _hits(trace, index)
    yield from _dropped(trace, index)


def _head(trace: Trace) -> Iterator[str]:
    row = trace.summary
    yield f"TRACE {row.id}  {row.tool}  {row.status}  {row.duration_ms:.1f} ms  {row.at}"
    yield f"query: {_one_line(row.query, QUERY_CHARS) or '(not recorded)'}"
    if row.query_norm and row.query_norm != row.query:
        yield f"normalised: {_one_line(row.query_norm, QUERY_CHARS)}"
    asked = {"route": row.route, "bucket": row.bucket, "transform": row.transform, "filters": row.filters}
    yield from _pairs(asked)
    yield from _pairs({"generation": row.generation, "revisions": row.revisions})
    ran = {"version": row.service_version, "commit": row.code_commit, "env": row.env, "config": row.config_hash}
    yield from _pairs(ran | {"entry": row.entry, "client": row.client, "request": row.request_id})
    prompt = " ".join(part for part in (row.prompt_id, row.prompt_version, row.prompt_sha256) if part)
    yield from _pairs({"model": row.model, "prompt": prompt, "cached": row.cached, "cost_usd": row.cost_usd})
    tokens = {"tokens in": row.tokens_in, "out": row.tokens_out, "cached": row.tokens_cached}
    yield from _pairs(tokens | {"estimated": True if row.tokens_estimated and row.model else None})
    yield f"degraded: {', '.join(row.degraded) or 'none'}"
    if trace.thinned_at is not None:
        yield f"content: retention took it on {trace.thinned_at[:10]} - only the row of this trace was kept"
    for hash_ in trace.missing:
        yield f"MISSING blob {hash_}: a part of this trace cannot be shown; `codecairn trace verify` looks at all"
    if row.content != "full":
        yield f"content: {row.content} - only the row and the timings of this trace were kept"


def _scores(trace: Trace) -> Iterator[str]:
    """Yield what people and rules said of the trace, the latest word of each."""
    replaced = {score.supersedes for score in trace.scores}
    for score in trace.scores:
        if score.id not in replaced:
            parts = (score.label, _number(score.value), score.note)
            said = " ".join(_one_line(part, QUERY_CHARS) for part in parts if part)
            yield f"judged by a {score.source}: {score.name} {said}".rstrip()


def _stage_table(trace: Trace) -> Iterator[str]:
    yield ""
    yield f"STAGES  {'':<14}{'ms':>9}{'in':>7}{'out':>7}"
    for span in trace.spans:
        name = ("  " if span.parent else "") + span.name
        attrs = ", ".join(f"{key}={_short(value)}" for key, value in sorted(span.attrs.items()))
        note = f"ERROR {span.error_type}" if span.error_type else attrs
        row = f"  {name:<20}{span.duration_ms:>9.2f}{_count(span.n_in):>7}{_count(span.n_out):>7}  {note}"
        yield _one_line(row, 160, keep_indent=True)


def _failures(trace: Trace) -> Iterator[str]:
    if trace.failure is not None:
        yield ""
        yield from _failure_lines("ERROR", trace.failure, STACK_LINES)
    for span in trace.spans:
        if span.failure is not None and span.failure != trace.failure:
            yield f"  {span.name}: {span.failure.type}: {_one_line(span.failure.message, LINE_CHARS)}"


def _failure_lines(title: str, failure: Failure, limit: int) -> Iterator[str]:
    yield f"{title} {failure.type}: {_one_line(failure.message, LINE_CHARS)}"
    for line in failure.stack.strip().splitlines()[-limit:]:
        yield f"  | {line}"


def _ungrounded(trace: Trace) -> Iterator[str]:
    verdicts = Counter(str(claim.get("verdict")) for claim in _claims(trace))
    if not verdicts and not trace.ungrounded and trace.summary.n_ungrounded is None:
        return
    yield ""
    counted = sorted(verdicts.items(), key=lambda item: (-item[1], item[0]))
    yield f"CLAIMS  {', '.join(f'{name} {count}' for name, count in counted) or 'none'}"
    yield f"UNGROUNDED  {len(trace.ungrounded) or 'none'}"
    for item in trace.ungrounded:
        yield f"  - {_one_line(_sentence(item), LINE_CHARS)}"


def _sentence(item: Json) -> str:
    if not isinstance(item, Mapping):
        return _short(item)
    return f"{item.get('kind', '')} [{item.get('verdict', '')}] {item.get('text', '')} - {item.get('reason', '')}"


def _hits(trace: Trace, index: Mapping[ChunkKey, TraceChunk]) -> Iterator[str]:
    final = _final_span(trace)
    if final is None:
        return
    weights = _fusion_weights(trace)
    yield ""
    yield f"HITS  as {final.name} left them" + (f"  (weights {weights})" if weights else "")
    for rank, (key, score, _) in enumerate(list_rows(final.output), start=1):
        yield f"{rank}. {_label(key, index)}  {_number(score)}".rstrip()
        yield f"   {_journey(trace, key)}"


def _final_span(trace: Trace) -> Span | None:
    found = [span for span in trace.spans if span.name in FINAL_STAGES and any(list_rows(span.output))]
    return min(found, key=lambda span: (FINAL_STAGES.index(span.name), -span.id), default=None)


def _fusion_weights(trace: Trace) -> str:
    configs = [span.config for span in trace.spans if span.name == "fusion" and isinstance(span.config, Mapping)]
    weights = configs[-1].get("weights") if configs else None
    return _features(weights) if isinstance(weights, Mapping) else ""


def _journey(trace: Trace, key: ChunkKey) -> str:
    """Say where a chunk was in each list: `text #1 11.2 · symbol #1 1 -> fusion #2 ... -> rerank #1 ...`."""
    found: list[str] = []
    steps: list[str] = []
    for span in sorted(trace.spans, key=lambda span: (_order(span.name), span.id)):
        for rank, (row_key, score, details) in enumerate(list_rows(span.output), start=1):
            if row_key != key or span.name not in LIST_STAGES:
                continue
            name = span.name.removeprefix("search.")
            text = f"{name} #{rank} {_number(score)}".rstrip() + (f" ({_features(details)})" if details else "")
            (found if span.name in RETRIEVERS else steps).append(text)
            break
    return " -> ".join(part for part in (" · ".join(found), *steps) if part)


def _order(name: str) -> int:
    return LIST_STAGES.index(name) if name in LIST_STAGES else -1


def _dropped(trace: Trace, index: Mapping[ChunkKey, TraceChunk]) -> Iterator[str]:
    rows = [(span.name, *row) for span in trace.spans for row in list_rows(span.dropped)]
    if not rows:
        return
    yield ""
    counts = Counter((name, _short(reason)) for name, _, reason, _ in rows)
    said = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    yield "DROPPED  " + "; ".join(f"{count} by {name}: {reason}" for (name, reason), count in said[:DROPPED_LINES])
    for name, key, reason, _ in rows[:DROPPED_LINES]:
        yield f"  - {_label(key, index)}  {name}: {_short(reason)}"
    if len(rows) > DROPPED_LINES:
        yield f"  - and {len(rows) - DROPPED_LINES} more; each stage lists its own"


def _stage_lines(trace: Trace, name: str) -> Iterator[str]:
    if name == "config":
        yield f"CONFIG {trace.summary.config_hash}"
        yield from _value_lines(trace.config, {})
    elif name == "environment":
        yield f"ENVIRONMENT {trace.summary.environment_hash}"
        yield from _value_lines(trace.environment, {})
    elif name == "answer":
        yield from _answer_lines(trace)
    index = {chunk.id: chunk for chunk in trace.chunks}
    for span in trace.spans:
        if span.name == name:
            yield from _span_lines(span, index)


def _answer_lines(trace: Trace) -> Iterator[str]:
    yield f"ANSWER of trace {trace.summary.id}"
    yield from _value_lines(trace.answer, {})
    if trace.raw_output is not None:
        yield "raw model output:"
        yield from _value_lines(trace.raw_output, {})
    yield from _ungrounded(trace)
    for claim in _claims(trace):
        yield f"  {_short(claim)}"


def _span_lines(span: Span, index: Mapping[ChunkKey, TraceChunk]) -> Iterator[str]:
    yield f"STAGE {span.name}  {span.duration_ms:.2f} ms  in {_count(span.n_in)}  out {_count(span.n_out)}"
    if span.failure is not None:
        yield from _failure_lines("error", span.failure, 1000)
    slots = {"attrs": span.attrs or None, "config": span.config, "input": span.input}
    for title, value in (slots | {"output": span.output, "dropped": span.dropped}).items():
        if value is not None:
            yield f"{title}:"
            yield from _value_lines(value, index)
    for key, _, _ in list_rows(span.output) if span.name in TEXT_STAGES else ():
        if key in index:
            yield f"text of {_label(key, index)}"
            yield from (f"  | {line}" for line in index[key].text.splitlines())


def _value_lines(value: Json, index: Mapping[ChunkKey, TraceChunk]) -> Iterator[str]:
    if isinstance(value, str):
        yield from (f"  | {line}" for line in value.splitlines())
    elif isinstance(value, Mapping):
        yield from (f"  {key}: {_short(item)}" for key, item in value.items())
    elif isinstance(value, list):
        for rank, item in enumerate(value, start=1):
            rows = list(list_rows([item]))
            yield f"  {rank}. {_row(*rows[0], index) if rows else _short(item)}"
    else:
        yield f"  {_short(value)}"


def _row(key: ChunkKey, value: Json, details: Mapping[str, Json], index: Mapping[ChunkKey, TraceChunk]) -> str:
    shown = value if isinstance(value, str) else _number(value)
    return f"{_label(key, index)}  {shown}" + (f"  ({_features(details)})" if details else "")


def _label(key: ChunkKey, index: Mapping[ChunkKey, TraceChunk]) -> str:
    chunk = index.get(key)
    if chunk is None:
        return f"chunk {key}"
    return _one_line(f"{chunk.label} {chunk.symbol or ''}", 200)


def _claims(trace: Trace) -> list[Mapping[str, Json]]:
    for name in ("ledger", "claims"):
        for span in reversed(trace.spans):
            if span.name == name and isinstance(span.output, list):
                return [claim for claim in span.output if isinstance(claim, Mapping)]
    return []


def _pairs(values: Mapping[str, Json]) -> Iterator[str]:
    said = [f"{name} {_short(value)}" for name, value in values.items() if value not in (None, "", {}, ())]
    if said:
        yield " · ".join(said)


def _features(values: Mapping[str, Json]) -> str:
    return ", ".join(f"{name} {_number(value) or _short(value)}" for name, value in values.items())


def _number(value: Json) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _short(value: Json) -> str:
    return _clean(value if isinstance(value, str) else dump(value))


def _one_line(text: str, limit: int, keep_indent: bool = False) -> str:
    flat = _clean(text) if keep_indent else " ".join(_clean(text).split())
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."


def _clean(text: str) -> str:
    """Return text without control and direction marks: what a document says must not steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def _wrap(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        clean = _clean(line)
        yield from (clean[start : start + LINE_CHARS] for start in range(0, max(len(clean), 1), LINE_CHARS))


def _fit(lines: Iterable[str], budget_chars: int, notice: Callable[[int, int], str]) -> str:
    whole = list(_wrap(lines))
    text = "\n".join(whole)
    if len(text) <= budget_chars:
        return text
    shown = _count_fitting(whole, budget_chars - NOTICE_CHARS)
    return "\n".join([*whole[:shown], notice(shown, len(whole))[:NOTICE_CHARS]])[:budget_chars]


def _count_fitting(lines: Sequence[str], budget_chars: int) -> int:
    used = 0
    for count, line in enumerate(lines):
        used += len(line) + 1
        if used > budget_chars:
            return count
    return len(lines)


def _overview_notice(trace: Trace) -> Callable[[int, int], str]:
    names = _stage_names(trace)
    example = next((name for name in ("rerank", "fusion", "context") if name in names), names[0] if names else "config")
    return lambda shown, total: f'Cut: {total - shown} more lines. Ask for one stage in full, as stage="{example}".'


def _stage_notice(name: str, first: int, total: int) -> Callable[[int, int], str]:
    def say(shown: int, _: int) -> str:
        last = first + shown - 1
        return f'Cut: lines {first}-{last} of {total} shown. Ask for stage="{name}@{last + 1}" to go on.'

    return say


def _stage_names(trace: Trace) -> list[str]:
    return list(dict.fromkeys(span.name for span in trace.spans))


def _unknown_stage(trace: Trace, name: str) -> str:
    names = [*_stage_names(trace), *VIEWS]
    near = get_close_matches(name, names, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"This trace has no stage {_one_line(name, 60)!r}.{hint} It has: {', '.join(names)}."
