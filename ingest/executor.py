"""Run `prepare_file` over many entries: inline for a small delta, else in worker processes with limits.

A worker is a bare interpreter that knows only the write path (no re-import of the caller's main module), has its own
memory limit, and is killed when a batch takes too long. Whatever kills a worker costs one entry, never the build: the
entries of its batch are tried one by one, and the one that kills again is left out with a reason.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ingest.allocator import collecting_seldom, spare_loaded
from ingest.errors import IngestError
from ingest.index.packed import pack
from ingest.index.stored import StoredPassage, decode_passage
from ingest.model import FileJob, FileResult, Skip
from ingest.prepare import embed_results, prepare_file

if TYPE_CHECKING:
    from ingest.config import IndexConfig
    from ingest.embedding import Embedder

INLINE_FILES = 40  # starting workers takes longer than preparing so few...
INLINE_BYTES = 400_000  # ...unless they are large
INLINE_FILE_BYTES = 150_000  # a larger file is never parsed in the building process: it could exhaust its memory
BATCH_BYTES = 256_000
BATCH_FILES = 64
EMBED_AHEAD = 8  # batches of stored chunks that wait for a worker: it goes on while the vector engine is imported
EMBED_PATIENCE = 12  # times the limit of parsing: no content can hang it, but a machine may stand still
START_TIMEOUT_S = 60.0
BOOT = """
import os, sys
os.environ.update(OPENBLAS_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")  # the pool is the parallelism
sys.path[:] = {path!r}
from ingest.executor import serve
serve({fd})
"""
READY = b"ready"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to know, once."""

    chunk_chars: int
    timeout_s: float
    memory_mb: int
    make_embedder: Callable[[], Embedder] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker does in one go: prepare entries, with vectors or without, or embed stored chunks.

    `packed`: results cross to the builder as it writes them; it looks into them no more.
    """

    jobs: list[FileJob]
    embed: bool = True
    packed: bool = False
    stored: tuple[bytes, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)  # of the sources of what is stored

    def run(self, settings: WorkerSettings, embedder: Embedder | None) -> list[Any]:
        """Return a result per entry, or of each stored chunk what its vector's row needs, and the vector."""
        if self.stored and embedder is not None:
            return embed_stored(self.stored, self.kinds, embedder)
        results = prepare_batch(self.jobs, settings, embedder if self.embed else None)
        return (
            [replace(one, packed=tuple(pack(one.prepared)), prepared=()) for one in results] if self.packed else results
        )

    def split(self) -> list[Task]:
        """Return a task per entry; stored chunks stay together."""
        return [Task([job], self.embed, self.packed) for job in self.jobs] if len(self.jobs) > 1 else []


class Executor:
    """Prepares entries. Use as a context manager; workers start when first needed and end with it."""

    def __init__(self, settings: WorkerSettings, workers: int, embedder: Embedder | None = None) -> None:
        self._settings = settings
        self._count = workers
        self._embedder = embedder
        self._pool: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._pool:
            worker.kill()

    def start(self) -> None:
        """Start the workers before there is something to do: they are ready when the sources have been read."""
        for worker in self._workers():
            worker.spawn()

    def map(self, jobs: Iterable[FileJob], *, embed: bool = True, packed: bool = False) -> Iterator[FileResult]:
        """Yield a result per job, in any order. Jobs are drawn as workers need them, so few are in memory at once.

        `embed`: with vectors, if there is a local embedder. `packed`: chunks may come packed, from workers they do.
        """
        source = iter(jobs)
        first = _draw_inline(source)
        if first.complete:
            yield from prepare_batch(first.jobs, self._settings, self._embedder if embed else None)
            return
        tasks = (Task(batch, embed, packed) for batch in make_batches(chain(first.jobs, source)))
        for _, results in self._run(tasks):
            yield from results

    def embed(
        self, batches: Iterable[Sequence[bytes]], kinds: Mapping[str, str]
    ) -> Iterator[list[tuple[StoredPassage, bytes]]]:
        """Yield (passage without its text, vector as float32 bytes) of stored chunks. Needs a local embedder."""
        tasks = (Task([], stored=tuple(batch), kinds=kinds) for batch in batches)
        for _, results in self._run(tasks, EMBED_AHEAD):
            yield results

    def _workers(self) -> Sequence[_Worker]:
        while len(self._pool) < self._count:
            self._pool.append(_Worker(self._settings))
        return self._pool

    def _run(self, tasks: Iterator[Task], ahead: int = 1) -> Iterator[tuple[Task, list[Any]]]:
        flow = _Flow(self._workers(), ahead)
        try:
            yield from flow.run(tasks)
        finally:
            flow.stop()


def open_executor(index: IndexConfig, embedder: Embedder | None) -> Executor:
    """Return an executor for the configured limits. An embedder that needs the network is left to the build."""
    local = embedder if embedder is not None and embedder.local else None
    make_embedder = type(local) if local else None  # a local one needs no settings: each worker makes its own
    settings = WorkerSettings(index.chunk_chars, index.parse_timeout_s, index.worker_memory_mb, make_embedder)
    return Executor(settings, index.workers or os.cpu_count() or 1, local)


def prepare_batch(
    jobs: Sequence[FileJob], settings: WorkerSettings, embedder: Embedder | None = None
) -> list[FileResult]:
    """Return the results of several entries, embedded together."""
    results = [_prepare_one(job, settings) for job in jobs]
    return embed_results(results, embedder) if embedder else results


def embed_stored(
    stored: Sequence[bytes], kinds: Mapping[str, str], embedder: Embedder
) -> list[tuple[StoredPassage, bytes]]:
    """Return the passage of each stored chunk, without its text, and its vector."""
    passages = [decode_passage(data, kinds) for data in stored]
    vectors = embedder.embed_passages([embedder.passage(one.ref, one.context, one.text) for one in passages])
    return [(one._replace(context="", text=""), row.tobytes()) for one, row in zip(passages, vectors, strict=True)]


def _prepare_one(job: FileJob, settings: WorkerSettings) -> FileResult:
    try:
        return prepare_file(job, chunk_chars=settings.chunk_chars)
    except MemoryError:
        raise
    except Exception as error:  # one strange file must not stop the build; it is counted and shown with its reason
        return FileResult(job.entry, skip=_killed(job, f"{type(error).__name__}: {error}"))
    finally:
        if job.is_risky:  # what reads it is a cycle of few objects and many bytes, and the collector counts objects
            gc.collect()


def _killed(job: FileJob, detail: str) -> Skip:
    return Skip(job.entry.path, "parse_killed", detail[:200])


@dataclass(frozen=True, slots=True)
class _Drawn:
    jobs: list[FileJob]
    complete: bool


def _draw_inline(source: Iterator[FileJob]) -> _Drawn:
    """Draw jobs while they are few and small; `complete` says that these were all."""
    jobs: list[FileJob] = []
    size = 0
    for job in source:
        jobs.append(job)
        size += job.size
        if len(jobs) > INLINE_FILES or size > INLINE_BYTES or job.size > INLINE_FILE_BYTES or job.is_risky:
            return _Drawn(jobs, False)
    return _Drawn(jobs, True)


def make_batches(jobs: Iterable[FileJob]) -> Iterator[list[FileJob]]:
    """Group jobs so that a batch is worth its transport and its embedding call."""
    batch: list[FileJob] = []
    size = 0
    for job in jobs:
        batch.append(job)
        size += job.size
        if size >= BATCH_BYTES or len(batch) >= BATCH_FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Flow:
    """One thread per worker moves tasks there and results back; two bounded queues keep memory flat."""

    def __init__(self, workers: Sequence[_Worker], ahead: int) -> None:
        self._most = (1 + ahead) * len(workers)
        self._tasks: queue.Queue[Task | None] = queue.Queue(maxsize=ahead * len(workers))
        self._done: queue.Queue[tuple[Task, list[Any]] | IngestError] = queue.Queue()
        self._threads = [threading.Thread(target=self._drive, args=(worker,), daemon=True) for worker in workers]
        for thread in self._threads:
            thread.start()

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, list[Any]]]:
        """Yield results while feeding tasks; of each worker one is at work, `ahead` wait, and as many are done."""
        under_way = 0
        for task in tasks:
            self._tasks.put(task)
            under_way += 1
            while under_way >= self._most or not self._done.empty():
                yield self._take()
                under_way -= 1
        for _ in range(under_way):
            yield self._take()

    def _take(self) -> tuple[Task, list[Any]]:
        done = self._done.get()
        if isinstance(done, IngestError):
            raise done
        return done

    def stop(self) -> None:
        """End the threads; tasks that nobody waits for any more are dropped."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _drive(self, worker: _Worker) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._done.put((task, run_isolating(worker, task)))
            except IngestError as error:
                self._done.put(error)


def run_isolating(worker: _Worker, task: Task) -> list[Any]:
    """Run a task; if it kills the worker, run its entries one by one and leave out the one that kills again."""
    try:
        return worker.run(task)
    except _WorkerDied as death:
        if len(task.jobs) == 1:
            return [FileResult(task.jobs[0].entry, skip=_killed(task.jobs[0], str(death)))]
        if task.stored:
            raise IngestError(f"A worker died while it embedded ({death}). Run `codecairn index` again.") from death
    return [result for part in task.split() for result in run_isolating(worker, part)]


class _WorkerDied(Exception):
    """The worker process ended or was killed for taking too long."""


class _Worker:
    """One worker process; started anew after it died."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._is_ready = False

    def run(self, task: Task) -> list[Any]:
        """Return the results of a task. Raises _WorkerDied; then the next call starts a fresh process."""
        connection = self._get_ready()
        try:
            connection.send(task)
            limit_s = self._settings.timeout_s * (EMBED_PATIENCE if task.stored else 1)
            if connection.poll(limit_s):
                results: list[Any] = connection.recv()
                return results
            reason = f"took longer than {limit_s:g} s"
        except (EOFError, OSError):
            reason = f"the worker ended with {self._exit_code()}"
        self.kill()
        raise _WorkerDied(reason)

    def spawn(self) -> Connection:
        """Start the process; what goes wrong with it shows when it is first needed."""
        if self._connection is not None:
            return self._connection
        ours, theirs = socket.socketpair()
        with theirs:
            code = BOOT.format(path=sys.path, fd=theirs.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        return self._connection

    def _get_ready(self) -> Connection:
        connection = self.spawn()
        if self._is_ready:
            return connection
        try:
            connection.send(self._settings)
            if connection.poll(START_TIMEOUT_S) and connection.recv_bytes() == READY:
                self._is_ready = True
                return connection
            reason = f"did not get ready within {START_TIMEOUT_S:g} s"
        except (EOFError, OSError):
            reason = f"ended with {self._exit_code()} while starting"
        self.kill()
        raise IngestError(f"A parsing worker {reason}. Raise index.worker_memory_mb ({self._settings.memory_mb} now).")

    def _exit_code(self) -> str:
        if self._process is None:
            return "no status"
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "a closed connection"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """End the process and forget it."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None
        self._is_ready = False


def serve(fd: int) -> None:
    """Do tasks until the building process closes the connection: the main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the builder decides when workers end
    connection = Connection(fd)
    settings: WorkerSettings = connection.recv()
    _limit_memory(settings.memory_mb)
    embedder = settings.make_embedder() if settings.make_embedder else None
    spare_loaded()
    connection.send_bytes(READY)
    with collecting_seldom():
        while True:
            try:
                task: Task = connection.recv()
            except (EOFError, OSError):
                return
            connection.send_bytes(pickle.dumps(task.run(settings, embedder), pickle.HIGHEST_PROTOCOL))


def _limit_memory(memory_mb: int) -> None:
    import resource

    limit = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
