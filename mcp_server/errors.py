"""Errors of the read path. Every message is a sentence to whoever can act.

ServerError            `retryable` says whether the same call can succeed later
├── BadRequest         the caller's arguments are wrong (names the valid ones)
├── NotReady           nothing to answer from yet: index empty or still building
├── Unavailable        a stage failed and strict = true forbids the fallback
├── NotFound           unknown trace id, resource, or not permitted (indistinguishable)
└── Overloaded         too many requests at once
"""


class ServerError(Exception):
    """Base of everything that the read path raises on purpose."""

    retryable = False


class BadRequest(ServerError):
    """The caller's arguments are wrong."""


class NotReady(ServerError):
    """Nothing to answer from yet."""

    retryable = True


class Unavailable(ServerError):
    """A stage failed and strict = true forbids the fallback."""

    retryable = True


class NotFound(ServerError):
    """Unknown, or not permitted: the two read alike."""


class Overloaded(ServerError):
    """Too many requests at once."""

    retryable = True
