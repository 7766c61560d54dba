"""The training loss of a recogniser with several CTC heads: each head's own, and what heads teach each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from signwave.batch import Encoded
from signwave.ctc import CtcLoss, ctc_loss
from signwave.ctc.peaky import LabelPriors, step_entropy
from slr.models.interface import MAIN, Distillation, HeadLosses, Heads
from slr.models.masking import valid_steps
from slr.training.batch import SignBatch


class Objective(NamedTuple):
    """What `objective` returns.

    total: () float32, the weighed sum.
    parts: name → () float32 detached, each term before its weight.
    num_infeasible: () int64, clips whose labels don't fit into the main head's steps.
    """

    total: Tensor
    parts: dict[str, Tensor]
    num_infeasible: Tensor


def objective(
    heads: Heads,
    batch: SignBatch,
    losses: HeadLosses,
    *,
    priors: LabelPriors | None = None,
    entropy_weight: float = 0.0,
    ctc: Callable[..., CtcLoss] = ctc_loss,
) -> Objective:
    """The loss of one batch.

    Args:
        heads: outputs of the model.
        batch: the labels.
        losses: weights of the terms.
        priors: divide the main head's posteriors by these, which makes its spikes wider; they count this batch.
        entropy_weight: of the main head's mean entropy per step, taken from the loss, which does so too.
        ctc: the CTC loss; that of `signwave.ctc.ExtraTokens` for labels beyond the vocabulary, without priors then.

    Raises:
        ValueError: a weight names a head that the model doesn't have.
    """
    num_infeasible = torch.zeros((), dtype=torch.int64, device=batch.labels.device)
    total = torch.zeros((), device=heads.main.log_probs.device)
    parts: dict[str, Tensor] = {}
    for name, weight in losses.ctc.items():
        head = _head(heads, name)
        loss = ctc if priors is None or name != MAIN else priors.loss
        result = loss(head.log_probs, head.num_steps, batch.labels, batch.num_labels, ids=batch.ids)
        total = total + weight * result.loss
        parts[f"ctc_{name}"] = result.loss.detach()
        if name == MAIN or name == next(iter(losses.ctc)):
            num_infeasible = result.num_skipped
    for term in losses.distillations:
        value = distillation(_head(heads, term.teacher), _head(heads, term.student), term)
        total = total + term.weight * value
        parts[f"{term.teacher}_teaches_{term.student}"] = value.detach()
    if priors is not None:
        priors.observe(heads.main.log_probs, heads.main.num_steps)
    if entropy_weight:
        entropy = step_entropy(heads.main.log_probs, heads.main.num_steps)
        total = total - entropy_weight * entropy
        parts["entropy"] = entropy.detach()
    return Objective(total, parts, num_infeasible)


def distillation(teacher: Encoded, student: Encoded, term: Distillation) -> Tensor:
    """() float32, divergence of the student's posteriors from the teacher's, KL(teacher ‖ student).

    Reference: VAC (Min et al., ICCV 2021, §3.3) takes temperature 8 without the blank; TwoStream-SLR (Chen et al.,
    NeurIPS 2022, §3.4) temperature 1 with it, summed over steps.

    Args:
        teacher: the head that is followed; no gradient reaches it.
        student: the head that follows, with the same steps.
        term: temperature, blank, reduction; its weight is not applied here.
    """
    if teacher.log_probs.shape != student.log_probs.shape:
        raise ValueError(
            f"{term.teacher} and {term.student} must have the same steps and tokens to teach each other, got "
            f"{tuple(teacher.log_probs.shape)} and {tuple(student.log_probs.shape)}"
        )
    first = 1 if term.without_blank else 0
    # Log-probabilities are logits up to a constant, which the softmax of the quotient takes out again.
    wanted = functional.log_softmax(teacher.log_probs.detach()[..., first:].float() / term.temperature, dim=-1)
    given = functional.log_softmax(student.log_probs[..., first:].float() / term.temperature, dim=-1)
    per_step = functional.kl_div(given, wanted, reduction="none", log_target=True).sum(-1)
    inside = valid_steps(teacher.num_steps, per_step.shape[1])
    total = per_step.masked_fill(~inside, 0).sum() * term.temperature**2
    return total / (inside.sum() if term.reduction == "step" else len(per_step))


def _head(heads: Heads, name: str) -> Encoded:
    try:
        return heads.named(name)
    except KeyError:
        raise ValueError(f"the model has no head '{name}'; it has main, {', '.join(heads.others)}") from None
