"""Settings: one TOML file, `CODECAIRN_*` environment, flags; read once at the edge, frozen, passed down.

Precedence: flag > environment > file > default. Every value knows where it came from (`codecairn doctor` prints it).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from itertools import permutations
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from ingest.access import LOCAL_GROUP
from ingest.config import EmbeddingConfig, IndexConfig, Section, SourceConfig, UpkeepConfig, share_product
from ingest.errors import ConfigError
from mcp_server.releases import ENVIRONMENTS, current_release, read_releases, releases_file

CONFIG_NAME = "codecairn.toml"
ENV_PREFIX = "CODECAIRN_"
NESTED = "__"  # CODECAIRN_INDEX__CHUNK_CHARS = index.chunk_chars
ENV_SHORT = {"CODECAIRN_DAILY_BUDGET_USD": ["budget", "daily_usd"]}
EPHEMERAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")


TransformSetting = Literal["auto", "none", "multi", "decompose", "hyde"]


class AnswerConfig(Section):
    """The `[answer]` table."""

    budget_tokens: int = Field(6000, ge=200)  # N14: the context's global cap, and below those of its parts
    code_tokens: int = Field(6000, ge=0)
    tickets_tokens: int = Field(2000, ge=0)
    designs_tokens: int = Field(2000, ge=0)
    history_tokens: int = Field(1000, ge=0)
    file_tokens: int = Field(2400, ge=200)
    transform: TransformSetting = "auto"  # how else a question is searched
    deadline_s: float = Field(25.0, gt=0)  # N1: of a whole answer, retries and rewriting of the question included


class PriceConfig(Section):
    """One `[[llm.price]]` table: USD per million tokens of a model that genai-prices does not know, or has wrong."""

    model: str = Field(min_length=1)
    input_usd: Decimal = Field(ge=0)
    output_usd: Decimal = Field(ge=0)
    cached_usd: Decimal | None = Field(None, ge=0)  # without it, cached input costs as much as other


class LlmConfig(Section):
    """The `[llm]` table: the model that writes answers, at any OpenAI-compatible endpoint; "" = none."""

    model: str = ""
    base_url: str = ""  # "" = the address of the `openai` package
    api_key_env: str = "OPENAI_API_KEY"  # name of the variable, never the key
    temperature: float = Field(0.0, ge=0, le=2)  # N15
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = 7
    timeout_s: float = Field(15.0, gt=0)  # N1: one generation
    max_output_tokens: int = Field(1200, ge=64)
    window_tokens: int = Field(32_000, ge=8000)  # of prompt and answer together
    judge: bool = False  # the model is asked about statements that the look-ups leave open
    price: tuple[PriceConfig, ...] = ()

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        """Raise where the answer would leave no room for the question and the evidence."""
        if self.max_output_tokens > self.window_tokens // 4:
            raise ValueError("max_output_tokens may be at most a quarter of window_tokens")
        return self

    @property
    def is_on(self) -> bool:
        """Tell whether there is a model to ask."""
        return bool(self.model)


class BudgetConfig(Section):
    """The `[budget]` table: what model calls may cost on one day (UTC)."""

    daily_usd: float = Field(0.0, ge=0)  # 0 = no budget
    hard_stop: bool = False  # past it no model is asked until the next day


class CacheConfig(Section):
    """The `[cache]` table: answers that are given again while nothing that they cite has changed."""

    enabled: bool = True
    ttl_s: float = Field(300.0, gt=0, le=3600)  # N5
    semantic: bool = True  # also for questions in other words, with the same names, paths and numbers


class ServerConfig(Section):
    """The `[server]` table."""

    http_host: str = "127.0.0.1"
    http_port: int = Field(8765, ge=0, le=65535)
    allowed_hosts: tuple[str, ...] = ()  # besides the loopback names
    max_result_chars: int = Field(9000, ge=1000, le=40_000)
    max_running: int = Field(8, ge=1)  # queries at once
    max_waiting: int = Field(100, ge=0)  # in line behind them; who comes after that is refused
    max_wait_s: float = Field(10.0, ge=0)  # in line
    debounce_ms: int = Field(50, ge=0)
    watch: bool = True


class TraceConfig(Section):
    """The `[trace]` table: what is kept of past queries, how long, and where it goes besides."""

    enabled: bool = True
    max_days: int = Field(400, ge=1)
    max_mb: int = Field(1000, ge=10)
    min_free_mb: int = Field(500, ge=0)  # with less free space only rows are written
    jsonl: bool = False  # each trace also as a line of traces/YYYY-MM-DD.jsonl in the data directory
    jsonl_days: int = Field(30, ge=1)
    otlp_endpoint: str = ""  # OpenTelemetry over HTTP, such as http://localhost:4318/v1/traces; needs codecairn[otel]
    otlp_text: bool = False  # also questions and answers, not only ids, hashes and figures


class ShadowConfig(Section):
    """The `[shadow]` table: another environment's settings run on a share of the live queries, and are never shown."""

    environment: Literal["", "dev", "staging", "prod"] = ""
    share: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        """Raise for a share of nothing."""
        if self.share > 0 and not self.environment:
            raise ValueError("shadow.share is set, but shadow.environment does not say whose settings run")
        return self


class PrincipalConfig(Section):
    """The `[principal]` table: who asks where nobody logs in (stdio, command line)."""

    id: str = "local"
    groups: tuple[str, ...] = (LOCAL_GROUP,)


class AccessConfig(Section):
    """The `[access]` table: whether all share one index, or each audience has its own and no statistics leak."""

    domains: Literal["shared", "separate"] = "shared"
    lockdown: bool = False  # sources with trust = "low" are hidden from everybody until it is lifted
    audiences: tuple[tuple[str, ...], ...] = ()  # separate: groups of those who ask, besides those of [principal]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        """Raise for audiences that nothing is made of."""
        if self.audiences and self.domains == "shared":
            raise ValueError(
                "access.audiences says who gets an index, but with domains = 'shared' there is one for all"
            )
        if any(not groups for groups in self.audiences):
            raise ValueError("an audience without groups sees nothing: name its groups, or remove it")
        return self


class Settings(Section):
    """Everything that can be set."""

    name: str = ""
    environment: Literal["dev", "staging", "prod"] = "dev"
    strict: bool = False  # a degraded result is an error
    source: tuple[SourceConfig, ...] = ()
    index: IndexConfig = IndexConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    upkeep: UpkeepConfig = UpkeepConfig()
    answer: AnswerConfig = AnswerConfig()
    llm: LlmConfig = LlmConfig()
    budget: BudgetConfig = BudgetConfig()
    cache: CacheConfig = CacheConfig()
    prompts: dict[str, str] = {}  # prompt id -> "v3": instead of what the environment's label says
    server: ServerConfig = ServerConfig()
    trace: TraceConfig = TraceConfig()
    principal: PrincipalConfig = PrincipalConfig()
    access: AccessConfig = AccessConfig()
    shadow: ShadowConfig = ShadowConfig()


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings with the places that they speak of, and where each value came from."""

    settings: Settings
    root: Path
    data_dir: Path
    config_file: Path | None
    origins: Mapping[str, str]  # dotted key -> "file ...", "environment ...", "flag"; absent = default
    api_key: str | None = None  # of the embedding endpoint; never printed
    llm_api_key: str | None = None

    @property
    def config_hash(self) -> str:
        """Hash over all settings (they hold no secrets, only names of variables)."""
        return hashlib.blake2b(json.dumps(self.snapshot(), sort_keys=True).encode(), digest_size=8).hexdigest()

    def snapshot(self) -> dict[str, Any]:
        """Return the settings as JSON values, for traces."""
        return self.settings.model_dump(mode="json")

    @property
    def is_ephemeral(self) -> bool:
        """Tell whether the data directory is likely to vanish with a restart."""
        return str(self.data_dir).startswith(EPHEMERAL)


def load_setup(
    *,
    root: Path | None,
    config: Path | None,
    data: Path | None,
    env: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
) -> Setup:
    """Read the settings of a folder. Raises ConfigError."""
    base = find_root(root)
    file = config or (base / CONFIG_NAME if (base / CONFIG_NAME).is_file() else None)
    values, origins = merge_layers(file, env, flags or {})
    settings = validate(values, file)
    check_names(settings.source, file)
    if not settings.source:
        settings = settings.model_copy(update={"source": (default_source(base, settings),)})
    placed = tuple(absolute_sources(settings.source, file, base))
    settings = settings.model_copy(update={"source": tuple(share_product(placed))})
    check_groups(settings.source, file)
    data_dir = (data or default_data_dir(base, settings.name, env, settings.environment)).absolute()
    keys = env.get(settings.embedding.api_key_env), env.get(settings.llm.api_key_env)
    return Setup(settings, base, data_dir, file, origins, *keys)


def check_names(sources: tuple[SourceConfig, ...], file: Path | None) -> None:
    """Raise ConfigError where two sources share a name; a git repository's history has one of its own."""
    where = f" in {file}" if file else ""
    taken: set[str] = set()
    for source in sources:
        names = {source.name, f"{source.name}.history"} if source.type == "git" and source.history else {source.name}
        if clash := sorted(names & taken):
            raise ConfigError(f"Two sources{where} are called {clash[0]!r}. Give each [[source]] a name of its own.")
        taken |= names


def check_groups(sources: tuple[SourceConfig, ...], file: Path | None) -> None:
    """Raise ConfigError for groups that nobody can have, and where one source shows what another one keeps back.

    Absolute paths are expected.
    """
    where = f" in {file}" if file else ""
    for source in sources:
        if not source.groups or any(group != group.strip() or not group for group in source.groups):
            raise ConfigError(
                f"Source {source.name!r}{where} has groups = {list(source.groups)}: nobody could see it. "
                "Name at least one group, without spaces around it, or remove the source."
            )
    for outer, inner in permutations(sources, 2):
        extra = sorted(set(outer.groups) - set(inner.groups))
        if extra and (mends := how_to_keep_apart(outer, inner)):
            raise ConfigError(
                f"Sources {outer.name!r} and {inner.name!r}{where} contradict each other: group {extra[0]!r} may not "
                f"see {inner.name!r} but reads the same content in {outer.name!r}. "
                f"{mends}, or give both the same groups."
            )


def how_to_keep_apart(outer: SourceConfig, inner: SourceConfig) -> str:
    """Return what to set so that a source does not hold the content of another one, "" where it does not."""
    if outer.is_away or inner.is_away:
        places = [(one.type, one.url, one.repo.lower(), one.project.lower()) for one in (outer, inner)]
        return "Remove one" if places[0] == places[1] else ""
    top, place = Path(os.path.realpath(outer.path)), Path(os.path.realpath(inner.path))
    if not place.is_relative_to(top):
        return ""
    inside = place.relative_to(top).as_posix()
    if inside == ".":
        return "" if outer.include or outer.exclude else "Restrict one with include or exclude"
    if outer.type == "git" and (place / ".git").exists():
        return ""  # a repository of its own: the outer one holds nothing of it
    if reads(outer, inside):
        return f"Add exclude = ['/{inside}'] to {outer.name!r}"
    if outer.type == "git" and outer.history:
        return f"Add history = false to {outer.name!r}, whose commits name the files of both"
    return ""


def reads(source: SourceConfig, inside: str) -> bool:
    """Tell whether a source reads what lies at a path below its own, as far as its own patterns say it."""
    taken_back = any(pattern.startswith("!") for pattern in source.exclude)
    if not taken_back and any(leaves_out(pattern, inside) for pattern in source.exclude):
        return False
    starts = [re.split(r"[*?\[]", pattern.lstrip("/"), maxsplit=1)[0].rstrip("/") for pattern in source.include]
    return not starts or any(
        not start or start in (inside, *parents_of(inside)) or start.startswith(f"{inside}/") for start in starts
    )


def leaves_out(pattern: str, inside: str) -> bool:
    """Tell whether an exclude pattern without wildcards leaves out a path: by its place, or by a name on the way."""
    name = pattern.strip("/")
    return name in (inside, *parents_of(inside)) or ("/" not in pattern.rstrip("/") and name in inside.split("/"))


def parents_of(path: str) -> list[str]:
    """Return the folders above a relative path: a/b/c -> a/b, a."""
    return [parent.as_posix() for parent in Path(path).parents if parent.name]


def find_root(given: Path | None) -> Path:
    """Return the folder to index: the given one, else the work tree's top level, else the current folder."""
    if given is not None:
        if not given.is_dir():
            raise ConfigError(f"{given} is no folder. Give the repository or folder to index.")
        return given.absolute()
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def default_source(root: Path, settings: Settings) -> SourceConfig:
    """Return the source of a folder without a configuration file."""
    is_git = (root / ".git").exists() or ((root / "HEAD").is_file() and (root / "objects").is_dir())
    return SourceConfig(name=source_name(settings.name or root.name), type="git" if is_git else "folder", path=root)


def source_name(text: str) -> str:
    """Return a name that a source may have."""
    cleaned = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).strip("._-")
    return cleaned or "root"


def absolute_sources(sources: tuple[SourceConfig, ...], file: Path | None, root: Path) -> Iterator[SourceConfig]:
    """Yield the sources with absolute paths; relative ones start at the configuration file's folder."""
    base = file.absolute().parent if file else root
    for source in sources:
        yield source.model_copy(update={"path": Path(os.path.normpath(base / source.path.expanduser()))})


def default_data_dir(root: Path, name: str, env: Mapping[str, str], environment: str = "dev") -> Path:
    """Return `$XDG_DATA_HOME/codecairn/<name>-<hash of root>`: outside the work tree, one per root and environment."""
    home = env.get("XDG_DATA_HOME") or os.path.join(env.get("HOME", os.path.expanduser("~")), ".local", "share")
    digest = hashlib.blake2b(str(root).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    apart = "" if environment == "dev" else f"-{environment}"
    return Path(home) / "codecairn" / f"{source_name(name or root.name)}-{digest}{apart}"


def is_read_only(data_dir: Path) -> bool:
    """Tell whether a data directory holds an index and cannot be written: it is served as it is."""
    return (data_dir / "control.db").exists() and not os.access(data_dir, os.W_OK)


def ensure_writable(data_dir: Path) -> None:
    """Create the data directory (0700). Raises ConfigError if it cannot be written."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = data_dir / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} cannot be written ({error.strerror}). Choose another with --data DIR."
        ) from error


class ConfigFiles:
    """The files that a configuration was read from, and whether they still say the same."""

    def __init__(self, setup: Setup, env: Mapping[str, str]) -> None:
        self._setup = setup
        self._env = env
        self._file = setup.config_file or setup.root / CONFIG_NAME  # without one, it may come into being
        self._stamps = self._read_stamps()
        self._content = self._read_content()
        self._change = ""

    def describe_change(self) -> str:
        """Return what changed since the configuration was read and what to do, "" while it is the same."""
        stamps = self._read_stamps()
        if stamps != self._stamps:
            self._stamps = stamps
            self._change = self._describe() if self._read_content() != self._content else ""
        return self._change

    def _read_stamps(self) -> tuple[tuple[int, int], ...]:
        return tuple((path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (0, 0) for path in self._all)

    def _read_content(self) -> tuple[bytes, ...]:
        return tuple(path.read_bytes() if path.exists() else b"" for path in self._all)

    @property
    def _all(self) -> tuple[Path, Path]:
        return self._file, releases_file(self._file)

    def _describe(self) -> str:
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        change = f"The configuration {self._file} changed (at {moment}); restart the server to use it."
        setup = self._setup
        try:
            load_setup(root=setup.root, config=setup.config_file, data=setup.data_dir, env=self._env)
        except ConfigError as error:
            return f"{change} As it is it cannot be used, nor by a worker that has to be started again: {error}"
        return change


# -- layers ------------------------------------------------------------------------------------------------------------


def merge_layers(
    file: Path | None, env: Mapping[str, str], flags: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the merged values and the origin of each key that is set."""
    origins: dict[str, str] = {}
    values: dict[str, Any] = {}
    if file is not None:
        content = read_file(file)
        overlays = content.pop("env", {})
        overlay(values, content, f"file {file}", origins)
        wanted = env.get(f"{ENV_PREFIX}ENVIRONMENT") or content.get("environment", "dev")
        check_environments(overlays, wanted, file)
        overlay(values, overlays.get(wanted, {}), f"file {file} [env.{wanted}]", origins)
        if release := current_release(read_releases(file), wanted):
            overlay(values, release.values, f"release {release.id} of {wanted}", origins)
    for variable, text in sorted(env.items()):
        key = variable.removeprefix(ENV_PREFIX).lower().split(NESTED)
        key = ENV_SHORT.get(variable, key)
        if variable.startswith(ENV_PREFIX) and key[0] in Settings.model_fields:
            overlay(values, nest(key, parse_value(text)), f"environment {variable}", origins)
    overlay(values, dict(flags), "flag", origins)
    return values, origins


def check_environments(overlays: object, wanted: str, file: Path) -> None:
    """Raise ConfigError for a section of an environment that does not exist: nobody would ever read it."""
    names = set(overlays) if isinstance(overlays, Mapping) else set()
    for name in sorted(names - set(ENVIRONMENTS)):
        near = get_close_matches(name, ENVIRONMENTS, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Environments: {', '.join(ENVIRONMENTS)}."
        raise ConfigError(f"Unknown environment 'env.{name}' in {file}. {hint}")
    if wanted not in ENVIRONMENTS:
        raise ConfigError(f"There is no environment {wanted!r}. Environments: {', '.join(ENVIRONMENTS)}.")


def read_file(file: Path) -> dict[str, Any]:
    """Return the content of a configuration file. Raises ConfigError."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"There is no configuration file {file}. `codecairn init` writes one.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from error


def parse_value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    """Return a variable's text as a TOML value where it is one, else as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def nest(keys: list[str], value: object) -> dict[str, Any]:
    """Return {a: {b: value}} for [a, b]."""
    return {keys[0]: value if len(keys) == 1 else nest(keys[1:], value)}


def overlay(
    values: dict[str, Any], more: Mapping[str, Any], origin: str, origins: dict[str, str], at: str = ""
) -> None:
    """Lay values over others, table by table, and note where each came from."""
    for key, value in more.items():
        if isinstance(value, Mapping):
            overlay(values.setdefault(key, {}), value, origin, origins, f"{at}{key}.")
        else:
            values[key] = value
            origins[f"{at}{key}"] = origin


def validate(values: Mapping[str, Any], file: Path | None) -> Settings:
    """Return the settings. Raises ConfigError that names the key and, for an unknown one, the nearest."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        # A misspelt key makes two problems, the unknown one and the missing one: the first says what to mend.
        first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
        where = f" in {file}" if file else ""
        location = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            known = known_keys(location[:-1])
            near = get_close_matches(location[-1], known, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
            raise ConfigError(f"Unknown setting {'.'.join(location)!r}{where}. {hint}") from None
        raise ConfigError(f"Setting {'.'.join(location)!r}{where} is wrong: {first['msg']}.") from None


def known_keys(location: list[str]) -> list[str]:
    """Return the keys that a table may have."""
    model: type[BaseModel] = Settings
    for part in location:
        field = model.model_fields.get(part)
        if part == "source":
            model = SourceConfig
        elif field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return sorted(model.model_fields)
