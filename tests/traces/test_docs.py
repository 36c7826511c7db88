"""docs/traces.md says what the code does."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.traces.conftest import Desk, record_one
from traces.model import SPAN_NAMES, STATUSES
from traces.schema import APPEND_ONLY

DOCS = Path(__file__).parents[2] / "docs" / "traces.md"


def test_every_span_status_and_table_is_documented() -> None:
    text = DOCS.read_text()
    missing = [name for name in (*SPAN_NAMES, *STATUSES, *APPEND_ONLY, "trace_fts") if f"`{name}`" not in text]
    assert missing == []


def test_every_documented_query_runs(desk: Desk, path: Path) -> None:
    record_one(desk)
    desk.store.flush()
    block = re.search(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block is not None
    statements = [part for part in block[1].split(";") if part.strip()]
    assert len(statements) == 6
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()
