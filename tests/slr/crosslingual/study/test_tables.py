"""Mappings that a study compares with: chance at equal coverage, and the truth."""

from __future__ import annotations

from collections import Counter

import pytest

from signwave.errors import UserError
from slr.crosslingual.mapping import MappedSign, Mapping
from slr.crosslingual.study.tables import posterior_table, shuffled, truth_table

FOUND = Mapping(
    (
        MappedSign("A", "X", True),
        MappedSign("B", "Y", True),
        MappedSign("C", "X", True),
        MappedSign("D", "Z", True),
        MappedSign("E", "W", False),
    ),
    {"auxiliary": "two"},
)


@pytest.mark.parametrize("seed", range(8))
def test_chance_keeps_sources_and_targets_but_no_pair(seed: int) -> None:
    made = shuffled(FOUND, seed=seed).targets
    assert set(made) == {"A", "B", "C", "D"}
    assert Counter(made.values()) == Counter({"X": 2, "Y": 1, "Z": 1})
    assert all(FOUND.targets[source] != target for source, target in made.items())


def test_chance_depends_on_its_seed_alone() -> None:
    assert shuffled(FOUND, seed=3).rows == shuffled(FOUND, seed=3).rows
    assert len({tuple(shuffled(FOUND, seed=seed).targets.items()) for seed in range(20)}) > 1
    assert shuffled(FOUND, seed=3).header == {"auxiliary": "two", "made_by": "chance, seed 3"}


def test_chance_finds_another_target_for_many_sources_of_few_targets() -> None:
    many = Mapping(tuple(MappedSign(f"S{n}", f"T{n % 5}", True) for n in range(300)), {})
    made = shuffled(many, seed=0).targets
    assert Counter(made.values()) == Counter(many.targets.values())
    assert not any(made[source] == target for source, target in many.targets.items())


def test_chance_is_refused_where_a_pair_has_to_stay() -> None:
    one = Mapping((MappedSign("A", "X", True), MappedSign("B", "X", True)), {})
    with pytest.raises(UserError, match="keeps 2 signs of 1 targets"):
        shuffled(one, seed=0)
    assert set(shuffled(one, seed=0, known=["X", "Y"]).targets.values()) == {"Y"}


def test_the_truth_is_a_table_of_the_same_corpora() -> None:
    made = truth_table({"B": {"Z", "Y"}, "A": {"X"}, "C": {"V"}}, like=FOUND, known={"X", "Y", "Z"})
    assert made.targets == {"A": "X", "B": "Y"}
    assert made.header["auxiliary"] == "two"


def test_posteriors_alone_take_the_likeliest_gloss_whatever_else_was_kept() -> None:
    def row(source: str, best: float, *, support: int = 9, answer: str | None = "X") -> MappedSign:
        return MappedSign(
            source, "Y", False, support=support, answers={"posterior": answer}, candidates=(("X", best), ("Y", 0.1))
        )  # fmt: skip

    found = Mapping((row("A", 0.5), row("B", 0.15), row("C", 0.5, support=4), row("D", 0.5, answer=None)), {"h": "1"})
    made = posterior_table(found)
    assert made.targets == {"A": "X"}
    assert made.header == {"h": "1", "made_by": "posteriors alone"}
    assert posterior_table(found, min_score=0.1, min_support=1).targets == {"A": "X", "B": "X", "C": "X"}
