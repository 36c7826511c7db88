"""Lists are read where they lie, and what is read is what was written."""

import json
from bisect import bisect_left

import pytest

from ingest.index.listed import BLOCK, Records, Words

ODD = ['"', "\\", '\\"', 'a"],["b', "[", "]", ",", "\\\\", "naïve", "\U0001f600", "\ud800", "],[", 'null],["']


def encode(value):
    return b"head" + json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"tail"


def open_words(words):
    data = encode(words)
    return Words(data, 4, len(data) - 8)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK])
def test_words_are_found_as_in_a_list(count):
    words = sorted({*ODD, *(f"word{number:03}" for number in range(count))}) if count else []
    found = open_words(words)
    assert len(found) == len(words)
    for word in [*words, *ODD, "", "word", "word0015", "zzz", "\U0010ffff"]:
        assert found.place(word) == bisect_left(words, word), word
        assert found.index(word) == (words.index(word) if word in words else None), word


def test_records_are_those_that_were_written():
    rows = [[text, None, other] for text in ODD for other in ("", *ODD)]
    data = encode(rows)
    records = Records(data, 4, len(data) - 8, tuple)
    assert [list(records[place]) for place in range(len(rows))] == rows
    with pytest.raises(IndexError):
        records[len(rows)]


def test_a_list_that_was_cut_off_is_refused():
    data = encode(["one", "two"])
    with pytest.raises(ValueError, match="no end"):
        Words(data, 4, len(data) - 10)
