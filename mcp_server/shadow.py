"""Shadow mode: another environment's settings answer a share of the live queries; recorded, compared, never shown (E9).

The share is drawn by the id of the trace, so that a replay draws the same ones. One thread works behind the answers;
what it cannot keep up with is dropped and counted.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ingest.access import Principal
from ingest.errors import ConfigError, IngestError
from mcp_server.config import Setup
from mcp_server.errors import ServerError
from mcp_server.results import AnswerRequest, SearchRequest
from mcp_server.service import Service
from traces.model import Caller

CLIENT = "shadow"  # the caller of a shadow query; its request id is the live trace
MAX_WAITING = 32
SAME = ("source", "index", "embedding", "access")  # both environments read one index


class Shadow:
    """Runs a second configuration behind a live service, over the same index and into the same traces."""

    def __init__(self, live: Service, setup: Setup, share: float, warn: Callable[[str], None]) -> None:
        check_shared_index(live.setup, setup)
        self._own = Service(setup, kind="shadow")
        self._service = self._own.recording_into(live.store)
        self._share = share
        self._warn = warn
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shadow")
        self._room = threading.BoundedSemaphore(MAX_WAITING)
        self.dropped = 0
        live.follow(self.observe)

    def observe(self, request: SearchRequest | AnswerRequest, principal: Principal, trace_id: str) -> None:
        """Queue a live request if it is drawn; returns at once."""
        if not is_drawn(trace_id, self._share):
            return
        if not self._room.acquire(blocking=False):
            self.dropped += 1
            return
        self._pool.submit(self._run, request, principal, trace_id)

    def _run(self, request: SearchRequest | AnswerRequest, principal: Principal, trace_id: str) -> None:
        caller = Caller(client=CLIENT, request_id=trace_id)
        try:
            if isinstance(request, SearchRequest):
                self._service.search(request, principal, caller=caller)
            else:
                self._service.answer(request, principal, caller=caller, use_cache=False)
        except (IngestError, ServerError) as error:  # its trace has it, as failed
            self._warn(f"shadow: {error}")
        finally:
            self._room.release()

    def close(self) -> None:
        """Finish what is queued and end."""
        self._pool.shutdown(wait=True)
        if self.dropped:
            self._warn(f"shadow: {self.dropped} drawn queries were dropped, it could not keep up")
        self._own.close()


def is_drawn(trace_id: str, share: float) -> bool:
    """Tell whether a query is among the share that is run again."""
    drawn = int.from_bytes(hashlib.blake2b(trace_id.encode(), digest_size=8).digest(), "big")
    return drawn < share * 2**64


def check_shared_index(live: Setup, other: Setup) -> None:
    """Raise ConfigError unless both environments can read one index."""
    one, two = live.snapshot(), other.snapshot()
    for section in SAME:
        if one[section] != two[section]:
            raise ConfigError(
                f"The settings of {other.settings.environment} differ from those of {live.settings.environment} in "
                f"{section}, so its queries cannot run in the shadow over the same index. Compare the two with "
                "`codecairn golden run` instead, or make that section equal."
            )
