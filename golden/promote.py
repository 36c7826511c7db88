"""A failure becomes a case for good: the question of a trace, redacted, with what should have come (D5)."""

from __future__ import annotations

import re
from pathlib import Path

from golden.case import Bucket, Case, Expect, GoldenError, Tag, add_case
from ingest.access import Principal
from ingest.redact import redact
from mcp_server.service import Service
from traces.model import Trace
from traces.scores import GOLDEN, make_score

FILE = "promoted"  # the case file that promoted cases go to
WORD = re.compile(r"[a-z0-9]+")


def promote_trace(
    service: Service,
    principal: Principal,
    trace_id: str,
    folder: Path,
    *,
    bucket: Bucket,
    expect: Expect,
    corpus: str,
    note: str = "",
    case_id: str = "",
) -> tuple[Case, Path]:
    """Write a case made from a trace and keep the trace for good. Raises NotFound, GoldenError."""
    trace = service.get_trace(trace_id, principal)
    case = to_case(trace, bucket=bucket, expect=expect, corpus=corpus, note=note, case_id=case_id)
    file = add_case(case, folder, FILE)
    score = make_score(trace.summary.id, GOLDEN, at=service.now(), source="human", label=case.id)
    service.store.add_score(score)
    return case, file


def to_case(trace: Trace, *, bucket: Bucket, expect: Expect, corpus: str, note: str, case_id: str) -> Case:
    """Return a trace as a case with its filters. Raises GoldenError for a question that cannot be asked again."""
    query = redact(trace.summary.query, personal=True).text
    if trace.summary.query_chars > len(trace.summary.query):
        raise GoldenError(f"The question of trace {trace.summary.id} was stored in part only; write the case by hand.")
    arguments = trace.arguments if isinstance(trace.arguments, dict) else {}
    words = "-".join(WORD.findall(query.lower())[:5])[:40].strip("-") or "case"
    tags: tuple[Tag, ...] = ("unanswerable",) if expect.abstain is True else ()
    return Case(
        id=case_id or f"promoted-{words}-{trace.summary.id[-6:].lower()}",
        bucket=bucket,
        tags=tags,
        corpus=corpus,
        query=query,
        sources=tuple(arguments.get("sources") or ()),
        product=str(arguments.get("product") or ""),
        origin="promoted",
        trace=trace.summary.id,
        expect=expect,
        note=note,
    )
