"""How well the index is kept up to date: what waits, what fails and since when, and which of that is an alarm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.config import UpkeepConfig
from ingest.model import HISTORY_SUFFIX
from mcp_server.config import is_read_only

if TYPE_CHECKING:
    from ingest.index.beacon import WorkerState
    from ingest.index.jobs import Job, Letter
    from ingest.index.schema import Manifest

HUNG_S = 10.0  # an idle worker speaks every two seconds; a machine under load delays that by a second or two
STUCK_S = 900.0  # without a word in the middle of a build; a million chunks are merged in less
FULL_BYTES = 1 << 20  # with less free space than that nothing can be published
STALLED_ATTEMPTS = 3  # failures in a row: no passing trouble
UNPARSED = ("parse_killed", "malformed", "bad_record", "encoding")
NAMED = 3  # paths in an alarm
NETWORK_DISKS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph", "lustre"})


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is known of one index. Alarms name only sources that may be named."""

    files_behind: int | None = None  # not known, or not for the one who asks
    watching: str = ""  # events | polling | off; "" = no worker lives
    stalled: frozenset[str] = frozenset()
    alarms: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed_files: tuple[Mapping[str, Any], ...] = ()
    degraded: tuple[str, ...] = ()  # codes that every result carries


def read_upkeep(
    data_dir: Path,
    main_dir: Path,
    manifest: Manifest,
    limits: UpkeepConfig,
    now: datetime,
    *,
    may_name: Callable[[str], bool],
    sees_all: bool,
) -> Upkeep:
    """Return the state of one index as far as the one who asks may know it.

    `main_dir` is the data directory of the worker. How many files wait is told to those only who may see all sources.
    """
    from ingest.index.beacon import read_state
    from ingest.index.jobs import read_work

    work = read_work(data_dir)
    state = read_state(main_dir)
    jobs = {job.source: job for job in work.jobs if may_name(job.source)}
    letters = [letter for letter in work.letters if may_name(letter.source)]
    stalled = frozenset(job.source for job in jobs.values() if is_stalled(job, limits, now))
    indexed = {state.name for state in manifest.sources}
    never = {job.source for job in jobs.values() if job.is_due and job.attempts and job.source not in indexed}
    hung = describe_hung(state, main_dir)
    rolled_back = is_rolled_back(data_dir)
    failed = describe_failed_build(data_dir) if sees_all else ""  # it may name any source
    is_told = any(jobs[name].reason and jobs[name].reason in failed for name in stalled)
    full = (state.disk_full if state is not None else "") or describe_full_disk(main_dir)
    alarms = [
        *filter(None, [full, hung]),
        *(describe_stalled(jobs[name]) for name in sorted(stalled | never)),
        *([failed] if failed and not is_told else []),
        *failure_alarms(manifest, limits, may_name),
        *unreadable_alarms(data_dir, manifest, may_name),
        *(drift_alarms(data_dir, limits, may_name)),
        *(state.problems if state is not None and sees_all else ()),
        *describe_letters(letters),
        *disk_alarms(main_dir),
    ]
    return Upkeep(
        files_behind=state.behind if state is not None and sees_all and not (hung or rolled_back) else None,
        watching=state.watching if state is not None else "",
        stalled=stalled,
        alarms=tuple(alarms),
        sources={name: job_to_dict(job) for name, job in jobs.items()},
        failed_files=tuple(letter_to_dict(letter) for letter in letters),
        degraded=(*(["disk_full"] if full else []), *(["rolled_back"] if rolled_back else [])),
    )


def is_rolled_back(data_dir: Path) -> bool:
    """Tell whether a newer generation was published than the one that is pointed at."""
    from ingest.index import control

    with closing(control.connect(data_dir)) as db:
        pointed = control.read_pointer(db)
        return pointed is not None and any(row.id > pointed[0] for row in control.read_generations(db))


def is_stalled(job: Job, limits: UpkeepConfig, now: datetime) -> bool:
    """Tell whether a source waits too long or fails again and again."""
    if not job.is_due:
        return False
    from ingest.index.jobs import parse_time

    waits_s = (now - parse_time(job.wanted_at)).total_seconds() if job.wanted_at else 0.0
    return job.attempts >= STALLED_ATTEMPTS or waits_s > limits.stalled_s


def describe_stalled(job: Job) -> str:
    """Return why a source does not get on."""
    why = f": {job.reason}" if job.reason else ""
    last = f"last success {job.done_at}" if job.done_at else "never indexed"
    return f"Source {job.source} waits for indexing since {job.wanted_at} ({job.attempts} failures, {last}){why}"


def failure_alarms(manifest: Manifest, limits: UpkeepConfig, may_name: Callable[[str], bool]) -> Iterator[str]:
    """Yield the sources of which too many files could not be parsed."""
    for state in manifest.sources:
        ratio = failure_ratio(state.files, state.skipped)
        if ratio > limits.failure_ratio and may_name(state.name):
            yield f"Source {state.name}: {ratio:.0%} of its files could not be parsed; did their format change?"


def unreadable_alarms(data_dir: Path, manifest: Manifest, may_name: Callable[[str], bool]) -> Iterator[str]:
    """Yield the sources of which something is there and cannot be read."""
    names = [state.name for state in manifest.sources if state.skipped.get("unreadable") and may_name(state.name)]
    if not names:
        return
    from ingest.index import control

    with closing(control.connect(data_dir)) as db:
        for name in names:
            paths = [row.path for row in control.list_skips(db, manifest.generation, name, "unreadable")]
            more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
            yield (
                f"Source {name}: {', '.join(paths[:NAMED])}{more} cannot be read; what was indexed of it before stays. "
                "Give the user that indexes permission to read it, or leave it out with `exclude`."
            )


def failure_ratio(files: int, skipped: Mapping[str, int]) -> float:
    """Return the share of a source's files that could not be parsed."""
    failed = sum(skipped.get(reason, 0) for reason in UNPARSED)
    return failed / (files + failed) if failed else 0.0


def drift_alarms(data_dir: Path, limits: UpkeepConfig, may_name: Callable[[str], bool]) -> Iterator[str]:
    """Yield the sources in which the last sweep found changes that no event had told of."""
    from ingest.index import control

    db = control.connect(data_dir)
    try:
        found = control.read_check(db, "sweep")
    finally:
        db.close()
    at, values = found or ("", {})
    for name, drift in values.get("drift", {}).items():
        share = drift / max(1, values.get("files", {}).get(name, 0))
        if share > limits.stale_ratio and may_name(name):
            yield f"Source {name}: the sweep of {at} found {drift} files ({share:.0%}) that had changed unseen."


def describe_letters(letters: list[Letter]) -> Iterator[str]:
    """Yield one line on files that were given up."""
    dead = [letter for letter in letters if letter.is_dead]
    if dead:
        first = dead[0]
        more = f" and {len(dead) - 1} more" if len(dead) > 1 else ""
        yield (
            f"Given up after {first.attempts} attempts: {first.source} {first.path} ({first.reason} {first.detail})"
            f"{more}. `codecairn index --retry` tries again."
        )


def describe_hung(state: WorkerState | None, data_dir: Path) -> str:
    """Return that a worker has stopped saying what it does; "" where all is well or none lives."""
    from ingest.index.beacon import FETCHING, silent_s

    if state is None or state.disk_full:
        return ""
    seconds = silent_s(data_dir)
    is_building = state.stage not in ("", FETCHING)
    if seconds < (STUCK_S if is_building else HUNG_S):  # a build may be silent for long
        return ""
    why = f"it hangs while {state.stage} {state.source}".rstrip() if is_building else "it is stopped or hangs"
    return (
        f"The worker (pid {state.pid}) has said nothing for {seconds:.0f} s: {why}, and changes are not indexed. "
        "End that process; its server starts another one."
    )


def describe_failed_build(data_dir: Path) -> str:
    """Return why the last build published nothing, "" where it did or where there was none."""
    from ingest.index import control

    if not control.is_created(data_dir):
        return ""
    with closing(control.connect(data_dir)) as db:
        rows = control.read_audit(db, limit=1, event="build")
    record = read_record(rows[0].detail) if rows else {}
    return f"The last build failed ({rows[0].at}): {record['reason']}" if record.get("result") == "failed" else ""


def read_record(detail: str) -> dict[str, Any]:
    """Return what the audit trail says of a build; nothing where somebody changed it, which `audit verify` tells."""
    try:
        record = json.loads(detail)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def describe_full_disk(data_dir: Path) -> str:
    """Return that no index can be written, also where no worker lives to say so; "" while one can."""
    if is_read_only(data_dir) or shutil.disk_usage(data_dir).free >= FULL_BYTES:
        return ""
    return f"The disk of {data_dir} is full, so changes are not indexed. Free some space."


def disk_alarms(data_dir: Path) -> Iterator[str]:
    """Yield a warning for a data directory that is read-only or on a disk whose locks do not hold between machines."""
    if is_read_only(data_dir):
        yield (
            f"The data directory {data_dir} is read-only: its index is served as it is and not renewed, and no records "
            "are kept."
        )
    kind = file_system_of(data_dir)
    if kind in NETWORK_DISKS:
        yield (
            f"The data directory lies on a network disk ({kind}): locks may not hold there, and two writers may damage "
            "an index. Move it to a local disk with --data DIR."
        )


def file_system_of(path: Path) -> str:
    """Return the type of the file system that a path lies on, "" where the system does not say."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    mounts = [(fields[1], fields[2]) for line in lines if len(fields := line.split()) > 2]
    place = str(path.resolve())
    holding = [(where, kind) for where, kind in mounts if place == where or place.startswith(where.rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else ""


def job_to_dict(job: Job) -> dict[str, Any]:
    """Return what the status says of a source's work."""
    return {
        "last_success": job.done_at,
        "waiting_events": job.wanted - job.indexed,
        "failures": job.attempts,
        "failure": job.reason,
        "next_try": job.retry_at,
    }


def letter_to_dict(letter: Letter) -> dict[str, Any]:
    """Return what the status says of a file that failed."""
    return {
        "source": letter.source,
        "path": letter.path,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "given_up": letter.is_dead,
        "next_try": "" if letter.is_dead else letter.retry_at,
    }


def owner_of(name: str) -> str:
    """Return the configured source that a source of an index comes from."""
    return name.removesuffix(HISTORY_SUFFIX)
