"""Which language a file is written in: by name, else by its first bytes."""

from __future__ import annotations

import re

from ingest.languages.table import BY_EXTENSION, BY_FILENAME, BY_INTERPRETER

HEAD_BYTES = 4096
SHEBANG = re.compile(rb"^#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+)*)?(?:\S*/)?([A-Za-z_-]+)")
CPP_HEADER = re.compile(
    rb"^\s*(?:class\s+\w|namespace\b|template\s*<|using\s+\w|public:|private:|protected:)|\bstd::|^#include\s*<[a-z_]+>",
    re.MULTILINE,
)
OBJC_HEADER = re.compile(rb"^\s*(?:@interface|@protocol|@class|#import)\b", re.MULTILINE)
MATLAB = re.compile(rb"^\s*(?:function\b|%|classdef\b)", re.MULTILINE)
DIALOGUE = {"pl": rb"^\s*:-", "ts": rb"^<\?xml"}  # Prolog, Qt translations


def detect_language(path: str, head: bytes = b"") -> str | None:
    """Return the table name of a file's language, or None. `head` is its first bytes (HEAD_BYTES are enough)."""
    name = path.rpartition("/")[2].lower()
    by_name = BY_FILENAME.get(name)
    if by_name:
        return by_name
    stem, dot, extension = name.rpartition(".")
    if dot and extension in BY_EXTENSION:
        return _settle(extension, BY_EXTENSION[extension], head[:HEAD_BYTES])
    if stem and stem in BY_FILENAME:  # Dockerfile.dev, Makefile.linux
        return BY_FILENAME[stem]
    return detect_shebang(head)


def detect_shebang(head: bytes) -> str | None:
    """Return the language of a `#!` line, or None."""
    match = SHEBANG.match(head)
    if not match:
        return None
    interpreter = match[1].decode("ascii").lower().rstrip("-")
    return BY_INTERPRETER.get(interpreter)


def _settle(extension: str, language: str, head: bytes) -> str | None:
    """Decide extensions that several languages share by what the file starts with."""
    if extension == "h":
        if OBJC_HEADER.search(head):
            return "objc"
        return "cpp" if CPP_HEADER.search(head) else "c"
    if extension == "m" and MATLAB.search(head) and not OBJC_HEADER.search(head):
        return "matlab"
    if extension in DIALOGUE and re.match(DIALOGUE[extension], head):
        return "xml" if extension == "ts" else None
    return language
