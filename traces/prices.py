"""What a model call costs: a table of our own first, then genai-prices; an unknown price is None, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

CONFIGURED = "configured"
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one call. `cached` are those of `input` that the provider had in its prompt cache."""

    input: int
    output: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """USD per million tokens, for a model that the public table does not know or that has a price of its own."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None  # None: cached tokens cost as much as others


@dataclass(frozen=True, slots=True)
class Cost:
    """USD of one call, and the version of the table that it was read from."""

    usd: Decimal
    version: str


def price_call(
    model: str, base_url: str, tokens: Tokens, at: datetime, own: Mapping[str, ModelPrice] | None = None
) -> Cost | None:
    """Return the cost of a call, None where nobody knows the price: of a model that somebody hosts, for example.

    The public table is asked for the provider behind `base_url`; the same model elsewhere may cost something else.
    """
    price = (own or {}).get(model)
    if price is not None:
        return Cost(_own_cost(price, tokens), CONFIGURED)
    from genai_prices import Usage, __version__, calc_price  # 0.15 s, and most installations call no model

    usage = Usage(input_tokens=tokens.input, output_tokens=tokens.output, cache_read_tokens=tokens.cached)
    try:
        found = calc_price(usage, model_ref=model, provider_api_url=base_url, genai_request_timestamp=at)
    except LookupError:
        return None
    return Cost(found.total_price, f"genai-prices {__version__}")


def _own_cost(price: ModelPrice, tokens: Tokens) -> Decimal:
    cached = price.input if price.cached is None else price.cached
    fresh = max(0, tokens.input - tokens.cached)
    return (fresh * price.input + tokens.cached * cached + tokens.output * price.output) / MILLION
