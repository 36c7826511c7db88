"""The on-disk index, reader and writer together: both share one format."""

from ingest.index.generation import begin_publication, collect_garbage, generations, recover, roll_back, status
from ingest.index.reader import Index
from ingest.index.schema import Manifest, Scored, SourceState, SymbolHit

__all__ = [
    "Index",
    "Manifest",
    "Scored",
    "SourceState",
    "SymbolHit",
    "begin_publication",
    "collect_garbage",
    "generations",
    "recover",
    "roll_back",
    "status",
]
