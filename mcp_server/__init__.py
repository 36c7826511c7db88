"""Read path and every surface."""
