"""Bearing: how much of what a statement says stands in its cited lines, by its words and by its vector.

All names of a statement can be there and the lines still be about something else. Coverage tells that well where the
lines are of another answer, and hardly where they are of the same one, so it makes a label (`weak`), not a finding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mcp_server.answering.aspects import content_words, root, text_roots

# The 5th percentile of 717 sentences of reference answers about four repositories with the lines that they cite
# themselves; 95 % of the lines that other answers cite are below it, 41 % of other lines of the same answer (words
# alone: 92 and 42 %).
WEAK = 0.22
WEAK_WORDS = 0.07  # without vectors
LIKENESS = 0.5  # weight of the cosine beside the share of words
PLENTY = 0.5  # of the words, unweighted: nothing more is asked
LEAST_SHARE = 1e-5  # of the chunks: a word that occurs nowhere


@dataclass(frozen=True, slots=True)
class Bearing:
    """Share of a statement's words in its lines by rarity, 0..1, and the cosine of both; None without vectors."""

    words: float
    likeness: float | None = None

    @property
    def is_weak(self) -> bool:
        """Tell whether hardly anything of the statement stands in the lines."""
        if self.likeness is None:
            return self.words < WEAK_WORDS
        return self.words + LIKENESS * self.likeness < WEAK


def has_plenty(statement: str, lines: str) -> bool:
    """Tell whether lines hold so many words of a statement that no rarity has to be asked for."""
    wanted = frozenset(map(root, content_words(statement)))
    return len(wanted & text_roots(lines)) >= PLENTY * len(wanted)


def word_share(statement: str, lines: str, frequency: Callable[[str], float]) -> float:
    """Return the share of a statement's words that lines hold, by rarity. `frequency`: share of chunks with a word."""
    rarity: dict[str, float] = {}
    for word in content_words(statement):
        here = -math.log(max(frequency(word), LEAST_SHARE))
        rarity[root(word)] = max(rarity.get(root(word), 0.0), here)
    return held_share(rarity, lines)


def held_share(rarity: Mapping[str, float], lines: str) -> float:
    """Return the share of some roots, by their weights, that lines hold; 1 where there are none."""
    total, held = sum(rarity.values()), text_roots(lines)
    return sum(weight for word, weight in rarity.items() if word in held) / total if total else 1.0
