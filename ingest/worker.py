"""The worker: takes events into the job table, and builds what is due, beside whoever serves.

All work is the difference between what the job table wants and what is indexed, so it can be killed at any point. One
worker lives per data directory; another one stands by.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ingest.build import BuildReport, Progress, Seen
from ingest.config import SourceConfig, UpkeepConfig
from ingest.errors import DiskFull, IndexGone, IndexStateError, IngestError, PublishRefused, SourceError, WriterBusy
from ingest.gitio import find_repository
from ingest.index import control, jobs
from ingest.index.beacon import FETCHING, WorkerLock, WorkerState, write_state
from ingest.index.generation import quarantine
from ingest.index.invariants import check_settled
from ingest.sources.opening import fetch_source
from ingest.watch import Watcher

TICK_S = 0.1  # how often it is looked for events of other processes
STAND_BY_S = 0.5
SAY_S = 0.2  # between two words on progress
ALIVE_S = 2.0  # between two words where there is nothing new: that one lives
FULL_S = 1.0, 30.0  # a full disk is left alone, at first and at most: each look at it may be a whole build
SLEPT_S = 5.0  # the machine was suspended for longer: events may be lost
EDITED, ASKED, POLLED = 2, 1, 0  # priorities


@dataclass(frozen=True, slots=True)
class Target:
    """One index that is kept up to date."""

    name: str
    sources: tuple[SourceConfig, ...]
    data_dir: Path


@dataclass(frozen=True, slots=True)
class Order:
    """What one build has to do."""

    trigger: str
    only: frozenset[str]
    seen: Seen | None
    rehash: bool
    may_ask: bool  # sources elsewhere; else what was fetched of them is read
    progress: Callable[[Progress], None]


class Build(Protocol):
    """Brings one index up to date. Raises IngestError."""

    def __call__(self, target: Target, order: Order) -> BuildReport: ...


@dataclass(slots=True)
class _Known:
    """What a worker remembers of one index between builds; losing it costs a walk."""

    target: Target
    db: sqlite3.Connection
    place: tuple[int, int] | None  # of its control.db: a connection outlives the removal of its file
    paths: dict[str, frozenset[str] | None] = field(
        default_factory=dict
    )  # changed since the last build; None = unknown
    taken: dict[str, frozenset[str] | None] = field(default_factory=dict)  # those of the build that runs
    fetched: dict[str, int] = field(default_factory=dict)  # sources to build -> events counted when it was begun
    fetching: set[str] = field(default_factory=set)
    built: int | None = None  # generation of the last build, if it succeeded
    sweeping: set[str] = field(default_factory=set)


class Worker:
    """Runs until stopped. `build` does the work, `fetch` what of it needs another machine, `utc_now` tells the time.

    Sources elsewhere are fetched one beside the other and beside the builds, however long they take to answer.
    `at_leisure` is called whenever there is nothing to do, for what the next build would wait for; `tell` is told of a
    disk that is full.
    """

    def __init__(
        self,
        data_dir: Path,
        targets: Sequence[Target],
        build: Build,
        utc_now: Callable[[], str],
        *,
        upkeep: UpkeepConfig,
        debounce_ms: int,
        watch: bool,
        fetch: Callable[[SourceConfig, Path], None] = fetch_source,
        at_leisure: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._data_dir = data_dir
        self._targets = targets
        self._build = build
        self._fetch = fetch
        self._now = utc_now
        self._upkeep = upkeep
        self._debounce_ms = debounce_ms
        self._watches = watch
        self._at_leisure = at_leisure
        self._tell = tell
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()  # of what the watching thread and the building one both change
        self._asks_first = False  # sources elsewhere are fetched before they are built, not in the build
        self._known: list[_Known] = []
        self._state = WorkerState(pid=os.getpid())
        self._said = 0.0
        self._told: WorkerState | None = None  # what was said last
        self._found: dict[str, str] = {}  # check -> what it found
        self._trouble: IngestError | None = None  # that a build or the watching thread ran into, for the main loop
        self._pause_s = 0.0  # before a full disk is tried again; 0 = the disk is not full

    def stop(self) -> None:
        """Stop after the running build."""
        self._stopped.set()
        self._wake.set()

    # -- running ---------------------------------------------------------------------------------------------------

    def run(self, *, once: bool = False, held: WorkerLock | None = None) -> bool:
        """Work until stopped, or `once` until nothing is due; tell whether every source could be built.

        Stands by while another worker of the data directory lives; `once` leaves the work to that one. `held`: the
        lock, where the caller has it already.
        Raises IndexGone when the data directory was removed, moved or replaced.
        """
        self._data_dir.mkdir(parents=True, exist_ok=True)
        lock = held or WorkerLock(self._data_dir)
        while lock is not held and not lock.acquire():
            if once or self._stopped.wait(STAND_BY_S):
                return True
        try:
            with ExitStack() as stack:
                self._open(stack)
                return self._work_once() if once else self._work(stack)
        except Exception as error:
            self._require_place(error)
            raise
        finally:
            lock.release()

    def _open(self, stack: ExitStack) -> None:
        for target in self._targets:
            db = stack.enter_context(closing(jobs.connect_jobs(target.data_dir)))
            jobs.forget(db, [source.name for source in target.sources])
            self._known.append(_Known(target, db, control.find_place(target.data_dir)))

    def _require_place(self, cause: Exception | None = None) -> None:
        """Raise IndexGone unless every index that this worker opened lies where it lay."""
        for known in self._known:
            if control.find_place(known.target.data_dir) != known.place:
                raise IndexGone(
                    f"The index in {known.target.data_dir} was removed, moved or replaced while this worker kept it up "
                    "to date, so the worker ends. A server starts another one by itself once an index is there again."
                ) from cause

    def _work_once(self) -> bool:
        self.want("start", None)
        good = True
        while (
            work := [(known, due) for known in self._known if (due := self._due(known))]
        ) and not self._stopped.is_set():
            for known, due in work:
                self._put_back(known, frozenset(job.source for job in due))  # what others counted came without paths
                good = self._build_due(known, due) and good
        self._say(force=True)
        return good

    def _work(self, stack: ExitStack) -> bool:
        self._asks_first = True
        schedule = _Schedule(self._upkeep, polls_all=not self._watches)
        if self._watches:
            sources = {source.name: source for target in self._targets for source in target.sources}
            watcher = Watcher(
                list(sources.values()), self._hear, debounce_ms=self._debounce_ms, first=True, avoid=self._data_dir
            )
            watcher.start()
            stack.callback(watcher.stop)
        else:
            watcher = None
            self.want("start", None)
        while not self._stopped.is_set():
            try:
                self._require_place()
                self._work_step(schedule, watcher)
            except DiskFull as problem:
                self._wait_for_space(problem)
        return True

    def _work_step(self, schedule: _Schedule, watcher: Watcher | None) -> None:
        """Take in what time and other threads bring, and build what is due."""
        self._raise_trouble()
        if self._pause_s:
            self.want("space", None)  # no event was counted while the disk was full
        if watcher is not None:
            self._state = replace(self._state, watching=watcher.mode)
            self._note("watch", watcher.problem)
        self._keep_up(schedule)
        if self._work_round():
            self._has_space()
        else:
            self._at_leisure()
            fetching = sorted(name for known in self._known for name in known.fetching)
            self._state = replace(self._state, stage=FETCHING if fetching else "", source=", ".join(fetching))
            self._say()
            self._wake.wait(TICK_S)
            self._wake.clear()

    def _wait_for_space(self, problem: DiskFull) -> None:
        """Say that the disk is full, once, and leave it alone for a while."""
        if not self._pause_s:
            sentence = (
                f"The disk of {self._data_dir} is full, so changes are not indexed. Free some space; the worker goes "
                f"on by itself. ({problem})"
            )
            self._state = replace(self._state, disk_full=sentence)
            self._tell(sentence)
        self._state = replace(self._state, stage="", source="", done=0, total=0)
        self._pause_s = min(FULL_S[1], 2 * self._pause_s or FULL_S[0])
        self._say(force=True)
        self._stopped.wait(self._pause_s)

    def _has_space(self) -> None:
        """Note that no build of a round ran into a full disk."""
        if self._pause_s and not isinstance(self._trouble, DiskFull):
            self._pause_s = 0.0
            self._state = replace(self._state, disk_full="")

    def _work_round(self) -> bool:
        """Build what is due in every index; tell whether there was anything."""
        worked = False
        for known in self._known:
            due = self._due(known)
            if due and not self._stopped.is_set():
                self._build_due(known, due)
                worked = True
        return worked

    # -- events ----------------------------------------------------------------------------------------------------

    def want(self, trigger: str, paths: frozenset[str] | None) -> None:
        """Count an event of each source that the changed paths (None: unknown) belong to."""
        for known in self._known:
            for source in known.target.sources:
                seen = paths_of(source, paths) if paths is not None else None
                if seen is not None and not seen and trigger == "watch":
                    continue
                with self._lock:
                    before = known.paths.get(source.name, frozenset())
                    known.paths[source.name] = None if seen is None or before is None else before | seen
                self._want(known, source.name, trigger, EDITED if trigger == "watch" else ASKED)
        self._wake.set()

    def _hear(self, trigger: str, paths: frozenset[str] | None) -> None:
        """Count what the watching thread saw; what prevents it is raised where the work is done."""
        try:
            self.want(trigger, paths)
        except IngestError as problem:
            self._trouble = problem
            self._wake.set()

    def _raise_trouble(self) -> None:
        problem, self._trouble = self._trouble, None
        if problem is not None:
            raise problem

    def _want(self, known: _Known, source: str, trigger: str, priority: int) -> None:
        with self._lock, control.translated(known.target.data_dir / control.CONTROL):
            jobs.want(known.db, source, trigger, self._now(), priority=priority)

    def _due(self, known: _Known) -> list[jobs.Job]:
        """Return the most urgent jobs that can be worked on now: what is being edited does not wait for the rest."""
        with self._lock, control.translated(known.target.data_dir / control.CONTROL):
            due = jobs.due_jobs(known.db, {source.name for source in known.target.sources}, self._now())
        due = [job for job in due if self._is_here(known, job)]
        return [job for job in due if job.priority == due[0].priority]

    # -- sources elsewhere -------------------------------------------------------------------------------------------

    def _is_here(self, known: _Known, job: jobs.Job) -> bool:
        """Tell whether all that a job needs is on this machine; start to fetch what is not."""
        source = next(source for source in known.target.sources if source.name == job.source)
        if not (source.is_away and self._asks_first) or source.name in known.fetched:
            return True
        if source.name not in known.fetching:
            known.fetching.add(source.name)
            threading.Thread(target=self._fetch_one, args=(known, source, job.wanted), daemon=True).start()
        return False

    def _fetch_one(self, known: _Known, source: SourceConfig, events: int) -> None:
        """Fetch what is new of a source and have it built, or count the failure against it."""
        try:
            problem = self._try_to_fetch(known, source)
            if self._stopped.is_set():
                return
            if problem:
                self._fail(known, frozenset({source.name}), problem)
            elif self._read_jobs(known)[source.name].is_due:
                known.fetched[source.name] = events
            else:  # another process built meanwhile, without what is here now
                self._want(known, source.name, "poll", POLLED)
        except IngestError as trouble:  # nothing can be written down
            self._trouble = trouble
        finally:
            known.fetching.discard(source.name)
            self._wake.set()

    def _try_to_fetch(self, known: _Known, source: SourceConfig) -> str:
        """Return why nothing could be fetched, "" where it could."""
        try:
            self._fetch(source, known.target.data_dir)
        except Exception as problem:  # as for a build: whatever it was, it is told and tried again
            return describe_problem(problem)
        return ""

    def _fetch_again(self, known: _Known, fetched: Mapping[str, int]) -> None:
        """Count an event of each source of which a build took in events that came after it was begun to be fetched."""
        indexed = {name: job.indexed for name, job in self._read_jobs(known).items()} if fetched else {}
        for name, events in fetched.items():
            if indexed[name] > events:
                self._want(known, name, "poll", POLLED)

    def _read_jobs(self, known: _Known) -> dict[str, jobs.Job]:
        with self._lock, control.translated(known.target.data_dir / control.CONTROL):
            return {job.source: job for job in jobs.read_jobs(known.db)}

    def _keep_up(self, schedule: _Schedule) -> None:
        """Count the events that time brings: polls, retries, sweeps, scrubs, the end of a machine's sleep."""
        if schedule.has_slept():
            self.want("wake", None)
        for known in self._known:
            for source in known.target.sources:
                if schedule.is_poll_due(known.target, source):
                    with self._lock:
                        known.paths[source.name] = None
                    self._want(known, source.name, "poll", POLLED)
            self._retry_letters(known, schedule)
            if schedule.is_due("sweep", known, self._now()):
                known.sweeping = {source.name for source in known.target.sources if not source.is_live}
                for name in sorted(known.sweeping):
                    self._want(known, name, "sweep", POLLED)
            if schedule.is_due("scrub", known, self._now()):
                self._scrub(known)

    def _retry_letters(self, known: _Known, schedule: _Schedule) -> None:
        """Try entries again whose time has come."""
        if not schedule.looks_for_letters():
            return
        now = self._now()
        with self._lock:
            letters = jobs.read_letters(known.db)
        for name in sorted({one.source for one in letters if not one.is_dead and not jobs.is_ahead(one.retry_at, now)}):
            owner = next((s for s in known.target.sources if name in (s.name, f"{s.name}.history")), None)
            if owner is not None:
                with self._lock:
                    known.paths[owner.name] = None
                self._want(known, owner.name, "retry", POLLED)

    # -- building --------------------------------------------------------------------------------------------------

    def _build_due(self, known: _Known, due: Sequence[jobs.Job]) -> bool:
        """Build the sources of some jobs, and tell whether all of them could be.

        A failure counts against them and the last generation keeps serving.
        """
        names = frozenset(job.source for job in due)
        taken = self._take_paths(known, names)
        fetched = {name: known.fetched.pop(name) for name in names & known.fetched.keys()}
        seen = None
        if known.built is not None:
            seen = Seen({name: paths for name, paths in taken.items() if paths is not None}, known.built)
        rehash = bool(known.sweeping & names)
        self._state = replace(self._state, stage="reading")
        self._say(force=True)
        error: Exception | None = None
        left_out: frozenset[str] = frozenset()
        try:
            order = Order(due[0].trigger, names, seen, rehash, not self._asks_first, self._show)
            report = self._build(known.target, order)
            left_out = names & report.left_out.keys()
            self._after(known, names, report)
            self._fetch_again(known, fetched)
        except WriterBusy as problem:  # `codecairn index` by hand: it takes in the same events
            error = problem
            self._put_back(known, names)
            self._fail(known, names, str(problem))
        except Exception as problem:  # a worker outlives whatever one build ran into
            error = problem
            known.built = None
            self._put_back(known, names)
            if isinstance(problem, DiskFull):
                self._trouble = problem
            self._fail(known, self._guilty(problem, names), describe_problem(problem))
        known.taken = {}
        self._state = replace(
            self._state, stage="", source="", done=0, total=0, error=describe_problem(error) if error else ""
        )
        self._say(force=True)
        return error is None and not left_out

    def _take_paths(self, known: _Known, names: frozenset[str]) -> dict[str, frozenset[str] | None]:
        with self._lock:
            taken = {name: known.paths.pop(name, frozenset()) for name in names}
            taken |= {source.name: None for source in known.target.sources if source.is_remote and source.name in names}
            known.taken = taken
        return taken

    def _put_back(self, known: _Known, names: frozenset[str]) -> None:
        with self._lock:
            known.paths.update(dict.fromkeys(names))

    def _after(self, known: _Known, names: frozenset[str], report: BuildReport) -> None:
        known.built = report.manifest.generation
        if report.left_out:
            self._put_back(known, frozenset(report.left_out))
            for name in names & report.left_out.keys():  # others were opened with them, and wait for their own turn
                self._fail(known, frozenset({name}), report.left_out[name])
        if known.sweeping & names:
            swept = [s for s in report.sources if s.name in known.sweeping]
            known.sweeping -= names
            drift = {s.name: s.new + s.changed + s.deleted for s in swept}
            files = {s.name: s.new + s.changed + s.deleted + s.unchanged for s in swept}
            self._remember(known, "sweep", {"drift": drift, "files": files})
        with self._lock:
            late = [
                name for name in names - report.left_out.keys() if known.paths.get(name, frozenset()) != frozenset()
            ]
        # A build takes in all events that were counted when it began. The path of one that came after the paths were
        # taken and before that was not looked at: it is counted once more, which costs nothing where it still waits.
        for name in late:
            self._want(known, name, "watch", EDITED)

    @staticmethod
    def _guilty(problem: Exception, names: frozenset[str]) -> frozenset[str]:
        """Return the sources that a failure counts against: one that would shrink does not hold up the others."""
        source = problem.source.removesuffix(".history") if isinstance(problem, PublishRefused) else ""
        return frozenset({source}) if source in names else names

    def _fail(self, known: _Known, names: frozenset[str], reason: str) -> None:
        with self._lock, control.translated(known.target.data_dir / control.CONTROL):
            jobs.fail(known.db, names, reason, self._now())

    def _show(self, progress: Progress) -> None:
        self._state = replace(
            self._state, stage=progress.stage, source=progress.source, done=progress.done, total=progress.total
        )
        self._say()

    def _say(self, *, force: bool = False) -> None:
        """Tell the world what is being done, not too often."""
        with self._lock:
            waiting = [paths for one in self._known for paths in (*one.taken.values(), *one.paths.values())]
        self._state = replace(self._state, problems=tuple(self._found.values()), behind=count_behind(waiting))
        pause = ALIVE_S if self._state == self._told else SAY_S
        if not force and time.monotonic() - self._said < pause:
            return
        self._said, self._told = time.monotonic(), self._state
        try:
            write_state(self._data_dir, self._state)
        except DiskFull as problem:  # in the middle of a build, which may need no space
            self._trouble = problem

    def _note(self, check: str, found: str) -> None:
        if found:
            self._found[check] = found
        else:
            self._found.pop(check, None)

    # -- upkeep ----------------------------------------------------------------------------------------------------

    def _remember(self, known: _Known, check: str, found: Mapping[str, object]) -> None:
        with self._lock, control.translated(known.target.data_dir / control.CONTROL):
            control.write_check(known.db, check, self._now(), found)

    def _scrub(self, known: _Known) -> None:
        """Compare every file and id of the current generation with what was published; take damaged ones out of use."""
        self._state = replace(self._state, stage="checking")
        self._say(force=True)
        violations = check_settled(known.target.data_dir)
        damaged: list[int] = []
        if violations:
            try:
                damaged = quarantine(known.target.data_dir)
            except (WriterBusy, IndexStateError) as problem:
                self._note("quarantine", str(problem))
            else:
                self._note("quarantine", "")
        if damaged:
            known.built = None
            self.want("scrub", None)
        found = "; ".join(map(str, violations))
        self._note(f"scrub {known.target.name}", f"The stored index is damaged: {found[:500]}" if found else "")
        self._remember(known, "scrub", {"violations": len(violations), "damaged": damaged})
        self._state = replace(self._state, stage="")


class _Schedule:
    """When what is due by time alone. In memory by a clock that only runs forward; sweeps and scrubs are remembered."""

    def __init__(self, upkeep: UpkeepConfig, *, polls_all: bool) -> None:
        self._upkeep = upkeep
        self._polls_all = polls_all
        self._polled: dict[tuple[str, str], float] = {}
        self._letters = time.monotonic()
        self._awake = awake_for()
        self._checked: dict[tuple[str, str], float] = {}

    def has_slept(self) -> bool:
        """Tell whether the machine was suspended since the last look."""
        before, self._awake = self._awake, awake_for()
        return self._awake - before > SLEPT_S

    def is_poll_due(self, target: Target, source: SourceConfig) -> bool:
        """Tell whether a source that tells nothing by itself is to be asked again. The first build asks anyway."""
        if not (source.is_polled or self._polls_all):
            return False
        key, now = (target.name, source.name), time.monotonic()
        if now - self._polled.setdefault(key, now) < self._upkeep.poll_s:
            return False
        self._polled[key] = now
        return True

    def looks_for_letters(self) -> bool:
        """Tell whether to look for entries whose time to be tried again has come."""
        now = time.monotonic()
        if now - self._letters < min(30.0, self._upkeep.poll_s):
            return False
        self._letters = now
        return True

    def is_due(self, check: str, known: _Known, now: str) -> bool:
        """Tell whether a daily check is due; a fresh index waits its full turn."""
        hours = self._upkeep.sweep_h if check == "sweep" else self._upkeep.scrub_h
        key, moment = (known.target.name, check), time.monotonic()
        if not hours or moment - self._checked.get(key, -60.0) < min(60.0, hours * 900):
            return False
        self._checked[key] = moment
        with control.translated(known.target.data_dir / control.CONTROL):
            last = control.read_check(known.db, check)
            if last is None:
                control.write_check(known.db, check, now, {})
                return False
        age_s = (jobs.parse_time(now) - jobs.parse_time(last[0])).total_seconds()
        return age_s >= hours * 3600 or age_s < -3600  # the clock was set back: the last check lies in the future


def awake_for() -> float:
    """Return the seconds that the machine was suspended since it started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def paths_of(source: SourceConfig, paths: frozenset[str]) -> frozenset[str]:
    """Return the changed paths that belong to a source: below its folder, or in its repository's git folder."""
    if source.is_remote:
        return frozenset()
    places = {os.path.abspath(source.path)}
    if source.type == "git" and not source.is_live:
        try:
            repository = find_repository(source.path)
            places |= {os.path.abspath(repository.git_dir), os.path.abspath(repository.common_dir)}
        except SourceError:  # gone or replaced: the build says so
            pass
    return frozenset(path for path in paths if any(path == p or path.startswith(f"{p}{os.sep}") for p in places))


def count_behind(waiting: Iterable[frozenset[str] | None]) -> int:
    """Return how many changed files wait, as far as they are known by name."""
    return len({path for paths in waiting if paths for path in paths if f"{os.sep}.git{os.sep}" not in path})


def describe_problem(error: Exception) -> str:
    """Return a failure as a sentence."""
    return str(error) if isinstance(error, IngestError) else f"{type(error).__name__}: {error}"
