"""Caches of the read path in one SQLite file: answers, vectors of queries, and the day's spending on model calls.

Nothing here decides whether an answer still holds: entries carry what they cite, and the service looks at it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ingest.errors import EmbeddingError
from ingest.index.tokens import stem, words

if TYPE_CHECKING:
    import numpy as np

    from ingest.embedding import Embedder

FILE = "cache.db"
KEEP_S = 3600.0  # N5: the longest that an answer may be given again, whatever the configured time
MAX_ANSWERS = 5000
MAX_VECTORS = 20_000
# Of the vectors of two wordings that share every word but fillers: measured 0.47 to 0.91 with the built-in model,
# and at most 0.36 where only the stems of two different words are the same (universe, university).
NEAR_SIMILARITY = 0.42
# Words between two wordings of one question that ask for the same thing. Prepositions, question words and negations
# are not among them: "signed by", "signed with", "why" and "not" change what is asked.
FILLER = frozenset(
    """a an the is are was were be been being do does did can could will would should shall may might must i you we me
    us my your our it its this that these those there please kindly just so show tell explain describe find give know
    want like need help""".split()
)

TABLES = """
CREATE TABLE IF NOT EXISTS answer(
  key TEXT PRIMARY KEY, near_key TEXT NOT NULL, generation INTEGER NOT NULL, vector BLOB, result TEXT NOT NULL,
  cited TEXT NOT NULL, created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS answer_by_near_key ON answer(near_key, created_at);
CREATE INDEX IF NOT EXISTS answer_by_time ON answer(created_at);
CREATE TABLE IF NOT EXISTS vector(key TEXT PRIMARY KEY, vector BLOB NOT NULL, used_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS spending(
  day TEXT PRIMARY KEY, micro_usd INTEGER NOT NULL, calls INTEGER NOT NULL, unpriced INTEGER NOT NULL);
"""

T = TypeVar("T")


class CacheUnavailable(Exception):
    """The file cannot be read or written; everything works without it."""


@dataclass(frozen=True, slots=True)
class Cited:
    """What an answer rests on: lines of one chunk, as they were, of a document as it was."""

    chunk_id: int
    content_hash: str  # of the whole document
    start_line: int
    text: str
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """What has to be equal: `exact` for the same question, `near` for the same question in other words."""

    exact: str
    near: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored answer: the result as JSON, what it cites, its generation, when (seconds since the epoch)."""

    result: str
    cited: tuple[Cited, ...]
    generation: int
    created_at: float
    vector: bytes | None = None


def make_key(query_norm: str, asked: Sequence[object]) -> Key:
    """Return the key of a question under everything else that an answer depends on: rights, filters, prompt, model."""
    rest = json.dumps(asked, sort_keys=True, default=sorted)
    return Key(hash_of(query_norm, rest), hash_of(json.dumps(wording(query_norm)), rest))


def hash_of(*parts: str) -> str:
    """Return a hash over texts."""
    return hashlib.blake2b("\x00".join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()


def wording(query_norm: str) -> list[str]:
    """Return what two wordings of one question share: every word that is no filler, in order, without inflection.

    Whatever is written like a name, path, number, version or key stays as it is. The order stays too: who calls whom,
    and who is verified by whom, is said by it.
    """
    kept = []
    for token in query_norm.split():
        plain = token.strip("?!.,;:\"'()")
        if not plain.isascii() or not plain.isalpha() or plain != plain.lower():
            lowered = plain.lower()
            if plain.isalpha() and plain.isascii() and plain == plain.capitalize():  # the first word of a sentence
                kept += [stem(lowered)] if lowered not in FILLER else []
                continue
            kept.append(plain)
        elif plain not in FILLER:
            kept += [stem(word) for word in words(plain)]
    return kept


class Cache:
    """The file. Every method raises CacheUnavailable; opening is left to the first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection:
                    return work(self._connection)
            except (sqlite3.Error, OSError) as error:
                raise CacheUnavailable(f"{self._path} cannot be used: {error}.") from error

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=1.0, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a cache: what a power cut takes is worked out anew
            connection.executescript(TABLES)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    # -- answers -----------------------------------------------------------------------------------------------------

    def find(self, key: Key, since: float) -> Entry | None:
        """Return the answer to exactly this question, stored at `since` (seconds since the epoch) or later."""
        sql = "SELECT result, cited, generation, created_at, vector FROM answer WHERE key = ? AND created_at >= ?"
        row = self._run(lambda db: db.execute(sql, (key.exact, since)).fetchone())
        return None if row is None else read_entry(row)

    def find_near(self, key: Key, since: float) -> list[Entry]:
        """Return answers to the same question in other words, the newest first."""
        sql = (
            "SELECT result, cited, generation, created_at, vector FROM answer WHERE near_key = ? AND created_at >= ? "
            "ORDER BY created_at DESC LIMIT 8"
        )
        return [read_entry(row) for row in self._run(lambda db: db.execute(sql, (key.near, since)).fetchall())]

    def put(self, key: Key, entry: Entry) -> None:
        """Store an answer; the oldest go."""
        cited = json.dumps([[c.chunk_id, c.content_hash, c.start_line, c.text, c.symbol] for c in entry.cited])
        row = (key.exact, key.near, entry.generation, entry.vector, entry.result, cited, entry.created_at)

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("DELETE FROM answer WHERE created_at < ?", (entry.created_at - KEEP_S,))
            db.execute(
                "DELETE FROM answer WHERE key IN (SELECT key FROM answer ORDER BY created_at DESC LIMIT -1 OFFSET ?)",
                (MAX_ANSWERS,),
            )

        self._run(write)

    def drop(self, key: Key) -> None:
        """Forget an answer that no longer holds, in every wording."""
        self._run(lambda db: db.execute("DELETE FROM answer WHERE key = ? OR near_key = ?", (key.exact, key.near)))

    # -- vectors -----------------------------------------------------------------------------------------------------

    def find_vector(self, key: str) -> bytes | None:
        """Return a stored vector."""
        row = self._run(lambda db: db.execute("SELECT vector FROM vector WHERE key = ?", (key,)).fetchone())
        return None if row is None else bytes(row[0])

    def put_vector(self, key: str, vector: bytes, at: float) -> None:
        """Store a vector; the oldest go."""

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", (key, vector, at))
            db.execute(
                "DELETE FROM vector WHERE key IN (SELECT key FROM vector ORDER BY used_at DESC LIMIT -1 OFFSET ?)",
                (MAX_VECTORS,),
            )

        self._run(write)

    # -- spending ----------------------------------------------------------------------------------------------------

    def spent_usd(self, day: str) -> Decimal:
        """Return what the calls of a day cost, as far as their prices are known."""
        row = self._run(lambda db: db.execute("SELECT micro_usd FROM spending WHERE day = ?", (day,)).fetchone())
        return Decimal(row[0] if row else 0) / 1_000_000

    def book(self, day: str, usd: Decimal | None) -> None:
        """Add a call to a day; None is one whose price nobody knows."""
        micro = 0 if usd is None else int((usd * 1_000_000).to_integral_value())
        sql = (
            "INSERT INTO spending VALUES (?, ?, 1, ?) ON CONFLICT(day) DO UPDATE SET "
            "micro_usd = micro_usd + excluded.micro_usd, calls = calls + 1, unpriced = unpriced + excluded.unpriced"
        )
        self._run(lambda db: db.execute(sql, (day, micro, int(usd is None))))


def read_entry(row: Sequence[Any]) -> Entry:
    """Return a row as an entry."""
    result, cited, generation, created_at, vector = row
    return Entry(result, tuple(Cited(*item) for item in json.loads(cited)), generation, created_at, vector)


class DaySpending:
    """The budget of a day (UTC), over all processes on one data directory."""

    def __init__(
        self,
        cache: Cache,
        daily_usd: float,
        hard_stop: bool,
        now: Callable[[], datetime],
        warn: Callable[[str], None],
    ) -> None:
        self._cache = cache
        self._budget = Decimal(str(daily_usd))
        self._hard_stop = hard_stop
        self._now = now
        self._warn = warn
        self._warned = ""

    @property
    def day(self) -> str:
        """Today, UTC."""
        return self._now().astimezone(UTC).date().isoformat()

    @property
    def is_exceeded(self) -> bool:
        """Tell whether today's calls cost more than the budget. Raises CacheUnavailable."""
        return bool(self._budget) and self._cache.spent_usd(self.day) >= self._budget

    def admits(self) -> bool:
        """Tell whether another call may be paid for; where the account cannot be read, a hard stop means no."""
        try:
            exceeded = self.is_exceeded
        except CacheUnavailable as error:
            self._warn(f"The account of model calls cannot be read: {error}")
            exceeded = bool(self._budget)
        return not (exceeded and self._hard_stop)

    def add(self, usd: Decimal | None) -> None:
        """Book a call, and warn once a day when the budget is spent."""
        try:
            self._cache.book(self.day, usd)
            if self.is_exceeded and self._warned != self.day:
                self._warned = self.day
                spent = self._cache.spent_usd(self.day)
                self._warn(f"Model calls of {self.day} cost {spent:.4f} USD; the budget is {self._budget} USD a day.")
        except CacheUnavailable as error:
            self._warn(f"A model call was not booked: {error}")


class CachedEmbedder:
    """An embedder of an endpoint whose vectors of queries are kept; passages are kept by the index itself."""

    local = False

    def __init__(
        self, embedder: Embedder, cache: Cache, now: Callable[[], datetime], redact: Callable[[str], str]
    ) -> None:
        self._embedder = embedder
        self._cache = cache
        self._now = now
        self._redact = redact
        self._flight = SingleFlight()

    @property
    def id(self) -> str:
        """Name of model and dimensions."""
        return self._embedder.id

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._embedder.dimensions

    def passage(self, path: str, context: str, text: str) -> str:
        """Return what is embedded of a passage."""
        return self._embedder.passage(path, context, text)

    def embed_passages(self, passages: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return one row per passage."""
        return self._embedder.embed_passages(passages)

    def embed_query(self, text: str) -> np.ndarray[Any, Any]:
        """Return the vector of a query, redacted before it leaves; asked for once, also by retrievers side by side."""
        safe = self._redact(text)
        vector, _ = self._flight.run(safe, lambda: self._embed(safe))
        return vector

    def _embed(self, safe: str) -> np.ndarray[Any, Any]:
        import numpy as np

        if (known := self._find(safe)) is not None:
            return np.frombuffer(known, dtype=np.float32)
        vector = self._embedder.embed_query(safe)
        with contextlib.suppress(CacheUnavailable):  # an answer's own look-up says so
            raw = np.asarray(vector, dtype=np.float32).tobytes()
            self._cache.put_vector(hash_of(self.id, safe), raw, self._now().timestamp())
        return vector

    def knows(self, text: str) -> bool:
        """Tell whether the vector of a query is kept."""
        return self._find(self._redact(text)) is not None

    def _find(self, text: str) -> bytes | None:
        with contextlib.suppress(CacheUnavailable, EmbeddingError):  # the id names dimensions that may have to be asked
            return self._cache.find_vector(hash_of(self.id, text))
        return None


class SingleFlight:
    """Runs the same work once for all who ask for it at the same moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Future[Any]] = {}

    def run(self, key: str, work: Callable[[], T]) -> tuple[T, bool]:
        """Return the value, and whether somebody else worked it out. What the worker raises, only the worker sees."""
        while True:
            with self._lock:
                known = self._running.get(key)
                mine: Future[T] = Future()
                if known is None:
                    self._running[key] = mine
            if known is None:
                return self._lead(key, mine, work), False
            value = known.result()
            if value is not None:
                return value, True

    def _lead(self, key: str, mine: Future[Any], work: Callable[[], T]) -> T:
        value: T | None = None
        try:
            value = work()
            return value
        finally:  # whoever waited for work that failed does it again, under a trace and a deadline of its own
            with self._lock:
                del self._running[key]
            mine.set_result(value)
