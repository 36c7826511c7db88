"""Evidence -> checked answer."""
