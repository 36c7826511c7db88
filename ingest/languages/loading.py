"""Grammars, loaded when first needed. A missing or broken wheel is a reason code, never a crash."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tree_sitter import Language as Grammar
from tree_sitter import Parser, Query, QueryCursor

from ingest.languages.table import LANGUAGES, Language

QUERIES = Path(__file__).parent / "queries"


@dataclass(frozen=True, slots=True)
class LoadedGrammar:
    """A parser and its definitions query, bound to this process."""

    language: Language
    parser: Parser
    definitions: QueryCursor


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
