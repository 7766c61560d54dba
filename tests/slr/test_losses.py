"""The weighed loss of several heads against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from signwave.batch import Encoded
from slr.models.interface import Distillation, HeadLosses, Heads
from slr.training.batch import SignBatch
from slr.training.losses import distillation, objective


def head(seed: int, *, scale: float = 1.0) -> Encoded:
    logits = scale * torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(seed))
    return Encoded(logits.log_softmax(-1), torch.tensor([6, 3]))


def batch() -> SignBatch:
    labels = torch.tensor([[1, 2], [3, 0]])
    return SignBatch(
        torch.zeros(2, 24, 5), torch.tensor([24, 12]), labels, torch.tensor([2, 1]), ("a", "b"),
        frame_labels=torch.full((2, 24), -1),
    )  # fmt: skip


def divergence(teacher: list[float], student: list[float], *, temperature: float, first: int) -> float:
    def softmax(row: list[float]) -> list[float]:
        weights = [math.exp(value / temperature) for value in row[first:]]
        return [weight / sum(weights) for weight in weights]

    return sum(p * math.log(p / q) for p, q in zip(softmax(teacher), softmax(student), strict=True))


@pytest.mark.parametrize("without_blank", [False, True])
@pytest.mark.parametrize("reduction", ["step", "batch"])
@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_distillation_is_the_sum_over_valid_steps(without_blank: bool, reduction: str, temperature: float) -> None:
    teacher, student = head(0), head(1)
    term = Distillation("main", "conv", 25.0, temperature, without_blank, reduction)  # type: ignore[arg-type]
    total, count = 0.0, 0
    for item, size in enumerate((6, 3)):
        for step in range(size):
            rows = teacher.log_probs[item, step].tolist(), student.log_probs[item, step].tolist()
            total += divergence(*rows, temperature=temperature, first=int(without_blank)) * temperature**2
            count += 1
    expected = total / (count if reduction == "step" else 2)
    assert float(distillation(teacher, student, term)) == pytest.approx(expected, rel=1e-4)


def test_only_the_student_learns_and_padding_counts_for_nothing() -> None:
    teacher, student = head(0), head(1)
    for part in (teacher, student):
        part.log_probs.requires_grad_(True)
    distillation(teacher, student, Distillation("main", "conv", 1.0)).backward()
    assert teacher.log_probs.grad is None
    assert student.log_probs.grad is not None
    assert (student.log_probs.grad[1, 3:] == 0).all()
    assert (student.log_probs.grad[1, :3] != 0).any()


def test_the_objective_weighs_each_term() -> None:
    heads = Heads(head(0), {"conv": head(1)})
    term = Distillation("main", "conv", 25.0, 8.0, True)
    alone = objective(heads, batch(), HeadLosses({"main": 1.0}))
    full = objective(heads, batch(), HeadLosses({"main": 1.0, "conv": 0.5}, (term,)))
    assert alone.parts.keys() == {"ctc_main"}
    expected = full.parts["ctc_main"] + 0.5 * full.parts["ctc_conv"] + 25 * full.parts["main_teaches_conv"]
    assert float(full.total) == pytest.approx(float(expected), rel=1e-6)
    assert float(full.num_infeasible) == 0


def test_a_head_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no head 'cone'; it has main, conv"):
        objective(Heads(head(0), {"conv": head(1)}), batch(), HeadLosses({"main": 1.0, "cone": 1.0}))
