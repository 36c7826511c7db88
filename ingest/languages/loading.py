"""Grammars, loaded when first needed. A missing or broken wheel is a reason code, never a crash."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import thread_time

from tree_sitter import Language as Grammar
from tree_sitter import Parser, Query, QueryCursor, Tree

from ingest.languages.table import LANGUAGES, Language

EXPONENTIAL = frozenset(("kotlin",))  # not for all: `Node.text` of a tree read in pieces is slow
PARSE_SECONDS = 3.0  # the slowest of 14,000 files of public repositories took 0.3
READ_BYTES = 1 << 20
QUERIES = Path(__file__).parent / "queries"


@dataclass(frozen=True, slots=True)
class LoadedGrammar:
    """A parser and its definitions query, bound to this process."""

    language: Language
    parser: Parser
    definitions: QueryCursor

    def parse(self, data: bytes) -> Tree:
        """Return the tree of a file; of EXPONENTIAL languages within PARSE_SECONDS of CPU, else TimeoutError."""
        if self.language.name not in EXPONENTIAL:
            return self.parser.parse(data)
        stop = thread_time() + PARSE_SECONDS
        try:
            return self.parser.parse(
                lambda start, _: data[start : start + READ_BYTES],
                progress_callback=lambda _offset, _has_error: thread_time() > stop,
            )
        except ValueError as error:  # how the binding says that it was stopped
            self.parser.reset()
            raise TimeoutError(f"Parsing {self.language.name} took more than {PARSE_SECONDS:g} s of CPU.") from error


def load_grammar(name: str) -> LoadedGrammar | str:
    """Return the grammar of a table language, or the reason code why there is none."""
    entry = LANGUAGES.get(name)
    if entry is None or not entry.grammar:
        return "no_grammar"
    return _load(entry)


@lru_cache(maxsize=64)
def _load(entry: Language) -> LoadedGrammar | str:
    try:
        module = importlib.import_module(entry.grammar)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # old wheels hand over an int instead of a capsule
            grammar = Grammar(getattr(module, entry.capsule)())
        query = Query(grammar, (QUERIES / f"{entry.query}.scm").read_text(encoding="utf-8"))
    except ImportError:
        return "grammar_missing"
    except (AttributeError, OSError, TypeError, ValueError, SyntaxError):  # another ABI, renamed nodes, no query file
        return "grammar_broken"
    return LoadedGrammar(entry, Parser(grammar), QueryCursor(query))
