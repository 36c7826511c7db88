"""From configuration and request to filters: what a principal may see of what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.access import Principal, visible_sources
from ingest.model import KINDS, Filters, Kind, SourceInfo
from mcp_server.config import Settings
from mcp_server.errors import BadRequest

KIND_WORDS: dict[str, Kind] = {"code": "code", "tickets": "ticket", "designs": "design", "history": "commit"}


def local_principal(settings: Settings) -> Principal:
    """Return who asks over stdio and on the command line."""
    return Principal(settings.principal.id, frozenset(settings.principal.groups))


def make_filters(
    principal: Principal,
    sources: Sequence[SourceInfo],
    wanted: Sequence[str] = (),
    *,
    product: str = "",
    language: str = "",
    path_glob: str = "",
) -> Filters:
    """Return the filters of a request. A source that the principal may not see reads like an unknown one."""
    visible = visible_sources(principal, sources)
    names = {source.name for source in visible}
    unknown = [word for word in wanted if word not in KIND_WORDS and word not in names]
    if unknown:
        valid = ", ".join((*KIND_WORDS, *sorted(names)))
        raise BadRequest(f"Unknown source {unknown[0]!r}. `sources` takes kinds and source names: {valid}.")
    kinds = {KIND_WORDS[word] for word in wanted if word in KIND_WORDS}
    chosen = {word for word in wanted if word in names}
    matching = [source for source in visible if not wanted or source.kind in kinds or source.name in chosen]
    products = sorted({source.product for source in visible})
    if product and product not in products:
        raise BadRequest(f"Unknown product {product!r}. Products here: {', '.join(products) or 'none'}.")
    return Filters(
        groups=principal.groups,
        sources=frozenset(source.name for source in matching),
        kinds=frozenset(KINDS),
        product=product,
        language=language,
        path_glob=path_glob,
        history=frozenset(source.name for source in visible if source.kind == "commit"),
    )
