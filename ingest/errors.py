"""Errors of the write path. Every message is a sentence to whoever can act.

IngestError
├── ConfigError            a setting is wrong; names the key and the nearest valid one
├── SourceError            a source cannot be read (path gone, no repository, no permission)
│   ├── Changing           a file changed or vanished while it was indexed
│   └── GitError           git refused or failed
│       └── MirrorDamaged  our own copy of a repository cannot be read; it can be made anew
├── IndexStateError        the index cannot be opened as it is
│   ├── IndexEmpty         nothing was ever published
│   ├── IndexGone          it was removed, moved or replaced while it was open
│   ├── IndexCorrupt       files of a generation do not match its manifest
│   ├── EmbedderMismatch   the query's embedder is not the one that the generation was built with
│   └── VectorUnavailable  the vector side of a generation cannot be read
├── WriterBusy             another process holds the writer lock
├── PublishRefused         a built generation did not pass validation; the current one stays
├── EmbeddingError         an embedding endpoint failed
└── DiskFull               no space left; nothing was published
"""


class IngestError(Exception):
    """Base of everything that the write path and the index raise on purpose."""


class ConfigError(IngestError):
    """A setting is wrong."""


class SourceError(IngestError):
    """A source cannot be read."""


class Changing(SourceError):
    """A file changed or vanished while it was indexed; the next build takes it up."""


class GitError(SourceError):
    """Git refused or failed."""


class MirrorDamaged(GitError):
    """Our own copy of a repository cannot be read."""


class IndexStateError(IngestError):
    """The index cannot be opened as it is."""


class IndexEmpty(IndexStateError):
    """Nothing was ever published."""


class IndexGone(IndexStateError):
    """The index was removed, moved or replaced while it was open."""


class IndexCorrupt(IndexStateError):
    """Files of a generation do not match its manifest."""


class EmbedderMismatch(IndexStateError):
    """The configured embedder is not the one that the generation was built with."""


class VectorUnavailable(IndexStateError):
    """The vector side of a generation cannot be read."""


class WriterBusy(IngestError):
    """Another process holds the writer lock."""


class PublishRefused(IngestError):
    """A built generation did not pass validation. `source`: the one that is at fault, "" where that is not known."""

    def __init__(self, message: str, source: str = "") -> None:
        super().__init__(message)
        self.source = source


class EmbeddingError(IngestError):
    """An embedding endpoint failed."""


class DiskFull(IngestError):
    """No space left on the device of the data directory."""
