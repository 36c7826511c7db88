"""Write path: sources -> documents -> chunks -> index generation."""
