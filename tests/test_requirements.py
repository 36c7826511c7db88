"""Rows of the requirements catalogue and the tests that carry their ids."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ID = re.compile(r"[AKNPTDFEMCIRSVWXGL]\d{1,2}(?:\.\d{1,2})?")
MARK = re.compile(r"pytest\.mark\.req\(([^)]*)\)")

# Rows that the first delivery shows.
FIRST = """
    T1 T2 T3 T4 T5 T7 T8 T9 T10 T11 T12 T13 T14 T17 T18 T20 T23 T24 T25 T26 T29 T30 T31
    F6 F8 F13 F14 F17 F18 F21 E18 E20 I2 I3 I6 I7 I10 I12 I14 I15 I17 I19 I21
    R1 R3 R9 R12 R19 R20 R24 R26 S9 S10 S11 S12 S13
    W1 W2 W3 W4 W5 W6 W7 W8 W9
""".split()


def cited_rows() -> dict[str, list[str]]:
    """Return each cited id with the test files that cite it."""
    rows: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("test_*.py")):
        for arguments in MARK.findall(path.read_text("utf-8")):
            for row in re.findall(r"[\"']([^\"']+)[\"']", arguments):
                rows.setdefault(row, []).append(path.relative_to(ROOT).as_posix())
    return rows


def test_every_cited_id_is_well_formed():
    assert [row for row in cited_rows() if not ID.fullmatch(row)] == []


def test_ids_are_cited_at_all():
    assert len(cited_rows()) >= 20


def rows_without_a_test() -> list[str]:
    """Return the rows of the first delivery that no test cites; printed at the end of every run."""
    cited = cited_rows()
    return [row for row in FIRST if row not in cited]


def test_a_row_without_a_test_is_found(monkeypatch):
    monkeypatch.setattr("tests.test_requirements.FIRST", [*FIRST, "T99"])
    assert "T99" in rows_without_a_test()
