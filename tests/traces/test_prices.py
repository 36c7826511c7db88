"""Cost of a call: own table, public table, unknown."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from traces.prices import CONFIGURED, ModelPrice, Tokens, price_call

NOW = datetime(2026, 11, 21, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"


@pytest.mark.req("T21")
def test_public_table_knows_the_price_and_its_version_is_named():
    cost = price_call("gpt-4o-mini", OPENAI, Tokens(1_000_000, 1_000_000), NOW)
    assert cost.usd == Decimal("0.75")
    assert cost.version.startswith("genai-prices 0.")


@pytest.mark.req("T19", "T21")
def test_cached_tokens_cost_less():
    tokens = Tokens(10_000, 100), Tokens(10_000, 100, cached=8_000)
    plain, cached = (price_call("gpt-4o-mini", OPENAI, t, NOW).usd for t in tokens)
    assert cached < plain


@pytest.mark.req("A4", "T21")
@pytest.mark.parametrize(
    ("model", "url"), [("our-own-7b", OPENAI), ("gpt-4o-mini", "http://127.0.0.1:8000/v1"), ("", "")]
)
def test_unknown_price_is_none_not_zero(model, url):
    assert price_call(model, url, Tokens(1000, 10), NOW) is None


@pytest.mark.req("T21")
def test_own_table_wins():
    own = {"gpt-4o-mini": ModelPrice(Decimal(2), Decimal(8), Decimal("0.2"))}
    cost = price_call("gpt-4o-mini", OPENAI, Tokens(1_000_000, 500_000, cached=500_000), NOW, own)
    assert (cost.usd, cost.version) == (Decimal("5.1"), CONFIGURED)
