"""The keys of a data directory: the newest signs cursors and names principals in traces, former ones still find theirs.

One file, `secret.key`: keys of 32 bytes, the newest first. A key that was rotated away names nobody any more; it is
kept so that the traces named with it can still be read and deleted by whom they belong to, until it is dropped.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ingest.errors import ConfigError
from ingest.index.files import disk_errors

NAME = "secret.key"
KEY_BYTES = 32


def read_keys(data_dir: Path, *, may_make: bool = True) -> tuple[bytes, ...]:
    """Return the keys, the newest first; one is made on first use. Raises ConfigError for a damaged file, DiskFull.

    `may_make`: False where none can be written; one that lasts as long as this process stands in for the first.
    """
    path = data_dir / NAME
    if not path.exists() and not may_make:
        return (os.urandom(KEY_BYTES),)
    if not path.exists():
        _make_first(path)
    content = path.read_bytes()
    if not content or len(content) % KEY_BYTES:
        raise ConfigError(
            f"{path} has {len(content)} bytes and holds keys of {KEY_BYTES}. Restore it from a backup, or remove it: "
            "traces of before can then no longer be read."
        )
    return tuple(content[at : at + KEY_BYTES] for at in range(0, len(content), KEY_BYTES))


def rotate_key(data_dir: Path, *, drop_former: bool = False) -> int:
    """Put a new key in front; return how many there are now. Raises ConfigError."""
    former = () if drop_former else read_keys(data_dir)
    keys = (os.urandom(KEY_BYTES), *former)
    _write_keys(data_dir, keys).replace(data_dir / NAME)
    return len(keys)


def _make_first(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = _write_keys(path.parent, (os.urandom(KEY_BYTES),))
    try:
        os.link(made, path)  # whole at once; whoever comes second takes the key of the first
    except FileExistsError:
        pass
    finally:
        made.unlink()


def _write_keys(folder: Path, keys: tuple[bytes, ...]) -> Path:
    with disk_errors(folder, f"key {NAME}", "Free some space."):
        handle, name = tempfile.mkstemp(prefix=f"{NAME}.", dir=folder)  # for the owner only
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(b"".join(keys))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.unlink(name)
            raise
    return Path(name)
