"""Record of every query: what went into each stage, what came out, and why. Imports nothing of ours."""
