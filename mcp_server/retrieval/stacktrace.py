"""Stack traces and places (`path:line`): text -> frames and places. Pure, no index."""

from __future__ import annotations

import re
from dataclasses import dataclass

FILE = r"[^\s\"'():,]+\.[A-Za-z]\w{0,4}"
# Python names its frames outermost first, all others innermost first.
PYTHON = re.compile(r"File \"([^\"\n]+)\", line (\d+)(?:, in ([\w.<>]+))?")
# at org.app.Engine.run(Engine.java:12); at run (/srv/app/engine.js:12:5); at App.Engine.Run() in /srv/Engine.cs:line 12
CALLED = re.compile(rf"\bat ([\w.$<>/]+)(?:\([^()\n]{{0,80}}\) in | ?\()(?:file://)?({FILE}):(?:line )?(\d+)")
# src/engine.go:12 +0x1d; at src/main.rs:12:5; #0 run (x=1) at engine.c:12; engine.rb:12:in `run'; engine.php(12)
PLACE = re.compile(rf"({FILE})(?::(\d+)(?::\d+)?(?::in [`'](?:[\w#:]*[#.])?(\w+)['`])?|\((\d+)\))")
# app/models.py:79, app/models.py:79-90, app/models.py:79:5, app/models.py#L79-L90
ASKED = re.compile(
    r"(?<![\w./:@-])(?P<path>[\w.@~+/-]*[A-Za-z_][\w.@~+-]*)"
    r"(?::(?P<line>\d{1,7})(?:-(?P<last>\d{1,7})|:\d+)?|#L(?P<hash>\d{1,7})(?:-L?(?P<hash_last>\d{1,7}))?)(?!\w)"
)
MIN_FRAMES = 2  # one `file:line` is a path that is asked for, not a trace
MAX_FRAMES = 40
MAX_TAILS = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a stack trace: a path as the crashed program knew it, a line, and the function if it is named."""

    path: str
    line: int
    function: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a file that are asked for; `text` as they were written."""

    text: str
    path: str
    line: int
    last: int

    def is_in(self, path: str) -> bool:
        """Tell whether a file's path is the one that is meant, or ends in it."""
        return f"/{path.lower()}".endswith(f"/{self.path.lower().removeprefix('./').lstrip('/')}")


def find_places(text: str) -> tuple[Place, ...]:
    """Return the places that a text names. A name without a dot or folder is one if it is the whole text."""
    found: dict[Place, None] = {}
    for match in ASKED.finditer(text):
        line = int(match["line"] or match["hash"])
        last = int(match["last"] or match["hash_last"] or line)
        if re.search(r"[./]", match["path"]) or match[0] == text.strip():
            found.setdefault(Place(match[0], match["path"], line, max(line, last)))
    return tuple(found)[:MAX_FRAMES]


def find_frames(text: str) -> tuple[Frame, ...]:
    """Return the frames of a stack trace, innermost first; empty where the text is none."""
    python = [Frame(m[1], int(m[2]), m[3] or "") for m in PYTHON.finditer(text)]
    called = [Frame(m[2], int(m[3]), m[1]) for m in CALLED.finditer(text)]
    places = [Frame(m[1], int(m[2] or m[4]), m[3] or "") for m in PLACE.finditer(text)]
    frames = python[::-1] or called or places
    unique = tuple(dict.fromkeys(frames))
    return unique[:MAX_FRAMES] if len(unique) >= MIN_FRAMES else ()


def path_tails(path: str) -> list[str]:
    """Return the ends of a path, longest first: `/srv/app/x/y.py` -> srv/app/x/y.py, app/x/y.py, x/y.py, y.py."""
    parts = path.replace("\\", "/").strip("/").split("/")[-MAX_TAILS:]
    return ["/".join(parts[at:]) for at in range(len(parts))]
