"""Traces as JSON lines, one file per UTC day: what leaves the store for audits and other tools."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from traces.blobs import dump
from traces.model import Trace

SUFFIX = ".jsonl"


def trace_to_dict(trace: Trace) -> dict[str, Any]:
    """Return a trace as JSON values: the summary on top, then stages, chunks and texts."""
    whole = asdict(trace)
    return {**whole.pop("summary"), **whole}


def trace_line(trace: Trace) -> str:
    """Return a trace as one line of JSON."""
    return dump(trace_to_dict(trace)) + "\n"


def export_days(traces: Iterable[Trace], folder: Path) -> dict[str, int]:
    """Write traces, in any order, to `folder`/YYYY-MM-DD.jsonl; return how many went into each day's file."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    written: dict[str, int] = {}
    for trace in traces:
        day = trace.summary.at[:10]
        _append(folder / f"{day}{SUFFIX}", trace_line(trace), anew=day not in written)
        written[day] = written.get(day, 0) + 1
    return dict(sorted(written.items()))


def _append(file: Path, text: str, *, anew: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if anew else os.O_APPEND)
    with os.fdopen(os.open(file, flags, 0o600), "w", encoding="utf-8", errors="backslashreplace") as out:
        out.write(text)


class DailyExport:
    """A sink that appends each trace to the file of its day and removes files older than `keep_days`."""

    def __init__(self, folder: Path, keep_days: int) -> None:
        self._folder = folder
        self._keep_days = keep_days
        self._day = ""

    def write(self, traces: Sequence[Trace]) -> None:
        """Append traces. Raises OSError."""
        for trace in traces:
            day = trace.summary.at[:10]
            if day != self._day:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._rotate(day)
                self._day = day
            _append(self._folder / f"{day}{SUFFIX}", trace_line(trace), anew=False)

    def _rotate(self, today: str) -> None:
        oldest = (date.fromisoformat(today) - timedelta(days=self._keep_days)).isoformat()
        for file in self._folder.glob(f"????-??-??{SUFFIX}"):
            if file.stem < oldest:
                file.unlink()
