"""Path globs as one regular expression that both engines understand."""

from __future__ import annotations

import re

SPECIAL = re.compile(r"([\\.+()|\[\]{}^$&~#\-])")


def glob_pattern(glob: str) -> str:
    """Return an anchored pattern: `*` stays within a folder, `**` crosses folders, a bare name matches at any depth.

    `src/` and `src` mean everything below src as well.
    """
    glob = glob.strip().removeprefix("./").removeprefix("/")
    if not glob:
        return ""
    anywhere = "" if "/" in glob.rstrip("/") else "(.*/)?"
    body = "".join(_piece(part) for part in re.split(r"(\*\*/|/\*\*|\*\*|\*|\?)", glob.rstrip("/")))
    return anywhere + body + ("" if body.endswith((".*", "(/.*)?")) else "(/.*)?")


def _piece(part: str) -> str:
    known = {"**/": "(.*/)?", "/**": "(/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return known[part] if part in known else SPECIAL.sub(r"\\\1", part)
