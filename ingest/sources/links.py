"""What a text names: ticket keys, design ids and paths."""

from __future__ import annotations

import re
from collections.abc import Iterable

PATH = re.compile(r"(?<![\w/:.@-])((?:[\w.@+-]+/)+[\w@+-][\w.@+-]*\.[A-Za-z]\w{0,9})(?::\d+(?:-\d+)?)?(?![\w/])")
BARE_FILE = re.compile(r"`([\w@+-][\w.@+-]*\.[A-Za-z]\w{0,9})(?::\d+(?:-\d+)?)?`")
URL = re.compile(r"https?://[^\s)>\]]+")
MAX_LINKS = 500


def find_paths(text: str) -> list[str]:
    """Return file paths in the order of their first mention: `a/b.py`, and bare file names in backticks."""
    plain = URL.sub(" ", text)
    found = [(match.start(), match[1]) for match in PATH.finditer(plain)]
    found += [(match.start(), match[1]) for match in BARE_FILE.finditer(plain)]
    return list(dict.fromkeys(path.removeprefix("./") for _, path in sorted(found)))


def join_links(*groups: Iterable[str], without: str | None = None) -> tuple[str, ...]:
    """Return the links of several groups once each, at most MAX_LINKS, without the document's own key."""
    links = dict.fromkeys(link for group in groups for link in group)
    if without:
        links.pop(without, None)
    return tuple(links)[:MAX_LINKS]
