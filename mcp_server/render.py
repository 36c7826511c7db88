"""One renderer for the tools and the command line: concise, detailed or json text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

from mcp_server.fallback import describe_codes
from mcp_server.results import AnswerResult, Citation, Hit, MissingName, SearchResult, Ungrounded, Verdict
from mcp_server.service import Status

if TYPE_CHECKING:
    from mcp_server.answering.check import CheckReport

Format = Literal["concise", "detailed", "json"]

CONCISE_LINES = 6  # of a snippet; five hits stay under 2,000 characters
CONCISE_CHARS = 215
DETAILED_LINES = 40
LINE_CHARS = 160
MISSING_CHARS = 40  # of a line or an object around a missing name
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\U000e0000-\U000e007f]"
)
WORD = re.compile(r"\w+")
HIT_KEYS = (
    "path", "key", "title", "start_line", "end_line", "symbol", "kind", "text", "score", "why", "source", "product",
    "revision", "freshness", "linked", "flags",
)  # fmt: skip
LISTS = frozenset({"why", "linked", "flags"})
PAGED = re.compile(r"^(?:page|cell|frame|slide) \S")  # where a format has no lines of its own
CITATION_KEYS = (
    "id", "path", "key", "start_line", "end_line", "symbol", "source", "product", "revision", "freshness", "moved_to",
)  # fmt: skip


def clean(text: str) -> str:
    """Return text without control, bidi and zero-width characters: it goes to terminals and agents."""
    return CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


# -- search ------------------------------------------------------------------------------------------------------------


def render_search(
    result: SearchResult, query: str, response_format: Format = "concise", budget_chars: int = 9000
) -> str:
    """Return a search result as text of at most `budget_chars` characters."""
    result = replace(result, not_found=fit_missing(result.not_found, budget_chars // 4))
    if response_format == "json":
        return fit_search_json(result, budget_chars)
    notes = [clean(note) for note in result.notes]
    footer = "\n".join((*notes, *missing_lines(result.not_found), search_footer(result, result)))
    if not result.hits:
        return f"0 hits. {empty_hint(result)}\n{footer}"
    several = len({hit.product for hit in result.hits}) > 1
    blocks = [hit_block(hit, query, response_format, names_product=several) for hit in result.hits]
    shown = fit(blocks, budget_chars - len(footer) - 80)
    cut = "" if len(shown) == len(blocks) else f"({len(blocks) - len(shown)} more hits do not fit; use the cursor.)\n"
    end = search_footer(result, result.first(len(shown)))
    footer = "\n".join((*notes, *missing_lines(result.not_found), end))
    return "\n".join(shown) + "\n" + cut + footer


def fit_search_json(result: SearchResult, budget_chars: int) -> str:
    """Return as many hits as fit, as JSON whose cursor starts behind them; a single hit is cut in its text."""
    for count in range(len(result.hits), 0, -1):
        text = render_json(search_to_dict(result.first(count)))
        if len(text) <= budget_chars:
            return text
    if not result.hits:
        return render_json(search_to_dict(result))
    return fit_json(search_to_dict(result.first(1)), budget_chars)


def hit_block(hit: Hit, query: str, response_format: Format, *, names_product: bool = False) -> str:
    """Return one hit: a line that says where and why, and a snippet."""
    product = f"  product {hit.product}" if names_product else ""
    marks: list[str] = [] if hit.freshness == "fresh" else [hit.freshness]
    marks += [f"text that gives orders: {', '.join(hit.flags)}"] if hit.flags else []
    why = hit.why if response_format == "detailed" else hit.why[:3]
    reasons = f"  [{', '.join((*why, *marks))}]" if why or marks else ""
    product += f"  {hit.source}" if response_format == "detailed" else ""
    symbol = f"  {hit.symbol}" if hit.symbol else f"  {hit.context}" if PAGED.match(hit.context) else ""
    if hit.start_line == hit.end_line and "\n" not in hit.text.strip() and hit.path:
        return clean(f"{hit.path}:{hit.start_line}{symbol}{product}{reasons}: {hit.text.strip()[:LINE_CHARS]}")
    head = clean(f"{place(hit)}{symbol}{product}{reasons}")
    if hit.linked:
        head += f"\n  {clean('; '.join(hit.linked))[:LINE_CHARS]}"
    if response_format == "detailed":
        return f"{head}\n{fence(snippet(hit, query, DETAILED_LINES, 6000))}"
    return f"{head}\n{indent(snippet(hit, query, CONCISE_LINES, CONCISE_CHARS))}"


def place(hit: Hit | Citation) -> str:
    """Return `path:start-end`, or the key of a ticket or commit."""
    if hit.path:
        return f"{hit.path}:{hit.start_line}-{hit.end_line}"
    return f"{hit.key} {hit.title}" if isinstance(hit, Hit) else str(hit.key)


def snippet(hit: Hit, query: str, max_lines: int, max_chars: int) -> str:
    """Return the lines around the densest match, numbered."""
    lines = clean(hit.text).split("\n")
    first = best_window(lines, query, max_lines)
    rows: list[str] = []
    used = 0
    for number, line in enumerate(lines[first : first + max_lines], hit.start_line + first):
        row = f"{number}| {line.rstrip()[:LINE_CHARS]}"
        if rows and used + len(row) > max_chars:
            break
        if line.strip():
            rows.append(row)
            used += len(row) + 1
    return "\n".join(rows)


def best_window(lines: Sequence[str], query: str, size: int) -> int:
    """Return the first line of the window that holds most distinct words of the query; ties go to the top."""
    wanted = {word.lower() for word in WORD.findall(query) if len(word) > 2}
    matches = [{w for w in wanted if w in line.lower()} for line in lines]
    best, first = 0, 0
    for start in range(max(1, len(lines) - size + 1)):
        count = len(set().union(*matches[start : start + size]))
        if count > best:
            best, first = count, start
    return first


def search_footer(result: SearchResult, shown: SearchResult) -> str:
    """Return index, age, degraded codes, count, cursor and trace in one line. `shown`: the hits that fitted."""
    revisions = sorted({hit.revision[:8] for hit in result.hits if hit.revision})
    parts = [
        f"index={result.generation}",
        *([f"head={','.join(revisions)}"] if revisions else []),
        f"age={format_age(result.index_age_s)}",
        *([f"files_behind={result.files_behind}"] if result.files_behind else []),
        *([f"degraded={','.join(result.degraded)}"] if result.degraded else []),
        f"shown {len(shown.hits)}/{result.total}",
        *([f"next_cursor={shown.next_cursor}"] if shown.next_cursor else []),
        f"trace={result.trace_id}",
    ]
    return " ".join(parts)


def empty_hint(result: SearchResult) -> str:
    """Return what to try when nothing was found."""
    return "Nothing in the index matches; try other words, a symbol or a file name, or drop the filters."


def fit_missing(missing: Sequence[MissingName], budget_chars: int) -> tuple[MissingName, ...]:
    """Return the first missing names that fit: a question can hold hundreds, and hits come first."""
    used = 0
    kept = []
    for item in missing:
        used += len(item.name) + sum(map(len, item.nearest)) + MISSING_CHARS
        if used > budget_chars:
            break
        kept.append(item)
    return tuple(kept)


def missing_lines(missing: Iterable[MissingName]) -> Iterator[str]:
    """Yield a line per name that exists nowhere, with the nearest ones."""
    for item in missing:
        nearest = f" Nearest: {', '.join(item.nearest)}." if item.nearest else ""
        yield clean(f"Not in {item.where}: {item.name}.{nearest}")


# -- answer ------------------------------------------------------------------------------------------------------------


def render_answer(result: AnswerResult, response_format: Format = "concise", budget_chars: int = 9000) -> str:
    """Return an answer as text: ANSWER with what is degraded first, CITATIONS, UNGROUNDED (always), STALE, TRACE."""
    if response_format == "json":
        return fit_json(answer_to_dict(result), budget_chars)
    if result.mode == "capabilities":
        return clean(result.answer)
    tail = "\n".join(answer_tail(result, response_format))
    said = "".join(f"({line})\n" for line in describe_codes(result.degraded))
    text = clean(f"{said}{result.answer}")
    room = budget_chars - len(tail) - 20
    if len(text) > room:
        text = text[: max(0, room - 30)].rsplit("\n", 1)[0] + "\n(cut to fit)"
    return f"ANSWER\n{text}\n{tail}"[:budget_chars]


def answer_tail(result: AnswerResult, response_format: Format) -> Iterator[str]:
    """Yield everything behind the answer's text."""
    if result.citations:
        yield "\nCITATIONS"
        yield from (citation_line(citation) for citation in result.citations)
    if result.nearest:
        yield "\nNEAREST"
        yield from (clean(f"{place(hit)}  {hit.symbol or ''}".rstrip()) for hit in result.nearest)
    yield "\nUNGROUNDED (not supported by what was found)"
    yield from (ungrounded_line(item) for item in result.ungrounded) if result.ungrounded else iter(("none",))
    yield from missing_lines(m for m in result.not_found if not any(m.name in u.text for u in result.ungrounded))
    if result.stale:
        yield f"\nSTALE\n{', '.join(result.stale)}: changed since they were indexed; see the marks above"
    degraded = f" degraded={','.join(result.degraded)}" if result.degraded else ""
    cached = f" cached_at={result.cached_at} from={result.cached_trace_id}" if result.cached else ""
    yield f"\nTRACE {result.trace_id} index={result.generation} age={format_age(result.index_age_s)}{degraded}{cached}"
    if response_format == "detailed":
        yield from (clean(f"claim {n}: {c.verdict}: {c.text}") for n, c in enumerate(result.claims, 1))


def citation_line(citation: Citation) -> str:
    """Return `[C1] path:12-40 symbol` with what happened to it since."""
    symbol = f"  {citation.symbol}" if citation.symbol else ""
    state = "" if citation.freshness == "fresh" else f"  ({citation.freshness}"
    moved = f", now {citation.moved_to}" if citation.moved_to else ""
    return clean(f"[{citation.id}] {place(citation)}{symbol}  {citation.product}{state + moved + ')' if state else ''}")


def ungrounded_line(item: Ungrounded) -> str:
    """Return one ungrounded part with its reason and the nearest names."""
    nearest = f" Nearest: {', '.join(item.nearest)}." if item.nearest else ""
    return clean(f"- {item.kind}: {item.text} ({item.verdict}: {item.reason}){nearest}")


# -- json --------------------------------------------------------------------------------------------------------------


def render_json(value: Mapping[str, Any]) -> str:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def fit_json(value: Mapping[str, Any], budget_chars: int) -> str:
    """Return a result as valid JSON of at most `budget_chars`: its longest list or text is halved until it fits.

    `cut` then names the keys that lost something.
    """
    parts = dict(value)
    cut: set[str] = set()
    while len(text := render_json({**parts, "cut": sorted(cut)} if cut else parts)) > budget_chars:
        longest = max(parts, key=lambda key: len(render_json({key: parts[key]})))
        shorter = halve(parts[longest])
        if shorter == parts[longest]:
            break  # numbers and ids only
        parts[longest] = shorter
        cut.add(longest)
    return text


def halve(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return half of a text or list; of a list with one item, that item with its longest part halved."""
    if isinstance(value, str):
        return value[: len(value) // 2]
    if isinstance(value, list) and len(value) > 1:
        return value[: len(value) // 2]
    if isinstance(value, list) and value:
        return [halve(value[0])]
    if isinstance(value, dict):
        longest = max(value, key=lambda key: len(render_json({key: value[key]})))
        return {**value, longest: halve(value[longest])}
    return value


def hit_to_dict(hit: Hit) -> dict[str, Any]:
    """Return the documented keys of a hit."""
    return {key: list(getattr(hit, key)) if key in LISTS else getattr(hit, key) for key in HIT_KEYS}


def search_to_dict(result: SearchResult) -> dict[str, Any]:
    """Return the documented keys of a search result."""
    return {
        "hits": [hit_to_dict(hit) for hit in result.hits],
        "total": result.total,
        "next_cursor": result.next_cursor,
        "generation": result.generation,
        "index_age_s": result.index_age_s,
        "files_behind": result.files_behind,
        "degraded": list(result.degraded),
        "not_found": [{"name": item.name, "nearest": list(item.nearest)} for item in result.not_found],
        "notes": list(result.notes),
        "trace_id": result.trace_id,
    }


def answer_to_dict(result: AnswerResult) -> dict[str, Any]:
    """Return the documented keys of an answer."""
    return {
        "answer": result.answer,
        "mode": result.mode,
        "claims": [
            {"text": c.text, "verdict": c.verdict, "reason": c.reason, "citations": list(c.citations)}
            for c in result.claims
        ],
        "citations": [{key: getattr(c, key) for key in CITATION_KEYS} for c in result.citations],
        "ungrounded": [
            {"kind": u.kind, "text": u.text, "verdict": u.verdict, "reason": u.reason, "nearest": list(u.nearest)}
            for u in result.ungrounded
        ],
        "not_found": [{"name": item.name, "nearest": list(item.nearest)} for item in result.not_found],
        "stale": list(result.stale),
        "abstained": result.abstained,
        "cached": result.cached,
        "cached_at": result.cached_at or None,
        "cached_trace_id": result.cached_trace_id or None,
        "degraded": list(result.degraded),
        "latency_ms": result.latency_ms,
        "generation": result.generation,
        "index_age_s": result.index_age_s,
        "files_behind": result.files_behind,
        "trace_id": result.trace_id,
        "meta": dict(result.meta),
    }


# -- status ------------------------------------------------------------------------------------------------------------


def status_to_dict(status: Status) -> dict[str, Any]:
    """Return the state of the index as JSON values."""
    return {
        "state": status.state,
        "generation": status.generation,
        "index_age_s": status.index_age_s,
        "chunks": status.chunks,
        "files": status.files,
        "embedder": status.embedder,
        "sources": [dict(source) for source in status.sources],
        "degraded": list(status.degraded),
        "alarms": list(status.alarms),
        "building": status.building,
        "data_dir": status.data_dir,
        "files_behind": status.files_behind,
        "watching": status.watching,
        "failed_files": [dict(file) for file in status.failed_files],
    }


def render_status(status: Status) -> str:
    """Return the state of the index for people and agents."""
    lines = [f"state: {status.state}" + (f" ({status.building})" if status.building else "")]
    if status.state == "ready":
        age = format_age(status.index_age_s)
        lines.append(f"generation {status.generation}, {age} old: {status.files} files, {status.chunks} chunks")
        lines.append(f"embedder: {status.embedder or 'none'}")
    for source in status.sources:
        revision = f" @ {source['revision'][:12]}" if source["revision"] else ""
        head = f"- {source['name']} ({source['kind']}, product {source['product']}){revision}"
        as_of = f", as of {source['indexed_at']}" if source.get("indexed_at") else ", never indexed"
        lines.append(clean(f"{head}: {source['files']} files, {source['chunks']} chunks{as_of}"))
        if source["skipped"]:
            lines.append("  skipped: " + ", ".join(f"{reason} {n}" for reason, n in source["skipped"].items()))
        if source.get("expired"):
            lines.append(f"  expired: {source['expired']} documents, left out of searches unless asked for by key")
        lines += [f"  {line}" for line in describe_freshness(source)]
    if status.state == "ready":
        lines.append(describe_watching(status))
    lines += [f"degraded: {code}" for code in status.degraded]
    lines += [f"alarm: {alarm}" for alarm in status.alarms]
    lines.append(f"data: {status.data_dir}")
    return "\n".join(lines)


def describe_watching(status: Status) -> str:
    """Return who looks for changes, and how many of them wait, where that is known."""
    if not status.watching:
        return (
            "sources are not watched (no worker runs), so it is not known whether files changed since; "
            "`codecairn index` looks"
        )
    watched = {"events": "watched", "polling": "polled", "off": "looked at now and then"}
    how = watched.get(status.watching, status.watching)
    waiting = "" if status.files_behind is None else f"; {status.files_behind} changed files are not indexed yet"
    return f"sources are {how}{waiting}"


def describe_freshness(source: Mapping[str, Any]) -> Iterator[str]:
    """Yield how current a live source is, and why any source is not up to date."""
    if source.get("synced_at"):
        yield f"complete as of {source['synced_at']}"
    if source.get("stale_reason"):
        since = f" since {source['stale_since']}" if source.get("stale_since") else ""
        yield clean(f"stale{since}: {source['stale_reason']}")
    if source.get("failure"):
        yield clean(f"not brought up to date: {source['failure']}")


# -- shared ------------------------------------------------------------------------------------------------------------


def fit(blocks: Sequence[str], budget_chars: int) -> list[str]:
    """Return as many leading blocks as fit, at least one (cut)."""
    shown: list[str] = []
    used = 0
    for block in blocks:
        if shown and used + len(block) + 1 > budget_chars:
            break
        shown.append(block[:budget_chars])
        used += len(block) + 1
    return shown


def indent(text: str) -> str:
    """Return text set off by two spaces: it is data, not instruction."""
    return "\n".join(f"  {line}" for line in text.split("\n"))


def fence(text: str) -> str:
    """Return text in a fence longer than any run of back-ticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}\n{text}\n{ticks}"


def format_age(seconds: float) -> str:
    """Return 12s, 5m, 3h or 2d."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


# -- check -------------------------------------------------------------------------------------------------------------

EXCERPT_CHARS = 160  # of a statement in a report for people


def render_check(report: CheckReport, name: str, mildest: Verdict) -> str:
    """Return `file:line: verdict: reason` with the statement below for each finding, and a line with the counts."""
    lines: list[str] = []
    for claim in report.findings(mildest):
        nearest = f" Nearest: {', '.join(claim.nearest)}." if claim.nearest else ""
        lines.append(clean(f"{name}:{claim.start_line}: {claim.verdict}: {claim.reason}{nearest}"))
        text = " ".join(claim.text.split())
        lines.append(clean(f"    {text[:EXCERPT_CHARS]}{'…' if len(text) > EXCERPT_CHARS else ''}"))
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts.items()) or "nothing to check"
    lines.append(f"{name}: {len(report.claims)} statements ({counts}); {len(report.files)} named files read")
    return "\n".join(lines)


def check_to_dict(report: CheckReport, name: str) -> dict[str, Any]:
    """Return a report as JSON values."""
    claims = [{**asdict(claim), "nearest": list(claim.nearest)} for claim in report.claims]
    return {"file": name, "claims": claims, "counts": dict(report.counts), "files": list(report.files)}
