"""Write path: sources -> documents -> chunks -> index generation."""

import os

# One thread per matrix product: more only spin and take the cores from the searches and workers that run beside it.
# Read when numpy is first imported, so it has to stand here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
