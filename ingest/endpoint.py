"""What an OpenAI-compatible endpoint says when it refuses: whether to ask again, after how long, what to correct."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tenacity import RetryCallState
from tenacity.wait import wait_base

RETRIES = 3  # N2
PASSING_STATUS = (408, 409, 429)  # and 500 and above: the same call can succeed later


def is_passing_status(status: int) -> bool:
    """Tell whether the same call can succeed later."""
    return status in PASSING_STATUS or status >= 500


def wait_as_asked(backoff: wait_base) -> Callable[[RetryCallState], float]:
    """Return a wait, in seconds: what the endpoint asked for with its refusal, else `backoff`."""

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        response = getattr(error, "response", None)
        return (read_retry_after_s(response.headers) if response is not None else 0.0) or backoff(state)

    return wait_s


def read_retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds of `Retry-After`, 0 without one. The form with a date is rare and read as none."""
    try:
        seconds = float(headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def advise(status: int, headers: Mapping[str, str], section: str) -> str:
    """Return what to do about a refusal, naming the keys of one section of the configuration; "" where unknown."""
    if status in (401, 403):
        return f" Is the key in the variable that {section}.api_key_env names right?"
    if status == 404:
        return f" Are {section}.base_url (most end in /v1) and {section}.model right?"
    wait_s = read_retry_after_s(headers)
    return f" It asks to wait {wait_s:g} s." if wait_s else ""
