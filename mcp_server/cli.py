"""The command line. The same service and the same rendering as the tools; errors are one sentence on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from ingest.errors import IngestError
from mcp_server.access import DOMAINS, Domain, list_domains, local_principal
from mcp_server.config import CONFIG_NAME, Setup, ensure_writable, load_setup
from mcp_server.errors import ServerError, describe
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import VERSION, Building, Service

if TYPE_CHECKING:
    from ingest.build import BuildReport, Seen
    from ingest.build import Progress as BuildProgress

EXIT_ERROR, EXIT_USAGE, EXIT_NOTHING = 1, 2, 3

app = typer.Typer(
    name="codecairn",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="""Where things live and why, over code, tickets, design documents and history. Every pointer is checked.

Start in a repository: `codecairn index`, then `codecairn search "how are sessions signed"` or
`codecairn answer "Where is the retry limit set?"`. `codecairn serve` is the MCP server for coding assistants.

Exit codes: 0 done, 1 failed (one sentence on stderr), 2 wrong usage, 3 nothing found or abstained.
""",
)
trace_app = typer.Typer(no_args_is_help=True, help="Read the records of past queries.")
prompts_app = typer.Typer(no_args_is_help=True, help="List, show and verify the versioned prompts.")
golden_app = typer.Typer(no_args_is_help=True, help="Run the golden set and its gate.")
bench_app = typer.Typer(no_args_is_help=True, help="Measure indexing, search quality and serving.")
app.add_typer(trace_app, name="trace")
app.add_typer(prompts_app, name="prompts")
app.add_typer(golden_app, name="golden")
app.add_typer(bench_app, name="bench")

RootOption = Annotated[Path | None, typer.Option("--root", help="Repository or folder; default: the work tree's top.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help=f"Configuration file; default: {CONFIG_NAME}.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data directory; default: below $XDG_DATA_HOME.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SourcesOption = Annotated[
    list[str] | None, typer.Option("--source", "-s", help="code, tickets, designs, history or a source's name; repeat.")
]
ProductOption = Annotated[str, typer.Option("--product", "-p", help="Only this product.")]
GlobOption = Annotated[str, typer.Option("--path-glob", "-g", help="Only these paths, such as 'src/**/*.py'.")]
LanguageOption = Annotated[str, typer.Option("--language", help="Only this language, such as python.")]
StrictOption = Annotated[bool | None, typer.Option("--strict/--no-strict", help="Refuse degraded results.")]
DetailedOption = Annotated[bool, typer.Option("--detailed", "-d", help="Longer snippets and the source of each hit.")]


def main() -> None:
    """Run the command line; what we raise on purpose is a sentence, not a traceback."""
    try:
        app()
    except (IngestError, ServerError) as error:
        fail(describe(error, 2000))
    except KeyboardInterrupt:
        fail("Interrupted; nothing half-done is left behind.")


def fail(sentence: str, code: int = EXIT_ERROR) -> NoReturn:
    """Print one sentence on stderr and end."""
    print(f"codecairn: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def open_setup(root: Path | None, config: Path | None, data: Path | None, **flags: Any) -> Setup:  # noqa: ANN401
    """Read the settings and make sure that the data directory can be written."""
    given = {name: value for name, value in flags.items() if value is not None}
    setup = load_setup(root=root, config=config, data=data, env=dict(os.environ), flags=given)
    ensure_writable(setup.data_dir)
    return setup


@contextmanager
def open_service(setup: Setup, *, log: bool = False) -> Iterator[Service]:
    """Open the service and make sure that its traces are written at the end."""
    service = Service(setup, log=log)
    try:
        yield service
    finally:
        service.close()


def utc_now() -> str:
    """Return the time now, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def print_json(value: object) -> None:
    """Print compact JSON."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


# -- index -------------------------------------------------------------------------------------------------------------


def build(
    setup: Setup,
    service: Service,
    trigger: str,
    progress: Any = lambda _: None,  # noqa: ANN401
    seen: Mapping[str, Seen] | None = None,
    **options: Any,  # noqa: ANN401
) -> dict[str, BuildReport]:
    """Bring every index up to date; return what was done by name of the index (one for all is called "")."""
    from ingest.build import build_index

    domains = list_domains(setup)
    drop_domains(setup.data_dir / DOMAINS, {domain.name for domain in domains})
    reports = {}
    for domain in domains:
        ensure_writable(domain.data_dir)
        reports[domain.name] = build_index(
            domain.sources,
            setup.settings.index,
            service.embedder,
            domain.data_dir,
            now=utc_now(),
            config_hash=setup.config_hash,
            trigger=trigger,
            progress=progress,
            seen=seen.get(domain.name) if seen else None,
            **options,
        )
    return reports


def drop_domains(folder: Path, kept: set[str]) -> None:
    """Delete the separate indexes that nobody has any more: they hold what was taken from somebody."""
    for old in folder.iterdir() if folder.is_dir() else ():
        if old.name not in kept:
            shutil.rmtree(old)


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
    if report.redactions:
        masked = ", ".join(f"{rule} {n}" for rule, n in sorted(report.redactions.items()))
        lines.append(f"masked secrets: {masked}")
    return "\n".join(lines)


@app.command()
def index(
    path: Annotated[Path | None, typer.Argument(help="Repository or folder; default: the work tree's top.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
    allow_drop: Annotated[
        bool, typer.Option(help="Publish even if a source lost more than 20 % of its chunks.")
    ] = False,
) -> None:
    """Index the sources, or bring the index up to date. Only what changed is read again.

    Example: `codecairn index ~/src/project`
    """
    setup = open_setup(path or root, config, data)
    if setup.is_ephemeral:
        print(f"codecairn: {setup.data_dir} may vanish with a restart.", file=sys.stderr)
    with open_service(setup) as service, progress_bar(sys.stderr.isatty() and not as_json) as progress:
        reports = build(setup, service, "cli", progress, allow_drop=allow_drop)
    for name, report in reports.items():
        named = {"domain": name} if name else {}
        print_json({**named, **report_to_dict(report)}) if as_json else print(render_report(report))
    if not reports:
        fail("[principal] may see none of the sources, and access.audiences names nobody who may: nothing to index.")


@app.command()
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


# -- ask ---------------------------------------------------------------------------------------------------------------


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="Words, a symbol, a path or a ticket key.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50)] = 8,
    cursor: Annotated[str, typer.Option(help="The next_cursor of the page before.")] = "",
    source: SourcesOption = None,
    product: ProductOption = "",
    path_glob: GlobOption = "",
    language: LanguageOption = "",
    mode: Annotated[str, typer.Option(help="ranked, or all: every occurrence with a true count.")] = "ranked",
    detailed: DetailedOption = False,
    strict: StrictOption = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find where something lives.

    Examples: `codecairn search "how are sessions signed"`, `codecairn search Flask.wsgi_app`,
    `codecairn search retry_limit --mode all`
    """
    from mcp_server.render import render_search, search_to_dict

    if mode not in ("ranked", "all"):
        fail(f"--mode is {mode!r}; it must be ranked or all.", EXIT_USAGE)
    wanted: Literal["ranked", "all"] = "all" if mode == "all" else "ranked"
    setup = open_setup(root, config, data)
    request = SearchRequest(query, limit, cursor, tuple(source or ()), product, path_glob, wanted, language)
    with open_service(setup) as service:
        result = service.search(request, local_principal(setup.settings), strict=strict)
    form: Literal["concise", "detailed"] = "detailed" if detailed else "concise"
    text = render_search(result, query, form, setup.settings.server.max_result_chars)
    print_json(search_to_dict(result)) if as_json else print(text)
    if not result.hits:
        raise SystemExit(EXIT_NOTHING)


@app.command()
def answer(
    question: Annotated[str, typer.Argument(help="A question about the indexed sources.")],
    source: SourcesOption = None,
    product: ProductOption = "",
    path_glob: GlobOption = "",
    language: LanguageOption = "",
    detailed: DetailedOption = False,
    strict: StrictOption = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question; every statement cites lines, and what is not supported is listed.

    Example: `codecairn answer "Where is the cookie signed and what is the salt?"`
    """
    from mcp_server.render import answer_to_dict, render_answer

    setup = open_setup(root, config, data)
    request = AnswerRequest(question, tuple(source or ()), product, path_glob, language)
    with open_service(setup) as service:
        result = service.answer(request, local_principal(setup.settings), strict=strict)
    form: Literal["concise", "detailed"] = "detailed" if detailed else "concise"
    text = render_answer(result, form, setup.settings.server.max_result_chars)
    print_json(answer_to_dict(result)) if as_json else print(text)
    if result.abstained:
        raise SystemExit(EXIT_NOTHING)


# -- look --------------------------------------------------------------------------------------------------------------


@app.command()
def status(
    root: RootOption = None, config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Show what is indexed, how old it is, and what was skipped and why."""
    from mcp_server.render import render_status, status_to_dict

    setup = open_setup(root, config, data)
    with open_service(setup) as service:
        state = service.status(local_principal(setup.settings))
    print_json(status_to_dict(state)) if as_json else print(render_status(state))
    if state.state != "ready":
        raise SystemExit(EXIT_NOTHING)


@trace_app.command("list")
def trace_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the latest queries."""
    setup = open_setup(root, config, data)
    with open_service(setup) as service:
        rows = service.list_traces(local_principal(setup.settings), limit)
    if as_json:
        names = ("id", "at", "tool", "entry", "query", "status", "duration_ms", "generation")
        print_json([{name: getattr(row, name) for name in names} for row in rows])
        return
    for row in rows:
        print(f"{row.id}  {row.at}  {row.tool:<13} {row.status:<8} {row.duration_ms:7.1f} ms  {row.query[:80]}")


@trace_app.command("show")
def trace_show(
    trace_id: str,
    stage: Annotated[str, typer.Option(help="One stage in full, such as rerank.")] = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how one result came about."""
    setup = open_setup(root, config, data)
    with open_service(setup) as service:
        principal = local_principal(setup.settings)
        if as_json:
            from dataclasses import asdict

            print_json(asdict(service.get_trace(trace_id, principal)))
        else:
            print(service.explain(trace_id, stage, principal))


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option(help="Read every file of every generation.")] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check installation, settings and index; print each setting with where it came from."""
    setup = open_setup(root, config, data)
    problems = [*find_intruders(), *find_prompt_changes(), *find_violations(setup, deep)]
    if shutil.which("git") is None:
        problems.append("git is not on the PATH; git sources cannot be read.")
    if as_json:
        effective = {"settings": setup.snapshot(), "origins": dict(setup.origins), "data_dir": str(setup.data_dir)}
        print_json({"version": VERSION, "problems": problems, **effective})
    else:
        print(f"codecairn {VERSION}\nroot: {setup.root}\ndata: {setup.data_dir}" + " (ephemeral)" * setup.is_ephemeral)
        for key, value in flatten(setup.snapshot()):
            print(f"{key} = {json.dumps(value)}  ({setup.origins.get(key, 'default')})")
        print("\n".join(f"PROBLEM: {problem}" for problem in problems) or "no problems found")
    if problems:
        raise SystemExit(EXIT_ERROR)


def flatten(value: dict[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of nested tables."""
    for key, part in value.items():
        if isinstance(part, dict):
            yield from flatten(part, f"{at}{key}.")
        else:
            yield f"{at}{key}", part


def find_intruders() -> list[str]:
    """Return a sentence per other distribution that claims one of our package names."""
    from importlib.metadata import packages_distributions

    claimed = packages_distributions()
    return [
        f"The package {name!r} is also claimed by {', '.join(sorted(set(claimed[name]) - {'codecairn'}))}; "
        "install CodeCairn into an environment of its own."
        for name in ("mcp_server", "ingest", "prompts", "golden", "traces")
        if not set(claimed.get(name, ())) <= {"codecairn"}
    ]


def find_prompt_changes() -> list[str]:
    """Return what is wrong with the prompts."""
    import prompts

    return prompts.verify_lock()


def find_violations(setup: Setup, deep: bool) -> list[str]:
    """Return what is wrong with the index; nothing for an index that does not exist yet."""
    from ingest.index.invariants import check_invariants

    folders = [domain.data_dir for domain in list_domains(setup) if is_indexed(domain)]
    return [str(violation) for folder in folders for violation in check_invariants(folder, deep=deep)]


def is_indexed(domain: Domain) -> bool:
    """Tell whether there is an index already."""
    return (domain.data_dir / "control.db").exists()


@app.command()
def rollback(
    to: Annotated[int | None, typer.Option(help="Generation; default: the one before.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve an earlier generation again."""
    from ingest.index import roll_back

    setup = open_setup(root, config, data)
    domains = list_domains(setup)
    if to is not None and len(domains) > 1:
        fail("--to counts the generations of one index, and here is one for each audience. Leave it out.", EXIT_USAGE)
    for domain in domains:
        manifest = roll_back(domain.data_dir, to, now=utc_now())
        chunks = f"{manifest.chunks} chunks"
        if as_json:
            print_json({"generation": manifest.generation, "chunks": manifest.chunks})
        else:
            print(f"serving generation {manifest.generation} ({chunks}); the next index run builds on it")


# -- serve -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Background:
    """Builds the index while the server answers."""

    setup: Setup
    service: Service
    _built: dict[str, int] = field(default_factory=dict)  # index -> generation of the last build, if it succeeded

    def rebuild(self, trigger: str, paths: frozenset[str] = frozenset()) -> None:
        """Build once; a failure is told to whoever asks next and on stderr, and the last generation keeps serving."""
        from ingest.build import Seen

        self.service.set_building(Building())
        error = ""
        # What changed since the last build is all that has to be looked at.
        seen, self._built = {name: Seen(paths, generation) for name, generation in self._built.items()}, {}
        try:
            reports = build(self.setup, self.service, trigger, self._show, seen)
            self._built = {name: report.manifest.generation for name, report in reports.items()}
            self.service.warm()
        except IngestError as problem:
            error = str(problem)
        except Exception as problem:  # the watcher must outlive whatever one build ran into
            error = f"{type(problem).__name__}: {problem}"
        self.service.set_building(None, error)
        if error:
            print(json.dumps({"event": "index_failed", "error": error}), file=sys.stderr)

    def _show(self, progress: BuildProgress) -> None:
        self.service.set_building(Building(progress.source, progress.done, progress.total))


@app.command()
def serve(
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP instead of stdio.")] = False,
    address: Annotated[str, typer.Argument(help="HOST:PORT for --http.", show_default=False)] = "",
    watch: Annotated[bool, typer.Option(help="Re-index when files or commits change.")] = True,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Serve MCP on stdin and stdout, or with --http on an address (default 127.0.0.1:8765).

    With no configuration it indexes the repository in the background and answers from what it has.
    Examples: `codecairn serve`, `codecairn serve --http 127.0.0.1:9000`
    """
    setup = open_setup(root, config, data)
    host, port = parse_address(address, setup)
    if http:
        from mcp_server.web import check_bind

        check_bind(host)
    with open_service(setup, log=True) as service:
        stop = start_background(setup, service, watch and setup.settings.server.watch)
        try:
            serve_over_http(service, host, port) if http else serve_over_stdio(service)
        finally:
            stop()


def parse_address(address: str, setup: Setup) -> tuple[str, int]:
    """Return host and port; either may be left out."""
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    if port and not port.isdigit():
        fail(f"{address!r} is no HOST:PORT.", EXIT_USAGE)
    return host or setup.settings.server.http_host, int(port) if port else setup.settings.server.http_port


def start_background(setup: Setup, service: Service, watch: bool) -> Any:  # noqa: ANN401 - a callable that stops it
    """Index in the background (the first time, and on change); returns what stops it."""
    background = Background(setup, service)
    if not watch:
        if not all(map(is_indexed, list_domains(setup))):
            service.set_building(Building())
            threading.Thread(target=background.rebuild, args=("start",), daemon=True).start()
        return lambda: None
    service.set_building(Building() if not all(map(is_indexed, list_domains(setup))) else None)
    holder: list[Any] = []

    def run() -> None:
        # Imported here: the first reply to a client does not wait for the watcher's library.
        from ingest.watch import Watcher

        watcher = Watcher(
            setup.settings.source,
            background.rebuild,
            debounce_ms=setup.settings.server.debounce_ms,
            first=True,
            avoid=setup.data_dir,
        )
        holder.append(watcher)
        watcher.start()

    starter = threading.Timer(0.3, run)  # let `initialize` be answered first
    starter.daemon = True
    starter.start()

    def stop() -> None:
        starter.cancel()
        for watcher in holder:
            watcher.stop()

    return stop


def serve_over_stdio(service: Service) -> None:
    """Speak MCP on stdio."""
    from mcp_server.server import serve_stdio

    serve_stdio(service)


def serve_over_http(service: Service, host: str, port: int) -> None:
    """Serve HTTP."""
    from mcp_server.server import http_app
    from mcp_server.web import LOOPBACK_NAMES, make_app, serve_http

    names = (*LOOPBACK_NAMES, *service.setup.settings.server.allowed_hosts)
    hosts = [*names, *(f"{name}:*" for name in names)]
    origins = [f"http://{name}" for name in hosts] + [f"https://{name}" for name in hosts]
    server, mcp_app = http_app(service, hosts, origins)
    print(f"codecairn: http://{host}:{port}/mcp", file=sys.stderr, flush=True)
    serve_http(make_app(service, mcp_app, server.session_manager.run), host, port)


# -- prompts, golden, bench --------------------------------------------------------------------------------------------


@prompts_app.command("list")
def prompts_list(as_json: JsonOption = False) -> None:
    """List all versions of all prompts."""
    import prompts

    rows = [{"id": p.id, "version": p.version, "role": p.role, "sha256": p.sha256} for p in prompts.list_prompts()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['id']}@v{row['version']}  {row['role']:<12} {str(row['sha256'])[:12]}")


@prompts_app.command("show")
def prompts_show(name: str, version: Annotated[int | None, typer.Argument()] = None) -> None:
    """Show one prompt."""
    import prompts

    try:
        print(prompts.load(name, version).text)
    except prompts.PromptError as error:
        fail(str(error))


@prompts_app.command("lock")
def prompts_lock() -> None:
    """Lock new versions (in a source checkout). Versions that are locked already are not touched."""
    import prompts

    problems = [problem for problem in prompts.verify_lock() if "is not locked" not in problem]
    if problems:
        fail(problems[0])
    (Path(prompts.__file__).parent / prompts.LOCK_NAME).write_text(prompts.make_lock(prompts.list_prompts()), "utf-8")
    print("all versions are locked")


@prompts_app.command("verify")
def prompts_verify() -> None:
    """Check that no published prompt changed."""
    problems = find_prompt_changes()
    print("\n".join(problems) or "all prompts are as they were locked")
    if problems:
        raise SystemExit(EXIT_ERROR)


@golden_app.command("run")
def golden_run(as_json: JsonOption = False) -> None:
    """Run the golden set over its corpora (this repository and installed packages) and print the figures per bucket."""
    from golden.case import load_cases
    from golden.gate import RESULTS
    from golden.run import render_stats, run_golden, write_results

    with bench_errors():
        report = run_golden(load_cases(), RESULTS / "index")
    write_results(report, RESULTS / "results")
    print_json({"seconds": report.seconds, "stats": render_stats(report)}) if as_json else print(render_stats(report))


@golden_app.command("gate")
def golden_gate() -> None:
    """Run the golden set and decide: exit code 1 when a bucket is below its floor."""
    from golden.gate import run_gate

    with bench_errors():
        gate = run_gate()
    print(gate)
    if not gate.passed:
        raise SystemExit(EXIT_ERROR)


def say(line: str) -> None:
    """Print progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_bench(result: Any, as_json: bool) -> None:  # noqa: ANN401 - any of the results
    """Print figures for people or as JSON."""
    print_json(result.to_dict()) if as_json else print(result)


@contextmanager
def bench_errors() -> Iterator[None]:
    """Turn an error of a benchmark into a sentence."""
    from golden.case import GoldenError

    try:
        yield
    except GoldenError as error:
        fail(str(error))


@bench_app.command("index")
def bench_index(
    path: Path,
    source_type: Annotated[str, typer.Option(help="folder or git; default: git inside a repository.")] = "",
    changes: Annotated[int, typer.Option(min=0, help="One-file changes to time under a running server.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Measure indexing: seconds, lines per second, memory of all processes, size, and change to searchable."""
    from golden.bench.indexing import run_index

    if source_type not in ("", "folder", "git"):
        fail(f"--source-type is {source_type!r}; it must be folder or git.", EXIT_USAGE)
    kind: Literal["folder", "git"] | None = "git" if source_type == "git" else "folder" if source_type else None
    with bench_errors():
        print_bench(run_index(path, source_type=kind, changes=changes, say=say), as_json)


@bench_app.command("search")
def bench_search(
    cases: Annotated[list[Path], typer.Option(help="JSONL of questions with known files; repeat.")],
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora, <owner>__<name>-<commit>.")],
    variant: Annotated[
        list[str] | None, typer.Option(help="root (default), root-history, whole or whole-history; repeat.")
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATH of semble, semble-model (its Python), ripgrep, codegraph; repeat."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Ask only so many questions, evenly spread.")] = 0,
    ablate: Annotated[bool, typer.Option(help="Each retriever and feature off, one at a time.")] = False,
    worst: Annotated[int, typer.Option(min=0, help="Explain so many of the worst questions.")] = 0,
    pred: Annotated[Path | None, typer.Option(help="Write predictions as JSONL.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    embedder: Annotated[str, typer.Option(help="static or none.")] = "static",
    as_json: JsonOption = False,
) -> None:
    """Measure search quality, beside rivals: NDCG@10, hit@k, MRR, tokens until the right file, and latency."""
    from golden.bench.quality import Plan, run_search
    from golden.bench.rivals import parse_rival

    if embedder not in ("static", "none"):
        fail(f"--embedder is {embedder!r}; it must be static or none.", EXIT_USAGE)
    kind: Literal["static", "none"] = "none" if embedder == "none" else "static"
    with bench_errors():
        rivals = tuple(map(parse_rival, rival or ()))
        plan = Plan(tuple(variant or ("root",)), rivals, kind, limit, ablate, worst)
        result = run_search(cases, corpora, plan, cache=cache, say=say)
    if pred is not None:
        for file, text in result.prediction_files(pred).items():
            file.write_text(text, "utf-8")
    if out is not None:
        out.write_text(json.dumps(result.to_dict(), indent=1), "utf-8")
    print_bench(result, as_json)


@bench_app.command("scale")
def bench_scale(
    folder: Path,
    cases: Annotated[list[Path], typer.Option(help="JSONL of questions; their queries are asked. Repeat.")],
    chunks: Annotated[list[int] | None, typer.Option(help="Size to build (10000, 50000, 200000); repeat.")] = None,
    queries: Annotated[int, typer.Option(min=3, help="Queries to ask, a third of them to warm up.")] = 200,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure search by size of the index, built from the repositories in a folder: times, memory, size on disk."""
    from golden.bench.scaling import TARGETS, run_scale

    with bench_errors():
        targets = tuple(chunks or TARGETS)
        print_bench(run_scale(folder, cases, targets=targets, queries=queries, cache=cache, say=say), as_json)


@bench_app.command("serve")
def bench_serve(path: Path, rounds: Annotated[int, typer.Option(min=1)] = 20, as_json: JsonOption = False) -> None:
    """Measure a server: start-up, first search, warm MCP round trips."""
    from golden.bench.serving import run_serve

    with bench_errors():
        print_bench(run_serve(path, rounds=rounds, say=say), as_json)


@bench_app.command("redact")
def bench_redact(
    paths: list[Path],
    personal: Annotated[bool, typer.Option(help="Personal data too, as in tickets and commits.")] = False,
    places: Annotated[bool, typer.Option(help="List where something is masked or flagged, never what.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure redaction on folders: masked and flagged lines by rule, and megabytes per second."""
    from golden.bench.redaction import run_redaction

    with bench_errors():
        print_bench(run_redaction(paths, personal=personal, places=places, say=say), as_json)


if __name__ == "__main__":
    main()
