import pytest

from mcp_server.answering.claims import find_anchors, find_claims, quoted_code, split_claims


def anchors(text: str) -> list[tuple[str, str]]:
    return [(a.kind, a.text) for a in find_anchors(text)]


@pytest.mark.req("R18")
def test_sentences_keep_abbreviations_paths_and_code_whole() -> None:
    text = "See src/app.py:12. It is used, e.g. `Cache.get()`, in two places. Version 1.2.3 is fine."
    assert split_claims(text) == [
        "See src/app.py:12.",
        "It is used, e.g. `Cache.get()`, in two places.",
        "Version 1.2.3 is fine.",
    ]


@pytest.mark.req("R18")
def test_markdown_structure_is_not_claimed() -> None:
    text = """\
# Heading

Intro of the list:
- First item is `a_b`.
- Second item is `c_d`.

```python
x = "not a claim. Neither this."
```
| name | value |
|------|-------|
| size | 30 s |

Is this a question?
I found three files.
"""
    assert split_claims(text) == ["First item is `a_b`.", "Second item is `c_d`.", "name - value", "size - 30 s"]


@pytest.mark.req("R18")
def test_anchors_of_every_kind_are_found_in_one_claim() -> None:
    found = anchors(
        '`Cache.get` in src/cache.py:3-9 waits 30 s, see #12: "the lock is held too long" (read_all, HTTPServer).'
    )
    assert ("symbol", "Cache.get") in found
    assert ("path", "src/cache.py") in found
    assert ("number", "30 s") in found
    assert ("ticket", "#12") in found
    assert ("quote", "the lock is held too long") in found
    assert ("symbol", "read_all") in found


def test_line_numbers_belong_to_their_path() -> None:
    assert find_anchors("See src/cache.py:3-9 there.")[0].lines == (3, 9)


@pytest.mark.parametrize("end", [".", "...", ".)", ",", ". Then"])
def test_a_path_ends_before_the_full_stop(end: str) -> None:
    assert anchors(f"`Cache` is defined in src/deep/cache.py{end}")[-1] == ("path", "src/deep/cache.py")
    assert anchors(f"`Cache` is below src/deep/cache{end}")[-1] == ("path", "src/deep/cache")


def test_a_quote_keeps_the_address_in_it() -> None:
    said = 'CHANGES.md says: "suppress the abort ([#7](https://example.org/pull/7)) in recover"'
    quotes = [anchor.text for anchor in find_anchors(said) if anchor.kind == "quote"]
    assert quotes == ["suppress the abort ([#7](https://example.org/pull/7)) in recover"]


def test_names_inside_a_quote_are_not_anchors_of_their_own() -> None:
    assert anchors('It says "please call read_all() before close_all".') == [
        ("quote", "please call read_all() before close_all")
    ]


def test_code_passages_and_names_are_told_apart() -> None:
    assert anchors("It does `if x: return y` in `run`.") == [("passage", "if x: return y"), ("symbol", "run")]


@pytest.mark.parametrize(
    "text", ["a method like `_load_certs` would do", "names such as `my_handler` here", "`foo` is shown"]
)
def test_placeholders_are_exempt(text: str) -> None:
    assert [a.exempt for a in find_anchors(text)] == [True]


def test_standards_are_not_tickets() -> None:
    assert anchors("It is UTF-8 and SHA-256 but PROJ-7 is a ticket") == [("ticket", "PROJ-7")]


RST = """Orders
======

Call ``place_order`` to place one::

    order = place_order(no_such_cart)

    order.no_such_method()
It ends with ``close_order``.

.. _No_Such Site: https://example.org/no_such
.. note:: Use ``read_order`` here.

.. code-block:: python
   :linenos:

   def no_such_example(): ...

The console says:

>>> no_such_session()
no_such_result

and then ``stop_order`` is called.
"""


def test_code_and_link_targets_of_restructured_text_are_no_claims() -> None:
    names = [
        anchor.text for claim in find_claims(RST) for anchor in find_anchors(claim.text) if anchor.kind == "symbol"
    ]
    assert names == ["close_order", "read_order", "stop_order"]
    for claim in find_claims(RST):
        assert " ".join(RST[claim.start : claim.end].split()) == claim.text
    assert "def no_such_example(): ..." in quoted_code(RST)
    assert "no_such_session()" in quoted_code(RST).split("\n")


def test_a_number_holds_no_name() -> None:
    assert anchors("The limit is 500_000 bytes.") == [("number", "500_000 bytes")]
