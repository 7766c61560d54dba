"""Batches of several corpora: schedules, the plan of a run, exact restore, ranks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.errors import ArtefactError, UserError
from signwave.mixing import MixedSampler, Ramp, plan_batches, tempered
from signwave.sampling import BudgetBatchSampler, Draw
from signwave.training.ctc_module import CtcBatch
from signwave.training.mixed_data import MixedData, MixedDataset

POINTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5).map(
    lambda pairs: sorted(pairs, key=lambda pair: pair[0])
)


@settings(max_examples=100, deadline=None)
@given(points=POINTS, progress=st.floats(0, 1))
def test_a_ramp_is_a_line_between_its_points(points, progress):
    ramp = Ramp(points)
    places, values = zip(*points)
    if len(set(places)) == len(places):
        assert ramp.at(progress) == pytest.approx(np.interp(progress, places, values), abs=1e-6)
    grid = (np.arange(20_000) + 0.5) / 20_000
    assert ramp.mean() == pytest.approx(np.mean([ramp.at(x) for x in grid]), abs=2e-3)
    assert ramp.within(min(values), max(values))


def test_a_ramp_may_jump():
    ramp = Ramp([[0, 1], [0.5, 1], [0.5, 0]])
    assert [ramp.at(x) for x in (0, 0.49, 0.5, 1)] == [1, 1, 0, 0]
    assert ramp.mean() == pytest.approx(0.5)


@pytest.mark.parametrize("points", [[], [[0, 1], [0.5]], [[0.5, 1], [0.2, 1]], [[0, 1], [1.2, 1]], [[0, float("nan")]]])
def test_impossible_ramps_are_refused(points):
    with pytest.raises(ValueError, match="progress"):
        Ramp(points)


@pytest.mark.parametrize(("alpha", "shares"), [(1, [0.2, 0.8]), (0, [0.5, 0.5]), (0.5, [1 / 3, 2 / 3])])
def test_temperature_lies_between_size_and_equality(alpha, shares):
    assert tempered([100, 400], alpha) == pytest.approx(shares)


@settings(max_examples=60, deadline=None)
@given(points=POINTS, size=st.integers(1, 300), sizes=st.lists(st.integers(1, 50), min_size=1, max_size=3))
def test_a_plan_follows_its_schedule_at_every_position(points, size, sizes):
    ramp, weights = Ramp(points), tempered(sizes, 0.5)
    plan = plan_batches(size, ramp, weights)
    shares = np.asarray([ramp.at((n + 0.5) / size) for n in range(size)])
    wanted = np.cumsum(np.stack([1 - shares, *(shares * weight for weight in weights)]), axis=1)
    drawn = np.cumsum([plan == k for k in range(1 + len(weights))], axis=1)
    assert np.abs(wanted - drawn).max() < 1 + len(weights)
    if len(weights) == 1:
        assert np.abs(wanted - drawn).max() <= 1 + 1e-9
    assert not plan[shares == 0].any(), "a corpus without a share is drawn"
    assert (plan[shares == 1] > 0).all()


SIZES = {"target": 13, "one": 31, "two": 7}


def sampler(rank=0, world=1, *, num_batches=60, seed=3, points=((0, 0.5), (0.8, 0.5), (1, 0)), sizes=SIZES):
    def lengths(size):
        return [3 + (7 * i) % 11 for i in range(size)]

    made = {
        name: BudgetBatchSampler(
            lengths(size), max_padded_length=30, seed=seed + n, rank=rank, num_replicas=world, num_buckets=2
        )
        for n, (name, size) in enumerate(sizes.items())
    }
    return MixedSampler(made, plan_batches(num_batches, Ramp(points), tempered([*sizes.values()][1:], 0.5)))


def corpus_of(batch, sizes=SIZES):
    bounds = np.cumsum(list(sizes.values()))
    numbers = {int(np.searchsorted(bounds, draw.index, side="right")) for draw in batch}
    assert len(numbers) == 1, "a batch mixes corpora"
    return numbers.pop()


def test_each_corpus_keeps_the_order_that_it_has_alone():
    mixed = sampler()
    batches = list(mixed)
    assert [corpus_of(batch) for batch in batches] == mixed.plan.tolist()
    for number, (alone, offset) in enumerate(zip(sampler().samplers.values(), mixed.offsets)):
        own = [batch for batch, chosen in zip(batches, mixed.plan) if chosen == number]
        expected = [draws for _ in range(12) for draws in alone][: len(own)]
        assert [[Draw(d.index - offset, d.seed) for d in batch] for batch in own] == expected


@pytest.mark.parametrize("at", [0, 1, 17, 59, 60])
def test_the_rest_of_a_restored_run_is_the_rest(at):
    whole = list(sampler())
    first = sampler()
    stream = iter(first)
    begun = [next(stream) for _ in range(at)]
    restored = sampler()
    restored.load_state_dict(first.state_dict())
    assert begun + list(restored) == whole


def test_ranks_are_at_the_same_corpus_and_share_no_item_within_a_pass():
    one, two = (list(sampler(rank, 2)) for rank in (0, 1))
    assert [corpus_of(batch) for batch in one] == [corpus_of(batch) for batch in two]
    size = len(sampler(0, 2).samplers["target"])
    passes = [[batch for batch in rank if corpus_of(batch) == 0][:size] for rank in (one, two)]
    seen = [[draw.index for batch in batches for draw in batch] for batches in passes]
    assert not set(seen[0]) & set(seen[1])
    assert set(seen[0]) | set(seen[1]) == set(range(SIZES["target"]))


def test_past_the_plan_come_batches_of_the_target():
    mixed = sampler()
    list(mixed)
    assert (mixed.epoch, mixed.position) == (1, 0)
    rest = [batch for batch, _ in zip(mixed, range(20))]
    assert {corpus_of(batch) for batch in rest} == {0}
    alone = sampler().samplers["target"]
    num_before = int((mixed.plan == 0).sum())
    expected = [draws for _ in range(12) for draws in alone][num_before : num_before + 20]
    assert rest == expected
    assert mixed.passes(1, 20) == pytest.approx((num_before + 20) / len(alone))


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"points": ((0, 0.4), (1, 0))}, "order of the corpora was another"),
        ({"num_batches": 61}, "order of the corpora was another"),
        ({"seed": 4}, "the seed was 3"),
        ({"sizes": {"target": 13, "one": 31}}, "was of target, one, two .* and is of target, one now"),
        ({"sizes": {**SIZES, "two": 8}}, "list of item lengths"),
    ],
)
def test_another_run_is_not_resumed(other, text):
    with pytest.raises(ArtefactError, match=text):
        sampler(**other).load_state_dict(sampler().state_dict())


def test_a_run_of_one_corpus_is_not_resumed():
    with pytest.raises(ArtefactError, match="the run was of one corpus"):
        sampler().load_state_dict(sampler().samplers["target"].state_dict())


class Numbers:
    """Items that are their number, with the name of their set."""

    def __init__(self, name, size):
        self.name, self.lengths = name, [5] * size

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, draw):
        return f"{self.name}{draw.index}"

    def collate(self, items):
        ones = torch.ones(len(items), dtype=torch.int64)
        return CtcBatch(
            inputs=torch.zeros(len(items), 5), num_frames=5 * ones, labels=ones[:, None], num_labels=ones,
            ids=tuple(items),
        )  # fmt: skip


def test_items_are_read_and_padded_by_their_own_set():
    mixed = MixedDataset([Numbers("a", 3), Numbers("b", 2)])
    assert len(mixed) == 5
    items = [mixed[Draw(index, 0)] for index in range(5)]
    assert items == [(0, "a0"), (0, "a1"), (0, "a2"), (1, "b0"), (1, "b1")]
    assert mixed.collate(items[3:]).ids == ("b0", "b1")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_of_a_whole_run_is_resumed_exactly(num_workers):
    def module():
        share = Ramp([[0, 0.5], [1, 0]])
        made = MixedData(
            Numbers("t", 9), None, None, auxiliary={"x": Numbers("x", 8), "y": Numbers("y", 4)}, share=share,
            budget=10, seed=1, num_workers=num_workers,
        )  # fmt: skip
        made.num_train_batches = 24
        return made

    whole = [batch.ids for batch in module().train_dataloader()]
    assert len(whole) == 24
    assert {name[0] for ids in whole for name in ids} == {"t", "x", "y"}
    first = module()
    stream = iter(first.train_dataloader())
    begun = [next(stream).ids for _ in range(7)]
    rest = module()
    rest.load_state_dict(first.state_dict())
    assert begun + [batch.ids for batch in rest.train_dataloader()] == whole


def test_an_epoch_is_a_pass_over_the_target():
    data = MixedData(
        Numbers("t", 9), None, None, auxiliary={"x": Numbers("x", 80)}, share=Ramp([[0, 0.75]]), budget=10, seed=1
    )
    assert data.batches_per_epoch(num_replicas=1) == 20  # 5 of the target are a quarter
    data.num_train_batches = data.batches_per_epoch(num_replicas=1)
    stream = data.train_dataloader()
    list(stream)
    assert stream.epoch == 1


def test_nothing_to_mix_is_refused():
    with pytest.raises(UserError, match="'x' holds no clip"):
        MixedData(Numbers("t", 3), None, None, auxiliary={"x": Numbers("x", 0)}, share=Ramp([[0, 0.5]]), budget=10)
    with pytest.raises(UserError, match="leave the target a part"):
        MixedData(Numbers("t", 3), None, None, auxiliary={"x": Numbers("x", 2)}, share=Ramp([[0, 1]]), budget=10)
