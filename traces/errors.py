"""Errors of the trace store. Recording never raises; only reading does.

TraceError
└── TraceStoreError    the trace store cannot be read (no permission, damaged, written by a newer version)
"""


class TraceError(Exception):
    """Base of everything that traces raise on purpose."""


class TraceStoreError(TraceError):
    """The trace store cannot be read."""
