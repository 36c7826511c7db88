"""Forms in which names, paths and keys are looked up: one for what is indexed and what is asked."""

from __future__ import annotations

import re
from functools import lru_cache

from ingest.index.keys import key_form

MAX_SUFFIXES = 8  # path and qualified-name suffixes that are indexed
QUALIFIER = re.compile(r"::|->|[.#/\\]")


def clean(text: str) -> str:
    """Replace lone surrogates, which the engine's strings cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def file_term(source: str, path: str) -> str:
    """Return the raw term that every chunk of one entry carries."""
    return clean(f"{source}\x1f{path}")


def normalise_key(key: str) -> str:
    """Return the form in which keys and links are compared, free of control characters."""
    return clean(key_form(key))


def qualified(name: str) -> str:
    """Return a qualified name with dots: `A::b`, `A->b`, `A#b` -> `A.b`."""
    return QUALIFIER.sub(".", name.strip()).strip(".")


@lru_cache(maxsize=16_384)
def path_tails(path: str) -> tuple[str, ...]:
    """Return the lower-cased suffixes of a path at its slashes, and the stem: `a/b.py` -> a/b.py, b.py, b."""
    parts = clean(path).lower().split("/")
    tails = ["/".join(parts[start:]) for start in range(max(0, len(parts) - MAX_SUFFIXES), len(parts))]
    stem = parts[-1].split(".")[0]
    whole = "/".join(parts)
    return tuple(dict.fromkeys(filter(None, (whole, *tails, stem))))


def name_tails(name: str, qualname: str) -> list[str]:
    """Return what a symbol answers to: its name and every dotted suffix of its qualified name."""
    if name == qualname and name.isidentifier():  # most are plain
        return [name]
    parts = qualified(qualname).split(".")
    start = max(0, len(parts) - MAX_SUFFIXES)
    tails = [".".join(parts[at:]) for at in range(start, len(parts))]
    return [tail for tail in dict.fromkeys((name, *tails)) if tail]
