"""Training of the static embedder: repositories -> pairs -> weights. Not imported at run time.

`python -m ingest.embedding.training --help` says how to rebuild the shipped weights.
"""
