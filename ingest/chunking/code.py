"""Cut source code with tree-sitter: whole definitions where they fit, split at inner definitions where not."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence

from tree_sitter import Node

from ingest.chunking.definitions import Definition, find_definitions
from ingest.chunking.layout import Cut, Layout, Piece
from ingest.chunking.lines import split_lines
from ingest.chunking.macros import parse_code
from ingest.languages.kinds import NAMESPACE_KINDS, VALUE_KINDS
from ingest.languages.loading import LoadedGrammar

LEAD_NODES = frozenset(
    "comment line_comment block_comment doc_comment multiline_comment haddock signature "
    "attribute_item inner_attribute_item decorator attribute annotation".split()
)
# The YAML scanner keeps its levels in a fixed buffer and crashes at 256; a level takes at least a character here.
NESTS_TOO_DEEP = {"yaml": re.compile(rb"^(?:[ ?:-]|[&!]\S+ ){200}", re.MULTILINE)}
MOST_SCRAPS = 10_000  # children of a file that is one error: matching them takes time by their square
DEEPEST = 80  # nesting below which a node is cut by lines; hand-written code stays above
SCRAP = 10  # a piece below a tenth of the limit joins its neighbour...
OVERFLOW = 1.15  # ...though the two exceed the limit by as much
LONE_HEAD = 3  # a head below a third of the limit does not stand alone
HEAD = 6  # what stands before a split definition joins its first piece below a sixth of the limit
CLOSER = re.compile(r"\s*(?:[\])};]|end\b|#\s*end\w*)(?:[\])};,\s]|end\b|#?\s*end\w+|/\*[^\n]*?\*/|(?://|#)[^\n]*)*")
CLOSER_CHARS = 80
_Rule = Callable[[int, int, str, int], bool]
LEAST_SHARE = 0.1  # of the rows: below it even the largest definition is one of many
MAIN_SHARE = 0.4  # of the rows: below it a constant or an inner helper does not name the piece


def cut_code(text: str, layout: Layout, grammar: LoadedGrammar, limit: int) -> tuple[list[Cut], str]:
    """Parse one file and cut it into pieces of about `limit` characters. A reason code says why that failed."""
    data = text.encode("utf-8", "surrogatepass")
    too_deep = NESTS_TOO_DEEP.get(grammar.language.name)
    if too_deep and too_deep.search(data):
        return [], "too_deep"
    try:
        root = parse_code(data, grammar).root_node
    except TimeoutError:
        return [], "parse_timeout"
    if root.type == "ERROR" and root.child_count > MOST_SCRAPS:
        return [], "parse_error"
    definitions = find_definitions(root, data, layout, grammar)
    if root.has_error and not definitions and _is_mostly_broken(root):
        return [], "parse_error"
    divider = _Divider(layout, limit, _owners(definitions))
    pieces = divider.divide(root.children, 0, layout.last, -1, 0)
    return describe_pieces(merge_pieces(pieces, layout, limit, definitions), definitions), ""


def _owners(definitions: Sequence[Definition]) -> dict[tuple[int, int], int]:
    """Return which definition a node's span belongs to."""
    return {span: number for number, definition in enumerate(definitions) for span in definition.spans}


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
        is_lead = node.type in LEAD_NODES or (node.type == "unary_operator" and (node.text or b"").startswith(b"@"))
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


def merge_pieces(pieces: Sequence[Piece], layout: Layout, limit: int, definitions: Sequence[Definition]) -> list[Piece]:
    """Join small neighbours of the same owner up to `limit` characters, then what is left over as scraps."""
    trimmed = [piece for piece in map(layout.trim, pieces) if piece]
    for may_join in (_fits, _is_scrap):
        trimmed = _merge(trimmed, layout, limit, definitions, may_join)
    return trimmed


def _merge(
    pieces: Sequence[Piece], layout: Layout, limit: int, definitions: Sequence[Definition], may_join: _Rule
) -> list[Piece]:
    merged: list[Piece] = []
    for piece in pieces:
        before = merged[-1] if merged else None
        if before is None or before.stop is not None or piece.stop is not None:
            merged.append(piece)
            continue
        size = layout.size(piece.first, piece.last)
        size_before = layout.size(before.first, piece.last) - size
        relation = _relate(before, piece, definitions)
        if _is_closer(piece, size, layout) or may_join(size_before, size, relation, limit):
            # What enters a definition carries on in it; a tail or closing brace leaves the owner as it was.
            merged[-1] = Piece(before.first, piece.last, piece.owner if relation == "enters" else before.owner)
        else:
            merged.append(piece)
    return merged


def _relate(before: Piece, piece: Piece, definitions: Sequence[Definition]) -> str:
    """Return how a piece stands to the one before it: same | enters | leaves (the rest of an outer one) | apart."""
    if before.owner == piece.owner:
        return "same"
    descent = _depth(piece, definitions) - _depth(before, definitions)
    if descent > 0:
        return "enters"
    following = bisect_left(definitions, piece.first, key=lambda definition: definition.first)
    is_rest = following == len(definitions) or definitions[following].first > piece.last
    return "leaves" if descent < 0 and is_rest else "apart"


def _depth(piece: Piece, definitions: Sequence[Definition]) -> int:
    return definitions[piece.owner].depth if piece.owner >= 0 else -1


def _fits(before: int, size: int, relation: str, limit: int) -> bool:
    """Say whether two pieces of these sizes make a good one."""
    return before + size <= limit and (relation == "same" or (relation == "enters" and before * HEAD <= limit))


def _is_scrap(before: int, size: int, relation: str, limit: int) -> bool:
    """Say whether one of two pieces is too small to stand alone: a signature, the last statements of a definition."""
    is_head = before * SCRAP <= limit and relation in ("same", "enters")
    is_tail = size * SCRAP <= limit and relation in ("same", "leaves")
    return before + size <= limit * OVERFLOW and (is_head or is_tail)


def _is_closer(piece: Piece, size: int, layout: Layout) -> bool:
    """Say whether a piece only closes what came before: `}`, `end`, `#endif`, `}  // namespace`."""
    return size <= CLOSER_CHARS and CLOSER.fullmatch(layout.text(piece)) is not None


def describe_pieces(pieces: Sequence[Piece], definitions: Sequence[Definition]) -> list[Cut]:
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
    needed = MAIN_SHARE if enclosing is not None or largest.kind in VALUE_KINDS else LEAST_SHARE
    return largest.qualname if share >= needed else enclosing


def _prominence(definition: Definition) -> tuple[bool, int, bool, int, int]:
    """Order definitions: namespaces last, outer before inner, code and types before values, large before small."""
    is_namespace, is_value = definition.kind in NAMESPACE_KINDS, definition.kind in VALUE_KINDS
    return is_namespace, definition.depth, is_value, definition.first - definition.last, definition.first
