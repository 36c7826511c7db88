"""Records of a JSON export, one by one: arrays, objects that hold one, arrays after arrays, or one object per line.

The file is read in blocks, so that its size does not matter. A record that is broken costs that record, and a file that
ends in the middle yields everything before its end.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TextIO

BLOCK_CHARS = 1 << 20
MAX_RECORD_CHARS = 64 << 20
LIST_KEYS = ("items", "issues", "nodes", "data", "tickets", "pullRequests", "repository", "project", "results")
BLANK = re.compile(r"[\s,\ufeff]*")
TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)
VALUE = re.compile(r"\s*:\s*([\[{]?)")  # after the name of a member
OWN_KEYS = frozenset(("number", "iid", "key", "identifier"))
HOLDER = object()
HEAD_CHARS = 65_536
decoder = json.JSONDecoder(strict=False)  # control characters inside of strings are common in exports


def _decode_stray(error: UnicodeError) -> tuple[str, int]:
    """Read bytes that are no UTF-8 as Windows-1252: an export that was put together from several encodings."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(byte) if byte in UNDEFINED else bytes((byte,)).decode("cp1252") for byte in bad), error.end


UNDEFINED = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))  # of Windows-1252; Latin-1 has control characters there
STRAY = "codecairn-stray"
codecs.register_error(STRAY, _decode_stray)


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that could not be read, with a reason of `SKIP_REASONS`."""

    reason: Literal["bad_record", "truncated"]
    detail: str


class _Text:
    """A window on a text stream: `text[at:]` is what was read and not consumed yet."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.text = ""
        self.at = 0

    def grow(self) -> bool:
        """Read on, twice as far each time; say whether there was anything."""
        more = self._stream.read(max(BLOCK_CHARS, len(self.text) - self.at))
        self.text = self.text[self.at :] + more
        self.at = 0
        return bool(more)

    def peek(self) -> str:
        """Return the next character that is neither blank nor a comma, or "" at the end."""
        while True:
            self.at = BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]  # it matches nothing too
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.grow():
                return ""

    @property
    def is_huge(self) -> bool:
        """Say whether what is not consumed is larger than any record may be."""
        return len(self.text) - self.at > MAX_RECORD_CHARS


def stream_records(stream: TextIO) -> Iterator[dict[str, Any] | Fault]:
    """Yield the records of a JSON export in order, and a Fault in the place of each that cannot be read."""
    text = _Text(stream)
    open_brackets: list[str] = []
    while mark := text.peek():
        if mark in "]}":
            text.at += 1
            if open_brackets:
                open_brackets.pop()
        elif mark == "[":
            text.at += 1
            open_brackets.append(mark)
        elif mark == '"' and open_brackets[-1:] == ["{"]:
            fault = _pass_member(text, open_brackets)
            if fault:
                yield fault
                return
        else:
            value = _next_value(text, is_line=not open_brackets, may_hold=open_brackets[-1:] != ["["])
            if isinstance(value, Fault):
                yield value
                if value.reason == "truncated":
                    return
            elif value is HOLDER:
                text.at += 1
                open_brackets.append("{")
            elif isinstance(value, dict):
                yield from [value] if open_brackets else expand(value)
            else:
                yield _no_ticket(value)
    if open_brackets:
        yield Fault("truncated", "the file ends in the middle of a list")


def expand(value: dict[str, Any]) -> Iterator[dict[str, Any] | Fault]:
    """Yield the tickets of an object that holds them, however deep, else the object itself."""
    inner = next((value[key] for key in LIST_KEYS if isinstance(value.get(key), list | dict)), None)
    if inner is None or not OWN_KEYS.isdisjoint(value):
        yield value
    elif isinstance(inner, dict):
        yield from expand(inner)
    else:
        for item in inner:
            yield item if isinstance(item, dict) else _no_ticket(item)


def _no_ticket(value: object) -> Fault:
    return Fault("bad_record", f"{type(value).__name__} where a ticket was expected")


def _holds_list(text: _Text) -> bool:
    """Guess from the beginning of an object, by the names of its members, whether it holds the list of tickets."""
    depth = 0
    for token in TOKEN.finditer(text.text, text.at, text.at + HEAD_CHARS):
        mark = token[0]
        if mark in "[{]}":
            depth += 1 if mark in "[{" else -1
        elif depth == 1 and (value := VALUE.match(text.text, token.end())):
            if mark[1:-1] in OWN_KEYS:
                return False
            if value[1] and mark[1:-1] in LIST_KEYS:
                return True
    return False


def _pass_member(text: _Text, open_brackets: list[str]) -> Fault | None:
    """Consume one member of an object that holds the list: enter the list, pass over everything else."""
    name = _next_value(text)
    if isinstance(name, Fault):
        return Fault("truncated", name.detail)
    if text.peek() != ":":
        return Fault("truncated", "a name without a value")
    text.at += 1
    mark = text.peek()
    if name in LIST_KEYS and mark and mark in "[{":
        text.at += 1
        open_brackets.append(mark)
        return None
    value = _next_value(text)
    return value if isinstance(value, Fault) and value.reason == "truncated" else None


def _next_value(text: _Text, *, is_line: bool = False, may_hold: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    """Consume and return one value, or a Fault, or HOLDER (nothing consumed) for an object to be read piece by piece.

    `is_line`: it stands alone, so that a line break ends it when it is broken.
    """
    while True:
        try:
            value, end = decoder.raw_decode(text.text, text.at)
            is_cut = end == len(text.text) and isinstance(value, int | float)  # the number may go on
        except json.JSONDecodeError as error:
            fault, is_cut = error.msg, True
            if may_hold and len(text.text) - text.at < HEAD_CHARS and text.grow():
                continue
            if may_hold and _holds_list(text):
                return HOLDER
            end = _find_end(text, is_line=is_line)
            if end:
                text.at = end
                return Fault("bad_record", fault)
        except RecursionError:
            return Fault("truncated", "nested too deeply")
        else:
            fault = ""
            if not is_cut:
                text.at = end
                return value
        if text.is_huge:
            return Fault("truncated", f"a record is larger than {MAX_RECORD_CHARS >> 20} MB")
        if not text.grow():
            if not fault:
                text.at = end
                return value
            return Fault("truncated", f"the file ends in the middle of a record ({fault})")


def _find_end(text: _Text, *, is_line: bool) -> int:
    """Return where a broken record ends, 0 when that cannot be told from what was read."""
    if is_line and (line := text.text.find("\n{", text.at)) >= 0:
        return line
    depth = 0
    for token in TOKEN.finditer(text.text, text.at):
        mark = token[0]
        if mark == '"':
            break
        depth += (mark in "[{") - (mark in "]}")
        if depth <= 0 and mark in "]}":
            return token.end() if mark == "}" or depth == 0 else 0
        if depth == 0 and token.start() > text.at:
            break
    return 0
