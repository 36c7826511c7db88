"""What each retriever and feature is worth: the same questions with one of them off at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from golden.bench.comparison import Difference
from mcp_server.retrieval.pipeline import RETRIEVERS
from mcp_server.retrieval.weights import DEFAULT_WEIGHTS, RankWeights

NEUTRAL_AT_ONE = ("_factor", "saturation")  # names (or their ends) of what is multiplied; all else is added
SWITCHED_WHOLE = ("roles",)  # tables of factors: each role alone would say little


@dataclass(frozen=True, slots=True)
class Ablated:
    """One thing off: what the full ranking has above it."""

    name: str
    differences: tuple[Difference, ...]


def ablations(weights: RankWeights = DEFAULT_WEIGHTS) -> Iterator[tuple[str, RankWeights]]:
    """Yield each retriever and each feature with weights in which it is off.

    Found from the weights themselves: a retriever is off when all weights called after it are 0; another number is off
    at 0 or, when it is a factor, at 1; of a table of field weights each entry goes alone. Whole numbers are sizes.
    """
    own = {name: retriever_weights(name) for name in RETRIEVERS}
    for retriever, names in own.items():
        if names:
            yield f"retriever {retriever}", changed(weights, dict.fromkeys(names, 0.0))
    taken = {name for names in own.values() for name in names}
    for field in fields(weights):
        value = getattr(weights, field.name)
        if isinstance(value, dict) and field.name in SWITCHED_WHOLE:
            yield field.name, changed(weights, {field.name: dict.fromkeys(value, 1.0)})
        elif isinstance(value, dict):
            for key in value:
                yield f"{field.name}.{key}", changed(weights, {field.name: {**value, key: 0.0}})
        elif isinstance(value, float) and field.name not in taken and value != neutral(field.name):
            yield field.name, changed(weights, {field.name: neutral(field.name)})


def retriever_weights(name: str) -> list[str]:
    """Return the weights of a retriever: the one called like it and those for kinds of queries (text, text_key)."""
    numbers = [field.name for field in fields(RankWeights) if field.type in (float, "float")]
    return [field for field in numbers if field == name or (field.startswith(f"{name}_") and is_list_weight(field))]


def is_list_weight(name: str) -> bool:
    """Tell a retriever's weight for a kind of query from a feature that happens to begin alike (symbol_match)."""
    return name.endswith(("_key", "_symbol", "_list"))


def neutral(name: str) -> float:
    """Return the value at which a weight does nothing."""
    return 1.0 if name.endswith(NEUTRAL_AT_ONE) else 0.0


def changed(weights: RankWeights, values: dict[str, Any]) -> RankWeights:
    """Return weights with some of them replaced."""
    return replace(weights, **values)


def sort_by_worth(ablated: Sequence[Ablated]) -> list[Ablated]:
    """Return what costs most when it is off first."""
    return sorted(ablated, key=lambda item: (-item.differences[0].mean, item.name))
