"""How the learning rate changes over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from signwave.errors import ConfigError

Schedule = Literal["constant", "linear", "cosine", "steps", "tri_stage"]

UNLIMITED_STEPS = 10**9
"""Length of a run that ends by the clock."""


@dataclass(frozen=True)
class TriStage:
    """Rise in a line, stay, fall exponentially: what wav2vec 2.0 and its followers fine-tune with.

    Attributes:
        shares: of the run's steps, for each of the three; they add up to 1.
        initial_factor: of the peak rate, at the first step.
        final_factor: of the peak rate, where the fall ends.
    """

    shares: tuple[float, float, float] = (0.1, 0.4, 0.5)
    initial_factor: float = 0.01
    final_factor: float = 0.05

    def __post_init__(self) -> None:
        if len(self.shares) != 3 or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ConfigError(f"stages: expected three shares of the run that add up to 1, got {list(self.shares)}")
        if not (0 < self.initial_factor <= 1 and 0 < self.final_factor <= 1):
            raise ConfigError(
                "the first and the last factor of the three stages must lie in (0, 1], got "
                f"{self.initial_factor:g} and {self.final_factor:g}"
            )

    def factor(self, step: int, total_steps: int) -> float:
        """Share of the peak rate at an optimiser step, of a run of total_steps."""
        rise, stay, fall = (share * total_steps for share in self.shares)
        if step < rise:
            return self.initial_factor + (1.0 - self.initial_factor) * step / rise
        if step < rise + stay or not fall:
            return 1.0
        return math.pow(self.final_factor, min(1.0, (step - rise - stay) / fall))


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int, schedule: Schedule) -> float:
    """Share of the peak learning rate at an optimiser step.

    Args:
        step: steps done so far.
        total_steps: length of the run.
        warmup_steps: steps of linear rise from 1/warmup_steps; "tri_stage" has a rise of its own.
        schedule: what follows the warm-up; "steps" stays at the peak here.
    """
    if schedule == "tri_stage":
        return TriStage().factor(step, total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule in ("constant", "steps"):
        return 1.0
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
