"""Waiting for what another thread or process does, with a deadline that a slow machine keeps."""

import time

PATIENCE_S = 60


def wait_until(holds):
    """Tell whether something came to hold within a minute."""
    for _ in range(PATIENCE_S * 20):
        if holds():
            return True
        time.sleep(0.05)
    return False
