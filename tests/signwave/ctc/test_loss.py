import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from signwave.ctc import ctc_loss


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), num_steps=st.integers(0, 5), vocab_size=st.integers(2, 4), holes=st.booleans())
def test_the_loss_is_the_sum_over_all_paths(
    all_paths: Callable, draw: Callable[..., Tensor], seed: int, num_steps: int, vocab_size: int, holes: bool
) -> None:
    log_probs = draw(seed, num_items=1, num_steps=5, vocab_size=vocab_size, holes=holes)
    for labels, total in all_paths(log_probs[0, :num_steps]).total.items():
        padded = torch.tensor([[*labels, -100]])
        result = ctc_loss(log_probs, torch.tensor([num_steps]), padded, torch.tensor([len(labels)]))
        assert not result.skipped.any()
        assert float(result.loss) == pytest.approx(-total, abs=1e-4)


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    log_probs = torch.randn((4, 6, 5), generator=torch.Generator().manual_seed(3)).log_softmax(-1)
    num_steps = torch.tensor([6, 3, 5, 0])
    labels = torch.tensor([[1, 2, 2], [1, 1, 1], [4, 0, 0], [2, 0, 0]])
    return log_probs, num_steps, labels, torch.tensor([3, 3, 1, 1])  # items 1 and 3 have no path


def test_items_without_a_path_are_counted_and_teach_nothing() -> None:
    log_probs, *rest = batch()
    log_probs.requires_grad_()
    result = ctc_loss(log_probs, *rest)
    assert result.skipped.tolist() == [False, True, False, True]
    assert int(result.num_skipped) == 2
    assert result.per_item[[1, 3]].tolist() == [0.0, 0.0]
    result.loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.isfinite().all()
    assert log_probs.grad[[1, 3]].abs().sum() == 0
    assert log_probs.grad[2, 5:].abs().sum() == 0
    keep = torch.tensor([0, 2])
    alone = ctc_loss(log_probs[keep], *(part[keep] for part in rest))
    assert float(alone.loss.detach()) == pytest.approx(float(result.loss.detach()), rel=1e-6)


def test_a_batch_without_any_path_has_loss_zero_and_a_zero_gradient() -> None:
    log_probs = torch.zeros((1, 1, 3)).log_softmax(-1).requires_grad_()
    result = ctc_loss(log_probs, torch.tensor([1]), torch.tensor([[1, 2]]), torch.tensor([2]))
    result.loss.backward()
    assert result.loss.item() == 0
    assert log_probs.grad is not None
    assert log_probs.grad.abs().sum() == 0


def test_impossible_tokens_give_no_nan() -> None:
    values = torch.tensor([[[math.log(0.5), math.log(0.5), -math.inf]] * 4] * 2).requires_grad_()
    result = ctc_loss(values, torch.tensor([4, 4]), torch.tensor([[1], [2]]), torch.tensor([1, 1]))
    assert result.skipped.tolist() == [False, True]
    result.loss.backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert values.grad[1].abs().sum() == 0


def test_nan_is_not_hidden() -> None:
    log_probs, *rest = batch()
    log_probs[0, 2, 1] = float("nan")
    result = ctc_loss(log_probs, *rest)
    assert result.loss.isnan()
    assert not result.per_item[2].isnan()


def test_reductions() -> None:
    arguments = batch()
    per_item = ctc_loss(*arguments).per_item
    assert float(ctc_loss(*arguments, reduction="sum").loss) == pytest.approx(float(per_item.sum()))
    assert float(ctc_loss(*arguments).loss) == pytest.approx(float(per_item.sum()) / 2)
    assert float(ctc_loss(*arguments, reduction="mean_per_token").loss) == pytest.approx(float(per_item.sum()) / 4)
    with pytest.raises(ValueError, match="allowed are 'mean_per_item'"):
        ctc_loss(*arguments, reduction="mean")  # type: ignore[arg-type]


def test_half_precision_is_computed_in_float32() -> None:
    log_probs, *rest = batch()
    half = log_probs.bfloat16()
    assert torch.equal(ctc_loss(half, *rest).loss, ctc_loss(half.float(), *rest).loss)


def test_what_stands_in_the_padding_does_not_matter() -> None:
    log_probs, *rest = batch()
    other = log_probs.clone()
    other[2, 5:], other[1, 3:] = 7.0, -3.0
    assert torch.equal(ctc_loss(log_probs, *rest).per_item, ctc_loss(other, *rest).per_item)


@pytest.mark.gpu
def test_bad_labels_on_the_gpu_make_nan_without_touching_the_kernel() -> None:
    log_probs, num_steps, labels, num_labels = (part.cuda() for part in batch())
    labels[0, 1] = 1_000_000
    result = ctc_loss(log_probs, num_steps, labels, num_labels)
    assert result.loss.isnan()
    assert result.per_item[2].isfinite()
