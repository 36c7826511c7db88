"""Which literals a text can hold: never one too few."""

import random

from ingest.literals import SHORT, LiteralSet

LITERALS = ("sk", "://", "akia", "-----begin ", "access_key", "token")


def filler(rng, size):
    return "".join(rng.choice("abcdefgxyz_ .-\n") for _ in range(size))


def test_every_literal_that_a_text_holds_is_possible_wherever_it_stands_and_however_long_the_text_is():
    rng, literals = random.Random(7), LiteralSet(LITERALS)
    for size in (0, 10, SHORT - 1, SHORT, 5 * SHORT):
        for literal in LITERALS:
            text = filler(rng, size)
            at = rng.randint(0, len(text))
            for held in (text[:at] + literal + text[at:], literal + text, text + literal, f"é{text}{literal}\ud800"):
                assert literal in literals.possible_in(held)


def test_a_long_text_without_them_is_not_searched_for_them():
    text = filler(random.Random(8), 5 * SHORT)
    assert "akia" not in text
    assert LiteralSet(LITERALS).possible_in(text) <= {"sk", "://"}


def test_two_sets_asked_about_the_same_texts_in_turn_do_not_see_each_others_answers():
    one, other = LiteralSet(("ignore all", "akia")), LiteralSet(("token", "://"))
    plain = "x " * SHORT
    for text, of_one, of_other in (
        (plain + "ignore\nall", {"ignore all"}, set()),  # a line feed counts as a space
        (plain + "token", set(), {"token"}),
        ("ignore\nall", {"ignore all"}, set()),
        (plain, set(), set()),
    ):
        assert (one.possible_in(text), other.possible_in(text)) == (of_one, of_other)
