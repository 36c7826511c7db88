"""`audit`: who built what, when and why; and whether somebody changed that record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_server.access import list_domains
from mcp_server.cli.common import (
    EXIT_ERROR,
    EXIT_NOTHING,
    ConfigOption,
    DataOption,
    JsonOption,
    RootOption,
    fail,
    open_setup,
    print_json,
)

if TYPE_CHECKING:
    from ingest.audit import Verdict
    from ingest.index.control import AuditRow

CHANGED = "its record cannot be read: somebody changed it, see `codecairn audit verify`"

app = typer.Typer(no_args_is_help=True, help="Show and verify the record of every build.")


@app.command("show")
def audit_show(
    path: Annotated[str, typer.Argument(help="Path or key of one document; default: builds and roll backs.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Newest rows.")] = 20,
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show builds with trigger, who, revisions, counts and result, and roll backs; or all that befell one document.

    Example: `codecairn audit show src/session.py`
    """
    from ingest.audit import show

    setup = open_setup(root, config, data, reads=True)
    rows = [(domain.name, row) for domain in list_domains(setup) for row in show(domain.data_dir, path, limit)]
    if not rows:
        fail(f"The audit trail has nothing on {path!r}. Give a path as `codecairn search` shows it.", EXIT_NOTHING)
    for name, row in rows:
        record = read_build(row) if row.event == "build" else None
        if as_json:
            domain = {"domain": name} if name else {}
            values = {"seq": row.seq, "at": row.at, "generation": row.generation, "event": row.event}
            detail = row.detail if record is None else record
            print_json({**domain, **values, "source": row.source, "path": row.path, "detail": detail})
        else:
            place = f"{row.source} {row.path}".strip()
            text = row.detail if row.event != "build" else describe_build(record) if record is not None else CHANGED
            line = f"{row.seq} {row.at} generation {row.generation or '-'} {row.event} {place} {text}"
            print(f"{name} {line}".strip().replace("  ", " "))


def read_build(row: AuditRow) -> dict[str, Any] | None:
    """Return what a row says of a build, None where it says something else."""
    try:
        record = json.loads(row.detail)
        describe_build(record)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return dict(record)


def describe_build(record: dict[str, Any]) -> str:
    """Return one line for a build."""
    deltas = [
        f"{one['name']} @ {one['revision'][:12]}: +{one['new']} ~{one['changed']} -{one['deleted']}"
        + (f" failed {one['failed']}" if one["failed"] else "")
        for one in record["sources"]
    ]
    masked = sum(record["redactions"].values())
    parts = [
        f"{record['result']} in {record['duration_s']:.1f} s by {record['actor']} ({record['trigger']})",
        *deltas,
        *(f"{name} left out: {reason}" for name, reason in record["left_out"].items()),
        *([f"{masked} secrets masked"] if masked else []),
        *([record["reason"]] if record["reason"] else []),
    ]
    return "; ".join(parts)


@app.command("verify")
def audit_verify(
    expect: Annotated[str, typer.Option(help="Hash that `verify` printed before: the trail must still hold it.")] = "",
    root: RootOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute the hash chain. Keep the hash that it prints elsewhere: with --expect it shows a trail that was cut.

    Example: `codecairn audit verify --expect 3f6c...`
    """
    from ingest.audit import verify

    setup = open_setup(root, config, data, reads=True)
    verdicts = {domain.name: verify(domain.data_dir, expect) for domain in list_domains(setup)}
    for name, verdict in verdicts.items():
        if as_json:
            values = {"rows": verdict.rows, "head": verdict.head, "broken_row": verdict.broken_row}
            values |= {"unrecorded_generation": verdict.unrecorded, "expected": verdict.has_expected}
            print_json({**({"domain": name} if name else {}), **values})
        else:
            print(f"{name}: {describe_verdict(verdict)}" if name else describe_verdict(verdict))
    if expect and not any(verdict.has_expected for verdict in verdicts.values()):
        fail(f"No row has the hash {expect[:64]!r}: the trail was cut or replaced since.")
    if not all(verdict.holds for verdict in verdicts.values()):
        raise SystemExit(EXIT_ERROR)


def describe_verdict(verdict: Verdict) -> str:
    """Return one line on a trail."""
    if verdict.broken_row is not None:
        return f"row {verdict.broken_row} breaks the chain: it or one before it was changed or removed"
    if verdict.unrecorded is not None:
        return f"generation {verdict.unrecorded} is published, and no row says so: rows were removed"
    return f"{verdict.rows} rows, chain intact, head {verdict.head}"
