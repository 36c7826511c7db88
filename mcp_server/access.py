"""From configuration and request to filters: what a principal may see of what was asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.access import Principal, visible_sources
from ingest.config import SourceConfig, product_of
from ingest.model import AGEING_KINDS, HISTORY_SUFFIX, KINDS, Ageing, Filters, Kind, SourceInfo
from mcp_server.config import Settings, Setup
from mcp_server.errors import BadRequest

if TYPE_CHECKING:
    from ingest.index.schema import SourceState

DOMAINS = "domains"  # folder of the separate indexes in the data directory
KIND_WORDS: dict[str, Kind] = {"code": "code", "tickets": "ticket", "designs": "design", "history": "commit"}


def local_principal(settings: Settings) -> Principal:
    """Return who asks over stdio and on the command line."""
    return Principal(settings.principal.id, frozenset(settings.principal.groups))


def open_to(source: SourceConfig, settings: Settings) -> tuple[str, ...]:
    """Return the groups that may see a source now: nobody an untrusted one under `access.lockdown`."""
    return () if settings.access.lockdown and source.trust == "low" else source.groups


@dataclass(frozen=True, slots=True)
class Domain:
    """One index: the sources that it is made of and where it lies."""

    name: str  # "" for the one that all share
    sources: tuple[SourceConfig, ...]
    data_dir: Path


def domain_of(setup: Setup, principal: Principal) -> Domain:
    """Return the index that a principal is answered from.

    With `access.domains = "separate"` it holds what the principal may see and nothing else, so that word counts, ranks
    and scores know nothing of the rest. It is named by its sources: with other rights it is another one.
    """
    if setup.settings.access.domains == "shared":
        return Domain("", setup.settings.source, setup.data_dir)
    sources = tuple(source for source in setup.settings.source if principal.groups.intersection(source.groups))
    names = json.dumps(sorted(source.name for source in sources))
    name = hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
    return Domain(name, sources, setup.data_dir / DOMAINS / name)


def list_domains(setup: Setup) -> tuple[Domain, ...]:
    """Return every index that is kept: one for all, or one for each audience that sees anything."""
    settings = setup.settings
    if settings.access.domains == "shared":
        return (domain_of(setup, local_principal(settings)),)
    audiences = (settings.principal.groups, *settings.access.audiences)
    domains = [domain_of(setup, Principal("", frozenset(groups))) for groups in audiences]
    return tuple({domain.name: domain for domain in domains if domain.sources}.values())


def find_owner(name: str, configured: Mapping[str, SourceConfig]) -> SourceConfig | None:
    """Return the configuration that a source of an index comes from, None for an unknown one."""
    owner = configured.get(name.removesuffix(HISTORY_SUFFIX))
    if name.endswith(HISTORY_SUFFIX) and owner is not None and owner.type == "git" and owner.history:
        return owner
    return configured.get(name)


def known_sources(settings: Settings, states: Iterable[SourceState]) -> list[SourceInfo]:
    """Return the sources of a generation that are configured as well: anything else is denied.

    Their groups are those that both name: what is taken from a group is gone at once, what is given to it comes with
    the next generation.
    """
    configured = {source.name: source for source in settings.source}
    infos = []
    for state in states:
        owner = find_owner(state.name, configured)
        if owner is not None:
            groups = tuple(group for group in open_to(owner, settings) if group in state.groups)
            info = SourceInfo(
                name=state.name,
                kind=state.kind,  # type: ignore[arg-type]  # written from a SourceInfo
                product=state.product,
                groups=groups,
                trust=owner.trust,
                masks_personal=owner.masks_personal(state.kind),
                personal_groups=owner.pii_groups,
                half_life_days=owner.half_life_days,
                expires_days=owner.expires_days,
            )
            infos.append(info)
    return infos


def sees_everything(principal: Principal, settings: Settings) -> bool:
    """Tell whether a principal may see every configured source."""
    return all(principal.groups.intersection(source.groups) for source in settings.source)


def may_see(principal: Principal, settings: Settings, name: str) -> bool:
    """Tell whether a principal may see a source, by the configuration as it is now."""
    owner = find_owner(name, {source.name: source for source in settings.source})
    return owner is not None and is_open(owner, principal, settings)


def is_open(source: SourceConfig, principal: Principal, settings: Settings) -> bool:
    """Tell whether a principal may see a configured source."""
    return not principal.groups.isdisjoint(open_to(source, settings))


def reaches(source: SourceConfig, wanted: Sequence[str], product: str = "") -> bool:
    """Tell whether a request for these kinds and names of sources (() = all), and this product, reads a source."""
    kinds = {KIND_WORDS[word] for word in wanted if word in KIND_WORDS}
    has_commits = source.type == "git" and source.history
    is_named = not {source.name, f"{source.name}{HISTORY_SUFFIX}"}.isdisjoint(wanted)
    is_wanted = not wanted or is_named or source.kind in kinds or ("commit" in kinds and has_commits)
    return is_wanted and (not product or product_of(source) == product)


def hidden_places(principal: Principal, settings: Settings) -> list[Path]:
    """Return where the sources lie that a principal may not see."""
    return [
        source.path
        for source in settings.source
        if not source.is_away and not principal.groups.intersection(open_to(source, settings))
    ]


def visible_settings(principal: Principal, settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON values, of sources and groups only what the principal may know of."""
    values = settings.model_dump(mode="json")
    values["access"].pop("audiences")
    values["principal"] = {"id": principal.id, "groups": sorted(principal.groups)}
    values["source"] = [
        {**source, "groups": sorted(principal.groups.intersection(source["groups"]))}
        for source in values["source"]
        if principal.groups.intersection(source["groups"])
    ]
    return values


def make_filters(
    principal: Principal,
    sources: Sequence[SourceInfo],
    wanted: Sequence[str] = (),
    *,
    product: str = "",
    language: str = "",
    path_glob: str = "",
    today: str = "",
) -> Filters:
    """Return the filters of a request. A source that the principal may not see reads like an unknown one.

    `today`: day (ISO 8601) on which documents that have expired are left out.
    """
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
        followed=frozenset(source.name for source in visible),
        today=today,
        shielded=frozenset(
            source.name
            for source in visible
            if source.personal_groups and principal.groups.isdisjoint(source.personal_groups)
        ),
        ageing=tuple(
            Ageing(source.name, source.half_life_days, source.expires_days)
            for source in visible
            if source.kind in AGEING_KINDS
        ),
    )
