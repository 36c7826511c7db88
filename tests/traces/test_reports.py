"""Reports say what the traces say: figures counted by hand, and states that do not hide missing data."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.traces.conftest import Desk, see_all
from traces.gaps import _ABSTAINED, report_gaps
from traces.model import TraceKind
from traces.reports import (
    _DEAREST,
    percentile,
    report_costs,
    report_latency,
    report_quality,
    watch_hits,
)
from traces.rollup import bucket_ms, bucket_of
from traces.scores import make_score
from traces.store import TraceQuery

TODAY = date(2026, 11, 21)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def answer(desk: Desk, days_ago: int = 0, kind: TraceKind = "live", **values: object) -> str:
    desk.recorder._clock = lambda: NOON - timedelta(days=days_ago)
    usual = {
        "abstained": False,
        "n_claims": 4,
        "n_supported": 4,
        "n_stale": 0,
        "answer": "a",
        "ungrounded": [],
    }
    query = str(values.pop("query", f"q{values}"))
    with desk.recorder.trace(tool="answer", query=query, entry="cli", kind=kind) as trace:
        trace.set(**(usual | values))  # type: ignore[arg-type]
        with trace.span("ledger"):
            pass
    return trace.id


def panel(report: object, title: str) -> dict[str, dict[str, object]]:
    rows = report.to_dict()["panels"][title]  # type: ignore[attr-defined]
    return {next(iter(row.values())): row for row in rows}


@pytest.mark.req("M6", "M6.1", "M6.2", "M6.3", "M6.4", "M6.5", "M9", "T38")
def test_costs_by_day_model_transform_and_kind(desk: Desk) -> None:
    answer(desk, model="m1", cost_usd="0.0125", tokens_in=900, tokens_out=90, tokens_cached=100, transform="hyde")
    answer(desk, days_ago=1, model="m1", cost_usd="0.0075", tokens_in=100, tokens_out=10, transform="none")
    answer(desk, model="homemade", tokens_in=50, tokens_out=5)
    answer(desk, kind="eval", model="m1", cost_usd="1")
    answer(desk, days_ago=40, model="m1", cost_usd="100")
    answer(desk, cached=True, cache={"answer": True, "semantic": False, "embedding": None})
    with desk.store.reading() as db:
        report = report_costs(db, TODAY, daily_usd=0.015)
    models, days = panel(report, "per model"), panel(report, "daily spend")
    assert (models["m1"]["usd"], models["m1"]["queries"], models["m1"]["tokens in"]) == (0.02, 2, 1000)
    assert models["m1"]["tokens cached"] == 100
    assert (models["homemade"]["usd"], models["homemade"]["unpriced"]) == (0, 1)  # unknown is counted, not free
    assert (days["2026-11-21"]["usd"], days["2026-11-20"]["usd"], len(days)) == (0.0125, 0.0075, 2)
    assert panel(report, "per transform")["hyde"]["usd"] == 0.0125
    assert panel(report, "per kind of run")["eval"]["usd"] == 1
    caches = panel(report, "caches")
    assert (caches["answer"]["hit rate"], caches["semantic"]["hit rate"]) == (1, 0) and "embedding" not in caches
    assert report.figures["calls without a price"] == 1 and report.figures["queries"] == 4
    assert [(one.state, one.name) for one in report.monitors] == [("warn", "budget")]
    assert "0.0125 of 0.01 USD" in str(report) or "0.0125 of 0.02 USD" in str(report)


@pytest.mark.req("M15", "M19")
def test_the_dearest_queries_are_listed_with_what_they_cost_and_costs_scale_to_a_month(desk: Desk) -> None:
    cheap = answer(desk, model="m1", cost_usd="0.0100", query="cheap")
    dear = answer(desk, days_ago=3, model="m2", cost_usd="0.2000", transform="multi", query="dear " * 40)
    answer(desk, query="free")
    answer(desk, kind="eval", model="m1", cost_usd="9")
    answer(desk, days_ago=40, model="m1", cost_usd="9")
    with desk.store.reading() as db:
        report = report_costs(db, TODAY)
        plan = " ".join(str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {_DEAREST}", ("live", "", 1)))
    rows = panel(report, "dearest queries")
    assert list(rows) == [dear, cheap]
    assert (rows[dear]["usd"], rows[dear]["model"], rows[dear]["transform"]) == (0.2, "m2", "multi")
    assert str(rows[dear]["question"]).endswith("...")
    assert "trace_by_cost" in plan and "TEMP B-TREE" not in plan
    figures = report.to_dict()
    assert figures["usd per 1,000 queries"] == pytest.approx(70)
    assert figures["usd of a month, from the last 7 days"] == pytest.approx(0.21 / 7 * 30)
    assert figures["share that calls a model"] == pytest.approx(2 / 3)


@pytest.mark.req("M14")
def test_what_was_asked_in_vain_is_grouped_by_question_and_by_part(desk: Desk) -> None:
    def part(text: str, kind: str = "question") -> dict[str, object]:
        return {"kind": kind, "text": text, "verdict": "not_covered", "reason": f"'{text}' occurs nowhere."}

    for days in (2, 0):
        answer(desk, days_ago=days, query="how are refunds taxed", abstained=True, ungrounded=[part("Refunds")])
    other = answer(desk, days_ago=1, query="who pays refunds", ungrounded=[part("refunds"), part("Claim", "claim")])
    answer(desk, query="what is a cart")
    answer(desk, query="unasked", kind="eval", abstained=True, ungrounded=[part("evals")])
    answer(desk, days_ago=40, query="long ago", abstained=True, ungrounded=[part("ages")])
    with desk.store.reading() as db:
        report = report_gaps(db, TODAY)
        plan = " ".join(str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {_ABSTAINED}", ("live", "", 1)))
    questions = panel(report, "not answered")
    assert [(q["question"], q["times"], q["last"]) for q in questions.values()] == [
        ("how are refunds taxed", 2, "2026-11-21")
    ]
    terms = panel(report, "not covered")
    assert list(terms) == ["refunds"]
    assert terms["refunds"]["questions"] == 2
    assert terms["refunds"]["trace"] != other  # the latest one
    assert "trace_abstained" in plan


@pytest.mark.req("M8", "F15")
@pytest.mark.parametrize(("budget", "state"), [(0.0, "no-data"), (10.0, "ok"), (1.2, "warn"), (1.0, "alert")])
def test_budget_is_watched(desk: Desk, budget: float, state: str) -> None:
    answer(desk, model="m1", cost_usd="1.0")
    with desk.store.reading() as db:
        assert report_costs(db, TODAY, daily_usd=budget).monitors[0].state == state


@pytest.mark.req("M2", "M3")
def test_percentiles_of_the_histogram_are_those_of_the_durations(desk: Desk) -> None:
    durations = [0.002 * 1.031**n for n in range(400)]
    counts: dict[int, int] = {}
    for duration in durations:
        counts[bucket_of(duration)] = counts.get(bucket_of(duration), 0) + 1
    exact = statistics.quantiles(durations, n=100)
    for percent in (50, 90, 95, 99):
        assert percentile(counts, percent) == pytest.approx(exact[percent - 1], rel=0.06)
    assert all(bucket_ms(bucket_of(duration)) == pytest.approx(duration, rel=0.026) for duration in durations)


@pytest.mark.req("M2", "M3")
def test_latency_has_each_stage_and_what_failed(desk: Desk) -> None:
    answer(desk, bucket="conceptual", degraded=["vector_unavailable"])
    with pytest.raises(ValueError, match="x"), desk.recorder.trace(tool="answer", query="q", entry="cli"):
        raise ValueError("x")
    with desk.store.reading() as db:
        report = report_latency(db, TODAY)
    assert set(panel(report, "whole queries")) == {"total", "total:answer", "total:conceptual"}
    assert panel(report, "stages")["ledger"]["queries"] == 1
    assert panel(report, "errors")["ValueError"]["queries"] == 1
    assert panel(report, "degraded")["vector_unavailable"]["queries"] == 1
    assert (report.figures["failed"], report.figures["degraded or refused"]) == (0.5, 0.5)


@pytest.mark.req("M5", "M10", "N8", "M18")
def test_quality_by_prompt_and_generation_with_alarm_below_the_floor(desk: Desk) -> None:
    for number in range(10):
        answer(desk, prompt_id="answer", prompt_version="v2", generation=7, n_supported=3, ungrounded=[["claim"]])
        answer(desk, prompt_id="answer", prompt_version="v1", generation=6, abstained=number < 5, n_stale=1)
    with desk.store.reading() as db:
        report = report_quality(db, TODAY)
        later = report_quality(db, TODAY + timedelta(days=8))
    prompts = panel(report, "by prompt")
    assert (prompts["answer@v2"]["faithfulness"], prompts["answer@v2"]["ungrounded"]) == (0.75, 1.0)
    assert (prompts["answer@v1"]["abstained"], prompts["answer@v1"]["stale"]) == (0.5, 1.0)
    assert panel(report, "by generation")["7"]["answers"] == 10
    state = {one.name: one.state for one in report.monitors}
    assert state == {"faithfulness": "ok", "hit rate": "no-data"}  # 70 of 80 claims
    for _ in range(5):
        answer(desk, n_supported=0)
    with desk.store.reading() as db:
        assert report_quality(db, TODAY).monitors[0].state == "alert"
    assert {one.state for one in later.monitors} == {"no-data"}


@pytest.mark.req("N8", "E12")
def test_hit_rate_a_tenth_lower_than_the_week_before_is_an_alarm_that_names_what_changed(desk: Desk) -> None:
    def judge(days_ago: int, hits: int, prompt: str) -> None:
        for number in range(20):
            trace_id = answer(desk, days_ago, prompt_id="answer", prompt_version=prompt)
            at = NOON - timedelta(days=days_ago)
            value = float(number < hits)
            desk.store.add_score(make_score(trace_id, "hit", at=at, source="rule", value=value, author=str(number)))

    judge(10, 20, "v1")
    judge(2, 19, "v1")
    with desk.store.reading() as db:
        assert watch_hits(db, TODAY).state == "ok"
    judge(1, 15, "v2")
    with desk.store.reading() as db:
        monitor = watch_hits(db, TODAY)
    assert monitor.state == "alert" and "prompt answer@v2" in monitor.text


@pytest.mark.req("M4")
def test_signals_of_people_are_counted_once_a_trace(desk: Desk) -> None:
    one, other = answer(desk), answer(desk, n_stale=2)
    for label in ("down", "up", "down"):
        desk.store.add_score(make_score(one, "feedback", at=NOON, source="human", label=label, author="a"))
    desk.store.add_score(make_score(other, "escalated", at=NOON, source="human", author="a"))
    with desk.store.reading() as db:
        signals = panel(report_quality(db, TODAY), "signals")
    assert {name: row["queries"] for name, row in signals.items()} == {"escalated": 1, "feedback down": 1}


def test_report_without_a_trace_is_no_error(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    assert desk.store.find(TraceQuery(), see_all) == []
    with desk.store.reading() as db:
        for build in (report_costs, report_latency, report_quality):
            report = build(db, TODAY)
            assert "no data" in str(report) and json.dumps(report.to_dict())
