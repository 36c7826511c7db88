"""The vocabulary of names: what it reads of a text, and what it tells of names without looking at each one anew."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.embedding.static import StaticEmbedder
from mcp_server.answering.vocabulary import NO_NAMES, Vocabulary

WORD = re.compile(r"(\.)?\b([A-Za-z_]\w+)(?=([ \t]*[(.=:\[])?)")
CODE = st.text(alphabet="ab_Z1é .(=:[)\n\t,", max_size=60)


@pytest.mark.req("F1")
@given(CODE)
def test_a_text_has_the_names_that_a_plain_pattern_finds_line_by_line(text):
    known = Vocabulary()
    names = known.read(text)
    lines = [WORD.findall(line) for line in text.split("\n")]
    expected = [[name for _, name, _ in line if name not in NO_NAMES] for line in lines]
    held = [[known.names[n] for at, n in names.held.T.tolist() if at == line] for line in range(len(lines))]
    assert held == [list(dict.fromkeys(own)) for own in expected]
    assert list(names.lengths) == [len(line) + 1 for line in text.split("\n")]
    table = {known.names[number]: (bool(code), lines, first) for number, code, lines, first in names.table.T.tolist()}
    for name, (in_code, count, first) in table.items():
        holding = [at for at, own in enumerate(expected) if name in own]
        assert (count, first) == (len(holding), holding[0])
        assert in_code == any(dot or after for line in lines for dot, found, after in line if found == name)


@pytest.mark.req("F1")
def test_the_likeness_of_a_name_is_the_cosine_of_its_vector_and_nothing_is_like_a_name_without_words():
    known, model, text = Vocabulary(), StaticEmbedder(), "How are payments retried at the gateway?"
    names = ["retry_payment", "Gateway", "____", "parse_header", "x9"]
    numbers = np.array([known.number_of(name) for name in names])
    expected = model.embed_passages(names) @ model.embed_query(text)
    assert known.likeness(numbers, text) == pytest.approx(expected, abs=1e-5)
    assert known.likeness(numbers, text)[2] == 0


@pytest.mark.req("F1")
def test_names_match_by_the_roots_of_their_parts():
    known = Vocabulary()
    numbers = [known.number_of(name) for name in ("retry_payment", "payments", "parse_header")]
    match = known.match({"retri": 6.0, "payment": 5.0, "refund": 9.0})
    assert match.total[numbers].tolist() == [11.0, 5.0, 0.0]
    assert match.share[numbers].tolist() == [1.0, 1.0, 0.0]
