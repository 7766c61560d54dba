"""The recipe on made-up audio, small and with everything on that draws random numbers; a script for the tests."""

import os
import signal
from dataclasses import dataclass, field

from asr.pretraining.config import TINY, EncoderConfig, ObjectiveConfig
from asr.pretraining.data import MadeUpAudioConfig
from asr.pretraining.health import GuardConfig
from asr.pretraining.module import Pretraining
from asr.pretraining.optimiser import PretrainingOptimiserConfig
from signwave.recipe import Parts, Recipe, TrainConfig, main

STILL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}


def small_training(**changes) -> TrainConfig:
    values = {
        "max_steps": 12, "budget": 60_000, "monitor": "val/loss", "val_every_steps": 6, "checkpoint_every_steps": 4,
        "gradient_clip": 1.0, "log_every_steps": 1, "num_threads": 1, "progress_bar": False, "accelerator": "cpu",
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})


@dataclass
class MadeUp(Recipe):
    data: MadeUpAudioConfig = field(default_factory=MadeUpAudioConfig)
    encoder: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(architecture=dict(TINY), layerdrop=0.2, feature_gradient=0.5)
    )
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimiser: PretrainingOptimiserConfig = field(
        default_factory=lambda: PretrainingOptimiserConfig(learning_rate=1e-3, warmup_share=0.2)
    )
    guard: GuardConfig = field(
        default_factory=lambda: GuardConfig(min_code_perplexity=1.2, max_excluded_share=1.0, patience=3)
    )
    train: TrainConfig = field(default_factory=small_training)
    kill_at: int = -1
    kill_with: int = int(signal.SIGKILL)

    def build(self) -> Parts:
        data = self.data.build(
            self.encoder.features(), with_targets=self.objective.kind == "best_rq", budget=self.train.budget,
            seed=self.seed, num_workers=self.train.num_workers,
        )  # fmt: skip
        self.module = self.module_class().of(
            self.encoder, data, objective=self.objective, optimiser=self.optimiser, guard=self.guard, name=self.name
        )
        return data, self.module

    def module_class(self) -> type[Pretraining]:
        kill_at, kill_with = self.kill_at, self.kill_with

        class Killed(Pretraining):
            def on_train_batch_start(self, batch, batch_idx):
                super().on_train_batch_start(batch, batch_idx)
                if self.trainer.fit_loop.epoch_loop.total_batch_idx == kill_at:
                    os.kill(os.getpid(), kill_with)

        return Killed


if __name__ == "__main__":
    main(MadeUp)
