"""Settings of fine-tuning: the optimiser, its schedule, and what is trained when."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from dataclasses import dataclass, field

from signwave.errors import ConfigError
from signwave.training.schedules import Schedule, TriStage


@dataclass
class OptimiserConfig:
    """AdamW and how fast each part of the model learns."""

    learning_rate: float = 1e-3
    """Of the new layers on top."""
    encoder_factor: float = 0.3
    """The encoder's top layer learns at learning_rate times this."""
    layer_decay: float = 0.8
    """Each layer below learns at this times the rate of the one above."""
    weight_decay: float = 0.01
    schedule: Schedule = "cosine"
    warmup_steps: int = 30
    """Not of the schedule tri_stage, which has a rise of its own."""
    stages: list[float] = field(default_factory=lambda: [0.1, 0.4, 0.5])
    """tri_stage: shares of the run in which the rate rises, stays, and falls."""
    final_factor: float = 0.05
    """tri_stage: of the peak rate, at the end."""
    frozen_steps: int = 0
    """The encoder isn't trained in the first steps; on several devices also set
    train.strategy=ddp_find_unused_parameters_true."""
    head_epochs: int = 0
    """Passes over the stored states of the untrained encoder in which the new layers learn alone, before training."""
    head_learning_rate: float = 5e-3

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.head_learning_rate <= 0 or self.encoder_factor < 0:
            raise ConfigError("optimiser: rates must be above 0 and encoder_factor at least 0")
        if self.head_epochs < 0 or not 0 < self.layer_decay <= 1:
            raise ConfigError("optimiser.head_epochs must be at least 0 and optimiser.layer_decay in (0, 1]")
        if self.frozen_steps < 0 or self.warmup_steps < 0:
            raise ConfigError("optimiser.frozen_steps and optimiser.warmup_steps must be at least 0")
        self.tri_stage()

    def tri_stage(self) -> TriStage:
        """The schedule of that name."""
        try:
            rise, stay, fall = self.stages
        except ValueError:
            raise ConfigError(f"optimiser.stages: expected three shares of the run, got {self.stages}") from None
        return TriStage((rise, stay, fall), final_factor=self.final_factor)
