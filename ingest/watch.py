"""Re-index on change: watch sources, build in the background, one build at a time."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from watchfiles import Change, watch
from watchfiles._rust_notify import WatchfilesRustInternalError

from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.gitio import Repository, find_repository
from ingest.sources.changes import MAX_CHANGES

QUIET_STEP_MS = 10
WAKE_MS = 100  # how often the watch looks whether it shall stop; also when the first build starts
MAX_WAIT_MS = 1600  # a storm of events does not put the build off for longer
POLL_DELAY_MS = 2000  # where the system cannot tell what changed
PLACE = "place"
LOOK_S = 1.0  # how often it is looked whether the folders to watch are the same as before
NO_INSTANCES = "os error 24"  # inotify_init: too many of this user's processes watch; too many folders is another error


IGNORED_DIRS = frozenset(
    "node_modules __pycache__ .venv venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .hg .svn .tox .idea".split()
)
NOISE = re.compile(r"\.py[cod]$|^\..*\.sw[a-z]$|~$|^\.#|^\.DS_Store$")  # compiled files, and what editors write beside

GIT_FILES = (("HEAD",), ("packed-refs",), ("info", "exclude"))
REF_TABLES = "reftable"  # with the newer format all refs are in there


@dataclass(frozen=True, slots=True)
class Places:
    """Where changes of sources show: their folders and files, and of repositories what holds the HEADs and the refs."""

    roots: tuple[Path, ...]
    git_dirs: tuple[Path, ...] = ()  # what is checked out, and the refs: linked work trees have them in two places
    all_refs: bool = False  # some source follows a ref of its own, which may be a tag or one of a remote

    def to_watch(self) -> list[Path]:
        """Return the paths below which, or of which, all changes are to be told."""
        paths: list[Path] = []
        for path in (*self.roots, *self.git_dirs):
            if not any(known == path or known in path.parents for known in paths):
                paths.append(path)
        return paths


def find_places(sources: Sequence[SourceConfig]) -> Places:
    """Return the places of the sources that are there now. Cheap: it is asked for every second."""
    there = [source for source in sources if not source.is_away and source.path.exists()]
    found = [repository for repository in map(_find_repository, there) if repository is not None]
    return Places(
        tuple(dict.fromkeys(source.path for source in there)),
        tuple(dict.fromkeys(folder for one in found for folder in (one.common_dir, one.git_dir))),
        any(source.type == "git" and source.ref for source in there),
    )


def _find_repository(source: SourceConfig) -> Repository | None:
    if source.type != "git":
        return None
    try:
        return find_repository(source.path)
    except SourceError:
        return None  # the build says why; watching its files still helps


class SourceFilter:
    """Passes changes of files that may be indexed, and of the git files that say what is checked out."""

    def __init__(self, places: Places, avoid: Sequence[Path]) -> None:
        """Take the places to watch, and the folders of which nothing counts."""
        self.passed_over: set[str] = set()  # starts no build, but the next one has to look at it
        self.lost = False  # a watched folder was deleted: what is made there anew is not watched
        self._watched = frozenset(map(str, places.to_watch()))
        self._roots, self._avoid = _prefixes(places.roots), _prefixes(avoid)
        self._git_dirs = _prefixes(places.git_dirs)
        self._refs = ("refs",) if places.all_refs else ("refs", "heads")

    def __call__(self, change: Change, path: str) -> bool:
        """Tell whether a change shall start a build."""
        if change == Change.deleted and path in self._watched:
            self.lost = True
            return True
        if _below(self._avoid, f"{path}{os.sep}"):
            return False
        if in_git := _below(self._git_dirs, path):
            return not path.endswith(".lock") and any(map(self._steers, in_git))
        inner = _below(self._roots, path)
        if any(".git" in parts for parts in inner):
            return False  # of a repository within the source, which is no part of it
        if path in self._watched or any(_counts(parts) for parts in inner):
            return True
        if len(self.passed_over) <= MAX_CHANGES:
            self.passed_over.add(path)
        return False

    def _steers(self, inner: tuple[str, ...]) -> bool:
        """Tell whether a file of a repository says what is checked out, where a ref is, or what is ignored."""
        return inner in GIT_FILES or inner[0] == REF_TABLES or inner[: len(self._refs)] == self._refs


def _prefixes(folders: Sequence[Path]) -> tuple[str, ...]:
    return tuple(os.path.join(str(folder), "") for folder in folders)


def _below(prefixes: tuple[str, ...], path: str) -> list[tuple[str, ...]]:
    """Return the parts of a path below each folder that holds it."""
    return [tuple(path[len(prefix) :].split(os.sep)) for prefix in prefixes if path.startswith(prefix)]


def _counts(parts: tuple[str, ...]) -> bool:
    return IGNORED_DIRS.isdisjoint(parts) and not NOISE.search(parts[-1])


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
        """Watch sources; `rebuild` gets "start", "watch" or "place" and the paths that changed.

        "place": folders came, went or were replaced, and what changed in them is not known (None).

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
            places = find_places(self._sources)
            if not places.roots:
                self._wait_for_sources()
                continue
            try:
                self._watch(places)
            except (OSError, WatchfilesRustInternalError) as error:
                self._missed = not self._is_due
                if self.mode == "polling":
                    self.problem = f"The sources cannot be watched ({error}). Run `codecairn index` after changes."
                    self._stop.wait(LOOK_S)
                elif all(path.exists() for path in places.to_watch()):
                    self.mode = "polling"
                    limit = "max_user_instances" if NO_INSTANCES in str(error) else "max_user_watches"
                    self.problem = (
                        f"The system cannot watch all files ({error}); they are looked at every "
                        f"{POLL_DELAY_MS // 1000} s instead. Raise fs.inotify.{limit}."
                    )

    def _wait_for_sources(self) -> None:
        """Say once that nothing is there to watch, so that builds tell why, and look each second for what comes."""
        self.mode = "off"
        if self._is_due:
            self._tell(frozenset())
        else:
            self._rebuild(PLACE, None)
        while not self._stop.wait(LOOK_S) and not find_places(self._sources).roots:
            pass
        self._missed = True

    def _watch(self, places: Places) -> None:
        """Report changes until told to stop, or until other folders are to be watched, or others under their paths."""
        paths = places.to_watch()
        identities = [identify(path) for path in paths]
        looked = time.monotonic()
        watch_filter = SourceFilter(places, self._avoid)
        if self.mode == "off":
            self.mode = "events"
        for change in self._changes(paths, watch_filter):
            if self._stop.is_set():
                return
            if self._missed:
                self._missed = False
                self._rebuild(PLACE, None)
            if watch_filter.lost:
                self._missed = not self._is_due
                return
            if self._is_due or change:
                seen = frozenset(path for _, path in change) | watch_filter.passed_over
                watch_filter.passed_over.clear()
                self._tell(seen)
            if time.monotonic() - looked >= LOOK_S:
                looked = time.monotonic()
                # A new clone under the same path often gets the same inode, but then its deletion was told.
                if find_places(self._sources) != places or [identify(path) for path in paths] != identities:
                    self._missed = not self._is_due
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
