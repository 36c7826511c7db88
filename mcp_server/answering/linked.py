"""Statements about links: which lines a ticket's commits changed, what a design names, what is behind some code."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_server.answering.aspects import is_title
from mcp_server.answering.claims import ClaimDraft
from mcp_server.answering.evidence import Evidence, Span
from mcp_server.answering.passages import (
    PLAIN_VALUES,
    Task,
    around,
    clip,
    code,
    heading_above,
    introduce,
    place_of,
    quote_doc,
    quoted,
    state_ticket,
    units,
)
from mcp_server.retrieval.context import Link
from mcp_server.retrieval.query import PATH

MAX_SAID = 8  # links of one aspect that are told


def links_of(task: Task, relations: Sequence[str] = ()) -> list[Link]:
    """Return the links that belong to what an aspect names, or, of the first aspect, to the best hit."""
    names = {name.strip("`").removesuffix("()") for name in (*task.aspect.names, *task.aspect.carried_names)}
    own = [n for n in task.links if n.about in names or (task.number == 0 and n.about in ("", task.aspect.text))]
    return [link for link in own if not relations or link.relation in relations][:MAX_SAID]


def state_links(task: Task, links: Sequence[Link]) -> list[ClaimDraft]:
    """State some links, those of one commit or document together in their order."""
    blocks = {block.chunk.id: block for block in task.every}
    return [state_link(task, link, blocks[link.origin.id], blocks[link.target.id]) for link in links]


def state_link(task: Task, link: Link, origin: Evidence, target: Evidence) -> ClaimDraft:
    """State one link, with the line that says so and the lines that it leads to."""
    lines = target.span(link.start_line, link.end_line)
    if link.relation == "behind":
        return state_behind(task, link, origin, target)
    if link.relation == "mentions":
        said = code(clip(" ".join(target.slice(link.start_line, link.start_line).split())))
        return task.draft(f"{place_of(target, link.start_line)} names {link.about}: {said}", [lines], form="item")
    first = origin.chunk.start_line
    if link.relation == "renamed":
        title = quoted(clip(origin.chunk.title))
        text = f"{link.about} was renamed: it is {name_of_target(link, target)} now, by {introduce(origin)}: {title}"
        return task.draft(text, [origin.span(first, origin.end_line), lines])
    if link.relation in ("removed", "replaced"):
        instead = f", replaced by {name_of_target(link, target)}" if link.relation == "replaced" else ""
        by = introduce(origin).replace("Commit", "commit", 1)
        text = f"{link.about} was removed in {by}{instead}: {quoted(clip(origin.chunk.title))}"
        return task.draft(text, [origin.span(first, origin.end_line), lines if instead else None])
    if link.relation == "touched":
        text = f"{introduce(origin)} touched {place_of(target)}; there stands {describe(target, link)}"
        return task.draft(text, [origin.span(first, first), lines], form="item")
    verb = "changed" if link.relation == "changed" else "names"
    spot = naming_line(origin, target) if verb == "names" else origin.span(first, first)
    return task.draft(f"{introduce(origin)} {verb} {describe(target, link)}", [spot, lines], form="item")


def name_of_target(link: Link, target: Evidence) -> str:
    """Return what is there now of something that is gone: a definition with its place, or a file."""
    now = around(target, link.start_line) if not PATH.fullmatch(link.about) else None
    return f"`{now}` ({place_of(target, link.start_line)})" if now else place_of(target)


def describe(target: Evidence, link: Link) -> str:
    """Return what stands at the end of a link: the definition around it with its doc, or the first telling line."""
    place = place_of(target, link.start_line)
    starting = [s for s in target.chunk.symbols if link.start_line <= s.start_line <= link.end_line]
    first = [s for s in starting if s.start_line == link.start_line]
    best = min(first or starting, key=lambda s: (s.kind in PLAIN_VALUES, s.start_line), default=None)
    inside = around(target, link.start_line)
    if inside and not first:  # within a definition: that is what was changed, not the one after it
        best = next((s for s in target.chunk.symbols if s.qualname == inside), None)
    name = best.qualname if best else inside
    doc = quote_doc(target, best) if best else ""
    head = f"`{name}` ({place})" if name else place
    if doc:
        return f"{head}: {quoted(doc)}"
    said = next((u for u in units(target) if link.start_line <= u[1].start_line <= link.end_line), None)
    if said is None:
        return f"{head}."
    return f"{head}: {(quoted if said[2] else code)(clip(said[0]))}"


def state_behind(task: Task, link: Link, origin: Evidence, target: Evidence) -> ClaimDraft:
    """State that a design, ticket or commit is behind a piece of code, with the line that says so."""
    if origin.chunk.kind == "commit":
        title = quoted(clip(origin.chunk.title))
        first = origin.chunk.start_line
        return task.draft(f"{introduce(origin)}: {title}", [origin.span(first, first)], form="item")
    if origin.chunk.kind == "ticket":
        return state_ticket(task, origin)[0]
    spot = naming_line(origin, target)
    title = origin.chunk.title or heading_above(origin, origin.end_line)
    state = f" ({origin.chunk.state})" if origin.chunk.state else ""
    said = next((u[0] for u in units(origin) if u[1].start_line <= spot.start_line <= u[1].end_line), "")
    head = f"Design {place_of(origin)}{state}"
    head += f", {quoted(clip(title))}" if title and '"' not in title else ""
    return task.draft(f"{head}: {quoted(clip(said))}" if said else f"{head}.", [spot], form="item")


def naming_line(origin: Evidence, target: Evidence) -> Span:
    """Return the line of a document that names a file, or a definition in it; else its first."""
    path = target.chunk.path or ""
    names = [path, path.rsplit("/", 1)[-1], *(symbol.name for symbol in target.chunk.symbols)]
    for name in filter(None, names):
        for number, line in enumerate(origin.lines, origin.chunk.start_line):
            if name in line:
                return origin.span(number, number)
    return origin.span(origin.chunk.start_line, origin.chunk.start_line)


def state_lead(task: Task) -> list[ClaimDraft]:
    """State the ticket or design that is the best hit, or the ticket, design or commit whose title is asked about.

    A title says what a document is about better than any of its lines.
    """
    best = task.best
    if best is None or best.chunk.kind not in ("ticket", "design"):
        subject = frozenset(task.weights)
        best = next((b for b in task.every if b.chunk.kind != "code" and is_title(b.chunk.title, subject)), None)
    if best is None:
        return []
    return state_ticket(task, best)[: 1 if best.chunk.kind == "commit" else None]  # links say what it changed
