"""Thresholds of abstention that an index sets for itself, over real generations on disk."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.index import Index, vector
from mcp_server.answering import calibration
from mcp_server.answering.abstain import DEFAULT_TEXT, Thresholds
from mcp_server.answering.calibration import (
    DRIFT,
    FILE,
    MIN_BUCKET,
    Calibrations,
    calibrate,
    changed_share,
    conformal,
    describe_drift,
    is_due,
    ks_distance,
    load,
    read_questions,
    save,
    thresholds_of,
)
from mcp_server.config import load_setup
from mcp_server.service import Service
from tests.ingest.index.support import publish, see
from tests.mcp_server.conftest import reindex

THINGS = ("invoice", "parcel", "shelf", "voucher", "refund", "courier", "basket", "ledger", "stamp", "crate")
DEEDS = ("counts", "prints", "stores", "rejects", "sorts", "signs", "archives")


def page(thing: str) -> str:
    """Return a page with one paragraph, and so one chunk, for each thing that is done."""
    others = [", ".join(o for o in THINGS if o != thing and len(o) % 2 == len(deed) % 2) for deed in DEEDS]
    parts = [
        f"The shop {deed} one {thing} for a customer beside {rest}." for deed, rest in zip(DEEDS, others, strict=True)
    ]
    return "\n\n".join(parts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    publish(data_dir, {f"docs/{thing}.md": page(thing) for thing in THINGS}, embedder=None)
    return data_dir


def set_thresholds(data_dir):
    with Index.open_current(data_dir) as index:
        return calibrate(index, see(), "2026-01-01T00:00:00Z")


@pytest.fixture(scope="module")
def made(folder):
    return set_thresholds(folder)


@pytest.mark.req("R19", "I18")
def test_an_index_asks_itself_with_the_vectors_that_serve_and_reads_no_second_copy(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    for thing in THINGS:
        for number, paragraph in enumerate(page(thing).split("\n\n")):
            (tmp_path / "docs" / f"{thing}-{number}.md").write_text(paragraph)
    service = Service(load_setup(root=tmp_path / "docs", config=None, data=tmp_path / "data", env=dict(os.environ)))
    reindex(service)
    service.warm()
    loads = []
    real = vector.load_rows
    monkeypatch.setattr(vector, "load_rows", lambda *some: loads.append(some) or real(*some))
    ((_, thresholds),) = service.calibrate(force=True)
    service.close()
    assert thresholds is not None
    assert not loads


@pytest.mark.req("R19")
def test_an_index_asks_itself_and_a_tenth_of_its_questions_lies_below_its_threshold(made):
    assert made is not None
    assert made.questions >= MIN_BUCKET
    limits = made.of("code", has_vectors=False)
    assert limits.abstain <= limits.warn
    assert limits != DEFAULT_TEXT
    assert made.of("tickets", has_vectors=False) == made.text["all"]  # too few of them: those of all


@pytest.mark.req("R23")
def test_scores_that_drift_raise_an_alarm_and_the_thresholds_follow(made, folder):
    with Index.open_current(folder) as index:
        same = calibrate(index, see(), "2026-01-02T00:00:00Z", before=made)
        assert (same.drift, same.text, describe_drift(same)) == (0.0, made.text, "")
        higher = replace(made, scores=tuple(score + 0.6 for score in made.scores))
        moved = calibrate(index, see(), "2026-01-02T00:00:00Z", before=replace(higher, text={}))
    assert moved.drift > DRIFT
    assert (moved.text, moved.scores) == (made.text, made.scores)
    assert f"drifted by {moved.drift:.2f}" in describe_drift(moved)


@pytest.mark.req("R23")
def test_thresholds_stay_when_most_of_the_questions_of_an_index_would_not_be_answered(made, folder, tmp_path):
    before = replace(made, text={"all": Thresholds(99.0, 99.5)}, scores=tuple(score + 99 for score in made.scores))
    with Index.open_current(folder) as index:
        kept = calibrate(index, see(), "2026-01-02T00:00:00Z", before=before)
    assert (kept.text, kept.scores) == (before.text, before.scores)
    assert "the former thresholds stay" in describe_drift(kept)
    save(kept, tmp_path)
    assert load(tmp_path, kept.embedder) == kept


@given(st.lists(st.floats(-9, 9), min_size=1), st.lists(st.floats(-9, 9), min_size=1))
def test_distance_of_two_samples_is_none_for_the_same_and_one_for_separate_ones(one, other):
    assert ks_distance(sorted(one), sorted(one)) == 0.0
    assert 0.0 <= ks_distance(sorted(one), sorted(other)) == ks_distance(sorted(other), sorted(one)) <= 1.0
    assert ks_distance(sorted(one), sorted(x + 20 for x in other)) == 1.0


@pytest.mark.req("R19")
def test_thresholds_are_kept_beside_the_index_until_its_weights_or_embedder_are_others(made, tmp_path):
    save(made, tmp_path)
    assert load(tmp_path, made.embedder) == made
    assert load(tmp_path, "other/embedder") is None
    raw = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**raw, "model": "older weights"}))
    assert load(tmp_path, made.embedder) is None
    kept = Calibrations()
    assert kept.of(tmp_path / "nowhere", made.embedder) is None
    save(made, tmp_path)
    assert kept.of(tmp_path, made.embedder) == made


@pytest.mark.req("R19")
def test_thresholds_are_set_anew_when_more_than_a_twentieth_of_the_chunks_changed(made, tmp_path):
    then = datetime.fromisoformat(made.made_at)
    later = then + timedelta(hours=2)

    def is_due_at(moment, known=made):
        with Index.open_current(tmp_path) as index:
            return is_due(known, index, moment)

    publish(tmp_path, {f"docs/{thing}.md": page(thing) for thing in THINGS}, embedder=None)
    assert not is_due_at(later)
    publish(tmp_path, {"docs/stamp.md": page("stamp").replace("customer", "guest", 1)}, embedder=None)
    assert not is_due_at(later)  # a single chunk
    publish(tmp_path, {"docs/stamp.md": None, "docs/crate.md": None}, embedder=None)
    assert is_due_at(later)
    assert not is_due_at(then + timedelta(minutes=5)), "to and fro between branches"
    assert is_due_at(then - timedelta(days=1)), "the clock was set back"
    assert is_due_at(then, None)
    publish(tmp_path, {f"docs/{thing}.md": None for thing in THINGS[2:]}, embedder=None)
    assert is_due_at(then + timedelta(minutes=5)), "another index"


@pytest.mark.req("R19")
def test_edits_that_are_undone_change_nothing_however_many_there_were(made, tmp_path):
    pages = {f"docs/{thing}.md": page(thing) for thing in THINGS}
    publish(tmp_path, pages, embedder=None)
    for _ in range(3):  # more than the generations that are kept: rows of the first one are collected
        publish(tmp_path, {name: text.replace("customer", "guest") for name, text in pages.items()}, embedder=None)
        publish(tmp_path, pages, embedder=None)
    with Index.open_current(tmp_path) as index:
        assert index.generation > made.generation
        assert not is_due(made, index, datetime.fromisoformat(made.made_at) + timedelta(hours=2))


IDS = st.sets(st.integers(-(1 << 62), 1 << 62), max_size=60)


@given(IDS, IDS, st.integers(1, 60))
def test_the_share_of_chunks_that_changed_is_exact_for_few_and_a_sample_of_many(before, now, limit):
    either = sorted(before | now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "SKETCHED", limit)
        share = changed_share(sorted(before)[:limit], sorted(now)[:limit])
    sample = either[:limit]
    assert share == sum(one not in before & now for one in sample) / max(1, len(sample))


def test_a_small_index_and_a_stopped_calibration_set_nothing(folder, tmp_path):
    publish(tmp_path, {"docs/stamp.md": page("stamp")}, embedder=None)
    assert set_thresholds(tmp_path) is None
    with Index.open_current(folder) as index:
        assert calibrate(index, see(), "now", go_on=lambda: False) is None
        assert len(read_questions(index, 30)) == 30
        assert read_questions(index, 30) == read_questions(index, 30)  # nothing is left to chance


@given(st.lists(st.floats(-5, 5), min_size=MIN_BUCKET, max_size=120, unique=True))
def test_at_most_a_tenth_of_the_scores_is_below_the_conformal_threshold(scores):
    below = sum(score < conformal(scores, 0.1) for score in scores)
    assert 0.1 * (len(scores) + 1) - 2 <= below <= 0.1 * (len(scores) + 1)


def test_a_bucket_with_too_few_questions_has_no_thresholds_of_its_own():
    scores = [("code", float(n)) for n in range(60)] + [("history", -9.0)] * 3
    found = thresholds_of(scores)
    assert set(found) == {"all", "code"}
    assert found["code"] == Thresholds(5.0, 11.0)
    assert thresholds_of([("code", 1.0)] * 9) == {}
