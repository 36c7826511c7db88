"""Sources: configured origins, read into snapshots of entries and documents."""
