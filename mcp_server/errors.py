"""Errors of the read path. Every message is a sentence to whoever can act.

ServerError            `retryable` says whether the same call can succeed later
├── BadRequest         the caller's arguments are wrong (names the valid ones)
├── NotReady           nothing to answer from yet: index empty or still building
│   └── Unreadable     there is an index, and it cannot be opened
├── Unavailable        a stage failed and strict = true forbids the fallback
├── NotFound           unknown trace id, resource, or not permitted (indistinguishable)
├── Withheld           the result held something that the caller may not see: a fault, and nothing is given
├── Refused            a webhook that is not genuine, or was delivered before
└── Overloaded         too many requests at once
"""


class ServerError(Exception):
    """Base of everything that the read path raises on purpose."""

    retryable = False
    retry_after_s = 5  # where it is


class BadRequest(ServerError):
    """The caller's arguments are wrong."""


class NotReady(ServerError):
    """Nothing to answer from yet."""

    retryable = True


class Unreadable(NotReady):
    """There is an index, and it cannot be opened."""


class Unavailable(ServerError):
    """A stage failed and strict = true forbids the fallback."""

    retryable = True


class NotFound(ServerError):
    """Unknown, or not permitted: the two read alike."""


class Withheld(ServerError):
    """A result held what its caller may not see."""


class Refused(ServerError):
    """Not genuine, or delivered before."""


class Overloaded(ServerError):
    """Too many requests at once."""

    retryable = True

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


TRACE_NOTE = "trace="


def mark_trace(error: BaseException, trace_id: str) -> None:
    """Note on an exception in which trace its query is recorded."""
    error.add_note(f"{TRACE_NOTE}{trace_id}")


def trace_of(error: BaseException) -> str:
    """Return the id of the trace that an exception belongs to, "" where there is none."""
    notes = getattr(error, "__notes__", ())
    return next((note.removeprefix(TRACE_NOTE) for note in notes if note.startswith(TRACE_NOTE)), "")


def describe(error: BaseException, max_chars: int = 500) -> str:
    """Return an error as one sentence that ends in its trace id, where it has one."""
    trace_id = trace_of(error)
    return f"{str(error)[:max_chars]} {TRACE_NOTE}{trace_id}" if trace_id else str(error)[:max_chars]
