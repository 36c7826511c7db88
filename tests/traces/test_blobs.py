"""Canonical JSON, hashes and redaction of structures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from traces.blobs import Redact, Redactor, canonical, compress, dump, expand, hash_value, parse


def redact_value(value: object, redact: Redact) -> object:
    return parse(Redactor(redact).clean([dump(value)])[0])


@dataclass(frozen=True)
class Point:
    y: float
    x: int


def test_equal_values_have_one_form_and_one_hash() -> None:
    one = {"b": (1, 2.5), "a": {"z": None, "y": frozenset({"q", "p"})}, "point": Point(0.1, 2**62)}
    same = {"point": {"x": 2**62, "y": 0.1}, "a": {"y": ["p", "q"], "z": None}, "b": [1, 2.5]}
    assert canonical(one) == canonical(same)
    assert canonical(one) == b'{"a":{"y":["p","q"],"z":null},"b":[1,2.5],"point":{"x":4611686018427387904,"y":0.1}}'
    assert hash_value(one) == hash_value(same) != hash_value({**same, "b": [1, 2.6]})
    assert re.fullmatch(r"b2:[0-9a-f]{32}", hash_value(one))


def test_content_survives_compression_to_the_last_bit() -> None:
    value = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 2**63 - 1, "ü \ud800 \x00"]
    again = parse(expand(compress(canonical(value))))
    assert again == value and str(again[3]) == "-0.0"


def test_every_string_and_key_is_redacted() -> None:
    value = {"k": ["a secret", {"secret": "none", "n": 1}], "b": True, "c": None}
    clean = redact_value(value, lambda text: text.replace("secret", "******"))
    assert clean == {"k": ["a ******", {"******": "none", "n": 1}], "b": True, "c": None}


def test_what_stands_at_the_end_of_a_string_is_redacted_among_others() -> None:
    at_end = re.compile(r"(?<=: )\w+$", re.MULTILINE)
    value = {"first": "token: one", "next": ["token: two", "token: three, no"]}
    clean = redact_value(value, lambda text: at_end.sub("***", text))
    assert clean == {"first": "token: ***", "next": ["token: ***", "token: three, no"]}


def test_a_string_that_was_clean_once_is_not_looked_at_again_and_one_that_was_not_is() -> None:
    asked: list[str] = []
    redactor = Redactor(lambda text: asked.append(text) or text.replace("secret", "***"))  # type: ignore[func-returns-value]
    for _ in range(2):
        assert redactor.clean(['["plain","secret \\"x\\""]']) == ['["plain","*** \\"x\\""]']
    assert "plain" in asked[0] and "plain" not in asked[1] and "secret" in asked[1]


def test_rule_that_reaches_from_one_string_into_the_next_masks_each_alone() -> None:
    greedy = re.compile(r"key=.*", re.DOTALL)
    value = ["first", "key=1", "second", "key=2\x00 and more", "last"]
    assert redact_value(value, lambda text: greedy.sub("***", text)) == ["first", "***", "second", "***", "last"]
    assert redact_value(value[:3], lambda text: greedy.sub("***", text)) == ["first", "***", "second"]
