"""Many entries: inline when few, in worker processes when many, and no entry can stop the build."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from ingest.allocator import collecting_seldom
from ingest.config import IndexConfig
from ingest.embedding.static import StaticEmbedder
from ingest.errors import IngestError
from ingest.executor import (
    BATCH_FILES,
    INLINE_FILES,
    Executor,
    Task,
    WorkerSettings,
    _Worker,
    make_batches,
    open_executor,
    prepare_batch,
    run_isolating,
)
from ingest.model import Document, Entry, FileJob, FileResult, SourceInfo

SOURCE = SourceInfo("app", "code", "shop", ("local",))
SETTINGS = WorkerSettings(chunk_chars=1500, timeout_s=10.0, memory_mb=1024)


def make_job(name: str, data: bytes = b"def f():\n    return 1\n") -> FileJob:
    return FileJob(SOURCE, Entry(name, "0", len(data)), data)


class Deadly(str):
    """A document text that kills the process that unpickles it."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGKILL,)


class Endless(str):
    """A document text that never finishes to arrive."""

    def __reduce__(self):
        return time.sleep, (3600,)


class Huge(str):
    """A document text that needs far more memory than a worker may have."""

    def __reduce__(self):
        return bytes, (8 * 1024**3,)


def hostile_job(name: str, text: str) -> FileJob:
    return FileJob(SOURCE, Entry(name, "0", 1), documents=(Document(SOURCE, name, None, name, text, "0", "python"),))


def outcome(results: list[FileResult]) -> dict[str, str]:
    return {result.entry.path: result.skip.reason if result.skip else "ok" for result in results}


@pytest.fixture
def pool() -> Iterator[Executor]:
    with Executor(SETTINGS, workers=2) as executor:
        yield executor


def test_few_small_entries_start_no_process(pool):
    results = list(pool.map(make_job(f"{n}.py") for n in range(INLINE_FILES)))
    assert len(results) == INLINE_FILES
    assert pool._pool == []


@pytest.mark.parametrize(
    "jobs",
    [
        [make_job(f"{n}.py") for n in range(INLINE_FILES + 1)],
        [make_job("large.py", b"x = 1\n" * 40_000)],
    ],
    ids=["many", "one large"],
)
def test_many_or_large_entries_go_to_workers(pool, jobs):
    assert outcome(list(pool.map(iter(jobs)))) == {job.entry.path: "ok" for job in jobs}
    assert len(pool._pool) == 2


def test_workers_give_what_inline_gives(pool):
    jobs = [make_job(f"{n}.py", f"def f{n}():\n    return {n}\n".encode()) for n in range(150)]
    parallel = sorted(pool.map(iter(jobs)), key=lambda result: result.entry.path)
    inline = [result for n in range(0, 150, 30) for result in pool.map(iter(jobs[n : n + 30]))]
    assert parallel == sorted(inline, key=lambda result: result.entry.path)


def test_batches_are_bounded_by_files_and_bytes():
    small = [make_job(f"{n}.py") for n in range(BATCH_FILES + 1)]
    assert [len(batch) for batch in make_batches(small)] == [BATCH_FILES, 1]
    large = [make_job(f"{n}.py", b"x" * 200_000) for n in range(5)]
    assert [len(batch) for batch in make_batches(large)] == [2, 2, 1]


def test_jobs_are_drawn_only_as_results_are_taken(pool):
    drawn = 0

    def jobs() -> Iterator[FileJob]:
        nonlocal drawn
        for n in range(2000):
            drawn += 1
            yield make_job(f"{n}.py")

    results = pool.map(jobs())
    next(results)
    assert drawn <= BATCH_FILES * 6
    assert len(list(results)) == 1999


@pytest.mark.req("I3")
@pytest.mark.parametrize(
    ("text", "detail"),
    [(Deadly(), "the worker ended with signal SIGKILL"), (Huge(), "the worker ended with exit code 1")],
    ids=["killed", "out of memory"],
)
def test_an_entry_that_kills_its_worker_is_left_out_and_the_rest_is_kept(pool, text, detail):
    jobs = [make_job(f"{n}.py") for n in range(60)]
    jobs.insert(7, hostile_job("hostile.py", text))
    results = list(pool.map(iter(jobs)))
    found = outcome(results)
    assert found.pop("hostile.py") == "parse_killed"
    assert [result.skip.detail for result in results if result.skip] == [detail]
    assert set(found.values()) == {"ok"}
    assert len(found) == 60


@pytest.mark.req("I3")
def test_an_entry_that_takes_too_long_is_left_out_and_the_rest_is_kept():
    jobs = [hostile_job("slow.py", Endless()), *(make_job(f"{n}.py") for n in range(50))]
    with Executor(WorkerSettings(1500, timeout_s=1.0, memory_mb=1024), workers=1) as executor:
        results = list(executor.map(iter(jobs)))
    found = outcome(results)
    assert found.pop("slow.py") == "parse_killed"
    assert set(found.values()) == {"ok"}
    skip = next(result.skip for result in results if result.skip)
    assert skip is not None
    assert skip.detail == "took longer than 1 s"


def test_the_detail_names_the_signal():
    worker = _Worker(SETTINGS)
    (result,) = run_isolating(worker, Task([hostile_job("a.py", Deadly())]))
    worker.kill()
    assert result.skip is not None
    assert result.skip.detail == "the worker ended with signal SIGKILL"


def test_a_worker_that_dies_while_idle_costs_nothing(pool):
    jobs = [make_job(f"{n}.py") for n in range(50)]
    list(pool.map(iter(jobs)))
    for worker in pool._pool:
        if worker._process:
            worker._process.kill()
            worker._process.wait()
    assert set(outcome(list(pool.map(iter(jobs)))).values()) == {"ok"}


def test_an_error_in_one_entry_is_a_skip_with_its_reason(pool):
    broken = hostile_job("broken.py", b"bytes")  # type: ignore[arg-type]  # a bug in a source: text that is none
    (result,) = pool.map(iter([broken]))
    assert result.skip is not None
    assert result.skip.reason == "parse_killed"
    assert result.skip.detail.startswith("TypeError: ")


def test_workers_that_cannot_start_say_what_to_change():
    settings = WorkerSettings(1500, 10.0, memory_mb=1024, make_embedder=os.abort)
    jobs = [make_job(f"{n}.py") for n in range(60)]
    with Executor(settings, workers=1) as executor, pytest.raises(IngestError, match="SIGABRT while starting.*Raise"):
        list(executor.map(iter(jobs)))


def test_the_least_memory_that_can_be_configured_suffices_for_code():
    index = IndexConfig(workers=1, worker_memory_mb=256)
    jobs = [make_job(f"{n}.py", b"def f():\n    return 1\n" * 800) for n in range(45)]
    with open_executor(index, StaticEmbedder()) as executor:
        assert set(outcome(list(executor.map(iter(jobs)))).values()) == {"ok"}


def test_processes_and_threads_end_with_the_executor():
    before = threading.active_count()
    with Executor(SETTINGS, workers=2) as executor:
        results = executor.map(make_job(f"{n}.py") for n in range(500))
        next(results)
        processes = [worker._process for worker in executor._pool]
        results.close()
    assert all(process is None or process.poll() is not None for process in processes)
    assert threading.active_count() == before


def test_workers_embed_with_the_static_embedder():
    with open_executor(IndexConfig(workers=1), StaticEmbedder()) as executor:
        many = list(executor.map(make_job(f"{n}.py") for n in range(50)))
        (one,) = executor.map(iter([make_job("0.py")]))
    same = next(result for result in many if result.entry.path == "0.py")
    assert one.prepared[0].vector == same.prepared[0].vector
    assert all(item.vector for result in many for item in result.prepared)


class Reader:
    """What reads a PDF: a cycle, which only the collector takes apart."""

    def __init__(self):
        self.itself = self


def test_what_read_a_risky_file_is_gone_before_the_next_one_is_read(monkeypatch):
    """Few objects that hold many bytes: a collector that looks seldom would let them fill a worker's memory."""
    readers = []

    def read(job, *, chunk_chars):
        assert all(reader() is None for reader in readers)
        readers.append(weakref.ref(Reader()))
        return FileResult(job.entry)

    monkeypatch.setattr("ingest.executor.prepare_file", read)
    with collecting_seldom():
        assert len(prepare_batch([make_job(f"{n}.pdf") for n in range(3)], SETTINGS)) == 3


def test_a_worker_imports_no_heavy_library():
    heavy = ("lancedb", "pyarrow", "mcp", "starlette", "openai", "numpy", "git")
    code = f"import sys, ingest.executor; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
