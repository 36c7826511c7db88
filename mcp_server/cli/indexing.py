"""Build the index, write a configuration, go back to an earlier generation."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest.errors import IngestError
from mcp_server.access import DOMAINS, Domain, list_domains
from mcp_server.cli.common import (
    EXIT_USAGE,
    ConfigOption,
    DataOption,
    JsonOption,
    RootOption,
    fail,
    open_service,
    open_setup,
    print_json,
    utc_now,
)
from mcp_server.config import CONFIG_NAME, Setup, ensure_writable, load_setup
from mcp_server.service import Service

if TYPE_CHECKING:
    from ingest.build import BuildReport
    from ingest.build import Progress as BuildProgress
    from ingest.embedding import Embedder


def build(
    setup: Setup,
    service: Service,
    trigger: str,
    progress: Any = lambda _: None,  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> dict[str, BuildReport]:
    """Bring every index up to date; return what was done by name of the index (one for all is called "")."""
    domains = list_domains(setup)
    old = old_domains(setup, domains)
    reports = {
        domain.name: build_domain(setup, service.embedder, domain, trigger, progress, **options) for domain in domains
    }
    drop_domains(old, domains)
    return reports


def build_domain(
    setup: Setup,
    embedder: Embedder | None,
    domain: Domain,
    trigger: str,
    progress: Any,  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> BuildReport:
    """Bring one index up to date."""
    from ingest.build import build_index
    from mcp_server.smoke import smoke_checks

    ensure_writable(domain.data_dir)
    return build_index(
        domain.sources,
        setup.settings.index,
        embedder,
        domain.data_dir,
        now=utc_now(),
        config_hash=setup.config_hash,
        trigger=trigger,
        progress=progress,
        smoke=smoke_checks(setup.settings.index.smoke),
        **options,
    )


def old_domains(setup: Setup, domains: Sequence[Domain]) -> list[Path]:
    """Return the folders of the separate indexes that nobody has any more: they hold what was taken from somebody."""
    folder, kept = setup.data_dir / DOMAINS, {domain.name for domain in domains}
    return [old for old in folder.iterdir() if old.name not in kept] if folder.is_dir() else []


def drop_domains(old: Sequence[Path], domains: Sequence[Domain]) -> None:
    """Delete old indexes once there is a whole one for everybody: until then the configuration may be put back."""
    left = [folder for folder in old if folder.exists()]
    if left and domains and all(map(is_whole, domains)):
        for folder in left:
            shutil.rmtree(folder)


def is_whole(domain: Domain) -> bool:
    """Tell whether an index is published and holds each of its sources."""
    from ingest.index import status

    manifest = status(domain.data_dir).current
    if manifest is None or not manifest.complete:
        return False
    return {source.name for source in domain.sources} <= {state.name for state in manifest.sources}


@contextmanager
def progress_bar(enabled: bool) -> Iterator[Any]:
    """Show a bar on stderr while a build runs; yields the callback."""
    if not enabled:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading sources", total=None)

        def show(progress: BuildProgress) -> None:
            label = f"{progress.stage} {progress.source}".strip()
            bar.update(task, description=label, completed=progress.done, total=progress.total or None)

        yield show


def report_to_dict(report: BuildReport) -> dict[str, Any]:
    """Return what a build did as JSON values."""
    return {
        "generation": report.manifest.generation,
        "published": report.published,
        "files": report.manifest.files,
        "chunks": report.manifest.chunks,
        "chunks_written": report.chunks_written,
        "embedded": report.embedded,
        "redactions": dict(report.redactions),
        "duration_s": round(report.duration_s, 3),
        "text_after_s": None if report.text_after_s is None else round(report.text_after_s, 3),
        "sources": [
            {
                "name": s.name,
                "new": s.new,
                "changed": s.changed,
                "deleted": s.deleted,
                "unchanged": s.unchanged,
                "failed": s.failed,
                "skipped": dict(s.skipped),
            }
            for s in report.sources
        ],
        "left_out": dict(report.left_out),
    }


def render_report(report: BuildReport) -> str:
    """Return what a build did, for people."""
    verb = "published" if report.published else "already up to date:"
    lines = [
        f"{verb} generation {report.manifest.generation}: {report.manifest.files} files, "
        f"{report.manifest.chunks} chunks in {report.duration_s:.1f} s"
    ]
    for source in report.sources:
        delta = f"{source.new} new, {source.changed} changed, {source.deleted} deleted, {source.unchanged} unchanged"
        skipped = ", ".join(f"{reason} {count}" for reason, count in sorted(source.skipped.items()))
        lines.append(f"- {source.name}: {delta}" + (f"; skipped: {skipped}" if skipped else ""))
    read = {source.name for source in report.sources}  # of these only what commits took away was not
    lines += [
        f"- {name}: {reason}" if name in read else f"- {name}: left out as it was. {reason}"
        for name, reason in report.left_out.items()
    ]
    if report.redactions:
        masked = ", ".join(f"{rule} {n}" for rule, n in sorted(report.redactions.items()))
        lines.append(f"masked secrets: {masked}")
    return "\n".join(lines)


def index(
    path: Annotated[Path | None, typer.Argument(help="Repository or folder; default: the work tree's top.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
    allow_drop: Annotated[
        bool, typer.Option(help="Publish even if a source lost more than 20 % of its chunks.")
    ] = False,
    retry: Annotated[bool, typer.Option(help="Try files again that failed before and were given up.")] = False,
) -> None:
    """Index the sources, or bring the index up to date. Only what changed is read again.

    Example: `codecairn index ~/src/project`
    """
    setup = open_setup(path or root, config, data)
    if setup.is_ephemeral:
        print(f"codecairn: {setup.data_dir} may vanish with a restart.", file=sys.stderr)
    with open_service(setup) as service, progress_bar(sys.stderr.isatty() and not as_json) as progress:
        reports = build(setup, service, "cli", progress, allow_drop=allow_drop, retry_failed=retry)
    for name, report in reports.items():
        named = {"domain": name} if name else {}
        print_json({**named, **report_to_dict(report)}) if as_json else print(render_report(report))
    if not reports:
        fail("[principal] may see none of the sources, and access.audiences names nobody who may: nothing to index.")


def init(root: RootOption = None, config: ConfigOption = None) -> None:
    """Write a commented codecairn.toml for this repository. Nothing needs it; it is for more than one source."""
    setup = load_setup(root=root, config=None, data=None, env={})
    file = config or setup.root / CONFIG_NAME
    if file.exists():
        fail(f"{file} exists already; edit it, or remove it first.")
    source = setup.settings.source[0]
    file.write_text(TEMPLATE.format(name=source.name, type=source.type), "utf-8")
    print(f"wrote {file}\nnext: codecairn index")


TEMPLATE = """\
# CodeCairn configuration. Every key: docs/configuration.md. Relative paths start at this file.

[[source]]
name = "{name}"
type = "{type}"          # git | folder | tickets (exports) | designs | github | jira
path = "."
# product = "{name}"     # answers never mix products without saying so
# groups = ["local"]     # who may see it
# exclude = ["fixtures/"]

# [[source]]
# name = "tickets"
# type = "tickets"
# path = "exports/issues.json"

# [embedding]
# kind = "openai"        # any OpenAI-compatible endpoint; the default "static" needs none
# base_url = "http://127.0.0.1:11434/v1"
# model = "nomic-embed-text"
"""


def rollback(
    to: Annotated[
        int | None, typer.Option(help="Generation; default: the newest complete and intact one before.")
    ] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve an earlier generation again."""
    from ingest.audit import describe_actor
    from ingest.index import roll_back
    from ingest.index.beacon import read_state

    setup = open_setup(root, config, data)
    domains = list_domains(setup)
    if to is not None and len(domains) > 1:
        fail("--to counts the generations of one index, and here is one for each audience. Leave it out.", EXIT_USAGE)
    if len(domains) > 1:
        ensure_each_can_go_back(domains)
    for domain in domains:
        manifest = roll_back(domain.data_dir, to, now=utc_now(), actor=describe_actor())
        chunks = f"{manifest.chunks} chunks"
        if as_json:
            print_json({"generation": manifest.generation, "chunks": manifest.chunks})
        else:
            part = "" if manifest.complete else ", a part of a first build: not everything is in it"
            print(f"serving generation {manifest.generation} ({chunks}{part}); the next index run builds on it")
    state = read_state(setup.data_dir)
    if state is not None and not as_json:
        print(
            "A worker keeps the index up to date, and publishes again at the next change. To keep this generation, "
            f"stop the worker (pid {state.pid or 'unknown'}), or start its server again with `--no-watch`."
        )


def ensure_each_can_go_back(domains: Sequence[Domain]) -> None:
    """Refuse to go back with some audiences only."""
    from ingest.index import check_rollback

    for domain in domains:
        try:
            check_rollback(domain.data_dir)
        except IngestError as error:
            fail(f"Nothing was rolled back, for the index {domain.name} cannot be. {error}")
