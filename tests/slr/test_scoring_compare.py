"""Paired comparison: a clear win, a tie, and evaluations that can't be compared."""

from __future__ import annotations

import json
import random

import pytest

from signwave.errors import UserError
from slr.scoring import Evaluation, Hypothesis, Reference, compare, score
from slr.scoring.intervals import rate_interval


def evaluation(error_rate: float, *, seed: int, num_clips: int = 200, protocol: str = "plain") -> Evaluation:
    """A system that gets each gloss wrong with this probability."""
    rng = random.Random(seed)
    wanted = {f"c{n}": Reference([f"G{(n + k) % 50}" for k in range(6)]) for n in range(num_clips)}
    given = {
        clip: Hypothesis(["X" if rng.random() < error_rate else token for token in reference.tokens])
        for clip, reference in wanted.items()
    }
    return score(given, wanted, protocol=protocol, num_resamples=50)


def test_a_clearly_better_system_is_named():
    one, two = evaluation(0.1, seed=1), evaluation(0.3, seed=2)
    found = compare(one, two, first_name="new", second_name="old", num_resamples=500)
    assert found.tests.is_significant
    assert found.verdict().startswith("new is better than old: new minus old is -")
    low, high, _ = found.tests.bootstrap.interval
    assert found.tests.bootstrap.difference == pytest.approx(found.first.wer - found.second.wer)
    assert low < found.tests.bootstrap.difference < high < 0
    assert found.tests.signs.num_first_better > found.tests.signs.num_second_better
    swapped = compare(found.second, found.first, first_name="old", second_name="new", num_resamples=500)
    assert swapped.verdict().startswith("new is better than old: old minus new is +")


def test_equal_systems_are_not_told_apart():
    found = compare(evaluation(0.2, seed=1), evaluation(0.2, seed=2), num_resamples=500)
    assert not found.tests.is_significant
    assert found.verdict().startswith("No significant difference")


def test_clips_with_the_largest_difference_come_first():
    wanted = {c: Reference(["A", "B", "C"]) for c in "pqr"}
    worse = {"p": Hypothesis(["A", "B", "C"]), "q": Hypothesis(["X"]), "r": Hypothesis(["A", "B"])}
    right = {c: Hypothesis(["A", "B", "C"]) for c in "pqr"}
    found = compare(score(worse, wanted), score(right, wanted), num_resamples=100, num_shown=2)
    assert [(clip.id, clip.difference) for clip in found.differing] == [("q", 3), ("r", 1)]
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["differing"][0]["second"] == "A B C"
    assert document["difference"] == pytest.approx(4 / 9)
    assert "+3 errors  q" in found.summary()


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(UserError, match="compare by one protocol"):
        compare(evaluation(0.1, seed=1, protocol="slrt"), evaluation(0.1, seed=1))
    with pytest.raises(UserError, match="different references"):
        compare(evaluation(0.1, seed=1), evaluation(0.1, seed=1, num_clips=9))


def test_interval_of_many_sentences_is_that_of_the_plain_bootstrap(monkeypatch):
    counts = [pair.counts for pair in evaluation(0.25, seed=3, num_clips=400).pairs]
    plain = rate_interval(counts, num_resamples=4000)
    monkeypatch.setattr("slr.scoring.intervals._MANY_SENTENCES", 10)
    by_kind = rate_interval(counts, num_resamples=4000)
    assert by_kind != plain
    assert by_kind == pytest.approx(plain, abs=0.002)
