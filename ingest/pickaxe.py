"""Pickaxe: which commits changed how often a word occurs. Their differences are read once and kept beside the mirror.

Asking git takes half a second for 600 commits, the file a millisecond for 5,000. Words are kept as hashes, for a
difference may hold a secret that was taken out.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from ingest import gitio

KEPT = "codecairn-words.db"
READ = 5_000  # commits that lead to a head, newest first: 2 to 8 s once, 3 to 10 MB
SEARCHED = 600  # of those that are not read yet: git takes about half a second
BATCH = 500  # commits of one transaction: what a kill loses
LONGEST_LINE = 20_000  # bytes: a longer one was made by a machine
NAME = re.compile(r"[A-Za-z_$][\w$]{3,80}")  # the words that are kept
WORD = re.compile(rb"[A-Za-z_$][\w$\x80-\xff]{3,}")
FORMAT = 1
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS commits (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS heads (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (word INTEGER, number INTEGER, PRIMARY KEY (word, number)) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""


def record_changes(mirror: Path, head: str) -> None:
    """Read the commits that lead to `head` and were not read yet. Raises GitError, sqlite3.Error."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_open(mirror / KEPT)) as kept:
        if _is_read(kept, head):
            return  # after most builds: nothing is written, which would wait for the disk
    try:
        _record(mirror, head)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # locked or disk full; anything else is a damaged file, and all of it is in the mirror
        (mirror / KEPT).unlink()
        _record(mirror, head)


def _record(mirror: Path, head: str) -> None:
    with contextlib.closing(sqlite3.connect(mirror / KEPT)) as kept:
        kept.executescript(SCHEMA)
        known = {commit for (commit,) in kept.execute("SELECT id FROM commits")}
        unread = [commit for commit in _list(mirror, head) if commit not in known]
        for start in range(0, len(unread), BATCH):
            batch = unread[start : start + BATCH]
            words = dict(changed_words(gitio.read_patches(mirror, batch)))
            with kept:
                kept.executemany("INSERT OR IGNORE INTO commits (id) VALUES (?)", [(commit,) for commit in batch])
                numbers = dict(kept.execute("SELECT id, number FROM commits"))
                rows = sorted((hash_word(word), numbers[commit]) for commit, found in words.items() for word in found)
                kept.executemany("INSERT OR IGNORE INTO changes VALUES (?, ?)", rows)
        with kept:
            kept.execute("INSERT OR IGNORE INTO heads VALUES (?)", (head,))


def find_change(mirror: Path, head: str, name: str) -> str:
    """Return the newest commit that changed how often a name occurs, "" if none of the newest did. Raises GitError."""
    is_read, read, changed = _look_up(mirror, head, name)
    if is_read and not changed:
        return ""
    commits = _list(mirror, head)
    if not is_read:
        unread = tuple(commit for commit in commits if commit not in read)[:SEARCHED]
        changed |= {_search(mirror, unread, name)}
    return next((commit for commit in commits if commit in changed), "")


def _look_up(mirror: Path, head: str, name: str) -> tuple[bool, set[str], set[str]]:
    """Return whether all that leads to `head` was read, else what was read, and the commits that changed the name.

    A file that is missing or damaged tells nothing: git is asked then, and the next build writes it again.
    """
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_open(mirror / KEPT)) as kept:
        query = "SELECT id FROM changes JOIN commits USING (number) WHERE word = ?"
        changed = {commit for (commit,) in kept.execute(query, (hash_word(name.encode()),))}
        if _is_read(kept, head):
            return True, set(), changed
        return False, {commit for (commit,) in kept.execute("SELECT id FROM commits")}, changed
    return False, set(), set()


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _is_read(kept: sqlite3.Connection, head: str) -> bool:
    return kept.execute("SELECT 1 FROM heads WHERE id = ?", (head,)).fetchone() is not None


@lru_cache(maxsize=4)
def _list(mirror: Path, head: str) -> Sequence[str]:
    return tuple(gitio.list_commits(mirror, head, gitio.HISTORY_COMMITS)[:READ])


@lru_cache(maxsize=256)  # one answer asks twice
def _search(mirror: Path, commits: tuple[str, ...], name: str) -> str:
    return gitio.find_occurrence_change(mirror, commits, name)


def hash_word(word: bytes) -> int:
    """Return a word as a signed number of 64 bits."""
    return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "big", signed=True)


def changed_words(lines: Iterable[bytes]) -> Iterator[tuple[str, frozenset[bytes]]]:
    """Yield each commit of `gitio.read_patches` with the words that a file of it has more or less often than before."""
    commit, in_head = "", True
    counts: Counter[bytes] = Counter()  # of one file: words that came, less those that went
    words: set[bytes] = set()
    for line in lines:
        if line.startswith((b"diff --git ", b"\x00")):
            words.update(word for word, count in counts.items() if count)
            counts.clear()
            in_head = True
            if line.startswith(b"\x00"):
                if commit:
                    yield commit, frozenset(words)
                commit, words = line[1:].strip().decode("ascii"), set()
        elif line.startswith(b"@@"):
            in_head = False
        elif not in_head and len(line) <= LONGEST_LINE and line.startswith((b"+", b"-")):
            step = 1 if line.startswith(b"+") else -1
            for word in WORD.findall(line):
                counts[word] += step
    words.update(word for word, count in counts.items() if count)
    if commit:
        yield commit, frozenset(words)
