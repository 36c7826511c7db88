"""Tables of traces.db. Rows are only ever added; the triggers hold against any client, not only this one.

`rollup` and `latency` are counters derived from the rows, so that a report over 100,000 traces reads some hundred of
them and still knows the days whose traces were pruned. `thinned` says which rows have given up their content, and
holds the hash of what is left of them.
"""

from __future__ import annotations

SCHEMA_VERSION = 4

TABLES = """
CREATE TABLE blob(hash TEXT PRIMARY KEY, kind TEXT NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE number(seq INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE);
CREATE TABLE trace(
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, w3c_trace_id TEXT NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL,
  env TEXT NOT NULL, service_version TEXT NOT NULL, code_commit TEXT NOT NULL, tool TEXT NOT NULL, entry TEXT NOT NULL,
  query TEXT NOT NULL, query_hash TEXT NOT NULL, query_chars INTEGER NOT NULL, principal_hash TEXT NOT NULL,
  status TEXT NOT NULL, duration_ms REAL NOT NULL, query_norm TEXT, natural_language TEXT, route TEXT, bucket TEXT,
  transform TEXT, filters TEXT, generation INTEGER, revisions TEXT, config_hash TEXT REFERENCES blob(hash),
  client TEXT, client_version TEXT, session_id TEXT, request_id TEXT, traceparent TEXT, degraded TEXT,
  policy_flags TEXT, error_type TEXT, queue_wait_ms REAL, overhead_ms REAL, model TEXT, prompt_id TEXT,
  prompt_version TEXT, prompt_sha256 TEXT, prompt_chars INTEGER, tokens_in INTEGER, tokens_out INTEGER,
  tokens_cached INTEGER, tokens_cache_written INTEGER, tokens_estimated INTEGER, cost_usd TEXT, price_version TEXT,
  cache TEXT, cached INTEGER,
  chunks_retrieved INTEGER, chunks_used INTEGER, sources TEXT, answer_chars INTEGER, n_claims INTEGER,
  n_supported INTEGER, n_ungrounded INTEGER, n_stale INTEGER, abstained INTEGER, is_error INTEGER, result_hash TEXT,
  environment_hash TEXT REFERENCES blob(hash), replay_of TEXT, content TEXT NOT NULL,
  content_hash TEXT REFERENCES blob(hash), acl TEXT NOT NULL, hash TEXT NOT NULL);
CREATE INDEX trace_at ON trace(at);
CREATE INDEX trace_by_content ON trace(content_hash) WHERE content_hash IS NOT NULL;
CREATE INDEX trace_by_cost ON trace(CAST(cost_usd AS REAL), seq) WHERE cost_usd IS NOT NULL;
CREATE INDEX trace_abstained ON trace(kind, at, query_hash) WHERE abstained = 1;
CREATE TABLE span(
  trace INTEGER NOT NULL REFERENCES trace(seq), id INTEGER NOT NULL, parent INTEGER, name TEXT NOT NULL,
  start_ms REAL NOT NULL, duration_ms REAL NOT NULL, n_in INTEGER, n_out INTEGER, error_type TEXT,
  PRIMARY KEY(trace, id)) WITHOUT ROWID;
CREATE TABLE chunk(
  seq INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, chunk_id, source TEXT NOT NULL, path TEXT, key TEXT,
  title TEXT NOT NULL, symbol TEXT, start_line INTEGER NOT NULL, end_line INTEGER NOT NULL,
  text_hash TEXT NOT NULL REFERENCES blob(hash), extra BLOB);
CREATE INDEX chunk_by_id ON chunk(chunk_id);
CREATE INDEX chunk_by_path ON chunk(path);
CREATE TABLE trace_chunk(
  trace INTEGER NOT NULL REFERENCES trace(seq), chunk INTEGER NOT NULL REFERENCES chunk(seq), stage TEXT, rank INTEGER,
  score REAL, kept INTEGER NOT NULL, reason TEXT, PRIMARY KEY(trace, chunk)) WITHOUT ROWID;
CREATE INDEX trace_chunk_by_chunk ON trace_chunk(chunk, trace);
CREATE TABLE score(
  id TEXT PRIMARY KEY, trace TEXT NOT NULL REFERENCES trace(id), span INTEGER, name TEXT NOT NULL, value REAL,
  label TEXT, note TEXT, source TEXT NOT NULL CHECK(source IN ('human','rule','llm')), author TEXT, at TEXT NOT NULL,
  supersedes TEXT REFERENCES score(id));
CREATE INDEX score_by_trace ON score(trace);
CREATE INDEX score_by_name ON score(name, at);
CREATE TABLE thinned(trace INTEGER PRIMARY KEY, at TEXT NOT NULL, row_hash TEXT NOT NULL);
CREATE TABLE rollup(
  day TEXT NOT NULL, kind TEXT NOT NULL, dimension TEXT NOT NULL, value TEXT NOT NULL, {measures},
  PRIMARY KEY(day, kind, dimension, value)) WITHOUT ROWID;
CREATE TABLE latency(
  day TEXT NOT NULL, kind TEXT NOT NULL, stage TEXT NOT NULL, bucket INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY(day, kind, stage, bucket)) WITHOUT ROWID;
CREATE TABLE incident(
  id INTEGER PRIMARY KEY, component TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT, degraded TEXT NOT NULL,
  count INTEGER NOT NULL);
CREATE VIRTUAL TABLE trace_fts USING fts5(query, answer, content='');
CREATE TABLE retention(open INTEGER NOT NULL);
INSERT INTO retention VALUES (0);
"""

# What `rollup` counts, per day and kind of run, for each value of each dimension. Sums; nano-dollars are whole numbers.
MEASURES: tuple[str, ...] = (
    "n",
    "n_handled",
    "n_failed",
    "n_cancelled",
    "n_tool_errors",
    "n_hit",
    "n_model_calls",
    "n_unpriced",
    "nano_usd",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_estimated",
    "n_answers",
    "n_abstained",
    "n_with_ungrounded",
    "n_with_stale",
    "n_claims",
    "n_supported",
    "ms",
)

# table -> (columns that make a row the same row, what a second insert of it does). The insert trigger is there because
# INSERT OR REPLACE deletes without firing delete triggers.
APPEND_ONLY: dict[str, tuple[tuple[str, ...], str]] = {
    "blob": (("hash",), "IGNORE"),
    "chunk": (("hash",), "IGNORE"),
    "number": (("id",), "ABORT"),
    "trace": (("id",), "ABORT"),
    "span": (("trace", "id"), "ABORT"),
    "trace_chunk": (("trace", "chunk"), "ABORT"),
    "score": (("id",), "ABORT"),
    "incident": (("id",), "ABORT"),
}
ROW_NUMBERED = ("chunk", "number", "trace")


def schema_statements() -> list[str]:
    """Return the statements that make an empty file a trace store."""
    measures = ", ".join(f"{name} INTEGER NOT NULL" for name in MEASURES)
    statements = [part.strip() for part in TABLES.replace("{measures}", measures).split(";") if part.strip()]
    for table, (key, again) in APPEND_ONLY.items():
        statements.extend(_triggers(table, key, again))
    return [*statements, f"PRAGMA user_version = {SCHEMA_VERSION}"]


def _triggers(table: str, key: tuple[str, ...], again: str) -> list[str]:
    same = " AND ".join(f"{column} = NEW.{column}" for column in key)
    if table in ROW_NUMBERED:
        same = f"({same}) OR seq = NEW.seq"
    refuse = "IGNORE" if again == "IGNORE" else f"ABORT, '{table} is append-only: the row exists'"
    return [
        f"CREATE TRIGGER {table}_keep BEFORE UPDATE ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: no update'); END",
        f"CREATE TRIGGER {table}_hold BEFORE DELETE ON {table} WHEN (SELECT open FROM retention) = 0 "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: only retention deletes'); END",
        f"CREATE TRIGGER {table}_once BEFORE INSERT ON {table} WHEN EXISTS(SELECT 1 FROM {table} WHERE {same}) "
        f"BEGIN SELECT RAISE({refuse}); END",
    ]
