"""The on-disk index, reader and writer together: both share one format.

What stands here is imported when it is asked for: a worker that needs the tokens loads no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.index.generation import (
        begin_publication,
        check_rollback,
        collect_garbage,
        generations,
        recover,
        roll_back,
        status,
    )
    from ingest.index.reader import Index
    from ingest.index.schema import Manifest, SourceState, SymbolHit
    from ingest.index.scored import Scored

__all__ = [
    "Index",
    "Manifest",
    "Scored",
    "SourceState",
    "SymbolHit",
    "begin_publication",
    "check_rollback",
    "collect_garbage",
    "generations",
    "recover",
    "roll_back",
    "status",
]
PLACES = {
    "Index": "reader",
    "Manifest": "schema",
    "Scored": "scored",
    "SourceState": "schema",
    "SymbolHit": "schema",
    "begin_publication": "generation",
    "check_rollback": "generation",
    "collect_garbage": "generation",
    "generations": "generation",
    "recover": "generation",
    "roll_back": "generation",
    "status": "generation",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it is
    """Import one of the names."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
