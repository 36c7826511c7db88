"""`codecairn bench redact`: what the redaction rules and the flags find in folders of known content, and how fast.

Real open-source repositories hold hardly a live secret, so that nearly all that is masked in them is masked falsely.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golden.bench import BenchError
from golden.machine import MachineFacts, read_machine
from ingest.cleaning import clean_lines
from ingest.config import IndexConfig, SourceConfig
from ingest.errors import IngestError
from ingest.model import Snapshot
from ingest.redact import count_masks, redact
from ingest.sources.decode import decode_text
from ingest.sources.opening import open_snapshots
from ingest.untrusted import find_flags

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class FolderFigures:
    """One folder: its lines, how many of them hold a mask or a flag, and which rules made them."""

    name: str
    megabytes: float
    lines: int
    masked_lines: int
    rules: Mapping[str, int]
    flags: Mapping[str, int]
    redact_s: float  # processor time
    flag_s: float  # of cleaning and flagging
    places: tuple[str, ...]  # `path:line rule`, never what stands there

    @property
    def masked_share(self) -> float:
        """Masked lines per line."""
        return self.masked_lines / self.lines if self.lines else 0.0


@dataclass(frozen=True, slots=True)
class RedactionBench:
    """Result of `bench redact`."""

    folders: tuple[FolderFigures, ...]
    personal: bool
    machine: MachineFacts = field(default_factory=read_machine)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        rows = [
            {
                "name": row.name,
                "mb": round(row.megabytes, 1),
                "lines": row.lines,
                "masked_lines": row.masked_lines,
                "masked_percent": round(100 * row.masked_share, 4),
                "rules": dict(row.rules),
                "flags": dict(row.flags),
                "places": list(row.places),
            }
            for row in self.folders
        ]
        return {"personal": self.personal, "folders": rows, **self.speed()}

    def speed(self) -> dict[str, float]:
        """Return megabytes per second of one core, redaction and cleaning apart."""
        total = sum(row.megabytes for row in self.folders)
        redacting, flagging = sum(row.redact_s for row in self.folders), sum(row.flag_s for row in self.folders)
        return {
            "redact_mb_per_s": round(total / redacting, 1) if redacting else 0.0,
            "flags_mb_per_s": round(total / flagging, 1) if flagging else 0.0,
        }

    def __str__(self) -> str:
        head = "| folder | lines | masked lines | % | rules | flags |\n|---|--:|--:|--:|---|---|"
        rows = [
            f"| {row.name} | {row.lines:,} | {row.masked_lines} | {100 * row.masked_share:.4f} "
            f"| {_list(row.rules)} | {_list(row.flags)} |"
            for row in self.folders
        ]
        places = [f"{row.name}/{place}" for row in self.folders for place in row.places]
        speed = self.speed()
        last = (
            f"redaction {speed['redact_mb_per_s']} MB/s, cleaning and flags {speed['flags_mb_per_s']} MB/s on one core"
        )
        return "\n".join((head, *rows, *places, last, str(self.machine)))


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def run_redaction(
    paths: Sequence[Path], *, personal: bool = False, places: bool = False, say: Callable[[str], None] = lambda _: None
) -> RedactionBench:
    """Redact and flag the files of folders as an index would take them. Raises BenchError."""
    rows = []
    for path in paths:
        say(f"reading {path}")
        rows.append(measure_folder(path, personal, places))
    return RedactionBench(tuple(rows), personal)


def measure_folder(path: Path, personal: bool, places: bool) -> FolderFigures:
    """Return the figures of one folder. Raises BenchError if it cannot be read."""
    rules: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    found: list[str] = []
    size = lines = masked_lines = 0
    redact_s = flag_s = 0.0
    for name, data, raw in _read(path):
        started = time.process_time()
        text = clean_lines(raw)
        marks = find_flags(raw, text)
        flagged = time.process_time()
        masked = redact(text, personal=personal)
        redact_s += time.process_time() - flagged
        flag_s += flagged - started
        size, lines = size + data, lines + text.count("\n") + 1
        rules.update(dict(masked.counts))
        flags.update(flag for _, _, flag in marks)
        changed = [
            row for row, (a, b) in enumerate(zip(text.split("\n"), masked.text.split("\n"), strict=True), 1) if a != b
        ]
        masked_lines += len(changed)
        if places:
            shown = masked.text.split("\n")
            named = ((row, " ".join(rule for rule, _ in count_masks(shown[row - 1]))) for row in changed)
            found += (f"{name}:{row} {rules_there}" for row, rules_there in named if rules_there)
            found += (f"{name}:{row + 1} {flag}" for row, _, flag in marks)
    return FolderFigures(path.name, size / MEGABYTE, lines, masked_lines, rules, flags, redact_s, flag_s, tuple(found))


def _read(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield path, bytes and text of the files that an index would hold."""
    source = SourceConfig(name="folder", type="folder", path=path)
    try:
        snapshot: Snapshot
        (snapshot,) = open_snapshots(source, data_dir=path / ".codecairn", limits=IndexConfig(), known=lambda _: {})
        for entry in snapshot.entries:
            data = snapshot.read(entry)
            text, _ = decode_text(data)
            if text:
                yield entry.path, len(data), text
    except IngestError as error:
        raise BenchError(str(error)) from error
