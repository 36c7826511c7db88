"""The worker: what the job table wants gets indexed, whatever is killed, fails or comes in between."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from ingest import audit
from ingest import worker as worker_module
from ingest.build import build_index
from ingest.config import IndexConfig, SourceConfig, UpkeepConfig
from ingest.errors import DiskFull, SourceError
from ingest.index import Index, control, jobs
from ingest.index.beacon import WorkerLock, is_worked, read_state
from ingest.index.invariants import check_invariants
from ingest.model import Filters
from ingest.worker import Order, Target, Worker
from tests.ingest.waiting import PATIENCE_S, wait_until


class Clock:
    """A wall clock that a test sets."""

    def __init__(self):
        self.now = datetime(2026, 11, 21, tzinfo=UTC)

    def __call__(self):
        return self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def advance(self, **more):
        self.now += timedelta(**more)


@pytest.fixture
def code(tmp_path):
    return make_folder(tmp_path / "code", "alpha")


def make_folder(root, *names):
    root.mkdir()
    for name in names:
        (root / f"{name}.py").write_text(f"def {name}():\n    return 1\n")
    return root


def folder(root, name="code", **more):
    return SourceConfig(name=name, type="folder", path=root, **more)


class Builds:
    """Real builds, with a record of what was asked for and a place to fail or wait."""

    def __init__(self, clock):
        self.clock, self.orders, self.before = clock, [], lambda target, order: None
        self.changed = threading.Condition()

    def __call__(self, target: Target, order: Order):
        self.before(target, order)
        try:
            return build_index(
                target.sources,
                IndexConfig(workers=1),
                None,
                target.data_dir,
                now=self.clock(),
                trigger=order.trigger,
                only=order.only,
                seen=order.seen,
                rehash=order.rehash,
                skip_failing=True,
            )
        finally:
            with self.changed:
                self.orders.append(order)
                self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            return self.changed.wait_for(lambda: condition(self.orders), timeout=PATIENCE_S)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def builds(clock):
    return Builds(clock)


def make_worker(tmp_path, builds, *sources, watch=False, **upkeep):
    data = tmp_path / "data"
    target = Target("", sources, data)
    return Worker(data, [target], builds, builds.clock, upkeep=UpkeepConfig(**upkeep), debounce_ms=20, watch=watch)


def names(data, *sources):
    filters = Filters(groups=frozenset({"local"}), sources=frozenset(sources or ("code",)))
    with Index.open_current(data) as index:
        return {name for name in ("alpha", "beta", "gamma") if index.find_symbol(name, filters, loose=False)}


@pytest.fixture
def running(tmp_path, builds, code):
    """A worker that watches, after its first build."""
    worker = make_worker(tmp_path, builds, folder(code), watch=True)
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert builds.wait(lambda orders: len(orders) >= 1)
    yield worker
    worker.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_an_idle_worker_says_that_it_lives_and_writes_seldom(running, monkeypatch):
    said = []
    monkeypatch.setattr(worker_module, "write_state", lambda folder, state: said.append(state))
    assert wait_until(lambda: len(said) >= 2)
    started = len(said)
    time.sleep(1.5)
    assert len(said) - started <= 2, "a disk need not wake five times a second"


@pytest.mark.req("I4")
def test_after_the_machine_slept_every_file_is_looked_at(tmp_path, running, builds, code, monkeypatch):
    (code / "beta.py").write_text("def beta():\n    return 2\n")
    assert builds.wait(lambda orders: orders[-1].trigger == "watch")
    monkeypatch.setattr(worker_module, "awake_for", lambda: 3600.0)
    assert builds.wait(lambda orders: orders[-1].trigger == "wake")
    assert builds.orders[-1].only == {"code"}
    assert builds.orders[-1].seen is None or "code" not in builds.orders[-1].seen.paths  # nothing is known: all is read


@pytest.mark.req("I1", "I4")
def test_an_edit_is_built_and_its_events_are_done(tmp_path, running, builds, code):
    (code / "beta.py").write_text("def beta():\n    return 2\n")
    data = tmp_path / "data"
    assert wait_until(lambda: "beta" in names(data))
    assert wait_until(lambda: not any(job.is_due for job in jobs.read_work(data).jobs))
    (job,) = jobs.read_work(data).jobs
    assert (job.trigger, job.attempts, job.reason) == ("watch", 0, "")
    assert job.indexed_head == job.wanted_head
    assert builds.orders[-1].seen is not None  # only what changed was looked at


@pytest.mark.req("I1")
def test_a_killed_build_is_done_again(tmp_path, builds, code):
    """Its event stays in the job table: what is indexed moves only with the pointer."""

    def die(target, order):
        raise KeyboardInterrupt

    builds.before = die
    with pytest.raises(KeyboardInterrupt):
        make_worker(tmp_path, builds, folder(code)).run(once=True)
    (job,) = jobs.read_work(tmp_path / "data").jobs
    assert job.is_due
    builds.before = lambda target, order: None
    assert make_worker(tmp_path, builds, folder(code)).run(once=True)
    assert names(tmp_path / "data") == {"alpha"}
    assert not jobs.read_work(tmp_path / "data").jobs[0].is_due


@pytest.mark.req("I1")
def test_events_during_a_build_make_one_more_build(tmp_path, builds, code):
    data = tmp_path / "data"

    def edit(target, order):
        if not builds.orders:
            (code / "beta.py").write_text("def beta():\n    return 2\n")
            with jobs.connect_jobs(data) as db:
                for _ in range(50):
                    jobs.want(db, "code", "hook", builds.clock())

    builds.before = edit
    assert make_worker(tmp_path, builds, folder(code)).run(once=True)
    assert len(builds.orders) == 1  # the fifty came before its sources were read
    with jobs.connect_jobs(data) as db:
        jobs.want(db, "code", "hook", builds.clock())
        assert [job.trigger for job in jobs.due_jobs(db, {"code"}, builds.clock())] == ["hook"]


@pytest.mark.req("I1")
def test_an_event_that_another_process_counts_during_a_build_is_looked_at_by_the_same_worker(tmp_path, builds, code):
    """It says no path: everything is looked at."""
    data = tmp_path / "data"

    class LateEdit(Builds):
        def __call__(self, target, order):
            report = super().__call__(target, order)
            if len(self.orders) == 1:
                (code / "beta.py").write_text("def beta():\n    return 2\n")
                with jobs.connect_jobs(data) as db:
                    jobs.want(db, "code", "hook", self.clock())
            return report

    late = LateEdit(builds.clock)
    assert make_worker(tmp_path, late, folder(code)).run(once=True)
    assert len(late.orders) == 2
    assert names(data) == {"alpha", "beta"}


@pytest.mark.req("I1", "I4")
def test_a_change_that_is_told_while_a_build_is_about_to_begin_is_not_lost(tmp_path, running, builds, code):
    """The build takes in its event, which is counted by then, but was not told its path."""

    def edit(target, order):
        if order.trigger == "watch" and not (code / "gamma.py").exists():
            (code / "gamma.py").write_text("def gamma():\n    return 3\n")
            assert wait_until(lambda: running._known[0].paths.get("code"))

    builds.before = edit
    (code / "alpha.py").write_text("def alpha():\n    return 2\n")
    assert wait_until(lambda: names(tmp_path / "data") == {"alpha", "gamma"})


@pytest.mark.req("I16", "M11")
def test_a_source_that_is_gone_does_not_hold_up_the_others(tmp_path, builds, code, clock):
    other = make_folder(tmp_path / "other", "gamma")
    sources = (folder(code), folder(other, "other"))
    make_worker(tmp_path, builds, *sources).run(once=True)
    other.rename(tmp_path / "elsewhere")
    (code / "beta.py").write_text("def beta():\n    return 2\n")
    assert not make_worker(tmp_path, builds, *sources).run(once=True)
    data = tmp_path / "data"
    assert names(data, "code", "other") == {"alpha", "beta", "gamma"}
    failing = {job.source: job for job in jobs.read_work(data).jobs}["other"]
    assert failing.is_due
    assert (failing.attempts, "does not exist" in failing.reason) == (1, True)
    with jobs.connect_jobs(data) as db:
        assert jobs.due_jobs(db, {"other"}, clock()) == []  # it waits a second first
        clock.advance(seconds=2)
        assert [job.source for job in jobs.due_jobs(db, {"other"}, clock())] == ["other"]
        clock.advance(days=-400)  # the clock is set back: nothing waits for years
        assert [job.source for job in jobs.due_jobs(db, {"other"}, clock())] == ["other"]


@pytest.mark.req("I16")
def test_repeated_failures_back_off_and_end_on_the_list_for_people(tmp_path, builds, code, clock):
    def fail(target, order):
        raise DiskFull("No space left.")

    builds.before = fail
    delays = []
    for _ in range(jobs.DEAD_ATTEMPTS):
        assert not make_worker(tmp_path, builds, folder(code)).run(once=True)
        (job,) = jobs.read_work(tmp_path / "data").jobs
        delays.append((jobs.parse_time(job.retry_at) - clock.now).total_seconds())
    assert delays == [1, 2, 4, 8, 16, 32]
    assert job.is_dead
    assert job.reason == "No space left."


@pytest.mark.req("I1", "R11")
def test_a_second_worker_stands_by_until_the_first_ends(tmp_path, builds, code):
    data = tmp_path / "data"
    data.mkdir()
    first = WorkerLock(data)
    assert first.acquire()
    assert is_worked(data)
    second = make_worker(tmp_path, builds, folder(code))
    assert second.run(once=True)  # leaves the work to the first
    assert not builds.orders
    thread = threading.Thread(target=second.run)
    thread.start()
    assert not builds.orders
    first.release()
    assert builds.wait(lambda orders: orders)
    assert wait_until(lambda: (state := read_state(data)) is not None and state.stage == "")
    second.stop()
    thread.join(PATIENCE_S)
    assert not is_worked(data)


@pytest.mark.req("I1")
def test_what_is_edited_does_not_wait_for_the_rest(tmp_path, builds, code):
    other = make_folder(tmp_path / "other", "gamma")
    sources = (folder(code), folder(other, "other"))
    worker = make_worker(tmp_path, builds, *sources)
    worker.run(once=True)
    worker = make_worker(tmp_path, builds, *sources)
    with jobs.connect_jobs(tmp_path / "data") as db:
        jobs.want(db, "other", "poll", builds.clock(), priority=0)
        jobs.want(db, "code", "watch", builds.clock(), priority=2)
        due = jobs.due_jobs(db, {"code", "other"}, builds.clock())
    assert [job.source for job in due] == ["code", "other"]


@pytest.mark.req("I5")
def test_the_sweep_finds_what_no_event_told_of(tmp_path, code, clock):
    """A file whose content changed although size and time stamp are the same."""
    data = tmp_path / "data"
    file = code / "alpha.py"
    build_index([folder(code)], IndexConfig(workers=1), None, data, now=clock())
    before = file.stat()
    with open(file, "r+b") as open_file:
        open_file.write(b"def gamma")
    import os

    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    swept = build_index([folder(code)], IndexConfig(workers=1), None, data, now=clock(), trigger="sweep", rehash=True)
    assert [(s.changed, s.unchanged) for s in swept.sources] == [(1, 0)]
    assert names(data) == {"gamma"}


@pytest.mark.req("I16")
def test_a_file_that_fails_is_tried_again_later_and_given_up_in_the_end(tmp_path, code, clock, monkeypatch):
    """Its content decides: another one is tried at once."""
    data = tmp_path / "data"
    tried = []

    def explode(job, **options):
        tried.append(job.entry.path)
        raise RecursionError("too deep")

    monkeypatch.setattr("ingest.executor.prepare_file", explode)

    def build(**options):
        tried.clear()
        build_index([folder(code)], IndexConfig(workers=1), None, data, now=clock(), **options)
        return list(tried)

    assert build() == ["alpha.py"]
    assert build() == []  # not yet
    for _ in range(jobs.DEAD_ATTEMPTS - 1):
        clock.advance(hours=2)
        assert build() == ["alpha.py"]
    clock.advance(days=3)
    assert build() == []  # given up...
    (letter,) = jobs.read_work(data).letters
    assert (letter.path, letter.reason, letter.is_dead) == ("alpha.py", "parse_killed", True)
    assert build(retry_failed=True) == ["alpha.py"]  # ...until somebody asks
    (code / "alpha.py").write_text("def beta():\n    return 2\n")
    assert build() == ["alpha.py"]  # ...or it changes
    monkeypatch.undo()
    clock.advance(hours=2)
    build_index([folder(code)], IndexConfig(workers=1), None, data, now=clock())
    assert names(data) == {"beta"}
    assert jobs.read_work(data).letters == ()


@pytest.mark.req("I8", "F19")
def test_every_build_is_in_the_audit_trail_with_who_what_and_why(tmp_path, code, clock):
    data = tmp_path / "data"

    def build(**options):
        return build_index([folder(code)], IndexConfig(workers=1), None, data, now=clock(), **options)

    build(trigger="cli")
    build(trigger="poll")
    code.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError):
        build(trigger="watch")
    records = [json.loads(row.detail) for row in audit.show(data) if row.event == "build"][::-1]
    assert [(r["trigger"], r["result"]) for r in records] == [
        ("cli", "published"),
        ("poll", "unchanged"),
        ("watch", "failed"),
    ]
    assert "does not exist" in records[2]["reason"]
    (source,) = records[0]["sources"]
    assert (source["name"], source["new"], source["revision"] != "") == ("code", 1, True)
    assert "pid" in records[0]["actor"]
    (row,) = audit.show(data, "alpha.py")
    assert row.event == "added"
    verdict = audit.verify(data)
    assert (verdict.broken_row, verdict.rows) == (None, 5)


@pytest.mark.req("I7", "I5")
def test_the_scrub_takes_a_damaged_generation_out_of_use_and_it_is_built_again(
    tmp_path, builds, code, clock, monkeypatch
):
    """A bit that rotted in a large file, which nobody reads when an index is opened."""
    monkeypatch.setattr("ingest.index.files.EAGER_BYTES", -1)  # every file counts as large
    data = tmp_path / "data"
    for name in ("beta", "gamma"):
        (code / f"{name}.py").write_text(f"def {name}():\n    return 2\n")
        build_index([folder(code)], IndexConfig(workers=1), None, data, now=clock())
    worker = make_worker(tmp_path, builds, folder(code), scrub_h=0.001)
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert builds.wait(lambda orders: orders)
    assert wait_until(lambda: read_check(data, "scrub") is not None)
    damaged = data / "gens" / "2"
    file = max(damaged.rglob("*.store"), key=lambda path: path.stat().st_mtime_ns)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.unlink()  # the older generation keeps its own link
    file.write_bytes(raw)
    clock.advance(hours=1)
    assert wait_until(lambda: len(builds.orders) > 1)
    worker.stop()
    thread.join(PATIENCE_S)
    assert not (damaged / "MANIFEST.json").exists()
    assert check_invariants(data) == []
    assert names(data) == {"alpha", "beta", "gamma"}
    found = read_check(data, "scrub")
    assert found is not None
    assert found[1]["damaged"] == [2]


def read_check(data, name):
    with jobs.connect_jobs(data) as db:
        return control.read_check(db, name)
