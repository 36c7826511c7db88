"""What was promoted from one environment to the next: a file beside the configuration that is only ever added to (V11).

The latest line of an environment is laid over its section of the configuration, so that what was promoted holds until
the next promotion or rollback, and who did it is known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ingest.errors import ConfigError

RELEASES = "codecairn.releases.jsonl"
ENVIRONMENTS = ("dev", "staging", "prod")
PROMOTED = ("prompts", "llm", "embedding", "answer", "index")  # prompt versions, model, embedder, retrieval
KEPT = frozenset(("api_key_env",))  # keys of an environment stay its own


@dataclass(frozen=True, slots=True)
class Release:
    """One promotion or rollback. `values` is laid over the settings of `target`."""

    id: int
    at: str
    who: str
    action: Literal["promote", "rollback"]
    source: str  # environment that the values come from, or the release that is back
    target: str
    values: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)  # gate, comparison, shadow

    def __str__(self) -> str:
        return f"{self.id}  {self.at}  {self.who}  {self.action} {self.source} -> {self.target}"


def releases_file(config: Path) -> Path:
    """Return where the releases of a configuration lie."""
    return config.absolute().parent / RELEASES


def read_releases(config: Path) -> list[Release]:
    """Return every release, the oldest first. Raises ConfigError."""
    file = releases_file(config)
    if not file.is_file():
        return []
    try:
        return [Release(**json.loads(line)) for line in file.read_text("utf-8").splitlines() if line]
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}. Restore it from version control.") from error


def current_release(releases: Sequence[Release], environment: str) -> Release | None:
    """Return the release that holds in an environment, None before the first one."""
    return next((release for release in reversed(releases) if release.target == environment), None)


def append_release(config: Path, release: Release) -> Release:
    """Write a release behind the others; it is on disk when this returns. Raises ConfigError."""
    try:
        with releases_file(config).open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(release), ensure_ascii=False, sort_keys=True) + "\n")
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise ConfigError(f"{releases_file(config)} cannot be written: {error}.") from error
    return release


def promoted_values(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is promoted of an environment's settings; the names of its keys are not."""
    return {
        name: {key: value for key, value in snapshot[name].items() if key not in KEPT}
        for name in PROMOTED
        if isinstance(snapshot.get(name), Mapping)
    }


def roll_back(config: Path, environment: str, who: str, at: str) -> Release:
    """Bring back what held in an environment before its latest promotion. Raises ConfigError if there was none."""
    releases = read_releases(config)
    standing = standing_promotions(releases, environment)
    if not standing:
        raise ConfigError(f"Nothing is promoted to {environment}, so there is nothing to roll back.")
    before = standing[-2] if len(standing) > 1 else None
    return append_release(
        config,
        Release(
            id=releases[-1].id + 1,
            at=at,
            who=who,
            action="rollback",
            source=f"release {before.id}" if before else "the configuration file",
            target=environment,
            values=before.values if before else {},
            evidence={"undoes": standing[-1].id},
        ),
    )


def standing_promotions(releases: Sequence[Release], environment: str) -> list[Release]:
    """Return the promotions of an environment that no rollback has undone, the latest last."""
    standing: list[Release] = []
    for release in releases:
        if release.target != environment:
            continue
        if release.action == "promote":
            standing.append(release)
        else:
            standing.pop()
    return standing
