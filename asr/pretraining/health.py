"""How an optimiser step fared: loss and code usage over all ranks and micro-batches, and when they mean a collapse."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.pretraining.contrastive import Loss
from asr.pretraining.quantiser import perplexity
from signwave.errors import ConfigError


@dataclass(frozen=True)
class Health:
    """Figures of one optimiser step.

    Attributes:
        num_masked: masked frames.
        loss: penalties included, by masked frame.
        accuracy: share of frames whose true code is found.
        excluded_share: share of negatives that are left out because their code is the true one.
        code_perplexity: of the codes used, added up over groups; at most groups × codes.
        prob_perplexity: of their mean probabilities.
        num_groups: of the codebook.
        gradient_norm: of the step, before clipping.
    """

    num_masked: int
    loss: float
    accuracy: float
    excluded_share: float
    code_perplexity: float
    prob_perplexity: float
    num_groups: int
    gradient_norm: float = math.nan

    def to_dict(self) -> dict[str, float]:
        """What the log shows."""
        return {
            "loss": self.loss, "accuracy": self.accuracy, "excluded_share": self.excluded_share,
            "code_perplexity": self.code_perplexity, "prob_perplexity": self.prob_perplexity,
        }  # fmt: skip


class LossSums:
    """Sums of `Loss` over micro-batches; as one vector they add up over ranks."""

    def __init__(self) -> None:
        self._vector: Tensor | None = None
        self._shape = (0, 0)

    def add(self, loss: Loss) -> None:
        """Count a batch; nothing waits for the device."""
        self._shape = (loss.hard_counts.shape[0], loss.hard_counts.shape[1])
        numbers = [loss.total.detach(), loss.num_masked.sum(), loss.num_correct, loss.num_excluded, loss.num_negatives]
        flat = [torch.stack([number.double() for number in numbers]), loss.hard_counts.flatten().double(),
                loss.soft_counts.flatten().double()]  # fmt: skip
        vector = torch.cat(flat)
        self._vector = vector if self._vector is None else self._vector + vector

    @property
    def vector(self) -> Tensor:
        """(5 + 2 G V,) float64 on the device of the batches."""
        if self._vector is None:
            raise ValueError("no batch was counted")
        return self._vector

    def health(self, vector: Tensor) -> Health:
        """Figures of a vector that was added up over ranks."""
        total, num_masked, correct, excluded, negatives = vector[:5].tolist()
        hard, soft = vector[5:].view(2, *self._shape) / max(num_masked, 1)
        hard_perplexity, soft_perplexity = torch.stack([perplexity(hard), perplexity(soft)]).tolist()
        return Health(
            int(num_masked), total / max(num_masked, 1), correct / max(num_masked, 1), excluded / max(negatives, 1),
            hard_perplexity, soft_perplexity, self._shape[0],
        )  # fmt: skip


@dataclass
class GuardConfig:
    """When a contrastive run counts as collapsed, and what happens then."""

    enabled: bool = True
    min_code_perplexity: float = 4.0
    """Of each group of codes; with fewer in use, telling them apart is no task."""
    max_accuracy: float = 0.99
    max_excluded_share: float = 0.2
    """Of the negatives, those that have the code of the true target and so don't count."""
    patience: int = 10
    """Steps in a row that must be unhealthy before the run is rolled back, or healthy before it can be."""
    snapshot_every_steps: int = 500
    """Optimiser steps between two states to roll back to; the newest two stay on disk."""
    rate_factor: float = 0.5
    """The learning rate is multiplied by this at each roll-back."""
    max_rollbacks: int = 3
    """One more collapse ends the run."""
    grace_steps: int = 1000
    """A run from scratch that was never healthy by then is warned about."""

    def __post_init__(self) -> None:
        if self.patience < 1 or self.snapshot_every_steps < 1 or self.max_rollbacks < 0:
            raise ConfigError("guard: patience and snapshot_every_steps must be at least 1, max_rollbacks at least 0")
        if not 0 < self.rate_factor <= 1:
            raise ConfigError(f"guard.rate_factor must be in (0, 1], got {self.rate_factor}")

    def collapse(self, health: Health) -> str:
        """Which sign of a collapse the figures show, or ''."""
        least = self.min_code_perplexity * health.num_groups
        if health.code_perplexity < least:
            return f"code perplexity {health.code_perplexity:.1f} is below {least:g}"
        if health.accuracy > self.max_accuracy:
            return f"accuracy {health.accuracy:.3f} is above {self.max_accuracy:g}"
        return ""

    def problem(self, health: Health) -> str:
        """What is unhealthy about a step, or ''."""
        collapse = self.collapse(health)
        if collapse:
            return collapse
        if health.excluded_share > self.max_excluded_share:
            return f"{health.excluded_share:.0%} of the negatives have the true code, above {self.max_excluded_share:g}"
        return ""
