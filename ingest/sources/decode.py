"""Bytes to text: UTF-8, UTF-16 with a byte order mark, else one Western single-byte encoding if it reads as text."""

from __future__ import annotations

import codecs
import re

CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # ESC, tabs and line ends occur in text
MAX_HIGH_SHARE = 0.3  # more bytes above 0x7f than this is another encoding, or no text


def decode_text(data: bytes) -> tuple[str | None, str]:
    """Return the text and the encoding's name, or (None, "") if no encoding fits."""
    if data.startswith(codecs.BOM_UTF8):
        return _decode(data[3:], "utf-8", "utf-8-sig")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decode(data, "utf-16", "utf-16")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _decode_single_byte(data)


def _decode(data: bytes, codec: str, name: str) -> tuple[str | None, str]:
    try:
        return data.decode(codec), name
    except UnicodeDecodeError:
        return None, ""


def _decode_single_byte(data: bytes) -> tuple[str | None, str]:
    high = len(data) - len(data.translate(None, bytes(range(128, 256))))
    if CONTROLS.search(data) or high > MAX_HIGH_SHARE * len(data):
        return None, ""
    if re.search(rb"[\x80-\x9f]", data):
        return _decode(data, "cp1252", "cp1252")
    return data.decode("latin-1"), "latin-1"
