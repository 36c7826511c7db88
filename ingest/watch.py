"""Re-index on change: watch sources, build in the background, one build at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from watchfiles import Change, DefaultFilter, watch
from watchfiles._rust_notify import WatchfilesRustInternalError

from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.gitio import find_repository
from ingest.sources.changes import MAX_CHANGES

QUIET_STEP_MS = 10
WAKE_MS = 100  # how often the watch looks whether it shall stop; also when the first build starts
MAX_WAIT_MS = 1600  # a storm of events does not put the build off for longer
POLL_DELAY_MS = 2000  # where the system cannot tell what changed
REPLACED_S = 1.0  # how often it is looked whether a watched folder was replaced by another one


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
        if source.is_away or not source.path.exists():
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
    """Calls `rebuild` once at the start if asked to, and then after each quiet moment that follows a change.

    Where the system cannot watch so many files it looks at them again and again instead, and `problem` says so.
    """

    def __init__(
        self,
        sources: Sequence[SourceConfig],
        rebuild: Callable[[str, frozenset[str] | None], None],
        *,
        debounce_ms: int,
        first: bool,
        avoid: Path | None = None,
    ) -> None:
        """Watch sources; `rebuild` gets "start" or "watch" and the paths that changed, None where these are not known.

        `avoid` is the data directory, whose own writes must start no build.
        """
        self.mode: Literal["events", "polling", "off"] = "off"
        self.problem = ""
        self._avoid = (avoid,) if avoid else ()
        self._sources = sources
        self._rebuild = rebuild
        self._debounce_ms = debounce_ms
        self._is_due = first  # the first build starts when the watch stands: a change before that must not be lost
        self._missed = False  # something changed while nothing watched: told when the next watch stands
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
        while not self._stop.is_set():
            paths = watched_paths(self._sources)
            if not paths:
                self._tell(frozenset())
                self._stop.wait(REPLACED_S)  # a source may come into being
                continue
            try:
                self._watch(paths)
            except (OSError, WatchfilesRustInternalError) as error:
                self._missed = not self._is_due
                if self.mode == "polling":
                    self.problem = f"The sources cannot be watched ({error}). Run `codecairn index` after changes."
                    self._stop.wait(REPLACED_S)
                elif all(path.exists() for path in paths):
                    self.mode = "polling"
                    self.problem = (
                        f"The system cannot watch all files ({error}); they are looked at every "
                        f"{POLL_DELAY_MS // 1000} s instead. Raise fs.inotify.max_user_watches."
                    )

    def _watch(self, paths: Sequence[Path]) -> None:
        """Report changes until told to stop, or until a watched folder is another one than before."""
        places = [identify(path) for path in paths]
        looked = time.monotonic()
        watch_filter = SourceFilter(self._avoid)
        if self.mode == "off":
            self.mode = "events"
        for change in self._changes(paths, watch_filter):
            if self._stop.is_set():
                return
            if self._missed:
                self._missed = False
                self._rebuild("watch", None)
            if self._is_due or change:
                seen = frozenset(path for _, path in change) | watch_filter.passed_over
                watch_filter.passed_over.clear()
                self._tell(seen)
            if time.monotonic() - looked >= REPLACED_S:
                looked = time.monotonic()
                if [identify(path) for path in paths] != places:  # cloned anew under the same path: events go nowhere
                    self._missed = True
                    return

    def _changes(self, paths: Sequence[Path], watch_filter: SourceFilter) -> Iterator[set[tuple[Change, str]]]:
        return watch(
            *paths,
            watch_filter=watch_filter,
            debounce=MAX_WAIT_MS,
            step=max(QUIET_STEP_MS, self._debounce_ms // 2),  # two quiet looks in a row end the wait
            stop_event=self._stop,
            rust_timeout=WAKE_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=self.mode == "polling",
            poll_delay_ms=POLL_DELAY_MS,
        )

    def _tell(self, seen: frozenset[str]) -> None:
        if self._is_due or seen:
            trigger = "start" if self._is_due else "watch"
            self._is_due = False
            self._rebuild(trigger, seen)


def identify(path: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one under the same path, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
