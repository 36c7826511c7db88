"""Query -> ranked chunks."""
