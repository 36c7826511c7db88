"""The scoreboard: figures, what they were made from, and a hash by which anybody can check both (V5)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from golden.baseline import to_row
from golden.case import GoldenError
from golden.gate import Gate
from golden.metrics import wilson
from golden.results import COLUMNS, render_blame
from golden.stats import BucketStats
from golden.suite import Suite
from golden.worth import Worth, render_worth

NAME = "scoreboard.json"
MARKDOWN = "final-scoreboard.md"
HISTORY = "history.jsonl"  # one line per report: what the plot over releases is drawn from
PLOT = "recall.svg"
WIDTH, HEIGHT, MARGIN = 480, 160, 30  # pixels of the plot


def make_scoreboard(
    gate: Gate, suite: Suite, worth: Sequence[Worth] = (), checks: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return the figures of a run with all of its inputs and the hash over everything.

    `worth`: what each part of the search is worth; `checks`: what the ship gate found.
    """
    run = gate.run
    stats = (*run.report.stats(), run.report.overall())
    board: dict[str, Any] = {
        "format": 1,
        "made_at": run.made_at,
        "passed": gate.passed,
        "failures": list(gate.failures),
        "inputs": {
            **run.dimensions.model_dump(mode="json"),
            "corpora": {name: dict(facts) for name, facts in run.corpora.items()},
            "cases": {verdict.case.id: verdict.case.hash for verdict in run.report.verdicts},
            "removed": [item.model_dump() for item in suite.removed()],
            "floors": suite.floors().model_dump(mode="json"),
        },
        "stats": {row.bucket: row.to_dict() for row in stats},
        "blame": run.report.blame(),
        "cost_usd": total_cost([verdict.outcome.cost_usd for verdict in run.report.verdicts]),
        "ablations": [row.to_dict() for row in worth],
        "ship": list(checks),
        "results": [to_row(v).model_dump(mode="json", exclude_defaults=True) for v in run.report.verdicts],
    }
    return {**board, "hash": hash_board(board)}


def total_cost(costs: Sequence[float | None]) -> float | None:
    """Return what the run cost; None where no model was asked or a price is unknown (A4)."""
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 6) if known and len(known) == len(costs) else None


def hash_board(board: Mapping[str, Any]) -> str:
    """Return the SHA-256 over everything in a scoreboard but the hash itself."""
    content = {name: value for name, value in board.items() if name != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_scoreboard(
    gate: Gate,
    suite: Suite,
    folder: Path,
    worth: Sequence[Worth] = (),
    checks: Sequence[Mapping[str, Any]] = (),
    said: Sequence[str] = (),
) -> dict[str, Any]:
    """Write `scoreboard.json`, its Markdown form and the plot over all reports in a folder; return the scoreboard.

    `said`: the checks of the ship gate for people.
    """
    board = make_scoreboard(gate, suite, worth, checks)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(json.dumps(board, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
    entry = {
        "made_at": board["made_at"],
        "commit": board["inputs"]["commit"],
        "hash": board["hash"],
        "recall5": board["stats"]["all"]["recall5"],
        "right": board["stats"]["all"]["right"],
    }
    with (folder / HISTORY).open("a", encoding="utf-8") as history:
        history.write(json.dumps(entry) + "\n")
    (folder / PLOT).write_text(plot_recall(read_history(folder / HISTORY)), "utf-8")
    (folder / MARKDOWN).write_text(render_markdown(gate, board, worth, said), "utf-8")
    return board


def read_history(file: Path) -> list[dict[str, Any]]:
    """Read what earlier reports showed."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line]


def read_scoreboard(file: Path) -> dict[str, Any]:
    """Read a scoreboard. Raises GoldenError."""
    try:
        board: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise GoldenError(f"There is no scoreboard {file}. `codecairn golden report` writes one.") from error
    except (OSError, ValueError) as error:
        raise GoldenError(f"The scoreboard {file} cannot be read: {error}.") from error
    return board


def verify_scoreboard(board: Mapping[str, Any], suite: Suite, expected: str = "") -> Iterator[str]:
    """Yield a sentence for everything that is not as it was when the scoreboard was made. Raises GoldenError."""
    if hash_board(board) != board.get("hash"):
        yield "the scoreboard was changed after it was made: its hash is not the one over its content"
    if expected and not str(board.get("hash", "")).startswith(expected):
        yield f"this is another scoreboard: its hash begins with {str(board.get('hash'))[:12]}, not with {expected}"
    cases = {case.id: case.hash for case in suite.cases()}
    stored = board["inputs"]["cases"]
    if other := sorted(name for name in stored.keys() & cases.keys() if stored[name] != cases[name]):
        yield f"{len(other)} cases ask something else now, {other[0]} first"
    if other := sorted(stored.keys() ^ cases.keys()):
        yield f"{len(other)} cases are not in both, {other[0]} first"
    if board["inputs"]["removed"] != [item.model_dump() for item in suite.removed()]:
        yield "other cases were removed since"
    if board["inputs"]["floors"] != suite.floors().model_dump(mode="json"):
        yield "the floors are others now"
    if sorted(row["id"] for row in board["results"]) != sorted(stored):
        yield "there is not one result for each case"


def render_markdown(gate: Gate, board: Mapping[str, Any], worth: Sequence[Worth] = (), said: Sequence[str] = ()) -> str:
    """Return the scoreboard for people."""
    overall = gate.run.report.overall()
    low, high = wilson(overall.confident_wrong, overall.cases)
    inputs = board["inputs"]
    return "\n".join(
        (
            "# Scoreboard",
            "",
            f"Confidently wrong: {overall.confident_wrong} of {overall.cases} (95 % {low:.2f}-{high:.2f}). "
            f"Leaks: {overall.leaks}. Gate: {'pass' if gate.passed else 'BLOCK'}.",
            "",
            "```",
            *render_blame(gate.run.report),
            "```",
            "",
            f"| | cases | passed | {' | '.join(title for title, _ in COLUMNS)} |",
            f"|---|---|---|{'---|' * len(COLUMNS)}",
            *(markdown_row(row) for row in (*gate.run.report.stats(), overall)),
            "",
            f"![recall@5 over the reports]({PLOT})",
            "",
            *(("```", *render_worth(worth), "```", "") if worth else ()),
            *(("```", *said, "```", "") if said else ()),
            f"Commit `{inputs['commit'][:12]}`, embedder `{inputs['embedder']}`, model {inputs['model']}, "
            f"{len(inputs['cases'])} cases, {len(inputs['removed'])} removed for a reason, cost "
            f"{'unknown or none' if board['cost_usd'] is None else board['cost_usd']}.",
            "",
            f"Hash `{board['hash']}`: `codecairn golden verify {board['hash'][:12]}`.",
            *(f"- BLOCK: {failure}" for failure in gate.failures),
            "",
        )
    )


def markdown_row(row: BucketStats) -> str:
    """Return one line of the table; what could not be measured is a dash."""
    values = [getattr(row, name) for _, name in COLUMNS]
    figures = " | ".join("-" if value != value else f"{value:.3f}" for value in values)
    return f"| {row.bucket} | {row.cases} | {row.passed} | {figures} |"


def plot_recall(history: Sequence[Mapping[str, Any]]) -> str:
    """Return recall@5 over all reports as an SVG; a report without the figure leaves a gap."""
    step = (WIDTH - 2 * MARGIN) / max(1, len(history) - 1)
    points = [
        (MARGIN + number * step, MARGIN + (1 - row["recall5"]) * (HEIGHT - 2 * MARGIN), row)
        for number, row in enumerate(history)
        if row.get("recall5") is not None
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{row["commit"][:12]} {row["recall5"]:.3f}</title></circle>'
        for x, y, row in points
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="11"><text x="{MARGIN}" y="16">recall@5, 0 to 1</text>'
        f'<polyline points="{line}" fill="none" stroke="currentColor"/>{dots}</svg>\n'
    )
