"""Products kept apart: nothing of one product is passed off as another's where the question names none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ingest.index.tokens import whole_word
from mcp_server.retrieval.model import RankedChunk

COMPETING_HITS = 10  # ranked chunks that are looked at
COMPETING_SHARE = 0.5  # of the best score, from which another product's best chunk competes


def competing_products(question: str, ranked: Sequence[RankedChunk]) -> tuple[str, ...]:
    """Return the products whose best chunks come near the best of all: named in the question first, then by score.

    One product or none competes with nothing: empty.
    """
    best: dict[str, float] = {}
    for item in ranked[:COMPETING_HITS]:
        best.setdefault(item.chunk.product, item.score)
    top = max(best.values(), default=0.0)
    near = [product for product, score in best.items() if score >= COMPETING_SHARE * top]
    if len(near) < 2:
        return ()
    return tuple(sorted(near, key=lambda name: (not is_named(name, question), -best[name], name)))


def is_named(product: str, question: str) -> bool:
    """Tell whether a question holds a product's name as a word."""
    return bool(whole_word(product.lower()).search(question.lower()))


def product_note(products: Sequence[str], cited: Sequence[str] = ()) -> str:
    """Return which products compete, as a sentence, "" for none. `cited`: those that are answered from."""
    if len(products) < 2:
        return ""
    names = ", ".join(f"`{name}`" for name in products)
    left = [name for name in products if cited and name not in cited]
    more = f" Nothing is taken from {', '.join(f'`{name}`' for name in left)} here." if left else ""
    return f"Several products have something on this: {names}. They are kept apart; `product` narrows to one.{more}"


def group_by_product(products_of: Mapping[str, str], pointers: Sequence[str]) -> str:
    """Return the product, or the products, that a claim's citations come from."""
    return ", ".join(dict.fromkeys(products_of[pointer] for pointer in pointers if pointer in products_of))
