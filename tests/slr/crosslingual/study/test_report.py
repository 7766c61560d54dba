"""Paired comparison of conditions: by clip and seed, against plain sums."""

from __future__ import annotations

import pytest

from signwave.errors import UserError
from slr.crosslingual.study.report import contrast, plot, summarise, to_markdown
from slr.scoring import Evaluation, Hypothesis, Reference, score

CLIPS = {f"clip{number}": "A B C D" for number in range(12)}


def _run(wrong: set[int]) -> Evaluation:
    """An evaluation where the clips of these numbers lack two of four glosses."""
    references = {name: Reference(text.split()) for name, text in CLIPS.items()}
    found = {
        name: Hypothesis(text.split()[: 2 if number in wrong else 4])
        for number, (name, text) in enumerate(CLIPS.items())
    }
    return score(found, references, num_resamples=10)


RUNS = {
    "mapped": {0: _run({0}), 1: _run({1}), 2: _run(set())},
    "target": {0: _run({0, 1, 2, 3, 4, 5}), 1: _run({1, 2, 3, 4, 6, 7}), 2: _run({0, 2, 3, 5, 6, 8, 9})},
}


def test_the_difference_is_that_of_all_seeds_and_clips() -> None:
    found = contrast(RUNS, "mapped", "target", num_resamples=2000)
    assert found.difference == pytest.approx((2 * 2 - 2 * 19) / (3 * 48))
    assert found.seed_differences == pytest.approx({0: -10 / 48, 1: -10 / 48, 2: -14 / 48})
    assert found.interval_95[0] < found.difference < found.interval_95[1] < 0
    assert found.p_value < 0.05
    assert found.p_value_seeds is not None
    assert found.p_value_seeds < 0.05


def test_a_clip_under_all_seeds_is_one_draw() -> None:
    """Repeating every seed adds no evidence, however many runs there are."""
    once = contrast({name: {0: runs[0]} for name, runs in RUNS.items()}, "mapped", "target", num_resamples=2000)
    often = contrast(
        {name: dict.fromkeys(range(9), runs[0]) for name, runs in RUNS.items()}, "mapped", "target", num_resamples=2000
    )
    assert often.interval_95 == pytest.approx(once.interval_95)
    assert often.p_value == pytest.approx(once.p_value)
    assert once.p_value_seeds is None


def test_a_condition_does_not_differ_from_itself() -> None:
    found = contrast(RUNS, "target", "target", num_resamples=200)
    assert (found.difference, found.p_value, found.p_value_seeds) == (0.0, 1.0, None)


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(UserError, match="no seed in common"):
        contrast({"a": {0: RUNS["mapped"][0]}, "b": {1: RUNS["mapped"][1]}}, "a", "b")
    other = score({"x": Hypothesis(["A"])}, {"x": Reference(["A"])}, num_resamples=10)
    with pytest.raises(UserError, match=r"different clips \(seed 0\)"):
        contrast({"a": {0: RUNS["mapped"][0]}, "b": {0: other}}, "a", "b")


def test_the_table_and_the_plot_name_every_condition() -> None:
    summary = summarise(RUNS)
    assert summary["mapped"]["test_wer"] == pytest.approx({"0": 2 / 48, "1": 2 / 48, "2": 0.0})
    found = contrast(RUNS, "mapped", "target", num_resamples=200)
    table = to_markdown(summary, [found], labels={"target": "target only"}, first="mapped")
    rows = [line.split("|") for line in table.splitlines()[2:]]
    assert [row[1].strip() for row in rows] == ["mapped", "target only"]
    assert rows[1][4].strip() == "-23.61"
    (ax,) = plot(summary, labels={"target": "target only"}).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mapped", "target only"]
