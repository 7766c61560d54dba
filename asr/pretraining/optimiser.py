"""The optimiser of pretraining, and the pull towards the donor's weights."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from signwave.errors import ConfigError
from signwave.training.schedules import learning_rate_factor

_BETAS, _EPSILON = (0.9, 0.98), 1e-6  # of fairseq's recipes


@dataclass
class PretrainingOptimiserConfig:
    """AdamW (0.9, 0.98) with a warm-up and a linear fall to zero."""

    learning_rate: float = 5e-5
    """Peak. 5e-5 to 1e-4 continues a donor at 0.5 to 2 h an update; 3e-4 at 16 h; 5e-4 starts a Base model."""
    warmup_share: float = 0.08
    """Of all steps."""
    weight_decay: float = 0.01
    anchor_weight: float = 0.0
    """Pull towards the donor's weights (L2-SP): the gradient of anchor_weight / 2 × squared distance; 0 for none."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or not 0 <= self.warmup_share < 1 or self.anchor_weight < 0:
            raise ConfigError(
                "optimiser: learning_rate must be above 0, warmup_share in [0, 1), anchor_weight at least 0"
            )


def make_optimiser(
    parameters: Iterable[nn.Parameter], config: PretrainingOptimiserConfig, *, total_steps: int,
    rate_scale: Callable[[], float],
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:  # fmt: skip
    """AdamW and its schedule, stepped once an optimiser step.

    Args:
        parameters: those that need no gradient are left out.
        config: rates.
        total_steps: length of the run.
        rate_scale: factor on the schedule, asked at each step.
    """
    optimiser = torch.optim.AdamW(
        [p for p in parameters if p.requires_grad], lr=config.learning_rate, betas=_BETAS, eps=_EPSILON,
        weight_decay=config.weight_decay,
    )  # fmt: skip
    warmup_steps = round(config.warmup_share * total_steps)

    def factor(step: int) -> float:
        return rate_scale() * learning_rate_factor(step, total_steps, warmup_steps, "linear")

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def apply_rate(scheduler: torch.optim.lr_scheduler.LambdaLR) -> None:
    """Put the scheduled rate into the optimiser again, after its state or the scale was changed."""
    groups = scheduler.optimizer.param_groups
    for group, base, rule in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
        group["lr"] = base * rule(scheduler.last_epoch)


class Anchor:
    """L2-SP: weights are pulled to where they were when the anchor was cast.

    Args:
        parameters: as the donor has them; a copy is held.
        weight: the pull is the gradient of weight / 2 × squared distance.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight: float) -> None:
        self.weight = weight
        self._pairs: list[tuple[nn.Parameter, Tensor]] = [
            (p, p.detach().clone()) for p in parameters if p.requires_grad
        ]

    def pull(self) -> None:
        """Add the pull to the gradients that there are."""
        for number, (parameter, anchor) in enumerate(self._pairs):
            if parameter.grad is None:
                continue
            if anchor.device != parameter.device:
                anchor = anchor.to(parameter.device)  # noqa: PLW2901 - and kept there
                self._pairs[number] = (parameter, anchor)
            parameter.grad.add_(parameter.detach() - anchor, alpha=self.weight)
