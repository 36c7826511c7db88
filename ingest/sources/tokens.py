"""Access tokens of remote sources: named in the configuration, held by the environment."""

from __future__ import annotations

import os

from ingest.config import SourceConfig
from ingest.errors import SourceError


def read_token(config: SourceConfig) -> str:
    """Return a source's token, "" where its configuration names none. Raises SourceError for an unset variable."""
    token = os.environ.get(config.token_env, "") if config.token_env else ""
    if config.token_env and not token:
        raise SourceError(f"The environment variable {config.token_env} is not set; it must hold the token.")
    return token
