"""The batch sampler: budget, coverage, order, ranks, exact restore."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.errors import ArtefactError, UserError
from signwave.sampling import BudgetBatchSampler, Draw, draw_seed

LENGTHS = st.lists(st.integers(1, 60), min_size=8, max_size=120)
WORLDS = st.integers(1, 4)


def make(lengths, world=1, rank=0, **options):
    return BudgetBatchSampler(
        lengths, **{"max_padded_length": 100, "seed": 3, **options}, rank=rank, num_replicas=world
    )


def indices(batches):
    return [draw.index for batch in batches for draw in batch]


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 300), max_items=st.none() | st.integers(1, 9), epoch=st.integers(0, 3))
def test_budget_is_kept_and_every_item_comes_once(lengths, budget, max_items, epoch):
    sampler = make(lengths, max_padded_length=budget, max_items=max_items)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(indices(batches)) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[draw.index] for draw in batch)
        assert len(batch) * longest <= budget or len(batch) == 1
        assert max_items is None or len(batch) <= max_items


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, world=WORLDS, epoch=st.integers(0, 2), shuffle=st.booleans())
def test_ranks_are_disjoint_equal_in_number_and_complete(lengths, world, epoch, shuffle):
    parts = []
    for rank in range(world):
        sampler = make(lengths, world, rank, shuffle=shuffle)
        sampler.set_epoch(epoch)
        parts.append(list(sampler))
    assert len({len(part) for part in parts}) == 1
    seen = sorted(i for part in parts for i in indices(part))
    if all(len(batch) == 1 for part in parts for batch in part):
        # Single items can't be halved: fewer than `world` of them come twice, so that no rank waits for another.
        assert len(seen) - len(lengths) < world
        seen = sorted(set(seen))
    assert seen == list(range(len(lengths)))


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, world=WORLDS, data=st.data())
def test_first_k_and_rest_are_all(lengths, world, data):
    whole = make(lengths, world)
    expected = [batch for _ in range(2) for batch in whole]
    part = make(lengths, world)
    k = data.draw(st.integers(0, len(part)))
    iterator = iter(part)
    first = [next(iterator) for _ in range(k)]
    restored = make(lengths, world)
    restored.load_state_dict(part.state_dict())
    rest = list(restored)
    if len(first) + len(rest) < len(expected):
        rest += list(restored)
    assert first + rest == expected[: len(first) + len(rest)]
    assert len(first) + len(rest) == len(expected)


def test_epochs_differ_and_the_same_epoch_repeats():
    one, two = make(range(1, 60)), make(range(1, 60))
    first, second = list(one), list(one)
    assert first != second
    two.set_epoch(1)
    assert list(two) == second
    assert {d.index: d.seed for b in first for d in b} != {d.index: d.seed for b in second for d in b}


def test_number_of_batches_is_the_same_every_epoch():
    sampler = make(np.random.default_rng(0).integers(1, 99, size=500), 3)
    assert {len(list(sampler)) for _ in range(5)} == {len(sampler)}


def test_validation_order_and_seeds_never_change():
    sampler = make(range(1, 40), shuffle=False)
    assert list(sampler) == list(sampler)


def test_lengths_in_a_batch_are_similar():
    lengths = np.random.default_rng(1).integers(1, 1000, size=3000)
    sampler = make(lengths, max_padded_length=8000)
    padded = sum(len(b) * max(lengths[d.index] for d in b) for b in sampler)
    assert lengths.sum() / padded > 0.9


def test_ranks_step_with_similar_lengths():
    lengths = np.random.default_rng(1).integers(1, 1000, size=3000)
    ranks = [list(make(lengths, 2, rank, max_padded_length=8000)) for rank in range(2)]
    longest = [[max(lengths[d.index] for d in batch) for batch in part] for part in ranks]
    ratios = [min(pair) / max(pair) for pair in zip(*longest, strict=True)]
    assert np.mean(ratios) > 0.9


def test_fewer_batches_than_ranks_can_share_repeat_single_items():
    parts = [list(make([100] * 5, 4, rank)) for rank in range(4)]
    assert [len(part) for part in parts] == [2, 2, 2, 2]
    assert set(i for part in parts for i in indices(part)) == set(range(5))


def test_item_over_budget_is_alone_and_reported(caplog):
    with caplog.at_level(logging.WARNING):
        sampler = make([5, 500, 7, 8])
    assert sampler.over_budget == (1,)
    assert [draw.index for draw in next(b for b in sampler if any(d.index == 1 for d in b))] == [1]
    assert "1 of 4 items are longer than the budget of 100" in caplog.text
    assert "the longest has 500 (item 1)" in caplog.text


def test_draw_seed_is_stable_and_spread():
    assert (draw_seed(0, 0, 0), draw_seed(7, 2, 123)) == (2319392274, 94496490)  # a resumed run must find these
    seeds = {draw_seed(s, e, i) for s in range(4) for e in range(4) for i in range(500)}
    assert len(seeds) > 7990
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_batches_hold_draws():
    assert all(isinstance(draw, Draw) for batch in make([1, 2, 3]) for draw in batch)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"max_padded_length": 99}, "the batch budget was 100 .* is 99 now"),
        ({"seed": 4}, "the seed was 3"),
        ({"max_items": 3}, "the limit of items a batch was None"),
        ({"world": 2}, "the number of processes was 1 .* is 2 now"),
        ({"lengths": [1, 2, 3, 4, 5, 7]}, "the list of item lengths"),
    ],
)
def test_a_changed_setting_is_refused(change, match):
    state = make([1, 2, 3, 4, 5, 6]).state_dict()
    change = dict(change)
    sampler = make(change.pop("lengths", [1, 2, 3, 4, 5, 6]), change.pop("world", 1), **change)
    with pytest.raises(ArtefactError, match=match):
        sampler.load_state_dict(state)


def test_damaged_state_is_refused():
    sampler = make([1, 2, 3])
    with pytest.raises(ArtefactError, match="version 9"):
        sampler.load_state_dict({**sampler.state_dict(), "version": 9})
    with pytest.raises(ArtefactError, match="batch 77"):
        sampler.load_state_dict(sampler.state_dict(position=77))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"lengths": [1, 0]}, "item 1 has 0"),
        ({"lengths": [1, 2], "max_padded_length": 0}, "max_padded_length must be at least 1, got 0"),
        ({"lengths": [1, 2], "max_items": 0}, "max_items"),
        ({"lengths": [1, 2], "rank": 2, "num_replicas": 2}, r"rank must lie in \[0, 2\), got 2"),
    ],
)
def test_arguments_that_make_no_sense(arguments, match):
    with pytest.raises(ValueError, match=match):
        BudgetBatchSampler(**{"max_padded_length": 10, **arguments})


@pytest.mark.parametrize(
    ("lengths", "world", "match"), [([], 1, "holds no items"), ([3], 2, "1 items for 2 processes")]
)
def test_too_few_items(lengths, world, match):
    with pytest.raises(UserError, match=match):
        make(lengths, world)
