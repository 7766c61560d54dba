import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from signwave.ctc import STAR, check_labels, ctc_loss, feasible, min_steps, required_steps
from signwave.errors import LabelError

VOCAB_SIZE = 10
BAD_LABELS = [-100, -1, VOCAB_SIZE, 1_000_000, 0]


@pytest.mark.parametrize("bad", BAD_LABELS)
def test_a_bad_label_is_refused_by_name(bad: int) -> None:
    labels = torch.tensor([[1, 2, 3], [4, bad, 0]])
    with pytest.raises(LabelError, match=rf"'clip-b': label {bad} at position 1; allowed are 1 to 9"):
        check_labels(labels, torch.tensor([3, 2]), vocab_size=VOCAB_SIZE, ids=["clip-a", "clip-b"])


@pytest.mark.parametrize("bad", BAD_LABELS)
def test_a_bad_label_never_reaches_the_loss(bad: int) -> None:
    log_probs = torch.randn(2, 8, VOCAB_SIZE).log_softmax(-1)
    with pytest.raises(LabelError, match="'clip-b'"):
        ctc_loss(
            log_probs,
            torch.tensor([8, 8]),
            torch.tensor([[1, 2, 3], [4, bad, 0]]),
            torch.tensor([3, 2]),
            ids=["clip-a", "clip-b"],
        )


@pytest.mark.parametrize("padding", [-100, -1, 0, 1_000_000])
def test_padding_may_hold_anything(padding: int) -> None:
    labels = torch.tensor([[1, 2, 3], [4, padding, padding]])
    check_labels(labels, torch.tensor([3, 1]), vocab_size=VOCAB_SIZE)
    log_probs = torch.randn(2, 8, VOCAB_SIZE).log_softmax(-1)
    result = ctc_loss(log_probs, torch.tensor([8, 8]), labels, torch.tensor([3, 1]))
    clean = ctc_loss(log_probs, torch.tensor([8, 8]), labels.clamp(0, 9), torch.tensor([3, 1]))
    assert torch.equal(result.per_item, clean.per_item)


def test_lengths_are_never_clamped() -> None:
    labels, num_labels = torch.tensor([[1, 2]]), torch.tensor([2])
    with pytest.raises(LabelError, match=r"item 0 of the batch: 9 steps, but the model's output holds 8"):
        check_labels(labels, num_labels, vocab_size=4, num_steps=torch.tensor([9]), max_steps=8)
    with pytest.raises(LabelError, match=r"3 labels, but the label tensor holds 2"):
        check_labels(labels, torch.tensor([3]), vocab_size=4)
    with pytest.raises(LabelError, match=r"-1 labels"):
        check_labels(labels, torch.tensor([-1]), vocab_size=4)


def test_programmers_errors_are_value_errors() -> None:
    with pytest.raises(ValueError, match=r"labels must be \(B, N\)"):
        check_labels(torch.tensor([1]), torch.tensor([1]), vocab_size=4)
    with pytest.raises(ValueError, match="must be int64"):
        check_labels(torch.tensor([[1.0]]), torch.tensor([1]), vocab_size=4)
    with pytest.raises(ValueError, match="ids must name 1 items, got 2"):
        check_labels(torch.tensor([[1]]), torch.tensor([1]), vocab_size=4, ids=["a", "b"])
    with pytest.raises(ValueError, match=r"num_labels must be \(1,\)"):
        check_labels(torch.tensor([[1]]), torch.tensor([1, 2]), vocab_size=4)


def test_the_wildcard_is_for_alignment_only() -> None:
    labels, num_labels = torch.tensor([[1, STAR]]), torch.tensor([2])
    check_labels(labels, num_labels, vocab_size=4, allow_star=True)
    with pytest.raises(LabelError, match="label -1"):
        check_labels(labels, num_labels, vocab_size=4)


@given(st.lists(st.integers(1, 3), max_size=5), st.integers(0, 6))
def test_feasible_is_what_enumeration_finds(labels: list[int], num_steps: int) -> None:
    def collapse(path: tuple[int, ...]) -> list[int]:
        return [key for key, _ in itertools.groupby(path) if key]

    exists = any(collapse(path) == labels for path in itertools.product(range(4), repeat=num_steps))
    assert (min_steps(labels) <= num_steps) == exists
    padded = torch.tensor([labels + [labels[-1] if labels else 7] * 2])  # a repeat in the padding must not count
    num_labels = torch.tensor([len(labels)])
    assert int(required_steps(padded, num_labels)) == min_steps(labels)
    assert bool(feasible(padded, num_labels, num_steps=torch.tensor([num_steps]))) == exists
