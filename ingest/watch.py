"""Re-index on change: watch sources, build in the background, one build at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from watchfiles import Change, DefaultFilter, watch

from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.gitio import find_repository
from ingest.sources.changes import MAX_CHANGES

QUIET_STEP_MS = 10
WAKE_MS = 100  # how often the watch looks whether it shall stop; also when the first build starts
MAX_WAIT_MS = 1600  # a storm of events does not put the build off for longer


class SourceFilter(DefaultFilter):
    """Passes changes of files that may be indexed, and of the git files that say what is checked out."""

    # HEAD and refs move with commits and branch switches; objects and lock files only make noise.
    ignore_dirs = ("node_modules", "__pycache__", ".venv", "venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hg")
    ignore_entity_patterns = (r"\.py[cod]$", r"\.sw.$", r"~$", r"^\.#", r"\.lock$", r"^\.DS_Store$")

    def __init__(self, avoid: Sequence[Path]) -> None:
        super().__init__(ignore_paths=avoid)
        self.passed_over: set[str] = set()  # starts no build, but the next one has to look at it

    def __call__(self, change: Change, path: str) -> bool:
        """Tell whether a change shall start a build."""
        parts = Path(path).parts
        if ".git" not in parts:
            if super().__call__(change, path):
                return True
            if len(self.passed_over) <= MAX_CHANGES:
                self.passed_over.add(path)
            return False
        inner = parts[parts.index(".git") + 1 :]
        return bool(inner) and (inner[0] in ("HEAD", "packed-refs") or inner[:2] == ("refs", "heads"))


def watched_paths(sources: Sequence[SourceConfig]) -> list[Path]:
    """Return what to watch: each source's folder or file, and the git folder of a linked work tree."""
    paths: dict[Path, None] = {}
    for source in sources:
        if source.is_live or not source.path.exists():
            continue
        paths.setdefault(source.path)
        git_dir = find_git_dir(source)
        if git_dir is not None and source.path not in git_dir.parents:
            paths.setdefault(git_dir)
    return list(paths)


def find_git_dir(source: SourceConfig) -> Path | None:
    """Return where the HEAD of a git source lies; a linked work tree has it elsewhere. None where it cannot be told."""
    if source.type != "git":
        return None
    try:
        return find_repository(source.path).git_dir
    except SourceError:
        return None  # the build says why; watching its files still helps


class Watcher:
    """Calls `rebuild` once at the start if asked to, and then after each quiet moment that follows a change."""

    def __init__(
        self,
        sources: Sequence[SourceConfig],
        rebuild: Callable[[str, frozenset[str]], None],
        *,
        debounce_ms: int,
        first: bool,
        avoid: Path | None = None,
    ) -> None:
        """Watch sources; `rebuild` gets "start" or "watch" and the paths that changed.

        `avoid` is the data directory, whose own writes must start no build.
        """
        self._avoid = (avoid,) if avoid else ()
        self._sources = sources
        self._rebuild = rebuild
        self._debounce_ms = debounce_ms
        self._first = first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="codecairn-watch", daemon=True)

    def start(self) -> None:
        """Start watching in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait for a running build to end."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        paths = watched_paths(self._sources)
        if not paths:
            if self._first:
                self._rebuild("start", frozenset())
            return
        # The first build starts when the watch stands: a change that it no longer sees must not be lost.
        is_due = self._first
        watch_filter = SourceFilter(self._avoid)
        changes = watch(
            *paths,
            watch_filter=watch_filter,
            debounce=MAX_WAIT_MS,
            step=max(QUIET_STEP_MS, self._debounce_ms // 2),  # two quiet looks in a row end the wait
            stop_event=self._stop,
            rust_timeout=WAKE_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        for change in changes:
            if self._stop.is_set():
                return
            if is_due or change:
                seen = frozenset(path for _, path in change) | watch_filter.passed_over
                watch_filter.passed_over.clear()
                self._rebuild("start" if is_due else "watch", seen)
                is_due = False
