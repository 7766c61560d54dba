"""Swapped words: a permutation of two units, in any script, as often as asked."""

from __future__ import annotations

import numpy as np
import pytest

from slr.captions.swap import swap_words


@pytest.mark.parametrize(
    "text", ["the boy goes home", "پسر به خانه رفت", "今天北方下雨", "मैं हिन्दी बोलता हूँ मेरी", "مَدْرَسَةٌ كَبِيرَةٌ"]
)
def test_two_units_change_places(text: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        swapped = swap_words(text, rng, probability=1.0)
        units, others = (some.split() if " " in text else list(some) for some in (text, swapped))
        assert sorted(units) == sorted(others)
        assert sum(a != b for a, b in zip(units, others, strict=True)) == 2


def test_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    share = np.mean([swap_words("a b c d", rng, probability=0.5) != "a b c d" for _ in range(2000)])
    assert 0.45 < share < 0.55
    assert swap_words("a b", rng, probability=0.0) == "a b"
    for single in ("", " ", "a"):
        assert swap_words(single, rng, probability=1.0) == single


def test_punctuation_at_the_end_stays_and_a_probability_is_one() -> None:
    rng = np.random.default_rng(0)
    assert swap_words("one two.", rng, probability=1.0) == "two one."
    assert swap_words("下雨。", rng, probability=1.0) == "雨下。"
    with pytest.raises(ValueError, match="from 0 to 1, got 2"):
        swap_words("one two", rng, probability=2)
