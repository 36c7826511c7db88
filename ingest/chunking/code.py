"""Cut source code with tree-sitter: whole definitions where they fit, split at inner definitions where not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tree_sitter import Node, Tree

from ingest.chunking.definitions import VALUE_KINDS, Definition, find_definitions
from ingest.chunking.layout import Cut, Layout, Piece
from ingest.chunking.lines import split_lines
from ingest.chunking.macros import parse_unwrapped
from ingest.languages.loading import LoadedGrammar

LEAD_NODES = frozenset(
    "comment line_comment block_comment doc_comment attribute_item inner_attribute_item decorator attribute".split()
)
DEEPEST = 80  # nesting below which a node is cut by lines; hand-written code stays above
TAIL = 10  # a last piece below a tenth of the limit joins the one before it...
OVERFLOW = 1.15  # ...though the two exceed the limit by as much
LONE_HEAD = 3  # a head below a third of the limit does not stand alone
HEAD = 6  # what stands before a split definition joins its first piece below a sixth of the limit
WORD = re.compile(r"\w\w\w\w|\w.*\w", re.DOTALL)
CLOSER_CHARS = 24
NAMESPACE_KINDS = frozenset(("namespace", "module"))
MAIN_SHARE = 0.4  # of the rows: below it a constant or an inner helper does not name the piece


def cut_code(text: str, layout: Layout, grammar: LoadedGrammar, limit: int) -> tuple[list[Cut], str]:
    """Parse one file and cut it into pieces of about `limit` characters. A reason code says why that failed."""
    data = text.encode("utf-8", "surrogatepass")
    root = _parse(data, grammar).root_node
    definitions = find_definitions(root, data, layout, grammar)
    if root.has_error and not definitions and _is_mostly_broken(root):
        return [], "parse_error"
    divider = _Divider(layout, limit, {(d.start_byte, d.end_byte): number for number, d in enumerate(definitions)})
    pieces = divider.divide(root.children, 0, layout.last, -1, 0)
    return _describe(merge_pieces(pieces, layout, limit, definitions), definitions), ""


def _parse(data: bytes, grammar: LoadedGrammar) -> Tree:
    return parse_unwrapped(data, grammar) if grammar.language.name == "rust" else grammar.parser.parse(data)


def _is_mostly_broken(root: Node) -> bool:
    broken = sum(child.end_byte - child.start_byte for child in root.children if child.is_error)
    return root.type == "ERROR" or broken * 2 > root.end_byte


class _Divider:
    """One file's recursion: which rows start a new statement, and which definition they belong to."""

    def __init__(self, layout: Layout, limit: int, owners: dict[tuple[int, int], int]) -> None:
        self.layout = layout
        self.limit = limit
        self.owners = owners

    def divide(self, nodes: Sequence[Node], first: int, last: int, owner: int, depth: int) -> list[Piece]:
        """Return pieces that cover rows first..last, cut where nodes start."""
        pieces: list[Piece] = []
        for start, stop, group in _segments(nodes, first, last):
            room = self.limit
            if depth and len(pieces) == 1:  # a head stays with the first statements of its body
                head = self.layout.size(first, start - 1)
                room -= head if head * LONE_HEAD <= self.limit else 0
            if self.layout.size(start, stop) <= room:
                pieces.append(Piece(start, stop, owner))
            else:
                pieces.extend(self._split(group, start, stop, owner, depth))
        return pieces

    def _split(self, group: Sequence[Node], first: int, last: int, owner: int, depth: int) -> list[Piece]:
        inner: list[Node] = []
        for node in group:
            owner = self.owners.get((node.start_byte, node.end_byte), owner)
            children = node.children if node.end_point.row > node.start_point.row else []
            inner.extend(children or [node])
        if depth > DEEPEST or len(inner) == len(group) == sum(not node.child_count for node in inner):
            return split_lines(self.layout, first, last, self.limit, owner)
        return self.divide(inner, first, last, owner, depth + 1)


def _segments(nodes: Sequence[Node], first: int, last: int) -> list[tuple[int, int, list[Node]]]:
    """Part rows first..last at the rows where nodes start. Comments and attributes go with the node right below."""
    starts = [first]
    groups: list[list[Node]] = [[]]
    filled_to, only_lead = -1, False
    for node in nodes:
        start = node.start_point.row
        end = node.end_point
        is_lead = node.type in LEAD_NODES
        leads = only_lead and _leads(groups[-1][-1], is_lead, start - filled_to)
        if leads or start <= filled_to or start <= starts[-1]:
            only_lead = is_lead and (only_lead or not groups[-1])
            groups[-1].append(node)
        else:
            starts.append(start)
            groups.append([node])
            only_lead = is_lead
        filled_to = max(filled_to, end.row - (end.column == 0 and end.row > start))
    stops = [start - 1 for start in starts[1:]] + [last]
    return list(zip(starts, stops, groups, strict=True))


def _leads(lead: Node, is_lead: bool, distance: int) -> bool:
    """Say whether the node `distance` rows below a comment or attribute belongs to it."""
    return distance == 1 or (distance == 2 and not is_lead and (lead.text or b"").startswith(b"/**"))


def merge_pieces(pieces: list[Piece], layout: Layout, limit: int, definitions: Sequence[Definition]) -> list[Piece]:
    """Join small neighbours of the same owner up to `limit` characters."""
    merged: list[Piece] = []
    for piece in pieces:
        trimmed = layout.trim(piece)
        if trimmed is None:
            continue
        if merged and _may_join(merged[-1], trimmed, layout, limit, definitions):
            # What enters a definition carries on in it; a tail or closing brace leaves the owner as it was.
            enters = _depth(trimmed, definitions) > _depth(merged[-1], definitions)
            merged[-1] = merged[-1]._replace(last=trimmed.last, owner=trimmed.owner if enters else merged[-1].owner)
        else:
            merged.append(trimmed)
    return merged


def _may_join(before: Piece, piece: Piece, layout: Layout, limit: int, definitions: Sequence[Definition]) -> bool:
    if before.stop is not None or piece.stop is not None:
        return False
    size = layout.size(piece.first, piece.last)
    if _is_closer(piece, size, layout):
        return True
    both = layout.size(before.first, piece.last)
    is_tail = size * TAIL <= limit and both <= limit * OVERFLOW
    if before.owner == piece.owner:
        return both <= limit or is_tail
    if _depth(piece, definitions) > _depth(before, definitions):
        return both <= limit and layout.size(before.first, before.last) * HEAD <= limit
    return is_tail and piece.owner >= 0 and _depth(piece, definitions) < _depth(before, definitions)


def _depth(piece: Piece, definitions: Sequence[Definition]) -> int:
    return definitions[piece.owner].depth if piece.owner >= 0 else -1


def _is_closer(piece: Piece, size: int, layout: Layout) -> bool:
    """Say whether a piece only closes what came before: `}`, `end`, `);`."""
    return size <= CLOSER_CHARS and not WORD.search(layout.text(piece).replace("end", ""))


def _describe(pieces: Sequence[Piece], definitions: Sequence[Definition]) -> list[Cut]:
    """Give each piece the definitions that start in it and the signatures of those around it."""
    cuts: list[Cut] = []
    around: list[Definition] = []
    following = 0
    for piece in pieces:
        while following < len(definitions) and definitions[following].first < piece.first:
            around.append(definitions[following])
            following += 1
        around = [definition for definition in around if definition.last >= piece.first]
        here: list[Definition] = []
        while following < len(definitions) and definitions[following].first <= piece.last:
            here.append(definitions[following])
            following += 1
        outer = around
        if piece.owner >= 0 and definitions[piece.owner].first > piece.last:
            outer = [*around, definitions[piece.owner]]  # a long doc comment, cut off from its definition
        context = "\n".join(definition.signature for definition in outer if definition.signature)
        symbols = tuple(definition.symbol() for definition in here if definition.kind != "scope")
        cuts.append(Cut(piece, context, _main_symbol(piece, here, outer), symbols))
        around.extend(here)
    return cuts


def _main_symbol(piece: Piece, here: Sequence[Definition], around: Sequence[Definition]) -> str | None:
    """Return the outermost, largest definition that starts here, or the one around when that is most of the piece."""
    enclosing = around[-1].qualname if around else None
    if not here:
        return enclosing
    largest = min(here, key=_prominence)
    share = (min(largest.last, piece.last) - largest.first + 1) / (piece.last - piece.first + 1)
    needed = MAIN_SHARE if enclosing is not None or largest.kind in VALUE_KINDS else 0.0
    return largest.qualname if share >= needed else enclosing


def _prominence(definition: Definition) -> tuple[bool, int, bool, int, int]:
    """Order definitions: namespaces last, outer before inner, code and types before values, large before small."""
    is_namespace, is_value = definition.kind in NAMESPACE_KINDS, definition.kind in VALUE_KINDS
    return is_namespace, definition.depth, is_value, definition.first - definition.last, definition.first
