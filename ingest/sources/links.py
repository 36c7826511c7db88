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
    if "/" not in text and "`" not in text:
        return []
    found: dict[str, None] = {}
    for word in URL.sub(" ", text).split():  # no path has a blank in it, and few words hold a slash
        if "/" in word or "`" in word:
            matches = sorted((match.start(), match[1]) for p in (PATH, BARE_FILE) for match in p.finditer(word))
            found.update((path.removeprefix("./"), None) for _, path in matches)
    return list(found)


def join_links(*groups: Iterable[str], without: str | None = None) -> tuple[str, ...]:
    """Return the links of several groups once each, at most MAX_LINKS, without the document's own key."""
    links = dict.fromkeys(link for group in groups for link in group)
    if without:
        links.pop(without, None)
    return tuple(links)[:MAX_LINKS]
